/* SPDX-License-Identifier: MIT
 * throw.h - impossible states and misuse: print, then abort, in all builds. Nothing here allocates. */
#ifndef GMP_THROW_H
#define GMP_THROW_H

#include "base.h"
#include <stdarg.h>

/* A bug of this library: "gmp: fatal: <message>", every coroutine's state if that can be had, abort. printf formats. */
void gmp__throw(const char *fmt, ...) __attribute__((noreturn, cold, format(printf, 1, 2)));
/* A mistake of the program (unlock of an unlocked mutex): the same with a backtrace of the caller. */
void gmp__misuse(const char *fmt, ...) __attribute__((noreturn, cold, format(printf, 1, 2)));
/* One line to stderr, in one write. */
void gmp__warn(const char *fmt, ...) __attribute__((cold, format(printf, 1, 2)));
/* Called by both before aborting, if set: prints the state of the scheduler to the descriptor. */
extern void (*gmp__throw_hook)(int fd);

#define gmp_assert(c) \
	do { \
		if (unlikely(!(c))) \
			gmp__throw("%s:%d: assertion failed: %s", __FILE__, __LINE__, #c); \
	} while (0)

#endif
