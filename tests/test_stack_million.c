/* SPDX-License-Identifier: MIT
 * test_stack_million.c - a million stacks with each kind of guard: within seconds, with nothing touched but the
 * records, each of them usable. */
#include "stack.h"
#include "debugvars.h"
#include "os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SANITIZED (ASAN_BUILD || TSAN_BUILD)
#ifdef MINICMOCKA_H /* a cross build, run by an emulator, whose memory counts too */
#define EMULATED 1
#else
#define EMULATED 0
#endif
#define CHECK_EVERY 997

static size_t rss(void)
{
	unsigned long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
		_exit(98);
	(void)fclose(f);
	return resident * gmp__os_pagesize();
}

#define child_check(c) \
	do { \
		if (!(c)) { \
			(void)dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
			_exit(99); \
		} \
	} while (0)

static int how_many(void)
{
	const char *preload = getenv("LD_PRELOAD");
	bool on_valgrind = preload && strstr(preload, "vgpreload");
	/* Valgrind keeps the registered stacks in a list. */
	return on_valgrind ? 500 : SANITIZED ? 20000 : 1000000;
}

static void carve(int kind, int n)
{
	StackCache c = {0};
	uint64_t guarded = 0, stacks, idle, bytes;
	Stack *all = NULL;
	unsigned i = 0;
	gmp__debug.guard = kind;
	child_check(gmp__stack_init(0) == 0);
	size_t before = rss();
	int64_t t0 = gmp__os_now();
	for (int k = 0; k < n; k++) {
		Stack *s = stack_alloc(&c);
		child_check(s);
		guarded += (s->bits & STACK_GUARDED) != 0;
		s->next = all; /* the owner's, ST-2 */
		all = s;
	}
	int64_t t1 = gmp__os_now();
	size_t after = rss();
	gmp__stack_stats(&stacks, &idle, &bytes);
	child_check(stacks >= (uint64_t)n && bytes / stacks >= STACK_DEFAULT_SIZE);
	/* All of them where the kernel has such guards (6.13), else as many as the budget allows. */
	child_check((kind == 0) == (guarded == 0));
	/* Records only: 16 bytes each and a little. ASan's shadow is touched as stacks are handed out. */
	if (n == 1000000 && !EMULATED)
		child_check(after - before < (size_t)n * 20);
	for (Stack *s = all; s; s = s->next) {
		if (++i % CHECK_EVERY == 0) {
			*(volatile char *)(stack_sp(s) - 1) = 1;
			child_check(gmp__stack_used(s) == gmp__os_pagesize());
		}
	}
	(void)printf("%d slots, guard=%d: %.2f s, %.0f ns each, %zu bytes each, %llu guarded\n", n, kind,
		(double)(t1 - t0) / 1e9, (double)(t1 - t0) / n, (after - before) / (size_t)n,
		(unsigned long long)guarded);
	(void)fflush(stdout);
}

static void in_child(int kind)
{
	int status = 0, n = how_many();
	/* Page tables of guarded slots: 540 bytes each. */
	if (n == 1000000 && (size_t)sysconf(_SC_AVPHYS_PAGES) < ((size_t)1 << 30) / gmp__os_pagesize()) {
		print_message("skipped: less than 1 GiB of free memory\n");
		skip();
	}
	(void)fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		carve(kind, n);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_guard_install(void **state)
{
	(void)state;
	in_child(2);
}

static void test_mprotect(void **state)
{
	(void)state;
	in_child(1);
}

static void test_canary(void **state)
{
	(void)state;
	in_child(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_install),
		cmocka_unit_test(test_mprotect),
		cmocka_unit_test(test_canary),
	};
	gmp__debugvars_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
