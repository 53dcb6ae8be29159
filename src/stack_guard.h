/* SPDX-License-Identifier: MIT
 * stack_guard.h - what stacks ask of the kernel's memory management: guards in batches, which pages were touched, pages
 * given back in batches. Only stack.c includes it. */
#ifndef GMP_STACK_GUARD_H
#define GMP_STACK_GUARD_H

#include "base.h"
#include <sys/uio.h>

#define GUARD_PAGES 3 /* odd, see stack.h; a frame of less than 12 KiB cannot jump over it */
#define GUARD_BATCH 64

/* Kind and budget from gmp__debug. */
void gmp__guard_init(void);
/* Guards at first, first + stride, ... (n of them, 1..GUARD_BATCH). Result: so many of them, the first ones, will
 * fault. The others stand behind a canary: a missing guard is no reason to refuse a coroutine. */
unsigned gmp__guard_install(char *first, size_t stride, unsigned n);
/* Is the canary below lo intact? */
bool gmp__guard_canary_ok(const char *lo);

/* The contents of n ranges (at most GUARD_BATCH) may go; memory back to the OS. Guards stay. */
void gmp__pages_discard(struct iovec *v, unsigned n);
/* Lowest page of lo..hi that is in memory; hi: none. */
char *gmp__pages_lowest(char *lo, char *hi);

#endif
