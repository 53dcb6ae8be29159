// SPDX-License-Identifier: MIT
// fork_join.cpp - trees of fibers, joined by handles.
#include "bench.hpp"
#include "fibers.hpp"

constexpr int children = 10;

static int64_t skynet(int64_t number, int64_t size)
{
	int64_t part[children], sum = 0;
	bf::fiber child[children];

	if (size == 1)
		return number;
	size /= children;
	for (int i = 0; i < children; i++)
		child[i] = fork([&part, i, number, size] { part[i] = skynet(number + i * size, size); });
	for (int i = 0; i < children; i++) {
		child[i].join();
		sum += part[i];
	}
	return sum;
}

static Result run_skynet(int64_t n)
{
	int64_t size = 1;
	Result r;

	while (size * children <= n)
		size *= children;
	int64_t start = now_ns();
	int64_t sum = skynet(0, size);
	r.ns = now_ns() - start;
	r.ops = 1;
	EXPECT(sum == size * (size - 1) / 2, "sum %lld", (long long)sum);
	r.number("leaves", double(size));
	return r;
}

static int64_t fib(int64_t n)
{
	int64_t value = 0;

	if (n < 2)
		return n;
	bf::fiber child = fork([&value, n] { value = fib(n - 1); });
	int64_t own = fib(n - 2);
	child.join();
	return value + own;
}

static int64_t fib_plain(int64_t n)
{
	int64_t a = 0, b = 1;

	for (; n > 0; n--) {
		int64_t sum = a + b;
		a = b;
		b = sum;
	}
	return a;
}

static Result run_fib(int64_t n)
{
	Result r;

	int64_t start = now_ns();
	int64_t value = fib(n);
	r.ns = now_ns() - start;
	r.ops = n < 2 ? 1 : fib_plain(n + 1) - 1;
	EXPECT(value == fib_plain(n), "fib(%lld) = %lld", (long long)n, (long long)value);
	r.number("spawns", double(r.ops));
	return r;
}

const std::vector<Workload> fork_join_workloads = {
	{"skynet", run_skynet, 1000000, WarmUp::tenth, false},
	{"skynet_join", run_skynet, 1000000, WarmUp::tenth, false},
	{"fib", run_fib, 27, WarmUp::depth, false},
};
