/* SPDX-License-Identifier: MIT
 * preempt.c - a sleeper beside coroutines that do not give way: they compute, or block their thread in libc. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- hog --------------------------------------------------------------------------------------------------------- */

struct hogs {
	int64_t end;
	uint64_t chunk; /* iterations between two looks at the clock */
	_Atomic uint64_t sum;
};

static void hog(void *arg)
{
	struct hogs *h = arg;
	uint64_t sum = 0;

	while (now_ns() < h->end)
		sum += spin(h->chunk);
	atomic_fetch_add(&h->sum, sum);
}

static void run_hog(struct result *r, int64_t n)
{
	int64_t wall = env_number("BENCH_HOG_MS", 2000) * GMP_MSEC;
	struct hogs h = {.chunk = (uint64_t)((double)wall / 20 / spin_ns()) + 1};
	int64_t wakeups = 0, sleeps = 0, worst = 0;
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	h.end = start + wall;
	for (int i = 0; i < bench_workers; i++)
		must(gmp_waitgroup_spawn(&wg, hog, &h));
	while (sleeps < n && now_ns() < h.end) {
		int64_t asleep = now_ns();
		must(gmp_sleep(10 * GMP_MSEC));
		int64_t awake = now_ns(), late = awake - asleep - 10 * GMP_MSEC;
		if (late > worst)
			worst = late;
		sleeps++;
		wakeups += awake <= h.end;
	}
	r->ns = now_ns() - start;
	r->ops = n;
	must(gmp_waitgroup_wait(&wg));
	check(h.sum, "nobody computed");
	result_number(r, "wakeups", (double)wakeups);
	result_number(r, "max_late_us", (double)worst / 1e3);
	result_number(r, "sleeps_done", (double)sleeps);
	result_number(r, "hog_wall_s", (double)(now_ns() - start) / 1e9);
}

/* ---- blocked ----------------------------------------------------------------------------------------------------- */

enum { BLOCKERS = 8, BLOCK_MS = 200 };

struct blocker {
	int64_t end;
	int64_t interrupted;
};

static void block(void *arg)
{
	struct blocker *b = arg;

	if (usleep(BLOCK_MS * 1000) != 0) /* of libc: nobody tells the scheduler */
		b->interrupted++;
	b->end = now_ns();
}

static void run_blocked(struct result *r, int64_t n)
{
	struct blocker blockers[BLOCKERS] = {{0}};
	int64_t *late = must_alloc((size_t)n, sizeof *late);
	int64_t wakeups = 0, last = 0, interrupted = 0;
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	for (int i = 0; i < BLOCKERS; i++)
		must(gmp_waitgroup_spawn(&wg, block, &blockers[i]));
	for (int64_t i = 0; i < n; i++) {
		int64_t asleep = now_ns();
		must(gmp_sleep(GMP_MSEC));
		int64_t awake = now_ns();
		late[i] = awake - asleep - GMP_MSEC;
		check(late[i] >= 0, "woke %lld ns early", (long long)-late[i]);
		wakeups += awake - start <= BLOCK_MS * GMP_MSEC;
	}
	r->ns = now_ns() - start;
	r->ops = n;
	must(gmp_waitgroup_wait(&wg));
	for (int i = 0; i < BLOCKERS; i++) {
		interrupted += blockers[i].interrupted;
		if (blockers[i].end > last)
			last = blockers[i].end;
	}
	result_number(r, "wakeups", (double)wakeups);
	result_quantiles(r, "late_us", late, (size_t)n);
	result_number(r, "blockers_wall_ms", (double)(last - start) / 1e6);
	result_number(r, "eintr", (double)interrupted);
	free(late);
}

const struct workload preempt_workloads[] = {
	{"hog", run_hog, 200, WARM_NONE, "n sleeps of 10 ms beside computing coroutines, 2 s (BENCH_HOG_MS)"},
	{"blocked", run_blocked, 200, WARM_NONE, "n sleeps of 1 ms beside 8 coroutines in usleep(200 ms)"},
	{0},
};
