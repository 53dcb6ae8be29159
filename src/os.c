/* SPDX-License-Identifier: MIT
 * os.c - the part of os.h that is the same on every POSIX system: clock, threads, address space, allocation, and the
 * hook that lets them fail on demand. Functions here that may write errno put it back, and are never inlined, so that
 * no caller's frame keeps an address of errno across a switch. */
#include "os_impl.h"
#include "atomic.h"
#include "cgroup.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__FreeBSD__)
#include <pthread_np.h>
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

void gmp__os_die(const char *call, int err)
{
	char s[160];
	int n = snprintf(s, sizeof s, "gmp: fatal: %s failed: error %d\n", call, err);
	if (n > 0)
		(void)!write(STDERR_FILENO, s, (size_t)n < sizeof s ? (size_t)n : sizeof s - 1);
	abort();
}

/* ---- clock ------------------------------------------------------------------------------------------------------- */

int64_t gmp__os_now(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* the clock exists and ts is ours: cannot fail */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

outofline void gmp__os_usleep(int64_t ns)
{
	if (ns <= 0)
		return;
	int e = errno;
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
	errno = e;
}

outofline void gmp__os_osyield(void)
{
	int e = errno;
	(void)sched_yield();
	errno = e;
}

uint64_t gmp__os_weak_random(void)
{
	static uint64_t calls;
	uint64_t x = (uint64_t)gmp__os_now() ^ (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)&x;
	x += fetch_add_relaxed(&calls, UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	/* The finalizer of splitmix64: few differing bits become many. */
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

#if TSAN_BUILD
/* ---- signals ----------------------------------------------------------------------------------------------------- */

static uint64_t signals;

void gmp__os_signals_add(uint64_t bits) { (void)fetch_or_seqcst(&signals, bits); }

outofline void gmp__os_signals_settle(void)
{
	int e = errno;
	sigset_t set;
	(void)sigemptyset(&set);
	for (uint64_t left = load_acquire(&signals); left; left &= left - 1)
		(void)sigaddset(&set, __builtin_ctzll(left) + 1);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	errno = e;
}

#endif
/* ---- threads ----------------------------------------------------------------------------------------------------- */

typedef struct Start {
	void *(*fn)(void *);
	void *arg;
	char name[16]; /* with its end, the longest that Linux takes */
} Start;

/* The thread names itself: whoever created it cannot know that it still exists. */
static void *thread_start(void *p)
{
	Start s = *(Start *)p;
	free(p);
	gmp__os_thread_name(s.name);
	return s.fn(s.arg);
}

static int thread_create(pthread_t *out, Start *s, size_t stacksize)
{
	size_t page = gmp__os_pagesize();
	size_t least = (size_t)PTHREAD_STACK_MIN;
	size_t size = ((stacksize > least ? stacksize : least) + page - 1) & ~(page - 1);
	pthread_attr_t attr;
	int rc = pthread_attr_init(&attr);
	if (rc != 0)
		return rc;
	/* The program's thread-local data comes out of the stack; where it does not fit, the size counts as invalid. */
	for (int tries = 0; tries < 5; tries++, size *= 4) {
		rc = pthread_attr_setstacksize(&attr, size);
		if (rc == 0)
			rc = pthread_create(out, &attr, thread_start, s);
		if (rc != EINVAL)
			break;
	}
	(void)pthread_attr_destroy(&attr);
	return rc;
}

outofline int gmp__os_thread_new(pthread_t *out, void *(*fn)(void *), void *arg, size_t stacksize, const char *name)
{
	int e = errno;
	int rc = EAGAIN;
	Start *s = gmp__os_alloc(sizeof *s);
	if (!s) {
		errno = e;
		return -ENOMEM;
	}
	s->fn = fn;
	s->arg = arg;
	strncpy(s->name, name, sizeof s->name - 1);
	s->name[sizeof s->name - 1] = '\0';

	/* The program's handlers do not run here before the thread wants them. A fault is delivered, or kills, where it
	 * happens. */
	static const int sync[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	sigset_t block, before;
	(void)sigfillset(&block);
	for (size_t i = 0; i < nelem(sync); i++)
		(void)sigdelset(&block, sync[i]);
	/* Set here and inherited, so that the new thread never runs without. */
	(void)pthread_sigmask(SIG_SETMASK, &block, &before);
	if (!gmp__os_inject_failure())
		rc = thread_create(out, s, stacksize);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		free(s);
	errno = e;
	return -rc;
}

bool gmp__os_thread_tryjoin(pthread_t t)
{
#if defined(__linux__)
	return pthread_tryjoin_np(t, NULL) == 0;
#else
	(void)t;
	return false;
#endif
}

/* glibc opens a file for the first thread of the process here: not for hot paths. */
outofline void gmp__os_thread_stack(void **lo, size_t *size)
{
	int e = errno;
	*lo = NULL;
	*size = 0;
#if defined(__APPLE__)
	*size = pthread_get_stacksize_np(pthread_self());
	*lo = (char *)pthread_get_stackaddr_np(pthread_self()) - *size;
#elif defined(__linux__) || defined(__FreeBSD__)
	pthread_attr_t attr;
#if defined(__linux__)
	bool ok = pthread_getattr_np(pthread_self(), &attr) == 0;
#else
	bool ok = pthread_attr_init(&attr) == 0 && pthread_attr_get_np(pthread_self(), &attr) == 0;
#endif
	if (ok && pthread_attr_getstack(&attr, lo, size) != 0) {
		*lo = NULL;
		*size = 0;
	}
	if (ok)
		(void)pthread_attr_destroy(&attr);
#endif
	errno = e;
}

outofline int64_t gmp__os_thread_cputime(pthread_t t)
{
	int64_t ns = -1;
#if defined(_POSIX_THREAD_CPUTIME) && _POSIX_THREAD_CPUTIME >= 0
	int e = errno;
	clockid_t clock;
	struct timespec ts;
	if (pthread_getcpuclockid(t, &clock) == 0 && clock_gettime(clock, &ts) == 0)
		ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	errno = e;
#else
	(void)t;
#endif
	return ns;
}

outofline int gmp__os_ncpu_limited(int cpus)
{
	int e = errno;
	int quota = gmp__cgroup_cpus("");
	errno = e;
	if (quota < cpus)
		cpus = quota;
	return cpus < 1 ? 1 : cpus;
}

/* ---- address space ----------------------------------------------------------------------------------------------- */

size_t gmp__os_pagesize(void)
{
	static size_t cached; /* racing threads write the same value */
	size_t n = load_relaxed(&cached);
	if (unlikely(n == 0)) {
		long got = sysconf(_SC_PAGESIZE);
		n = got > 0 ? (size_t)got : 4096;
		store_relaxed(&cached, n);
	}
	return n;
}

static void advise_small(void *p, size_t size)
{
#ifdef MADV_NOHUGEPAGE
	(void)madvise(p, size, MADV_NOHUGEPAGE); /* EINVAL: a kernel without huge pages */
#else
	(void)p, (void)size;
#endif
}

outofline void *gmp__os_reserve(size_t size, size_t align)
{
	int e = errno;
	size_t page = gmp__os_pagesize();
	size_t slack = align > page ? align - page : 0;
	char *p = NULL;
	if (size == 0 || size > SIZE_MAX - page - slack || gmp__os_inject_failure())
		return NULL;
	size = (size + page - 1) & ~(page - 1);
	char *m = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m != MAP_FAILED) {
		/* What sticks out is cut off. At the limit of mappings that may fail, and then costs only addresses. */
		size_t before = slack ? (size_t)(-(uintptr_t)m & (align - 1)) : 0;
		p = m + before;
		if (before)
			(void)munmap(m, before);
		if (slack > before)
			(void)munmap(p + size, slack - before);
		advise_small(p, size);
	}
	errno = e;
	return p;
}

outofline void gmp__os_unreserve(void *p, size_t size)
{
	int e = errno;
	(void)munmap(p, size); /* fails only at the limit of mappings: the addresses are lost */
	errno = e;
}

outofline void gmp__os_populate(void *p, size_t size)
{
#ifdef MADV_POPULATE_WRITE
	int e = errno;
	(void)madvise(p, size, MADV_POPULATE_WRITE); /* Linux 5.14; else each page is a fault of its own */
	errno = e;
#else
	(void)p, (void)size;
#endif
}

outofline void gmp__os_discard(void *p, size_t size)
{
	int e = errno;
#if defined(__linux__) || !defined(MADV_FREE)
	(void)madvise(p, size, MADV_DONTNEED); /* Linux frees at once; locked memory (mlockall) stays */
#else
	(void)madvise(p, size, MADV_FREE);
#endif
	errno = e;
}

/* ---- allocation, and failure on demand --------------------------------------------------------------------------- */

long gmp__os_fail_at;

bool gmp__os_inject_failure(void)
{
	long n = load_relaxed(&gmp__os_fail_at);
	while (unlikely(n > 0))
		if (cas_acqrel(&gmp__os_fail_at, &n, n - 1))
			return n == 1;
	return false;
}

outofline void *gmp__os_alloc(size_t n)
{
	int e = errno;
	void *p = gmp__os_inject_failure() ? NULL : malloc(n);
	errno = e;
	return p;
}

outofline void *gmp__os_zalloc(size_t n)
{
	int e = errno;
	void *p = gmp__os_inject_failure() ? NULL : calloc(1, n);
	errno = e;
	return p;
}

outofline void *gmp__os_zalloc_apart(size_t n)
{
	int e = errno;
	void *p = gmp__os_inject_failure() ? NULL : aligned_alloc(FALSE_SHARING, n);
	errno = e;
	return p ? memset(p, 0, n) : NULL;
}
