/* SPDX-License-Identifier: MIT
 * stack.h - coroutine stacks: reservations of address space that the kernel commits page by page. Slots are carved from
 * arenas, each behind a guard; freed ones are reused last-in first-out, first per P, then from one list a size class.
 *
 * A slot, low to high:   | guard | usable ... initial SP | colour, < 1 KiB |
 * The reservation is a power of two, the size class. Of a large one (32 pages and more) the lowest two pages are guard
 * and only the third guard page comes on top, which saves 16 bytes of page tables a coroutine; a small one has all of
 * its guard on top. Either way the stride between slots is an odd number of pages, and the tops of neighbours fall into
 * different TLB sets as well as (by their colour) different cache sets.
 *
 * ST-1 Arenas and the records of their slots are never unmapped or moved: a Stack * stays valid, and gmp__stack_find
 *      needs no lock.
 * ST-2 A Stack is in exactly one place: with its owner (a G, an M's signal stack), in one StackCache, or in one global
 *      list. Only who took it from there writes its `next`; `bits` never changes after carving.
 * ST-3 Nothing here writes to stack memory, and nothing reads it but the canary check: links and sizes live in the side
 *      table. So a slot that was never run on has no page, and a free one costs nothing to keep or to hand on.
 * ST-4 Below the usable part lies a guard (STACK_GUARDED) or memory that no frame of a healthy coroutine touches and
 *      that therefore reads as zero (the canary). */
#ifndef GMP_STACK_H
#define GMP_STACK_H

#include "atomic.h"
#include "sanitize.h"

#define STACK_MIN_SHIFT 14 /* 16 KiB */
#define STACK_MAX_SHIFT 30 /* 1 GiB */
#define STACK_DEFAULT_SIZE ((size_t)256 << 10)

/* Low bits of Stack.bits, below the 64-byte aligned SP. */
#define STACK_CLASS ((uintptr_t)31)   /* log2(size) - STACK_MIN_SHIFT */
#define STACK_GUARDED ((uintptr_t)32) /* the guard faults; else: canary */
#define STACK_KIND (STACK_CLASS | STACK_GUARDED)
#define STACK_SP_MASK (~(uintptr_t)63)

#define STACK_COLOUR_SPAN 1024 /* initial SPs lie in the highest so many bytes of the reservation */
#define STACK_CACHE_MAX 64     /* stacks a P keeps */
#define STACK_LOOK_EVERY 2048  /* one of so many frees looks for stacks that were used deeply */

typedef struct Stack Stack;
struct Stack {
	Stack *next;
	uintptr_t bits;
};

/* Free stacks of the default size, the last one freed at the end; one per P, plain data of its owner. All zero is empty. Not a
 * list: the records of four slots share a cache line, and stacks wander from P to P, so a link written at each end of a
 * coroutine keeps taking that line from the others. */
typedef struct StackCache {
	uint32_t n;
	uint32_t frees;
	Stack *stack[STACK_CACHE_MAX];
} StackCache;

/* Guard pages that are part of a large reservation, in bytes. */
extern hidden size_t gmp__stack_inset;
static inline size_t stack_class_size(uint32_t c) /* usable */
{
	size_t size = (size_t)1 << (STACK_MIN_SHIFT + c);
	return size >= 16 * gmp__stack_inset ? size - gmp__stack_inset : size;
}

/* Kind (class | guarded) of the stacks that go through the caches without a further look. */
extern hidden uintptr_t gmp__stack_hot;

/* At each start of the runtime, after gmp__debugvars_init; all caches are empty. default_size: 0 or 16 KiB..1 GiB, else
 * -EINVAL. Takes over guard kind and colouring for slots carved from now on. */
int gmp__stack_init(size_t default_size);
/* In a forked child, before anything else here: the parent's stacks stay with the coroutines that will never run again,
 * and the locks that another thread may have held are free. Async-signal-safe. */
void gmp__stack_fork_child(void);

/* size is rounded up to a class (0: default). NULL: no memory, or larger than 1 GiB. c may be NULL (not on a P). */
Stack *gmp__stack_alloc_slow(StackCache *c, size_t size);
void gmp__stack_free_slow(StackCache *c, Stack *s);
/* The P goes away: everything to the global list. */
void gmp__stack_cache_flush(StackCache *c);

/* All pages of all stacks in the global lists back to the OS, now. Any thread. */
void gmp__stack_trim(void);
/* What whoever sleeps on s has left below its stack pointer goes back to the OS. */
void gmp__stack_trim_below(const Stack *s, const void *sp);
/* The same as gmp__stack_trim, gradually, for stacks in the global lists that nobody needed for a while. One caller at a time (sysmon).
 * Returns when it wants to be called again, INT64_MAX: not before more stacks were freed. */
int64_t gmp__stack_age(int64_t now);

/* High-water mark in bytes: from the top to the lowest page touched since the slot's pages were last given back. Aborts
 * if the canary is damaged. Any thread; s may be running. */
size_t gmp__stack_used(const Stack *s);
/* stacks: slots ever carved; idle: of these in the global lists (add the caches' n); bytes: address space reserved. */
void gmp__stack_stats(uint64_t *stacks, uint64_t *idle, uint64_t *bytes);
/* The slot whose reservation or guard contains addr; NULL: none. Async-signal-safe. */
Stack *gmp__stack_find(uintptr_t addr, bool *in_guard);

static inline char *stack_sp(const Stack *s) { return (char *)(s->bits & STACK_SP_MASK); }
static inline size_t stack_reserved(const Stack *s) { return (size_t)1 << (STACK_MIN_SHIFT + (s->bits & STACK_CLASS)); }
static inline size_t stack_size(const Stack *s) { return stack_class_size((uint32_t)(s->bits & STACK_CLASS)); }
/* Lowest usable address, and the first address above. */
static inline char *gmp__stack_hi(const Stack *s)
{
	return (char *)(((s->bits & STACK_SP_MASK) + STACK_COLOUR_SPAN - 1) & ~(uintptr_t)(STACK_COLOUR_SPAN - 1));
}
static inline char *gmp__stack_lo(const Stack *s) { return gmp__stack_hi(s) - stack_size(s); }

/* A stack of the default size; the cache has one. */
static inline Stack *stack_alloc_hot(StackCache *c)
{
	uint32_t n = c->n - 1;
	Stack *s = c->stack[n];
	store_relaxed(&c->n, n);
	gmp__san_stack_reuse(gmp__stack_lo(s), gmp__stack_hi(s));
	return s;
}

static inline Stack *stack_alloc(StackCache *c)
{
	return likely(c->n > 0) ? stack_alloc_hot(c) : gmp__stack_alloc_slow(c, 0);
}

static inline void stack_cache_push(StackCache *c, Stack *s)
{
	c->stack[c->n] = s;
	store_relaxed(&c->n, c->n + 1);
}

/* Nobody runs on s any more, the caller included: another P may get it at once. */
static inline void stack_free(StackCache *c, Stack *s)
{
	if (unlikely((s->bits & STACK_KIND) != gmp__stack_hot || c->n >= STACK_CACHE_MAX ||
		     ++c->frees % STACK_LOOK_EVERY == 0)) {
		gmp__stack_free_slow(c, s);
		return;
	}
	stack_cache_push(c, s);
}

/* For a coroutine that ends: true if s went to the cache and stays there at least until its next user, of this P,
 * comes; so the caller may still stand on it. False: nothing was done. */
static inline bool stack_free_hot(StackCache *c, Stack *s)
{
	if (unlikely((s->bits & STACK_KIND) != gmp__stack_hot || c->n >= STACK_CACHE_MAX ||
		     (c->frees + 1) % STACK_LOOK_EVERY == 0))
		return false;
	c->frees++;
	stack_cache_push(c, s);
	return true;
}

#endif
