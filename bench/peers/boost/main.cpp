// SPDX-License-Identifier: MIT
// main.cpp - gmp-bench for Boost.Fiber: the same workloads, arguments and output line.
#include "bench.hpp"
#include "fibers.hpp"

#include <boost/version.hpp>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <thread>
#include <unistd.h>

int workers;
const Workload *current;
int64_t current_n;
bf::pooled_fixedsize_stack *pool;

void configure()
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	mallopt(M_TOP_PAD, 1 << 20);
	if (workers == 1 && !current->measures_memory)
		pool = new bf::pooled_fixedsize_stack(stack_size);
}

void run_fibers(void (*fn)())
{
	if (workers == 1) {
		fn();
		return;
	}
	auto steal = [] { bf::use_scheduling_algorithm<bf::algo::work_stealing>(uint32_t(workers), true); };
	auto &mutex = *new bf::mutex;
	auto &never = *new bf::condition_variable;
	for (int i = 1; i < workers; i++)
		std::thread([steal, &mutex, &never] {
			steal();
			std::unique_lock<bf::mutex> lock(mutex);
			never.wait(lock);
		}).detach();
	steal();
	bf::fiber(fn).join();
}

static const Workload *find(const char *name)
{
	for (auto *table :
		{&spawn_workloads, &chan_workloads, &fork_join_workloads, &memory_workloads, &time_workloads})
		for (const Workload &w : *table)
			if (std::strcmp(w.name, name) == 0)
				return &w;
	return nullptr;
}

static int64_t warm_up_n()
{
	int64_t n = 0;

	switch (current->warm_up) {
	case WarmUp::twentieth:
		n = current_n / 20;
		break;
	case WarmUp::tenth:
		n = current_n / 10;
		break;
	case WarmUp::depth:
		n = current_n - 6;
		break;
	case WarmUp::none:
		return 0;
	}
	return n > 0 ? n : 1;
}

static void run_current()
{
	int64_t warm = warm_up_n();

	memory_at_start = memory_now();
	if (warm > 0)
		current->run(warm);
	print_and_exit(current->run(current_n));
}

void print_and_exit(const Result &r)
{
	std::printf("{\"runtime\":\"boost\",\"workload\":\"%s\",\"workers\":%d,\"n\":%lld,\"ns_per_op\":%.2f,"
		    "\"total_s\":%.6f,\"extra\":{%s\"version\":\"%s\"}}\n",
		current->name, workers, (long long)current_n, double(r.ns) / double(r.ops), double(r.ns) / 1e9,
		r.extra.empty() ? "" : (r.extra + ",").c_str(), BOOST_LIB_VERSION);
	std::fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4 || std::atoi(argv[2]) < 1 || (argc == 4 && std::atoll(argv[3]) < 1)) {
		std::fprintf(stderr, "usage: boostbench WORKLOAD WORKERS [N]\n");
		return 2;
	}
	workers = std::atoi(argv[2]);
	current = find(argv[1]);
	if (!current) {
		bool select = std::strcmp(argv[1], "select4") == 0;
		std::printf("{\"runtime\":\"boost\",\"workload\":\"%s\",\"workers\":%d,\"unsupported\":\"%s\"}\n",
			argv[1], workers,
			select ? "Boost.Fiber has no select over channels" : "not written for Boost.Fiber");
		return 0;
	}
	current_n = argc == 4 ? std::atoll(argv[3]) : current->n;
	configure();
	run_fibers(run_current);
}
