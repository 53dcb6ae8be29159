/* SPDX-License-Identifier: MIT
 * stats.c - gmp_stats_read: sums of counters that each have one writer; gmp_stack_used. */
#include "proc.h"
#include <string.h>

static void count_g(G *gp, void *arg)
{
	gmp_stats *s = arg;
	switch (load_relaxed(&gp->status)) {
	case Grunnable:
		s->gs_runnable++;
		break;
	case Grunning:
	case Gsyscall:
		s->gs_running++;
		break;
	case Gwaiting:
		s->gs_waiting++;
		break;
	}
}

void gmp_stats_read(gmp_stats *out)
{
	memset(out, 0, sizeof *out);
	gmp__g_foreach(count_g, out);
	out->gs = out->gs_runnable + out->gs_running + out->gs_waiting;
	out->ms = load_relaxed(&sched.mcount);
	out->ms_idle = load_relaxed(&sched.nmidle);
	out->ps = (uint64_t)load_relaxed(&sched.procs);
	out->spawned = load_relaxed(&sched.nspawned);
	out->ended = load_relaxed(&sched.nended);
	out->readies = load_relaxed(&sched.nforeignreadies);
	gmp__stack_stats(&out->stacks, &out->stacks_idle, &out->stack_bytes);
	int n = load_acquire(&sched.nallp);
	for (int i = 0; i < n; i++) {
		P *p = sched.allp[i];
		out->spawned += load_relaxed(&p->nspawned);
		out->ended += load_relaxed(&p->nended);
		out->switches += load_relaxed(&p->schedtick);
		out->parks += load_relaxed(&p->nparks);
		out->readies += load_relaxed(&p->nreadies);
		out->steals += load_relaxed(&p->nsteals);
		out->timers += load_relaxed(&p->timers.n);
		out->stacks_idle += load_relaxed(&p->stacks.n);
	}
	out->stacks -= out->stacks_idle;
	out->handoffs = load_relaxed(&sched.nhandoffs);
	out->barriers = load_relaxed(&sched.nbarriers);
	out->wakes = load_relaxed(&sched.nwakes);
	out->polls = load_relaxed(&sched.npolls);
}

size_t gmp_stack_used(gmp_g *g)
{
	if (!g)
		return 0;
	M *m = gmp__foreign_enter();
	bool up = load_relaxed(&sched.state) == ST_UP;
	if (up)
		gmp__stopworld(); /* the stack neither goes nor comes */
	size_t n = g->stack ? gmp__stack_used(g->stack) : 0;
	if (up)
		gmp__startworld();
	gmp__foreign_leave(m);
	return n;
}
