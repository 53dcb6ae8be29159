/* SPDX-License-Identifier: MIT
 * dial.c - how long a local gmp_dial takes while every P computes. Prints one line of JSON.
 * Usage: netdial [-p PROCS] [-n DIALS]
 *
 * "sharing": a coroutine for each P computes without end and calls gmp_checkpoint now and then, so that all Ps are busy
 * all the time. "handed off": one for each P never calls anything, so that their Ps have been taken from them.
 */
#include "histogram.h"

#include <gmp.h>

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int dials = 300;
static atomic_bool stop;

static void compute(int64_t ns)
{
	for (int64_t end = gmp_now() + ns; gmp_now() < end;)
		;
}

static void shares(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		compute(20 * GMP_USEC);
		gmp_checkpoint();
	}
}

static void hogs(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		compute(20 * GMP_USEC);
}

static void greet(int fd, void *arg) { (void)fd, (void)arg; /* and goodbye */ }

static void serve(void *arg) { gmp_serve(*(int *)arg, greet, NULL, NULL); }

static void measure(const char *name, const char *address, gmp_fn *busy, int n)
{
	static struct histogram h;
	gmp_group *group = gmp_group_new();

	memset(&h, 0, sizeof h);
	atomic_store(&stop, false);
	for (int i = 0; i < n; i++) {
		if (!group || gmp_group_spawn(group, busy, NULL) != 0)
			exit(1);
	}
	gmp_sleep(100 * GMP_MSEC);
	for (int i = 0; i < dials; i++) {
		gmp_sleep(GMP_MSEC);
		int64_t start = gmp_now();
		int fd = gmp_dial("tcp", address, start + 10 * GMP_SEC);
		if (fd < 0) {
			fprintf(stderr, "netdial: %s\n", strerror(-fd));
			exit(1);
		}
		histogram_add(&h, (uint64_t)(gmp_now() - start));
		gmp_close(fd);
	}
	atomic_store(&stop, true);
	gmp_group_free(group);
	printf("\"%s\": {\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}", name,
		histogram_quantile(&h, 0.5) / 1e3, histogram_quantile(&h, 0.99) / 1e3, (double)h.max / 1e3);
}

static void run(void *arg)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	char address[32];
	int fd = gmp_listen("tcp4", "127.0.0.1:0");
	gmp_g *server = NULL;

	(void)arg;
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &len) || gmp_spawn_attr(&server, NULL, serve, &fd))
		exit(1);
	snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(a.sin_port));
	printf("{");
	measure("sharing", address, shares, gmp_procs());
	printf(", ");
	measure("handed off", address, hogs, gmp_procs());
	printf("}\n");
	gmp_close(fd);
	gmp_join(server);
}

int main(int argc, char **argv)
{
	gmp_config cfg = {0};
	int o;

	while ((o = getopt(argc, argv, "p:n:")) != -1) {
		int value = atoi(optarg ? optarg : "");
		if (o == '?' || value < 1 || value > 100000) {
			fprintf(stderr, "usage: netdial [-p PROCS] [-n DIALS]\n");
			return 2;
		}
		if (o == 'p')
			cfg.procs = value;
		else
			dials = value;
	}
	return gmp_run(run, NULL, &cfg) ? 1 : 0;
}
