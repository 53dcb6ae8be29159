/* SPDX-License-Identifier: MIT
 * testutil.h - what tests share. cmocka's asserts longjmp, which must not happen on a coroutine's stack: inside of
 * coroutines check() is used, which reports and aborts; outside, either. */
#ifndef TESTUTIL_H
#define TESTUTIL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gmp.h"

#define check(c) \
	do { \
		if (!(c)) \
			test_fail(__FILE__, __LINE__, #c); \
	} while (0)
#define check_int(a, b) test_check_int(__FILE__, __LINE__, #a, (long long)(a), (long long)(b))

void test_fail(const char *file, int line, const char *what) __attribute__((noreturn));
void test_check_int(const char *file, int line, const char *what, long long got, long long want);

/* gmp_run(fn, arg) on `procs` Ps must return 0 within a minute, with no coroutine, timer or stack left over. A run that
 * hangs dumps all coroutines and aborts. */
void run_on(int procs, gmp_fn *fn, void *arg);
/* The same with procs 1, 2, ncpu, 2 * ncpu in turn. */
void run_on_all(gmp_fn *fn, void *arg);
/* run_on(1, ...) without sysmon, for tests in which nobody else is to run between two statements, and whose plain variables
 * rely on that. One P alone does not see to it: when a coroutine lasts a time slice (its thread lacks a CPU, say) or sleeps in
 * the kernel, sysmon hands its P to another thread, and it goes on beside whoever runs there. */
void run_alone(gmp_fn *fn, void *arg);
/* The same for what a child is to run: from now on there is no sysmon. */
void no_sysmon(void);
int test_ncpu(void);
/* pthread_self is declared const, so a compiler may keep its value while the coroutine moves to another thread. */
uintptr_t this_thread(void);
/* The same, but for the result of gmp_run. */
int run_result(int procs, gmp_fn *fn, void *arg);

/* Until there are n coroutines, the caller among them if it is one, and `waiting` of them wait. Any thread. */
void until_left(uint64_t n, uint64_t waiting);

/* fn(arg) in a child process: its stderr in buf (0-terminated), the wait status as result. A child that hangs dumps and
 * aborts after a minute. */
int in_child(void (*fn)(void *), void *arg, char *buf, size_t size);

/* Calls per second, memory and so on shrink by this under sanitizers and emulators: n / test_scale(). */
int test_scale(void);
/* The seed of a randomised test: GMP_TEST_SEED, else from the clock; printed. */
uint64_t test_seed(void);
static inline uint32_t test_rand(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*s >> 33);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#endif
