/* SPDX-License-Identifier: MIT
 * test_steal.c - the answer to a thief who asks (RQ-1..4 in steal.c). Run with steal=0,sysmon=0: nobody else moves a coroutine
 * from P to P then. */
#include "testutil.h"
#include "proc.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { QUEUED = 10 };

static atomic_int hogging, over, ran;
static atomic_uintptr_t spawner;

static void hogs(void *arg)
{
	(void)arg;
	atomic_store(&hogging, 1);
	while (!atomic_load(&over))
		sched_yield();
}

static void runs_elsewhere(void *arg)
{
	(void)arg;
	check(this_thread() != atomic_load(&spawner));
	atomic_fetch_add(&ran, 1);
}

static void runs(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ran, 1);
}

static void *foreign(void *wg)
{
	check_int(gmp_waitgroup_spawn(wg, hogs, NULL), 0);
	return NULL;
}

static void answered(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	atomic_store(&hogging, 0);
	atomic_store(&over, 0);
	atomic_store(&ran, 0);
	atomic_store(&spawner, this_thread());
	/* The other P is busy while the coroutines are queued here: nobody is woken for them. By way of the global queue, from
	 * which this P does not take while this coroutine does not return to it. */
	pthread_t t;
	check_int(pthread_create(&t, NULL, foreign, &wg), 0);
	while (!atomic_load(&hogging))
		sched_yield();
	check_int(pthread_join(t, NULL), 0);
	for (int i = 0; i < QUEUED; i++) /* the oldest half goes */
		check_int(gmp_waitgroup_spawn(&wg, i < QUEUED / 2 ? runs_elsewhere : runs, NULL), 0);
	M *m = enter();
	P *p = m->p;
	uint32_t thief = p->id == 0 ? 2 : 1;
	store_relaxed(&p->stealreq, thief);
	gmp__serve_request(p);
	check_int(load_relaxed(&p->stealreq) & 0x7fffffff, thief);
	check_int(p->fresh.n, QUEUED / 2);
	check_int(p->giftfresh.n, QUEUED / 2);
	gmp__serve_request(p); /* answered already */
	check_int(p->giftfresh.n, QUEUED / 2);
	leave(m);
	atomic_store(&over, 1); /* the other P runs out of work */
	while (atomic_load(&ran) < QUEUED / 2) /* without a call of the library */
		sched_yield();
	m = enter();
	check_int(load_acquire(&m->p->stealreq), 0);
	check_int(m->p->giftfresh.n, 0);
	leave(m);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(atomic_load(&ran), QUEUED);
}

/* RQ-4: one is not shared. */
static void declined(void *arg)
{
	(void)arg;
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, runs, NULL), 0);
	M *m = enter();
	P *p = m->p;
	store_relaxed(&p->stealreq, 2u);
	gmp__serve_request(p);
	check_int(load_relaxed(&p->stealreq), 0);
	check_int(p->fresh.n, 1);
	check_int(p->gift.n + p->giftfresh.n, 0);
	leave(m);
	check_int(gmp_join(g), 0);
}

static void a_request_for_one_is_declined(void **state)
{
	(void)state;
	run_on(1, declined, NULL);
}

static void an_answer_goes_to_who_asked(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		run_on(2, answered, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_goes_to_who_asked),
		cmocka_unit_test(a_request_for_one_is_declined),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
