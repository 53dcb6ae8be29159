/* SPDX-License-Identifier: MIT
 * test_solo.c - locks are left out exactly while one P does all the work (SOLO-1..6, solo.c): solo holds from the start, ends
 * before another P runs a coroutine or a timer, or a foreign thread takes part, and begins again when that is over. */
#include "testutil.h"
#include "proc.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static atomic_int ran, over, shared;
static atomic_uintptr_t here; /* the thread that computes */

static bool solo(void) { return load_acquire(&sched.solo); }

/* Without membarrier it is not worth it; GMP_DEBUG=solo=0. */
static bool possible(void) { return gmp__debug.solo && (TSAN_BUILD || !(load_relaxed(&sched.hints) & HINT_FENCE)); }

static void until_solo(void)
{
	while (!solo())
		gmp_yield();
}

/* The caller's M may touch objects as the state of things says (SOLO-1, SOLO-5). */
static void check_place(void)
{
	M *m = enter();
	check(!solo() || load_relaxed(&sched.solop) == m->p);
	check_int(load_relaxed(&m->shared), !solo());
	leave(m);
}

static void runs_elsewhere(void *arg)
{
	(void)arg;
	check(this_thread() != atomic_load(&here));
	check_place();
	atomic_fetch_add(&shared, !solo());
	atomic_fetch_add(&ran, 1);
}

static void another_p(void *arg)
{
	(void)arg;
	if (!possible())
		return;
	until_solo();
	check_place();
	atomic_store(&shared, 0);
	for (int i = 0; i < 20; i++) {
		atomic_store(&here, this_thread());
		atomic_store(&ran, 0);
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, runs_elsewhere, NULL), 0);
		while (!atomic_load(&ran)) /* without a call of the library: somebody steals it */
			sched_yield();
		check_int(gmp_join(g), 0);
		until_solo();
		check_place();
	}
	check(atomic_load(&shared) > 0 || !gmp__debug.steal); /* not each time: sysmon may have given this P away, if the thread lacks a CPU */
}

static void for_another_p_solo_ends_and_begins_again(void **state)
{
	(void)state;
	run_on(4, another_p, NULL);
}

static void sleeps(void *arg)
{
	check_int(gmp_sleep(GMP_MSEC), 0);
	runs_elsewhere(arg);
}

/* This P computes, so another one runs its timer. */
static void timer_elsewhere(void *arg)
{
	(void)arg;
	if (!possible())
		return;
	atomic_store(&shared, 0);
	for (int i = 0; i < 20; i++) {
		atomic_store(&here, 0); /* not known, until we are back from the yield */
		atomic_store(&ran, 0);
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, sleeps, NULL), 0);
		gmp_yield();
		atomic_store(&here, this_thread());
		while (!atomic_load(&ran))
			sched_yield();
		check_int(gmp_join(g), 0);
		until_solo();
		check_place();
	}
	check(atomic_load(&shared) > 0);
}

static void so_it_does_for_a_timer(void **state)
{
	(void)state;
	run_on(2, timer_elsewhere, NULL);
}

static void *takes_part(void *c)
{
	int one = 1;
	check_int(gmp_chan_send(c, &one), 0);
	while (!atomic_load(&over))
		sched_yield();
	return NULL;
}

static void foreign_thread(void *arg)
{
	(void)arg;
	if (!possible())
		return;
	for (int i = 0; i < 10; i++) {
		int got = 0;
		gmp_chan *c = gmp_chan_new(sizeof got, (size_t)i % 2);
		pthread_t t;
		atomic_store(&over, 0);
		gmp_hold(); /* the thread is not known yet: no deadlock */
		check_int(pthread_create(&t, NULL, takes_part, c), 0);
		check_int(gmp_chan_recv(c, &got), 0);
		gmp_release();
		check_int(got, 1);
		for (int k = 0; k < 1000; k++) {
			gmp_yield();
			check(!solo());
			check_place();
		}
		atomic_store(&over, 1);
		check_int(pthread_join(t, NULL), 0);
		until_solo();
		check_place();
		gmp_chan_free(c);
	}
}

static void and_for_a_foreign_thread_while_that_lives(void **state)
{
	(void)state;
	run_on(1, foreign_thread, NULL);
	run_on(2, foreign_thread, NULL);
}

/* Runs on the P that another coroutine has lost, which computes on. */
static void takes_over(void *mu)
{
	check_place();
	check_int(gmp_mutex_lock(mu), 0);
	atomic_fetch_add(&ran, 1);
	gmp_yield();
	gmp_mutex_unlock(mu);
}

static void loses_its_p(void *arg)
{
	(void)arg;
	gmp_mutex mu = {0};
	for (int i = 0; i < 4; i++) {
		atomic_store(&ran, 0);
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, takes_over, &mu), 0);
		while (!atomic_load(&ran)) /* sysmon hands the P on, or another one steals */
			sched_yield();
		check_int(gmp_mutex_lock(&mu), 0);
		check_place();
		gmp_mutex_unlock(&mu);
		check_int(gmp_join(g), 0);
	}
}

static void who_loses_its_p_does_not_act_as_if_alone(void **state)
{
	(void)state;
	run_on(1, loses_its_p, NULL);
	run_on(2, loses_its_p, NULL);
}

typedef struct Count {
	gmp_mutex mu;
	int n; /* guarded by mu */
} Count;

static void count(Count *c, int n)
{
	for (int i = 0; i < n; i++) {
		check_int(gmp_mutex_lock(&c->mu), 0);
		c->n++;
		gmp_mutex_unlock(&c->mu);
	}
}

static void counts_alone(void *c)
{
	while (!atomic_load(&over)) {
		count(c, 50);
		atomic_fetch_add(&ran, 50);
		gmp_yield();
	}
}

/* It comes back beside the other one, which may be alone. */
static void blocks(void *arg)
{
	(void)arg;
	Count c = {0};
	gmp_g *g;
	atomic_store(&ran, 0);
	atomic_store(&over, 0);
	check_int(gmp_spawn_attr(&g, NULL, counts_alone, &c), 0);
	for (int i = 0; i < 200; i++) {
		check_int(gmp_sleep(200 * GMP_USEC), 0); /* this M has nothing else to do */
		for (int k = 0; k < 1000 && !solo(); k++)
			gmp_yield();
		gmp_blocking_enter(); /* the P goes on, and solo with it */
		sched_yield();
		gmp_blocking_leave();
		check_place();
		count(&c, 50);
		atomic_fetch_add(&ran, 50);
	}
	atomic_store(&over, 1);
	check_int(gmp_join(g), 0);
	check_int(c.n, atomic_load(&ran));
}

static void who_comes_back_from_a_blocking_region_ends_it(void **state)
{
	(void)state;
	run_on(2, blocks, NULL);
	run_on(4, blocks, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(for_another_p_solo_ends_and_begins_again),
		cmocka_unit_test(so_it_does_for_a_timer),
		cmocka_unit_test(and_for_a_foreign_thread_while_that_lives),
		cmocka_unit_test(who_loses_its_p_does_not_act_as_if_alone),
		cmocka_unit_test(who_comes_back_from_a_blocking_region_ends_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
