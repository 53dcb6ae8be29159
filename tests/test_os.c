/* SPDX-License-Identifier: MIT
 * test_os.c - what the scheduler asks of the operating system, as os.h promises it: os_linux.c and os_posix.c alike.
 * What only one of them can do is asked of that one. */
#include "testutil.h"

#include "atomic.h"
#include "os.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum { KIB = 1024, MIB = 1024 * 1024 };

static sigset_t first_mask; /* when main began */

static void check_mask(void)
{
	sigset_t now;
	check_int(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
	for (int i = 1; i < 32; i++)
		check_int(sigismember(&now, i), sigismember(&first_mask, i));
}

static bool linux_backend(void)
{
#if defined(__linux__)
	return gmp__os_gettid() == (uint64_t)syscall(SYS_gettid);
#else
	return false;
#endif
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	check_int(gmp__os_thread_new(&t, fn, arg, 256 * KIB, "gmp-test"), 0);
	return t;
}

static void *join(pthread_t t)
{
	void *r = NULL;
	check_int(pthread_join(t, &r), 0);
	return r;
}

/* ---- clock, seeds, identity -------------------------------------------------------------------------------------- */

static void test_clock(void **state)
{
	(void)state;
	struct timespec ts;
	int64_t a = gmp__os_now();
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	int64_t b = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec, c = gmp__os_now();
	assert_true(a <= b && b <= c);

	gmp__os_usleep(2000000);
	assert_true(gmp__os_now() - c >= 2000000);
	gmp__os_usleep(0);
	gmp__os_usleep(-1);
	gmp__os_usleep(INT64_MIN);
	gmp__os_osyield();
}

static void on_signal(int sig) { (void)sig; }

/* A signal does not cut a sleep short. */
static void test_usleep_signal(void **state)
{
	(void)state;
	struct sigaction sa = {.sa_handler = on_signal}, old;
	timer_t timer;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec every = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
	assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &every, NULL), 0);
	int64_t before = gmp__os_now();
	gmp__os_usleep(20000000);
	int64_t after = gmp__os_now();
	assert_int_equal(timer_delete(timer), 0);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
	assert_true(after - before >= 20000000);
}

static void test_random(void **state)
{
	(void)state;
	uint64_t a = gmp__os_random(), b = gmp__os_random(), c = gmp__os_random();
	assert_true(a != b || b != c);
}

static void *tell_tid(void *arg)
{
	*(uint64_t *)arg = gmp__os_gettid();
	return NULL;
}

static void test_gettid(void **state)
{
	(void)state;
	uint64_t theirs = 0;
	(void)join(start(tell_tid, &theirs));
	assert_true(theirs != 0 && theirs != gmp__os_gettid());
	assert_true(gmp__os_gettid() == gmp__os_gettid());
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

typedef struct Probe {
	sigset_t mask;
	char name[64];
	char *frame, *stack;
	size_t stacksize;
} Probe;

static void *probe(void *arg)
{
	Probe *p = arg;
	void *lo;
	check_int(pthread_sigmask(SIG_SETMASK, NULL, &p->mask), 0);
#if defined(__linux__)
	check_int(pthread_getname_np(pthread_self(), p->name, sizeof p->name), 0);
#endif
	p->frame = __builtin_frame_address(0);
	gmp__os_thread_stack(&lo, &p->stacksize);
	p->stack = lo;
	return p;
}

static void test_thread(void **state)
{
	(void)state;
	static const int sync[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	static const int async[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGCHLD,
		SIGPROF, SIGVTALRM, SIGURG, SIGIO, SIGWINCH, SIGABRT};
	Probe p;
	pthread_t t;
	memset(&p, 0, sizeof p);
	assert_int_equal(gmp__os_thread_new(&t, probe, &p, 512 * KIB, "a-name-longer-than-fifteen"), 0);
	check_mask();
	assert_ptr_equal(join(t), &p);
	for (size_t i = 0; i < nelem(sync); i++)
		assert_int_equal(sigismember(&p.mask, sync[i]), 0);
	for (size_t i = 0; i < nelem(async); i++)
		assert_int_equal(sigismember(&p.mask, async[i]), 1);
	if (linux_backend())
		assert_string_equal(p.name, "a-name-longer-t");
	if (p.stack) {
		assert_true(p.stacksize >= 256 * KIB);
		assert_true(p.stack <= p.frame && p.frame < p.stack + p.stacksize);
	}
}

/* The stack of the first thread grows: what is told is what it may become. */
static void test_thread_stack_main(void **state)
{
	(void)state;
	Probe p;
	memset(&p, 0, sizeof p);
	assert_ptr_equal(probe(&p), &p);
	if (p.stack)
		assert_true(p.stack <= p.frame && p.frame < p.stack + p.stacksize);
	if (linux_backend())
		assert_non_null(p.stack);
}

/* Sizes that are too small or no multiple of anything are put right. */
static void test_thread_stack_sizes(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 4096, 16 * KIB, 64 * KIB + 1, 100000, MIB};
	for (size_t i = 0; i < nelem(sizes); i++) {
		Probe p;
		pthread_t t;
		memset(&p, 0, sizeof p);
		assert_int_equal(gmp__os_thread_new(&t, probe, &p, sizes[i], "t"), 0);
		assert_ptr_equal(join(t), &p);
		if (p.stack)
			assert_true(p.stack <= p.frame && p.frame < p.stack + p.stacksize);
	}
}

static void *spin_until(void *arg)
{
	while (load_acquire((uint32_t *)arg) == 0)
		cpu_pause();
	return NULL;
}

static void test_thread_cputime(void **state)
{
	(void)state;
	int64_t begin = gmp__os_thread_cputime(pthread_self()), now;
	if (begin < 0 && !linux_backend())
		skip();
	assert_true(begin >= 0);
	do {
		now = gmp__os_thread_cputime(pthread_self());
		assert_true(now >= begin);
	} while (now - begin < 1000000);

	/* Another thread's runs while that one does. */
	uint32_t stop = 0;
	pthread_t t = start(spin_until, &stop);
	while (gmp__os_thread_cputime(t) < 2000000)
		gmp__os_osyield();
	store_release(&stop, 1u);
	(void)join(t);
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

#if defined(__linux__)
/* A thread of its own: the mask is a thread's. */
static void *on_one_cpu(void *arg)
{
	static unsigned long mask[1024]; /* 65536 CPUs */
	long size = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
	check(size > 0);
	size_t cpu = 0;
	while (!(mask[cpu / (8 * sizeof *mask)] >> cpu % (8 * sizeof *mask) & 1))
		cpu++;
	memset(mask, 0, sizeof mask);
	mask[cpu / (8 * sizeof *mask)] = 1ul << cpu % (8 * sizeof *mask);
	check_int(syscall(SYS_sched_setaffinity, 0, size, mask), 0);
	*(int *)arg = gmp__os_ncpu();
	return NULL;
}
#endif

static void test_ncpu_affinity(void **state)
{
	(void)state;
	int all = gmp__os_ncpu();
	assert_true(all >= 1 && all <= sysconf(_SC_NPROCESSORS_CONF));
#if defined(__linux__)
	int one = 0;
	(void)join(start(on_one_cpu, &one));
	assert_int_equal(one, linux_backend() ? 1 : all);
	assert_int_equal(gmp__os_ncpu(), all);
#endif
}

/* ---- address space ----------------------------------------------------------------------------------------------- */

static void test_reserve(void **state)
{
	(void)state;
	size_t page = gmp__os_pagesize();
	assert_true(page >= 4096 && (page & (page - 1)) == 0);
	assert_int_equal(page, sysconf(_SC_PAGESIZE));
	const size_t aligns[] = {1, 16, page, 4 * page, 64 * KIB, 2 * MIB, 256 * MIB};
	const size_t sizes[] = {1, page, page + 1, 3 * page, 2 * MIB, 64 * MIB};
	for (size_t i = 0; i < nelem(aligns); i++) {
		for (size_t j = 0; j < nelem(sizes); j++) {
			size_t n = sizes[j];
			char *p = gmp__os_reserve(n, aligns[i]);
			assert_non_null(p);
			assert_int_equal((uintptr_t)p % (aligns[i] < page ? page : aligns[i]), 0);
			assert_int_equal(p[0], 0);
			assert_int_equal(p[n - 1], 0);
			p[0] = p[n - 1] = 1;
			gmp__os_discard(p, n);
			assert_true(p[0] == 0 || p[0] == 1);
			if (linux_backend())
				assert_int_equal(p[0] | p[n - 1], 0);
			p[n - 1] = 2;
			assert_int_equal(p[n - 1], 2);
			gmp__os_unreserve(p, n);
		}
	}
}

/* Neighbours survive that a part is discarded. */
static void test_discard_part(void **state)
{
	(void)state;
	size_t page = gmp__os_pagesize();
	char *p = gmp__os_reserve(3 * page, page);
	assert_non_null(p);
	memset(p, 1, 3 * page);
	gmp__os_discard(p + page, page);
	assert_int_equal(p[page - 1], 1);
	assert_int_equal(p[2 * page], 1);
	gmp__os_unreserve(p, 3 * page);
}

static void test_reserve_none(void **state)
{
	(void)state;
	assert_null(gmp__os_reserve(0, 4096));
	assert_null(gmp__os_reserve(SIZE_MAX, 4096));
	assert_null(gmp__os_reserve(SIZE_MAX - 2 * MIB, 2 * MIB));
	assert_null(gmp__os_reserve(SIZE_MAX / 2, 4096));
}

/* ---- failure on demand ------------------------------------------------------------------------------------------- */

static void test_fail_nth(void **state)
{
	(void)state;
	assert_int_equal(gmp__os_fail_at, 0);
	assert_false(gmp__os_inject_failure());
	gmp__os_fail_at = 3;
	assert_false(gmp__os_inject_failure());
	assert_false(gmp__os_inject_failure());
	assert_true(gmp__os_inject_failure());
	assert_false(gmp__os_inject_failure());
	assert_int_equal(gmp__os_fail_at, 0);
	gmp__os_fail_at = -1;
	assert_false(gmp__os_inject_failure());
	gmp__os_fail_at = 0;
}

static void test_fail_calls(void **state)
{
	(void)state;
	char *p = gmp__os_alloc(100);
	assert_non_null(p);
	free(p);
	p = gmp__os_zalloc(100);
	assert_non_null(p);
	assert_true(p[0] == 0 && p[99] == 0);
	free(p);

	gmp__os_fail_at = 1;
	assert_null(gmp__os_alloc(1));
	gmp__os_fail_at = 1;
	assert_null(gmp__os_zalloc(1));
	gmp__os_fail_at = 1;
	assert_null(gmp__os_reserve(4096, 4096));
	assert_int_equal(gmp__os_fail_at, 0);
}

/* A thread takes two calls: its record, itself. Neither failure leaves a trace. */
static void test_fail_thread(void **state)
{
	(void)state;
	static const int result[] = {-ENOMEM, -EAGAIN, 0};
	uint64_t tid = 0;
	for (int i = 0; i < 3; i++) {
		pthread_t t;
		gmp__os_fail_at = i + 1;
		int r = gmp__os_thread_new(&t, tell_tid, &tid, 64 * KIB, "t");
		long left = gmp__os_fail_at;
		gmp__os_fail_at = 0;
		assert_int_equal(r, result[i]);
		assert_int_equal(left, i == 2 ? 1 : 0);
		if (r == 0)
			(void)join(t);
		assert_true((tid != 0) == (r == 0));
	}
	check_mask();
}

enum { FAILERS = 4, FAIL_CALLS = 1000 };

static void *fail_many(void *arg)
{
	for (int i = 0; i < FAIL_CALLS; i++)
		if (gmp__os_inject_failure())
			(void)fetch_add_acqrel((uint32_t *)arg, 1u);
	return NULL;
}

/* However many threads ask, one is refused. */
static void test_fail_threads(void **state)
{
	(void)state;
	uint32_t failed = 0;
	pthread_t t[FAILERS];
	for (int i = 0; i < FAILERS; i++)
		t[i] = start(fail_many, &failed);
	store_relaxed(&gmp__os_fail_at, 1L);
	for (int i = 0; i < FAILERS; i++)
		(void)join(t[i]);
	(void)fail_many(&failed); /* they may have been through before it was set */
	assert_int_equal(failed, 1);
	assert_int_equal(gmp__os_fail_at, 0);
}

/* ---- errno ------------------------------------------------------------------------------------------------------- */

static void test_errno(void **state)
{
	(void)state;
	uint32_t word = 0;
	void *p, *lo;
	size_t size;
	bool fence = gmp__os_membarrier_init();
	uint64_t tid = 0;
	pthread_t t;
#define KEEPS_ERRNO(call) \
	do { \
		errno = 1234; \
		call; \
		assert_int_equal(errno, 1234); \
	} while (0)
	KEEPS_ERRNO((void)gmp__os_now());
	KEEPS_ERRNO((void)gmp__os_random());
	KEEPS_ERRNO((void)gmp__os_gettid());
	KEEPS_ERRNO((void)gmp__os_thread_slice(UINT32_MAX, 1));
	KEEPS_ERRNO((void)gmp__os_futex_wait(&word, 1, INT64_MAX));
	KEEPS_ERRNO((void)gmp__os_futex_wait(&word, 0, 0));
	KEEPS_ERRNO(gmp__os_futex_wake(&word, 1));
	KEEPS_ERRNO(gmp__os_osyield());
	KEEPS_ERRNO(gmp__os_usleep(1000));
	KEEPS_ERRNO((void)gmp__os_membarrier_init());
	if (fence)
		KEEPS_ERRNO(gmp__os_membarrier());
	KEEPS_ERRNO(gmp__os_thread_stack(&lo, &size));
	KEEPS_ERRNO((void)gmp__os_thread_cputime(pthread_self()));
	KEEPS_ERRNO((void)gmp__os_ncpu());
	KEEPS_ERRNO(p = gmp__os_reserve(4096, 4096));
	KEEPS_ERRNO(gmp__os_discard(p, 4096));
	KEEPS_ERRNO(gmp__os_unreserve(p, 4096));
	KEEPS_ERRNO((void)gmp__os_reserve(SIZE_MAX / 2, 4096));
	KEEPS_ERRNO(p = gmp__os_alloc(1));
	free(p);
	KEEPS_ERRNO(p = gmp__os_zalloc(1));
	free(p);
	KEEPS_ERRNO(check_int(gmp__os_thread_new(&t, tell_tid, &tid, 64 * KIB, "t"), 0));
	(void)join(t);
#undef KEEPS_ERRNO
}

/* A sandbox may let a thread look at its attributes, but not set them. */
static bool attributes_can_be_set(void)
{
#ifdef SYS_sched_setattr
	uint32_t a[12] = {0}; /* struct sched_attr */
	if (syscall(SYS_sched_getattr, 0, a, (unsigned)sizeof a, 0u) == 0)
		return syscall(SYS_sched_setattr, 0, a, 0u) == 0;
#endif
	return true;
}

/* Where the kernel has such slices it gives back what was set; elsewhere both are 0. */
static void a_slice_is_what_it_was_set_to(void **state)
{
	(void)state;
	if (!attributes_can_be_set())
		skip();
	uint64_t tid = gmp__os_gettid();
	int64_t first = gmp__os_thread_slice(tid, 300000);
	int64_t set = gmp__os_thread_slice(tid, 0);
	assert_true(set == (first ? 300000 : 0));
	assert_int_equal(gmp__os_thread_slice(tid, first), first); /* 0: as it was */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_usleep_signal),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_gettid),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_thread_stack_main),
		cmocka_unit_test(test_thread_stack_sizes),
		cmocka_unit_test(test_thread_cputime),
		cmocka_unit_test(test_ncpu_affinity),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_discard_part),
		cmocka_unit_test(test_reserve_none),
		cmocka_unit_test(test_fail_nth),
		cmocka_unit_test(test_fail_calls),
		cmocka_unit_test(test_fail_thread),
		cmocka_unit_test(test_fail_threads),
		cmocka_unit_test(test_errno),
		cmocka_unit_test(a_slice_is_what_it_was_set_to),
	};
	check_int(pthread_sigmask(SIG_SETMASK, NULL, &first_mask), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
