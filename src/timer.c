/* SPDX-License-Identifier: MIT
 * timer.c - per-P timers: a 4-ary heap ordered by `when`, each timer knows its place in it.
 *
 * Timers never move between Ps; a P's timers may be run, added to and removed from by anyone under the heap's lock byte,
 * also while the P is idle or dead (findrunnable looks after the dead ones).
 *   TM-1 minwhen is lowered before the lock is released after an add, so an idle M that computes its sleep sees it, or
 *        the adder sees that M's polluntil (gmp__timer_start: publish, fence, read polluntil).
 *   TM-2 t->id is 0 exactly when t is in no heap; a timer that was popped is not touched again by the popper (TM-3).
 *   TM-3 gmp__timer_pop copies the timer out under the lock, so its memory may go as soon as gmp__timer_remove has
 *        returned or it was not pending. A callback that is late is stopped by its sequence number (PK-6); what such a
 *        callback needs of a gmp_timer is kept by counting (TI-2, time.c).
 *   TM-5 The sleeper wakes at polluntil or earlier, never later: an adder with a later deadline relies on it.
 *   TM-6 A poller that comes back while the world stands finds no P and goes to sleep; startworld wakes somebody for it.
 *   TM-4 Set-and-cancel touches the end of the heap only, since a far deadline stays a leaf. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>

/* Not in the Timer: those lie in the frames of sleeping coroutines, and a heap of many is moved about without touching one. */
static void place(Timers *ts, uint32_t i, TimerSlot s)
{
	ts->heap[i] = s;
	ts->pos[s.id - 1] = i;
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
		if (c >= ts->n)
			break;
		uint32_t best = c, end = c + 4 < ts->n ? c + 4 : ts->n;
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

static void set_min(Timers *ts) { store_release(&ts->minwhen, ts->n ? ts->heap[0].when : INT64_MAX); }

static void *resized(void *p, size_t bytes) { return gmp__os_inject_failure() ? NULL : realloc(p, bytes); }

static bool grow(Timers *ts)
{
	uint32_t cap = ts->cap ? ts->cap * 2 : 16;
	/* What has grown when the next one does not is used next time. */
	TimerSlot *heap = resized(ts->heap, cap * sizeof *heap);
	if (!heap)
		return false;
	ts->heap = heap;
	uint32_t *pos = resized(ts->pos, cap * sizeof *pos);
	if (!pos)
		return false;
	ts->pos = pos;
	Timer **timer = resized(ts->timer, cap * sizeof(Timer *));
	if (!timer)
		return false;
	ts->timer = timer;
	for (uint32_t i = ts->cap; i < cap; i++)
		ts->pos[i] = i + 1 < cap ? i + 2 : 0;
	ts->free = ts->cap + 1;
	ts->cap = cap;
	return true;
}

/* t is in no heap. The heap's lock is taken here. */
int gmp__timer_add(P *p, Timer *t)
{
	Timers *ts = &p->timers;
	olock(&ts->lock);
	if (ts->n == ts->cap && !grow(ts)) {
		ounlock(&ts->lock);
		return -ENOMEM;
	}
	t->p = p;
	uint32_t i = ts->n, id = ts->free;
	ts->free = ts->pos[id - 1];
	ts->timer[id - 1] = t;
	store_relaxed(&t->id, id);
	store_relaxed(&ts->n, i + 1);
	siftup(ts, i, (TimerSlot){t->when, id});
	if (ts->pos[id - 1] == 0)
		set_min(ts);
	ounlock(&ts->lock);
	return 0;
}

static void remove_at(Timers *ts, uint32_t i)
{
	uint32_t id = ts->heap[i].id;
	store_relaxed(&ts->n, ts->n - 1);
	TimerSlot last = ts->heap[ts->n];
	if (i != ts->n) {
		if (i > 0 && ts->heap[(i - 1) / 4].when > last.when)
			siftup(ts, i, last);
		else
			siftdown(ts, i, last);
	}
	store_release(&ts->timer[id - 1]->id, 0u);
	ts->pos[id - 1] = ts->free;
	ts->free = id;
	if (i == 0)
		set_min(ts);
}

bool gmp__timer_remove(Timer *t)
{
	P *p = t->p;
	if (!p)
		return false;
	Timers *ts = &p->timers;
	olock(&ts->lock);
	uint32_t i = t->id - 1;
	/* Not so in a forked child, which has the Timer but an empty heap. */
	bool was = i < ts->cap && ts->pos[i] < ts->n && ts->heap[ts->pos[i]].id == t->id && ts->timer[i] == t;
	if (was)
		remove_at(ts, ts->pos[i]);
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
	if (!ts->n || ts->heap[0].when > now) {
		ounlock(&ts->lock);
		return NULL;
	}
	Timer *t = ts->timer[ts->heap[0].id - 1];
	t->popped++;
	*copy = *t;
	if (t->period > 0) {
		int64_t missed = (now - t->when) / t->period;
		t->when = add_sat_i64(t->when, add_sat_i64(missed * t->period, t->period));
		siftdown(ts, 0, (TimerSlot){t->when, t->id});
		set_min(ts);
	} else {
		remove_at(ts, 0);
	}
	ounlock(&ts->lock);
	return t;
}

/* All timers out. Nobody uses the heap. */
void gmp__timers_clear(P *p)
{
	Timers *ts = &p->timers;
	while (ts->n)
		remove_at(ts, ts->n - 1);
	set_min(ts);
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
