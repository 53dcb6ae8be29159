/* SPDX-License-Identifier: MIT
 * model_netpoll.c - the words of a PollDesc (netpoll.h NP-1..NP-6; net_fd.c FD-3) by exhaustive interleaving: a reader, the
 * kernel, two Ms without a P that poll, a timer, a canceller, a closer. No event may be lost, no wait end twice, nobody act on a
 * descriptor that was closed.
 *
 * Left out: turns and several readers (FD-2), hooks, foreign pollers, back ends. Each arrival of data is one edge, which one of
 * the pollers takes. A read takes all there is. */
#define IL_T 6
#define IL_V 12
#define IL_DEPTH 5
#include "interleave.h"

enum { WORD, SEQ, CLAIM, EVLOCK, PARKLOCK, WAITERS, STATUS, RET, USERS, INRT_READER, INRT_TIMER, INRT_CLOSER };
enum { NIL, READY, G };
enum { GRUNNING = 1, GRUNNABLE, GWAITING };
enum { OK = 1, TIMEDOUT, CANCELED, EBADF_ };
enum { CLOSING = 1, REF = 16 };

enum { M_NONE, M_STORE_READY, M_BLIND_INSTALL, M_NO_CLAIM, M_SEQ_UNLOCKED, M_NO_SETTLE, M_NO_PARKLOCK, M_WAITERS_LATE, M_FIRE_FIRST,
	M_CLOSE_AT_ONCE, M_CANCEL_NO_CLAIM };
enum { H_READ, H_WOKEN, H_EARLY, H_TIMEOUT, H_CANCEL, H_CLOSED, H_LOST_CLAIM, H_SETTLE, H_LAST_OUT };
static const char *const reach[] = {"a read finds data", "an event wakes the reader", "event between try and park", "time-out",
	"cancellation", "close wakes the reader", "event that comes too late for its G", "reader waits for evlock", "reader is the last out", NULL};

struct S {
	Il il;
	uint8_t op, drained, tried, ok, r, tagged; /* the reader's */
	uint8_t deadline;      /* this wait has one */
	uint8_t armed, tseq;   /* the timer */
	uint8_t saved, world, cancelled;
	uint8_t data, edges, gone; /* the kernel's: bytes to read, events not yet fetched, closed */
	uint8_t arrivals, ops, closes;
	struct {
		uint8_t w, seq, won, late;
	} x[IL_T];
};
#define X s->x[t]

static const char *script; /* 'd': a read with a deadline, 'r': one without */

static void setstatus(S *s, int t, int from, int to)
{
	if (ld(s, t, STATUS) != from)
		il_fail("PK-2: state %d -> %d, but it is %d", from, to, ld(s, t, STATUS));
	st(s, t, STATUS, to);
}

static void ready(S *s, int t, int r)
{
	if (!s->saved)
		il_fail("NP-4: made ready before its registers are saved");
	setstatus(s, t, GWAITING, GRUNNABLE);
	st(s, t, RET, r);
	il_drain(s, t);
}

static bool claim(S *s, int t, int seq)
{
	uint8_t *c = rmw(s, t, CLAIM);
	if (*c != seq)
		return false;
	*c = (uint8_t)(seq | 1);
	return true;
}

#define LOCKBYTE(w) do { \
	AWAIT("lock " #w, *rmw(s, t, (w)) == 0); \
	*rmw(s, t, (w)) = 1; \
} while (0)

static void invariant(const S *s)
{
	if (s->il.v[STATUS] == GWAITING && s->saved && s->il.v[WAITERS] == 0)
		il_fail("NP-6: a G waits, but waitersnet is 0");
}

/* gmp__netpoll_fire. X.won: the G is the caller's to ready. */
static int fire(S *s, int t, int d)
{
	BEGIN;
	X.won = 0;
	STEP("fire: load word");
	X.w = ld(s, t, WORD);
	while (X.w <= READY) {
		STEP("word: nothing -> READY");
		if (MUT(M_STORE_READY)) {
			st(s, t, WORD, READY);
			X.w = 0;
			RETURN;
		}
		if (*rmw(s, t, WORD) == X.w) {
			*rmw(s, t, WORD) = READY;
			X.w = 0;
			RETURN;
		}
		X.w = *rmw(s, t, WORD);
	}
	if (!MUT(M_SEQ_UNLOCKED))
		LOCKBYTE(EVLOCK);
	STEP("word <-> READY");
	X.w = *rmw(s, t, WORD);
	*rmw(s, t, WORD) = READY;
	if (X.w == G) {
		STEP("load seq");
		X.seq = ld(s, t, SEQ);
		STEP("claim");
		X.won = claim(s, t, X.seq) || MUT(M_NO_CLAIM);
		if (!X.won)
			REACHED(H_LOST_CLAIM);
	}
	X.w = X.seq = 0;
	if (!MUT(M_SEQ_UNLOCKED))
		st(s, t, EVLOCK, 0);
	if (X.won && !MUT(M_NO_PARKLOCK)) {
		LOCKBYTE(PARKLOCK);
		st(s, t, PARKLOCK, 0);
	}
	END;
}

/* ---- the reader ------------------------------------------------------------------------------------------------------- */

/* gmp__fd_park: s->r is 0 or why not. */
static int park(S *s, int t, int d)
{
	BEGIN;
	AWAIT("enter", !s->world);
	*rmw(s, t, INRT_READER) = 1;
	if (s->cancelled) {
		st(s, t, INRT_READER, 0);
		s->r = CANCELED;
		RETURN;
	}
	X.seq = (uint8_t)((ld(s, t, CLAIM) & ~1) + 2);
	st(s, t, CLAIM, X.seq);
	LOCKBYTE(PARKLOCK);
	if (!MUT(M_WAITERS_LATE)) {
		STEP("waitersnet++");
		*rmw(s, t, WAITERS) += 1;
	}
	st_rlx(s, t, SEQ, X.seq); /* install */
	STEP("word: NIL -> G");
	if (*rmw(s, t, WORD) == G && !MUT(M_BLIND_INSTALL))
		il_fail("NP-3: the word still holds the G of an earlier wait");
	s->ok = *rmw(s, t, WORD) == NIL || MUT(M_BLIND_INSTALL);
	if (s->ok)
		*rmw(s, t, WORD) = G;
	else
		REACHED(H_EARLY);
	if (s->ok) {
		STEP("closing ?");
		s->ok = !(ld(s, t, USERS) & CLOSING);
	}
	if (s->ok && s->deadline) {
		STEP("start the timer");
		il_drain(s, t);
		s->armed = 1;
		s->tseq = X.seq;
	}
	if (!s->ok) {
		STEP("claim one's own");
		if (!claim(s, t, X.seq))
			s->ok = 1;
	}
	if (!s->ok) {
		st(s, t, PARKLOCK, 0);
		st(s, t, INRT_READER, 0);
		s->r = 0;
	} else {
		STEP("park");
		setstatus(s, t, GRUNNING, GWAITING);
		STEP("save registers");
		s->saved = 1;
		st(s, t, PARKLOCK, 0); /* the landing */
		st(s, t, INRT_READER, 0);
		if (MUT(M_WAITERS_LATE)) {
			STEP("waitersnet++, late");
			*rmw(s, t, WAITERS) += 1;
		}
		AWAIT("resumed", ld(s, t, STATUS) == GRUNNABLE && !s->world);
		s->saved = 0;
		setstatus(s, t, GRUNNABLE, GRUNNING);
		s->r = ld(s, t, RET) == OK ? 0 : ld(s, t, RET);
		if (s->r == 0) {
			REACHED(H_WOKEN);
			if (*rmw(s, t, WORD) == G)
				il_fail("NP-3: woken by an event that was for an earlier wait");
		}
	}
	STEP("waitersnet--");
	*rmw(s, t, WAITERS) -= 1;
	s->armed = 0; /* gmp__timer_remove */
	STEP("uninstall");
	if (ld(s, t, WORD) != NIL && !MUT(M_NO_SETTLE)) {
		STEP("word: G -> NIL");
		if (*rmw(s, t, WORD) == G) {
			*rmw(s, t, WORD) = NIL;
		} else {
			if (*rmw(s, t, EVLOCK))
				REACHED(H_SETTLE);
			LOCKBYTE(EVLOCK);
			st(s, t, EVLOCK, 0);
		}
	}
	X.seq = s->ok = 0;
	END;
}

static void try_read(S *s)
{
	if (s->gone)
		il_fail("FD-3: system call on a descriptor that was closed");
	s->tried = 1;
	if (s->data) {
		s->data = 0;
		s->r = OK;
		REACHED(H_READ);
	}
}

/* io_step */
static int step_io(S *s, int t, int d)
{
	BEGIN;
	s->tried = 0;
	for (;;) {
		STEP("note: load word");
		if (ld(s, t, WORD) == READY) {
			STEP("word: READY -> NIL");
			if (*rmw(s, t, WORD) == READY)
				*rmw(s, t, WORD) = NIL;
			s->drained = 0;
		}
		STEP("closing ?");
		s->r = 0;
		if (ld(s, t, USERS) & CLOSING) {
			s->r = CANCELED;
			break;
		}
		if (!s->drained) {
			STEP("read");
			try_read(s);
			s->drained = 1; /* short, or nothing */
			if (s->r)
				break;
		}
		STEP("wait: closing ?");
		if (ld(s, t, USERS) & CLOSING) {
			s->r = CANCELED;
			break;
		}
		CALL(park);
		if (s->r) {
			if (!s->tried) {
				STEP("IO-3: read once");
				if (ld(s, t, USERS) & CLOSING)
					break;
				try_read(s);
			}
			break;
		}
	}
	END;
}

static void close_now(S *s, int t)
{
	if (s->gone++)
		il_fail("FD-3: closed twice");
	*rmw(s, t, WORD) = NIL;
	s->data = s->edges = 0;
}

static int reader(S *s, int t, int d)
{
	BEGIN;
	for (s->op = 0; script[s->op]; s->op++) {
		STEP("users: + reference, if not closing");
		if (*rmw(s, t, USERS) & CLOSING)
			break;
		*rmw(s, t, USERS) += REF;
		s->deadline = script[s->op] == 'd';
		CALL(step_io);
		if (s->r == TIMEDOUT && !s->deadline)
			il_fail("PK-6: a read without deadline timed out");
		if (s->r == TIMEDOUT)
			REACHED(H_TIMEOUT);
		STEP("users: - reference");
		*rmw(s, t, USERS) -= REF;
		if (*rmw(s, t, USERS) == CLOSING) {
			close_now(s, t);
			REACHED(H_LAST_OUT);
		}
	}
	s->op = s->r = s->drained = s->tried = 0;
	END;
}

/* ---- everybody else ---------------------------------------------------------------------------------------------------- */

static int kernel(S *s, int t, int d)
{
	BEGIN;
	for (; s->arrivals; s->arrivals--) {
		STEP("data arrive");
		if (!s->gone) {
			s->data = 1;
			s->edges++;
		}
	}
	END;
}

/* An M without a P, or sysmon: netpoll, then injectlist. */
static int poller(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("netpoll: fetch an event", s->edges);
		s->edges--;
		CALL(fire);
		if (X.won) {
			STEP("inject");
			ready(s, t, OK);
		}
		X.won = 0;
	}
	END;
}

static int timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the timer", s->armed && !s->world);
		s->armed = 0;
		*rmw(s, t, INRT_TIMER) = 1;
		X.seq = s->tseq;
		STEP("claim");
		if (claim(s, t, X.seq)) {
			LOCKBYTE(PARKLOCK);
			st(s, t, PARKLOCK, 0);
			STEP("ready");
			ready(s, t, TIMEDOUT);
		}
		X.seq = 0;
		st(s, t, INRT_TIMER, 0);
	}
	END;
}

static int canceller(S *s, int t, int d)
{
	BEGIN;
	AWAIT("stopworld", !s->il.v[INRT_READER] && !s->il.v[INRT_TIMER] && !s->il.v[INRT_CLOSER]);
	s->world = 1;
	STEP("cancel_locked");
	s->cancelled = 1;
	if (ld(s, t, STATUS) == GWAITING) {
		STEP("claim");
		X.seq = ld(s, t, CLAIM);
		if ((!(X.seq & 1) && claim(s, t, X.seq)) || MUT(M_CANCEL_NO_CLAIM)) {
			STEP("ready");
			ready(s, t, CANCELED);
			REACHED(H_CANCEL);
		}
	}
	X.seq = 0;
	STEP("startworld");
	s->world = 0;
	END;
}

/* gmp_close, close_slow */
static int closer(S *s, int t, int d)
{
	BEGIN;
	if (!MUT(M_FIRE_FIRST)) {
		STEP("users: + reference, closing");
		*rmw(s, t, USERS) += REF | CLOSING;
	}
	AWAIT("enter", !s->world);
	*rmw(s, t, INRT_CLOSER) = 1;
	CALL(fire);
	if (X.won) {
		STEP("ready");
		ready(s, t, OK);
		REACHED(H_CLOSED);
	}
	X.won = 0;
	st(s, t, INRT_CLOSER, 0);
	if (MUT(M_FIRE_FIRST)) {
		STEP("users: + reference, closing");
		*rmw(s, t, USERS) += REF | CLOSING;
	}
	STEP("users: - reference");
	*rmw(s, t, USERS) -= REF;
	if (*rmw(s, t, USERS) == CLOSING || MUT(M_CLOSE_AT_ONCE))
		close_now(s, t);
	else
		AWAIT("the others have left", s->gone);
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && (il_fn[t] == canceller || il_fn[t] == closer || il_fn[t] == kernel))
			il_fail("stuck: %s", il_thread_name[t]);
	if (!s->il.done[0]) {
		if (s->il.v[STATUS] != GWAITING)
			il_fail("stuck: the reader");
		else if (s->data || (s->il.v[USERS] & CLOSING) || s->cancelled)
			il_fail("NP-1: the reader sleeps on (data %d, users %d, cancelled %d)", s->data, s->il.v[USERS], s->cancelled);
		if (s->il.v[WAITERS] != 1)
			il_fail("NP-6: waitersnet is %d", s->il.v[WAITERS]);
	} else if (s->il.v[WAITERS]) {
		il_fail("NP-6: waitersnet is %d", s->il.v[WAITERS]);
	}
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static void begin(S *s, const char *ops, int arrivals, int pollers)
{
	script = ops;
	s->il.v[STATUS] = GRUNNING;
	s->arrivals = (uint8_t)arrivals;
	il_thread("reader", reader);
	il_thread("kernel", kernel);
	il_thread("poller", poller);
	if (pollers > 1)
		il_thread("poller 2", poller);
}
static void events(S *s) { begin(s, "rrr", 3, 2); }
static void deadlines(S *s)
{
	begin(s, "dd", 2, 2);
	il_thread("timer", timer);
}
static void deadline(S *s)
{
	begin(s, "ddr", 2, 1);
	il_thread("timer", timer);
}
static void cancelling(S *s)
{
	begin(s, "rd", 1, 1);
	il_thread("timer", timer);
	il_thread("canceller", canceller);
}
static void closing(S *s)
{
	begin(s, "rd", 2, 1);
	il_thread("timer", timer);
	il_thread("closer", closer);
}
static void closing_only(S *s)
{
	begin(s, "rr", 1, 1);
	il_thread("closer", closer);
}
static void closing_cancel(S *s)
{
	begin(s, "r", 1, 1);
	il_thread("canceller", canceller);
	il_thread("closer", closer);
}

static const IlRun runs[] = {
	{"events", events, 0, NULL},
	{"events and deadlines", deadlines, 0, NULL},
	{"events and deadlines, one poller", deadline, 0, NULL},
	{"event, deadline, cancel", cancelling, 0, NULL},
	{"event and close", closing_only, 0, NULL},
	{"events, deadline, close", closing, 0, NULL},
	{"event, cancel, close", closing_cancel, 0, NULL},

	{"NP-1 event is a plain store", events, M_STORE_READY, "NP-1"},
	{"NP-1 waiter does not look at the word", events, M_BLIND_INSTALL, "NP-1"},
	{"NP-2 event without claim", deadlines, M_NO_CLAIM, "PK-2"},
	{"NP-2 cancel without claim", cancelling, M_CANCEL_NO_CLAIM, "PK-2"},
	{"NP-3 word and sequence not read together", deadline, M_SEQ_UNLOCKED, "NP-3"},
	{"NP-3 the word is not put in order after the wait", deadline, M_NO_SETTLE, "NP-3"},
	{"NP-4 event does not pass through parklock", events, M_NO_PARKLOCK, "NP-4"},
	{"NP-6 waitersnet raised after the park", events, M_WAITERS_LATE, "NP-6"},
	{"FD-3 events before FD_CLOSING is set", closing_only, M_FIRE_FIRST, "stuck: closer"},
	{"FD-3 closed while others use it", closing, M_CLOSE_AT_ONCE, "FD-3"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_netpoll", sizeof(S), invariant, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
