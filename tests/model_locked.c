/* SPDX-License-Identifier: MIT
 * model_locked.c - a G that is locked to its M (m.c LM-1) by exhaustive interleaving: the M lets go of its P when its G parks or
 * queues up, whoever finds the G brings a P. The G must always run again, on its M, and no P get lost.
 *
 * Left out: what else the Ps are used for. A P that is let go of can be had by any finder that has none. */
#define IL_T 4
#define IL_V 4
#define IL_DEPTH 4
#include "interleave.h"

enum { SCHED, NOTE };
enum { NP = 2 };
enum { M_NONE, M_NO_READY, M_READY_FOR_OWN_P, M_GIVE_ALWAYS, M_SLEEP_ONCE };
enum { H_OWN_P, H_GIVEN_EARLY, H_GIVEN_ASLEEP, H_STALE };
static const char *const reach[] = {"found while the M still has its P", "P brought before the M sleeps", "P brought to a sleeper",
	"wake-up left over", NULL};

struct S {
	Il il;
	uint8_t p[IL_T];  /* of each M: P + 1 */
	uint8_t pool;     /* Ps that nobody has: mask */
	uint8_t lockedready;
	uint8_t queued, running; /* the G is on a queue; runs */
	uint8_t rounds, gone, finds[IL_T];
};
enum { LM };

static void invariant(const S *s)
{
	uint8_t seen = s->pool;
	for (int t = 0; t < il_threads; t++) {
		if (!s->p[t])
			continue;
		if (seen >> (s->p[t] - 1) & 1)
			il_fail("LM-1: P%d has two owners", s->p[t] - 1);
		seen |= (uint8_t)(1u << (s->p[t] - 1));
	}
	if (seen != (1u << NP) - 1)
		il_fail("LM-1: a P is lost");
}

static int stoplockedm(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	if (s->p[t] && (!s->lockedready || MUT(M_NO_READY))) {
		s->pool |= (uint8_t)(1u << (s->p[t] - 1)); /* releasep, handoffp */
		s->p[t] = 0;
	}
	UNLOCK(SCHED);
	LOCK(SCHED);
	if (MUT(M_NO_READY) ? !s->p[t] : !s->lockedready) {
		UNLOCK(SCHED);
		do {
			AWAIT("notesleep", *rmw(s, t, NOTE));
			*rmw(s, t, NOTE) = 0;
			if (!s->p[t])
				REACHED(H_STALE);
		} while (!s->p[t] && !MUT(M_SLEEP_ONCE));
		LOCK(SCHED);
	}
	s->lockedready = 0;
	UNLOCK(SCHED);
	END;
}

/* The M: its G parks or yields, time and again. */
static int lm(S *s, int t, int d)
{
	BEGIN;
	for (; s->rounds; s->rounds--) {
		s->running = 1;
		STEP("the G parks, yields, or has lost its P");
		s->running = 0;
		if (il_choose(2)) { /* a waker, or the G itself, puts it on a queue */
			s->queued++;
		} else { /* its P has gone to somebody else */
			s->pool |= (uint8_t)(1u << (s->p[t] - 1));
			s->p[t] = 0;
		}
		if (!s->queued) {
			STEP("reacquire_g0");
			s->queued++;
		}
		CALL(stoplockedm);
		STEP("goes on with its G");
		if (s->queued || s->running || !s->gone)
			il_fail("LM-1: runs its G, which nobody has found");
		if (!s->p[t])
			il_fail("LM-1: runs its G without a P");
		s->gone = 0;
	}
	END;
}

static int finder(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		if (!s->p[t]) {
			AWAIT("takes a P", s->pool && s->il.v[SCHED] == 0);
			s->p[t] = (uint8_t)(__builtin_ctz(s->pool) + 1);
			s->pool &= (uint8_t)~(1u << (s->p[t] - 1));
		}
		AWAIT("finds the G", s->queued);
		s->queued--;
		LOCK(SCHED); /* startlockedm */
		s->gone++;
		if (s->p[LM] && !MUT(M_GIVE_ALWAYS)) {
			s->lockedready = 1;
			REACHED(H_OWN_P);
			UNLOCK(SCHED);
			continue;
		}
		s->p[LM] = s->p[t];
		s->p[t] = 0;
		if (!MUT(M_READY_FOR_OWN_P))
			s->lockedready = 1;
		UNLOCK(SCHED);
		STEP("notewakeup");
		if (s->il.pc[LM][1])
			REACHED(H_GIVEN_ASLEEP);
		else
			REACHED(H_GIVEN_EARLY);
		*rmw(s, t, NOTE) = 1;
	}
	END;
}

static void terminal(const S *s)
{
	if (!s->il.done[LM])
		il_fail("LM-1: the G never runs again");
}

static void begin(S *s)
{
	s->rounds = 4;
	s->p[LM] = 1;
	s->p[1] = 2;
	il_thread("M", lm);
	il_thread("finder", finder);
	il_thread("finder 2", finder);
}

static const IlRun runs[] = {
	{"a locked G, two finders", begin, 0, NULL},
	{"LM-1 lockedready is not looked at", begin, M_NO_READY, "LM-1"},
	{"LM-1 lockedready only if the M has its own P", begin, M_READY_FOR_OWN_P, "LM-1"},
	{"LM-1 P given to an M that has one", begin, M_GIVE_ALWAYS, "LM-1"},
	{"LM-1 woken for good by an old wake-up", begin, M_SLEEP_ONCE, "LM-1"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_locked", sizeof(S), invariant, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
