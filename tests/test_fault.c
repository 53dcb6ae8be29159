/* SPDX-License-Identifier: MIT
 * test_fault.c - a stack overflow is reported, on the main thread and on others; every other fault and every signal
 * that was sent reaches whoever handled it before; signal stacks are set up, kept, put back. All faults happen in
 * children. */
#include "fault.h"
#include "base.h"
#include "debugvars.h"
#include "os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SANITIZED (ASAN_BUILD || TSAN_BUILD)
#ifdef MINICMOCKA_H /* a cross build, run by an emulator: static, signal frames and limits as the emulator has them */
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

static char out[16384];

static int in_child(void (*fn)(void))
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
		(void)alarm(60);
		/* cmocka has put its own there; the sanitizers' are not there any more because of that. */
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGBUS, SIG_DFL);
		fn();
		_exit(0);
	}
	(void)close(fd[1]);
	while (n + 1 < sizeof out && (r = read(fd[0], out + n, sizeof out - 1 - n)) > 0)
		n += (size_t)r;
	out[n] = 0;
	(void)close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#define child_check(c) \
	do { \
		if (!(c)) { \
			(void)dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
			_exit(99); \
		} \
	} while (0)

static void assert_matches(const char *pattern)
{
	regex_t re;
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	int r = regexec(&re, out, 0, NULL, 0);
	regfree(&re);
	if (r != 0)
		fail_msg("no match of %s in: %s", pattern, out);
}

static void assert_died_of(int status, int sig)
{
	if (!WIFSIGNALED(status) || WTERMSIG(status) != sig)
		fail_msg("status 0x%x instead of signal %d: %s", (unsigned)status, sig, out);
}

static int setup(void **state)
{
	(void)state;
	gmp__debugvars_init();
	return gmp__stack_init(0);
}

/* ---- overflow ---------------------------------------------------------------------------------------------------- */

void visible_function(void);
void visible_function(void) {}
static void invisible_function(void) {}

static void *fn_of_g = (void *)visible_function;
static Stack *stack_of_g;

static bool describe(Stack *s, FaultInfo *info)
{
	if (s != stack_of_g)
		return false;
	*info = (FaultInfo){42, "greedy", fn_of_g, (void *)visible_function};
	return true;
}

#if defined(__clang__)
#pragma clang diagnostic ignored "-Winfinite-recursion"
#elif defined(__GNUC__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Winfinite-recursion"
#endif
static __attribute__((__noinline__)) int recurse(int n)
{
	volatile char frame[500];
	frame[n % 500] = (char)n;
	return recurse(n + 1) + frame[n % 500];
}

static void deep(void) { (void)recurse(0); }

static void run_on(Stack *s, void (*fn)(void))
{
	static ucontext_t self, other;
	child_check(getcontext(&other) == 0);
	other.uc_stack.ss_sp = gmp__stack_lo(s);
	other.uc_stack.ss_size = (size_t)(stack_sp(s) - gmp__stack_lo(s));
	other.uc_link = &self;
	makecontext(&other, fn, 0);
	child_check(swapcontext(&self, &other) == 0);
}

static void overflow(void)
{
	child_check(gmp__fault_init() == 0 && gmp__fault_thread_init() == 0);
	gmp__fault_describe = describe;
	stack_of_g = gmp__stack_alloc_slow(NULL, 0);
	(void)dprintf(STDERR_FILENO, "bounds 0x%zx-0x%zx\n", (size_t)gmp__stack_lo(stack_of_g),
		(size_t)gmp__stack_hi(stack_of_g));
	run_on(stack_of_g, deep);
}

static void assert_report(int status)
{
	char bounds[64], again[80];
	assert_died_of(status, SIGABRT);
	assert_int_equal(sscanf(out, "bounds %60s", bounds), 1);
	assert_matches(
		"gmp: fatal: stack overflow in coroutine 42 \"greedy\" function [^ ]+, stack 0x[0-9a-f]+-0x[0-9a-f]+ "
		"\\(256 KiB reserved\\); raise gmp_attr.stack_size or gmp_config.stack_size\n");
	(void)snprintf(again, sizeof again, "stack %s (", bounds);
	assert_non_null(strstr(out, again));
	assert_matches("spawned at");
}

static void test_overflow(void **state)
{
	(void)state;
	for (int kind = 2; kind >= 1; kind--) {
		gmp__debug.guard = kind;
		assert_int_equal(gmp__stack_init(0), 0);
		gmp__stack_fork_child(); /* fresh slots, of this kind */
		assert_report(in_child(overflow));
#if !TSAN_BUILD && defined(__GLIBC__)
		if (EMULATED || on_valgrind())
			continue;
		/* The handler's frames, the signal frame, and many times recurse. */
		assert_matches("backtrace");
		char *p = strstr(out, "backtrace");
		int lines = 0;
		while ((p = strchr(p, '\n')) != NULL && *++p)
			lines++;
		assert_in_range(lines, 10, 100);
#endif
	}
}

static void test_function_name(void **state)
{
	(void)state;
	fn_of_g = (void *)invisible_function;
	assert_report(in_child(overflow));
	assert_matches("function 0x[0-9a-f]+,");
	/* Exported symbols have names; whether an executable exports its own is up to the linker. */
	fn_of_g = (void *)getenv;
	assert_report(in_child(overflow));
#ifdef __GLIBC__
	if (!SANITIZED && !EMULATED)
		assert_matches("function [a-z_]*getenv,");
#endif
	fn_of_g = (void *)visible_function;
}

static void *overflowing_thread(void *arg)
{
	child_check(gmp__fault_thread_init() == 0);
	run_on(arg, deep);
	return NULL;
}

static void overflow_on_thread(void)
{
	pthread_t t;
	child_check(gmp__fault_init() == 0);
	gmp__fault_describe = describe;
	stack_of_g = gmp__stack_alloc_slow(NULL, 0);
	(void)dprintf(STDERR_FILENO, "bounds 0x%zx-0x%zx\n", (size_t)gmp__stack_lo(stack_of_g),
		(size_t)gmp__stack_hi(stack_of_g));
	child_check(pthread_create(&t, NULL, overflowing_thread, stack_of_g) == 0);
	(void)pthread_join(t, NULL);
}

static void test_overflow_on_thread(void **state)
{
	(void)state;
	assert_report(in_child(overflow_on_thread));
}

static void overflow_of_nobody(void)
{
	child_check(gmp__fault_init() == 0 && gmp__fault_thread_init() == 0);
	gmp__fault_describe = NULL;
	run_on(gmp__stack_alloc_slow(NULL, 16 << 10), deep);
}

static void test_overflow_of_nobody(void **state)
{
	(void)state;
	assert_died_of(in_child(overflow_of_nobody), SIGABRT);
	/* 16 KiB were asked for; one has a page at least. */
	assert_matches(
		"gmp: fatal: stack overflow in a coroutine that is not known any more, stack .* \\((16|64) KiB reserved\\)");
}

static bool describe_badly(Stack *s, FaultInfo *info)
{
	(void)s;
	*info = (FaultInfo){1, (const char *)(uintptr_t)8, NULL, NULL};
	return true;
}

static void overflow_of_damaged(void)
{
	child_check(gmp__fault_init() == 0 && gmp__fault_thread_init() == 0);
	gmp__fault_describe = describe_badly;
	run_on(gmp__stack_alloc_slow(NULL, 0), deep);
}

/* A fault in the report does not end in a hang or another signal. */
static void test_report_faults(void **state)
{
	(void)state;
	assert_died_of(in_child(overflow_of_damaged), SIGABRT);
}

static void on_abort(int sig)
{
	(void)sig;
	_exit(3);
}

static void overflow_with_abort_handled(void)
{
	(void)signal(SIGABRT, on_abort);
	overflow();
}

static void test_abort_is_not_handled(void **state)
{
	(void)state;
	assert_died_of(in_child(overflow_with_abort_handled), SIGABRT);
}

/* ---- other faults ------------------------------------------------------------------------------------------------ */

static char *forbidden;
static volatile sig_atomic_t calls;
static sigjmp_buf jump;

static void fault_now(void) { *(volatile char *)(forbidden + 123) = 1; }

static void set_handler(int sig, void (*plain)(int), void (*full)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	if (full) {
		sa.sa_sigaction = full;
		sa.sa_flags = SA_SIGINFO | flags;
	} else {
		sa.sa_handler = plain;
		sa.sa_flags = flags;
	}
	(void)sigaddset(&sa.sa_mask, SIGUSR1);
	child_check(sigaction(sig, &sa, NULL) == 0);
}

static void arm(void)
{
	long page = sysconf(_SC_PAGESIZE);
	forbidden = mmap(NULL, (size_t)page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	child_check(forbidden != MAP_FAILED);
	child_check(gmp__fault_init() == 0 && gmp__fault_thread_init() == 0);
}

static void full_handler(int sig, siginfo_t *si, void *context)
{
	sigset_t mask;
	child_check(sig == SIGSEGV && si->si_addr == forbidden + 123 && context);
	child_check(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
	child_check(EMULATED || sigismember(&mask, SIGUSR1) == 1); /* its own sa_mask; qemu-riscv64 7.2 forgets it */
	_exit(42);
}

static void chain_full(void)
{
	set_handler(SIGSEGV, NULL, full_handler, 0);
	arm();
	fault_now();
}

static void plain_handler(int sig)
{
	child_check(sig == SIGSEGV);
	calls++;
	siglongjmp(jump, 1);
}

/* A handler that jumps out, as conservative collectors and probes for bad addresses do, works again and again. */
static void chain_plain(void)
{
	set_handler(SIGSEGV, plain_handler, NULL, 0);
	arm();
	for (int i = 0; i < 3; i++)
		if (sigsetjmp(jump, 1) == 0)
			fault_now();
	child_check(calls == 3);
	_exit(43);
}

static void test_foreign_fault_is_chained(void **state)
{
	(void)state;
	int status = in_child(chain_full);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
	status = in_child(chain_plain);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 43)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
	assert_null(strstr(out, "gmp: fatal"));
}

static void by_default(void)
{
	arm();
	fault_now();
}

static void ignored(void)
{
	set_handler(SIGSEGV, SIG_IGN, NULL, 0);
	arm();
	(void)raise(SIGSEGV);
	(void)dprintf(STDERR_FILENO, "survived\n");
	fault_now();
}

static void sent(void)
{
	arm();
	(void)raise(SIGBUS);
}

static void counting_handler(int sig)
{
	(void)sig;
	calls++;
	(void)dprintf(STDERR_FILENO, "called\n");
}

static void only_once(void)
{
	set_handler(SIGSEGV, counting_handler, NULL, (int)SA_RESETHAND);
	arm();
	fault_now();
}

static void test_default_actions(void **state)
{
	(void)state;
	assert_died_of(in_child(by_default), SIGSEGV);
	assert_null(strstr(out, "gmp: fatal"));
	assert_died_of(in_child(sent), SIGBUS);
	assert_died_of(in_child(ignored), SIGSEGV);
	assert_matches("survived");
	assert_died_of(in_child(only_once), SIGSEGV);
	char *first = strstr(out, "called");
	assert_non_null(first);
	assert_null(strstr(first + 1, "called"));
}

static void (*handler_now(int sig))(int)
{
	struct sigaction sa;
	child_check(sigaction(sig, NULL, &sa) == 0);
	return sa.sa_handler;
}

static void exit_restores(void)
{
	set_handler(SIGSEGV, plain_handler, NULL, 0);
	arm();
	child_check(handler_now(SIGSEGV) != plain_handler);
	gmp__fault_exit();
	child_check(handler_now(SIGSEGV) == plain_handler);
	child_check(gmp__fault_init() == 0);
	child_check(handler_now(SIGSEGV) != plain_handler);
	gmp__fault_exit();
	child_check(handler_now(SIGSEGV) == plain_handler);
}

static struct sigaction below;
static void later_handler(int sig, siginfo_t *si, void *context)
{
	child_check(calls < 5);
	calls++;
	below.sa_sigaction(sig, si, context);
}

/* Somebody chains to us; we neither remove his handler nor come to lie above and below him in a circle. */
static void handler_above(void)
{
	struct sigaction sa;
	set_handler(SIGSEGV, plain_handler, NULL, 0);
	arm();
	memset(&sa, 0, sizeof sa);
	sa.sa_sigaction = later_handler;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
	child_check(sigaction(SIGSEGV, &sa, &below) == 0);
	for (int i = 0; i < 2; i++) {
		gmp__fault_exit();
		calls = 0;
		if (sigsetjmp(jump, 1) == 0)
			fault_now();
		child_check(calls == 2); /* his and the one below ours */
		child_check(gmp__fault_init() == 0);
	}
}

static void test_init_and_exit(void **state)
{
	(void)state;
	int status = in_child(exit_restores);
	if (status != 0)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
	status = in_child(handler_above);
	if (status != 0)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
}

/* ---- signal stacks ----------------------------------------------------------------------------------------------- */

static void *altstack_thread(void *arg)
{
	stack_t before, during, after;
	uint64_t stacks, idle, idle2, bytes;
	size_t *size = arg;
	char *mine = NULL;
	if (*size != 0) {
		mine = malloc(*size);
		stack_t s = {.ss_sp = mine, .ss_size = *size, .ss_flags = 0};
		child_check(sigaltstack(&s, NULL) == 0);
	}
	child_check(sigaltstack(NULL, &before) == 0);
	for (int i = 0; i < 3; i++) {
		bool in_guard = true;
		child_check(gmp__fault_thread_init() == 0);
		child_check(sigaltstack(NULL, &during) == 0);
		child_check(!(during.ss_flags & SS_DISABLE) && during.ss_size >= 16 << 10);
		bool ours = gmp__stack_find((uintptr_t)during.ss_sp, &in_guard) && !in_guard;
		/* Large enough: kept. */
		child_check(ours == ((before.ss_flags & SS_DISABLE) || before.ss_size < 16 << 10));
		gmp__stack_stats(&stacks, &idle, &bytes);
		gmp__fault_thread_exit();
		gmp__stack_stats(&stacks, &idle2, &bytes);
		child_check(idle2 == idle + ours);
		child_check(sigaltstack(NULL, &after) == 0);
		child_check(after.ss_flags == before.ss_flags);
		child_check((after.ss_flags & SS_DISABLE) || after.ss_sp == before.ss_sp);
		gmp__fault_thread_exit(); /* nothing to do */
	}
	if (mine) {
		stack_t s = {.ss_sp = NULL, .ss_size = 0, .ss_flags = SS_DISABLE};
		child_check(sigaltstack(&s, NULL) == 0);
	}
	free(mine);
	return NULL;
}

static void altstacks(void)
{
	static size_t sizes[] = {0, 8 << 10, 128 << 10, 0};
	for (size_t i = 0; i < nelem(sizes); i++) {
		pthread_t t;
		child_check(pthread_create(&t, NULL, altstack_thread, &sizes[i]) == 0);
		child_check(pthread_join(t, NULL) == 0);
	}
}

static void test_altstacks(void **state)
{
	(void)state;
	int status = in_child(altstacks);
	if (status != 0)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
}

static void altstack_oom(void)
{
	stack_t now;
	stack_t none = {.ss_sp = NULL, .ss_size = 0, .ss_flags = SS_DISABLE};
	child_check(sigaltstack(&none, NULL) == 0);
	gmp__stack_fork_child();
	/* Every call fails from now on, smaller arenas too. */
	child_check(setrlimit(RLIMIT_AS, &(struct rlimit){1 << 20, 1 << 20}) == 0);
	child_check(gmp__fault_thread_init() < 0);
	child_check(sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE));
	gmp__fault_thread_exit();
}

static void test_altstack_oom(void **state)
{
	(void)state;
	if (SANITIZED || EMULATED || on_valgrind()) {
		print_message("skipped: sanitizers, emulators and Valgrind need the address space themselves\n");
		skip();
	}
	int status = in_child(altstack_oom);
	if (status != 0)
		fail_msg("status 0x%x: %s", (unsigned)status, out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_overflow, setup),
		cmocka_unit_test_setup(test_function_name, setup),
		cmocka_unit_test_setup(test_overflow_on_thread, setup),
		cmocka_unit_test_setup(test_overflow_of_nobody, setup),
		cmocka_unit_test_setup(test_report_faults, setup),
		cmocka_unit_test_setup(test_abort_is_not_handled, setup),
		cmocka_unit_test_setup(test_foreign_fault_is_chained, setup),
		cmocka_unit_test_setup(test_default_actions, setup),
		cmocka_unit_test_setup(test_init_and_exit, setup),
		cmocka_unit_test_setup(test_altstacks, setup),
		cmocka_unit_test_setup(test_altstack_oom, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
