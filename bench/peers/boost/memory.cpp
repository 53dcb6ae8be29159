// SPDX-License-Identifier: MIT
// memory.cpp - what a fiber costs in memory.
#include "bench.hpp"
#include "fibers.hpp"

#include <malloc.h>

constexpr int64_t settle = 20000000;

// Fibers wait on it until it is opened, one message each: a closed unbuffered channel wakes its waiters as well, but
// only those that have come already.
struct Gate {
	bf::unbuffered_channel<int> channel;

	void wait()
	{
		int v;
		channel.pop(v);
	}
	void open(int64_t waiters)
	{
		for (int64_t i = 0; i < waiters; i++)
			channel.push(0);
	}
};

static Result run_parked(int64_t n)
{
	auto &up = wait_group(n), &ended = wait_group(n);
	auto &gate = *new Gate;
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++)
		spawn([&] {
			up.done();
			gate.wait();
			ended.done();
		});
	up.wait();
	int64_t park = now_ns() - start;
	sleep_ns(settle);
	Memory m = memory_now();
	start = now_ns();
	gate.open(n);
	ended.wait();
	int64_t release = now_ns() - start;
	r.ns = park + release;
	r.ops = n;
	double rss = per(memory_at_start.rss, m.rss, n), pte = per(memory_at_start.pte, m.pte, n);
	r.number("bytes_per", rss);
	r.number("pte_bytes_per", pte);
	r.number("total_bytes_per", rss + pte);
	r.number("vsz_per", per(memory_at_start.vsz, m.vsz, n));
	r.number("bytes_per_after_end", rss_per(n));
	malloc_trim(0);
	r.number("bytes_per_after_trim", rss_per(n));
	r.number("park_s", double(park) / 1e9);
	r.number("release_s", double(release) / 1e9);
	return r;
}

constexpr int64_t levels = 16, frame = 1024; // together 16 KiB

// The frame is the array and, on x86-64, 80 bytes beside it.
static __attribute__((noinline)) int64_t descend(int64_t level, WaitGroup &at_depth, Gate &gate)
{
	volatile char pad[frame - 80];

	for (size_t i = 0; i < sizeof pad; i += 64)
		pad[i] = char(level);
	if (level > 1) {
		level += descend(level - 1, at_depth, gate);
	} else {
		boost::this_fiber::yield();
		at_depth.done();
		gate.wait();
	}
	return level + pad[0] - pad[64];
}

static Result run_deep(int64_t n)
{
	auto &at_depth = wait_group(n), &shallow = wait_group(n), &ended = wait_group(n);
	auto &gate_deep = *new Gate, &gate_shallow = *new Gate;
	std::atomic<int64_t> sum{0};
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++)
		spawn([&] {
			sum += descend(levels, at_depth, gate_deep);
			shallow.done();
			gate_shallow.wait();
			ended.done();
		});
	at_depth.wait();
	r.ns = now_ns() - start;
	sleep_ns(settle);
	r.number("bytes_per_peak", rss_per(n));
	r.number("pte_bytes_per_peak", per(memory_at_start.pte, memory_now().pte, n));

	start = now_ns();
	gate_deep.open(n);
	shallow.wait();
	r.ns += now_ns() - start;
	sleep_ns(settle);
	r.number("bytes_per_after_all_parked_shallow", rss_per(n));
	malloc_trim(0);
	r.number("bytes_per_after_all_parked_shallow_trim", rss_per(n));

	start = now_ns();
	gate_shallow.open(n);
	ended.wait();
	r.ns += now_ns() - start;
	r.ops = n;
	sleep_ns(settle);
	r.number("bytes_per_after_end", rss_per(n));
	malloc_trim(0);
	r.number("bytes_per_after_trim", rss_per(n));
	EXPECT(sum == n * levels * (levels + 1) / 2, "sum of levels %lld", (long long)sum.load());
	return r;
}

const std::vector<Workload> memory_workloads = {
	{"parked", run_parked, 100000, WarmUp::twentieth, true},
	{"deep", run_deep, 10000, WarmUp::twentieth, true},
};
