/* SPDX-License-Identifier: MIT
 * park.c - waiting with a deadline, once for every primitive. The ready path never comes here, so it reads no clock. */
#include "proc.h"
#include "timer.h"

/* The deadline has passed. The G is type-stable, everything else only if the claim is won (PK-2, PK-6). */
static void timed_out(M *m, void *arg, uintptr_t seq)
{
	G *gp = arg;
	if (!claim(gp, (uint32_t)seq))
		return;
	uint8_t *lck = load_relaxed(&gp->waitlock);
	olock(lck); /* PK-3 */
	if (gp->waitq) {
		queue_remove(gp->waitq, &gp->sg.link);
		gp->waitq = NULL;
	}
	ounlock(lck);
	gp->ctx.ret = -ETIMEDOUT;
	ready(m, gp);
}

/* What a foreign thread records before its Sudog can be found by others. */
void gmp__park_record(G *gp, uint8_t reason, void *obj, Queue *q, uint8_t *lck)
{
	store_relaxed(&gp->waitreason, reason);
	gp->waitobj = obj;
	gp->waitq = q;
	store_relaxed(&gp->waitlock, lck);
	gstatus(gp, Grunning, Gwaiting);
}

intptr_t gmp__park_foreign_until(M *m, G *gp, uint8_t *lck, uint32_t seq, int64_t deadline)
{
	ounlock(lck);
	gmp__foreign_leave(m);
	if (gmp__notesleep(&gp->ext->note, deadline))
		return gp->ctx.ret;
	m = gmp__foreign_enter();
	if (claim(gp, seq)) {
		olock(lck);
		if (gp->waitq) {
			queue_remove(gp->waitq, &gp->sg.link);
			gp->waitq = NULL;
		}
		ounlock(lck);
		gstatus(gp, Gwaiting, Grunning);
		gmp__foreign_leave(m);
		return -ETIMEDOUT;
	}
	gmp__foreign_leave(m);
	return gmp__foreign_sleep(gp); /* somebody else ended the wait: his wake-up is under way */
}

intptr_t gmp__park_until(
        M *m, G *gp, uint8_t reason, void *obj, Queue *q, uint8_t *lck, uint32_t seq, int64_t deadline)
{
	if (m->foreign) {
		gmp__park_record(gp, reason, obj, q, lck);
		return gmp__park_foreign_until(m, gp, lck, seq, deadline);
	}
	Timer t;
	t.p = NULL;
	store_relaxed(&gp->waitlock, lck); /* the timer may go off before the park has committed */
	if (deadline != INT64_MAX && gmp__park_timer(m, gp, &t, seq, deadline) != 0) { /* no memory: nothing waits yet */
		if (q)
			queue_remove(q, &gp->sg.link);
		(void)claim(gp, seq); /* a joiner can be found without a queue */
		ounlock(lck);
		leave(m);
		return -ENOMEM;
	}
	intptr_t r = finish_sw(park_sw(m, gp, reason, obj, q, lck));
	gmp__park_timer_end(&t);
	return r;
}

/* Ends gp's contested wait `seq` with -ETIMEDOUT at the deadline. t lives in gp's frame. 0 or -ENOMEM. */
int gmp__park_timer(M *m, G *gp, Timer *t, uint32_t seq, int64_t deadline)
{
	*t = (Timer){.when = deadline, .f = timed_out, .arg = gp, .seq = seq};
	return gmp__timer_start(m, t);
}

/* The wait is over, out of the runtime: t's memory may go afterwards (TM-3). */
void gmp__park_timer_end(Timer *t)
{
	if (t->p && load_acquire(&t->id)) {
		M *m = enter();
		(void)gmp__timer_remove(t);
		leave(m);
	}
}
