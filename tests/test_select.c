/* SPDX-License-Identifier: MIT
 * test_select.c - gmp_select: what is chosen, how fairly, with which result (SE-1..6). */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

static void basics(void *arg)
{
	(void)arg;
	gmp_chan *a = gmp_chan_new(sizeof(int), 1), *b = gmp_chan_new(sizeof(int), 0);
	int x = 1, y = 2;
	gmp_case k[3] = {{a, GMP_RECV, &x, 7}, {b, GMP_SEND, &y, 7}, {NULL, GMP_RECV, NULL, 7}};
	check_int(gmp_select(k, 3, 0), -EAGAIN);
	check_int(gmp_select(k, 3, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_select(k, 0, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_select(NULL, 0, 0), -EAGAIN);
	check_int(gmp_select(&k[2], 1, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_select(k, -1, 0), -EINVAL);
	check_int(gmp_select(k, 65536, 0), -EINVAL);
	check_int(gmp_select(NULL, 1, 0), -EINVAL);
	k[0].op = 3;
	check_int(gmp_select(k, 3, 0), -EINVAL);
	k[0].op = GMP_RECV;
	k[1].elem = NULL;
	check_int(gmp_select(k, 3, 0), -EINVAL);
	k[1].elem = &y;
	int v = 5;
	check_int(gmp_chan_send(a, &v), 0);
	check_int(gmp_select(k, 3, GMP_FOREVER), 0);
	check_int(k[0].result, 0);
	check_int(x, 5);
	check(k[0].chan == a && k[0].op == GMP_RECV && k[0].elem == &x);
	/* a select does not meet itself (SE-5) */
	gmp_case self[2] = {{b, GMP_SEND, &y, 0}, {b, GMP_RECV, &x, 0}};
	check_int(gmp_select(self, 2, 0), -EAGAIN);
	check_int(gmp_select(self, 2, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_chan_close(b), 0);
	check_int(gmp_select(&k[1], 1, GMP_FOREVER), 0);
	check_int(k[1].result, -EPIPE);
	x = 9;
	check_int(gmp_select(&self[1], 1, GMP_FOREVER), 0);
	check_int(self[1].result, -EPIPE);
	check_int(x, 0);
	gmp_chan_free(a);
	gmp_chan_free(b);
}

static void the_basics_hold(void **state)
{
	(void)state;
	run_on_all(basics, NULL);
}

/* ---- fairness: chi-square over a fixed seed (SE-4) ----------------------------------------------------------------- */

enum { WAYS = 8, DRAWS = 16000, MORE_DRAWS = 160000 };

typedef struct Draws {
	int n;
	long hits[WAYS];
} Draws;

static void draws(void *arg)
{
	Draws *d = arg;
	gmp_case k[WAYS];
	int v = 1, x;
	for (int i = 0; i < WAYS; i++) {
		k[i] = (gmp_case){gmp_chan_new(sizeof(int), 1), GMP_RECV, &x, 0};
		check_int(gmp_chan_send(k[i].chan, &v), 0);
	}
	for (int n = 0; n < d->n; n++) {
		int i = gmp_select(k, WAYS, 0);
		check(i >= 0 && i < WAYS);
		d->hits[i]++;
		check_int(gmp_chan_send(k[i].chan, &v), 0);
	}
	for (int i = 0; i < WAYS; i++)
		gmp_chan_free(k[i].chan);
}

static void the_choice_is_uniform(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		/* 7 degrees of freedom. On one P the seed fixes the sequence, in each run: p = 0.001. On two it is chance how many
		 * numbers thieves have drawn before: p = 1e-10, of so many more draws that a smaller bias is found all the same. */
		Draws d = {.n = procs == 1 ? DRAWS : MORE_DRAWS};
		gmp_config cfg = {.procs = procs, .seed = 20240607};
		check_int(gmp_run(draws, &d, &cfg), 0);
		double chi = 0, want = (double)d.n / WAYS;
		for (int i = 0; i < WAYS; i++)
			chi += ((double)d.hits[i] - want) * ((double)d.hits[i] - want) / want;
		check(chi < (procs == 1 ? 24.3 : 60.0));
		if (procs == 1) {
			Draws again = {.n = d.n};
			check_int(gmp_run(draws, &again, &cfg), 0);
			check_int(memcmp(d.hits, again.hits, sizeof d.hits), 0);
		}
	}
}

/* ---- many cases, the same channel several times --------------------------------------------------------------------- */

static void many(void *arg)
{
	(void)arg;
	enum { N = 1000 };
	gmp_chan **c = malloc(N * sizeof *c);
	gmp_case *k = malloc(N * sizeof *k);
	int *v = calloc(N, sizeof *v);
	for (int i = 0; i < N; i++) {
		c[i] = i % 3 == 2 ? c[i - 1] : gmp_chan_new(sizeof(int), 1);
		k[i] = (gmp_case){c[i], GMP_RECV, &v[i], 0};
	}
	for (int r = 0; r < 50; r++) {
		int at = r * 19 % N, x = r;
		check_int(gmp_chan_send(c[at], &x), 0);
		int i = gmp_select(k, N, GMP_FOREVER);
		check(i >= 0 && c[i] == c[at]);
		check_int(v[i], r);
	}
	check_int(gmp_select(k, N, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	for (int i = 0; i < N; i++)
		if (i % 3 != 2)
			gmp_chan_free(c[i]);
	free(c);
	free(k);
	free(v);
}

static void a_thousand_cases_work(void **state)
{
	(void)state;
	run_on_all(many, NULL);
}

/* ---- as many cases as there may be ------------------------------------------------------------------------------------- */

enum { MOST = 65535 };

typedef struct Most {
	gmp_chan **c;
	int step; /* of the cases, so many have a channel of their own; the others have none, or that of the one before */
	bool twice;
	int deadline_us;
	int result;
	gmp_sem begun;
} Most;

static void selects_most(void *arg)
{
	Most *m = arg;
	gmp_case *k = calloc(MOST, sizeof *k);
	int *v = calloc(MOST, sizeof *v);
	check(k && v);
	for (int i = 0; i < MOST; i++) {
		int at = i / m->step;
		k[i] = (gmp_case){i % m->step == 0 || m->twice ? m->c[at] : NULL, i % 3 ? GMP_RECV : GMP_SEND, &v[i], 0};
		v[i] = -i;
	}
	gmp_sem_release(&m->begun);
	int64_t deadline = m->deadline_us ? gmp_now() + m->deadline_us * GMP_USEC : GMP_FOREVER;
	m->result = gmp_select(k, MOST, deadline);
	for (int i = 0; i < MOST; i++)
		check_int(v[i], i == m->result && k[i].op == GMP_RECV ? (k[i].result ? 0 : 77) : -i);
	if (m->result >= 0)
		m->result = m->result / m->step;
	free(k);
	free(v);
}

static void most(void *arg)
{
	(void)arg;
	for (int round = 0; round < 5; round++) {
		Most m = {.step = round % 2 ? 100 : 1, .twice = round == 3, .deadline_us = round == 4 ? 1000 : 0};
		int n = (MOST + m.step - 1) / m.step, at = n / 3 * 2;
		check((m.c = malloc((size_t)n * sizeof(gmp_chan *))));
		for (int i = 0; i < n; i++)
			check((m.c[i] = gmp_chan_new(sizeof(int), 0)));
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, selects_most, &m), 0);
		check_int(gmp_sem_acquire(&m.begun), 0);
		int v = 77, r = 0;
		if (round == 2)
			check_int(gmp_cancel(g), 0);
		else if (round < 4 && (at * m.step) % 3 && !m.twice)
			r = gmp_chan_send(m.c[at], &v);
		else if (round < 4)
			r = gmp_chan_recv(m.c[at], &v);
		check_int(r, 0);
		check_int(gmp_join(g), 0);
		check_int(m.result, round == 2 ? -ECANCELED : round == 4 ? -ETIMEDOUT : at);
		for (int i = 0; i < n; i++)
			gmp_chan_free(m.c[i]); /* nothing was left on any of them */
		free(m.c);
	}
}

static void sixty_five_thousand_cases_work(void **state)
{
	(void)state;
	run_on_all(most, NULL);
}

/* ---- NULL and twice ------------------------------------------------------------------------------------------------------ */

static void gives(void *c)
{
	int v = 5;
	check_int(gmp_chan_send(c, &v), 0);
}

static void twice(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	for (int i = 0; i < 200; i++) {
		int a = 0, b = 0, s = 0;
		gmp_case k[5] = {{c, GMP_RECV, &a, 0}, {NULL, GMP_SEND, NULL, 0}, {c, GMP_RECV, &b, 0}, {c, GMP_SEND, &s, 0}, {NULL, GMP_RECV, &a, 0}};
		check_int(gmp_spawn(gives, c), 0);
		if (i % 2)
			gmp_yield();
		int r = gmp_select(k, 5, GMP_FOREVER);
		check(r == 0 || r == 2);
		check_int(a, r == 0 ? 5 : 0);
		check_int(b, r == 2 ? 5 : 0);
		check_int(gmp_select(k, 5, 0), -EAGAIN);
	}
	check_int(gmp_chan_close(c), 0);
	gmp_chan_free(c);
	/* room for one and a value: both directions are ready */
	c = gmp_chan_new(sizeof(int), 2);
	int v = 9, seen[2] = {0, 0};
	check_int(gmp_chan_send(c, &v), 0);
	for (int i = 0; i < 200; i++) {
		gmp_case k[2] = {{c, GMP_SEND, &v, 0}, {c, GMP_RECV, NULL, 0}};
		int r = gmp_select(k, 2, GMP_FOREVER);
		check(r == 0 || r == 1);
		seen[r]++;
		check_int(gmp_chan_len(c), r == 0 ? 2 : 0);
		check_int(r == 0 ? gmp_chan_recv(c, NULL) : gmp_chan_send(c, &v), 0);
	}
	check(seen[0] > 0 && seen[1] > 0);
	gmp_chan_free(c);
}

static void a_channel_may_stand_twice(void **state)
{
	(void)state;
	run_on_all(twice, NULL);
}

/* ---- threads select, too -------------------------------------------------------------------------------------------------- */

enum { EACH = 500 };
typedef struct Side {
	gmp_chan *c[2];
	int op;
	atomic_long sum;
	gmp_sem done;
} Side;

static void side(void *arg)
{
	Side *s = arg;
	for (int i = 0; i < EACH; i++) {
		int v[2] = {i, i};
		gmp_case k[3] = {{s->c[0], s->op, &v[0], 0}, {s->c[1], s->op, &v[1], 0}, {NULL, GMP_RECV, NULL, 0}};
		int r;
		do
			r = gmp_select(k, 3, i % 3 ? GMP_FOREVER : gmp_now() + 50 * GMP_USEC);
		while (r == -ETIMEDOUT);
		check(r == 0 || r == 1);
		check_int(k[r].result, 0);
		atomic_fetch_add(&s->sum, v[r]);
	}
	gmp_sem_release(&s->done);
}

static void *thread_side(void *arg)
{
	side(arg);
	return NULL;
}

static void sides(bool receiver_is_thread, bool sender_is_thread)
{
	gmp_chan *c[2] = {gmp_chan_new(sizeof(int), 0), gmp_chan_new(sizeof(int), 1)};
	Side rx = {.c = {c[0], c[1]}, .op = GMP_RECV}, tx = {.c = {c[1], c[0]}, .op = GMP_SEND};
	pthread_t t[2];
	int n = 0;
	if (receiver_is_thread)
		check_int(pthread_create(&t[n++], NULL, thread_side, &rx), 0);
	else
		check_int(gmp_spawn(side, &rx), 0);
	if (sender_is_thread)
		check_int(pthread_create(&t[n++], NULL, thread_side, &tx), 0);
	else
		check_int(gmp_spawn(side, &tx), 0);
	check_int(gmp_sem_acquire(&rx.done), 0);
	check_int(gmp_sem_acquire(&tx.done), 0);
	gmp_blocking_enter();
	while (n > 0)
		pthread_join(t[--n], NULL);
	gmp_blocking_leave();
	check_int(rx.sum, tx.sum);
	gmp_chan_free(c[0]);
	gmp_chan_free(c[1]);
}

static void both_kinds(void *arg)
{
	(void)arg;
	gmp_hold();
	for (int i = 0; i < 4; i++)
		sides(i & 1, i & 2);
	gmp_release();
}

static void threads_and_coroutines_select(void **state)
{
	(void)state;
	run_on_all(both_kinds, NULL);
	sides(true, true); /* no runtime */
	gmp_chan *c = gmp_chan_new(0, 1);
	gmp_case k[2] = {{c, GMP_RECV, NULL, 0}, {NULL, GMP_SEND, NULL, 0}};
	check_int(gmp_select(k, 2, 0), -EAGAIN);
	check_int(gmp_select(k, 2, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_select(&k[1], 1, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_select(NULL, 0, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_chan_close(c), 0);
	check_int(gmp_select(k, 2, GMP_FOREVER), 0);
	check_int(k[0].result, -EPIPE);
	gmp_chan_free(c);
}

/* ---- competing selects: every value exactly once -------------------------------------------------------------------- */

static gmp_chan *ch[3];
static atomic_long in, out, taken;
static long total;

static void sender(void *arg)
{
	uint64_t s = (uint64_t)(uintptr_t)arg;
	for (long i = 0; i < total; i++) {
		long v = 1 + (long)(test_rand(&s) % 100);
		gmp_case k[3];
		for (int j = 0; j < 3; j++)
			k[j] = (gmp_case){ch[j], GMP_SEND, &v, 0};
		int r = gmp_select(k, 3, GMP_FOREVER);
		check(r >= 0 && k[r].result == 0);
		atomic_fetch_add(&in, v);
	}
}

static void receiver(void *arg)
{
	(void)arg;
	for (;;) {
		long v = 0;
		gmp_case k[3];
		for (int j = 0; j < 3; j++)
			k[j] = (gmp_case){ch[2 - j], GMP_RECV, &v, 0};
		int r = gmp_select(k, 3, GMP_FOREVER);
		check(r >= 0);
		if (k[r].result == -EPIPE)
			return;
		atomic_fetch_add(&out, v);
		atomic_fetch_add(&taken, 1);
	}
}

static void compete(void *arg)
{
	(void)arg;
	total = 3000 / test_scale();
	atomic_store(&in, 0);
	atomic_store(&out, 0);
	atomic_store(&taken, 0);
	for (int i = 0; i < 3; i++)
		ch[i] = gmp_chan_new(sizeof(long), (size_t)i / 2);
	gmp_g *s[5], *r[5];
	for (uintptr_t i = 0; i < 5; i++) {
		check_int(gmp_spawn_attr(&r[i], NULL, receiver, NULL), 0);
		check_int(gmp_spawn_attr(&s[i], NULL, sender, (void *)(i + 1)), 0);
	}
	for (int i = 0; i < 5; i++)
		check_int(gmp_join(s[i]), 0);
	while (atomic_load(&taken) < 5 * total)
		gmp_yield();
	for (int i = 0; i < 3; i++)
		check_int(gmp_chan_close(ch[i]), 0);
	for (int i = 0; i < 5; i++)
		check_int(gmp_join(r[i]), 0);
	check_int(atomic_load(&in), atomic_load(&out));
	for (int i = 0; i < 3; i++)
		gmp_chan_free(ch[i]);
}

static void competing_selects_lose_nothing(void **state)
{
	(void)state;
	run_on_all(compete, NULL);
}

/* ---- freed by the receiver of the last value, while the select that sent it is on its way out (SE-6) ----------------- */

static void selects_to_send(void *arg)
{
	gmp_chan *other = gmp_chan_new(0, 0);
	int v = 42;
	gmp_case k[3] = {{other, GMP_RECV, NULL, 0}, {arg, GMP_SEND, &v, 0}, {NULL, GMP_RECV, NULL, 0}};
	check_int(gmp_select(k, 3, GMP_FOREVER), 1);
	check_int(gmp_select(k, 1, 0), -EAGAIN); /* nothing was left on the other one */
	gmp_chan_free(other);
}

static void *thread_selects_to_send(void *arg)
{
	selects_to_send(arg);
	return NULL;
}

static void receiver_frees(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000 / test_scale(); i++) {
		gmp_chan *c = gmp_chan_new(sizeof(int), (size_t)(i % 3 == 2));
		int v = 0;
		check_int(gmp_spawn(selects_to_send, c), 0);
		if (i % 2)
			gmp_yield();
		check_int(gmp_chan_recv(c, &v), 0);
		check_int(v, 42);
		gmp_chan_free(c);
	}
	for (int i = 0; i < 50; i++) {
		gmp_chan *c = gmp_chan_new(sizeof(int), 0);
		pthread_t t;
		int v = 0;
		gmp_hold();
		check_int(pthread_create(&t, NULL, thread_selects_to_send, c), 0);
		check_int(gmp_chan_recv(c, &v), 0);
		gmp_chan_free(c);
		gmp_blocking_enter();
		pthread_join(t, NULL);
		gmp_blocking_leave();
		gmp_release();
	}
}

static void the_receiver_of_the_last_value_may_free_the_channel(void **state)
{
	(void)state;
	run_on_all(receiver_frees, NULL);
}

static void cancelled_select(void *arg)
{
	int v;
	gmp_case k[2] = {{arg, GMP_RECV, &v, 0}, {arg, GMP_SEND, &v, 0}};
	check_int(gmp_select(k, 2, GMP_FOREVER), -ECANCELED);
	check_int(gmp_select(k, 2, gmp_now() + GMP_SEC), -ECANCELED);
	check_int(gmp_select(k, 0, GMP_FOREVER), -ECANCELED);
}

static void cancels(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, cancelled_select, c), 0);
	gmp_yield();
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
	gmp_chan_free(c);
}

static void a_select_can_be_cancelled(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		run_on_all(cancels, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_basics_hold),
		cmocka_unit_test(the_choice_is_uniform),
		cmocka_unit_test(a_thousand_cases_work),
		cmocka_unit_test(sixty_five_thousand_cases_work),
		cmocka_unit_test(a_channel_may_stand_twice),
		cmocka_unit_test(threads_and_coroutines_select),
		cmocka_unit_test(competing_selects_lose_nothing),
		cmocka_unit_test(the_receiver_of_the_last_value_may_free_the_channel),
		cmocka_unit_test(a_select_can_be_cancelled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
