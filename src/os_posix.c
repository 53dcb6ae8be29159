/* SPDX-License-Identifier: MIT
 * os_posix.c - os.h for systems without futex and membarrier, from POSIX.1-2008 alone. Also built on Linux
 * (GMP_OS_POSIX), so that this path is tested. A futex is a table of queues, found by the address's hash. */
#include "os_impl.h"
#include "atomic.h"
#include "list.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* ---- futex ----------------------------------------------------------------------------------------------------------
 * FX-1 the word is compared, and the sleeper queued, under the bucket's mutex; a waker changes the word first and takes
 *      the mutex then. So either the sleeper sees the new value, or the waker sees the sleeper.
 * FX-2 a waker takes the sleeper off the queue and signals it under the mutex, and not at all later: the sleeper's
 *      record is on its stack. The word is not touched by a waker: it may be gone. */

enum { BUCKETS = 256 };

typedef struct Sleeper {
	Link link;
	uint32_t *addr; /* NULL: woken, and off the queue */
	pthread_cond_t cond;
} Sleeper;

typedef struct Bucket {
	_Alignas(CACHELINE) pthread_mutex_t mutex;
	Queue sleepers;
} Bucket;

static Bucket buckets[BUCKETS] = {[0 ... BUCKETS - 1] = {.mutex = PTHREAD_MUTEX_INITIALIZER}};

/* pthread functions return errors that cannot occur here, unless for want of memory at pthread_cond_init. */
static void must(const char *call, int err)
{
	if (unlikely(err != 0))
		gmp__os_die(call, err);
}

static Bucket *bucket_of(const uint32_t *addr)
{
	/* Fibonacci hashing: neighbouring words go to different buckets. */
	return &buckets[(uint64_t)(uintptr_t)addr * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}
_Static_assert(BUCKETS == 256, "the hash has 8 bits");

static void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	must("pthread_condattr_init", pthread_condattr_init(&attr));
	must("pthread_condattr_setclock", pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must("pthread_cond_init", pthread_cond_init(c, &attr));
	(void)pthread_condattr_destroy(&attr);
}

outofline int gmp__os_futex_wait(uint32_t *addr, uint32_t val, int64_t deadline)
{
	int e = errno, r = 0;
	Bucket *b = bucket_of(addr);
	must("pthread_mutex_lock", pthread_mutex_lock(&b->mutex));
	if (load_relaxed(addr) == val) {
		int64_t d = max_i64(deadline, 0);
		struct timespec ts = {.tv_sec = (time_t)(d / 1000000000), .tv_nsec = (long)(d % 1000000000)};
		Sleeper s = {.addr = addr};
		cond_init(&s.cond);
		queue_push_tail(&b->sleepers, &s.link);
		while (s.addr && r == 0) {
			if (deadline == INT64_MAX)
				r = pthread_cond_wait(&s.cond, &b->mutex);
			else
				r = pthread_cond_timedwait(&s.cond, &b->mutex, &ts);
		}
		if (r != 0 && r != ETIMEDOUT)
			gmp__os_die("pthread_cond_wait", r);
		if (s.addr)
			queue_remove(&b->sleepers, &s.link);
		else
			r = 0; /* woken at the last moment: the wake-up was meant for this sleeper */
		must("pthread_cond_destroy", pthread_cond_destroy(&s.cond));
	}
	must("pthread_mutex_unlock", pthread_mutex_unlock(&b->mutex));
	errno = e;
	return -r;
}

outofline void gmp__os_futex_wake(uint32_t *addr, int n)
{
	int e = errno;
	Bucket *b = bucket_of(addr);
	must("pthread_mutex_lock", pthread_mutex_lock(&b->mutex));
	for (Link *l = b->sleepers.head, *next; l && n > 0; l = next) {
		Sleeper *s = container_of(l, Sleeper, link);
		next = l->next;
		if (s->addr != addr)
			continue;
		queue_remove(&b->sleepers, l);
		s->addr = NULL;
		must("pthread_cond_signal", pthread_cond_signal(&s->cond));
		n--;
	}
	must("pthread_mutex_unlock", pthread_mutex_unlock(&b->mutex));
	errno = e;
}

/* The child of a fork has this thread alone. Another one may have held a mutex, or been at the links, at that moment:
 * begin anew. */
static void fork_child(void)
{
	for (size_t i = 0; i < BUCKETS; i++)
		buckets[i] = (Bucket){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

static __attribute__((constructor)) void futex_init(void)
{
	must("pthread_atfork", pthread_atfork(NULL, NULL, fork_child));
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

/* No asymmetric fence: every thread pays for its own. */
bool gmp__os_membarrier_init(void) { return false; }
void gmp__os_membarrier(void) { gmp__os_die("membarrier", ENOSYS); }

/* Unique among living threads, which is all that is asked. pthread_t is a number or a pointer everywhere we know of. */
outofline uint64_t gmp__os_gettid(void) { return (uint64_t)(uintptr_t)pthread_self(); }

void gmp__os_thread_name(const char *name) { (void)name; }

int64_t gmp__os_thread_slice(uint64_t tid, int64_t ns)
{
	(void)tid, (void)ns;
	return 0;
}

outofline uint64_t gmp__os_random(void)
{
	int e = errno;
	uint64_t x = 0;
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &x, sizeof x) != (ssize_t)sizeof x)
		x = gmp__os_weak_random();
	if (fd >= 0)
		(void)close(fd);
	errno = e;
	return x;
}

/* POSIX knows no affinity. */
outofline int gmp__os_ncpu(void)
{
	int e = errno;
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	errno = e;
	return gmp__os_ncpu_limited(n > 0 && n < INT32_MAX ? (int)n : 1);
}

bool gmp__os_thread_sleeps(uint64_t tid)
{
	(void)tid; /* no portable way: the time slice decides */
	return false;
}
