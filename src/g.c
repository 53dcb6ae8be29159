/* SPDX-License-Identifier: MIT
 * g.c - coroutines: where their descriptors come from, spawn, end, join, detach, names.
 *
 *   GD-1 Descriptors are type-stable: they come from slabs that are never returned, since dumps, late timers and sysmon
 *        look at them without a lock.
 *   GD-2 A fresh G owns no stack; it gets one at its first dispatch (bindstack). One that ends without having parked
 *        hands the hot stack to the next.
 *   GD-3 An ending G still stands on its stack when that goes to the P's cache: nobody else can take it before the switch,
 *        since the M is in the runtime (PO-1). A stack that must go anywhere else is freed on g0.
 *   JN-1 Gdead and joiner of a joinable G change under joinlock. Whoever comes second (the end or the joiner) completes
 *        the join; the end touches the G no more after that. */
#include "proc.h"
#include "timer.h"
#include <stdlib.h>
#include <string.h>

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

typedef struct Slab {
	struct Slab *next;
	uint32_t n, used; /* used: so many were ever handed out; published with release, GD-1 */
	_Alignas(CACHELINE) G g[];
} Slab;

enum { GFREE_LOCAL = 1024, GFREE_BATCH = 512, GSLAB_FIRST = 64 * 1024, GSLAB_MOST = 2 * 1024 * 1024,
	GSLAB_STEP = 32 * 1024 }; /* memory of a slab that is fetched at a time */

static Slab *slabs; /* published with release; guarded by sched.lock for writing */
static size_t slabbytes;
static char *slabfetched; /* of the newest slab: up to here its memory is there */

/* sched.lock is held. Huge pages would be faster to touch where the machine has them ready, and are up to forty times slower
 * where a hypervisor has to find their memory first; small ones by the handful are good everywhere. */
static bool slab_new(void)
{
	size_t size = slabbytes < GSLAB_MOST ? GSLAB_FIRST : GSLAB_MOST;
	if (gmp__os_inject_failure())
		return false;
	Slab *s = gmp__os_reserve(size, size);
	if (!s)
		return false;
	slabbytes += size;
	slabfetched = (char *)s;
	s->n = (uint32_t)((size - sizeof *s) / sizeof(G));
	s->next = slabs;
	store_release(&slabs, s);
	return true;
}

void gmp__g_foreach(void (*f)(G *, void *), void *arg)
{
	for (Slab *s = load_acquire(&slabs); s; s = s->next)
		for (uint32_t i = 0, n = load_acquire(&s->used); i < n; i++)
			f(&s->g[i], arg);
}

/* sched.lock is held. Up to `want` Gs to q. */
static uint32_t gfget_global(Queue *q, uint32_t want)
{
	uint32_t k = 0;
	for (; k < want; k++) {
		Link *l = queue_pop_head(&sched.gfree);
		if (l) {
			sched.ngfree--;
		} else {
			if (!slabs || slabs->used == slabs->n) {
				if ((k > 0 && want > 1) || !slab_new())
					break;
			}
			G *gp = &slabs->g[slabs->used];
			if ((char *)(gp + 1) > slabfetched) {
				gmp__os_populate(slabfetched, GSLAB_STEP);
				slabfetched += GSLAB_STEP;
			}
			gp->status = Gidle;
			gp->sg.g = (uintptr_t)gp;
			store_release(&slabs->used, slabs->used + 1);
			l = &gp->sg.link;
		}
		queue_push_tail(q, l);
	}
	return k;
}

G *gmp__gfget_slow(M *m)
{
	P *p = m->p;
	Queue q = {NULL, NULL};
	lock(&sched.lock);
	uint32_t k = gfget_global(&q, p ? 32 : 1);
	unlock(&sched.lock);
	if (!k)
		return NULL;
	G *gp = link2g(queue_pop_head(&q));
	if (p) {
		countn(&p->ngfree, k - 1);
		queue_append(&p->gfree, &q);
	}
	return gp;
}

void gmp__gfput_slow(P *p)
{
	lock(&sched.lock);
	for (uint32_t i = 0; i < GFREE_BATCH; i++)
		queue_push_tail(&sched.gfree, queue_pop_tail(&p->gfree));
	sched.ngfree += GFREE_BATCH;
	unlock(&sched.lock);
	countn(&p->ngfree, -(uint32_t)GFREE_BATCH);
}

static alwaysinline G *gfget(M *m, P *p)
{
	Link *l = queue_pop_head(&p->gfree);
	if (likely(l != NULL)) {
		countn(&p->ngfree, -1u);
		return link2g(l);
	}
	return gmp__gfget_slow(m);
}

static alwaysinline void gfput(P *p, G *gp)
{
	queue_push_head(&p->gfree, &gp->sg.link);
	count1(&p->ngfree);
	if (unlikely(p->ngfree > GFREE_LOCAL))
		gmp__gfput_slow(p);
}

/* Back to where Gs come from, by whoever the M is. */
static alwaysinline void gfput_any(M *m, G *gp)
{
	store_relaxed(&gp->flags, (uint16_t)0);
	gp->detached = 0;
	gp->joiner = NULL;
	if (m->p) {
		gfput(m->p, gp);
		return;
	}
	lock(&sched.lock);
	queue_push_head(&sched.gfree, &gp->sg.link);
	sched.ngfree++;
	unlock(&sched.lock);
}

GExt *gmp__gext(G *gp)
{
	if (!gp->ext)
		gp->ext = gmp__os_zalloc(sizeof *gp->ext);
	return gp->ext;
}

static void ext_free(G *gp)
{
	GExt *x = gp->ext;
	if (!x)
		return;
	gp->ext = NULL;
	free(x->args);
	free(x->keys);
	free(x);
}

uint64_t gmp__glive(void)
{
	uint64_t live = sched.nspawned - sched.nended;
	for (int i = 0; i < sched.nallp; i++)
		live += load_relaxed(&sched.allp[i]->nspawned) - load_relaxed(&sched.allp[i]->nended);
	return live;
}

/* ---- spawn ------------------------------------------------------------------------------------------------------- */

static alwaysinline void newid(P *p, G *gp)
{
	if (unlikely(p->nextid == p->idend)) {
		p->nextid = fetch_add_relaxed(&sched.idgen, 16u) + 1;
		p->idend = p->nextid + 16;
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

/* gp is complete. True: the spawner has run ahead (RA-1). */
static alwaysinline bool submit_new(M *m, P *p, G *gp)
{
	gstatus(gp, Gidle, Grunnable);
	count1(&p->nspawned);
	queue_push_tail(&p->fresh.q, &gp->sg.link);
	store_relaxed(&p->fresh.n, p->fresh.n + 1);
	bool ahead = p->fresh.n >= sched.runahead;
	if (unlikely(load_relaxed(&sched.hints)))
		gmp__wakep_hint(m, p);
	return ahead;
}

/* RA-1 When sched.runahead coroutines that never ran are queued on its P, a spawner queues as the second newest of them
 * and lets the newest run: a loop of spawns then needs memory for those that are alive at once, not for all, and that
 * memory is still in the caches. Not a yield, which would let all of them begin: wide trees would turn breadth-first. The
 * last thing that a spawn does: no lock is held, and the new one may have ended when it returns. */
static outofline void run_ahead(void)
{
	M *m = enter();
	P *p = m->p;
	G *gp = m->curg, *newest = runq_getnewest(&p->fresh);
	if (!newest) { /* stolen meanwhile */
		leave(m);
		return;
	}
	gstatus(gp, Grunning, Grunnable);
	runq_put(&p->fresh, gp);
	runq_put(&p->fresh, newest);
	(void)finish_sw(switch_away(m, p, gp, &m->dummy));
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

/* A coroutine without attributes, by a coroutine. *out (unless NULL) gets the handle. x and y: see gmp__newproc_with. */
static alwaysinline int spawn_now(M *m, G **out, gmp_fn *fn, void *arg, void *pc, void *x, void *y)
{
	if (unlikely(!fn))
		return -EINVAL;
	m = enter_m(m);
	if (unlikely(load_relaxed(&sched.hints) & HINT_ENDING)) { /* CA-3 */
		leave(m);
		return -ECANCELED;
	}
	P *p = m->p;
	G *gp = gfget(m, p);
	if (unlikely(!gp)) {
		leave(m);
		return -ENOMEM;
	}
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
	bool ahead = submit_new(m, p, gp);
	leave(m);
	if (unlikely(ahead))
		run_ahead();
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
	bool ahead = false;
	if (p) {
		newid(p, gp);
		ahead = submit_new(m, p, gp) && m->curg; /* not the first one, by g0 */
	} else if (!submit_foreign(gp)) {
		if (grp)
			gmp__group_remove(grp, gp);
		e = -ESRCH;
		goto fail;
	}
	leave(m);
	if (ahead)
		run_ahead();
	return 0;
nomem:
	e = -ENOMEM;
fail:
	if (gp) {
		if (gp->stack) {
#if TSAN_BUILD || ASAN_BUILD
			gmp__san_fiber_destroy(&gp->san);
#endif
			gmp__stack_free_slow(NULL, gp->stack);
			gp->stack = NULL;
		}
		ext_free(gp);
		gfput_any(m, gp);
	}
	leave(m);
	return e;
}

/* From inside the runtime (a timer): m holds a P. x: see gmp__newproc_with. False: the run ends, or there is no memory,
 * which is said on stderr. */
bool gmp__newproc_rt(M *m, gmp_fn *fn, void *arg, void *x)
{
	P *p = m->p;
	if (load_relaxed(&sched.hints) & HINT_ENDING)
		return false;
	G *gp = gfget(m, p);
	if (!gp) {
		gmp__warn("no memory for a timer's coroutine");
		return false;
	}
	gp->fn = fn;
	gp->sg.elem = arg;
	gp->spawnpc = (void *)fn;
	gp->waitobj = x;
	newid(p, gp);
	(void)submit_new(m, p, gp);
	return true;
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
			ext_free(gp);
		if (!finish_join(m, gp))
			return;
		store_relaxed(&gp->status, (uint8_t)Gidle);
	} else {
		ext_free(gp);
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
#if TSAN_BUILD || ASAN_BUILD
	gmp__san_fiber_destroy(&gp->san);
#endif
	stack_free(&p->stacks, s);
	g_gone(m, gp);
	count1(&p->nended);
}

/* A coroutine's function has returned. The context to go to; the caller (arch/<machine>.S) goes there. */
gmp__gobuf *gmp__goexit(void)
{
	G *gp = getm()->curg;
	if (unlikely(gp->ext != NULL))
		gmp__g_atexit(gp); /* destructors of keys, leaving the group: user code, may block */
	M *m = enter_m(getm());
	P *p = m->p;
	Stack *s = gp->stack;
	m->land.unlock = &m->dummy;
	if (unlikely((gp->flags & GF_VIAG0) || TSAN_BUILD || ASAN_BUILD || !stack_free_hot(&p->stacks, s))) { /* GD-3 */
		m->g0fn = goexit_m;
		m->g0arg = gp;
		m->g0land.unlock = &m->dummy;
#if TSAN_BUILD || ASAN_BUILD
		gmp__san_exit(&gp->san, &m->g0);
#endif
		return &m->g0;
	}
	gp->stack = NULL;
	if (likely(!(gp->flags & GF_JOINABLE) && !gp->ext)) {
		gstatus(gp, Grunning, Gidle);
		store_relaxed(&gp->flags, (uint16_t)0);
		gfput(p, gp);
	} else {
		g_gone(m, gp);
	}
	count1(&p->nended);
	if (likely(--p->ticks != 0)) {
		G *next = picknext(p);
		if (likely(next != NULL)) {
			if (likely(!(next->flags & GF_VIAG0) && (next->stack || bindstack(p, next)))) {
				execute_prep(m, p, next);
				return &next->ctx;
			}
			store_relaxed(&p->runnext, next);
		}
	}
	m->g0land.unlock = &m->dummy;
	store_relaxed(&m->curg, (G *)NULL);
	return &m->g0;
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

static gmp__sw join_now(M *m, G *g, int r)
{
	ounlock(&g->joinlock);
	if (r == 0) {
		store_relaxed(&g->status, (uint8_t)Gidle);
		gfput_any(m, g);
	}
	leave(m);
	return (gmp__sw){r, NULL};
}

gmp__sw gmp__join(gmp_g *g)
{
	if (unlikely(!g))
		return (gmp__sw){-EINVAL, NULL};
	M *m = enter();
	olock(&g->joinlock);
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
		if (g->joiner == gp) /* cancellation has cleared it, and another one may join by now */
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

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

static void abandon(G *gp, void *arg)
{
	(void)arg;
	uint8_t s = load_relaxed(&gp->status);
	if (s == Gidle || s == Gdead)
		return;
	if (gp->stack) {
#if TSAN_BUILD || ASAN_BUILD
		gmp__san_fiber_destroy(&gp->san);
#endif
		gmp__stack_free_slow(NULL, gp->stack);
		gp->stack = NULL;
	}
	if (gp->ext && gp->ext->group)
		gmp__group_abandon(gp);
	ext_free(gp);
	if ((gp->flags & GF_JOINABLE) && !gp->detached) { /* the handle is somebody's still */
		store_relaxed(&gp->status, (uint8_t)Gdead);
		gp->joiner = NULL;
		return;
	}
	store_relaxed(&gp->status, (uint8_t)Gidle);
	store_relaxed(&gp->flags, (uint16_t)0);
	gp->detached = 0;
	gp->joiner = NULL;
	queue_push_head(&sched.gfree, &gp->sg.link);
	sched.ngfree++;
}

/* No M is left. Gs that a deadlock left behind, and the Ps' free lists, go back to the global list. */
void gmp__g_end_run(void)
{
	lock(&sched.lock);
	for (int i = 0; i < sched.nallp; i++) {
		P *p = sched.allp[i];
		queue_append(&sched.gfree, &p->gfree);
		sched.ngfree += p->ngfree;
		p->ngfree = 0;
	}
	gmp__g_foreach(abandon, NULL);
	unlock(&sched.lock);
}
