/* SPDX-License-Identifier: MIT
 * steal.c - work for an M that has none, from other Ps: what is worth taking, asking for it, taking it by force, and what
 * the last theft has taught. How a P is stopped for it stands in p.c, who is woken to search in sched.c (WK-4). What a thief
 * reads of a P that it has not stopped are hints.
 *
 *   RQ-1 A P's stealreq is 0, or 1 + the id of the P that asks, or that and REQ_ANSWERED. A thief sets it from 0. The owner, in
 *        the runtime, answers or declines (0); the thief takes the answer, or its request back (0). Where the two can meet
 *        both compare and swap: a request is answered or taken back.
 *   RQ-2 gift is the thief's from REQ_ANSWERED to 0, else the owner's.
 *   RQ-3 Nobody waits, and nothing is left lying: a thief takes back what it asked for before it leaves the search, which is
 *        inside the runtime from end to end. So it runs what it was given, no waker is needed, and no gift is under way
 *        while the world stands.
 *   RQ-4 A gift is half of each queue, the oldest, but never all: the last one runs sooner where it is, and who looks for work
 *        (WK-2, WK-3) while a gift is made ready, and perhaps not given in the end, still sees a queue.
 * Model: tests/model_request.c. */
#include "proc.h"
#include "timer.h"

enum { STEAL_MAX = 128, STEAL_PROBE = 16, QUIET_GROWTH = 8 };
static const int64_t PATIENCE_NS = 3 * 1000;      /* for an owner that is in the runtime just now */
static const int64_t REQUEST_NS = 5 * 1000;       /* a thief who searches no longer than that does not ask */
static const int64_t ANSWER_NS = 5 * 1000;        /* who was asked stands only after that */
static const int64_t STANDS_NS = 4 * 1000;        /* one that just does not switch at each look does not stand */
static const int64_t STEAL_COST_NS = 5 * 1000;    /* a theft; Gs that their P reaches sooner are left to it */
static const int64_t MOVE_COST_NS = 500;          /* cache misses of a G that changes P */
static const int64_t LIGHT_NS = 200;             /* a spawn or a dispatch shorter than that */
static const int64_t PAYS_NS = 40 * 1000;         /* a theft that keeps the thief busy for so long did; measured: with 5 us Ps that
                                                   * talk to each other steal the whole conversation back and forth */
static const int64_t JOBS_PAY_NS = 15 * 1000;     /* the same, if all of it has ended: such as that talks to nobody */
static const int64_t PAUSE_MIN_NS = 20 * 1000, PAUSE_MAX_NS = 1000 * 1000; /* between thefts that do not pay */
static const int64_t LOCK_PAUSE_MIN_NS = 100 * 1000, LOCK_PAUSE_MAX_NS = 10 * 1000 * 1000; /* and end in front of a mutex */
static const int64_t LOCK_PAYS_NS = 3000 * 1000;
/* WK-4. The first time: a vain searcher takes that long to fall asleep, before that a wake-up starts one more thread. */
static const int64_t QUIET_MIN_NS = 32 * 1000, QUIET_MAX_NS = 64 * 1000 * 1000;
static const int64_t QUIET_HEAVY_NS = 1000 * 1000; /* the most for sysmon, where what runs is not light any more */

static uint32_t rnd(P *p)
{
	/* wyrand-like step: one multiply; quality is plenty for steal order. */
	p->rand = p->rand * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(p->rand >> 33);
}

static uint32_t take_half(RunQ *dst, RunQ *src, uint32_t max)
{
	uint32_t n = (src->n + 1) / 2, k = 0;
	if (n > max)
		n = max;
	for (; k < n; k++)
		runq_put(dst, runq_get(src));
	return k;
}

#define REQ_ANSWERED 0x80000000u

static void runq_prepend(RunQ *dst, RunQ *src)
{
	runq_append(src, dst);
	runq_append(dst, src);
}

/* An owner answers a polite thief. */
void gmp__serve_request(P *p)
{
	uint32_t req = load_acquire(&p->stealreq);
	if (likely(req == 0) || req & REQ_ANSWERED)
		return;
	if (p->runq.n + p->fresh.n < 2) {
		(void)cas_acqrel(&p->stealreq, &req, 0u);
		return;
	}
	if (take_half(&p->giftfresh, &p->fresh, STEAL_MAX) == 0 || p->runq.n > 1)
		take_half(&p->gift, &p->runq, STEAL_MAX);
	if (!cas_acqrel(&p->stealreq, &req, req | REQ_ANSWERED)) { /* taken back */
		runq_prepend(&p->fresh, &p->giftfresh);
		runq_prepend(&p->runq, &p->gift);
	} else if (load_relaxed(&sched.solo)) { /* SOLO-6 */
		gmp__solo_end_by_theft(p);
	}
}

/* False: somebody else has asked before. */
static bool ask(P *p, P *victim)
{
	uint32_t none = 0;
	if (!cas_acqrel(&victim->stealreq, &none, (uint32_t)p->id + 1))
		return false;
	M *vm = load_acquire(&victim->m);
	if (vm)
		(void)fetch_or_seqcst(&vm->revoke, RV_ATTN);
	return true;
}

static void stole(P *p, P *victim, uint32_t n, int64_t now)
{
	count1(&p->nsteals);
	p->stolen = n;
	store_relaxed(&p->lockparked, false);
	store_relaxed(&victim->lockparked, false);
	p->stolenat = now;
	p->stolenended = p->nended;
	store_relaxed(&p->stolenfrom, victim);
}

static bool answered(const P *p, const P *victim)
{
	return load_acquire(&victim->stealreq) == (((uint32_t)p->id + 1) | REQ_ANSWERED);
}

/* p's queue gets what victim has answered. False: nothing yet. */
static bool receive(P *p, P *victim, int64_t now)
{
	if (!answered(p, victim))
		return false;
	stole(p, victim, victim->gift.n + victim->giftfresh.n, now);
	G *oldest = runq_get(&victim->giftfresh); /* the root of the largest tree runs first; for the others, see P.fresh */
	if (oldest)
		runq_put(&p->runq, oldest);
	runq_append(&p->fresh, &victim->giftfresh);
	runq_append(&p->runq, &victim->gift);
	store_release(&victim->stealreq, 0u);
	return true;
}

/* p asks v no more. True: there was an answer after all. */
static bool take_back(P *p, P *v, int64_t now)
{
	uint32_t mine = (uint32_t)p->id + 1;
	return (load_relaxed(&v->stealreq) & ~REQ_ANSWERED) == mine && !cas_acqrel(&v->stealreq, &mine, 0u) && receive(p, v, now);
}

/* RQ-3: the search is over. True: likewise. */
static bool withdraw(P *p, int64_t now)
{
	bool any = false;
	for (int i = 0, n = load_relaxed(&sched.nallp); i < n; i++)
		any |= take_back(p, sched.allp[i], now);
	return any;
}

/* What a thief wants of a victim. */
typedef struct Loot {
	uint32_t fresh, runq; /* most Gs */
	bool runnext;
	uint32_t of;          /* so many are there */
} Loot;

/* By force. The owner is in user code, else *refused. */
static G *steal_from(M *m, P *p, P *victim, Loot want, bool *refused)
{
	if (!gmp__revoke(victim, m, PATIENCE_NS)) {
		*refused = true;
		return NULL;
	}
	uint32_t k = take_half(&p->fresh, &victim->fresh, want.fresh);
	k += take_half(&p->runq, &victim->runq, want.runq);
	if (k == 0 && want.runnext && victim->runnext) {
		runq_put(&p->runq, victim->runnext);
		store_relaxed(&victim->runnext, (G *)NULL);
		k = 1;
	}
	if (k && load_relaxed(&sched.solo)) /* now that it is stopped */
		gmp__solo_end_by_theft(victim);
	gmp__unrevoke(victim);
	if (k == 0)
		return NULL;
	stole(p, victim, k, gmp__os_now()); /* to stop it may have taken longer than what is judged by this */
	return picknext(p);
}

/* Who was readied by a holder of a mutex often wants that, too: on another P it takes the mutex's cache line away, and one of the
 * two waits. So, where somebody did soon, lonely ones are not stolen from either P for a while. */
static void judge_lock(P *p, P *v, int64_t now)
{
	if (p->stolen != 1)
		return;
	bool vain = (load_relaxed(&p->lockparked) || load_relaxed(&v->lockparked)) && now - p->stolenat < LOCK_PAYS_NS;
	int64_t pause = vain ? min_i64(max_i64(load_relaxed(&v->lockpause) * 2, LOCK_PAUSE_MIN_NS), LOCK_PAUSE_MAX_NS) : 0;
	store_relaxed(&v->lockpause, pause);
	store_relaxed(&v->lockafter, now + pause);
	store_relaxed(&p->lockpause, pause);
	store_relaxed(&p->lockafter, now + pause);
}

/* p is out of work. Did its last theft pay? What it took may have been the roots of large trees, half of a pipeline, or things
 * that block or end at once, or talk to those left behind. Then it would have been better to leave them where their caches
 * are, and p steals little and seldom for a while. */
static void judge_theft(P *p, int64_t now)
{
	if (p->stolen == 0 || !gmp__debug.judge)
		return;
	bool jobs = p->nended - p->stolenended >= p->stolen;
	if (now - p->stolenat < (int64_t)p->stolen * MOVE_COST_NS + (jobs ? JOBS_PAY_NS : PAYS_NS)) {
		p->stealpause = min_i64(max_i64(p->stealpause * 2, PAUSE_MIN_NS), PAUSE_MAX_NS);
		p->stealafter = now + p->stealpause;
	} else {
		p->stealpause = 0;
		P *from = load_relaxed(&p->stolenfrom);
		store_relaxed(&from->quietfor, (int64_t)0);
		store_relaxed(&from->quiet, 0u);
	}
	judge_lock(p, load_relaxed(&p->stolenfrom), now);
	p->stolen = 0;
}

/* Is the wait for those queued at v, who take dt ns for `ticks` dispatches, longer than a theft takes? */
static bool long_wait(uint32_t queued, uint64_t ticks, int64_t dt)
{
	return (int64_t)queued * dt > STEAL_COST_NS * (int64_t)ticks;
}

/* For sysmon. Not if it was in vain just now, nor for long if what runs there is light still. */
bool gmp__worth_waking(const P *p, uint64_t ticks, int64_t dt, int64_t now)
{
	uint32_t n = load_relaxed(&p->runq.n) + load_relaxed(&p->fresh.n);
	if (!n || !long_wait(n, ticks, dt))
		return false;
	bool light = dt < LIGHT_NS * (int64_t)ticks;
	return load_relaxed(&p->quiet) == 0 || now >= load_relaxed(&p->quietuntil) ||
	       (!light && now - load_relaxed(&p->quietsince) >= QUIET_HEAVY_NS);
}

/* What of v is worth the theft. ticks: dispatches and spawns of its M during the last dt ns; dt 0: not known. stands: none for
 * STANDS_NS, so it computes, or does not run at all. */
static Loot loot(const P *p, const P *v, uint64_t ticks, int64_t dt, bool stands, bool last, int64_t now)
{
	Loot l = {0, 0, false, 0};
	uint32_t fresh = load_relaxed(&v->fresh.n), runq = load_relaxed(&v->runq.n);
	uint32_t most = p->stealpause && !stands ? STEAL_PROBE : STEAL_MAX;
	int64_t together = load_relaxed(&v->togetheruntil);
	bool may = stands || now >= max_i64(p->stealafter, together);
	if (stands ? fresh > 0 : may && fresh > 1)
		l.fresh = most;
	if (stands || (may && runq > 1) || (dt && now >= together && long_wait(runq, ticks, dt)))
		l.runq = most;
	l.runnext = last && stands && fresh + runq == 0 && load_relaxed(&v->runnext) && now >= load_relaxed(&v->lockafter);
	if (fresh == 0)
		l.fresh = 0;
	if (runq == 0)
		l.runq = 0;
	l.of = (l.fresh ? fresh : 0) + (l.runq ? runq : 0) + l.runnext;
	return l;
}

/* ---- the search --------------------------------------------------------------------------------------------------- */

/* By m for its P, which is empty, in passes over the other Ps. */
typedef struct Search {
	M *m;
	P *p;
	int64_t before, now, end; /* of the last pass and this one; the first one after end is the last */
	bool woken;    /* by somebody's call */
	bool first, last;
	bool choosy;   /* takes from who has most; else from whoever comes first: few are left where somebody computes for long */
	bool asked;    /* some P was asked for work */
	bool refused;  /* in this pass there was some, but its owner was in the runtime */
	P *awaited;    /* who was asked last, and when */
	int64_t askedat;
	uint64_t seen[MAXPROCS]; /* ticks of each P at the last pass */
	int64_t since[MAXPROCS]; /* when that was first seen */
} Search;

/* What v, allp[at], is worth in this pass. *stands: it is not about to come by and answer. */
static Loot appraise(Search *s, P *v, int at, bool *stands)
{
	uint64_t tick = work_ticks(v), ticks = s->first ? 0 : tick - s->seen[at];
	bool called = s->woken && tick == load_relaxed(&v->calledat); /* it has stood for as long as a wake-up takes */
	if (s->first || ticks)
		s->since[at] = called ? s->now - STANDS_NS : s->now;
	s->seen[at] = tick;
	*stands = called || (s->now - s->since[at] >= STANDS_NS && s->now >= load_relaxed(&v->togetheruntil)); /* RG-2 */
	return loot(s->p, v, ticks, s->first ? 0 : s->now - s->before, *stands, s->last || called, s->now);
}

/* By force, but not half by force, and half of the rest as an answer. */
static G *take(Search *s, P *v, Loot want)
{
	return s->asked && take_back(s->p, v, s->now) ? picknext(s->p) : steal_from(s->m, s->p, v, want, &s->refused);
}

/* What v's timers that are due make runnable. */
static G *take_due(Search *s, P *v)
{
	int64_t until = 0;
	if (load_acquire(&v->timers.minwhen) > s->now || (until = gmp__gather_until(s->now)) > s->now)
		return NULL;
	if (intrudes(s->m)) /* RQ-3: it would wait; they were looked at just now, and will be again */
		return NULL;
	if (!gmp__runtimers(s->m, v, s->now))
		return NULL;
	if (until)
		store_relaxed(&sched.gathered, s->now);
	return picknext(s->p);
}

/* One look at every other P. */
static G *pass(Search *s)
{
	int n = load_relaxed(&sched.procs), start = (int)(rnd(s->p) % (uint32_t)n);
	P *richest = NULL;
	Loot most = {0, 0, false, 0};
	bool force = false;
	s->refused = false;
	for (int i = 0; i < n; i++) {
		int at = (start + i) % n;
		P *v = sched.allp[at];
		if (v == s->p)
			continue;
		G *gp = take_due(s, v);
		if (gp)
			return gp;
		if (receive(s->p, v, s->now))
			return picknext(s->p);
		if (!gmp__debug.steal)
			continue;
		bool stands;
		Loot l = appraise(s, v, at, &stands);
		if (l.of == 0)
			continue;
		/* Who schedules answers soon, and for next to nothing: to be stopped costs it and the thief a barrier's 15 us. */
		bool answers = !stands || (v == s->awaited && s->now - s->askedat < ANSWER_NS);
		bool polite = gmp__debug.request && answers && s->now + REQUEST_NS < s->end;
		if (polite && load_relaxed(&v->stealreq)) /* somebody's, or this one's */
			continue;
		if (!polite && (s->last || !s->choosy)) {
			if ((gp = take(s, v, l)))
				return gp;
		} else if (l.of > most.of) {
			richest = v;
			most = l;
			force = !polite;
		}
	}
	if (richest && force) {
		s->choosy = false; /* should it be in vain: it may lack a CPU */
		return take(s, richest, most);
	}
	if (richest && ask(s->p, richest)) { /* one a pass: an answer is half of a queue */
		s->asked = true;
		s->awaited = richest;
		s->askedat = s->now;
	}
	return NULL;
}

static G *search(Search *s)
{
	int pauses = 20; /* between passes: each look takes the line from the owner that is about to write it */
	s->first = true;
	for (;;) {
		s->last = !s->first && s->now >= s->end; /* two looks at least: who stands, is seen by the second */
		G *gp = pass(s);
		if (gp || (gp = gmp__globrunqget(s->p, GLOBRUNQ_BATCH)))
			return gp;
		if (s->last || load_relaxed(&sched.done) || (load_relaxed(&s->m->revoke) & (uint32_t)RV_REVOKE))
			return NULL;
		for (int k = 0; k < pauses && !(s->asked && answered(s->p, s->awaited)); k++)
			cpu_pause();
		if (pauses < 160)
			pauses *= 2;
		s->first = false;
		s->before = s->now;
		s->now = gmp__look_at_clock(s->p);
	}
}

/* The P is empty. *how: what came of it, if it found nothing. */
G *gmp__steal_work(M *m, P *p, int64_t now, uint8_t *how)
{
	*how = SEARCH_NONE;
	judge_theft(p, now);
	bool woken = m->spinning;
	if (!woken) {
		/* At most half of the busy Ps search: more would only get into each other's way. */
		uint32_t busy = (uint32_t)load_relaxed(&sched.procs) - load_relaxed(&sched.npidle);
		if (2 * load_relaxed(&sched.nmspinning) >= busy || (busy <= 1 && load_relaxed(&sched.nforeign) == 0)) /* WK-6 */
			return NULL;
		gmp__spin_begin(m);
	}
	Search s; /* most of it is written before it is read */
	s.m = m;
	s.p = p;
	s.before = s.now = s.askedat = now;
	s.end = now + max_i64(gmp__debug.spin ? gmp__debug.spinus * 1000 : 0, STANDS_NS);
	s.woken = woken;
	s.choosy = rnd(p) % 4 != 0;
	s.asked = s.refused = false;
	s.awaited = p; /* nobody */
	G *gp = search(&s);
	if (s.asked && withdraw(p, now) && !gp)
		gp = picknext(p);
	*how = s.refused ? SEARCH_REFUSED : SEARCH_VAIN;
	return gp;
}

/* WK-4: no wake-ups for what is queued at p, from now for ns. */
void gmp__quiet_for(P *p, int64_t now, int64_t ns)
{
	store_relaxed(&p->quietsince, now);
	store_relaxed(&p->quietuntil, now + ns);
	store_relaxed(&p->quiet, (uint32_t)HINT_IDLE);
}

/* WK-4: p's search was in vain. Not if nobody was called, nor for those who are to be left alone (RG-2). */
void gmp__steal_vain(P *p)
{
	int n = load_relaxed(&sched.procs);
	for (int i = 0; i < n; i++) {
		P *w = sched.allp[i];
		if (w == p || load_relaxed(&w->quiet) || p->now < load_relaxed(&w->togetheruntil))
			continue;
		int64_t ns = min_i64(max_i64(load_relaxed(&w->quietfor) * QUIET_GROWTH, QUIET_MIN_NS), QUIET_MAX_NS);
		store_relaxed(&w->quietfor, ns);
		gmp__quiet_for(w, p->now, ns);
	}
}
