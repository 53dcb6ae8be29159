/* SPDX-License-Identifier: MIT
 * model_barrier.c - the shared membarrier (barrier.c, BA-1..BA-3) by exhaustive interleaving: owners that enter by a plain
 * store and a plain load (p.c, PO-1), foreigners who stop them; submitters and idlers (sched.c, WK-3), who lean on it likewise.
 * The functions bear the names of the real ones and follow their steps.
 *
 * Foreigners and idlers store plainly what they promise to have stored: barrier() answers for that, though most callers happen
 * to read, modify and write. How long a waiter has patience is left to chance.
 *
 * Left out: the wrap of sched.barrier, p->lock, p->m and the count in revoke (model_pown.c; each P has one foreigner here),
 * searchers (model_wake.c). Weak stores, too: no thread has two words on their way at a time. So one mutation would be harmless,
 * done published by a relaxed store: the owners' stores were drained by the kernel, not by who tells, and of its own none is left
 * behind the membarrier that it might overtake. */
#define IL_T 4
#define IL_V 5
#define IL_BUF 3
#define IL_DEPTH 3
#include "interleave.h"

enum { MINE = 0, THEIRS = MINE + 2, BARRIER = THEIRS + 2 };
#define INRT (MINE + s->p[t])      /* the cheap side's word of each pair ... */
#define QUEUE (MINE + s->p[t])
#define REVOKE (THEIRS + s->p[t])  /* ... and the one of who pays */
#define HINT (THEIRS + s->p[t])

enum { M_NONE, M_UNDER_WAY_COUNTS, M_NO_FENCE, M_DONE_EARLY, M_LOOK_RELAXED, M_PLAIN_STORE, M_NO_MEMBARRIER, M_IMPATIENT_NONE,
	M_PATIENT };

enum { R_SERVED, R_SECOND, R_IMPATIENT, R_TURN, R_LOST, R_MIXED, R_BACKOUT, R_GIVEUP, R_USED, R_FOUND, R_WOKEN };
static const char *const reach[] = {"served by another's barrier", "waited for the second one", "an impatient one has its own",
	"waited, then had its turn", "lost the compare-and-swap", "an idler served by a foreigner's", "owner backs out",
	"foreigner gives up", "foreigner uses the P", "idler finds what was queued", "idler is woken", NULL};

struct S {
	Il il;
	uint8_t p[IL_T], rounds[IL_T];
	struct {
		uint8_t now, enough;
		uint8_t waited, under_way; /* for the reach-checks: it looked twice; one was under way when it came */
		uint8_t saw;               /* M_LOOK_RELAXED: 1 + inrt before the last look */
		uint8_t idler;
		uint8_t unlucky, nocpu;    /* it loses its CPU as soon as others wait for it; it has */
	} f[IL_T];
	uint8_t own[2], fuse[2]; /* who uses the P: ghost */
	uint8_t note[2];
	uint8_t by_foreigner;    /* the last barrier was: ghost */
};

static void invariant(const S *s)
{
	for (int p = 0; p < 2; p++)
		if (s->own[p] && s->fuse[p])
			il_fail("PO-1: P%d is used by two", p);
}

/* ---- barrier.c -------------------------------------------------------------------------------------------------------- */

static int membarrier_now(S *s, int t, int d)
{
	BEGIN;
	MEMBARRIER();
	END;
}

static void forget(S *s, int t)
{
	s->f[t].now = s->f[t].enough = s->f[t].waited = s->f[t].under_way = 0;
}

static int barrier(S *s, int t, int d)
{
#define F s->f[t]
	BEGIN;
	if (!MUT(M_NO_FENCE))
		FENCE();
	STEP("read sched.barrier");
	F.now = ld(s, t, BARRIER);
	F.under_way = F.now & 1;
	F.enough = (uint8_t)(MUT(M_UNDER_WAY_COUNTS) ? F.now + 2 - F.under_way : F.now + 2 + F.under_way);
	for (;;) {
		if (F.now >= F.enough) {
			REACHED(F.under_way ? R_SECOND : R_SERVED);
			if (F.idler && s->by_foreigner)
				REACHED(R_MIXED);
			forget(s, t);
			RETURN;
		}
		if (!(F.now & 1)) {
			STEP("compare and swap");
			if (MUT(M_PLAIN_STORE)) {
				st(s, t, BARRIER, F.now + 1);
				break;
			}
			if (*rmw(s, t, BARRIER) == F.now) {
				*rmw(s, t, BARRIER) = (uint8_t)(F.now + 1);
				break;
			}
			REACHED(R_LOST);
		}
		if (MUT(M_LOOK_RELAXED)) {
			STEP("inrt, before its time");
			F.saw = (uint8_t)(1 + ld(s, t, INRT));
		}
		STEP("look at sched.barrier");
		if (il_choose(2) && !MUT(M_PATIENT)) {
			REACHED(R_IMPATIENT);
			F.saw = 0;
			forget(s, t);
			if (!MUT(M_IMPATIENT_NONE))
				CALL(membarrier_now);
			RETURN;
		}
		F.now = ld(s, t, BARRIER);
		F.waited = 1;
	}
	if (F.waited)
		REACHED(R_TURN);
	F.saw = F.enough = F.waited = F.under_way = 0;
	if (F.unlucky) {
		F.nocpu = 1;
		AWAIT("has no CPU", false);
	}
	if (MUT(M_DONE_EARLY)) {
		STEP("done, too early");
		st(s, t, BARRIER, F.now + 2);
	}
	if (!MUT(M_NO_MEMBARRIER))
		CALL(membarrier_now);
	if (!MUT(M_DONE_EARLY)) {
		STEP("done");
		st(s, t, BARRIER, F.now + 2);
	}
	s->by_foreigner = !F.idler;
	forget(s, t);
	END;
}

/* ---- p.c -------------------------------------------------------------------------------------------------------------- */

static int owner(S *s, int t, int d)
{
	BEGIN;
	for (; s->rounds[t]; s->rounds[t]--) {
		STEP("[1] inrt = 1");
		st(s, t, INRT, 1);
		STEP("[3] load revoke");
		while (ld(s, t, REVOKE)) {
			REACHED(R_BACKOUT);
			st(s, t, INRT, 0);
			AWAIT("wait_revoked", !ld(s, t, REVOKE));
			STEP("inrt <-> 1");
			*rmw(s, t, INRT) = 1;
			STEP("load revoke");
		}
		s->own[s->p[t]] = 1;
		STEP("[4] use the P");
		s->own[s->p[t]] = 0;
		st(s, t, INRT, 0);
	}
	END;
}

static int foreigner(S *s, int t, int d)
{
	bool in;
	BEGIN;
	for (; s->rounds[t]; s->rounds[t]--) {
		STEP("[b] revoke = 1");
		st(s, t, REVOKE, 1);
		CALL(barrier);
		STEP("[d] inrt == 0 ?");
		in = F.saw ? F.saw - 1 : ld(s, t, INRT);
		F.saw = 0;
		if (in) {
			REACHED(R_GIVEUP);
		} else {
			REACHED(R_USED);
			s->fuse[s->p[t]] = 1;
			STEP("[e] use the P");
			s->fuse[s->p[t]] = 0;
		}
		STEP("[f] revoke = 0");
		*rmw(s, t, REVOKE) = 0;
	}
	END;
}

/* Whatever it asks for its own sake, somebody else may be served by it. */
static int caller(S *s, int t, int d)
{
	BEGIN;
	for (; s->rounds[t]; s->rounds[t]--)
		CALL(barrier);
	END;
}

/* ---- sched.c ---------------------------------------------------------------------------------------------------------- */

static int submitter(S *s, int t, int d)
{
	BEGIN;
	STEP("runq_put");
	st(s, t, QUEUE, 1);
	STEP("wakep: anybody idle ?");
	if (ld(s, t, HINT)) {
		STEP("notewakeup");
		s->note[s->p[t]] = 1;
	}
	END;
}

static int idler(S *s, int t, int d)
{
	BEGIN;
	F.idler = 1;
	STEP("pidleput");
	st(s, t, HINT, 1);
	CALL(barrier);
	STEP("anything queued ?");
	if (ld(s, t, QUEUE)) {
		REACHED(R_FOUND);
	} else {
		AWAIT("notesleep", s->note[s->p[t]]);
		REACHED(R_WOKEN);
	}
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && !s->f[t].nocpu)
			il_fail("stuck: %s", il_thread_name[t]);
}

/* ---- runs ------------------------------------------------------------------------------------------------------------- */

static void add(S *s, const char *name, IlFn *fn, int p, int rounds)
{
	s->p[il_threads] = (uint8_t)p;
	s->rounds[il_threads] = (uint8_t)rounds;
	il_thread(name, fn);
}

/* Each thread is a CPU, and a membarrier drains them in the order in which they are added. */
static void thieves(S *s)
{
	add(s, "owner 0", owner, 0, 1);
	add(s, "owner 1", owner, 1, 1);
	add(s, "foreigner 0", foreigner, 0, 2);
	add(s, "foreigner 1", foreigner, 1, 2);
}
static void thieves_longer(S *s)
{
	thieves(s);
	s->rounds[0] = 2;
}
static void owners_last(S *s)
{
	add(s, "foreigner 0", foreigner, 0, 1);
	add(s, "foreigner 1", foreigner, 1, 1);
	add(s, "owner 0", owner, 0, 2);
	add(s, "owner 1", owner, 1, 2);
}
/* To break BA-1 takes three: one that is far along, one that comes late with what it had read, one that believes it. */
static void three(S *s)
{
	add(s, "owner 0", owner, 0, 1);
	add(s, "foreigner 0", foreigner, 0, 1);
	add(s, "caller", caller, 1, 2);
	add(s, "caller 2", caller, 1, 1);
}
static void no_cpu(S *s)
{
	add(s, "owner 0", owner, 0, 2);
	add(s, "foreigner 0", foreigner, 0, 2);
	add(s, "caller", caller, 1, 1);
	s->f[2].unlucky = 1;
}
static void idlers(S *s)
{
	add(s, "submitter 0", submitter, 0, 0);
	add(s, "submitter 1", submitter, 1, 0);
	add(s, "idler 0", idler, 0, 0);
	add(s, "idler 1", idler, 1, 0);
}
static void mixed(S *s)
{
	add(s, "owner 0", owner, 0, 1);
	add(s, "submitter 1", submitter, 1, 0);
	add(s, "foreigner 0", foreigner, 0, 2);
	add(s, "idler 1", idler, 1, 0);
}

static const IlRun runs[] = {
	{"two owners, two foreigners, twice", thieves, 0, NULL},
	{"two owners, one of them twice, two foreigners, twice", thieves_longer, 0, NULL},
	{"two owners, twice, are drained last", owners_last, 0, NULL},
	{"three at once", three, 0, NULL},
	{"who has the barrier has no CPU", no_cpu, 0, NULL},
	{"two submitters, two idlers", idlers, 0, NULL},
	{"owner and foreigner, submitter and idler", mixed, 0, NULL},

	{"BA-1 plain store in place of compare-and-swap", three, M_PLAIN_STORE, "PO-1"},
	{"BA-2 a barrier under way counts", thieves, M_UNDER_WAY_COUNTS, "PO-1"},
	{"BA-2 a barrier under way counts, idlers", idlers, M_UNDER_WAY_COUNTS, "stuck"},
	{"BA-2 no fence before sched.barrier is read", thieves, M_NO_FENCE, "PO-1"},
	{"BA-2 no fence before sched.barrier is read, idlers", idlers, M_NO_FENCE, "stuck"},
	{"BA-2 done is published before the membarrier, idlers", idlers, M_DONE_EARLY, "stuck"},
	{"BA-2 done is published before the membarrier", thieves, M_DONE_EARLY, "PO-1"},
	{"BA-2 done is read by a relaxed load", thieves, M_LOOK_RELAXED, "PO-1"},
	{"BA-3 an impatient one goes without", thieves, M_IMPATIENT_NONE, "PO-1"},
	{"BA-3 patience without end", no_cpu, M_PATIENT, "no end"},
	{"PO-1 no membarrier", thieves, M_NO_MEMBARRIER, "PO-1"},
	{"WK-3 no membarrier", idlers, M_NO_MEMBARRIER, "stuck"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_barrier", sizeof(S), invariant, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
