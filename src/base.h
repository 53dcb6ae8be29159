/* SPDX-License-Identifier: MIT
 * base.h - what every file needs of the compiler: attributes, min/max, container_of. Knows libc only. */
#ifndef GMP_BASE_H
#define GMP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define outofline __attribute__((__noinline__))
#define coldfn __attribute__((__cold__, __noinline__))
#define alwaysinline inline __attribute__((always_inline))
/* Of declarations of data: -fvisibility=hidden is for definitions, and without this it would go through the GOT. */
#define hidden __attribute__((visibility("hidden")))

/* An API entry that records who called it. */
#define caller_pc() __builtin_extract_return_addr(__builtin_return_address(0))

#define CACHELINE 64
/* So far apart lies what different threads write: x86 fetches lines in pairs, some ARM have longer ones. */
#define FALSE_SHARING 128
#define nelem(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, field) ((type *)(void *)((char *)(p)-offsetof(type, field)))

static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
/* Deadline arithmetic never wraps: a sum beyond the clock's range is "never". */
static inline int64_t add_sat_i64(int64_t a, int64_t b)
{
	int64_t r;
	return __builtin_add_overflow(a, b, &r) ? (b > 0 ? INT64_MAX : INT64_MIN) : r;
}

#if defined(__SANITIZE_THREAD__)
#define TSAN_BUILD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN_BUILD 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ASAN_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN_BUILD 1
#endif
#endif
#ifndef TSAN_BUILD
#define TSAN_BUILD 0
#endif
#ifndef ASAN_BUILD
#define ASAN_BUILD 0
#endif
#define SAN_BUILD (TSAN_BUILD || ASAN_BUILD) /* those that must be told of every switch */

#endif
