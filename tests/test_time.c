/* SPDX-License-Identifier: MIT
 * test_time.c - sleeps, gmp_timer_*, tickers, and what is under them (TM-2, TM-3, TI-1, TI-2). Nothing here expects to be
 * woken in time, only never early, exactly once, and not at all after a stop. */
#include "testutil.h"
#include "timer.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t HOUR = 3600 * GMP_SEC;
static atomic_int fired;
static gmp_sem done;

static void count(void *arg)
{
	(void)arg;
	atomic_fetch_add(&fired, 1);
	gmp_sem_release(&done);
}

static void expect(int n)
{
	while (n-- > 0)
		check_int(gmp_sem_acquire(&done), 0);
}

/* ---- a P's timers -------------------------------------------------------------------------------------------------- */

static void free_heap(P *p)
{
	free(p->timers.heap);
	free(p->timers.ref);
}

static void a_periodic_timer_keeps_its_phase(void **state)
{
	(void)state;
	static P p;
	p.timers.minwhen = INT64_MAX;
	Timer t = {.when = 1000, .period = 300}, copy, one = {.when = 1100};
	check_int(gmp__timer_add(&p, &t), 0);
	check_int(gmp__timer_add(&p, &one), 0);
	check(gmp__timer_pop(&p, 999, &copy) == NULL);
	check(gmp__timer_pop(&p, 1000, &copy) == &t);
	check_int(t.when, 1300);
	check(gmp__timer_pop(&p, 2000, &copy) == &one);
	check_int(one.id, 0);
	check(gmp__timer_pop(&p, 2000, &copy) == &t); /* 1300; 1600 and 1900 are dropped */
	check_int(copy.when, 1300);
	check_int(t.when, 2200);
	check(gmp__timer_pop(&p, 2199, &copy) == NULL);
	check(gmp__timer_pop(&p, 2200, &copy) == &t);
	check_int(t.when, 2500);
	t.period = INT64_MAX - 10; /* no overflow */
	check(gmp__timer_pop(&p, INT64_MAX - 1, &copy) == &t);
	check_int(t.when, INT64_MAX);
	check(gmp__timer_remove(&t));
	check(!gmp__timer_remove(&t));
	check_int(p.timers.n, 0);
	check_int(p.timers.minwhen, INT64_MAX);
	free_heap(&p);
}

/* TW-1: each pending timer is where its entry says, and in the slot where it belongs. */
static void check_timers(const P *p, const Timer *t, int n)
{
	const Timers *ts = &p->timers;
	uint32_t pending = 0, listed = 0;
	for (int k = 0; k < n; k++) {
		uint32_t id = t[k].id;
		if (!id)
			continue;
		pending++;
		const TimerRef *r = &ts->ref[id - 1];
		check(r->t == &t[k] && r->when == t[k].when);
		if (!(r->at & TIMER_WHEEL))
			check(r->at < ts->nheap && ts->heap[r->at].id == id && ts->heap[r->at].when == r->when);
	}
	for (uint32_t s = 0; s < TIMER_SLOTS; s++) {
		uint32_t any = 0, shift = s >> TIMER_LEVEL_BITS << 3;
		for (uint32_t l = 0; l < TIMER_LISTS; l++) {
			uint32_t last = 0;
			any |= ts->slot[s][l];
			for (uint32_t id = ts->slot[s][l]; id; id = ts->ref[id - 1].next, listed++) {
				const TimerRef *r = &ts->ref[id - 1];
				uint64_t unit = (uint64_t)r->when >> 16;
				check(r->t && r->at == (TIMER_WHEEL | s) && r->prev == last && id % TIMER_LISTS == l);
				check(ts->moving == s + 1 || unit > ts->edge);
				check(unit >> shift >> 8 == ts->edge >> shift >> 8 && (unit >> shift & 255) == (s & 255));
				last = id;
			}
		}
		check_int(any != 0, ts->occupied[s / 64] >> s % 64 & 1);
		check_int(ts->occupied[s / 64] != 0, ts->words >> s / 64 & 1);
	}
	check_int(ts->n, pending);
	check_int(ts->n, ts->nheap + listed);
}

/* Times that are all over the place, and times a few fixed intervals ahead. */
static void timers_come_in_their_order(void **state)
{
	(void)state;
	enum { N = 300 };
	static const int64_t ahead[] = {70 * 1000, 10 * GMP_MSEC, 10 * GMP_MSEC, 60 * GMP_SEC};
	static P p;
	static Timer t[N];
	uint64_t seed = test_seed();
	int both = 0; /* heap and wheel are in use */
	p.timers.minwhen = INT64_MAX;
	for (int i = 0; i < 20000; i++) {
		Timer *x = &t[test_rand(&seed) % N], copy;
		int64_t first = INT64_MAX;
		for (int k = 0; k < N; k++)
			if (t[k].id && t[k].when < first)
				first = t[k].when;
		check(p.timers.minwhen <= first && (p.timers.minwhen == INT64_MAX) == (first == INT64_MAX));
		p.now += (int64_t)(test_rand(&seed) % 1000);
		if (test_rand(&seed) % 8 == 0 && first != INT64_MAX) {
			p.now = p.now > first ? p.now : first; /* TW-2: nothing is popped before its time */
			Timer *y = gmp__timer_pop(&p, p.now, &copy);
			check(y && copy.when == first && (y->period ? y->when > first : y->id == 0));
		} else if (x->id) {
			check(gmp__timer_remove(x));
			check_int(x->id, 0);
		} else {
			int64_t when = p.now + (int64_t)(test_rand(&seed) % (20 * GMP_MSEC));
			switch (test_rand(&seed) % 8) {
			case 0:
				when = first; /* INT64_MAX: none is pending */
				break;
			case 1:
				when = p.now - 5;
				break;
			case 2:
				break;
			default:
				when = p.now + ahead[test_rand(&seed) % nelem(ahead)];
			}
			*x = (Timer){.when = when, .period = test_rand(&seed) % 8 ? 0 : ahead[test_rand(&seed) % nelem(ahead)]};
			check_int(gmp__timer_add(&p, x), 0);
		}
		if (i % 16 == 0)
			check_timers(&p, t, N);
		both += p.timers.nheap > 0 && p.timers.nheap < p.timers.n;
	}
	check(both > 1000);
	gmp__timers_clear(&p);
	check_timers(&p, t, N);
	check_int(p.timers.n, 0);
	check_int(p.timers.minwhen, INT64_MAX);
	free_heap(&p);
}

/* TW-3: the sleeper of a few timers wakes for the first of them; of many it may wake a few times more, never late. */
static void a_lonely_deadline_has_no_false_alarms(void **state)
{
	(void)state;
	enum { N = 40 };
	static const int64_t far[] = {GMP_MSEC, 50 * GMP_MSEC, 10 * GMP_SEC, 3600 * GMP_SEC};
	for (size_t i = 0; i < nelem(far); i++) {
		for (int n = 1; n <= N; n += N - 1) {
			static P p;
			static Timer t[N];
			Timer copy;
			int alarms = 0;
			p.timers.minwhen = INT64_MAX;
			p.now = 1000 * GMP_SEC + 12345;
			for (int k = 0; k < n; k++) {
				t[k] = (Timer){.when = p.now + far[i] + k};
				check_int(gmp__timer_add(&p, &t[k]), 0);
			}
			check_int(p.timers.minwhen, p.now + far[i]);
			/* The first of many goes: what comes next is not known exactly. */
			if (n > 1)
				check(gmp__timer_remove(&t[0]));
			while (gmp__timer_pop(&p, p.timers.minwhen, &copy) == NULL)
				alarms++;
			check_int(copy.when, p.now + far[i] + (n > 1));
			check(n > 1 ? alarms <= TIMER_LEVELS : alarms == 0);
			gmp__timers_clear(&p);
			free_heap(&p);
			p.timers = (Timers){.minwhen = INT64_MAX};
		}
	}
}

/* ... and when all are gone nobody wakes at all. */
static void no_deadline_is_left_behind(void **state)
{
	(void)state;
	enum { N = 40 };
	static P p;
	static Timer t[N];
	p.timers.minwhen = INT64_MAX;
	p.now = 1000 * GMP_SEC;
	for (int k = 0; k < N; k++) {
		t[k] = (Timer){.when = p.now + GMP_SEC + k};
		check_int(gmp__timer_add(&p, &t[k]), 0);
	}
	check(gmp__timer_remove(&t[0]));
	check(p.timers.minwhen < t[1].when); /* not known exactly */
	for (int k = 1; k < N; k++)
		check(gmp__timer_remove(&t[k]));
	check_int(p.timers.minwhen, INT64_MAX);
	free_heap(&p);
}

static void note_time(M *m, void *arg, uintptr_t seq)
{
	(void)m;
	(void)seq;
	++*(int *)arg;
}

/* TW-4: what is due is served at once, however many are to be moved. */
static void a_move_delays_no_deadline(void **state)
{
	(void)state;
	enum { N = 20000 };
	static P p;
	static Timer t[N];
	int served = 0;
	const int64_t when = 100 * GMP_SEC, now = when - GMP_SEC;
	Timer due = {.when = now, .f = note_time, .arg = &served};
	p.timers.minwhen = INT64_MAX;
	p.now = 1;
	for (int k = 0; k < N; k++) {
		t[k] = (Timer){.when = when + k};
		check_int(gmp__timer_add(&p, &t[k]), 0);
	}
	check_int(gmp__timer_add(&p, &due), 0);
	check(t[0].when >> 32 == now >> 32); /* in the same slot */
	check(gmp__runtimers(NULL, &p, now));
	check_int(served, 1);
	check(p.timers.minwhen > now);
	gmp__timers_clear(&p);
	free_heap(&p);
}

/* TW-4 */
static void many_deadlines_are_moved_by_and_by(void **state)
{
	(void)state;
	enum { N = 20000 };
	static P p;
	static Timer t[N];
	Timer copy;
	const int64_t when = 100 * GMP_SEC;
	p.timers.minwhen = INT64_MAX;
	p.now = 1;
	for (int k = 0; k < N; k++) {
		t[k] = (Timer){.when = when + k};
		check_int(gmp__timer_add(&p, &t[k]), 0);
	}
	check(gmp__timer_remove(&t[0])); /* TW-3: minwhen is the slot's start now */
	int looks = 0;
	p.now = when - 1;
	do {
		check(gmp__timer_pop(&p, p.now, &copy) == NULL);
		if (++looks == 3) { /* meanwhile some go, moved or not, and one comes */
			check(p.timers.moving);
			check(gmp__timer_remove(&t[1]) && gmp__timer_remove(&t[N - 1]) && gmp__timer_remove(&t[N / 2]));
			t[0].when = GMP_SEC;
			check_int(gmp__timer_add(&p, &t[0]), 0);
			check(gmp__timer_pop(&p, p.now, &copy) == &t[0]);
		}
		check_timers(&p, t, N);
	} while (p.timers.minwhen <= p.now);
	check(looks >= N / 2000);
	p.now = when + N;
	int64_t last = 0;
	int popped = 0;
	while (p.timers.n) {
		if (!gmp__timer_pop(&p, p.now, &copy))
			continue; /* still moving */
		check(copy.when > last);
		last = copy.when;
		popped++;
	}
	check_int(popped, N - 4);
	check_int(p.timers.minwhen, INT64_MAX);
	free_heap(&p);
}

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

static void sleeps_for_ever(void *arg)
{
	check_int(gmp_sleep((intptr_t)arg == 0 ? GMP_FOREVER : HOUR), -ECANCELED);
	check_int(gmp_sleep_until(gmp_now() + HOUR), -ECANCELED);
	check_int(gmp_sleep_until(GMP_FOREVER), -ECANCELED);
	check_int(gmp_sleep(0), 0); /* does not wait */
}

static void sleeps(void *arg)
{
	(void)arg;
	check_int(gmp_sleep(0), 0);
	check_int(gmp_sleep(-1), 0);
	check_int(gmp_sleep(INT64_MIN), 0);
	check_int(gmp_sleep_until(0), 0);
	check_int(gmp_sleep_until(-5), 0);
	check_int(gmp_sleep_until(1), 0);
	check_int(gmp_sleep_until(gmp_now() - 1), 0);
	for (int64_t ns = 1; ns < 3 * GMP_MSEC; ns = ns * 3 + 1) {
		int64_t t = gmp_now() + ns;
		check_int(gmp_sleep_until(t), 0);
		check(gmp_now() >= t);
		t = gmp_now() + ns;
		check_int(gmp_sleep(ns), 0);
		check(gmp_now() >= t);
	}
}

static void sleepers(void *arg)
{
	sleeps(arg);
	if (gmp_id() == 0)
		return;
	gmp_g *g[4];
	for (intptr_t i = 0; i < 4; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, sleeps_for_ever, (void *)(i / 2)), 0);
	gmp_yield();
	for (int i = 0; i < 4; i++) {
		check_int(gmp_cancel(g[i]), 0);
		check_int(gmp_join(g[i]), 0);
	}
}

static void a_sleep_is_not_short_and_can_be_cancelled(void **state)
{
	(void)state;
	sleepers(NULL); /* a thread, without a runtime */
	run_on_all(sleepers, NULL);
}

/* ---- many sleepers: GMP_TEST_SLEEPERS=1000000 for the full number (5 GB) ------------------------------------------- */

static atomic_int awake;
static int nsleepers;

static void sleeper(void *arg)
{
	int64_t t = *(int64_t *)arg + (int64_t)(gmp_id() * 7919 % 100000) * 1000;
	check_int(gmp_sleep_until(t), 0);
	check(gmp_now() >= t);
	atomic_fetch_add(&awake, 1);
}

static void many_sleepers(void *arg)
{
	(void)arg;
	int64_t start = gmp_now() + 50 * GMP_MSEC;
	gmp_waitgroup wg = {0};
	atomic_store(&awake, 0);
	for (int i = 0; i < nsleepers; i++)
		check_int(gmp_waitgroup_spawn(&wg, sleeper, &start), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(atomic_load(&awake), nsleepers);
}

static void many_sleep_at_once(void **state)
{
	(void)state;
	const char *e = getenv("GMP_TEST_SLEEPERS");
	nsleepers = e ? atoi(e) : 50000 / test_scale();
	run_on(1, many_sleepers, NULL);
	run_on(2, many_sleepers, NULL);
}

/* TM-7: 100 deadlines a millisecond, for 100 ms. A poll for each 50-80 us that a kernel makes of them would be 1200 and
 * more, a wake-up of the second M for each batch as much again. */
enum { THICK = 10000, THICK_NS = 10 * 1000, THICK_POLLS = 100 * 1000 / 400 + 350 };

static void wakes_thickly(void *arg)
{
	check_int(gmp_sleep_until(*(int64_t *)arg), 0);
	check(gmp_now() >= *(int64_t *)arg);
}

static void thick_deadlines(void *arg)
{
	static int64_t deadlines[THICK];
	gmp_waitgroup wg = {0};
	gmp_stats before, after;
	(void)arg;
	int64_t start = gmp_now() + 50 * GMP_MSEC * test_scale();
	for (int i = 0; i < THICK / test_scale(); i++) {
		deadlines[i] = start + (int64_t)i * THICK_NS;
		check_int(gmp_waitgroup_spawn(&wg, wakes_thickly, &deadlines[i]), 0);
	}
	gmp_yield();
	gmp_stats_read(&before);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_stats_read(&after);
	check(after.polls - before.polls <= THICK_POLLS);
}

static void deadlines_that_come_thick_are_gathered(void **state)
{
	(void)state;
	run_on(1, thick_deadlines, NULL);
	run_on(2, thick_deadlines, NULL);
}

/* TM-8: a pair that readies each other keeps its P busy, all others are idle, and one or two have a timer. The pair goes on
 * until these have been served. */
enum { ON_OTHERS = 2 };
struct pair {
	gmp_chan *ping, *pong;
	int64_t start, until;
	atomic_int served;
};

static void sleeps_somewhere(void *arg)
{
	struct pair *p = arg;
	int64_t end = gmp_now() + 2 * GMP_MSEC;
	while (gmp_now() < end) /* so that they spread over the Ps */
		;
	check_int(gmp_sleep_until(p->start + 20 * GMP_MSEC), 0);
	atomic_fetch_add(&p->served, 1);
}

static void ponger(void *arg)
{
	struct pair *p = arg;
	int64_t v;
	while (gmp_chan_recv(p->ping, &v) == 0)
		check_int(gmp_chan_send(p->pong, &v), 0);
}

static void pinger(void *arg)
{
	struct pair *p = arg;
	int64_t v = 0;
	check_int(gmp_sleep_until(p->start + 10 * GMP_MSEC), 0);
	while (atomic_load(&p->served) < ON_OTHERS && gmp_now() < p->until) {
		check_int(gmp_chan_send(p->ping, &v), 0);
		check_int(gmp_chan_recv(p->pong, &v), 0);
	}
	check_int(atomic_load(&p->served), ON_OTHERS);
	check_int(gmp_chan_close(p->ping), 0);
}

static void pair_beside_idle_ps(void *arg)
{
	struct pair p = {gmp_chan_new(sizeof(int64_t), 0), gmp_chan_new(sizeof(int64_t), 0), gmp_now(), gmp_now() + 20 * GMP_SEC, 0};
	gmp_waitgroup wg = {0};
	(void)arg;
	for (int i = 0; i < ON_OTHERS; i++)
		check_int(gmp_waitgroup_spawn(&wg, sleeps_somewhere, &p), 0);
	check_int(gmp_waitgroup_spawn(&wg, ponger, &p), 0);
	check_int(gmp_waitgroup_spawn(&wg, pinger, &p), 0);
	while (gmp_now() < p.start + GMP_MSEC)
		;
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_chan_free(p.ping);
	gmp_chan_free(p.pong);
}

static void a_busy_pair_starves_no_timer_of_an_idle_p(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		run_on(4 + i % 4, pair_beside_idle_ps, NULL);
}

/* ---- timers: start, stop, reset ------------------------------------------------------------------------------------ */

typedef struct Shot {
	int64_t deadline, period;
	gmp_timer *t;
	atomic_int n;
	gmp_sem done;
} Shot;

static void on_time(void *arg)
{
	Shot *s = arg;
	int k = atomic_fetch_add(&s->n, 1); /* before the clock is read: another one may come in between */
	check(gmp_now() >= s->deadline + k * s->period);
	gmp_sem_release(&s->done);
}

static void timer_basics(void *arg)
{
	(void)arg;
	check(gmp_timer_new(NULL, NULL) == NULL);
	check_int(gmp_timer_start(NULL, 0, 0), -EINVAL);
	check_int(gmp_timer_stop(NULL), -EINVAL);
	gmp_timer_free(NULL);
	Shot s = {.deadline = gmp_now() + 2 * GMP_MSEC};
	s.t = gmp_timer_new(on_time, &s);
	check(s.t);
	check_int(gmp_timer_stop(s.t), 0); /* never started */
	check_int(gmp_timer_start(s.t, s.deadline, -1), -EINVAL);
	check_int(gmp_timer_start(s.t, s.deadline, 0), 0);
	check_int(gmp_sem_acquire(&s.done), 0);
	check_int(gmp_timer_stop(s.t), 0); /* fn has begun */
	check_int(gmp_timer_start(s.t, gmp_now() + HOUR, 0), 0);
	check_int(gmp_timer_start(s.t, gmp_now() + 2 * HOUR, 0), 1); /* reset */
	check_int(gmp_timer_stop(s.t), 1);
	check_int(gmp_timer_stop(s.t), 0);
	check_int(gmp_timer_start(s.t, GMP_FOREVER, 0), 0);
	check_int(gmp_timer_stop(s.t), 1);
	check_int(gmp_timer_start(s.t, GMP_FOREVER, 5), 0);
	/* in the past, and at once: fires */
	s.deadline = 0;
	int64_t past[] = {0, -1, INT64_MIN, 1, gmp_now() - 1};
	for (int i = 0; i < 5; i++) {
		check_int(gmp_timer_start(s.t, past[i], 0), i == 0);
		check_int(gmp_sem_acquire(&s.done), 0);
	}
	check_int(atomic_load(&s.n), 6);
	check_int(gmp_timer_start(s.t, gmp_now() + HOUR, 0), 0);
	gmp_stats st;
	gmp_stats_read(&st);
	check_int(st.timers, 1);
	gmp_timer_free(s.t); /* while pending */
	gmp_stats_read(&st);
	check_int(st.timers, 0);
	check_int(gmp_sem_tryacquire(&s.done), -EAGAIN);
}

static void a_timer_starts_stops_and_starts_anew(void **state)
{
	(void)state;
	run_on_all(timer_basics, NULL);
	gmp_timer *t = gmp_timer_new(count, NULL);
	check_int(gmp_timer_start(t, gmp_now(), 0), -ESRCH);
	check_int(gmp_timer_stop(t), 0);
	gmp_timer_free(t);
}

static void periodic(void *arg)
{
	(void)arg;
	Shot s = {.deadline = gmp_now() + GMP_MSEC, .period = 500 * GMP_USEC};
	s.t = gmp_timer_new(on_time, &s); /* checks: never more often than the clock allows */
	check_int(gmp_timer_start(s.t, s.deadline, s.period), 0);
	for (int i = 0; i < 10; i++)
		check_int(gmp_sem_acquire(&s.done), 0);
	check_int(gmp_timer_stop(s.t), 1);
	check_int(gmp_timer_stop(s.t), 0);
	/* deadline 0: now, and the next one a period later */
	Shot now = {.deadline = gmp_now(), .period = GMP_MSEC};
	now.t = gmp_timer_new(on_time, &now);
	check_int(gmp_timer_start(now.t, 0, now.period), 0);
	for (int i = 0; i < 3; i++)
		check_int(gmp_sem_acquire(&now.done), 0);
	gmp_timer_free(now.t);
	gmp_timer_free(s.t);
	gmp_stats st;
	do { /* an fn that has begun ends before its Shot goes */
		gmp_yield();
		gmp_stats_read(&st);
	} while (st.gs > 1);
}

static void a_periodic_timer_repeats(void **state)
{
	(void)state;
	run_on_all(periodic, NULL);
}

/* ---- no stale expiry (TI-1) ---------------------------------------------------------------------------------------- */

/* Alone: the timer and the sleep are due at the same look, the sleeper runs first. */
static void stop_in_between(void *arg)
{
	int64_t period = *(int64_t *)arg;
	gmp_timer *t = gmp_timer_new(count, NULL);
	for (int i = 0; i < 50; i++) {
		int64_t when = gmp_now() + 100 * GMP_USEC;
		int before = atomic_load(&fired);
		check_int(gmp_timer_start(t, when, period), 0);
		while (gmp_now() < when + 10)
			;
		check_int(gmp_sleep(1), 0);
		int r = i % 3 == 0 ? gmp_timer_stop(t) : i % 3 == 1 ? gmp_timer_start(t, gmp_now() + HOUR, 0) : 1;
		if (i % 3 == 2) {
			gmp_timer_free(t);
			t = gmp_timer_new(count, NULL);
		}
		int after = atomic_load(&fired);
		if (i % 3 != 2 && period == 0)
			check_int(r, after == before);
		for (int k = 0; k < 5; k++)
			gmp_yield();
		check_int(gmp_sleep(10 * GMP_USEC), 0);
		check_int(atomic_load(&fired), after);
		if (i % 3 == 1)
			check_int(gmp_timer_stop(t), 1);
	}
	gmp_timer_free(t);
}

static void nothing_fires_after_a_stop(void **state)
{
	(void)state;
	int64_t period = 0;
	run_alone(stop_in_between, &period);
	period = 10 * GMP_MSEC;
	run_alone(stop_in_between, &period);
}

/* Several coroutines and threads start, stop and reset timers that are due just now. Each start of a one-shot ends by exactly
 * one of: fn is called, or somebody is told that it was pending. */
enum { NTIMERS = 4, NWORKERS = 6, NTHREADS = 2 };
static gmp_timer *shared[NTIMERS];
static atomic_long starts, stopped, calls;
static uint64_t seed;
static atomic_uint stream;

static void call(void *arg)
{
	(void)arg;
	atomic_fetch_add(&calls, 1);
}

static void meddle(void *arg)
{
	(void)arg;
	uint64_t r = seed + 77 * atomic_fetch_add(&stream, 1);
	for (int i = 0; i < 2000 / test_scale(); i++) {
		gmp_timer *t = shared[test_rand(&r) % NTIMERS];
		if (test_rand(&r) % 3) {
			int e = gmp_timer_start(t, gmp_now() + test_rand(&r) % 20000, 0);
			check(e == 0 || e == 1);
			atomic_fetch_add(&starts, 1);
			atomic_fetch_add(&stopped, e);
		} else {
			atomic_fetch_add(&stopped, gmp_timer_stop(t));
		}
		if (test_rand(&r) % 4 == 0)
			gmp_yield();
		else if (test_rand(&r) % 16 == 0)
			(void)gmp_sleep(test_rand(&r) % 20000);
	}
}

static void *meddling_thread(void *arg)
{
	meddle(arg);
	return NULL;
}

static void many_hands(void *arg)
{
	bool threads = arg != NULL;
	pthread_t th[NTHREADS];
	gmp_waitgroup wg = {0};
	atomic_store(&starts, 0);
	atomic_store(&stopped, 0);
	atomic_store(&calls, 0);
	for (int i = 0; i < NTIMERS; i++)
		check((shared[i] = gmp_timer_new(call, NULL)));
	for (int i = 0; i < NTHREADS && threads; i++)
		check_int(pthread_create(&th[i], NULL, meddling_thread, NULL), 0);
	for (int i = 0; i < NWORKERS; i++)
		check_int(gmp_waitgroup_spawn(&wg, meddle, NULL), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_blocking_enter();
	for (int i = 0; i < NTHREADS && threads; i++)
		pthread_join(th[i], NULL);
	gmp_blocking_leave();
	for (int i = 0; i < NTIMERS; i++)
		atomic_fetch_add(&stopped, gmp_timer_stop(shared[i]));
	for (int i = 0; i < NTIMERS; i++)
		gmp_timer_free(shared[i]);
	/* run_on: the run ends when the last fn has */
}

static void each_start_ends_once(void **state)
{
	(void)state;
	seed = test_seed();
	for (int i = 0; i < 2; i++)
		for (int procs = 1; procs <= 2 * test_ncpu(); procs *= 2) {
			run_on(procs, many_hands, i ? "threads" : NULL);
			check(atomic_load(&calls) > 0);
			check_int(atomic_load(&calls) + atomic_load(&stopped), atomic_load(&starts));
		}
}

/* ---- fn and its own timer (TI-2) ------------------------------------------------------------------------------------ */

static void again(void *arg)
{
	Shot *s = arg;
	if (atomic_fetch_add(&s->n, 1) < 5) {
		check_int(gmp_timer_stop(s->t), 0);
		check_int(gmp_timer_start(s->t, gmp_now() + 20 * GMP_USEC, 0), 0);
		return;
	}
	gmp_timer_free(s->t);
	gmp_sem_release(&s->done);
}

static void frees_itself(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		Shot s = {0};
		s.t = gmp_timer_new(again, &s);
		check_int(gmp_timer_start(s.t, 0, 0), 0);
		check_int(gmp_sem_acquire(&s.done), 0);
		check_int(atomic_load(&s.n), 6);
	}
	/* freed at any point of an expiry */
	for (int i = 0; i < 2000 / test_scale(); i++) {
		gmp_timer *t = gmp_timer_new(call, NULL);
		check_int(gmp_timer_start(t, gmp_now() + i % 7 * 500, i % 3 * 1000), 0);
		if (i % 2)
			gmp_yield();
		if (i % 5 == 0)
			(void)gmp_sleep(i % 11 * 300);
		gmp_timer_free(t);
	}
}

static void fn_may_start_and_free_its_timer(void **state)
{
	(void)state;
	run_on_all(frees_itself, NULL);
}

/* ---- foreign threads, beside a main loop ----------------------------------------------------------------------------- */

static void *thread_with_timers(void *arg)
{
	(void)arg;
	Shot s[8] = {{0}};
	for (int i = 0; i < 8; i++) {
		s[i].t = gmp_timer_new(on_time, &s[i]);
		s[i].deadline = gmp_now() + (8 - i) * 200 * GMP_USEC;
		check_int(gmp_timer_start(s[i].t, s[i].deadline, 0), 0);
	}
	for (int i = 0; i < 8; i++)
		check_int(gmp_sem_acquire(&s[i].done), 0);
	for (int i = 0; i < 8; i++) {
		check_int(gmp_timer_start(s[i].t, gmp_now() + HOUR, 0), 0);
		check_int(gmp_timer_stop(s[i].t), 1);
		gmp_timer_free(s[i].t);
	}
	gmp_chan *tick = gmp_ticker_new(300 * GMP_USEC);
	int64_t at = 0, last = 0;
	for (int i = 0; i < 3; i++) {
		check_int(gmp_chan_recv(tick, &at), 0);
		check(at >= last);
		last = at;
	}
	gmp_ticker_free(tick);
	return NULL;
}

static void threads_have_timers(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		check_int(gmp_start(&(gmp_config){.procs = procs}), 0);
		(void)thread_with_timers(NULL); /* nothing else goes on: an idle poller has to be woken */
		pthread_t t;
		check_int(pthread_create(&t, NULL, thread_with_timers, NULL), 0);
		(void)thread_with_timers(NULL);
		check_int(pthread_join(t, NULL), 0);
		check_int(gmp_stop(GMP_FOREVER), 0);
	}
}

/* ---- Ps that go ------------------------------------------------------------------------------------------------------ */

static void starts_one(void *arg)
{
	gmp_timer **t = arg;
	*t = gmp_timer_new(count, NULL);
	check_int(gmp_timer_start(*t, gmp_now() + 3 * GMP_MSEC, 0), 0);
	check_int(gmp_sleep(4 * GMP_MSEC), 0);
}

static void shrink(void *arg)
{
	(void)arg;
	enum { N = 64 };
	gmp_timer *t[N], *late = gmp_timer_new(count, NULL);
	gmp_sem_init(&done, 0);
	gmp_waitgroup wg = {0};
	int procs = gmp_procs();
	for (int i = 0; i < N; i++) {
		check_int(gmp_waitgroup_spawn(&wg, starts_one, &t[i]), 0);
		int64_t until = gmp_now() + 20 * GMP_USEC; /* let the others take some */
		while (gmp_now() < until)
			;
	}
	check_int(gmp_timer_start(late, gmp_now() + HOUR, 0), 0);
	check_int(gmp_set_procs(1), procs);
	expect(N);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(gmp_timer_start(late, gmp_now(), 0), 1); /* of a P that may be no more */
	expect(1);
	check_int(gmp_set_procs(procs), 1);
	for (int i = 0; i < N; i++) {
		check_int(gmp_timer_stop(t[i]), 0);
		gmp_timer_free(t[i]);
	}
	gmp_timer_free(late);
}

static void timers_outlive_their_p(void **state)
{
	(void)state;
	for (int procs = 2; procs <= 8; procs *= 2)
		for (int i = 0; i < 3; i++)
			run_on(procs, shrink, NULL);
}

/* ---- the end of a run ------------------------------------------------------------------------------------------------- */

static gmp_timer *old, *oldper;
static gmp_chan *oldtick;

static void leaves_timers(void *arg)
{
	(void)arg;
	check_int(gmp_timer_start(old, gmp_now() + HOUR, 0), 0);
	check_int(gmp_timer_start(oldper, gmp_now() + HOUR, HOUR), 0);
	check((oldtick = gmp_ticker_new(HOUR)));
}

static void takes_them_up(void *arg)
{
	(void)arg;
	check_int(gmp_timer_stop(oldper), 0);
	gmp_sem_init(&done, 0);
	check_int(gmp_timer_start(old, gmp_now() + 10 * GMP_USEC, 0), 0);
	expect(1);
	check_int(gmp_chan_try_recv(oldtick, NULL), -EAGAIN);
}

static void a_timer_ends_with_its_run(void **state)
{
	(void)state;
	old = gmp_timer_new(count, NULL);
	oldper = gmp_timer_new(count, NULL);
	for (int procs = 1; procs <= 2; procs++) {
		run_on(procs, leaves_timers, NULL);
		if (procs == 2)
			check_int(gmp_timer_stop(old), 0);
		check_int(gmp_timer_start(old, gmp_now(), 0), -ESRCH);
		run_on(procs, takes_them_up, NULL);
		gmp_ticker_free(oldtick);
	}
	run_on(1, leaves_timers, NULL);
	gmp_ticker_free(oldtick);
	gmp_timer_free(old);
	gmp_timer_free(oldper);
}

/* The last one ends with its thread while another M waits for the timer: who hands off the P sees that the run is over. */
static atomic_int locked;

static void computes_locked(void *arg)
{
	(void)arg;
	gmp_lock_thread();
	atomic_store(&locked, 1);
	for (int64_t end = gmp_now() + 20 * GMP_MSEC; gmp_now() < end;)
		;
}

static void last_is_locked(void *arg)
{
	gmp_timer **t = arg;
	*t = gmp_timer_new(count, NULL);
	check(*t);
	check_int(gmp_timer_start(*t, gmp_now() + HOUR, 0), 0);
	atomic_store(&locked, 0);
	check_int(gmp_spawn(computes_locked, NULL), 0);
	while (!atomic_load(&locked)) /* so that it runs on another thread */
		;
}

static void a_run_ends_with_a_locked_coroutine(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 3; procs++) {
		gmp_timer *t;
		run_on(procs, last_is_locked, &t);
		gmp_timer_free(t);
	}
}

static void sleeps_in_vain(void *arg)
{
	(void)arg;
	(void)gmp_sleep_until(GMP_FOREVER);
}

static void in_vain(void *arg)
{
	(void)arg;
	_exit(gmp_run(sleeps_in_vain, NULL, NULL) == -EDEADLK ? 42 : 1);
}

static void a_sleep_without_end_is_a_deadlock(void **state)
{
	(void)state;
	char buf[4096];
	int s = in_child(in_vain, NULL, buf, sizeof buf);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
	check(strstr(buf, "[sleep") != NULL);
}

/* ---- a forked child inherits the memory, not the timers ---------------------------------------------------------------- */

static void forks(void *arg)
{
	(void)arg;
	gmp_timer *t[40];
	for (int i = 0; i < 40; i++) {
		t[i] = gmp_timer_new(count, NULL);
		check_int(gmp_timer_start(t[i], gmp_now() + HOUR + i, 0), 0);
	}
	gmp_chan *tick = gmp_ticker_new(HOUR);
	gmp_sem_init(&done, 0);
	pid_t pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		alarm(60);
		for (int i = 0; i < 20; i++)
			check_int(gmp_timer_stop(t[i]), 0);
		gmp_ticker_free(tick);
		oldtick = NULL;
		old = t[0];
		oldper = t[25]; /* not stopped */
		check_int(gmp_run(leaves_timers, NULL, NULL), 0);
		check_int(gmp_run(takes_them_up, NULL, NULL), 0);
		for (int i = 0; i < 40; i++)
			gmp_timer_free(t[i]);
		_exit(42);
	}
	int s;
	check_int(waitpid(pid, &s, 0), pid);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
	gmp_ticker_free(tick);
	for (int i = 0; i < 40; i++) {
		check_int(gmp_timer_stop(t[i]), 1);
		gmp_timer_free(t[i]);
	}
}

static void a_child_may_touch_inherited_timers(void **state)
{
	(void)state;
	if (TEST_SANITIZED || getenv("GMP_TEST_EMULATED"))
		skip(); /* threads after a multi-threaded fork are beyond TSan and qemu-user */
	run_on(1, forks, NULL);
	run_on(2, forks, NULL);
}

/* ---- no memory ---------------------------------------------------------------------------------------------------------- */

static void without_memory(void *arg)
{
	(void)arg;
	enum { N = 5000 };
	static gmp_timer *t[N];
	int failed = 0;
	for (int i = 0; i < N; i++) {
		check((t[i] = gmp_timer_new(call, NULL)));
		__atomic_store_n(&gmp__os_fail_at, 1 + i / 8 % 2, __ATOMIC_RELAXED); /* of two tables one has grown already */
		int e = gmp_timer_start(t[i], gmp_now() + HOUR, 0);
		__atomic_store_n(&gmp__os_fail_at, 0, __ATOMIC_RELAXED);
		check(e == 0 || e == -ENOMEM);
		failed += e != 0;
		check_int(gmp_timer_stop(t[i]), e == 0);
		check_int(gmp_timer_start(t[i], gmp_now() + HOUR, 0), 0);
	}
	check(failed > 0);
	for (int i = 0; i < N; i++)
		gmp_timer_free(t[i]);
	__atomic_store_n(&gmp__os_fail_at, 1, __ATOMIC_RELAXED);
	check(gmp_timer_new(call, NULL) == NULL);
	__atomic_store_n(&gmp__os_fail_at, 1, __ATOMIC_RELAXED);
	check(gmp_ticker_new(GMP_SEC) == NULL);
	__atomic_store_n(&gmp__os_fail_at, 0, __ATOMIC_RELAXED);
}

static void a_start_without_memory_is_an_error(void **state)
{
	(void)state;
	run_on(1, without_memory, NULL);
}

/* ---- deadlines leave nothing behind ------------------------------------------------------------------------------------- */

static void echo(void *arg)
{
	gmp_chan **c = arg;
	int v;
	while (gmp_chan_recv_until(c[0], &v, gmp_now() + HOUR) == 0)
		check_int(gmp_chan_send_until(c[1], &v, gmp_now() + HOUR), 0);
}

static void set_and_cancel(void *arg)
{
	(void)arg;
	gmp_chan *c[2] = {gmp_chan_new(sizeof(int), 0), gmp_chan_new(sizeof(int), 0)};
	gmp_waitgroup wg = {0};
	check_int(gmp_waitgroup_spawn(&wg, echo, c), 0);
	for (int i = 0; i < 1000; i++) {
		int v = i;
		check_int(gmp_chan_send_until(c[0], &v, gmp_now() + HOUR), 0);
		check_int(gmp_chan_recv_until(c[1], &v, gmp_now() + HOUR), 0);
		check_int(v, i);
	}
	check_int(gmp_chan_close(c[0]), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_stats st;
	gmp_stats_read(&st);
	check_int(st.timers, 0);
	gmp_chan_free(c[0]);
	gmp_chan_free(c[1]);
}

static void a_deadline_that_does_not_come_leaves_no_timer(void **state)
{
	(void)state;
	run_on_all(set_and_cancel, NULL);
}

/* ---- tickers ---------------------------------------------------------------------------------------------------------------- */

static void ticks(void *arg)
{
	(void)arg;
	check(gmp_ticker_new(0) == NULL);
	check(gmp_ticker_new(-1) == NULL);
	gmp_ticker_free(NULL);
	const int64_t period = 200 * GMP_USEC;
	int64_t start = gmp_now(), at, last = 0;
	gmp_chan *c = gmp_ticker_new(period);
	check(c);
	check_int(gmp_chan_cap(c), 1);
	for (int i = 1; i <= 10; i++) {
		check_int(gmp_chan_recv(c, &at), 0);
		check(at >= start + i * period && at >= last && at <= gmp_now());
		last = at;
	}
	/* what nobody takes is dropped: one is kept, the oldest */
	check_int(gmp_sleep(5 * period), 0);
	while (gmp_chan_len(c) == 0)
		check_int(gmp_sleep(period), 0);
	check_int(gmp_chan_len(c), 1);
	int64_t before = gmp_now();
	check_int(gmp_chan_recv(c, &at), 0);
	check(at <= before);
	gmp_case k[2] = {{c, GMP_RECV, &at, 0}, {NULL, GMP_RECV, NULL, 0}};
	check_int(gmp_select(k, 2, GMP_FOREVER), 0);
	check_int(gmp_chan_recv_until(c, NULL, gmp_now() + HOUR), 0);
	/* freed at any moment of a tick */
	gmp_ticker_free(c);
	for (int i = 0; i < 200 / test_scale(); i++) {
		c = gmp_ticker_new(1000);
		if (i % 2)
			gmp_yield();
		else
			check_int(gmp_chan_recv(c, NULL), 0);
		gmp_ticker_free(c);
	}
}

static void a_ticker_ticks(void **state)
{
	(void)state;
	check(gmp_ticker_new(GMP_SEC) == NULL); /* no runtime */
	run_on_all(ticks, NULL);
}

static void waits_for_tick(void *c) { (void)gmp_chan_recv(c, NULL); }

static void misuse_main(void *arg)
{
	gmp_chan *c = gmp_ticker_new(HOUR);
	if (*(int *)arg == 1) {
		check_int(gmp_spawn(waits_for_tick, c), 0);
		gmp_yield();
		gmp_ticker_free(c);
	} else if (*(int *)arg == 2) {
		gmp_chan_free(c);
	} else {
		gmp_ticker_free(gmp_chan_new(0, 0));
	}
}

static void run_misuse(void *arg)
{
	no_sysmon();
	(void)gmp_run(misuse_main, arg, &(gmp_config){.procs = 1});
}

static void misuse_of_tickers_aborts(void **state)
{
	(void)state;
	static const char *const said[] = {"is no ticker", "somebody waits", "is a ticker"};
	for (int i = 0; i < 3; i++) {
		char buf[4096];
		int s = in_child(run_misuse, &i, buf, sizeof buf);
		check(WIFSIGNALED(s) && WTERMSIG(s) == SIGABRT);
		check(strstr(buf, said[i]) != NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_start_without_memory_is_an_error), /* first: while there is room for few */
		cmocka_unit_test(a_periodic_timer_keeps_its_phase),
		cmocka_unit_test(timers_come_in_their_order),
		cmocka_unit_test(a_lonely_deadline_has_no_false_alarms),
		cmocka_unit_test(no_deadline_is_left_behind),
		cmocka_unit_test(a_move_delays_no_deadline),
		cmocka_unit_test(many_deadlines_are_moved_by_and_by),
		cmocka_unit_test(a_sleep_is_not_short_and_can_be_cancelled),
		cmocka_unit_test(many_sleep_at_once),
		cmocka_unit_test(deadlines_that_come_thick_are_gathered),
		cmocka_unit_test(a_busy_pair_starves_no_timer_of_an_idle_p),
		cmocka_unit_test(a_timer_starts_stops_and_starts_anew),
		cmocka_unit_test(a_periodic_timer_repeats),
		cmocka_unit_test(nothing_fires_after_a_stop),
		cmocka_unit_test(each_start_ends_once),
		cmocka_unit_test(fn_may_start_and_free_its_timer),
		cmocka_unit_test(threads_have_timers),
		cmocka_unit_test(timers_outlive_their_p),
		cmocka_unit_test(a_timer_ends_with_its_run),
		cmocka_unit_test(a_run_ends_with_a_locked_coroutine),
		cmocka_unit_test(a_sleep_without_end_is_a_deadlock),
		cmocka_unit_test(a_child_may_touch_inherited_timers),
		cmocka_unit_test(a_deadline_that_does_not_come_leaves_no_timer),
		cmocka_unit_test(a_ticker_ticks),
		cmocka_unit_test(misuse_of_tickers_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
