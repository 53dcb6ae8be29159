/* SPDX-License-Identifier: MIT
 * spawn.c - the life of short coroutines: one after the other, very many at once, and with one wait on the way. */
#include "bench.h"
#include <limits.h>

/* ---- one at a time ----------------------------------------------------------------------------------------------- */

static void count_one(void *arg) { ++*(int64_t *)arg; }

static void run_spawn1(struct result *r, int64_t n)
{
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	int64_t ran = 0; /* no two of them live at the same time */

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++) {
		must(gmp_waitgroup_spawn(&wg, count_one, &ran));
		must(gmp_waitgroup_wait(&wg));
	}
	r->ns = now_ns() - start;
	r->ops = n;
	check(ran == n, "%lld of %lld ran", (long long)ran, (long long)n);
	result_text(r, "join", "waitgroup");
}

struct signaller {
	gmp_chan *done;
	int64_t ran;
};

static void count_and_signal(void *arg)
{
	struct signaller *s = arg;

	s->ran++;
	must(gmp_chan_send(s->done, NULL));
}

static void run_spawn1_chan(struct result *r, int64_t n)
{
	struct signaller s = {.done = must_chan(0, 0)};

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++) {
		must(gmp_spawn(count_and_signal, &s));
		must(gmp_chan_recv(s.done, NULL));
	}
	r->ns = now_ns() - start;
	r->ops = n;
	gmp_chan_free(s.done);
	check(s.ran == n, "%lld of %lld ran", (long long)s.ran, (long long)n);
	result_text(r, "join", "channel");
}

static void run_join(struct result *r, int64_t n)
{
	int64_t ran = 0;

	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++) {
		gmp_g *g;
		must(gmp_spawn_attr(&g, NULL, count_one, &ran));
		must(gmp_join(g));
	}
	r->ns = now_ns() - start;
	r->ops = n;
	check(ran == n, "%lld of %lld ran", (long long)ran, (long long)n);
	result_text(r, "join", "handle");
}

/* ---- many at once ------------------------------------------------------------------------------------------------ */

static void done(void *arg) { gmp_waitgroup_done(arg); }

/* The waitgroup aborts when it goes negative and the run hangs when it stays positive, so it is the count. It is set at
 * once, as in the peers. */
static void run_spawn_many(struct result *r, int64_t n)
{
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	check(n <= INT_MAX, "%lld are too many for a waitgroup", (long long)n);
	int64_t start = now_ns();
	gmp_waitgroup_add(&wg, (int)n);
	for (int64_t i = 0; i < n; i++)
		must(gmp_spawn(done, &wg));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = n;
}

struct parkers {
	gmp_waitgroup up, ended;
	gmp_chan *gate;
};

static void park_once(void *arg)
{
	struct parkers *p = arg;

	gmp_waitgroup_done(&p->up);
	must(gmp_chan_recv(p->gate, NULL));
}

static void run_spawn_park(struct result *r, int64_t n)
{
	struct parkers p = {.gate = must_chan(0, 0)};
	int64_t batch = env_number("BENCH_BATCH", 1000);

	if (batch == 0 || batch > n)
		batch = n;
	int64_t start = now_ns();
	for (int64_t left = n; left > 0;) {
		int now = (int)(batch < left ? batch : left);
		gmp_waitgroup_add(&p.up, now);
		for (int i = 0; i < now; i++)
			must(gmp_waitgroup_spawn(&p.ended, park_once, &p));
		must(gmp_waitgroup_wait(&p.up));
		for (int i = 0; i < now; i++)
			must(gmp_chan_send(p.gate, NULL));
		must(gmp_waitgroup_wait(&p.ended));
		left -= now;
	}
	r->ns = now_ns() - start;
	r->ops = n;
	gmp_chan_free(p.gate);
	result_number(r, "batch", (double)batch);
}

const struct workload spawn_workloads[] = {
	{"spawn1", run_spawn1, 2000000, 0, "spawn one, wait for it by a waitgroup"},
	{"spawn1_wg", run_spawn1, 2000000, 0, "the same"},
	{"spawn1_chan", run_spawn1_chan, 2000000, 0, "spawn one, wait for it by a channel"},
	{"join", run_join, 2000000, 0, "spawn one, join its handle"},
	{"spawn_many", run_spawn_many, 1000000, 0, "spawn all, then wait for all"},
	{"spawn_park", run_spawn_park, 1000000, 0, "whole life of a coroutine that blocks once"},
	{0},
};
