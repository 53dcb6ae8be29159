/* SPDX-License-Identifier: MIT
 * test_net_nomem.c - each allocation of the network half fails once: the call says so, and everything else goes on. */
#include "nettest.h"
#include "atomic.h"
#include "os.h"

static int fine(int r) /* an error for want of memory, or none */
{
	check(r >= 0 || r == -ENOMEM || r == -EAGAIN);
	return r;
}

static void echo(int fd, void *arg)
{
	(void)arg;
	char b[100];
	ssize_t n;
	while ((n = gmp_read_until(fd, b, sizeof b, SOON)) > 0)
		(void)gmp_write_all(fd, b, (size_t)n, SOON);
}

static int echo_idle(int fd, void **state, void *arg)
{
	(void)state;
	(void)arg;
	char b[100];
	ssize_t n = gmp_read_until(fd, b, sizeof b, 0);
	if (n == -EAGAIN)
		return GMP_SERVE_AGAIN;
	return n > 0 && gmp_write_all(fd, b, (size_t)n, SOON) == n ? GMP_SERVE_AGAIN : GMP_SERVE_CLOSE;
}

typedef struct Srv {
	int fd, r;
	bool idle;
} Srv;

static void server(void *arg)
{
	Srv *s = arg;
	gmp_serve_opts o = {.idle = 20 * GMP_SEC};
	s->r = s->idle ? gmp_serve_idle(s->fd, echo_idle, NULL, &o) : gmp_serve(s->fd, echo, NULL, NULL);
}

/* One conversation; a number above the others, so that the table grows here. */
static void once(bool idle)
{
	Srv s = {.fd = listen_tcp(), .idle = idle};
	char b[10];
	gmp_g *g = NULL;
	if (gmp_spawn_attr(&g, NULL, server, &s) != 0)
		g = NULL;
	char a[32];
	snprintf(a, sizeof a, "localhost:%u", port_of(s.fd));
	int c = g ? fine(gmp_dial("tcp4", a, SOON)) : -1;
	if (c >= 0) {
		ssize_t r = gmp_write_all(c, "hello", 5, SOON);
		check(r == 5 || r == -ENOMEM);
		r = gmp_read_until(c, b, 5, SOON); /* a server without memory hangs up */
		check(r == 5 || r == 0 || r == -ENOMEM || r == -ECONNRESET);
		check_int(gmp_close(c), 0);
	}
	if (gmp_close(s.fd) != 0)
		check(g && s.r == -ENOMEM);
	store_relaxed(&gmp__os_fail_at, 0L); /* a failure not used up would be that of the join's timer */
	if (g)
		finish(g);
	check(!g || s.r == 0 || s.r == -ENOMEM || s.r == -EBADF); /* the last: it began after the end */
}

static void nomem_main(void *arg)
{
	bool idle = arg != NULL;
	once(idle);
	for (long n = 1; n <= 25; n++) {
		int l = listen_tcp();
		check_int(gmp_close(l), 0);
		store_relaxed(&gmp__os_fail_at, n);
		once(idle);
	}
	once(idle);
}
static void nomem(void **state) { (void)state, run_on_all(nomem_main, NULL); }
static void nomem_idle(void **state) { (void)state, run_on_all(nomem_main, ""); }

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nomem),
	        cmocka_unit_test(nomem_idle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
