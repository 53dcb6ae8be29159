/* SPDX-License-Identifier: MIT
 * cond.c - condition variables.
 *
 *   CV-1 A waiter is on the queue before its mutex is free. So whoever changes the condition under the mutex finds it
 *        there, and signal may look at SW_WAIT without the lock byte: it misses only waiters that began to wait after
 *        what the caller did under the mutex.
 *   CV-2 One signal ends one wait, and no wait ends otherwise but by its deadline or a cancellation; each waiter ends
 *        by exactly one of them (the claim, PK-2), so a signal is never spent on one who is leaving.
 *   CV-3 wait returns with the mutex locked, whatever it returns: the lock after the wait is not cancellable.
 *   CV-4 signal and broadcast touch neither cond nor mutex once the lock byte is free (SY-2); waiters return later. */
#include "sync.h"

static int wait(gmp_cond *c, gmp_mutex *mu, int64_t deadline)
{
	Word *w = word_of(c);
	M *m = enter();
	G *gp = m->curg;
	int r = wait_refused(gp, deadline);
	if (r) {
		leave(m);
		return r;
	}
	word_set(w, word_lock(w) | SW_WAIT);
	gmp__mutex_unlock_rt(m, mu); /* CV-1: nobody gets at the queue before the park has committed */
	r = (int)sync_park(m, gp, WAIT_COND, c, queue_of(c->gmp__q), false, deadline);
	gmp__mutex_relock(mu);
	return r;
}

int gmp_cond_wait(gmp_cond *c, gmp_mutex *m) { return wait(c, m, GMP_FOREVER); }
int gmp_cond_wait_until(gmp_cond *c, gmp_mutex *m, int64_t deadline) { return wait(c, m, deadline); }

static alwaysinline bool nobody(gmp_cond *c) { return likely(!(load_relaxed(word_of(c)) & SW_WAIT)); }

void gmp_cond_signal(gmp_cond *c)
{
	if (nobody(c))
		return;
	Word *w = word_of(c);
	Queue *q = queue_of(c->gmp__q);
	M *m = enter();
	uint64_t v = word_lock(w);
	Sudog *sg = waitq_claim(q);
	word_unlock(w, queue_empty(q) ? v & ~(uint64_t)SW_WAIT : v);
	if (sg)
		waiter_wake(m, sg, 0);
	leave(m);
}

void gmp_cond_broadcast(gmp_cond *c)
{
	if (nobody(c))
		return;
	Word *w = word_of(c);
	Queue all = {NULL, NULL};
	M *m = enter();
	uint64_t v = word_lock(w);
	(void)waitq_claim_all(queue_of(c->gmp__q), &all);
	word_unlock(w, v & ~(uint64_t)SW_WAIT);
	gmp__wake_all(m, &all);
	leave(m);
}
