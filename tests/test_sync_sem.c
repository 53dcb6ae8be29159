/* SPDX-License-Identifier: MIT
 * test_sync_sem.c - gmp_sem: permits, order, giving up, foreign threads, lifetime, misuse. */
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

static gmp_sem zero = GMP_SEM_INIT;

static void basics(void *arg)
{
	(void)arg;
	gmp_sem s;
	check_int(gmp_sem_tryacquire(&zero), -EAGAIN);
	gmp_sem_init(&s, 2);
	check_int(gmp_sem_acquire(&s), 0);
	check_int(gmp_sem_acquire_until(&s, 0), 0);
	check_int(gmp_sem_tryacquire(&s), -EAGAIN);
	check_int(gmp_sem_acquire_until(&s, 0), -ETIMEDOUT);
	check_int(gmp_sem_acquire_until(&s, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_sem_release(&s);
	check_int(gmp_sem_tryacquire(&s), 0);
	for (int i = 0; i < 5; i++)
		gmp_sem_release(&s);
	for (int i = 0; i < 5; i++)
		check_int(gmp_sem_acquire(&s), 0);
	check_int(gmp_sem_tryacquire(&s), -EAGAIN);
	check(memcmp(&s, &zero, sizeof s) == 0);
}

static void permits_are_counted(void **state)
{
	(void)state;
	basics(NULL);
	run_on_all(basics, NULL);
}

/* ---- sharing ----------------------------------------------------------------------------------------------------- */

typedef struct Shared {
	gmp_sem s;
	gmp_waitgroup wg;
	atomic_int inside;
	long each;
	int permits;
} Shared;

static void user(void *arg)
{
	Shared *s = arg;
	for (long i = 0; i < s->each; i++) {
		check_int(gmp_sem_acquire(&s->s), 0);
		check(++s->inside <= s->permits);
		if (i % 3 == 0)
			gmp_yield();
		s->inside--;
		gmp_sem_release(&s->s);
	}
	gmp_waitgroup_done(&s->wg);
}

static void *user_thread(void *arg)
{
	user(arg);
	return NULL;
}

static void sharing(void *arg)
{
	Shared s = {.each = 1000 / test_scale() + 1, .permits = 3};
	pthread_t t[2];
	gmp_sem_init(&s.s, s.permits);
	gmp_hold();
	gmp_waitgroup_add(&s.wg, arg ? 22 : 20);
	for (int i = 0; i < 20; i++)
		check_int(gmp_spawn(user, &s), 0);
	for (int i = 0; arg && i < 2; i++)
		check_int(pthread_create(&t[i], NULL, user_thread, &s), 0);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	gmp_release();
	for (int i = 0; i < s.permits; i++)
		check_int(gmp_sem_tryacquire(&s.s), 0);
	check_int(gmp_sem_tryacquire(&s.s), -EAGAIN);
	for (int i = 0; arg && i < 2; i++)
		check_int(pthread_join(t[i], NULL), 0);
}

static void no_more_users_than_permits(void **state)
{
	(void)state;
	run_on_all(sharing, NULL);
	run_on_all(sharing, "with threads");
}

/* ---- order, giving up -------------------------------------------------------------------------------------------- */

typedef struct Line {
	gmp_sem s;
	int seen[8], n, next, result;
	int64_t deadline;
} Line;

static void in_line(void *arg)
{
	Line *l = arg;
	int me = l->next++;
	int r = l->deadline ? gmp_sem_acquire_until(&l->s, l->deadline) : gmp_sem_acquire(&l->s);
	l->result = r;
	if (r == 0)
		l->seen[l->n++] = me;
}

static void order(void *arg)
{
	(void)arg;
	Line l = {.n = 0};
	for (int i = 0; i < 8; i++) {
		check_int(gmp_spawn(in_line, &l), 0);
		settle();
	}
	for (int i = 0; i < 8; i++) {
		gmp_sem_release(&l.s);
		check_int(gmp_sem_tryacquire(&l.s), -EAGAIN); /* it is the first waiter's */
		settle();
		check_int(l.n, i + 1);
		check_int(l.seen[i], i);
	}
}

static void waiters_go_first_come_first_served(void **state)
{
	(void)state;
	run_alone(order, NULL);
}

static void giving_up(void *arg)
{
	(void)arg;
	Line l = {.deadline = gmp_now() + 3 * MSEC};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, in_line, &l), 0);
	check_int(gmp_join(g), 0);
	check_int(l.result, -ETIMEDOUT);
	check(gmp_now() >= l.deadline);
	for (int i = 0; i < 2; i++) {
		l.deadline = i ? gmp_now() + 3600 * GMP_SEC : 0;
		check_int(gmp_spawn_attr(&g, NULL, in_line, &l), 0);
		settle();
		check_int(gmp_cancel(g), 0);
		check_int(gmp_join(g), 0);
		check_int(l.result, -ECANCELED);
	}
	check_int(l.n, 0);
	gmp_sem_release(&l.s); /* nobody took it */
	check_int(gmp_sem_tryacquire(&l.s), 0);
	l.deadline = gmp_now() + 3600 * GMP_SEC;
	check_int(gmp_spawn_attr(&g, NULL, in_line, &l), 0);
	settle();
	gmp_sem_release(&l.s);
	check_int(gmp_join(g), 0);
	check_int(l.result, 0);
}

static void waiters_give_up(void **state)
{
	(void)state;
	run_on_all(giving_up, NULL);
}

/* ---- lifetime, misuse -------------------------------------------------------------------------------------------- */

static void release(void *arg) { gmp_sem_release(arg); }

static void freeing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3000 / test_scale() + 1; i++) {
		gmp_sem *s = calloc(1, sizeof *s);
		check(s);
		check_int(gmp_spawn(release, s), 0);
		if (i % 3 == 0)
			gmp_yield();
		check_int(i % 2 ? gmp_sem_acquire(s) : gmp_sem_acquire_until(s, GMP_FOREVER - 1), 0);
		memset(s, 0xee, sizeof *s);
		free(s);
	}
}

static void who_got_the_last_permit_may_free_it(void **state)
{
	(void)state;
	run_on_all(freeing, NULL);
}

static void bad(void *arg)
{
	gmp_sem s;
	if (*(int *)arg) {
		gmp_sem_init(&s, INT_MAX);
		gmp_sem_release(&s);
	} else {
		gmp_sem_init(&s, -1);
	}
}

static void bad_in(void *arg) { gmp_run(bad, arg, &(gmp_config){.procs = 1}); }

static void misuse_aborts(void **state)
{
	(void)state;
	char out[8192];
	for (int i = 0; i < 4; i++) {
		int over = i / 2;
		int status = in_child(i % 2 ? bad_in : bad, &over, out, sizeof out);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		check(strstr(out, over ? "released beyond INT_MAX permits" : "gmp_sem_init: -1 permits"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(permits_are_counted),
		cmocka_unit_test(no_more_users_than_permits),
		cmocka_unit_test(waiters_go_first_come_first_served),
		cmocka_unit_test(waiters_give_up),
		cmocka_unit_test(who_got_the_last_permit_may_free_it),
		cmocka_unit_test(misuse_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
