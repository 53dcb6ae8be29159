/* SPDX-License-Identifier: MIT
 * proxy.c - TCP proxy: resolves and dials the target for each client and passes bytes both ways, until both sides have
 * said that they are done (half-close is passed on), one fails, or nothing has moved for a while.
 * Usage: proxy [-p PROCS] PORT HOST:PORT
 */
#include "serve.h"

#include <gmp.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIAL_TIMEOUT (10 * GMP_SEC)
#define IDLE_TIMEOUT (300 * GMP_SEC)
#define DRAIN_TIMEOUT (10 * GMP_SEC)

struct link {
	int client, target;
	_Atomic int64_t moved; /* when the last bytes went either way */
};

/* One direction. Returns when it has ended, and sees to it that the other one ends as well if that was a failure. */
static void pass(struct link *l, int from, int to)
{
	char buf[16384];

	for (;;) {
		ssize_t n = gmp_read_until(from, buf, sizeof buf, gmp_now() + IDLE_TIMEOUT);
		if (n == -ETIMEDOUT && gmp_now() - atomic_load(&l->moved) < IDLE_TIMEOUT)
			continue; /* one way only: that is fine */
		if (n == 0) {
			shutdown(to, SHUT_WR);
			return;
		}
		if (n < 0 || gmp_write_all(to, buf, (size_t)n, gmp_now() + IDLE_TIMEOUT) != n)
			break;
		atomic_store(&l->moved, gmp_now());
	}
	shutdown(from, SHUT_RDWR);
	shutdown(to, SHUT_RDWR);
}

static void answers(void *arg)
{
	struct link *l = arg;

	pass(l, l->target, l->client);
}

static void client(int fd, void *arg)
{
	const char *target = arg;
	struct link l = {.client = fd};

	l.target = gmp_dial("tcp", target, gmp_now() + DIAL_TIMEOUT);
	if (l.target < 0) {
		fprintf(stderr, "proxy: %s: %s\n", target, strerror(-l.target));
		return;
	}
	atomic_init(&l.moved, gmp_now());

	/* A group, because its end waits for the other direction even when this coroutine is cancelled: l is on its
	 * stack. */
	gmp_group *other = gmp_group_new();
	if (other && gmp_group_spawn(other, answers, &l) == 0) {
		pass(&l, l.client, l.target);
		gmp_group_wait(other);
	}
	gmp_group_free(other);
	gmp_close(l.target);
}

struct options {
	const char *port, *target;
};

static void run(void *arg)
{
	const struct options *o = arg;
	char address[32];

	snprintf(address, sizeof address, "127.0.0.1:%s", o->port);
	int err = serve(address, client, (void *)o->target, DRAIN_TIMEOUT);
	if (err)
		fprintf(stderr, "proxy: %s: %s\n", address, strerror(-err));
}

int main(int argc, char **argv)
{
	gmp_config cfg = {0};
	int opt;

	while ((opt = getopt(argc, argv, "p:")) == 'p')
		cfg.procs = (int)parse_number(optarg, 1, 1024);
	if (opt != -1 || argc - optind != 2) {
		fprintf(stderr, "usage: proxy [-p PROCS] PORT HOST:PORT\n");
		return 2;
	}
	struct options o = {argv[optind], argv[optind + 1]};
	parse_number(o.port, 0, 65535);

	int err = gmp_run(run, &o, &cfg);
	if (err)
		fprintf(stderr, "proxy: %s\n", strerror(-err));
	return err ? 1 : 0;
}
