/* SPDX-License-Identifier: MIT
 * lock.c - the slow paths of lock.h: spin for as long as a critical section lasts, then let the CPU go, then sleep.
 * Everything goes through plain atomic operations, so ThreadSanitizer sees it. */
#include "lock.h"
#include "os.h"
#include "throw.h"

#include <errno.h>

enum { SPIN_ROUNDS = 4, SPIN_PAUSES = 30, YIELD_ROUNDS = 4 };
enum { NAP_FIRST = 1000, NAP_LONGEST = 100 * 1000 }; /* ns */

static void spin(void)
{
	for (int i = 0; i < SPIN_PAUSES; i++)
		cpu_pause();
}

/* ---- Lock -------------------------------------------------------------------------------------------------------- */

/* Loads first: a failing compare-and-swap would take the cache line from the holder, who is about to write it. */
static bool trylock_if_free(Lock *l) { return load_relaxed(&l->key) == 0 && trylock(l); }

void gmp__lock_slow(Lock *l)
{
	for (int i = 0; i < SPIN_ROUNDS; i++) {
		spin();
		if (trylock_if_free(l))
			return;
	}
	gmp__os_osyield(); /* the holder may be waiting for this very CPU */
	if (trylock_if_free(l))
		return;
	/* LK-1. If nobody sleeps after all, unlock makes one wake-up for nothing. Pairs with unlock's exchange. */
	while (xchg_acquire(&l->key, 2u) != 0)
		(void)gmp__os_futex_wait(&l->key, 2, INT64_MAX);
}

void gmp__unlock_slow(Lock *l) { gmp__os_futex_wake(&l->key, 1); }

/* ---- Note -----------------------------------------------------------------------------------------------------------
 * NT-1 only the sleeper writes NOTE_ASLEEP, and only over NOTE_CLEAR.
 * NT-2 the waker writes NOTE_WOKEN over whatever is there, and does not read the note afterwards: it may be gone. */

enum { NOTE_CLEAR, NOTE_WOKEN, NOTE_ASLEEP };

void gmp__notewakeup(Note *n)
{
	/* Pairs with the exchange at the end of gmp__notesleep: what the waker did before is seen by the one woken. */
	if (xchg_acqrel(&n->key, (uint32_t)NOTE_WOKEN) == NOTE_ASLEEP)
		gmp__os_futex_wake(&n->key, 1);
}

bool gmp__notesleep(Note *n, int64_t deadline)
{
	uint32_t v = NOTE_CLEAR;
	if (cas_acqrel(&n->key, &v, (uint32_t)NOTE_ASLEEP)) {
		while (load_relaxed(&n->key) == NOTE_ASLEEP) {
			if (gmp__os_futex_wait(&n->key, NOTE_ASLEEP, deadline) != -ETIMEDOUT)
				continue;
			/* Woken at the last moment is woken: otherwise the next sleep would find the wake-up. */
			v = NOTE_ASLEEP;
			if (cas_acqrel(&n->key, &v, (uint32_t)NOTE_CLEAR))
				return false;
		}
	} else if (v != NOTE_WOKEN) {
		gmp__throw("notesleep: note %p is in state %u: two sleepers", (void *)n, v);
	}
	/* Not a plain store: a second wake-up that comes just now is either seen with all its writes, or stays. */
	(void)xchg_acquire(&n->key, (uint32_t)NOTE_CLEAR);
	return true;
}

/* ---- object locks ------------------------------------------------------------------------------------------------ */

/* How long to wait before the next look, the i-th time. */
static void backoff(int i, int64_t *nap)
{
	if (i < SPIN_ROUNDS) {
		spin();
	} else if (i < SPIN_ROUNDS + YIELD_ROUNDS) {
		gmp__os_osyield();
	} else {
		/* The holder's thread was descheduled. Yielding gets nowhere if it has a lower priority, or is
		 * the victim of many waiters who yield to each other. */
		gmp__os_usleep(*nap);
		*nap = min_i64(*nap * 2, NAP_LONGEST);
	}
}

void gmp__lockbyte_slow(uint8_t *b)
{
	int64_t nap = NAP_FIRST;
	for (int i = 0;; i++) {
		backoff(i, &nap);
		if (load_relaxed(b) == 0 && !test_and_set_acquire(b))
			return;
	}
}

void gmp__lockbyte_await(const uint8_t *b)
{
	int64_t nap = NAP_FIRST;
	for (int i = 0; load_acquire(b); i++)
		backoff(i, &nap);
}
