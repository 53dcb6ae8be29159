// SPDX-License-Identifier: MIT
// time.cpp - sleeping, doing nothing, and a sleeper beside hogs that nobody can interrupt.
#include "bench.hpp"
#include "fibers.hpp"

#include <thread>
#include <time.h>

static Result run_sleepers(int64_t n)
{
	constexpr int naps = 3;
	int64_t longest = env_number("BENCH_SLEEP_MS", 1000) * 1000000;
	auto &wg = wait_group(n);
	std::vector<int64_t> late(size_t(n * naps));
	Result r;

	int64_t cpu = cpu_ns(), start = now_ns();
	for (int64_t i = 0; i < n; i++)
		spawn([&, i] {
			for (int k = 0; k < naps; k++) {
				int64_t ns = int64_t(mix64(uint64_t(naps * i + k)) % uint64_t(longest + 1));
				int64_t asleep = now_ns();
				sleep_ns(ns);
				late[size_t(naps * i + k)] = now_ns() - asleep - ns;
			}
			wg.done();
		});
	wg.wait();
	r.ns = now_ns() - start;
	r.ops = n * naps;
	r.number("cpu_s", double(cpu_ns() - cpu) / 1e9);
	r.quantiles("late_us", late);
	return r;
}

static Result run_idle(int64_t n)
{
	Result r;

	for (int64_t i = 0; i < n; i++)
		spawn([] { sleep_ns(3600 * int64_t(1000000000)); });
	sleep_ns(300000000);
	int64_t switches = context_switches(), cpu = cpu_ns(), start = now_ns();
	sleep_ns(env_number("BENCH_IDLE_MS", 3000) * 1000000);
	r.ns = now_ns() - start;
	r.ops = 1;
	double cpu_ms = double(cpu_ns() - cpu) / 1e6;
	r.number("cpu_ms", cpu_ms);
	r.number("cpu_ms_per_s", cpu_ms / (double(r.ns) / 1e9));
	r.number("ctx_switches", double(context_switches() - switches));
	return r;
}

// A thread outside ends the process when the time is over: the fibers may never get to it.
static Result run_hog(int64_t n)
{
	static std::atomic<int64_t> wakeups{0}, worst{0}, asleep{0}; // asleep: since when, 0: awake
	constexpr int64_t pause = 10000000;
	int64_t wall = env_number("BENCH_HOG_MS", 2000) * 1000000, start = now_ns(), end = start + wall;

	std::thread([=] {
		timespec left{time_t(wall / 1000000000), long(wall % 1000000000)};
		while (nanosleep(&left, &left) != 0)
			continue;
		Result r;
		int64_t since = asleep, late = since ? now_ns() - since - pause : 0;
		r.ns = wall;
		r.ops = n;
		r.number("wakeups", double(wakeups));
		r.number("max_late_us", double(late > worst ? late : worst.load()) / 1e3);
		print_and_exit(r);
	}).detach();
	for (int i = 0; i < workers; i++)
		spawn([] {
			for (volatile uint64_t x = 0;; x = x + 1)
				continue;
		});
	for (;;) {
		asleep = now_ns();
		sleep_ns(pause);
		int64_t late = now_ns() - asleep - pause;
		asleep = 0;
		if (late > worst)
			worst = late;
		wakeups += now_ns() <= end;
	}
}

const std::vector<Workload> time_workloads = {
	{"sleepers", run_sleepers, 100000, WarmUp::twentieth, true},
	{"idle", run_idle, 1000, WarmUp::none, false},
	{"hog", run_hog, 200, WarmUp::none, false},
};
