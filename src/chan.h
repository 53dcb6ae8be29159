/* SPDX-License-Identifier: MIT
 * chan.h - inside a channel, for chan.c and select.c. */
#ifndef GMP_CHAN_H
#define GMP_CHAN_H

#include "proc.h"
#include "timer.h"
#include <string.h>

struct gmp_chan {
	uint8_t lock;
	uint8_t closed; /* read by anyone, as a hint, like count and the queues' heads */
	uint8_t ticker;
	uint8_t word;   /* elem_size of an open channel of words (4, 8), else 0 */
	uint32_t elem_size;
	size_t count; /* values in buf */
	size_t cap;
	Queue recvq, sendq; /* up to here in one cache line: all that an unbuffered channel uses */
	char *next_in, *next_out;
	char *buf, *end;
	Timer tick; /* ticker only */
};

static alwaysinline void chan_copy(void *dst, const void *src, uint32_t n)
{
	switch (n) {
	case 8:
		memcpy(dst, src, 8);
		break;
	case 4:
		memcpy(dst, src, 4);
		break;
	case 0:
		break;
	default:
		memcpy(dst, src, n);
	}
}

static alwaysinline void buf_put_done(gmp_chan *c)
{
	c->next_in += c->elem_size;
	if (c->next_in == c->end)
		c->next_in = c->buf;
	store_relaxed(&c->count, c->count + 1);
}

static alwaysinline void buf_put(gmp_chan *c, const void *elem)
{
	chan_copy(c->next_in, elem, c->elem_size);
	buf_put_done(c);
}

static alwaysinline void buf_get_done(gmp_chan *c)
{
	c->next_out += c->elem_size;
	if (c->next_out == c->end)
		c->next_out = c->buf;
	store_relaxed(&c->count, c->count - 1);
}

static alwaysinline void buf_get(gmp_chan *c, void *elem)
{
	if (elem)
		chan_copy(elem, c->next_out, c->elem_size);
	buf_get_done(c);
}

/* The step that a send or a receive can do at once, under c->lock. CHAN_WAIT: none. *sg: a waiter to wake, with result 0,
 * after the lock is gone (CH-3). */
enum { CHAN_WAIT = 1 };

static alwaysinline int send_now(gmp_chan *c, const void *elem, Sudog **sg)
{
	*sg = NULL;
	if (unlikely(c->closed))
		return -EPIPE;
	if (c->recvq.head) {
		Sudog *r = waitq_claim(&c->recvq);
		if (likely(r != NULL)) {
			if (r->elem)
				chan_copy(r->elem, elem, c->elem_size);
			*sg = r;
			return 0;
		}
	}
	if (c->count < c->cap) {
		buf_put(c, elem);
		return 0;
	}
	return CHAN_WAIT;
}

static alwaysinline int recv_now(gmp_chan *c, void *elem, Sudog **sg)
{
	*sg = NULL;
	if (c->count) {
		buf_get(c, elem);
		if (c->sendq.head) {
			Sudog *s = waitq_claim(&c->sendq);
			if (s) {
				buf_put(c, s->elem);
				*sg = s;
			}
		}
		return 0;
	}
	if (c->sendq.head) {
		Sudog *s = waitq_claim(&c->sendq);
		if (likely(s != NULL)) {
			if (elem)
				chan_copy(elem, s->elem, c->elem_size);
			*sg = s;
			return 0;
		}
	}
	if (unlikely(c->closed)) {
		if (elem)
			memset(elem, 0, c->elem_size);
		return -EPIPE;
	}
	return CHAN_WAIT;
}

#endif
