/* SPDX-License-Identifier: MIT
 * sysmon.c - the one thread that needs no P. It takes the P from an M that does not come back (a long computation, a
 * blocking call that nobody declared), and wakes whoever should have looked at timers, the network or a lonely G.
 *
 * No signal, no interruption: the M keeps its coroutine and goes on; it finds its P gone at its next runtime call (PO-5).
 *   SM-1 A P is retaken if one dispatch has lasted a time slice while something waits and no P is idle; earlier, if its
 *        thread sleeps in the kernel and has used (nearly) no CPU time meanwhile: then it is blocked.
 *   SM-2 It sleeps 20 us while something happens, up to 5 ms while nothing does (2 ms while a timer will be due in 10 ms, or
 *        some Ps are idle and some not: WK-4), and without limit (but for the ageing of stacks) when no P has had an owner for
 *        20 ms; acquirep wakes it then.
 *   SM-4 Ms ask the kernel for short slices, those who lost their P while they computed for the usual ones: so the M that
 *        wakes up for a socket or a timer gets the CPU from them at once, not at the next tick. Each has its share.
 *   SM-3 Work that waits at a P that does switch, though not often enough, is announced to an idle P (WK-4). */
#include "proc.h"
#include "netpoll.h"

enum {
	DELAY_MIN = 20 * 1000,
	DELAY_MAX = 10 * 1000 * 1000,
	DELAY_BUSY = 5 * 1000 * 1000, /* with DELAY_MAX a P could be retaken two slices late */
	DELAY_TIMERS = 2 * 1000 * 1000,
	QUIET_ROUNDS = 50,
};
static const int64_t DEEP_AFTER_NS = 20 * 1000 * 1000;
static const int64_t AGE_EVERY_NS = 1000 * 1000 * 1000;
/* How old the last look at the network may be: beside an M that does not switch, and in general. */
static const int64_t NETPOLL_STALE_NS = 1000 * 1000, NETPOLL_OLD_NS = 10 * 1000 * 1000;
static const int64_t BLOCKED_NS = 100 * 1000; /* shortest observation from which "uses no CPU" is concluded */
static const int64_t RETAKE_PATIENCE_NS = 50 * 1000;

static pthread_t thread;
static bool stop;

/* Changes with each dispatch, and when an M comes to the P: an idle P has not been slow. */
static uint64_t progress(const P *p) { return load_relaxed(&p->schedtick) + load_relaxed(&p->wirings); }

/* p's owner is in user code and stays there. True: the P works elsewhere now. */
static bool retake(P *p, uint64_t tick)
{
	lock(&sched.foreign); /* PO-7 */
	if (!gmp__revoke(p, NULL, RETAKE_PATIENCE_NS)) {
		unlock(&sched.foreign);
		return false;
	}
	M *m = p->m;
	if (progress(p) != tick || !load_relaxed(&m->curg)) { /* it has moved on, or is on g0 (PO-9) */
		gmp__unrevoke(p);
		unlock(&sched.foreign);
		return false;
	}
	lock(&sched.lock);
	store_release(&p->m, (M *)NULL);
	gmp__solo_release(p);
	store_relaxed(&p->status, (uint32_t)Pidle);
	store_release(&sched.ntransit, sched.ntransit + 1);
	unlock(&sched.lock);
	m->longslice = 1;
	(void)gmp__os_thread_slice(load_relaxed(&m->tid), 0);
	(void)fetch_or_seqcst(&m->revoke, RV_LOST); /* PO-5: before the revocation ends */
	(void)fetch_add_seqcst(&m->revoke, -(uint32_t)RV_ONE);
	unlock(&p->lock);
	fetch_add_relaxed(&sched.nhandoffs, 1);
	gmp__handoffp(p);
	unlock(&sched.foreign);
	return true;
}

/* CPU time of p's owner m; -1: it is not that any more, or nothing is known. Under the lock its thread cannot end (MX-1). */
static int64_t cputime_of(P *p, M *m)
{
	int64_t cpu = -1;
	lock(&sched.lock);
	if (load_relaxed(&p->m) == m) {
		pthread_t t = load_relaxed(&m->thread);
		cpu = t ? gmp__os_thread_cputime(t) : -1;
	}
	unlock(&sched.lock);
	return cpu;
}

/* What a look has found. */
typedef struct Seen {
	bool did;     /* something was done */
	bool stands;  /* some M has not switched since the last look, so it may miss a timer or the network */
	int64_t next; /* when to look again at the latest, for the sake of those who wait for a P */
	uint64_t progress; /* of all Ps */
} Seen;

/* One look at every P. */
static Seen look(int64_t now)
{
	Seen r = {.next = INT64_MAX};
	int n = load_acquire(&sched.nallp);
	int64_t due = max_i64(gmp__timers_min(), gmp__gather_until(now));
	bool others = load_relaxed(&sched.runq.n) > 0 || due <= now;
	for (int i = 0; i < n; i++) {
		P *p = sched.allp[i];
		M *m = load_acquire(&p->m);
		uint64_t tick = progress(p);
		r.progress += tick;
		/* On g0 it looks at everything itself, and keeps its P (PO-9). */
		if (!m || !load_relaxed(&m->curg) || tick != p->sysmontick || p->sysmonwhen == 0) {
			if (m && p->sysmonwhen && load_relaxed(&sched.npidle) > 0 && load_relaxed(&sched.nmspinning) == 0 &&
			        gmp__worth_waking(p, tick - p->sysmontick, now - p->sysmonwhen, now))
				gmp__wakep(); /* SM-3; no cause to come back soon */
			p->sysmontick = tick;
			p->sysmonwhen = now;
			p->sysmoncpu = -1;
			continue;
		}
		r.stands = true;
		bool lone = load_relaxed(&p->runq.n) + load_relaxed(&p->fresh.n) == 0;
		if (lone && !load_relaxed(&p->runnext) && !others)
			continue;
		bool left = lone && !others && now < load_relaxed(&p->lockafter); /* judge_lock, steal.c */
		if (load_relaxed(&sched.npidle) > 0 && !left && i < load_relaxed(&sched.procs) && gmp__debug.steal) { /* WK-4: others steal, timers too */
			if (load_relaxed(&sched.nmspinning) == 0) {
				store_relaxed(&p->calledat, work_ticks(p));
				gmp__wakep();
				r.did = true;
			}
			continue;
		}
		int64_t end = p->sysmonwhen + gmp__debug.slice * 1000;
		bool take = now >= end;
		if (!take) {
			r.next = min_i64(r.next, min_i64(end, now + BLOCKED_NS / 2));
			int64_t cpu = cputime_of(p, m);
			if (p->sysmoncpu < 0) {
				p->sysmoncpu = cpu;
				p->sysmoncpuwhen = now;
			} else if (now - p->sysmoncpuwhen >= BLOCKED_NS) {
				take = cpu >= 0 && cpu - p->sysmoncpu < (now - p->sysmoncpuwhen) / 16 &&
				        gmp__os_thread_sleeps(load_relaxed(&m->tid)); /* and does not just lack a CPU */
				p->sysmoncpu = cpu;
				p->sysmoncpuwhen = now;
			}
		}
		if (take && retake(p, tick)) {
			p->sysmonwhen = 0;
			r.did = true;
		}
	}
	return r;
}

static bool poll_stale(int64_t now, bool stands)
{
	if (!load_relaxed(&sched.waitersnet) || load_relaxed(&sched.polling) ||
	        now - load_relaxed(&sched.lastpoll) <= (stands ? NETPOLL_STALE_NS : NETPOLL_OLD_NS))
		return false;
	store_relaxed(&sched.lastpoll, now);
	Queue q = {NULL, NULL};
	uint32_t n = gmp__netpoll(&q, 0);
	gmp__injectlist(NULL, &q, n);
	return n > 0;
}

static void *sysmon(void *arg)
{
	(void)arg;
	(void)gmp__os_thread_slice(gmp__os_gettid(), M_SLICE_NS);
	int64_t delay = DELAY_MIN, idlesince = 0, traced = gmp__os_now(), ages = 0;
	int quiet = 0;
	uint64_t progressed = 0;
	Seen seen = {.next = INT64_MAX};
	while (!load_acquire(&stop)) {
		int64_t now = gmp__os_now();
		int64_t until = now + delay;
		bool allidle = load_relaxed(&sched.npidle) == (uint32_t)load_relaxed(&sched.procs);
		int64_t due = max_i64(gmp__timers_min(), gmp__gather_until(now));
		if (!allidle) {
			idlesince = 0;
			bool net = load_relaxed(&sched.waitersnet) && !load_relaxed(&sched.polling);
			if (net)
				until = max_i64(min_i64(until, load_relaxed(&sched.lastpoll) + NETPOLL_OLD_NS), now + DELAY_MIN);
			if (net && seen.stands)
				due = min_i64(due, load_relaxed(&sched.lastpoll) + NETPOLL_STALE_NS);
			if (seen.stands && due < until)
				until = max_i64(due, now + DELAY_MIN);
			until = min_i64(until, seen.next);
		} else if (idlesince == 0 || seen.progress != progressed) { /* not idle all the time */
			idlesince = now;
		} else if (now - idlesince > DEEP_AFTER_NS) {
			until = gmp__debug.schedtrace ? min_i64(ages, traced + gmp__debug.schedtrace * 1000000) : ages;
			store_seqcst(&sched.sysmonsleep, 1u);
			if (load_seqcst(&sched.npidle) != (uint32_t)load_relaxed(&sched.procs))
				until = now; /* somebody has just begun to run, and did not see sysmonsleep */
		}
		progressed = seen.progress;
		(void)gmp__notesleep(&sched.sysmonnote, until);
		if (load_relaxed(&sched.sysmonsleep)) { /* most often for a moment's work: it backs off at once */
			store_seqcst(&sched.sysmonsleep, 0u);
			delay = DELAY_MIN;
			quiet = QUIET_ROUNDS;
		}
		now = gmp__os_now();
		store_relaxed(&sched.coarse_ms, (uint32_t)(now / 1000000));
		if (gmp__debug.schedtrace && now - traced >= gmp__debug.schedtrace * 1000000) {
			traced = now;
			gmp__schedtrace(gmp__debug.scheddetail != 0);
		}
		if (ages <= now)
			ages = gmp__stack_age(now);
		else if (ages == INT64_MAX && !allidle)
			ages = now + AGE_EVERY_NS;
		gmp__m_reap();
		seen = look(now);
		if (poll_stale(now, seen.stands))
			seen = look(now); /* for whom a P is wanted now */
		if (seen.did) {
			delay = DELAY_MIN;
			quiet = 0;
		} else if (++quiet > QUIET_ROUNDS) {
			bool soon = due - now < DELAY_MAX || load_relaxed(&sched.npidle);
			bool rests = allidle && !load_relaxed(&sched.gather); /* TM-7: those who gather wake nobody */
			int64_t max = rests ? DELAY_MAX : soon ? DELAY_TIMERS : DELAY_BUSY;
			delay = min_i64(delay * 2, max);
		}
	}
	return NULL;
}

int gmp__sysmon_start(void)
{
	store_relaxed(&stop, false);
	store_relaxed(&sched.sysmonsleep, 0u);
	store_relaxed(&sched.sysmonnote.key, 0u);
	if (!gmp__debug.sysmon)
		return 0;
	return gmp__os_thread_new(&thread, sysmon, NULL, 256 * 1024, "gmp-sysmon");
}

void gmp__sysmon_stop(void)
{
	store_release(&stop, true);
	if (!gmp__debug.sysmon)
		return;
	gmp__notewakeup(&sched.sysmonnote);
	(void)pthread_join(thread, NULL);
}

/* Somebody begins to run, or a timer came, while sysmon may be in deep sleep. */
void gmp__sysmon_wake(void)
{
	if (load_seqcst(&sched.sysmonsleep))
		gmp__notewakeup(&sched.sysmonnote);
}
