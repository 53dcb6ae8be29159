/* SPDX-License-Identifier: MIT
 * test_stack_million.c - a million stacks with each kind of guard: within seconds, with nothing touched but the
 * records, each of them usable. */
#include "stack.h"
#include "debugvars.h"
#include "os.h"
#include "stack_guard.h"

#include <limits.h>
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

/* The tightest memory.max of this process's cgroup (v2) and those around it. */
static size_t cgroup_memory(void)
{
	static const char root[] = "/sys/fs/cgroup";
	char line[1024] = "", path[1200];
	unsigned long least = ULONG_MAX, n;
	FILE *f = fopen("/proc/self/cgroup", "r");
	while (f && fgets(line, sizeof line, f) && strncmp(line, "0::/", 4) != 0)
		;
	if (f)
		(void)fclose(f);
	if (strncmp(line, "0::/", 4) != 0)
		return SIZE_MAX;
	line[strcspn(line, "\n")] = 0;
	for (char *slash = line + strlen(line); slash; slash = strrchr(line + 3, '/')) {
		*slash = 0;
		(void)snprintf(path, sizeof path, "%s%s/memory.max", root, line + 3);
		f = fopen(path, "r");
		if (f && fscanf(f, "%lu", &n) == 1 && n < least) /* or "max" */
			least = n;
		if (f)
			(void)fclose(f);
	}
	return least;
}

static void in_child(int kind)
{
	int status = 0, n = how_many();
	size_t page = gmp__os_pagesize();
	/* Page tables of guarded slots: 540 bytes each. */
	if (n == 1000000 && ((size_t)sysconf(_SC_AVPHYS_PAGES) < ((size_t)1 << 30) / page || cgroup_memory() < (size_t)1 << 30)) {
		print_message("skipped: less than 1 GiB of free memory\n");
		skip();
	}
	if (n == 1000000 && !EMULATED) { /* an emulator has tables for what is reserved */
		/* Strict overcommit counts it all; Sv39 has 256 GiB of addresses. */
		size_t size = (size_t)n * (STACK_DEFAULT_SIZE + GUARD_PAGES * page);
		void *all = gmp__os_reserve(size, page);
		if (!all) {
			print_message("skipped: no address space for %d stacks\n", n);
			skip();
		}
		gmp__os_unreserve(all, size);
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
