/* SPDX-License-Identifier: MIT
 * g.c - descriptors of coroutines: where they come from, the rare rest of them, who lives, what a run leaves behind.
 *
 *   GD-1 Descriptors are type-stable: they come from slabs that are never returned, since dumps, late timers and sysmon
 *        look at them without a lock.
 *   GD-4 Free ones are moved in batches, as arrays, and are not touched: where one P spawns what others end, each of them
 *        lies in another core's cache. A batch is full (sched.gfull) or empty (sched.gempty, or not used yet), but for one from
 *        which those without a P are served (sched.gopen). Each slab has as many as its Gs fill, so there is always one to be
 *        filled. */
#include "gfree.h"
#include <stdlib.h>
#include <string.h>

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

enum { GFREE_NEW = 32 }; /* a P gets so many at once that were never used */

typedef struct GBatch {
	struct GBatch *next;
	G *g[GFREE_BATCH];
} GBatch;

typedef struct Slab {
	struct Slab *next, *newer;
	uint32_t n, used; /* used: so many were ever handed out; published with release, GD-1 */
	uint32_t nbatch;  /* so many lie behind g[], untouched so far */
	_Alignas(CACHELINE) G g[];
} Slab;

enum { GSLAB_FIRST = 64 * 1024, GSLAB_MOST = 2 * 1024 * 1024,
	GSLAB_STEP = 32 * 1024 }; /* memory of a slab that is fetched at a time */

static Slab *slabs; /* published with release; guarded by sched.lock for writing */
static Slab *slabbatch; /* the oldest that has unused batches */
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
	size_t room = size - sizeof *s, each = GFREE_BATCH * sizeof(G) + sizeof(GBatch);
	s->nbatch = (uint32_t)((room + each - 1) / each);
	s->n = (uint32_t)((room - s->nbatch * sizeof(GBatch)) / sizeof(G));
	s->next = slabs;
	if (slabs)
		slabs->newer = s;
	if (!slabbatch)
		slabbatch = s;
	store_release(&slabs, s);
	return true;
}

void gmp__g_foreach(void (*f)(G *, void *), void *arg)
{
	for (Slab *s = load_acquire(&slabs); s; s = s->next)
		for (uint32_t i = 0, n = load_acquire(&s->used); i < n; i++)
			f(&s->g[i], arg);
}

/* sched.lock is held. NULL: none, in a forked child. */
static GBatch *batch_empty(void)
{
	GBatch *b = sched.gempty;
	if (b) {
		sched.gempty = b->next;
		return b;
	}
	while (slabbatch && !slabbatch->nbatch)
		slabbatch = slabbatch->newer;
	return slabbatch ? (GBatch *)(void *)&slabbatch->g[slabbatch->n] + --slabbatch->nbatch : NULL;
}

/* sched.lock is held. NULL: no memory. */
static G *g_new(void)
{
	if (!slabs || slabs->used == slabs->n) {
		if (!slab_new())
			return NULL;
	}
	G *gp = &slabs->g[slabs->used];
	if ((char *)(gp + 1) > slabfetched) {
		size_t left = (size_t)((char *)&slabs->g[slabs->n] - slabfetched);
		gmp__os_populate(slabfetched, left < GSLAB_STEP ? left : GSLAB_STEP);
		slabfetched += GSLAB_STEP;
	}
	gp->status = Gidle;
	gp->sg.g = (uintptr_t)gp;
	store_release(&slabs->used, slabs->used + 1);
	return gp;
}

/* sched.lock is held. */
static void gfree_put(G *const *g, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		queue_push_head(&sched.gfree, &g[i]->sg.link);
}

/* sched.lock is held; b was full. */
static void batch_used(GBatch *b)
{
	b->next = sched.gempty;
	sched.gempty = b;
}

/* sched.lock is held. For who has no P. NULL: there are none but new ones. */
static G *gfree_get(void)
{
	GBatch *b = sched.gopen;
	if (!queue_empty(&sched.gfree) || (!b && !sched.gfull))
		return link2g(queue_pop_head(&sched.gfree));
	if (!b) {
		b = sched.gopen = sched.gfull;
		sched.ngopen = GFREE_BATCH;
		sched.gfull = b->next;
	}
	G *gp = b->g[--sched.ngopen];
	if (sched.ngopen == 0) {
		sched.gopen = NULL;
		batch_used(b);
	}
	return gp;
}

/* p has none. */
static void gfree_refill(P *p)
{
	uint32_t k = 0;
	lock(&sched.lock);
	GBatch *b = sched.gfull;
	if (b) {
		sched.gfull = b->next;
		memcpy(p->gfree, b->g, sizeof b->g);
		batch_used(b);
		k = GFREE_BATCH;
	} else {
		G *gp[GFREE_NEW];
		while (k < GFREE_NEW && ((gp[k] = link2g(queue_pop_head(&sched.gfree))) || (gp[k] = g_new())))
			k++;
		for (uint32_t i = 0; i < k; i++) /* the first one is taken first */
			p->gfree[i] = gp[k - 1 - i];
	}
	unlock(&sched.lock);
	store_relaxed(&p->ngfree, k);
	if (k == GFREE_BATCH) /* all at once: one after the other would take a miss each */
		for (uint32_t i = k; i-- > 0;)
			for (size_t at = 0; at < sizeof(G); at += CACHELINE)
				__builtin_prefetch((char *)p->gfree[i] + at, 1);
}

G *gmp__gfget_slow(M *m)
{
	P *p = m->p;
	if (p) {
		gfree_refill(p);
		return gfget_local(p);
	}
	lock(&sched.lock);
	G *gp = gfree_get();
	if (!gp)
		gp = g_new();
	unlock(&sched.lock);
	return gp;
}

/* Those that lay there for longest go. */
void gmp__gfput_slow(P *p)
{
	lock(&sched.lock);
	GBatch *b = batch_empty();
	if (b) {
		memcpy(b->g, p->gfree, sizeof b->g);
		b->next = sched.gfull;
		sched.gfull = b;
	} else {
		gfree_put(p->gfree, GFREE_BATCH);
	}
	unlock(&sched.lock);
	uint32_t n = p->ngfree - GFREE_BATCH;
	for (uint32_t i = 0; i < n; i++)
		p->gfree[i] = p->gfree[i + GFREE_BATCH];
	store_relaxed(&p->ngfree, n);
}

GExt *gmp__gext(G *gp)
{
	if (!gp->ext)
		gp->ext = gmp__os_zalloc(sizeof *gp->ext);
	return gp->ext;
}

/* Of a G that will not run, or run on; nobody stands on it. */
void gmp__g_drop_stack(G *gp)
{
	if (!gp->stack)
		return;
#if SAN_BUILD
	gmp__san_fiber_destroy(&gp->san);
#endif
	gmp__stack_free_slow(NULL, gp->stack);
	gp->stack = NULL;
}

void gmp__gext_free(G *gp)
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

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

static void abandon(G *gp, void *arg)
{
	(void)arg;
	uint8_t s = load_relaxed(&gp->status);
	if (s == Gidle || s == Gdead)
		return;
	gmp__g_drop_stack(gp);
	if (gp->ext && gp->ext->group)
		gmp__group_abandon(gp);
	gmp__gext_free(gp);
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
}

/* No M is left. Gs that a deadlock left behind, and the Ps' free lists, go back to the global list. */
void gmp__g_end_run(void)
{
	lock(&sched.lock);
	for (int i = 0; i < sched.nallp; i++) {
		P *p = sched.allp[i];
		gfree_put(p->gfree, p->ngfree);
		store_relaxed(&p->ngfree, 0u);
	}
	gmp__g_foreach(abandon, NULL);
	unlock(&sched.lock);
}
