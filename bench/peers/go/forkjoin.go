// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"time"
)

const children = 10

func skynetChan(c chan int, number, size int) {
	if size == 1 {
		c <- number
		return
	}
	parts := make(chan int)
	size /= children
	for i := range children {
		go skynetChan(parts, number+i*size, size)
	}
	sum := 0
	for range children {
		sum += <-parts
	}
	c <- sum
}

func skynetSum(number, size int) int {
	if size == 1 {
		return number
	}
	var wg sync.WaitGroup
	var parts [children]int
	size /= children
	wg.Add(children)
	for i := range children {
		go func() {
			parts[i] = skynetSum(number+i*size, size)
			wg.Done()
		}()
	}
	wg.Wait()
	sum := 0
	for _, part := range parts {
		sum += part
	}
	return sum
}

func measureSkynet(n int, tree func(size int) int) (int, time.Duration, extra) {
	size := 1
	for size*children <= n {
		size *= children
	}
	start := time.Now()
	sum := tree(size)
	d := time.Since(start)
	check(sum == sumBelow(size), "sum %d", sum)
	return 1, d, extra{"leaves": size}
}

func skynet(n int) (int, time.Duration, extra) {
	return measureSkynet(n, func(size int) int {
		c := make(chan int)
		go skynetChan(c, 0, size)
		return <-c
	})
}

func skynetWG(n int) (int, time.Duration, extra) {
	return measureSkynet(n, func(size int) int { return skynetSum(0, size) })
}

func fibChan(n int) int {
	if n < 2 {
		return n
	}
	c := make(chan int, 1)
	go func() { c <- fibChan(n - 1) }()
	own := fibChan(n - 2)
	return <-c + own
}

func fibWG(n int) int {
	if n < 2 {
		return n
	}
	var wg sync.WaitGroup
	child := 0
	wg.Add(1)
	go func() {
		child = fibWG(n - 1)
		wg.Done()
	}()
	own := fibWG(n - 2)
	wg.Wait()
	return child + own
}

func fibPlain(n int) int {
	a, b := 0, 1
	for range n {
		a, b = b, a+b
	}
	return a
}

func fib(tree func(int) int) workload {
	return func(n int) (int, time.Duration, extra) {
		start := time.Now()
		value := tree(n)
		d := time.Since(start)
		check(value == fibPlain(n), "fib(%d) = %d", n, value)
		spawns := max(fibPlain(n+1)-1, 1)
		return spawns, d, extra{"spawns": spawns}
	}
}
