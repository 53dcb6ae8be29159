/* SPDX-License-Identifier: MIT
 * model_solo.c - how sched.solo ends (p.c SOLO-1; sync.h SY-1, SY-3, SY-5) by exhaustive interleaving: coroutines take
 * a mutex by the short way, inline and then out of line, or by the long way, and compute after that: they call the
 * runtime no more. A foreign thread ends solo and takes the mutex too; another one stops the world; sysmon takes the P
 * of a coroutine when another one wants it.
 *
 * Left out: the mutex's flags and queue (model_mutex.c; who finds it locked waits in user code until it is not), how a
 * G waits for a P, Ps in transit, p->lock, RV_FENCE, a sysmon that gives up (model_pown.c; what sched.lock guards is
 * one step here), the exchange by which ThreadSanitizer's builds enter. One word stands for all Ms' copies of
 * shared. */
#define IL_T 4
#define IL_V 9
#include "interleave.h"

enum { NM = 2 }; /* threads 0 and 1 may be Ms, with a coroutine each */
enum { INRT = 0, REVOKE = INRT + NM, SHARED = REVOKE + NM, SOLO, W, COUNT, FOREIGN, WORDS };
_Static_assert(WORDS <= IL_V, "");
enum { LOCKBYTE = 1, LOCKED = 2, NO_STEP = LOCKBYTE };
enum { LOST = 2, ONE = 16, REVOKED = 0xf0 };
enum { OUT, INSIDE, PLAIN };
enum { LOCKING, UNLOCKING };

enum { M_NONE, M_NO_BACKOUT, M_NO_BACKOUT_UNSEEN, M_NO_ENTER, M_NO_SECOND_LOOK, M_TWO_LOADS, M_NO_REVOKE, M_NO_LOST,
	M_NO_MEMBARRIER, M_LEAVE_RELAXED, M_SHARED_LATE, M_NO_STOP, M_SHARED_KEPT, M_SOLO_KEPT };
enum { H_REVOKED, H_SHARED, H_LOST, H_WORD, H_PLAIN, H_CAS, H_SLOW_SOLO, H_SLOW, H_BACKOUT, H_TAKEN };
static const char *const reach[] = {"refused at the gates by a count in revoke", "by shared alone", "by RV_LOST",
	"refused by the word", "a plain step", "a compare-and-swap in its stead", "the long way, solo",
	"the long way, no more solo", "enter backs out", "sysmon takes the P", NULL};

struct S {
	Il il;
	uint8_t pm, stw, want; /* owner of the P (thread + 1; 0: idle); coroutines that wait for it: under sched.lock */
	uint8_t other;         /* a coroutine of M0 that holds the mutex; it runs when the one that is modelled waits */
	uint8_t inside, world; /* somebody is in the critical section; the world is stopped: ghosts */
	struct {
		uint8_t in;        /* in the runtime, allowed to touch the P; with plain accesses to the word: ghost */
		uint8_t op, v, ok; /* a step, the word before it, whether it is done */
		uint8_t rounds, foreign;
		uint8_t m;         /* whom the foreigner stopped: thread + 1 */
	} m[IL_T];
};
#define ME (s->m[t])

static int increments; /* that must have been counted at the end */

static void invariant(const S *s)
{
	for (int t = 0; t < NM; t++) {
		if (ME.in && !ME.foreign && s->world)
			il_fail("SOLO-1: M%d is inside while the world is stopped", t);
		if (ME.in && !ME.foreign && s->pm != t + 1)
			il_fail("SOLO-1: M%d is inside without the P", t);
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
	int shared = MUT(M_NO_SECOND_LOOK) ? 0 : MUT(M_TWO_LOADS) ? ME.v : ld(s, t, SHARED);
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
	if (!ld(s, t, SHARED)) { /* gmp__alone */
		STEP("inrt = 1");
		st_rlx(s, t, INRT + t, 1);
		if (MUT(M_TWO_LOADS)) {
			STEP("load shared alone");
			ME.v = ld(s, t, SHARED);
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

/* ---- foreigners: p.c. sched.foreign is held ---------------------------------------------------------------------- */

static int sysmon(S *s, int t, int d);

/* stopworld; solo_clear, or sysmon takes the P; startworld. */
static int stop(S *s, int t, int d)
{
	BEGIN;
	STEP("stw = 1, m = p->m");
	il_drain(s, t);
	s->stw = 1;
	ME.m = MUT(M_NO_STOP) ? 0 : s->pm;
	if (ME.m) {
		STEP("revoke += ONE");
		*rmw(s, t, REVOKE + ME.m - 1) += ONE;
		if (!MUT(M_NO_MEMBARRIER))
			MEMBARRIER();
		AWAIT("inrt == 0", !ld(s, t, INRT + ME.m - 1));
	}
	s->world = !MUT(M_NO_STOP);
	STEP("the world is stopped");
	if (il_fn[t] != sysmon) {
		if (!MUT(M_SOLO_KEPT))
			st_rlx(s, t, SOLO, 0);
		if (!MUT(M_SHARED_KEPT) && !MUT(M_SHARED_LATE))
			st_rlx(s, t, SHARED, 1);
	} else if (ME.m) {
		REACHED(H_TAKEN);
		s->pm = 0;
		*rmw(s, t, REVOKE + ME.m - 1) |= LOST;
	}
	STEP("revoke -= ONE");
	s->world = 0;
	if (ME.m)
		*rmw(s, t, REVOKE + ME.m - 1) -= ONE;
	ME.m = 0;
	STEP("stw = 0");
	il_drain(s, t);
	s->stw = 0;
	if (MUT(M_SHARED_LATE)) {
		STEP("shared = 1");
		st_rlx(s, t, SHARED, 1);
	}
	END;
}

/* ---- the long way: proc.h, p.c, foreign.c, mutex.c --------------------------------------------------------------- */

static int enter(S *s, int t, int d)
{
	BEGIN;
	if (ME.foreign) {
		LOCK(FOREIGN);
		if (ld(s, t, SOLO))
			CALL(stop);
		RETURN;
	}
	for (;;) { /* enter_slow begins with an exchange; a store is weaker */
		st_rlx(s, t, INRT + t, 1);
		STEP("[3] load revoke");
		if (ld(s, t, REVOKE + t) & REVOKED) {
			REACHED(H_BACKOUT);
			st(s, t, INRT + t, 0);
			AWAIT("wait_revoked", !(ld(s, t, REVOKE + t) & REVOKED));
		} else if (ld(s, t, REVOKE + t) & LOST) {
			s->want++;
			AWAIT("reacquire", !s->pm && !s->stw);
			s->want--;
			s->pm = (uint8_t)(t + 1);
			STEP("revoke &= ~LOST");
			*rmw(s, t, REVOKE + t) &= (uint8_t)~LOST;
		} else {
			break;
		}
	}
	ME.in = INSIDE;
	END;
}

/* lock or unlock. */
static int act(S *s, int t, int d)
{
	BEGIN;
	if (!ME.foreign) {
		CALL(word_step); /* inline */
		if (!ME.ok)
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

static int locker(S *s, int t, int d)
{
	BEGIN;
	for (; ME.rounds; ME.rounds--) {
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
	}
	STEP("computes");
	user(s, t);
	ME.op = ME.v = ME.ok = 0;
	END;
}

/* Of a foreign thread that trims, dumps or the like. */
static int stopper(S *s, int t, int d)
{
	BEGIN;
	CALL(enter);
	CALL(stop);
	UNLOCK(FOREIGN);
	END;
}

static int sysmon(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("a coroutine wants the P", s->want && s->pm);
		LOCK(FOREIGN);
		CALL(stop);
		UNLOCK(FOREIGN);
	}
	END;
}

static void terminal(const S *s)
{
	for (int t = il_threads; t-- > 0;)
		if (!s->il.done[t] && il_fn[t] != sysmon)
			il_fail("stuck: %s", il_thread_name[t]);
	if (s->il.v[COUNT] != increments || s->il.v[W])
		il_fail("SY-1: counted to %d of %d, word %d", s->il.v[COUNT], increments, s->il.v[W]);
}

/* Solo. M0 has the P. kinds: coroutine, foreigner, stopper, sYsmon. */
static void begin(S *s, const char *kinds, int rounds)
{
	s->pm = s->il.v[SOLO] = 1;
	s->il.v[REVOKE + 1] = LOST;
	increments = 0;
	for (int t = 0; kinds[t]; t++) {
		char k = kinds[t];
		ME.foreign = k != 'c';
		ME.rounds = (uint8_t)(k == 'c' || k == 'f' ? rounds : 0);
		increments += ME.rounds;
		il_thread(k == 'c' ? "coroutine" : k == 'f' ? "foreigner" : k == 's' ? "stopper" : "sysmon",
			k == 's' ? stopper : k == 'y' ? sysmon : locker);
	}
}
static void two(S *s) { begin(s, "cf", 2); }
static void two_weak(S *s)
{
	il_weak = true;
	begin(s, "cf", 2);
}
static void again(S *s)
{
	begin(s, "cfs", 2);
	s->other = 1;
	s->il.v[W] = LOCKED;
}
static void retaken(S *s) { begin(s, "ccyf", 1); }

static const IlRun runs[] = {
	{"a foreign thread", two, 0, NULL},
	{"a foreign thread, weak stores", two_weak, 0, NULL},
	{"the mutex is held; the world stops again", again, 0, NULL},
	{"two coroutines, one P", retaken, 0, NULL},

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
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_solo", sizeof(S), invariant, terminal, reach, runs,
		sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
