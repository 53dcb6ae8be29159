/* SPDX-License-Identifier: MIT
 * time.c - sleeping, deadlines that never pass, and the cost of doing nothing. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

/* ---- sleepers ---------------------------------------------------------------------------------------------------- */

enum { NAPS = 3 };

struct sleeper {
	int64_t late[NAPS];
	int64_t index;
};

static int64_t longest_nap;

static void nap(void *arg)
{
	struct sleeper *s = arg;

	for (int k = 0; k < NAPS; k++) {
		int64_t ns = (int64_t)(mix64((uint64_t)(NAPS * s->index + k)) % (uint64_t)(longest_nap + 1));
		int64_t start = now_ns();
		must(gmp_sleep(ns));
		s->late[k] = now_ns() - start - ns;
	}
}

static void run_sleepers(struct result *r, int64_t n)
{
	struct sleeper *sleepers = must_alloc((size_t)n, sizeof *sleepers);
	int64_t *late = must_alloc((size_t)n * NAPS, sizeof *late);
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	longest_nap = env_number("BENCH_SLEEP_MS", 1000) * GMP_MSEC;
	for (int64_t i = 0; i < n; i++)
		sleepers[i].index = i;
	int64_t cpu = cpu_ns(), start = now_ns();
	for (int64_t i = 0; i < n; i++)
		must(gmp_waitgroup_spawn(&wg, nap, &sleepers[i]));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = n * NAPS;
	result_number(r, "cpu_s", (double)(cpu_ns() - cpu) / 1e9);
	for (int64_t i = 0; i < n * NAPS; i++) {
		late[i] = sleepers[i / NAPS].late[i % NAPS];
		check(late[i] >= 0, "woke %lld ns early", (long long)-late[i]);
	}
	result_quantiles(r, "late_us", late, (size_t)(n * NAPS));
	free(late);
	free(sleepers);
}

/* ---- timer_cancel ------------------------------------------------------------------------------------------------ */

/* A receiver whose deadline is 10 s away, and a partner who keeps the channel filled; with `asked` he sends only when
 * asked to, so that every receive parks with its timer set. */
struct deadline {
	gmp_chan *chan, *ask; /* ask NULL: not asked */
	int64_t n, sum;
	bool timed;
};

static void receive(void *arg)
{
	struct deadline *d = arg;

	for (int64_t i = 0; i < d->n; i++) {
		int64_t v;
		if (d->ask)
			must(gmp_chan_send(d->ask, NULL));
		if (d->timed)
			must(gmp_chan_recv_until(d->chan, &v, gmp_now() + 10 * GMP_SEC));
		else
			must(gmp_chan_recv(d->chan, &v));
		check(v == i, "got %lld, not %lld", (long long)v, (long long)i);
		d->sum += v;
	}
}

static void fill(void *arg)
{
	struct deadline *d = arg;

	for (int64_t i = 0; i < d->n; i++) {
		if (d->ask)
			must(gmp_chan_recv(d->ask, NULL));
		must(gmp_chan_send(d->chan, &i));
	}
}

/* Nanoseconds of n receives. */
static int64_t transfer(int64_t n, size_t capacity, bool timed, bool asked)
{
	struct deadline d = {.chan = must_chan(sizeof(int64_t), capacity), .n = n, .timed = timed};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	d.ask = asked ? must_chan(0, 0) : NULL;
	int64_t start = now_ns();
	must(gmp_waitgroup_spawn(&wg, receive, &d));
	must(gmp_waitgroup_spawn(&wg, fill, &d));
	must(gmp_waitgroup_wait(&wg));
	int64_t took = now_ns() - start;
	gmp_chan_free(d.chan);
	gmp_chan_free(d.ask);
	check(d.sum == n * (n - 1) / 2, "sum %lld", (long long)d.sum);
	return took;
}

static void run_timer_cancel(struct result *r, int64_t n)
{
	size_t capacity = (size_t)env_number("BENCH_CAP", 0);
	int64_t quarter = n / 4 + 1;

	r->ns = transfer(n, capacity, true, false);
	r->ops = n;
	double timed = (double)r->ns / (double)n;
	double plain = (double)transfer(n, capacity, false, false) / (double)n;
	double park = (double)transfer(quarter, 0, true, true) / (double)quarter;
	double park_plain = (double)transfer(quarter, 0, false, true) / (double)quarter;
	result_number(r, "cap", (double)capacity);
	result_number(r, "plain_ns", plain);
	result_number(r, "set_cancel_ns", timed - plain);
	result_number(r, "park_ns", park);
	result_number(r, "park_plain_ns", park_plain);
	result_number(r, "park_set_cancel_ns", park - park_plain);
}

/* ---- idle -------------------------------------------------------------------------------------------------------- */

static void sleep_long(void *arg)
{
	gmp_waitgroup_done(arg);
	check(gmp_sleep(3600 * GMP_SEC) == -ECANCELED, "the hour is over");
}

static int64_t context_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

static void run_idle(struct result *r, int64_t n)
{
	gmp_group *group = gmp_group_new();
	gmp_waitgroup up = GMP_WAITGROUP_INIT;

	check(group, "no memory for a group");
	gmp_waitgroup_add(&up, (int)n);
	for (int64_t i = 0; i < n; i++)
		must(gmp_group_spawn(group, sleep_long, &up));
	must(gmp_waitgroup_wait(&up));
	must(gmp_sleep(300 * GMP_MSEC)); /* what follows a burst of spawns is over by then */
	int64_t switches = context_switches(), cpu = cpu_ns(), start = now_ns();
	must(gmp_sleep(env_number("BENCH_IDLE_MS", 3000) * GMP_MSEC));
	r->ns = now_ns() - start;
	r->ops = 1;
	double cpu_ms = (double)(cpu_ns() - cpu) / 1e6;
	result_number(r, "cpu_ms", cpu_ms);
	result_number(r, "cpu_ms_per_s", cpu_ms / ((double)r->ns / 1e9));
	result_number(r, "ctx_switches", (double)(context_switches() - switches));
	gmp_group_free(group);
}

const struct workload time_workloads[] = {
	{"sleepers", run_sleepers, 100000, 0, "3 random sleeps up to 1 s (BENCH_SLEEP_MS): lateness, CPU"},
	{"timer_cancel", run_timer_cancel, 2000000, 0, "one receive with a deadline 10 s away, BENCH_CAP"},
	{"idle", run_idle, 1000, WARM_NONE, "CPU time while n sleep for an hour, 3 s (BENCH_IDLE_MS)"},
	{0},
};
