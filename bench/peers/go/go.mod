module gmpsched.example/bench

go 1.22
