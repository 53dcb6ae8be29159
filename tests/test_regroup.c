/* SPDX-License-Identifier: MIT
 * test_regroup.c - Ps that fight for object locks, and who gives way to whom (RG-1..3 in regroup.c). Run with steal=0,sysmon=0:
 * nobody else moves a coroutine from P to P then. */
#include "testutil.h"
#include "proc.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { QUEUED = 10, CONTENDED = 1000 };
#define MANY 1000000000u /* in how long a window ever */

static atomic_int over, ran;
static atomic_uintptr_t there; /* thread of the other P */
static P *mine;

/* Keeps the other P busy, until this one is idle or all is over. */
static void hogs(void *arg)
{
	(void)arg;
	atomic_store(&there, this_thread());
	while (!atomic_load(&over) && load_acquire(&mine->m))
		sched_yield();
}

static void *foreign(void *wg)
{
	check_int(gmp_waitgroup_spawn(wg, hogs, NULL), 0);
	return NULL;
}

static void runs(void *thread)
{
	check_int(this_thread(), (uintptr_t)thread);
	atomic_fetch_add(&ran, 1);
}

/* What the Ps have seen. */
struct scene {
	uint64_t contended, rate, alonerate; /* locks taken, switches in the last window; switches a ms of one alone */
	int64_t known;   /* how long ago that was; 0: not yet, however late this test is */
	int64_t tried;   /* how long ago somebody gave way to learn that; 0: never */
	bool both;       /* they stole from each other */
	bool computes;   /* the other P does not switch */
	bool held;       /* somebody else has stopped the other P */
	bool neither;
	uint32_t paid;   /* times in a row before */
	bool gives_way, pays, rests;
};

static void plays(void *arg)
{
	const struct scene *s = arg;
	gmp_waitgroup wg = {0};
	atomic_store(&over, 0);
	atomic_store(&ran, 0);
	atomic_store(&there, 0);
	M *m = enter();
	P *p = mine = m->p;
	leave(m);
	pthread_t t; /* by way of the global queue: this P does not look there meanwhile */
	check_int(pthread_create(&t, NULL, foreign, &wg), 0);
	while (!atomic_load(&there))
		sched_yield();
	check_int(pthread_join(t, NULL), 0);
	P *other = sched.allp[1 - p->id];
	bool gives_way = s->gives_way && !(s->both && p->id < other->id);
	uintptr_t here = gives_way ? atomic_load(&there) : this_thread();
	for (int i = 0; i < QUEUED; i++)
		check_int(gmp_waitgroup_spawn(&wg, runs, (void *)here), 0);
	m = enter();
	int64_t now = gmp__os_now();
	store_relaxed(&p->stolenfrom, s->neither ? NULL : other);
	store_relaxed(&other->stolenfrom, s->both ? p : NULL);
	store_relaxed(&p->windowat, now - GMP_MSEC);
	p->windowticks = work_ticks(p) - s->rate;
	p->contendedseen = p->ncontended - s->contended;
	store_relaxed(&sched.alonerate, s->alonerate);
	store_relaxed(&sched.alonewhen, s->known ? now - s->known : now + 100 * GMP_SEC);
	store_relaxed(&sched.triedat, s->tried ? now - s->tried : 0);
	store_relaxed(&sched.npays, s->paid);
	if (s->held)
		check(trylock(&other->lock));
	store_relaxed(&other->rate, s->computes ? 0 : 1);
	store_relaxed(&other->windowticks, work_ticks(other) - (s->computes ? 0 : MANY));
	store_relaxed(&other->windowat, now);
	p->ticks = 1;
	leave(m);
	gmp_yield(); /* a look round, at the end of a window */
	if (s->held)
		unlock(&other->lock);
	check_int(this_thread(), here);
	check_int(load_relaxed(&p->togetheruntil) > 0, gives_way);
	check_int(load_relaxed(&other->togetheruntil) > 0, gives_way);
	check_int(load_relaxed(&sched.npays), gives_way ? 0 : s->paid + s->pays);
	check_int(load_relaxed(&sched.spreadpays) > 0, s->rests);
	atomic_store(&over, 1);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(atomic_load(&ran), QUEUED);
}

static void play(struct scene s)
{
	for (int i = 0; i < 20; i++)
		run_on(2, plays, &s);
}

static void who_has_stolen_gives_way(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .gives_way = true});
	play((struct scene){.contended = CONTENDED, .rate = MANY, .alonerate = (uint64_t)MANY * 1000, .gives_way = true});
}

static void where_it_pays_nobody_does(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .alonerate = 10, .pays = true});
	play((struct scene){.contended = CONTENDED, .rate = MANY, .alonerate = 10, .paid = 3, .pays = true, .rests = true});
	play((struct scene){.contended = CONTENDED, .rate = MANY, .alonerate = (uint64_t)MANY * 1000, .paid = 3, .gives_way = true});
}

static void what_is_long_ago_counts_no_more(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .alonerate = 10, .known = 10 * GMP_SEC, .gives_way = true});
}

static void what_is_not_known_is_tried_again(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .tried = GMP_SEC, .gives_way = true});
}

static void who_switches_seldom_does_not(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = 10});
}

static void without_contention_nobody_does(void **state)
{
	(void)state;
	play((struct scene){.rate = MANY, .alonerate = (uint64_t)MANY * 1000});
}

static void one_of_two_stays(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .both = true, .gives_way = true});
}

static void who_stole_nothing_stays(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .neither = true});
}

static void who_computes_gets_nothing(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .computes = true});
}

static void a_refusal_leaves_all_as_it_was(void **state)
{
	(void)state;
	play((struct scene){.contended = CONTENDED, .rate = MANY, .held = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_stolen_gives_way),
		cmocka_unit_test(where_it_pays_nobody_does),
		cmocka_unit_test(what_is_long_ago_counts_no_more),
		cmocka_unit_test(what_is_not_known_is_tried_again),
		cmocka_unit_test(who_switches_seldom_does_not),
		cmocka_unit_test(without_contention_nobody_does),
		cmocka_unit_test(one_of_two_stays),
		cmocka_unit_test(who_stole_nothing_stays),
		cmocka_unit_test(who_computes_gets_nothing),
		cmocka_unit_test(a_refusal_leaves_all_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
