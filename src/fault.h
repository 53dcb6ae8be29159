/* SPDX-License-Identifier: MIT
 * fault.h - a stack overflow ends in a message that says who, how much and what to do, not in a bare SIGSEGV. Faults
 * that are not ours go to the handler that was there before. */
#ifndef GMP_FAULT_H
#define GMP_FAULT_H

#include "stack.h"

typedef struct FaultInfo {
	uint64_t id;
	const char *name; /* NULL or "": none */
	void *fn;
	void *spawnpc; /* NULL: not known */
} FaultInfo;

/* Set by the scheduler: which coroutine owns s. Called in a signal handler: no lock, no allocation. false: none. */
extern bool (*gmp__fault_describe)(Stack *s, FaultInfo *out);

/* Take over SIGSEGV and SIGBUS / give them back (unless somebody has put his handler above ours). 0 or -errno. */
int gmp__fault_init(void);
void gmp__fault_exit(void);

/* Every M: a signal stack for the calling thread, unless it has one that is large enough. 0 or -ENOMEM. */
int gmp__fault_thread_init(void);
void gmp__fault_thread_exit(void);

/* The report, a backtrace of the caller, abort. `how` is appended to it (NULL: nothing). Async-signal-safe. */
void gmp__fault_overflow(const Stack *s, const char *how) __attribute__((__noreturn__, __cold__));

#endif
