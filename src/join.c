/* SPDX-License-Identifier: MIT
 * join.c - the end of a coroutine, and whoever waits for it.
 *
 *   GD-2 A fresh G owns no stack; it gets one at its first dispatch (bindstack, goexit_switch). One that ends without
 *        having parked hands the hot stack to the next.
 *   GD-3 An ending G still stands on its stack when that goes to the P's cache: nobody else can take it before the switch,
 *        since the M is in the runtime (PO-1). A stack that must go anywhere else is freed on g0.
 *   JN-1 Gdead and joiner of a joinable G change under joinlock. Whoever comes second (the end or the joiner) completes
 *        the join; the end touches the G no more after that.
 * Model: tests/model_join.c. */
#include "gfree.h"

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* A joinable G has ended: JN-1. True: nobody will join, the descriptor is the caller's. */
static alwaysinline bool finish_join(M *m, G *gp)
{
	olock(&gp->joinlock);
	if (gp->detached) {
		ounlock(&gp->joinlock);
		return true;
	}
	G *j = gp->joiner;
	if (j) {
		gp->joiner = NULL;
		if (claim_sg(&j->sg)) {
			gstatus(gp, Grunning, Gdead);
			ounlock(&gp->joinlock);
			j->ctx.ret = 0;
			ready(m, j);
			return true; /* the joiner looks at gp no more */
		}
	}
	gstatus(gp, Grunning, Gdead);
	ounlock(&gp->joinlock);
	return false;
}

/* The bookkeeping of an end; the stack is no more in use or stays the caller's business. */
static alwaysinline void g_gone(M *m, G *gp)
{
	if (gp->flags & GF_JOINABLE) {
		if (unlikely(gp->ext != NULL))
			gmp__gext_free(gp);
		if (!finish_join(m, gp))
			return;
		store_relaxed(&gp->status, (uint8_t)Gidle);
	} else {
		gmp__gext_free(gp);
		gstatus(gp, Grunning, Gidle);
	}
	gfput_any(m, gp);
}

/* On g0: an end that cannot be handled on the ending stack. */
static void goexit_m(M *m, G *gp)
{
	P *p = m->p;
	if (gp->flags & GF_LOCKED) {
		store_relaxed(&m->lockedg, (G *)NULL);
		if (!m->is_m0)
			m->exiting = 1;
	}
	tick_g0(p);
	Stack *s = gp->stack;
	gp->stack = NULL;
#if SAN_BUILD
	gmp__san_fiber_destroy(&gp->san);
#endif
	stack_free(&p->stacks, s);
	g_gone(m, gp);
	count1(&p->nended);
}

/* GD-3. The next context, whose M stays in the runtime. */
static outofline gmp__gobuf *goexit_g0(M *m, G *gp)
{
	m->g0fn = goexit_m;
	m->g0arg = gp;
	m->g0land.unlock = &m->land.dummy;
#if SAN_BUILD
	gmp__san_exit(&gp->san, &m->g0);
#endif
	return &m->g0;
}

/* The next to run after an end; what ended is gone. Off the hot path. */
static outofline gmp__gobuf *goexit_next(M *m, G *next)
{
	P *p = m->p;
	if (next && !(next->flags & GF_VIAG0) && (next->stack || bindstack(p, next))) {
		execute_prep(m, p, next);
		return &next->ctx;
	}
	if (next)
		store_relaxed(&p->runnext, next);
	m->g0land.unlock = &m->land.dummy;
	store_relaxed(&m->curg, (G *)NULL);
	return &m->g0;
}

static alwaysinline gmp__gobuf *goexit_dispatch(M *m, P *p)
{
	G *next = likely(--p->ticks != 0) ? picknext(p) : NULL;
	if (unlikely(!next) || unlikely(next->flags & GF_VIAG0))
		return goexit_next(m, next);
	if (!next->stack) { /* it gets the one that has just come free, still warm */
		if (unlikely(next->ext != NULL))
			return goexit_next(m, next);
		next->stack = stack_alloc_hot(&p->stacks);
		bindg(next);
	}
	execute_prep(m, p, next);
	return &next->ctx;
}

static outofline gmp__gobuf *goexit_warm(M *m)
{
	gmp__warm_next(m->p);
	return goexit_dispatch(m, m->p);
}

static alwaysinline gmp__gobuf *goexit_switch(M *m, P *p)
{
	count1(&p->nended);
	if (unlikely(p->runq.n >= COLD_QUEUE))
		return goexit_warm(m);
	return goexit_dispatch(m, p);
}

static outofline gmp__gobuf *goexit_wake(M *m)
{
	gmp__wakep_hint(m, m->p);
	return goexit_switch(m, m->p);
}

static outofline gmp__gobuf *goexit_slow(M *m, G *gp)
{
	if (gp->ext)
		gmp__g_atexit(gp); /* destructors of keys, leaving the group: user code, may block */
	m = enter();
	P *p = m->p;
	m->land.unlock = &m->land.dummy;
	if ((gp->flags & GF_VIAG0) || SAN_BUILD || !stack_free_hot(&p->stacks, gp->stack))
		return goexit_g0(m, gp);
	gp->stack = NULL;
	g_gone(m, gp);
	return goexit_switch(m, p);
}

/* JN-1 for goexit: whoever joins gp waits for that alone. joinlock is held when it is true. */
static alwaysinline bool join_is_plain(G *gp)
{
	if (unlikely(!otrylock(&gp->joinlock)))
		return false;
	const G *j = gp->joiner;
	if (likely(!gp->detached) && (!j || likely(!(j->sg.g & SG_BITS) && !(j->flags & GF_FOREIGN))))
		return true;
	ounlock(&gp->joinlock);
	return false;
}

/* A coroutine's function has returned. The context to go to; the caller (arch/<machine>.S) goes there. */
gmp__gobuf *gmp__goexit(void)
{
	M *m = getm();
	G *gp = m->curg;
	if (SAN_BUILD || unlikely(gp->ext != NULL) || unlikely(load_relaxed(&gp->flags) & GF_VIAG0) || unlikely(!tryenter(m)))
		return goexit_slow(m, gp);
	P *p = m->p;
	bool joinable = gp->flags & GF_JOINABLE;
	if (unlikely(p->ngfree >= GFREE_LOCAL) || (joinable && unlikely(!join_is_plain(gp))))
		return goexit_slow(m, gp);
	if (unlikely(!stack_free_hot(&p->stacks, gp->stack))) {
		if (joinable)
			ounlock(&gp->joinlock);
		return goexit_slow(m, gp);
	}
	gp->stack = NULL;
	m->land.unlock = &m->land.dummy;
	if (joinable) {
		G *j = gp->joiner;
		gstatus(gp, Grunning, Gdead);
		gp->joiner = NULL;
		ounlock(&gp->joinlock);
		if (!j)
			return goexit_switch(m, p);
		store_relaxed(&gp->status, (uint8_t)Gidle); /* the joiner looks at gp no more */
		store_relaxed(&gp->flags, (uint16_t)0);
		gfput_local(p, gp);
		j->ctx.ret = 0;
		ready_local(p, j);
		return unlikely(wake_wanted(p)) ? goexit_wake(m) : goexit_switch(m, p);
	}
	gstatus(gp, Grunning, Gidle);
	store_relaxed(&gp->flags, (uint16_t)0);
	gfput_local(p, gp);
	return goexit_switch(m, p);
}

/* ---- join -------------------------------------------------------------------------------------------------------- */

/* joinlock is held. What to tell the caller at once; 1: wait. */
static alwaysinline int join_check(M *m, G *g)
{
	if (!(load_relaxed(&g->flags) & GF_JOINABLE) || g->detached)
		return -EINVAL;
	if (g == m->curg)
		return -EDEADLK;
	uint8_t s = load_relaxed(&g->status);
	if (unlikely(s == Gidle)) /* the parent's, in a forked child */
		return -ENOTSUP;
	if (g->joiner)
		return -EBUSY;
	return s == Gdead ? 0 : 1;
}

static outofline gmp__sw join_now(M *m, G *g, int r)
{
	ounlock(&g->joinlock);
	if (r == 0) {
		store_relaxed(&g->status, (uint8_t)Gidle);
		gfput_any(m, g);
	}
	leave(m);
	return (gmp__sw){r, NULL};
}

static alwaysinline gmp__sw join_locked(M *m, G *g)
{
	int r = join_check(m, g);
	if (r == 1 && cancelled(m->curg))
		r = -ECANCELED;
	if (r != 1)
		return join_now(m, g, r);
	G *gp = m->curg;
	gp->sg.g = (uintptr_t)gp;
	g->joiner = gp;
	return park_sw(m, gp, WAIT_JOIN, g, NULL, &g->joinlock);
}

static outofline gmp__sw join_slow(G *g)
{
	M *m = enter();
	olock(&g->joinlock);
	return join_locked(m, g);
}

gmp__sw gmp__join(gmp_g *g)
{
	if (unlikely(!g))
		return (gmp__sw){-EINVAL, NULL};
	M *m = getm();
	if (unlikely(!m) || unlikely(!tryenter(m)) || unlikely(!otrylock(&g->joinlock)))
		return join_slow(g);
	return join_locked(m, g);
}

int gmp_join_until(gmp_g *g, int64_t deadline)
{
	if (!g)
		return -EINVAL;
	M *m = enter();
	olock(&g->joinlock);
	int r = join_check(m, g);
	if (r == 1)
		r = deadline <= 0 ? -ETIMEDOUT : cancelled(m->curg) ? -ECANCELED : 1;
	if (r != 1)
		return (int)join_now(m, g, r).r;
	G *gp = m->curg;
	gp->sg.g = (uintptr_t)gp | SG_CONTESTED;
	uint32_t seq = claim_begin(gp);
	g->joiner = gp;
	r = (int)gmp__park_until(m, gp, WAIT_JOIN, g, NULL, &g->joinlock, seq, deadline);
	if (r < 0) {
		m = enter();
		olock(&g->joinlock);
		/* Cancellation has cleared it, and another one may join by now, or have joined: g may be in its next life (GD-1). */
		if (g->joiner == gp)
			g->joiner = NULL;
		ounlock(&g->joinlock);
		leave(m);
	}
	return r;
}

int gmp_detach(gmp_g *g)
{
	if (!g)
		return -EINVAL;
	M *m = enter();
	olock(&g->joinlock);
	int r = 0;
	if (!(load_relaxed(&g->flags) & GF_JOINABLE) || g->detached)
		r = -EINVAL;
	else if (g->joiner)
		r = -EBUSY;
	bool dead = r == 0 && load_relaxed(&g->status) == Gdead;
	if (r == 0)
		g->detached = 1;
	ounlock(&g->joinlock);
	if (dead) {
		store_relaxed(&g->status, (uint8_t)Gidle);
		gfput_any(m, g);
	}
	leave(m);
	return r;
}
