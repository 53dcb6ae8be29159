/* SPDX-License-Identifier: MIT
 * test_sync_mutex.c - gmp_mutex: exclusion, order, hand-off, deadlines, cancellation, foreign threads, lifetime,
 * misuse. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <signal.h>

#define MSEC INT64_C(1000000)

/* Under run_alone: everybody else runs until it waits. */
static void settle(void)
{
	for (int i = 0; i < 4; i++)
		gmp_yield();
}

static gmp_mutex zero = GMP_MUTEX_INIT;

/* ---- basics ------------------------------------------------------------------------------------------------------ */

static void basics(void *arg)
{
	(void)arg;
	gmp_mutex mu = {0};
	for (int i = 0; i < 3; i++) {
		check_int(gmp_mutex_lock(&mu), 0);
		check_int(gmp_mutex_trylock(&mu), -EAGAIN);
		check_int(gmp_mutex_lock_until(&mu, 0), -ETIMEDOUT);
		check_int(gmp_mutex_lock_until(&mu, gmp_now() + MSEC), -ETIMEDOUT);
		gmp_mutex_unlock(&mu);
		check_int(gmp_mutex_trylock(&mu), 0);
		gmp_mutex_unlock(&mu);
		check_int(gmp_mutex_lock_until(&mu, 0), 0);
		gmp_mutex_unlock(&mu);
		check_int(gmp_mutex_lock_until(&mu, GMP_FOREVER), 0);
		gmp_mutex_unlock(&mu);
	}
	gmp_mutex want = {0};
	check(memcmp(&mu, &want, sizeof mu) == 0 && memcmp(&zero, &want, sizeof mu) == 0);
}

static void lock_trylock_unlock(void **state)
{
	(void)state;
	basics(NULL); /* a foreign thread, no runtime */
	run_on_all(basics, NULL);
	basics(NULL);
}

/* ---- exclusion --------------------------------------------------------------------------------------------------- */

typedef struct Shared {
	gmp_mutex mu;
	gmp_waitgroup wg;
	int inside;
	long sum, each;
	atomic_int turn;
} Shared;

static void adder(void *arg)
{
	Shared *s = arg;
	int me = atomic_fetch_add(&s->turn, 1);
	for (long i = 0; i < s->each; i++) {
		check_int(gmp_mutex_lock(&s->mu), 0);
		check_int(s->inside++, 0);
		s->sum++;
		if ((i + me) % 7 == 0)
			gmp_yield();
		check_int(--s->inside, 0);
		gmp_mutex_unlock(&s->mu);
		if ((i + me) % 5 == 0)
			gmp_yield();
	}
	gmp_waitgroup_done(&s->wg);
}

static void exclusion(void *arg)
{
	(void)arg;
	Shared s = {.each = 2000 / test_scale() + 1};
	gmp_waitgroup_add(&s.wg, 50);
	for (int i = 0; i < 50; i++)
		check_int(gmp_spawn(adder, &s), 0);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	check_int(s.sum, 50 * s.each);
	check(!s.mu.gmp__q[0]);
}

static void one_at_a_time(void **state)
{
	(void)state;
	run_on_all(exclusion, NULL);
}

static void nobody_parks_main(void *arg)
{
	exclusion(arg);
	gmp_mutex mu = {0};
	gmp_stats a, b;
	gmp_stats_read(&a);
	for (int i = 0; i < 1000; i++) {
		check_int(gmp_mutex_lock(&mu), 0);
		gmp_mutex_unlock(&mu);
	}
	gmp_stats_read(&b);
	check_int(b.parks - a.parks, 0);
}

static void uncontended_locks_park_nobody(void **state)
{
	(void)state;
	run_on(1, nobody_parks_main, NULL);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

typedef struct Order {
	gmp_mutex mu;
	int seen[8], n;
} Order;
typedef struct OrderArg {
	Order *o;
	int me;
} OrderArg;

static void queue_up(void *arg)
{
	OrderArg *a = arg;
	check_int(gmp_mutex_lock(&a->o->mu), 0);
	a->o->seen[a->o->n++] = a->me;
	gmp_mutex_unlock(&a->o->mu);
}

static void order(void *arg)
{
	(void)arg;
	Order o = {.n = 0};
	OrderArg a[8];
	gmp_waitgroup ended = {0}; /* the last one owes o its unlock when all have been seen */
	check_int(gmp_mutex_lock(&o.mu), 0);
	for (int i = 0; i < 8; i++) {
		a[i] = (OrderArg){&o, i};
		check_int(gmp_waitgroup_spawn(&ended, queue_up, &a[i]), 0);
		settle();
	}
	check_int(o.n, 0);
	gmp_mutex_unlock(&o.mu);
	for (int i = 0; i < 20; i++)
		gmp_yield();
	check_int(o.n, 8);
	for (int i = 0; i < 8; i++)
		check_int(o.seen[i], i);
	check_int(gmp_waitgroup_wait(&ended), 0);
}

static void waiters_go_first_come_first_served(void **state)
{
	(void)state;
	run_alone(order, NULL);
}

static void spin_for(int64_t ns)
{
	int64_t end = gmp_now() + ns;
	while (gmp_now() < end)
		;
}

typedef struct Greed {
	gmp_mutex mu;
	atomic_int got;
} Greed;

static void modest(void *arg)
{
	Greed *g = arg;
	for (int i = 0; i < 3; i++) {
		check_int(gmp_mutex_lock(&g->mu), 0);
		gmp_mutex_unlock(&g->mu);
	}
	g->got = 1;
}

/* Unlocks and locks again without a pause: only a hand-off lets the other one in. */
static void greedy(void *arg)
{
	(void)arg;
	Greed g = {.got = 0};
	check_int(gmp_mutex_lock(&g.mu), 0);
	check_int(gmp_spawn(modest, &g), 0);
	long rounds = 0;
	while (!g.got) {
		spin_for(MSEC / 5);
		gmp_yield();
		gmp_mutex_unlock(&g.mu);
		check_int(gmp_mutex_lock(&g.mu), 0);
		check(++rounds < 100000);
	}
	gmp_mutex_unlock(&g.mu);
	gmp_yield();
	gmp_mutex want = {0};
	check(memcmp(&g.mu, &want, sizeof want) == 0); /* back in normal mode */
}

static void a_starving_waiter_gets_the_mutex(void **state)
{
	(void)state;
	run_on_all(greedy, NULL);
}

/* ---- giving up --------------------------------------------------------------------------------------------------- */

typedef struct Late {
	gmp_mutex mu;
	int64_t deadline;
	int result;
} Late;

static void lock_until(void *arg)
{
	Late *l = arg;
	l->result = gmp_mutex_lock_until(&l->mu, l->deadline);
	if (l->result == 0)
		gmp_mutex_unlock(&l->mu);
}

static void deadlines(void *arg)
{
	(void)arg;
	Late l = {.deadline = gmp_now() + 5 * MSEC};
	check_int(gmp_mutex_lock(&l.mu), 0);
	gmp_g *g, *h;
	check_int(gmp_spawn_attr(&g, NULL, lock_until, &l), 0);
	check_int(gmp_join(g), 0);
	check_int(l.result, -ETIMEDOUT);
	check(gmp_now() >= l.deadline);
	l.deadline = gmp_now() + 2 * MSEC;
	check_int(gmp_spawn_attr(&g, NULL, lock_until, &l), 0);
	check_int(gmp_join(g), 0);
	l.deadline = gmp_now() + 3600 * GMP_SEC;
	check_int(gmp_spawn_attr(&h, NULL, lock_until, &l), 0);
	settle();
	gmp_mutex_unlock(&l.mu);
	check_int(gmp_join(h), 0);
	check_int(l.result, 0);
	check_int(gmp_mutex_trylock(&l.mu), 0);
	gmp_mutex_unlock(&l.mu);
	check(!l.mu.gmp__q[0]);
}

static void a_deadline_ends_the_wait(void **state)
{
	(void)state;
	run_on_all(deadlines, NULL);
}

typedef struct Cancel {
	gmp_mutex mu, other;
	int64_t deadline;
	int first, second, free_one;
} Cancel;

static void cancelled_waiter(void *arg)
{
	Cancel *c = arg;
	c->first = gmp_mutex_lock_until(&c->mu, c->deadline);
	c->second = gmp_mutex_lock(&c->mu);
	c->free_one = gmp_mutex_lock(&c->other);
	check_int(gmp_mutex_trylock(&c->mu), -EAGAIN);
	gmp_mutex_unlock(&c->other);
}

static void cancels(void *arg)
{
	for (int i = 0; i < 2; i++) {
		Cancel c = {.deadline = i ? gmp_now() + 3600 * GMP_SEC : GMP_FOREVER};
		check_int(gmp_mutex_lock(&c.mu), 0);
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, cancelled_waiter, &c), 0);
		if (arg)
			settle();
		check_int(gmp_cancel(g), 0);
		check_int(gmp_join(g), 0);
		check_int(c.first, -ECANCELED);
		check_int(c.second, -ECANCELED);
		check_int(c.free_one, 0);
		gmp_mutex_unlock(&c.mu);
		check_int(gmp_mutex_lock(&c.mu), 0);
		gmp_mutex_unlock(&c.mu);
		check(!c.mu.gmp__q[0]);
	}
}

static void cancellation_ends_the_wait(void **state)
{
	(void)state;
	run_on_all(cancels, NULL);
	run_on_all(cancels, "settle");
}

/* The woken waiter is cancelled before it runs, and finds the mutex taken: the one behind it must not be forgotten. */
typedef struct Pass {
	gmp_mutex mu;
	int a, b;
} Pass;

static void pass_a(void *arg)
{
	Pass *p = arg;
	p->a = gmp_mutex_lock(&p->mu);
	check_int(p->a, -ECANCELED);
}

static void pass_b(void *arg)
{
	Pass *p = arg;
	p->b = 1 + gmp_mutex_lock(&p->mu);
	gmp_mutex_unlock(&p->mu);
}

static void pass_on(void *arg)
{
	(void)arg;
	Pass p = {.a = 1};
	gmp_g *a, *b;
	check_int(gmp_mutex_lock(&p.mu), 0);
	check_int(gmp_spawn_attr(&a, NULL, pass_a, &p), 0);
	settle();
	check_int(gmp_spawn_attr(&b, NULL, pass_b, &p), 0);
	settle();
	gmp_mutex_unlock(&p.mu); /* wakes a */
	check_int(gmp_mutex_lock(&p.mu), 0);
	check_int(gmp_cancel(a), 0);
	settle();
	check_int(p.a, -ECANCELED);
	check_int(p.b, 0);
	gmp_mutex_unlock(&p.mu);
	check_int(gmp_join(a), 0);
	check_int(gmp_join(b), 0);
	check_int(p.b, 1);
}

static void a_cancelled_waiter_passes_its_wakeup_on(void **state)
{
	(void)state;
	run_alone(pass_on, NULL);
}

/* ---- foreign threads --------------------------------------------------------------------------------------------- */

static void *adder_thread(void *arg)
{
	adder(arg);
	return NULL;
}

static void with_threads(void *arg)
{
	(void)arg;
	Shared s = {.each = 500 / test_scale() + 1};
	pthread_t t[3];
	gmp_hold();
	gmp_waitgroup_add(&s.wg, 13);
	for (int i = 0; i < 3; i++)
		check_int(pthread_create(&t[i], NULL, adder_thread, &s), 0);
	for (int i = 0; i < 10; i++)
		check_int(gmp_spawn(adder, &s), 0);
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	gmp_release();
	check_int(s.sum, 13 * s.each);
	for (int i = 0; i < 3; i++)
		check_int(pthread_join(t[i], NULL), 0);
}

static void threads_and_coroutines_share_it(void **state)
{
	(void)state;
	run_on_all(with_threads, NULL);
	/* threads alone, without a runtime */
	Shared s = {.each = 500 / test_scale() + 1};
	pthread_t t[3];
	gmp_waitgroup_add(&s.wg, 3);
	for (int i = 0; i < 3; i++)
		check_int(pthread_create(&t[i], NULL, adder_thread, &s), 0);
	for (int i = 0; i < 3; i++)
		check_int(pthread_join(t[i], NULL), 0);
	check_int(s.sum, 3 * s.each);
}

static void unlock_it(void *arg) { gmp_mutex_unlock(arg); }

static void *lock_thread(void *arg)
{
	check_int(gmp_mutex_lock(arg), 0);
	return NULL;
}

/* Locked before the run, waited for by a thread that does not know of the run; unlocked by a coroutine. */
static void it_outlives_runs(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		gmp_mutex mu = {0};
		check_int(gmp_mutex_lock(&mu), 0);
		pthread_t t;
		check_int(pthread_create(&t, NULL, lock_thread, &mu), 0);
		while (!(__atomic_load_n(&mu.gmp__state, __ATOMIC_ACQUIRE) & 0x100)) /* SW_WAIT */
			sched_yield();
		run_on(procs, unlock_it, &mu);
		check_int(pthread_join(t, NULL), 0);
		check_int(gmp_mutex_trylock(&mu), -EAGAIN);
		run_on(procs, unlock_it, &mu);
		check_int(gmp_mutex_trylock(&mu), 0);
	}
}

/* One P without foreign threads takes no locks at all; that ends under running coroutines. */
static void growing(void *arg)
{
	Shared s = {.each = 3000 / test_scale() + 1};
	gmp_waitgroup_add(&s.wg, 21);
	for (int i = 0; i < 20; i++)
		check_int(gmp_spawn(adder, &s), 0);
	for (int i = 0; i < 5; i++)
		gmp_yield();
	pthread_t t;
	gmp_hold();
	if (arg) {
		check_int(gmp_set_procs(3), 1);
		gmp_waitgroup_done(&s.wg);
	} else {
		check_int(pthread_create(&t, NULL, adder_thread, &s), 0);
	}
	check_int(gmp_waitgroup_wait(&s.wg), 0);
	gmp_release();
	if (!arg)
		check_int(pthread_join(t, NULL), 0);
	check_int(s.sum, (arg ? 20 : 21) * s.each);
}

static void locks_become_real_when_the_second_thread_comes(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		run_on(1, growing, NULL);
		run_on(1, growing, "procs");
	}
}

/* SY-5: refused at the gates, a step of the inline half leaves the coroutine outside of the runtime. */
static void refused(void *arg)
{
	(void)arg;
	gmp__m *m;
	gmp__word w = 0, locked = GMP__MU_LOCKED;
	GMP__GETM(m);
	uint8_t shared = m->gates.each.shared;
	m->gates.each.shared = 0; /* as in the moment before another M sets it */
	__atomic_fetch_or(&m->gates.each.revoke, 4u, __ATOMIC_RELAXED); /* a request to look round: harmless */
	check(!GMP__WORD_STEP(m, &w, v, gmp__lock_step(v, GMP__MU_LOCKED)));
	check_int(w, 0);
	check_int(m->inrt, 0);
	m->gates.each.shared = shared;
	gmp_yield(); /* answers the request */
	/* Refused by the word it may be half in. That ends with the next call that goes the long way. */
	check(!GMP__WORD_STEP(m, &locked, v, gmp__lock_step(v, GMP__MU_LOCKED)));
	check_int(locked, GMP__MU_LOCKED);
	gmp_yield();
	check_int(m->inrt, 0);
}

static void a_refused_short_step_stays_outside(void **state)
{
	(void)state;
	run_on(1, refused, NULL);
}

/* The moment in which a second thread comes finds the first one in its short ways; it must be possible to stop it later. */
typedef struct Arrival {
	gmp_mutex mu;
	atomic_int stage; /* 1: the other thread was here, 2: it has stopped the world once more */
} Arrival;

static void *arrive(void *arg)
{
	Arrival *a = arg;
	check_int(gmp_mutex_lock(&a->mu), 0);
	gmp_mutex_unlock(&a->mu);
	a->stage = 1;
	gmp_trim();
	a->stage = 2;
	return NULL;
}

static void arrival(void *arg)
{
	(void)arg;
	Arrival a = {.stage = 0};
	pthread_t t;
	check_int(pthread_create(&t, NULL, arrive, &a), 0);
	while (a.stage == 0) {
		check_int(gmp_mutex_lock(&a.mu), 0);
		gmp_mutex_unlock(&a.mu);
	}
	while (a.stage != 2) /* computes: calls nothing */
		;
	check_int(pthread_join(t, NULL), 0);
}

static void who_was_in_a_short_way_when_a_thread_came_can_be_stopped(void **state)
{
	(void)state;
	for (int i = 0; i < 400 / test_scale() + 1; i++)
		run_on(1, arrival, NULL);
}

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

typedef struct Counted {
	gmp_mutex mu;
	int refs;
} Counted;

static void drop(void *arg)
{
	Counted *c = arg;
	check_int(gmp_mutex_lock(&c->mu), 0);
	int left = --c->refs;
	if (left % 2)
		gmp_yield();
	gmp_mutex_unlock(&c->mu);
	if (left == 0) {
		memset(c, 0xee, sizeof *c);
		free(c);
	}
}

static void *drop_thread(void *arg)
{
	drop(arg);
	return NULL;
}

static void freeing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300 / test_scale() + 1; i++) {
		Counted *c = calloc(1, sizeof *c);
		check(c);
		c->refs = 5;
		pthread_t t;
		gmp_hold();
		if (i % 8 == 0)
			check_int(pthread_create(&t, NULL, drop_thread, c), 0);
		else
			check_int(gmp_spawn(drop, c), 0);
		for (int k = 0; k < 3; k++)
			check_int(gmp_spawn(drop, c), 0);
		drop(c);
		gmp_release();
		if (i % 8 == 0)
			check_int(pthread_join(t, NULL), 0);
	}
}

static void the_last_holder_may_free_it(void **state)
{
	(void)state;
	run_on_all(freeing, NULL);
}

/* ---- misuse and reports ------------------------------------------------------------------------------------------ */

static void unlock_unlocked(void *arg)
{
	(void)arg;
	gmp_mutex mu = {0};
	gmp_mutex_unlock(&mu);
}

static void unlock_unlocked_in(void *arg) { gmp_run(unlock_unlocked, NULL, &(gmp_config){.procs = *(int *)arg}); }

static void unlock_of_an_unlocked_mutex_aborts(void **state)
{
	(void)state;
	char out[8192];
	for (int procs = 0; procs <= 2; procs++) {
		int status = in_child(procs ? unlock_unlocked_in : unlock_unlocked, &procs, out, sizeof out);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		check(strstr(out, "unlock of unlocked mutex"));
	}
}

static void lock_twice(void *arg)
{
	(void)arg;
	static gmp_mutex mu;
	check_int(gmp_mutex_lock(&mu), 0);
	fprintf(stderr, "the holder is %llu\n", (unsigned long long)gmp_id());
	(void)gmp_mutex_lock(&mu);
	check(0);
}

static void run_lock_twice(void *arg)
{
	int r = gmp_run(lock_twice, NULL, &(gmp_config){.procs = *(int *)arg});
	_exit(r == -EDEADLK ? 7 : 8);
}

static void a_deadlock_report_names_the_holder(void **state)
{
	(void)state;
	char out[8192];
	for (int procs = 1; procs <= 2; procs++) {
		int status = in_child(run_lock_twice, &procs, out, sizeof out);
		check(WIFEXITED(status) && WEXITSTATUS(status) == 7);
		check(strstr(out, "mutex lock"));
		char want[64];
		unsigned long long id = 0;
		check_int(sscanf(out, "the holder is %llu", &id), 1);
		snprintf(want, sizeof want, "held by coroutine %llu", id);
		check(id && strstr(out, want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_trylock_unlock),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(uncontended_locks_park_nobody),
		cmocka_unit_test(waiters_go_first_come_first_served),
		cmocka_unit_test(a_starving_waiter_gets_the_mutex),
		cmocka_unit_test(a_deadline_ends_the_wait),
		cmocka_unit_test(cancellation_ends_the_wait),
		cmocka_unit_test(a_cancelled_waiter_passes_its_wakeup_on),
		cmocka_unit_test(threads_and_coroutines_share_it),
		cmocka_unit_test(it_outlives_runs),
		cmocka_unit_test(locks_become_real_when_the_second_thread_comes),
		cmocka_unit_test(a_refused_short_step_stays_outside),
		cmocka_unit_test(who_was_in_a_short_way_when_a_thread_came_can_be_stopped),
		cmocka_unit_test(the_last_holder_may_free_it),
		cmocka_unit_test(unlock_of_an_unlocked_mutex_aborts),
		cmocka_unit_test(a_deadlock_report_names_the_holder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
