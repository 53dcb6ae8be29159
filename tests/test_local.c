/* SPDX-License-Identifier: MIT
 * test_local.c - gmp_key: values of each coroutine and thread, destructors, deleted keys, limits. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MAX_KEYS = 128 };

static gmp_key key, key2;
static atomic_int destroyed;

static void destroy(void *value)
{
	check(value);
	destroyed++;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void own_value(void *arg)
{
	(void)arg;
	check(!gmp_key_get(key));
	int mine;
	check_int(gmp_key_set(key, &mine), 0);
	check_int(gmp_key_set(key2, NULL), 0);
	for (int i = 0; i < 10; i++) {
		gmp_yield();
		if (i == 5)
			gmp_sleep(1000);
		check(gmp_key_get(key) == &mine);
		check(!gmp_key_get(key2));
	}
	check_int(gmp_key_set(key2, &mine), 0);
	check(gmp_key_get(key2) == &mine);
}

static void *own_value_thread(void *arg)
{
	own_value(arg);
	return NULL;
}

static void many_values(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	destroyed = 0;
	check_int(gmp_key_create(&key, destroy), 0);
	check_int(gmp_key_create(&key2, NULL), 0);
	int n = 200;
	for (int i = 0; i < n; i++)
		check_int(gmp_waitgroup_spawn(&wg, own_value, NULL), 0);
	own_value(NULL);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_g *g; /* destructors run before the end is seen */
	check_int(gmp_spawn_attr(&g, NULL, own_value, NULL), 0);
	check_int(gmp_join(g), 0);
	check(destroyed > 0 && destroyed <= n + 1);
	check(gmp_key_get(key));
	check_int(gmp_key_set(key, NULL), 0);
	check(!gmp_key_get(key));
}

static void each_coroutine_has_its_own_value(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 4; procs++) {
		run_on(procs, many_values, NULL);
		check_int(destroyed, 201);
		check_int(gmp_key_delete(key), 0);
		check_int(gmp_key_delete(key2), 0);
	}
}

static void threads_have_values_too(void **state)
{
	(void)state;
	destroyed = 0;
	check_int(gmp_key_create(&key, destroy), 0);
	check_int(gmp_key_create(&key2, NULL), 0);
	pthread_t t[3];
	for (int i = 0; i < 3; i++)
		check_int(pthread_create(&t[i], NULL, own_value_thread, NULL), 0);
	for (int i = 0; i < 3; i++)
		check_int(pthread_join(t[i], NULL), 0);
	check_int(destroyed, 3);
	check_int(gmp_key_delete(key), 0);
	check_int(gmp_key_delete(key2), 0);
}

/* ---- destructors ------------------------------------------------------------------------------------------------- */

static atomic_int rounds;

/* Sets a value again, for ever: the library gives up after four rounds. */
static void again(void *value)
{
	rounds++;
	check_int(gmp_key_set(key, value), 0);
}

static void with_value(void *arg) { check_int(gmp_key_set(key, arg), 0); }

/* Waits, and sets the value of another key, which then is destroyed too. */
static void waits(void *value)
{
	check(!gmp_key_get(key));
	gmp_yield();
	gmp_sleep(1000);
	check_int(gmp_key_set(key2, value), 0);
}

static void destructors(void *arg)
{
	gmp_waitgroup wg = {0};
	for (int i = 0; i < 10; i++)
		check_int(gmp_waitgroup_spawn(&wg, with_value, arg), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
}

static void destructors_may_set_values_and_wait(void **state)
{
	(void)state;
	int x;
	rounds = 0;
	check_int(gmp_key_create(&key, again), 0);
	run_on(2, destructors, &x);
	check_int(rounds, 40);
	check_int(gmp_key_delete(key), 0);

	destroyed = 0;
	/* the slot of key2 is the lower one: its value is found in the second round only */
	check_int(gmp_key_create(&key2, destroy), 0);
	check_int(gmp_key_create(&key, waits), 0);
	run_on_all(destructors, &x);
	check_int(destroyed % 10, 0);
	check(destroyed > 0);
	check_int(gmp_key_delete(key), 0);
	check_int(gmp_key_delete(key2), 0);
}

static void in_group(void *arg)
{
	gmp_group *grp = gmp_group_new();
	check(grp);
	check_int(gmp_group_spawn(grp, with_value, arg), 0);
	check_int(gmp_group_wait(grp), 0);
	check_int(destroyed, 1); /* a member until its destructors have run */
	gmp_group_free(grp);
}

static void slow_destroy(void *value)
{
	gmp_sleep(1000);
	destroy(value);
}

static void a_group_waits_for_destructors(void **state)
{
	(void)state;
	int x;
	for (int procs = 1; procs <= 2; procs++) {
		destroyed = 0;
		check_int(gmp_key_create(&key, slow_destroy), 0);
		run_on(procs, in_group, &x);
		check_int(gmp_key_delete(key), 0);
	}
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void deleted(void *arg)
{
	(void)arg;
	int x;
	gmp_key a, b;
	destroyed = 0;
	check_int(gmp_key_create(&a, destroy), 0);
	check_int(gmp_key_set(a, &x), 0);
	check_int(gmp_key_delete(a), 0);
	check_int(gmp_key_delete(a), -EINVAL);
	check(!gmp_key_get(a));
	check_int(gmp_key_set(a, &x), -EINVAL);
	check_int(gmp_key_create(&b, destroy), 0); /* the same slot, and another key */
	check(a != b);
	check(!gmp_key_get(b));
	check_int(gmp_key_set(a, &x), -EINVAL);
	check_int(gmp_key_delete(b), 0);
}

static void a_deleted_key_is_gone(void **state)
{
	(void)state;
	run_on_all(deleted, NULL);
	deleted(NULL);
	check_int(destroyed, 0);
}

static void all_keys(void *arg)
{
	(void)arg;
	gmp_key k[MAX_KEYS], one_more;
	int v[MAX_KEYS];
	for (int i = 0; i < MAX_KEYS; i++)
		check_int(gmp_key_create(&k[i], i % 2 ? destroy : NULL), 0);
	check_int(gmp_key_create(&one_more, NULL), -EAGAIN);
	for (int i = MAX_KEYS; i-- > 0;)
		check_int(gmp_key_set(k[i], &v[i]), 0);
	for (int i = 0; i < MAX_KEYS; i++)
		check(gmp_key_get(k[i]) == &v[i]);
	for (int i = 0; i < MAX_KEYS; i++)
		check_int(gmp_key_delete(k[i]), 0);
	check_int(gmp_key_create(&one_more, NULL), 0);
	check_int(gmp_key_delete(one_more), 0);
}

static void there_are_128_keys(void **state)
{
	(void)state;
	destroyed = 0;
	run_on_all(all_keys, NULL);
	check_int(destroyed, 0);
	check_int(gmp_key_create(NULL, NULL), -EINVAL);
	check_int(gmp_key_set(0, &destroyed), -EINVAL); /* a zeroed key is none */
	check_int(gmp_key_delete(0), -EINVAL);
	check(!gmp_key_get(0));
	check(!gmp_key_get(12345678));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_coroutine_has_its_own_value),
		cmocka_unit_test(threads_have_values_too),
		cmocka_unit_test(destructors_may_set_values_and_wait),
		cmocka_unit_test(a_group_waits_for_destructors),
		cmocka_unit_test(a_deleted_key_is_gone),
		cmocka_unit_test(there_are_128_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
