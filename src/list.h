/* SPDX-License-Identifier: MIT
 * list.h - doubly linked intrusive queues, NULL-ended. One Link type serves run queues and wait queues alike, since a
 * coroutine is on at most one queue at any time. `head` may be read by anyone, as a hint (is somebody there?): it is
 * written atomically. */
#ifndef GMP_LIST_H
#define GMP_LIST_H

#include "atomic.h"

typedef struct Link Link;
struct Link {
	Link *next, *prev;
};

typedef struct Queue {
	Link *head, *tail;
} Queue;

static inline bool queue_empty(const Queue *q) { return load_relaxed(&q->head) == NULL; }

static inline void queue_push_tail(Queue *q, Link *l)
{
	l->next = NULL;
	l->prev = q->tail;
	if (q->tail)
		q->tail->next = l;
	else
		store_relaxed(&q->head, l);
	q->tail = l;
}

static inline void queue_push_head(Queue *q, Link *l)
{
	l->prev = NULL;
	l->next = q->head;
	if (q->head)
		q->head->prev = l;
	else
		q->tail = l;
	store_relaxed(&q->head, l);
}

static inline Link *queue_pop_head(Queue *q)
{
	Link *l = q->head;
	if (l) {
		store_relaxed(&q->head, l->next);
		if (q->head)
			q->head->prev = NULL;
		else
			q->tail = NULL;
	}
	return l;
}

static inline Link *queue_pop_tail(Queue *q)
{
	Link *l = q->tail;
	if (l) {
		q->tail = l->prev;
		if (q->tail)
			q->tail->next = NULL;
		else
			store_relaxed(&q->head, NULL);
	}
	return l;
}

/* l is on q: its caller knows. */
static inline void queue_remove(Queue *q, Link *l)
{
	if (l->prev)
		l->prev->next = l->next;
	else
		store_relaxed(&q->head, l->next);
	if (l->next)
		l->next->prev = l->prev;
	else
		q->tail = l->prev;
}

/* All of src behind dst; src is empty afterwards. */
static inline void queue_append(Queue *dst, Queue *src)
{
	if (!src->head)
		return;
	src->head->prev = dst->tail;
	if (dst->tail)
		dst->tail->next = src->head;
	else
		store_relaxed(&dst->head, src->head);
	dst->tail = src->tail;
	store_relaxed(&src->head, (Link *)NULL);
	src->tail = NULL;
}

#endif
