/* SPDX-License-Identifier: MIT
 * m.c - OS threads: starting, putting to sleep, waking with a P in hand, handing a P on, threads locked to a coroutine. */
#include "proc.h"
#include "fault.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { M_STACK = 256 * 1024 }; /* g0 runs the scheduler, timers' callbacks and getaddrinfo-like libc calls of users never */

static M m0;

static void m_init(M *m)
{
	m->land.dummy = 0;
	m->land.inrt = 1; /* PO-6 */
	m->land.unlock = &m->land.dummy;
#if SAN_BUILD
	m->sanland.unlock = &m->land.dummy;
#endif
	m->g0land.unlock = &m->land.dummy;
#if SAN_BUILD
	m->g0.m = &m->sanland;
#else
	m->g0.m = &m->g0land;
#endif
	m->revoke = load_relaxed(&sched.hints) & HINT_FENCE ? RV_FENCE : 0;
}

/* sched.lock is held. */
static void m_register(M *m)
{
	m->id = sched.mnext++;
	m->alllink = sched.allm;
	sched.allm = m;
	store_relaxed(&sched.mcount, sched.mcount + 1);
}

/* On m's thread. */
static void m_san_begin(M *m)
{
#if SAN_BUILD
	void *lo;
	size_t size;
	gmp__os_thread_stack(&lo, &size);
	gmp__san_fiber_thread(&m->san, lo, size);
#else
	(void)m;
#endif
}

/* The calling thread becomes M0. */
M *gmp__m0_init(void)
{
	memset(&m0, 0, sizeof m0);
	m_init(&m0);
	m0.is_m0 = 1;
	m0.thread = pthread_self();
	m0.tid = gmp__os_gettid();
	m_san_begin(&m0);
	lock(&sched.lock);
	m_register(&m0);
	unlock(&sched.lock);
	return &m0;
}

/* sched.lock is held: the thread is at the limit or cannot be had. Said once. */
static void no_thread(const char *why)
{
	if (!sched.threadwarned) {
		sched.threadwarned = 1;
		gmp__warn("%s: going on with %u threads, blocked ones are not replaced", why, sched.mcount);
	}
}

/* The run is over for m. A P that it kept would never be stopped again, but foreign threads may still try (PO-8). */
void gmp__m_leave(M *m)
{
	lock(&sched.lock);
	if (m->p)
		gmp__pidleput(gmp__releasep(m));
	unlock(&sched.lock);
}

/* sched.lock is held. */
static void m_unregister(M *m)
{
	for (M **mm = &sched.allm; *mm; mm = &(*mm)->alllink)
		if (*mm == m) {
			*mm = m->alllink;
			break;
		}
}

/* MX-1 Ms are type-stable while a run is up: a foreigner, a waker or sysmon may still hold the M that a P had a moment ago.
 *      They touch revoke, inrt, park and thread only; so a reused M keeps its revoke count, and who is late adds an old
 *      wake-up or a request to look round. A thread's handle is used under sched.lock while the M has a P, or by whoever
 *      joins it.
 * MX-2 A thread that goes puts its M on sched.mgone with its last access to it; whoever finds the thread ended takes the M
 *      off: nobody waits for a thread, which may run destructors of the program's, that may call into the runtime. */

/* m's coroutine ended while locked to it: on m's thread. */
static void m_go(M *m)
{
	lock(&sched.lock);
	P *p = m->p ? gmp__releasep(m) : NULL;
	store_relaxed(&sched.mcount, sched.mcount - 1);
	unlock(&sched.lock);
	if (p)
		gmp__handoffp(p);
	gmp__setm(NULL);
	gmp__fault_thread_exit();
	lock(&sched.lock);
	if (!sched.done) { /* else it is joined with the others */
		m_unregister(m);
		m->alllink = sched.mgone;
		store_relaxed(&sched.mgone, m);
	}
	unlock(&sched.lock);
}

/* sched.lock is held. */
static void m_reap(void)
{
	for (M **mm = &sched.mgone, *m; (m = *mm) != NULL;) {
		if (!load_acquire(&m->started) || !gmp__os_thread_tryjoin(m->handle)) {
			mm = &m->alllink;
			continue;
		}
		store_relaxed(mm, m->alllink);
		m->alllink = sched.mfree;
		sched.mfree = m;
	}
}

void gmp__m_reap(void)
{
	if (!load_relaxed(&sched.mgone))
		return;
	lock(&sched.lock);
	m_reap();
	unlock(&sched.lock);
}

/* sched.lock is held. NULL: no memory. */
static M *m_new(void)
{
	m_reap();
	M *m = sched.mfree;
	if (!m) {
		m = gmp__os_zalloc_apart(sizeof *m);
		if (m)
			m_init(m);
		return m;
	}
	sched.mfree = m->alllink;
	(void)fetch_and_seqcst(&m->revoke, ~(uint32_t)(RV_LOST | RV_ATTN)); /* MX-1 */
	m->exiting = m->spinning = m->insyscall = m->lockedready = m->longslice = 0;
	m->oldp = NULL;
	store_relaxed(&m->lockedg, (G *)NULL);
	m->g0fn = NULL;
	store_relaxed(&m->thread, (pthread_t)0);
	store_relaxed(&m->tid, (uint64_t)0);
	store_relaxed(&m->started, 0u);
	return m;
}

static void *m_main(void *arg)
{
	M *m = arg;
	gmp__setm(m);
	store_relaxed(&m->thread, pthread_self());
	store_relaxed(&m->tid, gmp__os_gettid());
	(void)gmp__os_thread_slice(m->tid, M_SLICE_NS);
	(void)gmp__fault_thread_init();
	m_san_begin(m);
	(void)pthread_sigmask(SIG_SETMASK, &sched.sigmask, NULL);
	gmp__schedule(m);
	if (m->exiting) {
		m_go(m);
		return NULL;
	}
	gmp__m_leave(m);
	gmp__setm(NULL);
	gmp__fault_thread_exit();
	return NULL;
}

void *gmp__mstart(void *m) { return m_main(m); }

/* p is idle, off the list, nobody's. Gives it to a sleeping M, or a new one; puts it back when there is none. */
void gmp__startm(P *p, bool spinning)
{
	lock(&sched.lock);
	M *m = sched.stw || sched.done ? NULL : sched.midle;
	if (m) {
		sched.midle = m->idlelink;
		store_relaxed(&sched.nmidle, sched.nmidle - 1);
		store_relaxed(&m->spinning, (uint8_t)spinning);
		gmp__acquirep(m, p);
		(void)fetch_add_seqcst(&sched.mstarting, 1u);
		unlock(&sched.lock);
		gmp__notewakeup(&m->park);
		(void)fetch_add_seqcst(&sched.mstarting, -1u);
		return;
	}
	const char *why = NULL;
	m = NULL;
	if (sched.stw) {
		/* PO-8: startworld looks at the global queue */
	} else if ((int32_t)sched.mcount >= sched.maxm) {
		why = "at the limit of threads (max_threads)";
	} else if (sched.done || !(m = m_new())) {
		why = sched.done ? NULL : "no memory for a thread";
	} else {
		m_register(m);
		(void)fetch_add_seqcst(&sched.mstarting, 1u);
		store_relaxed(&m->spinning, (uint8_t)spinning);
		gmp__acquirep(m, p);
		unlock(&sched.lock);
		int e = gmp__os_thread_new(&m->handle, gmp__mstart, m, M_STACK, "gmp");
		if (e == 0) {
			store_release(&m->started, 1u);
			(void)fetch_add_seqcst(&sched.mstarting, -1u);
			return;
		}
		lock(&sched.lock);
		(void)fetch_add_seqcst(&sched.mstarting, -1u);
		(void)gmp__releasep(m);
		store_relaxed(&sched.mcount, sched.mcount - 1);
		m_unregister(m);
		m->alllink = sched.mfree;
		sched.mfree = m;
		why = "no more threads from the system";
	}
	if (why)
		no_thread(why);
	/* Work that only this P had goes to everyone. */
	G *gp;
	while ((gp = picknext(p)))
		gmp__globrunqput(gp);
	gmp__pidleput(p);
	if (spinning)
		(void)fetch_add_seqcst(&sched.nmspinning, -1u);
	gmp__checkdone(); /* the caller may be an M that goes */
	unlock(&sched.lock);
}

/* A wake-up may be left over from a P that came before m slept: what counts is the P. */
static void sleep_for_p(M *m)
{
	do
		(void)gmp__notesleep(&m->park, INT64_MAX);
	while (!load_acquire(&m->p) && !load_acquire(&sched.done));
}

/* The M has no P. Sleeps until startm gives it one, or the run is over. */
void gmp__stopm(M *m)
{
	lock(&sched.lock);
	if (sched.done) {
		unlock(&sched.lock);
		return;
	}
	bool work = sched.runq.n > 0; /* WK-5: queued while this M was on its way */
	/* TM-9: startm may have got no thread, and put a P back, while this M polled no more and was not to be had yet. */
	if (!work && sched.threadwarned && !load_seqcst(&sched.polling))
		work = load_seqcst(&sched.waitersnet) || gmp__timers_min() != INT64_MAX;
	if (work) {
		P *p = gmp__pidleget();
		if (p) {
			gmp__acquirep(m, p);
			unlock(&sched.lock);
			return;
		}
	}
	m->idlelink = sched.midle;
	sched.midle = m;
	store_relaxed(&sched.nmidle, sched.nmidle + 1);
	gmp__checkdone();
	unlock(&sched.lock);
	sleep_for_p(m);
}

/* p was just taken from an M that went away with its G. It is idle, off the list, nobody's; it may have work. */
void gmp__handoffp(P *p)
{
	int64_t min = load_acquire(&p->timers.minwhen);
	bool work = load_relaxed(&p->runnext) || p->runq.n || p->fresh.n || load_relaxed(&sched.runq.n);
	/* Timers, the network, the deadlock report: somebody has to look after them if nobody else is up. */
	bool lookout = load_relaxed(&sched.nmspinning) == 0 && !load_seqcst(&sched.polling) &&
	        (min != INT64_MAX || load_relaxed(&sched.waitersnet) || load_relaxed(&sched.npidle) + 1 == (uint32_t)sched.procs);
	if (work || lookout) {
		gmp__startm(p, false);
		return;
	}
	lock(&sched.lock);
	gmp__pidleput(p);
	gmp__checkdone(); /* m_go: the last G may have ended with its M */
	unlock(&sched.lock);
	bool again = gmp__anything_queued(); /* while all were busy, nobody was woken for it: WK-1 */
	min = gmp__timers_min();
	if (!load_seqcst(&sched.polling)) /* TM-9: whom it relied on may have found no P, and sleep */
		again |= min != INT64_MAX || load_seqcst(&sched.waitersnet);
	else if (min < load_seqcst(&sched.polluntil))
		gmp__netpoll_break();
	if (again)
		gmp__wakep();
}

/* ---- coroutines locked to a thread -------------------------------------------------------------------------------- */

/* LM-1 Whoever finds a G that is locked to M lm sets lm->lockedready, under sched.lock, and sees to it that lm has a P: its
 *      own, if it has not let go of that since the G parked or queued up, else the finder's. lm looks at lockedready before it
 *      lets go of a P and before it sleeps. */

/* m, whose lockedg is not running, waits until somebody found that G. */
void gmp__stoplockedm(M *m)
{
	lock(&sched.lock);
	if (m->p && !m->lockedready) {
		P *p = gmp__releasep(m);
		unlock(&sched.lock);
		gmp__handoffp(p);
		lock(&sched.lock);
	}
	if (!sched.done && !m->lockedready) {
		store_relaxed(&sched.nlockedidle, sched.nlockedidle + 1);
		gmp__checkdone();
		unlock(&sched.lock);
		sleep_for_p(m);
		lock(&sched.lock);
		store_relaxed(&sched.nlockedidle, sched.nlockedidle - 1);
	}
	m->lockedready = 0;
	unlock(&sched.lock);
}

/* m picked gp, which belongs to another M. */
void gmp__startlockedm(M *m, G *gp)
{
	M *lm = gp->ext->lockedm;
	lock(&sched.lock);
	if (lm->p) {
		lm->lockedready = 1;
		unlock(&sched.lock);
		return;
	}
	P *p = m->p;
	if (sched.stw) { /* PO-8 */
		do
			gmp__globrunqput(gp);
		while ((gp = picknext(p)));
		(void)gmp__releasep(m);
		gmp__pidleput(p);
		unlock(&sched.lock);
		return;
	}
	(void)gmp__releasep(m);
	gmp__acquirep(lm, p);
	lm->lockedready = 1;
	unlock(&sched.lock);
	gmp__notewakeup(&lm->park);
}

void gmp_lock_thread(void)
{
	M *m = getm();
	if (!m)
		return;
	m = enter_m(m);
	G *gp = m->curg;
	GExt *x = gmp__gext(gp);
	if (!x)
		gmp__throw("gmp_lock_thread: no memory");
	if (x->lockcount++ == 0) {
		x->lockedm = m;
		store_relaxed(&m->lockedg, gp);
		store_relaxed(&gp->flags, (uint16_t)(gp->flags | GF_LOCKED));
	}
	leave(m);
}

void gmp_unlock_thread(void)
{
	M *m = getm();
	if (!m)
		return;
	m = enter_m(m);
	G *gp = m->curg;
	if (gp->ext && gp->ext->lockcount && --gp->ext->lockcount == 0) {
		store_relaxed(&gp->flags, (uint16_t)(gp->flags & ~GF_LOCKED));
		gp->ext->lockedm = NULL;
		store_relaxed(&m->lockedg, (G *)NULL);
	}
	leave(m);
}

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

/* sched.done is set, sysmon has gone. Waits for all threads but the caller's. Their Ms stay for now: their likes, and a
 * foreign thread that is stopping the world just now, look at them without a lock. */
void gmp__m_exit_all(void)
{
	while (load_seqcst(&sched.mstarting)) /* somebody is not done with an M that he woke or started; none follow */
		gmp__os_osyield();
	lock(&sched.lock);
	M *lists[] = {sched.allm, sched.mgone};
	sched.allm = NULL;
	store_relaxed(&sched.mgone, (M *)NULL);
	unlock(&sched.lock);
	for (size_t i = 0; i < nelem(lists); i++)
		for (M *m = lists[i]; m; m = m->alllink) {
			if (m->is_m0)
				continue;
			gmp__notewakeup(&m->park);
			(void)pthread_join(m->handle, NULL);
		}
	lock(&sched.lock);
	for (size_t i = 0; i < nelem(lists); i++)
		for (M *m = lists[i], *next; m; m = next) {
			next = m->alllink;
			if (m->is_m0)
				continue;
			m->alllink = sched.mfree;
			sched.mfree = m;
		}
	store_relaxed(&sched.mcount, 0u);
	sched.midle = NULL;
	store_relaxed(&sched.nmidle, 0u);
	unlock(&sched.lock);
}

/* sched.foreign is held and no run is up: nobody looks at the Ms of the past one any more. */
void gmp__m_free_all(void)
{
	while (sched.mfree) {
		M *m = sched.mfree;
		sched.mfree = m->alllink;
		free(m);
	}
}
