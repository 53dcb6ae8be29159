/* SPDX-License-Identifier: MIT
 * model_select.c - select (select.c, SE-1..SE-6) by exhaustive interleaving: two selects that compete and meet, a plain sender, a
 * close, a time-out, over two unbuffered channels. Each value sent must arrive exactly once, no wait end twice, nobody wait
 * beside somebody who would match, and no memory of a select be used after it has returned.
 *
 * Left out: buffers, sorting (cases are checked by channel number), stopping the world (model_park.c). */
#define IL_T 5
#define IL_V 8
#define IL_DEPTH 4
#include "interleave.h"

enum { NSEL = 2, NCASE = 2, NCHAN = 2, PLAIN = NSEL * NCASE, NSUDOG, MAXQ = 4 };
enum { LCK = 0, PARKLOCK = LCK + NCHAN, CLAIM = PARKLOCK + NSEL };
enum { SEND = 1, RECV = 2 };
enum { RUNNING, WAITING, READY };
enum { WAIT = 1, OK, EPIPE_, TIMEDOUT };

enum { M_NONE, M_ENQUEUE_UNLOCKED, M_NO_CLAIM, M_TIMER_SKIPS_LOCK, M_GIVE_UP, M_ENQUEUE_FIRST, M_LEFT_QUEUED, M_LOCK_ORDER,
	M_WAKER_SKIPS_LOCK, M_PARKLOCK_LATE, M_PARKLOCK_EARLY, M_ONE_LOOK };
enum { H_MET, H_SELECTS_MET, H_CLOSED, H_TIMEOUT, H_LOST_CLAIM, H_STRUCK, H_WAITED, H_FIRST_LOOK, H_SECOND_LOOK, H_AWAITED };
static const char *const reach[] = {"plain sender meets a select", "two selects meet", "close wakes a select", "time-out",
	"a Sudog whose wait is over is skipped", "the case drawn turns out taken", "a select waits and is woken",
	"the look without locks finds a case", "only the look under all locks finds one", "a waker waits for the commit", NULL};

typedef struct Case {
	uint8_t op, chan;
} Case;

struct S {
	Il il;
	struct {
		uint8_t closed;
		uint8_t n[3], q[3][MAXQ]; /* [SEND], [RECV]: Sudogs */
	} chan[NCHAN];
	struct {
		uint8_t status, saved, ret, alive, seq, armed, result, rounds;
	} g[NSEL + 1];            /* selects, and the plain sender */
	struct {
		uint8_t i, k, won, r, seq, woken; /* locals. woken: mask of Sudogs */
		uint8_t ready;            /* mask of cases */
		uint8_t locked;           /* the second look of a select */
	} x[IL_T];
	uint8_t sent[NSEL + 1], got[NSEL + 1]; /* by whose value: ghosts */
};

static Case cases[NSEL][NCASE];
static int plain_chan, timed;

static int owner(int sg) { return sg == PLAIN ? NSEL : sg / NCASE; }
static Case of(int sg) { return sg == PLAIN ? (Case){SEND, (uint8_t)plain_chan} : cases[sg / NCASE][sg % NCASE]; }

static void dequeue(S *s, int sg)
{
	Case c = of(sg);
	uint8_t *q = s->chan[c.chan].q[c.op], *n = &s->chan[c.chan].n[c.op];
	for (int i = 0; i < *n; i++)
		if (q[i] == sg) {
			(*n)--;
			memmove(q + i, q + i + 1, (size_t)(*n - i));
			q[*n] = 0;
			return;
		}
	il_fail("SE-2: Sudog %d is not on its queue", sg);
}

static void enqueue(S *s, int sg)
{
	Case c = of(sg);
	s->chan[c.chan].q[c.op][s->chan[c.chan].n[c.op]++] = (uint8_t)sg;
}

/* Value of `from` reaches `to`. */
static void deliver(S *s, int from, int to)
{
	(void)to;
	s->got[from]++;
	if (from == to)
		il_fail("SE-5: select %d meets itself", from);
	if (from < NSEL && to < NSEL)
		REACHED(H_SELECTS_MET);
	else if (to < NSEL)
		REACHED(H_MET);
}

/* The end of waiter_wake: await_commit is done. */
static void ready(S *s, int t, int sg, int r)
{
	int g = owner(sg);
	if (s->g[g].status != WAITING)
		il_fail("PK-2: state of %d is %d", g, s->g[g].status);
	if (!s->g[g].saved)
		il_fail("PK-1: %d is made ready before its registers are saved", g);
	s->g[g].ret = (uint8_t)(sg << 3 | r);
	s->g[g].status = READY;
	il_drain(s, t);
}

static bool committed(const S *s, int t, int sg)
{
	if (sg == PLAIN || MUT(M_WAKER_SKIPS_LOCK) || ld(s, t, PARKLOCK + owner(sg)) == 0)
		return true;
	REACHED(H_AWAITED);
	return false;
}

/* waiter_wake: two steps. */
#define WAKE(sg, r) do { \
	AWAIT("await the commit, ready", committed(s, t, (sg))); \
	ready(s, t, (sg), (r)); \
} while (0)

#define LOCKBYTE(w) do { \
	AWAIT("lock byte", *rmw(s, t, (w)) == 0); \
	*rmw(s, t, (w)) = 1; \
} while (0)

/* The operation of Sudog x.k's case, now: x.r tells how, x.won whom to wake (+ 1). */
static int perform(S *s, int t, int d)
{
#define X s->x[t]
#define Q s->chan[of(X.k).chan].q[SEND + RECV - of(X.k).op]
#define N s->chan[of(X.k).chan].n[SEND + RECV - of(X.k).op]
	BEGIN;
	X.won = 0;
	X.r = WAIT;
	if (of(X.k).op == SEND && s->chan[of(X.k).chan].closed) {
		X.r = EPIPE_;
		RETURN;
	}
	for (X.i = 0; X.i < N; X.i++) { /* waitq_claim */
		if (Q[X.i] != PLAIN && !MUT(M_NO_CLAIM)) {
			STEP("load claim");
			X.seq = ld(s, t, CLAIM + owner(Q[X.i]));
			STEP("claim");
			if ((X.seq & 1) || *rmw(s, t, CLAIM + owner(Q[X.i])) != X.seq) {
				REACHED(H_LOST_CLAIM);
				continue;
			}
			*rmw(s, t, CLAIM + owner(Q[X.i])) |= 1;
		}
		X.won = (uint8_t)(Q[X.i] + 1);
		break;
	}
	X.i = X.seq = 0;
	if (X.won) {
		dequeue(s, X.won - 1);
		if (of(X.k).op == SEND)
			deliver(s, owner(X.k), owner(X.won - 1));
		else
			deliver(s, owner(X.won - 1), owner(X.k));
		X.r = OK;
	} else if (of(X.k).op == RECV && s->chan[of(X.k).chan].closed) {
		X.r = EPIPE_;
	}
	END;
#undef Q
#undef N
}

/* A hint: the heads of queues. */
static bool looks_ready(const S *s, Case c) { return s->chan[c.chan].closed || s->chan[c.chan].n[SEND + RECV - c.op]; }

/* Cases are given in order of their channels; a channel that stands twice is locked once. */
static int lock_all(S *s, int t, int d)
{
	BEGIN;
	for (X.i = 0; X.i < NCASE; X.i++)
		if (X.i == 0 || cases[t][X.i].chan != cases[t][X.i - 1].chan)
			LOCKBYTE(LCK + cases[t][X.i].chan);
	X.i = 0;
	END;
}

static int unlock_all(S *s, int t, int d)
{
	BEGIN;
	for (X.i = NCASE; X.i-- > 0;) {
		STEP("next case of the select");
		if (X.i == 0 || cases[t][X.i - 1].chan != cases[t][X.i].chan)
			st(s, t, LCK + cases[t][X.i].chan, 0);
	}
	X.i = 0;
	END;
}

/* One look at the cases, and the one drawn performed: SE-4. X.locked: all channels are. X.r == WAIT: nothing. */
static int look(S *s, int t, int d)
{
	BEGIN;
	for (X.i = 0; X.i < NCASE; X.i++) {
		STEP("look");
		if (looks_ready(s, cases[t][X.i]))
			X.ready |= (uint8_t)(1u << X.i);
	}
	X.i = 0;
	X.r = WAIT;
	while (X.ready) {
		STEP("draw");
		X.k = (uint8_t)(X.ready == 3 ? il_choose(2) : X.ready - 1);
		X.ready &= (uint8_t)~(1u << X.k);
		X.k = (uint8_t)(t * NCASE + X.k);
		if (!X.locked)
			LOCKBYTE(LCK + of(X.k).chan);
		CALL(perform);
		if (!X.locked)
			st(s, t, LCK + of(X.k).chan, 0);
		if (X.r != WAIT)
			break;
		REACHED(H_STRUCK);
		if (MUT(M_GIVE_UP))
			break;
	}
	X.ready = 0;
	END;
}

static int select_once(S *s, int t, int d)
{
#define G s->g[t]
	BEGIN;
	STEP("gmp_select");
	G.alive = 1;
	X.locked = 0;
	CALL(look);
	if (X.r != WAIT) {
		REACHED(H_FIRST_LOOK);
	} else {
		CALL(lock_all);
		X.locked = 1;
		if (MUT(M_ENQUEUE_FIRST))
			for (int k = 0; k < NCASE; k++)
				enqueue(s, t * NCASE + k);
		if (!MUT(M_ONE_LOOK))
			CALL(look);
		if (X.r != WAIT)
			REACHED(H_SECOND_LOOK);
	}
	if (X.r != WAIT) {
		if (cases[t][X.k % NCASE].op == SEND)
			s->sent[t] = (uint8_t)(s->sent[t] + (X.r == OK));
		G.result = X.r;
		if (X.locked)
			CALL(unlock_all);
		if (X.won)
			WAKE(X.won - 1, OK);
		X.won = X.r = X.k = X.locked = G.alive = 0;
		RETURN;
	}
	if (MUT(M_ENQUEUE_UNLOCKED)) {
		CALL(unlock_all);
		CALL(lock_all);
	}
	G.seq = (uint8_t)(G.seq + 2);
	st(s, t, CLAIM + t, G.seq);
	if (!MUT(M_ENQUEUE_FIRST))
		for (int k = 0; k < NCASE; k++)
			enqueue(s, t * NCASE + k);
	if (!MUT(M_PARKLOCK_LATE))
		st_rlx(s, t, PARKLOCK + t, 1);
	G.status = WAITING;
	if (timed == t) {
		STEP("start the timer");
		il_drain(s, t);
		G.armed = 1;
	}
	CALL(unlock_all);
	if (MUT(M_PARKLOCK_LATE)) {
		STEP("lock parklock");
		st_rlx(s, t, PARKLOCK + t, 1);
	}
	if (MUT(M_PARKLOCK_EARLY)) {
		STEP("unlock parklock");
		st(s, t, PARKLOCK + t, 0);
	}
	STEP("save registers");
	G.saved = 1;
	STEP("landing");
	st(s, t, PARKLOCK + t, 0);
	X.r = X.k = X.locked = 0;
	AWAIT("resumed", G.status == READY);
	G.status = RUNNING;
	G.saved = 0;
	G.armed = 0; /* gmp__park_timer_end */
	REACHED(H_WAITED);
	X.won = (uint8_t)((G.ret & 7) == TIMEDOUT ? 0xff : G.ret >> 3);
	for (X.k = 0; X.k < NCASE && !MUT(M_LEFT_QUEUED); X.k++) {
		if (X.won == t * NCASE + X.k)
			continue;
		LOCKBYTE(LCK + cases[t][X.k].chan);
		dequeue(s, t * NCASE + X.k);
		st(s, t, LCK + cases[t][X.k].chan, 0);
	}
	G.result = G.ret & 7;
	if (G.result == OK && of(X.won).op == SEND)
		s->sent[t]++;
	X.won = X.k = G.ret = G.alive = 0;
	END;
#undef G
}

static int selecting(S *s, int t, int d)
{
	BEGIN;
	for (; s->g[t].rounds; s->g[t].rounds--)
		CALL(select_once);
	END;
}

static int plain_sender(S *s, int t, int d)
{
	BEGIN;
	LOCKBYTE(LCK + plain_chan);
	X.k = PLAIN;
	CALL(perform);
	if (X.r == WAIT) {
		enqueue(s, PLAIN);
		STEP("park");
		s->g[NSEL].status = WAITING;
		STEP("save registers");
		s->g[NSEL].saved = 1;
		st(s, t, LCK + plain_chan, 0);
		AWAIT("resumed", s->g[NSEL].status == READY);
		X.r = s->g[NSEL].ret & 7;
		s->g[NSEL].status = s->g[NSEL].saved = s->g[NSEL].ret = 0;
	} else {
		st(s, t, LCK + plain_chan, 0);
		if (X.won)
			WAKE(X.won - 1, OK);
	}
	s->sent[NSEL] = X.r == OK;
	X.k = X.r = X.won = 0;
	END;
}

/* Closes channel 0. */
static int closer(S *s, int t, int d)
{
	BEGIN;
	LOCKBYTE(LCK + 0);
	s->chan[0].closed = 1;
	for (X.k = SEND; X.k <= RECV; X.k++)
		for (X.i = 0; X.i < s->chan[0].n[X.k];) {
			if (s->chan[0].q[X.k][X.i] == PLAIN) {
				X.won = PLAIN;
			} else {
				STEP("load claim");
				X.seq = ld(s, t, CLAIM + owner(s->chan[0].q[X.k][X.i]));
				STEP("claim");
				if ((X.seq & 1) || *rmw(s, t, CLAIM + owner(s->chan[0].q[X.k][X.i])) != X.seq) {
					X.i++;
					continue;
				}
				X.won = s->chan[0].q[X.k][X.i];
				*rmw(s, t, CLAIM + owner(X.won)) |= 1;
			}
			dequeue(s, X.won);
			X.woken |= (uint8_t)(1u << X.won);
		}
	st(s, t, LCK + 0, 0);
	X.k = X.seq = 0;
	for (X.i = 0; X.i < NSUDOG; X.i++)
		if (X.woken >> X.i & 1) {
			WAKE(X.i, EPIPE_);
			REACHED(H_CLOSED);
		}
	X.i = X.woken = X.won = 0;
	END;
}

/* Of select `timed`. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("pop the timer", s->g[timed].armed || s->il.done[timed]);
		if (!s->g[timed].armed)
			break;
		s->g[timed].armed = 0;
		X.seq = s->g[timed].seq;
		STEP("claim");
		if (*rmw(s, t, CLAIM + timed) == X.seq) {
			*rmw(s, t, CLAIM + timed) |= 1;
			if (!MUT(M_TIMER_SKIPS_LOCK)) {
				LOCKBYTE(PARKLOCK + timed);
				st(s, t, PARKLOCK + timed, 0);
			}
			STEP("ready");
			ready(s, t, timed * NCASE, TIMEDOUT);
			REACHED(H_TIMEOUT);
		}
		X.seq = 0;
	}
	END;
}

/* Nobody can move: whoever waits has nobody to meet. */
static void terminal(const S *s)
{
	for (int g = 0; g <= NSEL; g++) {
		if (s->sent[g] != s->got[g])
			il_fail("value of %d: sent %d, arrived %d", g, s->sent[g], s->got[g]);
		if (s->g[g].status == RUNNING && s->g[g].alive)
			il_fail("stuck: select %d", g);
	}
	for (int t = NSEL; t < il_threads; t++)
		if (!s->il.done[t] && il_fn[t] != plain_sender && il_fn[t] != timer)
			il_fail("stuck: %s", il_thread_name[t]);
	for (int c = 0; c < NCHAN; c++) {
		if (s->il.v[LCK + c])
			il_fail("stuck: channel %d is locked", c);
		for (int a = 0; a < s->chan[c].n[SEND]; a++)
			for (int b = 0; b < s->chan[c].n[RECV]; b++)
				if (owner(s->chan[c].q[SEND][a]) != owner(s->chan[c].q[RECV][b]))
					il_fail("SE-1: a sender and a receiver wait on channel %d", c);
		for (int op = SEND; op <= RECV; op++) {
			if (s->chan[c].closed && s->chan[c].n[op])
				il_fail("SE-4: waits on closed channel %d", c);
			for (int a = 0; a < s->chan[c].n[op]; a++)
				if (s->g[owner(s->chan[c].q[op][a])].status != WAITING)
					il_fail("SE-2: Sudog on a queue after the wait");
		}
	}
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static void begin(S *s, const Case a[NCASE], const Case b[NCASE], int plain)
{
	s->g[0].rounds = s->g[1].rounds = 1;
	memcpy(cases[0], a, sizeof cases[0]);
	memcpy(cases[1], b, sizeof cases[1]);
	plain_chan = plain;
	timed = -1;
	il_thread("select 0", selecting);
	il_thread("select 1", selecting);
}
static const Case recv_both[] = {{RECV, 0}, {RECV, 1}}, send_both[] = {{SEND, 0}, {SEND, 1}}, mixed[] = {{SEND, 0}, {RECV, 1}},
	itself[] = {{SEND, 0}, {RECV, 0}}, recv_back[] = {{RECV, 1}, {RECV, 0}};

static void meet(S *s) { begin(s, recv_both, send_both, 0); }
static void meet_again(S *s)
{
	meet(s);
	s->g[0].rounds = s->g[1].rounds = 3;
}
static void compete_again(S *s)
{
	begin(s, recv_both, mixed, 1);
	s->g[0].rounds = s->g[1].rounds = 2;
	il_thread("sender", plain_sender);
	il_thread("closer", closer);
}
static void timeout_again(S *s)
{
	begin(s, recv_both, send_both, 1);
	s->g[0].rounds = s->g[1].rounds = 2;
	timed = 1;
	il_thread("sender", plain_sender);
	il_thread("timer", timer);
}
static void meet_back(S *s) { begin(s, recv_back, send_both, 0); }
static void compete(S *s)
{
	begin(s, recv_both, recv_both, 1);
	il_thread("sender", plain_sender);
}
static void compete_close(S *s)
{
	begin(s, recv_both, mixed, 1);
	il_thread("sender", plain_sender);
	il_thread("closer", closer);
}
static void meet_timeout(S *s)
{
	begin(s, recv_both, send_both, 0);
	timed = 0;
	il_thread("timer", timer);
}
static void late_claim(S *s)
{
	begin(s, recv_both, send_both, 1);
	timed = 1;
	il_thread("sender", plain_sender);
	il_thread("timer", timer);
}
static void self(S *s)
{
	begin(s, itself, recv_both, 0);
	il_thread("closer", closer);
}

static const IlRun runs[] = {
	{"selects that meet", meet, 0, NULL},
	{"selects that meet three times", meet_again, 0, NULL},
	{"selects and a sender", compete, 0, NULL},
	{"selects, a sender and a close", compete_close, 0, NULL},
	{"selects and a time-out", meet_timeout, 0, NULL},
	{"selects, a sender and a time-out", late_claim, 0, NULL},
	{"two rounds with a close", compete_again, 0, NULL},
	{"two rounds with a time-out", timeout_again, 0, NULL},
	{"a select on both sides of a channel, close", self, 0, NULL},

	{"SE-1 queued after the channels were unlocked", meet, M_ENQUEUE_UNLOCKED, "SE-1"},
	{"SE-1 channels not locked in one order", meet_back, M_LOCK_ORDER, "stuck"},
	{"SE-2 no claim", compete_close, M_NO_CLAIM, "PK-2"},
	{"SE-2 other Sudogs left queued", compete, M_LEFT_QUEUED, "SE-2"},
	{"SE-3 waker does not pass through parklock", meet, M_WAKER_SKIPS_LOCK, "PK-1"},
	{"SE-3 parklock is taken after the channels are unlocked", meet, M_PARKLOCK_LATE, "PK-1"},
	{"SE-3 parklock is free before the registers are saved", meet, M_PARKLOCK_EARLY, "PK-1"},
	{"SE-3 timer does not pass through parklock", meet_timeout, M_TIMER_SKIPS_LOCK, "PK-"},
	{"SE-4 gives up when the case drawn is taken", late_claim, M_GIVE_UP, "SE-1"},
	{"SE-6 no second look, under the locks", meet, M_ONE_LOOK, "SE-1"},
	{"SE-5 queued before it has looked", self, M_ENQUEUE_FIRST, "SE-5"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_select", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
