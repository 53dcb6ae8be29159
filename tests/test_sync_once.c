/* SPDX-License-Identifier: MIT
 * test_sync_once.c - gmp_once: once, waiters return after fn, cancelled or not; foreign threads; freed at once. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

/* On one P: everybody else runs until it waits. */
static void settle(void)
{
	for (int i = 0; i < 4; i++)
		gmp_yield();
}

static gmp_once zero = GMP_ONCE_INIT;

typedef struct Init {
	gmp_once once;
	gmp_waitgroup wg;
	int calls;
	atomic_int returned, cancelled;
} Init;

static void init(void *arg)
{
	Init *x = arg;
	gmp_sleep(1000);
	x->calls++;
}

static void caller(void *arg)
{
	Init *x = arg;
	gmp_once_do(&x->once, init, x);
	check_int(x->calls, 1);
	x->returned++;
	gmp_waitgroup_done(&x->wg);
}

static void *caller_thread(void *arg)
{
	caller(arg);
	return NULL;
}

static void callers(void *arg)
{
	for (int round = 0; round < 20 / test_scale() + 1; round++) {
		Init x = {.calls = 0};
		pthread_t t[2];
		gmp_hold();
		gmp_waitgroup_add(&x.wg, arg ? 12 : 10);
		for (int i = 0; i < 10; i++)
			check_int(gmp_spawn(caller, &x), 0);
		for (int i = 0; arg && i < 2; i++)
			check_int(pthread_create(&t[i], NULL, caller_thread, &x), 0);
		check_int(gmp_waitgroup_wait(&x.wg), 0);
		gmp_release();
		check_int(x.calls, 1);
		gmp_once_do(&x.once, init, &x);
		check_int(x.calls, 1);
		for (int i = 0; arg && i < 2; i++)
			check_int(pthread_join(t[i], NULL), 0);
	}
}

static void count_call(void *arg) { (*(int *)arg)++; }

static void fn_is_called_once(void **state)
{
	(void)state;
	int calls = 0;
	for (int i = 0; i < 3; i++)
		gmp_once_do(&zero, count_call, &calls);
	check_int(calls, 1);
	run_on_all(callers, NULL);
	run_on_all(callers, "with threads");
}

/* ---- cancellation ------------------------------------------------------------------------------------------------ */

static void slow_init(void *arg)
{
	Init *x = arg;
	while (!x->cancelled)
		gmp_yield();
	settle();
	check_int(x->returned, 0);
	x->calls++;
}

static void slow_caller(void *arg)
{
	Init *x = arg;
	gmp_once_do(&x->once, slow_init, x);
	check_int(x->calls, 1);
	x->returned++;
}

static void cancels(void *arg)
{
	(void)arg;
	Init x = {.calls = 0};
	gmp_g *g[3];
	for (int i = 0; i < 3; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, slow_caller, &x), 0);
	settle();
	for (int i = 0; i < 3; i++)
		check_int(gmp_cancel(g[i]), 0);
	x.cancelled = 1;
	for (int i = 0; i < 3; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(x.returned, 3);
}

static void cancelled_callers_wait_for_the_end_of_fn(void **state)
{
	(void)state;
	run_on_all(cancels, NULL);
}

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

typedef struct Freed {
	gmp_once once;
	int refs;
} Freed;

static void yielding(void *arg)
{
	(void)arg;
	gmp_yield();
}

static void use_and_drop(void *arg)
{
	Freed *f = arg;
	gmp_once_do(&f->once, yielding, NULL);
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		memset(f, 0xee, sizeof *f);
		free(f);
	}
}

static void freeing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000 / test_scale() + 1; i++) {
		Freed *f = calloc(1, sizeof *f);
		check(f);
		f->refs = 4;
		for (int k = 0; k < 3; k++)
			check_int(gmp_spawn(use_and_drop, f), 0);
		use_and_drop(f);
	}
}

static void the_last_caller_may_free_it(void **state)
{
	(void)state;
	run_on_all(freeing, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fn_is_called_once),
		cmocka_unit_test(cancelled_callers_wait_for_the_end_of_fn),
		cmocka_unit_test(the_last_caller_may_free_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
