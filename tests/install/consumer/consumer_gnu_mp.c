/* SPDX-License-Identifier: MIT
 * One program with both libraries: big numbers computed in coroutines. */
#include <gmp.h>
#include <stdio.h>
#ifdef __GNU_MP__
#error "this is GNU MP's gmp.h"
#endif

unsigned long factorial_digits(unsigned long n);

static void compute(void *arg)
{
	unsigned long *n = arg;
	*n = factorial_digits(*n);
}

static void run(void *arg)
{
	unsigned long *n = arg;
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	for (int i = 0; i < 4; i++)
		gmp_waitgroup_spawn(&wg, compute, &n[i]);
	gmp_waitgroup_wait(&wg);
}

int main(void)
{
	unsigned long n[4] = {10, 20, 30, 100};
	int err = gmp_run(run, n, NULL);
	printf("err %d bits %lu %lu %lu %lu\n", err, n[0], n[1], n[2], n[3]);
	return !(err == 0 && n[0] == 22 && n[1] == 62 && n[2] == 108 && n[3] == 525);
}
