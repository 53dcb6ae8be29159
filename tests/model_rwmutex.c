/* SPDX-License-Identifier: MIT
 * model_rwmutex.c - gmp_rwmutex (rwmutex.c RW-1..4, sync.h SY-1, SY-2) by exhaustive interleaving: readers and writers
 * lock once each, one writer may have a deadline and gives up. At the end nobody may be left waiting. */
#define IL_T 5
#define IL_V 1
#define IL_BUF 3
#include "interleave.h"

enum { W };
enum { LOCKBYTE = 1, RWAIT = 2, WWAIT = 4, WRITER = 8, ONE = 16 };
enum { R_GOT = 1, R_TIMEDOUT };

enum {
	M_NONE, M_READERS_PASS_WWAIT, M_NO_FIXUP, M_FIXUP_IGNORES_INSIDE, M_WRITER_BESIDE_READERS, M_WRITERS_FIRST,
	M_TWO_STORES, M_RUNLOCK_IGNORES_WAITERS, M_FLAGS_DROPPED, M_IGNORE_BYTE,
};
enum { H_SHARED, H_W_BY_READER, H_R_BY_WRITER, H_W_BY_WRITER, H_FIXUP, H_HELD_BACK };
static const char *const reach[] = {"two readers inside", "the last reader lets a writer in",
	"a writer lets readers in", "a writer lets a writer in", "a writer that gives up lets readers in",
	"a waiting writer holds a reader back", NULL};

struct S {
	Il il;
	uint8_t rq[IL_T], nr, wq[IL_T], nw; /* thread + 1 */
	uint8_t claim[IL_T], wake[IL_T];
	uint8_t readers, writers; /* inside */
	struct {
		uint8_t kind, v, all[IL_T], n, sg, got;
	} m[IL_T];
};

static uint8_t take(S *s, uint8_t *q, uint8_t *n)
{
	for (int i = 0; i < *n; i++) {
		uint8_t x = q[i];
		if (s->claim[x - 1] == 2)
			continue;
		if (s->claim[x - 1] == 1)
			s->claim[x - 1] = 2;
		memmove(q + i, q + i + 1, (size_t)(*n - i - 1));
		q[--*n] = 0;
		return x;
	}
	return 0;
}

/* A reader goes in, not let in by a writer. */
static void passes(const S *s)
{
	for (int i = 0; i < s->nw; i++)
		if (s->claim[s->wq[i] - 1] != 2)
			il_fail("RW-2: a reader overtakes a writer that waits");
}

/* The lock byte is held, v is the word. */
static int pass_on(S *s, int t, int d)
{
	BEGIN;
	STEP("pass on: claim");
	uint8_t *v = &s->m[t].v, x;
	bool writer_first = !(*v & WRITER) || MUT(M_WRITERS_FIRST), by_writer = *v & WRITER;
	bool fixup = s->m[t].kind == 'd' && !s->m[t].got;
	*v &= (uint8_t)~WRITER;
	s->m[t].sg = 0;
	if (writer_first && (*v < ONE || MUT(M_WRITER_BESIDE_READERS)))
		s->m[t].sg = take(s, s->wq, &s->nw);
	if (!s->m[t].sg && (*v < ONE || s->nw == 0 || (MUT(M_FIXUP_IGNORES_INSIDE) && fixup))) {
		while ((x = take(s, s->rq, &s->nr))) {
			s->m[t].all[s->m[t].n++] = x;
			*v += ONE;
			if (by_writer)
				REACHED(H_R_BY_WRITER);
			else
				passes(s);
			if (fixup)
				REACHED(H_FIXUP);
		}
		if (*v < ONE)
			s->m[t].sg = take(s, s->wq, &s->nw);
	}
	if (by_writer && s->m[t].sg && s->nr)
		il_fail("RW-2: the next writer goes before the readers that waited");
	if (s->m[t].sg)
		REACHED(by_writer ? H_W_BY_WRITER : H_W_BY_READER);
	*v &= (uint8_t)~(RWAIT | WWAIT | LOCKBYTE);
	if (!MUT(M_FLAGS_DROPPED))
		*v |= (uint8_t)((s->nr ? RWAIT : 0) | (s->nw ? WWAIT : 0));
	*v |= s->m[t].sg ? WRITER : 0;
	if (MUT(M_TWO_STORES)) {
		STEP("pass on: count, then flags");
		st(s, t, W, s->m[t].v & ~(WRITER | WWAIT));
	}
	STEP("pass on: store the word");
	st(s, t, W, s->m[t].v);
	if (s->m[t].sg)
		s->m[t].all[s->m[t].n++] = s->m[t].sg;
	s->m[t].sg = 0;
	while (s->m[t].n) {
		STEP("pass on: ready");
		x = s->m[t].all[--s->m[t].n];
		s->m[t].all[s->m[t].n] = 0;
		if (s->wake[x - 1])
			il_fail("PK-2: woken twice");
		s->wake[x - 1] = R_GOT;
	}
	END;
}

/* Takes the lock byte or, if `may` allows the step on the word, does it without. */
#define FAST(label, may, then, check) \
	STEP(label ": load"); \
	s->m[t].v = ld(s, t, W); \
	while (!((s->m[t].v & LOCKBYTE) && !MUT(M_IGNORE_BYTE)) && (may)) { \
		if (*rmw(s, t, W) == s->m[t].v) { \
			*rmw(s, t, W) = (uint8_t)(then); \
			check; \
			RETURN; \
		} \
		s->m[t].v = *rmw(s, t, W); \
	}

static bool reader_may(uint8_t v) { return !(v & (WRITER | (MUT(M_READERS_PASS_WWAIT) ? 0 : WWAIT))); }

static int rlock(S *s, int t, int d)
{
	BEGIN;
	FAST("rlock", reader_may(s->m[t].v), s->m[t].v + ONE, passes(s));
	AWAIT("rlock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("rlock: decide");
	if (reader_may(s->m[t].v)) {
		passes(s);
		st(s, t, W, s->m[t].v + ONE);
		RETURN;
	}
	if (!(s->m[t].v & WRITER))
		REACHED(H_HELD_BACK);
	s->rq[s->nr++] = (uint8_t)(t + 1);
	st(s, t, W, s->m[t].v | RWAIT | LOCKBYTE);
	STEP("rlock: landing");
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	AWAIT("rlock: parked", s->wake[t]);
	s->wake[t] = 0;
	END;
}

static int runlock(S *s, int t, int d)
{
	BEGIN;
	FAST("runlock", s->m[t].v >= 2 * ONE || MUT(M_RUNLOCK_IGNORES_WAITERS) || !(s->m[t].v & (RWAIT | WWAIT)),
		s->m[t].v - ONE, (void)0);
	AWAIT("runlock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	s->m[t].v -= ONE;
	CALL(pass_on);
	END;
}

static int wlock(S *s, int t, int d)
{
	BEGIN;
	FAST("lock", s->m[t].v == 0, WRITER, (void)0);
	AWAIT("lock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("lock: decide");
	if (s->m[t].v < ONE && !(s->m[t].v & (WRITER | WWAIT))) {
		st(s, t, W, s->m[t].v | WRITER);
		RETURN;
	}
	s->wq[s->nw++] = (uint8_t)(t + 1);
	s->claim[t] = s->m[t].kind == 'd';
	st(s, t, W, s->m[t].v | WWAIT | LOCKBYTE);
	STEP("lock: landing");
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	AWAIT("lock: parked", s->wake[t]);
	s->m[t].sg = s->wake[t];
	s->wake[t] = 0;
	if (s->m[t].sg == R_GOT) {
		s->m[t].sg = 0;
		RETURN;
	}
	s->m[t].sg = 0;
	s->m[t].got = 0;
	if (MUT(M_NO_FIXUP))
		RETURN;
	AWAIT("lock: take the lock byte, giving up", !(*rmw(s, t, W) & LOCKBYTE));
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	if (s->m[t].v & WRITER) {
		STEP("lock: give up");
		st(s, t, W, s->m[t].v);
		RETURN;
	}
	CALL(pass_on);
	END;
}

static int unlock(S *s, int t, int d)
{
	BEGIN;
	FAST("unlock", s->m[t].v == WRITER, 0, (void)0);
	AWAIT("unlock: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	s->m[t].v = *rmw(s, t, W);
	*rmw(s, t, W) |= LOCKBYTE;
	if (!(s->m[t].v & WRITER))
		il_fail("unlock of an unlocked rwmutex");
	CALL(pass_on);
	END;
}

static int reader(S *s, int t, int d)
{
	BEGIN;
	CALL(rlock);
	STEP("read");
	s->readers++;
	if (s->writers)
		il_fail("RW-1: a reader beside a writer");
	if (s->readers == 2)
		REACHED(H_SHARED);
	STEP("read no more");
	s->readers--;
	CALL(runlock);
	s->m[t].v = 0;
	END;
}

static int writer(S *s, int t, int d)
{
	BEGIN;
	s->m[t].got = 1;
	CALL(wlock);
	if (s->m[t].got) {
		STEP("write");
		if (s->writers++ || s->readers)
			il_fail("RW-1: a writer beside somebody");
		STEP("write no more");
		s->writers--;
		CALL(unlock);
	}
	s->m[t].v = s->m[t].got = 0;
	END;
}

static int timer_of;
static int timer(S *s, int t, int d)
{
	BEGIN;
	AWAIT("timer: claim", s->claim[timer_of] == 1);
	s->claim[timer_of] = 2;
	AWAIT("timer: take the lock byte", !(*rmw(s, t, W) & LOCKBYTE));
	*rmw(s, t, W) |= LOCKBYTE;
	STEP("timer: unlink");
	for (int i = 0; i < s->nw; i++)
		if (s->wq[i] == timer_of + 1) {
			memmove(s->wq + i, s->wq + i + 1, (size_t)(s->nw - i - 1));
			s->wq[--s->nw] = 0;
			break;
		}
	st(s, t, W, ld(s, t, W) & ~LOCKBYTE);
	STEP("timer: ready");
	if (s->wake[timer_of])
		il_fail("PK-2: woken twice");
	s->wake[timer_of] = R_TIMEDOUT;
	END;
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t] && il_fn[t] != timer)
			il_fail("stuck: %s", il_thread_name[t]);
}

/* Stays inside until those have come and gone who need no writer for it. */
static int staying_reader(S *s, int t, int d)
{
	BEGIN;
	CALL(rlock);
	s->readers++;
	AWAIT("the others have come and gone", s->il.done[1] && s->il.done[2]);
	s->readers--;
	CALL(runlock);
	s->m[t].v = 0;
	END;
}

static void begin(S *s, const char *kinds)
{
	static const char *const names[] = {"G1", "G2", "G3", "G4"};
	int n = (int)strlen(kinds);
	timer_of = -1;
	for (int t = 0; t < n; t++) {
		s->m[t].kind = (uint8_t)kinds[t];
		il_thread(names[t], kinds[t] == 'r' ? reader : kinds[t] == 's' ? staying_reader : writer);
		if (kinds[t] == 'd')
			timer_of = t;
	}
	if (timer_of >= 0)
		il_thread("timer", timer);
}
static void rw(S *s) { begin(s, "rw"); }
static void rrww(S *s) { begin(s, "rrww"); }
static void rrw_weak(S *s)
{
	il_weak = true;
	begin(s, "rrw");
}
static void wwrr(S *s) { begin(s, "wwrr"); }
static void wdr(S *s) { begin(s, "wdr"); }
static void wdrr(S *s) { begin(s, "wdrr"); }
static void wdwr(S *s) { begin(s, "wdwr"); }
static void rdwr(S *s) { begin(s, "rdwr"); }
static void stay(S *s) { begin(s, "sdr"); }
static void stay_two(S *s) { begin(s, "sdrr"); }

static const IlRun runs[] = {
	{"reader, writer", rw, 0, NULL},
	{"two readers, two writers", rrww, 0, NULL},
	{"two readers, writer, weak stores", rrw_weak, 0, NULL},
	{"writer, writer with a deadline, reader", wdr, 0, NULL},
	{"writer, writer with a deadline, two readers", wdrr, 0, NULL},
	{"two writers, one with a deadline, reader", wdwr, 0, NULL},
	{"two readers, two writers, one with a deadline", rdwr, 0, NULL},
	{"reader that stays, writer with a deadline, reader", stay, 0, NULL},
	{"reader that stays, writer with a deadline, two readers", stay_two, 0, NULL},

	{"RW-1 a writer is let in beside readers", rrww, M_WRITER_BESIDE_READERS, "RW-1"},
	{"RW-2 readers do not mind a waiting writer", rrww, M_READERS_PASS_WWAIT, "RW-2"},
	{"RW-2 a writer lets the next writer in first", wwrr, M_WRITERS_FIRST, "RW-2"},
	{"RW-2 a writer that gives up lets readers in before another writer", rdwr, M_FIXUP_IGNORES_INSIDE, "RW-2"},
	{"RW-3 a writer that gives up does not look again", stay, M_NO_FIXUP, "stuck"},
	{"RW-4 the word is written twice", rrww, M_TWO_STORES, ""},
	{"SY-4 flags dropped with waiters on the queues", rrww, M_FLAGS_DROPPED, ""},
	{"SY-4 the last reader ignores the flags", rrww, M_RUNLOCK_IGNORES_WAITERS, "stuck"},
	{"SY-1 the lock byte is not minded", rrww, M_IGNORE_BYTE, ""},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_rwmutex", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
