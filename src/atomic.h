/* SPDX-License-Identifier: MIT
 * atomic.h - the memory order stands in the name; the only user of the compiler's atomics beside gmp.h's inline half. Only
 * orders that are used exist.
 * Types are plain integers and pointers: what is atomic is the access, since most words here are plain data of their
 * owner and shared only under a stated invariant. */
#ifndef GMP_ATOMIC_H
#define GMP_ATOMIC_H

#include "base.h"

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seqcst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define store_seqcst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define xchg_acquire(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define xchg_acqrel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define xchg_seqcst(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define fetch_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define fetch_add_acqrel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define fetch_add_seqcst(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define fetch_or_acqrel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define fetch_or_seqcst(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define fetch_and_seqcst(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
/* *expected is updated on failure. */
#define cas_acquire(p, expected, v) \
	__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_acqrel(p, expected, v) \
	__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_seqcst(p, expected, v) \
	__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* Counter with one writer, racy readers: no read-modify-write instruction. */
#define count1(p) store_relaxed((p), load_relaxed(p) + 1)
#define countn(p, n) store_relaxed((p), load_relaxed(p) + (n))

#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* Sets a byte; whether it was set. Not every compiler has a one-byte exchange on RISC-V without libatomic. */
static inline bool test_and_set_acquire(uint8_t *b)
{
#if defined(__riscv)
	uint32_t *w = (uint32_t *)((uintptr_t)b & ~(uintptr_t)3), bit = 1u << (((uintptr_t)b & 3) * 8);
	return __atomic_fetch_or(w, bit, __ATOMIC_ACQUIRE) & bit;
#else
	return xchg_acquire(b, (uint8_t)1);
#endif
}

/* StoreLoad fence. ThreadSanitizer does not know fences; its builds use read-modify-writes where one matters. */
static inline void fence_seqcst(void)
{
#if TSAN_BUILD
	static uint32_t dummy;
	(void)fetch_add_seqcst(&dummy, 1);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	compiler_barrier();
#endif
}

#endif
