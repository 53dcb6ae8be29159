/* SPDX-License-Identifier: MIT
 * spawn.c - new coroutines. They have no stack yet (GD-2, join.c) and go to the fresh queue of their spawner's P; those for
 * an event to its run queue.
 *
 *   RA-1 When sched.runahead coroutines that never ran are queued on its P, a spawner queues as the second newest of them
 *        and lets the newest run: a loop of spawns then needs memory for those that are alive at once, not for all, and that
 *        memory is still in the caches. Not a yield, which would let all of them begin: wide trees would turn breadth-first.
 *        The last thing that a spawn does: no lock is held, and the new one may have ended when it returns. */
#include "gfree.h"
#include <stdlib.h>
#include <string.h>

enum { IDS_FIRST = 16, IDS_MOST = 4096 }; /* numbers that a P takes at once: who spawns much comes seldom */

static alwaysinline void newid(P *p, G *gp)
{
	if (unlikely(p->nextid == p->idend)) {
		if (p->idbatch < IDS_MOST)
			p->idbatch = p->idbatch ? p->idbatch * 2 : IDS_FIRST;
		p->nextid = fetch_add_relaxed(&sched.idgen, p->idbatch) + 1;
		p->idend = p->nextid + p->idbatch;
	}
	store_relaxed(&gp->id, p->nextid++);
}

static int spawn_refused(void)
{
	int s = load_acquire(&sched.state);
	if (s == ST_FORKED)
		return -ENOTSUP;
	if (s != ST_UP)
		return -ESRCH;
	return load_relaxed(&sched.hints) & HINT_ENDING ? -ECANCELED : 0;
}

static alwaysinline void fresh_put(P *p, G *gp)
{
	gstatus(gp, Gidle, Grunnable);
	count1(&p->nspawned);
	queue_push_tail(&p->fresh.q, &gp->sg.link);
	store_relaxed(&p->fresh.n, p->fresh.n + 1);
}

static alwaysinline bool ran_ahead(const P *p) { return p->fresh.n >= sched.runahead; }

/* gp is complete. */
static alwaysinline void submit_new(M *m, P *p, G *gp)
{
	fresh_put(p, gp);
	if (unlikely(wake_wanted_queued(p)))
		gmp__wakep_hint(m, p);
}

/* RA-1. In the runtime, where nobody can have stolen the newest. */
static outofline int run_ahead(M *m)
{
	P *p = m->p;
	G *gp = m->curg, *newest = runq_getnewest(&p->fresh);
	gstatus(gp, Grunning, Grunnable);
	runq_put(&p->fresh, gp);
	runq_put(&p->fresh, newest);
	(void)finish_sw(switch_away(m, p, gp, &m->land.dummy));
	return 0;
}

/* False: the last coroutine has ended in this moment, nobody would run gp. */
static bool submit_foreign(G *gp)
{
	store_relaxed(&gp->id, fetch_add_relaxed(&sched.idgen, 16u) + 1);
	lock(&sched.lock);
	if (sched.done) {
		unlock(&sched.lock);
		return false;
	}
	gstatus(gp, Gidle, Grunnable);
	store_relaxed(&sched.nspawned, sched.nspawned + 1);
	gmp__globrunqput(gp);
	unlock(&sched.lock);
	gmp__wakep();
	return true;
}

/* False: it takes gmp__newproc. */
static alwaysinline bool spawn_plain(M *m)
{
	return likely(m && gmp__debug.lazystack);
}

static alwaysinline void init_plain(P *p, G *gp, G **out, gmp_fn *fn, void *arg, void *pc, void *x, void *y)
{
	gp->fn = fn;
	gp->sg.elem = arg;
	gp->spawnpc = pc;
	if (x) {
		gp->waitobj = x;
		gp->waitq = y;
	}
	if (out) {
		store_relaxed(&gp->flags, (uint16_t)GF_JOINABLE);
		*out = gp;
	}
	newid(p, gp);
}

static outofline int spawned(M *m)
{
	P *p = m->p;
	if (wake_wanted_queued(p))
		gmp__wakep_hint(m, p);
	if (ran_ahead(p))
		return run_ahead(m);
	leave(m);
	return 0;
}

static outofline int spawn_slow(G **out, gmp_fn *fn, void *arg, void *pc, void *x, void *y)
{
	if (!fn)
		return -EINVAL;
	M *m = enter();
	if (load_relaxed(&sched.hints) & HINT_ENDING) { /* CA-3 */
		leave(m);
		return -ECANCELED;
	}
	P *p = m->p;
	G *gp = gfget(m, p);
	if (!gp) {
		leave(m);
		return -ENOMEM;
	}
	init_plain(p, gp, out, fn, arg, pc, x, y);
	fresh_put(p, gp);
	return spawned(m);
}

/* A coroutine without attributes, by a coroutine. *out (unless NULL) gets the handle. x and y: see gmp__newproc_with.
 * Makes no call but as its end: it needs no frame. */
static alwaysinline int spawn_now(M *m, G **out, gmp_fn *fn, void *arg, void *pc, void *x, void *y)
{
	if (unlikely(!fn) || unlikely(!tryenter(m)))
		return spawn_slow(out, fn, arg, pc, x, y);
	P *p = m->p;
	G *gp;
	if (unlikely(load_relaxed(&sched.hints) & HINT_ENDING) || unlikely(!(gp = gfget_local(p))))
		return spawn_slow(out, fn, arg, pc, x, y);
	init_plain(p, gp, out, fn, arg, pc, x, y);
	fresh_put(p, gp);
	if (unlikely(wake_wanted_queued(p)))
		return spawned(m);
	if (unlikely(ran_ahead(p)))
		return run_ahead(m);
	store_release(&m->land.inrt, 0u);
	return 0;
}

/* For gmp_waitgroup_spawn: fn finds x and y in its G, in waitobj and waitq, which nobody reads before it parks.
 * 1: it takes gmp__newproc. */
int gmp__newproc_with(gmp_fn *fn, void *arg, void *pc, void *x, void *y)
{
	M *m = getm();
	return spawn_plain(m) ? spawn_now(m, NULL, fn, arg, pc, x, y) : 1;
}

int gmp_spawn(gmp_fn *fn, void *arg)
{
	M *m = getm();
	if (spawn_plain(m))
		return spawn_now(m, NULL, fn, arg, caller_pc(), NULL, NULL);
	return gmp__newproc(NULL, NULL, fn, arg, caller_pc(), NULL, 0, NULL);
}

/* The general form. copy/size: gmp_spawn_copy's argument. grp: member of (counted by the caller already). */
int gmp__newproc(G **out, const gmp_attr *attr, gmp_fn *fn, void *arg, void *pc, const void *copy, size_t size,
        gmp_group *grp)
{
	if (!fn)
		return -EINVAL;
	size_t stack = 0;
	if (attr) {
		stack = attr->stack_size;
		if (stack > ((size_t)1 << 30) || attr->reserved_int)
			return -EINVAL;
		for (size_t i = 0; i < nelem(attr->reserved); i++)
			if (attr->reserved[i])
				return -EINVAL;
		if (stack && stack < 16 * 1024)
			return -EINVAL;
	}
	int e = spawn_refused();
	if (e)
		return e;
	M *m = enter();
	if ((e = spawn_refused())) {
		leave(m);
		return e;
	}
	P *p = m->p;
	G *gp = p ? gfget(m, p) : gmp__gfget_slow(m);
	if (!gp)
		goto nomem;
	gp->fn = fn;
	gp->sg.elem = arg;
	gp->spawnpc = pc;
	store_relaxed(&gp->flags, (uint16_t)(out ? GF_JOINABLE : 0));
	if (copy || grp || (attr && (attr->name || stack || attr->fpenv))) {
		GExt *x = gmp__gext(gp);
		if (!x)
			goto nomem;
		if (attr && attr->name) {
			strncpy(x->name, attr->name, sizeof x->name - 1);
			x->name[sizeof x->name - 1] = 0;
		}
		x->stack_size = stack;
		if (attr && attr->fpenv) {
			gmp__fp_save(x->fp);
			store_relaxed(&gp->flags, (uint16_t)(gp->flags | GF_FPENV));
		}
		if (copy) {
			if (gmp__os_inject_failure() || !(x->args = aligned_alloc(16, (size + 15) & ~(size_t)15)))
				goto nomem;
			memcpy(x->args, copy, size);
			gp->sg.elem = x->args;
		}
		x->group = grp;
	}
	if (!gmp__debug.lazystack) {
		gp->stack = gmp__stack_alloc_slow(p ? &p->stacks : NULL, stack);
		if (!gp->stack)
			goto nomem;
		bindg(gp);
	}
	if (out)
		*out = gp;
	if (grp)
		gmp__group_add(grp, gp);
	if (p) {
		newid(p, gp);
		submit_new(m, p, gp);
		if (ran_ahead(p) && m->curg) /* not the first one, by g0 */
			return run_ahead(m);
	} else if (!submit_foreign(gp)) {
		if (grp)
			gmp__group_remove(grp, gp);
		e = -ESRCH;
		goto fail;
	}
	leave(m);
	return 0;
nomem:
	e = -ENOMEM;
fail:
	if (gp) {
		gmp__g_drop_stack(gp);
		gmp__gext_free(gp);
		gfput_any(m, gp);
	}
	leave(m);
	return e;
}

/* From inside the runtime, for an event: a timer, a request. m holds a P. First come, first served, as if it had waited for
 * the event: newest first would let the oldest wait while events never cease. x: see gmp__newproc_with. 0; -ECANCELED: the
 * run ends; -ENOMEM. */
int gmp__newproc_rt(M *m, gmp_fn *fn, void *arg, void *x)
{
	P *p = m->p;
	if (load_relaxed(&sched.hints) & HINT_ENDING)
		return -ECANCELED;
	G *gp = gfget(m, p);
	if (!gp)
		return -ENOMEM;
	gp->fn = fn;
	gp->sg.elem = arg;
	gp->spawnpc = (void *)fn;
	gp->waitobj = x;
	newid(p, gp);
	gstatus(gp, Gidle, Grunnable);
	count1(&p->nspawned);
	runq_put(&p->runq, gp);
	if (unlikely(wake_wanted_queued(p)))
		gmp__wakep_hint(m, p);
	return 0;
}

int gmp_spawn_copy(gmp_fn *fn, const void *args, size_t size)
{
	if (size > 1024 || (size && !args))
		return -EINVAL;
	return gmp__newproc(NULL, NULL, fn, NULL, caller_pc(), size ? args : NULL, size, NULL);
}

int gmp_spawn_attr(gmp_g **out, const gmp_attr *attr, gmp_fn *fn, void *arg)
{
	M *m = getm();
	if (likely(!attr) && spawn_plain(m))
		return spawn_now(m, out, fn, arg, caller_pc(), NULL, NULL);
	return gmp__newproc(out, attr, fn, arg, caller_pc(), NULL, 0, NULL);
}
