module netgo

go 1.19
