/* SPDX-License-Identifier: MIT
 * model_join.c - the end of a coroutine and its joiners (join.c JN-1; park.c, foreign.c, cancel.c on a join's way) by
 * exhaustive interleaving. A joins, polls or detaches and spawns again from the descriptor; B takes the handle over as
 * soon as A's wait is lost, before A knows. One party releases the descriptor, nobody changes it afterwards, nobody
 * sleeps past the end, 0 comes once and with the results, any other result leaves the handle.
 *
 * Left out: solo, parking and stopping the world as such (model_park.c, model_pown.c), lists of free descriptors. */
#define IL_T 5
#define IL_V 18
#define IL_BUF 8
#define IL_DEPTH 4
#include "interleave.h"

enum { A, B, TARGET, TIMER, CANCELLER, NJ = 2 };
enum { LCK, STATUS, JOINER, DETACHED, RESULT, CLAIM, SG = CLAIM + NJ, GSTATUS = SG + NJ, RET = GSTATUS + NJ };
enum { INRT = RET + NJ, WORDS = INRT + 4 };
_Static_assert(WORDS <= IL_V, "");
enum { GIDLE, GRUNNABLE, GRUNNING, GWAITING, GDEAD };
enum { R_WAIT, R_OK, R_TIMEDOUT, R_CANCELED, R_NOMEM, R_BUSY };
enum { JOIN = 'j', TIMED = 't', POLL = 'p', NOMEM = 'm', DETACH = 'd', SPAWN = 's' };

enum { M_NONE, M_DEAD_EARLY, M_DEAD_LATE, M_LOOK_EARLY, M_UNLOCK_RELAXED, M_UNLOCK_EARLY, M_DETACH_UNLOCKED };
enum { M_NO_CLAIM = M_DETACH_UNLOCKED + 1, M_LOST_RELEASES, M_WON_KEEPS, M_FAST_CONTESTED };
enum { M_FAST_FOREIGN = M_FAST_CONTESTED + 1, M_FAST_DETACHED, M_FAST_BARGES, M_JOINER_LEFT };
enum { M_JOINER_WIPED = M_JOINER_LEFT + 1, M_JOINER_UNLOCKED, M_CANCEL_LEAVES, M_CANCEL_NO_CLAIM, M_CANCEL_RUNNING };
enum { M_NOMEM_NO_CLAIM = M_CANCEL_RUNNING + 1, M_TIMER_SKIPS_LOCK, M_FOREIGN_NO_CLAIM, M_TWO_JOINERS };
enum { M_DETACHED_LEFT = M_TWO_JOINERS + 1 };
enum { H_FAST, H_FAST_JOINED, H_TAKEN, H_NOT_PLAIN, H_COLD, H_SLOW_JOINED, H_DETACHED, H_END_LOST, H_AT_ONCE };
enum { H_BURIED = H_AT_ONCE + 1, H_TIMEOUT, H_LATE_TIMER, H_NOMEM_MET, H_PLAIN_CANCEL, H_CANCEL, H_REFUSED };
enum { H_FOREIGN = H_REFUSED + 1, H_FOREIGN_TIMEOUT, H_FOREIGN_LATE, H_BUSY, H_OTHER_JOINER, H_NEXT_LIFE, H_REUSED };
static const char *const reach[] = {"fast end, nobody there", "fast end, joined", "fast end finds joinlock taken",
	"fast end finds a joiner that is not plain", "fast end gives joinlock back", "slow end, joined",
	"end of what was detached", "the end loses the claim", "a joiner that comes after the end",
	"detached after the end", "time-out", "timer that comes late", "the end finds a joiner without memory",
	"a plain join is cancelled", "a join with a deadline is cancelled", "a cancelled one does not wait",
	"foreign thread joins", "foreign time-out", "foreign time-out that comes late", "another one is told to wait",
	"who timed out finds another joiner", "who timed out finds the descriptor's next life",
	"the descriptor lives again", NULL};

struct S {
	Il il;
	struct {
		uint8_t at, op, r, seq, gone; /* gone: the handle is, until the next spawn */
		uint8_t life;                 /* whose handle it has */
		uint8_t saved, ready, note, cancelled;
		uint8_t armed, tseq; /* its timer */
		uint8_t won, failed; /* ghosts: the end owes it 0; its wait was ended by something else */
	} x[NJ];
	uint8_t tlife, j, seq, slow, release; /* of the target */
	uint8_t k, tcopy;                     /* of the timer: whose, its tseq */
	uint8_t won;                          /* of the canceller */
	uint8_t life, free;                   /* of the descriptor: ghosts, like the next */
	uint8_t ended, given;                 /* this life is over; its handle was given up */
	uint8_t world;
};
#define X s->x[t]

static const char *script[NJ];
static int lives;
static bool foreign, busy; /* A is a foreign thread; B tries while A waits, and the end comes after that */

static void touch(const S *s, int life)
{
	if (s->free || s->life != life)
		il_fail("JN-1: touched after its release");
}

static void setstatus(S *s, int t, int w, int from, int to)
{
	if (ld(s, t, w) != from)
		il_fail("PK-2: state %d -> %d, but it is %d", from, to, ld(s, t, w));
	st_rlx(s, t, w, to);
}

/* The runtime matters to those who stop the world alone. */
static bool stoppable(void) { return il_threads > CANCELLER; }
#define ENTER() \
	do { \
		AWAIT("enter", !s->world); \
		if (stoppable()) \
			*rmw(s, t, INRT + t) = 1; \
	} while (0)
static void leave(S *s, int t)
{
	if (stoppable())
		st(s, t, INRT + t, 0);
}
#define OLOCK() \
	do { \
		AWAIT("lock joinlock", *rmw(s, t, LCK) == 0); \
		*rmw(s, t, LCK) = 1; \
	} while (0)
static void ounlock(S *s, int t)
{
	if (MUT(M_UNLOCK_RELAXED))
		st_rlx(s, t, LCK, 0);
	else
		st(s, t, LCK, 0);
}

static bool claim(S *s, int t, int k, int seq)
{
	uint8_t *c = rmw(s, t, CLAIM + k);
	if (*c != seq || (seq & 1))
		return false;
	*c |= 1;
	return true;
}

/* The wait of k is over; who says so owns its end (PK-2). */
static void ready(S *s, int t, int k, int r, bool as_foreign)
{
	st(s, t, RET + k, r);
	if (!s->x[k].saved)
		il_fail("PK-1: made ready before its registers are saved");
	setstatus(s, t, GSTATUS + k, GWAITING, as_foreign ? GRUNNING : GRUNNABLE);
	il_drain(s, t); /* a note, or a run queue: that is taken over by a switch of this thread or through a lock */
	if (as_foreign)
		s->x[k].note = 1;
	else
		s->x[k].ready = 1;
}
static bool is_foreign(int k) { return foreign && k == A; }

/* Lists of free descriptors are taken over like run queues. */
static void gfput_any(S *s, int t, int life)
{
	touch(s, life);
	if (!MUT(M_DETACHED_LEFT))
		st_rlx(s, t, DETACHED, 0);
	il_drain(s, t);
	s->free = 1;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void setdead(S *s, int t) { setstatus(s, t, STATUS, MUT(M_DEAD_EARLY) ? GDEAD : GRUNNING, GDEAD); }

/* s->release: the descriptor is the caller's. */
static int finish_join(S *s, int t, int d)
{
	BEGIN;
	OLOCK();
	touch(s, s->tlife);
	s->release = ld(s, t, DETACHED);
	if (s->release) {
		REACHED(H_DETACHED);
		ounlock(s, t);
		RETURN;
	}
	s->j = ld(s, t, JOINER);
	if (s->j) {
		st_rlx(s, t, JOINER, 0);
		s->release = 1;
		if (ld(s, t, SG + s->j - 1) && !MUT(M_NO_CLAIM)) { /* claim_sg */
			STEP("load claim");
			s->seq = ld(s, t, CLAIM + s->j - 1);
			STEP("claim");
			s->release = claim(s, t, s->j - 1, s->seq);
			s->seq = 0;
		}
		if (s->release) {
			REACHED(H_SLOW_JOINED);
			s->x[s->j - 1].won = 1;
			setdead(s, t);
			STEP("unlock, joined");
			ounlock(s, t);
			STEP("ready");
			ready(s, t, s->j - 1, R_OK, is_foreign(s->j - 1));
			s->release = !MUT(M_WON_KEEPS);
			s->j = 0;
			RETURN;
		}
		REACHED(H_END_LOST);
		if (s->x[s->j - 1].op == NOMEM)
			REACHED(H_NOMEM_MET);
		s->release = MUT(M_LOST_RELEASES);
		s->j = 0;
	}
	if (!MUT(M_DEAD_LATE))
		setdead(s, t);
	STEP("unlock, not joined");
	ounlock(s, t);
	if (MUT(M_DEAD_LATE)) {
		STEP("Gdead, late");
		st_rlx(s, t, STATUS, GDEAD);
	}
	END;
}

static bool join_is_plain(const S *s, int t)
{
	int j = ld(s, t, JOINER);
	if (ld(s, t, DETACHED) && !MUT(M_FAST_DETACHED))
		return false;
	return !j || ((!ld(s, t, SG + j - 1) || MUT(M_FAST_CONTESTED)) && (!is_foreign(j - 1) || MUT(M_FAST_FOREIGN)));
}

/* gmp__goexit, goexit_slow, goexit_m */
static int goexit(S *s, int t, int d)
{
	BEGIN;
	ENTER();
	if (MUT(M_DEAD_EARLY)) {
		STEP("Gdead, early");
		setstatus(s, t, STATUS, GRUNNING, GDEAD);
	}
	STEP("join_is_plain"); /* an extension, a full list: not at all */
	s->slow = (uint8_t)il_choose(2);
	if (!s->slow && *rmw(s, t, LCK) && !MUT(M_FAST_BARGES)) {
		REACHED(H_TAKEN);
		s->slow = 1;
	} else if (!s->slow) {
		touch(s, s->tlife);
		*rmw(s, t, LCK) = 1;
		s->slow = !join_is_plain(s, t);
		if (s->slow)
			REACHED(H_NOT_PLAIN);
		STEP("stack_free_hot");
		if (!s->slow && il_choose(2)) {
			REACHED(H_COLD);
			s->slow = 1;
		}
		if (s->slow)
			ounlock(s, t);
	}
	if (s->slow) {
		CALL(finish_join);
		if (s->release) {
			STEP("gfput_any");
			st_rlx(s, t, STATUS, GIDLE);
			gfput_any(s, t, s->tlife);
		}
		s->slow = s->release = 0;
	} else {
		STEP("Gdead");
		touch(s, s->tlife);
		s->j = ld(s, t, JOINER);
		setdead(s, t);
		st_rlx(s, t, JOINER, 0);
		STEP("unlock");
		ounlock(s, t);
		if (s->j) {
			s->x[s->j - 1].won = 1;
			STEP("gfput_local");
			touch(s, s->tlife);
			st_rlx(s, t, STATUS, GIDLE);
			il_drain(s, t);
			s->free = 1;
			STEP("ready_local");
			ready(s, t, s->j - 1, R_OK, false);
			REACHED(H_FAST_JOINED);
		} else {
			REACHED(H_FAST);
		}
		s->j = 0;
	}
	leave(s, t);
	END;
}

static int target(S *s, int t, int d)
{
	BEGIN;
	while (s->tlife < lives) {
		AWAIT("execute", ld(s, t, STATUS) == GRUNNABLE);
		setstatus(s, t, STATUS, GRUNNABLE, GRUNNING);
		s->tlife = s->life;
		AWAIT("its function returns", !busy || s->il.done[B]);
		st_rlx(s, t, RESULT, s->tlife);
		s->ended = 1;
		CALL(goexit);
	}
	END;
}

/* ---- joiners ----------------------------------------------------------------------------------------------------- */

/* joinlock is held. What join and detach refuse; R_WAIT: nothing. Only one who is still in a join may be in the way. */
static int refused(const S *s, int t)
{
	if (ld(s, t, DETACHED) || ld(s, t, STATUS) == GIDLE || (ld(s, t, JOINER) && !s->x[A + B - t].op))
		il_fail("JN-1: the handle is lost");
	return ld(s, t, JOINER) && !MUT(M_TWO_JOINERS) ? R_BUSY : R_WAIT;
}

static int join_check(const S *s, int t)
{
	int r = refused(s, t);
	return r == R_WAIT && ld(s, t, STATUS) == GDEAD ? R_OK : r;
}

/* gmp__park_foreign, gmp__park_foreign_until */
static int park_foreign(S *s, int t, int d)
{
	BEGIN;
	STEP("unlock, foreign");
	setstatus(s, t, GSTATUS + t, GRUNNING, GWAITING);
	X.saved = 1;
	ounlock(s, t);
	AWAIT("sleep", X.note || X.op == TIMED);
	if (!X.note) {
		STEP("claim, foreign");
		if (claim(s, t, t, X.seq) || MUT(M_FOREIGN_NO_CLAIM)) {
			X.failed = 1;
			OLOCK();
			ounlock(s, t);
			setstatus(s, t, GSTATUS + t, GWAITING, GRUNNING);
			X.saved = 0;
			X.r = R_TIMEDOUT;
			REACHED(H_FOREIGN_TIMEOUT);
			RETURN;
		}
		REACHED(H_FOREIGN_LATE);
		AWAIT("sleep on", X.note);
	}
	X.saved = X.note = 0;
	X.r = ld(s, t, RET + t);
	REACHED(H_FOREIGN);
	END;
}

/* gmp__park_until, park_sw */
static int park(S *s, int t, int d)
{
	BEGIN;
	if (X.op == TIMED) {
		STEP("start the timer");
		il_drain(s, t);
		X.armed = 1;
		X.tseq = X.seq;
	}
	STEP("park_sw");
	setstatus(s, t, GSTATUS + t, GRUNNING, GWAITING);
	if (MUT(M_UNLOCK_EARLY))
		ounlock(s, t);
	STEP("save registers");
	X.saved = 1;
	if (!MUT(M_UNLOCK_EARLY)) /* the landing */
		ounlock(s, t);
	leave(s, t);
	AWAIT("resume", X.ready && !s->world);
	X.saved = X.ready = 0;
	setstatus(s, t, GSTATUS + t, GRUNNABLE, GRUNNING);
	X.r = ld(s, t, RET + t);
	if (X.op == TIMED) {
		STEP("gmp__park_timer_end");
		X.armed = X.tseq = 0;
	}
	END;
}

/* gmp__join, gmp_join_until */
static int join(S *s, int t, int d)
{
	BEGIN;
	ENTER();
	if (MUT(M_LOOK_EARLY)) {
		STEP("join_check, early");
		X.r = (uint8_t)join_check(s, t);
	}
	OLOCK();
	touch(s, X.life);
	if (!MUT(M_LOOK_EARLY))
		X.r = (uint8_t)join_check(s, t);
	if (X.r == R_WAIT && X.op == POLL) {
		X.r = R_TIMEDOUT;
	} else if (X.r == R_WAIT && X.cancelled) {
		X.r = R_CANCELED;
		REACHED(H_REFUSED);
	}
	if (X.r != R_WAIT) {
		STEP("join_now: unlock");
		ounlock(s, t);
		if (X.r == R_OK) {
			REACHED(H_AT_ONCE);
			STEP("join_now: gfput_any");
			st_rlx(s, t, STATUS, GIDLE);
			gfput_any(s, t, X.life);
		}
		leave(s, t);
		RETURN;
	}
	st_rlx(s, t, SG + t, X.op != JOIN);
	if (X.op != JOIN) {
		X.seq = (uint8_t)((ld(s, t, CLAIM + t) & ~1) + 2);
		st(s, t, CLAIM + t, X.seq);
	}
	st_rlx(s, t, JOINER, t + 1);
	if (X.op == NOMEM) {
		STEP("no memory for the timer");
		if (!MUT(M_NOMEM_NO_CLAIM))
			(void)claim(s, t, t, X.seq);
		X.failed = 1;
		ounlock(s, t);
		leave(s, t);
		X.r = R_NOMEM;
	} else if (is_foreign(t)) {
		CALL(park_foreign);
	} else {
		CALL(park);
	}
	if (X.op != JOIN && X.r != R_OK && !MUT(M_JOINER_LEFT)) {
		ENTER();
		if (!MUT(M_JOINER_UNLOCKED))
			OLOCK(); /* even of a descriptor that was released meanwhile: GD-1 */
		if (s->life != X.life)
			REACHED(H_NEXT_LIFE);
		if (ld(s, t, JOINER) == t + 1 || (ld(s, t, JOINER) && MUT(M_JOINER_WIPED))) {
			STEP("not the joiner any more");
			touch(s, X.life);
			st_rlx(s, t, JOINER, 0);
		} else if (ld(s, t, JOINER)) {
			REACHED(H_OTHER_JOINER);
		}
		STEP("unlock");
		if (!MUT(M_JOINER_UNLOCKED))
			ounlock(s, t);
		leave(s, t);
	}
	END;
}

static int gmp_detach(S *s, int t, int d)
{
	BEGIN;
	ENTER();
	if (!MUT(M_DETACH_UNLOCKED))
		OLOCK();
	touch(s, X.life);
	X.r = (uint8_t)refused(s, t);
	if (X.r == R_WAIT) {
		X.r = R_OK;
		X.seq = ld(s, t, STATUS) == GDEAD;
		st_rlx(s, t, DETACHED, 1);
	}
	STEP("unlock");
	if (!MUT(M_DETACH_UNLOCKED))
		ounlock(s, t);
	if (X.seq) {
		REACHED(H_BURIED);
		STEP("gfput_any");
		st_rlx(s, t, STATUS, GIDLE);
		gfput_any(s, t, X.life);
	}
	X.seq = 0;
	leave(s, t);
	END;
}

/* What an operation on the handle may say. True: the handle is gone. */
static bool judge(S *s, int t)
{
	if (X.r == R_BUSY)
		REACHED(H_BUSY);
	else if (busy && t == B)
		il_fail("JN-1: two have the handle");
	if (X.r != R_OK) {
		X.failed = 1;
		if (X.won)
			il_fail("JN-1: the end had joined it, and its wait says %d", X.r);
		return false;
	}
	if (s->given++)
		il_fail("JN-1: the handle is given up twice");
	if (X.op != DETACH && (!s->ended || ld(s, t, RESULT) != X.life))
		il_fail("JN-1: joined too early");
	return true;
}

static int joiner(S *s, int t, int d)
{
	BEGIN;
	if (t == B) {
		AWAIT("it is B's turn", busy ? ld(s, t, JOINER) == A + 1 : s->x[A].failed || s->il.done[A]);
		X.gone = !busy && !s->x[A].failed;
	}
	for (; script[t][X.at]; X.at++) {
		X.op = (uint8_t)script[t][X.at];
		if (X.op == SPAWN && X.gone) {
			AWAIT("spawn", s->free && !s->world);
			s->free = s->ended = s->given = X.gone = 0;
			X.life = ++s->life;
			setstatus(s, t, STATUS, GIDLE, GRUNNABLE);
			il_drain(s, t); /* as in ready() */
			REACHED(H_REUSED);
		}
		while (X.op != SPAWN && !X.gone) {
			CALL((X.op == DETACH ? gmp_detach : join));
			STEP("returns");
			X.gone = judge(s, t);
			X.won = 0;
			if (X.r != R_BUSY || busy)
				break;
		}
	}
	il_drain(s, t); /* who hears of its return hears of the rest */
	X.op = X.r = X.seq = 0;
	END;
}

/* An M that runs due timers. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the timer", !s->world && (s->x[A].armed || s->x[B].armed));
		s->k = (uint8_t)(s->x[A].armed && s->x[B].armed ? il_choose(2) : s->x[B].armed);
		s->x[s->k].armed = 0;
		if (stoppable())
			*rmw(s, t, INRT + t) = 1;
		s->tcopy = s->x[s->k].tseq;
		STEP("claim, timed_out");
		if (!claim(s, t, s->k, s->tcopy)) {
			REACHED(H_LATE_TIMER);
		} else {
			s->x[s->k].failed = 1;
			if (!MUT(M_TIMER_SKIPS_LOCK)) {
				OLOCK(); /* waitlock */
				ounlock(s, t);
			}
			STEP("ready, timed_out");
			ready(s, t, s->k, R_TIMEDOUT, false);
			REACHED(H_TIMEOUT);
		}
		s->k = s->tcopy = 0;
		leave(s, t);
	}
	END;
}

/* Of A: gmp_cancel, gmp__cancel_locked. */
static int canceller(S *s, int t, int d)
{
	BEGIN;
	AWAIT("stopworld", MUT(M_CANCEL_RUNNING) || !memchr(&s->il.v[INRT], 1, 4));
	s->world = !MUT(M_CANCEL_RUNNING);
	STEP("cancel");
	s->x[A].cancelled = 1;
	if (ld(s, t, GSTATUS + A) == GWAITING) {
		s->won = 1;
		if (ld(s, t, SG + A) && !MUT(M_CANCEL_NO_CLAIM)) {
			STEP("claim, cancel");
			s->won = claim(s, t, A, ld(s, t, CLAIM + A));
		}
		if (s->won) {
			REACHED(ld(s, t, SG + A) ? H_CANCEL : H_PLAIN_CANCEL);
			s->x[A].failed = 1;
			STEP("joiner, cancel");
			if (ld(s, t, JOINER) != A + 1)
				il_fail("CA-1: it is not the joiner");
			if (!MUT(M_CANCEL_LEAVES))
				st(s, t, JOINER, 0);
			STEP("ready, cancel");
			ready(s, t, A, R_CANCELED, false);
		}
		s->won = 0;
	}
	STEP("startworld");
	s->world = 0;
	END;
}

static void terminal(const S *s)
{
	if (s->given && !s->free)
		il_fail("JN-1: nobody released the descriptor");
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && t != TIMER)
			il_fail("stuck: %s", il_thread_name[t]);
	if (!s->free || s->il.v[LCK] || s->il.v[STATUS] != GIDLE || s->il.v[JOINER] || s->il.v[DETACHED])
		il_fail("JN-1: a descriptor that is not as free ones are");
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

enum { WEAK = 1, FOREIGN = 2, BUSY = 4, CANCEL = 8 };
static void begin(S *s, const char *a, const char *b, int how)
{
	script[A] = a;
	script[B] = b;
	il_weak = how & WEAK;
	foreign = how & FOREIGN;
	busy = how & BUSY;
	lives = 1;
	for (const char *p = *b ? b : a; *p; p++)
		lives += *p == SPAWN;
	s->life = s->x[A].life = s->x[B].life = 1;
	s->il.v[STATUS] = GRUNNABLE;
	s->il.v[GSTATUS + A] = s->il.v[GSTATUS + B] = GRUNNING;
	il_thread("A", joiner);
	il_thread("B", joiner);
	il_thread("target", target);
	il_thread("timer", timer);
	if (how & CANCEL)
		il_thread("canceller", canceller);
}
static void plain(S *s) { begin(s, "jsj", "", 0); }
static void plain_weak(S *s) { begin(s, "jsj", "", WEAK); }
static void detach(S *s) { begin(s, "dsj", "", 0); }
static void poll_detach(S *s) { begin(s, "pdspj", "", WEAK); }
static void deadline(S *s) { begin(s, "tjsj", "", 0); }
static void deadlines_weak(S *s) { begin(s, "ttdsttjsj", "", WEAK); }
static void nomem(S *s) { begin(s, "mjsmd", "", 0); }
static void foreign_plain(S *s) { begin(s, "jsj", "", FOREIGN); }
static void foreign_deadline(S *s) { begin(s, "ttdsj", "", FOREIGN | WEAK); }
static void handed_on(S *s) { begin(s, "t", "jsj", 0); }
static void handed_on_weak(S *s) { begin(s, "t", "tdstj", WEAK); }
static void foreign_handed_on(S *s) { begin(s, "t", "jsj", FOREIGN); }
static void two(S *s) { begin(s, "j", "jd", BUSY); }
static void two_detach(S *s) { begin(s, "j", "d", BUSY); }
static void cancel(S *s) { begin(s, "jjdsjd", "", CANCEL); }
static void deadline_cancel(S *s) { begin(s, "ttd", "", CANCEL | WEAK); }
static void cancel_handed_on(S *s) { begin(s, "t", "tjsj", CANCEL | WEAK); }
static void cancel_other(S *s) { begin(s, "t", "j", CANCEL); }
static void cancel_weak(S *s) { begin(s, "tjdsmjtd", "", CANCEL | WEAK); }

static const IlRun runs[] = {
	{"joined twice", plain, 0, NULL},
	{"joined twice, weak stores", plain_weak, 0, NULL},
	{"detached, joined", detach, 0, NULL},
	{"polled, detached, joined, weak stores", poll_detach, 0, NULL},
	{"deadline, joined", deadline, 0, NULL},
	{"deadlines, detached, weak stores", deadlines_weak, 0, NULL},
	{"no memory, joined, detached", nomem, 0, NULL},
	{"a foreign thread", foreign_plain, 0, NULL},
	{"a foreign thread with deadlines, weak stores", foreign_deadline, 0, NULL},
	{"deadline, joined by another", handed_on, 0, NULL},
	{"deadline, detached by another, weak stores", handed_on_weak, 0, NULL},
	{"deadline of a foreign thread, joined by another", foreign_handed_on, 0, NULL},
	{"another one tries meanwhile", two, 0, NULL},
	{"cancel", cancel, 0, NULL},
	{"deadlines and cancel, weak stores", deadline_cancel, 0, NULL},
	{"deadline and cancel, joined by another", cancel_other, 0, NULL},
	{"deadline and cancel, joined by another, weak stores", cancel_handed_on, 0, NULL},
	{"deadline, plain join and cancel, weak stores", cancel_weak, 0, NULL},

	{"Gdead before joinlock is taken", plain, M_DEAD_EARLY, "touched"},
	{"Gdead before joinlock is taken, weak stores", plain_weak, M_DEAD_EARLY, "early"},
	{"Gdead after joinlock was released", plain, M_DEAD_LATE, "stuck"},
	{"joiner looks before joinlock is taken", plain, M_LOOK_EARLY, "stuck"},
	{"joinlock released by a relaxed store", plain_weak, M_UNLOCK_RELAXED, "PK-"},
	{"joinlock released before the registers are saved", plain, M_UNLOCK_EARLY, "PK-1"},
	{"detach without joinlock", detach, M_DETACH_UNLOCKED, "nobody released"},
	{"the end does not claim", deadline, M_NO_CLAIM, "PK-"},
	{"the end releases what it lost", deadline, M_LOST_RELEASES, "touched"},
	{"the end leaves the descriptor to whom it woke", plain, M_WON_KEEPS, "nobody released"},
	{"fast end does not look at SG_BITS", deadline, M_FAST_CONTESTED, "PK-"},
	{"fast end does not look at GF_FOREIGN", foreign_plain, M_FAST_FOREIGN, "stuck"},
	{"fast end does not look at detached", detach, M_FAST_DETACHED, "nobody released"},
	{"fast end does not mind joinlock", plain, M_FAST_BARGES, "PK-1"},
	{"who timed out stays the joiner", deadline, M_JOINER_LEFT, "lost"},
	{"who timed out looks without joinlock", handed_on, M_JOINER_UNLOCKED, "touched"},
	{"who was cancelled wipes out another joiner", cancel_other, M_JOINER_WIPED, "stuck"},
	{"cancel leaves the joiner", cancel, M_CANCEL_LEAVES, "lost"},
	{"cancel does not claim", deadline_cancel, M_CANCEL_NO_CLAIM, "PK-"},
	{"cancel in a running world", cancel, M_CANCEL_RUNNING, "PK-"},
	{"joiner without memory does not claim", nomem, M_NOMEM_NO_CLAIM, "PK-1"},
	{"timer does not pass through joinlock", deadline, M_TIMER_SKIPS_LOCK, "PK-1"},
	{"foreign thread does not claim", foreign_deadline, M_FOREIGN_NO_CLAIM, "PK-2"},
	{"joined while somebody joins", two, M_TWO_JOINERS, "stuck"},
	{"detached while somebody joins", two_detach, M_TWO_JOINERS, "two have"},
	{"detached stays set in a free descriptor", detach, M_DETACHED_LEFT, "lost"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_join", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
