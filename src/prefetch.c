/* SPDX-License-Identifier: MIT
 * prefetch.c - cold stacks, fetched ahead. Where very many coroutines wait, the stack of the next one to run is in no cache,
 * and its page not in the TLB. The misses of its lines overlap with what the one before does (system calls), and those of
 * the TLB, for which even a prefetch waits, with each other. At 1000 connections that is a third of a server's time in user
 * mode. A million who wait for one channel end in 0.14 s instead of 0.33 when it is closed. */
#include "proc.h"

enum { COLD_PAGES = 8, COLD_LINES = 14, COLD_TOP_LINES = 8 };

static void prefetch_lines(const char *at, int n)
{
	for (int i = 0; i < n; i++)
		__builtin_prefetch(at + i * CACHELINE, 1, 3);
}

/* The caller is about to park, or ends. The head of the queue mostly runs then: too late for it. */
void gmp__warm_next(P *p)
{
	Link *next = p->runq.q.head ? p->runq.q.head->next : NULL;
	if (!next)
		return;
	if (p->warmstacks == 0) {
		p->warmstacks = COLD_PAGES;
		Link *l = next;
		for (int i = 0; i < COLD_PAGES && l; i++, l = l->next)
			__builtin_prefetch(link2g(l)->ctx.sp, 1, 3);
	}
	p->warmstacks--;
	const G *gp = link2g(next);
	if (!gp->stack)
		return;
	prefetch_lines(gp->ctx.sp, COLD_LINES);
	prefetch_lines(stack_sp(gp->stack) - COLD_TOP_LINES * CACHELINE, COLD_TOP_LINES);
}
