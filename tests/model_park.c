/* SPDX-License-Identifier: MIT
 * model_park.c - park and ready (sched.h, park.c, cancel.c: PK-1..PK-6) by exhaustive interleaving. G0 waits on one object
 * after the other: plainly, with a deadline, without one but contested. G1 gives each object one token, a timer runs on
 * another M, a canceller stops the world. An object that gave its token is freed by G0 as soon as the wait has returned.
 *
 * Left out: how the world is stopped (model_pown.c: here a thread cannot enter while it is), which queue a ready G is on. */
#define IL_T 4
#define IL_V 16
#define IL_DEPTH 5
#include "interleave.h"

enum { NM = 3, NOBJ = 3, PARKLOCK = NOBJ }; /* Ms: of G0, of G1, of the timer. Object NOBJ - 1: one that is gone long since */
enum { LCK = 0, INRT = LCK + NOBJ + 1, CLAIM = INRT + NM, STATUS, WAITLOCK, RET, WORDS };
_Static_assert(WORDS <= IL_V, "");
enum { GRUNNING = 1, GRUNNABLE, GWAITING, GENDED };
enum { R_OK = 1, R_TIMEDOUT, R_CANCELED };
enum { PLAIN = 'p', TIMED = 't', ENDLESS = 'n' };

enum { M_NONE, M_UNLOCK_EARLY, M_NO_CLAIM, M_CLAIM_PLAIN, M_TIMER_SKIPS_LOCK, M_WAITLOCK_LATE, M_UNLOCK_LATE, M_RET_LATE,
	M_CANCEL_RUNNING, M_SAME_SEQ, M_CANCEL_NO_CLAIM, M_TIMER_LEAVES_SUDOG };
enum { H_AT_ONCE, H_HANDED, H_TIMEOUT, H_CANCELLED, H_LATE_TIMER, H_SKIPPED, H_BEFORE_COMMIT };
static const char *const reach[] = {"token found at once", "token handed to a waiter", "time-out", "cancellation", "timer that comes late",
	"waker skips a waiter whose wait is over", "timer before the park has committed", NULL};

typedef struct Obj {
	uint8_t tokens, queued, contested; /* queued: G0's Sudog is on its queue */
	uint8_t freed;
} Obj;

struct S {
	Il il;
	Obj obj[NOBJ];
	uint8_t at;        /* G0's operation */
	uint8_t waitq;     /* gp->waitq: object + 1 */
	uint8_t saved;     /* G0's registers are in its gobuf: ghost */
	uint8_t ready;     /* G0 is on a run queue */
	uint8_t seq;       /* of the wait that goes on */
	uint8_t cancelled; /* GF_CANCELLED */
	uint8_t armed, tseq; /* the timer: seq it was started with */
	uint8_t copy;      /* seq of the popped timer */
	uint8_t won, k, lck;  /* locals of the waker: what it dequeued, its object; of the timer: the lock */
	uint8_t sent, got; /* ghosts */
	uint8_t world, end;
};

static const char *script;

static void obj_use(const S *s, int k)
{
	if (k < NOBJ && s->obj[k].freed)
		il_fail("PK-4: object %d is used after it was freed", k);
}

static void invariant(const S *s)
{
	if (s->il.v[STATUS] == GRUNNABLE && s->ready > 1)
		il_fail("PK-2: two readies");
}

static void setstatus(S *s, int t, int from, int to)
{
	if (ld(s, t, STATUS) != from)
		il_fail("PK-2: state %d -> %d, but it is %d", from, to, ld(s, t, STATUS));
	st(s, t, STATUS, to);
}

#define ENTER() do { \
	AWAIT("enter", !s->world); \
	*rmw(s, t, INRT + t) = 1; \
} while (0)
#define LOCKBYTE(k) do { \
	AWAIT("lock byte", *rmw(s, t, LCK + (k)) == 0); \
	obj_use(s, k); \
	*rmw(s, t, LCK + (k)) = 1; \
} while (0)

/* Someone who owns the end of the wait, PK-2. */
static void ready(S *s, int t, int from)
{
	if (!s->saved)
		il_fail("PK-1: G0 is made ready before its registers are saved");
	setstatus(s, t, from, GRUNNABLE);
	il_drain(s, t); /* the run queue is taken over by a switch of this thread or through p->lock */
	s->ready++;
}

static bool claim(S *s, int t, int seq)
{
	uint8_t *c = rmw(s, t, CLAIM);
	if (*c != seq)
		return false;
	*c = (uint8_t)(seq | 1);
	return true;
}

/* ---- G0 and its M ------------------------------------------------------------------------------------------------------ */

static int wait_on(S *s, int t, int d)
{
#define K s->at
	BEGIN;
	ENTER();
	LOCKBYTE(K);
	if (s->obj[K].tokens) {
		s->obj[K].tokens--;
		REACHED(H_AT_ONCE);
		st(s, t, LCK + K, 0);
		st(s, t, INRT + t, 0);
		st(s, t, RET, R_OK);
		RETURN;
	}
	if (s->cancelled) {
		st(s, t, LCK + K, 0);
		st(s, t, INRT + t, 0);
		st(s, t, RET, R_CANCELED);
		RETURN;
	}
	s->obj[K].contested = script[K] != PLAIN;
	if (s->obj[K].contested) { /* claim_begin */
		s->seq = (uint8_t)(MUT(M_SAME_SEQ) ? 2 : (ld(s, t, CLAIM) & ~1) + 2);
		st(s, t, CLAIM, s->seq);
	}
	s->obj[K].queued = 1;
	if (script[K] != PLAIN && !MUT(M_WAITLOCK_LATE)) /* gmp__park_until */
		st_rlx(s, t, WAITLOCK, K);
	if (script[K] == TIMED) {
		STEP("start the timer"); /* under the heap's lock */
		il_drain(s, t);
		s->armed = 1;
		s->tseq = s->seq;
	}
	STEP("park_sw");
	st_rlx(s, t, WAITLOCK, K);
	s->waitq = (uint8_t)(K + 1);
	setstatus(s, t, GRUNNING, GWAITING);
	if (MUT(M_UNLOCK_EARLY))
		st(s, t, LCK + K, 0);
	STEP("save registers");
	s->saved = 1;
	if (!MUT(M_UNLOCK_EARLY)) /* the landing */
		st(s, t, LCK + K, 0);
	st(s, t, INRT + t, 0);
	/* This M goes on with something else. Whoever resumes G0, what follows is this thread's: G0's. */
	AWAIT("resume G0", s->ready && !s->world);
	s->saved = 0;
	s->ready--;
	setstatus(s, t, GRUNNABLE, GRUNNING);
	il_drain(s, t);
	if (s->armed) { /* gmp__park_timer_end */
		ENTER();
		s->armed = 0;
		st(s, t, INRT + t, 0);
	}
	END;
}

static int g0(S *s, int t, int d)
{
	BEGIN;
	for (s->at = 0; script[s->at]; s->at++) {
		CALL(wait_on);
		STEP("the wait has returned");
		if (ld(s, t, RET) == R_OK) {
			s->got++;
			s->obj[K].freed = 1; /* its only token has come */
		} else if (ld(s, t, RET) == R_TIMEDOUT && script[K] != TIMED) {
			il_fail("PK-6: a wait without deadline timed out");
		} else if (!ld(s, t, RET)) {
			il_fail("PK-4: the wait returns without a result");
		}
		if (s->waitq || s->obj[K].queued)
			il_fail("Sudog on a queue after the wait");
		st(s, t, RET, 0);
	}
	s->end = 1;
	END;
#undef K
}

/* ---- wakers ------------------------------------------------------------------------------------------------------------ */

/* G1, on its M: one token for each object. */
static int sender(S *s, int t, int d)
{
#define K s->k
	BEGIN;
	for (K = 0; script[K]; K++) {
		ENTER();
		LOCKBYTE(K);
		s->won = 0;
		if (s->obj[K].queued) { /* waitq_claim */
			if (!s->obj[K].contested || MUT(M_NO_CLAIM)) {
				s->won = 1;
			} else {
				STEP("load claim");
				s->won = ld(s, t, CLAIM);
				STEP("claim");
				s->won = !(s->won & 1) && claim(s, t, s->won);
				if (!s->won)
					REACHED(H_SKIPPED);
			}
		}
		if (s->won) {
			s->obj[K].queued = 0;
			s->waitq = 0;
			if (ld(s, t, STATUS) != GWAITING)
				il_fail("PK-1: element written while its G runs");
			REACHED(H_HANDED);
		} else {
			s->obj[K].tokens++;
		}
		s->sent++;
		if (!MUT(M_UNLOCK_LATE) || !s->won)
			st(s, t, LCK + K, 0);
		if (s->won) { /* waiter_wake */
			if (!MUT(M_RET_LATE))
				st(s, t, RET, R_OK);
			STEP("ready");
			ready(s, t, GWAITING);
			if (MUT(M_RET_LATE)) {
				STEP("ret, late");
				st(s, t, RET, R_OK);
			}
			if (MUT(M_UNLOCK_LATE)) {
				STEP("unlock, late");
				obj_use(s, K);
				st(s, t, LCK + K, 0);
			}
		}
		s->won = 0;
		st(s, t, INRT + t, 0);
	}
	K = 0;
	END;
#undef K
}

/* An M that runs due timers. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the timer", !s->world && (s->armed || s->end));
		if (!s->armed)
			break;
		s->armed = 0;
		*rmw(s, t, INRT + t) = 1;
		s->copy = s->tseq;
		STEP("claim"); /* timed_out */
		if (!claim(s, t, s->copy)) {
			REACHED(H_LATE_TIMER);
		} else {
			STEP("load waitlock");
			s->lck = ld(s, t, WAITLOCK);
			if (ld(s, t, STATUS) == GRUNNING)
				REACHED(H_BEFORE_COMMIT);
			if (!MUT(M_TIMER_SKIPS_LOCK))
				LOCKBYTE(s->lck);
			if (s->waitq && !MUT(M_TIMER_LEAVES_SUDOG)) {
				s->obj[s->waitq - 1].queued = 0;
				s->waitq = 0;
			}
			if (!MUT(M_TIMER_SKIPS_LOCK))
				st(s, t, LCK + s->lck, 0);
			st(s, t, RET, R_TIMEDOUT);
			STEP("ready");
			ready(s, t, GWAITING);
			REACHED(H_TIMEOUT);
		}
		s->copy = s->lck = 0;
		st(s, t, INRT + t, 0);
	}
	END;
}

static int canceller(S *s, int t, int d)
{
	BEGIN;
	AWAIT("stopworld", (!s->il.v[INRT] && !s->il.v[INRT + 1] && !s->il.v[INRT + 2]) || MUT(M_CANCEL_RUNNING));
	s->world = !MUT(M_CANCEL_RUNNING);
	STEP("cancel_locked");
	s->cancelled = 1;
	if (ld(s, t, STATUS) == GWAITING) {
		s->won = 1;
		if (script[s->at] != PLAIN && !MUT(M_CANCEL_NO_CLAIM)) {
			STEP("claim");
			s->won = !(ld(s, t, CLAIM) & 1) && claim(s, t, ld(s, t, CLAIM));
		}
		if (s->won) {
			STEP("dequeue");
			if (s->waitq)
				s->obj[s->waitq - 1].queued = 0;
			s->waitq = 0;
			st(s, t, RET, R_CANCELED);
			STEP("ready");
			ready(s, t, GWAITING);
			REACHED(H_CANCELLED);
		}
		s->won = 0;
	}
	STEP("startworld");
	s->world = 0;
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t])
			il_fail("stuck: %s", il_thread_name[t]);
	int left = 0;
	for (int k = 0; k < NOBJ; k++)
		left += s->obj[k].tokens;
	if (s->sent != s->got + left)
		il_fail("PK-2: %d tokens sent, %d received, %d left", s->sent, s->got, left);
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static void begin(S *s, const char *ops, bool cancel)
{
	script = ops;
	s->obj[NOBJ - 1].freed = 1;
	s->il.v[STATUS] = GRUNNING;
	s->il.v[WAITLOCK] = NOBJ - 1;
	il_thread("G0", g0);
	il_thread("G1", sender);
	il_thread("timer", timer);
	if (cancel)
		il_thread("canceller", canceller);
}
static void plain(S *s) { begin(s, "pp", false); }
static void plain_weak(S *s)
{
	begin(s, "pp", false);
	il_weak = true;
}
static void deadline(S *s) { begin(s, "tn", false); }
static void deadlines(S *s) { begin(s, "tt", false); }
static void plain_cancel(S *s) { begin(s, "pp", true); }
static void deadline_cancel(S *s) { begin(s, "tn", true); }
static void all_weak(S *s)
{
	begin(s, "tt", true);
	il_weak = true;
}
static void mixed(S *s) { begin(s, "tp", true); }

static const IlRun runs[] = {
	{"plain waits", plain, 0, NULL},
	{"plain waits, weak stores", plain_weak, 0, NULL},
	{"deadline, then none", deadline, 0, NULL},
	{"two deadlines", deadlines, 0, NULL},
	{"plain waits and cancel", plain_cancel, 0, NULL},
	{"deadline and cancel", deadline_cancel, 0, NULL},
	{"deadline, plain wait and cancel", mixed, 0, NULL},
	{"everything, weak stores", all_weak, 0, NULL},

	{"PK-1 object unlocked before the registers are saved", plain, M_UNLOCK_EARLY, "PK-1"},
	{"PK-2 waker takes a contested waiter without claim", deadline, M_NO_CLAIM, "PK-2"},
	{"PK-2 cancel takes a contested waiter without claim", deadline_cancel, M_CANCEL_NO_CLAIM, "PK-2"},
	{"PK-2 timer leaves the Sudog queued", deadline, M_TIMER_LEAVES_SUDOG, "Sudog"},
	{"PK-3 timer does not pass through waitlock", deadline, M_TIMER_SKIPS_LOCK, "PK-1"},
	{"PK-3 waitlock set after the timer was started", deadline, M_WAITLOCK_LATE, "PK-4"},
	{"PK-4 object unlocked after ready", plain, M_UNLOCK_LATE, "PK-4"},
	{"PK-4 result written after ready", plain, M_RET_LATE, "PK-4"},
	{"PK-5 cancel while the world runs", plain_cancel, M_CANCEL_RUNNING, "PK-"},
	{"PK-6 the same sequence number for each wait", deadline, M_SAME_SEQ, "PK-"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_park", sizeof(S), invariant, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
