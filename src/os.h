/* SPDX-License-Identifier: MIT
 * os.h - everything asked of the operating system by the scheduler, in one contract; os_linux.c and os_posix.c fulfil it.
 * No function here allocates except gmp__os_thread_new, or touches errno in a way that callers see. */
#ifndef GMP_OS_H
#define GMP_OS_H

#include "base.h"
#include <pthread.h>

int64_t gmp__os_now(void);               /* CLOCK_MONOTONIC, ns */
size_t gmp__os_pagesize(void);
uint64_t gmp__os_random(void);           /* from the system; only for seeds */
uint64_t gmp__os_gettid(void);

/* Sleep while *addr == val. 0: woken, or the value differed, or spurious; -ETIMEDOUT. deadline: CLOCK_MONOTONIC ns,
 * INT64_MAX for ever. */
int gmp__os_futex_wait(uint32_t *addr, uint32_t val, int64_t deadline);
void gmp__os_futex_wake(uint32_t *addr, int n);

/* ThreadSanitizer puts handlers off to the thread's next call that it knows; it does not know these sleeps, and such a
 * late handler cannot edit the mask that its signal interrupted. In its builds each thread blocks the signals (a set of
 * bits, from 1) that were ever given to signals_add before it sleeps, and the handlers that are due run then. */
#if TSAN_BUILD
void gmp__os_signals_add(uint64_t bits);
void gmp__os_signals_settle(void);
#else
static inline void gmp__os_signals_add(uint64_t bits) { (void)bits; }
static inline void gmp__os_signals_settle(void) {}
#endif

/* How long the thread (gmp__os_gettid) may run while others want its CPU, ns; 0: as long as the system thinks fit. A thread
 * with a shorter slice that wakes up takes the CPU at once from one with a longer. Its share stays. The slice it had; 0 where
 * the system has no such thing (Linux before 6.12), or for a thread with a policy of its own. */
int64_t gmp__os_thread_slice(uint64_t tid, int64_t ns);

void gmp__os_osyield(void);
void gmp__os_usleep(int64_t ns);

/* Asymmetric fence: true if gmp__os_membarrier may stand for the fence that the other threads of the process left out. */
bool gmp__os_membarrier_init(void);
void gmp__os_membarrier(void);

/* A thread that begins with all signals blocked except the synchronous faults, stack of `stacksize` bytes. 0 or a negative errno. */
int gmp__os_thread_new(pthread_t *out, void *(*fn)(void *), void *arg, size_t stacksize, const char *name);
/* Bounds of the calling thread's stack (for the sanitizers). */
void gmp__os_thread_stack(void **lo, size_t *size);
/* Joins a thread that has ended. false: it has not, or the system cannot tell: join it later. */
bool gmp__os_thread_tryjoin(pthread_t t);
/* CPU time used by a thread so far, ns; -1 when unknown. The thread is not joined yet. */
int64_t gmp__os_thread_cputime(pthread_t t);

/* Does the thread (gmp__os_gettid) sleep in the kernel? false: it runs, waits for a CPU only, or that cannot be told. */
bool gmp__os_thread_sleeps(uint64_t tid);

/* CPUs this process may really use: affinity mask, limited by the tightest quota of all ancestor cgroups (v1 and v2),
 * rounded up; at least 1. */
int gmp__os_ncpu(void);

/* Reserve address space, readable and writable, not committed, never backed by huge pages; aligned to `align` (a power of
 * two). NULL: none. */
void *gmp__os_reserve(size_t size, size_t align);
/* All of it will be used now: its pages come in one call, if that can be. */
void gmp__os_populate(void *p, size_t size);
void gmp__os_unreserve(void *p, size_t size);
void gmp__os_discard(void *p, size_t size); /* the contents may go; memory back to the OS */

/* Test hook: let the n-th next call that can fail for want of memory or threads fail; 0: off. */
extern long gmp__os_fail_at;
/* To be asked before each such call (allocations included). True: pretend that it failed. */
bool gmp__os_inject_failure(void);
/* malloc and calloc through the test hook. */
void *gmp__os_alloc(size_t n);
void *gmp__os_zalloc(size_t n);
/* The same at FALSE_SHARING, for a struct that is aligned to that. */
void *gmp__os_zalloc_apart(size_t n);

#endif
