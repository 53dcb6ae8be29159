/* SPDX-License-Identifier: MIT
 * test_stack.c - size classes, reuse, colours, the three guard kinds, memory given back by trim, by age and from deep
 * stacks, high-water marks, failures of mapping calls, many threads. */
#include "stack.h"
#include "atomic.h"
#include "debugvars.h"
#include "fault.h"
#include "os.h"
#include "stack_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SANITIZED (ASAN_BUILD || TSAN_BUILD)
#define MSEC INT64_C(1000000)
#ifdef MINICMOCKA_H /* a cross build, run by an emulator: memory is the emulator's too, and it has limits of its own \
		     */
#define EMULATED 1
#else
#define EMULATED 0
#endif

/* Valgrind itself needs the address space that a test takes away, and unwinds from a fault by its own lights. */
static bool on_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");
	return preload && strstr(preload, "vgpreload");
}

/* Its search for leaks reads all that is reserved, in every child as well. */
static unsigned largest_shift(void) { return on_valgrind() ? 26 : STACK_MAX_SHIFT; }

static size_t page;

static size_t rss(void)
{
	unsigned long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &total, &resident), 2);
	(void)fclose(f);
	return resident * page;
}

/* Runs fn in a child; its exit status, and what it wrote to stderr. */
static int in_child(void (*fn)(void *), void *arg, char *out, size_t size)
{
	int fd[2], status = 0;
	size_t n = 0;
	ssize_t r;
	assert_int_equal(pipe(fd), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(fd[1], STDERR_FILENO);
		(void)close(fd[0]);
		(void)close(fd[1]);
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		fn(arg);
		_exit(0);
	}
	(void)close(fd[1]);
	while (n + 1 < size && (r = read(fd[0], out + n, size - 1 - n)) > 0)
		n += (size_t)r;
	out[n] = 0;
	(void)close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* assert_* do not work in a child: exit status and a line. */
#define child_check(c) \
	do { \
		if (!(c)) { \
			(void)dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
			_exit(99); \
		} \
	} while (0)

static void assert_child_ok(void (*fn)(void *), void *arg)
{
	char out[4096];
	int status = in_child(fn, arg, out, sizeof out);
	if (status != 0)
		fail_msg("child: status 0x%x: %s", (unsigned)status, out);
}

static sigjmp_buf fault_jmp;
static void on_segv(int sig)
{
	(void)sig;
	siglongjmp(fault_jmp, 1);
}

static gmp__san_ignore bool faults(char *p)
{
	struct sigaction sa, was;
	bool hit = false;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = on_segv;
	(void)sigaction(SIGSEGV, &sa, &was);
	if (sigsetjmp(fault_jmp, 1) == 0)
		*(volatile char *)p = 1;
	else
		hit = true;
	(void)sigaction(SIGSEGV, &was, NULL);
	return hit;
}

/* The first n pages from the top, as frames would touch them. */
static void touch(const Stack *s, size_t n)
{
	for (size_t i = 1; i <= n; i++)
		*(volatile char *)(gmp__stack_hi(s) - i * page + 64) = 1;
}

static int setup(void **state)
{
	(void)state;
	page = gmp__os_pagesize();
	gmp__debugvars_init();
	gmp__os_fail_at = 0;
	return gmp__stack_init(0);
}

/* ---- allocation -------------------------------------------------------------------------------------------------- */

static void test_classes(void **state)
{
	(void)state;
	StackCache c = {0};
	size_t least = page > (size_t)1 << STACK_MIN_SHIFT ? page : (size_t)1 << STACK_MIN_SHIFT;
	for (unsigned shift = STACK_MIN_SHIFT; shift <= largest_shift(); shift++) {
		size_t size = (size_t)1 << shift;
		if (size < least)
			continue;
		for (size_t ask = size - 100; ask <= size; ask += 100) {
			Stack *s = gmp__stack_alloc_slow(&c, ask);
			assert_non_null(s);
			size_t inset = size >= 32 * (size_t)page ? 2 * (size_t)page : 0;
			assert_int_equal(stack_reserved(s), size);
			assert_int_equal(stack_size(s), size - inset);
			assert_int_equal(gmp__stack_hi(s) - gmp__stack_lo(s), (ptrdiff_t)(size - inset));
			assert_int_equal((uintptr_t)stack_sp(s) % 64, 0);
			assert_int_equal((uintptr_t)gmp__stack_lo(s) % page, 0);
			assert_in_range(gmp__stack_hi(s) - stack_sp(s), 0, STACK_COLOUR_SPAN - 64);
			*(volatile char *)gmp__stack_lo(s) = 1;
			*(volatile char *)(stack_sp(s) - 1) = 1;
			gmp__stack_free_slow(&c, s);
		}
	}
	assert_int_equal(stack_size(gmp__stack_alloc_slow(NULL, 1)), least);
	assert_null(gmp__stack_alloc_slow(&c, ((size_t)1 << STACK_MAX_SHIFT) + 1));
	assert_null(gmp__stack_alloc_slow(&c, SIZE_MAX));
	gmp__stack_cache_flush(&c);
	assert_int_equal(c.n, 0);
}

static void test_init(void **state)
{
	(void)state;
	StackCache c = {0};
	assert_true(gmp__stack_init(1) < 0);
	assert_true(gmp__stack_init(((size_t)1 << STACK_MAX_SHIFT) + 1) < 0);
	assert_int_equal(gmp__stack_init(100000), 0);
	Stack *s = stack_alloc(&c);
	assert_int_equal(stack_reserved(s), 128 << 10);
	stack_free(&c, s);
	gmp__stack_cache_flush(&c);
	assert_int_equal(gmp__stack_init(0), 0);
	s = stack_alloc(&c);
	assert_int_equal(stack_reserved(s), STACK_DEFAULT_SIZE);
	stack_free(&c, s);
	gmp__stack_cache_flush(&c);
}

static void test_lifo(void **state)
{
	(void)state;
	StackCache c = {0};
	Stack *a = stack_alloc(&c), *b = stack_alloc(&c);
	assert_ptr_not_equal(a, b);
	stack_free(&c, a);
	stack_free(&c, b);
	assert_ptr_equal(stack_alloc(&c), b);
	assert_ptr_equal(stack_alloc(&c), a);
	stack_free(&c, a);
	stack_free(&c, b);
	gmp__stack_cache_flush(&c);
}

static void test_cache_is_bounded(void **state)
{
	(void)state;
	enum { N = 500 };
	static Stack *s[N];
	StackCache c = {0};
	uint64_t stacks, idle, bytes, stacks2;
	for (int i = 0; i < N; i++)
		assert_non_null(s[i] = stack_alloc(&c));
	gmp__stack_stats(&stacks, &idle, &bytes);
	assert_true(stacks >= N + c.n && bytes >= stacks * STACK_DEFAULT_SIZE);
	for (int i = 0; i < N; i++) {
		stack_free(&c, s[i]);
		assert_true(c.n <= STACK_CACHE_MAX);
		assert_ptr_equal(c.stack[c.n - 1], s[i]);
	}
	uint64_t idle_before = idle;
	gmp__stack_stats(&stacks, &idle, &bytes);
	assert_true(idle + c.n >= idle_before + N);
	/* The last one freed is the next one taken, and nothing new is carved. */
	Stack *again = stack_alloc(&c);
	assert_ptr_equal(again, s[N - 1]);
	s[0] = again;
	for (int i = 1; i < N; i++)
		s[i] = stack_alloc(&c);
	gmp__stack_stats(&stacks2, &idle, &bytes);
	assert_int_equal(stacks, stacks2);
	for (int i = 0; i < N; i++)
		stack_free(&c, s[i]);
	gmp__stack_cache_flush(&c);
}

static size_t colour_of(const Stack *s) { return (size_t)(gmp__stack_hi(s) - stack_sp(s)); }

static void colours_on(void *arg)
{
	(void)arg;
	StackCache c = {0};
	size_t lines = 0, size = page > 16 << 10 ? 2 * page : 32 << 10; /* an even number of pages, and small */
	gmp__debug.colour = 1;
	child_check(gmp__stack_init(size) == 0);
	Stack *s = stack_alloc(&c);
	for (int i = 0; i < 31; i++) {
		Stack *t = stack_alloc(&c);
		ptrdiff_t stride = gmp__stack_hi(t) - gmp__stack_hi(s);
		ptrdiff_t d = (ptrdiff_t)colour_of(t) - (ptrdiff_t)colour_of(s);
		child_check(stride == (ptrdiff_t)(size + GUARD_PAGES * page));
		child_check((size_t)stride / page % 2 == 1);
		child_check(d % 64 == 0 && (d / 64) % 2 != 0);
		lines |= (size_t)1 << (colour_of(t) / 64);
		s = t;
	}
	child_check(lines == 0xffff);
}

static void colours_off(void *arg)
{
	(void)arg;
	StackCache c = {0};
	gmp__debug.colour = 0;
	child_check(gmp__stack_init(64 << 10) == 0);
	gmp__stack_fork_child(); /* slots that the parent may have carved were coloured */
	for (int i = 0; i < 40; i++)
		child_check(colour_of(stack_alloc(&c)) == 0);
}

static void test_colours(void **state)
{
	(void)state;
	assert_child_ok(colours_on, NULL);
	assert_child_ok(colours_off, NULL);
}

/* ---- guards ------------------------------------------------------------------------------------------------------ */

static void guard_kind(void *arg)
{
	StackCache c = {0};
	gmp__debug.guard = *(int *)arg;
	gmp__stack_fork_child();
	child_check(gmp__stack_init(0) == 0);
	for (int i = 0; i < 100; i++) {
		Stack *s = stack_alloc(&c);
		char *lo = gmp__stack_lo(s);
		bool want = *(int *)arg > 0;
		child_check(((s->bits & STACK_GUARDED) != 0) == want);
		child_check(!faults(lo) && !faults(stack_sp(s) - 1));
		if (want)
			child_check(faults(lo - 1) && faults(lo - GUARD_PAGES * page));
	}
}

static void test_guard_kinds(void **state)
{
	(void)state;
	for (int kind = 2; kind >= 0; kind--)
		assert_child_ok(guard_kind, &kind);
}

/* Not by gmp__pages_discard of the range beside it, and not by one right across it. */
static void guard_survives(void *arg)
{
	StackCache c = {0};
	gmp__debug.guard = *(int *)arg;
	gmp__stack_fork_child();
	child_check(gmp__stack_init(0) == 0);
	Stack *s = stack_alloc(&c);
	touch(s, (200 << 10) / page);
	stack_free(&c, s);
	gmp__stack_cache_flush(&c);
	gmp__stack_trim();
	child_check(gmp__stack_used(s) == 0);
	child_check(faults(gmp__stack_lo(s) - 1) && !faults(gmp__stack_lo(s)));
	gmp__pages_discard(&(struct iovec){gmp__stack_lo(s) - page, page * 2}, 1);
	child_check(faults(gmp__stack_lo(s) - 1));
}

static void test_guard_survives_discard(void **state)
{
	(void)state;
	for (int kind = 2; kind >= 1; kind--)
		assert_child_ok(guard_survives, &kind);
}

static void guard_budget(void *arg)
{
	(void)arg;
	StackCache c = {0};
	int guarded = 0;
	gmp__debug.guard = 1;
	gmp__debug.guardbudget = 10;
	gmp__stack_fork_child();
	child_check(gmp__stack_init(0) == 0);
	for (int i = 0; i < 100; i++) {
		Stack *s = stack_alloc(&c);
		bool g = (s->bits & STACK_GUARDED) != 0;
		guarded += g;
		child_check(faults(gmp__stack_lo(s) - 1) == g);
	}
	child_check(guarded == 10);
}

static void test_guard_budget(void **state)
{
	(void)state;
	char out[4096];
	assert_int_equal(in_child(guard_budget, NULL, out, sizeof out), 0);
	char *said = strstr(out, "stack guards");
	assert_non_null(said);
	assert_null(strstr(said + 1, "stack guards"));
}

static void canary(void *arg)
{
	StackCache c = {0};
	gmp__debug.guard = 0;
	gmp__stack_fork_child();
	child_check(gmp__stack_init(0) == 0);
	Stack *s = stack_alloc(&c), *t = stack_alloc(&c);
	touch(s, stack_size(s) / page);
	touch(t, 2);
	stack_free(&c, s);
	stack_free(&c, t);
	/* The look at the canary is not counted as use, nor does it commit anything. */
	child_check(gmp__stack_used(t) == 2 * page && gmp__stack_used(s) == stack_size(s));
	t = stack_alloc(&c);
	*(volatile char *)(gmp__stack_lo(t) - 100) = 1;
	if (*(int *)arg)
		stack_free(&c, t);
	else
		(void)gmp__stack_used(t);
}

static void test_canary(void **state)
{
	(void)state;
	char out[8192];
	for (int at_free = 0; at_free < 2; at_free++) {
		int status = in_child(canary, &at_free, out, sizeof out);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		assert_non_null(strstr(out, "gmp: fatal: stack overflow"));
		assert_non_null(strstr(out, "canary"));
	}
}

/* ---- memory goes back -------------------------------------------------------------------------------------------- */

enum { DEEP = 10000 };

static Stack **burst(StackCache *c, int n, size_t pages)
{
	Stack **s = calloc((size_t)n, sizeof *s);
	assert_non_null(s);
	for (int i = 0; i < n; i++) {
		s[i] = stack_alloc(c);
		assert_non_null(s[i]);
		touch(s[i], pages);
	}
	return s;
}

static void free_all(StackCache *c, Stack **s, int n)
{
	for (int i = 0; i < n; i++)
		stack_free(c, s[i]);
}

static void test_trim(void **state)
{
	(void)state;
	StackCache c = {0};
	int n = SANITIZED || on_valgrind() ? 1000 : DEEP;
	gmp__stack_trim();
	size_t before = rss();
	Stack **s = burst(&c, n, 4);
	size_t peak = rss(); /* inexact in older kernels */
	for (int i = 0; i < n; i++)
		assert_int_equal(gmp__stack_used(s[i]), 4 * page);
	free_all(&c, s, n);
	gmp__stack_trim();
	size_t after = rss();
	print_message("%d stacks of 4 pages: %zu bytes each at peak, %zd after trim\n", n, (peak - before) / (size_t)n,
		((ssize_t)after - (ssize_t)before) / n);
	if (!SANITIZED && !EMULATED && !on_valgrind())
		assert_true(after < before + (size_t)n * 512 + (size_t)STACK_CACHE_MAX * 4 * page); /* the cache keeps its own */
	else
		assert_true(after < peak - (size_t)n * 3 * page);
	gmp__stack_cache_flush(&c);
	free(s);
}

static void test_age(void **state)
{
	(void)state;
	StackCache c = {0};
	int n = 2000, touched;
	int64_t now = 1000 * MSEC;
	gmp__stack_trim();
	Stack **s = burst(&c, n, 2);
	free_all(&c, s, n);
	gmp__stack_cache_flush(&c);
	int64_t next = 0;
	int calls = 0;
	/* Nothing at once: the next burst may come. */
	for (; calls < 10; calls++, now += 100 * MSEC)
		next = gmp__stack_age(now);
	for (touched = 0, calls = 0; calls < n; calls++)
		touched += gmp__stack_used(s[calls]) != 0;
	assert_int_equal(touched, n);
	/* A quarter or so within some seconds. */
	for (calls = 0; calls < 50; calls++, now += 100 * MSEC)
		next = gmp__stack_age(now);
	for (touched = 0, calls = 0; calls < n; calls++)
		touched += gmp__stack_used(s[calls]) != 0;
	assert_in_range(touched, n / 3, n - n / 8);
	/* And all in the end; then it does not want to be called any more. */
	for (calls = 0; calls < 10000 && next != INT64_MAX; calls++, now += 100 * MSEC)
		next = gmp__stack_age(now);
	print_message("%d idle stacks aged out in %d s\n", n, calls / 10 + 6);
	assert_int_equal(next, INT64_MAX);
	for (calls = 0; calls < n; calls++)
		assert_int_equal(gmp__stack_used(s[calls]), 0);
	free(s);
}

/* What is needed again and again keeps its pages: no give-back, no new page fault. */
static void test_churn_is_quiet(void **state)
{
	(void)state;
	enum { ALIVE = 1000, ROUNDS = 300 };
	static Stack *s[ALIVE];
	StackCache c = {0};
	int64_t now = 5000 * MSEC;
	struct rusage a, b;
	gmp__stack_trim();
	for (int r = 0; r < ROUNDS + 20; r++) {
		if (r == 20)
			(void)getrusage(RUSAGE_SELF, &a);
		for (int i = 0; i < ALIVE; i++) {
			s[i] = stack_alloc(&c);
			touch(s[i], 1);
		}
		for (int i = 0; i < ALIVE; i++)
			stack_free(&c, s[i]);
		now += 100 * MSEC;
		(void)gmp__stack_age(now);
	}
	(void)getrusage(RUSAGE_SELF, &b);
	for (int i = 0; i < ALIVE; i++)
		assert_int_equal(gmp__stack_used(s[i]), page);
	print_message("%d page faults in %d spawns and exits\n", (int)(b.ru_minflt - a.ru_minflt), ALIVE * ROUNDS);
	if (!SANITIZED)
		assert_in_range(b.ru_minflt - a.ru_minflt, 0, ALIVE / 10);
	gmp__stack_cache_flush(&c);
}

/* A stack that was used deeply, once, does not keep that for ever: on top of the cache, at its bottom, or apart. */
static void test_deep_is_shed(void **state)
{
	(void)state;
	StackCache c = {0};
	Stack *deep[STACK_CACHE_MAX];
	for (int i = 0; i < STACK_CACHE_MAX; i++) {
		deep[i] = stack_alloc(&c);
		touch(deep[i], (200 << 10) / page);
	}
	gmp__stack_cache_flush(&c);
	for (int i = 0; i < STACK_CACHE_MAX; i++)
		stack_free(&c, deep[i]);
	for (int i = 0; i < 2 * STACK_LOOK_EVERY * STACK_CACHE_MAX; i++)
		stack_free(&c, stack_alloc(&c));
	for (int i = 0; i < STACK_CACHE_MAX; i++)
		assert_in_range(gmp__stack_used(deep[i]), page, 64 << 10);
	Stack *big = gmp__stack_alloc_slow(&c, 64 << 20);
	touch(big, (8 << 20) / page);
	gmp__stack_free_slow(&c, big);
	assert_in_range(gmp__stack_used(big), page, 64 << 10);
	Stack *mid = gmp__stack_alloc_slow(&c, 512 << 10);
	touch(mid, (400 << 10) / page);
	for (int i = 0; i < 32; i++) {
		gmp__stack_free_slow(&c, mid);
		assert_ptr_equal(gmp__stack_alloc_slow(&c, 512 << 10), mid);
	}
	assert_in_range(gmp__stack_used(mid), page, 64 << 10);
	gmp__stack_free_slow(&c, mid);
	gmp__stack_cache_flush(&c);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static void test_used(void **state)
{
	(void)state;
	gmp__stack_trim();
	Stack *s = gmp__stack_alloc_slow(NULL, 1 << 20);
	assert_int_equal(gmp__stack_used(s), 0);
	touch(s, 1);
	assert_int_equal(gmp__stack_used(s), page);
	touch(s, (400 << 10) / page);
	assert_int_equal(gmp__stack_used(s), (400 << 10) / page * page);
	*(volatile char *)gmp__stack_lo(s) = 1; /* a large frame skipped the pages between */
	assert_int_equal(gmp__stack_used(s), stack_size(s));
	gmp__stack_free_slow(NULL, s);
	gmp__stack_trim();
	assert_int_equal(gmp__stack_used(s), 0);
	s = gmp__stack_alloc_slow(NULL, (size_t)1 << largest_shift());
	touch(s, 3);
	assert_int_equal(gmp__stack_used(s), 3 * page);
	gmp__stack_free_slow(NULL, s);
}

static void test_find(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 16 << 10, 1 << 20, 64 << 20};
	bool in_guard = true;
	for (size_t i = 0; i < nelem(sizes); i++) {
		Stack *s = gmp__stack_alloc_slow(NULL, sizes[i]);
		uintptr_t lo = (uintptr_t)gmp__stack_lo(s), hi = (uintptr_t)gmp__stack_hi(s);
		assert_ptr_equal(gmp__stack_find(lo, &in_guard), s);
		assert_false(in_guard);
		assert_ptr_equal(gmp__stack_find(hi - 1, &in_guard), s);
		assert_false(in_guard);
		assert_ptr_equal(gmp__stack_find(lo - 1, &in_guard), s);
		assert_true(in_guard);
		assert_ptr_equal(gmp__stack_find(lo - GUARD_PAGES * page, &in_guard), s);
		assert_true(in_guard);
		assert_ptr_not_equal(gmp__stack_find(lo - GUARD_PAGES * page - 1, &in_guard), s);
		assert_ptr_not_equal(gmp__stack_find(hi, &in_guard), s);
		gmp__stack_free_slow(NULL, s);
	}
	assert_null(gmp__stack_find(0, &in_guard));
	assert_null(gmp__stack_find((uintptr_t)&in_guard, &in_guard));
	assert_null(gmp__stack_find(UINTPTR_MAX, &in_guard));
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void oom(void *arg)
{
	(void)arg;
	size_t big = 64 << 20; /* one slot an arena: nothing smaller to try */
	int nulls = 0, unguarded = 0;
	uint64_t stacks, idle, bytes;
	for (long at = 1; at <= 8; at++) {
		StackCache c = {0};
		gmp__stack_fork_child();
		gmp__os_fail_at = at;
		Stack *s = gmp__stack_alloc_slow(&c, big);
		Stack *t = gmp__stack_alloc_slow(&c, 0);
		gmp__os_fail_at = 0;
		nulls += !s;
		unguarded += s && !(s->bits & STACK_GUARDED);
		child_check(t); /* smaller arenas are tried */
		gmp__stack_stats(&stacks, &idle, &bytes);
		child_check(stacks == 1 + c.n + (s ? 1 : 0) && idle == 0);
		if (!s)
			child_check((s = gmp__stack_alloc_slow(&c, big)) != NULL);
		touch(s, 1);
		touch(t, 1);
		gmp__stack_free_slow(&c, s);
		stack_free(&c, t);
		gmp__stack_cache_flush(&c);
	}
	child_check(nulls == 2); /* the records, the mapping */
	child_check(unguarded == 1 || gmp__debug.guard == 0);
}

static void test_oom_injected(void **state)
{
	(void)state;
	assert_child_ok(oom, NULL);
}

static void no_address_space(void *arg)
{
	(void)arg;
	StackCache c = {0};
	struct rlimit lim;
	unsigned long pages = 0;
	int n = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	child_check(f && fscanf(f, "%lu", &pages) == 1);
	(void)fclose(f);
	gmp__stack_fork_child();
	child_check(gmp__stack_init(0) == 0);
	lim.rlim_cur = lim.rlim_max = pages * page + 75 * (STACK_DEFAULT_SIZE + GUARD_PAGES * page);
	child_check(setrlimit(RLIMIT_AS, &lim) == 0);
	Stack *s, *last = NULL;
	while ((s = stack_alloc(&c))) {
		touch(s, 1);
		last = s;
		n++;
	}
	child_check(n >= 50 && n <= 80); /* most of it, in ever smaller arenas */
	child_check(!stack_alloc(&c));
	stack_free(&c, last);
	child_check(stack_alloc(&c) == last);
}

static void test_no_address_space(void **state)
{
	(void)state;
	if (SANITIZED || EMULATED || on_valgrind()) {
		print_message("skipped: sanitizers, emulators and Valgrind need the address space themselves\n");
		skip();
	}
	assert_child_ok(no_address_space, NULL);
}

/* ---- many threads ------------------------------------------------------------------------------------------------ */

enum { THREADS = 4, HELD = 300 };
static bool stop;

static void *churner(void *arg)
{
	StackCache c = {0};
	Stack *held[HELD];
	uint64_t rnd = (uintptr_t)arg;
	for (int r = 0; r < (SANITIZED ? 60 : 300); r++) {
		for (int i = 0; i < HELD; i++) {
			rnd = rnd * 6364136223846793005u + 1442695040888963407u;
			held[i] = gmp__stack_alloc_slow(&c, rnd >> 60 == 0 ? 32 << 10 : 0);
			if (!held[i])
				return arg;
			((volatile uintptr_t *)(void *)stack_sp(held[i]))[-1] = (uintptr_t)held[i] ^ (uintptr_t)arg;
		}
		for (int i = 0; i < HELD; i++) {
			if (((volatile uintptr_t *)(void *)stack_sp(held[i]))[-1] !=
				((uintptr_t)held[i] ^ (uintptr_t)arg))
				return arg;
			stack_free(&c, held[i]);
		}
		if (r % 16 == 0)
			gmp__stack_cache_flush(&c);
	}
	gmp__stack_cache_flush(&c);
	return NULL;
}

static void *ager(void *arg)
{
	int64_t now = 0;
	while (!load_acquire(&stop)) {
		(void)gmp__stack_age(now += 100 * MSEC);
		if (now % (1000 * MSEC) == 0)
			gmp__stack_trim();
	}
	return arg;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t t[THREADS], a;
	uint64_t stacks, idle, bytes;
	gmp__stack_fork_child(); /* forget what other tests hold */
	store_release(&stop, false);
	assert_int_equal(pthread_create(&a, NULL, ager, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churner, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		void *r;
		assert_int_equal(pthread_join(t[i], &r), 0);
		assert_null(r);
	}
	store_release(&stop, true);
	assert_int_equal(pthread_join(a, NULL), 0);
	gmp__stack_stats(&stacks, &idle, &bytes);
	assert_int_equal(stacks, idle);
	assert_true(stacks <= THREADS * (HELD + STACK_CACHE_MAX) * 2 + 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, since guards that exist count: without MADV_GUARD_INSTALL every test makes some. */
		cmocka_unit_test_setup(test_guard_budget, setup),
		cmocka_unit_test_setup(test_init, setup),
		cmocka_unit_test_setup(test_lifo, setup),
		cmocka_unit_test_setup(test_cache_is_bounded, setup),
		cmocka_unit_test_setup(test_colours, setup),
		cmocka_unit_test_setup(test_guard_kinds, setup),
		cmocka_unit_test_setup(test_guard_survives_discard, setup),
		cmocka_unit_test_setup(test_canary, setup),
		cmocka_unit_test_setup(test_used, setup),
		cmocka_unit_test_setup(test_find, setup),
		cmocka_unit_test_setup(test_trim, setup),
		cmocka_unit_test_setup(test_age, setup),
		cmocka_unit_test_setup(test_churn_is_quiet, setup),
		cmocka_unit_test_setup(test_deep_is_shed, setup),
		cmocka_unit_test_setup(test_oom_injected, setup),
		cmocka_unit_test_setup(test_no_address_space, setup),
		cmocka_unit_test_setup(test_threads, setup),
		cmocka_unit_test_setup(test_classes, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
