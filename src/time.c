/* SPDX-License-Identifier: MIT
 * time.c - gmp_sleep, gmp_timer_*, tickers: the parking side of timer.c. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

int gmp_sleep_until(int64_t deadline)
{
	M *m = enter();
	G *gp = m->curg;
	if (cancelled(gp) || deadline <= 0) {
		int r = cancelled(gp) ? -ECANCELED : 0;
		leave(m);
		return r;
	}
	olock(&gp->parklock);
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED;
	uint32_t seq = claim_begin(gp);
	intptr_t r = gmp__park_until(m, gp, WAIT_SLEEP, NULL, NULL, &gp->parklock, seq, deadline);
	return r == -ETIMEDOUT ? 0 : (int)r;
}

int gmp_sleep(int64_t ns) { return gmp_sleep_until(ns <= 0 ? 0 : add_sat_i64(gmp__os_now(), ns)); }

/* ---- timers ------------------------------------------------------------------------------------------------------ */

struct gmp_timer {
	Timer t;
	gmp_fn *fn;
	void *arg;
	uint8_t lock; /* serialises start, stop and free of one timer */
};

/* A timer's coroutine starts. On an M that holds a P, in the runtime. */
static void fire(M *m, void *arg, uintptr_t fnp)
{
	gmp__newproc_rt(m, (gmp_fn *)fnp, arg);
}

gmp_timer *gmp_timer_new(gmp_fn *fn, void *arg)
{
	if (!fn)
		return NULL;
	gmp_timer *t = gmp__os_zalloc(sizeof *t);
	if (t) {
		t->fn = fn;
		t->arg = arg;
	}
	return t;
}

int gmp_timer_start(gmp_timer *t, int64_t deadline, int64_t period)
{
	if (!t || period < 0)
		return -EINVAL;
	M *m = enter();
	if (load_relaxed(&sched.state) != ST_UP) {
		leave(m);
		return -ESRCH;
	}
	olock(&t->lock);
	bool was = gmp__timer_remove(&t->t);
	t->t.when = max_i64(deadline, 0);
	t->t.period = period;
	t->t.f = fire;
	t->t.arg = t->arg;
	t->t.seq = (uintptr_t)t->fn;
	int e = deadline == GMP_FOREVER ? 0 : gmp__timer_start(m, &t->t);
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
	bool was = gmp__timer_remove(&t->t);
	ounlock(&t->lock);
	leave(m);
	return was;
}

void gmp_timer_free(gmp_timer *t)
{
	if (!t)
		return;
	(void)gmp_timer_stop(t);
	free(t);
}
