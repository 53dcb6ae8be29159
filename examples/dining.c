/* SPDX-License-Identifier: MIT
 * dining.c - five philosophers, five forks: the classic deadlock, which the library notices and explains.
 * Usage: dining          each takes his left fork first: gmp_run reports who waits for what and returns -EDEADLK
 *        dining polite   the last one starts with his right fork: nobody starves
 */
#include <gmp.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SEATS 5

static gmp_mutex forks[SEATS]; /* all zero: ready to use */

struct philosopher {
	int first, second;
};

static struct philosopher philosophers[SEATS];

static void dine(void *arg)
{
	const struct philosopher *p = arg;

	if (gmp_mutex_lock(&forks[p->first]))
		return;
	gmp_sleep(200 * GMP_MSEC); /* by then everybody holds his first fork */
	if (gmp_mutex_lock(&forks[p->second]) == 0) {
		printf("philosopher %d eats\n", (int)(p - philosophers));
		gmp_mutex_unlock(&forks[p->second]);
	}
	gmp_mutex_unlock(&forks[p->first]);
}

static void run(void *arg)
{
	bool polite = arg != NULL;

	for (int i = 0; i < SEATS; i++) {
		struct philosopher *p = &philosophers[i];
		gmp_attr attr = {0};
		char name[32];
		bool swap = polite && i == SEATS - 1;
		p->first = swap ? (i + 1) % SEATS : i;
		p->second = swap ? i : (i + 1) % SEATS;
		snprintf(name, sizeof name, "philosopher %d", i);
		attr.name = name; /* shown in the report */
		int err = gmp_spawn_attr(NULL, &attr, dine, p);
		if (err)
			fprintf(stderr, "spawn: %s\n", strerror(-err));
	}
}

int main(int argc, char **argv)
{
	bool polite = argc > 1 && strcmp(argv[1], "polite") == 0;
	int err = gmp_run(run, polite ? philosophers : NULL, NULL);

	printf("gmp_run returned %d (%s)\n", err, err ? strerror(-err) : "all have eaten");
	return err == (polite ? 0 : -EDEADLK) ? 0 : 1;
}
