/* SPDX-License-Identifier: MIT
 * cmocka.h - the part of cmocka's interface that the tests here use, in one header, for targets that have no cmocka
 * packaged (cross builds). No mocks, no expectations, no allocation checks, no signal handlers. A native build takes it
 * with -DGMP_TEST_MINICMOCKA=ON. */
#ifndef MINICMOCKA_H
#define MINICMOCKA_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);
struct CMUnitTest {
	const char *name;
	CMUnitTestFunction test_func;
	CMFixtureFunction setup_func, teardown_func;
	void *initial_state;
};

#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup(f, setup) {#f, f, setup, NULL, NULL}
#define cmocka_unit_test_teardown(f, teardown) {#f, f, NULL, teardown, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}
#define cmocka_unit_test_prestate(f, state) {#f, f, NULL, NULL, state}
#define cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, state) {#f, f, setup, teardown, state}

/* Weak: one instance, however many files of a program include this. */
struct minicmocka {
	jmp_buf env; /* longjmp: 1 failed, 2 skipped */
	bool armed;  /* env is valid */
	pthread_t thread;
};
__attribute__((weak)) struct minicmocka minicmocka;

#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)

__attribute__((noreturn, unused)) static void minicmocka_leave(int how)
{
	if (minicmocka.armed && pthread_equal(minicmocka.thread, pthread_self()))
		longjmp(minicmocka.env, how);
	fprintf(stderr, "minicmocka: not on the thread of the test: giving up\n");
	exit(255);
}

__attribute__((noreturn, unused, format(printf, 3, 4))) static void minicmocka_fail(const char *file, int line,
	const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	fprintf(stderr, "[  ERROR   ] --- ");
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n[   LINE   ] --- %s:%d: error: Failure!\n", file, line);
	minicmocka_leave(1);
}

#define fail() minicmocka_fail(__FILE__, __LINE__, "fail()")
#define fail_msg(...) minicmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip() minicmocka_leave(2)

#define minicmocka_check(ok, ...) ((ok) ? (void)0 : minicmocka_fail(__FILE__, __LINE__, __VA_ARGS__))
#define assert_true(c) minicmocka_check((c), "%s", #c)
#define assert_false(c) minicmocka_check(!(c), "!(%s)", #c)
#define assert_non_null(p) minicmocka_check((p) != NULL, "%s != NULL", #p)
#define assert_null(p) minicmocka_check((p) == NULL, "%s == NULL", #p)

#define minicmocka_compare(type, show, a, op, b) \
	do { \
		type left_ = (type)(a); \
		type right_ = (type)(b); \
		minicmocka_check(left_ op right_, "%s (" show ") " #op " %s (" show ")", #a, left_, #b, right_); \
	} while (0)
#define assert_int_equal(a, b) minicmocka_compare(long long, "%lld", a, ==, b)
#define assert_int_not_equal(a, b) minicmocka_compare(long long, "%lld", a, !=, b)
#define assert_uint_equal(a, b) minicmocka_compare(unsigned long long, "%llu", a, ==, b)
#define assert_uint_not_equal(a, b) minicmocka_compare(unsigned long long, "%llu", a, !=, b)
#define assert_ptr_equal(a, b) minicmocka_compare(const void *, "%p", a, ==, b)
#define assert_ptr_not_equal(a, b) minicmocka_compare(const void *, "%p", a, !=, b)

#define assert_return_code(rc, error) \
	do { \
		int rc_ = (int)(rc), error_ = (int)(error); \
		minicmocka_check(rc_ >= 0, "%s < 0, errno(%d): %s", #rc, error_, strerror(error_)); \
	} while (0)
#define assert_float_equal(a, b, epsilon) \
	do { \
		double a_ = (double)(a), b_ = (double)(b); \
		minicmocka_check(a_ - b_ <= (epsilon) && b_ - a_ <= (epsilon), "%f != %f", a_, b_); \
	} while (0)
#define assert_string_equal(a, b) \
	do { \
		const char *a_ = (a), *b_ = (b); \
		minicmocka_check(strcmp(a_, b_) == 0, "\"%s\" != \"%s\"", a_, b_); \
	} while (0)
#define assert_string_not_equal(a, b) \
	do { \
		const char *a_ = (a), *b_ = (b); \
		minicmocka_check(strcmp(a_, b_) != 0, "\"%s\" == \"%s\"", a_, b_); \
	} while (0)
#define assert_memory_equal(a, b, size) minicmocka_check(memcmp((a), (b), (size)) == 0, "%s and %s differ", #a, #b)
#define assert_memory_not_equal(a, b, size) minicmocka_check(memcmp((a), (b), (size)) != 0, "%s equals %s", #a, #b)
#define assert_in_range(value, min, max) \
	do { \
		unsigned long long v_ = (unsigned long long)(value), min_ = (unsigned long long)(min), \
			max_ = (unsigned long long)(max); \
		minicmocka_check(min_ <= v_ && v_ <= max_, "%s: %llu is not within %llu-%llu", #value, v_, min_, max_); \
	} while (0)
#define assert_not_in_range(value, min, max) \
	do { \
		unsigned long long v_ = (unsigned long long)(value), min_ = (unsigned long long)(min), \
			max_ = (unsigned long long)(max); \
		minicmocka_check(v_ < min_ || max_ < v_, "%s: %llu is within %llu-%llu", #value, v_, min_, max_); \
	} while (0)

/* fn(state): 0 returned, 1 failed, 2 skipped. */
static inline int minicmocka_call(CMUnitTestFunction test, CMFixtureFunction fixture, void **state)
{
	int how = setjmp(minicmocka.env);
	if (how == 0) {
		minicmocka.thread = pthread_self();
		minicmocka.armed = true;
		if (test)
			test(state);
		else if (fixture && fixture(state) != 0) {
			fprintf(stderr, "[  ERROR   ] --- fixture failed\n");
			how = 1;
		}
	}
	minicmocka.armed = false;
	return how;
}

static inline int minicmocka_run(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
	CMFixtureFunction teardown)
{
	int passed = 0, skipped = 0, failed = 0;
	void *group_state = NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("[==========] %s: Running %zu test(s).\n", group, n);
	if (minicmocka_call(NULL, setup, &group_state) != 0) {
		printf("[  FAILED  ] GROUP SETUP\n");
		return (int)n;
	}
	for (size_t i = 0; i < n; i++) {
		const struct CMUnitTest *t = &tests[i];
		void *state = t->initial_state ? t->initial_state : group_state;
		printf("[ RUN      ] %s\n", t->name);
		int how = minicmocka_call(NULL, t->setup_func, &state);
		if (how == 0)
			how = minicmocka_call(t->test_func, NULL, &state);
		if (minicmocka_call(NULL, t->teardown_func, &state) != 0)
			how = 1;
		printf("[  %s ] %s\n", how == 0 ? "     OK" : how == 1 ? "FAILED " : "SKIPPED", t->name);
		*(how == 0 ? &passed : how == 1 ? &failed : &skipped) += 1;
	}
	if (minicmocka_call(NULL, teardown, &group_state) != 0)
		printf("[  FAILED  ] GROUP TEARDOWN\n"), failed++;
	printf("[==========] %s: %zu test(s) run: %d passed, %d skipped, %d failed.\n", group, n, passed, skipped, failed);
	return failed;
}

#define cmocka_run_group_tests(tests, setup, teardown) cmocka_run_group_tests_name(#tests, tests, setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) \
	minicmocka_run(name, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

#endif
