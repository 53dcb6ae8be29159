/* SPDX-License-Identifier: MIT
 * model_mutex.c - gmp_mutex (mutex.c MU-1..4, sync.h SY-1, SY-2, SY-4) by exhaustive interleaving: coroutines lock once
 * each, count themselves out under the mutex, and the last one frees it. One may have a deadline, and locks again after
 * that; or be cancelled, and gives up. Which failed attempt counts as starvation is left open: each may.
 *
 * Left out: solo (no other thread), spinning (reads only), how a G parks (model_park.c). */
#define IL_T 4
#define IL_V 1
#define IL_BUF 3
#include "interleave.h"

enum { W };
enum { LOCKBYTE = 1, LOCKED = 2, WAIT = 4, WOKEN = 8, STARVING = 16 };
enum { R_HANDED = 1, R_WOKEN, R_TIMEDOUT };

enum {
	M_NONE, M_LOCK_IGNORES_BYTE, M_UNLOCK_IGNORES_BYTE, M_TWO_STORES, M_LATE_LOOK, M_QUEUE_KEEPS_WOKEN,
	M_GIVE_UP_KEEPS_WOKEN, M_GIVE_UP_BLINDLY, M_NO_WAIT_FLAG, M_WAIT_CLEARED, M_STARVING_FREE, M_NO_SECOND_LOOK,
	M_NO_CLAIM,
};
enum { H_BARGED, H_HANDED, H_IN_VAIN, H_GAVE_UP, H_TIMEDOUT, H_CALM };
static const char *const reach[] = {"a newcomer overtakes the woken one", "hand-off", "woken in vain",
	"a cancelled one gives up", "a deadline ends a wait", "starving mode ends", NULL};

struct S {
	Il il;
	uint8_t q[IL_T], nq; /* thread + 1 */
	uint8_t claim[IL_T]; /* 0: plain; 1: contested; 2: taken */
	uint8_t wake[IL_T];
	uint8_t inside, refs, freed;
	struct {
		uint8_t kind, v, n, woken, r, sg, failed;
	} m[IL_T];
};

static void touch(const S *s)
{
	if (s->freed)
		il_fail("SY-2: touched after it was freed");
}

static void q_remove(S *s, int i)
{
	memmove(s->q + i, s->q + i + 1, (size_t)(s->nq - i - 1));
	s->q[--s->nq] = 0;
}

/* waitq_claim: thread + 1, or 0. */
static uint8_t q_claim(S *s)
{
	for (int i = 0; i < s->nq; i++) {
		uint8_t x = s->q[i];
		if (s->claim[x - 1] == 2 && !MUT(M_NO_CLAIM))
			continue;
		if (s->claim[x - 1] == 1)
			s->claim[x - 1] = 2;
		q_remove(s, i);
		return x;
	}
	return 0;
}

/* m[t].r: 0, or R_TIMEDOUT: not locked. */
static int lock(S *s, int t, int d)
{
	BEGIN;
	s->m[t].woken = s->m[t].r = 0;
	STEP("lock: load");
	touch(s);
	s->m[t].v = ld(s, t, W);
	while (!(s->m[t].v & LOCKED) && (!(s->m[t].v & LOCKBYTE) || MUT(M_LOCK_IGNORES_BYTE))) {
		STEP("lock: compare-and-swap");
		touch(s);
		if (*rmw(s, t, W) == s->m[t].v) {
			*rmw(s, t, W) |= LOCKED;
			if (s->m[t].v & WOKEN)
				REACHED(H_BARGED);
			RETURN;
		}
		s->m[t].v = *rmw(s, t, W);
	}
	for (;;) {
		AWAIT("lock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
		touch(s);
		s->m[t].v = *rmw(s, t, W);
		*rmw(s, t, W) |= LOCKBYTE;
		if (s->m[t].woken && !MUT(M_QUEUE_KEEPS_WOKEN))
			s->m[t].v &= (uint8_t)~WOKEN;
		STEP("lock: decide");
		touch(s);
		if (MUT(M_GIVE_UP_BLINDLY) && s->m[t].woken && s->m[t].kind == 'c') {
			s->m[t].r = R_TIMEDOUT;
			st(s, t, W, s->m[t].v);
			RETURN;
		}
		if (!(s->m[t].v & LOCKED) && !(MUT(M_NO_SECOND_LOOK) && !s->m[t].woken)) {
			st(s, t, W, s->m[t].v | LOCKED);
			RETURN;
		}
		if (s->m[t].woken)
			REACHED(H_IN_VAIN);
		int choice = s->m[t].woken ? il_choose(s->m[t].kind == 'c' ? 3 : 2) : 0;
		if (choice == 2) {
			REACHED(H_GAVE_UP);
			s->m[t].r = R_TIMEDOUT;
			st(s, t, W, s->m[t].v | (MUT(M_GIVE_UP_KEEPS_WOKEN) ? WOKEN : 0));
			RETURN;
		}
		memmove(s->q + 1, s->q, s->m[t].woken ? s->nq : 0);
		s->q[s->m[t].woken ? 0 : s->nq] = (uint8_t)(t + 1);
		s->nq++;
		s->claim[t] = s->m[t].kind == 'd' && !s->m[t].failed;
		st(s, t, W, s->m[t].v | LOCKBYTE | (MUT(M_NO_WAIT_FLAG) ? 0 : WAIT) | (choice == 1 ? STARVING : 0));
		STEP("lock: landing");
		touch(s);
		st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
		AWAIT("lock: parked", s->wake[t]);
		s->m[t].r = s->wake[t];
		s->wake[t] = s->claim[t] = 0;
		if (s->m[t].r == R_TIMEDOUT)
			RETURN;
		if (s->m[t].r == R_HANDED)
			break;
		s->m[t].r = 0;
		s->m[t].woken = 1;
	}
	s->m[t].r = 0;
	REACHED(H_HANDED);
	STEP("lock: handed");
	if (il_choose(2))
		RETURN;
	REACHED(H_CALM);
	AWAIT("lock: take the lock byte, calm", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("lock: starving ends");
	touch(s);
	st(s, t, W, ld(s, t, W) & ~(STARVING | LOCKBYTE));
	END;
}

static int unlock(S *s, int t, int d)
{
	BEGIN;
	STEP("unlock: load");
	touch(s);
	s->m[t].v = ld(s, t, W);
	for (;;) {
		uint8_t v = s->m[t].v;
		if (MUT(M_UNLOCK_IGNORES_BYTE))
			v &= (uint8_t)~LOCKBYTE;
		if (v == LOCKED)
			s->m[t].n = s->m[t].v & LOCKBYTE;
		else if ((v & (LOCKBYTE | LOCKED | WOKEN)) == (LOCKED | WOKEN))
			s->m[t].n = s->m[t].v & (WAIT | WOKEN | LOCKBYTE);
		else
			break;
		STEP("unlock: compare-and-swap");
		touch(s);
		if (*rmw(s, t, W) == s->m[t].v) {
			*rmw(s, t, W) = s->m[t].n;
			RETURN;
		}
		s->m[t].v = *rmw(s, t, W);
	}
	AWAIT("unlock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	if (!(s->m[t].v & LOCKED))
		il_fail("unlock of an unlocked mutex");
	STEP("unlock: claim a waiter");
	s->m[t].n = s->m[t].v & (WAIT | WOKEN);
	s->m[t].sg = 0;
	if (s->m[t].n == WAIT) {
		s->m[t].sg = q_claim(s);
		if (!s->nq || MUT(M_WAIT_CLEARED))
			s->m[t].n = 0;
	}
	s->m[t].r = R_WOKEN;
	if (s->m[t].sg && (s->m[t].v & STARVING)) {
		s->m[t].r = R_HANDED;
		s->m[t].n |= (uint8_t)((MUT(M_STARVING_FREE) ? 0 : LOCKED) | (s->m[t].n ? STARVING : 0));
	} else if (s->m[t].sg) {
		s->m[t].n |= WOKEN;
	}
	if (MUT(M_TWO_STORES)) {
		STEP("unlock: store flags");
		touch(s);
		st(s, t, W, s->m[t].n); /* newcomers see it free; the lock byte is written once more */
	}
	STEP("unlock: store flags and lock byte");
	touch(s);
	st(s, t, W, s->m[t].n);
	if (MUT(M_LATE_LOOK)) {
		STEP("unlock: a look at the queue, too late");
		touch(s);
	}
	if (s->m[t].sg) {
		STEP("unlock: ready");
		s->wake[s->m[t].sg - 1] = s->m[t].r;
	}
	s->m[t].sg = s->m[t].r = 0;
	END;
}

static int locker(S *s, int t, int d)
{
	BEGIN;
	CALL(lock);
	if (s->m[t].r == R_TIMEDOUT) {
		if (s->m[t].kind == 'c')
			goto gone;
		s->m[t].failed = 1;
		CALL(lock);
	}
	STEP("inside");
	if (s->inside++)
		il_fail("MU: two hold the mutex");
	s->refs--;
	s->m[t].failed = s->refs == 0; /* the last one */
	STEP("leave");
	s->inside--;
	CALL(unlock);
	if (s->m[t].failed) {
		STEP("free");
		il_drain(s, t);
		s->freed = 1;
	}
gone:
	s->m[t].v = s->m[t].n = s->m[t].woken = s->m[t].failed = s->m[t].r = 0;
	END;
}

/* The deadline of thread 0 passes. */
static int timer(S *s, int t, int d)
{
	BEGIN;
	AWAIT("timer: claim", s->claim[0] == 1);
	s->claim[0] = 2;
	REACHED(H_TIMEDOUT);
	AWAIT("timer: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	touch(s);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("timer: unlink");
	for (int i = 0; i < s->nq; i++)
		if (s->q[i] == 1) {
			q_remove(s, i);
			break;
		}
	touch(s);
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	STEP("timer: ready");
	if (s->wake[0])
		il_fail("PK-2: woken twice");
	s->wake[0] = R_TIMEDOUT;
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && il_fn[t] != timer)
			il_fail("stuck: %s%s", il_thread_name[t], s->nq ? ", queued" : "");
	if (!s->freed && s->refs == 0)
		il_fail("nobody freed it");
}

static void begin(S *s, const char *kinds)
{
	static const char *const names[] = {"G1", "G2", "G3", "G4"};
	int n = (int)strlen(kinds);
	for (int t = 0; t < n; t++) {
		s->m[t].kind = (uint8_t)kinds[t];
		il_thread(names[t], locker);
	}
	s->refs = kinds[0] == 'c' ? 100 : (uint8_t)n; /* who gives up cannot tell who is the last */
	if (kinds[0] == 'd')
		il_thread("timer", timer);
}
static void two(S *s) { begin(s, "ll"); }
static void two_weak(S *s)
{
	il_weak = true;
	begin(s, "ll");
}
static void three(S *s) { begin(s, "lll"); }
static void deadline(S *s) { begin(s, "dll"); }
static void cancel(S *s) { begin(s, "cll"); }
static void cancel_four(S *s) { begin(s, "clll"); }

static const IlRun runs[] = {
	{"two", two, 0, NULL},
	{"two, weak stores", two_weak, 0, NULL},
	{"three", three, 0, NULL},
	{"three, one with a deadline", deadline, 0, NULL},
	{"three, one cancelled", cancel, 0, NULL},
	{"four, one cancelled", cancel_four, 0, NULL},

	{"SY-1 lock does not mind the lock byte", three, M_LOCK_IGNORES_BYTE, ""},
	{"SY-1 unlock does not mind the lock byte", two, M_UNLOCK_IGNORES_BYTE, "stuck"},
	{"SY-2 unlock writes the word twice", two, M_TWO_STORES, ""},
	{"SY-4 no SW_WAIT", two, M_NO_WAIT_FLAG, "stuck"},
	{"SY-4 SW_WAIT cleared with waiters on the queue", three, M_WAIT_CLEARED, "stuck"},
	{"MU-1 handed over, but free", three, M_STARVING_FREE, "unlocked"},
	{"MU-2 queues again with MU_WOKEN set", three, M_QUEUE_KEEPS_WOKEN, "stuck"},
	{"MU-2 gives up with MU_WOKEN set", cancel_four, M_GIVE_UP_KEEPS_WOKEN, "stuck"},
	{"MU-2 gives up without a look", cancel, M_GIVE_UP_BLINDLY, "stuck"},
	{"MU-4 unlock looks at the queue after its last store", deadline, M_LATE_LOOK, "SY-2"},
	{"PK-2 waker takes a waiter that timed out", deadline, M_NO_CLAIM, "PK-2"},
	{"no second look under the lock byte", two, M_NO_SECOND_LOOK, "stuck"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_mutex", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
