/* SPDX-License-Identifier: MIT
 * lock.h - the runtime's own lock (one word, held for a few dozen instructions, never across a park) and the note
 * (binary, one sleeper, one waker), both on a futex.
 *
 * Lock states: 0 free, 1 held, 2 held and somebody sleeps (three-state futex lock, Drepper, "Futexes Are Tricky").
 * LK-1 whoever slept takes the lock with 2, so later sleepers are not forgotten. */
#ifndef GMP_LOCK_H
#define GMP_LOCK_H

#include "atomic.h"

typedef struct Lock { uint32_t key; } Lock;

void gmp__lock_slow(Lock *l);
void gmp__unlock_slow(Lock *l);

static inline void lock(Lock *l)
{
	uint32_t v = 0;
	if (unlikely(!cas_acquire(&l->key, &v, 1u)))
		gmp__lock_slow(l);
}
static inline bool trylock(Lock *l)
{
	uint32_t v = 0;
	return cas_acquire(&l->key, &v, 1u);
}
static inline void unlock(Lock *l)
{
	if (unlikely(xchg_acqrel(&l->key, 0u) == 2))
		gmp__unlock_slow(l);
}

typedef struct Note { uint32_t key; } Note;
void gmp__notewakeup(Note *n);
/* Until woken (true) or the deadline passed (false; the note may be woken later all the same). Takes the wake-up: the
 * note is clear again when this returns true. deadline INT64_MAX: for ever. */
bool gmp__notesleep(Note *n, int64_t deadline);

/* Object locks (channels, sync objects): one byte, so that a parked coroutine's lock can be released by a single store
 * on the other side of the switch. Waiters spin, then give up the CPU: holders never block. */
void gmp__lockbyte_slow(uint8_t *b);
void gmp__lockbyte_await(const uint8_t *b); /* until it is free: nobody else will take it */
static inline void lockbyte(uint8_t *b)
{
	if (unlikely(test_and_set_acquire(b)))
		gmp__lockbyte_slow(b);
}
static inline void unlockbyte(uint8_t *b) { store_release(b, (uint8_t)0); }

#endif
