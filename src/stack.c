/* SPDX-License-Identifier: MIT
 * stack.c - where stacks come from and where they go: carved from arenas, kept in one list a size class (warm: with
 * pages, bare: pages given back), given back to the OS by gmp_trim and by age. The geometry of a slot is in stack.h. */
#include "stack.h"
#include "atomic.h"
#include "debugvars.h"
#include "fault.h"
#include "lock.h"
#include "os.h"
#include "stack_guard.h"
#include "throw.h"

#include <errno.h>
#include <stdlib.h>

#define CLASSES (STACK_MAX_SHIFT - STACK_MIN_SHIFT + 1)
#define MAX_SIZE ((size_t)1 << STACK_MAX_SHIFT)

/* The first arena of a class, and the largest one: a million default stacks live in about 250 arenas. */
#define ARENA_FIRST ((size_t)64 << 20)
#define ARENA_LARGEST ((size_t)1 << 30)

#define BATCH 32 /* stacks between a cache and the global list, and guards at once: more gains nothing, measured */

/* A coroutine that ends may leave so much touched for the next one: below 16 pages giving back and touching again (1.9
 * us a page, measured) would cost more than the memory is worth while the stack is in use. */
#define KEEP ((size_t)64 << 10)
/* Above this size asking for touched pages (25 ns a page) costs more than giving them back unasked (1-5 us). */
#define ASK_MAX ((size_t)1 << 20)
#define GLOBAL_LOOK_EVERY 16 /* of the frees that bypass the caches, as STACK_LOOK_EVERY for the others */

#define RED_ZONE 256 /* what code of the machine may use below SP, at most */

/* Age: what nobody took out of a list for WINDOW steps is surplus; an eighth of it goes in each window. */
#define AGE_STEP (100 * INT64_C(1000000))
#define AGE_WINDOW 10
#define AGE_SHARE 8
#define AGE_MOST 512 /* stacks a step: half a millisecond of sysmon's time */

#define COLOURS (STACK_COLOUR_SPAN / CACHELINE)
#define COLOUR_STEP 5 /* odd, and neighbours' top frames (2-4 lines) do not overlap */

typedef struct Arena Arena;
struct Arena {
	Arena *next; /* all arenas, newest first; constant once published (ST-1) */
	Arena *room; /* next one of the class with uncarved slots */
	char *base;
	size_t stride;
	uint32_t n, carved;
	uint32_t colour; /* of slot 0, in steps */
	Stack slots[];
};

/* ST-5 `lk` protects all of this but `arenas`, `frees` (atomic) and the age clock. No system call is made under it.
 * ST-6 low <= nwarm: `low` is the least nwarm was since the present age window began. */
typedef struct Class {
	Stack *warm, *bare;
	uint32_t nwarm, nbare, low;
	uint32_t surplus; /* at the end of the last window */
	uint32_t frees;
	Arena *room;
	size_t arena_bytes; /* of the next arena; 0: none yet */
	uint32_t carved;
} Class;

static struct {
	Lock lk;
	uint32_t dflt; /* default class; constant while a runtime is up */
	Class cls[CLASSES];
	uint64_t carved, bytes;
	Arena *arenas; /* published with release; read by gmp__stack_find in signal handlers */
	/* sysmon only */
	int64_t age_next;
	uint32_t age_step;
} g;

uintptr_t gmp__stack_hot = STACK_GUARDED;
size_t gmp__stack_inset;

static uint32_t class_of(size_t size)
{
	size_t page = gmp__os_pagesize();
	uint32_t c = 0;
	if (size < page)
		size = page;
	while (((size_t)1 << (STACK_MIN_SHIFT + c)) < size)
		c++;
	return c;
}

static inline uint32_t stack_class(const Stack *s) { return (uint32_t)(s->bits & STACK_CLASS); }

int gmp__stack_init(size_t default_size)
{
	if (default_size == 0)
		default_size = STACK_DEFAULT_SIZE;
	if (default_size < (size_t)1 << STACK_MIN_SHIFT || default_size > MAX_SIZE)
		return -EINVAL;
	if (!gmp__stack_inset) /* others read it at any time, from the first run on */
		gmp__stack_inset = (GUARD_PAGES - 1) * gmp__os_pagesize();
	g.dflt = class_of(default_size);
	/* Unguarded stacks always take the slow path, for their canary. */
	gmp__stack_hot = g.dflt | STACK_GUARDED;
	g.age_next = 0;
	g.age_step = 0;
	gmp__guard_init();
	return 0;
}

void gmp__stack_fork_child(void)
{
	g.lk = (Lock){0};
	for (uint32_t i = 0; i < CLASSES; i++)
		g.cls[i] = (Class){0};
	g.carved = 0;
}

/* ---- global lists ------------------------------------------------------------------------------------------------ */

/* Up to `want` stacks off a list: the chain, its length in *n, its last element in *last. Under lk. */
static Stack *take(Stack **list, uint32_t want, uint32_t *n, Stack **last)
{
	Stack *first = *list, *s = first;
	*n = 0;
	*last = NULL;
	for (; s && *n < want; s = s->next) {
		*last = s;
		++*n;
	}
	*list = s;
	if (*last)
		(*last)->next = NULL;
	return first;
}

static Stack *take_warm(Class *k, uint32_t want, uint32_t *n, Stack **last)
{
	Stack *s = take(&k->warm, want, n, last);
	k->nwarm -= *n;
	if (k->low > k->nwarm)
		k->low = k->nwarm;
	return s;
}

static void put_warm(Class *k, Stack *first, Stack *last, uint32_t n)
{
	lock(&g.lk);
	last->next = k->warm;
	k->warm = first;
	k->nwarm += n;
	unlock(&g.lk);
}

/* Up to `most` stacks of a class lose their pages. Number done. */
static uint32_t cool(Class *k, uint32_t most)
{
	uint32_t done = 0;
	while (done < most) {
		struct iovec v[GUARD_BATCH];
		uint32_t n, i = 0, want = most - done < GUARD_BATCH ? most - done : GUARD_BATCH;
		Stack *last;
		lock(&g.lk);
		Stack *first = take_warm(k, want, &n, &last);
		unlock(&g.lk);
		if (n == 0)
			break;
		for (Stack *s = first; s; s = s->next)
			v[i++] = (struct iovec){gmp__stack_lo(s), stack_size(s)};
		gmp__pages_discard(v, n);
		lock(&g.lk);
		last->next = k->bare;
		k->bare = first;
		k->nbare += n;
		unlock(&g.lk);
		done += n;
	}
	return done;
}

void gmp__stack_trim(void)
{
	for (uint32_t i = 0; i < CLASSES; i++) {
		/* What is freed meanwhile is not waited for: a busy program would keep us here. */
		lock(&g.lk);
		uint32_t n = g.cls[i].nwarm;
		unlock(&g.lk);
		(void)cool(&g.cls[i], n);
	}
}

void gmp__stack_trim_below(const Stack *s, const void *sp)
{
	uintptr_t live = ((uintptr_t)sp - RED_ZONE) & ~(uintptr_t)(gmp__os_pagesize() - 1);
	char *lo = gmp__stack_lo(s), *end = (char *)live;
	if (end <= lo || (stack_size(s) <= ASK_MAX && gmp__pages_lowest(lo, end) == end))
		return;
	gmp__pages_discard(&(struct iovec){lo, (size_t)(end - lo)}, 1);
}

int64_t gmp__stack_age(int64_t now)
{
	bool window, any = false;
	if (now < g.age_next)
		return g.age_next;
	g.age_next = now + AGE_STEP;
	window = ++g.age_step % AGE_WINDOW == 0;
	for (uint32_t i = 0; i < CLASSES; i++) {
		Class *k = &g.cls[i];
		lock(&g.lk);
		if (window) {
			k->surplus = k->low;
			k->low = k->nwarm;
		}
		uint32_t n = (k->surplus + AGE_SHARE * AGE_WINDOW - 1) / (AGE_SHARE * AGE_WINDOW);
		n = n < AGE_MOST ? n : AGE_MOST;
		n = n < k->low ? n : k->low; /* demand has come back */
		any |= k->nwarm > 0;
		unlock(&g.lk);
		(void)cool(k, n);
	}
	return any ? g.age_next : INT64_MAX;
}

/* ---- carving ----------------------------------------------------------------------------------------------------- */

/* Of `bytes` address space, or what can be had. Not under lk. */
static Arena *arena_new(uint32_t c, size_t bytes)
{
	size_t page = gmp__os_pagesize();
	size_t stride = stack_class_size(c) + GUARD_PAGES * page;
	size_t n = bytes / stride;
	if (n == 0)
		n = 1;
	/* A limit on address space, or strict overcommit: smaller, down to one slot. */
	for (; n > 0; n /= 2) {
		Arena *a = gmp__os_zalloc(sizeof *a + n * sizeof(Stack));
		if (!a)
			continue;
		a->base = gmp__os_reserve(n * stride, page);
		if (a->base) {
			a->stride = stride;
			a->n = (uint32_t)n;
			return a;
		}
		free(a);
	}
	return NULL;
}

/* Reserves up to `want` fresh slots; they are the caller's, without records yet. */
static Arena *carve(uint32_t c, uint32_t want, uint32_t *first, uint32_t *n)
{
	Class *k = &g.cls[c];
	lock(&g.lk);
	Arena *a = k->room;
	if (!a) {
		size_t bytes = k->arena_bytes ? k->arena_bytes : ARENA_FIRST;
		unlock(&g.lk);
		a = arena_new(c, bytes);
		if (!a)
			return NULL;
		lock(&g.lk);
		/* Another thread may have made one as well; both will be used. */
		a->colour = k->carved;
		a->room = k->room;
		k->room = a;
		k->arena_bytes = bytes < ARENA_LARGEST ? bytes * 2 : bytes;
		g.bytes += a->n * a->stride;
		a->next = g.arenas;
		store_release(&g.arenas, a); /* pairs with gmp__stack_find */
	}
	*first = a->carved;
	*n = a->n - a->carved < want ? a->n - a->carved : want;
	a->carved += *n;
	k->carved += *n;
	g.carved += *n;
	if (a->carved == a->n)
		k->room = a->room;
	unlock(&g.lk);
	return a;
}

/* Guards for the slots, and their records, chained in order of address. */
static Stack *bind_slot(Arena *a, uint32_t c, uint32_t first, uint32_t n)
{
	char *base = a->base + first * a->stride;
	unsigned guarded = gmp__guard_install(base, a->stride, n);
	for (uint32_t i = 0; i < n; i++) {
		char *hi = base + (i + 1) * a->stride;
		uint32_t colour = gmp__debug.colour ? (a->colour + first + i) * COLOUR_STEP % COLOURS : 0;
		Stack *s = &a->slots[first + i];
		s->next = i + 1 < n ? s + 1 : NULL;
		store_relaxed(&s->bits, ((uintptr_t)hi - colour * CACHELINE) | c | (i < guarded ? STACK_GUARDED : 0));
		gmp__san_stack_new(hi - stack_class_size(c), hi);
	}
	return &a->slots[first];
}

Stack *gmp__stack_find(uintptr_t addr, bool *in_guard)
{
	for (Arena *a = load_acquire(&g.arenas); a; a = a->next) { /* pairs with carve */
		uintptr_t off = addr - (uintptr_t)a->base;
		if (off >= a->n * a->stride)
			continue;
		Stack *s = &a->slots[off / a->stride];
		uintptr_t bits = load_relaxed(&s->bits);
		if (bits == 0)
			return NULL;
		*in_guard = off % a->stride < a->stride - stack_class_size((uint32_t)(bits & STACK_CLASS));
		return s;
	}
	return NULL;
}

/* ---- to and from the caches -------------------------------------------------------------------------------------- */

Stack *gmp__stack_alloc_slow(StackCache *c, size_t size)
{
	uint32_t class, n, want = 1;
	Stack *s, *last;
	if (size > MAX_SIZE)
		return NULL;
	class = size ? class_of(size) : g.dflt;
	if (c && class == g.dflt) {
		if (c->n > 0)
			return stack_alloc_hot(c);
		want = BATCH;
	}
	Class *k = &g.cls[class];
	lock(&g.lk);
	s = take_warm(k, want, &n, &last);
	if (!s) {
		s = take(&k->bare, want, &n, &last);
		k->nbare -= n;
	}
	unlock(&g.lk);
	if (!s) {
		uint32_t first;
		Arena *a = carve(class, want, &first, &n);
		if (!a)
			return NULL;
		s = bind_slot(a, class, first, n);
	}
	if (want > 1) { /* the cache is empty; those in front first */
		uint32_t i = n - 1;
		store_relaxed(&c->n, i);
		for (Stack *t = s->next; i > 0; t = t->next)
			c->stack[--i] = t;
	}
	gmp__san_stack_reuse(gmp__stack_lo(s), gmp__stack_hi(s));
	return s;
}

/* What was touched below the part worth keeping goes back to the OS. */
static void shed(Stack *s)
{
	char *lo = gmp__stack_lo(s), *keep = gmp__stack_hi(s) - KEEP;
	if (stack_size(s) <= KEEP || (stack_size(s) <= ASK_MAX && gmp__pages_lowest(lo, keep) == keep))
		return;
	gmp__pages_discard(&(struct iovec){lo, (size_t)(keep - lo)}, 1);
}

/* One of many frees pays for all: it looks at its own stack, and at one of those that lie in the cache, in turn, since
 * last-in first-out does not bring up the lower ones while demand is low. */
static void look(StackCache *c, Stack *s)
{
	shed(s);
	if (c->n == 0)
		return;
	shed(c->stack[c->frees / STACK_LOOK_EVERY % c->n]);
}

/* The n that were not used for longest go to the global list. n > 0. */
static void spill(StackCache *c, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		c->stack[i]->next = c->stack[i - 1];
	Stack *newest = c->stack[n - 1], *oldest = c->stack[0];
	uint32_t keep = c->n - n;
	for (uint32_t i = 0; i < keep; i++)
		c->stack[i] = c->stack[i + n];
	store_relaxed(&c->n, keep);
	put_warm(&g.cls[stack_class(newest)], newest, oldest, n);
}

static void check_canary(const Stack *s)
{
	if (unlikely(!(s->bits & STACK_GUARDED) && !gmp__guard_canary_ok(gmp__stack_lo(s))))
		gmp__fault_overflow(s, "found by its canary: it happened earlier");
}

void gmp__stack_free_slow(StackCache *c, Stack *s)
{
	check_canary(s);
	if (!c || stack_class(s) != g.dflt) {
		Class *k = &g.cls[stack_class(s)];
		if (stack_size(s) > ASK_MAX || fetch_add_relaxed(&k->frees, 1u) % GLOBAL_LOOK_EVERY == 0)
			shed(s);
		put_warm(k, s, s, 1);
		return;
	}
	if (c->n >= STACK_CACHE_MAX)
		spill(c, c->n - c->n / 2);
	/* With room in the cache, a guarded stack comes here for its turn to be looked at, others for their canary. */
	else if ((s->bits & STACK_GUARDED) || ++c->frees % STACK_LOOK_EVERY == 0)
		look(c, s);
	stack_cache_push(c, s);
}

void gmp__stack_cache_flush(StackCache *c)
{
	if (c->n > 0)
		spill(c, c->n);
}

/* ---- looking at them --------------------------------------------------------------------------------------------- */

size_t gmp__stack_used(const Stack *s)
{
	char *hi = gmp__stack_hi(s);
	check_canary(s);
	return (size_t)(hi - gmp__pages_lowest(gmp__stack_lo(s), hi));
}

void gmp__stack_stats(uint64_t *stacks, uint64_t *idle, uint64_t *bytes)
{
	lock(&g.lk);
	*stacks = g.carved;
	*idle = 0;
	for (uint32_t i = 0; i < CLASSES; i++)
		*idle += g.cls[i].nwarm + g.cls[i].nbare;
	*bytes = g.bytes;
	unlock(&g.lk);
}
