/* SPDX-License-Identifier: MIT
 * echo.c - TCP echo server: a coroutine for each connection, written as if it had a thread to itself.
 * Usage: echo [-i] [-p PROCS] [PORT]        Try: nc 127.0.0.1 PORT
 * With -i a client that has nothing to say costs no coroutine: some 200 bytes instead of a page.
 */
#include "serve.h"

#include <gmp.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IDLE_TIMEOUT (300 * GMP_SEC)
#define DRAIN_TIMEOUT (2 * GMP_SEC)
#define WRITE_TIMEOUT (30 * GMP_SEC) /* for a client that sends, but does not read what comes back */

static void echo(int fd, void *arg)
{
	char buf[2048]; /* with the rest of the frame within one page: all that an idle client costs */

	(void)arg;
	for (int64_t now = coarse_now();;) {
		ssize_t n = gmp_read_until(fd, buf, sizeof buf, now + IDLE_TIMEOUT);
		if (n <= 0) /* end of stream, a reset, silence for too long, or the server stops */
			return;
		now = coarse_now();
		if (gmp_write_all(fd, buf, (size_t)n, now + WRITE_TIMEOUT) != n)
			return;
	}
}

/* Called anew whenever there is something to read. */
static int echo_ready(int fd, void **state, void *arg)
{
	char buf[2048];

	(void)state;
	(void)arg;
	ssize_t n = gmp_read_until(fd, buf, sizeof buf, 0);
	if (n == -EAGAIN)
		return GMP_SERVE_AGAIN;
	if (n <= 0 || gmp_write_all(fd, buf, (size_t)n, coarse_now() + WRITE_TIMEOUT) != n)
		return GMP_SERVE_CLOSE;
	return GMP_SERVE_AGAIN;
}

struct options {
	const char *port;
	bool idle_form;
};

static void run(void *arg)
{
	const struct options *o = arg;
	char address[32];

	snprintf(address, sizeof address, "127.0.0.1:%s", o->port);
	int err = o->idle_form ? serve_idle(address, echo_ready, NULL, IDLE_TIMEOUT, DRAIN_TIMEOUT)
			       : serve(address, echo, NULL, DRAIN_TIMEOUT);
	if (err)
		fprintf(stderr, "echo: %s: %s\n", address, strerror(-err));
}

int main(int argc, char **argv)
{
	struct options o = {.port = "7000"};
	gmp_config cfg = {0};
	int opt;

	while ((opt = getopt(argc, argv, "ip:")) != -1) {
		if (opt == '?') {
			fprintf(stderr, "usage: echo [-i] [-p PROCS] [PORT]\n");
			return 2;
		}
		if (opt == 'i')
			o.idle_form = true;
		else
			cfg.procs = (int)parse_number(optarg, 1, 1024);
	}
	if (optind < argc)
		o.port = argv[optind];
	parse_number(o.port, 0, 65535);

	int err = gmp_run(run, &o, &cfg);
	if (err)
		fprintf(stderr, "echo: %s\n", strerror(-err));
	return err ? 1 : 0;
}
