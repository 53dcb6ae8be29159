/* SPDX-License-Identifier: MIT
 * select.c - gmp_select. After Go's select.go: look, enqueue on all, park, dequeue from all.
 *
 *   SE-1 "None is ready" is found with all channels of the select locked together, in address order, each once (solo: inside
 *        the runtime, alone there): it is true at one instant, and the select is on all queues before anyone can act on one.
 *   SE-2 Its wait is contested (PK-2): the one who wins claim() performs its case; Sudogs of the other cases are skipped by
 *        their finders and unlinked here, each under the lock of its channel.
 *   SE-3 The channels are unlocked before the registers are saved, parklock after, by the landing; wakers and the timer pass
 *        through parklock (PK-3).
 *   SE-4 Among the ready, the choice is uniform: one is drawn from a list of them, and if somebody is faster it is struck
 *        out and another is drawn.
 *   SE-5 A select never meets itself: its own Sudogs are queued only after it found nothing.
 *   SE-6 Most selects find something. So it looks first without locks, and locks only the channel that it has drawn. What
 *        it saw was true when it looked; whether it still is, shows under the lock. */
#include "chan.h"
#include <stdlib.h>

enum { SMALL = 64, MAXCASES = 65535 };

typedef struct Sel {
	int n; /* first: gmp_dump shows it */
	gmp_case *cases;
	Sudog *sg;        /* one a case */
	uint16_t *order;  /* cases with a channel, by address of it */
	uint16_t *ready;
	int nlive;
	Sudog *wake;      /* whom the case performed owes a ready */
} Sel;

static uint32_t draw(M *m, uint32_t n)
{
	static uint64_t foreign_rand = 88172645463325252u; /* guarded by sched.foreign */
	uint64_t *s = m->p ? &m->p->rand : &foreign_rand;
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((*s >> 32) * n) >> 32);
}

static bool less(const Sel *s, uint16_t a, uint16_t b)
{
	return (uintptr_t)s->cases[a].chan < (uintptr_t)s->cases[b].chan;
}

static void siftdown(const Sel *s, int i, int n)
{
	uint16_t v = s->order[i];
	for (;;) {
		int c = 2 * i + 1;
		if (c >= n)
			break;
		if (c + 1 < n && less(s, s->order[c], s->order[c + 1]))
			c++;
		if (!less(s, v, s->order[c]))
			break;
		s->order[i] = s->order[c];
		i = c;
	}
	s->order[i] = v;
}

/* Insertion sort for the usual handful, heap sort (no recursion, no memory) else. */
static void sort_order(Sel *s)
{
	if (s->nlive <= 8) {
		for (int i = 1; i < s->nlive; i++) {
			uint16_t v = s->order[i];
			int k = i;
			for (; k > 0 && less(s, v, s->order[k - 1]); k--)
				s->order[k] = s->order[k - 1];
			s->order[k] = v;
		}
		return;
	}
	for (int i = s->nlive / 2 - 1; i >= 0; i--)
		siftdown(s, i, s->nlive);
	for (int i = s->nlive - 1; i > 0; i--) {
		uint16_t v = s->order[0];
		s->order[0] = s->order[i];
		s->order[i] = v;
		siftdown(s, 0, i);
	}
}

static void lock_all(const Sel *s)
{
	const gmp_chan *last = NULL;
	for (int i = 0; i < s->nlive; i++) {
		gmp_chan *c = s->cases[s->order[i]].chan;
		if (c != last)
			olock(&c->lock);
		last = c;
	}
}

static void unlock_all(const Sel *s)
{
	for (int i = s->nlive - 1; i >= 0; i--) {
		gmp_chan *c = s->cases[s->order[i]].chan;
		if (i == 0 || s->cases[s->order[i - 1]].chan != c)
			unlockbyte(&c->lock);
	}
}

/* A hint, also under the lock: those who wait may all have found something else. */
static bool looks_ready(const gmp_case *k)
{
	const gmp_chan *c = k->chan;
	if (load_relaxed(&c->closed))
		return true;
	size_t n = load_relaxed(&c->count);
	return k->op == GMP_SEND ? n < c->cap || !queue_empty(&c->recvq) : n || !queue_empty(&c->sendq);
}

/* The cases that look ready into s->ready: how many. */
static int look(Sel *s)
{
	int nready = 0;
	for (int i = 0; i < s->nlive; i++) {
		uint16_t k = s->order[i];
		if (looks_ready(&s->cases[k]))
			s->ready[nready++] = k;
	}
	return nready;
}

/* The same at the first look, which also finds the cases that have a channel. -EINVAL: there is a bad one. */
static alwaysinline int first_look(Sel *s)
{
	int nlive = 0, nready = 0;
	for (int i = 0; i < s->n; i++) {
		const gmp_case *k = &s->cases[i];
		if (unlikely(k->op != GMP_SEND && k->op != GMP_RECV))
			return -EINVAL;
		if (!k->chan)
			continue;
		if (unlikely(!k->elem) && k->op == GMP_SEND && k->chan->elem_size)
			return -EINVAL;
		s->order[nlive++] = (uint16_t)i;
		if (looks_ready(k))
			s->ready[nready++] = (uint16_t)i;
	}
	s->nlive = nlive;
	return nready;
}

/* Performs one of the ready cases (SE-4). Its index; -1: none is ready. locked: all channels are. */
static alwaysinline int perform(M *m, Sel *s, int nready, bool locked)
{
	while (nready) {
		uint32_t d = nready == 1 ? 0 : draw(m, (uint32_t)nready);
		uint16_t k = s->ready[d];
		gmp_case *c = &s->cases[k];
		if (!locked)
			olock(&c->chan->lock);
		int r = c->op == GMP_SEND ? send_now(c->chan, c->elem, &s->wake) : recv_now(c->chan, c->elem, &s->wake);
		if (!locked)
			ounlock(&c->chan->lock);
		if (r != CHAN_WAIT) {
			c->result = r;
			return k;
		}
		s->ready[d] = s->ready[--nready];
	}
	return -1;
}

static void enqueue(const Sel *s, G *gp)
{
	for (int i = 0; i < s->nlive; i++) {
		gmp_case *k = &s->cases[s->order[i]];
		Sudog *sg = &s->sg[s->order[i]];
		sg->g = (uintptr_t)gp | SG_CONTESTED | SG_SELECT;
		sg->elem = k->elem;
		queue_push_tail(k->op == GMP_SEND ? &k->chan->sendq : &k->chan->recvq, &sg->link);
	}
}

/* SE-2. The channel of `won` is left alone, where that is its only case: it may be gone. */
static void dequeue(const Sel *s, const Sudog *won, bool locked)
{
	for (int i = 0; i < s->nlive; i++) {
		gmp_case *k = &s->cases[s->order[i]];
		Sudog *sg = &s->sg[s->order[i]];
		if (sg == won)
			continue;
		if (!locked)
			olock(&k->chan->lock);
		queue_remove(k->op == GMP_SEND ? &k->chan->sendq : &k->chan->recvq, &sg->link);
		if (!locked)
			ounlock(&k->chan->lock);
	}
}

/* The Sudogs are queued, all channels locked (unless solo). Out of the runtime afterwards. */
static intptr_t wait(M *m, G *gp, Sel *s, uint32_t seq, int64_t deadline, bool solo)
{
	if (!solo)
		store_relaxed(&gp->parklock, (uint8_t)1); /* nobody else's: of the last wait nothing is left */
	if (m->foreign) { /* nobody resumes a foreign thread's G */
		gmp__park_record(gp, WAIT_SELECT, s, NULL, &gp->parklock);
		unlock_all(s);
		return gmp__park_foreign_until(m, gp, &gp->parklock, seq, deadline);
	}
	store_relaxed(&gp->waitlock, &gp->parklock); /* the timer may go off before the park has committed */
	Timer t;
	t.p = NULL;
	if (deadline != GMP_FOREVER) {
		int e = gmp__park_timer(m, gp, &t, seq, deadline);
		if (e) {
			dequeue(s, NULL, true);
			if (!solo)
				unlock_all(s);
			ounlock(&gp->parklock);
			leave(m);
			return e;
		}
	}
	if (!solo)
		unlock_all(s); /* SE-3 */
	intptr_t r = finish_sw(park_sw(m, gp, WAIT_SELECT, s, NULL, &gp->parklock));
	gmp__park_timer_end(&t);
	return r;
}

/* None is ready, all channels are locked (unless solo). */
static int select_wait(M *m, G *gp, Sel *s, int64_t deadline, bool solo)
{
	uint32_t seq = claim_begin(gp);
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED; /* for cancellation: this wait is a contested one */
	enqueue(s, gp);
	intptr_t r = wait(m, gp, s, seq, deadline, solo);
	if (r == -ENOMEM)
		return -ENOMEM;
	const Sudog *won = r < 0 ? NULL : (const Sudog *)(r & ~(intptr_t)1);
	m = enter();
	dequeue(s, won, false);
	leave(m);
	if (!won)
		return (int)r;
	int k = (int)(won - s->sg);
	s->cases[k].result = r & 1 ? -EPIPE : 0;
	return k;
}

/* None looked ready, or somebody was faster. */
static outofline int select_slow(M *m, Sel *s, int64_t deadline)
{
	bool solo = load_relaxed(&sched.solo); /* it changes only while we are out of the runtime */
	G *gp = m->curg;
	int i = -1;
	if (!solo) {
		sort_order(s);
		lock_all(s);
		i = perform(m, s, look(s), true);
		if (i >= 0)
			unlock_all(s);
	}
	if (i < 0) {
		i = deadline <= 0 ? -EAGAIN : cancelled(gp) ? -ECANCELED : 0;
		if (i == 0)
			return select_wait(m, gp, s, deadline, solo);
		if (!solo)
			unlock_all(s);
	}
	if (s->wake)
		waiter_wake(m, s->wake, 0);
	leave(m);
	return i;
}

static int select_none(int64_t deadline)
{
	int r = deadline <= 0 ? -EAGAIN : gmp__sleep(WAIT_SELECT_NONE, deadline);
	return r ? r : -ETIMEDOUT;
}

static alwaysinline int select_on(Sel *s, int64_t deadline)
{
	M *m = getm();
	if (likely(m != NULL))
		m = enter_m(m);
	int i = first_look(s);
	if (unlikely(i < 0 || !s->nlive)) {
		if (m)
			leave(m);
		return i < 0 ? i : select_none(deadline);
	}
	if (unlikely(!m)) /* a thread takes part in the run only if it has something to wait for */
		m = gmp__foreign_enter();
	i = perform(m, s, i, load_relaxed(&sched.solo)); /* SE-6 */
	if (i < 0)
		return select_slow(m, s, deadline);
	if (s->wake)
		waiter_wake(m, s->wake, 0);
	leave(m);
	return i;
}

/* Too many for the stack. */
static outofline int select_many(Sel *s, int64_t deadline)
{
	size_t n = (size_t)s->n;
	if (gmp__os_inject_failure() || !(s->sg = malloc(n * (sizeof(Sudog) + 2 * sizeof(uint16_t)))))
		return -ENOMEM;
	s->order = (uint16_t *)(void *)(s->sg + n);
	s->ready = s->order + n;
	int r = select_on(s, deadline);
	free(s->sg);
	return r;
}

int gmp_select(gmp_case *cases, int n, int64_t deadline)
{
	if (n < 0 || n > MAXCASES || (n && !cases))
		return -EINVAL;
	Sel s = {.cases = cases, .n = n};
	if (unlikely(n > SMALL))
		return select_many(&s, deadline);
	Sudog sg[SMALL];
	uint16_t order[SMALL], ready_[SMALL];
	s.sg = sg;
	s.order = order;
	s.ready = ready_;
	return select_on(&s, deadline);
}
