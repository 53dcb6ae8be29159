/* SPDX-License-Identifier: MIT
 * once.c - a function that is called once.
 *
 *   ON-1 The word's upper half becomes 1 when fn has returned, in the same store that frees the lock byte, after the
 *        waiters were taken off the queue: those who see it may return and let the object go (SY-2).
 *   ON-2 Whoever takes ON_RUNNING calls fn, outside of the runtime. The others wait, cancelled or not: they may rely on
 *        what fn did. */
#include "sync.h"

enum { ON_RUNNING = SW_FIRST };

static alwaysinline bool done(gmp_once *o) { return load_acquire(word_of(o)) >= SW_ONE; }

static outofline void once_slow(gmp_once *o, gmp_fn *fn, void *arg)
{
	Word *w = word_of(o);
	M *m = enter();
	uint64_t v = word_lock(w);
	if (v >= SW_ONE) {
		word_unlock(w, v);
		leave(m);
		return;
	}
	if (v & ON_RUNNING) {
		G *gp = m->curg;
		word_set(w, v | SW_WAIT);
		nocancel(gp, true);
		(void)sync_park(m, gp, WAIT_ONCE, o, queue_of(o->gmp__q), false, GMP_FOREVER);
		m = enter();
		nocancel(m->curg, false);
		leave(m);
		return;
	}
	word_unlock(w, v | ON_RUNNING);
	leave(m);
	fn(arg);
	m = enter();
	(void)word_lock(w);
	Queue all = {NULL, NULL};
	(void)waitq_claim_all(queue_of(o->gmp__q), &all);
	word_unlock(w, SW_ONE); /* ON-1 */
	gmp__wake_all(m, &all);
	leave(m);
}

void gmp_once_do(gmp_once *o, gmp_fn *fn, void *arg)
{
	if (unlikely(!done(o)))
		once_slow(o, fn, arg);
}
