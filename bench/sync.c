/* SPDX-License-Identifier: MIT
 * sync.c - 100 coroutines and one mutex. */
#include "bench.h"

struct counter {
	gmp_mutex mutex;
	int64_t value;
	int64_t each;
};

static void count_up(void *arg)
{
	struct counter *c = arg;

	for (int64_t i = 0; i < c->each; i++) {
		must(gmp_mutex_lock(&c->mutex));
		c->value++;
		gmp_mutex_unlock(&c->mutex);
	}
}

static void run_mutex(struct result *r, int64_t n)
{
	enum { COROUTINES = 100 };
	struct counter c = {.each = n / COROUTINES + 1};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	for (int i = 0; i < COROUTINES; i++)
		must(gmp_waitgroup_spawn(&wg, count_up, &c));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = c.each * COROUTINES;
	check(c.value == r->ops, "counted to %lld, not %lld", (long long)c.value, (long long)r->ops);
}

const struct workload sync_workloads[] = {
	{"mutex", run_mutex, 10000000, 0, "lock, increment, unlock: 100 coroutines, one mutex"},
	{0},
};
