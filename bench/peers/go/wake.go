// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// wake: the waker goes on computing, so another P must run the woken.
func wake(n int) (int, time.Duration, extra) {
	gap := time.Duration(envInt("BENCH_GAP_US", 100)) * time.Microsecond
	c := make(chan time.Time, 1)
	late := make([]time.Duration, n)
	var served atomic.Int64
	go func() {
		for i := range n {
			sent := <-c
			late[i] = time.Since(sent)
			served.Store(int64(i) + 1)
		}
	}()
	done := make(chan struct{})
	go func() {
		for i := range n {
			for start := time.Now(); time.Since(start) < gap; {
				continue
			}
			c <- time.Now()
			for served.Load() <= int64(i) {
				continue
			}
		}
		close(done)
	}()
	<-done
	sum := time.Duration(0)
	for _, d := range late {
		sum += d
	}
	return n, sum, quantiles(extra{"gap_us": micros(gap)}, "us", late)
}

// fanout: after light work, two jobs at once: when does the second begin?
func fanout(n int) (int, time.Duration, extra) {
	const light = 3
	takes := time.Duration(envInt("BENCH_JOB_US", 2000)) * time.Microsecond
	late := make([]time.Duration, n)
	sum := time.Duration(0)
	for i := range n {
		var wg sync.WaitGroup
		for range light {
			for range light {
				wg.Add(1)
				go wg.Done()
			}
			wg.Wait()
			time.Sleep(time.Millisecond)
		}
		start := time.Now()
		var began [2]time.Duration
		for j := range began {
			wg.Add(1)
			go func() {
				began[j] = time.Since(start)
				for time.Since(start)-began[j] < takes {
					continue
				}
				wg.Done()
			}()
		}
		wg.Wait()
		late[i] = max(began[0], began[1])
		sum += late[i]
	}
	return n, sum, quantiles(extra{"job_us": micros(takes)}, "us", late)
}

// wakeXthread: without cgo there is no foreign thread. A goroutine locked to its thread comes nearest, since every
// wake crosses threads.
func wakeXthread(n int) (int, time.Duration, extra) {
	there, back := make(chan int, 1), make(chan int, 1)
	took := make([]time.Duration, n)
	done := make(chan struct{})
	go func() {
		for v := range there {
			back <- v
		}
		close(done)
	}()
	time.Sleep(5 * time.Millisecond)
	start := time.Now()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for i := range n {
			sent := time.Now()
			there <- i
			v := <-back
			took[i] = time.Since(sent)
			check(v == i, "got %d, not %d", v, i)
		}
		close(there)
	}()
	<-done
	return n, time.Since(start), quantiles(extra{"foreign": "goroutine locked to its thread"}, "us", took)
}
