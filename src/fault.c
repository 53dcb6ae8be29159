/* SPDX-License-Identifier: MIT
 * fault.c - SIGSEGV and SIGBUS: an access to the guard of a stack is reported as that coroutine's overflow; any other
 * fault is passed to the handler that was there before, as the kernel would have called it. */
#include "fault.h"
#include "atomic.h"
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_BACKTRACE 1
#endif
#if __has_include(<sys/auxv.h>)
#include <sys/auxv.h>
#endif
#endif

#define FRAMES 40
#define ALTSTACK_SIZE ((size_t)64 << 10)
/* What the report needs beside the signal frame: the unwinder's and the symbol look-up's frames. */
#define REPORT_SIZE ((size_t)12 << 10)

bool (*gmp__fault_describe)(Stack *s, FaultInfo *out);

/* FA-1 old[i] is what was installed when ours came, and is never ours: so chaining ends.
 * FA-2 installed[i]: ours is in place or below somebody's who came later. Then it must not be installed again. */
static const int sigs[] = {SIGSEGV, SIGBUS};
static struct sigaction old[nelem(sigs)];
static bool installed[nelem(sigs)];
static uint32_t spent[nelem(sigs)]; /* an SA_RESETHAND handler was called and is not there any more */

/* ---- the report: no malloc, no stdio, no lock -------------------------------------------------------------------- */

typedef struct Text {
	char buf[1024];
	size_t n;
} Text;

static void put(Text *t, const char *s)
{
	while (*s && t->n < sizeof t->buf)
		t->buf[t->n++] = *s++;
}

static void put_number(Text *t, uint64_t v, unsigned base)
{
	char digits[24], *p = digits + sizeof digits;
	*--p = 0;
	do
		*--p = "0123456789abcdef"[v % base];
	while ((v /= base) != 0);
	put(t, p);
}

static void put_address(Text *t, uintptr_t a)
{
	put(t, "0x");
	put_number(t, a, 16);
}

static void put_function(Text *t, void *fn)
{
	Dl_info where;
	/* Only an exact match: the nearest symbol is another function's name when ours is not exported. */
	if (dladdr(fn, &where) && where.dli_sname && where.dli_saddr == fn)
		put(t, where.dli_sname);
	else
		put_address(t, (uintptr_t)fn);
}

static void emit(Text *t)
{
	for (size_t done = 0; done < t->n;) {
		ssize_t r = write(STDERR_FILENO, t->buf + done, t->n - done);
		if (r < 0 && errno != EINTR)
			break;
		done += r > 0 ? (size_t)r : 0;
	}
	t->n = 0;
}

static void emit_symbols(void *const *pc, int n)
{
#ifdef HAVE_BACKTRACE
	backtrace_symbols_fd(pc, n, STDERR_FILENO);
#else
	Text t;
	t.n = 0;
	for (int i = 0; i < n; i++) {
		put_address(&t, (uintptr_t)pc[i]);
		put(&t, "\n");
	}
	emit(&t);
#endif
}

/* The default action of SIGABRT, whatever the program made of that signal. */
static void __attribute__((noreturn)) die(void)
{
	struct sigaction dfl;
	sigset_t set;
	memset(&dfl, 0, sizeof dfl);
	dfl.sa_handler = SIG_DFL;
	(void)sigaction(SIGABRT, &dfl, NULL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGABRT);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(SIGABRT);
	_exit(134);
}

static void on_second_fault(int sig)
{
	(void)sig;
	die();
}

/* The backtrace of a damaged stack may fault in its turn: the process ends as announced all the same. */
static void expect_faults(void)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = on_second_fault;
	sa.sa_flags = SA_ONSTACK;
	for (size_t i = 0; i < nelem(sigs); i++) {
		(void)sigaddset(&sa.sa_mask, sigs[i]);
		(void)sigaction(sigs[i], &sa, NULL);
	}
	(void)pthread_sigmask(SIG_UNBLOCK, &sa.sa_mask, NULL);
}

void gmp__fault_overflow(const Stack *s, const char *how)
{
	static uint32_t reporting;
	void *pcs[FRAMES];
	FaultInfo who = {0, NULL, NULL, NULL};
	int n = 0;
	Text t;
	t.n = 0;
	/* One report at a time; whoever comes second dies with the process. */
	if (xchg_acqrel(&reporting, 1u))
		for (;;)
			(void)pause();
	expect_faults();
	bool known = gmp__fault_describe && gmp__fault_describe((Stack *)(uintptr_t)s, &who);
	put(&t, "gmp: fatal: stack overflow in ");
	if (known) {
		put(&t, "coroutine ");
		put_number(&t, who.id, 10);
		put(&t, " \"");
		put(&t, who.name ? who.name : "");
		put(&t, "\" function ");
		put_function(&t, who.fn);
	} else
		put(&t, "a coroutine that is not known any more");
	put(&t, ", stack ");
	put_address(&t, (uintptr_t)gmp__stack_lo(s));
	put(&t, "-");
	put_address(&t, (uintptr_t)gmp__stack_hi(s));
	put(&t, " (");
	put_number(&t, stack_reserved(s) >> 10, 10);
	put(&t, " KiB reserved); raise gmp_attr.stack_size or gmp_config.stack_size");
	if (how) {
		put(&t, " (");
		put(&t, how);
		put(&t, ")");
	}
	put(&t, "\n");
	emit(&t);
	if (known && who.spawnpc) {
		put(&t, "gmp: spawned at\n");
		emit(&t);
		emit_symbols(&who.spawnpc, 1);
	}
#ifdef HAVE_BACKTRACE
	n = backtrace(pcs, FRAMES);
#endif
	if (n > 0) {
		put(&t, "gmp: backtrace (innermost frames)\n");
		emit(&t);
		emit_symbols(pcs, n);
	}
	die();
}

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

static void default_action(int sig, const siginfo_t *si)
{
	struct sigaction dfl;
	memset(&dfl, 0, sizeof dfl);
	dfl.sa_handler = SIG_DFL;
	(void)sigaction(sig, &dfl, NULL);
	/* A fault repeats itself when we return, with its own address for the core dump; a signal that was sent does
	 * not. It stays pending until then if blocked. */
	if (si->si_code <= 0)
		(void)raise(sig);
}

static void chain(size_t i, int sig, siginfo_t *si, void *context)
{
	const struct sigaction *o = &old[i];
	bool sent = si->si_code <= 0;
	/* As the kernel has it: an ignored fault kills nevertheless. */
	if (o->sa_handler == SIG_IGN && sent)
		return;
	if (o->sa_handler == SIG_DFL || o->sa_handler == SIG_IGN ||
		((o->sa_flags & (int)SA_RESETHAND) && xchg_acqrel(&spent[i], 1u)))
		default_action(sig, si);
	else if (o->sa_flags & SA_SIGINFO)
		o->sa_sigaction(sig, si, context);
	else
		o->sa_handler(sig);
}

static void on_fault(int sig, siginfo_t *si, void *context)
{
	int saved = errno;
	bool in_guard = false;
	size_t i = 0;
	/* si_code > 0: from the kernel, so si_addr means something. */
	if (si->si_code > 0) {
		Stack *s = gmp__stack_find((uintptr_t)si->si_addr, &in_guard);
		if (s && in_guard)
			gmp__fault_overflow(s, NULL);
	}
	while (i < nelem(sigs) - 1 && sigs[i] != sig)
		i++;
	chain(i, sig, si, context);
	errno = saved;
}

static bool is_ours(const struct sigaction *a) { return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == on_fault; }

static int install(size_t i)
{
	struct sigaction sa;
	if (installed[i])
		return 0;
	if (sigaction(sigs[i], NULL, &old[i]) != 0)
		return -errno;
	memset(&sa, 0, sizeof sa);
	sa.sa_sigaction = on_fault;
	/* The mask that the old handler expects to run under. */
	sa.sa_mask = old[i].sa_mask;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | (old[i].sa_flags & (int)(SA_NODEFER | SA_RESTART));
	spent[i] = 0;
	if (sigaction(sigs[i], &sa, NULL) != 0)
		return -errno;
	installed[i] = true;
	return 0;
}

int gmp__fault_init(void)
{
	int r = 0;
#ifdef HAVE_BACKTRACE
	/* The first call loads the unwinder and allocates; the handler's must not. */
	void *pc[1];
	(void)backtrace(pc, 1);
#endif
	for (size_t i = 0; i < nelem(sigs) && r == 0; i++)
		r = install(i);
	if (r != 0)
		gmp__fault_exit();
	return r;
}

void gmp__fault_exit(void)
{
	for (size_t i = 0; i < nelem(sigs); i++) {
		struct sigaction now;
		if (!installed[i] || sigaction(sigs[i], NULL, &now) != 0 || !is_ours(&now))
			continue;
		(void)sigaction(sigs[i], &old[i], NULL);
		installed[i] = false;
	}
}

/* ---- signal stacks ------------------------------------------------------------------------------------------------
 * They are Stacks like any other: guarded, reused, found by address, untouched until the first fault. */

static size_t altstack_needed(void)
{
	size_t frame = MINSIGSTKSZ > 0 ? (size_t)MINSIGSTKSZ : 2048;
#ifdef AT_MINSIGSTKSZ
	size_t kernel = (size_t)getauxval(AT_MINSIGSTKSZ);
	frame = kernel > frame ? kernel : frame;
#endif
	return frame + REPORT_SIZE;
}

/* The program's own signal stack, if ours took its place, is remembered at the low end of ours. */
static stack_t *displaced(const Stack *s) { return (stack_t *)(void *)gmp__stack_lo(s); }

int gmp__fault_thread_init(void)
{
	stack_t was, ours;
	if (sigaltstack(NULL, &was) != 0)
		return -ENOMEM;
	if (was.ss_flags & SS_DISABLE)
		was.ss_size = 0;
	/* The sanitizers, and careful programs, have set one up; it must be there when the thread exits. */
	if (was.ss_size >= altstack_needed())
		return 0;
	Stack *s = gmp__stack_alloc_slow(NULL, ALTSTACK_SIZE);
	if (!s)
		return -ENOMEM;
	ours.ss_sp = gmp__stack_lo(s);
	ours.ss_size = (size_t)(gmp__stack_hi(s) - gmp__stack_lo(s));
	ours.ss_flags = 0;
	if (sigaltstack(&ours, NULL) != 0) { /* the caller runs on it */
		gmp__stack_free_slow(NULL, s);
		return -ENOMEM;
	}
	if (was.ss_size != 0 || displaced(s)->ss_size != 0) /* else do not touch the page */
		*displaced(s) = was;
	return 0;
}

void gmp__fault_thread_exit(void)
{
	stack_t now, back;
	bool in_guard;
	if (sigaltstack(NULL, &now) != 0 || (now.ss_flags & SS_DISABLE))
		return;
	Stack *s = gmp__stack_find((uintptr_t)now.ss_sp, &in_guard);
	if (!s)
		return;
	back = *displaced(s);
	if (back.ss_size == 0)
		back.ss_flags = SS_DISABLE;
	if (sigaltstack(&back, NULL) == 0)
		gmp__stack_free_slow(NULL, s);
}
