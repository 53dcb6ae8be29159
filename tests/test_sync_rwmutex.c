/* SPDX-License-Identifier: MIT
 * test_sync_rwmutex.c - gmp_rwmutex: who shares, who goes first, giving up, foreign threads, lifetime, misuse. */
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

static gmp_rwmutex zero = GMP_RWMUTEX_INIT;

static void basics(void *arg)
{
	(void)arg;
	gmp_rwmutex l = {0};
	check_int(gmp_rwmutex_rlock(&l), 0);
	check_int(gmp_rwmutex_tryrlock(&l), 0);
	check_int(gmp_rwmutex_rlock_until(&l, 0), 0);
	check_int(gmp_rwmutex_trylock(&l), -EAGAIN);
	check_int(gmp_rwmutex_lock_until(&l, 0), -ETIMEDOUT);
	check_int(gmp_rwmutex_lock_until(&l, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_rwmutex_runlock(&l);
	gmp_rwmutex_runlock(&l);
	check_int(gmp_rwmutex_trylock(&l), -EAGAIN);
	gmp_rwmutex_runlock(&l);
	check_int(gmp_rwmutex_trylock(&l), 0);
	check_int(gmp_rwmutex_trylock(&l), -EAGAIN);
	check_int(gmp_rwmutex_tryrlock(&l), -EAGAIN);
	check_int(gmp_rwmutex_rlock_until(&l, 0), -ETIMEDOUT);
	check_int(gmp_rwmutex_rlock_until(&l, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_rwmutex_unlock(&l);
	check_int(gmp_rwmutex_lock(&l), 0);
	gmp_rwmutex_unlock(&l);
	check_int(gmp_rwmutex_lock_until(&l, GMP_FOREVER), 0);
	gmp_rwmutex_unlock(&l);
	check_int(gmp_rwmutex_rlock_until(&l, GMP_FOREVER), 0);
	gmp_rwmutex_runlock(&l);
	gmp_rwmutex_rlock(&zero);
	gmp_rwmutex_runlock(&zero);
}

static void lock_try_unlock(void **state)
{
	(void)state;
	basics(NULL);
	run_on_all(basics, NULL);
}

/* ---- exclusion --------------------------------------------------------------------------------------------------- */

typedef struct Shared {
	gmp_rwmutex l;
	gmp_waitgroup wg;
	atomic_int readers, most;
	int writers;
	long a, b, each;
} Shared;

static void reader(void *arg)
{
	Shared *s = arg;
	for (long i = 0; i < s->each; i++) {
		check_int(gmp_rwmutex_rlock(&s->l), 0);
		int n = atomic_fetch_add(&s->readers, 1) + 1, m = s->most;
		while (n > m && !atomic_compare_exchange_weak(&s->most, &m, n))
			;
		check_int(s->writers, 0);
		check_int(s->a, s->b);
		if (i % 3 == 0)
			gmp_yield();
		check_int(s->a, s->b);
		atomic_fetch_sub(&s->readers, 1);
		gmp_rwmutex_runlock(&s->l);
	}
	gmp_waitgroup_done(&s->wg);
}

static void writer(void *arg)
{
	Shared *s = arg;
	for (long i = 0; i < s->each; i++) {
		check_int(gmp_rwmutex_lock(&s->l), 0);
		check_int(s->writers++, 0);
		check_int(s->readers, 0);
		s->a++;
		if (i % 3 == 0)
			gmp_yield();
		s->b++;
		check_int(--s->writers, 0);
		gmp_rwmutex_unlock(&s->l);
		if (i % 4 == 0)
			gmp_yield();
	}
	gmp_waitgroup_done(&s->wg);
}

static void *reader_thread(void *arg)
{
	reader(arg);
	return NULL;
}

static void *writer_thread(void *arg)
{
	writer(arg);
	return NULL;
}

static void exclusion(void *arg)
{
	Shared s = {.each = 1000 / test_scale() + 1};
	pthread_t t[2];
	gmp_hold();
	gmp_waitgroup_add(&s.wg, arg ? 32 : 30);
	for (int i = 0; i < 30; i++)
		check_int(gmp_spawn(i % 3 == 0 ? writer : reader, &s), 0);
	if (arg) {
		check_int(pthread_create(&t[0], NULL, reader_thread, &s), 0);
		check_int(pthread_create(&t[1], NULL, writer_thread, &s), 0);
	}
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	gmp_release();
	check_int(s.a, (arg ? 11 : 10) * s.each);
	check_int(s.b, s.a);
	check(s.most > 1);
	gmp_rwmutex want = {0};
	check(memcmp(&s.l, &want, sizeof want) == 0);
	for (int i = 0; arg && i < 2; i++)
		check_int(pthread_join(t[i], NULL), 0);
}

static void readers_share_writers_exclude(void **state)
{
	(void)state;
	run_on_all(exclusion, NULL);
	run_on_all(exclusion, "with threads");
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

typedef struct Log {
	gmp_rwmutex l;
	char text[32];
	size_t n;
	int64_t deadline;
	int result;
} Log;

static void log_reader(void *arg)
{
	Log *o = arg;
	check_int(gmp_rwmutex_rlock(&o->l), 0);
	o->text[o->n++] = 'r';
	gmp_yield();
	o->text[o->n++] = '.';
	gmp_rwmutex_runlock(&o->l);
}

static void log_writer(void *arg)
{
	Log *o = arg;
	o->result = gmp_rwmutex_lock_until(&o->l, o->deadline);
	if (o->result)
		return;
	o->text[o->n++] = 'W';
	gmp_yield();
	o->text[o->n++] = ',';
	gmp_rwmutex_unlock(&o->l);
}

/* The main coroutine reads; W R R W R queue up. The first writer waits for it, then come all three readers, then W. */
static void order(void *arg)
{
	(void)arg;
	Log o = {.deadline = GMP_FOREVER};
	const char *who = "WRRWR";
	gmp_waitgroup ended = {0}; /* the last one owes o its unlock when the text is complete */
	check_int(gmp_rwmutex_rlock(&o.l), 0);
	for (; *who; who++) {
		check_int(gmp_waitgroup_spawn(&ended, *who == 'W' ? log_writer : log_reader, &o), 0);
		settle();
	}
	check_int(gmp_rwmutex_tryrlock(&o.l), -EAGAIN); /* a writer waits */
	check_int(o.n, 0);
	gmp_rwmutex_runlock(&o.l);
	for (int i = 0; i < 20; i++)
		gmp_yield();
	check(strcmp(o.text, "W,rrr...W,") == 0);
	check_int(gmp_waitgroup_wait(&ended), 0);
}

static void readers_that_waited_go_before_the_next_writer(void **state)
{
	(void)state;
	run_alone(order, NULL);
}

/* The writer that held readers back gives up while another reader is still inside: they go in at once. */
static void impatient_writer(void *arg)
{
	Log o = {.deadline = arg ? GMP_FOREVER : gmp_now() + 20 * MSEC};
	gmp_g *w;
	check_int(gmp_rwmutex_rlock(&o.l), 0);
	check_int(gmp_spawn_attr(&w, NULL, log_writer, &o), 0);
	settle();
	check_int(gmp_spawn(log_reader, &o), 0);
	check_int(gmp_spawn(log_reader, &o), 0);
	settle();
	if (arg) {
		check_int(o.n, 0);
		check_int(gmp_cancel(w), 0);
	}
	check_int(gmp_join(w), 0);
	check_int(o.result, arg ? -ECANCELED : -ETIMEDOUT);
	settle();
	check(strcmp(o.text, "rr..") == 0);
	check_int(gmp_rwmutex_tryrlock(&o.l), 0);
	gmp_rwmutex_runlock(&o.l);
	gmp_rwmutex_runlock(&o.l);
	check_int(gmp_rwmutex_trylock(&o.l), 0);
	gmp_rwmutex_unlock(&o.l);
}

static void a_writer_that_gives_up_lets_readers_pass(void **state)
{
	(void)state;
	run_alone(impatient_writer, NULL);
	run_alone(impatient_writer, "cancel");
}

static void cancelled_reader(void *arg)
{
	Log *o = arg;
	check_int(gmp_rwmutex_rlock(&o->l), -ECANCELED);
	check_int(gmp_rwmutex_lock(&o->l), -ECANCELED);
	gmp_rwmutex free_one = {0};
	check_int(gmp_rwmutex_rlock(&free_one), 0);
	check_int(gmp_rwmutex_lock(&free_one), -ECANCELED);
	gmp_rwmutex_runlock(&free_one);
	o->result = 1;
}

static void cancels(void *arg)
{
	(void)arg;
	Log o = {.result = 0};
	gmp_g *r;
	check_int(gmp_rwmutex_lock(&o.l), 0);
	check_int(gmp_spawn_attr(&r, NULL, cancelled_reader, &o), 0);
	settle();
	check_int(gmp_cancel(r), 0);
	check_int(gmp_join(r), 0);
	check_int(o.result, 1);
	gmp_rwmutex_unlock(&o.l);
	check_int(gmp_rwmutex_lock_until(&o.l, 0), 0);
	gmp_rwmutex_unlock(&o.l);
}

static void cancellation_ends_the_wait(void **state)
{
	(void)state;
	run_on_all(cancels, NULL);
}

/* A steady stream of readers does not keep a writer out. */
typedef struct Stream {
	gmp_rwmutex l;
	atomic_int written;
} Stream;

static void stream_reader(void *arg)
{
	Stream *s = arg;
	while (!s->written) {
		check_int(gmp_rwmutex_rlock(&s->l), 0);
		gmp_yield();
		gmp_rwmutex_runlock(&s->l);
	}
}

static void stream(void *arg)
{
	(void)arg;
	Stream s = {.written = 0};
	gmp_waitgroup wg = {0};
	for (int i = 0; i < 10; i++)
		check_int(gmp_waitgroup_spawn(&wg, stream_reader, &s), 0);
	settle();
	check_int(gmp_rwmutex_lock(&s.l), 0);
	s.written = 1;
	gmp_rwmutex_unlock(&s.l);
	check_int(gmp_waitgroup_wait(&wg), 0);
}

static void readers_do_not_starve_a_writer(void **state)
{
	(void)state;
	run_on_all(stream, NULL);
}

/* ---- lifetime, misuse -------------------------------------------------------------------------------------------- */

typedef struct Counted {
	gmp_rwmutex l;
	atomic_int refs;
} Counted;

static void drop(void *arg)
{
	Counted *c = arg;
	check_int(gmp_rwmutex_rlock(&c->l), 0);
	gmp_rwmutex_runlock(&c->l);
	check_int(gmp_rwmutex_lock(&c->l), 0);
	int left = --c->refs;
	if (left % 2)
		gmp_yield();
	gmp_rwmutex_unlock(&c->l);
	if (left == 0) {
		memset(c, 0xee, sizeof *c);
		free(c);
	}
}

static void freeing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300 / test_scale() + 1; i++) {
		Counted *c = calloc(1, sizeof *c);
		check(c);
		c->refs = 5;
		for (int k = 0; k < 4; k++)
			check_int(gmp_spawn(drop, c), 0);
		drop(c);
	}
}

static void the_last_writer_may_free_it(void **state)
{
	(void)state;
	run_on_all(freeing, NULL);
}

static void bad_unlock(void *arg)
{
	gmp_rwmutex l = {0};
	switch (*(int *)arg) {
	case 0:
		gmp_rwmutex_unlock(&l);
		break;
	case 1:
		gmp_rwmutex_runlock(&l);
		break;
	case 2:
		gmp_rwmutex_rlock(&l);
		gmp_rwmutex_unlock(&l);
		break;
	default:
		gmp_rwmutex_lock(&l);
		gmp_rwmutex_runlock(&l);
	}
}

static void bad_unlock_in(void *arg) { gmp_run(bad_unlock, arg, &(gmp_config){.procs = 1}); }

static void bad_unlocks_abort(void **state)
{
	(void)state;
	char out[8192];
	for (int i = 0; i < 8; i++) {
		int what = i / 2;
		int status = in_child(i % 2 ? bad_unlock_in : bad_unlock, &what, out, sizeof out);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		check(strstr(out, what % 2 ? "runlock of unlocked rwmutex" : "unlock of unlocked rwmutex"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_try_unlock),
		cmocka_unit_test(readers_share_writers_exclude),
		cmocka_unit_test(readers_that_waited_go_before_the_next_writer),
		cmocka_unit_test(a_writer_that_gives_up_lets_readers_pass),
		cmocka_unit_test(cancellation_ends_the_wait),
		cmocka_unit_test(readers_do_not_starve_a_writer),
		cmocka_unit_test(the_last_writer_may_free_it),
		cmocka_unit_test(bad_unlocks_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
