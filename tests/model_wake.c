/* SPDX-License-Identifier: MIT
 * model_wake.c - no wake-up is lost (sched.c, WK-1..WK-6) by exhaustive interleaving: an M that queues work and then
 * computes for ever, or comes out of the poller with work, a foreign thread that submits to the global queue, Ms that
 * search, steal, go to sleep and are woken. When nobody moves any more there must be no work queued beside an idle P.
 *
 * What the rules alone leave open is closed by sysmon (WK-4, and in WK-2: whoever left a wake-up to a searcher that then
 * found other work): runs with sysmon have that, and a mutation shows that it is needed.
 * Left out: how work is stolen (model_pown.c), the poller's sleep (model_timer.c). A G ends at once or computes for ever.
 * That who was woken searches even while all other Ps are idle (WK-6) is a matter of speed: without it no work is lost. */
#define IL_T 6
#define IL_V 12
#define IL_DEPTH 6
#include "interleave.h"

enum { QUEUE = 0 /* of X's P */, NSPIN, HINT, NPIDLE, NFOREIGN, SCHED, NOTE /* one a M: NOTE + m */ };
enum { HINT_IDLE = 1, HINT_FENCE = 2 };

enum { M_NONE, M_NO_WAKE, M_NO_MEMBARRIER, M_NO_RECHECK, M_SPIN_END_LATE, M_DROP_OUTSIDE, M_NO_WK2, M_GLOBAL_UNSEEN,
	M_NO_SYSMON, M_FENCE_LATE, M_BARRIER_IF_SPINNING, M_RECHECK_IF_SPINNING, M_WOKEN_IDLE, M_WK2_GLOBAL,
	M_HANDOFF_GLOBAL };
enum { H_WOKEN, H_RECHECK, H_NO_IDLE_P, H_SYSMON, H_NOSPIN, H_ALL_IDLE, H_ALL_IDLE_RECHECK, H_FOREIGN };
static const char *const reach[] = {"an M is woken", "the second look finds work", "no idle P for a waker", "sysmon wakes",
	"an idler that did not search", "one that did not because all other Ps were idle", "its second look finds work",
	"it would have, but for a foreign thread", NULL};

struct S {
	Il il;
	/* under sched.lock */
	uint8_t runq, pidle, midle, got[IL_T]; /* got: P + 1 handed to a sleeper */
	struct {
		uint8_t p, spinning, was, alone, hp, m, g, more; /* alone: WK-6, ghost */
	} m[IL_T];
	uint8_t left; /* Gs that X or F have not submitted yet */
};

static int procs, forever;
static bool fence, lone, limited;

static void p_put(S *s, int t, int p)
{
	s->pidle |= (uint8_t)(1u << (p - 1));
	st(s, t, NPIDLE, ld(s, t, NPIDLE) + 1);
	if (ld(s, t, NPIDLE) == 1)
		*rmw(s, t, HINT) |= HINT_IDLE;
}

static uint8_t p_get(S *s, int t)
{
	if (!s->pidle)
		return 0;
	uint8_t p = (uint8_t)(__builtin_ctz(s->pidle) + 1);
	s->pidle &= (uint8_t)~(1u << (p - 1));
	*rmw(s, t, NPIDLE) -= 1;
	if (*rmw(s, t, NPIDLE) == 0)
		*rmw(s, t, HINT) &= (uint8_t)~HINT_IDLE;
	return p;
}

/* P hp, searching, to a sleeping M; put back when there is none. */
static int startm(S *s, int t, int d)
{
	BEGIN;
	AWAIT("lock SCHED, a thread", *rmw(s, t, SCHED) == 0 && (s->midle || limited)); /* a new one: in midle, too */
	*rmw(s, t, SCHED) = 1;
	if (s->midle) {
		s->m[t].m = (uint8_t)(__builtin_ctz(s->midle) + 1);
		s->midle &= (uint8_t)~(1u << (s->m[t].m - 1));
		s->got[s->m[t].m - 1] = s->m[t].hp;
	} else { /* no more threads */
		p_put(s, t, s->m[t].hp);
		if (!MUT(M_DROP_OUTSIDE))
			*rmw(s, t, NSPIN) -= 1;
	}
	s->m[t].hp = 0;
	UNLOCK(SCHED);
	if (s->m[t].m) {
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->m[t].m - 1) = 1;
		s->m[t].m = 0;
	} else if (MUT(M_DROP_OUTSIDE)) {
		STEP("nmspinning--");
		*rmw(s, t, NSPIN) -= 1;
	}
	END;
}

static int wakep(S *s, int t, int d)
{
	BEGIN;
	if (fence)
		FENCE();
	STEP("load hints");
	if (!(ld(s, t, HINT) & HINT_IDLE) || MUT(M_NO_WAKE))
		RETURN;
	STEP("load nmspinning");
	if (ld(s, t, NSPIN))
		RETURN;
	STEP("nmspinning: 0 -> 1");
	if (*rmw(s, t, NSPIN))
		RETURN;
	*rmw(s, t, NSPIN) = 1;
	LOCK(SCHED);
	s->m[t].hp = p_get(s, t);
	if (!s->m[t].hp && !MUT(M_DROP_OUTSIDE))
		*rmw(s, t, NSPIN) -= 1;
	UNLOCK(SCHED);
	if (!s->m[t].hp) {
		REACHED(H_NO_IDLE_P);
		if (MUT(M_DROP_OUTSIDE)) {
			STEP("nmspinning--");
			*rmw(s, t, NSPIN) -= 1;
		}
		RETURN;
	}
	CALL(startm);
	END;
}

/* M0 with P0: queues its Gs, then computes for ever. */
static int computing(S *s, int t, int d)
{
	BEGIN;
	for (; s->left; s->left--) {
		STEP("queue a G"); /* ready() */
		st_rlx(s, t, QUEUE, ld(s, t, QUEUE) + 1);
		if (fence && !MUT(M_FENCE_LATE))
			FENCE();
		STEP("load hints"); /* wake_wanted() */
		if (!(ld(s, t, HINT) & HINT_IDLE) || lone)
			continue;
		CALL(wakep);
	}
	END;
}

/* An M without a P comes out of netpoll: idle_poll, injectlist. Of what it brings it runs one, which computes for ever. */
static int poller(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->m[t].p = p_get(s, t);
	UNLOCK(SCHED);
	s->m[t].more = s->left > 0;
	if (s->m[t].p) {
		for (; s->left; s->left--) {
			STEP("queue a G");
			st_rlx(s, t, QUEUE, ld(s, t, QUEUE) + 1);
		}
	} else {
		LOCK(SCHED);
		s->runq = (uint8_t)(s->runq + 1 + s->left);
		s->left = 0;
		UNLOCK(SCHED);
	}
	if (s->m[t].more || !s->m[t].p) {
		s->m[t].more = 0;
		CALL(wakep);
	}
	END;
}

static int foreign(S *s, int t, int d)
{
	BEGIN;
	STEP("nforeign++");
	*rmw(s, t, NFOREIGN) += 1;
	LOCK(SCHED);
	s->runq++;
	UNLOCK(SCHED);
	CALL(wakep);
	END;
}

/* An M that goes into a blocking region: handoffp of its P. */
static int blocker(S *s, int t, int d)
{
	BEGIN;
	STEP("handoffp: global queue ?");
	if (s->runq) {
		s->m[t].hp = s->m[t].p;
		STEP("nmspinning++"); /* startm, here as a searcher: one kind of start will do */
		*rmw(s, t, NSPIN) += 1;
		CALL(startm);
		RETURN;
	}
	LOCK(SCHED);
	p_put(s, t, s->m[t].p);
	s->m[t].p = 0;
	UNLOCK(SCHED);
	STEP("anything queued ?");
	if (s->runq || (ld(s, t, QUEUE) && !MUT(M_HANDOFF_GLOBAL)))
		CALL(wakep);
	END;
}

/* The longest that sysmon sleeps is over. */
static int sysmon(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("sysmon: work is queued, a P idle, nobody searches",
			(s->il.v[QUEUE] || s->runq) && s->il.v[NPIDLE] && !s->il.v[NSPIN] && !MUT(M_NO_SYSMON));
		CALL(wakep);
		REACHED(H_SYSMON);
	}
	END;
}

static int spin_end(S *s, int t, int d)
{
	BEGIN;
	if (s->m[t].spinning) {
		STEP("nmspinning--");
		s->m[t].spinning = 0;
		*rmw(s, t, NSPIN) -= 1;
	}
	END;
}

static int steal_work(S *s, int t, int d)
{
	BEGIN;
	if (!s->m[t].spinning) {
		STEP("enough searchers ? other Ps idle ?");
		if (2 * ld(s, t, NSPIN) >= procs - ld(s, t, NPIDLE)) {
			REACHED(H_NOSPIN);
			RETURN;
		}
		if (procs - ld(s, t, NPIDLE) <= 1) {
			STEP("load nforeign");
			if (!ld(s, t, NFOREIGN)) {
				REACHED(H_ALL_IDLE);
				s->m[t].alone = 1;
				RETURN;
			}
			REACHED(H_FOREIGN);
		}
		STEP("nmspinning++");
		s->m[t].spinning = 1;
		*rmw(s, t, NSPIN) += 1;
	} else if (MUT(M_WOKEN_IDLE)) {
		RETURN;
	}
	STEP("steal half of P0's queue"); /* with P0 stopped: a barrier of its own */
	if (s->il.v[QUEUE]) {
		il_drain(s, 0);
		uint8_t n = (uint8_t)((s->il.v[QUEUE] + 1) / 2);
		s->il.v[QUEUE] = (uint8_t)(s->il.v[QUEUE] - n);
		s->m[t].g = 1;
		s->m[t].more = (uint8_t)(s->m[t].more + n - 1);
		RETURN;
	}
	LOCK(SCHED);
	if (s->runq) {
		s->runq--;
		s->m[t].g = 1;
	}
	UNLOCK(SCHED);
	END;
}

static int asleep(S *s, int t, int d)
{
	BEGIN;
	AWAIT("notesleep", *rmw(s, t, NOTE + t));
	*rmw(s, t, NOTE + t) = 0;
	s->m[t].p = s->got[t];
	s->got[t] = 0;
	s->m[t].spinning = 1;
	REACHED(H_WOKEN);
	END;
}

/* Sleeps until there may be something to do. */
static int idle(S *s, int t, int d)
{
	BEGIN;
	s->m[t].was = s->m[t].spinning;
	LOCK(SCHED);
	if (s->runq && !MUT(M_GLOBAL_UNSEEN)) {
		s->m[t].was = 0;
	} else {
		p_put(s, t, s->m[t].p);
		s->m[t].p = 0;
	}
	UNLOCK(SCHED);
	if (s->m[t].p) {
		s->m[t].alone = 0;
		RETURN;
	}
	if (!MUT(M_SPIN_END_LATE))
		CALL(spin_end);
	if (fence)
		FENCE();
	else if (!MUT(M_NO_MEMBARRIER) && (s->m[t].was || !MUT(M_BARRIER_IF_SPINNING)))
		MEMBARRIER();
	STEP("anything queued ?");
	if (!MUT(M_NO_RECHECK) && (s->m[t].was || !MUT(M_RECHECK_IF_SPINNING)) &&
		((ld(s, t, QUEUE) && !lone) || (s->runq && !MUT(M_GLOBAL_UNSEEN)))) {
		REACHED(H_RECHECK);
		if (s->m[t].alone)
			REACHED(H_ALL_IDLE_RECHECK);
		s->m[t].was = s->m[t].alone = 0;
		LOCK(SCHED);
		s->m[t].p = p_get(s, t);
		UNLOCK(SCHED);
		if (s->m[t].p) {
			if (!s->m[t].spinning) {
				STEP("nmspinning++");
				s->m[t].spinning = 1;
				*rmw(s, t, NSPIN) += 1;
			}
			RETURN;
		}
	}
	s->m[t].was = s->m[t].alone = 0;
	CALL(spin_end);
	LOCK(SCHED); /* stopm */
	if (s->runq && !MUT(M_GLOBAL_UNSEEN))
		s->m[t].p = p_get(s, t);
	if (!s->m[t].p)
		s->midle |= (uint8_t)(1u << t);
	UNLOCK(SCHED);
	if (!s->m[t].p)
		CALL(asleep);
	END;
}

static int mthread(S *s, int t, int d)
{
	BEGIN;
	if (!s->m[t].p)
		CALL(asleep);
	for (;;) {
		if (s->m[t].more) { /* picknext */
			s->m[t].more--;
			s->m[t].g = 1;
		} else {
			LOCK(SCHED); /* globrunqget */
			if (s->runq) {
				s->runq--;
				s->m[t].g = 1;
			}
			UNLOCK(SCHED);
			if (!s->m[t].g)
				CALL(steal_work);
			if (!s->m[t].g) {
				CALL(idle);
				continue;
			}
		}
		s->m[t].g = 0;
		if (s->m[t].spinning) { /* schedule() */
			CALL(spin_end);
			STEP("anything left ?");
			if (!MUT(M_NO_WK2) && (s->m[t].more || ((ld(s, t, QUEUE) || s->runq) && !MUT(M_WK2_GLOBAL))))
				CALL(wakep);
		}
		STEP("the G runs");
		if (forever && il_choose(2))
			break;
	}
	END;
}

static void terminal(const S *s)
{
	int queued = s->il.v[QUEUE] + s->runq;
	for (int t = 0; t < il_threads; t++)
		queued += s->m[t].more;
	if (queued && s->pidle)
		il_fail("WK: work is queued, a P idle, and nobody will look");
	if (s->il.v[NSPIN])
		il_fail("WK: nmspinning is %d at rest", s->il.v[NSPIN]);
}

/* ---- runs --------------------------------------------------------------------------------------------------------- */

/* X has P0. Of the `ms` other Ms, those up to `awake` have a P and look for work, the rest sleep. */
static void begin_n(S *s, int ps, int ms, int awake, int work, bool ends)
{
	static const char *const names[] = {"X", "M1", "M2", "M3"};
	procs = ps;
	fence = lone = limited = false;
	forever = !ends;
	s->left = (uint8_t)work;
	il_thread(names[0], computing);
	for (int t = 1; t <= ms; t++) {
		il_thread(names[t], mthread);
		if (t <= awake)
			s->m[t].p = (uint8_t)(t + 1);
		else
			s->midle |= (uint8_t)(1u << t);
		if (t > awake && t < ps) {
			s->pidle |= (uint8_t)(1u << t);
			s->il.v[NPIDLE]++;
			s->il.v[HINT] = HINT_IDLE;
		}
	}
}
/* One more thread than Ps. */
static void begin(S *s, int ps, int awake, int work, bool ends) { begin_n(s, ps, ps, awake, work, ends); }
static void one(S *s) { begin(s, 2, 1, 1, true); }
static void one_weak(S *s)
{
	begin(s, 2, 1, 2, true);
	il_weak = true;
}
static void fenced(S *s)
{
	begin(s, 2, 1, 2, true);
	fence = true;
}
static void two(S *s) { begin(s, 2, 1, 2, true); }
static void sleeper(S *s) { begin(s, 2, 0, 2, true); }
static void searchers(S *s) { begin(s, 3, 2, 1, true); }
static void spread(S *s) { begin(s, 3, 0, 2, true); }
static void global(S *s)
{
	begin(s, 2, 1, 0, true);
	il_thread("F", foreign);
}
static void global_two(S *s)
{
	begin(s, 3, 1, 0, false);
	il_thread("F", foreign);
	il_thread("F2", foreign);
}
static void both(S *s)
{
	begin(s, 2, 1, 1, true);
	il_thread("F", foreign);
}
static void net(S *s)
{
	begin(s, 2, 1, 1, false);
	il_thread("F", foreign);
	il_thread("sysmon", sysmon);
}
static void net_three(S *s)
{
	begin_n(s, 3, 2, 1, 1, false);
	il_thread("F", foreign);
	il_thread("sysmon", sysmon);
}
static void handoff(S *s)
{
	begin(s, 2, 0, 2, true);
	s->pidle = 0;
	s->il.v[NPIDLE] = s->il.v[HINT] = 0;
	s->m[il_threads].p = 2;
	il_thread("blocker", blocker);
	il_thread("sysmon", sysmon); /* the submitter's store may be on its way */
}
static void handoff_alone(S *s)
{
	handoff(s);
	il_threads--;
	fence = true;
}
static void net_limited(S *s)
{
	begin(s, 2, 1, 2, true);
	limited = true;
	il_thread("sysmon", sysmon);
}
static void net_lone(S *s)
{
	begin(s, 2, 1, 1, false);
	lone = true;
	il_thread("sysmon", sysmon);
}
static void net_lone_two(S *s)
{
	begin(s, 3, 2, 2, false);
	lone = true;
	il_thread("sysmon", sysmon);
}

/* Instead of X an M in the poller; P0 is idle. */
static void poll(S *s, int ps, int work)
{
	begin(s, ps, 1, work, true);
	il_fn[0] = poller;
	s->pidle |= 1;
	s->il.v[NPIDLE]++;
	s->il.v[HINT] = HINT_IDLE;
}
static void poll_one(S *s) { poll(s, 2, 1); }
static void poll_fenced(S *s)
{
	poll(s, 2, 1);
	fence = true;
}
static void poll_three(S *s) { poll(s, 3, 2); }
static void poll_foreign(S *s)
{
	poll(s, 2, 0);
	il_thread("F", foreign);
}

static const IlRun runs[] = {
	{"one G, one searcher", one, 0, NULL},
	{"two Gs, one searcher", two, 0, NULL},
	{"two Gs, one searcher, weak stores", one_weak, 0, NULL},
	{"two Gs, one searcher, no membarrier", fenced, 0, NULL},
	{"two Gs, nobody awake", sleeper, 0, NULL},
	{"one G, two searchers", searchers, 0, NULL},
	{"two Gs for two sleepers", spread, 0, NULL},
	{"global queue", global, 0, NULL},
	{"global queue, two foreign threads, Gs that compute", global_two, 0, NULL},
	{"local and global", both, 0, NULL},
	{"local and global, Gs that compute, sysmon", net, 0, NULL},
	{"three Ps, sysmon", net_three, 0, NULL},
	{"lone G not announced, sysmon", net_lone, 0, NULL},
	{"two Gs not announced, sysmon", net_lone_two, 0, NULL},
	{"limit of threads, sysmon", net_limited, 0, NULL},
	{"a P handed off, sysmon", handoff, 0, NULL},
	{"a P handed off, no membarrier", handoff_alone, 0, NULL},
	{"poller with work while the only busy P runs dry", poll_one, 0, NULL},
	{"poller with work while the only busy P runs dry, no membarrier", poll_fenced, 0, NULL},
	{"poller with work while one of three Ps runs dry", poll_three, 0, NULL},
	{"poller and a new foreign thread while the only busy P runs dry", poll_foreign, 0, NULL},

	{"WK-1 nobody is woken", sleeper, M_NO_WAKE, "WK"},
	{"WK-1 handoffp looks at the global queue only", handoff_alone, M_HANDOFF_GLOBAL, "WK"},
	{"WK-2 searcher wakes nobody for the rest", global_two, M_NO_WK2, "WK"},
	{"WK-2 searcher looks at its own queue only", global_two, M_WK2_GLOBAL, "WK"},
	{"WK-3 no membarrier", one, M_NO_MEMBARRIER, "WK"},
	{"WK-3 no membarrier, submitter's fence after it looked at hints", fenced, M_FENCE_LATE, "WK"},
	{"WK-3 no second look", one, M_NO_RECHECK, "WK"},
	{"WK-3 counts as searcher during the second look", one, M_SPIN_END_LATE, "WK"},
	{"WK-3 membarrier only after a search", two, M_BARRIER_IF_SPINNING, "WK"},
	{"WK-3 waker in vain counts after sched.lock is free", both, M_DROP_OUTSIDE, "WK"},
	{"WK-4 no sysmon, lone G", net_lone, M_NO_SYSMON, "WK"},
	{"WK-4 no sysmon, Gs not announced", net_lone_two, M_NO_SYSMON, "WK"},
	{"WK-4 no sysmon, work left to a searcher that finds other", net_three, M_NO_SYSMON, "WK"},
	{"WK-4 no sysmon, limit of threads", net_limited, M_NO_SYSMON, "WK"},
	{"WK-5 global queue not looked at", global, M_GLOBAL_UNSEEN, "WK"},
	{"WK-6 no membarrier", poll_one, M_NO_MEMBARRIER, "WK"},
	{"WK-6 membarrier only after a search", poll_one, M_BARRIER_IF_SPINNING, "WK"},
	{"WK-6 second look only after a search", poll_one, M_RECHECK_IF_SPINNING, "WK"},
	{"WK-6 who is counted as a searcher does not search", poll_one, M_WOKEN_IDLE, "no end"},
	{"WK-6 global queue not looked at", poll_foreign, M_GLOBAL_UNSEEN, "WK"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_wake", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
