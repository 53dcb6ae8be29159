/* SPDX-License-Identifier: MIT
 * test_steal.c - the answer to a thief who asks (RQ-1..3 in steal.c). Run with steal=0,sysmon=0: nobody else moves a coroutine
 * from P to P then, or wakes anyone for it. */
#include "testutil.h"
#include "proc.h"
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { QUEUED = 10 };

static atomic_int hogging, over, ran;
static atomic_uintptr_t spawner;

static void hogs(void *arg)
{
	(void)arg;
	atomic_store(&hogging, 1);
	while (!atomic_load(&over))
		usleep(100);
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

static bool somebody_sleeps(void)
{
	gmp_stats s;
	gmp_stats_read(&s);
	return s.ms_idle > 0;
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
		usleep(100);
	check_int(pthread_join(t, NULL), 0);
	for (int i = 0; i < QUEUED; i++) /* the oldest half goes */
		check_int(gmp_waitgroup_spawn(&wg, i < QUEUED / 2 ? runs_elsewhere : runs, NULL), 0);
	atomic_store(&over, 1);
	while (!somebody_sleeps())
		;
	M *m = enter();
	P *p = m->p;
	store_relaxed(&p->stealreq, p->id == 0 ? 2u : 1u); /* by a thief who sleeps now */
	gmp__serve_request(p);
	check_int(load_relaxed(&p->stealreq), 0);
	check_int(p->fresh.n, QUEUED / 2);
	leave(m);
	while (atomic_load(&ran) < QUEUED / 2) /* without a call of the library */
		usleep(100);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(atomic_load(&ran), QUEUED);
}

static void an_answer_is_work_for_whoever_sleeps(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		run_on(2, answered, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_answer_is_work_for_whoever_sleeps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
