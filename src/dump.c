/* SPDX-License-Identifier: MIT
 * dump.c - what every coroutine does and waits for: gmp_dump, the deadlock report, the last words of a fatal error.
 * Read-only. gmp_dump stops the world for the time of its walk, so descriptors and their extensions hold still. */
#include "dump.h"
#include "chan.h"
#include "netpoll.h"
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static const char *const reasons[] = {
#define X(name, text) text,
        WAITREASONS(X)
#undef X
};
static const char *const states[] = {"idle", "runnable", "running", "blocking call", "waiting", "dead"};

const char *gmp__waitreason(uint8_t r) { return r < nelem(reasons) ? reasons[r] : "?"; }

typedef struct Out {
	int fd;
	int err;
	bool exts; /* extensions hold still */
	uint32_t now;
	size_t n;
	uint64_t count;
	char buf[4096];
} Out;

static void flush(Out *o)
{
	size_t at = 0;
	while (at < o->n && !o->err) {
		ssize_t k = write(o->fd, o->buf + at, o->n - at);
		if (k > 0)
			at += (size_t)k;
		else if (errno != EINTR)
			o->err = k < 0 ? -errno : -EIO;
	}
	o->n = 0;
}

__attribute__((format(printf, 2, 3))) static void put(Out *o, const char *fmt, ...)
{
	if (o->n > sizeof o->buf - 512)
		flush(o);
	va_list ap;
	va_start(ap, fmt);
	int k = vsnprintf(o->buf + o->n, 512, fmt, ap);
	va_end(ap);
	if (k > 0)
		o->n += (size_t)(k < 512 ? k : 511);
}

static void put_pc(Out *o, const char *what, void *pc)
{
	Dl_info d;
	if (dladdr(pc, &d) && d.dli_sname)
		put(o, "%s%s+0x%tx", what, d.dli_sname, (char *)pc - (char *)d.dli_saddr);
	else if (dladdr(pc, &d) && d.dli_fname)
		put(o, "%s%s(+0x%tx)", what, d.dli_fname, (char *)pc - (char *)d.dli_fbase);
	else
		put(o, "%s%p", what, pc);
}

static void put_wait(Out *o, const G *gp)
{
	void *obj = gp->waitobj;
	uint32_t holder;
	switch (gp->waitreason) {
	case WAIT_JOIN:
		put(o, " of coroutine %llu", (unsigned long long)((const G *)obj)->id);
		break;
	case WAIT_CHAN_SEND:
	case WAIT_CHAN_RECV:
		put(o, " on channel %p (%zu of %zu)", obj, gmp_chan_len(obj), gmp_chan_cap(obj));
		break;
	case WAIT_SELECT:
		put(o, " of %d", *(const int *)obj);
		break;
	case WAIT_MUTEX:
		put(o, " %p", obj);
		holder = load_relaxed(&((gmp_mutex *)obj)->gmp__spare);
		if (holder)
			put(o, " held by coroutine %u", holder);
		break;
	case WAIT_IO_READ:
	case WAIT_IO_WRITE:
		put(o, " on descriptor %d", ((const PollDesc *)obj)->fd);
		break;
	default:
		if (obj)
			put(o, " %p", obj);
	}
}

static void put_g(G *gp, void *arg)
{
	Out *o = arg;
	uint8_t s = load_relaxed(&gp->status);
	if (s == Gidle || s >= nelem(states))
		return;
	o->count++;
	put(o, "coroutine %llu", (unsigned long long)gp->id);
	if (o->exts && gp->ext && gp->ext->name[0])
		put(o, " \"%s\"", gp->ext->name);
	put(o, " [%s", s == Gwaiting ? gmp__waitreason(gp->waitreason) : states[s]);
	if (s == Gwaiting && o->exts)
		put_wait(o, gp);
	if ((s == Gwaiting || s == Gsyscall) && o->now >= gp->since)
		put(o, ", %u.%03u s", (o->now - gp->since) / 1000, (o->now - gp->since) % 1000);
	if (gp->flags & GF_CANCELLED)
		put(o, ", cancelled");
	if (gp->flags & GF_LOCKED)
		put(o, ", locked to thread");
	put(o, "]");
	put_pc(o, " ", (void *)load_relaxed(&gp->fn));
	put_pc(o, ", spawned at ", gp->spawnpc);
	put(o, "\n");
}

static int dump(int fd, bool exts)
{
	static Out o; /* guarded by sched.foreign, or the last thing this process does */
	o.fd = fd;
	o.err = 0;
	o.exts = exts;
	o.n = 0;
	o.count = 0;
	o.now = (uint32_t)(gmp__os_now() / 1000000);
	gmp__g_foreach(put_g, &o);
	put(&o, "%llu coroutines, %d Ps (%u idle), %u threads\n", (unsigned long long)o.count, sched.procs, sched.npidle,
	        sched.mcount);
	flush(&o);
	return o.err;
}

int gmp_dump(int fd)
{
	M *m = gmp__foreign_enter();
	bool up = load_relaxed(&sched.state) == ST_UP;
	if (up)
		gmp__stopworld();
	int e = dump(fd, true);
	if (up)
		gmp__startworld();
	gmp__foreign_leave(m);
	return e;
}

/* sched.lock is held and everything sleeps. */
void gmp__deadlock_report(void)
{
	gmp__warn("all coroutines are asleep - deadlock!");
	(void)dump(STDERR_FILENO, true);
}

/* Last words of gmp__throw: nothing is safe any more, so no extensions. */
void gmp__dump_fatal(int fd)
{
	if (load_relaxed(&sched.state) == ST_UP)
		(void)dump(fd, false);
}
