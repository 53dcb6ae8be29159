/* SPDX-License-Identifier: MIT
 * rwmutex.c - gmp_rwmutex: many readers or one writer; nobody starves.
 *
 * The word's upper half counts the readers inside. Whoever waited gets the lock by hand-off (result 0): the last reader
 * gives it to the first writer, a writer gives it to all readers that wait by then, or else to the next writer.
 *   RW-1 RW_WRITER implies that no reader is inside.
 *   RW-2 New readers pass only while neither RW_WRITER nor RW_WWAIT is set, so a waiting writer is waited for by a
 *        bounded number of readers; and the readers that it held back go before the next writer.
 *   RW-3 A writer that leaves without the lock (deadline, cancellation) may have been all that held readers back: it
 *        looks at the queues once more before it returns (SY-4 would be too late).
 *   RW-4 The last access of an unlock is the store that lets others pass (SY-2).
 * Model: tests/model_rwmutex.c. */
#include "sync.h"

enum {
	RW_RWAIT = SW_WAIT, /* readers are queued, or were */
	RW_WWAIT = SW_FIRST, /* the same for writers */
	RW_WRITER = SW_FIRST << 1,
};

static alwaysinline Queue *readers(gmp_rwmutex *l) { return queue_of(&l->gmp__q[0]); }
static alwaysinline Queue *writers(gmp_rwmutex *l) { return queue_of(&l->gmp__q[2]); }

static alwaysinline uint64_t rlock_step(uint64_t v, uint64_t none)
{
	(void)none;
	return likely(!(v & (SW_LOCK | RW_WRITER | RW_WWAIT))) ? v + SW_ONE : NO_STEP;
}

static alwaysinline uint64_t runlock_step(uint64_t v, uint64_t none)
{
	(void)none;
	bool others = v >= 2 * SW_ONE || (v >= SW_ONE && !(v & (RW_WWAIT | RW_RWAIT)));
	return likely(!(v & SW_LOCK) && others) ? v - SW_ONE : NO_STEP;
}

static alwaysinline uint64_t lock_step(uint64_t v, uint64_t none)
{
	(void)none;
	return likely(v == 0) ? RW_WRITER : NO_STEP;
}

static alwaysinline uint64_t unlock_step(uint64_t v, uint64_t none)
{
	(void)none;
	return likely(v == RW_WRITER) ? 0 : NO_STEP;
}

/* Lets in whom the state allows, and lets go of the lock byte. v: the word, nobody's but the caller's. */
static void pass_on(M *m, gmp_rwmutex *l, uint64_t v, bool writer_first)
{
	Queue all = {NULL, NULL};
	Sudog *sg = NULL;
	if (writer_first && v < SW_ONE)
		sg = waitq_claim(writers(l));
	if (!sg && (v < SW_ONE || queue_empty(writers(l)))) {
		v += waitq_claim_all(readers(l), &all) * SW_ONE;
		if (v < SW_ONE)
			sg = waitq_claim(writers(l));
	}
	v &= ~(uint64_t)(RW_RWAIT | RW_WWAIT);
	v |= (queue_empty(readers(l)) ? 0 : RW_RWAIT) | (queue_empty(writers(l)) ? 0 : RW_WWAIT) | (sg ? RW_WRITER : 0);
	word_unlock(word_of(l), v); /* RW-4 */
	if (sg)
		waiter_wake(m, sg, 0);
	gmp__wake_all(m, &all);
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

static outofline int rlock_slow(gmp_rwmutex *l, int64_t deadline)
{
	Word *w = word_of(l);
	M *m = enter();
	G *gp = m->curg;
	uint64_t v = word_lock(w);
	int r = 0;
	if (!(v & (RW_WRITER | RW_WWAIT)))
		v += SW_ONE;
	else if ((r = wait_refused(gp, deadline)) == 0) {
		word_set(w, v | RW_RWAIT);
		return (int)sync_park(m, gp, WAIT_RWMUTEX_R, l, readers(l), false, deadline);
	}
	word_unlock(w, v);
	leave(m);
	return r;
}

int gmp_rwmutex_rlock_until(gmp_rwmutex *m, int64_t deadline)
{
	return likely(word_step(getm(), word_of(m), rlock_step, 0)) ? 0 : rlock_slow(m, deadline);
}

int gmp_rwmutex_rlock(gmp_rwmutex *m) { return gmp_rwmutex_rlock_until(m, GMP_FOREVER); }

int gmp_rwmutex_tryrlock(gmp_rwmutex *m)
{
	int r = gmp_rwmutex_rlock_until(m, 0);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

static outofline void runlock_slow(gmp_rwmutex *l)
{
	Word *w = word_of(l);
	M *m = enter();
	uint64_t v = word_lock(w);
	if (v < SW_ONE) {
		word_unlock(w, v);
		leave(m);
		gmp__misuse("runlock of unlocked rwmutex %p", (void *)l);
	}
	pass_on(m, l, v - SW_ONE, true);
	leave(m);
}

void gmp_rwmutex_runlock(gmp_rwmutex *m)
{
	if (unlikely(!word_step(getm(), word_of(m), runlock_step, 0)))
		runlock_slow(m);
}

/* ---- writers ----------------------------------------------------------------------------------------------------- */

static outofline int lock_slow(gmp_rwmutex *l, int64_t deadline)
{
	Word *w = word_of(l);
	M *m = enter();
	G *gp = m->curg;
	uint64_t v = word_lock(w);
	int r = 0;
	if (v < SW_ONE && !(v & (RW_WRITER | RW_WWAIT))) {
		v |= RW_WRITER;
	} else if ((r = wait_refused(gp, deadline)) == 0) {
		word_set(w, v | RW_WWAIT);
		r = (int)sync_park(m, gp, WAIT_RWMUTEX_W, l, writers(l), false, deadline);
		if (r == 0)
			return 0;
		m = enter(); /* RW-3 */
		v = word_lock(w);
		if (!(v & RW_WRITER)) {
			pass_on(m, l, v, true);
			leave(m);
			return r;
		}
	}
	word_unlock(w, v);
	leave(m);
	return r;
}

int gmp_rwmutex_lock_until(gmp_rwmutex *m, int64_t deadline)
{
	return likely(word_step(getm(), word_of(m), lock_step, 0)) ? 0 : lock_slow(m, deadline);
}

int gmp_rwmutex_lock(gmp_rwmutex *m) { return gmp_rwmutex_lock_until(m, GMP_FOREVER); }

int gmp_rwmutex_trylock(gmp_rwmutex *m)
{
	int r = gmp_rwmutex_lock_until(m, 0);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

static outofline void unlock_slow(gmp_rwmutex *l)
{
	Word *w = word_of(l);
	M *m = enter();
	uint64_t v = word_lock(w);
	if (!(v & RW_WRITER)) {
		word_unlock(w, v);
		leave(m);
		gmp__misuse("unlock of unlocked rwmutex %p", (void *)l);
	}
	pass_on(m, l, v & ~(uint64_t)RW_WRITER, false);
	leave(m);
}

void gmp_rwmutex_unlock(gmp_rwmutex *m)
{
	if (unlikely(!word_step(getm(), word_of(m), unlock_step, 0)))
		unlock_slow(m);
}
