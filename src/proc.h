/* SPDX-License-Identifier: MIT
 * proc.h - the hot half of the scheduler, inline: entering and leaving the runtime, run queues, park and ready.
 *
 * Parking. A blocking operation queues its G where the waker will look, under the object's lock, and then asks for the
 * context to switch to (park_sw); the object's lock is released by the landing, on the other side of the switch.
 *   PK-1 A G is taken from a wait queue under the object's lock only, and the parker holds that lock until its registers
 *        are saved. So nobody resumes a G that is still on its stack, and nobody waits for it either. The next
 *        context is picked without a system call: a stack that takes one is got by g0, after its landing.
 *   PK-2 Each park has exactly one ready. Who takes a plain Sudog off its queue owes the ready. A contested wait
 *        (deadline, select) belongs to whoever wins claim(); the losers leave the G alone.
 *   PK-3 Who won a claim without holding the lock byte that the landing clears passes through that once before ready, and
 *        so is behind the commit of the park (PK-1): a timer takes waitlock, the waker of a select or of a wait for the
 *        network waits until its parklock is clear (a few instructions of the parker, who waits for nobody in between).
 *   PK-4 The waker writes ctx.ret and everything else before ready, and touches neither Sudog nor object afterwards.
 *   PK-5 Cancellation acts while the world is stopped (p.c), when no claim and no queue operation is half done.
 *   PK-6 claim's sequence moves with every contested wait, so a late timer never hits a later wait of the same G. */
#ifndef GMP_PROC_H
#define GMP_PROC_H

#include "runtime.h"
#include "sanitize.h"
#include "tls.h"

/* ---- entering and leaving ---------------------------------------------------------------------------------------- */

/* PO-1. The load is an acquire: what a foreigner did to the P before it cleared `revoke` is seen. False: half in, which
 * enter does not mind. ThreadSanitizer, whose builds know no membarrier, is to see what follows all the same. */
static alwaysinline bool tryenter(M *m)
{
#if TSAN_BUILD
	(void)xchg_seqcst(&m->land.inrt, 1u);
	return !(load_seqcst(&m->revoke) & ~(uint32_t)RV_FENCE);
#else
	store_relaxed(&m->land.inrt, 1u);
	compiler_barrier();
	return likely(!load_acquire(&m->revoke));
#endif
}

static alwaysinline M *enter_m(M *m) { return likely(tryenter(m)) ? m : gmp__enter_slow(m); }

/* Into the runtime; the M to work with. A foreign thread gets the foreigners' M, one at a time. */
static alwaysinline M *enter(void)
{
	M *m = getm();
	if (unlikely(!m))
		return gmp__foreign_enter();
	return enter_m(m);
}

static alwaysinline void leave(M *m)
{
	if (unlikely(m->foreign)) {
		gmp__foreign_leave(m);
		return;
	}
	store_release(&m->land.inrt, 0u);
}

/* Is m, with a P, one too many to run something now (SOLO-3)? */
static alwaysinline bool intrudes(const M *m)
{
	return unlikely(load_acquire(&sched.solo)) && unlikely(m->p != load_relaxed(&sched.solop));
}

/* Object locks. Where one P does all the work, being in the runtime is lock enough (SOLO-1). */
static alwaysinline void olock(uint8_t *b)
{
	if (!load_relaxed(&sched.solo) && unlikely(test_and_set_acquire(b)))
		gmp__olock_slow(b);
}
static alwaysinline bool otrylock(uint8_t *b) { return load_relaxed(&sched.solo) || likely(!test_and_set_acquire(b)); }
static alwaysinline void ounlock(uint8_t *b) { unlockbyte(b); }

/* ---- state ------------------------------------------------------------------------------------------------------- */

void gmp__badstatus(G *gp, int from, int to) __attribute__((noreturn, cold));

/* The only writer of a G's state. The writer is whoever the state says owns the G. */
static alwaysinline void gstatus(G *gp, uint8_t from, uint8_t to)
{
	if (unlikely(load_relaxed(&gp->status) != from))
		gmp__badstatus(gp, from, to);
	store_relaxed(&gp->status, to);
}

/* ---- run queues -------------------------------------------------------------------------------------------------- */

static inline void runq_put(RunQ *r, G *gp)
{
	queue_push_tail(&r->q, &gp->sg.link);
	store_relaxed(&r->n, r->n + 1);
}
static inline G *runq_get(RunQ *r)
{
	Link *l = queue_pop_head(&r->q);
	if (l)
		store_relaxed(&r->n, r->n - 1);
	return link2g(l);
}
/* The newest: of the fresh queue. */
static inline G *runq_getnewest(RunQ *r)
{
	Link *l = queue_pop_tail(&r->q);
	if (l)
		store_relaxed(&r->n, r->n - 1);
	return link2g(l);
}
static inline void runq_append(RunQ *dst, RunQ *src)
{
	store_relaxed(&dst->n, dst->n + src->n);
	queue_append(&dst->q, &src->q);
	store_relaxed(&src->n, 0u);
}

/* Next G of this P: the one readied last, then whoever waits longest, then the newest that never ran. */
static alwaysinline G *picknext(P *p)
{
	G *gp = p->runnext;
	if (gp) {
		store_relaxed(&p->runnext, (G *)NULL);
		return gp;
	}
	if (p->runq.q.head)
		return runq_get(&p->runq);
	if (p->fresh.q.head) {
		p->ranfresh = true;
		return runq_getnewest(&p->fresh);
	}
	return NULL;
}

/* ---- switching --------------------------------------------------------------------------------------------------- */

/* gp has just got its stack. */
static inline void bindg(G *gp)
{
	gp->ctx.pc = (void *)gmp__gostart;
	gp->ctx.sp = stack_sp(gp->stack);
	gp->ctx.bp = NULL;
	gp->ctx.ret = (intptr_t)gp;
#if SAN_BUILD
	gmp__san_fiber_new(&gp->san, gmp__stack_lo(gp->stack), gmp__stack_hi(gp->stack));
	gp->sanfn = gp->fn;
	gp->sanarg = gp->sg.elem;
	gp->fn = gmp__san_main;
	gp->sg.elem = gp;
#endif
}

static inline bool bindstack(P *p, G *gp)
{
	Stack *s;
	if (likely(!gp->ext || !gp->ext->stack_size))
		s = stack_alloc(&p->stacks);
	else
		s = gmp__stack_alloc_slow(&p->stacks, gp->ext->stack_size);
	if (unlikely(!s))
		return false;
	gp->stack = s;
	bindg(gp);
	return true;
}

/* False: it takes bindstack, which may carve and ask the system for guards: not for who holds an object's lock. */
static inline bool bindstack_cached(P *p, G *gp)
{
	if (unlikely(p->stacks.n == 0) || unlikely(gp->ext && gp->ext->stack_size))
		return false;
	gp->stack = stack_alloc_hot(&p->stacks);
	bindg(gp);
	return true;
}

/* The bookkeeping of running gp on m, by whoever then switches. */
static alwaysinline void execute_prep(M *m, P *p, G *gp)
{
	gstatus(gp, Grunnable, Grunning);
#if SAN_BUILD
	store_relaxed(&gp->ctx.m, (void *)&m->sanland); /* read by schedtrace; gmp__switch_c does the landing's work where the sanitizers see it */
#else
	store_relaxed(&gp->ctx.m, (void *)m);
#endif
	store_relaxed(&m->curg, gp);
	count1(&p->schedtick);
}

/* switch.c: the long ways of switch_away. They are ends, not detours, so that a function that switches needs no frame. */
gmp__sw gmp__switch_g0(M *m, G *gp, uint8_t *unlock);
gmp__sw gmp__switch_slow(M *m, G *gp, uint8_t *unlock, G *next);

/* Away from gp, which is recorded elsewhere already. `unlock` is cleared after gp's registers are saved. */
static alwaysinline gmp__sw switch_away(M *m, P *p, G *gp, uint8_t *unlock)
{
	if (likely(--p->ticks != 0 && !(gp->flags & GF_VIAG0))) {
		G *next = picknext(p);
		if (likely(next != NULL)) {
			if (unlikely((next->flags & GF_VIAG0) || !next->stack))
				return gmp__switch_slow(m, gp, unlock, next);
			execute_prep(m, p, next);
			m->land.unlock = unlock;
			return (gmp__sw){(intptr_t)&gp->ctx, &next->ctx};
		}
	}
	return gmp__switch_g0(m, gp, unlock);
}

/* Finish a gmp__sw from inside the library. */
static inline intptr_t finish_sw(gmp__sw s) { return s.to ? gmp__switch_c((gmp__gobuf *)s.r, s.to) : s.r; }

/* A switch by way of g0 counts as one, too: what is looked at every so many (ticks) is not put off by them. */
static alwaysinline void tick_g0(P *p)
{
	if (p->ticks)
		p->ticks--;
}

/* Continue on g0 with fn(m, gp) once gp's registers are saved; returns when gp runs again, maybe on another M, out of
 * the runtime. gp is not on any queue: fn puts it where it belongs. */
static inline intptr_t mcall(M *m, void (*fn)(M *, G *))
{
	G *gp = m->curg;
	if (m->p)
		tick_g0(m->p);
	m->g0fn = fn;
	m->g0arg = gp;
	return finish_sw(gmp__switch_g0(m, gp, &m->land.dummy));
}

/* ---- park and ready ---------------------------------------------------------------------------------------------- */

gmp__sw gmp__park_foreign(M *m, G *gp, uint8_t *unlock);

/* Parks the calling coroutine m->curg. q: where its Sudog was queued (or NULL), lck: the lock byte that is held. The
 * result is what ready's caller left in ctx.ret. */
static alwaysinline gmp__sw park_sw(M *m, G *gp, uint8_t reason, void *obj, Queue *q, uint8_t *lck)
{
	store_relaxed(&gp->waitreason, reason);
	gp->waitobj = obj;
	gp->waitq = q;
	store_relaxed(&gp->waitlock, lck);
	gp->since = load_relaxed(&sched.coarse_ms);
	gstatus(gp, Grunning, Gwaiting);
	if (unlikely(m->foreign))
		return gmp__park_foreign(m, gp, lck);
	P *p = m->p;
	count1(&p->nparks);
	return switch_away(m, p, gp, lck);
}

/* Moves with each dispatch and each spawn: a spawner is at work, though it does not switch. Any thread, as a hint. */
static alwaysinline uint64_t work_ticks(const P *p) { return load_relaxed(&p->schedtick) + load_relaxed(&p->nspawned); }

/* After a spawn on p, the caller's own. False: there is no need of gmp__wakep_hint. WK-3, WK-4 (sched.c) */
static alwaysinline bool wake_wanted_queued(const P *p)
{
	compiler_barrier();
	return load_relaxed(&sched.hints) & ~load_relaxed(&p->quiet);
}

/* The same after a ready: what is next on p, and nothing else there, needs nobody yet. */
static alwaysinline bool wake_wanted(const P *p)
{
	compiler_barrier();
	uint32_t hints = load_relaxed(&sched.hints) & ~load_relaxed(&p->quiet);
	return unlikely(hints) && (hints != HINT_IDLE || p->runq.n + p->fresh.n);
}

/* Runnable, next on p; the rest of a ready is up to the caller. */
static alwaysinline void ready_local(P *p, G *gp)
{
	gstatus(gp, Gwaiting, Grunnable);
	count1(&p->nreadies);
	G *old = p->runnext;
	store_relaxed(&p->runnext, gp);
	if (old)
		runq_put(&p->runq, old);
}

/* Make gp, parked and owed to the caller (PK-2), runnable: next on this P. */
static alwaysinline void ready(M *m, G *gp)
{
	P *p = m->p;
	if (unlikely(!p || (gp->flags & GF_FOREIGN))) {
		gmp__ready_slow(m, gp);
		return;
	}
	ready_local(p, gp);
	if (unlikely(wake_wanted(p)))
		gmp__wakep_hint(m, p);
}

/* Begin a contested wait; its sequence. */
static inline uint32_t claim_begin(G *gp)
{
	uint32_t seq = (load_relaxed(&gp->claim) & ~1u) + 2;
	store_release(&gp->claim, seq);
	return seq;
}
/* True: the wait `seq` of gp is now the caller's to end. */
static inline bool claim(G *gp, uint32_t seq) { return cas_acqrel(&gp->claim, &seq, seq | 1u); }
/* The same by someone who found gp's contested Sudog under the lock of its queue: it is of the present wait. */
static inline bool claim_sg(const Sudog *sg)
{
	if (!(sg->g & SG_CONTESTED))
		return true;
	G *gp = sg2g(sg);
	uint32_t seq = load_acquire(&gp->claim);
	return !(seq & 1u) && claim(gp, seq);
}

/* Dequeues the first waiter that the caller may end, or NULL. The object's lock is held. Sudogs whose wait somebody
 * else has ended are left to their G, which unlinks them itself: they are skipped. */
static inline Sudog *waitq_claim(Queue *q)
{
	for (Link *l = q->head; l; l = l->next) {
		Sudog *sg = link2sg(l);
		if (claim_sg(sg)) {
			queue_remove(q, l);
			G *gp = sg2g(sg);
			if (&gp->sg == sg)
				gp->waitq = NULL;
			return sg;
		}
	}
	return NULL;
}

/* Of a select, whose channels are unlocked before its registers are saved, or of a wait for the network (PK-3). */
static alwaysinline void await_commit(G *gp)
{
	if (unlikely(load_acquire(&gp->parklock)))
		gmp__lockbyte_await(&gp->parklock);
}

/* Ends a dequeued waiter's wait with result r. */
static alwaysinline void waiter_wake(M *m, Sudog *sg, intptr_t r)
{
	G *gp = sg2g(sg);
	if (unlikely(sg->g & SG_SELECT)) {
		await_commit(gp);
		r = (intptr_t)sg | (r != 0);
	}
	gp->ctx.ret = r;
	ready(m, gp);
}

/* The head of q, if it waits for this alone and for ever: off the queue, the caller's to end. The object's lock is held. */
static alwaysinline G *waitq_pop_plain(Queue *q)
{
	if (unlikely(link2sg(q->head)->g & SG_BITS))
		return NULL;
	G *gp = link2g(queue_pop_head(q));
	gp->waitq = NULL;
	return gp;
}

/* Ends the wait of a plain waiter with result 0 and leaves with 0: the last act of a function without a frame. switch.c
 * has its long ways. m is the caller's own, with a P. */
gmp__sw gmp__ready_leave_slow(M *m, G *gp);
gmp__sw gmp__wakep_leave(M *m);
static alwaysinline gmp__sw wake_leave(M *m, G *gp)
{
	gp->ctx.ret = 0;
	if (unlikely(gp->flags & GF_FOREIGN))
		return gmp__ready_leave_slow(m, gp);
	P *p = m->p;
	ready_local(p, gp);
	if (unlikely(wake_wanted(p)))
		return gmp__wakep_leave(m);
	store_release(&m->land.inrt, 0u);
	return (gmp__sw){0, NULL};
}

static alwaysinline bool cancelled(const G *gp) { return unlikely(gp->flags & GF_CANCELLED); }

/* Waits with a deadline; the caller has queued gp->sg, contested, on q under lck. Returns what the waker left, or
 * -ETIMEDOUT, -ECANCELED; gp->sg is off the queue then. Out of the runtime. park.c */
intptr_t gmp__park_until(M *m, G *gp, uint8_t reason, void *obj, Queue *q, uint8_t *lck, uint32_t seq, int64_t deadline);
/* Its halves for a foreign thread that must let go of more locks than lck in between. */
void gmp__park_record(G *gp, uint8_t reason, void *obj, Queue *q, uint8_t *lck);
intptr_t gmp__park_foreign_until(M *m, G *gp, uint8_t *lck, uint32_t seq, int64_t deadline);

#endif
