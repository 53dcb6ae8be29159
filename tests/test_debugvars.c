/* SPDX-License-Identifier: MIT
 * test_debugvars.c - GMP_DEBUG: defaults, every name, and that mistakes are said once and do no harm. */
#include "testutil.h"

#include "debugvars.h"

#include <sys/wait.h>

static void read_with(const char *text)
{
	if (text)
		check_int(setenv("GMP_DEBUG", text, 1), 0);
	else
		check_int(unsetenv("GMP_DEBUG"), 0);
	gmp__debugvars_init();
}

static void check_defaults(void)
{
#define X(name, dflt, help) assert_int_equal(gmp__debug.name, dflt);
	DEBUGVARS(X)
#undef X
}

static void test_defaults(void **state)
{
	(void)state;
	check_defaults(); /* before anything was read */
	read_with(NULL);
	check_defaults();
	read_with("");
	check_defaults();
}

static void test_each(void **state)
{
	(void)state;
#define X(name, dflt, help) \
	read_with(#name "=12345"); \
	assert_int_equal(gmp__debug.name, 12345); \
	gmp__debug.name = dflt; \
	check_defaults(); \
	read_with(#name "=-7"); \
	assert_int_equal(gmp__debug.name, -7);
	DEBUGVARS(X)
#undef X
	read_with(NULL); /* each start begins anew */
	check_defaults();
}

static void test_several(void **state)
{
	(void)state;
	read_with("schedtrace=1000,scheddetail=1,spin=0");
	assert_int_equal(gmp__debug.schedtrace, 1000);
	assert_int_equal(gmp__debug.scheddetail, 1);
	assert_int_equal(gmp__debug.spin, 0);
	assert_int_equal(gmp__debug.steal, 1);
	read_with(",,tick=1,,tick=2,"); /* nothing between commas is nothing; the last one counts */
	assert_int_equal(gmp__debug.tick, 2);
	assert_int_equal(gmp__debug.schedtrace, 0);
	read_with("slice=9223372036854775807,guardbudget=-9223372036854775807");
	assert_int_equal(gmp__debug.slice, INT64_MAX);
	assert_int_equal(gmp__debug.guardbudget, -INT64_MAX);
	read_with(NULL);
}

static int lines(const char *s)
{
	int n = 0;
	for (; (s = strchr(s, '\n')) != NULL; s++)
		n++;
	return n;
}

/* In a child, since what was complained of is remembered. */
static void wrong(void *arg)
{
	read_with(arg);
	read_with(arg);
	check_int(gmp__debug.tick, 5);
	check_int(gmp__debug.spin, 1);
}

static void test_mistakes(void **state)
{
	(void)state;
	static const struct {
		char text[80];
		const char *said;
	} mistakes[] = {
		{"tick=5,nosuch=1", "nosuch=1: no such name"},
		{"nosuch,tick=5", "nosuch: no such name"},
		{"tick=5,Spin=0", "Spin=0: no such name"},
		{"tick=5, spin=0", " spin=0: no such name"},
		{"tick=5,spi=0", "spi=0: no such name"},
		{"tick=5,spins=0", "spins=0: no such name"},
		{"tick=5,=0", "=0: no such name"},
		{"tick=5,spin", "spin: not name=number"},
		{"tick=5,spin=", "spin=: not name=number"},
		{"spin=-,tick=5", "spin=-: not name=number"},
		{"spin=0x,tick=5", "spin=0x: not name=number"},
		{"spin=1 ,tick=5", "spin=1 : not name=number"},
		{"spin=+0,tick=5", "spin=+0: not name=number"},
		{"spin=--0,tick=5", "spin=--0: not name=number"},
		{"spin==0,tick=5", "spin==0: not name=number"},
		{"spin=0=0,tick=5", "spin=0=0: not name=number"},
		{"spin=9223372036854775808,tick=5", "spin=9223372036854775808: not name=number"},
		{"tick=5,spin=99999999999999999999999", "spin=99999999999999999999999: not name=number"},
	};
	for (size_t i = 0; i < nelem(mistakes); i++) {
		char out[1024], want[160];
		char text[sizeof mistakes[i].text];
		memcpy(text, mistakes[i].text, sizeof text);
		int status = in_child(wrong, text, out, sizeof out);
		(void)snprintf(want, sizeof want, "gmp: GMP_DEBUG: %s\n", mistakes[i].said);
		assert_string_equal(out, want);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

/* Another text is another mistake; a very long one is cut. */
static void wrong_again(void *arg)
{
	char text[5000];
	(void)arg;
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	read_with("a=1,b=1");
	read_with("a=1,b=1");
	read_with(text);
	read_with(text);
	read_with(NULL);
	read_with("");
}

static void test_mistakes_once(void **state)
{
	(void)state;
	char out[8192];
	int status = in_child(wrong_again, NULL, out, sizeof out);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(lines(out), 3);
	assert_non_null(strstr(out, "GMP_DEBUG: a=1:"));
	assert_non_null(strstr(out, "GMP_DEBUG: b=1:"));
	assert_non_null(strstr(out, "xxxx: no such name\n"));
	assert_true(strlen(out) < 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_mistakes_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
