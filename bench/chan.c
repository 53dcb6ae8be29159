/* SPDX-License-Identifier: MIT
 * chan.c - messages over channels: ping-pong, buffered, many to many, select, a ring and the prime sieve. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>

/* Sum of 0 .. n-1. */
static int64_t sum_below(int64_t n) { return n * (n - 1) / 2; }

/* A channel was closed and is drained, else the call must have succeeded. */
static bool ended(int err)
{
	check(err == 0 || err == -EPIPE, "a channel returned %d", err);
	return err != 0;
}

/* ---- chan_pp ----------------------------------------------------------------------------------------------------- */

struct pingpong {
	gmp_chan *ping, *pong;
	int64_t rounds, last;
};

static void pinger(void *arg)
{
	struct pingpong *p = arg;
	int64_t v = 0;

	for (int64_t i = 0; i < p->rounds; i++) {
		must(gmp_chan_send(p->ping, &v));
		must(gmp_chan_recv(p->pong, &v));
	}
	p->last = v;
	must(gmp_chan_close(p->ping));
}

static void ponger(void *arg)
{
	struct pingpong *p = arg;
	int64_t v;

	while (!ended(gmp_chan_recv(p->ping, &v))) {
		v++;
		must(gmp_chan_send(p->pong, &v));
	}
}

static void run_chan_pp(struct result *r, int64_t n)
{
	struct pingpong p = {must_chan(sizeof(int64_t), 0), must_chan(sizeof(int64_t), 0), n / 2 + 1, 0};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	must(gmp_waitgroup_spawn(&wg, ponger, &p));
	must(gmp_waitgroup_spawn(&wg, pinger, &p));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = 2 * p.rounds;
	gmp_chan_free(p.ping);
	gmp_chan_free(p.pong);
	check(p.last == p.rounds, "the ball ended at %lld, not %lld", (long long)p.last, (long long)p.rounds);
}

/* ---- chan_buf, chan_mpmc: producers and consumers of one buffered channel ---------------------------------------- */

struct pipeline {
	gmp_chan *chan;
	int64_t each; /* values of a producer */
	_Atomic int64_t first;
	_Atomic int64_t sum, count;
};

static void producer(void *arg)
{
	struct pipeline *p = arg;
	int64_t first = atomic_fetch_add(&p->first, p->each);

	for (int64_t v = first; v < first + p->each; v++)
		must(gmp_chan_send(p->chan, &v));
}

static void consumer(void *arg)
{
	struct pipeline *p = arg;
	int64_t sum = 0, count = 0, v;

	while (!ended(gmp_chan_recv(p->chan, &v))) {
		sum += v;
		count++;
	}
	atomic_fetch_add(&p->sum, sum);
	atomic_fetch_add(&p->count, count);
}

static void pump(struct result *r, int64_t n, int producers, int consumers)
{
	enum { CAPACITY = 128 };
	struct pipeline p = {.chan = must_chan(sizeof(int64_t), CAPACITY), .each = n / producers + 1};
	gmp_waitgroup producing = GMP_WAITGROUP_INIT, consuming = GMP_WAITGROUP_INIT;

	int64_t start = now_ns();
	for (int i = 0; i < producers; i++)
		must(gmp_waitgroup_spawn(&producing, producer, &p));
	for (int i = 0; i < consumers; i++)
		must(gmp_waitgroup_spawn(&consuming, consumer, &p));
	must(gmp_waitgroup_wait(&producing));
	must(gmp_chan_close(p.chan));
	must(gmp_waitgroup_wait(&consuming));
	r->ns = now_ns() - start;
	r->ops = p.each * producers;
	gmp_chan_free(p.chan);
	check(p.count == r->ops && p.sum == sum_below(r->ops), "%lld values, sum %lld", (long long)p.count,
		(long long)p.sum);
}

static void run_chan_buf(struct result *r, int64_t n) { pump(r, n, 1, 1); }

static void run_chan_mpmc(struct result *r, int64_t n) { pump(r, n, 4, 4); }

/* ---- select4 ----------------------------------------------------------------------------------------------------- */

enum { SELECTED = 4 };

struct source {
	gmp_chan *chan;
	int64_t first, count;
};

struct selector {
	struct source sources[SELECTED];
	int64_t total, sum;
};

static void feed(void *arg)
{
	struct source *s = arg;

	for (int64_t v = s->first; v < s->first + s->count; v++)
		must(gmp_chan_send(s->chan, &v));
}

static void select_all(void *arg)
{
	struct selector *s = arg;
	gmp_case cases[SELECTED];
	int64_t v;

	for (int i = 0; i < SELECTED; i++)
		cases[i] = (gmp_case){.chan = s->sources[i].chan, .op = GMP_RECV, .elem = &v};
	for (int64_t i = 0; i < s->total; i++) {
		must(gmp_select(cases, SELECTED, GMP_FOREVER));
		s->sum += v;
	}
}

static void run_select4(struct result *r, int64_t n)
{
	size_t capacity = (size_t)env_number("BENCH_CAP", 0);
	int64_t each = n / SELECTED + 1;
	struct selector s = {.total = each * SELECTED};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	for (int i = 0; i < SELECTED; i++)
		s.sources[i] = (struct source){must_chan(sizeof(int64_t), capacity), i * each, each};
	int64_t start = now_ns();
	for (int i = 0; i < SELECTED; i++)
		must(gmp_waitgroup_spawn(&wg, feed, &s.sources[i]));
	must(gmp_waitgroup_spawn(&wg, select_all, &s));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = s.total;
	for (int i = 0; i < SELECTED; i++)
		gmp_chan_free(s.sources[i].chan);
	check(s.sum == sum_below(s.total), "sum %lld", (long long)s.sum);
	result_number(r, "cap", (double)capacity);
}

/* ---- ring -------------------------------------------------------------------------------------------------------- */

enum { RING = 503 };

struct link {
	gmp_chan *in, *out, *done;
	int64_t index;
};

/* Passes the token on, one less each time; says where it came to 0. */
static void pass(void *arg)
{
	struct link *l = arg;
	int64_t token;

	while (!ended(gmp_chan_recv(l->in, &token))) {
		if (token-- > 0)
			must(gmp_chan_send(l->out, &token));
		else
			must(gmp_chan_send(l->done, &l->index));
	}
	if (l->index < RING - 1)
		must(gmp_chan_close(l->out));
}

static void run_ring(struct result *r, int64_t n)
{
	struct link *links = must_alloc(RING, sizeof *links);
	gmp_chan *done = must_chan(sizeof(int64_t), 0);
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	int64_t last;

	for (int i = 0; i < RING; i++)
		links[i] = (struct link){.in = must_chan(sizeof(int64_t), 0), .done = done, .index = i};
	for (int i = 0; i < RING; i++)
		links[i].out = links[(i + 1) % RING].in;
	int64_t start = now_ns();
	for (int i = 0; i < RING; i++)
		must(gmp_waitgroup_spawn(&wg, pass, &links[i]));
	must(gmp_chan_send(links[0].in, &n));
	must(gmp_chan_recv(done, &last));
	r->ns = now_ns() - start;
	r->ops = n;
	must(gmp_chan_close(links[0].in));
	must(gmp_waitgroup_wait(&wg));
	for (int i = 0; i < RING; i++)
		gmp_chan_free(links[i].in);
	gmp_chan_free(done);
	free(links);
	check(last == n % RING, "the token ended at %lld, not %lld", (long long)last, (long long)(n % RING));
}

/* ---- sieve ------------------------------------------------------------------------------------------------------- */

struct filter {
	gmp_chan *in, *out;
	int64_t prime;
};

static void generate(void *arg)
{
	struct filter *f = arg;

	for (int64_t v = 2; gmp_chan_send(f->out, &v) == 0; v++)
		continue;
}

/* Ends when it is cancelled, as does the generator. */
static void filter(void *arg)
{
	struct filter *f = arg;
	int64_t v;

	while (gmp_chan_recv(f->in, &v) == 0)
		if (v % f->prime != 0 && gmp_chan_send(f->out, &v))
			return;
}

static int64_t nth_prime(int64_t n)
{
	int64_t candidate = 1;

	while (n > 0) {
		int64_t divisor = 2;
		candidate++;
		while (divisor * divisor <= candidate && candidate % divisor != 0)
			divisor++;
		n -= divisor * divisor > candidate;
	}
	return candidate;
}

static void run_sieve(struct result *r, int64_t n)
{
	struct filter *filters = must_alloc((size_t)n, sizeof *filters);
	gmp_group *group = gmp_group_new();
	int64_t prime = 0;

	check(group, "no memory for a group");
	int64_t start = now_ns();
	for (int64_t i = 0; i < n; i++) {
		struct filter *f = &filters[i];
		f->in = i > 0 ? filters[i - 1].out : NULL;
		f->out = must_chan(sizeof(int64_t), 0);
		f->prime = prime;
		must(gmp_group_spawn(group, i > 0 ? filter : generate, f));
		must(gmp_chan_recv(f->out, &prime));
	}
	r->ns = now_ns() - start;
	r->ops = 1;
	gmp_group_free(group); /* Go's classic leaves them blocked for good: their end is not part of the figure */
	for (int64_t i = 0; i < n; i++)
		gmp_chan_free(filters[i].out);
	free(filters);
	check(prime == nth_prime(n), "prime %lld is %lld", (long long)n, (long long)prime);
	result_number(r, "prime", (double)prime);
}

const struct workload chan_workloads[] = {
	{"chan_pp", run_chan_pp, 4000000, 0, "one message, 2 coroutines, unbuffered, there and back"},
	{"chan_buf", run_chan_buf, 20000000, 0, "one message, 1 producer, 1 consumer, capacity 128"},
	{"chan_mpmc", run_chan_mpmc, 8000000, 0, "one message, 4 and 4, capacity 128"},
	{"select4", run_select4, 4000000, 0, "one message selected from 4 channels, BENCH_CAP"},
	{"ring", run_ring, 5000000, 0, "one hop of a token among 503 coroutines, unbuffered"},
	{"sieve", run_sieve, 2000, 0, "whole run: a chain of filters up to the n-th prime"},
	{0},
};
