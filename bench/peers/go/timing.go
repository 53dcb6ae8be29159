// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"sync/atomic"
	"time"
)

func sleepers(n int) (int, time.Duration, extra) {
	const naps = 3
	longest := uint64(envInt("BENCH_SLEEP_MS", 1000)) * uint64(time.Millisecond)
	late := make([]time.Duration, naps*n)
	var wg sync.WaitGroup
	cpu, start := cpuTime(), time.Now()
	wg.Add(n)
	for i := range n {
		go func() {
			for k := range naps {
				d := time.Duration(mix64(uint64(naps*i+k)) % (longest + 1))
				asleep := time.Now()
				time.Sleep(d)
				late[naps*i+k] = time.Since(asleep) - d
			}
			wg.Done()
		}()
	}
	wg.Wait()
	d := time.Since(start)
	x := quantiles(extra{"cpu_s": round((cpuTime() - cpu).Seconds())}, "late_us", late)
	check(late[0] >= 0, "woke %v early", -late[0])
	return naps * n, d, x
}

// transfer is the time of n receives from a partner who keeps the channel filled, or, when asked, sends only on
// request. The receiver's timer is reused, which is the cheapest way to say this in Go.
func transfer(n, capacity int, timed, asked bool) time.Duration {
	c, ask := make(chan int, capacity), make(chan struct{})
	done := make(chan int)
	start := time.Now()
	go func() {
		sum := 0
		timer := time.NewTimer(time.Hour)
		timer.Stop()
		for i := range n {
			if asked {
				ask <- struct{}{}
			}
			var v int
			if timed {
				timer.Reset(10 * time.Second)
				select {
				case v = <-c:
				case <-timer.C:
					check(false, "timed out")
				}
				check(timer.Stop(), "the timer had fired")
			} else {
				v = <-c
			}
			check(v == i, "got %d, not %d", v, i)
			sum += v
		}
		done <- sum
	}()
	go func() {
		for i := range n {
			if asked {
				<-ask
			}
			c <- i
		}
	}()
	sum := <-done
	d := time.Since(start)
	check(sum == sumBelow(n), "sum %d", sum)
	return d
}

func timerCancel(n int) (int, time.Duration, extra) {
	capacity, quarter := envInt("BENCH_CAP", 0), n/4+1
	each := func(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / float64(n) }
	d := transfer(n, capacity, true, false)
	timed, plain := each(d, n), each(transfer(n, capacity, false, false), n)
	park := each(transfer(quarter, 0, true, true), quarter)
	parkPlain := each(transfer(quarter, 0, false, true), quarter)
	return n, d, extra{
		"cap": capacity, "plain_ns": round(plain), "set_cancel_ns": round(timed - plain),
		"park_ns": round(park), "park_plain_ns": round(parkPlain), "park_set_cancel_ns": round(park - parkPlain),
	}
}

func idle(n int) (int, time.Duration, extra) {
	pause := time.Duration(envInt("BENCH_IDLE_MS", 3000)) * time.Millisecond
	var up sync.WaitGroup
	up.Add(n)
	for range n {
		go func() {
			up.Done()
			time.Sleep(time.Hour)
			check(false, "the hour is over")
		}()
	}
	up.Wait()
	time.Sleep(300 * time.Millisecond)
	switches, cpu, start := contextSwitches(), cpuTime(), time.Now()
	time.Sleep(pause)
	d := time.Since(start)
	ms := float64((cpuTime() - cpu).Nanoseconds()) / 1e6
	return 1, d, extra{"cpu_ms": round(ms), "cpu_ms_per_s": round(ms / d.Seconds()),
		"ctx_switches": contextSwitches() - switches}
}

func hog(n int) (int, time.Duration, extra) {
	wall := time.Duration(envInt("BENCH_HOG_MS", 2000)) * time.Millisecond
	chunk := uint64(float64(wall.Nanoseconds())/20/spinNs()) + 1
	const pause = 10 * time.Millisecond
	var wg sync.WaitGroup
	var sum atomic.Uint64
	wg.Add(workers)
	start := time.Now()
	for range workers {
		go func() {
			s := uint64(0)
			for time.Since(start) < wall {
				s += spin(chunk)
			}
			sum.Add(s)
			wg.Done()
		}()
	}
	wakeups, sleeps := 0, 0
	worst := time.Duration(0)
	for sleeps < n && time.Since(start) < wall {
		asleep := time.Now()
		time.Sleep(pause)
		worst = max(worst, time.Since(asleep)-pause)
		sleeps++
		if time.Since(start) <= wall {
			wakeups++
		}
	}
	d := time.Since(start)
	wg.Wait()
	check(sum.Load() != 0, "nobody computed")
	return n, d, extra{"wakeups": wakeups, "max_late_us": micros(worst), "sleeps_done": sleeps,
		"hog_wall_s": round(time.Since(start).Seconds())}
}
