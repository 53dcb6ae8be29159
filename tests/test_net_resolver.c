/* SPDX-License-Identifier: MIT
 * test_net_resolver.c - a resolver that does not answer: its callers keep their deadlines, and nobody else waits. */
#include "nettest.h"
#include <pthread.h>

/* In the place of libc's, for the library too: "stuck" is not answered before let_go. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static bool stuck;
static int inside;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	(void)service;
	(void)hints;
	(void)res;
	pthread_mutex_lock(&lock);
	inside++;
	pthread_cond_broadcast(&released);
	while (stuck && strcmp(host, "stuck") == 0)
		pthread_cond_wait(&released, &lock);
	inside--;
	pthread_mutex_unlock(&lock);
	return EAI_NONAME;
}

static void set_stuck(bool on)
{
	pthread_mutex_lock(&lock);
	stuck = on;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
}

static void until_inside(void *n)
{
	pthread_mutex_lock(&lock);
	while (inside < *(int *)n)
		pthread_cond_wait(&released, &lock);
	pthread_mutex_unlock(&lock);
}

typedef struct Question {
	int64_t deadline;
	int r;
	gmp_g *g;
} Question;

static void ask(void *arg)
{
	Question *q = arg;
	struct addrinfo *res;
	q->r = gmp_getaddrinfo("stuck", "80", NULL, &res, q->deadline);
	check(!res);
}

enum { QUESTIONS = 100, THREADS = 64 }; /* the latter as in net_file.c */

static void stuck_main(void *arg)
{
	(void)arg;
	static Question q[QUESTIONS];
	char path[] = "/tmp/gmp-resolver-XXXXXX", b[4];
	int fd[2], n = THREADS, file = mkstemp(path);
	check(file >= 0);
	tcp_pair(fd);
	set_stuck(true);
	for (int i = 0; i < QUESTIONS; i++) {
		/* Those that are late before their turn need no thread: the others are enough for all threads. */
		q[i] = (Question){.deadline = i % 4 ? GMP_FOREVER : gmp_now() + 5 * GMP_MSEC};
		q[i].g = start(ask, &q[i]);
	}
	check_int(gmp_blocking(until_inside, &n), 0);
	/* Reads, files, and whoever wants no resolver go on. */
	for (int k = 0; k < 100; k++) {
		check_int(gmp_write_all(fd[0], "ping", 4, SOON), 4);
		check_int(gmp_read_full(fd[1], b, 4, SOON), 4);
		check_int(gmp_pwrite(file, "data", 4, k), 4);
		check_int(gmp_pread(file, b, 4, k), 4);
	}
	int l = listen_tcp(), c = dial_to(l);
	check_int(gmp_close(c), 0);
	check_int(gmp_close(l), 0);
	/* A deadline holds also for a question that no thread has taken up yet. */
	for (int i = 0; i < QUESTIONS; i += 4) {
		finish(q[i].g);
		check_int(q[i].r, -ETIMEDOUT);
	}
	check_int(gmp_dial("tcp", "stuck:80", gmp_now() + GMP_MSEC), -ETIMEDOUT);
	/* And one that was cancelled goes at once. */
	check_int(gmp_cancel(q[1].g), 0);
	finish(q[1].g);
	check_int(q[1].r, -ECANCELED);
	set_stuck(false);
	for (int i = 2; i < QUESTIONS; i++) {
		if (i % 4 == 0)
			continue;
		finish(q[i].g);
		check_int(q[i].r, -ENOENT);
	}
	close_both(fd);
	check_int(gmp_close(file), 0);
	check_int(unlink(path), 0);
}
static void stuck_resolver(void **state) { (void)state, run_on_all(stuck_main, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stuck_resolver),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
