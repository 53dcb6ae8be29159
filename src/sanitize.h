/* SPDX-License-Identifier: MIT
 * sanitize.h - what ASan, TSan and Valgrind must be told of coroutine stacks and of switches between them. Everything
 * here compiles to nothing in ordinary builds; GMP_VALGRIND=1 adds the Valgrind requests (a few no-op instructions). */
#ifndef GMP_SANITIZE_H
#define GMP_SANITIZE_H

#include "base.h"

#if ASAN_BUILD
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if TSAN_BUILD
#include <sanitizer/tsan_interface.h>
#endif
#if defined(GMP_VALGRIND) && GMP_VALGRIND && defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define GMP__VALGRIND_HOOKS 1
#endif
#endif

static inline bool gmp__san_on_valgrind(void)
{
#ifdef GMP__VALGRIND_HOOKS
	return RUNNING_ON_VALGRIND != 0;
#else
	return false;
#endif
}

/* A function that reads memory which is not its own business (another stack, possibly live or poisoned). */
#define gmp__san_ignore __attribute__((no_sanitize("address", "thread")))

/* ---- signal handlers ----
 * TSan wraps handlers: it puts off the ones of threads that are not in a call that it knows to block, and runs them on a
 * copy of the context. A handler that edits the thread's mask (SG-1) is installed past it, and calls nothing that it
 * intercepts. */
#if TSAN_BUILD && defined(__GLIBC__)
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
extern int __sigaction(int sig, const struct sigaction *sa, struct sigaction *old); /* glibc: sigaction itself */
#define gmp__san_sigaction __sigaction
#define gmp__san_kill(pid, sig) syscall(SYS_kill, pid, sig)
#else
#define gmp__san_sigaction sigaction
#define gmp__san_kill kill
#endif

/* ---- stacks ---- */

/* A slot is bound for the first time. It is never deregistered: slots live as long as the process (ST-1). */
static inline void gmp__san_stack_new(char *lo, char *hi)
{
#ifdef GMP__VALGRIND_HOOKS
	(void)VALGRIND_STACK_REGISTER(lo, hi);
#else
	(void)lo, (void)hi;
#endif
}

/* A stack is handed out again: frames that were never left (a coroutine that ended deep in calls) poisoned it. */
static inline void gmp__san_stack_reuse(char *lo, char *hi)
{
#if ASAN_BUILD
	ASAN_UNPOISON_MEMORY_REGION(lo, (size_t)(hi - lo));
#else
	(void)lo, (void)hi;
#endif
}

/* ---- switches ----
 * One SanFiber a G (g0 included). The order at a switch from A to B, none of it in a function that TSan instruments
 * (its shadow call stack would be popped on the wrong fiber):
 *     gmp__san_switch_start(&A, &B, A has ended);  switch;  gmp__san_switch_finish(&B)   (as the first thing on B) */

typedef struct SanFiber {
#if ASAN_BUILD
	void *fake; /* ASan's fake stack, while switched out */
	const void *lo;
	size_t size;
#endif
#if TSAN_BUILD
	void *fiber;
#endif
#if !ASAN_BUILD && !TSAN_BUILD
	char none[0];
#endif
} SanFiber;

/* A coroutine gets the stack lo..hi. */
static alwaysinline void gmp__san_fiber_new(SanFiber *f, char *lo, char *hi)
{
#if ASAN_BUILD
	f->fake = NULL;
	f->lo = lo;
	f->size = (size_t)(hi - lo);
#endif
#if TSAN_BUILD
	f->fiber = __tsan_create_fiber(0);
#endif
	(void)f, (void)lo, (void)hi;
}

/* The calling thread's own stack (an M's g0). */
static alwaysinline void gmp__san_fiber_thread(SanFiber *f, void *lo, size_t size)
{
#if ASAN_BUILD
	f->fake = NULL;
	f->lo = lo;
	f->size = size;
#endif
#if TSAN_BUILD
	f->fiber = __tsan_get_current_fiber();
#endif
	(void)f, (void)lo, (void)size;
}

/* A coroutine is gone and another fiber runs. Not for a thread's own. */
static alwaysinline void gmp__san_fiber_destroy(SanFiber *f)
{
#if TSAN_BUILD
	__tsan_destroy_fiber(f->fiber);
	f->fiber = NULL;
#endif
	(void)f;
}

static alwaysinline void gmp__san_switch_start(SanFiber *from, SanFiber *to, bool from_ended)
{
#if ASAN_BUILD
	/* NULL frees the fake stack of a coroutine that will not come back. */
	__sanitizer_start_switch_fiber(from_ended ? NULL : &from->fake, to->lo, to->size);
#endif
#if TSAN_BUILD
	/* Flag 0: a switch orders what came before it with what comes after, as the runtime's own hand-over does. */
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
	(void)from, (void)to, (void)from_ended;
}

static alwaysinline void gmp__san_switch_finish(SanFiber *self)
{
#if ASAN_BUILD
	__sanitizer_finish_switch_fiber(self->fake, NULL, NULL);
#endif
	(void)self;
}

#endif
