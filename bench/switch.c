/* SPDX-License-Identifier: MIT
 * switch.c - changing from one coroutine to another: the bare switch, and yields through the scheduler. */
#include "bench.h"

#include <stdlib.h>

/* ---- switch: two contexts in ping-pong, no scheduler ------------------------------------------------------------- */

#ifdef GMP__HAVE_SWITCH
/* The inline switch ends in two stores: it clears the flag of the M that resumes the context, and the byte of a lock
 * that the former context parked under. Without a scheduler both go to a header that nobody reads. */
struct context {
	gmp__gobuf buf;
	struct {
		uint32_t in_runtime, pad;
		unsigned char *unlock;
	} m;
	unsigned char lock;
};

static struct context here, there;
static int64_t partner_runs;

static void context_init(struct context *c)
{
	c->m.unlock = &c->lock;
	c->buf.m = &c->m;
}

static void partner(void)
{
	for (;;) {
		partner_runs++;
		(void)gmp__switch(&there.buf, &here.buf);
	}
}

static void run_switch(struct result *r, int64_t n)
{
	enum { STACK = 64 * 1024 };
	char *stack = aligned_alloc(16, STACK);
	int64_t rounds = n / 2 + 1;

	check(stack, "no memory for a stack");
	context_init(&here);
	context_init(&there);
	there.buf.pc = (void *)partner;
#ifdef __x86_64__
	there.buf.sp = stack + STACK - 8; /* where a call would have left it: the return address is missing */
#else
	there.buf.sp = stack + STACK;
#endif
	there.buf.bp = NULL;
	partner_runs = 0;
	int64_t start = now_ns();
	for (int64_t i = 0; i < rounds; i++)
		(void)gmp__switch(&here.buf, &there.buf);
	r->ns = now_ns() - start;
	r->ops = 2 * rounds;
	check(partner_runs == rounds, "the partner ran %lld times, not %lld", (long long)partner_runs,
		(long long)rounds);
	free(stack);
}
#else
static void run_switch(struct result *r, int64_t n)
{
	(void)n;
	r->unsupported = "this build has no inline switch";
}
#endif

/* ---- yields ------------------------------------------------------------------------------------------------------ */

struct yielders {
	int64_t each;
	_Atomic int64_t total;
};

static void yielder(void *arg)
{
	struct yielders *y = arg;
	int64_t count = 0;

	while (count < y->each) {
		gmp_yield();
		count++;
	}
	atomic_fetch_add(&y->total, count);
}

static void yield_among(struct result *r, int64_t n, int coroutines)
{
	struct yielders y = {.each = n / coroutines + 1};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	for (int i = 0; i < coroutines; i++)
		must(gmp_waitgroup_spawn(&wg, yielder, &y));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = y.each * coroutines;
	check(y.total == r->ops, "%lld yields, not %lld", (long long)y.total, (long long)r->ops);
}

static void run_yield2(struct result *r, int64_t n) { yield_among(r, n, 2); }

static void run_yield1000(struct result *r, int64_t n) { yield_among(r, n, 1000); }

const struct workload switch_workloads[] = {
	{"switch", run_switch, 20000000, NO_RUNTIME, "one switch of two bare contexts"},
	{"yield2", run_yield2, 10000000, 0, "one yield, 2 coroutines"},
	{"yield1000", run_yield1000, 10000000, 0, "one yield, 1000 coroutines"},
	{0},
};
