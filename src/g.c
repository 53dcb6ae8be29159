/* SPDX-License-Identifier: MIT
 * g.c - descriptors of coroutines: where they come from, the rare rest of them, who lives, what a run leaves behind.
 *
 *   GD-1 Descriptors are type-stable: they come from slabs that are never returned, since dumps, late timers and sysmon
 *        look at them without a lock. */
#include "gfree.h"
#include <stdlib.h>

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

typedef struct Slab {
	struct Slab *next;
	uint32_t n, used; /* used: so many were ever handed out; published with release, GD-1 */
	_Alignas(CACHELINE) G g[];
} Slab;

enum { GSLAB_FIRST = 64 * 1024, GSLAB_MOST = 2 * 1024 * 1024,
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
