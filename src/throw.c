/* SPDX-License-Identifier: MIT
 * throw.c - the last words of a process: message, where it was called from, state of the scheduler, abort. Several
 * threads, or the report itself, may come here while one is at it: the first one is let finish. */
#include "throw.h"
#include "atomic.h"
#include "os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <execinfo.h>
#endif

enum { LINE = 1024, FRAMES = 48 };
enum { PATIENCE_ROUNDS = 50 };
#define PATIENCE_NAP (INT64_C(100) * 1000 * 1000) /* ns */

void (*gmp__throw_hook)(int fd);

static void put(const char *s, size_t n)
{
	while (n > 0) {
		ssize_t w = write(STDERR_FILENO, s, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return;
		s += w;
		n -= (size_t)w;
	}
}

/* One line, one write; what does not fit is cut off, but never the line's end. */
static void __attribute__((format(printf, 2, 0))) say(const char *prefix, const char *fmt, va_list ap)
{
	char s[LINE];
	size_t n = (size_t)snprintf(s, sizeof s, "%s", prefix);
	int w = vsnprintf(s + n, sizeof s - n - 1, fmt, ap);
	if (w > 0)
		n += (size_t)w < sizeof s - n - 1 ? (size_t)w : sizeof s - n - 2;
	s[n++] = '\n';
	put(s, n);
}

/* True for the thread that reports. A second thread waits for the end that the first one brings, but not for ever. The
 * reporting thread itself comes here again if the state it prints is too broken: it leaves the rest out. */
static bool first_to_die(void)
{
	static uint64_t dying;
	uint64_t owner = 0, me = gmp__os_gettid();
	if (cas_acqrel(&dying, &owner, me))
		return true;
	for (int i = 0; owner != me && i < PATIENCE_ROUNDS; i++)
		gmp__os_usleep(PATIENCE_NAP);
	return false;
}

/* The frames below the reporting function itself. fault.c has loaded the unwinder, so this does not allocate. */
static outofline void print_backtrace(void)
{
#if defined(__GLIBC__)
	static const char title[] = "gmp: called from (innermost first)\n";
	void *pc[FRAMES];
	int n = backtrace(pc, FRAMES), skip = 2;
	if (n > skip) {
		put(title, sizeof title - 1);
		backtrace_symbols_fd(pc + skip, n - skip, STDERR_FILENO);
	}
#endif
}

static __attribute__((noreturn)) void die(bool report)
{
	void (*hook)(int fd) = load_acquire(&gmp__throw_hook);
	if (report && hook)
		hook(STDERR_FILENO);
	abort();
}

void gmp__throw(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say("gmp: fatal: ", fmt, ap);
	va_end(ap);
	die(first_to_die());
}

void gmp__misuse(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say("gmp: fatal: ", fmt, ap);
	va_end(ap);
	bool report = first_to_die();
	if (report)
		print_backtrace();
	die(report);
}

void gmp__warn(const char *fmt, ...)
{
	int e = errno;
	va_list ap;
	va_start(ap, fmt);
	say("gmp: ", fmt, ap);
	va_end(ap);
	errno = e;
}
