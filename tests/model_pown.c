/* SPDX-License-Identifier: MIT
 * model_pown.c - P ownership (p.c, PO-1..PO-9) by exhaustive interleaving: owners that work, yield, block, lose their P and
 * go idle; a thief; sysmon taking the P; stopworld. The functions bear the names of the real ones and follow their steps.
 *
 * Left out: what the queues hold besides Gs, nmspinning (model_wake.c), timers, threads that have to be started first
 * (as one that sleeps and is woken). A G is a list of operations; who runs it does not matter to it. */
#define IL_T 5
#define IL_V 24
#define IL_DEPTH 6
#include "interleave.h"

enum { NM = 2, NP = 2, NG = 2 };
enum { INRT = 0, REVOKE = INRT + NM, CURG = REVOKE + NM, NOTE = CURG + NM, PM = NOTE + NM, PLOCK = PM + NP,
	RUNQ = PLOCK + NP, TICK = RUNQ + NP, SCHED = TICK + NP, FOREIGN, NTRANSIT, WORDS };
_Static_assert(WORDS <= IL_V, "");
enum { LOST = 2, FENCED = 8, ONE = 16, REVOKED = 0xf0 };
enum { OP_WORK = 'w', OP_YIELD = 'y', OP_BLOCK = 'b', OP_EXIT = 0 };

enum { M_NONE, M_NO_MEMBARRIER, M_INRT_FIRST, M_CHECK_FIRST, M_NO_PLOCK, M_NO_PM_CHECK, M_KEEP_RV, M_LOST_LATE, M_OUT_FOR_P,
	M_SLEEP_OUT, M_TAKE_G0, M_NO_FOREIGN, M_ACQUIRE_STW, M_NO_TRANSIT, M_STARTWORLD_REREAD, M_END_KEEPS_P, M_NO_FENCE,
	M_LEAVE_RELAXED, M_REVOKE_BIT };

enum { R_LATE, R_BACKOUT, R_STOLEN, R_TAKEN, R_QUEUED, R_GIVEUP, R_SAFEPOINT, R_LETGO, R_TRANSIT };
static const char *const reach[] = {"foreigner who comes late", "owner backs out", "theft", "retake", "reacquire queues its G",
	"foreigner gives up", "safepoint lets a foreigner pass", "owner lets go while being stopped", "stopworld waits for a P in transit",
	NULL};

struct S {
	Il il;
	/* under sched.lock */
	uint8_t pidle, midle, runq, stw, done, live;
	uint8_t pm[NP]; /* p->m as its writers know it; the word PM + p is what others see */
	struct {
		uint8_t p, oldp;   /* + 1 */
		uint8_t g;         /* curg + 1 */
		uint8_t hp;        /* argument of handoffp and startm: P + 1 */
		uint8_t own;       /* P + 1 that it uses just now: ghost */
		uint8_t queued;    /* g goes to the global queue, from g0 */
	} m[IL_T];                 /* foreigners use hp */
	struct {
		uint8_t at, inside; /* next operation; it is in enter_slow, on whichever M */
		uint8_t blocked;    /* second half of OP_BLOCK */
		uint8_t held;       /* by an M: ghost */
	} g[NG];
	uint8_t fuse[NP];  /* a foreigner uses the P: ghost */
	uint8_t world;     /* stopped: ghost */
	struct {
		uint8_t m, ok, tick, tries, i, p;
		uint8_t stopped[NP];
	} f[IL_T];
	uint8_t fence; /* no membarrier: owners pay */
};

static const char *script[NG];
static int procs;

/* ---- what must hold -------------------------------------------------------------------------------------------------- */

static void invariant(const S *s)
{
	for (int p = 0; p < procs; p++) {
		int users = s->fuse[p];
		for (int m = 0; m < NM; m++)
			users += s->m[m].own == p + 1;
		if (users > 1)
			il_fail("PO-1: P%d is used by two", p);
	}
	for (int m = 0; m < NM; m++) {
		if (s->m[m].own && s->pm[s->m[m].own - 1] != m + 1)
			il_fail("PO-3: M%d uses P%d, whose owner is %d", m, s->m[m].own - 1, s->pm[s->m[m].own - 1] - 1);
		if (s->m[m].own && s->world)
			il_fail("PO-8: M%d is in the runtime while the world is stopped", m);
		if (s->il.v[REVOKE + m] >> 4 > 3)
			il_fail("RV_ONE: count of M%d below zero", m);
	}
}

static uint8_t take(S *s, uint8_t *queue)
{
	for (uint8_t g = 0; g < NG; g++)
		if (*queue >> g & 1) {
			*queue &= (uint8_t)~(1u << g);
			if (s->g[g].held++)
				il_fail("PO-1: G%d found on a queue that it had left", g);
			return (uint8_t)(g + 1);
		}
	return 0;
}

static uint8_t bit(S *s, int g) /* G number g - 1 goes to a queue */
{
	s->g[g - 1].held = 0;
	return (uint8_t)(1u << (g - 1));
}

/* ---- wiring, sched.lock held ------------------------------------------------------------------------------------------ */

static void acquirep(S *s, int t, int m, int p)
{
	if (s->pm[p - 1] || (s->stw && !MUT(M_ACQUIRE_STW)))
		il_fail("PO-8: acquirep of P%d throws", p - 1);
	st(s, t, NTRANSIT, ld(s, t, NTRANSIT) - 1);
	s->m[m].p = s->m[m].oldp = (uint8_t)p;
	s->pm[p - 1] = (uint8_t)(m + 1);
	st(s, t, PM + p - 1, m + 1);
}

static int releasep(S *s, int t, int m)
{
	int p = s->m[m].p;
	if (!p || s->pm[p - 1] != m + 1) {
		il_fail("PO-3: releasep of M%d throws", m);
		return 1;
	}
	st(s, t, NTRANSIT, ld(s, t, NTRANSIT) + 1);
	s->m[m].p = s->m[m].own = 0;
	s->pm[p - 1] = 0;
	st(s, t, PM + p - 1, 0);
	return p;
}

static void pidleput(S *s, int t, int p)
{
	if (ld(s, t, RUNQ + p - 1))
		il_fail("pidleput: P%d has work", p - 1);
	st(s, t, NTRANSIT, ld(s, t, NTRANSIT) - 1);
	s->pidle |= (uint8_t)(1u << (p - 1));
}

static int pidleget(S *s, int t, int want)
{
	if (!s->pidle || (s->stw && !MUT(M_ACQUIRE_STW)))
		return 0;
	int p = want && s->pidle >> (want - 1) & 1 ? want : s->pidle & 1 ? 1 : 2;
	s->pidle &= (uint8_t)~(1u << (p - 1));
	st(s, t, NTRANSIT, ld(s, t, NTRANSIT) + 1);
	return p;
}

/* ---- m.c: P hp of thread t to somebody --------------------------------------------------------------------------------- */

static int startm(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->f[t].m = 0;
	if (s->midle && (!s->stw || MUT(M_ACQUIRE_STW))) {
		s->f[t].m = s->midle & 1 ? 1 : 2;
		s->midle &= (uint8_t)~s->f[t].m;
		acquirep(s, t, s->f[t].m - 1, s->m[t].hp);
	} else {
		uint8_t q = ld(s, t, (RUNQ + s->m[t].hp - 1));
		s->runq |= q;
		st_rlx(s, t, RUNQ + s->m[t].hp - 1, 0);
		pidleput(s, t, s->m[t].hp);
	}
	s->m[t].hp = 0;
	UNLOCK(SCHED);
	if (s->f[t].m) {
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->f[t].m - 1) = 1;
		s->f[t].m = 0;
	}
	END;
}

static int wakep(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->m[t].hp = (uint8_t)pidleget(s, t, 0);
	UNLOCK(SCHED);
	if (s->m[t].hp)
		CALL(startm);
	END;
}

static int handoffp(S *s, int t, int d)
{
	BEGIN;
	STEP("handoffp looks for work");
	if (ld(s, t, RUNQ + s->m[t].hp - 1) || s->runq || il_choose(2)) {
		CALL(startm);
		RETURN;
	}
	LOCK(SCHED);
	pidleput(s, t, s->m[t].hp);
	s->m[t].hp = s->runq != 0;
	UNLOCK(SCHED);
	if (s->m[t].hp)
		CALL(wakep);
	END;
}

static int stopm(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	if (!s->done && s->runq && (s->m[t].hp = (uint8_t)pidleget(s, t, 0))) {
		acquirep(s, t, t, s->m[t].hp);
		s->m[t].hp = 0;
	} else if (!s->done) {
		s->midle |= (uint8_t)(1u << t);
		s->m[t].hp = 1;
	}
	UNLOCK(SCHED);
	if (s->m[t].hp) {
		s->m[t].hp = 0;
		if (MUT(M_SLEEP_OUT))
			st(s, t, INRT + t, 0);
		AWAIT("notesleep", *rmw(s, t, NOTE + t));
		*rmw(s, t, NOTE + t) = 0;
		if (MUT(M_SLEEP_OUT))
			st(s, t, INRT + t, 1);
	}
	s->m[t].own = s->m[t].p;
	END;
}

/* ---- the owner -------------------------------------------------------------------------------------------------------- */

static int reacquire(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->m[t].hp = (uint8_t)pidleget(s, t, s->m[t].oldp);
	if (s->m[t].hp) {
		if (MUT(M_OUT_FOR_P))
			st_rlx(s, t, INRT + t, 1);
		acquirep(s, t, t, s->m[t].hp);
		s->m[t].hp = 0;
		UNLOCK(SCHED);
		STEP("revoke &= ~LOST");
		*rmw(s, t, REVOKE + t) &= (uint8_t)~LOST;
		RETURN;
	}
	UNLOCK(SCHED);
	STEP("revoke &= ~LOST");
	*rmw(s, t, REVOKE + t) &= (uint8_t)~LOST;
	if (MUT(M_OUT_FOR_P))
		st_rlx(s, t, INRT + t, 1);
	s->m[t].p = 0;
	s->m[t].queued = 1; /* mcall(reacquire_g0) */
	REACHED(R_QUEUED);
	END;
}

static int enter_slow(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		STEP("inrt <-> 1");
		*rmw(s, t, INRT + t) = 1;
		STEP("load revoke");
		if (ld(s, t, REVOKE + t) & REVOKED) {
			st(s, t, INRT + t, 0);
			REACHED(R_BACKOUT);
			AWAIT("wait_revoked", !(ld(s, t, REVOKE + t) & REVOKED));
			continue;
		}
		if (ld(s, t, REVOKE + t) & LOST) {
			if (MUT(M_OUT_FOR_P))
				st(s, t, INRT + t, 0);
			CALL(reacquire);
			if (s->m[t].queued)
				RETURN;
			continue;
		}
		break;
	}
	s->m[t].own = s->m[t].p;
	END;
}

static int enter(S *s, int t, int d)
{
	BEGIN;
	if (!MUT(M_CHECK_FIRST))
		st_rlx(s, t, INRT + t, 1);
	STEP("[3] load revoke");
	if (ld(s, t, REVOKE + t) && !(MUT(M_NO_FENCE) && ld(s, t, REVOKE + t) == FENCED)) {
		CALL(enter_slow);
		RETURN;
	}
	if (MUT(M_CHECK_FIRST)) {
		STEP("inrt = 1");
		st_rlx(s, t, INRT + t, 1);
	}
	s->m[t].own = s->m[t].p;
	END;
}

static void leave(S *s, int t)
{
	s->m[t].own = 0;
	if (MUT(M_LEAVE_RELAXED))
		st_rlx(s, t, INRT + t, 0);
	else
		st(s, t, INRT + t, 0);
}

/* The G's function, until it goes back to g0. */
static int user(S *s, int t, int d)
{
#define GP (&s->g[s->m[t].g - 1])
	BEGIN;
	for (;;) {
		if (GP->inside) {
			GP->inside = 0;
			CALL(enter_slow);
		} else {
			CALL(enter);
		}
		if (s->m[t].queued) {
			GP->inside = 1;
			break;
		}
		if (script[s->m[t].g - 1][GP->at] == OP_EXIT)
			break;
		STEP("[4] use the P");
		if (script[s->m[t].g - 1][GP->at] == OP_YIELD) {
			GP->at++;
			st_rlx(s, t, RUNQ + s->m[t].p - 1, ld(s, t, RUNQ + s->m[t].p - 1) | bit(s, s->m[t].g));
			s->m[t].g = 0;
			break;
		}
		if (script[s->m[t].g - 1][GP->at] == OP_BLOCK && !GP->blocked) {
			GP->blocked = 1;
			LOCK(SCHED);
			s->m[t].hp = (uint8_t)releasep(s, t, t);
			UNLOCK(SCHED);
			STEP("revoke |= LOST");
			*rmw(s, t, REVOKE + t) |= LOST;
			CALL(handoffp);
			st(s, t, INRT + t, 0);
			continue;
		}
		GP->blocked = 0;
		GP->at++;
		leave(s, t);
	}
	END;
#undef GP
}

static int safepoint(S *s, int t, int d)
{
	BEGIN;
	STEP("safepoint");
	while (ld(s, t, REVOKE + t) & REVOKED) {
		REACHED(R_SAFEPOINT);
		s->m[t].own = 0;
		st(s, t, INRT + t, 0);
		AWAIT("wait_revoked", !(ld(s, t, REVOKE + t) & REVOKED));
		STEP("inrt <-> 1");
		*rmw(s, t, INRT + t) = 1;
		STEP("load revoke");
		if (ld(s, t, REVOKE + t) & LOST)
			il_fail("PO-9: P taken from g0");
	}
	s->m[t].own = s->m[t].p;
	END;
}

/* findrunnable, idle. The G in m.g, or 0 at the end of the run. */
static int findrunnable(S *s, int t, int d)
{
	uint8_t q;
	BEGIN;
	for (;;) {
		CALL(safepoint);
		STEP("picknext");
		if (s->done)
			break;
		q = ld(s, t, RUNQ + s->m[t].p - 1);
		if ((s->m[t].g = take(s, &q))) {
			st_rlx(s, t, RUNQ + s->m[t].p - 1, q);
			break;
		}
		LOCK(SCHED);
		if (!(s->m[t].g = take(s, &s->runq)))
			pidleput(s, t, releasep(s, t, t));
		UNLOCK(SCHED);
		if (s->m[t].g)
			break;
		CALL(stopm);
		if (!s->m[t].p)
			break;
	}
	END;
}

/* schedule, m_main. */
static int mthread(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		if (!s->m[t].p) {
			CALL(stopm);
			if (!s->m[t].p)
				break;
		}
		CALL(findrunnable);
		if (!s->m[t].g)
			break;
		st_rlx(s, t, CURG + t, 1);
		st_rlx(s, t, TICK + s->m[t].p - 1, ld(s, t, TICK + s->m[t].p - 1) + 1);
		leave(s, t); /* the landing */
		CALL(user);
		st_rlx(s, t, CURG + t, 0);
		if (s->m[t].queued) {
			LOCK(SCHED);
			s->runq |= bit(s, s->m[t].g);
			s->m[t].queued = s->m[t].g = 0;
			UNLOCK(SCHED);
			CALL(wakep);
		} else if (s->m[t].g) {
			s->m[t].g = 0;
			LOCK(SCHED);
			if (--s->live == 0)
				s->done = 1;
			UNLOCK(SCHED);
			if (s->done) {
				STEP("end_run wakes everybody");
				for (int m = 0; m < NM; m++)
					*rmw(s, t, NOTE + m) = 1;
			}
		}
	}
	if (!MUT(M_END_KEEPS_P)) {
		LOCK(SCHED);
		if (s->m[t].p) {
			s->pm[s->m[t].p - 1] = 0;
			st(s, t, PM + s->m[t].p - 1, 0);
			s->m[t].p = s->m[t].own = 0;
		}
		UNLOCK(SCHED);
	}
	END;
}

/* ---- foreigners ------------------------------------------------------------------------------------------------------- */

static void add(S *s, int t, int m, int n)
{
	uint8_t *w = rmw(s, t, REVOKE + m - 1);
	if (MUT(M_REVOKE_BIT))
		*w = (uint8_t)(n > 0 ? *w | ONE : *w & ~ONE);
	else
		*w = (uint8_t)(*w + n);
}

/* Of P number hp. f.ok: it is stopped, f.m its owner. */
static int revoke(S *s, int t, int d)
{
	BEGIN;
	s->f[t].ok = 0;
	STEP("[a] trylock p->lock");
	if (!MUT(M_NO_PLOCK)) {
		if (*rmw(s, t, PLOCK + s->m[t].hp - 1))
			RETURN;
		*rmw(s, t, PLOCK + s->m[t].hp - 1) = 1;
	}
	STEP("[a] m = p->m");
	s->f[t].m = ld(s, t, PM + s->m[t].hp - 1);
	if (s->f[t].m) {
		STEP("[b] revoke += ONE");
		add(s, t, s->f[t].m, ONE);
		if (!s->fence && !MUT(M_NO_MEMBARRIER))
			MEMBARRIER();
		STEP("[d] inrt == 0 ?");
		if (ld(s, t, INRT + s->f[t].m - 1) == 0) {
			STEP("p->m == m ?");
			if (ld(s, t, PM + s->m[t].hp - 1) == s->f[t].m || MUT(M_NO_PM_CHECK)) {
				s->f[t].ok = 1;
				s->fuse[s->m[t].hp - 1]++;
				RETURN;
			}
			REACHED(R_LATE);
		} else {
			REACHED(R_GIVEUP);
		}
		if (!MUT(M_KEEP_RV)) {
			STEP("revoke -= ONE");
			add(s, t, s->f[t].m, -ONE);
		}
		s->f[t].m = 0;
	}
	STEP("unlock p->lock");
	*rmw(s, t, PLOCK + s->m[t].hp - 1) = 0;
	END;
}

static int unrevoke(S *s, int t, int d)
{
	BEGIN;
	s->fuse[s->m[t].hp - 1]--;
	STEP("revoke -= ONE");
	add(s, t, s->f[t].m, -ONE);
	s->f[t].m = 0;
	STEP("unlock p->lock");
	*rmw(s, t, PLOCK + s->m[t].hp - 1) = 0;
	END;
}

static int thief(S *s, int t, int d)
{
	uint8_t q;
	BEGIN;
	for (; s->f[t].tries; s->f[t].tries--) {
		s->m[t].hp = (uint8_t)(s->f[t].p + 1);
		CALL(revoke);
		if (s->f[t].ok) {
			s->f[t].ok = 0;
			STEP("[e] steal");
			q = ld(s, t, RUNQ + s->f[t].p);
			s->m[t].g = take(s, &q);
			st_rlx(s, t, RUNQ + s->f[t].p, q);
			CALL(unrevoke);
		}
		s->m[t].hp = 0;
		if (s->m[t].g) {
			REACHED(R_STOLEN);
			LOCK(SCHED);
			s->runq |= bit(s, s->m[t].g);
			s->m[t].g = 0;
			UNLOCK(SCHED);
			CALL(wakep);
		}
	}
	END;
}

/* sysmon's retake of P0 */
static int sysmon(S *s, int t, int d)
{
	BEGIN;
	for (; s->f[t].tries; s->f[t].tries--) {
		STEP("look: schedtick");
		s->f[t].tick = ld(s, t, TICK + 0);
		LOCK(FOREIGN);
		s->m[t].hp = 1;
		CALL(revoke);
		if (s->f[t].ok) {
			s->f[t].ok = 0;
			STEP("same tick, in user code ?");
			if (ld(s, t, TICK + 0) != s->f[t].tick || (!ld(s, t, CURG + s->f[t].m - 1) && !MUT(M_TAKE_G0))) {
				CALL(unrevoke);
			} else {
				LOCK(SCHED);
				s->pm[0] = 0;
				st(s, t, PM + 0, 0);
				st(s, t, NTRANSIT, ld(s, t, NTRANSIT) + 1);
				UNLOCK(SCHED);
				REACHED(R_TAKEN);
				s->fuse[0]--;
				if (!MUT(M_LOST_LATE)) {
					STEP("[e] revoke |= LOST");
					*rmw(s, t, REVOKE + s->f[t].m - 1) |= LOST;
				}
				STEP("[f] revoke -= ONE");
				add(s, t, s->f[t].m, -ONE);
				if (MUT(M_LOST_LATE)) {
					STEP("[e] revoke |= LOST");
					*rmw(s, t, REVOKE + s->f[t].m - 1) |= LOST;
				}
				s->f[t].m = 0;
				STEP("unlock p->lock");
				*rmw(s, t, PLOCK + 0) = 0;
				CALL(handoffp);
			}
		}
		s->m[t].hp = 0;
		UNLOCK(FOREIGN);
	}
	s->f[t].tick = 0;
	END;
}

static int stopper(S *s, int t, int d)
{
#define I s->f[t].i
	BEGIN;
	if (!MUT(M_NO_FOREIGN))
		LOCK(FOREIGN);
	LOCK(SCHED);
	s->stw = 1;
	UNLOCK(SCHED);
	for (I = 0; I < procs; I++) {
		LOCK(PLOCK + I);
		STEP("m = p->m");
		s->f[t].stopped[I] = ld(s, t, PM + I);
		if (s->f[t].stopped[I]) {
			STEP("revoke += ONE");
			add(s, t, s->f[t].stopped[I], ONE);
		}
	}
	if (!s->fence && !MUT(M_NO_MEMBARRIER))
		MEMBARRIER();
	for (I = 0; I < procs; I++) {
		if (!s->f[t].stopped[I])
			continue;
		AWAIT("inrt == 0 or p->m != m", !ld(s, t, INRT + s->f[t].stopped[I] - 1) || ld(s, t, PM + I) != s->f[t].stopped[I]);
		STEP("p->m != m ?");
		if (ld(s, t, PM + I) != s->f[t].stopped[I]) {
			REACHED(R_LETGO);
			STEP("revoke -= ONE");
			add(s, t, s->f[t].stopped[I], -ONE);
			s->f[t].stopped[I] = 0;
		}
	}
	if (!MUT(M_NO_TRANSIT)) {
		if (ld(s, t, NTRANSIT))
			REACHED(R_TRANSIT);
		AWAIT("ntransit == 0", !ld(s, t, NTRANSIT));
	}
	s->world = 1;
	for (I = 0; I < procs; I++)
		if (!(s->pidle >> I & 1) && !s->pm[I] && !s->done)
			il_fail("PO-8: P%d is nowhere while the world is stopped", I);
	STEP("the world is stopped");
	s->world = 0;
	LOCK(SCHED);
	s->stw = 0;
	s->m[t].hp = s->pidle && s->runq;
	UNLOCK(SCHED);
	for (I = 0; I < procs; I++) {
		if (MUT(M_STARTWORLD_REREAD)) {
			STEP("m = p->m");
			s->f[t].stopped[I] = ld(s, t, PM + I);
		}
		if (s->f[t].stopped[I]) {
			STEP("revoke -= ONE");
			add(s, t, s->f[t].stopped[I], -ONE);
			s->f[t].stopped[I] = 0;
		}
		UNLOCK(PLOCK + I);
	}
	I = 0;
	if (s->m[t].hp)
		CALL(wakep);
	if (!MUT(M_NO_FOREIGN))
		UNLOCK(FOREIGN);
	END;
#undef I
}

/* ---- runs ------------------------------------------------------------------------------------------------------------- */

/* M0 has P0 with both Gs on its queue and is on g0; M1 sleeps; a second P is idle. */
static void begin(S *s, int ps, const char *g0, const char *g1, bool weak)
{
	procs = ps;
	il_weak = weak;
	script[0] = g0;
	script[1] = g1;
	s->live = NG;
	s->m[0].p = s->m[0].oldp = s->m[0].own = 1;
	s->pm[0] = s->il.v[PM] = 1;
	s->il.v[RUNQ] = 3;
	s->il.v[INRT] = s->il.v[INRT + 1] = 1;
	if (ps > 1)
		s->pidle = 2;
	il_thread("M0", mthread);
	il_thread("M1", mthread);
}

static void foreigner(S *s, const char *name, IlFn *fn, int tries)
{
	s->f[il_threads].tries = (uint8_t)tries;
	il_thread(name, fn);
}

static void fenced(S *s)
{
	s->fence = 1;
	s->il.v[REVOKE] = s->il.v[REVOKE + 1] = FENCED;
}

static void theft(S *s)
{
	begin(s, 2, "wy", "w", false);
	foreigner(s, "thief", thief, 2);
}
static void theft_weak(S *s)
{
	begin(s, 2, "wy", "w", true);
	foreigner(s, "thief", thief, 2);
}
static void theft_fenced(S *s)
{
	theft(s);
	fenced(s);
}
static void retaking(S *s)
{
	begin(s, 1, "bw", "w", false);
	foreigner(s, "sysmon", sysmon, 2);
}
static void retaking_fenced(S *s)
{
	retaking(s);
	fenced(s);
}
static void two_foreigners(S *s)
{
	begin(s, 1, "b", "w", false);
	foreigner(s, "sysmon", sysmon, 1);
	foreigner(s, "thief", thief, 1);
}
static void two_thieves(S *s)
{
	begin(s, 2, "b", "", false);
	foreigner(s, "thief of P0", thief, 1);
	foreigner(s, "thief of P1", thief, 1);
	s->f[NM + 1].p = 1;
}
static void two_stoppers(S *s)
{
	begin(s, 1, "b", "", false);
	foreigner(s, "stopper", stopper, 0);
	foreigner(s, "stopper 2", stopper, 0);
}
static void stopping(S *s)
{
	begin(s, 2, "bw", "w", false);
	foreigner(s, "stopper", stopper, 0);
}
static void stopping_sysmon(S *s)
{
	begin(s, 1, "w", "w", false);
	foreigner(s, "stopper", stopper, 0);
	foreigner(s, "sysmon", sysmon, 1);
}

static const IlRun runs[] = {
	{"theft", theft, 0, NULL},
	{"theft, weak stores", theft_weak, 0, NULL},
	{"theft, no membarrier", theft_fenced, 0, NULL},
	{"retake", retaking, 0, NULL},
	{"retake, no membarrier", retaking_fenced, 0, NULL},
	{"retake and theft", two_foreigners, 0, NULL},
	{"theft from two Ps", two_thieves, 0, NULL},
	{"stopworld", stopping, 0, NULL},
	{"stopworld twice", two_stoppers, 0, NULL},
	{"stopworld and retake", stopping_sysmon, 0, NULL},

	{"PO-1 without membarrier", theft, M_NO_MEMBARRIER, "PO-1"},
	{"PO-1 without membarrier, retake", retaking, M_NO_MEMBARRIER, "PO-1"},
	{"PO-1 without membarrier, stopworld", stopping, M_NO_MEMBARRIER, "PO-8"},
	{"PO-1 owner checks revoke before it sets inrt", theft, M_CHECK_FIRST, "PO-1"},
	{"PO-1 neither membarrier nor fence", theft_fenced, M_NO_FENCE, "PO-1"},
	{"PO-1 leave is no release", theft_weak, M_LEAVE_RELAXED, "PO-1"},
	{"PO-2 without p->lock", two_foreigners, M_NO_PLOCK, "PO-1"},
	{"PO-3 p->m not looked at again", retaking, M_NO_PM_CHECK, "PO"},
	{"PO-4 a late foreigner keeps its count", retaking, M_KEEP_RV, "stuck"},
	{"PO-5 LOST after the revocation's end", retaking, M_LOST_LATE, "PO-3"},
	{"PO-6 inrt 0 while it looks for a P", retaking, M_OUT_FOR_P, "PO"},
	{"PO-6 sleeps with inrt 0", two_foreigners, M_SLEEP_OUT, "PO"},
	{"PO-7 two at once", two_stoppers, M_NO_FOREIGN, "PO-8"},
	{"PO-8 Ps are given out while the world stops", stopping, M_ACQUIRE_STW, "PO-8"},
	{"PO-8 Ps in transit are forgotten", stopping, M_NO_TRANSIT, "PO-8"},
	{"PO-9 P taken from g0", retaking, M_TAKE_G0, "PO-9"},
	{"RV_ONE one bit in place of a count", two_thieves, M_REVOKE_BIT, "PO"},
	{"startworld gives back to p->m what it did not take", stopping, M_STARTWORLD_REREAD, "RV_ONE"},
	{"M keeps its P at the end of the run", stopping, M_END_KEEPS_P, "stuck"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_pown", sizeof(S), invariant, NULL, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
