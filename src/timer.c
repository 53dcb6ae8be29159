/* SPDX-License-Identifier: MIT
 * timer.c - per-P timers.
 *
 * Most deadlines are set anew and anew, and hardly one of them comes; those that come, come by the thousand. So whatever is
 * not due yet stands in a hierarchical wheel (Varghese, Lauck, "Hashed and Hierarchical Timing Wheels", 1987): into the slot of
 * its time it goes without a search, and out of it. Only those of the unit that has come, 65 us, are put in order, in a 4-ary
 * heap small enough for the nearest cache.
 *   TW-1 Time in units, in digits of eight bits. A timer whose unit is `edge` or earlier is in the heap. Another one is at the
 *        level of the highest digit in which it differs from edge, in the slot of that digit: so lower levels, and in a level
 *        lower slots, come first.
 *   TW-2 edge follows the clock and is never ahead of it: else what is set now, and most likely never comes, would go to the
 *        heap. When it gets to the start of a slot, those in the slot move to a lower level, or to the heap.
 *   TW-3 minwhen is exact if the first slot has few timers; else it may be the slot's start, and whoever wakes then finds the
 *        next level's. That is at most once a level.
 *   TW-4 What stands in a slot whose time has come is moved MOVE_MOST at a time, and what is set meanwhile goes elsewhere.
 *        minwhen is past until all is moved, so whoever looks at timers goes on with it; in between others get the lock. (A
 *        million deadlines of the same four seconds: 5 ms.)
 *   TW-5 A slot has four lists, walked side by side, so that the misses of their cold elements overlap.
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
 *   TM-4 Set-and-cancel touches the head of a slot's list, and its neighbours.
 *   TM-5 The sleeper wakes at polluntil or earlier, but for TM-7: an adder with a later deadline relies on it.
 *   TM-6 A poller that comes back while the world stands finds no P and goes to sleep; startworld wakes somebody for it.
 *   TM-7 Where deadlines come thick and fast, who has nothing else to do lets COALESCE_NS pass before it serves more of them:
 *        a wake-up for each (15-25 us of CPU time) would cost more than all that the coroutines do. One that is alone is served
 *        at once. polluntil stays the first deadline, so that an adder with an earlier one still wakes the sleeper.
 *   TM-8 The poller that has become busy may have left idle Ps behind, and with a G that is readied by runnext alone it wakes
 *        nobody who would poll in its place: so it goes on looking at everyone's timers, each 50 us. So does a searcher on which
 *        an adder relied (WK-1), once it has found such a pair.
 *   TM-9 Who hands a P off to the idle list looks once more when it is there: the poller that was up before may have come back
 *        and found no P, and who set a timer meanwhile no idle P. At all timers: when two do that at once, neither is the last.
 * Model of TM-1, TM-5..9: tests/model_timer.c. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>
#include <string.h>

static void place(Timers *ts, uint32_t i, TimerEntry s)
{
	ts->heap[i] = s;
	ts->ref[s.id - 1].at = i;
}

static void siftup(Timers *ts, uint32_t i, TimerEntry s)
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

static void siftdown(Timers *ts, uint32_t i, TimerEntry s)
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
	TimerEntry last = ts->heap[--ts->nheap];
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
	TimerEntry *heap = resized(ts->heap, cap * sizeof *heap);
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

/* ---- the wheel --------------------------------------------------------------------------------------------------- */

enum { UNIT_SHIFT = 16, DIGIT = (1 << TIMER_LEVEL_BITS) - 1, EXACT_MOST = 8, MOVE_MOST = 1024 };

static uint64_t unit_of(int64_t when) { return when > 0 ? (uint64_t)when >> UNIT_SHIFT : 0; }

static uint32_t first_slot(const Timers *ts)
{
	uint32_t w = (uint32_t)__builtin_ctz(ts->words);
	return w * 64 + (uint32_t)__builtin_ctzll(ts->occupied[w]);
}

static uint64_t slot_start(const Timers *ts, uint32_t s)
{
	uint32_t shift = (s >> TIMER_LEVEL_BITS) * TIMER_LEVEL_BITS;
	return (((ts->edge >> shift) & ~(uint64_t)DIGIT) | (s & DIGIT)) << shift;
}

static uint32_t list_of(uint32_t id) { return id % TIMER_LISTS; }

static bool slot_empty(const Timers *ts, uint32_t s)
{
	uint32_t any = 0;
	for (int k = 0; k < TIMER_LISTS; k++)
		any |= ts->slot[s][k];
	return any == 0;
}

/* One of its lists has become empty. */
static void slot_unlisted(Timers *ts, uint32_t s)
{
	if (!slot_empty(ts, s))
		return;
	ts->occupied[s / 64] &= ~(UINT64_C(1) << s % 64);
	if (!ts->occupied[s / 64])
		ts->words &= ~(1u << s / 64);
	if (ts->moving == s + 1)
		ts->moving = 0;
}

/* TW-1. Into the heap, or the wheel. */
static void insert(Timers *ts, uint32_t id, int64_t when)
{
	TimerRef *r = &ts->ref[id - 1];
	uint64_t unit = unit_of(when);
	r->when = when;
	if (unit <= ts->edge) {
		siftup(ts, ts->nheap++, (TimerEntry){when, id});
		return;
	}
	uint32_t level = (63 - (uint32_t)__builtin_clzll(unit ^ ts->edge)) / TIMER_LEVEL_BITS;
	uint32_t s = level << TIMER_LEVEL_BITS | (uint32_t)(unit >> level * TIMER_LEVEL_BITS & DIGIT);
	uint32_t *list = &ts->slot[s][list_of(id)], head = *list;
	r->at = TIMER_WHEEL | s;
	r->prev = 0;
	r->next = head;
	if (head)
		ts->ref[head - 1].prev = id;
	*list = id;
	ts->occupied[s / 64] |= UINT64_C(1) << s % 64;
	ts->words |= 1u << s / 64;
}

/* TW-4. Of the slot that is emptied; edge is its start. How many, roughly. */
static int move(Timers *ts)
{
	uint32_t s = ts->moving - 1, *l = ts->slot[s];
	int n = 0;
	for (; n < MOVE_MOST && !slot_empty(ts, s); n += TIMER_LISTS) {
		for (int k = 0; k < TIMER_LISTS; k++) {
			uint32_t id = l[k];
			if (!id)
				continue;
			const TimerRef *r = &ts->ref[id - 1];
			l[k] = r->next;
			if (s <= DIGIT) /* lowest level: it is popped soon, and lies on a stack that no cache holds */
				__builtin_prefetch(r->t, 1, 3);
			insert(ts, id, r->when);
		}
	}
	for (int k = 0; k < TIMER_LISTS; k++)
		if (l[k])
			ts->ref[l[k] - 1].prev = 0;
	slot_unlisted(ts, s);
	return n;
}

/* TW-2. edge stays behind if not all that is due is in the heap yet: minwhen is past then, too. */
static void advance(Timers *ts, int64_t now)
{
	uint64_t unit = unit_of(now);
	int moved = 0;
	while (ts->moving || (unit > ts->edge && ts->words)) {
		if (!ts->moving) {
			uint32_t s = first_slot(ts);
			uint64_t start = slot_start(ts, s);
			if (start > unit)
				break;
			ts->edge = start;
			ts->moving = s + 1;
		}
		moved += move(ts);
		if (moved >= MOVE_MOST)
			return;
	}
	if (unit > ts->edge)
		ts->edge = unit;
}

static void dequeue(Timers *ts, uint32_t id)
{
	const TimerRef *r = &ts->ref[id - 1];
	if (!(r->at & TIMER_WHEEL)) {
		heap_remove(ts, r->at);
		return;
	}
	if (r->next)
		ts->ref[r->next - 1].prev = r->prev;
	if (r->prev) {
		ts->ref[r->prev - 1].next = r->next;
	} else {
		uint32_t s = r->at & ~TIMER_WHEEL;
		ts->slot[s][list_of(id)] = r->next;
		if (!r->next)
			slot_unlisted(ts, s);
	}
}

/* TW-3 */
static int64_t earliest(const Timers *ts)
{
	int64_t first = ts->nheap ? ts->heap[0].when : INT64_MAX;
	if (ts->moving)
		return min_i64(first, (int64_t)(ts->edge << UNIT_SHIFT));
	if (ts->nheap || !ts->words)
		return first;
	uint32_t s = first_slot(ts), looked = 0;
	int64_t min = INT64_MAX;
	for (int k = 0; k < TIMER_LISTS; k++) {
		for (uint32_t id = ts->slot[s][k]; id; id = ts->ref[id - 1].next) {
			if (looked++ == EXACT_MOST)
				return (int64_t)(slot_start(ts, s) << UNIT_SHIFT);
			min = min_i64(min, ts->ref[id - 1].when);
		}
	}
	return min;
}

/* One store: while a periodic timer moves on nobody may see what is without it (TM-1). */
static void set_min(Timers *ts) { store_release(&ts->minwhen, earliest(ts)); }

/* ---- adding, removing -------------------------------------------------------------------------------------------- */

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
	if (ts->n == 0) /* the wheel is empty: any edge will do, and a near one makes for low levels */
		ts->edge = unit_of(load_relaxed(&p->now));
	store_relaxed(&ts->n, ts->n + 1);
	insert(ts, id, t->when);
	if (t->when < ts->minwhen)
		store_release(&ts->minwhen, t->when);
	ounlock(&ts->lock);
	return 0;
}

/* set_min is up to the caller. */
static void forget(Timers *ts, uint32_t id)
{
	TimerRef *r = &ts->ref[id - 1];
	dequeue(ts, id);
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
	if (was) {
		bool first = ts->ref[id - 1].when == ts->minwhen;
		forget(ts, id);
		if (first || !ts->n) /* minwhen may be earlier than any was: TW-3 */
			set_min(ts);
	} else {
		store_relaxed(&t->id, 0u);
	}
	ounlock(&ts->lock);
	return was;
}

/* Takes out a timer that is due (periodic: puts it at its next time, phase kept, missed periods dropped). *copy tells
 * what to call. NULL: none is due, or none was found yet and minwhen is past (TW-4). */
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
	advance(ts, now);
	if (!ts->nheap || ts->heap[0].when > now) {
		set_min(ts);
		ounlock(&ts->lock);
		return NULL;
	}
	uint32_t id = ts->heap[0].id;
	Timer *t = ts->ref[id - 1].t;
	t->popped++;
	store_relaxed(&ts->npopped, ts->npopped + 1);
	*copy = *t;
	if (t->period > 0) {
		int64_t missed = (now - t->when) / t->period;
		t->when = add_sat_i64(t->when, add_sat_i64(missed * t->period, t->period));
		dequeue(ts, id);
		insert(ts, id, t->when);
	} else {
		forget(ts, id);
	}
	set_min(ts);
	if (ts->nheap) /* mostly it is popped next */
		__builtin_prefetch(ts->ref[ts->heap[0].id - 1].t->arg, 1, 3);
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
	memset(ts->slot, 0, sizeof ts->slot);
	memset(ts->occupied, 0, sizeof ts->occupied);
	ts->words = ts->nheap = ts->moving = 0;
	store_relaxed(&ts->n, 0u);
	store_relaxed(&ts->npopped, (uint64_t)0);
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
