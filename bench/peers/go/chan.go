// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"sync/atomic"
	"time"
)

func chanPP(n int) (int, time.Duration, extra) {
	rounds := n/2 + 1
	ping, pong := make(chan int), make(chan int)
	var wg sync.WaitGroup
	last := 0
	wg.Add(2)
	start := time.Now()
	go func() {
		for v := range ping {
			pong <- v + 1
		}
		wg.Done()
	}()
	go func() {
		v := 0
		for range rounds {
			ping <- v
			v = <-pong
		}
		last = v
		close(ping)
		wg.Done()
	}()
	wg.Wait()
	d := time.Since(start)
	check(last == rounds, "the ball ended at %d, not %d", last, rounds)
	return 2 * rounds, d, nil
}

func pump(producers, consumers int) workload {
	return func(n int) (int, time.Duration, extra) {
		each := n/producers + 1
		total := each * producers
		c := make(chan int, 128)
		var producing, consuming sync.WaitGroup
		var sum, count atomic.Int64
		producing.Add(producers)
		consuming.Add(consumers)
		start := time.Now()
		for p := range producers {
			go func() {
				for i := range each {
					c <- p*each + i
				}
				producing.Done()
			}()
		}
		for range consumers {
			go func() {
				s, m := 0, 0
				for v := range c {
					s += v
					m++
				}
				sum.Add(int64(s))
				count.Add(int64(m))
				consuming.Done()
			}()
		}
		producing.Wait()
		close(c)
		consuming.Wait()
		d := time.Since(start)
		check(int(count.Load()) == total && int(sum.Load()) == sumBelow(total), "%d values, sum %d", count.Load(), sum.Load())
		return total, d, nil
	}
}

func select4(n int) (int, time.Duration, extra) {
	each := n/4 + 1
	total := each * 4
	capacity := envInt("BENCH_CAP", 0)
	var cs [4]chan int
	for i := range cs {
		cs[i] = make(chan int, capacity)
	}
	done := make(chan int)
	start := time.Now()
	for p, c := range cs {
		go func() {
			for i := range each {
				c <- p*each + i
			}
		}()
	}
	go func() {
		c0, c1, c2, c3 := cs[0], cs[1], cs[2], cs[3]
		sum := 0
		for range total {
			select {
			case v := <-c0:
				sum += v
			case v := <-c1:
				sum += v
			case v := <-c2:
				sum += v
			case v := <-c3:
				sum += v
			}
		}
		done <- sum
	}()
	sum := <-done
	d := time.Since(start)
	check(sum == sumBelow(total), "sum %d", sum)
	return total, d, extra{"cap": capacity}
}

func ring(n int) (int, time.Duration, extra) {
	const nodes = 503
	var cs [nodes]chan int
	for i := range cs {
		cs[i] = make(chan int)
	}
	done := make(chan int)
	var wg sync.WaitGroup
	wg.Add(nodes)
	start := time.Now()
	for i := range nodes {
		in, out := cs[i], cs[(i+1)%nodes]
		go func() {
			for token := range in {
				if token > 0 {
					out <- token - 1
				} else {
					done <- i
				}
			}
			if i < nodes-1 {
				close(out)
			}
			wg.Done()
		}()
	}
	cs[0] <- n
	last := <-done
	d := time.Since(start)
	close(cs[0])
	wg.Wait()
	check(last == n%nodes, "the token ended at %d, not %d", last, n%nodes)
	return n, d, nil
}

func nthPrime(n int) int {
	candidate := 1
	for n > 0 {
		candidate++
		divisor := 2
		for divisor*divisor <= candidate && candidate%divisor != 0 {
			divisor++
		}
		if divisor*divisor > candidate {
			n--
		}
	}
	return candidate
}

func sieve(n int) (int, time.Duration, extra) {
	generate := func(out chan<- int) {
		for i := 2; ; i++ {
			out <- i
		}
	}
	filter := func(in <-chan int, out chan<- int, prime int) {
		for {
			if i := <-in; i%prime != 0 {
				out <- i
			}
		}
	}
	start := time.Now()
	c := make(chan int)
	go generate(c)
	prime := 0
	for i := range n {
		if i > 0 {
			out := make(chan int)
			go filter(c, out, prime)
			c = out
		}
		prime = <-c
	}
	d := time.Since(start)
	// The filters stay blocked for good, as in the classic program.
	check(prime == nthPrime(n), "prime %d is %d", n, prime)
	return 1, d, extra{"prime": prime}
}
