/* SPDX-License-Identifier: MIT
 * test_net_addr.c - addresses: gmp_listen, gmp_dial, gmp_connect, gmp_getaddrinfo; many connections at once. */
#include "nettest.h"
#include <sys/stat.h>

static bool have_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
	if (fd >= 0)
		close(fd);
	return r == 0;
}

/* Listens at `at`, dials host:port, and passes a byte each way. */
static void meet(const char *net, const char *at, const char *host)
{
	int l = gmp_listen(net, at), fd[2];
	check(l >= 0);
	check(fcntl(l, F_GETFD) & FD_CLOEXEC);
	char a[128], b;
	snprintf(a, sizeof a, "%s:%u", host, port_of(l));
	fd[0] = gmp_dial(net, a, SOON);
	check(fd[0] >= 0);
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;
	fd[1] = gmp_accept_until(l, (struct sockaddr *)&peer, &n, SOON);
	check(fd[1] >= 0);
	check(peer.ss_family == AF_INET || peer.ss_family == AF_INET6);
	for (int i = 0; i < 2; i++) {
		int on = 0;
		n = sizeof on;
		check(fcntl(fd[i], F_GETFD) & FD_CLOEXEC);
		check(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
		check_int(getsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
		check_int(on, 1);
		check_int(gmp_write(fd[i], "x", 1), 1);
		check_int(gmp_read_until(fd[!i], &b, 1, SOON), 1);
	}
	close_both(fd);
	check_int(gmp_close(l), 0);
}

static void networks_main(void *arg)
{
	(void)arg;
	meet("tcp", "127.0.0.1:0", "127.0.0.1");
	meet("tcp4", "127.0.0.1:0", "127.0.0.1");
	meet("tcp4", ":0", "127.0.0.1");
	meet("tcp", "localhost:0", "localhost");
	if (have_ipv6()) {
		meet("tcp6", "[::1]:0", "[::1]");
		meet("tcp", "[::1]:0", "[::1]");
		meet("tcp", ":0", "127.0.0.1"); /* one socket for both */
		meet("tcp", ":0", "[::1]");
		meet("tcp6", ":0", "[::1]");
	}
}
static void networks(void **state) { (void)state, run_on_all(networks_main, NULL); }

static void unix_main(void *arg)
{
	(void)arg;
	char dir[] = "/tmp/gmp-net-XXXXXX", path[64], name[64], b[10];
	check(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/s", dir);
	snprintf(name, sizeof name, "@gmp-abstract-%d", getpid());
	const char *paths[] = {path, name};
	for (int i = 0; i < 2; i++) {
		int l = gmp_listen("unix", paths[i]), fd[2];
		check(l >= 0);
		check_int(gmp_listen("unix", paths[i]), -EADDRINUSE);
		fd[0] = gmp_dial("unix", paths[i], SOON);
		fd[1] = gmp_accept_until(l, NULL, NULL, SOON);
		check(fd[0] >= 0 && fd[1] >= 0);
		check_int(gmp_write(fd[0], "hi", 2), 2);
		check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 2);
		check_int(gmp_close(l), 0);
		close_both(fd);
		check_int(gmp_dial("unix", paths[i], SOON), -ECONNREFUSED);
	}
	check_int(unlink(path), 0);
	check_int(rmdir(dir), 0);
	check_int(gmp_dial("unix", path, SOON), -ENOENT);
}
static void unix_sockets(void **state) { (void)state, run_on_all(unix_main, NULL); }

/* A unix listener whose backlog is full: no event tells when there is room. */
static void dial_unix(void *arg)
{
	Call *c = arg;
	c->r = gmp_dial("unix", c->buf, c->deadline);
}

static void backlog_main(void *arg)
{
	(void)arg;
	char name[64];
	snprintf(name, sizeof name, "@gmp-backlog-%d", getpid());
	int l = gmp_listen("unix", name);
	check(l >= 0);
	check_int(listen(l, 0), 0);
	int first = gmp_dial("unix", name, SOON);
	check(first >= 0);
	check_int(gmp_dial("unix", name, gmp_now() + 3 * GMP_MSEC), -ETIMEDOUT);
	Call c = {.buf = name, .deadline = SOON};
	gmp_g *g = start(dial_unix, &c);
	until_waiting(1);
	int s = gmp_accept(l, NULL, NULL);
	finish(g);
	check(c.r >= 0);
	check_int(gmp_close((int)c.r), 0);
	check_int(gmp_close(first), 0);
	check_int(gmp_close(s), 0);
	check_int(gmp_close(l), 0);
}
static void backlog(void **state) { (void)state, run_on_all(backlog_main, NULL); }

static void errors_main(void *arg)
{
	(void)arg;
	static const char *const bad[] = {"", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:99999999999", "::1:80",
	        "[::1:80", "[::1]80"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		check_int(gmp_listen("tcp", bad[i]), -EINVAL);
		check_int(gmp_dial("tcp", bad[i], SOON), -EINVAL);
	}
	check_int(gmp_listen("sctp", "127.0.0.1:0"), -EINVAL);
	check_int(gmp_listen(NULL, "127.0.0.1:0"), -EINVAL);
	check_int(gmp_listen("tcp", NULL), -EINVAL);
	check_int(gmp_listen("unix", ""), -EINVAL);
	char long_path[200];
	memset(long_path, 'x', sizeof long_path);
	long_path[199] = 0;
	check_int(gmp_listen("unix", long_path), -EINVAL);
	check_int(gmp_listen("tcp4", "8.8.8.8:0"), -EADDRNOTAVAIL);
	char a[32];
	int l = listen_apart("tcp", a, sizeof a);
	check_int(gmp_listen("tcp", a), -EADDRINUSE);
	check_int(gmp_close(l), 0);
	check_int(gmp_dial("tcp", a, SOON), -ECONNREFUSED);
	check_int(gmp_dial("tcp", "127.0.0.1:no-such-service", SOON), -EINVAL);
	check_int(gmp_listen("tcp", "127.0.0.1:no-such-service"), -EINVAL);
}
static void errors(void **state) { (void)state, run_on_all(errors_main, NULL); }

/* gmp_connect on the caller's own socket; a connect that is on its way has a deadline and can be cancelled. */
static void call_connect(void *arg)
{
	Call *c = arg;
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	memcpy(&a, c->buf, sizeof a);
	c->r = gmp_connect(c->fd, (struct sockaddr *)&a, n, c->deadline);
}

static void connect_main(void *arg)
{
	(void)arg;
	int l = listen_tcp(), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	check_int(getsockname(l, (struct sockaddr *)&a, &n), 0);
	check_int(gmp_connect(fd, (struct sockaddr *)&a, n, SOON), 0);
	int again = gmp_connect(fd, (struct sockaddr *)&a, n, SOON); /* Linux says so at the second call only */
	check(again == 0 || again == -EISCONN);
	check_int(gmp_close(fd), 0);
	check_int(gmp_connect(-1, (struct sockaddr *)&a, n, SOON), -EBADF);

	/* A backlog that is full swallows connection requests. */
	check_int(listen(l, 0), 0);
	int full[8], k = 0;
	Call c;
	for (;; k++) {
		check(k < 8);
		full[k] = socket(AF_INET, SOCK_STREAM, 0);
		int r = gmp_connect(full[k], (struct sockaddr *)&a, n, gmp_now() + 20 * GMP_MSEC);
		if (r == -ETIMEDOUT)
			break;
		check_int(r, 0);
	}
	c = (Call){.fd = socket(AF_INET, SOCK_STREAM, 0), .buf = (char *)&a, .deadline = SOON};
	gmp_g *g = start(call_connect, &c);
	until_waiting(1);
	check_int(gmp_cancel(g), 0);
	finish(g);
	check_int(c.r, -ECANCELED);
	check_int(gmp_close(c.fd), 0);
	for (; k >= 0; k--)
		check_int(gmp_close(full[k]), 0);
	check_int(gmp_close(l), 0);
}
static void connects(void **state) { (void)state, run_on_all(connect_main, NULL); }

/* Nobody listens there. Among so many ports that the kernel draws is the one asked for, and the socket meets itself.
 * (Linux goes through the even ones for connect.) */
static void own_port_main(void *arg)
{
	(void)arg;
	int l = listen_tcp();
	char a[32];
	snprintf(a, sizeof a, "127.0.0.1:%u", port_of(l) & ~1u);
	check_int(gmp_close(l), 0);
	for (int i = 0; i < 15000 / test_scale(); i++)
		check_int(gmp_dial("tcp", a, SOON), -ECONNREFUSED);
}
static void own_port(void **state) { (void)state, run_on(1, own_port_main, NULL); }

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void resolver_main(void *arg)
{
	(void)arg;
	struct addrinfo *res, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	check_int(gmp_getaddrinfo("127.0.0.1", "80", &hints, &res, SOON), 0);
	check_int(res->ai_family, AF_INET);
	check_int(((struct sockaddr_in *)res->ai_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	check_int(((struct sockaddr_in *)res->ai_addr)->sin_port, htons(80));
	freeaddrinfo(res);
	check_int(gmp_getaddrinfo("localhost", NULL, &hints, &res, SOON), 0);
	check_int(((struct sockaddr_in *)res->ai_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	freeaddrinfo(res);
	hints.ai_flags = AI_NUMERICHOST;
	check_int(gmp_getaddrinfo("no-number", NULL, &hints, &res, SOON), -ENOENT);
	check(!res);
	hints.ai_flags = 0x40000000;
	check_int(gmp_getaddrinfo("127.0.0.1", "80", &hints, &res, SOON), -EINVAL);
	check_int(gmp_getaddrinfo(NULL, NULL, NULL, &res, SOON), -EINVAL);
	check_int(gmp_getaddrinfo("127.0.0.1", NULL, NULL, &res, 0), -ETIMEDOUT);
	for (int i = 0; i < 20; i++) { /* late answers are dropped, and leak nothing */
		int r = gmp_getaddrinfo("localhost", "80", NULL, &res, gmp_now() + i * 20 * GMP_USEC);
		check(r == 0 || r == -ETIMEDOUT);
		if (r == 0)
			freeaddrinfo(res);
	}
}
static void resolver(void **state) { (void)state, run_on_all(resolver_main, NULL); }

static void one_lookup(void *arg)
{
	(void)arg;
	struct addrinfo *res;
	check_int(gmp_getaddrinfo("localhost", "80", NULL, &res, SOON), 0);
	freeaddrinfo(res);
}

/* More questions than resolver threads, from coroutines with small stacks. */
static void lookups_main(void *arg)
{
	(void)arg;
	enum { N = 200 };
	gmp_g *g[N];
	gmp_attr a = {.stack_size = 16 * 1024};
	for (int i = 0; i < N / test_scale(); i++)
		check_int(gmp_spawn_attr(&g[i], &a, one_lookup, NULL), 0);
	for (int i = 0; i < N / test_scale(); i++)
		finish(g[i]);
}
static void lookups(void **state) { (void)state, run_on(2, lookups_main, NULL); }

static void no_runtime(void **state)
{
	(void)state;
	struct addrinfo *res;
	assert_int_equal(gmp_getaddrinfo("127.0.0.1", "80", NULL, &res, GMP_FOREVER), 0);
	freeaddrinfo(res);
	int l = gmp_listen("tcp", "localhost:0");
	assert_true(l >= 0);
	assert_int_equal(gmp_close(l), 0);
}

/* ---- many -------------------------------------------------------------------------------------------------------- */

static void echo_conn(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char b[64];
	ssize_t n;
	while ((n = gmp_read(fd, b, sizeof b)) > 0)
		check_int(gmp_write_all(fd, b, (size_t)n, SOON), n);
	check_int(gmp_close(fd), 0);
}

static void accept_all(void *arg)
{
	int fd;
	while ((fd = gmp_accept(*(int *)arg, NULL, NULL)) >= 0)
		check_int(gmp_spawn(echo_conn, (void *)(intptr_t)fd), 0);
	check_int(fd, -ECANCELED);
}

typedef struct Crowd {
	int listener;
	gmp_sem all_here, go;
} Crowd;

static void crowd_client(void *arg)
{
	Crowd *c = arg;
	int fd = dial_to(c->listener);
	gmp_sem_release(&c->all_here);
	check_int(gmp_sem_acquire(&c->go), 0);
	for (int k = 0; k < 5; k++) {
		char out[40], in[40];
		fill_pattern(out, sizeof out, (unsigned)(fd + k));
		check_int(gmp_write_all(fd, out, sizeof out, SOON), sizeof out);
		check_int(gmp_read_full(fd, in, sizeof in, SOON), sizeof in);
		check_int(memcmp(in, out, sizeof out), 0);
	}
	check_int(gmp_close(fd), 0);
}

/* A thousand connections that are all open at the same time. */
static void crowd_main(void *arg)
{
	(void)arg;
	int n = 1000 / test_scale();
	Crowd c = {.listener = listen_tcp()};
	gmp_g *acceptor = start(accept_all, &c.listener);
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	for (int i = 0; i < n; i++)
		check_int(gmp_waitgroup_spawn(&wg, crowd_client, &c), 0);
	for (int i = 0; i < n; i++)
		check_int(gmp_sem_acquire(&c.all_here), 0);
	for (int i = 0; i < n; i++)
		gmp_sem_release(&c.go);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(gmp_close(c.listener), 0);
	finish(acceptor);
}
static void crowd(void **state)
{
	(void)state;
	if (!may_open(2100))
		skip();
	run_on_all(crowd_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(networks),
	        cmocka_unit_test(unix_sockets),
	        cmocka_unit_test(backlog),
	        cmocka_unit_test(errors),
	        cmocka_unit_test(connects),
	        cmocka_unit_test(own_port),
	        cmocka_unit_test(resolver),
	        cmocka_unit_test(lookups),
	        cmocka_unit_test(no_runtime),
	        cmocka_unit_test(crowd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
