/* SPDX-License-Identifier: MIT
 * testutil.c - see testutil.h. */
#include "testutil.h"
#include "runtime.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HANG_S = 60 };

void test_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
	fflush(NULL);
	abort();
}

void test_check_int(const char *file, int line, const char *what, long long got, long long want)
{
	if (got == want)
		return;
	fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", file, line, what, got, want);
	fflush(NULL);
	abort();
}

int test_ncpu(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 8 ? 8 : (int)n;
}

__attribute__((noinline)) uintptr_t this_thread(void)
{
	pthread_t t = pthread_self();
	__asm__ volatile("" : "+r"(t));
	return (uintptr_t)t;
}

int test_scale(void)
{
	const char *e = getenv("GMP_TEST_SCALE");
	int k = e ? atoi(e) : 1;
	return (k > 0 ? k : 1) * (TEST_SANITIZED ? 10 : 1);
}

uint64_t test_seed(void)
{
	const char *e = getenv("GMP_TEST_SEED");
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	uint64_t s = e ? strtoull(e, NULL, 0) : (uint64_t)t.tv_nsec * 2654435761u + (uint64_t)t.tv_sec;
	printf("GMP_TEST_SEED=%llu\n", (unsigned long long)s);
	fflush(stdout);
	return s;
}

/* ---- watchdog ---------------------------------------------------------------------------------------------------- */

/* Of a hang outside of a run, or one that gmp_dump hangs on, too: a walk without locks. */
static void last_words(int sig)
{
	(void)sig;
	static const char text[] = "test hangs, coroutines as they look without locks:\n";
	if (write(STDERR_FILENO, text, sizeof text - 1) > 0)
		gmp__dump_fatal(STDERR_FILENO);
	abort();
}

/* ctest kills without a word after GMP_TEST_TIMEOUT. */
__attribute__((constructor)) static void speak_before_death(void)
{
	const char *e = getenv("GMP_TEST_TIMEOUT");
	signal(SIGALRM, last_words);
	if (e && atoi(e) > 20)
		alarm((unsigned)atoi(e) - 20);
}

typedef struct Watch {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	int over;
} Watch;

static void *watch(void *arg)
{
	Watch *w = arg;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += HANG_S;
	pthread_mutex_lock(&w->mu);
	int e = 0;
	while (!w->over && e != ETIMEDOUT)
		e = pthread_cond_timedwait(&w->cond, &w->mu, &t);
	int hung = !w->over;
	pthread_mutex_unlock(&w->mu);
	if (hung) {
		fprintf(stderr, "test hangs:\n");
		alarm(10);
		gmp_dump(STDERR_FILENO);
		abort();
	}
	return NULL;
}

int run_result(int procs, gmp_fn *fn, void *arg)
{
	Watch w = {.mu = PTHREAD_MUTEX_INITIALIZER};
	pthread_condattr_t a;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&w.cond, &a);
	pthread_t t;
	check_int(pthread_create(&t, NULL, watch, &w), 0);
	gmp_config cfg = {.procs = procs};
	int r = gmp_run(fn, arg, &cfg);
	pthread_mutex_lock(&w.mu);
	w.over = 1;
	pthread_cond_signal(&w.cond);
	pthread_mutex_unlock(&w.mu);
	pthread_join(t, NULL);
	pthread_cond_destroy(&w.cond);
	pthread_condattr_destroy(&a);
	return r;
}

void run_on(int procs, gmp_fn *fn, void *arg)
{
	check_int(run_result(procs, fn, arg), 0);
	gmp_stats s;
	gmp_stats_read(&s);
	check_int(s.gs, 0);
	check_int(s.spawned, s.ended);
	check_int(s.timers, 0);
	check_int(s.stacks, 0);
	check_int(gmp_procs(), 0);
}

void run_on_all(gmp_fn *fn, void *arg)
{
	int n = test_ncpu();
	run_on(1, fn, arg);
	run_on(2, fn, arg);
	if (n != 2 && n != 1)
		run_on(n, fn, arg);
	run_on(2 * n, fn, arg);
}

void no_sysmon(void)
{
	const char *was = getenv("GMP_DEBUG");
	char now[300];
	check((size_t)snprintf(now, sizeof now, "%s%ssysmon=0", was ? was : "", was ? "," : "") < sizeof now);
	check_int(setenv("GMP_DEBUG", now, 1), 0);
}

void run_alone(gmp_fn *fn, void *arg)
{
	const char *e = getenv("GMP_DEBUG");
	char *was = e ? strdup(e) : NULL;
	no_sysmon();
	run_on(1, fn, arg);
	check_int(was ? setenv("GMP_DEBUG", was, 1) : unsetenv("GMP_DEBUG"), 0);
	free(was);
}

void until_left(uint64_t n, uint64_t waiting)
{
	gmp_stats s;
	for (;;) {
		gmp_stats_read(&s);
		if (s.gs == n && s.gs_waiting == waiting)
			return;
		check_int(gmp_sleep(50 * GMP_USEC), 0);
	}
}

/* ---- children ---------------------------------------------------------------------------------------------------- */

int in_child(void (*fn)(void *), void *arg, char *buf, size_t size)
{
	int fds[2];
	check_int(pipe(fds), 0);
	fflush(NULL);
	pid_t pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		dup2(fds[1], STDERR_FILENO);
		close(fds[1]);
		for (int s = 1; s < 32; s++) /* cmocka's handlers would carry on with the parent's tests */
			signal(s, s == SIGALRM ? last_words : SIG_DFL);
		alarm(HANG_S);
		fn(arg);
		_exit(0);
	}
	close(fds[1]);
	size_t n = 0;
	ssize_t k;
	char drop[256];
	while ((k = n + 1 < size ? read(fds[0], buf + n, size - 1 - n) : read(fds[0], drop, sizeof drop)) > 0)
		if (n + 1 < size)
			n += (size_t)k;
	buf[n] = 0;
	close(fds[0]);
	int status;
	check_int(waitpid(pid, &status, 0), pid);
	return status;
}
