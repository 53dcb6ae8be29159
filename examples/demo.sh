#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the library and shows it at work: a web server under load, coroutines that compute and block without holding up
# the others, and a few benchmarks. Takes about half a minute after the build. Usage: examples/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
out=$(mktemp)
server=
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	rm -f "$out"
}
trap cleanup EXIT

say "building"
cmake --preset release >"$out" || { cat "$out"; exit 1; }
cmake --build --preset release --target example_httpd example_hogs gmp-bench
bin=build/release

say "a web server: a coroutine for each connection that has said something (examples/httpd.c)"
"$bin/examples/httpd" 0 >"$out" & # port 0: a free one
server=$!
for _ in $(seq 100); do
	grep -q '^listening on' "$out" && break
	kill -0 "$server" || { echo "httpd ended early"; exit 1; }
	sleep 0.05
done
cat "$out"
url=http://$(sed -n 's/^listening on //p' "$out")/plaintext
curl --silent --show-error --fail --max-time 5 --include "$url"
echo

say "64 connections, 3 seconds"
if command -v wrk >/dev/null; then
	wrk --threads 1 --connections 64 --duration 3s --latency "$url"
else
	echo "wrk is not installed: no load"
fi

say "SIGTERM: the server finishes what it has begun and leaves"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
echo "exit status $status"
[ "$status" -eq 0 ]

say "hogs and blockers do not hold up a sleeper (examples/hogs.c)"
timeout 60 "$bin/examples/hogs"

say "benchmarks, small sizes (bench/gmp-bench; one line of JSON each)"
while read -r workload workers n; do
	timeout 60 "$bin/bench/gmp-bench" "$workload" "$workers" "$n"
done <<-END
	yield2 1 5000000
	spawn1 1 1000000
	chan_pp 1 2000000
	chan_mpmc 2 1000000
	mutex 2 2000000
END
