/* SPDX-License-Identifier: MIT
 * schedtrace.c - GMP_DEBUG=schedtrace=MS,scheddetail=1: one line of scheduler state every MS milliseconds on stderr, in the
 * format of Go's GODEBUG, by sysmon. What is read is racy and says so: a snapshot, never waited for. */
#include "dump.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Line {
	size_t n;
	char buf[4096];
} Line;

__attribute__((format(printf, 2, 3))) static void put(Line *l, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int k = vsnprintf(l->buf + l->n, sizeof l->buf - l->n, fmt, ap);
	va_end(ap);
	if (k > 0)
		l->n = l->n + (size_t)k < sizeof l->buf ? l->n + (size_t)k : sizeof l->buf - 1;
}

static void end(Line *l)
{
	put(l, "\n");
	if (write(STDERR_FILENO, l->buf, l->n) < 0)
		l->n = 0; /* nobody reads our trace: not the program's concern */
	l->n = 0;
}

static void put_id(Line *l, const char *what, long long id)
{
	if (id < 0)
		put(l, "%snil", what);
	else
		put(l, "%s%lld", what, id);
}

static uint32_t runqsize(P *p)
{
	return load_relaxed(&p->runq.n) + load_relaxed(&p->fresh.n) + (load_relaxed(&p->runnext) ? 1 : 0);
}

/* Id of the M that resumed gp last, a locked G's own; -1: it is not there any more. */
static int resumer(const G *gp)
{
	void *land = load_relaxed(&gp->ctx.m);
	int id = -1;
	lock(&sched.lock);
	for (M *m = sched.allm; m && id < 0; m = m->alllink) {
#if SAN_BUILD
		id = land == &m->sanland ? m->id : -1;
#else
		id = land == m ? m->id : -1;
#endif
	}
	unlock(&sched.lock);
	return id;
}

static void put_g(G *gp, void *arg)
{
	uint8_t s = load_relaxed(&gp->status);
	if (s == Gidle)
		return;
	Line *l = arg;
	bool on = s == Grunning || s == Gsyscall, locked = s != Gdead && (load_relaxed(&gp->flags) & GF_LOCKED);
	int id = on || locked ? resumer(gp) : -1;
	put(l, "  G%llu: status=%u(%s)", (unsigned long long)load_relaxed(&gp->id), s == Gdead ? 6u /* Go's */ : s,
	        s == Gwaiting ? gmp__waitreason(load_relaxed(&gp->waitreason)) : "");
	put_id(l, " m=", on ? id : -1);
	put_id(l, " lockedm=", locked ? id : -1);
	end(l);
}

void gmp__schedtrace(bool detail)
{
	Line l;
	l.n = 0;
	int procs = load_relaxed(&sched.procs);
	put(&l, "SCHED %lldms: gomaxprocs=%d idleprocs=%u threads=%u spinningthreads=%u needspinning=0 idlethreads=%u runqueue=%u",
	        (long long)((gmp__os_now() - sched.starttime) / 1000000), procs, load_relaxed(&sched.npidle),
	        load_relaxed(&sched.mcount), load_relaxed(&sched.nmspinning), load_relaxed(&sched.nmidle),
	        load_relaxed(&sched.runq.n));
	if (!detail) {
		for (int i = 0; i < procs; i++)
			put(&l, "%s%u", i ? " " : " [", runqsize(sched.allp[i]));
		put(&l, "]");
		end(&l);
		return;
	}
	put(&l, " gcwaiting=false nmidlelocked=%u stopwait=0 sysmonwait=false", load_relaxed(&sched.nlockedidle));
	end(&l);
	for (int i = 0; i < procs; i++) {
		P *p = sched.allp[i];
		M *m = load_acquire(&p->m);
		put(&l, "  P%d: status=%u schedtick=%llu syscalltick=0", i, load_relaxed(&p->status),
		        (unsigned long long)load_relaxed(&p->schedtick));
		put_id(&l, " m=", m ? m->id : -1);
		put(&l, " runqsize=%u gfreecnt=%u timerslen=%u", runqsize(p), load_relaxed(&p->ngfree), load_relaxed(&p->timers.n));
		end(&l);
	}
	lock(&sched.lock); /* the list of Ms holds still */
	for (M *m = sched.allm; m; m = m->alllink) {
		G *gp = load_relaxed(&m->curg), *locked = load_relaxed(&m->lockedg);
		P *p = load_relaxed(&m->p);
		put(&l, "  M%d:", m->id);
		put_id(&l, " p=", p ? p->id : -1);
		put_id(&l, " curg=", gp ? (long long)load_relaxed(&gp->id) : -1);
		put(&l, " mallocing=0 throwing=0 preemptoff= locks=0 dying=0 spinning=%s blocked=%s", load_relaxed(&m->spinning) ? "true" : "false",
		        load_relaxed(&m->insyscall) ? "true" : "false");
		put_id(&l, " lockedg=", locked ? (long long)load_relaxed(&locked->id) : -1);
		end(&l);
	}
	unlock(&sched.lock);
	gmp__g_foreach(put_g, &l);
}
