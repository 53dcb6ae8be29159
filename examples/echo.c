/* SPDX-License-Identifier: MIT
 * echo.c - TCP echo server: a coroutine for each connection, written as if it had a thread to itself.
 * Usage: echo [-p PROCS] [PORT]        Try: nc 127.0.0.1 PORT
 */
#include "serve.h"

#include <gmp.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IDLE_TIMEOUT (300 * GMP_SEC)
#define WRITE_TIMEOUT (30 * GMP_SEC) /* for a client that sends, but does not read what comes back */

static void echo(int fd, void *arg)
{
	char buf[2048]; /* with the rest of the frame within one page: all that an idle client costs */

	(void)arg;
	for (;;) {
		ssize_t n = gmp_read_until(fd, buf, sizeof buf, gmp_now() + IDLE_TIMEOUT);
		if (n <= 0) /* end of stream, a reset, silence for too long, or the server stops */
			return;
		if (gmp_write_all(fd, buf, (size_t)n, gmp_now() + WRITE_TIMEOUT) != n)
			return;
	}
}

static void run(void *arg)
{
	const char *port = arg;
	char address[32];

	snprintf(address, sizeof address, "127.0.0.1:%s", port);
	int err = serve(address, echo, NULL, 2 * GMP_SEC);
	if (err)
		fprintf(stderr, "echo: %s: %s\n", address, strerror(-err));
}

int main(int argc, char **argv)
{
	gmp_config cfg = {0};
	int opt;

	while ((opt = getopt(argc, argv, "p:")) != -1) {
		if (opt != 'p') {
			fprintf(stderr, "usage: echo [-p PROCS] [PORT]\n");
			return 2;
		}
		cfg.procs = (int)parse_number(optarg, 1, 1024);
	}
	char *port = optind < argc ? argv[optind] : "7000";
	parse_number(port, 0, 65535);

	int err = gmp_run(run, port, &cfg);
	if (err)
		fprintf(stderr, "echo: %s\n", strerror(-err));
	return err ? 1 : 0;
}
