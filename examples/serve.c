/* SPDX-License-Identifier: MIT
 * serve.c - see serve.h.
 */
#include "serve.h"

#include <gmp.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct conn {
	struct conn *prev, *next;
	int fd;
};

struct server {
	serve_fn *handler;
	serve_idle_fn *idle_handler; /* instead of handler */
	void *arg;
	int fd;
	int64_t idle, drain;
	gmp_mutex lock;
	bool stopping;
	struct conn live; /* head of a ring: who is connected */
};

/* A connection has to leave the list in any case, so being cancelled is no reason not to lock: others hold it for a few
 * instructions only. Not a mutex of the C library, which would block threads where this one parks coroutines. */
static void lock(struct server *s)
{
	while (gmp_mutex_lock(&s->lock) == -ECANCELED)
		gmp_yield();
}

int64_t coarse_now(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &ts) == 0)
		return ts.tv_sec * GMP_SEC + ts.tv_nsec;
#endif
	return gmp_now();
}

static void conn_main(int fd, void *arg)
{
	struct server *s = arg;
	struct conn c = {.prev = &s->live, .fd = fd};

	lock(s);
	if (s->stopping) /* accepted, but not on the list in time */
		shutdown(fd, SHUT_RD);
	c.next = s->live.next;
	c.next->prev = s->live.next = &c;
	gmp_mutex_unlock(&s->lock);

	s->handler(fd, s->arg);

	lock(s);
	c.prev->next = c.next;
	c.next->prev = c.prev;
	gmp_mutex_unlock(&s->lock);
}

static void accept_main(void *arg)
{
	struct server *s = arg;
	gmp_serve_opts opts = {.idle = s->idle, .drain = s->drain};
	int err = s->handler ? gmp_serve(s->fd, conn_main, s, &opts)
			     : gmp_serve_idle(s->fd, s->idle_handler, s->arg, &opts);

	if (err && err != -EBADF) /* that is a listener which was closed before we came to it */
		fprintf(stderr, "gmp_serve: %s\n", strerror(-err));
}

/* As many descriptors as the system lets us have: the usual soft limit of 1024 is no limit for a server. */
static void raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim); /* else we go on with what there is */
	}
}

static int announce(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;
	char host[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		return -ENOTSOCK;
	if (addr.ss_family == AF_INET) {
		const struct sockaddr_in *in4 = (const struct sockaddr_in *)&addr;
		inet_ntop(AF_INET, &in4->sin_addr, host, sizeof host);
		port = ntohs(in4->sin_port);
	} else if (addr.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
		port = ntohs(in6->sin6_port);
	}
	printf(addr.ss_family == AF_INET6 ? "listening on [%s]:%u\n" : "listening on %s:%u\n", host, port);
	fflush(stdout);
	return 0;
}

void linger(int fd)
{
	int64_t deadline = gmp_now() + GMP_SEC;
	char buf[1024];

	if (shutdown(fd, SHUT_WR))
		return;
	for (int i = 0; i < 256; i++) {
		if (gmp_read_until(fd, buf, sizeof buf, deadline) <= 0)
			return;
	}
}

static int run_server(const char *address, struct server *s)
{
	gmp_g *acceptor = NULL;
	sigset_t stop;
	int one = 1;

	s->live.prev = s->live.next = &s->live;
	raise_fd_limit();
	s->fd = gmp_listen("tcp", address);
	if (s->fd < 0)
		return s->fd;
	/* Accepted sockets inherit it. Replies are written whole, so there is nothing that Nagle's wait could merge. */
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	gmp_signal_wait(&stop, 0); /* from now on they do not kill us: nobody knows of us yet */

	int err = announce(s->fd);
	if (!err)
		err = gmp_spawn_attr(&acceptor, &(gmp_attr){.name = "accept"}, accept_main, s);
	if (err) {
		gmp_close(s->fd);
		return err;
	}

	int sig = gmp_signal_wait(&stop, GMP_FOREVER);
	if (sig < 0 && sig != -ECANCELED)
		fprintf(stderr, "waiting for signals: %s\n", strerror(-sig));

	lock(s);
	s->stopping = true;
	for (struct conn *c = s->live.next; c != &s->live; c = c->next)
		shutdown(c->fd, SHUT_RD);
	gmp_mutex_unlock(&s->lock);
	gmp_close(s->fd);                        /* ends gmp_serve, which waits for the handlers */
	while (gmp_join(acceptor) == -ECANCELED) /* we may be cancelled, too, but *s is on our stack */
		gmp_yield();
	return 0;
}

int serve(const char *address, serve_fn *handler, void *arg, int64_t drain)
{
	struct server s = {.handler = handler, .arg = arg, .drain = drain};

	return run_server(address, &s);
}

int serve_idle(const char *address, serve_idle_fn *handler, void *arg, int64_t idle, int64_t drain)
{
	struct server s = {.idle_handler = handler, .arg = arg, .idle = idle, .drain = drain};

	return run_server(address, &s);
}

long parse_number(const char *text, long min, long max)
{
	char *end;

	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < min || value > max) {
		fprintf(stderr, "'%s' is not a number between %ld and %ld\n", text, min, max);
		exit(2);
	}
	return value;
}
