/* SPDX-License-Identifier: MIT
 * test_throw.c - how the library ends a program: what is printed, the hook, and that neither a second thread nor a
 * report that fails itself gets in the way. All in children. */
#include "testutil.h"

#include "atomic.h"
#include "os.h"
#include "throw.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char out[16384];

static void aborts(void (*fn)(void *))
{
	int status = in_child(fn, NULL, out, sizeof out);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	char *emulator = strstr(out, "qemu: uncaught target signal"); /* adds a line of its own */
	if (emulator)
		*emulator = '\0';
}

static int count(const char *what)
{
	int n = 0;
	for (const char *s = out; (s = strstr(s, what)) != NULL; s++)
		n++;
	return n;
}

static void put(int fd, const char *s) { check(write(fd, s, strlen(s)) == (ssize_t)strlen(s)); }

static void hook(int fd)
{
	check_int(fd, STDERR_FILENO);
	put(fd, "state of the scheduler\n");
}

static void do_throw(void *arg)
{
	(void)arg;
	gmp__throw("g%d: %s", 7, "bad state");
}

static void do_throw_hook(void *arg)
{
	gmp__throw_hook = hook;
	do_throw(arg);
}

static void do_assert(void *arg)
{
	gmp_assert(!arg);
	gmp_assert(arg);
}

static void test_throw_message(void **state)
{
	(void)state;
	aborts(do_throw);
	assert_string_equal(out, "gmp: fatal: g7: bad state\n");
	aborts(do_throw_hook);
	assert_string_equal(out, "gmp: fatal: g7: bad state\nstate of the scheduler\n");
	aborts(do_assert);
	assert_non_null(strstr(out, "test_throw.c:"));
	assert_non_null(strstr(out, ": assertion failed: arg\n"));
}

static void do_misuse(void *arg)
{
	(void)arg;
	gmp__throw_hook = hook;
	gmp__misuse("unlock of an unlocked mutex %s", "(here)");
}

/* Message, backtrace where there is one, state: in this order. */
static void test_misuse(void **state)
{
	(void)state;
	static const char first[] = "gmp: fatal: unlock of an unlocked mutex (here)\n";
	aborts(do_misuse);
	assert_memory_equal(out, first, sizeof first - 1);
	const char *last = strstr(out, "state of the scheduler\n");
	assert_non_null(last);
#if defined(__GLIBC__)
	const char *trace = strstr(out, "gmp: called from");
	if (trace) /* there may be no unwind tables */
		assert_true(trace == out + sizeof first - 1 && trace < last);
#endif
	assert_int_equal(count("gmp: fatal: "), 1);
}

static void hook_throws(int fd)
{
	hook(fd);
	gmp__throw("in the report");
}

static void do_throw_twice(void *arg)
{
	gmp__throw_hook = hook_throws;
	do_throw(arg);
}

static void test_throw_in_report(void **state)
{
	(void)state;
	aborts(do_throw_twice);
	assert_string_equal(out, "gmp: fatal: g7: bad state\nstate of the scheduler\ngmp: fatal: in the report\n");
}

static uint32_t in_report, second_said;

static void *throw_too(void *arg)
{
	while (load_acquire(&in_report) == 0)
		gmp__os_osyield();
	store_release(&second_said, 1u);
	do_throw(arg);
	return NULL;
}

static void hook_long(int fd)
{
	store_release(&in_report, 1u);
	while (load_acquire(&second_said) == 0)
		gmp__os_osyield();
	for (int i = 0; i < 100; i++) {
		gmp__os_osyield();
		put(fd, ".");
	}
	put(fd, "end of report\n");
}

static void do_throw_both(void *arg)
{
	pthread_t t;
	gmp__throw_hook = hook_long;
	check_int(pthread_create(&t, NULL, throw_too, arg), 0);
	do_throw(arg);
}

/* The second one says its line, somewhere, and leaves the first one's report whole. */
static void test_throw_two_threads(void **state)
{
	(void)state;
	aborts(do_throw_both);
	assert_true(count("gmp: fatal: g7: bad state\n") >= 1 && count("gmp: fatal: g7: bad state\n") <= 2);
	assert_int_equal(count("end of report\n"), 1);
	assert_int_equal(count("."), 100);
}

static void do_warn(void *arg)
{
	char text[5000];
	(void)arg;
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	errno = 1234;
	gmp__warn("going on with %d threads", 5);
	check_int(errno, 1234);
	gmp__warn("%s", text);
	gmp__warn("%s", "");
}

static void test_warn(void **state)
{
	(void)state;
	static const char first[] = "gmp: going on with 5 threads\ngmp: xxxx";
	static const char last[] = "xxxx\ngmp: \n";
	int status = in_child(do_warn, NULL, out, sizeof out);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_memory_equal(out, first, sizeof first - 1);
	assert_true(strlen(out) < 2000);
	assert_string_equal(out + strlen(out) - (sizeof last - 1), last);
	assert_int_equal(count("\n"), 3);
}

static int no_core(void **state)
{
	(void)state;
	return setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_throw_message),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_throw_in_report),
		cmocka_unit_test(test_throw_two_threads),
		cmocka_unit_test(test_warn),
	};
	return cmocka_run_group_tests(tests, no_core, NULL);
}
