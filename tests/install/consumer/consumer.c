/* SPDX-License-Identifier: MIT */
#include <gmp.h>
#include <stdio.h>

static void produce(void *arg)
{
	for (int i = 1; i <= 100; i++)
		if (gmp_chan_send((gmp_chan *)arg, &i) != 0)
			return;
	gmp_chan_close((gmp_chan *)arg);
}

static void run(void *arg)
{
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	int i;
	gmp_spawn(produce, c);
	while (gmp_chan_recv(c, &i) == 0)
		*(int *)arg += i;
	gmp_chan_free(c);
}

int main(void)
{
	int sum = 0;
	int err = gmp_run(run, &sum, NULL);
	printf("err %d sum %d\n", err, sum);
	return !(err == 0 && sum == 5050);
}
