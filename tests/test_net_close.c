/* SPDX-License-Identifier: MIT
 * test_net_close.c - closing descriptors under their users, cancelling waits, reuse of numbers, foreign threads.
 * Invariants NP-1 to NP-6 of netpoll.h, FD-1 to FD-4 of net_fd.c. */
#include "nettest.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- gmp_close --------------------------------------------------------------------------------------------------- */

enum { USERS = 5 };

/* Everybody who waits gets -ECANCELED; gmp_close returns when they have left, and the number is free then. */
static void close_wakes_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[USERS][10];
	tcp_pair(fd);
	size_t n = 32 << 20;
	char *big = calloc(1, n);
	Call r[USERS], w[2], both = {.fd = fd[1], .events = GMP_READABLE, .deadline = SOON};
	gmp_g *g[USERS + 3];
	int k = 0;
	for (int i = 0; i < USERS; i++) {
		r[i] = (Call){.fd = fd[1], .buf = b[i], .n = sizeof b[i], .deadline = i % 2 ? SOON : GMP_FOREVER};
		g[k++] = start(call_read, &r[i]);
	}
	for (int i = 0; i < 2; i++) {
		w[i] = (Call){.fd = fd[1], .buf = big, .n = n, .deadline = SOON};
		g[k++] = start(call_write_all, &w[i]);
	}
	g[k++] = start(call_wait_fd, &both);
	until_waiting((uint64_t)k);
	check_int(gmp_close(fd[1]), 0);
	check_int(fcntl(fd[1], F_GETFD), -1);
	while (k > 0)
		finish(g[--k]);
	for (int i = 0; i < USERS; i++)
		check_int(r[i].r, -ECANCELED);
	check_int(both.r, -ECANCELED);
	check_int(w[0].r == -ECANCELED, w[1].r > 0); /* one had written something, the other waited for its turn */
	check_int(w[1].r == -ECANCELED, w[0].r > 0);
	check_int(gmp_read(fd[1], b[0], 1), -EBADF);
	check_int(gmp_close(fd[1]), -EBADF);
	check_int(gmp_close(fd[0]), 0);
	free(big);
}
static void close_wakes(void **state) { (void)state, run_on_all(close_wakes_main, NULL); }

/* A listener's port can be used again when gmp_close returns, whoever waited in accept. */
static void close_listener_main(void *arg)
{
	(void)arg;
	char a[32];
	int l = listen_apart("tcp", a, sizeof a);
	Call c[3];
	gmp_g *g[3];
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 3; i++) {
			c[i] = (Call){.fd = l, .deadline = SOON};
			g[i] = start(call_accept, &c[i]);
		}
		until_waiting(3);
		check_int(gmp_close(l), 0);
		int again = gmp_listen("tcp", a);
		check(again >= 0);
		for (int i = 0; i < 3; i++) {
			finish(g[i]);
			check_int(c[i].r, -ECANCELED);
		}
		l = again;
	}
	check_int(gmp_close(l), 0);
}
static void close_listener(void **state) { (void)state, run_on_all(close_listener_main, NULL); }

static void closer(void *arg) { check_int(gmp_close(*(int *)arg), 0); }

/* Closing while the other side reads and writes at full speed; every operation ends with data, the end, or an error
 * that says why. The descriptor numbers are used again at once. */
static void busy_user(void *arg)
{
	int fd = *(int *)arg;
	char b[100] = {0};
	for (unsigned k = 0;; k++) {
		ssize_t r = k % 2 ? gmp_write_until(fd, b, 50, SOON) : gmp_read_until(fd, b, sizeof b, gmp_now() + 50 * GMP_USEC);
		if (r == -ECANCELED || r == -EBADF)
			return;
		check(r > 0 || r == -ETIMEDOUT);
	}
}

static void close_busy_main(void *arg)
{
	(void)arg;
	for (int k = 0; k < 200 / test_scale() + 5; k++) {
		int fd[2];
		tcp_pair(fd);
		gmp_g *g[4];
		for (int i = 0; i < 4; i++)
			g[i] = start(busy_user, &fd[1]);
		char b[1000];
		for (int i = 0; i < k % 20; i++) {
			(void)gmp_read_until(fd[0], b, sizeof b, gmp_now() + GMP_MSEC);
			(void)gmp_write_until(fd[0], b, 100, 0);
		}
		gmp_g *c = start(closer, &fd[1]);
		for (int i = 0; i < 4; i++)
			finish(g[i]);
		finish(c);
		check_int(gmp_close(fd[0]), 0);
	}
}
static void close_busy(void **state) { (void)state, run_on_all(close_busy_main, NULL); }

/* NP-5: events of an earlier bearer of the number, kept alive by a duplicate that the library knows nothing of. */
static void stale_events_main(void *arg)
{
	(void)arg;
	for (int k = 0; k < 50; k++) {
		int old[2], fresh[2];
		char b[10];
		tcp_pair(old);
		check_int(gmp_read_until(old[1], b, sizeof b, gmp_now() + 1), -ETIMEDOUT); /* registered */
		int keep = fcntl(old[1], F_DUPFD_CLOEXEC, 100);
		check_int(gmp_close(old[1]), 0);
		int p[2];
		check_int(pipe(p), 0);
		for (int i = 0; i < 2; i++) {
			check((fresh[i] = fcntl(p[i], F_DUPFD_CLOEXEC, 200)) >= 0);
			check_int(close(p[i]), 0);
		}
		check_int(dup2(fresh[0], old[1]), old[1]); /* another file under the number */
		check_int(close(fresh[0]), 0);
		Call c = {.fd = old[1], .buf = b, .n = sizeof b, .deadline = SOON};
		gmp_g *g = start(call_read, &c);
		until_waiting(1);
		for (int i = 0; i < 5; i++) {
			check_int(write(old[0], "stale", 5), 5);
			gmp_sleep(20 * GMP_USEC); /* lets somebody poll; whether before the next one does not matter */
		}
		check_int(gmp_close(old[0]), 0);
		check_int(write(fresh[1], "true", 4), 4);
		finish(g);
		check_int(c.r, 4);
		check_int(gmp_close(old[1]), 0);
		check_int(gmp_close(fresh[1]), 0);
		check_int(close(keep), 0);
	}
}
static void stale_events(void **state) { (void)state, run_on_all(stale_events_main, NULL); }

/* What gmp_accept and gmp_dial return is new, even if somebody closed the former bearer of the number by close(2). */
static void closed_elsewhere_main(void *arg)
{
	(void)arg;
	char b[10];
	for (int k = 0; k < 20; k++) {
		int fd[2];
		tcp_pair(fd);
		for (int i = 0; i < 2; i++)
			check_int(gmp_read_until(fd[i], b, sizeof b, gmp_now() + 1), -ETIMEDOUT);
		check_int(gmp_write(fd[0], "x", 1), 1);
		check_int(gmp_read_until(fd[1], b, sizeof b, SOON), 1);
		check_int(close(fd[0]) | close(fd[1]), 0);
	}
}
static void closed_elsewhere(void **state) { (void)state, run_on_all(closed_elsewhere_main, NULL); }

/* ---- gmp_cancel -------------------------------------------------------------------------------------------------- */

static void cancel_main(void *arg)
{
	(void)arg;
	int fd[2], l = listen_tcp();
	char b[6][10];
	tcp_pair(fd);
	Call c[6];
	gmp_g *g[6];
	for (int i = 0; i < 6; i++)
		c[i] = (Call){.fd = fd[1], .buf = b[i], .n = 10, .deadline = i % 2 ? SOON : GMP_FOREVER, .events = GMP_READABLE};
	c[4].fd = l;
	g[0] = start(call_read, &c[0]);
	until_waiting(1); /* it has the turn, the others queue */
	g[1] = start(call_read, &c[1]);
	g[2] = start(call_read, &c[2]);
	g[3] = start(call_wait_fd, &c[3]);
	g[4] = start(call_accept, &c[4]);
	g[5] = start(call_read, &c[5]);
	until_waiting(6);
	for (int i = 0; i < 5; i++) {
		check_int(gmp_cancel(g[i]), 0);
		finish(g[i]);
		check_int(c[i].r, -ECANCELED);
	}
	check_int(gmp_write(fd[0], "x", 1), 1); /* the last one has the turn now */
	finish(g[5]);
	check_int(c[5].r, 1);
	check_int(gmp_close(l), 0);
	close_both(fd);
}
static void cancel(void **state) { (void)state, run_on_all(cancel_main, NULL); }

/* A cancelled coroutine's calls still do what can be done at once. */
static void cancelled_user(void *arg)
{
	int *fd = arg;
	char b[10];
	check_int(gmp_read(fd[1], b, sizeof b), -ECANCELED);
	check(gmp_cancelled());
	check_int(gmp_write(fd[1], "abc", 3), 3);
	check_int(write(fd[0], "defg", 4), 4);
	check_int(gmp_wait_fd(fd[1], GMP_READABLE, SOON), GMP_READABLE);
	check_int(gmp_read(fd[1], b, sizeof b), 4);
	check_int(gmp_read(fd[1], b, sizeof b), -ECANCELED);
	check_int(gmp_read_until(fd[1], b, sizeof b, 0), -EAGAIN);
}

static void cancelled_main(void *arg)
{
	(void)arg;
	int fd[2];
	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	gmp_g *g = start(cancelled_user, fd);
	until_waiting(1);
	check_int(gmp_cancel(g), 0);
	finish(g);
	close_both(fd);
}
static void cancelled(void **state) { (void)state, run_on_all(cancelled_main, NULL); }

/* Cancellation against the event: either the byte was read or it is still there. */
static void cancel_race_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[10];
	tcp_pair(fd);
	for (int k = 0; k < 300 / test_scale() + 10; k++) {
		Call c = {.fd = fd[1], .buf = b, .n = 1, .deadline = k % 2 ? SOON : GMP_FOREVER};
		gmp_g *g = start(call_read, &c);
		if (k % 3)
			until_waiting(1);
		check_int(write(fd[0], "x", 1), 1);
		check_int(gmp_cancel(g), 0);
		finish(g);
		if (c.r == -ECANCELED)
			check_int(gmp_read_until(fd[1], b, 1, SOON), 1);
		else
			check_int(c.r, 1);
	}
	close_both(fd);
}
static void cancel_race(void **state) { (void)state, run_on_all(cancel_race_main, NULL); }

/* gmp_shutdown ends whoever waits for the network. */
static void waits_forever(void *arg)
{
	char b[10];
	check_int(gmp_read(*(int *)arg, b, sizeof b), -ECANCELED);
}

static void shutdown_main(void *arg)
{
	int *fd = arg;
	tcp_pair(fd);
	for (int i = 0; i < 10; i++)
		check_int(gmp_spawn(waits_forever, &fd[i % 2]), 0);
	until_waiting(10);
	gmp_shutdown();
}
static void shutdown_ends(void **state)
{
	(void)state;
	for (int p = 1; p <= 2; p++) {
		int fd[2];
		assert_int_equal(run_result(p, shutdown_main, fd), -ECANCELED);
		assert_int_equal(gmp_close(fd[0]), 0); /* by a thread, without a runtime */
		assert_int_equal(gmp_close(fd[1]), 0);
	}
}

/* ---- readiness --------------------------------------------------------------------------------------------------- */

static void wait_fd_main(void *arg)
{
	(void)arg;
	int fd[2];
	char b[70000] = {0};
	check_int(pipe(fd), 0);
	int fl = fcntl(fd[0], F_GETFL);
	check_int(gmp_wait_fd(fd[1], GMP_WRITABLE, SOON), GMP_WRITABLE);
	check_int(gmp_wait_fd(fd[0], GMP_READABLE, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	Call c = {.fd = fd[0], .events = GMP_READABLE, .deadline = SOON};
	gmp_g *g = start(call_wait_fd, &c);
	until_waiting(1);
	check_int(write(fd[1], "abc", 3), 3);
	finish(g);
	check_int(c.r, GMP_READABLE);
	check_int(gmp_wait_fd(fd[0], GMP_READABLE, 0), GMP_READABLE); /* a state, not an event */
	check_int(read(fd[0], b, 1), 1);
	check_int(gmp_wait_fd(fd[0], GMP_READABLE, SOON), GMP_READABLE);
	check_int(fcntl(fd[0], F_GETFL), fl); /* whose descriptor it is decides about O_NONBLOCK */
	check_int(gmp_read(fd[0], b, sizeof b), 2);
	while (gmp_write_until(fd[1], b, sizeof b, 0) > 0)
		;
	check_int(gmp_wait_fd(fd[1], GMP_WRITABLE, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_close(fd[0]), 0);
	check_int(gmp_wait_fd(fd[1], GMP_WRITABLE, SOON), GMP_WRITABLE); /* the error counts */
	check_int(gmp_close(fd[1]), 0);

	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0); /* both directions in one wait; full without late ACKs */
	c = (Call){.fd = fd[0], .events = GMP_READABLE | GMP_WRITABLE, .deadline = SOON};
	check_int(gmp_wait_fd(fd[0], GMP_READABLE | GMP_WRITABLE, SOON), GMP_WRITABLE);
	while (gmp_write_until(fd[0], b, sizeof b, 0) > 0)
		;
	g = start(call_wait_fd, &c);
	until_waiting(1);
	check_int(write(fd[1], "x", 1), 1);
	finish(g);
	check_int(c.r, GMP_READABLE);
	check_int(read(fd[0], b, 1), 1);
	g = start(call_wait_fd, &c);
	until_waiting(1);
	while (gmp_read_until(fd[1], b, sizeof b, 0) > 0)
		;
	finish(g);
	check_int(c.r, GMP_WRITABLE);
	close_both(fd);
}
static void wait_fd(void **state) { (void)state, run_on_all(wait_fd_main, NULL); }

/* ---- foreign threads --------------------------------------------------------------------------------------------- */

static void *foreign_read(void *arg)
{
	call_read(arg);
	return NULL;
}

static void *foreign_accept(void *arg)
{
	call_accept(arg);
	return NULL;
}

static void foreign_main(void *arg)
{
	(void)arg;
	int fd[2], l = listen_tcp();
	char b[4][10];
	tcp_pair(fd);
	Call c[4];
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		c[i] = (Call){.fd = i == 3 ? l : fd[1], .buf = b[i], .n = 4, .deadline = i % 2 ? GMP_FOREVER : SOON};
	for (int i = 0; i < 3; i++)
		check_int(pthread_create(&t[i], NULL, foreign_read, &c[i]), 0);
	check_int(pthread_create(&t[3], NULL, foreign_accept, &c[3]), 0);
	check_int(gmp_write_all(fd[0], "12341234", 8, SOON), 8);
	int d = dial_to(l);
	gmp_blocking_enter();
	check_int(pthread_join(t[3], NULL), 0);
	gmp_blocking_leave();
	check(c[3].r >= 0);
	check_int(gmp_close((int)c[3].r), 0);
	check_int(gmp_close(d), 0);
	check_int(gmp_close(fd[1]), 0); /* at least one of them is still there */
	gmp_blocking_enter();
	for (int i = 0; i < 3; i++)
		check_int(pthread_join(t[i], NULL), 0);
	gmp_blocking_leave();
	int got = 0;
	for (int i = 0; i < 3; i++) {
		check(c[i].r == 4 || c[i].r == -ECANCELED || c[i].r == -EBADF);
		got += c[i].r == 4;
	}
	check(got <= 2);
	check_int(gmp_close(fd[0]), 0);
	check_int(gmp_close(l), 0);
}
static void foreign(void **state) { (void)state, run_on_all(foreign_main, NULL); }

/* Without any runtime the same calls work for plain threads. */
static void no_runtime(void **state)
{
	(void)state;
	int fd[2], l = gmp_listen("tcp", "127.0.0.1:0");
	char a[32], b[10];
	snprintf(a, sizeof a, "127.0.0.1:%u", port_of(l));
	assert_int_equal(gmp_accept_until(l, NULL, NULL, gmp_now() + 2 * GMP_MSEC), -ETIMEDOUT);
	assert_int_equal(gmp_accept_until(l, NULL, NULL, 0), -EAGAIN);
	fd[0] = gmp_dial("tcp", a, SOON);
	fd[1] = gmp_accept(l, NULL, NULL);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	int64_t d = gmp_now() + 3 * GMP_MSEC;
	assert_int_equal(gmp_read_until(fd[1], b, sizeof b, d), -ETIMEDOUT);
	assert_true(gmp_now() >= d);
	assert_int_equal(gmp_write_all(fd[0], "hello", 5, SOON), 5);
	assert_int_equal(gmp_read_full(fd[1], b, 5, SOON), 5);
	pthread_t t;
	Call c = {.fd = fd[1], .buf = b, .n = sizeof b, .deadline = GMP_FOREVER};
	assert_int_equal(pthread_create(&t, NULL, foreign_read, &c), 0);
	usleep(2000); /* either it waits by now or it comes too late: both must end */
	assert_int_equal(gmp_close(fd[1]), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(c.r == -ECANCELED || c.r == -EBADF);
	assert_int_equal(gmp_close(fd[0]), 0);
	assert_int_equal(gmp_close(l), 0);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void emfile_main(void *arg)
{
	(void)arg;
	int l = listen_tcp(), c = dial_to(l), open_fd[1024], n = 0;
	struct rlimit old, low;
	check_int(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)c + 20;
	check_int(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((open_fd[n] = dup(l)) >= 0)
		n++;
	check_int(gmp_accept_until(l, NULL, NULL, SOON), -EMFILE);
	check_int(gmp_accept_until(l, NULL, NULL, SOON), -EMFILE);
	check_int(gmp_listen("tcp", "127.0.0.1:0"), -EMFILE);
	check_int(gmp_dial("tcp", "127.0.0.1:1", SOON), -EMFILE);
	close(open_fd[--n]);
	int s = gmp_accept_until(l, NULL, NULL, SOON); /* it had not been lost */
	check(s >= 0);
	while (n > 0)
		close(open_fd[--n]);
	check_int(setrlimit(RLIMIT_NOFILE, &old), 0);
	check_int(gmp_close(s), 0);
	check_int(gmp_close(c), 0);
	check_int(gmp_close(l), 0);
}
static void emfile(void **state) { (void)state, run_on_all(emfile_main, NULL); }

/* Numbers far apart; 1,000,000 where the limit allows. */
static void big_fd_main(void *arg)
{
	(void)arg;
	struct rlimit old, high;
	check_int(getrlimit(RLIMIT_NOFILE, &old), 0);
	high = old;
	high.rlim_cur = high.rlim_max > 1000100 ? 1000100 : high.rlim_max;
	check_int(setrlimit(RLIMIT_NOFILE, &high), 0);
	int fd[2];
	char b[10];
	tcp_pair(fd);
	int big = fcntl(fd[1], F_DUPFD_CLOEXEC, (int)high.rlim_cur - 10);
	check(big >= 0);
	Call c = {.fd = big, .buf = b, .n = sizeof b, .deadline = SOON};
	gmp_g *g = start(call_read, &c);
	until_waiting(1);
	check_int(gmp_write(fd[0], "x", 1), 1);
	finish(g);
	check_int(c.r, 1);
	check_int(gmp_close(big), 0);
	close_both(fd);
	check_int(setrlimit(RLIMIT_NOFILE, &old), 0);
}
static void big_fd(void **state) { (void)state, run_on_all(big_fd_main, NULL); }

/* ---- fork -------------------------------------------------------------------------------------------------------- */


static void hold_reader(void *arg)
{
	char b[10];
	check_int(gmp_read(*(int *)arg, b, sizeof b), 5);
}

/* The child has the parent's descriptors and none of its coroutines. */
static void fork_main(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	gmp_g *g = start(hold_reader, &fd[1]);
	until_waiting(1);
	pid_t pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		char b[10];
		check_int(gmp_read_until(fd[1], b, sizeof b, 0), -EAGAIN); /* no one has the turn here */
		check_int(gmp_read_until(fd[1], b, sizeof b, gmp_now() + GMP_MSEC), -ETIMEDOUT);
		check_int(gmp_close(fd[1]), 0);
		_exit(0);
	}
	int st;
	gmp_blocking_enter();
	check_int(waitpid(pid, &st, 0), pid);
	gmp_blocking_leave();
	check_int(st, 0);
	check_int(gmp_write(fd[0], "hello", 5), 5);
	finish(g);
	close_both(fd);
}
static void forks(void **state)
{
	(void)state;
	if (TEST_SANITIZED)
		skip(); /* whose allocator's lock another thread may hold at the fork: the child allocates */
	run_on_all(fork_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(close_wakes),
	        cmocka_unit_test(close_listener),
	        cmocka_unit_test(close_busy),
	        cmocka_unit_test(stale_events),
	        cmocka_unit_test(closed_elsewhere),
	        cmocka_unit_test(cancel),
	        cmocka_unit_test(cancelled),
	        cmocka_unit_test(cancel_race),
	        cmocka_unit_test(shutdown_ends),
	        cmocka_unit_test(wait_fd),
	        cmocka_unit_test(foreign),
	        cmocka_unit_test(no_runtime),
	        cmocka_unit_test(emfile),
	        cmocka_unit_test(big_fd),
	        cmocka_unit_test(forks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
