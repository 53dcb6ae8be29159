/* SPDX-License-Identifier: MIT
 * sched.c - g0's loop: what runs next, where to look for it, when to sleep, whom to wake, when all is over.
 *
 * Waking. Queues are per P, so "is there work?" has no cheap global answer. Rejected: one central queue (no scaling);
 * waking one M per ready (M's that find nothing); waking nobody until an M asks (latency). The rule is Go's:
 *   WK-1 New work wakes one M if there is an idle P and no M is searching (spinning).
 *   WK-2 The searcher that finds work and leaves more behind, on whatever queue, wakes the next one.
 *   WK-3 Submitter: publish work (plain store to its queue), then read hints and nmspinning. Idler: put the P on the idle
 *        list (sets HINT_IDLE), nmspinning--, membarrier, look at every source once more. The membarrier is the fence that
 *        the submitter left out: at least one of the two sees the other. Forbidden: work queued, P idle, nobody awake.
 *        A waker counts as searching only as long as there may be a P for it: it gives up under sched.lock. One case is
 *        left to sysmon: whoever left the wake-up to a searcher that finds other work, while its own store was on its way.
 *   WK-4 What is queued at a P whose M switches often is likely to be run by that M itself within a microsecond. Wake-ups
 *        for such are left out (P.quiet) from a vain one on, the longer the more often that was so, until a visit to g0 that
 *        comes after that time, or half a millisecond after the last one: what follows such a pause says nothing of what was
 *        before. An idler leaves such work alone, too. sysmon wakes somebody if the M stopped switching, or switches too
 *        slowly for what is queued.
 *   WK-5 The global queue is under sched.lock, and an M looks at it under that lock before it lets go of its P.
 *   WK-6 Whoever runs out of work while all other Ps are idle does not search: only timers, the network or a foreign thread can
 *        bring work then, and for these an M waits in the poller (for the last see foreign.c). Who was woken does: there was work.
 *   WK-7 see await_net.
 *   TM-1 see timer.c; the sleeper's half is idle_poll here.
 * Models: tests/model_wake.c; of WK-7 and TM-1 tests/model_timer.c. */
#include "proc.h"
#include "netpoll.h"
#include "timer.h"

Sched gmp__sched;

enum { FRESH_SHARE = 16, FRESH_ROUND = 50 }; /* FQ-2 */
/* Taken from the global queue at a look round. Not one, as in Go, whose local queues are short: behind a queue that never
 * drains, 400 Gs that sysmon had found ready in the network waited for a third of a second. */
enum { GLOBRUNQ_SHARE = 32 };
static const int64_t PAUSE_NS = 500 * 1000; /* WK-4 */
static const int64_t FRESH_AGE_NS = 100 * 1000 * 1000;
/* TM-7: deadlines gather for so long, if so many are expected to come meanwhile, by those of the last window. */
enum { COALESCE_DUE = 8, COALESCE_WINDOW = 4 };
static const int64_t COALESCE_NS = 400 * 1000, BATCH_LIGHT_NS = 200 * 1000;
/* Busy Ps look at the network this often at most. Where what is found would wait long behind others, not before it would have
 * its turn: it is as good to find it then, and better if a P with a shorter queue does. */
enum { LONG_QUEUE = 32 };
static const int64_t NETPOLL_BUSY_NS = 50 * 1000, NETPOLL_LONG_NS = 1000 * 1000;

void gmp__badstatus(G *gp, int from, int to)
{
	gmp__throw("coroutine %llu: state %d -> %d, but it is %u", (unsigned long long)gp->id, from, to, gp->status);
}

int64_t gmp__look_at_clock(P *p)
{
	int64_t now = gmp__os_now();
	if (p)
		store_relaxed(&p->now, now);
	uint32_t ms = (uint32_t)(now / 1000000);
	if (load_relaxed(&sched.coarse_ms) != ms) /* everyone reads its line all the time: a write takes that from them */
		store_relaxed(&sched.coarse_ms, ms);
	return now;
}

/* ---- submitting -------------------------------------------------------------------------------------------------- */

void gmp__globrunqput(G *gp) { runq_put(&sched.runq, gp); }

/* WK-1. The caller has published work. */
void gmp__wakep(void)
{
	if (load_relaxed(&sched.hints) & HINT_FENCE)
		fence_seqcst();
	if (!(load_relaxed(&sched.hints) & HINT_IDLE) || load_relaxed(&sched.nmspinning) != 0)
		return;
	uint32_t zero = 0;
	if (!cas_seqcst(&sched.nmspinning, &zero, 1u))
		return;
	lock(&sched.lock);
	P *p = gmp__pidleget();
	if (!p) /* under the lock: whoever puts a P on the list next no longer finds us counted (WK-3) */
		(void)fetch_add_seqcst(&sched.nmspinning, -1u);
	unlock(&sched.lock);
	if (!p)
		return;
	fetch_add_relaxed(&sched.nwakes, 1);
	gmp__startm(p, true);
}

/* Somebody is to come for what is queued at p, the caller's own: no leaving out. */
static void wake_for(P *p)
{
	store_relaxed(&p->quiet, 0u);
	store_relaxed(&p->calledat, work_ticks(p));
	gmp__wakep();
}

/* p, the caller's own, has got work, and wake_wanted. */
void gmp__wakep_hint(M *m, P *p)
{
	(void)m;
	if (unlikely(load_relaxed(&sched.hints) & HINT_TAIL) && p->runnext) {
		runq_put(&p->runq, p->runnext);
		store_relaxed(&p->runnext, (G *)NULL);
	}
	if (load_relaxed(&sched.hints) & HINT_FENCE)
		fence_seqcst(); /* WK-3, between the queue and the hints */
	if (!(load_relaxed(&sched.hints) & HINT_IDLE))
		return;
	if (p->runq.n + p->fresh.n == 0)
		return;
	if (load_relaxed(&p->quiet) == 0) /* again: there are more hints than HINT_IDLE */
		wake_for(p);
}

/* Ready without a P, or of a foreign thread's G. */
void gmp__ready_slow(M *m, G *gp)
{
	(void)m;
	if (gp->flags & GF_FOREIGN) {
		gstatus(gp, Gwaiting, Grunning);
		gmp__notewakeup(&gp->ext->note);
		return;
	}
	gstatus(gp, Gwaiting, Grunnable);
	lock(&sched.lock);
	store_relaxed(&sched.nforeignreadies, sched.nforeignreadies + 1);
	gmp__globrunqput(gp);
	unlock(&sched.lock);
	gmp__wakep();
}

/* n parked Gs from an event source become runnable. */
void gmp__injectlist(M *m, Queue *q, uint32_t n)
{
	if (n == 0)
		return;
	P *p = m ? m->p : NULL;
	G *gp;
	if (p) {
		while ((gp = link2g(queue_pop_head(q)))) {
			gstatus(gp, Gwaiting, Grunnable);
			count1(&p->nreadies);
			runq_put(&p->runq, gp);
		}
		if (n > 1)
			gmp__wakep();
		return;
	}
	for (Link *l = q->head; l; l = l->next)
		gstatus(link2g(l), Gwaiting, Grunnable);
	lock(&sched.lock);
	store_relaxed(&sched.nforeignreadies, sched.nforeignreadies + n);
	while ((gp = link2g(queue_pop_head(q))))
		gmp__globrunqput(gp);
	unlock(&sched.lock);
	gmp__wakep();
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

bool gmp__runtimers(M *m, P *p, int64_t now)
{
	bool ran = false;
	Timer t;
	if (intrudes(m))
		gmp__solo_intrude_g0(m);
	do {
		while (gmp__timer_pop(p, now, &t)) {
			t.f(m, t.arg, t.seq);
			ran = true;
		}
	} while (load_acquire(&p->timers.minwhen) <= now); /* TW-4 */
	return ran;
}

int gmp__timer_start(M *m, Timer *t)
{
	/* An owner looks at its timers by itself: on its way to idle, at its next visit to g0, or sysmon does when it
	 * computes for long. */
	if (likely(m->p))
		return gmp__timer_add(m->p, t);
	if (load_relaxed(&sched.state) != ST_UP)
		return load_relaxed(&sched.state) == ST_FORKED ? -ENOTSUP : -ESRCH;
	int64_t when = t->when;
	int e = gmp__timer_add(sched.allp[0], t); /* from here on t is the P's: a periodic one may move on at once */
	if (e)
		return e;
	/* Nobody is bound to look in time: TM-1. */
	fence_seqcst();
	if (load_seqcst(&sched.polling)) {
		if (load_seqcst(&sched.polluntil) > when)
			gmp__netpoll_break();
	} else {
		gmp__wakep();
	}
	gmp__sysmon_wake();
	return 0;
}

/* TM-7, by the rate of late. Who judges that is the first one to come after a while, others see what was judged before. */
static int64_t gather(int64_t now)
{
	int64_t at = load_relaxed(&sched.gatherat), dt = now - at;
	if (dt < COALESCE_WINDOW * COALESCE_NS || !cas_acqrel(&sched.gatherat, &at, now))
		return load_relaxed(&sched.gather);
	uint64_t popped = 0;
	for (int i = 0, n = load_acquire(&sched.nallp); i < n; i++)
		popped += load_relaxed(&sched.allp[i]->timers.npopped);
	int64_t due = (int64_t)(popped - load_relaxed(&sched.gatherpopped));
	store_relaxed(&sched.gatherpopped, popped);
	int64_t g = due > COALESCE_DUE * dt / COALESCE_NS ? COALESCE_NS : 0;
	store_relaxed(&sched.gather, g);
	return g;
}

/* Who has nothing else to do leaves timers alone until then, though they are due. 0: it does not. */
int64_t gmp__gather_until(int64_t now)
{
	int64_t g = gather(now);
	return g ? load_relaxed(&sched.gathered) + g : 0;
}

/* ---- the global queue, searchers ---------------------------------------------------------------------------------- */

/* From the global queue: one G, a fair share of the rest (up to max) to p. */
G *gmp__globrunqget(P *p, uint32_t max)
{
	if (load_relaxed(&sched.runq.n) == 0)
		return NULL;
	lock(&sched.lock);
	uint32_t n = sched.runq.n, share = n / (uint32_t)sched.procs + 1;
	if (share > max)
		share = max;
	if (share > n)
		share = n;
	G *gp = runq_get(&sched.runq);
	for (uint32_t i = 1; i < share; i++)
		runq_put(&p->runq, runq_get(&sched.runq));
	unlock(&sched.lock);
	return gp;
}

void gmp__spin_begin(M *m)
{
	if (!m->spinning) {
		store_relaxed(&m->spinning, (uint8_t)1);
		(void)fetch_add_seqcst(&sched.nmspinning, 1u);
	}
}

static void spin_end(M *m)
{
	if (m->spinning) {
		store_relaxed(&m->spinning, (uint8_t)0);
		(void)fetch_add_seqcst(&sched.nmspinning, -1u);
	}
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* sched.lock is held, the caller holds no P and is about to sleep (it counts as running still, unless on midle). */
static bool quiescent(uint32_t self)
{
	if (sched.npidle != (uint32_t)sched.procs || sched.runq.n)
		return false;
	uint32_t asleep = sched.nmidle + sched.nlockedidle + (load_relaxed(&sched.polling) ? 1 : 0) + self;
	return sched.mcount <= asleep;
}

void gmp__end_run(void)
{
	store_release(&sched.done, (uint8_t)1);
	for (M *m = sched.allm; m; m = m->alllink)
		gmp__notewakeup(&m->park);
	gmp__netpoll_break();
	gmp__notewakeup(&sched.donenote);
}

/* sched.lock is held. `self`: 1 if the caller is an M that is neither on midle nor polling. */
static void checkdone(uint32_t self)
{
	if (sched.done || sched.starting || !quiescent(self))
		return;
	if (gmp__glive() == 0) {
		if (!sched.embedded)
			gmp__end_run();
		return;
	}
	if (sched.embedded || load_seqcst(&sched.waitersnet) || load_seqcst(&sched.nhold) > 0 ||
	        load_seqcst(&sched.nforeign) > 0 || gmp__timers_wake())
		return;
	sched.deadlocked = 1;
	gmp__deadlock_report();
	gmp__end_run();
}

void gmp__checkdone(void) { checkdone(0); }

/* ---- looking for work -------------------------------------------------------------------------------------------- */

/* WK-7. A sleep that is over in a moment costs more than the moment, the peer whose message ends it too: it pays for the wake-up.
 * So after a short one the poller looks again for a while before the next. The more often that was in vain the less often it is
 * done (the peer may need this very CPU). A look with time-out 0 leaves gmp__netpoll_break to the sleep. Of who polls. */
static uint32_t await_net(Queue *q, int64_t wait)
{
	enum { LOOK_NS = 8 * 1000, SHORT_NS = 30 * 1000, SKIP_MAX = 1023 };
	int64_t begun = gmp__os_now(), now = begun;
	uint32_t n;
	if (sched.pollshort && gmp__debug.spin && load_seqcst(&sched.waitersnet) && (wait < 0 || wait > LOOK_NS)) {
		if (sched.pollskip > 0) {
			sched.pollskip--;
		} else {
			do {
				n = gmp__netpoll(q, 0);
				if (n) {
					sched.pollvain = 0;
					return n;
				}
				now = gmp__os_now();
			} while (now - begun < LOOK_NS && !load_acquire(&sched.done));
			sched.pollvain = sched.pollvain < SKIP_MAX ? sched.pollvain * 2 + 1 : SKIP_MAX;
			sched.pollskip = sched.pollvain / 2;
			if (wait > 0) /* TM-5 */
				wait = max_i64(wait - (now - begun), 0);
		}
	}
	n = gmp__netpoll(q, wait);
	sched.pollshort = n && wait != 0 && gmp__os_now() - now < SHORT_NS;
	return n;
}

/* Blocks in the network poller until the next timer, if there is cause to and nobody else does. The M has no P. True:
 * look again (it may have a P now). */
static bool idle_poll(M *m)
{
	int64_t until = gmp__timers_min();
	if (until == INT64_MAX && load_seqcst(&sched.waitersnet) == 0)
		return false;
	uint32_t zero = 0;
	if (!cas_seqcst(&sched.polling, &zero, 1u)) {
		if (load_seqcst(&sched.polluntil) > until)
			gmp__netpoll_break();
		return false;
	}
	lock(&sched.lock);
	checkdone(0); /* this M counts as polling */
	unlock(&sched.lock);
	store_seqcst(&sched.polluntil, until);
	/* TM-1. Not later than polluntil says, even if that timer is gone meanwhile: an adder of a later one goes by it. */
	until = min_i64(until, gmp__timers_min());
	Queue q = {NULL, NULL};
	uint32_t n = 0;
	if (!load_acquire(&sched.done)) {
		int64_t wait = -1;
		if (until != INT64_MAX) {
			int64_t now = gmp__os_now();
			wait = max_i64(max_i64(until, gmp__gather_until(now)) - now, 0);
		}
		n = await_net(&q, wait);
		fetch_add_relaxed(&sched.npolls, 1);
	}
	int64_t now = gmp__look_at_clock(NULL);
	store_relaxed(&sched.lastpoll, now);
	store_seqcst(&sched.polluntil, (int64_t)0);
	lock(&sched.lock);
	store_seqcst(&sched.polling, 0u);
	P *p = gmp__pidleget();
	if (p)
		gmp__acquirep(m, p);
	unlock(&sched.lock);
	gmp__injectlist(m, &q, n);
	return p != NULL;
}

bool gmp__anything_queued(void)
{
	if (load_seqcst(&sched.runq.n))
		return true;
	int n = load_relaxed(&sched.procs);
	for (int i = 0; i < n; i++) {
		P *v = sched.allp[i];
		if (load_relaxed(&v->runq.n) + load_relaxed(&v->fresh.n) && load_relaxed(&v->quiet) == 0) /* WK-4 */
			return true;
	}
	return false;
}

/* Sleeps until there is something to do. On return the M has a P, or the run is over (false). */
static bool idle(M *m)
{
	P *p = m->p;
	for (;;) {
		if (p) {
			lock(&sched.lock);
			if (sched.runq.n && p->id < load_relaxed(&sched.procs)) { /* WK-5 */
				unlock(&sched.lock);
				return true;
			}
			p->batchat = p->aloneat = 0;
			gmp__releasep(m);
			gmp__pidleput(p);
			unlock(&sched.lock);
		}
		spin_end(m);
		/* WK-3 */
		if (load_relaxed(&sched.multi)) {
			if (load_relaxed(&sched.hints) & HINT_FENCE)
				fence_seqcst();
			else /* also who did not search: the searcher that it relied on may be a waker that finds no P */
				gmp__barrier();
		}
		if (gmp__anything_queued()) {
			lock(&sched.lock);
			p = gmp__pidleget();
			if (p)
				gmp__acquirep(m, p);
			unlock(&sched.lock);
			if (p) {
				if (load_relaxed(&sched.multi))
					gmp__spin_begin(m);
				return true;
			}
		}
		if (load_acquire(&sched.done))
			return false;
		if (idle_poll(m))
			return true;
		gmp__stopm(m);
		if (load_acquire(&sched.done))
			return false;
		if (m->p)
			return true;
		p = NULL;
	}
}

/* Newest first must not starve the oldest for ever: some of them queue up behind those that have run. Not all of them, a
 * fork-join tree would turn breadth-first:
 *   FQ-1 each time slice a few, the more the longer the fresh queue has not been empty;
 *   FQ-2 FRESH_SHARE of them each FRESH_ROUND dispatches, if all of those had run before. So it is in a busy server, where
 *        the fresh ones are new connections. */
static void age_fresh(P *p, int64_t k)
{
	G *gp;
	while (k-- > 0 && (gp = runq_get(&p->fresh)))
		runq_put(&p->runq, gp);
}

/* p runs what is due at v. Gs that have gathered wake nobody if p was done soon with the last ones: what another M would save
 * is less than its wake-up costs. Like WK-4, it is sysmon's matter should they take longer this time. */
static void run_due(M *m, P *p, P *v, int64_t now, bool gathered)
{
	if (load_acquire(&v->timers.minwhen) > now)
		return;
	bool any;
	if (!gathered || p->batchtook >= BATCH_LIGHT_NS) {
		any = gmp__runtimers(m, v, now);
	} else {
		uint32_t quiet = load_relaxed(&p->quiet);
		store_relaxed(&p->quiet, (uint32_t)HINT_IDLE);
		any = gmp__runtimers(m, v, now);
		store_relaxed(&p->quiet, quiet);
	}
	if (gathered && any) {
		p->batchat = now;
		store_relaxed(&sched.gathered, now);
	}
}

/* On g0. A busy P looks at its own timers: what is due queues up behind its work. One without work lets them gather, and serves
 * those of all. So does a busy one while nobody else would: some P is idle and no M polls (TM-8). Of Ps that are no more
 * (procresize) anybody may. */
static void due_timers(M *m, P *p, int64_t now, bool busy)
{
	int64_t until = busy ? 0 : gmp__gather_until(now);
	if (!busy && p->batchat) {
		p->batchtook = now - p->batchat;
		p->batchat = 0;
	}
	if (until > now)
		return;
	run_due(m, p, p, now, until > 0);
	bool all = !busy || (load_relaxed(&sched.npidle) > 0 && !load_relaxed(&sched.polling) && now - p->lookedat >= NETPOLL_BUSY_NS);
	if (all)
		p->lookedat = now;
	for (int i = all ? 0 : load_relaxed(&sched.procs), n = load_relaxed(&sched.nallp); i < n; i++)
		run_due(m, p, sched.allp[i], now, until > 0);
}

/* The next G for m, who holds a P; NULL when the run is over (the M may have lost its P then). */
static G *findrunnable(M *m)
{
	bool refused = false;
	for (;;) {
		gmp__safepoint(m);
		P *p = m->p;
		if (unlikely(load_acquire(&sched.done)))
			return NULL;
		if (unlikely(p->id >= load_relaxed(&sched.procs))) { /* procresize */
			G *gp;
			lock(&sched.lock);
			while ((gp = picknext(p)))
				gmp__globrunqput(gp);
			unlock(&sched.lock);
			gmp__wakep();
			if (!idle(m))
				return NULL;
			continue;
		}
		int64_t before = p->now, now = gmp__look_at_clock(p);
		if (load_relaxed(&p->quiet) && (now >= load_relaxed(&p->quietuntil) || now - before >= PAUSE_NS)) /* WK-4 */
			store_relaxed(&p->quiet, 0u);
		due_timers(m, p, now, p->runnext || p->runq.n + p->fresh.n);
		gmp__serve_request(p);
		G *gp;
		bool tick = p->ticks == 0;
		if (tick || p->ticks > sched.ticksinit) {
			p->ticks = sched.ticksinit;
			if (p->fresh.n == 0)
				p->freshsince = now;
			int64_t k = 0;
			if (now - p->slicestart >= gmp__debug.slice * 1000) {
				p->slicestart = now;
				k = 1 + (now - p->freshsince) / FRESH_AGE_NS;
			}
			if (p->schedtick - p->freshtick >= FRESH_ROUND) {
				if (!p->ranfresh)
					k = max_i64(k, FRESH_SHARE);
				p->freshtick = p->schedtick;
				p->ranfresh = false;
			}
			age_fresh(p, k);
			int64_t old = NETPOLL_BUSY_NS;
			if (p->runq.n >= LONG_QUEUE) /* how long what is found would wait, by the pace of the last round */
				old = min_i64(max_i64(old, min_i64(now - p->tickedat, 2 * NETPOLL_LONG_NS) * p->runq.n / sched.ticksinit), NETPOLL_LONG_NS);
			if (load_relaxed(&sched.multi))
				gmp__regroup(m, p, now);
			p->tickedat = now;
			if (!load_relaxed(&sched.solo))
				gmp__solo_look(m, p, now);
			if (load_relaxed(&sched.waitersnet) && now - load_relaxed(&sched.lastpoll) > old &&
			        !load_relaxed(&sched.polling)) {
				Queue q = {NULL, NULL};
				store_relaxed(&sched.lastpoll, now);
				gmp__injectlist(m, &q, gmp__netpoll(&q, 0));
			}
			if ((gp = gmp__globrunqget(p, GLOBRUNQ_SHARE)) || (gp = runq_get(&p->runq))) { /* before runnext: a pair that readies each other starves nobody */
				G *next = p->runnext;
				if (next) { /* nor is it passed over at each visit, however often they come */
					store_relaxed(&p->runnext, (G *)NULL);
					runq_put(&p->runq, next);
				}
				return gp;
			}
		}
		if ((gp = picknext(p)))
			return gp;
		if ((gp = gmp__globrunqget(p, GLOBRUNQ_BATCH)))
			return gp;
		if (load_relaxed(&sched.waitersnet)) {
			Queue q = {NULL, NULL};
			uint32_t n = gmp__netpoll(&q, 0);
			store_relaxed(&sched.lastpoll, now);
			if (n) {
				gmp__injectlist(m, &q, n);
				continue;
			}
		}
		if (load_relaxed(&sched.multi)) {
			uint8_t how;
			if ((gp = gmp__steal_work(m, p, now, &how)))
				return gp;
			if (load_relaxed(&m->revoke) & (uint32_t)RV_REVOKE)
				continue;
			/* Who woke this M may be about that still, in a system call; but not for ever. */
			if (how == SEARCH_VAIN || (how == SEARCH_REFUSED && refused))
				gmp__steal_vain(p);
			refused |= how == SEARCH_REFUSED;
		} else if (load_relaxed(&sched.nforeign) > 0 && (gp = gmp__foreign_await(m, p, now))) {
			return gp;
		}
		if (!idle(m))
			return NULL;
	}
}

/* ---- g0's loop --------------------------------------------------------------------------------------------------- */

static const uint32_t *fp_default(void)
{
	static uint32_t fp[2];
	static uint32_t known;
	if (!load_acquire(&known)) {
		gmp__fp_save(fp);
		store_release(&known, 1u);
	}
	return fp;
}

/* GMP_DEBUG=checkfp: gp, which has just left the thread, left its control words behind. Flags of past exceptions are nobody's
 * concern. gp is named only: it may be gone. */
static void check_fp(const G *gp)
{
#if defined(__x86_64__)
	static const uint32_t mask[2] = {0xffc0, 0xffff};
#elif defined(__riscv)
	static const uint32_t mask[2] = {0xe0, 0};
#else
	static const uint32_t mask[2] = {UINT32_MAX, 0};
#endif
	const uint32_t *was = fp_default();
	uint32_t fp[2] = {0, 0};
	gmp__fp_save(fp);
	for (int i = 0; i < 2; i++)
		if ((fp[i] ^ was[i]) & mask[i])
			gmp__throw("coroutine %llu has let go of its thread with floating-point control words 0x%x 0x%x, not 0x%x 0x%x: "
			           "gmp_attr.fpenv",
			        (unsigned long long)gp->id, fp[0], fp[1], was[0], was[1]);
}

static bool ensure_stack(P *p, G *gp)
{
	if (gp->stack || bindstack(p, gp))
		return true;
	static uint32_t failures;
	uint32_t n = fetch_add_relaxed(&failures, 1u);
	if (n == 0)
		gmp__warn("no memory for a coroutine's stack; waiting for others to end");
	if (n > 100000)
		gmp__throw("no memory for coroutine stacks (vm.max_map_count, vm.overcommit_memory, ulimit -v)");
	lock(&sched.lock);
	gmp__globrunqput(gp);
	unlock(&sched.lock);
	gmp__os_usleep(100 * 1000);
	return false;
}

/* Runs Gs until the run is over. m holds a P and is in the runtime. */
void gmp__schedule(M *m)
{
	for (;;) {
		if (m->lockedg)
			gmp__stoplockedm(m);
		G *gp;
		if (m->lockedg) {
			if (load_acquire(&sched.done))
				return;
			gp = m->lockedg;
			if (m->p->ticks == 0) /* TK-1: it comes straight back */
				m->p->ticks = 1;
		} else {
			if (m->exiting)
				return;
			if (!m->p) {
				gmp__stopm(m);
				if (!m->p)
					return;
			}
			gp = findrunnable(m);
			if (!gp)
				return;
		}
		P *p = m->p;
		if (m->spinning) {
			spin_end(m);
			if (p->runq.n + p->fresh.n) /* WK-2 */
				wake_for(p);
			else if (gmp__anything_queued())
				gmp__wakep();
		}
		if (unlikely(gp->flags & GF_LOCKED) && gp->ext->lockedm != m) {
			gmp__startlockedm(m, gp);
			continue;
		}
		if (!ensure_stack(p, gp))
			continue;
		if (intrudes(m))
			gmp__solo_intrude_g0(m);
		execute_prep(m, p, gp);
		m->land.unlock = &m->land.dummy;
		bool fpenv = gp->flags & GF_FPENV;
		if (unlikely(fpenv || gmp__debug.checkfp))
			(void)fp_default();
		if (unlikely(fpenv))
			gmp__fp_load(gp->ext->fp);
		(void)gmp__switch_c(&m->g0, &gp->ctx);
		/* gp may run elsewhere by now (PK-1). */
		if (unlikely(fpenv))
			gmp__fp_load(fp_default());
		else if (unlikely(gmp__debug.checkfp))
			check_fp(gp);
		store_relaxed(&m->curg, (G *)NULL);
		if (m->g0fn) {
			void (*fn)(M *, G *) = m->g0fn;
			m->g0fn = NULL;
			fn(m, m->g0arg);
		}
	}
}

/* ---- yielding ---------------------------------------------------------------------------------------------------- */

/* In general: g0 has to look round, something never ran, or a G is special. */
static outofline gmp__sw yield_slow(M *m, P *p, G *gp)
{
	if (p->ticks == 1 && p->runnext) { /* g0 will look at the queue first, and gp be in it */
		queue_push_head(&p->runq.q, &p->runnext->sg.link);
		store_relaxed(&p->runq.n, p->runq.n + 1);
		store_relaxed(&p->runnext, (G *)NULL);
	}
	if (p->fresh.n)
		runq_append(&p->runq, &p->fresh);
	gstatus(gp, Grunning, Grunnable);
	runq_put(&p->runq, gp);
	return switch_away(m, p, gp, &m->land.dummy);
}

gmp__sw gmp__yield(void)
{
	M *m = getm();
	if (unlikely(!m)) {
		gmp__os_osyield();
		return (gmp__sw){0, NULL};
	}
	m = enter_m(m);
	P *p = m->p;
	G *gp = m->curg;
	Link *h = p->runq.q.head;
	if (unlikely(p->ticks == 1 || p->fresh.q.head || p->runnext || (gp->flags & GF_VIAG0)))
		return yield_slow(m, p, gp);
	if (!h) { /* alone */
		p->ticks--;
		leave(m);
		return (gmp__sw){0, NULL};
	}
	G *next = link2g(h);
	if (unlikely((next->flags & GF_VIAG0) || !next->stack))
		return yield_slow(m, p, gp);
	/* The head runs, gp becomes the tail: the length stays. */
	p->ticks--;
	Link *l = &gp->sg.link, *second = h->next;
	l->next = NULL;
	if (second) {
		Link *tail = p->runq.q.tail;
		second->prev = NULL;
		p->runq.q.head = second;
		l->prev = tail;
		tail->next = l;
	} else {
		p->runq.q.head = l;
		l->prev = NULL;
	}
	p->runq.q.tail = l;
	gstatus(gp, Grunning, Grunnable);
	execute_prep(m, p, next);
	m->land.unlock = &m->land.dummy;
	return (gmp__sw){(intptr_t)&gp->ctx, &next->ctx};
}

static outofline void checkpoint_slow(M *m)
{
	m = enter_m(m);
	bool look = m->p->ticks <= 1;
	leave(m);
	if (look)
		(void)finish_sw(gmp__yield());
}

void gmp_checkpoint(void)
{
	M *m = getm();
	if (likely(m != NULL) && unlikely(load_relaxed(&m->revoke) & ~(uint32_t)RV_FENCE))
		checkpoint_slow(m);
}
