// SPDX-License-Identifier: MIT

// Gobench is gmp-bench for goroutines: the same workloads, arguments and output line.
//
// Usage: gobench WORKLOAD WORKERS [N]
//
// The collector runs with its default settings unless GOGC says otherwise.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

type extra map[string]any

// A workload does n units of work, verifies what came out, and says how many operations that were, how long the
// measured part took, and what else there is to report.
type workload func(n int) (ops int, d time.Duration, x extra)

type entry struct {
	run  workload
	n    int             // default
	warm func(n int) int // size of the warm-up
}

func twentieth(n int) int { return n / 20 }
func tenth(n int) int     { return n / 10 } // the next power of ten below
func depth(n int) int     { return n - 6 }  // the work grows by 1.618 for each step of n

var workloads = map[string]entry{
	"yield2":       {yieldAmong(2), 10000000, twentieth},
	"yield1000":    {yieldAmong(1000), 10000000, twentieth},
	"spawn1":       {spawn1Chan, 2000000, twentieth},
	"spawn1_chan":  {spawn1Chan, 2000000, twentieth},
	"spawn1_wg":    {spawn1WG, 2000000, twentieth},
	"join":         {join, 2000000, twentieth},
	"spawn_many":   {spawnMany, 1000000, twentieth},
	"spawn_park":   {spawnPark, 1000000, twentieth},
	"chan_pp":      {chanPP, 4000000, twentieth},
	"chan_buf":     {pump(1, 1), 20000000, twentieth},
	"chan_mpmc":    {pump(4, 4), 8000000, twentieth},
	"select4":      {select4, 4000000, twentieth},
	"ring":         {ring, 5000000, twentieth},
	"sieve":        {sieve, 2000, twentieth},
	"mutex":        {mutex, 10000000, twentieth},
	"skynet":       {skynet, 1000000, tenth},
	"skynet_wg":    {skynetWG, 1000000, tenth},
	"fib":          {fib(fibChan), 27, depth},
	"fib_chan":     {fib(fibChan), 27, depth},
	"fib_wg":       {fib(fibWG), 27, depth},
	"parked":       {parked(false), 100000, twentieth},
	"parked_own":   {parked(true), 100000, twentieth},
	"deep":         {deep, 10000, twentieth},
	"sleepers":     {sleepers, 100000, twentieth},
	"timer_cancel": {timerCancel, 2000000, twentieth},
	"idle":         {idle, 1000, nil},
	"hog":          {hog, 200, nil},
	"blocked":      {blocked(false), 200, nil},
	"blocked_raw":  {blocked(true), 200, nil},
	"wake":         {wake, 10000, twentieth},
	"fanout":       {fanout, 200, twentieth},
	"wake_xthread": {wakeXthread, 100000, twentieth},
	"steal":        {steal, 100000, nil},
}

var unsupported = map[string]string{
	"touch":       "plain threads, no runtime",
	"switch":      "Go exposes no raw context switch",
	"skynet_join": "a goroutine has no handle",
}

var workers int

func usage() {
	fmt.Fprintln(os.Stderr, "usage: gobench WORKLOAD WORKERS [N]")
	os.Exit(2)
}

func positive(s string) int {
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 {
		usage()
	}
	return v
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		usage()
	}
	name := os.Args[1]
	workers = positive(os.Args[2])
	why, no := unsupported[name]
	if (name == "wake" || name == "fanout") && workers < 2 {
		why, no = "needs two workers", true
	}
	if no {
		fmt.Printf(`{"runtime":"go","workload":%q,"workers":%d,"unsupported":%q}`+"\n", name, workers, why)
		return
	}
	w, ok := workloads[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "gobench: no workload %s\n", name)
		os.Exit(2)
	}
	n := w.n
	if len(os.Args) == 4 {
		n = positive(os.Args[3])
	}

	runtime.GOMAXPROCS(workers)
	memoryAtStart = memoryNow()
	if w.warm != nil {
		w.run(max(w.warm(n), 1))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ops, d, x := w.run(n)
	runtime.ReadMemStats(&after)
	if x == nil {
		x = extra{}
	}
	x["gc_cycles"] = after.NumGC - before.NumGC
	x["version"] = runtime.Version()
	text, err := json.Marshal(x)
	check(err == nil, "%v", err)
	fmt.Printf(`{"runtime":"go","workload":%q,"workers":%d,"n":%d,"ns_per_op":%.2f,"total_s":%.6f,"extra":%s}`+"\n",
		name, workers, n, float64(d.Nanoseconds())/float64(ops), d.Seconds(), text)
}
