/* SPDX-License-Identifier: MIT
 * netpoll_epoll.c - Linux: edge-triggered epoll.
 *
 *   EP-1 A direction is registered when a coroutine first waits for it; most connections never wait for room to
 *        write, and a descriptor that is read before anyone waited for it is never registered.
 *   EP-2 ADD and MOD report what is there already, so there is no gap between trying and registering.
 *   EP-3 flags say what is asked for; whoever registers first sets its bit, then calls epoll_ctl with all bits, and
 *        again if others came meanwhile: so the last call carries them all.
 *   EP-4 Closing needs no call: the kernel drops the registration with the last reference to the open file. If somebody
 *        else keeps one (fork, dup), the tag keeps its events off. */
#ifdef __linux__
#include "netpoll.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NEVENTS = 128 };
static const uint64_t WAKE = UINT64_MAX;

static int epfd = -1, wakefd = -1;
static uint32_t woken; /* 1: wakefd is or will be readable: one write is enough */
static bool nopwait2 = TSAN_BUILD; /* which does not know that call: os.h */

static int init(void)
{
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		return -errno;
	wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	/* Level-triggered: only the caller that blocks takes it, the others let it stand. */
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WAKE};
	if (wakefd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, wakefd, &ev) != 0) {
		int e = -errno;
		(void)close(epfd);
		if (wakefd >= 0)
			(void)close(wakefd);
		return e;
	}
	store_relaxed(&woken, 0u);
	return 0;
}

static void fini(void)
{
	(void)close(epfd);
	(void)close(wakefd);
	epfd = wakefd = -1;
}

static uint32_t interest(uint32_t flags)
{
	uint32_t ev = EPOLLET | EPOLLRDHUP;
	if (flags & PD_INR)
		ev |= EPOLLIN | EPOLLPRI;
	if (flags & PD_INW)
		ev |= EPOLLOUT;
	return ev;
}

static outofline int ctl(PollDesc *pd, uint32_t flags, bool add)
{
	struct epoll_event ev = {.events = interest(flags), .data.u64 = (uint64_t)pd->tag << 32 | (uint32_t)pd->fd};
	int e = errno, r = 0;
	if (epoll_ctl(epfd, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, pd->fd, &ev) != 0) {
		r = -errno;
		if (r == -EEXIST && add)
			r = epoll_ctl(epfd, EPOLL_CTL_MOD, pd->fd, &ev) ? -errno : 0;
		else if (r == -ENOENT && !add) /* known once, closed behind our back, and now another file */
			r = epoll_ctl(epfd, EPOLL_CTL_ADD, pd->fd, &ev) ? -errno : 0;
	}
	errno = e;
	return r;
}

static int arm(PollDesc *pd, uint32_t dirs)
{
	uint32_t had = fetch_or_seqcst(&pd->flags, dirs * PD_INR), flags = had | dirs * PD_INR;
	for (;;) { /* EP-3 */
		int e = ctl(pd, flags, !(had & (PD_INR | PD_INW)));
		if (e) {
			(void)fetch_and_seqcst(&pd->flags, ~(dirs * PD_INR & ~had));
			return e;
		}
		uint32_t now = load_seqcst(&pd->flags);
		if (interest(now) == interest(flags))
			return 0;
		had = flags;
		flags = now;
	}
}

static void forget(PollDesc *pd) { (void)pd; /* EP-4 */ }

/* Number of events; -1: interrupted by a signal. */
static outofline int wait_events(struct epoll_event *ev, int64_t timeout)
{
	int e = errno, n;
	if (timeout != 0)
		gmp__os_signals_settle();
	if (timeout <= 0) {
		n = epoll_wait(epfd, ev, NEVENTS, timeout < 0 ? -1 : 0);
	} else {
		n = -1;
		errno = ENOSYS;
#ifdef SYS_epoll_pwait2
		if (!load_relaxed(&nopwait2)) {
			struct timespec ts = {.tv_sec = (time_t)(timeout / 1000000000), .tv_nsec = (long)(timeout % 1000000000)};
			n = (int)syscall(SYS_epoll_pwait2, epfd, ev, NEVENTS, &ts, NULL, 0);
		}
#endif
		if (n < 0 && (errno == ENOSYS || errno == EPERM)) { /* EPERM: old seccomp filters */
			store_relaxed(&nopwait2, true);
			int64_t ms = (timeout - 1) / 1000000 + 1;
			n = epoll_wait(epfd, ev, NEVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
		}
	}
	if (n < 0 && errno != EINTR)
		gmp__throw("epoll_wait: error %d", errno);
	errno = e;
	return n;
}

static void take_wake(void)
{
	uint64_t v;
	int e = errno;
	(void)!read(wakefd, &v, sizeof v);
	errno = e;
	store_seqcst(&woken, 0u);
}

static void poll_events(Harvest *h, int64_t timeout)
{
	struct epoll_event ev[NEVENTS];
	for (;;) {
		int n = wait_events(ev, timeout);
		bool woke = false;
		for (int i = 0; i < n; i++) {
			uint64_t u = ev[i].data.u64;
			uint32_t e = ev[i].events, dirs = 0, flags = 0;
			if (u == WAKE) {
				woke = true;
				continue;
			}
			if (e & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
				dirs |= IO_RBIT;
			if (e & (EPOLLOUT | EPOLLHUP | EPOLLERR))
				dirs |= IO_WBIT;
			if (e & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
				flags |= PD_HUP;
			if (e & EPOLLPRI)
				flags |= PD_URGENT;
			gmp__netpoll_event(h, (int)(uint32_t)u, (uint32_t)(u >> 32), dirs, flags);
		}
		if (woke && timeout != 0)
			take_wake();
		/* Events that concern nobody at present do not end a wait without limit. */
		if (timeout >= 0 || woke || h->n || n < 0)
			return;
	}
}

static void wake(void)
{
	if (xchg_seqcst(&woken, 1u))
		return;
	uint64_t one = 1;
	int e = errno;
	(void)!write(wakefd, &one, sizeof one);
	errno = e;
}

const NetBackend gmp__netpoll_epoll = {
        .name = "epoll",
        .init = init,
        .fini = fini,
        .arm = arm,
        .forget = forget,
        .poll = poll_events,
        .wake = wake,
};
#endif
