/* SPDX-License-Identifier: MIT
 * os_linux.c - the Linux half of os.h: futex, membarrier, affinity mask, random seeds. Kernels without one of them are
 * served; system call numbers are the machine's own (SYS_*). */
#include "os_impl.h"
#include "atomic.h"

#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t gmp__os_gettid(void) { return (uint64_t)syscall(SYS_gettid); }

void gmp__os_thread_name(const char *name) { (void)prctl(PR_SET_NAME, name); }

outofline int64_t gmp__os_thread_slice(uint64_t tid, int64_t ns)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period; /* runtime: the slice, for the policies below */
	} a; /* struct sched_attr; glibc has no name for it before 2.41 */
	int e = errno;
	int64_t before = 0;
	memset(&a, 0, sizeof a);
	if (syscall(SYS_sched_getattr, (pid_t)tid, &a, (unsigned)sizeof a, 0u) == 0 &&
	        (a.policy == SCHED_OTHER || a.policy == SCHED_BATCH)) {
		before = (int64_t)a.runtime;
		a.runtime = (uint64_t)ns;
		(void)syscall(SYS_sched_setattr, (pid_t)tid, &a, 0u);
	}
	errno = e;
	return before;
}

outofline uint64_t gmp__os_random(void)
{
	int e = errno;
	uint64_t x;
	/* A seed is not worth waiting for entropy at boot. */
	if (getrandom(&x, sizeof x, GRND_NONBLOCK) != (ssize_t)sizeof x)
		x = gmp__os_weak_random();
	errno = e;
	return x;
}

/* ---- futex ------------------------------------------------------------------------------------------------------- */

outofline int gmp__os_futex_wait(uint32_t *addr, uint32_t val, int64_t deadline)
{
	int e = errno, r = 0;
	struct timespec ts, *tsp = NULL;
	if (deadline != INT64_MAX) {
		/* The kernel takes no times before the clock's beginning; they have passed all the same. */
		int64_t d = max_i64(deadline, 0);
		ts = (struct timespec){.tv_sec = (time_t)(d / 1000000000), .tv_nsec = (long)(d % 1000000000)};
		tsp = &ts;
	}
	gmp__os_signals_settle();
	/* The bitset form takes a point in time, on CLOCK_MONOTONIC: nothing to compute again after an EINTR. */
	if (syscall(SYS_futex, addr, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, val, tsp, NULL, FUTEX_BITSET_MATCH_ANY) !=
		0) {
		if (errno == ETIMEDOUT)
			r = -ETIMEDOUT;
		else if (errno != EAGAIN && errno != EINTR)
			gmp__os_die("futex wait", errno);
	}
	errno = e;
	return r;
}

/* The word may be gone already, or be somebody else's: the sleeper it was meant for is awake then, and others are used
 * to being woken for nothing. So no error matters. */
outofline void gmp__os_futex_wake(uint32_t *addr, int n)
{
	int e = errno;
	(void)syscall(SYS_futex, addr, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, NULL, NULL, 0);
	errno = e;
}

/* ---- asymmetric fence -------------------------------------------------------------------------------------------- */

static long membarrier(int cmd) { return syscall(SYS_membarrier, cmd, 0, 0); }

outofline bool gmp__os_membarrier_init(void)
{
	if (TSAN_BUILD) /* TSan would not see the ordering */
		return false;
	int e = errno;
	long need = MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
	long have = membarrier(MEMBARRIER_CMD_QUERY);
	/* The trial also finds sandboxes that let only some commands through. */
	bool ok = have > 0 && (have & need) == need && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
		  membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
	errno = e;
	return ok;
}

/* Must not come back without the fence: others rely on it having happened. */
outofline void gmp__os_membarrier(void)
{
	int e = errno;
	while (unlikely(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)) {
		if (errno != ENOMEM) /* it allocates a CPU mask on big machines */
			gmp__os_die("membarrier", errno);
		gmp__os_osyield();
	}
	errno = e;
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

/* The kernel refuses a buffer smaller than its own mask, whose size it does not tell: offer more until it fits. */
static int affinity_count(void)
{
	int count = 0;
	size_t size = gmp__os_pagesize(); /* 32768 CPUs with 4 KiB */
	for (; size <= (size_t)1 << 20; size *= 2) {
		unsigned long *mask = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mask == MAP_FAILED)
			break;
		/* Not glibc's function: that returns 0 and not the size written, and clears the rest. */
		long got = syscall(SYS_sched_getaffinity, 0, size, mask);
		bool larger = got < 0 && errno == EINVAL;
		for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *mask; i++)
			count += __builtin_popcountl(mask[i]);
		(void)munmap(mask, size);
		if (!larger)
			break;
	}
	return count;
}

outofline int gmp__os_ncpu(void)
{
	int e = errno;
	int n = affinity_count();
	if (n == 0) { /* a sandbox without the call */
		long online = sysconf(_SC_NPROCESSORS_ONLN);
		n = online > 0 ? (int)online : 1;
	}
	errno = e;
	return gmp__os_ncpu_limited(n);
}

bool gmp__os_thread_sleeps(uint64_t tid)
{
	char path[48], buf[512];
	snprintf(path, sizeof path, "/proc/self/task/%llu/stat", (unsigned long long)tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	const char *p = strrchr(buf, ')'); /* the name in front may hold anything */
	return p && p[1] == ' ' && (p[2] == 'S' || p[2] == 'D');
}
