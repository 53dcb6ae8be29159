/* SPDX-License-Identifier: MIT
 * test_sync_cond.c - gmp_cond: each signal wakes one, the mutex is always locked again, giving up, foreign threads. */
#include "testutil.h"
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

static gmp_cond zero = GMP_COND_INIT;

typedef struct Box {
	gmp_mutex mu;
	gmp_cond c;
	int waiting, woken, order[16];
	int64_t deadline;
	int result, ready;
} Box;

static void waiter(void *arg)
{
	Box *b = arg;
	check_int(gmp_mutex_lock(&b->mu), 0);
	int me = b->waiting++;
	int r = b->deadline ? gmp_cond_wait_until(&b->c, &b->mu, b->deadline) : gmp_cond_wait(&b->c, &b->mu);
	check_int(gmp_mutex_trylock(&b->mu), -EAGAIN); /* locked again */
	b->order[b->woken++] = me;
	b->result = r;
	gmp_mutex_unlock(&b->mu);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void signals(void *arg)
{
	(void)arg;
	Box b = {.woken = 0};
	gmp_waitgroup ended = {0}; /* who has been counted as woken still owes b its unlock */
	gmp_cond_signal(&b.c); /* nobody waits: lost */
	gmp_cond_broadcast(&b.c);
	for (int i = 0; i < 6; i++)
		check_int(gmp_waitgroup_spawn(&ended, waiter, &b), 0);
	settle();
	check_int(b.waiting, 6);
	check_int(b.woken, 0);
	for (int i = 1; i <= 3; i++) {
		gmp_cond_signal(&b.c);
		settle();
		check_int(b.woken, i);
		check_int(b.order[i - 1], i - 1); /* first come, first served */
	}
	gmp_cond_broadcast(&b.c);
	settle();
	settle();
	check_int(b.woken, 6);
	check_int(gmp_waitgroup_wait(&ended), 0);
	gmp_cond want = {0};
	check(memcmp(&b.c, &want, sizeof want) == 0 && memcmp(&zero, &want, sizeof want) == 0);
}

static void a_signal_wakes_one_a_broadcast_all(void **state)
{
	(void)state;
	run_alone(signals, NULL);
}

/* Under the mutex: the woken one waits for it. */
static void signals_under_the_mutex(void *arg)
{
	(void)arg;
	Box b = {.woken = 0};
	gmp_waitgroup ended = {0};
	for (int i = 0; i < 4; i++)
		check_int(gmp_waitgroup_spawn(&ended, waiter, &b), 0);
	settle();
	check_int(gmp_mutex_lock(&b.mu), 0);
	gmp_cond_signal(&b.c);
	gmp_cond_signal(&b.c);
	settle();
	check_int(b.woken, 0);
	gmp_mutex_unlock(&b.mu);
	settle();
	check_int(b.woken, 2);
	gmp_cond_broadcast(&b.c);
	settle();
	check_int(b.woken, 4);
	check_int(gmp_waitgroup_wait(&ended), 0);
}

static void the_woken_one_waits_for_the_mutex(void **state)
{
	(void)state;
	run_alone(signals_under_the_mutex, NULL);
}

/* ---- a bounded queue --------------------------------------------------------------------------------------------- */

typedef struct Queue {
	gmp_mutex mu;
	gmp_cond not_full, not_empty;
	gmp_waitgroup wg;
	int items, cap;
	long put, got, each;
} Queue;

static void producer(void *arg)
{
	Queue *q = arg;
	for (long i = 0; i < q->each; i++) {
		check_int(gmp_mutex_lock(&q->mu), 0);
		while (q->items == q->cap)
			check_int(gmp_cond_wait(&q->not_full, &q->mu), 0);
		check(q->items++ < q->cap);
		q->put++;
		gmp_mutex_unlock(&q->mu);
		gmp_cond_signal(&q->not_empty);
	}
	gmp_waitgroup_done(&q->wg);
}

static void consumer(void *arg)
{
	Queue *q = arg;
	for (long i = 0; i < q->each; i++) {
		check_int(gmp_mutex_lock(&q->mu), 0);
		while (q->items == 0)
			check_int(gmp_cond_wait(&q->not_empty, &q->mu), 0);
		check(q->items-- > 0);
		q->got++;
		gmp_cond_signal(&q->not_full);
		gmp_mutex_unlock(&q->mu);
	}
	gmp_waitgroup_done(&q->wg);
}

static void *producer_thread(void *arg)
{
	producer(arg);
	return NULL;
}

static void *consumer_thread(void *arg)
{
	consumer(arg);
	return NULL;
}

static void bounded_queue(void *arg)
{
	Queue q = {.cap = 3, .each = 2000 / test_scale() + 1};
	pthread_t t[2];
	gmp_hold();
	gmp_waitgroup_add(&q.wg, arg ? 10 : 8);
	for (int i = 0; i < 4; i++) {
		check_int(gmp_spawn(producer, &q), 0);
		check_int(gmp_spawn(consumer, &q), 0);
	}
	if (arg) {
		check_int(pthread_create(&t[0], NULL, producer_thread, &q), 0);
		check_int(pthread_create(&t[1], NULL, consumer_thread, &q), 0);
	}
	check_int(gmp_waitgroup_wait(&q.wg), 0);
	gmp_release();
	check_int(q.items, 0);
	check_int(q.put, q.got);
	check_int(q.put, (arg ? 5 : 4) * q.each);
	for (int i = 0; arg && i < 2; i++)
		check_int(pthread_join(t[i], NULL), 0);
}

static void no_signal_is_lost(void **state)
{
	(void)state;
	run_on_all(bounded_queue, NULL);
	run_on_all(bounded_queue, "with threads");
}

/* ---- giving up --------------------------------------------------------------------------------------------------- */

static void deadlines(void *arg)
{
	(void)arg;
	Box b = {.deadline = gmp_now() + 3 * MSEC};
	gmp_g *g;
	check_int(gmp_mutex_lock(&b.mu), 0);
	check_int(gmp_cond_wait_until(&b.c, &b.mu, 0), -ETIMEDOUT);
	check_int(gmp_mutex_trylock(&b.mu), -EAGAIN);
	check_int(gmp_cond_wait_until(&b.c, &b.mu, gmp_now() + MSEC), -ETIMEDOUT);
	check_int(gmp_mutex_trylock(&b.mu), -EAGAIN);
	check_int(gmp_cond_wait_until(&b.c, &b.mu, 1), -ETIMEDOUT);
	gmp_mutex_unlock(&b.mu);
	check_int(gmp_spawn_attr(&g, NULL, waiter, &b), 0);
	check_int(gmp_join(g), 0);
	check_int(b.result, -ETIMEDOUT);
	check(gmp_now() >= b.deadline);
	/* the signal goes to one who still waits */
	b.deadline = GMP_FOREVER;
	b.result = 1;
	check_int(gmp_spawn_attr(&g, NULL, waiter, &b), 0);
	int waits = 0;
	while (waits < 2) {
		gmp_yield();
		check_int(gmp_mutex_lock(&b.mu), 0);
		waits = b.waiting;
		gmp_mutex_unlock(&b.mu);
	}
	gmp_cond_signal(&b.c);
	check_int(gmp_join(g), 0);
	check_int(b.result, 0);
}

static void a_deadline_ends_the_wait(void **state)
{
	(void)state;
	run_on_all(deadlines, NULL);
}

static void cancels(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		Box b = {.deadline = i ? gmp_now() + 3600 * GMP_SEC : 0, .result = 1};
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, waiter, &b), 0);
		check_int(gmp_mutex_lock(&b.mu), 0);
		while (!b.waiting) { /* it holds the mutex until it waits */
			gmp_mutex_unlock(&b.mu);
			gmp_yield();
			check_int(gmp_mutex_lock(&b.mu), 0);
		}
		check_int(gmp_cancel(g), 0);
		settle();
		check_int(b.result, 1); /* it needs the mutex to return, cancelled or not */
		gmp_mutex_unlock(&b.mu);
		check_int(gmp_join(g), 0);
		check_int(b.result, -ECANCELED);
	}
}

static void a_cancelled_waiter_returns_with_the_mutex(void **state)
{
	(void)state;
	run_on(1, cancels, NULL);
	for (int i = 0; i < 20; i++)
		run_on(2, cancels, NULL);
}

static void cancel_twice(void *arg)
{
	(void)arg;
	Box b = {.result = 1};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, waiter, &b), 0);
	settle();
	check_int(gmp_mutex_lock(&b.mu), 0);
	gmp_cond_signal(&b.c);
	settle(); /* it waits for the mutex now */
	check_int(gmp_cancel(g), 0);
	settle();
	check_int(b.result, 1);
	gmp_mutex_unlock(&b.mu);
	check_int(gmp_join(g), 0);
	check_int(b.result, 0); /* it was signalled before */
}

static void cancelled_first(void *arg)
{
	Box *b = arg;
	while (!gmp_cancelled())
		gmp_yield();
	check_int(gmp_mutex_lock(&b->mu), 0);
	check_int(gmp_cond_wait(&b->c, &b->mu), -ECANCELED);
	check_int(gmp_mutex_trylock(&b->mu), -EAGAIN);
	gmp_mutex_unlock(&b->mu);
}

static void cancel_before(void *arg)
{
	(void)arg;
	Box b = {.result = 0};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, cancelled_first, &b), 0);
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
}

static void cancellation_does_not_undo_a_signal(void **state)
{
	(void)state;
	run_alone(cancel_twice, NULL);
	run_on_all(cancel_before, NULL);
}

/* ---- misuse ------------------------------------------------------------------------------------------------------ */

static void wait_unlocked(void *arg)
{
	(void)arg;
	gmp_cond c = {0};
	gmp_mutex mu = {0};
	gmp_cond_wait(&c, &mu);
}

static void waiting_without_the_mutex_aborts(void **state)
{
	(void)state;
	char out[8192];
	int status = in_child(wait_unlocked, NULL, out, sizeof out);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	check(strstr(out, "unlock of unlocked mutex"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_wakes_one_a_broadcast_all),
		cmocka_unit_test(the_woken_one_waits_for_the_mutex),
		cmocka_unit_test(no_signal_is_lost),
		cmocka_unit_test(a_deadline_ends_the_wait),
		cmocka_unit_test(a_cancelled_waiter_returns_with_the_mutex),
		cmocka_unit_test(cancellation_does_not_undo_a_signal),
		cmocka_unit_test(waiting_without_the_mutex_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
