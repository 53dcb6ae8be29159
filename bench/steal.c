/* SPDX-License-Identifier: MIT
 * steal.c - one coroutine spawns all the work: how well do the other Ps get their share? */
#include "bench.h"

struct burst {
	_Atomic uint64_t sum;
	uint64_t iterations;
};

static void work(void *arg)
{
	struct burst *b = arg;

	atomic_fetch_add(&b->sum, spin(b->iterations));
}

static int64_t run_burst(int64_t n, uint64_t iterations)
{
	struct burst b = {.iterations = iterations};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++)
		must(gmp_waitgroup_spawn(&wg, work, &b));
	must(gmp_waitgroup_wait(&wg));
	int64_t took = now_ns() - start;
	check(b.sum == (uint64_t)n * spin(iterations), "some of the work is missing");
	return took;
}

static void run_steal(struct result *r, int64_t n)
{
	enum { ROUNDS = 3 };
	int64_t one[ROUNDS], all[ROUNDS];
	double work_ns = (double)env_number("BENCH_WORK_NS", 2000);
	uint64_t iterations = (uint64_t)(work_ns / spin_ns()) + 1;

	/* In turn, so that a change of the machine's speed meets both. */
	for (int i = 0; i < ROUNDS; i++) {
		must(gmp_set_procs(1));
		run_burst(n / 20 + 1, iterations);
		one[i] = run_burst(n, iterations);
		must(gmp_set_procs(bench_workers));
		run_burst(n / 20 + 1, iterations);
		all[i] = run_burst(n, iterations);
	}
	int64_t alone = quantile(one, ROUNDS, 0.5);
	r->ns = quantile(all, ROUNDS, 0.5);
	r->ops = n;
	result_number(r, "speedup", (double)alone / (double)r->ns);
	result_number(r, "procs1_ns_per_op", (double)alone / (double)n);
	result_number(r, "work_ns", work_ns);
	result_number(r, "efficiency", (double)n * work_ns / ((double)bench_workers * (double)r->ns));
}

const struct workload steal_workloads[] = {
	{"steal", run_steal, 100000, WARM_NONE, "one coroutine spawns n of 2 us (BENCH_WORK_NS): speed-up over one P"},
	{0},
};
