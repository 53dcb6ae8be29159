/* SPDX-License-Identifier: MIT
 * gfree.h - descriptors that are free: taken by spawn.c, given back by join.c. The lists: g.c. */
#ifndef GMP_GFREE_H
#define GMP_GFREE_H

#include "proc.h"

G *gmp__gfget_slow(M *m);
void gmp__gfput_slow(P *p);
void gmp__gext_free(G *gp);
void gmp__g_drop_stack(G *gp);

static alwaysinline G *gfget_local(P *p)
{
	uint32_t n = p->ngfree;
	if (unlikely(n == 0))
		return NULL;
	store_relaxed(&p->ngfree, n - 1);
	return p->gfree[n - 1];
}

static alwaysinline G *gfget(M *m, P *p)
{
	G *gp = gfget_local(p);
	return likely(gp != NULL) ? gp : gmp__gfget_slow(m);
}

static alwaysinline void gfput_local(P *p, G *gp)
{
	p->gfree[p->ngfree] = gp;
	count1(&p->ngfree);
}

static alwaysinline void gfput(P *p, G *gp)
{
	gfput_local(p, gp);
	if (unlikely(p->ngfree > GFREE_LOCAL))
		gmp__gfput_slow(p);
}

/* Back to where Gs come from, by whoever the M is. It has no joiner: whoever was that in vain may still look (JN-1). */
static alwaysinline void gfput_any(M *m, G *gp)
{
	store_relaxed(&gp->flags, (uint16_t)0);
	gp->detached = 0;
	if (m->p) {
		gfput(m->p, gp);
		return;
	}
	lock(&sched.lock);
	queue_push_head(&sched.gfree, &gp->sg.link);
	unlock(&sched.lock);
}

#endif
