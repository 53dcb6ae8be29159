// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"time"
)

func mutex(n int) (int, time.Duration, extra) {
	const coroutines = 100
	each := n/coroutines + 1
	var mu sync.Mutex
	var wg sync.WaitGroup
	value := 0
	wg.Add(coroutines)
	start := time.Now()
	for range coroutines {
		go func() {
			for range each {
				mu.Lock()
				value++
				mu.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
	d := time.Since(start)
	check(value == each*coroutines, "counted to %d, not %d", value, each*coroutines)
	return each * coroutines, d, nil
}
