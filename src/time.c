/* SPDX-License-Identifier: MIT
 * time.c - gmp_sleep, gmp_timer_*, tickers: the parking side of timer.c. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

int gmp__sleep(uint8_t reason, int64_t deadline)
{
	if (deadline <= 0)
		return 0;
	M *m = enter();
	G *gp = m->curg;
	if (cancelled(gp)) {
		leave(m);
		return -ECANCELED;
	}
	olock(&gp->parklock);
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED;
	uint32_t seq = claim_begin(gp);
	intptr_t r = gmp__park_until(m, gp, reason, NULL, NULL, &gp->parklock, seq, deadline);
	return r == -ETIMEDOUT ? 0 : (int)r;
}

int gmp_sleep_until(int64_t deadline) { return gmp__sleep(WAIT_SLEEP, deadline); }
int gmp_sleep(int64_t ns) { return gmp_sleep_until(ns <= 0 ? 0 : add_sat_i64(gmp__os_now(), ns)); }

/* ---- timers -------------------------------------------------------------------------------------------------------
 * An expiry takes a few steps: it is due (gmp__timer_pop), a coroutine is made (fire), it begins (expired).
 *   TI-1 Each start, stop and free moves `gen` on, and fn is called only if the expiry's gen is still the present one, both
 *        under t->lock. So once they have returned no fn begins for an earlier start: no stale expiry. `pending` is taken
 *        back in the step in which a one-shot fn begins: "it was pending" and "fn is called" exclude each other.
 *   TI-2 An expiry that is under way keeps the memory: popped (under the timers' lock) != landed (under t->lock). free takes
 *        the timer out of its P first, so popped stands still; who finds both equal in a freed timer gives it back. */

struct gmp_timer {
	Timer t;
	gmp_fn *fn;
	void *arg;
	uint64_t run;    /* of the last start: its end is the timer's */
	uintptr_t gen;
	uint32_t landed;
	uint8_t lock;
	bool pending, freed;
};

/* An expiry has come to its end. t->lock is held. True: t is the caller's to free. */
static bool land(gmp_timer *t)
{
	t->landed++;
	return t->freed && t->landed == t->t.popped;
}

/* The coroutine of an expiry. */
static void expired(void *arg)
{
	gmp_timer *t = arg;
	uintptr_t gen = (uintptr_t)getm()->curg->waitobj;
	M *m = enter();
	olock(&t->lock);
	gmp_fn *fn = t->gen == gen ? t->fn : NULL;
	void *fnarg = t->arg;
	if (fn) {
		m->curg->fn = fn; /* for dumps */
		if (!t->t.period)
			t->pending = false;
	}
	bool gone = land(t);
	ounlock(&t->lock);
	leave(m);
	if (gone)
		free(t);
	if (fn)
		fn(fnarg);
}

/* On an M that holds a P, in the runtime. */
static void fire(M *m, void *arg, uintptr_t gen)
{
	gmp_timer *t = arg;
	int e = gmp__newproc_rt(m, expired, t, (void *)gen);
	if (e == 0)
		return;
	if (e == -ENOMEM)
		gmp__warn("no memory for a timer's coroutine");
	olock(&t->lock);
	bool gone = land(t);
	ounlock(&t->lock);
	if (gone)
		free(t);
}

gmp_timer *gmp_timer_new(gmp_fn *fn, void *arg)
{
	if (!fn)
		return NULL;
	gmp_timer *t = gmp__os_zalloc(sizeof *t);
	if (t) {
		t->fn = fn;
		t->arg = arg;
		t->t.f = fire;
		t->t.arg = t;
	}
	return t;
}

/* t->lock is held. Was it pending? */
static bool disarm(gmp_timer *t)
{
	(void)gmp__timer_remove(&t->t);
	bool was = t->pending && t->run == sched.run && load_relaxed(&sched.state) == ST_UP;
	t->pending = false;
	t->t.seq = ++t->gen; /* TI-1 */
	return was;
}

int gmp_timer_start(gmp_timer *t, int64_t deadline, int64_t period)
{
	if (!t || period < 0)
		return -EINVAL;
	M *m = enter();
	if (load_relaxed(&sched.state) != ST_UP) {
		leave(m);
		return load_relaxed(&sched.state) == ST_FORKED ? -ENOTSUP : -ESRCH;
	}
	olock(&t->lock);
	bool was = disarm(t);
	t->t.when = deadline > 0 ? deadline : period ? gmp__os_now() : 0;
	t->t.period = period;
	int e = deadline == GMP_FOREVER ? 0 : gmp__timer_start(m, &t->t);
	t->pending = e == 0;
	t->run = sched.run;
	ounlock(&t->lock);
	leave(m);
	return e ? e : was;
}

int gmp_timer_stop(gmp_timer *t)
{
	if (!t)
		return -EINVAL;
	M *m = enter();
	olock(&t->lock);
	bool was = disarm(t);
	ounlock(&t->lock);
	leave(m);
	return was;
}

void gmp_timer_free(gmp_timer *t)
{
	if (!t)
		return;
	M *m = enter();
	olock(&t->lock);
	(void)disarm(t);
	t->freed = true;
	bool gone = t->landed == t->t.popped; /* TI-2 */
	ounlock(&t->lock);
	leave(m);
	if (gone)
		free(t);
}
