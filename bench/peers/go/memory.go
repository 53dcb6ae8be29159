// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Goroutines that have said that they are up get this long to reach the channel behind it.
const settle = 20 * time.Millisecond

func parked(own bool) workload {
	return func(n int) (int, time.Duration, extra) {
		var up, ended sync.WaitGroup
		shared := make(chan struct{})
		var gates []chan struct{}
		if own {
			gates = make([]chan struct{}, n)
		}
		start := time.Now()
		up.Add(n)
		ended.Add(n)
		for i := range n {
			gate := shared
			if own {
				gate = make(chan struct{})
				gates[i] = gate
			}
			go func() {
				up.Done()
				<-gate
				ended.Done()
			}()
		}
		up.Wait()
		park := time.Since(start)
		time.Sleep(settle)
		check(runtime.NumGoroutine() > n, "only %d goroutines", runtime.NumGoroutine())
		m := memoryNow()

		start = time.Now()
		if own {
			for _, gate := range gates {
				gate <- struct{}{}
			}
		} else {
			close(shared)
		}
		ended.Wait()
		release := time.Since(start)
		rss, pte := per(memoryAtStart.rss, m.rss, n), per(memoryAtStart.pte, m.pte, n)
		x := extra{
			"bytes_per": rss, "pte_bytes_per": pte, "total_bytes_per": rss + pte,
			"vsz_per":             per(memoryAtStart.vsz, m.vsz, n),
			"bytes_per_after_end": rssPer(n),
			"park_s":              round(park.Seconds()), "release_s": round(release.Seconds()),
		}
		debug.FreeOSMemory()
		x["bytes_per_after_trim"] = rssPer(n)
		return n, park + release, x
	}
}

const (
	levels     = 16
	frameBytes = 992 // the compiler makes a frame of 1 KiB around it: 16 levels use 16 KiB
)

//go:noinline
func descend(level int, bottom func()) int {
	var pad [frameBytes]byte
	for i := 0; i < len(pad); i += 64 {
		pad[i] = byte(level)
	}
	sum := level
	if level > 1 {
		sum += descend(level-1, bottom)
	} else {
		bottom()
	}
	return sum + int(pad[level%8*64]) - level // used after the call, so that the frame stays
}

func deep(n int) (int, time.Duration, extra) {
	var atDepth, shallow, ended sync.WaitGroup
	var sum atomic.Int64
	gateDeep, gateShallow := make(chan struct{}), make(chan struct{})
	x := extra{}
	start := time.Now()
	atDepth.Add(n)
	shallow.Add(n)
	ended.Add(n)
	for range n {
		go func() {
			sum.Add(int64(descend(levels, func() {
				runtime.Gosched()
				atDepth.Done()
				<-gateDeep
			})))
			shallow.Done()
			<-gateShallow
			ended.Done()
		}()
	}
	atDepth.Wait()
	d := time.Since(start)
	time.Sleep(settle)
	x["bytes_per_peak"] = rssPer(n)
	x["pte_bytes_per_peak"] = per(memoryAtStart.pte, memoryNow().pte, n)

	start = time.Now()
	close(gateDeep)
	shallow.Wait()
	d += time.Since(start)
	time.Sleep(settle)
	x["bytes_per_after_all_parked_shallow"] = rssPer(n)
	debug.FreeOSMemory() // the collector shrinks stacks, and frees the old ones at the end of its next cycle
	debug.FreeOSMemory()
	x["bytes_per_after_all_parked_shallow_trim"] = rssPer(n)

	start = time.Now()
	close(gateShallow)
	ended.Wait()
	d += time.Since(start)
	time.Sleep(settle)
	x["bytes_per_after_end"] = rssPer(n)
	debug.FreeOSMemory()
	x["bytes_per_after_trim"] = rssPer(n)
	check(int(sum.Load()) == n*levels*(levels+1)/2, "sum of levels %d", sum.Load())
	return n, d, x
}
