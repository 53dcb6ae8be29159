/* SPDX-License-Identifier: MIT
 * sieve.c - the concurrent prime sieve: a chain of coroutines, each of which drops the multiples of one prime.
 * Usage: sieve [COUNT]
 */
#include <gmp.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct filter {
	gmp_chan *in, *out;
	int prime;
};

static void generate(void *arg)
{
	struct filter *f = arg;

	for (int i = 2; gmp_chan_send(f->out, &i) == 0; i++)
		continue;
}

static void filter(void *arg)
{
	struct filter *f = arg;
	int i;

	while (gmp_chan_recv(f->in, &i) == 0) {
		if (i % f->prime != 0 && gmp_chan_send(f->out, &i))
			return; /* cancelled */
	}
}

static void run(void *arg)
{
	int count = *(int *)arg;
	struct filter *chain = calloc((size_t)count + 1, sizeof *chain);
	gmp_group *group = gmp_group_new(); /* owns the coroutines: they end with it */
	int prime = 0, made = 0;
	int err = chain && group ? 0 : -ENOMEM;

	for (int i = 0; i < count && !err; i++) {
		struct filter *f = &chain[i];
		f->in = i > 0 ? chain[i - 1].out : NULL;
		f->prime = prime;
		f->out = gmp_chan_new(sizeof(int), 0);
		if (!f->out) {
			err = -ENOMEM;
			break;
		}
		made++;
		err = gmp_group_spawn(group, i > 0 ? filter : generate, f);
		if (!err)
			err = gmp_chan_recv(f->out, &prime);
		if (!err)
			printf("%d%c", prime, (i + 1) % 10 ? ' ' : '\n');
	}
	if (count % 10)
		putchar('\n');
	if (err)
		fprintf(stderr, "sieve: %s\n", strerror(-err));
	gmp_group_free(group); /* cancels them and waits: from here on nobody uses the channels */
	for (int i = 0; i < made; i++)
		gmp_chan_free(chain[i].out);
	free(chain);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 100;

	if (count < 1 || count > 100000) {
		fprintf(stderr, "usage: sieve [COUNT]    (up to 100000)\n");
		return 2;
	}
	int err = gmp_run(run, &count, NULL);
	if (err)
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
	return err ? 1 : 0;
}
