/* SPDX-License-Identifier: MIT
 * model_waitgroup.c - gmp_waitgroup (waitgroup.c WG-1, WG-2, sync.h SY-1, SY-2, SY-4) by exhaustive interleaving: some
 * are done, one waits and frees it as soon as its wait has returned; one may wait beside it with a deadline and is
 * waited for. The same steps serve gmp_once (ON-1) and groups (GR-2): a last one who takes the waiters off, then one
 * store. */
#define IL_T 5
#define IL_V 1
#define IL_BUF 3
#include "interleave.h"

enum { W };
enum { LOCKBYTE = 1, WAIT = 2, ONE = 4 };
enum { R_ZERO = 1, R_TIMEDOUT };

enum {
	M_NONE, M_ZERO_BY_CAS, M_IGNORE_BYTE, M_ZERO_FIRST, M_LATE_LOOK, M_NO_WAIT_FLAG, M_NO_SECOND_LOOK, M_NO_CLAIM,
	M_HEAD_ONLY, M_EARLY_LAST,
};
enum { H_QUEUED, H_AT_ONCE, H_TIMEDOUT, H_BOTH, H_PLAIN };
static const char *const reach[] = {"a waiter that queued", "a waiter that found zero", "a deadline ends a wait",
	"both waiters woken by one done", "done_last finds a plain waiter alone", NULL};

struct S {
	Il il;
	uint8_t q[2], nq; /* thread + 1 */
	uint8_t claim, wake[IL_T];
	uint8_t freed, visiting; /* visiting: the visitor has not returned; the owner knows */
	struct {
		uint8_t v, all[2], n, r;
	} m[IL_T];
};

static int visitor_thread;

static void touch(const S *s)
{
	if (s->freed)
		il_fail("SY-2: touched after it was freed");
}

/* add(-1) */
static int done(S *s, int t, int d)
{
	BEGIN;
	STEP("done: load");
	touch(s);
	s->m[t].v = ld(s, t, W);
	while (!((s->m[t].v & LOCKBYTE) && !MUT(M_IGNORE_BYTE)) &&
		!((s->m[t].v & WAIT) && s->m[t].v < 2 * ONE && !MUT(M_ZERO_BY_CAS))) {
		STEP("done: compare-and-swap");
		touch(s);
		if (*rmw(s, t, W) == s->m[t].v) {
			*rmw(s, t, W) -= ONE;
			if (!MUT(M_ZERO_BY_CAS) || *rmw(s, t, W) >= ONE || !(*rmw(s, t, W) & WAIT))
				RETURN;
			break;
		}
		s->m[t].v = *rmw(s, t, W);
	}
	/* done_last() */
	STEP("done: try the lock byte");
	touch(s);
	s->m[t].v = *rmw(s, t, W);
	if (!(s->m[t].v & LOCKBYTE) && !(MUT(M_ZERO_BY_CAS) && s->m[t].v < ONE)) {
		*rmw(s, t, W) |= LOCKBYTE;
		STEP("done: a plain waiter, alone?");
		touch(s);
		bool last = s->m[t].v / ONE == 1 || MUT(M_EARLY_LAST), alone = s->nq == 1 || (s->nq && MUT(M_HEAD_ONLY));
		if (last && alone && s->q[0] - 1 != visitor_thread) {
			s->m[t].r = s->q[0];
			s->q[0] = s->q[1];
			s->q[1] = 0;
			s->nq--;
			REACHED(H_PLAIN);
			STEP("done: store zero");
			touch(s);
			st(s, t, W, 0);
			STEP("done: ready");
			if (s->wake[s->m[t].r - 1])
				il_fail("PK-2: woken twice");
			s->wake[s->m[t].r - 1] = R_ZERO;
			s->m[t].r = 0;
			RETURN;
		}
		STEP("done: give the lock byte back");
		touch(s);
		st(s, t, W, s->m[t].v);
	}
	AWAIT("done: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	if (!(MUT(M_ZERO_BY_CAS) && s->m[t].v < ONE))
		s->m[t].v -= ONE;
	if (MUT(M_ZERO_FIRST) && s->m[t].v < ONE) {
		STEP("done: zero, and then the queue");
		touch(s);
		st(s, t, W, s->m[t].v | LOCKBYTE);
	}
	STEP("done: claim the waiters");
	touch(s);
	if (s->m[t].v < ONE && (s->m[t].v & WAIT)) {
		for (int i = 0; i < s->nq; i++) {
			uint8_t x = s->q[i];
			if (x - 1 == visitor_thread) {
				if (s->claim == 2 && !MUT(M_NO_CLAIM))
					continue;
				s->claim = 2;
			}
			s->m[t].all[s->m[t].n++] = x;
			s->q[i] = 0;
		}
		if (s->m[t].n == 2)
			REACHED(H_BOTH);
		if (s->q[0] == 0) {
			s->q[0] = s->q[1];
			s->q[1] = 0;
		}
		s->nq = (uint8_t)(s->nq - s->m[t].n);
		s->m[t].v = 0;
	}
	STEP("done: store count and lock byte");
	touch(s);
	st(s, t, W, s->m[t].v);
	if (MUT(M_LATE_LOOK)) {
		STEP("done: a look at the queue, too late");
		touch(s);
	}
	while (s->m[t].n) {
		STEP("done: ready");
		uint8_t x = s->m[t].all[--s->m[t].n];
		s->m[t].all[s->m[t].n] = 0;
		if (s->wake[x - 1])
			il_fail("PK-2: woken twice");
		s->wake[x - 1] = R_ZERO;
	}
	END;
}

/* Until zero, or the deadline. m[t].r: R_ZERO, R_TIMEDOUT. */
static int wait(S *s, int t, int d)
{
	BEGIN;
	STEP("wait: load");
	touch(s);
	s->m[t].r = R_ZERO;
	if (ld(s, t, W) < ONE) {
		REACHED(H_AT_ONCE);
		RETURN;
	}
	AWAIT("wait: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("wait: decide");
	touch(s);
	if (s->m[t].v < ONE && !MUT(M_NO_SECOND_LOOK)) {
		st(s, t, W, s->m[t].v);
		RETURN;
	}
	s->q[s->nq++] = (uint8_t)(t + 1);
	if (t == visitor_thread)
		s->claim = 1;
	st(s, t, W, s->m[t].v | LOCKBYTE | (MUT(M_NO_WAIT_FLAG) ? 0 : WAIT));
	STEP("wait: landing");
	touch(s);
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	AWAIT("wait: parked", s->wake[t]);
	s->m[t].r = s->wake[t];
	s->wake[t] = 0;
	REACHED(H_QUEUED);
	END;
}

static int doner(S *s, int t, int d)
{
	BEGIN;
	CALL(done);
	s->m[t].v = 0;
	END;
}

static int owner(S *s, int t, int d)
{
	BEGIN;
	CALL(wait);
	AWAIT("the visitor has returned", !s->visiting);
	il_drain(s, t);
	s->freed = 1;
	s->m[t].v = s->m[t].r = 0;
	END;
}

static int visitor(S *s, int t, int d)
{
	BEGIN;
	CALL(wait);
	STEP("visitor returns");
	il_drain(s, t);
	s->visiting = 0;
	s->m[t].v = s->m[t].r = 0;
	END;
}

/* The visitor's deadline passes. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	AWAIT("timer: claim", s->claim == 1);
	s->claim = 2;
	REACHED(H_TIMEDOUT);
	AWAIT("timer: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("timer: unlink");
	touch(s);
	for (int i = 0; i < s->nq; i++)
		if (s->q[i] == visitor_thread + 1) {
			s->q[i] = s->q[1];
			s->q[1] = 0;
			s->nq--;
			break;
		}
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	STEP("timer: ready");
	if (s->wake[visitor_thread])
		il_fail("PK-2: woken twice");
	s->wake[visitor_thread] = R_TIMEDOUT;
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && il_fn[t] != timer)
			il_fail("stuck: %s", il_thread_name[t]);
}

static void begin(S *s, int doners, bool visited)
{
	static const char *const names[] = {"G1", "G2", "G3"};
	for (int i = 0; i < doners; i++)
		il_thread(names[i], doner);
	s->il.v[W] = (uint8_t)(doners * ONE);
	il_thread("owner", owner);
	visitor_thread = -1;
	if (visited) {
		s->visiting = 1;
		visitor_thread = il_threads;
		il_thread("visitor", visitor);
		il_thread("timer", timer);
	}
}
static void one(S *s) { begin(s, 1, false); }
static void two(S *s) { begin(s, 2, false); }
static void three_weak(S *s)
{
	il_weak = true;
	begin(s, 3, false);
}
static void two_waiters(S *s)
{
	begin(s, 2, false);
	s->visiting = 1;
	il_thread("visitor", visitor);
}
static void visit(S *s) { begin(s, 1, true); }
static void visit_two(S *s) { begin(s, 2, true); }

static const IlRun runs[] = {
	{"one done, a waiter", one, 0, NULL},
	{"two done, a waiter", two, 0, NULL},
	{"three done, a waiter, weak stores", three_weak, 0, NULL},
	{"one done, a waiter, one with a deadline", visit, 0, NULL},
	{"two done, a waiter, one with a deadline", visit_two, 0, NULL},
	{"two done, two waiters", two_waiters, 0, NULL},

	{"WG-1 zero before the queue was looked at", visit, M_ZERO_BY_CAS, "SY-2"},
	{"WG-1 zero under the lock byte, before the waiters are taken off", visit, M_ZERO_FIRST, "SY-2"},
	{"SY-1 done does not mind the lock byte", one, M_IGNORE_BYTE, "stuck"},
	{"SY-2 done looks at the queue after its last store", visit, M_LATE_LOOK, "SY-2"},
	{"SY-4 no SW_WAIT", one, M_NO_WAIT_FLAG, "stuck"},
	{"WG-2 no second look under the lock byte", one, M_NO_SECOND_LOOK, "stuck"},
	{"WG-1 done_last minds only the first of two waiters", two_waiters, M_HEAD_ONLY, "stuck"},
	{"WG-1 done_last is not the last", two, M_EARLY_LAST, "SY-2"},
	{"PK-2 the last one takes a waiter that timed out", visit, M_NO_CLAIM, "PK-2"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_waitgroup", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
