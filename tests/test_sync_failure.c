/* SPDX-License-Identifier: MIT
 * test_sync_failure.c - sync objects, groups and values when memory runs out: an error, and nothing half done. */
#include "testutil.h"
#include "os.h"
#include <stdatomic.h>

static void fail_at(long n) { __atomic_store_n(&gmp__os_fail_at, n, __ATOMIC_RELAXED); }

enum { WAITERS = 100 }; /* enough for a heap of timers to grow */

/* ---- waits with a deadline --------------------------------------------------------------------------------------- */

typedef struct Objects {
	gmp_mutex mu, held;
	gmp_rwmutex rw;
	gmp_cond cond;
	gmp_waitgroup wg;
	gmp_sem sem;
	gmp_group *grp;
	int kind;
	int nomem, cancelled;
} Objects;

static int wait_for(Objects *o, int64_t deadline)
{
	int r;
	switch (o->kind) {
	case 0:
		return gmp_mutex_lock_until(&o->held, deadline);
	case 1:
		return gmp_rwmutex_lock_until(&o->rw, deadline);
	case 2:
		return gmp_rwmutex_rlock_until(&o->rw, deadline);
	case 3:
		check_int(gmp_mutex_trylock(&o->mu), 0);
		r = gmp_cond_wait_until(&o->cond, &o->mu, deadline);
		check_int(gmp_mutex_trylock(&o->mu), -EAGAIN); /* even so */
		gmp_mutex_unlock(&o->mu);
		return r;
	case 4:
		return gmp_waitgroup_wait_until(&o->wg, deadline);
	case 5:
		return gmp_sem_acquire_until(&o->sem, deadline);
	default:
		return gmp_group_wait_until(o->grp, deadline);
	}
}

static void waiter(void *arg)
{
	Objects *o = arg;
	fail_at(1);
	int r = wait_for(o, gmp_now() + 3600 * GMP_SEC);
	if (r == -ENOMEM)
		o->nomem++;
	else if (r == -ECANCELED)
		o->cancelled++;
	else
		check_int(r, 0);
}

static void member(void *arg)
{
	(void)arg;
	(void)gmp_sleep(3600 * GMP_SEC);
}

static void waits(void *arg)
{
	gmp_g *g[WAITERS];
	Objects o = {.kind = *(int *)arg, .grp = gmp_group_new()};
	check(o.grp);
	check_int(gmp_mutex_lock(&o.held), 0);
	check_int(gmp_rwmutex_lock(&o.rw), 0);
	gmp_waitgroup_add(&o.wg, 1);
	check_int(gmp_group_spawn(o.grp, member, NULL), 0);
	for (int i = 0; i < WAITERS; i++) {
		check_int(gmp_spawn_attr(&g[i], NULL, waiter, &o), 0);
		gmp_yield();
		fail_at(0);
	}
	check(o.nomem > 0);
	for (int i = 0; i < WAITERS; i++)
		check_int(gmp_cancel(g[i]), 0);
	for (int i = 0; i < WAITERS; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(o.nomem + o.cancelled, WAITERS);
	gmp_mutex_unlock(&o.held);
	gmp_rwmutex_unlock(&o.rw);
	gmp_waitgroup_done(&o.wg);
	gmp_sem_release(&o.sem);
	gmp_cond_signal(&o.cond);
	if (o.kind == 6)
		gmp_group_cancel(o.grp);
	check_int(gmp_mutex_trylock(&o.held), 0);
	check_int(gmp_rwmutex_trylock(&o.rw), 0);
	gmp_rwmutex_unlock(&o.rw);
	check_int(gmp_waitgroup_wait_until(&o.wg, 0), 0);
	check_int(gmp_sem_tryacquire(&o.sem), 0);
	gmp_group_free(o.grp);
}

static void a_wait_without_memory_waits_for_nothing(void **state)
{
	(void)state;
	for (int kind = 0; kind <= 6; kind++)
		run_alone(waits, &kind);
}

/* ---- spawn, values ----------------------------------------------------------------------------------------------- */

static atomic_int ran;

static void counts(void *arg)
{
	(void)arg;
	ran++;
}

static void spawns(void *arg)
{
	gmp_waitgroup wg = {0};
	gmp_group *grp = gmp_group_new();
	int failed = 0, done = 0;
	(void)arg;
	check(grp);
	ran = 0;
	for (int i = 0; i < 200; i++) {
		fail_at(1 + i % 3);
		int a = gmp_waitgroup_spawn(&wg, counts, NULL), b = gmp_group_spawn(grp, counts, NULL);
		fail_at(0);
		check((a == 0 || a == -ENOMEM) && (b == 0 || b == -ENOMEM));
		failed += (a != 0) + (b != 0);
		done += (a == 0) + (b == 0);
		if (i % 50 == 49) {
			check_int(gmp_waitgroup_wait(&wg), 0);
			check_int(gmp_group_wait(grp), 0);
		}
	}
	check(failed > 0);
	check_int(ran, done);
	gmp_group_free(grp);
}

static void a_spawn_without_memory_adds_nothing(void **state)
{
	(void)state;
	run_on(1, spawns, NULL);
	run_on(2, spawns, NULL);
}

static void values(void *arg)
{
	(void)arg;
	gmp_key k[40];
	int v, failed = 0;
	for (int i = 0; i < 40; i++)
		check_int(gmp_key_create(&k[i], NULL), 0);
	for (int i = 0; i < 40; i++) {
		int r;
		for (long n = 1; fail_at(n), (r = gmp_key_set(k[i], &v)) == -ENOMEM; n++) {
			failed++;
			check(!gmp_key_get(k[i]));
		}
		fail_at(0);
		check_int(r, 0);
		for (int j = 0; j < 40; j++)
			check(gmp_key_get(k[j]) == (j <= i ? &v : NULL));
	}
	check(failed > 0);
	for (int i = 0; i < 40; i++)
		check_int(gmp_key_delete(k[i]), 0);
}

static void a_value_without_memory_is_not_set(void **state)
{
	(void)state;
	run_on(1, values, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wait_without_memory_waits_for_nothing),
		cmocka_unit_test(a_spawn_without_memory_adds_nothing),
		cmocka_unit_test(a_value_without_memory_is_not_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
