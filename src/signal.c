/* SPDX-License-Identifier: MIT
 * signal.c - signals as events.
 *
 * A signal can be waited for only while every thread blocks it. The Ms run under the mask of who started the run, the
 * program's other threads under theirs, and nobody can change another thread's mask. So
 *   SG-1 a handler stands behind each signal that was ever waited for. Where one is delivered after all, it blocks
 *        the signal in that thread, for good (the mask that the handler's return restores is the one it edits), and
 *        sends it to the process again. Each thread goes this way at most once a signal; the last one leaves it
 *        pending.
 *   SG-2 Pending signals are taken by signalfd (Linux), or by sigtimedwait in a blocking region. */
#include "net_fd.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/signalfd.h>
#endif

#ifndef NSIG
#define NSIG 65
#endif

static uint8_t installed[NSIG]; /* guarded by lck */
static Lock lck;

static gmp__san_ignore void forward(int sig, siginfo_t *info, void *uctx)
{
	(void)info;
	int e = errno;
	ucontext_t *uc = uctx;
	(void)sigaddset(&uc->uc_sigmask, sig); /* SG-1 */
	(void)gmp__san_kill(getpid(), sig);
	errno = e;
}

/* From now on sig is blocked wherever it turns up. */
static outofline int catch(int sig)
{
	struct sigaction sa, old;
	int e = errno, r = 0;
	memset(&sa, 0, sizeof sa);
	if (gmp__san_sigaction(sig, NULL, &old) != 0) {
		r = -errno;
	} else if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != forward) {
		sa.sa_sigaction = forward;
		(void)sigfillset(&sa.sa_mask);
		sa.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | (old.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT));
		r = gmp__san_sigaction(sig, &sa, NULL) ? -errno : 0;
	}
	errno = e;
	return r;
}

void gmp__signal_fork_child(void) { lck.key = 0; }

static bool waitable(int sig)
{
	static const int never[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	for (size_t i = 0; i < nelem(never); i++)
		if (sig == never[i])
			return false;
	return true;
}

static int prepare(const sigset_t *set)
{
	int e = 0;
	bool any = false;
	lock(&lck);
	for (int sig = 1; sig < NSIG && e == 0; sig++) {
		if (sigismember(set, sig) != 1)
			continue;
		any = true;
		if (!waitable(sig))
			e = -EINVAL;
		else if (!installed[sig] && (e = catch(sig)) == 0) {
			installed[sig] = 1;
			gmp__os_signals_add(UINT64_C(1) << (sig - 1));
		}
	}
	unlock(&lck);
	return e ? e : any ? 0 : -EINVAL;
}

#ifdef __linux__
static outofline int open_signalfd(const sigset_t *set)
{
	int e = errno, fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC), r = fd < 0 ? -errno : fd;
	errno = e;
	return r;
}

int gmp_signal_wait(const sigset_t *set, int64_t deadline)
{
	if (!set)
		return -EINVAL;
	(void)pthread_sigmask(SIG_BLOCK, set, NULL);
	int e = prepare(set);
	if (e)
		return e;
	int fd = open_signalfd(set);
	if (fd < 0)
		return fd;
	e = gmp__fd_fresh(fd, PD_KNOWN);
	struct signalfd_siginfo si;
	ssize_t r = e < 0 ? e : gmp_read_until(fd, &si, sizeof si, deadline);
	(void)gmp_close(fd);
	if (r == -EAGAIN)
		return -ETIMEDOUT;
	return r < 0 ? (int)r : (int)si.ssi_signo;
}
#else
static outofline int next_signal(const sigset_t *set, int64_t wait)
{
	struct timespec ts = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
	int e = errno, r = sigtimedwait(set, NULL, &ts);
	if (r < 0)
		r = -errno;
	errno = e;
	return r;
}

int gmp_signal_wait(const sigset_t *set, int64_t deadline)
{
	if (!set)
		return -EINVAL;
	(void)pthread_sigmask(SIG_BLOCK, set, NULL);
	int r = prepare(set);
	while (r == 0) {
		/* In slices, since nothing ends sigtimedwait when the coroutine is cancelled. */
		int64_t left = deadline <= 0 ? 0 : min_i64(deadline - gmp_now(), 100 * GMP_MSEC);
		gmp_blocking_enter();
		r = next_signal(set, max_i64(left, 0));
		gmp_blocking_leave();
		if (r == -EAGAIN || r == -EINTR)
			r = gmp_cancelled() ? -ECANCELED : left <= 0 ? -ETIMEDOUT : 0;
	}
	return r;
}
#endif
