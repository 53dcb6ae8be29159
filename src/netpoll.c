/* SPDX-License-Identifier: MIT
 * netpoll.c - the poller above its back ends: table of descriptors, from events to Gs, fork. See netpoll.h. */
#include "netpoll.h"
#include "proc.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- table: chunks that come with their first descriptor and stay ------------------------------------------------ */

enum { CHUNK = NETPOLL_CHUNK, NCHUNKS = NETPOLL_MAXFD / CHUNK };

static PollDesc *table[NCHUNKS];

static outofline PollDesc *chunk_new(uint32_t i)
{
	size_t size = CHUNK * (sizeof(PollDesc) + sizeof(FdTimer));
	PollDesc *c = gmp__os_inject_failure() ? NULL : gmp__os_reserve(size, gmp__os_pagesize());
	if (!c)
		return NULL;
	for (uint32_t k = 0; k < CHUNK; k++)
		c[k].fd = (int32_t)(i * CHUNK + k);
	PollDesc *old = NULL;
	if (cas_acqrel(&table[i], &old, c))
		return c;
	gmp__os_unreserve(c, size);
	return old;
}

PollDesc *gmp__netpoll_find(int fd)
{
	uint32_t i = (uint32_t)fd / CHUNK;
	if (fd < 0 || i >= NCHUNKS)
		return NULL;
	PollDesc *c = load_acquire(&table[i]);
	return c ? &c[fd & (CHUNK - 1)] : NULL;
}

PollDesc *gmp__netpoll_desc(int fd)
{
	PollDesc *pd = gmp__netpoll_find(fd);
	uint32_t i = (uint32_t)fd / CHUNK;
	if (likely(pd || fd < 0 || i >= NCHUNKS))
		return pd;
	PollDesc *c = chunk_new(i);
	return c ? &c[fd & (CHUNK - 1)] : NULL;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

void gmp__netpoll_settle(PollDesc *pd, int dir, uintptr_t old)
{
	(void)cas_acqrel(&pd->word[dir], &old, (uintptr_t)IO_NIL);
	lockbyte(&pd->evlock);
	unlockbyte(&pd->evlock);
}

void gmp__netpoll_fire(PollDesc *pd, int dir, Harvest *h)
{
	uintptr_t w = load_acquire(&pd->word[dir]);
	while (w <= IO_READY)
		if (cas_acqrel(&pd->word[dir], &w, (uintptr_t)IO_READY))
			return;
	lockbyte(&pd->evlock);
	w = xchg_acqrel(&pd->word[dir], (uintptr_t)IO_READY);
	if (w & IO_HOOKBIT) {
		unlockbyte(&pd->evlock);
		PollHook *hook = (PollHook *)(w & ~(uintptr_t)IO_HOOKBIT);
		hook->f(hook, h);
		return;
	}
	G *gp = (G *)w;
	bool won = w > IO_READY && claim(gp, load_relaxed(&pd->seq[dir]));
	unlockbyte(&pd->evlock);
	if (!won)
		return;
	await_commit(gp); /* NP-4 */
	gp->ctx.ret = 0;
	queue_push_tail(h->q, &gp->sg.link);
	h->n++;
}

void gmp__netpoll_event(Harvest *h, int fd, uint32_t tag, uint32_t dirs, uint32_t flags)
{
	PollDesc *pd = gmp__netpoll_find(fd);
	if (!pd || load_acquire(&pd->tag) != tag)
		return;
	if (unlikely(flags & ~load_relaxed(&pd->flags)))
		(void)fetch_or_seqcst(&pd->flags, flags);
	if (dirs & IO_RBIT) {
		__builtin_prefetch(gmp__netpoll_timer(pd), 1, 3); /* for the wait after this one */
		gmp__netpoll_fire(pd, IO_R, h);
	}
	if (dirs & IO_WBIT)
		gmp__netpoll_fire(pd, IO_W, h);
}

bool gmp__netpoll_cancel(G *gp)
{
	uint32_t seq = load_acquire(&gp->claim);
	return !(seq & 1u) && claim(gp, seq);
}

/* ---- the back end in use ----------------------------------------------------------------------------------------- */

static const NetBackend *backend;
static bool atfork_done;

static const NetBackend *best(void)
{
#if defined(__linux__) && !defined(GMP_OS_POSIX)
	if (gmp__debug.netpoll == 0)
		return &gmp__netpoll_epoll;
#endif
	return &gmp__netpoll_poll;
}

/* No descriptor is known to the back end any more. */
static void disarm_all(bool forked)
{
	for (uint32_t i = 0; i < NCHUNKS; i++) {
		PollDesc *c = load_acquire(&table[i]);
		for (int k = 0; c && k < CHUNK; k++) {
			PollDesc *pd = &c[k];
			if (pd->flags & (PD_INR | PD_INW))
				(void)fetch_and_seqcst(&pd->flags, ~(uint32_t)(PD_INR | PD_INW));
			if (forked && gmp__netpoll_timer(pd)->t.id) /* pending in the parent */
				gmp__netpoll_timer(pd)->t.id = 0;
			if (!forked || !(pd->users || pd->word[IO_R] || pd->word[IO_W] || pd->lock || pd->evlock))
				continue;
			/* The parent's coroutines do not exist here. */
			memset(pd->word, 0, sizeof pd->word);
			memset(&pd->turnq, 0, sizeof pd->turnq);
			pd->users = 0;
			pd->lock = pd->evlock = 0;
		}
	}
}

uint32_t gmp__netpoll_generation;

static void fork_child(void)
{
	gmp__netpoll_generation++;
	if (backend)
		backend->fini();
	backend = NULL;
	disarm_all(true);
}

int gmp__netpoll_init(void)
{
	if (backend == best())
		return 0;
	if (!atfork_done && pthread_atfork(NULL, NULL, fork_child) != 0)
		return -ENOMEM;
	atfork_done = true;
	if (backend) {
		backend->fini();
		backend = NULL;
		disarm_all(false);
	}
	const NetBackend *b = best();
	int e = b->init();
	if (e == 0)
		backend = b;
	return e;
}

uint32_t gmp__netpoll(Queue *q, int64_t timeout)
{
	Harvest h = {q, 0};
	backend->poll(&h, timeout);
	return h.n;
}

void gmp__netpoll_break(void)
{
	if (backend)
		backend->wake();
}

int gmp__netpoll_arm(PollDesc *pd, uint32_t dirs)
{
	uint32_t have = load_relaxed(&pd->flags) / PD_INR & (IO_RBIT | IO_WBIT);
	return dirs & ~have ? backend->arm(pd, dirs) : 0;
}

void gmp__netpoll_forget(PollDesc *pd)
{
	if (backend)
		backend->forget(pd);
}
