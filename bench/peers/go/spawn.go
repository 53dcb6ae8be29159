// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func yieldAmong(k int) workload {
	return func(n int) (int, time.Duration, extra) {
		each := n/k + 1
		var wg sync.WaitGroup
		var total atomic.Int64
		wg.Add(k)
		start := time.Now()
		for range k {
			go func() {
				count := 0
				for count < each {
					runtime.Gosched()
					count++
				}
				total.Add(int64(count))
				wg.Done()
			}()
		}
		wg.Wait()
		d := time.Since(start)
		check(int(total.Load()) == each*k, "%d yields, not %d", total.Load(), each*k)
		return each * k, d, nil
	}
}

// In spawn1 and spawn_many the closure is made once, so that a spawn allocates nothing but its goroutine.

func spawn1Chan(n int) (int, time.Duration, extra) {
	done := make(chan struct{})
	ran := 0
	f := func() {
		ran++
		done <- struct{}{}
	}
	start := time.Now()
	for range n {
		go f()
		<-done
	}
	d := time.Since(start)
	check(ran == n, "%d of %d ran", ran, n)
	return n, d, extra{"join": "channel"}
}

func spawn1WG(n int) (int, time.Duration, extra) {
	var wg sync.WaitGroup
	ran := 0
	f := func() {
		ran++
		wg.Done()
	}
	start := time.Now()
	for range n {
		wg.Add(1)
		go f()
		wg.Wait()
	}
	d := time.Since(start)
	check(ran == n, "%d of %d ran", ran, n)
	return n, d, extra{"join": "waitgroup"}
}

// A goroutine has no handle; a channel of its own that it closes is what a program uses for one.
func join(n int) (int, time.Duration, extra) {
	ran := 0
	start := time.Now()
	for range n {
		done := make(chan struct{})
		go func() {
			ran++
			close(done)
		}()
		<-done
	}
	d := time.Since(start)
	check(ran == n, "%d of %d ran", ran, n)
	return n, d, extra{"join": "own channel, closed"}
}

// The wait group panics when it goes negative and hangs when it stays positive, so it is the count.
func spawnMany(n int) (int, time.Duration, extra) {
	var wg sync.WaitGroup
	f := func() { wg.Done() }
	start := time.Now()
	wg.Add(n)
	for range n {
		go f()
	}
	wg.Wait()
	return n, time.Since(start), nil
}

func spawnPark(n int) (int, time.Duration, extra) {
	batch := envInt("BENCH_BATCH", 1000)
	if batch == 0 || batch > n {
		batch = n
	}
	var up, ended sync.WaitGroup
	gate := make(chan struct{})
	f := func() {
		up.Done()
		<-gate
		ended.Done()
	}
	start := time.Now()
	for left := n; left > 0; {
		now := min(batch, left)
		up.Add(now)
		ended.Add(now)
		for range now {
			go f()
		}
		up.Wait()
		for range now {
			gate <- struct{}{}
		}
		ended.Wait()
		left -= now
	}
	return n, time.Since(start), extra{"batch": batch}
}
