/* SPDX-License-Identifier: MIT
 * chan.c - channels: send, receive, close, tickers. After Go's chan.go.
 *
 *   CH-1 A waiting receiver implies an empty buffer and no waiting sender, a waiting sender a full buffer (waiters whose
 *        wait somebody else has ended already do not count).
 *   CH-2 Waiters are served first come, first served; a value goes straight into the receiver's memory, so a woken
 *        receiver cannot find it stolen.
 *   CH-3 The lock is released before a waiter is made ready, and the channel not touched after: whoever got the last
 *        value may free the channel.
 *   CH-4 A value is taken from its sender in the same step in which it reaches the buffer or the receiver: a send that
 *        fails (closed, cancelled, deadline) has taken nothing. */
#include "chan.h"
#include <stdlib.h>

gmp_chan *gmp_chan_new(size_t elem_size, size_t capacity)
{
	size_t bytes;
	if (elem_size > 65536 || __builtin_mul_overflow(elem_size, capacity, &bytes) || bytes > SIZE_MAX / 4 ||
	        capacity > SIZE_MAX / 4 || gmp__os_inject_failure())
		return NULL;
	gmp_chan *c = aligned_alloc(CACHELINE, (sizeof *c + bytes + CACHELINE - 1) & ~(size_t)(CACHELINE - 1));
	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->elem_size = (uint32_t)elem_size;
	c->word = elem_size == 8 || elem_size == 4 ? (uint8_t)elem_size : 0;
	c->cap = capacity;
	c->buf = c->next_in = c->next_out = (char *)(c + 1);
	c->end = c->buf + bytes;
	return c;
}

void gmp_chan_free(gmp_chan *c)
{
	if (!c)
		return;
	if (c->recvq.head || c->sendq.head)
		gmp__misuse("gmp_chan_free: somebody waits on channel %p", (void *)c);
	if (c->ticker && load_acquire(&c->tick.id))
		gmp__misuse("gmp_chan_free: %p is a ticker", (void *)c);
	free(c);
}

/* A NULL channel is never ready. */
static gmp__sw wait_forever(void)
{
	M *m = enter();
	G *gp = m->curg;
	if (cancelled(gp)) {
		leave(m);
		return (gmp__sw){-ECANCELED, NULL};
	}
	olock(&gp->parklock);
	gp->sg.g = (uintptr_t)gp;
	return park_sw(m, gp, WAIT_CHAN_NIL, NULL, NULL, &gp->parklock);
}

static intptr_t wait_forever_until(int64_t deadline)
{
	if (deadline <= 0)
		return -ETIMEDOUT;
	int r = gmp__sleep(WAIT_CHAN_NIL, deadline);
	return r ? r : -ETIMEDOUT;
}

static alwaysinline gmp__sw done(M *m, gmp_chan *c, int r, Sudog *sg)
{
	ounlock(&c->lock);
	if (sg)
		waiter_wake(m, sg, 0);
	leave(m);
	return (gmp__sw){r, NULL};
}

/* ---- words -----------------------------------------------------------------------------------------------------------
 * Plain send and receive of values of 4 and 8 bytes make no call until they end in one, so they need no frame: that is a
 * quarter of their instructions. Whatever is rarer goes the long way, which begins anew, or with the lock held. */

static alwaysinline void copy_word(void *dst, const void *src, const gmp_chan *c)
{
	if (likely(c->word == 8))
		memcpy(dst, src, 8);
	else
		memcpy(dst, src, 4);
}

enum { DONE, MUST_WAIT, LONG_WAY };

/* enter and olock. False: to be done again, maybe it is half done. */
static alwaysinline bool enter_lock(M *m, gmp_chan *c)
{
	return likely(m) && likely(tryenter(m)) && likely(otrylock(&c->lock));
}

/* ---- send -------------------------------------------------------------------------------------------------------- */

static alwaysinline bool bad_elem(const gmp_chan *c, const void *elem) { return unlikely(!elem && c->elem_size); }

static alwaysinline gmp__sw send_park(M *m, gmp_chan *c, const void *elem)
{
	G *gp = m->curg;
	gp->sg.elem = (void *)(uintptr_t)elem;
	gp->sg.g = (uintptr_t)gp;
	queue_push_tail(&c->sendq, &gp->sg.link);
	return park_sw(m, gp, WAIT_CHAN_SEND, c, &c->sendq, &c->lock);
}

/* c is locked. */
static outofline gmp__sw send_locked(gmp_chan *c, const void *elem, M *m)
{
	Sudog *sg;
	int r = send_now(c, elem, &sg);
	if (r == CHAN_WAIT && cancelled(m->curg))
		r = -ECANCELED;
	if (r != CHAN_WAIT)
		return done(m, c, r, sg);
	return send_park(m, c, elem);
}

static outofline gmp__sw send_slow(gmp_chan *c, const void *elem)
{
	if (unlikely(!c))
		return wait_forever();
	if (bad_elem(c, elem))
		return (gmp__sw){-EINVAL, NULL};
	M *m = enter();
	olock(&c->lock);
	return send_locked(c, elem, m);
}

/* What can be done at once. c is locked, and is no more if it was done. */
static alwaysinline int send_word(M *m, gmp_chan *c, const void *elem)
{
	if (unlikely(!c->word))
		return LONG_WAY;
	if (c->count < c->cap && likely(!c->recvq.head)) {
		copy_word(c->next_in, elem, c);
		buf_put_done(c);
		ounlock(&c->lock);
		store_release(&m->land.inrt, 0u);
		return DONE;
	}
	if (c->recvq.head) {
		G *receiver = waitq_pop_plain(&c->recvq);
		if (unlikely(!receiver))
			return LONG_WAY;
		if (likely(receiver->sg.elem != NULL))
			copy_word(receiver->sg.elem, elem, c);
		ounlock(&c->lock);
		(void)wake_leave(m, receiver);
		return DONE;
	}
	return MUST_WAIT;
}

gmp__sw gmp__chan_send(gmp_chan *c, const void *elem)
{
	if (unlikely(!c))
		return send_slow(c, elem);
	M *m = getm(); /* keeps the compiler from making one condition of two */
	if (unlikely(!elem) || unlikely(!enter_lock(m, c)))
		return send_slow(c, elem);
	int r = send_word(m, c, elem);
	if (r == DONE)
		return (gmp__sw){0, NULL};
	if (unlikely(r == LONG_WAY) || cancelled(m->curg))
		return send_locked(c, elem, m);
	return send_park(m, c, elem);
}

int gmp_chan_try_send(gmp_chan *c, const void *elem)
{
	if (!c)
		return -EAGAIN;
	if (bad_elem(c, elem))
		return -EINVAL;
	M *m = enter();
	olock(&c->lock);
	Sudog *sg;
	int r = send_now(c, elem, &sg);
	return (int)done(m, c, r == CHAN_WAIT ? -EAGAIN : r, sg).r;
}

static outofline int send_until_locked(gmp_chan *c, const void *elem, int64_t deadline, M *m)
{
	Sudog *sg;
	int r = send_now(c, elem, &sg);
	G *gp = m->curg;
	if (r == CHAN_WAIT)
		r = deadline <= 0 ? -ETIMEDOUT : cancelled(gp) ? -ECANCELED : CHAN_WAIT;
	if (r != CHAN_WAIT)
		return (int)done(m, c, r, sg).r;
	gp->sg.elem = (void *)(uintptr_t)elem;
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED;
	uint32_t seq = claim_begin(gp);
	queue_push_tail(&c->sendq, &gp->sg.link);
	return (int)gmp__park_until(m, gp, WAIT_CHAN_SEND, c, &c->sendq, &c->lock, seq, deadline);
}

static outofline int send_until_slow(gmp_chan *c, const void *elem, int64_t deadline)
{
	if (!c)
		return (int)wait_forever_until(deadline);
	if (bad_elem(c, elem))
		return -EINVAL;
	M *m = enter();
	olock(&c->lock);
	return send_until_locked(c, elem, deadline, m);
}

int gmp_chan_send_until(gmp_chan *c, const void *elem, int64_t deadline)
{
	M *m = getm();
	if (unlikely(!c) || unlikely(!elem) || unlikely(!enter_lock(m, c)))
		return send_until_slow(c, elem, deadline);
	return send_word(m, c, elem) == DONE ? 0 : send_until_locked(c, elem, deadline, m);
}

/* ---- receive ----------------------------------------------------------------------------------------------------- */

static alwaysinline gmp__sw recv_park(M *m, gmp_chan *c, void *elem)
{
	G *gp = m->curg;
	gp->sg.elem = elem;
	gp->sg.g = (uintptr_t)gp;
	queue_push_tail(&c->recvq, &gp->sg.link);
	return park_sw(m, gp, WAIT_CHAN_RECV, c, &c->recvq, &c->lock);
}

/* c is locked. */
static outofline gmp__sw recv_locked(gmp_chan *c, void *elem, M *m)
{
	Sudog *sg;
	int r = recv_now(c, elem, &sg);
	if (r == CHAN_WAIT && cancelled(m->curg))
		r = -ECANCELED;
	if (r != CHAN_WAIT)
		return done(m, c, r, sg);
	return recv_park(m, c, elem);
}

static outofline gmp__sw recv_slow(gmp_chan *c, void *elem)
{
	if (unlikely(!c))
		return wait_forever();
	M *m = enter();
	olock(&c->lock);
	return recv_locked(c, elem, m);
}

/* As send_word. */
static alwaysinline int recv_word(M *m, gmp_chan *c, void *elem)
{
	if (unlikely(!c->word))
		return LONG_WAY;
	if (c->count) {
		if (unlikely(c->sendq.head != NULL))
			return LONG_WAY;
		copy_word(elem, c->next_out, c);
		buf_get_done(c);
		ounlock(&c->lock);
		store_release(&m->land.inrt, 0u);
		return DONE;
	}
	if (c->sendq.head) {
		G *sender = waitq_pop_plain(&c->sendq);
		if (unlikely(!sender))
			return LONG_WAY;
		copy_word(elem, sender->sg.elem, c);
		ounlock(&c->lock);
		(void)wake_leave(m, sender);
		return DONE;
	}
	return MUST_WAIT;
}

gmp__sw gmp__chan_recv(gmp_chan *c, void *elem)
{
	if (unlikely(!c))
		return recv_slow(c, elem);
	M *m = getm();
	if (unlikely(!elem) || unlikely(!enter_lock(m, c)))
		return recv_slow(c, elem);
	int r = recv_word(m, c, elem);
	if (r == DONE)
		return (gmp__sw){0, NULL};
	if (unlikely(r == LONG_WAY) || cancelled(m->curg))
		return recv_locked(c, elem, m);
	return recv_park(m, c, elem);
}

int gmp_chan_try_recv(gmp_chan *c, void *elem)
{
	if (!c)
		return -EAGAIN;
	M *m = enter();
	olock(&c->lock);
	Sudog *sg;
	int r = recv_now(c, elem, &sg);
	return (int)done(m, c, r == CHAN_WAIT ? -EAGAIN : r, sg).r;
}

static outofline int recv_until_locked(gmp_chan *c, void *elem, int64_t deadline, M *m)
{
	Sudog *sg;
	int r = recv_now(c, elem, &sg);
	G *gp = m->curg;
	if (r == CHAN_WAIT)
		r = deadline <= 0 ? -ETIMEDOUT : cancelled(gp) ? -ECANCELED : CHAN_WAIT;
	if (r != CHAN_WAIT)
		return (int)done(m, c, r, sg).r;
	gp->sg.elem = elem;
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED;
	uint32_t seq = claim_begin(gp);
	queue_push_tail(&c->recvq, &gp->sg.link);
	return (int)gmp__park_until(m, gp, WAIT_CHAN_RECV, c, &c->recvq, &c->lock, seq, deadline);
}

static outofline int recv_until_slow(gmp_chan *c, void *elem, int64_t deadline)
{
	if (!c)
		return (int)wait_forever_until(deadline);
	M *m = enter();
	olock(&c->lock);
	return recv_until_locked(c, elem, deadline, m);
}

int gmp_chan_recv_until(gmp_chan *c, void *elem, int64_t deadline)
{
	M *m = getm();
	if (unlikely(!c) || unlikely(!elem) || unlikely(!enter_lock(m, c)))
		return recv_until_slow(c, elem, deadline);
	return recv_word(m, c, elem) == DONE ? 0 : recv_until_locked(c, elem, deadline, m);
}

/* ---- close, length ----------------------------------------------------------------------------------------------- */

int gmp_chan_close(gmp_chan *c)
{
	if (!c)
		return -EINVAL;
	M *m = enter();
	olock(&c->lock);
	if (c->closed) {
		ounlock(&c->lock);
		leave(m);
		return -EPIPE;
	}
	store_relaxed(&c->closed, (uint8_t)1);
	c->word = 0;
	Queue woken = {NULL, NULL};
	Sudog *sg;
	while ((sg = waitq_claim(&c->recvq))) {
		if (sg->elem)
			memset(sg->elem, 0, c->elem_size);
		queue_push_tail(&woken, &sg->link);
	}
	while ((sg = waitq_claim(&c->sendq)))
		queue_push_tail(&woken, &sg->link);
	ounlock(&c->lock);
	Link *l;
	while ((l = queue_pop_head(&woken)))
		waiter_wake(m, link2sg(l), -EPIPE);
	leave(m);
	return 0;
}

size_t gmp_chan_len(gmp_chan *c) { return c ? load_relaxed(&c->count) : 0; }
size_t gmp_chan_cap(gmp_chan *c) { return c ? c->cap : 0; }

/* ---- tickers ----------------------------------------------------------------------------------------------------- */

static void tick(M *m, void *arg, uintptr_t seq)
{
	(void)seq;
	gmp_chan *c = arg;
	Sudog *sg;
	olock(&c->lock);
	int64_t now = gmp__os_now(); /* under the lock: two ticks that are late on two Ms stay in order */
	(void)send_now(c, &now, &sg); /* full: dropped */
	ounlock(&c->lock);
	if (sg)
		waiter_wake(m, sg, 0);
}

gmp_chan *gmp_ticker_new(int64_t period)
{
	if (period <= 0)
		return NULL;
	gmp_chan *c = gmp_chan_new(sizeof(int64_t), 1);
	if (!c)
		return NULL;
	M *m = enter();
	c->ticker = 1;
	c->tick.f = tick;
	c->tick.arg = c;
	c->tick.when = add_sat_i64(gmp__os_now(), period);
	c->tick.period = period;
	int e = gmp__timer_start(m, &c->tick);
	leave(m);
	if (e) {
		free(c);
		return NULL;
	}
	return c;
}

void gmp_ticker_free(gmp_chan *ticker)
{
	if (!ticker)
		return;
	if (!ticker->ticker)
		gmp__misuse("gmp_ticker_free: %p is no ticker", (void *)ticker);
	/* A tick may be under way on another M; it is not while the world is stopped. */
	M *m = gmp__foreign_enter();
	bool up = load_relaxed(&sched.state) == ST_UP;
	if (up)
		gmp__stopworld();
	(void)gmp__timer_remove(&ticker->tick);
	if (up)
		gmp__startworld();
	gmp__foreign_leave(m);
	gmp_chan_free(ticker);
}
