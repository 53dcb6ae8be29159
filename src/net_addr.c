/* SPDX-License-Identifier: MIT
 * net_addr.c - from "tcp", "host:port" to sockets: gmp_listen, gmp_dial, gmp_connect. */
#include "net_fd.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct Net {
	const char *name;
	int family, type;
} Net;

static const Net nets[] = {
        {"tcp", AF_UNSPEC, SOCK_STREAM},
        {"tcp4", AF_INET, SOCK_STREAM},
        {"tcp6", AF_INET6, SOCK_STREAM},
        {"udp", AF_UNSPEC, SOCK_DGRAM},
        {"udp4", AF_INET, SOCK_DGRAM},
        {"udp6", AF_INET6, SOCK_DGRAM},
        {"unix", AF_UNIX, SOCK_STREAM},
        {"unixgram", AF_UNIX, SOCK_DGRAM},
};

static const Net *find_net(const char *name)
{
	for (size_t i = 0; name && i < nelem(nets); i++)
		if (strcmp(name, nets[i].name) == 0)
			return &nets[i];
	return NULL;
}

typedef union Addr {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
} Addr;

static int unix_addr(const char *path, Addr *a, socklen_t *len)
{
	size_t n = strlen(path);
	if (n == 0 || n >= sizeof a->un.sun_path)
		return -EINVAL;
	memset(a, 0, sizeof *a);
	a->un.sun_family = AF_UNIX;
	memcpy(a->un.sun_path, path, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
#ifdef __linux__
	if (path[0] == '@') { /* the abstract namespace, as Go writes it */
		a->un.sun_path[0] = 0;
		--*len;
	}
#endif
	return 0;
}

/* "host:port", "[v6]:port", ":port". Both point into buf afterwards; *host NULL: none was given. */
static int split(const char *address, char *buf, size_t size, char **host, char **port)
{
	size_t n = strlen(address);
	if (n >= size)
		return -EINVAL;
	memcpy(buf, address, n + 1);
	char *colon = strrchr(buf, ':');
	if (!colon)
		return -EINVAL;
	*colon = 0;
	*port = colon + 1;
	*host = buf;
	if (buf[0] == '[') {
		if (colon == buf || colon[-1] != ']')
			return -EINVAL;
		colon[-1] = 0;
		*host = buf + 1;
	} else if (strchr(buf, ':')) {
		return -EINVAL;
	}
	if (**host == 0)
		*host = NULL;
	return **port ? 0 : -EINVAL;
}

/* Port as a number, -1: it is a name; -2: out of range. */
static int port_number(const char *s)
{
	long v = 0;
	for (const char *p = s; *p; p++) {
		if (*p < '0' || *p > '9')
			return -1;
		v = v * 10 + (*p - '0');
		if (v > 65535)
			return -2;
	}
	return (int)v;
}

/* Fills a from host and port without asking anybody. False: it has to be resolved. */
static bool numeric(int family, const char *host, int port, Addr *a, socklen_t *len)
{
	memset(a, 0, sizeof *a);
	if (family != AF_INET6 && inet_pton(AF_INET, host, &a->in4.sin_addr) == 1) {
		a->in4.sin_family = AF_INET;
		a->in4.sin_port = htons((uint16_t)port);
		*len = sizeof a->in4;
		return true;
	}
	if (family != AF_INET && inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons((uint16_t)port);
		*len = sizeof a->in6;
		return true;
	}
	return false;
}

/* ---- sockets ----------------------------------------------------------------------------------------------------- */

static outofline int new_socket(int family, int type)
{
	int e = errno;
#ifdef SOCK_NONBLOCK
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
	int fd = socket(family, type, 0);
	if (fd >= 0) {
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	}
#endif
	int r = fd < 0 ? -errno : fd;
	errno = e;
	if (r < 0)
		return r;
	uint32_t kind = PD_KNOWN | PD_SOCKET;
	if (family != AF_UNIX && type == SOCK_STREAM)
		kind |= PD_TCP;
	e = gmp__fd_fresh(fd, kind);
	if (e) {
		(void)gmp__fd_close(fd);
		return e;
	}
	return fd;
}

static outofline int set_opt(int fd, int level, int opt, int v)
{
	int e = errno, r = setsockopt(fd, level, opt, &v, sizeof v) ? -errno : 0;
	errno = e;
	return r;
}

static outofline int bind_listen(int fd, const Addr *a, socklen_t len, bool stream)
{
	int e = errno, r = 0;
	if (bind(fd, &a->sa, len) != 0 || (stream && listen(fd, SOMAXCONN) != 0))
		r = -errno;
	errno = e;
	return r;
}

static int listen_one(const Net *net, const Addr *a, socklen_t len, bool dual)
{
	bool stream = net->type == SOCK_STREAM;
	int fd = new_socket(a->sa.sa_family, net->type);
	if (fd < 0)
		return fd;
	int e = 0;
	if (a->sa.sa_family != AF_UNIX && stream) {
		e = set_opt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		(void)set_opt(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* inherited by what is accepted */
	}
	if (e == 0 && a->sa.sa_family == AF_INET6)
		e = set_opt(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
	if (e == 0)
		e = bind_listen(fd, a, len, stream);
	if (e) {
		(void)gmp_close(fd);
		return e;
	}
	return fd;
}

static int resolve(
        const Net *net, const char *host, const char *port, int flags, int64_t deadline, struct addrinfo **res)
{
	struct addrinfo hints;
	memset(&hints, 0, sizeof hints);
	hints.ai_family = net->family;
	hints.ai_socktype = net->type;
	hints.ai_flags = flags;
	return gmp_getaddrinfo(host, port, &hints, res, deadline);
}

static bool from_info(const struct addrinfo *ai, Addr *a, socklen_t *len)
{
	if (ai->ai_addrlen > sizeof *a || (ai->ai_family != AF_INET && ai->ai_family != AF_INET6))
		return false;
	memset(a, 0, sizeof *a);
	memcpy(a, ai->ai_addr, ai->ai_addrlen);
	*len = ai->ai_addrlen;
	return true;
}

static int listen_any(const Net *net, int port)
{
	Addr a;
	socklen_t len = sizeof a.in6;
	int r = -EAFNOSUPPORT;
	memset(&a, 0, sizeof a);
	if (net->family != AF_INET) { /* one socket for both families */
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons((uint16_t)port);
		r = listen_one(net, &a, len, net->family == AF_UNSPEC);
	}
	if ((r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL || r == -EPROTONOSUPPORT) && net->family != AF_INET6) {
		memset(&a, 0, sizeof a);
		a.in4.sin_family = AF_INET;
		a.in4.sin_port = htons((uint16_t)port);
		r = listen_one(net, &a, sizeof a.in4, false);
	}
	return r;
}

int gmp_listen(const char *network, const char *address)
{
	const Net *net = find_net(network);
	if (!net || !address)
		return -EINVAL;
	Addr a;
	socklen_t len;
	if (net->family == AF_UNIX) {
		int e = unix_addr(address, &a, &len);
		return e ? e : listen_one(net, &a, len, false);
	}
	char buf[512], *host, *service;
	int e = split(address, buf, sizeof buf, &host, &service);
	if (e)
		return e;
	int port = port_number(service);
	if (port == -2)
		return -EINVAL;
	if (port >= 0 && !host)
		return listen_any(net, port);
	if (port >= 0 && numeric(net->family, host, port, &a, &len))
		return listen_one(net, &a, len, false);
	struct addrinfo *res;
	e = resolve(net, host, service, AI_PASSIVE, GMP_FOREVER, &res);
	if (e)
		return e == -ENOENT ? -EADDRNOTAVAIL : e;
	int r = -EADDRNOTAVAIL;
	for (struct addrinfo *ai = res; ai && r < 0; ai = ai->ai_next)
		if (from_info(ai, &a, &len))
			r = listen_one(net, &a, len, false);
	freeaddrinfo(res);
	return r;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static outofline int call_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int e = errno, r = connect(fd, addr, len) ? -errno : 0;
	errno = e;
	return r;
}

/* What became of it: 0 connected, -EINPROGRESS, or why not. */
static outofline int connect_result(int fd)
{
	int e = errno, v = 0, r;
	socklen_t len = sizeof v;
	Addr peer;
	socklen_t plen = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len) != 0)
		r = -errno;
	else if (v)
		r = -v;
	else if (getpeername(fd, &peer.sa, &plen) != 0)
		r = errno == ENOTCONN ? -EINPROGRESS : -errno;
	else
		r = 0;
	errno = e;
	return r;
}

static bool is_loopback(const struct sockaddr *a, socklen_t len)
{
	if (a->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;
		memcpy(&in, a, sizeof in);
		return ntohl(in.sin_addr.s_addr) >> 24 == 127;
	}
	if (a->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;
		memcpy(&in6, a, sizeof in6);
		return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
	}
	return false;
}

int gmp_connect(int fd, const struct sockaddr *addr, socklen_t len, int64_t deadline)
{
	PollDesc *pd;
	int e = gmp__fd_enter(fd, IO_W, deadline, &pd);
	if (e)
		return e;
	int r;
	for (;;) {
		gmp__fd_note(pd, IO_W);
		r = call_connect(fd, addr, len);
		if (r != -EAGAIN) /* a unix listener's backlog is full: no event will tell */
			break;
		r = deadline <= 0 ? -EAGAIN : gmp__fd_closing(pd) ? -ECANCELED : gmp_sleep(GMP_MSEC);
		if (r == 0 && gmp_now() >= deadline)
			r = -ETIMEDOUT;
		if (r)
			break;
	}
	if (r == -EINTR || r == -EALREADY)
		r = -EINPROGRESS;
	if (r == -EINPROGRESS && is_loopback(addr, len)) /* mostly done by now: no need to wait for a turn with the poller */
		r = connect_result(fd);
	while (r == -EINPROGRESS) {
		e = gmp__fd_wait(pd, IO_WBIT, deadline);
		gmp__fd_note(pd, IO_W);
		if (e) {
			r = e == -EAGAIN ? -EINPROGRESS : e;
			break;
		}
		r = connect_result(fd);
	}
	pd->drained[IO_W] = 0;
	gmp__fd_exit(pd, IO_W);
	return r;
}

/* The kernel may have drawn the very port that was asked for, where nobody listens: TCP then connects the socket to
 * itself (a simultaneous open). */
static outofline bool is_own_peer(int fd, const Addr *a)
{
	int e = errno;
	Addr own;
	socklen_t len = sizeof own;
	bool r = false;
	memset(&own, 0, sizeof own);
	if (getsockname(fd, &own.sa, &len) == 0 && own.sa.sa_family == a->sa.sa_family) {
		if (own.sa.sa_family == AF_INET)
			r = own.in4.sin_port == a->in4.sin_port && own.in4.sin_addr.s_addr == a->in4.sin_addr.s_addr;
		else
			r = own.in6.sin6_port == a->in6.sin6_port &&
			    memcmp(&own.in6.sin6_addr, &a->in6.sin6_addr, sizeof own.in6.sin6_addr) == 0;
	}
	errno = e;
	return r;
}

static int dial_one(const Net *net, const Addr *a, socklen_t len, int64_t deadline)
{
	int fd = new_socket(a->sa.sa_family, net->type);
	if (fd < 0)
		return fd;
	if (net->type == SOCK_STREAM && net->family != AF_UNIX)
		(void)set_opt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	int e = gmp_connect(fd, &a->sa, len, deadline);
	if (e == 0 && net->type == SOCK_STREAM && net->family != AF_UNIX && is_own_peer(fd, a))
		e = -ECONNREFUSED;
	if (e == 0)
		return fd;
	(void)gmp_close(fd);
	return e == -EINPROGRESS || e == -EAGAIN ? -ETIMEDOUT : e;
}

/* An equal share of the time that is left for each address that is left, but no less than two seconds: one that does
 * not answer must not use it all. */
static int64_t share(int64_t deadline, int left)
{
	if (deadline == GMP_FOREVER || left <= 1)
		return deadline;
	int64_t now = gmp_now();
	return min_i64(deadline, now + max_i64((deadline - now) / left, 2 * GMP_SEC));
}

int gmp_dial(const char *network, const char *address, int64_t deadline)
{
	const Net *net = find_net(network);
	if (!net || !address)
		return -EINVAL;
	Addr a;
	socklen_t len;
	if (net->family == AF_UNIX) {
		int e = unix_addr(address, &a, &len);
		return e ? e : dial_one(net, &a, len, deadline);
	}
	char buf[512], *host, *service;
	int e = split(address, buf, sizeof buf, &host, &service);
	if (e)
		return e;
	int port = port_number(service);
	if (port == -2)
		return -EINVAL;
	if (port >= 0 && host && numeric(net->family, host, port, &a, &len))
		return dial_one(net, &a, len, deadline);
	struct addrinfo *res;
	e = resolve(net, host, service, 0, deadline, &res);
	if (e)
		return e == -ENOENT ? -EHOSTUNREACH : e;
	int r = -EHOSTUNREACH, left = 0;
	for (struct addrinfo *ai = res; ai; ai = ai->ai_next)
		left++;
	for (struct addrinfo *ai = res; ai && r < 0 && r != -ECANCELED; ai = ai->ai_next, left--)
		if (from_info(ai, &a, &len))
			r = dial_one(net, &a, len, share(deadline, left));
	freeaddrinfo(res);
	return r;
}
