/* SPDX-License-Identifier: MIT
 * stack_guard.c - guards, canaries, residency. Guard kinds: 2 MADV_GUARD_INSTALL (a marker in the page table, no
 * mapping of its own, so any number), 1 mprotect within a budget (two mappings each, and vm.max_map_count is for the
 * whole process), 0 none: the canary.
 *
 * The canary is zeros, in the page below the usable part, where a guard would be: nobody writes there, so it is either
 * untouched or was written by an overflow. It is laid by doing nothing, and reading it does not commit memory: a read
 * of an untouched page maps the kernel's one shared zero page (0.9 us once, then 0.05 us for the whole page, whose
 * cache lines all slots share). mincore would be exact even for an overflow that writes zeros, but costs 1 us each
 * time. */
#include "stack_guard.h"
#include "atomic.h"
#include "debugvars.h"
#include "os.h"
#include "sanitize.h"
#include "throw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(GMP_OS_POSIX)
#define HAVE_GUARD_ADVICE 1
#include <sys/syscall.h>
#define GUARD_ADVICE 102       /* MADV_GUARD_INSTALL, Linux 6.13 */
#define SELF_PIDFD (-10001)    /* PIDFD_SELF_THREAD_GROUP, Linux 6.14: no descriptor that would outlive a fork */
#define NR_PROCESS_MADVISE 440 /* the same on every machine */
#endif

#define RESIDENT_CHUNK 1024 /* pages asked about at once; the answer is on the stack */

/* GU-1 Between two inits carving threads change these words without a lock, each in one direction only (but `used`, a
 * count), so that a stale value costs one system call in vain and no more. */
static struct {
	uint32_t kind;     /* falls */
	uint32_t novector; /* rises: process_madvise on oneself does not work here */
	uint32_t proven;   /* rises: a guard was seen to fault */
	uint32_t warned;   /* rises */
	int64_t budget;    /* falls */
	int64_t used;      /* mprotect guards that exist; they stay, over all runs of the process */
} guard;

/* Each mprotect guard splits a mapping: two for every slot. Half of all mappings are left to the program. */
static int64_t default_budget(void)
{
	char buf[32];
	int64_t maps = 65530;
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = read(fd, buf, sizeof buf - 1);
		if (n > 0) {
			buf[n] = 0;
			maps = strtoll(buf, NULL, 10);
		}
		(void)close(fd);
	}
	return maps / 4;
}

void gmp__guard_init(void)
{
	int64_t kind = gmp__debug.guard;
	guard.kind = kind < 0 ? 0 : kind > 2 ? 2 : (uint32_t)kind;
	guard.budget = gmp__debug.guardbudget >= 0 ? gmp__debug.guardbudget : default_budget();
	guard.novector = gmp__san_on_valgrind(); /* which knows madvise, but not this call */
	guard.warned = 0;
}

#ifdef HAVE_GUARD_ADVICE
/* Number of ranges done, in order; fewer than n: ask for the rest one by one. Half the price of a call for each. */
static unsigned advise_vector(struct iovec *v, unsigned n, int advice)
{
	unsigned done = 0;
	if (n < 2 || load_relaxed(&guard.novector))
		return 0;
	long r = syscall(NR_PROCESS_MADVISE, SELF_PIDFD, v, (unsigned long)n, advice, 0ul);
	if (r <= 0) {
		/* EINVAL comes from the advice, and the single call will find that out for itself. */
		if (r < 0 && errno != EINVAL && errno != ENOMEM && errno != EAGAIN && errno != EINTR)
			store_relaxed(&guard.novector, 1u);
		return 0;
	}
	for (size_t bytes = (size_t)r; done < n && bytes >= v[done].iov_len; done++)
		bytes -= v[done].iov_len;
	return done;
}
#else
static unsigned advise_vector(struct iovec *v, unsigned n, int advice)
{
	(void)v, (void)n, (void)advice;
	return 0;
}
#endif

static bool guard_by_mprotect(char *p, size_t size)
{
	if (fetch_add_relaxed(&guard.used, 1) < load_relaxed(&guard.budget)) {
		if (mprotect(p, size, PROT_NONE) == 0)
			return true;
		store_relaxed(&guard.budget, 0); /* no mappings left: do not ask for each slot anew */
	}
	(void)fetch_add_relaxed(&guard.used, -1);
	return false;
}

#ifdef HAVE_GUARD_ADVICE
/* 0 or an errno. */
static int guard_by_advice(char *p, size_t size)
{
	while (madvise(p, size, GUARD_ADVICE) != 0)
		if (errno != EINTR && errno != EAGAIN)
			return errno;
	/* Emulators take advice for a hint, and answer 0 to what they do not know. The kernel's own access tells
	 * without a signal; unguarded, it reads a time long past. */
	if (!load_relaxed(&guard.proven)) {
		if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, (struct timespec *)(void *)p, NULL) != EFAULT)
			return EINVAL;
		store_relaxed(&guard.proven, 1u);
	}
	return 0;
}
#endif

static bool guard_one(char *p, size_t size)
{
#ifdef HAVE_GUARD_ADVICE
	if (load_relaxed(&guard.kind) == 2) {
		int err = guard_by_advice(p, size);
		if (err != EINVAL)
			return err == 0;
		/* A kernel before 6.13, or a kind of memory it cannot guard. */
		store_relaxed(&guard.kind, 1u);
	}
#endif
	return guard_by_mprotect(p, size);
}

/* The first so many of n guards: those that one call can install. */
static unsigned guard_vector(char *first, size_t stride, size_t size, unsigned n)
{
#ifdef HAVE_GUARD_ADVICE
	if (load_relaxed(&guard.kind) == 2 && load_relaxed(&guard.proven)) {
		struct iovec v[GUARD_BATCH];
		for (unsigned k = 0; k < n; k++)
			v[k] = (struct iovec){first + k * stride, size};
		return advise_vector(v, n, GUARD_ADVICE);
	}
#endif
	(void)first, (void)stride, (void)size, (void)n;
	return 0;
}

unsigned gmp__guard_install(char *first, size_t stride, unsigned n)
{
	size_t size = GUARD_PAGES * gmp__os_pagesize();
	unsigned i = 0;
	int saved = errno;
	if (load_relaxed(&guard.kind) == 0)
		return 0;
	if (!gmp__os_inject_failure()) {
		if (guard_one(first, size))
			i = 1 + guard_vector(first + stride, stride, size, n - 1);
		while (i > 0 && i < n && guard_one(first + i * stride, size))
			i++;
	}
	if (i < n && !xchg_acqrel(&guard.warned, 1u))
		gmp__warn(
			"stack guards: no more after %lld by mprotect (GMP_DEBUG=guardbudget, vm.max_map_count) or no "
			"memory; overflows of the others are noticed only when their coroutines end",
			(long long)load_relaxed(&guard.used));
	errno = saved;
	return i;
}

gmp__san_ignore bool gmp__guard_canary_ok(const char *lo)
{
	const uint64_t *p = (const uint64_t *)(const void *)(lo - gmp__os_pagesize());
	const uint64_t *end = (const uint64_t *)(const void *)lo;
	uint64_t any = 0;
	for (; p < end; p += 8)
		any |= p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7];
	return any == 0;
}

void gmp__pages_discard(struct iovec *v, unsigned n)
{
	int saved = errno;
	for (unsigned i = advise_vector(v, n, MADV_DONTNEED); i < n; i++)
		gmp__os_discard(v[i].iov_base, v[i].iov_len);
	errno = saved;
}

char *gmp__pages_lowest(char *lo, char *hi)
{
	unsigned char vec[RESIDENT_CHUNK];
	size_t page = gmp__os_pagesize();
	int saved = errno;
	for (char *p = lo; p < hi; p += RESIDENT_CHUNK * page) {
		size_t left = (size_t)(hi - p) / page;
		size_t n = left < RESIDENT_CHUNK ? left : RESIDENT_CHUNK;
		int r;
		do
			r = mincore(p, n * page, (void *)vec);
		while (r != 0 && errno == EAGAIN);
		for (size_t i = 0; r == 0 && i < n; i++) {
			if (vec[i] & 1) {
				errno = saved;
				return p + i * page;
			}
		}
	}
	errno = saved;
	return hi;
}
