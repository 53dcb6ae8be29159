// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// check ends the process with status 1 when ok is false: a wrong run has no figure.
func check(ok bool, format string, a ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, "gobench: "+format+"\n", a...)
		os.Exit(1)
	}
}

func envInt(name string, otherwise int) int {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	v, err := strconv.Atoi(s)
	check(err == nil && v >= 0, "%s=%s is not a number from 0", name, s)
	return v
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func micros(d time.Duration) float64 { return round(float64(d.Nanoseconds()) / 1e3) }

func sumBelow(n int) int { return n * (n - 1) / 2 }

// quantiles sorts the samples and adds p50_<what>, p99_<what> and max_<what> in microseconds to x.
func quantiles(x extra, what string, samples []time.Duration) extra {
	slices.Sort(samples)
	at := func(q float64) float64 { return micros(samples[int(q*float64(len(samples)-1))]) }
	x["p50_"+what], x["p99_"+what], x["max_"+what] = at(0.5), at(0.99), at(1)
	return x
}

type memory struct{ rss, vsz, pte int } // bytes; pte: page tables

// As it was before the warm-up: what that leaves in the runtime's pools is charged to the measured run.
var memoryAtStart memory

func memoryNow() memory {
	number := func(s string) int {
		v, err := strconv.Atoi(s)
		check(err == nil, "%v", err)
		return v
	}
	statm, err := os.ReadFile("/proc/self/statm")
	check(err == nil, "%v", err)
	fields := strings.Fields(string(statm))
	m := memory{vsz: number(fields[0]) * os.Getpagesize(), rss: number(fields[1]) * os.Getpagesize()}
	status, err := os.ReadFile("/proc/self/status")
	check(err == nil, "%v", err)
	for _, line := range strings.Split(string(status), "\n") {
		if kb, ok := strings.CutPrefix(line, "VmPTE:"); ok {
			m.pte = number(strings.Fields(kb)[0]) * 1024
		}
	}
	return m
}

func per(before, after, n int) float64 { return round(float64(after-before) / float64(n)) }

func rssPer(n int) float64 { return per(memoryAtStart.rss, memoryNow().rss, n) }

func resources() syscall.Rusage {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil, "getrusage")
	return u
}

// cpuTime is the user and system time of the process.
func cpuTime() time.Duration {
	u := resources()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func contextSwitches() int64 {
	u := resources()
	return u.Nvcsw + u.Nivcsw
}

// mix64 is SplitMix64 of x: the same in every runtime's twin.
func mix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// spin makes no call: only asynchronous pre-emption can stop it.
//
//go:noinline
func spin(iterations uint64) uint64 {
	x := uint64(88172645463325252)
	for i := uint64(0); i < iterations; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// spinNs is nanoseconds an iteration of spin, the least of several measurements.
func spinNs() float64 {
	const samples, iterations = 9, 500000
	best := time.Hour
	sum := uint64(0)
	for range samples {
		start := time.Now()
		sum += spin(iterations)
		best = min(best, time.Since(start))
	}
	check(sum != 0 && best > 0, "the calibration took no time")
	return float64(best.Nanoseconds()) / iterations
}

func median(samples []time.Duration) time.Duration {
	slices.Sort(samples)
	return samples[len(samples)/2]
}
