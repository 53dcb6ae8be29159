/* SPDX-License-Identifier: MIT
 * sem.c - counting semaphores, first come first served.
 *
 *   SP-1 The word's upper half is the number of free permits; waiters queue only while it is zero. A release with a
 *        waiter gives the permit to the first one and the count stays zero, so newcomers do not overtake.
 *   SP-2 A waiter that was given a permit (result 0) has it, whatever else happened to it meanwhile.
 *   SP-3 release's last access is the store of the permit, or of the lock byte before it wakes the waiter (SY-2). */
#include "sync.h"

static alwaysinline uint64_t acquire_step(uint64_t v, uint64_t none)
{
	(void)none;
	return likely(!(v & SW_LOCK) && v >= SW_ONE) ? v - SW_ONE : NO_STEP;
}

static alwaysinline uint64_t release_step(uint64_t v, uint64_t none)
{
	(void)none;
	return likely(!(v & (SW_LOCK | SW_WAIT)) && word_count(v) < INT32_MAX) ? v + SW_ONE : NO_STEP;
}

void gmp_sem_init(gmp_sem *s, int n)
{
	if (n < 0)
		gmp__misuse("gmp_sem_init: %d permits", n);
	*s = (gmp_sem){0, n, {NULL, NULL}};
}

/* Takes the lock byte for a wait, in the runtime. 1: it is to wait; else the result, out of the runtime. */
static int wait_begin(M *m, Word *w, int64_t deadline)
{
	uint64_t v = word_lock(w);
	int r = 0;
	if (word_count(v) > 0)
		v -= SW_ONE;
	else if ((r = wait_refused(m->curg, deadline)) == 0) {
		word_set(w, v | SW_WAIT);
		return 1;
	}
	word_unlock(w, v);
	leave(m);
	return r;
}

static outofline gmp__sw acquire_slow(gmp_sem *s)
{
	M *m = enter();
	int r = wait_begin(m, word_of(s), GMP_FOREVER);
	if (r != 1)
		return (gmp__sw){r, NULL};
	return sync_park_sw(m, WAIT_SEM, s, queue_of(s->gmp__q));
}

gmp__sw gmp__sem_acquire(gmp_sem *s)
{
	if (likely(word_step(getm(), word_of(s), acquire_step, 0)))
		return (gmp__sw){0, NULL};
	return acquire_slow(s);
}

int gmp_sem_acquire_until(gmp_sem *s, int64_t deadline)
{
	if (likely(word_step(getm(), word_of(s), acquire_step, 0)))
		return 0;
	M *m = enter();
	int r = wait_begin(m, word_of(s), deadline);
	if (r != 1)
		return r;
	return (int)sync_park(m, m->curg, WAIT_SEM, s, queue_of(s->gmp__q), false, deadline);
}

int gmp_sem_tryacquire(gmp_sem *s)
{
	int r = gmp_sem_acquire_until(s, 0);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

static outofline void release_slow(gmp_sem *s)
{
	Word *w = word_of(s);
	M *m = enter();
	Queue *q = queue_of(s->gmp__q);
	uint64_t v = word_lock(w);
	Sudog *sg = v & SW_WAIT ? waitq_claim(q) : NULL;
	if (queue_empty(q))
		v &= ~(uint64_t)SW_WAIT;
	if (!sg) {
		if (word_count(v) == INT32_MAX) {
			word_unlock(w, v);
			leave(m);
			gmp__misuse("semaphore %p released beyond INT_MAX permits", (void *)s);
		}
		v += SW_ONE;
	}
	word_unlock(w, v); /* SP-3 */
	if (sg)
		waiter_wake(m, sg, 0);
	leave(m);
}

void gmp_sem_release(gmp_sem *s)
{
	if (unlikely(!word_step(getm(), word_of(s), release_step, 0)))
		release_slow(s);
}
