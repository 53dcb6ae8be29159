/* SPDX-License-Identifier: MIT
 * model_timer.c - nobody oversleeps a timer (timer.c TM-1, idle_poll in sched.c) by exhaustive interleaving: foreign threads and
 * Ms that go idle add timers, Ms go to sleep in the poller or on their note. When nobody moves any more and a P is idle, somebody
 * must be polling with a time-out no later than the earliest timer.
 *
 * Left out: timers that expire for good (a sleeper that wakes looks again), work (model_wake.c), an owner that computes (sysmon's matter),
 * and TM-7: time has no lengths here, and what gathers is served 0.4 ms after polluntil at most. */
#define IL_T 5
#define IL_V 12
#define IL_BUF 6
#include "interleave.h"

enum { NP = 2, NEVER = 9 };
enum { MINWHEN = 0, HEAPLOCK = MINWHEN + NP, POLLING = HEAPLOCK + NP, POLLUNTIL, SCHED, HINT, NSPIN, NOTE /* + thread */ };

enum { M_NONE, M_NO_FENCE, M_LOOK_FIRST, M_NO_SECOND_LOOK, M_NO_BREAK, M_NO_WAKE, M_POLLUNTIL_BEHIND, M_IGNORE_POLLER, M_SLEEP_LONGER,
	M_START_BLIND, M_MOVE_TWICE };
enum { H_BREAK, H_WAKE, H_SECOND, H_REMOVED, H_OTHER, H_STOOD };
static const char *const reach[] = {"adder breaks the poll", "adder wakes an M", "poller's second look finds an earlier timer",
	"poller's timer is removed meanwhile", "idler breaks another one's poll", "poller finds no P while the world stands", NULL};

struct S {
	Il il;
	uint8_t pidle, midle, broken, stw, got[IL_T];
	struct {
		uint8_t p, spinning, until, i, hp, m, when, polls, adds; /* polls: in the poller, until then */
	} m[IL_T];
};

static int procs;

static uint8_t p_get(S *s, int t)
{
	if (!s->pidle || s->stw)
		return 0;
	uint8_t p = (uint8_t)(__builtin_ctz(s->pidle) + 1);
	s->pidle &= (uint8_t)~(1u << (p - 1));
	if (!s->pidle)
		*rmw(s, t, HINT) = 0;
	return p;
}

static int wakep(S *s, int t, int d)
{
	BEGIN;
	STEP("load hints");
	if (!ld(s, t, HINT))
		RETURN;
	STEP("load nmspinning");
	if (ld(s, t, NSPIN))
		RETURN;
	STEP("nmspinning: 0 -> 1");
	if (*rmw(s, t, NSPIN))
		RETURN;
	*rmw(s, t, NSPIN) = 1;
	AWAIT("lock SCHED, a thread", *rmw(s, t, SCHED) == 0 && (s->midle || !s->pidle || s->stw)); /* startm: a new one, too */
	s->m[t].hp = p_get(s, t);
	if (s->m[t].hp) {
		s->m[t].m = (uint8_t)__builtin_ctz(s->midle);
		s->midle &= (uint8_t)~(1u << s->m[t].m);
		s->got[s->m[t].m] = s->m[t].hp;
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->m[t].m) = 1;
		REACHED(H_WAKE);
	} else {
		*rmw(s, t, NSPIN) -= 1;
	}
	s->m[t].hp = s->m[t].m = 0;
	END;
}

/* gmp__timer_add to P `i`. */
static int add(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + s->m[t].i);
	STEP("minwhen");
	if (s->m[t].when < ld(s, t, MINWHEN + s->m[t].i))
		st(s, t, MINWHEN + s->m[t].i, s->m[t].when);
	st(s, t, HEAPLOCK + s->m[t].i, 0);
	END;
}

/* A foreign thread's gmp__timer_start: to P 0. */
static int adder(S *s, int t, int d)
{
	BEGIN;
	if (MUT(M_LOOK_FIRST)) {
		STEP("load polling, too early");
		s->m[t].polls = ld(s, t, POLLING);
		STEP("load polluntil, too early");
		s->m[t].until = ld(s, t, POLLUNTIL);
	}
	CALL(add);
	if (!MUT(M_NO_FENCE))
		FENCE();
	if (!MUT(M_LOOK_FIRST)) {
		STEP("load polling");
		s->m[t].polls = ld(s, t, POLLING);
	}
	if (s->m[t].polls) {
		STEP("load polluntil");
		if (!MUT(M_LOOK_FIRST))
			s->m[t].until = ld(s, t, POLLUNTIL);
		if (s->m[t].until > s->m[t].when && !MUT(M_IGNORE_POLLER)) {
			STEP("netpoll_break");
			il_drain(s, t);
			s->broken = 1;
			REACHED(H_BREAK);
		}
	} else if (!MUT(M_NO_WAKE)) {
		CALL(wakep);
	}
	s->m[t].polls = s->m[t].until = 0;
	END;
}

/* Somebody takes the only timer out of P 1's heap. */
static int remover(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + 1);
	STEP("minwhen");
	st(s, t, MINWHEN + 1, NEVER);
	st(s, t, HEAPLOCK + 1, 0);
	END;
}

/* gmp__timer_pop of the only timer of P 1, a periodic one. */
static int mover(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + 1);
	if (MUT(M_MOVE_TWICE)) {
		STEP("minwhen without it");
		st(s, t, MINWHEN + 1, NEVER);
	}
	STEP("minwhen: its next time");
	st(s, t, MINWHEN + 1, 4);
	st(s, t, HEAPLOCK + 1, 0);
	END;
}

static int timers_min(S *s, int t, int d)
{
	BEGIN;
	s->m[t].until = NEVER;
	for (s->m[t].i = 0; s->m[t].i < procs; s->m[t].i++) {
		STEP("load minwhen");
		if (ld(s, t, MINWHEN + s->m[t].i) < s->m[t].until)
			s->m[t].until = ld(s, t, MINWHEN + s->m[t].i);
	}
	s->m[t].i = 0;
	END;
}

/* The M has no P; has one afterwards if it is to look again. */
static int idle_poll(S *s, int t, int d)
{
	BEGIN;
	CALL(timers_min);
	if (s->m[t].until == NEVER)
		RETURN;
	STEP("polling: 0 -> 1");
	if (*rmw(s, t, POLLING)) {
		STEP("load polluntil");
		if (ld(s, t, POLLUNTIL) > s->m[t].until && !MUT(M_NO_BREAK)) {
			STEP("netpoll_break");
			s->broken = 1;
			REACHED(H_OTHER);
		}
		RETURN;
	}
	*rmw(s, t, POLLING) = 1;
	if (!MUT(M_POLLUNTIL_BEHIND)) {
		STEP("polluntil = until");
		*rmw(s, t, POLLUNTIL) = s->m[t].until;
	}
	s->m[t].hp = s->m[t].until;
	if (!MUT(M_NO_SECOND_LOOK))
		CALL(timers_min);
	if (s->m[t].until < s->m[t].hp)
		REACHED(H_SECOND);
	if (s->m[t].until > s->m[t].hp) {
		REACHED(H_REMOVED);
		if (!MUT(M_SLEEP_LONGER))
			s->m[t].until = s->m[t].hp;
	}
	s->m[t].hp = 0;
	if (MUT(M_POLLUNTIL_BEHIND)) {
		STEP("polluntil = until, too late");
		*rmw(s, t, POLLUNTIL) = s->m[t].until;
	}
	STEP("netpoll");
	s->m[t].polls = s->m[t].until;
	AWAIT("netpoll returns", s->broken);
	s->broken = 0;
	s->m[t].polls = 0;
	STEP("polluntil = 0");
	*rmw(s, t, POLLUNTIL) = 0;
	LOCK(SCHED);
	*rmw(s, t, POLLING) = 0;
	s->m[t].p = p_get(s, t);
	if (!s->m[t].p && s->stw)
		REACHED(H_STOOD);
	UNLOCK(SCHED);
	END;
}

/* A foreign thread's stopworld and startworld; whoever has a P is none of its concern here. */
static int stopper(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->stw = 1;
	UNLOCK(SCHED);
	LOCK(SCHED); /* startworld */
	s->stw = 0;
	if (!MUT(M_START_BLIND)) {
		CALL(timers_min);
		s->m[t].hp = s->m[t].until != NEVER && !ld(s, t, POLLING);
	}
	UNLOCK(SCHED);
	if (s->m[t].hp) {
		s->m[t].hp = 0;
		CALL(wakep);
	}
	s->m[t].until = 0;
	END;
}

static int mthread(S *s, int t, int d)
{
	BEGIN;
	if (s->midle >> t & 1)
		goto asleep;
	for (;;) {
		if (s->m[t].adds) { /* a G that it runs sleeps */
			s->m[t].adds = 0;
			s->m[t].i = (uint8_t)(s->m[t].p - 1);
			CALL(add);
			s->m[t].i = 0;
		}
		LOCK(SCHED); /* idle */
		s->pidle |= (uint8_t)(1u << (s->m[t].p - 1));
		*rmw(s, t, HINT) = 1;
		s->m[t].p = 0;
		UNLOCK(SCHED);
		if (s->m[t].spinning) {
			STEP("nmspinning--");
			s->m[t].spinning = 0;
			*rmw(s, t, NSPIN) -= 1;
		}
		CALL(idle_poll);
		s->m[t].until = 0;
		if (s->m[t].p)
			continue;
		LOCK(SCHED); /* stopm */
		s->midle |= (uint8_t)(1u << t);
		UNLOCK(SCHED);
asleep:
		AWAIT("notesleep", *rmw(s, t, NOTE + t));
		*rmw(s, t, NOTE + t) = 0;
		s->m[t].p = s->got[t];
		s->got[t] = 0;
		s->m[t].spinning = 1;
	}
	END;
}

static void terminal(const S *s)
{
	int min = NEVER, watched = NEVER;
	for (int p = 0; p < procs; p++)
		if (s->il.v[MINWHEN + p] < min)
			min = s->il.v[MINWHEN + p];
	for (int t = 0; t < il_threads; t++) {
		if (s->m[t].polls && s->m[t].polls < watched)
			watched = s->m[t].polls;
		if (!s->il.done[t] && il_fn[t] == adder)
			il_fail("stuck: %s", il_thread_name[t]);
	}
	if (min < watched && s->pidle)
		il_fail("TM-1: a timer for %d is pending, but the poller sleeps until %d", min, watched);
}

static void begin(S *s, int ps, int ms)
{
	procs = ps;
	memset(s->il.v + MINWHEN, NEVER, NP);
	for (int t = 0; t < ms; t++) {
		static const char *const names[] = {"M0", "M1", "M2"};
		il_thread(names[t], mthread);
		if (t < ps)
			s->m[t].p = (uint8_t)(t + 1);
		else
			s->midle |= (uint8_t)(1u << t);
	}
}
static void foreign(S *s, int when)
{
	s->m[il_threads].when = (uint8_t)when;
	il_thread("adder", adder);
}
static void own(S *s, int t, int when)
{
	s->m[t].adds = 1;
	s->m[t].when = (uint8_t)when;
}

static void one(S *s)
{
	begin(s, 1, 2);
	foreign(s, 1);
}
static void earlier(S *s)
{
	begin(s, 1, 2);
	own(s, 0, 5);
	foreign(s, 1);
}
static void adders(S *s)
{
	begin(s, 1, 2);
	foreign(s, 5);
	foreign(s, 1);
}
static void idlers(S *s)
{
	begin(s, 2, 2);
	own(s, 0, 5);
	own(s, 1, 1);
}
static void removal(S *s)
{
	begin(s, 2, 2);
	s->il.v[MINWHEN + 1] = 3;
	il_thread("remover", remover);
	foreign(s, 5);
}
static void periodic(S *s)
{
	begin(s, 2, 2);
	s->il.v[MINWHEN + 1] = 2;
	il_thread("mover", mover);
}
static void everybody(S *s)
{
	begin(s, 2, 3);
	own(s, 0, 5);
	own(s, 1, 3);
	foreign(s, 1);
}

static void stopped_world(S *s)
{
	earlier(s);
	il_thread("stopper", stopper);
}

static const IlRun runs[] = {
	{"foreign timer while the last M goes idle", one, 0, NULL},
	{"foreign timer earlier than the M's own", earlier, 0, NULL},
	{"two foreign timers", adders, 0, NULL},
	{"two Ms go idle, each with a timer", idlers, 0, NULL},
	{"a timer goes, a later one comes", removal, 0, NULL},
	{"a periodic timer moves on while Ms go idle", periodic, 0, NULL},
	{"two Ms with timers and a foreign one", everybody, 0, NULL},
	{"foreign timer while the world stands", stopped_world, 0, NULL},

	{"TM-1 adder without fence", earlier, M_NO_FENCE, "TM-1"},
	{"TM-1 adder looks for a poller before it publishes", earlier, M_LOOK_FIRST, "TM-1"},
	{"TM-1 poller does not look again after it published polluntil", earlier, M_NO_SECOND_LOOK, "TM-1"},
	{"TM-1 poller publishes polluntil after its last look", earlier, M_POLLUNTIL_BEHIND, "TM-1"},
	{"TM-1 poller sleeps longer than polluntil tells", removal, M_SLEEP_LONGER, "TM-1"},
	{"TM-1 idler leaves a poller alone that sleeps longer", idlers, M_NO_BREAK, "TM-1"},
	{"TM-1 adder wakes nobody when nobody polls", one, M_NO_WAKE, "TM-1"},
	{"TM-1 adder leaves a poller alone that sleeps longer", earlier, M_IGNORE_POLLER, "TM-1"},
	{"TM-1 a periodic timer is away for a moment", periodic, M_MOVE_TWICE, "TM-1"},
	{"TM-6 startworld does not look at timers", stopped_world, M_START_BLIND, "TM-1"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_timer", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
