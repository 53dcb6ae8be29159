/* SPDX-License-Identifier: MIT
 * interleave.h - explores every interleaving of a small model of a protocol, on machines that buffer stores.
 *
 * A model is a struct S (plain data, Il first, compared bytewise) and one function a thread, written as straight C in
 * which STEP marks where other threads may act. One step is the code from one mark to the next: at most one access to
 * shared memory that others can tell from its neighbours. Exploration is breadth first over distinct states, so a trace
 * that leads to a failure is a shortest one. Checked in each state: what the model asserts with il_fail() and in its
 * invariant(). Checked at the end: no state in which threads stand still except those that terminal() approves, and
 * from each state one of those can be reached (no endless loop).
 *
 * Memory: st() and st_rlx() go into the thread's store buffer and become visible later, ld() looks into the thread's own
 * buffer first. Buffers are first in first out (x86, TSO); with il_weak a relaxed store may also be overtaken by later
 * stores to other words, and only a release store (st) waits for its forerunners (stores on ARM). Loads are in program
 * order. Read-modify-writes (rmw, LOCK, UNLOCK) drain the buffer. MEMBARRIER drains everybody's, one thread after the other.
 *
 * Each mutation of a model takes one rule away, and must be caught: otherwise the model proves nothing about the rule.
 *
 * A model defines IL_T (threads), IL_V (buffered words, one byte each), optionally IL_BUF (length of a store buffer) and
 * IL_DEPTH (nesting of CALL), includes this file, and ends with main() calling il_main(). */
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef IL_BUF
#define IL_BUF 6
#endif
#ifndef IL_DEPTH
#define IL_DEPTH 4
#endif

typedef struct S S; /* the model's state */

typedef struct Il {
	uint16_t pc[IL_T][IL_DEPTH]; /* where each level of each thread goes on; 0: at its beginning */
	uint8_t done[IL_T];
	uint8_t bar[IL_T];           /* whose buffer a membarrier drains next */
	uint8_t nbuf[IL_T];
	uint8_t buf[IL_T][IL_BUF][2]; /* word (| IL_RELAXED), value */
	uint8_t v[IL_V ? IL_V : 1];  /* what everybody sees */
} Il;
enum { IL_RELAXED = 0x80 };

/* ---- what a model supplies, per run --------------------------------------------------------------------------------- */

enum { IL_RAN, IL_BLOCKED, IL_DONE };
typedef int IlFn(S *s, int t, int d); /* one step of thread t, level d */

typedef struct IlRun {
	const char *what;
	void (*init)(S *s);     /* calls il_thread() for each thread */
	int mutation;           /* 0: the protocol as it is */
	const char *caught_as;  /* part of the message that a mutation must be caught with; NULL without one */
} IlRun;

typedef struct IlModel {
	const char *name;
	size_t size;                      /* of S */
	void (*invariant)(const S *s);    /* or NULL */
	void (*terminal)(const S *s);     /* nobody can move: fine, or il_fail(). NULL: all threads must have ended */
	const char *const *reach;         /* what must have happened somewhere in the unmutated runs: names for REACHED() */
	const IlRun *runs;
	size_t nruns;
} IlModel;

static IlFn *il_fn[IL_T];
static const char *il_thread_name[IL_T];
static int il_threads;
static int il_mutation;
static bool il_weak;
static uint64_t il_reached;

#define MUT(m) (il_mutation == (m))
#define REACHED(n) ((void)(il_reached |= UINT64_C(1) << (n)))

static inline void il_thread(const char *name, IlFn *fn)
{
	il_thread_name[il_threads] = name;
	il_fn[il_threads++] = fn;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static const char *il_label;
static int il_alt, il_nalt;
static char il_message[256];

__attribute__((format(printf, 1, 2), unused)) static void il_fail(const char *fmt, ...)
{
	if (il_message[0])
		return;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(il_message, sizeof il_message, fmt, ap);
	va_end(ap);
}

/* One of 0..n-1: all are explored. Once in a step. */
__attribute__((unused)) static int il_choose(int n)
{
	il_nalt = n;
	return il_alt;
}

/* In thread functions: (S *s, int t, int d). Nothing local survives a mark, and no two marks share a line. */
#define BEGIN switch (((Il *)s)->pc[t][d]) { case 0:
#define END } ((Il *)s)->pc[t][d] = 0; return IL_DONE
#define RETURN do { ((Il *)s)->pc[t][d] = 0; return IL_DONE; } while (0)
#define STEP(label) do { \
	((Il *)s)->pc[t][d] = __LINE__; \
	return IL_RAN; \
	case __LINE__: il_label = (label); \
} while (0)
#define AWAIT(label, cond) do { \
	((Il *)s)->pc[t][d] = __LINE__; \
	return IL_RAN; \
	case __LINE__: il_label = (label); \
	if (!(cond)) \
		return IL_BLOCKED; \
} while (0)
#define CALL(fn) do { \
	((Il *)s)->pc[t][d] = __LINE__; \
	__attribute__((fallthrough)); \
	case __LINE__: { \
		int r_ = fn(s, t, d + 1); \
		if (r_ != IL_DONE) \
			return r_; \
	} \
} while (0)

/* ---- memory --------------------------------------------------------------------------------------------------------- */

__attribute__((unused)) static uint8_t ld(const S *s, int t, int var)
{
	const Il *il = (const Il *)(const void *)s;
	for (int i = il->nbuf[t] - 1; i >= 0; i--)
		if ((il->buf[t][i][0] & ~IL_RELAXED) == var)
			return il->buf[t][i][1];
	return il->v[var];
}

static void il_flush(Il *il, int t, int i)
{
	il->v[il->buf[t][i][0] & ~IL_RELAXED] = il->buf[t][i][1];
	int n = --il->nbuf[t];
	memmove(il->buf[t][i], il->buf[t][i + 1], (size_t)(n - i) * 2);
	memset(il->buf[t][n], 0, 2);
}

__attribute__((unused)) static void il_drain(S *s, int t)
{
	Il *il = (Il *)(void *)s;
	while (il->nbuf[t])
		il_flush(il, t, 0);
}

static void il_store(S *s, int t, int var, int val, int relaxed)
{
	Il *il = (Il *)(void *)s;
	if (il->nbuf[t] == IL_BUF) /* full: the CPU waits */
		il_flush(il, t, 0);
	int n = il->nbuf[t]++;
	il->buf[t][n][0] = (uint8_t)(var | relaxed);
	il->buf[t][n][1] = (uint8_t)val;
}
__attribute__((unused)) static void st(S *s, int t, int var, int val) { il_store(s, t, var, val, 0); }
__attribute__((unused)) static void st_rlx(S *s, int t, int var, int val) { il_store(s, t, var, val, il_weak ? IL_RELAXED : 0); }

/* The word itself, for a read-modify-write of thread t. */
__attribute__((unused)) static uint8_t *rmw(S *s, int t, int var)
{
	il_drain(s, t);
	return &((Il *)(void *)s)->v[var];
}

#define LOCK(var) do { \
	AWAIT("lock " #var, *rmw(s, t, var) == 0); \
	*rmw(s, t, var) = (uint8_t)(t + 1); \
} while (0)
#define UNLOCK(var) do { \
	STEP("unlock " #var); \
	*rmw(s, t, var) = 0; \
} while (0)
#define FENCE() do { \
	STEP("fence"); \
	il_drain(s, t); \
} while (0)
/* The kernel interrupts one CPU after the other, and others go on meanwhile. */
#define MEMBARRIER() do { \
	for (((Il *)s)->bar[t] = 0; ((Il *)s)->bar[t] < il_threads; ((Il *)s)->bar[t]++) { \
		STEP("membarrier"); \
		il_drain(s, ((Il *)s)->bar[t]); \
	} \
	((Il *)s)->bar[t] = 0; \
} while (0)

/* ---- exploration ---------------------------------------------------------------------------------------------------- */

/* A transition: thread, alternative; or a flush of entry `alt` of the thread's buffer. */
enum { IL_FLUSH = 0x8000 };
typedef struct IlRec {
	uint64_t hash;
	uint32_t parent;
	uint16_t choice;
} IlRec;

typedef struct IlSearch {
	const IlModel *m;
	IlRec *rec;
	uint32_t n, cap;
	uint32_t *table, mask;
	unsigned char *queue; /* states found and not yet expanded, from `first` on */
	size_t qhead, qcount, qcap;
	uint32_t *edge, *edgeend; /* successors of each state */
	size_t nedge, edgecap;
	uint8_t *isend;
} IlSearch;

static void *il_grow(void *p, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p) {
		fprintf(stderr, "interleave: out of memory\n");
		exit(2);
	}
	return p;
}

static uint64_t il_hash(const void *p, size_t n)
{
	const unsigned char *b = p;
	uint64_t h = 0x9e3779b97f4a7c15u ^ n;
	while (n) {
		uint64_t w = 0;
		size_t k = n < 8 ? n : 8;
		memcpy(&w, b, k);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
		b += k;
		n -= k;
	}
	h *= 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 29;
}

static void il_rehash(IlSearch *x, uint32_t size)
{
	x->table = il_grow(x->table, size * sizeof *x->table);
	memset(x->table, 0xff, size * sizeof *x->table);
	x->mask = size - 1;
	for (uint32_t i = 0; i < x->n; i++) {
		uint32_t k = (uint32_t)x->rec[i].hash & x->mask;
		while (x->table[k] != UINT32_MAX)
			k = (k + 1) & x->mask;
		x->table[k] = i;
	}
}

/* The state's number; a new one is queued. States are told apart by 64 bits of hash. */
static uint32_t il_visit(IlSearch *x, const S *s, uint32_t parent, uint16_t choice)
{
	uint64_t h = il_hash(s, x->m->size);
	uint32_t k = (uint32_t)h & x->mask;
	for (; x->table[k] != UINT32_MAX; k = (k + 1) & x->mask)
		if (x->rec[x->table[k]].hash == h)
			return x->table[k];
	if (x->n == x->cap) {
		x->cap *= 2;
		x->rec = il_grow(x->rec, x->cap * sizeof *x->rec);
		x->edgeend = il_grow(x->edgeend, x->cap * sizeof *x->edgeend);
		x->isend = il_grow(x->isend, x->cap);
	}
	uint32_t id = x->n++;
	x->table[k] = id;
	x->rec[id] = (IlRec){h, parent, choice};
	x->isend[id] = 0;
	if (x->n > x->mask / 2)
		il_rehash(x, 2 * (x->mask + 1));
	if (x->qcount == x->qcap) {
		size_t cap = x->qcap * 2;
		unsigned char *q = il_grow(NULL, cap * x->m->size);
		for (size_t i = 0; i < x->qcount; i++)
			memcpy(q + i * x->m->size, x->queue + ((x->qhead + i) % x->qcap) * x->m->size, x->m->size);
		free(x->queue);
		x->queue = q;
		x->qhead = 0;
		x->qcap = cap;
	}
	memcpy(x->queue + ((x->qhead + x->qcount++) % x->qcap) * x->m->size, s, x->m->size);
	return id;
}

/* Does `choice` in s. IL_BLOCKED: impossible. */
static int il_apply(const IlModel *m, S *s, uint16_t choice)
{
	int t = choice & 0xf;
	Il *il = (Il *)(void *)s;
	il_alt = choice >> 4 & 0xff;
	il_nalt = 1;
	il_label = "";
	if (choice & IL_FLUSH) {
		il_label = "(store becomes visible)";
		il_flush(il, t, il_alt);
	} else {
		int r = il_fn[t](s, t, 0);
		if (r == IL_BLOCKED)
			return r;
		if (r == IL_DONE)
			il->done[t] = 1;
	}
	int n = il_nalt;
	if (m->invariant && !il_message[0])
		m->invariant(s);
	il_nalt = n;
	return IL_RAN;
}

static bool il_flushable(const Il *il, int t, int i)
{
	if (!(il->buf[t][i][0] & IL_RELAXED))
		return i == 0;
	for (int k = 0; k < i; k++)
		if ((il->buf[t][k][0] & ~IL_RELAXED) == (il->buf[t][i][0] & ~IL_RELAXED))
			return false;
	return true;
}

static void il_trace(const IlSearch *x, const S *start, uint32_t id, uint16_t last, bool with_last)
{
	uint32_t n = 0;
	for (uint32_t i = id; i != 0; i = x->rec[i].parent)
		n++;
	uint16_t *c = il_grow(NULL, (n + 1) * sizeof *c);
	c[n] = last;
	for (uint32_t i = id, k = n; i != 0; i = x->rec[i].parent)
		c[--k] = x->rec[i].choice;
	S *s = il_grow(NULL, x->m->size);
	memcpy(s, start, x->m->size);
	for (uint32_t i = 0; i < n + with_last; i++) {
		(void)il_apply(x->m, s, c[i]);
		printf("    %3u %-12s %s\n", i + 1, il_thread_name[c[i] & 0xf], il_label);
	}
	free(s);
	free(c);
}

/* From every state a state in isend[] can be reached. A state that cannot, or UINT32_MAX. */
static uint32_t il_hopeless(IlSearch *x)
{
	uint32_t *start = calloc(x->n + 1, sizeof *start), *from = il_grow(NULL, (x->nedge + 1) * sizeof *from);
	uint32_t *stack = il_grow(NULL, (x->n + 1) * sizeof *stack), top = 0, bad = UINT32_MAX;
	for (size_t e = 0; e < x->nedge; e++)
		start[x->edge[e] + 1]++;
	for (uint32_t i = 0; i < x->n; i++)
		start[i + 1] += start[i];
	for (uint32_t i = 0; i < x->n; i++) /* start[] moves up by one while it is filled */
		for (size_t e = i ? x->edgeend[i - 1] : 0; e < x->edgeend[i]; e++)
			from[start[x->edge[e]]++] = i;
	for (uint32_t i = 0; i < x->n; i++)
		if (x->isend[i])
			stack[top++] = i;
	while (top) {
		uint32_t i = stack[--top];
		for (uint32_t k = i ? start[i - 1] : 0; k < start[i]; k++)
			if (!x->isend[from[k]]) {
				x->isend[from[k]] = 1;
				stack[top++] = from[k];
			}
	}
	for (uint32_t i = 0; i < x->n && bad == UINT32_MAX; i++)
		if (!x->isend[i])
			bad = i;
	free(start);
	free(from);
	free(stack);
	return bad;
}

/* il_message tells what is wrong, if anything. Number of states. */
static uint32_t il_explore(const IlModel *m, const IlRun *run, bool trace)
{
	IlSearch x = {.m = m, .cap = 1 << 16, .qcap = 1 << 12, .edgecap = 1 << 18};
	x.rec = il_grow(NULL, x.cap * sizeof *x.rec);
	x.edgeend = il_grow(NULL, x.cap * sizeof *x.edgeend);
	x.isend = il_grow(NULL, x.cap);
	x.queue = il_grow(NULL, x.qcap * m->size);
	x.edge = il_grow(NULL, x.edgecap * sizeof *x.edge);
	il_rehash(&x, 1 << 17);
	S *start = calloc(1, m->size), *s = il_grow(NULL, m->size), *next = il_grow(NULL, m->size);
	il_threads = 0;
	il_weak = false;
	il_message[0] = 0;
	il_mutation = run->mutation;
	run->init(start);
	for (int t = 0; t < il_threads; t++) /* up to its first mark */
		(void)il_apply(m, start, (uint16_t)t);
	(void)il_visit(&x, start, 0, 0);
	uint32_t id = 0;
	for (; x.qcount && !il_message[0]; id++) {
		memcpy(s, x.queue + x.qhead * m->size, m->size);
		x.qhead = (x.qhead + 1) % x.qcap;
		x.qcount--;
		const Il *il = (const Il *)(const void *)s;
		bool moved = false, ended = true;
		uint16_t choice = 0;
		for (int t = 0; t < il_threads && !il_message[0]; t++) {
			ended &= il->done[t];
			for (int kind = 0; kind < 2; kind++) {
				int n = kind ? il->nbuf[t] : !il->done[t];
				for (int a = 0; a < n && !il_message[0]; a++) {
					if (kind && !il_flushable(il, t, a))
						continue;
					choice = (uint16_t)(t | a << 4 | (kind ? IL_FLUSH : 0));
					memcpy(next, s, m->size);
					if (il_apply(m, next, choice) == IL_BLOCKED)
						continue;
					if (!kind)
						n = il_nalt;
					moved = true;
					if (il_message[0])
						break;
					if (x.nedge == x.edgecap)
						x.edge = il_grow(x.edge, (x.edgecap *= 2) * sizeof *x.edge);
					x.edge[x.nedge++] = il_visit(&x, next, id, choice);
				}
			}
		}
		x.edgeend[id] = (uint32_t)x.nedge;
		if (il_message[0]) {
			if (trace)
				il_trace(&x, start, id, choice, true);
			break;
		}
		if (!moved) {
			x.isend[id] = 1;
			if (m->terminal)
				m->terminal(s);
			else if (!ended)
				il_fail("stuck");
			if (il_message[0] && trace)
				il_trace(&x, start, id, 0, false);
		}
	}
	if (!il_message[0]) {
		uint32_t bad = il_hopeless(&x);
		if (bad != UINT32_MAX) {
			il_fail("no end can be reached any more");
			if (trace)
				il_trace(&x, start, bad, 0, false);
		}
	}
	uint32_t n = x.n;
	free(x.rec);
	free(x.table);
	free(x.queue);
	free(x.edge);
	free(x.edgeend);
	free(x.isend);
	free(start);
	free(s);
	free(next);
	return n;
}

/* Arguments: part of the names of the runs wanted; -v shows the traces of mutations too. */
static int il_main(const IlModel *m, int argc, char **argv)
{
	bool verbose = false;
	const char *only = NULL;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-v") == 0)
			verbose = true;
		else
			only = argv[i];
	}
	int bad = 0;
	uint64_t total = 0;
	clock_t began = clock();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < m->nruns; i++) {
		const IlRun *r = &m->runs[i];
		if (only && !strstr(r->what, only))
			continue;
		uint64_t reached = il_reached;
		uint32_t n = il_explore(m, r, verbose || !r->caught_as);
		total += n;
		bool ok = r->caught_as ? il_message[0] && strstr(il_message, r->caught_as) : !il_message[0];
		if (r->caught_as)
			il_reached = reached;
		printf("%s %s: %s: %u states%s%s\n", ok ? "ok  " : "FAIL", m->name, r->what, n,
		       r->caught_as ? (il_message[0] ? ", caught: " : ", NOT CAUGHT") : (il_message[0] ? ", violated: " : ""), il_message);
		bad += !ok;
	}
	for (int i = 0; !only && m->reach && m->reach[i]; i++)
		if (!(il_reached >> i & 1)) {
			printf("FAIL %s: never happened: %s\n", m->name, m->reach[i]);
			bad++;
		}
	printf("%s: %llu states, %.1f s, %s\n", m->name, (unsigned long long)total, (double)(clock() - began) / CLOCKS_PER_SEC,
	       bad ? "FAILED" : "all as expected");
	return bad != 0;
}

#endif
