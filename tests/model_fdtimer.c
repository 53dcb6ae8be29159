/* SPDX-License-Identifier: MIT
 * model_fdtimer.c - the reader's timer that stands (net_timer.c DT-1..6, NP-3) by exhaustive interleaving: two readers, one after
 * the other, with deadlines or without; events; Ms that pop the timer and call back; a clock that may stand still at any time; a
 * closer, after whom the number belongs to another file; a canceller; no memory. No time-out may be lost, come early, or come to
 * another wait; the timer is pending once at most.
 *
 * Machine: weak stores. Taking a lock byte is an acquire: unlike LOCK() it does not wait for the thread's earlier stores. Loads
 * are in program order. Left out: parklock (NP-4), reading (model_netpoll.c), the P that the timer is at and its lists (one lock,
 * and whether it is pending), fork, ends of runs. The counter of DT-6 orders nothing. That a callback leaves the reader of a later
 * file alone (DT-5) is checked as such: no harm was found in what it would do to that one. */
#define IL_T 7
#define IL_V 12
#define IL_DEPTH 5
#include "interleave.h"

enum { WORD, ID, WHEN, TSEQ, DEADLINE, SEQ, TAG, USERS, EVLOCK, TLOCK, CLAIM /* of each G */ };
enum { NIL, READY, G /* and G + 1 */ };
enum { OK = 1, TIMEDOUT, CANCELED, NOMEM };
enum { CLOSING = 1, TURN = 2, REF = 16 };
enum { NEVER = 15, ELSEWHERE = 2 };

enum { M_NONE, M_DEADLINE_LATE, M_DEADLINE_KEPT, M_COVERS_FIRST, M_COVERS_ANY, M_LOAD_WORD, M_NO_EVLOCK, M_NO_CLAIM, M_NOT_ANEW,
	M_NOMEM_IGNORED, M_NO_SETTLE, M_SET_UNLOCKED, M_SET_BLIND, M_NOT_REMOVED, M_CLOSE_ON, M_NO_TAG, M_TAG_FIRST, M_OFF_UNCOUNTED };
enum { H_TIMEOUT, H_ANEW, H_NOBODY, H_RELIED, H_COVERED, H_EARLIER, H_LOST, H_SETTLE, H_OFF, H_TAG, H_NEW_G, H_NOMEM_R, H_NOMEM_T,
	H_CANCEL, H_BOTH };
static const char *const reach[] = {"the callback ends a wait", "the callback sets the timer anew", "the callback finds nobody",
	"a reader relies on the timer of an earlier wait", "set meanwhile by somebody else", "a later timer taken off for an earlier one",
	"claim lost", "a reader waits for evlock before it goes on", "timer taken off at the end", "a callback finds a new tag",
	"a callback finds a new tag and its reader", "no memory for the reader", "no memory for the callback", "cancellation",
	"time-out of a wait for both directions", NULL};

struct S {
	Il il;
	uint8_t now, end, arrivals;
	uint8_t pending, at, standing, failures; /* the timer in its P; calls of gmp__timer_start that may fail */
	uint8_t world, inrt, cancelled;
	struct {
		uint8_t waits, woken, deadline, tag; /* of its present wait, for the checks; waits: ELSEWHERE */
		uint8_t own, ownseq;                 /* timer of a wait for both directions */
	} g[2];
	struct {
		uint8_t op, w, seq, ok, won, covered, d, both, now, tag, e;
	} x[IL_T];
};
#define X s->x[t]

static const char *script[2]; /* see reader() */

static int timer(S *s, int t, int d);

/* A lock byte: acquire. */
static uint8_t *acq(S *s, int t, int var)
{
	for (int i = 0; i < s->il.nbuf[t]; i++)
		if (!il_weak || (s->il.buf[t][i][0] & ~IL_RELAXED) == var) {
			il_drain(s, t);
			break;
		}
	return &s->il.v[var];
}
#define LOCKBYTE(w) do { \
	AWAIT("lock " #w, *acq(s, t, w) == 0); \
	*acq(s, t, w) = 1; \
} while (0)
#define UNLOCKBYTE(w) st(s, t, w, 0)

static bool claim(S *s, int t, int g, int seq)
{
	uint8_t *c = rmw(s, t, CLAIM + g);
	if (*c != seq) {
		REACHED(H_LOST);
		return false;
	}
	*c = (uint8_t)(seq | 1);
	return true;
}

static void ready(S *s, int g, int r)
{
	if (!s->g[g].waits || s->g[g].woken)
		il_fail("PK-2: made ready twice");
	if (s->g[g].waits == ELSEWHERE)
		il_fail("NP-3: a wait elsewhere is ended");
	if (r == TIMEDOUT && s->g[g].deadline == NEVER)
		il_fail("DT-1: a wait without deadline timed out");
	else if (r == TIMEDOUT && s->g[g].deadline > s->now)
		il_fail("DT-1: a wait until %d timed out at %d", s->g[g].deadline, s->now);
	s->g[g].woken = (uint8_t)r;
}

/* ---- the timer -------------------------------------------------------------------------------------------------------- */

/* gmp__fd_timer_covers of deadline X.d */
static int covers(S *s, int t, int d)
{
	BEGIN;
	STEP("covers: load id");
	X.covered = ld(s, t, ID);
	if (X.covered && !MUT(M_COVERS_ANY)) {
		STEP("covers: load when");
		X.covered = ld(s, t, WHEN) <= X.d;
	}
	END;
}

static int timer_off(S *s, int t, int d)
{
	BEGIN;
	STEP("off: load id");
	if (!ld(s, t, ID))
		RETURN;
	LOCKBYTE(TLOCK);
	if (s->pending) {
		s->pending = s->at = 0;
		s->standing -= !MUT(M_OFF_UNCOUNTED);
		REACHED(X.ok ? H_EARLIER : H_OFF);
	}
	st(s, t, ID, 0);
	UNLOCKBYTE(TLOCK);
	END;
}

/* set(), for deadline X.d. X.e: not 0 if there was no memory. */
static int set(S *s, int t, int d)
{
	BEGIN;
	X.e = 0;
	if (!(MUT(M_SET_BLIND) && il_fn[t] == timer)) {
		CALL(covers);
		if (X.covered) {
			REACHED(H_COVERED);
			RETURN;
		}
		if (!MUT(M_NOT_REMOVED))
			CALL(timer_off);
	}
	STEP("store when, seq");
	if (s->pending)
		il_fail("DT-4: changed while it is pending");
	st_rlx(s, t, WHEN, X.d);
	st_rlx(s, t, TSEQ, ld(s, t, TAG));
	LOCKBYTE(TLOCK); /* gmp__timer_start */
	if (s->failures && il_choose(2)) {
		s->failures--;
		X.e = NOMEM;
	} else {
		if (s->pending)
			il_fail("DT-4: pending twice");
		s->pending = 1;
		s->at = X.d;
		s->standing++;
		st(s, t, ID, 1);
	}
	UNLOCKBYTE(TLOCK);
	END;
}

/* An M that runs timers: gmp__timer_pop, reader_late. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the timer", s->pending && s->at <= s->now && !s->world && *acq(s, t, TLOCK) == 0);
		s->pending = s->at = 0;
		s->inrt |= (uint8_t)(1 << t);
		X.tag = ld(s, t, TSEQ);
		st(s, t, ID, 0);
		*acq(s, t, TLOCK) = 1;
		UNLOCKBYTE(TLOCK);
		STEP("clock");
		s->standing--;
		X.now = s->now;
		if (!MUT(M_NO_EVLOCK))
			LOCKBYTE(EVLOCK);
		X.ok = 1;
		if (MUT(M_TAG_FIRST)) {
			STEP("load tag, too early");
			X.ok = ld(s, t, TAG) == X.tag;
		}
		if (X.ok) {
			STEP("word: fetch-or 0");
			X.w = MUT(M_LOAD_WORD) ? ld(s, t, WORD) : *rmw(s, t, WORD);
			if (X.w < G)
				REACHED(H_NOBODY);
		}
		if (X.w >= G && !MUT(M_TAG_FIRST) && !MUT(M_NO_TAG)) {
			STEP("load tag");
			if (ld(s, t, TAG) != X.tag) {
				REACHED(H_NEW_G);
				X.w = NIL;
			}
		}
		if (ld(s, t, TAG) != X.tag)
			REACHED(H_TAG);
		if (X.w >= G) {
			STEP("load deadline");
			X.d = ld(s, t, DEADLINE);
			X.won = X.d <= X.now ? TIMEDOUT : 0;
			if (!X.won && X.d != NEVER && !MUT(M_NOT_ANEW)) {
				CALL(set);
				REACHED(X.e ? H_NOMEM_T : H_ANEW);
				X.won = MUT(M_NOMEM_IGNORED) ? 0 : X.e;
			}
			if (s->g[X.w - G].waits && s->g[X.w - G].tag != X.tag)
				il_fail("DT-5: a callback of tag %d acts for a reader of tag %d", X.tag, s->g[X.w - G].tag);
			if (X.won) {
				STEP("load seq");
				X.seq = ld(s, t, SEQ);
				STEP("claim");
				if (!claim(s, t, X.w - G, X.seq) && !MUT(M_NO_CLAIM))
					X.won = 0;
			}
		}
		if (!MUT(M_NO_EVLOCK))
			UNLOCKBYTE(EVLOCK);
		if (X.won) {
			STEP("ready");
			ready(s, X.w - G, X.won);
			if (X.won == TIMEDOUT)
				REACHED(H_TIMEOUT);
		}
		memset(&X, 0, sizeof X);
		s->inrt &= (uint8_t)~(1 << t);
	}
	END;
}

static bool own_due(const S *s, int g) { return s->g[g].own && s->g[g].own <= s->now; }

/* timed_out of a wait for both directions. */
static int own_timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the wait's own timer", !s->world && (own_due(s, 0) || own_due(s, 1)));
		s->inrt |= (uint8_t)(1 << t);
		X.w = !own_due(s, 0);
		s->g[X.w].own = 0;
		STEP("claim");
		if (claim(s, t, X.w, s->g[X.w].ownseq)) {
			ready(s, X.w, TIMEDOUT);
			REACHED(H_BOTH);
		}
		X.w = 0;
		s->inrt &= (uint8_t)~(1 << t);
	}
	END;
}

static int clock_(S *s, int t, int d)
{
	BEGIN;
	while (s->now < s->end) {
		STEP("time passes, or stands still from now on");
		if (il_choose(2))
			s->end = s->now;
		else
			s->now++;
	}
	END;
}

/* ---- events and the end of a descriptor ------------------------------------------------------------------------------- */

/* gmp__netpoll_fire, and ready */
static int fire(S *s, int t, int d)
{
	BEGIN;
	STEP("fire: load word");
	X.w = ld(s, t, WORD);
	while (X.w <= READY) {
		STEP("word: nothing -> READY");
		if (*rmw(s, t, WORD) == X.w) {
			*rmw(s, t, WORD) = READY;
			X.w = 0;
			RETURN;
		}
		X.w = *rmw(s, t, WORD);
	}
	LOCKBYTE(EVLOCK);
	STEP("word <-> READY");
	X.w = *rmw(s, t, WORD);
	*rmw(s, t, WORD) = READY;
	if (X.w >= G) {
		STEP("load seq, claim");
		X.seq = ld(s, t, SEQ);
		X.won = claim(s, t, X.w - G, X.seq);
	}
	UNLOCKBYTE(EVLOCK);
	if (X.won) {
		STEP("ready");
		ready(s, X.w - G, OK);
	}
	X.w = X.seq = X.won = 0;
	END;
}

static int kernel(S *s, int t, int d)
{
	BEGIN;
	for (; s->arrivals; s->arrivals--)
		CALL(fire);
	END;
}

/* The last reference is gone: reset, close(2); the number is another file's. */
static int close_now(S *s, int t, int d)
{
	BEGIN;
	X.ok = 0;
	if (!MUT(M_CLOSE_ON))
		CALL(timer_off);
	STEP("reset");
	st(s, t, TAG, ld(s, t, TAG) + 1);
	st_rlx(s, t, WORD, NIL);
	st(s, t, USERS, 0);
	END;
}

static int closer(S *s, int t, int d)
{
	BEGIN;
	STEP("users: + reference, closing");
	*rmw(s, t, USERS) += REF | CLOSING;
	CALL(fire);
	STEP("users: - reference");
	*rmw(s, t, USERS) -= REF;
	if (*rmw(s, t, USERS) == CLOSING)
		CALL(close_now);
	END;
}

/* The first reader's. The world stands still: nobody is in the runtime. */
static int canceller(S *s, int t, int d)
{
	BEGIN;
	AWAIT("stopworld", !s->inrt);
	s->world = s->cancelled = 1;
	STEP("cancel_locked, startworld");
	X.seq = ld(s, t, CLAIM);
	if (s->g[0].waits == 1 && !(X.seq & 1) && claim(s, t, 0, X.seq)) {
		ready(s, 0, CANCELED);
		REACHED(H_CANCEL);
	}
	X.seq = s->world = 0;
	END;
}

/* ---- readers ---------------------------------------------------------------------------------------------------------- */

/* Until X.d. */
static int park(S *s, int t, int d)
{
	BEGIN;
	STEP("note: load word");
	if (ld(s, t, WORD) == READY) {
		STEP("word: READY -> NIL");
		if (*rmw(s, t, WORD) == READY)
			*rmw(s, t, WORD) = NIL;
	}
	AWAIT("enter", !s->world);
	if ((s->cancelled && t == 0) || (ld(s, t, USERS) & CLOSING))
		RETURN;
	s->inrt |= (uint8_t)(1 << t);
	X.seq = (uint8_t)((ld(s, t, CLAIM + t) & ~1) + 2);
	st(s, t, CLAIM + t, X.seq);
	s->g[t].deadline = X.d;
	s->g[t].tag = ld(s, t, TAG);
	s->g[t].waits = 1;
	if (MUT(M_COVERS_FIRST)) {
		il_drain(s, t);
		CALL(covers);
	}
	if (!MUT(M_DEADLINE_LATE) && !(MUT(M_DEADLINE_KEPT) && (X.d == NEVER || X.both)))
		st_rlx(s, t, DEADLINE, X.both ? NEVER : X.d);
	st_rlx(s, t, SEQ, X.seq);
	STEP("word: NIL -> G");
	X.ok = *rmw(s, t, WORD) == NIL;
	if (X.ok)
		*rmw(s, t, WORD) = (uint8_t)(G + t);
	if (MUT(M_DEADLINE_LATE)) {
		STEP("store deadline, too late");
		st_rlx(s, t, DEADLINE, X.both ? NEVER : X.d);
	}
	X.e = 0;
	if (X.ok) {
		STEP("closing ?");
		X.ok = !(ld(s, t, USERS) & CLOSING);
	}
	if (X.ok && X.both) {
		s->g[t].own = X.d;
		s->g[t].ownseq = X.seq;
	} else if (X.ok && X.d != NEVER) {
		if (!MUT(M_COVERS_FIRST))
			CALL(covers);
		if (X.covered) {
			REACHED(H_RELIED);
		} else {
			if (!MUT(M_SET_UNLOCKED))
				LOCKBYTE(EVLOCK);
			CALL(set);
			if (!MUT(M_SET_UNLOCKED))
				UNLOCKBYTE(EVLOCK);
			if (X.e)
				REACHED(H_NOMEM_R);
		}
		X.ok = !X.e;
	}
	if (!X.ok) {
		STEP("claim one's own");
		X.ok = !claim(s, t, t, X.seq);
	}
	s->inrt &= (uint8_t)~(1 << t);
	if (X.ok)
		AWAIT("resumed", s->g[t].woken && !s->world);
	s->g[t].waits = s->g[t].woken = s->g[t].own = s->g[t].ownseq = s->g[t].deadline = s->g[t].tag = 0;
	STEP("uninstall: load word");
	if (ld(s, t, WORD) != NIL) {
		STEP("settle: word: G -> NIL");
		X.ok = *rmw(s, t, WORD) == G + t;
		if (X.ok)
			*rmw(s, t, WORD) = NIL;
		if (!X.ok || !MUT(M_NO_SETTLE)) {
			if (*acq(s, t, EVLOCK))
				REACHED(H_SETTLE);
			LOCKBYTE(EVLOCK);
			UNLOCKBYTE(EVLOCK);
		}
	}
	END;
}

/* '1'..'9': waits until then; 'f': for ever; 'A'..: for both directions, until 1..; '|': goes on when the descriptor has been
 * closed, with the next one of its number; 'x': waits for something else, for ever. */
static int reader(S *s, int t, int d)
{
	BEGIN;
	for (X.op = 0; script[t][X.op]; X.op++) {
		if (script[t][X.op] == 'x') {
			STEP("waits elsewhere");
			*rmw(s, t, CLAIM + t) = (uint8_t)((*rmw(s, t, CLAIM + t) & ~1) + 2);
			s->g[t].waits = ELSEWHERE;
			s->g[t].deadline = NEVER;
			AWAIT("resumed", s->g[t].woken);
			break;
		}
		if (script[t][X.op] == '|') {
			AWAIT("closed", ld(s, t, TAG) && !ld(s, t, USERS));
			continue;
		}
		AWAIT("turn", (*rmw(s, t, USERS) & (TURN | CLOSING)) != TURN);
		if (*rmw(s, t, USERS) & CLOSING)
			continue;
		*rmw(s, t, USERS) += TURN + REF;
		X.both = script[t][X.op] >= 'A' && script[t][X.op] <= 'Z';
		X.d = (uint8_t)(script[t][X.op] == 'f' ? NEVER : script[t][X.op] - (X.both ? 'A' - 1 : '0'));
		CALL(park);
		X.seq = X.ok = X.covered = X.d = X.both = X.e = 0;
		STEP("users: - turn, reference");
		*rmw(s, t, USERS) -= TURN + REF;
		if (*rmw(s, t, USERS) == CLOSING)
			CALL(close_now);
	}
	X.op = 0;
	END;
}

static void terminal(const S *s)
{
	const uint8_t *v = s->il.v;
	for (int t = 0; t < il_threads; t++) {
		if (s->il.done[t] || il_fn[t] == timer || il_fn[t] == own_timer)
			continue;
		if (il_fn[t] != reader || (!s->g[t].waits && !s->g[!t].waits))
			il_fail("stuck: %s", il_thread_name[t]);
		else if (s->g[t].waits && s->g[t].deadline <= s->now)
			il_fail("DT-2: a wait until %d goes on at %d", s->g[t].deadline, s->now);
		else if (s->g[t].waits == 1 && ((v[USERS] & CLOSING) || (s->cancelled && t == 0)))
			il_fail("a reader sleeps on (users %d, cancelled %d)", v[USERS], s->cancelled);
	}
	if (v[EVLOCK] || v[TLOCK])
		il_fail("stuck: a lock is held");
	if (s->pending && v[TSEQ] != v[TAG])
		il_fail("DT-5: the timer of a closed descriptor stands");
	if (s->standing != s->pending)
		il_fail("DT-6: %d timers stand, %d are counted", s->pending, s->standing);
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static void begin(S *s, const char *one, const char *two, int end, int arrivals, int timers, IlFn *other)
{
	il_weak = true;
	script[0] = one;
	script[1] = two;
	s->end = (uint8_t)end;
	s->arrivals = (uint8_t)arrivals;
	il_thread("reader", reader);
	if (two)
		il_thread("reader 2", reader);
	il_thread("clock", clock_);
	if (arrivals)
		il_thread("kernel", kernel);
	while (timers--)
		il_thread(timers ? "timer 2" : "timer", timer);
	if (other)
		il_thread(other == own_timer ? "own timer" : other == closer ? "closer" : "canceller", other);
}
static void deadlines(S *s) { begin(s, "32f5", NULL, 5, 2, 2, NULL); }
static void again(S *s) { begin(s, "12f3", NULL, 3, 2, 2, NULL); }
static void two_readers(S *s) { begin(s, "24", "13", 4, 2, 1, NULL); }
static void both(S *s) { begin(s, "1Bx", "22", 2, 1, 1, own_timer); }
static void both_past(S *s) { begin(s, "Ax", "11", 2, 1, 1, own_timer); }
static void closing(S *s) { begin(s, "12", "|2", 2, 1, 1, closer); }
static void closing_two(S *s) { begin(s, "2", "|32", 3, 1, 2, closer); }
static void cancelling(S *s) { begin(s, "12x", "22", 2, 0, 1, canceller); }
static void cancel_event(S *s) { begin(s, "21x", "2", 2, 1, 1, canceller); }
static void no_memory(S *s)
{
	begin(s, "123", "3", 3, 1, 1, NULL);
	s->failures = 2;
}

static const IlRun runs[] = {
	{"waits until 3, 2, for ever, 5", deadlines, 0, NULL},
	{"waits until 1, 2, for ever, 3", again, 0, NULL},
	{"two readers", two_readers, 0, NULL},
	{"both directions", both, 0, NULL},
	{"both directions, and a deadline that has passed", both_past, 0, NULL},
	{"close and reuse", closing, 0, NULL},
	{"close and reuse, two Ms with timers", closing_two, 0, NULL},
	{"cancel", cancelling, 0, NULL},
	{"cancel and event", cancel_event, 0, NULL},
	{"no memory", no_memory, 0, NULL},

	{"DT-1 deadline stored after the G", deadlines, M_DEADLINE_LATE, "DT-1"},
	{"DT-1 who has no deadline does not say so", deadlines, M_DEADLINE_KEPT, "DT-1"},
	{"DT-1 who has a timer of its own does not say so", both, M_DEADLINE_KEPT, "DT-1"},
	{"DT-2 the reader looks at the timer before its G is in the word", deadlines, M_COVERS_FIRST, "DT-2"},
	{"DT-2 a later timer is relied on", deadlines, M_COVERS_ANY, "DT-2"},
	{"DT-2 the callback just loads the word", deadlines, M_LOAD_WORD, "DT-2"},
	{"DT-3 callback without evlock", again, M_NO_EVLOCK, "DT-1"},
	{"DT-3 callback without claim", cancelling, M_NO_CLAIM, "PK-2"},
	{"DT-3 callback does not set the timer anew", deadlines, M_NOT_ANEW, "DT-2"},
	{"DT-3 callback gives up without memory", no_memory, M_NOMEM_IGNORED, "DT-2"},
	{"DT-3 a reader goes on while a callback has it in hand: close", closing, M_NO_SETTLE, "DT-5"},
	{"DT-3 a reader goes on while a callback has it in hand: cancel", cancelling, M_NO_SETTLE, "NP-3"},
	{"DT-3 a reader goes on while a callback has it in hand: both directions", both_past, M_NO_SETTLE, "NP-3"},
	{"DT-4 the reader sets the timer without evlock", again, M_SET_UNLOCKED, "DT-4"},
	{"DT-4 the callback does not look whether it is set", again, M_SET_BLIND, "DT-4"},
	{"DT-4 a later timer is not taken off", deadlines, M_NOT_REMOVED, "DT-4"},
	{"DT-5 closed with the timer on", closing, M_CLOSE_ON, "DT-"},
	{"DT-5 tag not looked at", closing, M_NO_TAG, "DT-5"},
	{"DT-5 tag looked at before the word", closing, M_TAG_FIRST, "DT-5"},
	{"DT-6 a timer taken off is still counted", deadlines, M_OFF_UNCOUNTED, "DT-6"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_fdtimer", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
