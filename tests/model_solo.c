/* SPDX-License-Identifier: MIT
 * model_solo.c - sched.solo, its beginning and its end among many Ps (solo.c SOLO-1..5; sync.h SY-1, SY-3, SY-5) by
 * exhaustive interleaving: coroutines, each with an M of its own, take a mutex by the short way, inline and then out of
 * line, or by the long way. In between they go by way of g0, where solo may begin, or their M sleeps and is given a P
 * again; at the end they compute and call the runtime no more, or their M sleeps. A foreign thread takes part, ends solo
 * and goes; somebody stops the world; sysmon takes a P, one that is wanted or any.
 *
 * Left out: the mutex's flags and queue (model_mutex.c; who finds it locked waits in user code until it is not), where
 * work comes from (an M that sleeps may be given any idle P at any moment, as by a waker, a hand-off, or when it has
 * polled; it counts as asleep a little longer, as a locked one does), thieves (they stop and end as intruders do), a G
 * that goes on on another M, declared blocking (as sysmon's taking), new threads, Ps in transit, how p->m becomes
 * visible, RV_FENCE (model_pown.c), time (solo begins whenever it may on g0), the exchange by which ThreadSanitizer's
 * builds enter. sched.solo and solop are one word: off, nobody's (FREE), or a P. What is done under sched.lock is one step, but others may see its
 * stores one after the other before the lock is free. */
#define IL_T 5
#define IL_V 16
#define IL_DEPTH 7
#include "interleave.h"

enum { NM = 3, NP = 3 }; /* threads up to NM may be Ms, with a coroutine each */
enum { INRT = 0, REVOKE = INRT + NM, SHARED = REVOKE + NM, SOLO = SHARED + NM, W, COUNT, SCHED, FOREIGN, NFOREIGN, WORDS };
_Static_assert(WORDS <= IL_V, "");
enum { LOCKBYTE = 1, LOCKED = 2, NO_STEP = LOCKBYTE };
enum { LOST = 2, ONE = 16, REVOKED = 0xf0 };
enum { FREE = NP + 1 };
enum { OUT, INSIDE, PLAIN, HOLDS };
enum { LOCKING, UNLOCKING };

enum { M_NONE, M_NO_BACKOUT, M_NO_BACKOUT_UNSEEN, M_NO_ENTER, M_NO_SECOND_LOOK, M_TWO_LOADS, M_NO_REVOKE, M_NO_LOST,
	M_NO_MEMBARRIER, M_LEAVE_RELAXED, M_SHARED_LATE, M_NO_STOP, M_SHARED_KEPT, M_SOLO_KEPT, M_BEGIN_AWAKE,
	M_BEGIN_FOREIGN, M_BEGIN_UNLOCKED, M_BEGIN_SHARED, M_FOREIGN_UNLOCKED, M_FOREIGN_LATE, M_G0_RUNS, M_SLOW_RUNS,
	M_END_RUNNING, M_END_NO_MEMBARRIER, M_END_ANY, M_G0_STAYS, M_SLOW_STAYS, M_CLAIM_NOT, M_CLAIM_SHARED,
	M_ACQUIRE_KEEPS, M_RELEASE_KEEPS };
enum { H_REVOKED, H_SHARED, H_LOST, H_WORD, H_PLAIN, H_CAS, H_SLOW_SOLO, H_SLOW, H_BACKOUT, H_TAKEN, H_BEGIN, H_END,
	H_FOREIGN_END, H_GIVEUP, H_CLAIM, H_SLOW_INTRUDES, H_SAFEPOINT, H_QUEUED };
static const char *const reach[] = {"refused at the gates by a count in revoke", "by shared alone", "by RV_LOST",
	"refused by the word", "a plain step", "a compare-and-swap in its stead", "the long way, solo",
	"the long way, no more solo", "enter backs out", "sysmon takes the P", "solo begins", "an intruder ends it",
	"a foreign thread ends it", "an intruder gives up for now", "nobody's is claimed", "an intruder in enter_slow", "safepoint", "reacquire finds no P", NULL};

struct S {
	Il il;
	/* under sched.lock */
	uint8_t pm[NP]; /* owner of each P (thread + 1) */
	uint8_t pidle, stw;
	uint8_t plock[NP];
	uint8_t other;          /* a coroutine of M0 that holds the mutex; it runs when the one that is modelled waits */
	uint8_t inside, stands; /* somebody is in the critical section; Ps that are stopped: ghosts */
	struct {
		uint8_t in;        /* in the runtime, allowed to touch the P; at the word, by which way: ghost */
		uint8_t p;         /* + 1 */
		uint8_t g0, asleep, slow, want;
		uint8_t op, v, ok; /* a step, the word before it, whether it is done */
		uint8_t at;        /* in its script */
		uint8_t foreign, counted;
		uint8_t i, vp, m;  /* a P to be stopped, or being it, and its owner: thread + 1 */
		uint8_t stopped[NP];
	} m[IL_T];
};
#define ME (s->m[t])

static const char *script[IL_T];
static int procs, ms;
static bool each_its_own;
static int increments; /* that must have been counted at the end */

static void invariant(const S *s)
{
	for (int t = 0; t < il_threads; t++) {
		if (ME.in && !ME.foreign && !ME.p)
			il_fail("SOLO-1: M%d is inside without a P", t);
		if (ME.in && ME.p && s->stands >> (ME.p - 1) & 1)
			il_fail("SOLO-1: M%d is inside while it is stopped", t);
		for (int o = 0; ME.in == PLAIN && o < il_threads; o++) {
			bool changes = s->m[o].in >= PLAIN;
			for (int i = 0; i < s->il.nbuf[o]; i++)
				changes |= (s->il.buf[o][i][0] & ~IL_RELAXED) == W;
			if (o != t && changes)
				il_fail("SY-3: plain access beside another access");
		}
	}
}

/* From here a coroutine may never call the runtime again: the next stopworld would wait for it for ever. */
static void user(const S *s, int t)
{
	if (!ME.foreign && ld(s, t, INRT + t) && !MUT(M_NO_BACKOUT_UNSEEN))
		il_fail("SY-5: M%d is in user code with inrt 1", t);
}

/* Who needs a compare-and-swap is not alone: nobody else is half way through a plain change or has one buffered. */
static bool cas(S *s, int t, int from, int to)
{
	uint8_t *w = rmw(s, t, W);
	if (*w != from)
		return false;
	for (int o = 0; o < il_threads; o++) {
		bool changes = s->m[o].in == PLAIN;
		for (int i = 0; i < s->il.nbuf[o]; i++)
			changes |= (s->il.buf[o][i][0] & ~IL_RELAXED) == W;
		if (o != t && changes)
			il_fail("SY-3: plain access beside a compare-and-swap");
	}
	*w = (uint8_t)to;
	return true;
}

/* ---- under sched.lock -------------------------------------------------------------------------------------------- */

/* One step under the lock. */
#define SECTION(label) AWAIT(label, !*rmw(s, t, SCHED))

/* Its end, if it has stored something: the lock is free when that has become visible. */
static void unlock(S *s, int t)
{
	if (s->il.nbuf[t]) {
		s->il.v[SCHED] = 1;
		st(s, t, SCHED, 0);
	}
}

static void solo_clear(S *s, int t, int owner)
{
	if (!MUT(M_SOLO_KEPT))
		st_rlx(s, t, SOLO, 0);
	if (owner && !MUT(M_SHARED_KEPT) && !MUT(M_SHARED_LATE))
		st_rlx(s, t, SHARED + owner - 1, 1);
}

static void solo_release(S *s, int t, int p)
{
	s->pm[p - 1] = 0;
	if (ld(s, t, SOLO) == p && !MUT(M_RELEASE_KEEPS))
		st_rlx(s, t, SOLO, FREE);
}

static void acquirep(S *s, int t, int p)
{
	if (s->pm[p - 1] || s->stw)
		il_fail("PO-8: acquirep of P%d throws", p - 1);
	s->pidle &= (uint8_t)~(1u << (p - 1));
	if (!MUT(M_ACQUIRE_KEEPS))
		st_rlx(s, t, SHARED + t, 1);
	ME.p = (uint8_t)p;
	s->pm[p - 1] = (uint8_t)(t + 1);
}

/* The idle Ps that t may be given, a bit for each. */
static int idle(const S *s, int t) { return s->stw ? 0 : each_its_own ? s->pidle & 1 << t : s->pidle; }

/* One of them, + 1. */
static int pidleget(const S *s, int t)
{
	int ps = idle(s, t), p = 0;
	for (int n = il_choose(__builtin_popcount((unsigned)ps)); n > 0 || !(ps >> p & 1); p++)
		n -= ps >> p & 1;
	return p + 1;
}

/* SOLO-2 */
static bool may_begin(const S *s, int t)
{
	int awake = 0;
	for (int m = 0; m < ms; m++)
		awake += m != t && !s->m[m].asleep;
	return !ld(s, t, SOLO) && !s->stw && __builtin_popcount(s->pidle) + 1 == procs && (awake == 0 || MUT(M_BEGIN_AWAKE)) &&
		(ld(s, t, NFOREIGN) == 0 || MUT(M_BEGIN_FOREIGN));
}

/* ---- who stops a P: p.c ------------------------------------------------------------------------------------------ */

/* Of P number vp, whose owner was m. */
static void unrevoke(S *s, int t)
{
	s->stands &= (uint8_t)~(1u << (ME.vp - 1));
	if (!MUT(M_END_RUNNING))
		*rmw(s, t, REVOKE + ME.m - 1) -= ONE;
	ME.m = s->plock[ME.vp - 1] = 0;
}

/* As MEMBARRIER, of the Ms: others have nothing to do with it. */
#define BARRIER() do { \
	for (s->il.bar[t] = 0; s->il.bar[t] < ms; s->il.bar[t]++) { \
		STEP("membarrier"); \
		il_drain(s, s->il.bar[t]); \
	} \
	s->il.bar[t] = 0; \
} while (0)

/* P number vp. ok: it is stopped. */
static int revoke(S *s, int t, int d)
{
	BEGIN;
	ME.ok = 0;
	STEP("trylock p->lock, m = p->m, revoke += ONE");
	if (s->plock[ME.vp - 1] || !s->pm[ME.vp - 1])
		RETURN;
	s->plock[ME.vp - 1] = 1;
	ME.m = s->pm[ME.vp - 1];
	if (!MUT(M_END_RUNNING)) {
		*rmw(s, t, REVOKE + ME.m - 1) += ONE;
		if (!MUT(M_END_NO_MEMBARRIER))
			BARRIER();
	}
	STEP("inrt == 0 and p->m == m ?");
	if ((!ld(s, t, INRT + ME.m - 1) || MUT(M_END_RUNNING)) && s->pm[ME.vp - 1] == ME.m) {
		ME.ok = 1;
		s->stands |= (uint8_t)(!MUT(M_END_RUNNING) << (ME.vp - 1));
		RETURN;
	}
	REACHED(H_GIVEUP);
	unrevoke(s, t);
	END;
}

/* stopworld; solo_clear, if a foreign thread is counted for the first time; startworld. sched.foreign is held. */
static int stop(S *s, int t, int d)
{
#define I ME.i
	BEGIN;
	if (!MUT(M_NO_STOP)) {
		SECTION("stw = 1");
		s->stw = 1;
		for (I = 0; I < procs; I++) {
			AWAIT("lock p->lock, m = p->m, revoke += ONE", !s->plock[I]);
			s->plock[I] = 1;
			ME.stopped[I] = s->pm[I];
			if (s->pm[I])
				*rmw(s, t, REVOKE + s->pm[I] - 1) += ONE;
		}
		if (!MUT(M_NO_MEMBARRIER))
			BARRIER();
		for (I = 0; I < procs; I++) {
			if (!ME.stopped[I])
				continue;
			AWAIT("inrt == 0 or p->m != m", !ld(s, t, INRT + ME.stopped[I] - 1) || s->pm[I] != ME.stopped[I]);
			if (s->pm[I] != ME.stopped[I]) {
				*rmw(s, t, REVOKE + ME.stopped[I] - 1) -= ONE;
				ME.stopped[I] = 0;
			}
		}
		s->stands = (uint8_t)((1 << procs) - 1);
	}
	I = 0;
	SECTION("the world is stopped");
	if (ME.foreign && ME.counted) {
		REACHED(H_FOREIGN_END);
		solo_clear(s, t, ld(s, t, SOLO) % FREE ? s->pm[ld(s, t, SOLO) - 1] : 0);
		unlock(s, t);
	}
	if (!MUT(M_NO_STOP)) {
		for (; I < procs; I++) {
			STEP("revoke -= ONE, unlock p->lock");
			s->stands &= (uint8_t)~(1u << I);
			if (ME.stopped[I])
				*rmw(s, t, REVOKE + ME.stopped[I] - 1) -= ONE;
			ME.stopped[I] = s->plock[I] = 0;
		}
		I = 0;
		SECTION("stw = 0");
		s->stw = 0;
	}
	if (MUT(M_SHARED_LATE)) {
		STEP("shared = 1");
		for (int m = 0; m < ms; m++)
			st_rlx(s, t, SHARED + m, 1);
	}
	END;
#undef I
}

/* ---- the owner: solo.c, p.c, sched.c ----------------------------------------------------------------------------- */

static bool intrudes(const S *s, int t) { return ld(s, t, SOLO) && ld(s, t, SOLO) != ME.p; }

/* ok: solo is over, or the own. */
static int intrude(S *s, int t, int d)
{
	BEGIN;
	SECTION("solo and not the own ?");
	ME.ok = !ld(s, t, SOLO) || ld(s, t, SOLO) == ME.p;
	if (!ME.ok) {
		ME.vp = ld(s, t, SOLO) % FREE;
		if (!ME.vp && !MUT(M_CLAIM_NOT)) {
			REACHED(H_CLAIM);
			st_rlx(s, t, SOLO, ME.p);
			if (!MUT(M_CLAIM_SHARED))
				st_rlx(s, t, SHARED + t, 0);
			ME.ok = 1;
		}
	}
	unlock(s, t);
	if (ME.vp) {
		CALL(revoke);
		if (ME.ok) {
			SECTION("solo ends");
			if (ld(s, t, SOLO) == ME.vp || (MUT(M_END_ANY) && ld(s, t, SOLO))) {
				REACHED(H_END);
				solo_clear(s, t, ME.m);
				unlock(s, t);
			}
			STEP("unrevoke");
			unrevoke(s, t);
		}
		ME.ok = !intrudes(s, t);
	}
	ME.vp = 0;
	END;
}

static int safepoint(S *s, int t, int d)
{
	BEGIN;
	STEP("safepoint");
	while (ld(s, t, REVOKE + t) & REVOKED) {
		REACHED(H_SAFEPOINT);
		ME.in = OUT;
		st(s, t, INRT + t, 0);
		AWAIT("wait_revoked", !(ld(s, t, REVOKE + t) & REVOKED));
		STEP("inrt <-> 1");
		*rmw(s, t, INRT + t) = 1;
		STEP("load revoke");
		if (ld(s, t, REVOKE + t) & LOST)
			il_fail("PO-9: P taken from g0");
	}
	ME.in = INSIDE;
	END;
}

/* On g0 with a P: into the coroutine. */
static int execute(S *s, int t, int d)
{
	BEGIN;
	CALL(safepoint);
	STEP("intrudes ?");
	if (intrudes(s, t) && !MUT(M_G0_RUNS)) {
		for (;;) {
			CALL(intrude);
			if (ME.ok)
				break;
			if (!MUT(M_G0_STAYS))
				CALL(safepoint);
		}
	}
	ME.in = OUT; /* the landing */
	ME.g0 = 0;
	st(s, t, INRT + t, 0);
	END;
}

/* On g0 without a P: sleeps, or polls, until it is given one. */
static int stopm(S *s, int t, int d)
{
	BEGIN;
	AWAIT("is given a P", !*rmw(s, t, SCHED) && idle(s, t));
	acquirep(s, t, pidleget(s, t));
	unlock(s, t);
	SECTION("awake, and counted as that");
	ME.asleep = ME.want = 0;
	END;
}

static int enter(S *s, int t, int d)
{
	BEGIN;
	if (ME.foreign) {
		LOCK(FOREIGN);
		if (!ME.counted) {
			ME.counted = 1;
			if (!MUT(M_FOREIGN_LATE))
				++*rmw(s, t, NFOREIGN);
			if (MUT(M_FOREIGN_UNLOCKED))
				STEP("solo ? without the lock");
			else
				SECTION("solo ?");
			ME.ok = ld(s, t, SOLO) != 0;
			if (ME.ok)
				CALL(stop);
			if (MUT(M_FOREIGN_LATE)) {
				STEP("nforeign++");
				++*rmw(s, t, NFOREIGN);
			}
		}
		RETURN;
	}
	for (ME.slow = 0;; ME.slow = 1) { /* enter_slow begins with an exchange; a store is weaker */
		st_rlx(s, t, INRT + t, 1);
		STEP("[3] load revoke");
		if (ld(s, t, REVOKE + t) & REVOKED) {
			REACHED(H_BACKOUT);
			st(s, t, INRT + t, 0);
			AWAIT("wait_revoked", !(ld(s, t, REVOKE + t) & REVOKED));
			continue;
		}
		if (ld(s, t, REVOKE + t) & LOST) {
			SECTION("reacquire");
			ME.want = !idle(s, t);
			if (!ME.want) {
				acquirep(s, t, pidleget(s, t));
				unlock(s, t);
			}
			STEP("revoke &= ~LOST");
			*rmw(s, t, REVOKE + t) &= (uint8_t)~LOST;
			if (ME.want) {
				REACHED(H_QUEUED);
				SECTION("reacquire_g0, to sleep");
				ME.g0 = ME.asleep = 1;
				CALL(stopm);
				CALL(execute);
			}
			continue;
		}
		ME.in = INSIDE;
		if (!ME.slow || MUT(M_SLOW_RUNS))
			break;
		STEP("intrudes ?");
		if (!intrudes(s, t))
			break;
		REACHED(H_SLOW_INTRUDES);
		do
			CALL(intrude);
		while (!ME.ok && MUT(M_SLOW_STAYS));
		if (ME.ok)
			break;
		ME.in = OUT; /* until it has looked at revoke */
	}
	ME.slow = 0;
	ME.in = INSIDE;
	END;
}

/* ---- the short way: gmp.h ---------------------------------------------------------------------------------------- */

/* gmp__lock_step, gmp__unlock_step */
static int next(const S *s, int t)
{
	if (ME.op == LOCKING)
		return ME.v & (LOCKBYTE | LOCKED) ? NO_STEP : ME.v | LOCKED;
	return ME.v == LOCKED ? 0 : NO_STEP;
}

static bool refused(const S *s, int t)
{
	int revoke = MUT(M_NO_REVOKE) ? 0 : ld(s, t, REVOKE + t) & (MUT(M_NO_LOST) ? ~LOST : ~0);
	int shared = MUT(M_NO_SECOND_LOOK) ? 0 : MUT(M_TWO_LOADS) ? ME.v : ld(s, t, SHARED + t);
	if (revoke || shared)
		REACHED(revoke & REVOKED ? H_REVOKED : revoke ? H_LOST : H_SHARED);
	return revoke || shared;
}

/* GMP__WORD_STEP */
static int word_step(S *s, int t, int d)
{
	BEGIN;
	ME.ok = 0;
	STEP("load shared");
	if (!ld(s, t, SHARED + t)) { /* gmp__alone */
		st_rlx(s, t, INRT + t, 1);
		if (MUT(M_TWO_LOADS)) {
			STEP("load shared alone");
			ME.v = ld(s, t, SHARED + t);
		}
		STEP("load revoke and shared");
		if (refused(s, t)) {
			if (!MUT(M_NO_BACKOUT) && !MUT(M_NO_BACKOUT_UNSEEN))
				st(s, t, INRT + t, 0);
			RETURN;
		}
		ME.in = PLAIN;
		STEP("plain load");
		ME.v = ld(s, t, W);
		if (next(s, t) != NO_STEP) {
			STEP("plain store");
			st(s, t, W, next(s, t));
			(MUT(M_LEAVE_RELAXED) ? st_rlx : st)(s, t, INRT + t, 0);
			ME.ok = 1;
			REACHED(H_PLAIN);
		} else {
			REACHED(H_WORD); /* inrt stays 1 */
		}
		ME.in = OUT;
		RETURN;
	}
	STEP("load");
	for (ME.v = ld(s, t, W); next(s, t) != NO_STEP; ME.v = *rmw(s, t, W)) {
		STEP("compare-and-swap");
		if (cas(s, t, ME.v, next(s, t))) {
			REACHED(H_CAS);
			ME.ok = 1;
			RETURN;
		}
	}
	END;
}

/* ---- the long way: mutex.c --------------------------------------------------------------------------------------- */

/* lock or unlock. */
static int act(S *s, int t, int d)
{
	BEGIN;
	if (!ME.foreign) {
		CALL(word_step); /* inline */
		if (!ME.ok && script[t][ME.at] == 'R')
			CALL(word_step);
		if (ME.ok)
			RETURN;
		if (MUT(M_NO_ENTER))
			user(s, t);
	}
	for (;;) {
		CALL(enter);
		STEP("load solo");
		if (ld(s, t, SOLO)) {
			REACHED(H_SLOW_SOLO);
			ME.in = PLAIN;
			STEP("plain load");
			ME.v = ld(s, t, W);
		} else {
			AWAIT("take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
			ME.v = *rmw(s, t, W);
			(void)cas(s, t, ME.v, ME.v | LOCKBYTE);
			ME.in = HOLDS;
			if (!ME.foreign)
				REACHED(H_SLOW);
		}
		STEP("store the word, no lock byte");
		ME.ok = next(s, t) != NO_STEP;
		if (ME.op == UNLOCKING && !ME.ok)
			il_fail("SY-1: unlock of an unlocked mutex");
		st(s, t, W, ME.ok ? next(s, t) : ME.v);
		ME.in = OUT;
		if (ME.foreign)
			UNLOCK(FOREIGN);
		else
			st(s, t, INRT + t, 0);
		if (ME.ok)
			RETURN;
		if (s->other && t == 0) {
			s->other = 0;
			ME.op = UNLOCKING;
			CALL(act);
			ME.op = LOCKING;
		}
		AWAIT("not locked", !(ld(s, t, W) & LOCKED));
	}
	END;
}

/* ---- threads and runs -------------------------------------------------------------------------------------------- */

/* A round. */
static int locker(S *s, int t, int d)
{
	BEGIN;
	ME.op = LOCKING;
	CALL(act);
	STEP("critical section: load");
	user(s, t);
	if (s->inside++)
		il_fail("SY-1: two hold the mutex");
	ME.v = ld(s, t, COUNT);
	STEP("critical section: store");
	st_rlx(s, t, COUNT, ME.v + 1);
	s->inside--;
	ME.op = UNLOCKING;
	CALL(act);
	ME.op = ME.v = ME.ok = 0;
	END;
}

/* Its script: a 'r'ound ('R': in which it tries the short way out of line, too); by way of 'g'0; 's'leeps until it is given
 * a P again. At the end it 'c'omputes, or sleeps ('z'). */
static int mthread(S *s, int t, int d)
{
	BEGIN;
	if (ME.asleep) {
		CALL(stopm);
		CALL(execute);
	}
	for (; script[t][ME.at] != 'c'; ME.at++) {
		if (script[t][ME.at] == 'r' || script[t][ME.at] == 'R') {
			CALL(locker);
			continue;
		}
		CALL(enter);
		ME.g0 = 1;
		if (script[t][ME.at] == 'g') {
			SECTION("solo begins ?");
			ME.ok = may_begin(s, t);
			if (ME.ok && MUT(M_BEGIN_UNLOCKED))
				STEP("begins, without the lock");
			if (ME.ok) {
				REACHED(H_BEGIN);
				st_rlx(s, t, SOLO, ME.p);
				if (!MUT(M_BEGIN_SHARED))
					st_rlx(s, t, SHARED + t, 0);
				unlock(s, t);
			}
		} else {
			SECTION("idle");
			s->pidle |= (uint8_t)(1u << (ME.p - 1));
			solo_release(s, t, ME.p);
			unlock(s, t);
			ME.p = ME.in = ME.ok = 0;
			ME.asleep = 1;
			if (script[t][ME.at] == 'z')
				RETURN;
			CALL(stopm);
		}
		CALL(execute);
		ME.ok = 0;
	}
	STEP("computes");
	user(s, t);
	END;
}

static int foreigner(S *s, int t, int d)
{
	BEGIN;
	for (; script[t][ME.at] == 'r'; ME.at++)
		CALL(locker);
	AWAIT("thread_gone", *rmw(s, t, FOREIGN) == 0);
	--*rmw(s, t, NFOREIGN);
	END;
}

/* Of a coroutine that cancels, trims or the like. */
static int stopper(S *s, int t, int d)
{
	BEGIN;
	LOCK(FOREIGN);
	CALL(stop);
	UNLOCK(FOREIGN);
	END;
}

static bool wanted(const S *s)
{
	bool want = false;
	for (int m = 0; m < ms; m++)
		want |= s->m[m].want;
	return want && !s->pidle;
}

/* "1" takes a P once, whether wanted or not. */
static int sysmon(S *s, int t, int d)
{
	BEGIN;
	do {
		AWAIT("a P is to be taken", *script[t] || wanted(s));
		ME.vp = (uint8_t)(1 + il_choose(procs));
		LOCK(FOREIGN);
		CALL(revoke);
		if (ME.ok && s->m[ME.m - 1].g0) { /* PO-9 */
			STEP("unrevoke");
			unrevoke(s, t);
		} else if (ME.ok) {
			SECTION("p->m = NULL");
			REACHED(H_TAKEN);
			s->m[ME.m - 1].p = 0;
			solo_release(s, t, ME.vp);
			unlock(s, t);
			STEP("revoke |= LOST, -= ONE, unlock p->lock");
			*rmw(s, t, REVOKE + ME.m - 1) |= LOST;
			unrevoke(s, t);
			SECTION("handoffp: pidleput");
			s->pidle |= (uint8_t)(1u << (ME.vp - 1));
		}
		ME.ok = ME.vp = 0;
		UNLOCK(FOREIGN);
	} while (!*script[t]);
	END;
}

static void terminal(const S *s)
{
	for (int t = il_threads; t-- > 0;)
		if (!s->il.done[t] && il_fn[t] != sysmon)
			il_fail("stuck: %s", il_thread_name[t]);
	for (int m = 0; m < ms; m++)
		if (s->il.v[REVOKE + m] & REVOKED)
			il_fail("RV_ONE: M%d keeps a count", m);
	if (s->il.v[COUNT] != increments || s->il.v[W])
		il_fail("SY-1: counted to %d of %d, word %d", s->il.v[COUNT], increments, s->il.v[W]);
}

static void add(const char *name, IlFn *fn, const char *what)
{
	script[il_threads] = what;
	for (const char *c = what; *c; c++)
		increments += *c == 'r' || *c == 'R';
	il_thread(name, fn);
}

/* Solo. M0 has P0 and is in user code; the other Ms sleep. */
static void begin(S *s, int ps, const char *m0, const char *m1, const char *m2)
{
	const char *const m[NM] = {m0, m1, m2};
	static const char *const name[NM] = {"M0", "M1", "M2"};
	procs = ps;
	increments = 0;
	each_its_own = false;
	for (ms = 0; ms < NM && m[ms]; ms++) {
		add(name[ms], mthread, m[ms]);
		s->m[ms].g0 = s->m[ms].asleep = ms > 0;
		s->il.v[INRT + ms] = ms > 0; /* shared: 0 is what might mislead */
	}
	s->il.v[SOLO] = s->pm[0] = s->m[0].p = 1;
	s->pidle = (uint8_t)((1 << ps) - 2);
}

static void foreign(S *s, const char *what)
{
	s->m[il_threads].foreign = 1;
	add("foreigner", foreigner, what);
}

/* M1 is in user code and has lost P0 to M0. */
static void lost_m1(S *s)
{
	s->m[1].asleep = s->m[1].g0 = 0;
	s->il.v[INRT + 1] = s->il.v[SHARED + 1] = 0;
	s->il.v[REVOKE + 1] = LOST;
}

static void two(S *s)
{
	begin(s, 1, "RRc", NULL, NULL);
	foreign(s, "rr");
}
static void two_weak(S *s)
{
	il_weak = true;
	two(s);
}
static void again(S *s)
{
	two(s);
	add("stopper", stopper, "");
	s->other = 1;
	s->il.v[W] = LOCKED;
}
static void retaken(S *s)
{
	begin(s, 1, "rc", "rc", NULL);
	lost_m1(s);
	add("sysmon", sysmon, "");
}
static void retaken_foreign(S *s)
{
	begin(s, 1, "c", "Rc", NULL);
	lost_m1(s);
	add("sysmon", sysmon, "");
	foreign(s, "r");
}
static void intruder(S *s) { begin(s, 2, "rgrc", "rz", NULL); }
static void intruder_weak(S *s)
{
	il_weak = true;
	intruder(s);
}
static void idles(S *s) { begin(s, 2, "rsrz", "rsrz", NULL); }
static void idles_taken(S *s)
{
	begin(s, 2, "src", "rc", NULL);
	add("sysmon", sysmon, "1");
}
static void taken(S *s)
{
	begin(s, 2, "rrc", "rc", NULL);
	add("sysmon", sysmon, "1");
}
static void taken_begins(S *s) /* not solo yet */
{
	begin(s, 2, "grc", "rc", NULL);
	s->il.v[SOLO] = 0;
	s->il.v[SHARED] = 1;
	add("sysmon", sysmon, "1");
}
static void visitor(S *s)
{
	begin(s, 2, "rgrc", "z", NULL);
	foreign(s, "r");
}
static void stopped(S *s)
{
	begin(s, 2, "rgrc", "rz", NULL);
	add("stopper", stopper, "");
}
static void stopped_lost(S *s)
{
	begin(s, 2, "rc", "rc", NULL);
	lost_m1(s);
	add("stopper", stopper, "");
}
static void three(S *s)
{
	begin(s, 3, "sz", "rz", "rz");
	each_its_own = true;
}

static const IlRun runs[] = {
	{"a foreign thread", two, 0, NULL},
	{"a foreign thread, weak stores", two_weak, 0, NULL},
	{"the mutex is held; the world stops", again, 0, NULL},
	{"two coroutines, one P", retaken, 0, NULL},
	{"two coroutines, one P, a foreign thread", retaken_foreign, 0, NULL},
	{"an intruder comes and goes", intruder, 0, NULL},
	{"an intruder comes and goes, weak stores", intruder_weak, 0, NULL},
	{"two that sleep in between", idles, 0, NULL},
	{"one that sleeps in between, sysmon takes a P", idles_taken, 0, NULL},
	{"sysmon takes a P", taken, 0, NULL},
	{"sysmon takes a P, solo begins", taken_begins, 0, NULL},
	{"a foreign thread comes and goes", visitor, 0, NULL},
	{"the world stops beside an intruder", stopped, 0, NULL},
	{"the world stops beside one who lost its P", stopped_lost, 0, NULL},
	{"three Ps", three, 0, NULL},

	{"SY-5 refused at the gates, inrt stays 1", two, M_NO_BACKOUT, "SY-5"},
	{"SY-5 the same, as a second stopworld finds it", again, M_NO_BACKOUT_UNSEEN, "stuck: stopper"},
	{"SY-5 refused by the word, and out without entering", again, M_NO_ENTER, "SY-5"},
	{"SY-3 no second look at shared", two, M_NO_SECOND_LOOK, "SY-3"},
	{"SY-3 shared and revoke are loaded one after the other", two, M_TWO_LOADS, "SY-3"},
	{"SY-3 no look at revoke", two, M_NO_REVOKE, "SOLO-1"},
	{"SY-3 RV_LOST does not count", retaken, M_NO_LOST, "SOLO-1"},
	{"SOLO-1 no membarrier", two, M_NO_MEMBARRIER, "SOLO-1"},
	{"SOLO-1 leave is no release", two_weak, M_LEAVE_RELAXED, "SY-3"},
	{"SOLO-1 shared set after startworld", two, M_SHARED_LATE, "SY-3"},
	{"SOLO-1 solo ends in a running world", two, M_NO_STOP, "SY-3"},
	{"SOLO-1 solo cleared, shared not set", two, M_SHARED_KEPT, "SY-3"},
	{"SOLO-1 shared set, solo not cleared", two, M_SOLO_KEPT, "SY-3"},
	{"SOLO-2 begins beside an M in user code without a P", taken_begins, M_BEGIN_AWAKE, "SY-3"},
	{"SOLO-2 begins beside a foreign thread", visitor, M_BEGIN_FOREIGN, "SY-3"},
	{"SOLO-2 begins outside of the lock", taken_begins, M_BEGIN_UNLOCKED, "SY-3"},
	{"SOLO-2 a foreign thread looks outside of the lock", visitor, M_FOREIGN_UNLOCKED, "SY-3"},
	{"SOLO-2 a foreign thread looks before it is counted", visitor, M_FOREIGN_LATE, "SY-3"},
	{"SOLO-3 runs beside solo", intruder, M_G0_RUNS, "SY-3"},
	{"SOLO-3 runs beside solo, in enter_slow", stopped_lost, M_SLOW_RUNS, "SY-3"},
	{"SOLO-3 solop's owner is not stopped", intruder, M_END_RUNNING, "SY-3"},
	{"SOLO-3 no membarrier", intruder, M_END_NO_MEMBARRIER, "SOLO-1"},
	{"SOLO-3 a P is stopped that is solop no more", three, M_END_ANY, "SY-3"},
	{"SOLO-3 lets nobody pass", stopped, M_G0_STAYS, "no end"},
	{"SOLO-3 lets nobody pass, in enter_slow", stopped_lost, M_SLOW_STAYS, "no end"},
	{"SOLO-4 waits for nobody's", idles, M_CLAIM_NOT, "no end"},
	{"SOLO-4 stays with a P that was let go of", idles_taken, M_RELEASE_KEEPS, "SY-3"},
	{"SOLO-5 begins, shared not cleared", taken_begins, M_BEGIN_SHARED, "SY-3"},
	{"SOLO-5 claimed, shared not cleared", idles_taken, M_CLAIM_SHARED, "SY-3"},
	{"SOLO-5 a P comes, shared stays", idles_taken, M_ACQUIRE_KEEPS, "SY-3"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_solo", sizeof(S), invariant, terminal, reach, runs,
		sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
