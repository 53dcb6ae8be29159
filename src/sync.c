/* SPDX-License-Identifier: MIT
 * sync.c - the layout that the sync objects share, and waking many at once. */
#include "sync.h"

#define LAYOUT(type) \
	_Static_assert(_Alignof(type) == 8 && offsetof(type, gmp__state) == 0 && offsetof(type, gmp__q) % 8 == 0 && \
	                       sizeof(((type *)0)->gmp__q) % sizeof(Queue) == 0, #type)
LAYOUT(gmp_mutex);
LAYOUT(gmp_rwmutex);
LAYOUT(gmp_cond);
LAYOUT(gmp_waitgroup);
LAYOUT(gmp_sem);
LAYOUT(gmp_once);
/* The upper half of the word, as others may read it. */
_Static_assert(offsetof(gmp_mutex, gmp__spare) == 4 && offsetof(gmp_rwmutex, gmp__w) == 4 &&
                       offsetof(gmp_waitgroup, gmp__n) == 4 && offsetof(gmp_sem, gmp__n) == 4 &&
                       offsetof(gmp_once, gmp__done) == 4, "SY-1");

void gmp__wake_all(M *m, Queue *q)
{
	/* ready puts a G before those it made ready earlier: so the first comes last. */
	Link *first = queue_pop_head(q), *l;
	while ((l = queue_pop_head(q)))
		waiter_wake(m, link2sg(l), 0);
	if (first)
		waiter_wake(m, link2sg(first), 0);
}
