/* SPDX-License-Identifier: MIT
 * mutex.c - gmp_mutex, after Go's sync.Mutex.
 *
 * The word: lock byte, flags, and the id of the holder in the upper half (for reports). Two modes. Normal: unlock
 * leaves the mutex free and wakes the first waiter, who competes with newcomers; they are running already, so they
 * mostly win, and nobody pays a switch for each lock. A waiter that was woken in vain queues at the head again.
 * Starving: once it has waited for 1 ms like that, the mutex is handed to it, and from then on from waiter to waiter,
 * until one has waited less or is the last.
 *   MU-1 MU_STARVING implies MU_LOCKED: the mutex is never free while waiters starve, so newcomers cannot take it.
 *   MU-2 At most one waiter was woken and has not yet tried (MU_WOKEN); it clears the flag itself when it takes the
 *        mutex, queues again or gives up. It gives up only while the mutex is locked, so the next unlock looks at the
 *        queue: no wake-up is lost.
 *   MU-3 A waiter that the mutex was handed to (result 0) holds it, whatever else happened to it meanwhile.
 *   MU-4 unlock's last access is the store that frees or hands over the mutex (SY-2). The waiter it wakes is still
 *        inside its lock call, so neither G nor Sudog goes away; the next holder may free the mutex.
 * Model: tests/model_mutex.c. */
#include "sync.h"

enum {
	MU_LOCKED = (int)GMP__MU_LOCKED,
	MU_WOKEN = (int)GMP__MU_WOKEN,
	MU_STARVING = SW_FIRST << 2,
	SPINS = 60, /* about 1 us */
	STARVE_MS = 1,
};
_Static_assert((int)MU_LOCKED == SW_FIRST && (int)MU_WOKEN == SW_FIRST << 1, "flags of the object's own");
enum { HANDED, WOKEN }; /* what unlock leaves a waiter */

/* The short ways stand in gmp.h, for those who can inline them. */
static alwaysinline uint64_t lock_step(uint64_t v, uint64_t mine) { return gmp__lock_step(v, mine); }
static alwaysinline uint64_t unlock_step(uint64_t v, uint64_t none)
{
	(void)none;
	return gmp__unlock_step(v);
}

/* Spinning pays while the holder runs on another P and there is nothing else to run here. In the runtime: foreigners
 * that want this P are let through. */
static void spin(M *m, Word *w)
{
	P *p = m->p;
	if (!load_relaxed(&sched.multi) || !p || p->runnext || p->runq.n || p->fresh.n ||
	        load_relaxed(&sched.npidle) + load_relaxed(&sched.nmspinning) + 1 >= (uint32_t)load_relaxed(&sched.procs))
		return;
	for (int i = 0; i < SPINS; i++) {
		uint64_t v = load_relaxed(w);
		if (!(v & MU_LOCKED) || (v & MU_STARVING) || (load_relaxed(&m->revoke) & ~(uint32_t)RV_FENCE))
			return;
		cpu_pause();
	}
}

static uint32_t now_ms(void) { return (uint32_t)(gmp__os_now() / GMP_MSEC); }
static bool starved_since(uint32_t start) { return (int32_t)(now_ms() - start) > STARVE_MS; }

/* The mutex was handed to the caller (MU-3), who has waited since `start`. */
static void handed(Word *w, uint32_t start, bool nocan)
{
	bool calm = !starved_since(start);
	if (!calm && !nocan)
		return;
	M *m = enter();
	if (nocan)
		nocancel(m->curg, false);
	if (calm)
		word_unlock(w, word_lock(w) & ~(uint64_t)MU_STARVING);
	leave(m);
}

/* nocan: cancellation does not end it. */
static outofline gmp__sw lock_slow(gmp_mutex *mu, int64_t deadline, bool nocan)
{
	Word *w = word_of(mu);
	uint32_t start = 0;
	uint64_t woken = 0; /* MU_WOKEN: this is not the first round */
	for (;;) {
		M *m = enter();
		G *gp = m->curg;
		if (nocan)
			nocancel(gp, false);
		if (deadline > 0)
			spin(m, w);
		uint64_t starving = woken && starved_since(start) ? MU_STARVING : 0;
		uint64_t v = word_lock(w) & ~woken; /* MU-2 */
		bool got = !(v & MU_LOCKED);
		intptr_t r = got || nocan ? 0 : wait_refused(gp, deadline);
		if (got || r) {
			word_unlock(w, got ? v | gmp__held_by(gp) : v);
			leave(m);
			return (gmp__sw){r, NULL};
		}
		if (!woken) /* a clock that is a little late, for nothing */
			start = m->foreign ? now_ms() : load_relaxed(&sched.coarse_ms);
		if (nocan)
			nocancel(gp, true);
		if (!m->foreign)
			store_relaxed(&m->p->lockparked, true);
		word_set(w, v | SW_WAIT | starving);
		r = sync_park(m, gp, WAIT_MUTEX, mu, queue_of(mu->gmp__q), woken != 0, deadline);
		if (r == HANDED)
			handed(w, start, nocan);
		if (r != WOKEN)
			return (gmp__sw){r, NULL};
		woken = MU_WOKEN;
	}
}

static alwaysinline bool lock_fast(gmp_mutex *mu)
{
	M *m = getm();
	return word_step(m, word_of(mu), lock_step, likely(m != NULL) ? gmp__held_by(m->curg) : 0);
}

gmp__sw gmp__mutex_lock(gmp_mutex *m)
{
	if (likely(lock_fast(m)))
		return (gmp__sw){0, NULL};
	return lock_slow(m, GMP_FOREVER, false);
}

int gmp_mutex_lock_until(gmp_mutex *m, int64_t deadline)
{
	return likely(lock_fast(m)) ? 0 : (int)lock_slow(m, deadline, false).r;
}

int gmp_mutex_trylock(gmp_mutex *m)
{
	int r = gmp_mutex_lock_until(m, 0);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

void gmp__mutex_relock(gmp_mutex *mu)
{
	if (unlikely(!lock_fast(mu)))
		(void)lock_slow(mu, GMP_FOREVER, true);
}

/* ---- unlock ------------------------------------------------------------------------------------------------------ */

void gmp__mutex_unlock_rt(M *m, gmp_mutex *mu)
{
	Word *w = word_of(mu);
	Queue *q = queue_of(mu->gmp__q);
	uint64_t v = word_lock(w);
	if (unlikely(!(v & MU_LOCKED))) {
		word_unlock(w, v);
		leave(m);
		gmp__misuse("unlock of unlocked mutex %p", (void *)mu);
	}
	uint64_t n = v & (SW_WAIT | MU_WOKEN);
	Sudog *sg = NULL;
	if (n == SW_WAIT) {
		sg = waitq_claim(q);
		if (queue_empty(q))
			n = 0;
	}
	int r = WOKEN;
	if (sg && (v & MU_STARVING)) {
		r = HANDED;
		n |= gmp__held_by(sg2g(sg)) | (n ? MU_STARVING : 0);
	} else if (sg) {
		n |= MU_WOKEN;
	}
	word_unlock(w, n); /* MU-4 */
	if (sg)
		waiter_wake(m, sg, r);
}

static outofline void unlock_slow(gmp_mutex *mu)
{
	M *m = enter();
	gmp__mutex_unlock_rt(m, mu);
	leave(m);
}

void gmp__mutex_unlock(gmp_mutex *m)
{
	if (unlikely(!word_step(getm(), word_of(m), unlock_step, 0)))
		unlock_slow(m);
}
