/* SPDX-License-Identifier: MIT
 * memory.c - what a coroutine costs in memory: parked at once, and after it has been deep in its stack. */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Coroutines that have said that they are up get this long to reach the channel behind it. */
#define SETTLE (20 * GMP_MSEC)

static double per(int64_t before, int64_t after, int64_t n) { return (double)(after - before) / (double)n; }

static double rss_per(int64_t n) { return per(memory_at_start.rss, memory_now().rss, n); }

/* The waitgroups count in an int; main.c lets no larger n through. */
static void expect(gmp_waitgroup *wg, int64_t n) { gmp_waitgroup_add(wg, (int)n); }

/* ---- parked ------------------------------------------------------------------------------------------------------ */

struct parked {
	gmp_waitgroup up, ended;
	gmp_chan *gate; /* shared; closed at the end */
};

static void park_shared(void *arg)
{
	struct parked *p = arg;

	gmp_waitgroup_done(&p->up);
	gmp_chan_recv(p->gate, NULL); /* -EPIPE */
	gmp_waitgroup_done(&p->ended);
}

struct own {
	struct parked *all;
	gmp_chan *gate;
};

static void park_own(void *arg)
{
	struct own *own = arg;

	gmp_waitgroup_done(&own->all->up);
	must(gmp_chan_recv(own->gate, NULL));
	gmp_waitgroup_done(&own->all->ended);
}

/* owned NULL: all wait on one channel. */
static void measure_parked(struct result *r, int64_t n, struct own *owned)
{
	struct parked p = {.gate = must_chan(0, 0)};

	int64_t start = now_ns();
	expect(&p.up, n);
	expect(&p.ended, n);
	for (int64_t i = 0; i < n; i++) {
		if (owned) {
			owned[i] = (struct own){&p, must_chan(0, 0)};
			must(gmp_spawn(park_own, &owned[i]));
		} else {
			must(gmp_spawn(park_shared, &p));
		}
	}
	must(gmp_waitgroup_wait(&p.up));
	int64_t park = now_ns() - start;

	must(gmp_sleep(SETTLE));
	struct memory m = memory_now();
	gmp_stats stats;
	gmp_stats_read(&stats);
	check(stats.gs_waiting >= (uint64_t)n, "only %llu coroutines wait", (unsigned long long)stats.gs_waiting);

	start = now_ns();
	if (owned) {
		for (int64_t i = 0; i < n; i++)
			must(gmp_chan_send(owned[i].gate, NULL));
	} else {
		must(gmp_chan_close(p.gate));
	}
	must(gmp_waitgroup_wait(&p.ended));
	int64_t release = now_ns() - start;

	if (owned)
		for (int64_t i = 0; i < n; i++)
			gmp_chan_free(owned[i].gate);
	gmp_chan_free(p.gate);
	r->ns = park + release;
	r->ops = n;
	double rss = per(memory_at_start.rss, m.rss, n), pte = per(memory_at_start.pte, m.pte, n);
	result_number(r, "bytes_per", rss);
	result_number(r, "pte_bytes_per", pte);
	result_number(r, "total_bytes_per", rss + pte);
	result_number(r, "vsz_per", per(memory_at_start.vsz, m.vsz, n));
	result_number(r, "bytes_per_after_end", rss_per(n));
	gmp_trim();
	result_number(r, "bytes_per_after_trim", rss_per(n));
	result_number(r, "park_s", (double)park / 1e9);
	result_number(r, "release_s", (double)release / 1e9);
}

static void run_parked(struct result *r, int64_t n) { measure_parked(r, n, NULL); }

static void run_parked_own(struct result *r, int64_t n)
{
	struct own *owned = must_alloc((size_t)n, sizeof *owned);

	measure_parked(r, n, owned);
	free(owned);
}

/* ---- touch -------------------------------------------------------------------------------------------------------- */

/* What the system asks for the memory of `parked`, whoever manages it: plain threads write to one page in every 64 KiB. */
struct touch {
	char *base;
	int64_t first, end;
};

enum { TOUCH_STRIDE = 64 * 1024 };

static void *touch_pages(void *arg)
{
	const struct touch *t = arg;

	for (int64_t i = t->first; i < t->end; i++)
		*(volatile char *)(t->base + i * TOUCH_STRIDE) = 1;
	return NULL;
}

static void run_touch(struct result *r, int64_t n)
{
	size_t bytes = (size_t)n * TOUCH_STRIDE;
	char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct touch *part = must_alloc((size_t)bench_workers, sizeof *part);
	pthread_t *thread = must_alloc((size_t)bench_workers, sizeof *thread);

	check(base != MAP_FAILED, "no address space");
	(void)madvise(base, bytes, MADV_NOHUGEPAGE);
	int64_t start = now_ns();
	for (int i = 0; i < bench_workers; i++) {
		part[i] = (struct touch){base, n * i / bench_workers, n * (i + 1) / bench_workers};
		must(-pthread_create(&thread[i], NULL, touch_pages, &part[i]));
	}
	for (int i = 0; i < bench_workers; i++)
		must(-pthread_join(thread[i], NULL));
	r->ns = now_ns() - start;
	r->ops = n;
	must(munmap(base, bytes));
	free(thread);
	free(part);
}

/* ---- deep -------------------------------------------------------------------------------------------------------- */

enum { LEVELS = 16, FRAME = 1024 }; /* together 16 KiB */

struct deep {
	gmp_waitgroup at_depth, shallow, ended;
	gmp_chan *gate_deep, *gate_shallow; /* closed in turn */
	_Atomic int64_t sum;
};

/* The frame is the array and, on x86-64, 80 bytes of saved registers, locals and return address. */
static __attribute__((noinline)) int64_t descend(struct deep *d, int64_t level)
{
	volatile char pad[FRAME - 80];

	for (size_t i = 0; i < sizeof pad; i += 64)
		pad[i] = (char)level;
	if (level > 1) {
		level += descend(d, level - 1);
	} else {
		gmp_yield();
		gmp_waitgroup_done(&d->at_depth);
		gmp_chan_recv(d->gate_deep, NULL); /* -EPIPE */
	}
	return level + pad[0] - pad[64]; /* used after the call: no tail call, and the frame stays */
}

static void go_deep(void *arg)
{
	struct deep *d = arg;

	atomic_fetch_add(&d->sum, descend(d, LEVELS));
	gmp_waitgroup_done(&d->shallow);
	gmp_chan_recv(d->gate_shallow, NULL);
	gmp_waitgroup_done(&d->ended);
}

static void run_deep(struct result *r, int64_t n)
{
	struct deep d = {.gate_deep = must_chan(0, 0), .gate_shallow = must_chan(0, 0)};

	int64_t start = now_ns();
	expect(&d.at_depth, n);
	expect(&d.shallow, n);
	expect(&d.ended, n);
	for (int64_t i = 0; i < n; i++)
		must(gmp_spawn(go_deep, &d));
	must(gmp_waitgroup_wait(&d.at_depth));
	r->ns = now_ns() - start;
	must(gmp_sleep(SETTLE));
	result_number(r, "bytes_per_peak", rss_per(n));
	result_number(r, "pte_bytes_per_peak", per(memory_at_start.pte, memory_now().pte, n));

	start = now_ns();
	must(gmp_chan_close(d.gate_deep));
	must(gmp_waitgroup_wait(&d.shallow));
	r->ns += now_ns() - start;
	must(gmp_sleep(SETTLE));
	result_number(r, "bytes_per_after_all_parked_shallow", rss_per(n));
	gmp_trim();
	result_number(r, "bytes_per_after_all_parked_shallow_trim", rss_per(n));

	start = now_ns();
	must(gmp_chan_close(d.gate_shallow));
	must(gmp_waitgroup_wait(&d.ended));
	r->ns += now_ns() - start;
	r->ops = n;
	must(gmp_sleep(SETTLE));
	result_number(r, "bytes_per_after_end", rss_per(n));
	gmp_trim();
	result_number(r, "bytes_per_after_trim", rss_per(n));
	gmp_chan_free(d.gate_deep);
	gmp_chan_free(d.gate_shallow);
	check(d.sum == n * (LEVELS * (LEVELS + 1) / 2), "sum of levels %lld", (long long)d.sum);
}

const struct workload memory_workloads[] = {
	{"parked", run_parked, 100000, 0, "n coroutines blocked on one channel: bytes each"},
	{"parked_own", run_parked_own, 100000, 0, "the same, a channel each"},
	{"touch", run_touch, 1000000, NO_RUNTIME | WARM_NONE, "first touch of n pages by plain threads: the floor of parked"},
	{"deep", run_deep, 10000, 0, "16 KiB of stack each: bytes at the peak and later"},
	{0},
};
