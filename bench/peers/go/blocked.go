// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// rawNanosleep goes without the bracket that Go puts around every system call: the case of a C function that knows
// nothing of coroutines. Go has no defence against it.
func rawNanosleep(ts, rem *syscall.Timespec) error {
	_, _, e := syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(ts)), uintptr(unsafe.Pointer(rem)), 0)
	if e != 0 {
		return e
	}
	return nil
}

func blocked(raw bool) workload {
	const blockers, wall = 8, 200 * time.Millisecond
	sleep, kind := syscall.Nanosleep, "syscall.Nanosleep"
	if raw {
		sleep, kind = rawNanosleep, "RawSyscall"
	}
	block := func(interrupted *atomic.Int64) {
		ts := syscall.NsecToTimespec(wall.Nanoseconds())
		var rem syscall.Timespec
		for sleep(&ts, &rem) != nil {
			interrupted.Add(1)
			ts = rem
		}
	}
	return func(n int) (int, time.Duration, extra) {
		var wg sync.WaitGroup
		var interrupted atomic.Int64
		var ends [blockers]time.Duration
		late := make([]time.Duration, n)
		wakeups := 0
		wg.Add(blockers)
		start := time.Now()
		for i := range blockers {
			go func() {
				block(&interrupted)
				ends[i] = time.Since(start)
				wg.Done()
			}()
		}
		for i := range n {
			asleep := time.Now()
			time.Sleep(time.Millisecond)
			late[i] = time.Since(asleep) - time.Millisecond
			if time.Since(start) <= wall {
				wakeups++
			}
		}
		d := time.Since(start)
		wg.Wait()
		last := time.Duration(0)
		for _, end := range ends {
			last = max(last, end)
		}
		x := quantiles(extra{"wakeups": wakeups, "eintr": interrupted.Load(), "blocker": kind,
			"blockers_wall_ms": round(float64(last.Nanoseconds()) / 1e6)}, "late_us", late)
		check(late[0] >= 0, "woke %v early", -late[0])
		return n, d, x
	}
}
