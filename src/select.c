/* SPDX-License-Identifier: MIT
 * select.c - gmp_select. After Go's select.go: look, enqueue on all, park, dequeue from all.
 *
 *   SE-1 All channels of the select are locked together (in address order, each once), so "none is ready" is true at one
 *        instant, and the select is on all queues before anyone can act on one of them.
 *   SE-2 Its wait is contested (PK-2): the one who wins claim() performs its case; Sudogs of the other cases are skipped by
 *        their finders and unlinked here.
 *   SE-3 The locks are released, parklock last, after the registers are saved; a waker of another channel than the one
 *        just released cannot have come earlier (PK-1), a timer passes through parklock (PK-3).
 *   SE-4 Among the ready, the choice is uniform: one is drawn from a list of them, and if somebody wins its waiter first it
 *        is struck out and another is drawn.
 *   SE-5 A select never meets itself: its own Sudogs are queued only after it found nothing. */
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
	if (load_relaxed(&sched.solo))
		return;
	const gmp_chan *last = NULL;
	for (int i = 0; i < s->nlive; i++) {
		gmp_chan *c = s->cases[s->order[i]].chan;
		if (c != last)
			lockbyte(&c->lock);
		last = c;
	}
}

/* The channel after whose release everything may be gone is the last one: read ahead. */
static void unlock_all(const Sel *s)
{
	if (load_relaxed(&sched.solo))
		return;
	for (int i = s->nlive - 1; i >= 0; i--) {
		gmp_chan *c = s->cases[s->order[i]].chan;
		if (i == 0 || s->cases[s->order[i - 1]].chan != c)
			unlockbyte(&c->lock);
	}
}

static bool claimable(const Queue *q)
{
	for (Link *l = q->head; l; l = l->next) {
		const Sudog *sg = link2sg(l);
		if (!(sg->g & SG_CONTESTED) || !(load_relaxed(&sg2g(sg)->claim) & 1u))
			return true;
	}
	return false;
}

static bool looks_ready(const gmp_case *k)
{
	const gmp_chan *c = k->chan;
	if (k->op == GMP_SEND)
		return c->closed || c->count < c->cap || claimable(&c->recvq);
	return c->count || c->closed || claimable(&c->sendq);
}

/* Performs one ready case. Its index; -1: none is ready. */
static int perform(M *m, Sel *s)
{
	int nready = 0;
	for (int i = 0; i < s->nlive; i++) {
		uint16_t k = s->order[i];
		if (looks_ready(&s->cases[k]))
			s->ready[nready++] = k;
	}
	while (nready) { /* SE-4 */
		uint32_t d = nready == 1 ? 0 : draw(m, (uint32_t)nready);
		uint16_t k = s->ready[d];
		gmp_case *c = &s->cases[k];
		int r = c->op == GMP_SEND ? send_now(c->chan, c->elem, &s->wake) : recv_now(c->chan, c->elem, &s->wake);
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

static void dequeue(const Sel *s, const Sudog *won)
{
	for (int i = 0; i < s->nlive; i++) {
		gmp_case *k = &s->cases[s->order[i]];
		Sudog *sg = &s->sg[s->order[i]];
		if (sg != won)
			queue_remove(k->op == GMP_SEND ? &k->chan->sendq : &k->chan->recvq, &sg->link);
	}
}

/* On g0: SE-3. */
static void commit(M *m, G *gp)
{
	(void)m;
	unlock_all(gp->waitobj);
	unlockbyte(&gp->parklock);
}

/* All channels are locked, the Sudogs queued. Out of the runtime afterwards. */
static intptr_t wait(M *m, G *gp, Sel *s, uint32_t seq, int64_t deadline)
{
	lockbyte(&gp->parklock);
	if (m->foreign) { /* nobody resumes a foreign thread's G */
		gmp__park_record(gp, WAIT_SELECT, s, NULL, &gp->parklock);
		unlock_all(s);
		return gmp__park_foreign_until(m, gp, &gp->parklock, seq, deadline);
	}
	gp->waitlock = &gp->parklock; /* the timer may go off before the park has committed */
	Timer t;
	t.p = NULL;
	if (deadline != GMP_FOREVER) {
		int e = gmp__park_timer(m, gp, &t, seq, deadline);
		if (e) {
			dequeue(s, NULL);
			unlock_all(s);
			unlockbyte(&gp->parklock);
			leave(m);
			return e;
		}
	}
	intptr_t r;
	if (load_relaxed(&sched.solo)) { /* nothing to unlock */
		r = finish_sw(park_sw(m, gp, WAIT_SELECT, s, NULL, &gp->parklock));
	} else {
		gp->waitreason = WAIT_SELECT;
		gp->waitobj = s;
		gp->waitq = NULL;
		gp->since = load_relaxed(&sched.coarse_ms);
		gstatus(gp, Grunning, Gwaiting);
		count1(&m->p->nparks);
		r = mcall(m, commit);
	}
	gmp__park_timer_end(&t);
	return r;
}

static int select_on(M *m, Sel *s, int64_t deadline)
{
	sort_order(s);
	lock_all(s);
	int i = perform(m, s);
	G *gp = m->curg;
	if (i < 0)
		i = deadline <= 0 ? -EAGAIN : cancelled(gp) ? -ECANCELED : -1 - MAXCASES;
	if (i != -1 - MAXCASES) {
		unlock_all(s);
		if (s->wake)
			waiter_wake(m, s->wake, 0);
		leave(m);
		return i;
	}
	uint32_t seq = claim_begin(gp);
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED; /* for cancellation: this wait is a contested one */
	enqueue(s, gp);
	intptr_t r = wait(m, gp, s, seq, deadline);
	if (r == -ENOMEM)
		return -ENOMEM;
	const Sudog *won = r < 0 ? NULL : (const Sudog *)(r & ~(intptr_t)1);
	m = enter();
	lock_all(s);
	dequeue(s, won);
	unlock_all(s);
	leave(m);
	if (!won)
		return (int)r;
	int k = (int)(won - s->sg);
	s->cases[k].result = r & 1 ? -EPIPE : 0;
	return k;
}

static int check(const gmp_case *cases, int n)
{
	if (n < 0 || n > MAXCASES || (n && !cases))
		return -EINVAL;
	for (int i = 0; i < n; i++) {
		const gmp_case *k = &cases[i];
		if (k->op != GMP_SEND && k->op != GMP_RECV)
			return -EINVAL;
		if (k->op == GMP_SEND && k->chan && !k->elem && k->chan->elem_size)
			return -EINVAL;
	}
	return 0;
}

int gmp_select(gmp_case *cases, int n, int64_t deadline)
{
	int e = check(cases, n);
	if (e)
		return e;
	Sudog sg[SMALL];
	uint16_t order[SMALL], ready_[SMALL];
	Sel s = {.cases = cases, .n = n, .sg = sg, .order = order, .ready = ready_};
	void *mem = NULL;
	if (n > SMALL) {
		if (gmp__os_inject_failure() || !(mem = malloc((size_t)n * (sizeof(Sudog) + 2 * sizeof(uint16_t)))))
			return -ENOMEM;
		s.sg = mem;
		s.order = (uint16_t *)(void *)(s.sg + n);
		s.ready = s.order + n;
	}
	for (int i = 0; i < n; i++)
		if (cases[i].chan)
			s.order[s.nlive++] = (uint16_t)i;
	int r;
	if (s.nlive == 0) {
		r = deadline <= 0 ? -EAGAIN : gmp_sleep_until(deadline);
		if (r == 0)
			r = -ETIMEDOUT;
	} else {
		r = select_on(enter(), &s, deadline);
	}
	free(mem);
	return r;
}
