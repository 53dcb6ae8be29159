/* SPDX-License-Identifier: MIT
 * netpoll_poll.c - poll(2), for systems without anything better, and as a second opinion (GMP_DEBUG=netpoll=1).
 *
 *   PL-1 One shot: a direction is asked for when a coroutine is about to wait, and no more once an event was reported.
 *        poll(2) is level-triggered, so what is there already is reported at once.
 *   PL-2 The set is an array with an index by descriptor, under `set_lock`. Who polls works on a copy; one blocking
 *        and one non-blocking caller at a time, further non-blocking ones find nothing.
 *   PL-3 Who adds to the set while somebody blocks in poll(2) wakes him, so that he polls with the new set.
 *   PL-4 poll(2) keeps the files open that it looks at. Who is about to close one makes whoever blocks come back first,
 *        lest a port be in use after gmp_close has returned. */
#include "netpoll.h"
#include "proc.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Entry {
	int fd;
	uint32_t dirs, tag;
} Entry;

static Lock set_lock;
static Entry *set;
static uint32_t nset, capset;
static uint32_t *where;  /* by descriptor: index in set + 1; 0: not there */
static uint32_t nwhere;

typedef struct Copy {
	struct pollfd *p;
	Entry *e;
	uint32_t n, cap;
} Copy;
static Copy copies[2]; /* of the blocking caller, of the other */
static Lock quick_lock;
static int pipefd[2] = {-1, -1};
static uint32_t woken;
static bool blocking; /* under set_lock; so is nblocks, its number */
static uint32_t nblocks;

static outofline int init(void)
{
	int e = errno, r = 0;
	if (pipe(pipefd) != 0)
		r = -errno;
	for (int i = 0; i < 2 && r == 0; i++) {
		(void)fcntl(pipefd[i], F_SETFD, FD_CLOEXEC);
		(void)fcntl(pipefd[i], F_SETFL, O_NONBLOCK);
	}
	store_relaxed(&woken, 0u);
	errno = e;
	return r;
}

static void fini(void)
{
	(void)close(pipefd[0]);
	(void)close(pipefd[1]);
	pipefd[0] = pipefd[1] = -1;
	memset(&set_lock, 0, sizeof set_lock);
	memset(&quick_lock, 0, sizeof quick_lock);
	blocking = false;
	nset = 0;
	if (where)
		memset(where, 0, nwhere * sizeof *where);
}

static outofline void wake(void)
{
	if (xchg_seqcst(&woken, 1u))
		return;
	int e = errno;
	(void)!write(pipefd[1], "", 1);
	errno = e;
}

static void *grown(void *p, size_t n) { return gmp__os_inject_failure() ? NULL : realloc(p, n); }

/* set_lock is held. Room for descriptor fd. */
static bool make_room(uint32_t fd)
{
	if (fd >= nwhere) {
		uint32_t n = nwhere ? nwhere : 64;
		while (n <= fd)
			n *= 2;
		uint32_t *w = grown(where, n * sizeof *w);
		if (!w)
			return false;
		memset(w + nwhere, 0, (n - nwhere) * sizeof *w);
		where = w;
		nwhere = n;
	}
	if (nset == capset) {
		uint32_t n = capset ? capset * 2 : 64;
		Entry *s = grown(set, n * sizeof *s);
		if (!s)
			return false;
		set = s;
		capset = n;
	}
	return true;
}

static void drop(uint32_t i)
{
	where[set[i].fd] = 0;
	Entry last = set[--nset];
	if (i != nset) {
		set[i] = last;
		where[last.fd] = i + 1;
	}
}

static int arm(PollDesc *pd, uint32_t dirs)
{
	uint32_t fd = (uint32_t)pd->fd;
	lock(&set_lock);
	if (!make_room(fd)) {
		unlock(&set_lock);
		return -ENOMEM;
	}
	uint32_t i = where[fd];
	if (i == 0) {
		set[nset] = (Entry){.fd = pd->fd};
		where[fd] = i = ++nset;
	}
	Entry *e = &set[i - 1];
	if (e->tag != pd->tag)
		e->dirs = 0;
	e->tag = pd->tag;
	e->dirs |= dirs;
	bool interrupt = blocking;
	unlock(&set_lock);
	if (interrupt) /* PL-3 */
		wake();
	return 0;
}

static void forget(PollDesc *pd)
{
	uint32_t fd = (uint32_t)pd->fd;
	lock(&set_lock);
	if (fd < nwhere && where[fd])
		drop(where[fd] - 1);
	bool waits = blocking;
	uint32_t r = nblocks;
	unlock(&set_lock);
	while (waits) { /* PL-4 */
		wake();
		gmp__os_osyield();
		lock(&set_lock);
		waits = blocking && r == nblocks;
		unlock(&set_lock);
	}
	lock(&quick_lock);
	unlock(&quick_lock);
}

/* set_lock is held. */
static bool copy_set(Copy *c)
{
	if (c->cap < nset + 1) {
		uint32_t n = nset + 64;
		struct pollfd *p = grown(c->p, n * sizeof *p);
		if (p)
			c->p = p;
		Entry *e = grown(c->e, n * sizeof *e);
		if (e)
			c->e = e;
		if (!p || !e)
			return false;
		c->cap = n;
	}
	c->p[0] = (struct pollfd){.fd = pipefd[0], .events = POLLIN};
	for (uint32_t i = 0; i < nset; i++) {
		int ev = (set[i].dirs & IO_RBIT ? POLLIN | POLLPRI : 0) | (set[i].dirs & IO_WBIT ? POLLOUT : 0);
		c->e[i + 1] = set[i];
		c->p[i + 1] = (struct pollfd){.fd = set[i].fd, .events = (short)ev};
	}
	c->n = nset + 1;
	return true;
}

static outofline int call_poll(Copy *c, int64_t timeout)
{
	int64_t ms = timeout <= 0 ? timeout : (timeout - 1) / 1000000 + 1;
	int e = errno, n = poll(c->p, c->n, ms < 0 ? -1 : ms > INT_MAX ? INT_MAX : (int)ms);
	if (n < 0)
		n = -errno;
	errno = e;
	return n;
}

static outofline void take_wake(void)
{
	char b[16];
	int e = errno;
	while (read(pipefd[0], b, sizeof b) > 0)
		;
	errno = e;
	store_seqcst(&woken, 0u);
}

static void report(Copy *c, Harvest *h)
{
	for (uint32_t k = 1; k < c->n; k++) {
		short e = c->p[k].revents;
		uint32_t dirs = 0, flags = 0;
		if (!e)
			continue;
		if (e & (POLLHUP | POLLERR | POLLNVAL)) {
			dirs = IO_RBIT | IO_WBIT;
			flags = PD_HUP;
		}
		if (e & (POLLIN | POLLPRI))
			dirs |= IO_RBIT;
		if (e & POLLOUT)
			dirs |= IO_WBIT;
		if (e & POLLPRI)
			flags |= PD_URGENT;
		lock(&set_lock); /* PL-1 */
		uint32_t fd = (uint32_t)c->e[k].fd, i = where[fd];
		if (i && set[i - 1].tag == c->e[k].tag) {
			set[i - 1].dirs &= ~dirs;
			if (set[i - 1].dirs == 0 || (e & (POLLHUP | POLLERR | POLLNVAL)))
				drop(i - 1);
		}
		unlock(&set_lock);
		gmp__netpoll_event(h, c->e[k].fd, c->e[k].tag, dirs, flags);
	}
}

static void poll_events(Harvest *h, int64_t timeout)
{
	bool block = timeout != 0;
	Copy *c = &copies[!block];
	if (!block && !trylock(&quick_lock)) /* PL-2 */
		return;
	for (;;) {
		lock(&set_lock);
		bool ok = copy_set(c);
		if (block) {
			blocking = true;
			nblocks++;
		}
		unlock(&set_lock);
		if (!ok && block)
			gmp__os_usleep(1000 * 1000);
		int n = ok ? call_poll(c, timeout) : 0;
		if (n < 0 && n != -EINTR)
			gmp__throw("poll: error %d", -n);
		bool woke = n > 0 && c->p[0].revents;
		if (block) {
			lock(&set_lock);
			blocking = false;
			unlock(&set_lock);
			if (woke)
				take_wake();
		}
		if (n > 0)
			report(c, h);
		/* A new set alone does not end a wait without limit, but nobody knows here why he was woken. */
		if (timeout >= 0 || woke || h->n || n == -EINTR)
			break;
	}
	if (!block)
		unlock(&quick_lock);
}

const NetBackend gmp__netpoll_poll = {
        .name = "poll",
        .init = init,
        .fini = fini,
        .arm = arm,
        .forget = forget,
        .poll = poll_events,
        .wake = wake,
};
