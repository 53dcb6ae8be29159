/* SPDX-License-Identifier: MIT
 * test_sync_waitgroup.c - gmp_waitgroup: counting, waiters, giving up, spawn, reuse, freed at once, misuse. */
#include "testutil.h"
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define MSEC INT64_C(1000000)

/* Under run_alone: everybody else runs until it waits. */
static void settle(void)
{
	for (int i = 0; i < 4; i++)
		gmp_yield();
}

static gmp_waitgroup zero = GMP_WAITGROUP_INIT;

static void basics(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(gmp_waitgroup_wait_until(&wg, 0), 0);
	gmp_waitgroup_add(&wg, 0);
	gmp_waitgroup_add(&wg, 3);
	check_int(gmp_waitgroup_wait_until(&wg, 0), -ETIMEDOUT);
	check_int(gmp_waitgroup_wait_until(&wg, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_waitgroup_done(&wg);
	gmp_waitgroup_add(&wg, -1);
	check_int(gmp_waitgroup_wait_until(&wg, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_waitgroup_done(&wg);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_waitgroup_add(&wg, INT_MAX);
	gmp_waitgroup_add(&wg, -INT_MAX);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_waitgroup want = {0};
	check(memcmp(&wg, &want, sizeof want) == 0 && memcmp(&zero, &want, sizeof want) == 0);
}

static void counts_up_and_down(void **state)
{
	(void)state;
	basics(NULL);
	run_on_all(basics, NULL);
}

/* ---- waiters ----------------------------------------------------------------------------------------------------- */

typedef struct Wait {
	gmp_waitgroup wg;
	int64_t deadline;
	int result, again;
	atomic_int returned;
} Wait;

static void waiter(void *arg)
{
	Wait *w = arg;
	int r = w->deadline ? gmp_waitgroup_wait_until(&w->wg, w->deadline) : gmp_waitgroup_wait(&w->wg);
	w->result = r;
	w->returned++;
}

/* plain without and others with a deadline, in the order they queue in. */
static void some_waiters(int others_first, int plain, int others_last)
{
	Wait w = {.returned = 0};
	gmp_waitgroup_add(&w.wg, 2);
	for (int i = 0, n = others_first + plain + others_last; i < n; i++) {
		bool other = i < others_first || i >= others_first + plain;
		w.deadline = other ? gmp_now() + 3600 * GMP_SEC : 0;
		check_int(gmp_spawn(waiter, &w), 0);
		settle();
	}
	gmp_waitgroup_done(&w.wg);
	settle();
	check_int(w.returned, 0);
	gmp_waitgroup_done(&w.wg);
	settle();
	check_int(w.result, 0);
	check_int(w.returned, others_first + plain + others_last);
}

static void many_waiters(void *arg)
{
	(void)arg;
	for (int first = 0; first < 2; first++)
		for (int plain = 0; plain < 3; plain++)
			for (int last = 0; last < 2; last++)
				some_waiters(first, plain, last);
	some_waiters(3, 10, 3);
}

static void *waiter_thread(void *arg)
{
	waiter(arg);
	return NULL;
}

static void join_thread(void *arg) { check_int(pthread_join(*(pthread_t *)arg, NULL), 0); }

static void waiting_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		Wait w = {.deadline = i ? gmp_now() + 3600 * GMP_SEC : 0};
		pthread_t t;
		gmp_waitgroup_add(&w.wg, 1);
		check_int(pthread_create(&t, NULL, waiter_thread, &w), 0);
		while (!__atomic_load_n(&w.wg.gmp__q[0], __ATOMIC_RELAXED)) /* it is queued */
			gmp_yield();
		gmp_waitgroup_done(&w.wg);
		check_int(gmp_blocking(join_thread, &t), 0);
		check_int(w.result, 0);
		check_int(w.returned, 1);
	}
}

static void zero_wakes_every_waiter(void **state)
{
	(void)state;
	run_alone(many_waiters, NULL);
	run_on_all(waiting_thread, NULL);
}

static void cancelled_waiter(void *arg)
{
	waiter(arg);
	Wait *w = arg;
	w->again = gmp_waitgroup_wait(&w->wg);
	gmp_waitgroup none = {0};
	check_int(gmp_waitgroup_wait(&none), 0);
}

static void giving_up(void *arg)
{
	(void)arg;
	Wait w = {.deadline = gmp_now() + 3 * MSEC};
	gmp_g *g;
	gmp_waitgroup_add(&w.wg, 1);
	check_int(gmp_spawn_attr(&g, NULL, waiter, &w), 0);
	check_int(gmp_join(g), 0);
	check_int(w.result, -ETIMEDOUT);
	check(gmp_now() >= w.deadline);
	for (int i = 0; i < 2; i++) {
		w.deadline = i ? gmp_now() + 3600 * GMP_SEC : 0;
		check_int(gmp_spawn_attr(&g, NULL, cancelled_waiter, &w), 0);
		settle();
		check_int(gmp_cancel(g), 0);
		check_int(gmp_join(g), 0);
		check_int(w.result, -ECANCELED);
		check_int(w.again, -ECANCELED);
	}
	w.deadline = gmp_now() + 3600 * GMP_SEC;
	check_int(gmp_spawn_attr(&g, NULL, waiter, &w), 0);
	settle();
	gmp_waitgroup_done(&w.wg);
	check_int(gmp_join(g), 0);
	check_int(w.result, 0);
}

static void waiters_give_up(void **state)
{
	(void)state;
	run_on_all(giving_up, NULL);
}

/* ---- freed at once ----------------------------------------------------------------------------------------------- */

static void done(void *arg) { gmp_waitgroup_done(arg); }

static void *done_thread(void *arg)
{
	gmp_waitgroup_done(arg);
	return NULL;
}

static void on_heap(int i)
{
	gmp_waitgroup *wg = calloc(1, sizeof *wg);
	check(wg);
	gmp_waitgroup_add(wg, 3);
	for (int k = 0; k < 3; k++)
		check_int(gmp_spawn(done, wg), 0);
	if (i % 3 == 0)
		gmp_yield();
	if (i % 2)
		check_int(gmp_waitgroup_wait(wg), 0);
	else
		check_int(gmp_waitgroup_wait_until(wg, GMP_FOREVER - 1), 0);
	memset(wg, 0xee, sizeof *wg);
	free(wg);
}

static void __attribute__((noinline)) on_stack(void)
{
	gmp_waitgroup wg = {0};
	gmp_waitgroup_add(&wg, 2);
	check_int(gmp_spawn(done, &wg), 0);
	check_int(gmp_spawn(done, &wg), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
}

static void freeing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000 / test_scale() + 1; i++) {
		on_heap(i);
		on_stack();
	}
	for (int i = 0; i < 50 / test_scale() + 5; i++) {
		gmp_waitgroup *wg = calloc(1, sizeof *wg);
		check(wg);
		pthread_t t;
		gmp_waitgroup_add(wg, 1);
		gmp_hold();
		check_int(pthread_create(&t, NULL, done_thread, wg), 0);
		check_int(gmp_waitgroup_wait(wg), 0);
		gmp_release();
		free(wg);
		check_int(pthread_join(t, NULL), 0);
	}
}

static void the_waiter_may_free_it(void **state)
{
	(void)state;
	run_on_all(freeing, NULL);
}

/* Round after round with several waiters: those of the last round may not have run yet. */
typedef struct Rounds {
	gmp_waitgroup work, readers;
	atomic_long left;
} Rounds;

static void round_waiter(void *arg)
{
	Rounds *r = arg;
	check_int(gmp_waitgroup_wait(&r->work), 0);
	r->left--;
}

static void rounds(void *arg)
{
	(void)arg;
	Rounds r = {.left = 0};
	for (int i = 0; i < 500 / test_scale() + 1; i++) {
		gmp_waitgroup_add(&r.work, 2);
		r.left += 3;
		for (int k = 0; k < 3; k++)
			check_int(gmp_waitgroup_spawn(&r.readers, round_waiter, &r), 0);
		gmp_yield();
		check_int(gmp_spawn(done, &r.work), 0);
		gmp_waitgroup_done(&r.work);
		check_int(gmp_waitgroup_wait(&r.work), 0);
	}
	check_int(gmp_waitgroup_wait(&r.readers), 0);
	check_int(r.left, 0);
}

static void it_may_be_used_again_at_once(void **state)
{
	(void)state;
	run_on_all(rounds, NULL);
}

/* ---- spawn ------------------------------------------------------------------------------------------------------- */

typedef struct Spawned {
	gmp_waitgroup wg;
	int inner; /* so many have two children each */
	atomic_int n;
} Spawned;

static void child(void *arg)
{
	Spawned *s = arg;
	if (++s->n <= s->inner) {
		check_int(gmp_waitgroup_spawn(&s->wg, child, s), 0);
		check_int(gmp_waitgroup_spawn(&s->wg, child, s), 0);
	}
	gmp_sleep(s->n % 3 ? 0 : 1000);
}

static void *spawn_thread(void *arg)
{
	Spawned *s = arg;
	check_int(gmp_waitgroup_spawn(&s->wg, child, s), 0);
	gmp_waitgroup_done(&s->wg);
	return NULL;
}

static void spawns(void *arg)
{
	(void)arg;
	Spawned s = {.inner = 500 / test_scale()};
	check_int(gmp_waitgroup_spawn(&s.wg, NULL, NULL), -EINVAL);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	pthread_t t;
	gmp_waitgroup_add(&s.wg, 1);
	gmp_hold();
	check_int(pthread_create(&t, NULL, spawn_thread, &s), 0);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	gmp_release();
	check_int(s.n, 2 * s.inner + 1);
	check_int(pthread_join(t, NULL), 0);
}

static void spawn_adds_and_is_done_at_the_end(void **state)
{
	(void)state;
	Spawned s = {.n = 0};
	check_int(gmp_waitgroup_spawn(&s.wg, child, &s), -ESRCH);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	run_on_all(spawns, NULL);
}

/* ---- misuse ------------------------------------------------------------------------------------------------------ */

static void bad_counts(void *arg)
{
	gmp_waitgroup wg = {0};
	if (*(int *)arg) {
		gmp_waitgroup_add(&wg, INT_MAX);
		gmp_waitgroup_add(&wg, 1);
	} else {
		gmp_waitgroup_add(&wg, 1);
		gmp_waitgroup_add(&wg, -2);
	}
}

static void bad_counts_in(void *arg) { gmp_run(bad_counts, arg, &(gmp_config){.procs = 1}); }

static void bad_counts_abort(void **state)
{
	(void)state;
	char out[8192];
	for (int i = 0; i < 4; i++) {
		int over = i / 2;
		int status = in_child(i % 2 ? bad_counts_in : bad_counts, &over, out, sizeof out);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		check(strstr(out, over ? "waitgroup counter overflow" : "negative waitgroup counter"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_up_and_down),
		cmocka_unit_test(zero_wakes_every_waiter),
		cmocka_unit_test(waiters_give_up),
		cmocka_unit_test(the_waiter_may_free_it),
		cmocka_unit_test(it_may_be_used_again_at_once),
		cmocka_unit_test(spawn_adds_and_is_done_at_the_end),
		cmocka_unit_test(bad_counts_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
