/* SPDX-License-Identifier: MIT
 * p.c - who owns a P: the biased lock, revocation, stopping the world, the list of idle Ps, procresize.
 *
 * A P is biased towards the M that holds it. The owner enters the runtime by a plain store and a plain load; a foreigner
 * (thief, sysmon, stopworld) pays for both with membarrier(2).
 *
 *   owner                                foreigner
 *   [1] inrt = 1                         [a] take p->lock; m = p->m
 *   [2] (compiler barrier)               [b] m->revoke += REVOKE (a count)
 *   [3] if (revoke) back out, wait       [c] membarrier: [1] and [3] of the owner are ordered as by a fence
 *   [4] use the P                        [d] if (m->inrt == 0): the P is stopped. Else wait a while, or give up
 *   [5] inrt = 0 (release)               [e] use the P, or take it: p->m = NULL, m->revoke |= LOST
 *                                        [f] m->revoke -= REVOKE (release); free p->lock
 *
 *   PO-1 While inrt is 1 and the owner has passed [3], it alone touches the P: its queues, caches and counters are plain
 *        data. Forbidden outcome: owner in [4] and foreigner in [e]. After [c] either the owner's inrt = 1 is visible
 *        at [d], or its load [3] comes later than [b] and sees REVOKE.
 *   PO-2 One foreigner at a time: p->lock. Thieves only try it, so they do not queue up.
 *   PO-3 p->m changes by its owner inside the runtime (releasep), by a foreigner who stopped it ([e]), or from NULL by
 *        whoever took the P off the idle list (acquirep), always under sched.lock or with the P stopped.
 *   PO-4 A foreigner that gives up at [d] leaves everything as it was. Only stopworld waits without limit: an owner
 *        leaves the runtime, or passes gmp__safepoint, within a bounded number of instructions.
 *   PO-5 LOST is set before REVOKE is cleared; so the former owner, on its way in, finds one of the two. It clears LOST
 *        itself, with a P in hand.
 *   PO-6 An M without a P has inrt == 1 outside of user code: asleep, on its way into sleep or out of it, and while it
 *        looks for a P (reacquire). So nothing can be taken from it between being handed a P and using it, and a foreigner
 *        who asks it for the P that it had before does not take it for stopped.
 *   PO-7 Those who act without a P (foreign threads, cancellation, sysmon) are serialised by sched.foreign.
 *   PO-8 While sched.stw is set no M is given a P: a P is on the idle list, in transit to it (counted in ntransit), or
 *        has the owner that it had. stopworld returns when none is in transit and every owner is stopped.
 *   PO-9 A P is taken from coroutines only: an M on g0 (curg NULL) may be stopped at gmp__safepoint, but keeps its P.
 *
 * Checked by exhaustive interleaving, each invariant with a mutation that is caught: tests/model_pown.c. */
#include "proc.h"
#include <stdlib.h>
#include <string.h>

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

static void wait_revoked(M *m)
{
	for (uint32_t i = 0; load_acquire(&m->revoke) & (uint32_t)RV_REVOKE; i++) {
		if (i < 100)
			cpu_pause();
		else
			gmp__os_osyield();
	}
}

/* On g0: the M has lost its P and gp wants one. */
static void reacquire_g0(M *m, G *gp)
{
	(void)m;
	gstatus(gp, load_relaxed(&gp->status), Grunnable);
	lock(&sched.lock);
	gmp__globrunqput(gp); /* if gp is locked to m: whoever finds it hands its P to m */
	unlock(&sched.lock);
	gmp__wakep();
}

/* The P is gone: find one, or queue. Returns on whichever M runs the caller then. */
static M *reacquire(M *m)
{
	G *gp = m->curg;
	lock(&sched.lock);
	P *p = NULL;
	if (!sched.stw) {
		if (m->oldp && load_relaxed(&m->oldp->status) == Pidle && m->oldp->id < sched.procs) {
			for (P **pp = &sched.pidle; *pp; pp = &(*pp)->link)
				if (*pp == m->oldp) {
					p = *pp;
					*pp = p->link;
					store_release(&sched.ntransit, sched.ntransit + 1);
					store_seqcst(&sched.npidle, sched.npidle - 1);
					if (sched.npidle == 0)
						(void)fetch_and_seqcst(&sched.hints, ~(uint32_t)HINT_IDLE);
					gmp__sysmon_wake(); /* SM-2 */
					break;
				}
		}
		if (!p)
			p = gmp__pidleget();
	}
	if (p) {
		gmp__acquirep(m, p);
		unlock(&sched.lock);
		(void)fetch_and_seqcst(&m->revoke, ~(uint32_t)RV_LOST);
		if (gp)
			store_relaxed(&gp->status, (uint8_t)Grunning);
		return m;
	}
	unlock(&sched.lock);
	(void)fetch_and_seqcst(&m->revoke, ~(uint32_t)RV_LOST);
	m->p = NULL;
	(void)mcall(m, reacquire_g0);
	return getm();
}

/* [3] found something. Returns inside the runtime with a P, perhaps on another M. */
coldfn M *gmp__enter_slow(M *m)
{
	for (;;) {
		if (m->insyscall)
			gmp__misuse("runtime call between gmp_blocking_enter and gmp_blocking_leave");
		(void)xchg_seqcst(&m->land.inrt, 1u);
		uint32_t r = load_seqcst(&m->revoke);
		if (r & (uint32_t)RV_REVOKE) {
			store_release(&m->land.inrt, 0u);
			wait_revoked(m);
			continue;
		}
		if (r & RV_LOST && m->longslice) {
			m->longslice = 0;
			(void)gmp__os_thread_slice(m->tid, M_SLICE_NS);
		}
		if (r & RV_LOST) { /* inrt stays 1 (PO-6): a foreigner who comes late must not take m for stopped */
			m = reacquire(m);
			continue;
		}
		if (r & RV_ATTN) {
			(void)fetch_and_seqcst(&m->revoke, ~(uint32_t)RV_ATTN);
			m->p->ticks = 1;
		}
		if (intrudes(m) && !gmp__solo_intrude(m))
			continue;
		return m;
	}
}

/* On g0 with a P: let a foreigner pass. */
void gmp__safepoint(M *m)
{
	while (unlikely(load_acquire(&m->revoke) & (uint32_t)RV_REVOKE)) {
		store_release(&m->land.inrt, 0u);
		wait_revoked(m);
		(void)xchg_seqcst(&m->land.inrt, 1u);
		if (load_seqcst(&m->revoke) & RV_LOST)
			gmp__throw("m%d: P taken from g0", m->id); /* PO-9 */
	}
}

/* ---- the foreigner's side ---------------------------------------------------------------------------------------- */

static const int64_t YIELD_AFTER_NS = 5 * 1000, NAP_AFTER_NS = 100 * 1000, NAP_NS = 20 * 1000;

/* False: in vain, or m has let go of p (and sleeps perhaps, PO-6), or somebody wants self's own P. */
static bool revoke_wait(const P *p, const M *m, const M *self, int64_t patience)
{
	if (load_acquire(&m->land.inrt) == 0)
		return true;
	if (patience <= 0)
		return false;
	int64_t begun = gmp__os_now(), end = add_sat_i64(begun, patience);
	for (;;) {
		for (int i = 0; i < 32; i++) {
			if (load_acquire(&m->land.inrt) == 0)
				return true;
			cpu_pause();
		}
		int64_t now = gmp__os_now();
		if (now >= end || load_acquire(&p->m) != m || (self && load_relaxed(&self->revoke) & (uint32_t)RV_REVOKE))
			return false;
		if (now - begun > NAP_AFTER_NS) /* yielding gets nowhere if it has a lower priority */
			gmp__os_usleep(NAP_NS);
		else if (now - begun > YIELD_AFTER_NS) /* it has no CPU; perhaps ours */
			gmp__os_osyield();
	}
}

/* Stops P for the caller, who holds no other P's lock and is self, or no M (NULL). Only a P with an owner in user code can be
 * stopped. */
bool gmp__revoke(P *p, const M *self, int64_t patience)
{
	if (!trylock(&p->lock))
		return false;
	M *m = load_acquire(&p->m);
	if (m) {
		(void)fetch_add_seqcst(&m->revoke, (uint32_t)RV_ONE);
		if (!(load_relaxed(&sched.hints) & HINT_FENCE))
			gmp__barrier();
		/* PO-3: the owner may have released P and gone while it was asked. */
		if (revoke_wait(p, m, self, patience) && load_acquire(&p->m) == m)
			return true;
		(void)fetch_add_seqcst(&m->revoke, -(uint32_t)RV_ONE);
	}
	unlock(&p->lock);
	return false;
}

void gmp__unrevoke(P *p)
{
	M *m = p->m;
	if (m)
		(void)fetch_add_seqcst(&m->revoke, -(uint32_t)RV_ONE);
	unlock(&p->lock);
}

static M *stopped[MAXPROCS]; /* owner that stopworld stopped, of each P; guarded by sched.foreign */

/* The caller is in no P's runtime. Afterwards nobody is, until gmp__startworld. sched.foreign is held in between. */
void gmp__stopworld(void)
{
	lock(&sched.lock);
	sched.stw = 1;
	unlock(&sched.lock);
	int n = load_relaxed(&sched.nallp);
	for (int i = 0; i < n; i++) {
		P *p = sched.allp[i];
		lock(&p->lock);
		M *m = load_acquire(&p->m);
		stopped[i] = m;
		if (m)
			(void)fetch_add_seqcst(&m->revoke, (uint32_t)RV_ONE);
	}
	if (!(load_relaxed(&sched.hints) & HINT_FENCE))
		gmp__barrier();
	for (int i = 0; i < n; i++) {
		P *p = sched.allp[i];
		M *m = stopped[i];
		if (!m)
			continue;
		uint32_t spins = 0;
		while (load_acquire(&m->land.inrt) != 0 && load_acquire(&p->m) == m) {
			if (++spins < 200)
				cpu_pause();
			else
				gmp__os_osyield();
		}
		if (load_acquire(&p->m) != m) { /* it let go of the P by itself, and sleeps or will */
			(void)fetch_add_seqcst(&m->revoke, -(uint32_t)RV_ONE);
			stopped[i] = NULL;
		}
	}
	while (load_acquire(&sched.ntransit)) /* soon on the idle list: startm wires nothing now */
		gmp__os_osyield();
}

void gmp__startworld(void)
{
	int n = load_relaxed(&sched.nallp);
	for (int i = 0; i < n; i++) {
		if (stopped[i])
			(void)fetch_add_seqcst(&stopped[i]->revoke, -(uint32_t)RV_ONE);
		stopped[i] = NULL;
		unlock(&sched.allp[i]->lock);
	}
	/* Only now may idle Ps get owners: nobody counted those (PO-8). */
	lock(&sched.lock);
	sched.stw = 0;
	/* A poller that came back meanwhile found no P and has gone to sleep: timers, the network (TM-6). */
	bool watch = !load_seqcst(&sched.polling) && (load_seqcst(&sched.waitersnet) || gmp__timers_min() != INT64_MAX);
	bool work = sched.npidle > 0 && (sched.runq.n > 0 || watch);
	unlock(&sched.lock);
	if (work)
		gmp__wakep();
}

/* ---- wiring and the idle list ------------------------------------------------------------------------------------ */

void gmp__acquirep(M *m, P *p)
{
	if (p->m || p->status != Pidle || sched.stw)
		gmp__throw("acquirep: p%d has m%d, status %u", p->id, p->m ? p->m->id : -1, p->status);
	store_relaxed(&p->status, (uint32_t)Prunning);
	count1(&p->wirings);
	if (p->ticks == 0) /* left on the way to g0 (stoplockedm); the new owner may not come from there: TK-1 */
		p->ticks = 1;
	store_release(&sched.ntransit, sched.ntransit - 1);
	store_relaxed(&m->shared, (uint8_t)1); /* SOLO-5 */
	m->oldp = p;
	store_release(&m->p, p);
	store_release(&p->m, m);
}

P *gmp__releasep(M *m)
{
	P *p = m->p;
	if (!p || p->m != m || p->status != Prunning)
		gmp__throw("releasep: m%d", m->id);
	store_relaxed(&p->status, (uint32_t)Pidle);
	store_release(&sched.ntransit, sched.ntransit + 1);
	m->p = NULL;
	store_release(&p->m, (M *)NULL);
	gmp__solo_release(p);
	return p;
}

static bool p_empty(P *p)
{
	return !load_relaxed(&p->runnext) && load_relaxed(&p->runq.n) == 0 && load_relaxed(&p->fresh.n) == 0;
}

void gmp__pidleput(P *p)
{
	if (!p_empty(p))
		gmp__throw("pidleput: p%d has work", p->id);
	store_relaxed(&p->windowat, (int64_t)0);
	store_release(&sched.ntransit, sched.ntransit - 1);
	if (p->id >= sched.procs) { /* procresize has shrunk: this P is no more, its timers are still served */
		store_relaxed(&p->status, (uint32_t)Pdead);
		return;
	}
	p->link = sched.pidle;
	sched.pidle = p;
	store_release(&sched.npidle, sched.npidle + 1);
	if (sched.npidle == 1)
		(void)fetch_or_seqcst(&sched.hints, HINT_IDLE);
}

P *gmp__pidleget(void)
{
	P *p = sched.pidle;
	if (!p || sched.stw)
		return NULL;
	sched.pidle = p->link;
	store_release(&sched.ntransit, sched.ntransit + 1);
	store_seqcst(&sched.npidle, sched.npidle - 1); /* SM-2: before sysmonsleep is read */
	if (sched.npidle == 0)
		(void)fetch_and_seqcst(&sched.hints, ~(uint32_t)HINT_IDLE);
	gmp__sysmon_wake();
	return p;
}

/* ---- number of Ps ------------------------------------------------------------------------------------------------ */

static P *p_new(int id)
{
	P *p = gmp__os_zalloc_apart(sizeof *p);
	if (!p)
		return NULL;
	p->id = id;
	store_relaxed(&p->status, (uint32_t)Pdead);
	p->timers.minwhen = INT64_MAX;
	p->rand = gmp__p_seed(id);
	return p;
}

static void p_begin(P *p)
{
	p->ticks = sched.ticksinit;
	store_relaxed(&p->quiet, 0u);
	store_relaxed(&p->quietfor, (int64_t)0);
	p->stolen = 0;
	store_relaxed(&p->stolenfrom, (P *)NULL);
	store_relaxed(&p->windowat, (int64_t)0);
	store_relaxed(&p->togetheruntil, (int64_t)0);
	store_relaxed(&p->calledat, UINT64_MAX);
	p->batchat = p->batchtook = p->lookedat = p->aloneat = 0;
	p->stealpause = p->stealafter = p->lockpause = p->lockafter = 0;
	p->slicestart = p->freshsince = gmp__os_now();
	store_relaxed(&p->status, (uint32_t)Pidle);
	store_release(&sched.ntransit, sched.ntransit + 1);
	gmp__pidleput(p);
}

/* Makes n Ps. At the start of a run: no M owns one. Later: the world is stopped, sched.foreign is held. -ENOMEM: nothing
 * has changed. A P too many keeps its M until that M comes by (on g0, findrunnable), its Gs go to the global queue here. */
int gmp__procresize(int n)
{
	for (int i = sched.nallp; i < n; i++) {
		P *p = p_new(i);
		if (!p)
			return -ENOMEM;
		sched.allp[i] = p;
		if (gmp__sched.state == ST_UP)
			lock(&p->lock); /* as the other Ps, since the world is stopped */
		store_release(&sched.nallp, i + 1);
	}
	lock(&sched.lock);
	int old = sched.procs;
	store_relaxed(&sched.procs, n);
	store_relaxed(&sched.multi, (uint8_t)(n > 1));
	gmp__solo_clear();
	for (int i = n; i < old; i++) {
		P *p = sched.allp[i];
		G *gp;
		while ((gp = picknext(p)))
			gmp__globrunqput(gp);
	}
	/* The idle list anew: without the Ps that are gone, with those that came. */
	sched.pidle = NULL;
	store_relaxed(&sched.npidle, 0u);
	(void)fetch_and_seqcst(&sched.hints, ~(uint32_t)HINT_IDLE);
	for (int i = (old > n ? old : n) - 1; i >= 0; i--) {
		P *p = sched.allp[i];
		if (p->m)
			continue;
		p_begin(p);
	}
	unlock(&sched.lock);
	return 0;
}

int gmp_procs(void) { return load_relaxed(&sched.state) == ST_UP ? load_relaxed(&sched.procs) : 0; }

int gmp_set_procs(int n)
{
	if (n < 1 || n > MAXPROCS)
		return -EINVAL;
	M *m = gmp__foreign_enter();
	if (sched.state != ST_UP) {
		int e = sched.state == ST_FORKED ? -ENOTSUP : -ESRCH;
		gmp__foreign_leave(m);
		return e;
	}
	int old = sched.procs;
	int r = old;
	if (n != old) {
		gmp__stopworld();
		int e = gmp__procresize(n);
		gmp__startworld();
		if (e)
			r = e;
	}
	for (int i = old; r >= 0 && i < n; i++)
		gmp__wakep();
	gmp__foreign_leave(m);
	return r;
}
