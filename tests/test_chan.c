/* SPDX-License-Identifier: MIT
 * test_chan.c - channels behave as Go's: unbuffered, buffered, closed, NULL, try, deadlines, foreign threads (CH-1..4). */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

static void no_blocking(void *arg)
{
	(void)arg;
	int v = 1;
	gmp_chan *c = gmp_chan_new(sizeof(int), 2);
	check_int(gmp_chan_cap(c), 2);
	check_int(gmp_chan_try_recv(c, &v), -EAGAIN);
	check_int(gmp_chan_recv_until(c, &v, 0), -ETIMEDOUT);
	for (v = 1; v <= 2; v++)
		check_int(gmp_chan_try_send(c, &v), 0);
	check_int(gmp_chan_len(c), 2);
	check_int(gmp_chan_try_send(c, &v), -EAGAIN);
	check_int(gmp_chan_send_until(c, &v, 0), -ETIMEDOUT);
	check_int(gmp_chan_send(c, NULL), -EINVAL);
	check_int(gmp_chan_try_send(c, NULL), -EINVAL);
	check_int(gmp_chan_recv(c, &v), 0);
	check_int(v, 1);
	check_int(gmp_chan_close(c), 0);
	check_int(gmp_chan_close(c), -EPIPE);
	check_int(gmp_chan_send(c, &v), -EPIPE);
	check_int(gmp_chan_try_send(c, &v), -EPIPE);
	check_int(gmp_chan_recv(c, &v), 0); /* drained first */
	check_int(v, 2);
	v = 99;
	check_int(gmp_chan_recv(c, &v), -EPIPE);
	check_int(v, 0);
	check_int(gmp_chan_recv(c, NULL), -EPIPE);
	gmp_chan_free(c);
	gmp_chan_free(NULL);
	check(gmp_chan_new(65537, 0) == NULL);
	check(gmp_chan_new(65536, SIZE_MAX / 65536) == NULL);
	check(gmp_chan_new(1, SIZE_MAX) == NULL);
	check(gmp_chan_new(0, SIZE_MAX) == NULL);
	check_int(gmp_chan_cap(NULL), 0);
	check_int(gmp_chan_recv_until(NULL, &v, 0), -ETIMEDOUT);
	check_int(gmp_chan_send_until(NULL, &v, -1), -ETIMEDOUT);
	check_int(gmp_chan_close(NULL), -EINVAL);
	check_int(gmp_chan_len(NULL), 0);
	check_int(gmp_chan_try_send(NULL, &v), -EAGAIN);
	check_int(gmp_chan_try_recv(NULL, &v), -EAGAIN);
	check_int(gmp_chan_recv_until(NULL, &v, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	/* signals: nothing to carry */
	c = gmp_chan_new(0, 3);
	for (int i = 0; i < 3; i++)
		check_int(gmp_chan_send(c, NULL), 0);
	check_int(gmp_chan_try_send(c, NULL), -EAGAIN);
	check_int(gmp_chan_len(c), 3);
	check_int(gmp_chan_recv(c, NULL), 0);
	gmp_chan_free(c);
}

static void what_can_complete_at_once_does(void **state)
{
	(void)state;
	run_on_all(no_blocking, NULL);
}

/* ---- every size, every capacity ---------------------------------------------------------------------------------- */

typedef struct Pipe {
	gmp_chan *c;
	size_t size;
	int n;
} Pipe;

static void fill(unsigned char *b, size_t size, int i)
{
	for (size_t k = 0; k < size; k++)
		b[k] = (unsigned char)((size_t)i * 31 + k);
}

static void sends_all(void *arg)
{
	Pipe *p = arg;
	unsigned char *b = malloc(p->size + 1);
	for (int i = 0; i < p->n; i++) {
		fill(b, p->size, i);
		check_int(gmp_chan_send(p->c, b), 0);
		memset(b, 0xee, p->size);
	}
	free(b);
	check_int(gmp_chan_close(p->c), 0);
}

static void all_sizes(void *arg)
{
	(void)arg;
	static const size_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 16, 24, 1000, 65536};
	static const size_t caps[] = {0, 1, 2, 7, 128};
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (size_t k = 0; k < sizeof caps / sizeof *caps; k++) {
			size_t size = sizes[s];
			Pipe p = {gmp_chan_new(size, caps[k]), size, size > 1000 ? 20 : 300};
			check_int(gmp_spawn(sends_all, &p), 0);
			unsigned char *got = malloc(size + 1), *want = malloc(size + 1);
			int n = 0, r;
			while ((r = gmp_chan_recv(p.c, got)) == 0) {
				fill(want, size, n++);
				check(memcmp(got, want, size) == 0);
			}
			check_int(r, -EPIPE);
			check_int(n, p.n);
			free(got);
			free(want);
			gmp_chan_free(p.c);
		}
}

static void values_arrive_in_order_whatever_their_size(void **state)
{
	(void)state;
	run_on_all(all_sizes, NULL);
}

/* ---- waiters are served first come, first served (CH-2) ------------------------------------------------------------ */

static gmp_chan *line;
static int served[8], nserved;

static void queues(void *arg)
{
	int v;
	check_int(gmp_chan_recv(line, &v), 0);
	served[nserved++] = (int)(intptr_t)arg;
	check_int(v, (int)(intptr_t)arg);
}

static void first_come(void *arg)
{
	(void)arg;
	line = gmp_chan_new(sizeof(int), 0);
	nserved = 0;
	for (intptr_t i = 0; i < 8; i++) {
		check_int(gmp_spawn(queues, (void *)i), 0);
		gmp_yield(); /* i waits now */
	}
	for (int i = 0; i < 8; i++)
		check_int(gmp_chan_send(line, &i), 0);
	gmp_yield();
	check_int(nserved, 8);
	gmp_chan_free(line);
}

static void waiters_are_served_in_order(void **state)
{
	(void)state;
	run_alone(first_come, NULL);
}

/* ---- close wakes everybody ---------------------------------------------------------------------------------------- */

static atomic_int woken;

static void waits_recv(void *c)
{
	long v = 5;
	check_int(gmp_chan_recv(c, &v), -EPIPE);
	check_int(v, 0);
	atomic_fetch_add(&woken, 1);
}

static void waits_recv_until(void *c)
{
	long v = 5;
	check_int(gmp_chan_recv_until(c, &v, gmp_now() + 3600 * GMP_SEC), -EPIPE);
	check_int(v, 0);
	atomic_fetch_add(&woken, 1);
}

static void waits_send(void *c)
{
	long v = 5;
	check_int(gmp_chan_send(c, &v), -EPIPE);
	atomic_fetch_add(&woken, 1);
}

static void waits_select(void *c)
{
	long v = 5;
	gmp_case k[2] = {{c, GMP_RECV, &v, 0}, {NULL, GMP_SEND, &v, 0}};
	check_int(gmp_select(k, 2, GMP_FOREVER), 0);
	check_int(k[0].result, -EPIPE);
	check_int(v, 0);
	atomic_fetch_add(&woken, 1);
}

static void close_wakes(void *arg)
{
	(void)arg;
	for (int round = 0; round < 20; round++) {
		gmp_chan *r = gmp_chan_new(sizeof(long), 0), *s = gmp_chan_new(sizeof(long), 0);
		gmp_g *g[20];
		atomic_store(&woken, 0);
		for (int i = 0; i < 20; i++)
			check_int(gmp_spawn_attr(&g[i], NULL, i % 4 == 0 ? waits_recv : i % 4 == 1 ? waits_send
				: i % 4 == 2 ? waits_select : waits_recv_until, i % 4 == 1 ? s : r), 0);
		for (int i = 0; i < round % 4; i++)
			gmp_yield();
		check_int(gmp_chan_close(r), 0);
		check_int(gmp_chan_close(s), 0);
		for (int i = 0; i < 20; i++)
			check_int(gmp_join(g[i]), 0);
		check_int(atomic_load(&woken), 20);
		gmp_chan_free(r);
		gmp_chan_free(s);
	}
}

static void close_wakes_every_waiter(void **state)
{
	(void)state;
	run_on_all(close_wakes, NULL);
}

/* ---- freed by the receiver of the last value (CH-3) ---------------------------------------------------------------- */

static void sends_one(void *c)
{
	int v = 42;
	check_int(gmp_chan_send(c, &v), 0);
}

static void receiver_frees(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000 / test_scale(); i++) {
		gmp_chan *c = gmp_chan_new(sizeof(int), (size_t)(i % 2));
		int v = 0;
		check_int(gmp_spawn(sends_one, c), 0);
		check_int(gmp_chan_recv(c, &v), 0);
		check_int(v, 42);
		gmp_chan_free(c);
	}
}

static void the_receiver_of_the_last_value_may_free_the_channel(void **state)
{
	(void)state;
	run_on_all(receiver_frees, NULL);
}

/* ---- deadlines, cancel --------------------------------------------------------------------------------------------- */

static void forever(void *c)
{
	int v = 0;
	check_int(c ? gmp_chan_recv(c, &v) : gmp_chan_send(NULL, &v), -ECANCELED);
	check_int(gmp_chan_recv(c, &v), -ECANCELED); /* later ones fail too */
	gmp_chan *none = gmp_chan_new(sizeof(int), 0);
	check_int(gmp_chan_send(none, &v), -ECANCELED);
	check_int(gmp_chan_recv_until(none, &v, gmp_now() + GMP_SEC), -ECANCELED);
	check_int(gmp_chan_send_until(none, &v, GMP_FOREVER), -ECANCELED);
	/* but for those that do not wait */
	check_int(gmp_chan_recv_until(none, &v, 0), -ETIMEDOUT);
	check_int(gmp_chan_send_until(none, &v, 0), -ETIMEDOUT);
	check_int(gmp_chan_try_recv(none, &v), -EAGAIN);
	gmp_chan_free(none);
	gmp_chan *own = gmp_chan_new(sizeof(int), 1);
	check_int(gmp_chan_send(own, &v), 0);
	check_int(gmp_chan_recv_until(own, &v, GMP_FOREVER), 0);
	gmp_chan_free(own);
}

static void deadlines(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(sizeof(int), 0), *b = gmp_chan_new(sizeof(int), 1);
	int v = 0;
	for (int i = 0; i < 20; i++) {
		int64_t t = gmp_now() + 300 * GMP_USEC;
		check_int(gmp_chan_recv_until(c, &v, t), -ETIMEDOUT);
		check(gmp_now() >= t);
		t = gmp_now() + 300 * GMP_USEC;
		check_int(gmp_chan_send_until(c, &v, t), -ETIMEDOUT);
		check(gmp_now() >= t);
	}
	v = 3;
	check_int(gmp_chan_send_until(b, &v, gmp_now() + GMP_SEC), 0);
	check_int(gmp_chan_recv_until(b, &v, 0), 0); /* ready: the deadline does not matter */
	gmp_g *g[3];
	for (int i = 0; i < 3; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, forever, i ? c : NULL), 0);
	gmp_yield();
	for (int i = 0; i < 3; i++) {
		check_int(gmp_cancel(g[i]), 0);
		check_int(gmp_join(g[i]), 0);
	}
	gmp_chan_free(c); /* nobody is left on it */
	gmp_chan_free(b);
}

static void deadlines_and_cancellation_leave_nobody_behind(void **state)
{
	(void)state;
	run_on_all(deadlines, NULL);
}

/* ---- foreign threads ------------------------------------------------------------------------------------------------ */

enum { FOREIGN_N = 2000 };

static void *foreign_sender(void *c)
{
	for (int i = 0; i < FOREIGN_N / test_scale(); i++)
		check_int(gmp_chan_send(c, &i), 0);
	return NULL;
}

static void *foreign_receiver(void *c)
{
	intptr_t n = 0;
	int v;
	while (gmp_chan_recv(c, &v) == 0)
		n++;
	return (void *)n;
}

static void threads_to_coroutine(void *arg)
{
	for (size_t cap = 0; cap < 2; cap++) {
		gmp_chan *c = gmp_chan_new(sizeof(int), cap);
		pthread_t t[2];
		gmp_hold(); /* the threads have not taken part yet */
		for (int i = 0; i < 2; i++)
			check_int(pthread_create(&t[i], NULL, foreign_sender, c), 0);
		int v;
		for (int i = 0; i < 2 * (FOREIGN_N / test_scale()); i++)
			check_int(gmp_chan_recv(c, &v), 0);
		gmp_blocking_enter();
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		gmp_blocking_leave();
		gmp_release();
		check_int(gmp_chan_len(c), 0);
		gmp_chan_free(c);
	}
	(void)arg;
}

static void coroutine_to_threads(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(sizeof(int), 3);
	pthread_t t[2];
	gmp_hold();
	for (int i = 0; i < 2; i++)
		check_int(pthread_create(&t[i], NULL, foreign_receiver, c), 0);
	for (int i = 0; i < FOREIGN_N / test_scale(); i++)
		check_int(gmp_chan_send(c, &i), 0);
	check_int(gmp_chan_close(c), 0);
	intptr_t sum = 0;
	gmp_blocking_enter();
	for (int i = 0; i < 2; i++) {
		void *n;
		pthread_join(t[i], &n);
		sum += (intptr_t)n;
	}
	gmp_blocking_leave();
	gmp_release();
	check_int(sum, FOREIGN_N / test_scale());
	gmp_chan_free(c);
}

static void channels_join_threads_and_coroutines(void **state)
{
	(void)state;
	run_on_all(threads_to_coroutine, NULL);
	run_on_all(coroutine_to_threads, NULL);
	/* and threads among themselves, without a runtime */
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	pthread_t s, r;
	void *n;
	check_int(pthread_create(&r, NULL, foreign_receiver, c), 0);
	check_int(pthread_create(&s, NULL, foreign_sender, c), 0);
	pthread_join(s, NULL);
	check_int(gmp_chan_close(c), 0);
	pthread_join(r, &n);
	check_int((intptr_t)n, FOREIGN_N / test_scale());
	int v;
	check_int(gmp_chan_recv_until(c, &v, gmp_now() + GMP_MSEC), -EPIPE);
	gmp_chan_free(c);
}

static void free_with_waiter_main(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(0, 0);
	check_int(gmp_spawn(forever, c), 0);
	gmp_yield();
	gmp_chan_free(c);
}

static void run_free_with_waiter(void *arg)
{
	gmp_config cfg = {.procs = 1};
	no_sysmon();
	gmp_run(free_with_waiter_main, arg, &cfg);
}

static void freeing_a_channel_with_waiters_is_reported(void **state)
{
	(void)state;
	char buf[4096];
	check(in_child(run_free_with_waiter, NULL, buf, sizeof buf) != 0);
	check(strstr(buf, "gmp_chan_free: somebody waits") != NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_complete_at_once_does),
		cmocka_unit_test(values_arrive_in_order_whatever_their_size),
		cmocka_unit_test(waiters_are_served_in_order),
		cmocka_unit_test(close_wakes_every_waiter),
		cmocka_unit_test(the_receiver_of_the_last_value_may_free_the_channel),
		cmocka_unit_test(deadlines_and_cancellation_leave_nobody_behind),
		cmocka_unit_test(channels_join_threads_and_coroutines),
		cmocka_unit_test(freeing_a_channel_with_waiters_is_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
