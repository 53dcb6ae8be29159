/* SPDX-License-Identifier: MIT
 * nettest.h - what the network tests share. Everything is loopback, port 0. */
#ifndef NETTEST_H
#define NETTEST_H

#include "testutil.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOON (gmp_now() + 20 * GMP_SEC) /* a deadline that only a hanging test meets */

static inline uint16_t port_of(int fd)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof a;
	check_int(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static inline int listen_tcp(void)
{
	int fd = gmp_listen("tcp", "127.0.0.1:0");
	check(fd >= 0);
	return fd;
}

/* Listens (or is bound) at a loopback address of this process, where there are others than 127.0.0.1; that and the port in a.
 * For ports that are free for a moment: nobody else is given one there. */
static inline int listen_apart(const char *net, char *a, size_t size)
{
	unsigned pid = (unsigned)getpid();
	char host[] = "127.255.255.1", at[32];
	snprintf(host, sizeof host, "127.%u.%u.1", 1 + pid / 256 % 255, pid % 256);
	snprintf(at, sizeof at, "%s:0", host);
	int fd = gmp_listen(net, at);
	if (fd == -EADDRNOTAVAIL) {
		strcpy(host, "127.0.0.1");
		fd = gmp_listen(net, "127.0.0.1:0");
	}
	check(fd >= 0);
	snprintf(a, size, "%s:%u", host, port_of(fd));
	return fd;
}

static inline int dial_to(int listener)
{
	char a[32];
	snprintf(a, sizeof a, "127.0.0.1:%u", port_of(listener));
	int fd = gmp_dial("tcp", a, SOON);
	check(fd >= 0);
	return fd;
}

/* Two ends of a TCP connection, as gmp_dial and gmp_accept give them. */
static inline void tcp_pair(int fd[2])
{
	int l = listen_tcp();
	fd[0] = dial_to(l);
	fd[1] = gmp_accept_until(l, NULL, NULL, SOON);
	check(fd[1] >= 0);
	check_int(gmp_close(l), 0);
}

static inline void close_both(const int fd[2])
{
	check_int(gmp_close(fd[0]), 0);
	check_int(gmp_close(fd[1]), 0);
}

/* Until n coroutines wait (the caller does not count: it runs). */
static inline void until_waiting(uint64_t n)
{
	gmp_stats s;
	for (;;) {
		gmp_stats_read(&s);
		if (s.gs_waiting >= n)
			return;
		gmp_sleep(50 * GMP_USEC);
	}
}

static inline gmp_g *start(gmp_fn *fn, void *arg)
{
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, fn, arg), 0);
	return g;
}

static inline void finish(gmp_g *g) { check_int(gmp_join_until(g, SOON), 0); }

/* A coroutine's call, for results that are to be had later. */
typedef struct Call {
	int fd, events;
	char *buf;
	size_t n;
	int64_t deadline;
	ssize_t r;
	gmp_g *g;
} Call;

static inline void call_read(void *arg)
{
	Call *c = arg;
	c->r = gmp_read_until(c->fd, c->buf, c->n, c->deadline);
}
static inline void call_write_all(void *arg)
{
	Call *c = arg;
	c->r = gmp_write_all(c->fd, c->buf, c->n, c->deadline);
}
static inline void call_accept(void *arg)
{
	Call *c = arg;
	c->r = gmp_accept_until(c->fd, NULL, NULL, c->deadline);
}
static inline void call_wait_fd(void *arg)
{
	Call *c = arg;
	c->r = gmp_wait_fd(c->fd, c->events, c->deadline);
}

/* May so many descriptors be open? The soft limit is raised for it. */
static inline bool may_open(rlim_t n)
{
	struct rlimit r;
	check_int(getrlimit(RLIMIT_NOFILE, &r), 0);
	if (r.rlim_cur >= n)
		return true;
	r.rlim_cur = r.rlim_max < n ? r.rlim_max : n;
	check_int(setrlimit(RLIMIT_NOFILE, &r), 0);
	return r.rlim_cur >= n;
}

static inline void fill_pattern(char *b, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (char)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

#endif
