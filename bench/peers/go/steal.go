// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// steal: one goroutine spawns n of 2 µs each, with one P and with all of them in turn.
func steal(n int) (int, time.Duration, extra) {
	const rounds = 3
	workNs := float64(envInt("BENCH_WORK_NS", 2000))
	iterations := uint64(workNs/spinNs()) + 1
	want := spin(iterations)
	burst := func(n int) time.Duration {
		var wg sync.WaitGroup
		var sum atomic.Uint64
		f := func() {
			sum.Add(spin(iterations))
			wg.Done()
		}
		start := time.Now()
		wg.Add(n)
		for range n {
			go f()
		}
		wg.Wait()
		d := time.Since(start)
		check(sum.Load() == uint64(n)*want, "some of the work is missing")
		return d
	}
	var one, all []time.Duration
	for range rounds {
		runtime.GOMAXPROCS(1)
		burst(n/20 + 1)
		one = append(one, burst(n))
		runtime.GOMAXPROCS(workers)
		burst(n/20 + 1)
		all = append(all, burst(n))
	}
	alone, d := median(one), median(all)
	return n, d, extra{
		"speedup":          round(alone.Seconds() / d.Seconds()),
		"procs1_ns_per_op": round(float64(alone.Nanoseconds()) / float64(n)),
		"work_ns":          workNs,
		"efficiency":       round(float64(n) * workNs / (float64(workers) * float64(d.Nanoseconds()))),
	}
}
