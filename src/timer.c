/* SPDX-License-Identifier: MIT
 * timer.c - per-P timers.
 *
 * Most deadlines are set anew and anew a fixed time ahead, and hardly one of them comes. So there is a list for each order
 * of magnitude of that time, into which such timers go at the end and out of which they come anywhere, without a search;
 * whoever is too early for the end of its list goes into a 4-ary heap ordered by `when`.
 *
 * Timers never move between Ps; a P's timers may be run, added to and removed from by anyone under the lock byte,
 * also while the P is idle or dead (findrunnable looks after the dead ones).
 *   TM-1 minwhen is lowered before the lock is released after an add, so an idle M that computes its sleep sees it, or
 *        the adder sees that M's polluntil (gmp__timer_start: publish, fence, read polluntil).
 *        A periodic timer that moves on is one store of minwhen: for no moment is it away.
 *   TM-2 t->id is 0 exactly when t is pending nowhere; a timer that was popped is not touched again by the popper (TM-3).
 *   TM-3 gmp__timer_pop copies the timer out under the lock, so its memory may go as soon as gmp__timer_remove has
 *        returned or it was not pending. A callback that is late is stopped by its sequence number (PK-6); what such a
 *        callback needs of a gmp_timer is kept by counting (TI-2, time.c).
 *   TM-4 Set-and-cancel of a fixed time touches the end of a list only; in the heap a far deadline stays a leaf.
 *   TM-5 The sleeper wakes at polluntil or earlier, but for TM-7: an adder with a later deadline relies on it.
 *   TM-6 A poller that comes back while the world stands finds no P and goes to sleep; startworld wakes somebody for it.
 *   TM-7 Where deadlines pass thick and fast the sleeper lets them gather, until COALESCE_NS after it went to sleep at most: a
 *        wake-up for each (15 us of CPU time) would cost more than all that the coroutines do. One that is alone is served
 *        at once. polluntil stays the first deadline, so that an adder with an earlier one still wakes the sleeper. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>
#include <string.h>

static void place(Timers *ts, uint32_t i, TimerSlot s)
{
	ts->heap[i] = s;
	ts->ref[s.id - 1].at = i;
}

static void siftup(Timers *ts, uint32_t i, TimerSlot s)
{
	while (i > 0) {
		uint32_t up = (i - 1) / 4;
		if (ts->heap[up].when <= s.when)
			break;
		place(ts, i, ts->heap[up]);
		i = up;
	}
	place(ts, i, s);
}

static void siftdown(Timers *ts, uint32_t i, TimerSlot s)
{
	for (;;) {
		uint32_t c = i * 4 + 1;
		if (c >= ts->nheap)
			break;
		uint32_t best = c, end = c + 4 < ts->nheap ? c + 4 : ts->nheap;
		for (uint32_t k = c + 1; k < end; k++)
			if (ts->heap[k].when < ts->heap[best].when)
				best = k;
		if (ts->heap[best].when >= s.when)
			break;
		place(ts, i, ts->heap[best]);
		i = best;
	}
	place(ts, i, s);
}

static void heap_remove(Timers *ts, uint32_t i)
{
	TimerSlot last = ts->heap[--ts->nheap];
	if (i == ts->nheap)
		return;
	if (i > 0 && ts->heap[(i - 1) / 4].when > last.when)
		siftup(ts, i, last);
	else
		siftdown(ts, i, last);
}

static void *resized(void *p, size_t bytes) { return gmp__os_inject_failure() ? NULL : realloc(p, bytes); }

static bool grow(Timers *ts)
{
	uint32_t cap = ts->cap ? ts->cap * 2 : 16;
	/* What has grown when the next one does not is used next time. */
	TimerSlot *heap = resized(ts->heap, cap * sizeof *heap);
	if (!heap)
		return false;
	ts->heap = heap;
	TimerRef *ref = resized(ts->ref, cap * sizeof *ref);
	if (!ref)
		return false;
	ts->ref = ref;
	for (uint32_t i = ts->cap; i < cap; i++)
		ref[i] = (TimerRef){.next = i + 1 < cap ? i + 2 : 0};
	ts->free = ts->cap + 1;
	ts->cap = cap;
	return true;
}

/* Which list: the magnitude of the time from now on. The clock may be old, which does no harm. */
static uint32_t list_of(const P *p, int64_t when)
{
	int64_t units = (when - load_relaxed(&p->now)) >> 16; /* of 65 us */
	uint32_t k = units <= 0 ? 0 : 64 - (uint32_t)__builtin_clzll((unsigned long long)units);
	return k < TIMER_LISTS ? k : TIMER_LISTS - 1;
}

/* Into the list, or the heap. */
static void enqueue(P *p, uint32_t id, int64_t when)
{
	Timers *ts = &p->timers;
	TimerRef *r = &ts->ref[id - 1];
	uint32_t k = list_of(p, when), tail = ts->list[k].tail;
	r->when = when;
	if (tail && ts->ref[tail - 1].when > when) {
		siftup(ts, ts->nheap++, (TimerSlot){when, id});
	} else {
		r->at = TIMER_LISTED | k;
		r->prev = tail;
		r->next = 0;
		*(tail ? &ts->ref[tail - 1].next : &ts->list[k].head) = id;
		ts->list[k].tail = id;
		ts->lists |= 1u << k;
	}
	if (when < ts->minwhen)
		store_release(&ts->minwhen, when);
}

/* The first of list k, k counted up to one that has a timer; false: there is none. */
static bool next_list(const Timers *ts, uint32_t *k)
{
	uint32_t left = *k < TIMER_LISTS ? ts->lists >> *k : 0;
	if (!left)
		return false;
	*k += (uint32_t)__builtin_ctz(left);
	return true;
}

/* The timer that is due first; 0: there is none. */
static uint32_t first(const Timers *ts)
{
	int64_t min = ts->nheap ? ts->heap[0].when : INT64_MAX;
	uint32_t id = ts->nheap ? ts->heap[0].id : 0;
	for (uint32_t k = 0; next_list(ts, &k); k++) {
		uint32_t head = ts->list[k].head;
		if (!id || ts->ref[head - 1].when < min) {
			id = head;
			min = ts->ref[head - 1].when;
		}
	}
	return id;
}

static void dequeue(Timers *ts, uint32_t id)
{
	TimerRef *r = &ts->ref[id - 1];
	if (r->at & TIMER_LISTED) {
		uint32_t k = r->at & ~TIMER_LISTED;
		*(r->prev ? &ts->ref[r->prev - 1].next : &ts->list[k].head) = r->next;
		*(r->next ? &ts->ref[r->next - 1].prev : &ts->list[k].tail) = r->prev;
		if (!ts->list[k].head)
			ts->lists &= ~(1u << k);
	} else {
		heap_remove(ts, r->at);
	}
}

/* One store: while a periodic timer moves on nobody may see what is without it (TM-1). */
static void set_min(Timers *ts)
{
	uint32_t id = first(ts);
	if (id) /* mostly it is popped next, and it lies on a stack that no cache holds */
		__builtin_prefetch(ts->ref[id - 1].t, 1, 3);
	store_release(&ts->minwhen, id ? ts->ref[id - 1].when : INT64_MAX);
}

/* t is pending nowhere. The lock is taken here. */
int gmp__timer_add(P *p, Timer *t)
{
	Timers *ts = &p->timers;
	olock(&ts->lock);
	if (!ts->free && !grow(ts)) {
		ounlock(&ts->lock);
		return -ENOMEM;
	}
	t->p = p;
	uint32_t id = ts->free;
	ts->free = ts->ref[id - 1].next;
	ts->ref[id - 1].t = t;
	store_release(&t->id, id); /* whoever sees it sees t->when (DT-2) */
	store_relaxed(&ts->n, ts->n + 1);
	enqueue(p, id, t->when);
	ounlock(&ts->lock);
	return 0;
}

static void forget(Timers *ts, uint32_t id)
{
	TimerRef *r = &ts->ref[id - 1];
	dequeue(ts, id);
	if (r->when == ts->minwhen)
		set_min(ts);
	store_relaxed(&ts->n, ts->n - 1);
	store_release(&r->t->id, 0u);
	r->t = NULL;
	r->next = ts->free;
	ts->free = id;
}

bool gmp__timer_remove(Timer *t)
{
	P *p = t->p;
	if (!p)
		return false;
	Timers *ts = &p->timers;
	olock(&ts->lock);
	uint32_t id = t->id;
	/* Not so in a forked child, which has the Timer but nothing pending. */
	bool was = id && id <= ts->cap && ts->ref[id - 1].t == t;
	if (was)
		forget(ts, id);
	else
		store_relaxed(&t->id, 0u);
	ounlock(&ts->lock);
	return was;
}

/* Takes out a timer that is due (periodic: puts it at its next time, phase kept, missed periods dropped). *copy tells
 * what to call. NULL: none is due. */
Timer *gmp__timer_pop(P *p, int64_t now, Timer *copy)
{
	Timers *ts = &p->timers;
	if (load_acquire(&ts->minwhen) > now)
		return NULL;
	olock(&ts->lock);
	if (!ts->n || ts->minwhen > now) {
		ounlock(&ts->lock);
		return NULL;
	}
	uint32_t id = first(ts);
	Timer *t = ts->ref[id - 1].t;
	t->popped++;
	store_relaxed(&ts->npopped, ts->npopped + 1);
	*copy = *t;
	if (t->period > 0) {
		int64_t missed = (now - t->when) / t->period;
		t->when = add_sat_i64(t->when, add_sat_i64(missed * t->period, t->period));
		dequeue(ts, id);
		enqueue(p, id, t->when);
		set_min(ts);
	} else {
		forget(ts, id);
	}
	ounlock(&ts->lock);
	return t;
}

/* All timers out. Nobody uses them. */
void gmp__timers_clear(P *p)
{
	Timers *ts = &p->timers;
	ts->free = 0;
	for (uint32_t id = ts->cap; id > 0; id--) {
		TimerRef *r = &ts->ref[id - 1];
		if (r->t)
			store_release(&r->t->id, 0u);
		*r = (TimerRef){.next = ts->free};
		ts->free = id;
	}
	memset(ts->list, 0, sizeof ts->list);
	ts->lists = ts->nheap = 0;
	store_relaxed(&ts->n, 0u);
	store_release(&ts->minwhen, INT64_MAX);
}

/* Is there a timer for which somebody, or something, waits? All Ms are idle, and nobody waits for the network (DT-6). */
bool gmp__timers_wake(void)
{
	int64_t pending = 0;
	int n = load_acquire(&sched.nallp);
	for (int i = 0; i < n; i++)
		pending += load_relaxed(&sched.allp[i]->timers.n);
	return pending > load_seqcst(&sched.nstanding);
}

/* The earliest deadline of all Ps; INT64_MAX: none. May be early, never late (TM-1). */
int64_t gmp__timers_min(void)
{
	int64_t min = INT64_MAX;
	int n = load_acquire(&sched.nallp);
	for (int i = 0; i < n; i++)
		min = min_i64(min, load_acquire(&sched.allp[i]->timers.minwhen));
	return min;
}
