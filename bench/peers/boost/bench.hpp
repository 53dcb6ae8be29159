// SPDX-License-Identifier: MIT
// bench.hpp - what does not depend on the runtime: result, checks, clocks, memory, statistics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct Result {
	int64_t ops = 0;
	int64_t ns = 0;    // of the measured part alone
	std::string extra; // members of the JSON object "extra"

	void number(const char *key, double value);
	void text(const char *key, const std::string &value);
	// Sorts the samples (nanoseconds) and adds p50_<what>, p99_<what> and max_<what> in microseconds.
	void quantiles(const char *what, std::vector<int64_t> &samples);
};

using WorkloadFn = Result (*)(int64_t n);

enum class WarmUp { twentieth, tenth, depth, none };

struct Workload {
	const char *name;
	WorkloadFn run;
	int64_t n; // default
	WarmUp warm_up;
	bool measures_memory; // a pool of stacks would touch them
};

extern const std::vector<Workload> spawn_workloads, chan_workloads, fork_join_workloads, memory_workloads,
	time_workloads;

extern int workers;
extern const Workload *current;
extern int64_t current_n;

// Prints the result line and ends the process: a runtime whose threads are still at work is not taken down.
[[noreturn]] void print_and_exit(const Result &r);
// Prints the message and ends the process with status 1: a wrong run has no figure.
[[noreturn]] void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define EXPECT(ok, ...) \
	do { \
		if (!(ok)) \
			fail(__VA_ARGS__); \
	} while (0)

int64_t env_number(const char *name, int64_t otherwise);
int64_t now_ns();
int64_t cpu_ns();
int64_t context_switches();

struct Memory {
	int64_t rss, vsz, pte; // bytes; pte: page tables
};
Memory memory_now();
extern Memory memory_at_start; // before the warm-up
inline double per(int64_t before, int64_t after, int64_t n) { return double(after - before) / double(n); }
inline double rss_per(int64_t n) { return per(memory_at_start.rss, memory_now().rss, n); }

// SplitMix64 of x: the same in every runtime's twin.
inline uint64_t mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}
