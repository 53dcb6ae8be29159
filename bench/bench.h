/* SPDX-License-Identifier: MIT
 * bench.h - what the workloads of gmp-bench share: the table's row, the result, checks, clocks, memory, statistics.
 *
 * A workload is a function that does n units of work in the main coroutine, verifies what came out, and says how many
 * operations that were and how long the measured part took. It is called twice: for the warm-up and for the figure.
 */
#ifndef BENCH_H
#define BENCH_H

#include <gmp.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct result {
	int64_t ops;
	int64_t ns;              /* of the measured part alone */
	const char *unsupported; /* why there is no figure; else NULL */
	char extra[1024];        /* members of the JSON object "extra" */
	size_t extra_len;
};

typedef void workload_fn(struct result *r, int64_t n);

/* The warm-up does a twentieth of the work, unless a flag says otherwise. */
enum workload_flags {
	WARM_TENTH = 1, /* n is rounded down to a power of ten: the next one below */
	WARM_DEPTH = 2, /* n - 6: the work grows by 1.618 for each step of n */
	WARM_NONE = 4,
	NO_RUNTIME = 8, /* runs on the plain main thread */
};

struct workload {
	const char *name; /* NULL ends a table */
	workload_fn *run;
	int64_t n; /* default */
	unsigned flags;
	const char *help;
};

/* One table for each file of workloads. */
extern const struct workload switch_workloads[], spawn_workloads[], chan_workloads[], sync_workloads[];
extern const struct workload fork_join_workloads[], memory_workloads[], time_workloads[], preempt_workloads[];
extern const struct workload wake_workloads[], steal_workloads[];

extern int bench_workers; /* number of Ps, from the command line */

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* Prints the message and ends the process with status 1: a wrong run has no figure. */
_Noreturn void bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define check(ok, ...) \
	do { \
		if (__builtin_expect(!(ok), 0)) \
			bench_fail(__VA_ARGS__); \
	} while (0)

_Noreturn void bench_fail_call(const char *call, int err);

/* A call that must not fail. */
#define must(call) \
	do { \
		int must_err = (call); \
		if (__builtin_expect(must_err < 0, 0)) \
			bench_fail_call(#call, must_err); \
	} while (0)

void *must_alloc(size_t count, size_t size); /* zeroed */
gmp_chan *must_chan(size_t elem_size, size_t capacity);

int64_t env_number(const char *name, int64_t otherwise);

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

/* Not gmp_now: a hog must be free of calls into the library. */
static inline int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * GMP_SEC + ts.tv_nsec;
}

int64_t cpu_ns(void); /* user and system time of the process */

/* Arithmetic without a call or a store, so that nothing but the kernel or the library's hand-off can interrupt it. */
uint64_t spin(uint64_t iterations);
double spin_ns(void); /* nanoseconds an iteration, the least of several measurements */

/* ---- results ----------------------------------------------------------------------------------------------------- */

void result_number(struct result *r, const char *key, double value); /* three decimals */
void result_text(struct result *r, const char *key, const char *value);
/* Sorts the samples (nanoseconds, at least one) and adds p50_<what>, p99_<what> and max_<what> in microseconds. */
void result_quantiles(struct result *r, const char *what, int64_t *samples, size_t count);
/* Sorts; the value that `fraction` of the samples do not exceed. */
int64_t quantile(int64_t *samples, size_t count, double fraction);

/* ---- memory ------------------------------------------------------------------------------------------------------ */

struct memory {
	int64_t rss, vsz, pte; /* bytes; pte: page tables, which the resident size leaves out */
};

struct memory memory_now(void);
/* As it was before the warm-up: what that leaves in the library's pools is charged to the measured run. */
extern struct memory memory_at_start;

/* ---- random numbers ---------------------------------------------------------------------------------------------- */

/* SplitMix64 of x: the same in every runtime's twin. */
static inline uint64_t mix64(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
