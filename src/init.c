/* SPDX-License-Identifier: MIT
 * init.c - the beginning and the end of a run: gmp_run, gmp_start, gmp_stop, gmp_shutdown, fork. */
#include "proc.h"
#include "fault.h"
#include "netpoll.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static Lock runlock;       /* serialises starts and stops */
static bool atfork_done;
static bool in_run;        /* a gmp_run holds it */
static bool cancelled_all; /* this run ends by gmp_shutdown */

int64_t gmp_now(void) { return gmp__os_now(); }

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void forget(G *gp, void *arg)
{
	(void)arg;
	store_relaxed(&gp->status, (uint8_t)Gidle);
	gp->joinlock = 0; /* somebody may have been at it */
}

/* In the child: one thread, which is a foreign thread now. The parent's coroutines do not exist here; their memory is
 * left alone, since the forking thread may still stand on one of the stacks. */
static void fork_child(void)
{
	sched.lock.key = sched.foreign.key = runlock.key = 0; /* of threads that do not exist here */
	gmp__local_fork_child();
	gmp__signal_fork_child();
	in_run = false;
	sched.nhold = 0;
	if (sched.state == ST_DOWN)
		return;
	sched.state = ST_FORKED;
	gmp__setm(NULL);
	gmp__stack_fork_child();
	for (int i = 0; i < sched.nallp; i++) {
		P *p = sched.allp[i];
		p->lock.key = 0;
		memset(&p->timers, 0, sizeof p->timers); /* somebody may have been at work on them: their memory is lost */
		p->timers.minwhen = INT64_MAX;
		memset(&p->stacks, 0, sizeof p->stacks);
		p->ngfree = 0;
	}
	memset(&sched.gfree, 0, sizeof sched.gfree);
	sched.gfull = sched.gempty = sched.gopen = NULL;
	gmp__g_foreach(forget, NULL);
	sched.allm = sched.mgone = NULL;
	sched.midle = NULL;
	sched.mstarting = 0;
	sched.stw = 0;
	sched.barrier = 0;
	sched.solo = 0;
	sched.solop = NULL;
	gmp__foreign_newrun();
}

/* ---- last words ---------------------------------------------------------------------------------------------------- */

/* In a signal handler: whose stack is s? The faulting thread runs it, so its M says so. */
static bool describe(Stack *s, FaultInfo *out)
{
	M *m = getm();
	G *gp = m ? m->curg : NULL;
	if (!gp || gp->stack != s)
		return false;
	*out = (FaultInfo){gp->id, gp->ext ? gp->ext->name : NULL, (void *)load_relaxed(&gp->fn), gp->spawnpc};
	return true;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static int config_procs(const gmp_config *cfg)
{
	if (cfg->procs)
		return cfg->procs;
	const char *e = getenv("GMP_PROCS");
	if (e && *e) {
		char *end;
		long n = strtol(e, &end, 10);
		if (*end == 0 && n >= 1 && n <= MAXPROCS)
			return (int)n;
		gmp__warn("GMP_PROCS=%s is no number from 1 to %d: ignored", e, MAXPROCS);
	}
	int n = gmp__debug.ncpu > 0 ? (int)gmp__debug.ncpu : gmp__os_ncpu();
	return n > MAXPROCS ? MAXPROCS : n;
}

static void reset_p(P *p)
{
	p->runnext = NULL;
	memset(&p->runq, 0, sizeof p->runq);
	memset(&p->fresh, 0, sizeof p->fresh);
	p->m = NULL;
	store_relaxed(&p->status, (uint32_t)Pdead);
	p->stealreq = 0;
	memset(&p->gift, 0, sizeof p->gift);
	memset(&p->giftfresh, 0, sizeof p->giftfresh);
	p->rand = gmp__p_seed(p->id); /* Ps outlive runs */
	p->sysmonwhen = 0;
	p->nspawned = p->nended = p->nparks = p->nreadies = p->nsteals = 0;
	store_relaxed(&p->schedtick, (uint64_t)0);
}

/* runlock is held. Everything of sched that belongs to one run. */
static int setup(const gmp_config *cfg, bool embedded)
{
	static const gmp_config defaults;
	if (!cfg)
		cfg = &defaults;
	if (cfg->procs < 0 || cfg->procs > MAXPROCS || cfg->max_threads < 0 || cfg->max_threads == 1 ||
	        cfg->stack_size > ((size_t)1 << 30) || (cfg->stack_size && cfg->stack_size < 16 * 1024))
		return -EINVAL;
	for (size_t i = 0; i < nelem(cfg->reserved); i++)
		if (cfg->reserved[i])
			return -EINVAL;
	if (load_relaxed(&sched.state) == ST_UP)
		return -EBUSY;
	if (!atfork_done) {
		if (pthread_atfork(NULL, NULL, fork_child) != 0)
			return -ENOMEM;
		atfork_done = true;
	}
	gmp__debugvars_init();
	gmp__throw_hook = gmp__dump_fatal;
	gmp__fault_describe = describe;
	bool fence = TSAN_BUILD || !gmp__debug.membarrier || !gmp__os_membarrier_init();
	lock(&sched.foreign);
	gmp__foreign_newrun();
	lock(&sched.lock);
	store_relaxed(&sched.hints, (fence ? (uint32_t)HINT_FENCE : 0u) | (gmp__debug.runnext ? 0u : (uint32_t)HINT_TAIL));
	sched.cfg = *cfg;
	(void)pthread_sigmask(SIG_BLOCK, NULL, &sched.sigmask);
	sched.seed = cfg->seed ? cfg->seed : gmp__os_random();
	sched.maxm = cfg->max_threads ? cfg->max_threads : 10000;
	sched.runahead = gmp__debug.runahead > 0 ? (uint32_t)min_i64(gmp__debug.runahead, UINT32_MAX) : UINT32_MAX;
	sched.ticksinit = gmp__debug.checkfp ? 1 /* g0 looks at each switch */ :
	                  gmp__debug.tick > 0 ? (uint32_t)min_i64(gmp__debug.tick, 1 << 30) : 61;
	sched.embedded = embedded;
	sched.starting = !embedded;
	sched.done = sched.deadlocked = sched.threadwarned = 0;
	sched.npidle = sched.nmidle = sched.mcount = sched.nlockedidle = sched.ntransit = 0;
	sched.pidle = NULL;
	sched.midle = sched.allm = sched.mgone = sched.mfree = NULL;
	sched.mnext = 0;
	memset(&sched.runq, 0, sizeof sched.runq);
	sched.nspawned = sched.nended = sched.nbarriers = sched.nhandoffs = sched.npolls = sched.nwakes = 0;
	sched.nforeignreadies = 0;
	sched.nstanding = 0;
	sched.nmspinning = sched.polling = 0;
	sched.waitersnet = 0;
	sched.polluntil = sched.gather = sched.gatherat = sched.gathered = 0;
	sched.gatherpopped = 0;
	sched.pollshort = 0;
	sched.pollvain = sched.pollskip = 0;
	sched.donenote.key = 0;
	sched.procs = 0;
	for (int i = 0; i < sched.nallp; i++)
		reset_p(sched.allp[i]);
	unlock(&sched.lock);
	int64_t now = gmp__os_now();
	sched.starttime = sched.lastpoll = now;
	store_relaxed(&sched.coarse_ms, (uint32_t)(now / 1000000));
	int procs = config_procs(cfg);
	int e = gmp__stack_init(cfg->stack_size);
	if (e == 0)
		e = gmp__netpoll_init();
	if (e == 0)
		e = gmp__procresize(procs);
	if (e == 0)
		e = gmp__fault_init();
	if (e == 0) {
		gmp__solo_init();
		gmp__regroup_init();
		store_relaxed(&cancelled_all, false);
		store_release(&sched.state, ST_UP);
	}
	unlock(&sched.foreign);
	return e;
}

/* runlock is held, all threads but the caller's have gone. */
static void teardown(void)
{
	lock(&sched.foreign);
	store_release(&sched.state, ST_DOWN);
	store_relaxed(&sched.solo, (uint8_t)0);
	store_relaxed(&sched.solop, (P *)NULL);
	for (int i = 0; i < sched.nallp; i++) {
		P *p = sched.allp[i];
		gmp__timers_clear(p);
		gmp__stack_cache_flush(&p->stacks);
		p->m = NULL;
	}
	gmp__m_free_all();
	gmp__g_end_run();
	gmp__stack_trim();
	gmp__fault_exit();
	unlock(&sched.foreign);
}

/* A P for m, or for a new M. There may be none: foreign threads take part already, and have started Ms. */
static void first_p(M *m)
{
	lock(&sched.foreign); /* PO-8: nobody stops the world meanwhile */
	lock(&sched.lock);
	P *p = gmp__pidleget();
	if (p && m)
		gmp__acquirep(m, p);
	unlock(&sched.lock);
	if (p && !m)
		gmp__startm(p, false);
	unlock(&sched.foreign);
	if (p && m && intrudes(m)) /* it spawns before it schedules */
		gmp__solo_intrude_g0(m);
}

/* ---- the end of all ------------------------------------------------------------------------------------------------ */

static void cancel_one(G *gp, void *m)
{
	uint8_t s = load_relaxed(&gp->status);
	if (s != Gidle && s != Gdead)
		gmp__cancel_locked(m, gp);
}

/* Every coroutine, those to come included (CA-3). */
static void cancel_all(void)
{
	M *m = gmp__foreign_enter();
	if (sched.state == ST_UP) {
		(void)fetch_or_seqcst(&sched.hints, HINT_ENDING);
		store_relaxed(&cancelled_all, true);
		gmp__stopworld();
		gmp__g_foreach(cancel_one, m);
		gmp__startworld();
	}
	gmp__foreign_leave(m);
}

/* ---- gmp_run ----------------------------------------------------------------------------------------------------- */

int gmp_run(gmp_fn *fn, void *arg, const gmp_config *cfg)
{
	if (!fn)
		return -EINVAL;
	if (getm())
		return -EBUSY;
	if (!trylock(&runlock))
		return -EBUSY;
	store_release(&in_run, true);
	int e = setup(cfg, false);
	if (e) {
		store_release(&in_run, false);
		unlock(&runlock);
		return e;
	}
	M *m = gmp__m0_init();
	gmp__setm(m);
	e = gmp__fault_thread_init();
	int64_t slice = gmp__os_thread_slice(m->tid, M_SLICE_NS);
	first_p(m);
	bool watched = e == 0 && (e = gmp__sysmon_start()) == 0;
	leave(m);
	if (e == 0)
		e = gmp__newproc(NULL, NULL, fn, arg, (void *)fn, NULL, 0, NULL);
	if (e)
		cancel_all(); /* foreign threads may have spawned, and started Ms: to its end with that, too */
	(void)enter_m(m); /* g0 is in the runtime always */
	lock(&sched.lock);
	sched.starting = 0;
	unlock(&sched.lock);
	gmp__schedule(m);
	gmp__m_leave(m);
	if (watched)
		gmp__sysmon_stop();
	gmp__m_exit_all();
	(void)gmp__os_thread_slice(m->tid, slice);
	if (e == 0 && sched.deadlocked)
		e = -EDEADLK;
	else if (e == 0 && load_relaxed(&cancelled_all))
		e = -ECANCELED;
	gmp__setm(NULL);
	gmp__fault_thread_exit();
	teardown();
	store_release(&in_run, false);
	unlock(&runlock);
	return e;
}

/* ---- gmp_start, gmp_stop ----------------------------------------------------------------------------------------- */

int gmp_start(const gmp_config *cfg)
{
	if (getm() || !trylock(&runlock))
		return -EBUSY;
	int e = setup(cfg, true);
	if (e) {
		unlock(&runlock);
		return e;
	}
	e = gmp__sysmon_start();
	bool watched = e == 0;
	if (e == 0)
		first_p(NULL);
	lock(&sched.lock);
	if (e == 0 && sched.mcount == 0)
		e = -EAGAIN;
	if (e)
		gmp__end_run(); /* foreign threads may have started Ms already */
	unlock(&sched.lock);
	if (e) {
		if (watched)
			gmp__sysmon_stop();
		gmp__m_exit_all();
		teardown();
	}
	unlock(&runlock);
	return e;
}

void gmp_shutdown(void) { cancel_all(); }

/* Coroutines left, at least 1: the run is not over. */
static int left(void)
{
	lock(&sched.lock);
	uint64_t n = gmp__glive();
	unlock(&sched.lock);
	return n < 1 ? 1 : n > INT_MAX ? INT_MAX : (int)n;
}

int gmp_stop(int64_t deadline)
{
	if (getm())
		return -EDEADLK;
	while (!trylock(&runlock)) { /* gmp_start, or another one who stops */
		if (load_acquire(&in_run))
			return -ESRCH;
		if (gmp__os_now() >= deadline)
			return left();
		gmp__os_usleep(100 * 1000);
	}
	if (sched.state != ST_UP) {
		int e = sched.state == ST_FORKED ? -ENOTSUP : -ESRCH;
		unlock(&runlock);
		return e;
	}
	cancel_all();
	lock(&sched.lock);
	sched.embedded = 0;
	gmp__checkdone();
	unlock(&sched.lock);
	if (!load_acquire(&sched.done) && !gmp__notesleep(&sched.donenote, deadline) && !load_acquire(&sched.done)) {
		int n = left();
		unlock(&runlock);
		return n;
	}
	gmp__sysmon_stop();
	gmp__m_exit_all();
	teardown();
	unlock(&runlock);
	return 0;
}

void gmp_hold(void) { (void)fetch_add_seqcst(&sched.nhold, 1); }

void gmp_release(void)
{
	if (fetch_add_seqcst(&sched.nhold, -1) <= 0)
		gmp__misuse("gmp_release without gmp_hold");
	if (load_acquire(&sched.state) != ST_UP)
		return;
	lock(&sched.lock);
	gmp__checkdone();
	unlock(&sched.lock);
}

/* ---- gmp_trim ---------------------------------------------------------------------------------------------------- */

enum { TRIM_BATCH = 256 }; /* stacks looked at while the world stands still: below a millisecond */

/* Nobody is on a parked coroutine's stack, its registers are saved (PK-1), and what lies below its SP is dead. */
static void trim_parked(G *gp, void *arg)
{
	uint32_t *n = arg;
	if (load_relaxed(&gp->status) != Gwaiting || !gp->stack)
		return;
	gmp__stack_trim_below(gp->stack, gp->ctx.sp);
	if (++*n % TRIM_BATCH == 0) { /* sched.foreign is held throughout: the run cannot end meanwhile */
		gmp__startworld();
		gmp__stopworld();
	}
}

void gmp_trim(void)
{
	M *m = gmp__foreign_enter();
	if (load_relaxed(&sched.state) == ST_UP) {
		uint32_t n = 0;
		gmp__stopworld();
		for (int i = 0; i < sched.nallp; i++)
			gmp__stack_cache_flush(&sched.allp[i]->stacks);
		gmp__g_foreach(trim_parked, &n);
		gmp__startworld();
	}
	gmp__foreign_leave(m);
	gmp__stack_trim();
}
