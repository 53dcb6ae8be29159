/* SPDX-License-Identifier: MIT
 * stress_net.c - clients of an echo server talk with random lengths and deadlines, while others cancel them or close
 * their descriptors under them; now and then a plain thread talks, too. What comes back must be what was sent, every
 * wait must end, every error must have a cause. Usage: stress_net [SECONDS [PROCS]]; GMP_TEST_SEED */
#include "nettest.h"
#include <pthread.h>
#include <sys/resource.h>

enum { CLIENTS = 24, BASE = 300 };

static int seconds = 2, port;
static bool idle_form;
static int64_t stop_at;
static uint64_t seed0;
static uint64_t talks, cancels, closes, timeouts, bytes;

#define count(p, n) __atomic_add_fetch((p), (uint64_t)(n), __ATOMIC_RELAXED)

/* ---- the server -------------------------------------------------------------------------------------------------- */

static void echo(int fd, void *arg)
{
	(void)arg;
	char b[700];
	ssize_t n;
	while ((n = gmp_read(fd, b, sizeof b)) > 0)
		if (gmp_write_all(fd, b, (size_t)n, SOON) != n)
			return;
	check(n == 0 || n == -ECONNRESET || n == -ECANCELED);
}

static int echo_idle(int fd, void **state, void *arg)
{
	(void)state;
	(void)arg;
	char b[700];
	ssize_t n = gmp_read_until(fd, b, sizeof b, 0);
	if (n == -EAGAIN)
		return GMP_SERVE_AGAIN;
	return n > 0 && gmp_write_all(fd, b, (size_t)n, SOON) == n ? GMP_SERVE_AGAIN : GMP_SERVE_CLOSE;
}

static void server(void *arg)
{
	gmp_serve_opts o = {.drain = GMP_SEC, .max_conns = CLIENTS / 2};
	check_int(idle_form ? gmp_serve_idle(*(int *)arg, echo_idle, NULL, &o) : gmp_serve(*(int *)arg, echo, NULL, &o), 0);
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

typedef struct Client {
	int id, fd;       /* fd: a number that nobody else ever gets, so closing it twice or late hits nobody */
	uint64_t seed;
	bool may_fail;    /* somebody cancels it or closes fd */
	int64_t delay;    /* of the closer */
} Client;

/* Sends and receives; returns when it has had enough or an error. */
static void talk(void *arg)
{
	Client *c = arg;
	uint64_t s = c->seed;
	char out[2000], in[2000];
	for (int k = 0, n = 1 + (int)(test_rand(&s) % 20); k < n; k++) {
		size_t len = 1 + test_rand(&s) % sizeof out, got = 0;
		fill_pattern(out, len, test_rand(&s));
		ssize_t r = gmp_write_all(c->fd, out, len, SOON);
		while (r > 0 && got < len) {
			bool hurry = test_rand(&s) % 2;
			int64_t d = hurry ? gmp_now() + (int64_t)(test_rand(&s) % 300) * GMP_USEC : SOON;
			r = gmp_read_until(c->fd, in + got, 1 + test_rand(&s) % (len - got), d);
			if (r > 0) {
				got += (size_t)r;
			} else if (r == -ETIMEDOUT && hurry) {
				check(gmp_now() >= d);
				count(&timeouts, 1);
				r = 1;
			}
		}
		if (r < 0) {
			check(r == -ECANCELED || r == -EBADF);
			check(c->may_fail);
			return;
		}
		if (r == 0) { /* somebody closed fd between two calls; or a bug */
			check(c->may_fail);
			return;
		}
		check_int(memcmp(in, out, len), 0);
		count(&bytes, len);
	}
	count(&talks, 1);
}

static void *thread_talk(void *arg)
{
	talk(arg);
	return NULL;
}

static void close_later(void *arg)
{
	Client *c = arg;
	gmp_sleep(c->delay);
	check_int(gmp_close(c->fd), 0);
}

static void client(void *arg)
{
	Client *c = arg;
	char a[32];
	snprintf(a, sizeof a, "127.0.0.1:%d", port);
	while (gmp_now() < stop_at) {
		int fd = gmp_dial("tcp", a, SOON);
		check(fd >= 0);
		c->fd = fcntl(fd, F_DUPFD_CLOEXEC, BASE + c->id);
		check_int(c->fd, BASE + c->id);
		check_int(gmp_close(fd), 0);
		uint32_t what = test_rand(&c->seed) % 8;
		c->may_fail = what < 3;
		c->delay = (int64_t)(test_rand(&c->seed) % 1000) * GMP_USEC;
		gmp_g *closer = what == 0 ? start(close_later, c) : NULL;
		if (what == 3) {
			pthread_t t;
			check_int(pthread_create(&t, NULL, thread_talk, c), 0);
			gmp_blocking_enter();
			check_int(pthread_join(t, NULL), 0);
			gmp_blocking_leave();
		} else {
			gmp_g *g = start(talk, c);
			if (what == 1 || what == 2) {
				gmp_sleep(c->delay);
				check_int(gmp_cancel(g), 0);
				count(&cancels, 1);
			}
			finish(g);
		}
		if (closer) {
			finish(closer);
			count(&closes, 1);
		} else {
			check_int(gmp_close(c->fd), 0);
		}
	}
}

static void main_fn(void *arg)
{
	(void)arg;
	int l = listen_tcp();
	port = port_of(l);
	gmp_g *srv = start(server, &l), *g[CLIENTS];
	Client c[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) {
		c[i] = (Client){.id = i, .seed = seed0 + (uint64_t)i * 7919};
		g[i] = start(client, &c[i]);
	}
	for (int i = 0; i < CLIENTS; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(gmp_close(l), 0);
	finish(srv);
}

int main(int argc, char **argv)
{
	seconds = argc > 1 ? atoi(argv[1]) : seconds;
	int procs = argc > 2 ? atoi(argv[2]) : 0;
	seed0 = test_seed();
	struct rlimit r;
	check_int(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max < 4096 ? r.rlim_max : 4096;
	check_int(setrlimit(RLIMIT_NOFILE, &r), 0);
	for (int k = 0; k < 4; k++) {
		idle_form = k % 2;
		stop_at = gmp_now() + seconds * GMP_SEC / 4;
		run_on(procs ? procs : k < 2 ? 1 : 2 * test_ncpu(), main_fn, NULL);
	}
	printf("%llu talks of %llu bytes, %llu time-outs, %llu cancelled, %llu closed\n", (unsigned long long)talks,
	        (unsigned long long)bytes, (unsigned long long)timeouts, (unsigned long long)cancels,
	        (unsigned long long)closes);
	return 0;
}
