/* SPDX-License-Identifier: MIT
 * solo.c - working alone: as long as one P does all the work, objects are changed by plain accesses, and their locks are
 * left out. So what runs on one P of many costs what it costs with one P.
 *
 *   SOLO-1 sched.solo: who passed [3] (p.c) with the P sched.solop is alone with all objects. It changes only while solop's
 *        owner is out of the runtime, or on g0 with no object locked; or while there is no solop (NULL).
 *   SOLO-2 It begins by an M on g0 with the only P that has an owner, if each other M sleeps or polls: then none is in user
 *        code without a P, where it might be half way through a compare-and-swap by its copy of shared (SY-3). And if no
 *        foreign thread that took part is alive. All of it is read under sched.lock, through which every other M let go of
 *        its P, and where foreign threads look for solo after they are counted.
 *   SOLO-3 An M with another P may look for work (queues, hints, the network; also take some). Before it runs a coroutine or
 *        a timer, or returns to a coroutine (enter_slow), it stops solop's owner, as a thief does, and ends solo. It waits for
 *        that without limit, but lets those pass who stop the world, and its CPU go to the owner, which may lack one.
 *   SOLO-4 A P that is let go of, or taken, is solop no more. Without a solop, whoever is about to run something claims that for
 *        its P: not who is given a P, since that M may be long in waking up.
 *   SOLO-5 m->shared is 0 for solop's owner, 1 for who has another P or a P without solo. It stays as it was for an M that lost
 *        its P and runs on without: if it is 0, that M finds RV_LOST in the same load.
 *   SOLO-6 It begins after the P was alone for solonext. Who intrudes (SOLO-3) pays a membarrier to end it: solowait, which that
 *        is then, doubles when it was over soon. A thief ends it for nothing, it has stopped the owner anyway, or that answers
 *        (RQ-1) and ends it itself: solonext is a small part of it then, in case that nothing came of the theft.
 *
 * Checked by exhaustive interleaving, each invariant with a mutation that is caught: tests/model_solo.c. */
#include "proc.h"

static const int64_t WAIT_MAX_NS = 4 * 1000 * 1000, SOON_NS = 5 * 1000 * 1000; /* SOLO-6 */
static const int64_t THEFT_PART = 8; /* likewise */
static const int64_t PATIENCE_NS = 1000 * 1000; /* for an owner that is in the runtime just now, before others have their turn */
static const int64_t NAP_NS = 20 * 1000;

/* Without membarrier a coroutine pays a fence to enter, more than a compare-and-swap. ThreadSanitizer's builds do always. */
static bool pays(void) { return gmp__debug.solo && (TSAN_BUILD || !(load_relaxed(&sched.hints) & HINT_FENCE)); }

/* A run begins. sched.foreign is held; no P has an owner. */
void gmp__solo_init(void)
{
	sched.solowait = gmp__debug.solowait * 1000;
	store_relaxed(&sched.solonext, sched.solowait);
	sched.solobegan = sched.starttime;
	store_relaxed(&sched.solop, (P *)NULL);
	store_relaxed(&sched.solo, (uint8_t)pays());
}

/* sched.lock is held, and solop's owner is stopped, or there is none. */
void gmp__solo_clear(void)
{
	P *p = sched.solop;
	store_release(&sched.solo, (uint8_t)0); /* an M that has another P finds what the owner did, too */
	store_relaxed(&sched.solop, (P *)NULL);
	if (p)
		store_relaxed(&p->m->shared, (uint8_t)1);
}

/* p has no owner any more. sched.lock is held. */
void gmp__solo_release(P *p)
{
	if (sched.solop == p)
		store_relaxed(&sched.solop, (P *)NULL);
}

/* m is on g0, or about to return to its coroutine. sched.lock is held. */
static void claim_solo(M *m)
{
	store_relaxed(&sched.solop, m->p);
	store_relaxed(&m->shared, (uint8_t)0);
}

/* SOLO-6: an intruder has ended it. soon: it had begun not long before. sched.lock is held. */
static void judge_solo(bool soon)
{
	sched.solowait = soon ? min_i64(2 * sched.solowait, WAIT_MAX_NS) : gmp__debug.solowait * 1000;
	store_relaxed(&sched.solonext, sched.solowait);
}

/* On g0: m's p has visited it for a round of ticks, and it is not solo. */
void gmp__solo_look(M *m, P *p, int64_t now)
{
	if (!pays() || load_relaxed(&sched.npidle) + 1 != (uint32_t)load_relaxed(&sched.procs) || load_relaxed(&sched.nforeign) > 0) {
		p->aloneat = 0;
		return;
	}
	if (p->aloneat == 0)
		p->aloneat = now;
	if (now - p->aloneat < load_relaxed(&sched.solonext))
		return;
	p->aloneat = 0;
	lock(&sched.lock);
	uint32_t asleep = sched.nmidle + sched.nlockedidle + (load_seqcst(&sched.polling) ? 1 : 0);
	if (sched.mcount == asleep + 1 && load_seqcst(&sched.nforeign) == 0) { /* SOLO-2; who of nlockedidle has a P already: SOLO-3 */
		claim_solo(m);
		store_relaxed(&sched.solo, (uint8_t)1);
		sched.solobegan = now;
	}
	unlock(&sched.lock);
}

/* p is stopped by the caller, or the caller's own on g0. */
static void end_at(P *p, bool theft)
{
	lock(&sched.lock);
	if (load_relaxed(&sched.solo) && sched.solop == p) {
		gmp__solo_clear();
		if (theft)
			store_relaxed(&sched.solonext, gmp__debug.solowait * 1000 / THEFT_PART);
		else
			judge_solo(gmp__os_now() - sched.solobegan < SOON_NS);
	}
	unlock(&sched.lock);
}

/* The same, for who takes work from p. */
void gmp__solo_end_by_theft(P *p) { end_at(p, true); }

/* m, in the runtime with a P, is to run something. False: to be tried again, after others were let pass. */
bool gmp__solo_intrude(M *m)
{
	lock(&sched.lock);
	P *p = load_relaxed(&sched.solo) ? sched.solop : m->p;
	if (!p)
		claim_solo(m);
	unlock(&sched.lock);
	if (!p || p == m->p)
		return true;
	if (gmp__revoke(p, m, PATIENCE_NS)) {
		end_at(p, false);
		gmp__unrevoke(p);
		return !intrudes(m);
	}
	if (load_relaxed(&sched.solop) == p && !(load_relaxed(&m->revoke) & (uint32_t)RV_REVOKE))
		gmp__os_usleep(NAP_NS); /* a thief has p's lock, or its owner lacks a CPU */
	return false;
}

/* The same on g0, to the end. */
void gmp__solo_intrude_g0(M *m)
{
	while (!gmp__solo_intrude(m))
		gmp__safepoint(m);
}

/* A foreign thread takes part from now on, and is counted. sched.foreign is held. */
void gmp__solo_end(void)
{
	lock(&sched.lock);
	bool solo = load_relaxed(&sched.solo);
	unlock(&sched.lock);
	if (!solo)
		return;
	gmp__stopworld();
	lock(&sched.lock);
	gmp__solo_clear();
	judge_solo(true); /* more may come */
	unlock(&sched.lock);
	gmp__startworld();
}
