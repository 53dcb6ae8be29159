/* SPDX-License-Identifier: MIT
 * sync.h - what the sync objects share: the word in which lock byte, flags and count stand together.
 *
 * An operation that waits for nobody is one compare-and-swap outside of the runtime, or a few plain instructions inside
 * of it where only one P exists. Everything else takes the lock byte, by which it may queue and park.
 *   SY-1 The first 8 bytes of an object are its word: the lock byte (lowest, where the landing of a switch clears it),
 *        flags, and in the upper half a count or an owner. Without the lock byte the word changes only by a
 *        compare-and-swap that finds that byte 0; who holds the lock byte writes the word by plain stores.
 *   SY-2 What lets another call on the object return is one store (or compare-and-swap) of the whole word, lock byte
 *        included, and it is the last thing this call does to the object: afterwards that may be gone. So a step that
 *        lets newcomers pass (count 0, unlocked) takes the waiters whom it concerns off the queue first, and wakes them
 *        after.
 *   SY-3 With sched.solo set the word is changed by plain accesses, inside the runtime only. The short ways go by the
 *        M's own copy of it (shared): who read "not solo" may act on that at once, since solo begins only while no
 *        other M is in user code (SOLO-2); who read "solo" looks again inside, together with revoke. The copies change
 *        while the M is stopped; one that runs a coroutine without a P meanwhile finds RV_LOST in revoke (SOLO-5). A
 *        foreign thread might see solo begin, so it always enters.
 *   SY-4 SW_WAIT is set by whoever queues. It may outlive its cause, since a deadline or a cancellation takes a waiter
 *        off the queue without regard for the word: a set flag means "look", a clear one "nobody waits".
 *   SY-5 A short step that is refused at the gates (revoke, shared) leaves inrt 0: the next way that the caller tries may
 *        be one that does not enter. Refused later, by the word, it may leave inrt 1: then the world cannot stop, and
 *        shared does not change, before the caller has entered and left. */
#ifndef GMP_SYNC_H
#define GMP_SYNC_H

#include "proc.h"

typedef uint64_t __attribute__((may_alias)) Word;
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "SY-1: the lock byte is the first byte of the word");

enum {
	SW_LOCK = (int)GMP__SW_LOCK, /* the lock byte */
	SW_WAIT = (int)GMP__SW_WAIT, /* the queue is not empty, or was not (SY-4) */
	SW_FIRST = 1 << 9, /* flags from here on are each object's own */
};
#define SW_ONE ((uint64_t)1 << 32) /* one of what the upper half counts */

static alwaysinline Word *word_of(void *obj) { return obj; }
static alwaysinline uint8_t *word_lockbyte(Word *w) { return (uint8_t *)w; }
static alwaysinline int32_t word_count(uint64_t v) { return (int32_t)(v >> 32); }

/* A step of a short way: the word after it, or NO_STEP. */
typedef uint64_t WordStep(uint64_t v, uint64_t arg);
static const uint64_t NO_STEP = SW_LOCK;

/* Does the step at once, if it can be done. m: getm(). No calls in here: the caller needs no frame. */
static alwaysinline bool word_step(M *m, Word *w, WordStep *step, uint64_t arg)
{
	gmp__m *self = (gmp__m *)(void *)m;
	return GMP__WORD_STEP(self, w, v, step(v, arg));
}

/* Takes the lock byte, if that is free; *v is the rest of the word then. In the runtime. */
static alwaysinline bool word_trylock(Word *w, uint64_t *v)
{
	*v = load_acquire(w);
	if (load_relaxed(&sched.solo))
		return true;
	return likely(!(*v & SW_LOCK) && cas_acquire(w, v, *v | SW_LOCK));
}
/* Takes the lock byte; the rest of the word. In the runtime. */
static alwaysinline uint64_t word_lock(Word *w)
{
	uint64_t v;
	if (unlikely(!word_trylock(w, &v))) {
		lockbyte(word_lockbyte(w));
		v = load_relaxed(w) & ~(uint64_t)SW_LOCK;
	}
	return v;
}
/* SY-2 */
static alwaysinline void word_unlock(Word *w, uint64_t v) { store_release(w, v); }
/* Changes the word and keeps the lock byte: for the landing to clear. */
static alwaysinline void word_set(Word *w, uint64_t v) { store_relaxed(w, v | SW_LOCK); }

/* The object's queue behind the word. */
static alwaysinline Queue *queue_of(void *q) { return q; }

/* Queues gp and parks until somebody ends the wait, or until the deadline (INT64_MAX: plain). The lock byte is held. */
static inline intptr_t sync_park(M *m, G *gp, uint8_t reason, void *obj, Queue *q, bool first, int64_t deadline)
{
	bool plain = deadline == INT64_MAX;
	gp->sg.g = (uintptr_t)gp | (plain ? 0 : SG_CONTESTED);
	if (first)
		queue_push_head(q, &gp->sg.link);
	else
		queue_push_tail(q, &gp->sg.link);
	if (plain)
		return finish_sw(park_sw(m, gp, reason, obj, q, word_lockbyte(obj)));
	return gmp__park_until(m, gp, reason, obj, q, word_lockbyte(obj), claim_begin(gp), deadline);
}

/* The plain form of it for gmp__sw functions: what to return to the caller. */
static alwaysinline gmp__sw sync_park_sw(M *m, uint8_t reason, void *obj, Queue *q)
{
	G *gp = m->curg;
	gp->sg.g = (uintptr_t)gp;
	queue_push_tail(q, &gp->sg.link);
	return park_sw(m, gp, reason, obj, q, word_lockbyte(obj));
}

/* 0, or why the caller must not begin to wait. */
static alwaysinline int wait_refused(const G *gp, int64_t deadline)
{
	if (unlikely(deadline <= 0))
		return -ETIMEDOUT;
	return cancelled(gp) ? -ECANCELED : 0;
}

/* A wait that ends by its waker only: once, the lock after cond_wait. Written inside the runtime, around the park. */
static alwaysinline void nocancel(G *gp, bool on)
{
	store_relaxed(&gp->flags, (uint16_t)(on ? gp->flags | GF_NOCANCEL : gp->flags & ~GF_NOCANCEL));
}

/* Moves every waiter that may be woken from q to *to: its number. The lock byte is held. */
static inline uint32_t waitq_claim_all(Queue *q, Queue *to)
{
	uint32_t n = 0;
	for (Sudog *sg; (sg = waitq_claim(q)); n++)
		queue_push_tail(to, &sg->link);
	return n;
}

/* sync.c: wakes all of *q, which is the caller's, with result 0; the one that waited longest runs first. */
void gmp__wake_all(M *m, Queue *q);

/* mutex.c */
void gmp__mutex_unlock_rt(M *m, gmp_mutex *mu);  /* inside the runtime, and stays there */
void gmp__mutex_relock(gmp_mutex *mu);           /* lock that no cancellation ends */

#endif
