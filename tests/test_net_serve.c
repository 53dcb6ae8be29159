/* SPDX-License-Identifier: MIT
 * test_net_serve.c - gmp_serve and gmp_serve_idle: connections, limits, the end by close and by cancellation, draining.
 * the idle limit. Invariants SV-1 to SV-7 of serve.c. */
#include "nettest.h"
#include <fcntl.h>
#include <sys/resource.h>

/* Counters of the handlers; plain atomics of the compiler, since handlers run anywhere. */
typedef struct Srv {
	int listener, port;
	bool idle;
	gmp_serve_opts opts;
	int r;
	gmp_g *g;
	int started, ended, cancelled, closed, now, most, stopped;
	gmp_chan *stuck; /* handlers that read an 'S' wait here */
} Srv;

#define add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_SEQ_CST)
#define get(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)

static void enter_handler(Srv *s)
{
	add(&s->started, 1);
	int now = add(&s->now, 1), most = get(&s->most);
	while (now > most && !__atomic_compare_exchange_n(&s->most, &most, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void leave_handler(Srv *s)
{
	add(&s->now, -1);
	add(&s->ended, 1);
}

static bool answer(Srv *s, int fd, char *b, size_t n)
{
	if (b[0] == 'S')
		add(&s->stopped, 1);
	if (b[0] == 'S' && gmp_chan_recv(s->stuck, NULL) == -ECANCELED) {
		add(&s->cancelled, 1);
		return false;
	}
	return gmp_write_all(fd, b, n, SOON) == (ssize_t)n;
}

static void handler(int fd, void *arg)
{
	Srv *s = arg;
	char b[100];
	ssize_t n;
	enter_handler(s);
	while ((n = gmp_read(fd, b, sizeof b)) > 0 && answer(s, fd, b, (size_t)n))
		;
	if (n == -ECANCELED)
		add(&s->cancelled, 1);
	leave_handler(s);
}

static int idle_handler(int fd, void **state, void *arg)
{
	Srv *s = arg;
	char b[100];
	enter_handler(s);
	if (!*state)
		*state = malloc(1);
	ssize_t n = gmp_read_until(fd, b, sizeof b, 0);
	int r = n == -EAGAIN || (n > 0 && answer(s, fd, b, (size_t)n)) ? GMP_SERVE_AGAIN : GMP_SERVE_CLOSE;
	leave_handler(s);
	return r;
}

static void closed(int fd, void *state, void *arg)
{
	Srv *s = arg;
	check(fd >= 0);
	free(state);
	add(&s->closed, 1);
}

static void serve_main(void *arg)
{
	Srv *s = arg;
	s->r = s->idle ? gmp_serve_idle(s->listener, idle_handler, s, &s->opts) : gmp_serve(s->listener, handler, s, &s->opts);
}

static void begin(Srv *s, bool idle)
{
	s->listener = listen_tcp();
	s->idle = idle;
	s->stuck = gmp_chan_new(0, 0);
	s->opts.closed = closed;
	s->g = start(serve_main, s);
}

static void end(Srv *s, int want)
{
	finish(s->g);
	check_int(s->r, want);
	check_int(s->now, 0);
	check_int(s->started, s->ended);
	gmp_chan_free(s->stuck);
}

static void ask(int fd, const char *what)
{
	char b[100];
	size_t n = strlen(what);
	check_int(gmp_write_all(fd, what, n, SOON), n);
	check_int(gmp_read_full(fd, b, n, SOON), n);
	check_int(memcmp(b, what, n), 0);
}

static void expect_end(int fd)
{
	char b[10];
	ssize_t r = gmp_read_until(fd, b, sizeof b, SOON);
	check(r == 0 || r == -ECONNRESET);
	check_int(gmp_close(fd), 0);
}

/* ---- the usual course -------------------------------------------------------------------------------------------- */

static void client(void *arg)
{
	Srv *s = arg;
	int fd = dial_to(s->listener);
	for (int k = 0; k < 20; k++) {
		ask(fd, "hello");
		if (k % 5 == 0)
			gmp_sleep(100 * GMP_USEC);
	}
	check_int(gmp_close(fd), 0);
}

static void usual_main(void *arg)
{
	bool idle = arg != NULL;
	for (int by_cancel = 0; by_cancel < 2; by_cancel++) {
		Srv s = {.opts.drain = 20 * GMP_SEC};
		begin(&s, idle);
		gmp_waitgroup wg = GMP_WAITGROUP_INIT;
		enum { N = 50 };
		for (int i = 0; i < N; i++)
			check_int(gmp_waitgroup_spawn(&wg, client, &s), 0);
		check_int(gmp_waitgroup_wait(&wg), 0);
		if (by_cancel)
			check_int(gmp_cancel(s.g), 0);
		else
			check_int(gmp_close(s.listener), 0);
		end(&s, by_cancel ? -ECANCELED : 0);
		check_int(s.cancelled, 0);
		if (idle)
			check_int(s.closed, N);
		else
			check_int(s.started, N);
	}
}
static void usual(void **state) { (void)state, run_on_all(usual_main, NULL); }
static void usual_idle(void **state) { (void)state, run_on_all(usual_main, ""); }

/* A connection that was answered and says nothing more owns no coroutine. */
static void no_stack_main(void *arg)
{
	(void)arg;
	Srv s = {0};
	begin(&s, true);
	enum { N = 50 };
	int fd[N];
	gmp_stats st;
	for (int i = 0; i < N; i++)
		ask(fd[i] = dial_to(s.listener), "hello");
	while (get(&s.now) > 0 || (gmp_stats_read(&st), st.gs > 4)) /* us, the caller of gmp_serve, its dispatcher, its reaper */
		gmp_sleep(50 * GMP_USEC);
	for (int i = 0; i < N; i++)
		ask(fd[i], "again");
	check_int(gmp_close(s.listener), 0);
	for (int i = 0; i < N; i++) /* idle ones are closed at once */
		expect_end(fd[i]);
	end(&s, 0);
	check_int(s.closed, N);
}
static void no_stack(void **state) { (void)state, run_on_all(no_stack_main, NULL); }

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void limit_main(void *arg)
{
	bool idle = arg != NULL;
	Srv s = {.opts = {.max_conns = 3, .drain = 20 * GMP_SEC}};
	begin(&s, idle);
	int fd[6];
	for (int i = 0; i < 6; i++)
		fd[i] = dial_to(s.listener);
	for (int i = 0; i < 3; i++)
		ask(fd[i], "hello");
	char b[10];
	check_int(gmp_write(fd[5], "waits", 5), 5);
	check_int(gmp_read_until(fd[5], b, 5, gmp_now() + 2 * GMP_MSEC), -ETIMEDOUT);
	for (int i = 0; i < 3; i++) { /* one goes, the next comes */
		check_int(gmp_close(fd[i]), 0);
		if (i < 2)
			ask(fd[3 + i], "hello");
	}
	check_int(gmp_read_full(fd[5], b, 5, SOON), 5);
	for (int i = 3; i < 6; i++)
		check_int(gmp_close(fd[i]), 0);
	check_int(gmp_close(s.listener), 0);
	end(&s, 0);
	check(s.most <= 3);
}
static void limit(void **state) { (void)state, run_on_all(limit_main, NULL); }
static void limit_idle(void **state) { (void)state, run_on_all(limit_main, ""); }

/* At the limit the end of serving is noticed, too. */
static void limit_end_main(void *arg)
{
	(void)arg;
	for (int by_cancel = 0; by_cancel < 2; by_cancel++) {
		Srv s = {.opts = {.max_conns = 1, .drain = 20 * GMP_SEC}};
		begin(&s, false);
		int fd[2] = {dial_to(s.listener), -1};
		ask(fd[0], "hello");
		fd[1] = dial_to(s.listener);
		until_waiting(2);
		check_int(by_cancel ? gmp_cancel(s.g) : gmp_close(s.listener), 0);
		expect_end(fd[1]);
		ask(fd[0], "still here");
		check_int(gmp_close(fd[0]), 0);
		end(&s, by_cancel ? -ECANCELED : 0);
	}
}
static void limit_end(void **state) { (void)state, run_on_all(limit_end_main, NULL); }

/* Without descriptors serving goes on as soon as there are some again. */
static void emfile_main(void *arg)
{
	(void)arg;
	Srv s = {.opts.drain = 20 * GMP_SEC};
	begin(&s, false);
	struct rlimit old, low;
	int fd = socket(AF_INET, SOCK_STREAM, 0), dups[64], n = 0;
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	check_int(getsockname(s.listener, (struct sockaddr *)&a, &len), 0);
	until_waiting(1); /* accept(2) holds a descriptor number while it looks for a connection */
	check_int(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)fd + 10;
	check_int(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((dups[n] = dup(fd)) >= 0)
		n++;
	check_int(gmp_connect(fd, (struct sockaddr *)&a, len, SOON), 0);
	char b[10];
	check_int(gmp_write(fd, "hello", 5), 5);
	check_int(gmp_read_until(fd, b, 5, gmp_now() + 3 * GMP_MSEC), -ETIMEDOUT);
	while (n > 0)
		check_int(close(dups[--n]), 0);
	check_int(gmp_read_full(fd, b, 5, SOON), 5);
	check_int(setrlimit(RLIMIT_NOFILE, &old), 0);
	check_int(gmp_close(fd), 0);
	check_int(gmp_close(s.listener), 0);
	end(&s, 0);
}
static void emfile(void **state) { (void)state, run_on_all(emfile_main, NULL); }

/* ---- the idle limit ---------------------------------------------------------------------------------------------- */

enum { LIMIT = 20 * GMP_MSEC };

/* Silent for a tenth of the limit at most: it is closed only if this machine made more of that. */
static void talker(void *arg)
{
	Srv *s = arg;
	int64_t first = gmp_now(), last = first, before;
	int fd = dial_to(s->listener);
	char b[10];
	do {
		before = last;
		last = gmp_now();
		if (gmp_write_until(fd, "hello", 5, SOON) != 5 || gmp_read_full(fd, b, 5, SOON) != 5) {
			check(gmp_now() - before >= LIMIT);
			break;
		}
		gmp_sleep(LIMIT / 10);
	} while (last - first < 4 * LIMIT);
	check_int(gmp_close(fd), 0);
}

/* A connection whose handler is stuck. Counts the attempts that this machine was too slow for. */
static int dial_stuck(Srv *s, int *dials)
{
	for (;;) {
		int64_t t = gmp_now();
		int fd = dial_to(s->listener), r = -ETIMEDOUT;
		++*dials;
		if (gmp_write_until(fd, "S", 1, SOON) == 1)
			while (r == -ETIMEDOUT && !get(&s->stopped))
				r = gmp_wait_fd(fd, GMP_READABLE, gmp_now() + GMP_MSEC);
		if (get(&s->stopped))
			return fd;
		check(gmp_now() - t >= LIMIT);
		check_int(gmp_close(fd), 0);
	}
}

static void idle_limit_main(void *arg)
{
	(void)arg;
	Srv s = {.opts = {.drain = 20 * GMP_SEC, .idle = LIMIT}};
	begin(&s, true);
	enum { N = 150, TALKERS = 5 }; /* more than are closed at a time */
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	for (int i = 0; i < TALKERS; i++)
		check_int(gmp_waitgroup_spawn(&wg, talker, &s), 0);
	int dials = N + TALKERS, stuck = dial_stuck(&s, &dials), fd[N];
	int64_t began[N];
	char b[10];
	for (int i = 0; i < N; i++) {
		began[i] = gmp_now();
		fd[i] = dial_to(s.listener);
		if (i % 3 && gmp_write_until(fd[i], "hello", 5, SOON) == 5) /* others never say a word */
			(void)gmp_read_full(fd[i], b, 5, SOON);
	}
	for (int i = 0; i < N; i++) {
		expect_end(fd[i]);
		check(gmp_now() - began[i] >= LIMIT);
	}
	check_int(gmp_waitgroup_wait(&wg), 0);
	while (get(&s.closed) < dials - 1)
		gmp_sleep(50 * GMP_USEC);
	gmp_sleep(2 * LIMIT);
	check_int(get(&s.closed), dials - 1); /* a handler that runs is not idle */
	int64_t t = gmp_now();
	check_int(gmp_chan_send(s.stuck, NULL), 0);
	check_int(gmp_read_full(stuck, b, 1, SOON), 1);
	expect_end(stuck);
	check(gmp_now() - t >= LIMIT);
	check_int(gmp_close(s.listener), 0);
	end(&s, 0);
	check_int(s.closed, dials);
	check_int(s.cancelled, 0);
}
static void idle_limit(void **state) { (void)state, run_on_all(idle_limit_main, NULL); }

/* `closed` of one connection closes another of the same server, which is idle, over or has something to say (SV-7). */
typedef struct Pairs {
	int fd[2], begun, n, closed;
} Pairs;

static int pairs_handler(int fd, void **state, void *arg)
{
	Pairs *p = arg;
	char b[10];
	if (!*state) {
		*state = p;
		__atomic_store_n(&p->fd[add(&p->begun, 1) - 1], fd, __ATOMIC_SEQ_CST);
		add(&p->n, 1);
	}
	ssize_t n = gmp_read_until(fd, b, sizeof b, 0);
	return n == -EAGAIN || n > 0 ? GMP_SERVE_AGAIN : GMP_SERVE_CLOSE;
}

static void pairs_closed(int fd, void *state, void *arg)
{
	Pairs *p = arg;
	(void)fd, (void)state;
	if (add(&p->closed, 1) == 1 && get(&p->n) == 2)
		(void)gmp_close(get(&p->fd[fd == get(&p->fd[0])]));
}

typedef struct PairsServer {
	int listener;
	int64_t idle;
	Pairs p;
} PairsServer;

static void pairs_serve(void *arg)
{
	PairsServer *s = arg;
	gmp_serve_opts o = {.idle = s->idle, .closed = pairs_closed, .drain = 20 * GMP_SEC};
	check_int(gmp_serve_idle(s->listener, pairs_handler, &s->p, &o), 0);
}

static void pairs_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < 30; i++) { /* two that come together, one after the other, and with the end of serving */
		PairsServer s = {.listener = listen_tcp(), .idle = i % 3 < 2 ? 2 * GMP_MSEC : 0};
		gmp_g *g = start(pairs_serve, &s);
		int a = dial_to(s.listener);
		while (get(&s.p.n) < 1)
			gmp_yield();
		if (i % 3)
			gmp_sleep(i % 3 * GMP_MSEC);
		int b = dial_to(s.listener);
		while (get(&s.p.n) < 2 && !get(&s.p.closed))
			gmp_yield();
		if (i % 2)
			(void)gmp_write_until(b, "x", 1, SOON);
		if (!s.idle)
			check_int(gmp_close(s.listener), 0);
		expect_end(a);
		expect_end(b);
		if (s.idle)
			check_int(gmp_close(s.listener), 0);
		finish(g);
		check_int(s.p.closed, s.p.n);
	}
}
static void pairs(void **state) { (void)state, run_on_all(pairs_main, NULL); }

/* A handler's connection is closed by somebody, and its number is another file's when the handler returns (SV-1). */
typedef struct Reused {
	int listener, ret, number;
} Reused;

static int reuse(Reused *r, int fd)
{
	check_int(gmp_close(fd), 0);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	check(null >= 0);
	__atomic_store_n(&r->number, null, __ATOMIC_SEQ_CST);
	return r->ret;
}
static int reused_idle(int fd, void **state, void *arg) { (void)state; return reuse(arg, fd); }
static void reused_plain(int fd, void *arg) { (void)reuse(arg, fd); }

static void reused_serve(void *arg)
{
	Reused *r = arg;
	check_int(r->ret < 0 ? gmp_serve(r->listener, reused_plain, r, NULL) : gmp_serve_idle(r->listener, reused_idle, r, NULL), 0);
}

static void reused_main(void *arg)
{
	(void)arg;
	for (int ret = -1; ret <= GMP_SERVE_AGAIN; ret++) {
		Reused r = {.listener = listen_tcp(), .ret = ret};
		gmp_g *g = start(reused_serve, &r);
		int fd = dial_to(r.listener);
		expect_end(fd);
		while (!get(&r.number))
			gmp_yield();
		check_int(gmp_close(r.listener), 0);
		finish(g);
		check_int(close(r.number), 0);
	}
}
static void reused(void **state) { (void)state, run_on_all(reused_main, NULL); }

/* Requests that come just when the time is over: handled or not, but wholly, and each connection ends once. */
static void late_client(void *arg)
{
	Srv *s = arg;
	uint64_t seed = (uint64_t)(uintptr_t)&seed;
	for (int i = 0; i < 20; i++) {
		int fd = dial_to(s->listener);
		char b[10];
		ssize_t n = 5;
		while (n == 5) {
			gmp_sleep(s->opts.idle + (int64_t)(test_rand(&seed) % 200) * GMP_USEC - 50 * GMP_USEC);
			n = gmp_write_until(fd, "hello", 5, SOON);
			if (n == 5)
				n = gmp_read_full(fd, b, 5, SOON);
			check(n == 5 || n == 0 || n == -ECONNRESET || n == -EPIPE);
		}
		check_int(gmp_close(fd), 0);
	}
}

static void idle_edge_main(void *arg)
{
	(void)arg;
	Srv s = {.opts = {.drain = 20 * GMP_SEC, .idle = GMP_MSEC}};
	begin(&s, true);
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	for (int i = 0; i < 10; i++)
		check_int(gmp_waitgroup_spawn(&wg, late_client, &s), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check_int(gmp_close(s.listener), 0);
	end(&s, 0);
	check_int(s.closed, 10 * 20);
}
static void idle_edge(void **state) { (void)state, run_on_all(idle_edge_main, NULL); }

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Handlers that are busy have until the drain deadline; then they are cancelled. */
static void drain_main(void *arg)
{
	bool idle = arg != NULL;
	Srv s = {.opts.drain = 5 * GMP_MSEC};
	begin(&s, idle);
	int fd[4];
	for (int i = 0; i < 4; i++) {
		fd[i] = dial_to(s.listener);
		ask(fd[i], "hello");
	}
	check_int(gmp_write(fd[0], "S", 1), 1);
	check_int(gmp_write(fd[1], "S", 1), 1);
	while (get(&s.stopped) < 2)
		gmp_sleep(50 * GMP_USEC);
	int64_t t = gmp_now();
	check_int(gmp_close(s.listener), 0);
	for (int i = 0; i < 4; i++)
		expect_end(fd[i]);
	end(&s, 0);
	check(gmp_now() - t >= 5 * GMP_MSEC);
	check_int(s.cancelled, idle ? 2 : 4);
}
static void drain(void **state) { (void)state, run_on_all(drain_main, NULL); }
static void drain_idle(void **state) { (void)state, run_on_all(drain_main, ""); }

/* A handler that is answering when serving ends gets its answer out, and is called for what has come in meanwhile. */
static void finish_work_main(void *arg)
{
	(void)arg;
	Srv s = {.opts.drain = 20 * GMP_SEC};
	begin(&s, true);
	int fd = dial_to(s.listener);
	ask(fd, "hello");
	check_int(gmp_write(fd, "S", 1), 1);
	while (get(&s.stopped) < 1)
		gmp_sleep(50 * GMP_USEC);
	check_int(gmp_write(fd, "more", 4), 4);
	gmp_sleep(5 * GMP_MSEC); /* the system may take its time to deliver it */
	check_int(gmp_close(s.listener), 0);
	check_int(gmp_chan_send(s.stuck, NULL), 0);
	char b[10];
	check_int(gmp_read_full(fd, b, 5, SOON), 5);
	expect_end(fd);
	end(&s, 0);
	check_int(s.cancelled, 0);
}
static void finish_work(void **state) { (void)state, run_on_all(finish_work_main, NULL); }

/* Ends while clients come and go and talk. */
static void hammer(void *arg)
{
	Srv *s = arg;
	char a[32], b[10];
	snprintf(a, sizeof a, "127.0.0.1:%d", s->port);
	for (;;) {
		int fd = gmp_dial("tcp", a, SOON);
		if (fd < 0)
			return;
		for (int k = 0; k < 3; k++)
			if (gmp_write_until(fd, "hello", 5, SOON) != 5 || gmp_read_full(fd, b, 5, SOON) != 5)
				break;
		check_int(gmp_close(fd), 0);
	}
}

static void busy_end_main(void *arg)
{
	bool idle = arg != NULL;
	for (int round = 0; round < 6; round++) {
		Srv s = {.opts = {.drain = round % 2 ? 20 * GMP_SEC : 0, .idle = idle && round >= 3 ? 100 * GMP_USEC : 0}};
		begin(&s, idle);
		s.port = port_of(s.listener);
		gmp_g *g[8];
		for (int i = 0; i < 8; i++)
			g[i] = start(hammer, &s);
		while (get(&s.started) < 50)
			gmp_sleep(50 * GMP_USEC);
		check_int(round % 3 ? gmp_close(s.listener) : gmp_cancel(s.g), 0);
		for (int i = 0; i < 8; i++)
			finish(g[i]);
		end(&s, round % 3 ? 0 : -ECANCELED);
	}
}
static void busy_end(void **state) { (void)state, run_on_all(busy_end_main, NULL); }
static void busy_end_idle(void **state) { (void)state, run_on_all(busy_end_main, ""); }

/* gmp_shutdown in the middle: everything is cancelled at once. */
static void shut_main(void *arg)
{
	Srv *s = arg;
	begin(s, s->idle);
	int fd[5];
	for (int i = 0; i < 5; i++)
		ask(fd[i] = dial_to(s->listener), "hello");
	gmp_shutdown();
	for (int i = 0; i < 5; i++)
		check_int(gmp_close(fd[i]), 0);
}
static void shut(void **state)
{
	(void)state;
	for (int k = 0; k < 4; k++) {
		Srv s = {.idle = k % 2, .opts.drain = 20 * GMP_SEC};
		assert_int_equal(run_result(1 + k / 2, shut_main, &s), -ECANCELED);
		assert_int_equal(s.r, -ECANCELED);
		assert_int_equal(s.now, 0);
		gmp_chan_free(s.stuck);
	}
}

static void bad_main(void *arg)
{
	(void)arg;
	int l = listen_tcp();
	gmp_serve_opts o = {.max_conns = -1};
	check_int(gmp_serve(l, NULL, NULL, NULL), -EINVAL);
	check_int(gmp_serve_idle(l, NULL, NULL, NULL), -EINVAL);
	check_int(gmp_serve(l, handler, NULL, &o), -EINVAL);
	o = (gmp_serve_opts){.reserved = {1}};
	check_int(gmp_serve(l, handler, NULL, &o), -EINVAL);
	o = (gmp_serve_opts){.idle = -1};
	check_int(gmp_serve_idle(l, idle_handler, NULL, &o), -EINVAL);
	o.idle = 1; /* there is nobody whom gmp_serve could know to be idle */
	check_int(gmp_serve(l, handler, NULL, &o), -EINVAL);
	check_int(gmp_serve(-1, handler, NULL, NULL), -EBADF);
	check_int(gmp_close(l), 0);
	check_int(gmp_serve(l, handler, NULL, NULL), -EBADF);
	int fd[2];
	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	check_int(gmp_serve(fd[0], handler, NULL, NULL), -EINVAL); /* it does not listen; it is closed all the same */
	check_int(gmp_close(fd[0]), -EBADF);
	check_int(gmp_close(fd[1]), 0);
}
static void bad(void **state)
{
	(void)state;
	run_on_all(bad_main, NULL);
	assert_int_equal(gmp_serve(0, handler, NULL, NULL), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(usual),
	        cmocka_unit_test(usual_idle),
	        cmocka_unit_test(no_stack),
	        cmocka_unit_test(limit),
	        cmocka_unit_test(limit_idle),
	        cmocka_unit_test(limit_end),
	        cmocka_unit_test(emfile),
	        cmocka_unit_test(idle_limit),
	        cmocka_unit_test(idle_edge),
	        cmocka_unit_test(pairs),
	        cmocka_unit_test(reused),
	        cmocka_unit_test(drain),
	        cmocka_unit_test(drain_idle),
	        cmocka_unit_test(finish_work),
	        cmocka_unit_test(busy_end),
	        cmocka_unit_test(busy_end_idle),
	        cmocka_unit_test(shut),
	        cmocka_unit_test(bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
