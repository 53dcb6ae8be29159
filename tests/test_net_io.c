/* SPDX-License-Identifier: MIT
 * test_net_io.c - the read and write families: streams, datagrams, pipes, ends, errors, deadlines, several users of one
 * descriptor. Invariants IO-1 to IO-3 of net_io.c. */
#include "nettest.h"
#include <signal.h>
#include <sys/eventfd.h>

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void echo_server(void *arg)
{
	int fd = *(int *)arg;
	char b[512];
	ssize_t n;
	while ((n = gmp_read(fd, b, sizeof b)) > 0)
		check_int(gmp_write_all(fd, b, (size_t)n, SOON), n);
	check_int(n, 0);
	check_int(gmp_close(fd), 0);
}

/* Requests and answers of every length around the server's buffer. */
static void ping_pong_main(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	gmp_g *g = start(echo_server, &fd[1]);
	char out[2048], in[2048];
	for (unsigned k = 0; k < 300; k++) {
		size_t n = 1 + k * 7 % sizeof out;
		fill_pattern(out, n, k);
		check_int(gmp_write_all(fd[0], out, n, SOON), n);
		memset(in, 0, n);
		check_int(gmp_read_full(fd[0], in, n, SOON), n);
		check_int(memcmp(in, out, n), 0);
	}
	check_int(gmp_close(fd[0]), 0);
	finish(g);
}
static void ping_pong(void **state) { (void)state, run_on_all(ping_pong_main, NULL); }

/* More than the kernel buffers: the writer has to wait for room, and the bytes arrive whole and in order. */
static void bulk_main(void *arg)
{
	const char *kind = arg;
	int fd[2];
	if (strcmp(kind, "tcp") == 0)
		tcp_pair(fd);
	else if (strcmp(kind, "unix") == 0)
		check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	else
		check_int(pipe(fd), 0);
	int from = fd[0], to = fd[1];
	size_t n = (size_t)(16 << 20) / (size_t)test_scale();
	char *out = malloc(n), *in = malloc(n + 1);
	fill_pattern(out, n, 7);
	Call w = {.fd = to, .buf = out, .n = n, .deadline = SOON};
	gmp_g *g = start(call_write_all, &w);
	size_t got = 0;
	while (got < n) {
		ssize_t r = gmp_read_until(from, in + got, 1 + (got * 31) % 100000 % (n - got), SOON);
		check(r > 0);
		got += (size_t)r;
	}
	finish(g);
	check_int(w.r, n);
	check_int(memcmp(in, out, n), 0);
	check_int(gmp_close(to), 0);
	check_int(gmp_read(from, in, 1), 0);
	check_int(gmp_close(from), 0);
	free(in);
	free(out);
}
static void bulk_tcp(void **state) { (void)state, run_on_all(bulk_main, "tcp"); }
static void bulk_unix(void **state) { (void)state, run_on_all(bulk_main, "unix"); }
static void bulk_pipe(void **state) { (void)state, run_on_all(bulk_main, "pipe"); }

/* IO-2: the end that arrives together with the last data is not waited for. */
static void data_then_end_main(void *arg)
{
	(void)arg;
	for (int k = 0; k < 50; k++) {
		int fd[2];
		char b[100];
		tcp_pair(fd);
		Call c = {.fd = fd[1], .buf = b, .n = sizeof b, .deadline = SOON};
		gmp_g *g = k % 2 ? start(call_read, &c) : NULL;
		if (g)
			until_waiting(1);
		check_int(write(fd[0], "hello", 5), 5);
		check_int(gmp_close(fd[0]), 0);
		if (g)
			finish(g);
		else
			call_read(&c);
		check_int(c.r, 5);
		check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 0);
		check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 0);
		check_int(gmp_close(fd[1]), 0);
	}
}
static void data_then_end(void **state) { (void)state, run_on_all(data_then_end_main, NULL); }

/* IO-1: a short read has drained the socket; what comes afterwards is found all the same, whoever wakes first. */
static void short_reads_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[1000];
	tcp_pair(fd);
	for (int k = 0; k < 500; k++) {
		Call c = {.fd = fd[1], .buf = b, .n = sizeof b, .deadline = SOON};
		gmp_g *g = start(call_read, &c);
		if (k % 3 == 0)
			until_waiting(1);
		else if (k % 3 == 1)
			gmp_yield();
		check_int(write(fd[0], "0123456789", 10), 10);
		if (k % 2)
			check_int(write(fd[0], "0123456789", 10), 10);
		finish(g);
		check(c.r == 10 || c.r == 20);
		if (k % 2 && c.r == 10)
			check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 10);
	}
	close_both(fd);
}
static void short_reads(void **state) { (void)state, run_on_all(short_reads_main, NULL); }

/* A read stops at urgent data; what lies behind is not forgotten. */
static void urgent_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[100];
	tcp_pair(fd);
	check_int(gmp_read_until(fd[1], b, sizeof b, gmp_now() + GMP_MSEC), -ETIMEDOUT); /* now it is registered */
	check_int(send(fd[0], "abcX", 4, MSG_OOB), 4);
	check_int(send(fd[0], "def", 3, 0), 3);
	check_int(gmp_read_full(fd[1], b, 6, SOON), 6);
	check_int(memcmp(b, "abcdef", 6), 0);
	close_both(fd);
}
static void urgent(void **state) { (void)state, run_on_all(urgent_main, NULL); }

/* A try with deadline 0 sees what is in the kernel, known to the poller or not. */
static void try_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[100];
	tcp_pair(fd);
	check_int(gmp_read_until(fd[1], b, sizeof b, 0), -EAGAIN);
	check_int(gmp_read_until(fd[1], b, sizeof b, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	for (int k = 0; k < 20; k++) {
		check_int(write(fd[0], "x", 1), 1);
		struct pollfd p = {fd[1], POLLIN, 0};
		check_int(poll(&p, 1, 10000), 1);
		check_int(gmp_read_until(fd[1], b, sizeof b, k % 2 ? 0 : 1), 1); /* IO-3: 1 has passed too */
		check_int(gmp_read_until(fd[1], b, sizeof b, 0), -EAGAIN);
		check_int(gmp_read_until(fd[1], b, sizeof b, 1), -ETIMEDOUT);
	}
	check_int(gmp_recv_until(fd[1], b, sizeof b, 0, 0), -EAGAIN);
	check_int(gmp_wait_fd(fd[1], GMP_READABLE, 0), -EAGAIN);
	close_both(fd);
}
static void tries(void **state) { (void)state, run_on_all(try_main, NULL); }

static void half_close_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[100];
	tcp_pair(fd);
	check_int(gmp_write_all(fd[0], "request", 7, SOON), 7);
	check_int(shutdown(fd[0], SHUT_WR), 0);
	check_int(gmp_read_full(fd[1], b, sizeof b, SOON), 7); /* to the end of the stream */
	check_int(gmp_write_all(fd[1], "answer", 6, SOON), 6);
	check_int(gmp_close(fd[1]), 0);
	check_int(gmp_read_full(fd[0], b, sizeof b, SOON), 6);
	check_int(gmp_close(fd[0]), 0);
}
static void half_close(void **state) { (void)state, run_on_all(half_close_main, NULL); }

/* The peer resets. A parked reader learns it, and a writer gets -EPIPE or -ECONNRESET and no signal. */
static void reset_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[100];
	for (int k = 0; k < 2; k++) {
		tcp_pair(fd);
		Call c = {.fd = fd[1], .buf = b, .n = sizeof b, .deadline = SOON};
		gmp_g *g = start(call_read, &c);
		until_waiting(1);
		struct linger lg = {1, 0};
		check_int(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &lg, sizeof lg), 0);
		check_int(gmp_close(fd[0]), 0);
		finish(g);
		check_int(c.r, -ECONNRESET);
		ssize_t r = gmp_write(fd[1], "x", 1);
		check(r == -EPIPE || r == -ECONNRESET);
		check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 0);
		check_int(gmp_close(fd[1]), 0);
	}
}
static void reset(void **state) { (void)state, run_on_all(reset_main, NULL); }

/* EPIPE without SIGPIPE: sockets and pipes, every call that writes. */
static void no_sigpipe_main(void *arg)
{
	(void)arg;
	int fd[2];
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	check_int(gmp_close(fd[1]), 0);
	check_int(gmp_write(fd[0], "x", 1), -EPIPE);
	check_int(gmp_writev(fd[0], &v, 1), -EPIPE);
	check_int(gmp_send(fd[0], "x", 1, 0), -EPIPE);
	check_int(gmp_sendto(fd[0], "x", 1, 0, NULL, 0), -EPIPE);
	check_int(gmp_sendmsg(fd[0], &m, 0), -EPIPE);
	check_int(gmp_close(fd[0]), 0);
	check_int(pipe(fd), 0);
	check_int(gmp_close(fd[0]), 0);
	check_int(gmp_write(fd[1], "x", 1), -EPIPE);
	check_int(gmp_writev(fd[1], &v, 1), -EPIPE);
	check_int(gmp_write_all(fd[1], "x", 1, SOON), -EPIPE);
	check_int(gmp_close(fd[1]), 0);
}
static void no_sigpipe(void **state) { (void)state, run_on_all(no_sigpipe_main, NULL); }

static void vectors_main(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	char a[3], b[4], c[100];
	struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in[3] = {{a, 3}, {b, 4}, {c, 100}};
	check_int(gmp_writev(fd[0], out, 2), 7);
	check_int(gmp_readv_until(fd[1], in, 3, SOON), 7);
	check_int(memcmp(a, "abc", 3) | memcmp(b, "defg", 4), 0);
	check_int(gmp_readv_until(fd[1], in, 3, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_writev(fd[0], out, -1), -EINVAL);
	check_int(gmp_read(fd[1], c, 0), 0);
	close_both(fd);
}
static void vectors(void **state) { (void)state, run_on_all(vectors_main, NULL); }

/* Descriptors passed over a unix socket end a read early: there, a short count must not count as drained. */
static void unix_messages_main(void *arg)
{
	(void)arg;
	int fd[2];
	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	char b[100], ctl[CMSG_SPACE(sizeof(int))];
	check_int(gmp_read_until(fd[1], b, sizeof b, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	struct iovec v = {"with", 4};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
	memset(ctl, 0, sizeof ctl);
	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd[0], sizeof(int));
	check_int(gmp_sendmsg_until(fd[0], &m, 0, SOON), 4);
	check_int(gmp_write_all(fd[0], "without", 7, SOON), 7);
	char ctl2[CMSG_SPACE(sizeof(int))];
	struct iovec in = {b, sizeof b};
	struct msghdr mi = {.msg_iov = &in, .msg_iovlen = 1, .msg_control = ctl2, .msg_controllen = sizeof ctl2};
	check_int(gmp_recvmsg_until(fd[1], &mi, MSG_CMSG_CLOEXEC, SOON), 4);
	check(CMSG_FIRSTHDR(&mi) != NULL);
	int dup;
	memcpy(&dup, CMSG_DATA(CMSG_FIRSTHDR(&mi)), sizeof dup);
	check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 7);
	check_int(gmp_close(dup), 0);
	check_int(gmp_write_all(fd[0], "ab", 2, SOON), 2);
	check_int(gmp_recv(fd[1], b, sizeof b, MSG_PEEK), 2);
	check_int(gmp_recv(fd[1], b, sizeof b, MSG_PEEK), 2);
	check_int(gmp_read(fd[1], b, sizeof b), 2);
	close_both(fd);
}
static void unix_messages(void **state) { (void)state, run_on_all(unix_messages_main, NULL); }

/* ---- datagrams --------------------------------------------------------------------------------------------------- */

static void udp_answer(void *arg)
{
	int fd = *(int *)arg;
	char b[100];
	struct sockaddr_storage a;
	for (int k = 0; k < 100; k++) {
		socklen_t n = sizeof a;
		ssize_t r = gmp_recvfrom_until(fd, b, sizeof b, 0, (struct sockaddr *)&a, &n, SOON);
		check(r > 0);
		check_int(gmp_sendto(fd, b, (size_t)r, 0, (struct sockaddr *)&a, n), r);
	}
}

static void udp_main(void *arg)
{
	const char *host = arg;
	char a[64];
	snprintf(a, sizeof a, "%s:0", host);
	int s = gmp_listen("udp", a);
	check(s >= 0);
	snprintf(a, sizeof a, "%s:%u", host, port_of(s));
	int c = gmp_dial("udp", a, SOON);
	check(c >= 0);
	gmp_g *g = start(udp_answer, &s);
	for (int k = 1; k <= 100; k++) {
		char b[200];
		fill_pattern(b, 100, (unsigned)k);
		check_int(gmp_send(c, b, (size_t)k, 0), k);
		char in[200];
		check_int(gmp_recv_until(c, in, sizeof in, 0, SOON), k);
		check_int(memcmp(in, b, (size_t)k), 0);
	}
	finish(g);
	check_int(gmp_close(c), 0);
	check_int(gmp_close(s), 0);
}
static void udp4(void **state) { (void)state, run_on_all(udp_main, "127.0.0.1"); }
static void udp6(void **state)
{
	(void)state;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
	close(fd);
	if (r)
		skip();
	run_on_all(udp_main, "[::1]");
}

/* An error that came by ICMP is reported once, and does not stop the socket. */
static void udp_refused_main(void *arg)
{
	(void)arg;
	char a[64], b[10];
	int s = listen_apart("udp", a, sizeof a);
	int c = gmp_dial("udp", a, SOON);
	check_int(gmp_close(s), 0);
	check_int(gmp_send(c, "x", 1, 0), 1);
	check_int(gmp_recv_until(c, b, sizeof b, 0, SOON), -ECONNREFUSED);
	check_int(gmp_recv_until(c, b, sizeof b, 0, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_close(c), 0);
}
static void udp_refused(void **state) { (void)state, run_on_all(udp_refused_main, NULL); }

/* A full unix datagram queue: no event tells an unconnected sender that there is room again. */
static void unixgram_reader(void *arg)
{
	int fd = *(int *)arg;
	char b[100];
	for (int k = 0; k < 500; k++) {
		check_int(gmp_recv_until(fd, b, sizeof b, 0, SOON), 50);
		check_int(b[0], (char)k);
	}
}

static void unixgram_main(void *arg)
{
	(void)arg;
	char path[64], b[50] = {0};
	snprintf(path, sizeof path, "@gmp-test-%d", getpid());
	int s = gmp_listen("unixgram", path);
	check(s >= 0);
	int c = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct sockaddr_un a;
	socklen_t n = sizeof a;
	check_int(getsockname(s, (struct sockaddr *)&a, &n), 0);
	for (int i = 0;; i++) {
		ssize_t r = gmp_sendto_until(c, b, sizeof b, 0, (struct sockaddr *)&a, n, 0);
		if (r == -EAGAIN)
			break;
		check_int(r, sizeof b);
		b[0]++;
	}
	check_int(gmp_sendto_until(c, b, sizeof b, 0, (struct sockaddr *)&a, n, gmp_now() + 3 * GMP_MSEC), -ETIMEDOUT);
	gmp_g *g = start(unixgram_reader, &s);
	for (int k = (unsigned char)b[0]; k < 500; k++) {
		b[0] = (char)k;
		check_int(gmp_sendto_until(c, b, sizeof b, 0, (struct sockaddr *)&a, n, SOON), sizeof b);
	}
	finish(g);
	check_int(gmp_close(c), 0);
	check_int(gmp_close(s), 0);
}
static void unixgram(void **state) { (void)state, run_on_all(unixgram_main, NULL); }

/* ---- several users ----------------------------------------------------------------------------------------------- */

enum { SHARERS = 8, LINES = 100, LINE = 3000 };

static void line_writer(void *arg)
{
	int *p = arg;
	char b[LINE];
	memset(b, 'a' + p[1], sizeof b);
	for (int k = 0; k < LINES; k++)
		check_int(gmp_write_all(p[0], b, sizeof b, SOON), LINE);
}

/* Writers take turns: what gmp_write_all is given is not mixed with others', however often it has to wait. */
static void writers_main(void *arg)
{
	(void)arg;
	int fd[2], args[SHARERS][2], count[SHARERS] = {0};
	tcp_pair(fd);
	gmp_g *g[SHARERS];
	for (int i = 0; i < SHARERS; i++) {
		args[i][0] = fd[0];
		args[i][1] = i;
		g[i] = start(line_writer, args[i]);
	}
	char b[LINE];
	for (int k = 0; k < SHARERS * LINES; k++) {
		check_int(gmp_read_full(fd[1], b, sizeof b, SOON), LINE);
		for (int i = 1; i < LINE; i++)
			check_int(b[i], b[0]);
		count[b[0] - 'a']++;
	}
	for (int i = 0; i < SHARERS; i++) {
		finish(g[i]);
		check_int(count[i], LINES);
	}
	close_both(fd);
}
static void writers(void **state) { (void)state, run_on_all(writers_main, NULL); }

typedef struct Share {
	int fd;
	gmp_sem got;
	size_t sum;
	gmp_mutex mu;
} Share;

static void sharing_reader(void *arg)
{
	Share *s = arg;
	char b[64];
	ssize_t r;
	while ((r = gmp_read(s->fd, b, sizeof b)) > 0) {
		gmp_mutex_lock(&s->mu);
		s->sum += (size_t)r;
		gmp_mutex_unlock(&s->mu);
		gmp_sem_release(&s->got);
	}
	check_int(r, 0);
}

/* Readers take turns, nobody is forgotten, and all see the end. */
static void readers_main(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	Share s = {.fd = fd[1]};
	gmp_g *g[SHARERS];
	for (int i = 0; i < SHARERS; i++)
		g[i] = start(sharing_reader, &s);
	until_waiting(SHARERS);
	for (int k = 0; k < 200; k++) {
		check_int(gmp_write_all(fd[0], "0123456789", 10, SOON), 10);
		check_int(gmp_sem_acquire_until(&s.got, SOON), 0);
	}
	check_int(gmp_close(fd[0]), 0);
	for (int i = 0; i < SHARERS; i++)
		finish(g[i]);
	check_int(s.sum, 2000);
	check_int(gmp_close(fd[1]), 0);
}
static void readers(void **state) { (void)state, run_on_all(readers_main, NULL); }

/* A deadline holds while waiting for a turn, too; and the one whose turn it is goes on undisturbed. */
static void turn_deadline_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[10], b2[10];
	tcp_pair(fd);
	Call c = {.fd = fd[1], .buf = b, .n = sizeof b, .deadline = SOON};
	gmp_g *g = start(call_read, &c);
	until_waiting(1);
	check_int(gmp_read_until(fd[1], b2, sizeof b2, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_read_until(fd[1], b2, sizeof b2, 0), -EAGAIN);
	check_int(gmp_write(fd[1], "x", 1), 1); /* the other direction is free */
	check_int(gmp_write(fd[0], "x", 1), 1);
	finish(g);
	check_int(c.r, 1);
	close_both(fd);
}
static void turn_deadline(void **state) { (void)state, run_on_all(turn_deadline_main, NULL); }

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

/* Neither early nor much late; the descriptor is usable afterwards. Events that race with deadlines lose nothing. */
static void deadlines_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[10];
	tcp_pair(fd);
	for (int k = 0; k < 10; k++) {
		int64_t d = gmp_now() + k * 500 * GMP_USEC;
		check_int(gmp_read_until(fd[1], b, sizeof b, d), -ETIMEDOUT);
		check(gmp_now() >= d);
	}
	int received = 0, sent = 0;
	uint64_t seed = 1;
	while (sent < 300 || received < sent) {
		ssize_t r = gmp_read_until(fd[1], b, 1, gmp_now() + (int64_t)(test_rand(&seed) % 100) * GMP_USEC);
		check(r == 1 || r == -ETIMEDOUT);
		received += r == 1;
		if (sent < 300 && test_rand(&seed) % 2) {
			check_int(write(fd[0], "x", 1), 1);
			sent++;
		}
	}
	size_t n = 32 << 20;
	char *big = calloc(1, n);
	ssize_t r = gmp_write_all(fd[0], big, n, gmp_now() + 2 * GMP_MSEC); /* nobody reads */
	check(r > 0 && (size_t)r < n);
	while (r > 0) /* a slow machine's deadline passes before the buffers are full */
		r = gmp_write_all(fd[0], big, n, gmp_now() + 2 * GMP_MSEC);
	check_int(r, -ETIMEDOUT);
	while ((r = gmp_write_until(fd[0], big, n, 0)) > 0) /* a late ACK makes room again */
		;
	check_int(r, -EAGAIN);
	free(big);
	close_both(fd);
}
static void deadlines(void **state) { (void)state, run_on_all(deadlines_main, NULL); }

/* ---- what is no socket ------------------------------------------------------------------------------------------- */

static void others_main(void *arg)
{
	(void)arg;
	char b[100];
	uint64_t v = 3;
	int e = eventfd(0, 0);
	check_int(gmp_read_until(e, &v, sizeof v, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	v = 3;
	check_int(gmp_write(e, &v, sizeof v), 8);
	v = 0;
	check_int(gmp_read_until(e, &v, sizeof v, SOON), 8);
	check_int(v, 3);
	check_int(gmp_close(e), 0);
	int z = gmp_open("/dev/zero", O_RDONLY, 0); /* cannot be polled */
	check(z >= 0);
	memset(b, 1, sizeof b);
	check_int(gmp_read_full(z, b, sizeof b, SOON), sizeof b);
	check_int(b[99], 0);
	check_int(gmp_close(z), 0);
	check_int(gmp_read(-1, b, 1), -EBADF);
	check_int(gmp_read(1000000, b, 1), -EBADF);
	check_int(gmp_write(z, b, 1), -EBADF);
	check_int(gmp_close(z), -EBADF);
	check_int(gmp_close(-1), -EBADF);
	check_int(gmp_close(1000000), -EBADF);
	check_int(gmp_accept(-1, NULL, NULL), -EBADF);
	check_int(gmp_wait_fd(-1, GMP_READABLE, SOON), -EBADF);
	check_int(gmp_wait_fd(z, GMP_READABLE, SOON), -EBADF);
	check_int(gmp_wait_fd(0, 0, SOON), -EINVAL);
	int fd[2];
	check_int(pipe(fd), 0);
	check_int(gmp_write(fd[0], b, 1), -EBADF);
	check_int(gmp_read(fd[1], b, 1), -EBADF);
	check_int(gmp_accept(fd[0], NULL, NULL), -ENOTSOCK);
	close_both(fd);
}
static void others(void **state) { (void)state, run_on_all(others_main, NULL); }

/* So many that stacks are fetched ahead (COLD_WAITERS): each gets what is its own. */
enum { MANY = 300 };

typedef struct Echoes {
	int fd[MANY][2];
	gmp_waitgroup wg;
} Echoes;

static void echoes(void *arg)
{
	int fd = *(int *)arg, n;
	while (gmp_read_full(fd, &n, sizeof n, SOON) == sizeof n)
		check_int(gmp_write_all(fd, &n, sizeof n, SOON), sizeof n);
}

static void many_main(void *arg)
{
	static Echoes e;
	(void)arg;
	e.wg = (gmp_waitgroup){0};
	for (int i = 0; i < MANY; i++) {
		check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, e.fd[i]), 0);
		check_int(gmp_waitgroup_spawn(&e.wg, echoes, &e.fd[i][1]), 0);
	}
	until_waiting(MANY);
	for (int round = 0; round < 3; round++) {
		int n;
		for (int i = 0; i < MANY; i++) {
			n = round * MANY + i;
			check_int(gmp_write_all(e.fd[i][0], &n, sizeof n, SOON), sizeof n);
		}
		for (int i = 0; i < MANY; i++) {
			check_int(gmp_read_full(e.fd[i][0], &n, sizeof n, SOON), sizeof n);
			check_int(n, round * MANY + i);
		}
	}
	for (int i = 0; i < MANY; i++)
		check_int(gmp_close(e.fd[i][0]), 0);
	check_int(gmp_waitgroup_wait_until(&e.wg, SOON), 0);
	for (int i = 0; i < MANY; i++)
		check_int(gmp_close(e.fd[i][1]), 0);
}

static void many(void **state)
{
	(void)state;
	if (!may_open(2 * MANY + 100))
		skip();
	run_on_all(many_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ping_pong),
	        cmocka_unit_test(bulk_tcp),
	        cmocka_unit_test(bulk_unix),
	        cmocka_unit_test(bulk_pipe),
	        cmocka_unit_test(data_then_end),
	        cmocka_unit_test(short_reads),
	        cmocka_unit_test(urgent),
	        cmocka_unit_test(tries),
	        cmocka_unit_test(half_close),
	        cmocka_unit_test(reset),
	        cmocka_unit_test(no_sigpipe),
	        cmocka_unit_test(vectors),
	        cmocka_unit_test(unix_messages),
	        cmocka_unit_test(udp4),
	        cmocka_unit_test(udp6),
	        cmocka_unit_test(udp_refused),
	        cmocka_unit_test(unixgram),
	        cmocka_unit_test(writers),
	        cmocka_unit_test(readers),
	        cmocka_unit_test(turn_deadline),
	        cmocka_unit_test(deadlines),
	        cmocka_unit_test(others),
	        cmocka_unit_test(many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
