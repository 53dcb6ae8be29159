// SPDX-License-Identifier: MIT
// spawn.cpp - the bare switch, yields, short fibers, and the mutex.
#include "bench.hpp"
#include "fibers.hpp"

#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fixedsize_stack.hpp>

namespace context = boost::context;

static Result run_switch(int64_t n)
{
	context::fixedsize_stack stacks(stack_size);
	context::stack_context stack = stacks.allocate();
	auto partner = +[](context::detail::transfer_t t) {
		for (;;)
			t = context::detail::jump_fcontext(t.fctx, t.data);
	};
	context::detail::fcontext_t c = context::detail::make_fcontext(stack.sp, stack.size, partner);
	int64_t rounds = n / 2 + 1;
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < rounds; i++)
		c = context::detail::jump_fcontext(c, nullptr).fctx;
	r.ns = now_ns() - start;
	r.ops = 2 * rounds;
	return r;
}

static Result yield_among(int64_t n, int64_t fibers)
{
	int64_t each = n / fibers + 1;
	auto &wg = wait_group(fibers);
	std::atomic<int64_t> total{0};
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < fibers; i++)
		spawn([&wg, &total, each] {
			int64_t count = 0;
			for (; count < each; count++)
				boost::this_fiber::yield();
			total += count;
			wg.done();
		});
	wg.wait();
	r.ns = now_ns() - start;
	r.ops = each * fibers;
	EXPECT(total == r.ops, "%lld yields", (long long)total.load());
	return r;
}

static Result run_yield2(int64_t n) { return yield_among(n, 2); }

static Result run_yield1000(int64_t n) { return yield_among(n, 1000); }

static Result run_spawn1(int64_t n)
{
	int64_t ran = 0;
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++)
		fork([&ran] { ran++; }).join();
	r.ns = now_ns() - start;
	r.ops = n;
	EXPECT(ran == n, "%lld of %lld ran", (long long)ran, (long long)n);
	return r;
}

static Result run_spawn_many(int64_t n)
{
	auto &wg = wait_group(n);
	Result r;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++)
		spawn([&wg] { wg.done(); });
	wg.wait();
	r.ns = now_ns() - start;
	r.ops = n;
	return r;
}

static Result run_spawn_park(int64_t n)
{
	auto &gate = *new bf::unbuffered_channel<int>;
	int64_t batch = env_number("BENCH_BATCH", 1000);
	Result r;

	if (batch == 0 || batch > n)
		batch = n;
	int64_t start = now_ns();
	for (int64_t left = n; left > 0;) {
		int64_t now = batch < left ? batch : left;
		auto &up = wait_group(now), &ended = wait_group(now);
		for (int64_t i = 0; i < now; i++)
			spawn([&up, &ended, &gate] {
				int v;
				up.done();
				gate.pop(v);
				ended.done();
			});
		up.wait();
		for (int64_t i = 0; i < now; i++)
			gate.push(0);
		ended.wait();
		left -= now;
	}
	r.ns = now_ns() - start;
	r.ops = n;
	return r;
}

static Result run_mutex(int64_t n)
{
	constexpr int fibers = 100;
	int64_t each = n / fibers + 1, value = 0;
	auto &mutex = *new bf::mutex;
	auto &wg = wait_group(fibers);
	Result r;

	int64_t start = now_ns();
	for (int i = 0; i < fibers; i++)
		spawn([&mutex, &wg, &value, each] {
			for (int64_t k = 0; k < each; k++) {
				mutex.lock();
				value++;
				mutex.unlock();
			}
			wg.done();
		});
	wg.wait();
	r.ns = now_ns() - start;
	r.ops = each * fibers;
	EXPECT(value == r.ops, "counted to %lld", (long long)value);
	return r;
}

const std::vector<Workload> spawn_workloads = {
	{"switch", run_switch, 20000000, WarmUp::twentieth, false},
	{"yield2", run_yield2, 10000000, WarmUp::twentieth, false},
	{"yield1000", run_yield1000, 10000000, WarmUp::twentieth, false},
	{"spawn1", run_spawn1, 2000000, WarmUp::twentieth, false},
	{"join", run_spawn1, 2000000, WarmUp::twentieth, false},
	{"spawn_many", run_spawn_many, 1000000, WarmUp::twentieth, false},
	{"spawn_park", run_spawn_park, 1000000, WarmUp::twentieth, false},
	{"mutex", run_mutex, 10000000, WarmUp::twentieth, false},
};
