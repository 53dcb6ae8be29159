/* SPDX-License-Identifier: MIT
 * net_io.c - reading, writing, accepting: try, and wait if that would block. The fewest system calls:
 *
 *   IO-1 A stream that gave less than was asked for has been drained, one that took less is full: `drained` is set, and
 *        the next operation waits at once. Every event clears it (gmp__fd_note); whatever comes after the short call is
 *        an event. Only TCP means it so: unix sockets and pipes stop early at descriptors passed along and at packets.
 *        Counts of calls with flags or a msghdr are not read that way (kernel TLS: records of other types).
 *   IO-2 An end of stream that was announced together with data brings no event of its own: PD_HUP, set with the event,
 *        makes every later operation try. Likewise urgent data (PD_URGENT), at which a read stops.
 *   IO-3 A wait that ends without success is followed by one try, if there was none so far in this call.
 *   IO-4 Who never has to wait yields after a while, so that a stream that is always ready does not keep the P. */
#include "net_fd.h"
#include "os_sock.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STREAK_MAX = 64 };
enum { OP_READ, OP_READV, OP_RECVFROM, OP_RECVMSG, OP_ACCEPT, OP_WRITE, OP_WRITEV, OP_SENDTO, OP_SENDMSG };

typedef struct Req {
	uint8_t op;
	int flags;     /* MSG_ */
	size_t n;      /* bytes, or entries of an iovec */
	void *buf;     /* bytes, iovec or msghdr */
	struct sockaddr *addr;
	socklen_t *len;
	socklen_t alen;
} Req;

/* ---- system calls ------------------------------------------------------------------------------------------------ */

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100 /* Linux 6.18 */
#endif

static ssize_t write_masked(int fd, const struct iovec *iov, int cnt)
{
	sigset_t pipeset, before, pending;
	(void)sigemptyset(&pipeset);
	(void)sigaddset(&pipeset, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipeset, &before);
	(void)sigpending(&pending);
	ssize_t r = writev(fd, iov, cnt);
	int e = errno;
	if (r < 0 && e == EPIPE && !sigismember(&pending, SIGPIPE)) {
#ifdef __APPLE__
		int sig;
		(void)sigpending(&pending);
		if (sigismember(&pending, SIGPIPE))
			(void)sigwait(&pipeset, &sig);
#else
		struct timespec none = {0, 0};
		while (sigtimedwait(&pipeset, NULL, &none) < 0 && errno == EINTR)
			;
#endif
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = e;
	return r;
}

/* To a pipe, whatever the mask. */
static ssize_t write_quietly(int fd, const struct iovec *iov, int cnt)
{
#ifdef __linux__
	static bool unknown;
	if (!load_relaxed(&unknown)) {
		ssize_t r = pwritev2(fd, iov, cnt, -1, RWF_NOSIGNAL);
		if (r >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
			return r;
		store_relaxed(&unknown, true);
	}
#endif
	return write_masked(fd, iov, cnt);
}

static ssize_t do_call(int fd, uint32_t kind, const Req *rq)
{
	bool sock = kind & PD_SOCKET, quietly = kind & PD_PIPE; /* OP_READ and OP_WRITE: no socket, see call() */
	struct iovec one;
	struct msghdr msg;
	switch (rq->op) {
	case OP_READ:
		return read(fd, rq->buf, rq->n);
	case OP_READV:
		return readv(fd, rq->buf, (int)rq->n);
	case OP_RECVFROM:
		return recvfrom(fd, rq->buf, rq->n, rq->flags, rq->addr, rq->len);
	case OP_RECVMSG:
		return recvmsg(fd, rq->buf, rq->flags);
	case OP_ACCEPT:
#ifdef SOCK_NONBLOCK
		return accept4(fd, rq->addr, rq->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
	{
		int c = accept(fd, rq->addr, rq->len);
		if (c >= 0) {
			(void)fcntl(c, F_SETFD, FD_CLOEXEC);
			(void)fcntl(c, F_SETFL, O_NONBLOCK);
		}
		return c;
	}
#endif
	case OP_WRITE:
		if (!quietly)
			return write(fd, rq->buf, rq->n);
		one.iov_base = rq->buf;
		one.iov_len = rq->n;
		return write_quietly(fd, &one, 1);
	case OP_WRITEV:
		if (!sock)
			return (quietly ? write_quietly : writev)(fd, rq->buf, (int)rq->n);
		memset(&msg, 0, sizeof msg);
		msg.msg_iov = rq->buf;
		msg.msg_iovlen = rq->n;
		return sendmsg(fd, &msg, MSG_NOSIGNAL);
	case OP_SENDTO:
		return sendto(fd, rq->buf, rq->n, rq->flags | MSG_NOSIGNAL, rq->addr, rq->alen);
	default:
		return sendmsg(fd, rq->buf, rq->flags | MSG_NOSIGNAL);
	}
}

/* Result or negative errno; errno itself is kept out of the callers, who change threads. */
static outofline ssize_t call_slow(int fd, uint32_t kind, const Req *rq)
{
	int e = errno;
	ssize_t r;
	do
		r = do_call(fd, kind, rq);
	while (r < 0 && (errno == EINTR || (rq->op == OP_ACCEPT && (errno == ECONNABORTED || errno == EPROTO))));
	if (r < 0)
		r = errno == EWOULDBLOCK ? -EAGAIN : -errno;
	errno = e;
	return r;
}

static alwaysinline ssize_t call(int fd, uint32_t kind, const Req *rq)
{
	if ((rq->op != OP_READ && rq->op != OP_WRITE) || !(kind & PD_SOCKET))
		return call_slow(fd, kind, rq);
	ssize_t r;
	do
		r = rq->op == OP_READ ? os_recv(fd, rq->buf, rq->n, rq->flags) : os_send(fd, rq->buf, rq->n, rq->flags | MSG_NOSIGNAL);
	while (unlikely(r == -EINTR));
	return r;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static alwaysinline size_t req_bytes(const Req *rq)
{
	size_t n = 0;
	const struct iovec *iov;
	switch (rq->op) {
	case OP_READ:
	case OP_WRITE:
		return rq->n;
	case OP_READV:
	case OP_WRITEV:
		iov = rq->buf;
		for (size_t i = 0; i < rq->n; i++)
			n += iov[i].iov_len;
		return n;
	default:
		return 0; /* a short count means nothing */
	}
}

static alwaysinline bool is_short(const PollDesc *pd, const Req *rq, ssize_t r)
{
	return (load_relaxed(&pd->flags) & (PD_TCP | PD_HUP | PD_URGENT)) == PD_TCP && rq->flags == 0 && r > 0 &&
	        (size_t)r < req_bytes(rq);
}

/* Files and shared descriptors, for which O_NONBLOCK is nothing. */
static outofline ssize_t blocking_op(PollDesc *pd, int dir, const Req *rq, int64_t deadline)
{
	uint32_t flags = load_relaxed(&pd->flags);
	if (flags & PD_POLLFIRST) {
		int e = gmp__fd_wait_level(pd, 1u << dir, deadline);
		if (e < 0)
			return e;
		return call(pd->fd, flags, rq);
	}
	if (gmp_cancelled())
		return -ECANCELED;
	gmp_blocking_enter();
	ssize_t r = call(pd->fd, flags, rq);
	gmp_blocking_leave();
	return r;
}

/* A datagram to a unix socket whose queue others have filled: nothing tells an unconnected sender that there is room.
 * */
static bool goes_untold(const Req *rq)
{
	const struct sockaddr *to = rq->op == OP_SENDTO ? rq->addr : NULL;
	if (rq->op == OP_SENDMSG)
		to = ((const struct msghdr *)rq->buf)->msg_name;
	return to && to->sa_family == AF_UNIX;
}

/* Waits for an event; or for a while, when there might be none. */
static int io_wait(PollDesc *pd, int dir, const Req *rq, int64_t deadline)
{
	if (likely(!goes_untold(rq)) || deadline <= 0)
		return gmp__fd_wait(pd, 1u << dir, deadline);
	int64_t slice = min_i64(deadline, gmp_now() + 5 * GMP_MSEC);
	int r = gmp__fd_wait(pd, 1u << dir, slice);
	if (r == -ETIMEDOUT && slice < deadline) {
		pd->drained[dir] = 0;
		return 0;
	}
	return r;
}

/* One operation; the caller has the turn. Inline, so that rq is no memory, and for the reason that os_sock.h tells. */
static alwaysinline ssize_t io_step(PollDesc *pd, int dir, const Req *rq, int64_t deadline)
{
	uint32_t kind = load_relaxed(&pd->flags);
	bool tried = false;
	for (;;) {
		gmp__fd_note(pd, dir);
		if (gmp__fd_closing(pd))
			return -ECANCELED;
		if (unlikely(load_relaxed(&pd->flags) & (PD_FILE | PD_POLLFIRST)))
			return blocking_op(pd, dir, rq, deadline);
		ssize_t r;
		if (!pd->drained[dir] || (load_relaxed(&pd->flags) & PD_HUP) || deadline <= 0 || !getm()) {
			r = call(pd->fd, kind, rq);
			tried = true;
			if (r != -EAGAIN) {
				pd->drained[dir] = is_short(pd, rq, r); /* IO-1 */
				return r;
			}
			pd->drained[dir] = rq->flags == 0;
		}
		pd->streak[dir] = 0;
		r = io_wait(pd, dir, rq, deadline);
		if (r == -EPERM) {
			(void)fetch_or_seqcst(&pd->flags, PD_FILE);
			continue;
		}
		if (r != 0) {
			if (tried || gmp__fd_closing(pd))
				return r;
			ssize_t late = call(pd->fd, kind, rq); /* IO-3 */
			return late == -EAGAIN ? r : late;
		}
	}
}

/* Counts an operation; is it time to yield? IO-4. The caller has the turn. */
static bool streak(PollDesc *pd, int dir)
{
	if (likely(++pd->streak[dir] < STREAK_MAX))
		return false;
	pd->streak[dir] = 0;
	return true;
}

static alwaysinline ssize_t io_inline(int fd, int dir, const Req *rq, int64_t deadline)
{
	PollDesc *pd;
	int e = gmp__fd_enter(fd, dir, deadline, &pd);
	if (unlikely(e))
		return e;
	ssize_t r = io_step(pd, dir, rq, deadline);
	bool yield = streak(pd, dir);
	gmp__fd_exit(pd, dir);
	if (unlikely(yield))
		gmp_yield();
	return r;
}

static ssize_t io(int fd, int dir, const Req *rq, int64_t deadline) { return io_inline(fd, dir, rq, deadline); }

/* ---- the families ------------------------------------------------------------------------------------------------ */

ssize_t gmp_recv_until(int fd, void *buf, size_t n, int flags, int64_t deadline)
{
	Req rq = {.op = OP_READ, .buf = buf, .n = n, .flags = flags};
	return io_inline(fd, IO_R, &rq, deadline);
}

ssize_t gmp_recv(int fd, void *buf, size_t n, int flags) { return gmp_recv_until(fd, buf, n, flags, GMP_FOREVER); }

ssize_t gmp_read_until(int fd, void *buf, size_t n, int64_t deadline)
{
	return n == 0 ? 0 : gmp_recv_until(fd, buf, n, 0, deadline);
}

ssize_t gmp_read(int fd, void *buf, size_t n) { return gmp_read_until(fd, buf, n, GMP_FOREVER); }

ssize_t gmp_send_until(int fd, const void *buf, size_t n, int flags, int64_t deadline)
{
	Req rq = {.op = OP_WRITE, .buf = (void *)(uintptr_t)buf, .n = n, .flags = flags};
	return io_inline(fd, IO_W, &rq, deadline);
}

ssize_t gmp_send(int fd, const void *buf, size_t n, int flags)
{
	return gmp_send_until(fd, buf, n, flags, GMP_FOREVER);
}

ssize_t gmp_write_until(int fd, const void *buf, size_t n, int64_t deadline)
{
	return gmp_send_until(fd, buf, n, 0, deadline);
}

ssize_t gmp_write(int fd, const void *buf, size_t n) { return gmp_send_until(fd, buf, n, 0, GMP_FOREVER); }

static ssize_t vec(int fd, uint8_t op, const struct iovec *iov, int cnt, int64_t deadline)
{
	if (cnt < 0 || cnt > 1024 /* IOV_MAX */)
		return -EINVAL;
	Req rq = {.op = op, .buf = (void *)(uintptr_t)iov, .n = (size_t)cnt};
	return io(fd, op == OP_WRITEV, &rq, deadline);
}

ssize_t gmp_readv_until(int fd, const struct iovec *iov, int cnt, int64_t deadline)
{
	return vec(fd, OP_READV, iov, cnt, deadline);
}

ssize_t gmp_readv(int fd, const struct iovec *iov, int cnt) { return vec(fd, OP_READV, iov, cnt, GMP_FOREVER); }

ssize_t gmp_writev_until(int fd, const struct iovec *iov, int cnt, int64_t deadline)
{
	return vec(fd, OP_WRITEV, iov, cnt, deadline);
}

ssize_t gmp_writev(int fd, const struct iovec *iov, int cnt) { return vec(fd, OP_WRITEV, iov, cnt, GMP_FOREVER); }

ssize_t gmp_recvfrom_until(
        int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len, int64_t deadline)
{
	Req rq = {.op = OP_RECVFROM, .buf = buf, .n = n, .flags = flags, .addr = addr, .len = len};
	return io(fd, IO_R, &rq, deadline);
}

ssize_t gmp_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len)
{
	return gmp_recvfrom_until(fd, buf, n, flags, addr, len, GMP_FOREVER);
}

ssize_t gmp_sendto_until(
        int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len, int64_t deadline)
{
	Req rq = {.op = OP_SENDTO,
	        .buf = (void *)(uintptr_t)buf,
	        .n = n,
	        .flags = flags,
	        .addr = (struct sockaddr *)(uintptr_t)addr,
	        .alen = len};
	return io(fd, IO_W, &rq, deadline);
}

ssize_t gmp_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len)
{
	return gmp_sendto_until(fd, buf, n, flags, addr, len, GMP_FOREVER);
}

ssize_t gmp_recvmsg_until(int fd, struct msghdr *msg, int flags, int64_t deadline)
{
	Req rq = {.op = OP_RECVMSG, .buf = msg, .flags = flags};
	return io(fd, IO_R, &rq, deadline);
}

ssize_t gmp_recvmsg(int fd, struct msghdr *msg, int flags) { return gmp_recvmsg_until(fd, msg, flags, GMP_FOREVER); }

ssize_t gmp_sendmsg_until(int fd, const struct msghdr *msg, int flags, int64_t deadline)
{
	Req rq = {.op = OP_SENDMSG, .buf = (void *)(uintptr_t)msg, .flags = flags};
	return io(fd, IO_W, &rq, deadline);
}

ssize_t gmp_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return gmp_sendmsg_until(fd, msg, flags, GMP_FOREVER);
}

/* All of it in one turn: writers do not mix. */
static alwaysinline ssize_t all(int fd, int dir, char *buf, size_t n, int64_t deadline)
{
	if (n == 0)
		return 0;
	PollDesc *pd;
	int e = gmp__fd_enter(fd, dir, deadline, &pd);
	if (e)
		return e;
	size_t done = 0;
	ssize_t r = 0;
	while (done < n) {
		Req rq = {.op = dir == IO_W ? OP_WRITE : OP_READ, .buf = buf + done, .n = n - done};
		r = io_step(pd, dir, &rq, deadline);
		if (r <= 0)
			break;
		done += (size_t)r;
		if (unlikely(streak(pd, dir)))
			gmp_yield();
	}
	gmp__fd_exit(pd, dir);
	return done ? (ssize_t)done : r;
}

ssize_t gmp_read_full(int fd, void *buf, size_t n, int64_t deadline) { return all(fd, IO_R, buf, n, deadline); }

ssize_t gmp_write_all(int fd, const void *buf, size_t n, int64_t deadline)
{
	return all(fd, IO_W, (char *)(uintptr_t)buf, n, deadline);
}

/* ---- accept, readiness ------------------------------------------------------------------------------------------- */

int gmp_accept_until(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline)
{
	PollDesc *pd;
	int e = gmp__fd_enter(fd, IO_R, deadline, &pd);
	if (e)
		return e;
	Req rq = {.op = OP_ACCEPT, .addr = addr, .len = len};
	int c = (int)io_step(pd, IO_R, &rq, deadline);
	uint32_t kind = PD_KNOWN | (load_relaxed(&pd->flags) & (PD_SOCKET | PD_TCP));
	bool yield = streak(pd, IO_R);
	gmp__fd_exit(pd, IO_R);
	if (unlikely(yield))
		gmp_yield();
	if (c >= 0 && (e = gmp__fd_fresh(c, kind)) != 0) {
		(void)gmp__fd_close(c);
		return e;
	}
	return c;
}

int gmp_accept(int fd, struct sockaddr *addr, socklen_t *len) { return gmp_accept_until(fd, addr, len, GMP_FOREVER); }

int gmp_wait_fd(int fd, int events, int64_t deadline)
{
	if (events == 0 || (events & ~(GMP_READABLE | GMP_WRITABLE)))
		return -EINVAL;
	_Static_assert(GMP_READABLE == IO_RBIT && GMP_WRITABLE == IO_WBIT, "gmp.h");
	PollDesc *pd;
	uint32_t turns = (uint32_t)events * FD_RTURN;
	int r = gmp__fd_enter_raw(fd, turns, deadline, &pd);
	if (r)
		return r;
	r = gmp__fd_wait_level(pd, (uint32_t)events, deadline);
	gmp__fd_exit_slow(pd, turns);
	return r;
}
