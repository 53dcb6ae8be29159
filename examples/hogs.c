/* SPDX-License-Identifier: MIT
 * hogs.c - nothing that one coroutine does holds up the others.
 * First, as many coroutines as there are Ps compute without end and without one call of the library. Then others block
 * their threads in calls that the library does not know about. In both cases a sleeper has to wake on time.
 */
#include <gmp.h>

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t x; /* atomic, as all hogs count on it */

static void hog(void *arg)
{
	(void)arg;
	for (;;)
		x++;
}

/* Three ways to get stuck. None is bracketed with gmp_blocking_enter, as a foreign library's calls would not be. */
static void stuck(void *arg)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec until;

	switch ((intptr_t)arg % 3) {
	case 0:
		usleep(500 * 1000);
		break;
	case 1: /* so getaddrinfo waits for the answer of a name server */
		poll(NULL, 0, 500);
		break;
	default: /* so a call of another library waits for that library's own thread */
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		pthread_mutex_lock(&mutex);
		while (pthread_cond_timedwait(&never, &mutex, &until) == 0)
			continue;
		pthread_mutex_unlock(&mutex);
		break;
	}
}

/* How late a sleep of `ns` ends. */
static double lateness_ms(int64_t ns)
{
	int64_t due = gmp_now() + ns;

	gmp_sleep_until(due);
	return (double)(gmp_now() - due) / 1e6;
}

static void run(void *arg)
{
	int procs = gmp_procs();
	double worst = 0;

	(void)arg;
	for (int i = 0; i < procs; i++) {
		if (gmp_spawn(hog, NULL))
			exit(1);
	}
	double late = lateness_ms(GMP_SEC);
	printf("%d hogs on %d Ps: x = %" PRIu64 ", slept 1 s and woke %.3f ms late\n", procs, procs, x, late);

	for (intptr_t i = 0; i < 12; i++) {
		if (gmp_spawn(stuck, (void *)i))
			exit(1);
	}
	for (int i = 0; i < 20; i++) {
		late = lateness_ms(10 * GMP_MSEC);
		if (late > worst)
			worst = late;
	}
	printf("12 coroutines stuck in blocking calls as well: slept 20 times 10 ms, at worst %.3f ms late\n", worst);

	/* The hogs never return, so neither would gmp_run. A process may end whatever its coroutines are doing. */
	exit(0);
}

int main(void)
{
	gmp_run(run, NULL, NULL);
	return 1;
}
