/* SPDX-License-Identifier: MIT
 * pipeline.c - bounded stages: a source, some workers, a sink. The sink stops when it has enough and cancels the rest.
 * No stage can run ahead of the next by more than a channel holds, whatever their speeds.
 */
#include <gmp.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 4
#define WANTED 20

struct pipeline {
	gmp_chan *numbers, *primes;
};

static void source(void *arg)
{
	struct pipeline *p = arg;
	uint64_t n = UINT64_C(1000000000001);
	int err;

	while ((err = gmp_chan_send(p->numbers, &n)) == 0)
		n += 2;
	printf("source: %s, had come to %" PRIu64 "\n", strerror(-err), n);
}

static bool is_prime(uint64_t n)
{
	for (uint64_t d = 3; d * d <= n; d += 2) {
		if (n % d == 0)
			return false;
	}
	return true;
}

static void worker(void *arg)
{
	struct pipeline *p = arg;
	uint64_t n;
	int tested = 0, err;

	while ((err = gmp_chan_recv(p->numbers, &n)) == 0) {
		tested++; /* the test below takes long; nobody has to yield in it */
		if (is_prime(n) && (err = gmp_chan_send(p->primes, &n)))
			break;
	}
	printf("worker: %s, tested %d numbers\n", strerror(-err), tested);
}

static void run(void *arg)
{
	struct pipeline p = {gmp_chan_new(sizeof(uint64_t), 8), gmp_chan_new(sizeof(uint64_t), 8)};
	gmp_group *stages = gmp_group_new();
	int err = p.numbers && p.primes && stages ? 0 : -ENOMEM;

	(void)arg;
	if (!err)
		err = gmp_group_spawn(stages, source, &p);
	for (int i = 0; i < WORKERS && !err; i++)
		err = gmp_group_spawn(stages, worker, &p);
	for (int i = 0; i < WANTED && !err; i++) {
		uint64_t prime;
		err = gmp_chan_recv(p.primes, &prime);
		if (!err)
			printf("%" PRIu64 "\n", prime);
	}
	if (err)
		fprintf(stderr, "pipeline: %s\n", strerror(-err));
	gmp_group_free(stages); /* their calls return -ECANCELED; all have ended when it returns */
	gmp_chan_free(p.numbers);
	gmp_chan_free(p.primes);
}

int main(void)
{
	int err = gmp_run(run, NULL, NULL);

	if (err)
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
	return err ? 1 : 0;
}
