/* SPDX-License-Identifier: MIT
 * main.c - gmp-bench WORKLOAD WORKERS [N]: runs one workload and prints its figures as one line of JSON.
 *
 * The line is printed only after gmp_run has returned 0: a run that does not end cleanly has no figure.
 */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bench_workers;

static const struct workload *const tables[] = {
	switch_workloads,
	spawn_workloads,
	chan_workloads,
	sync_workloads,
	fork_join_workloads,
	memory_workloads,
	time_workloads,
	preempt_workloads,
	wake_workloads,
	steal_workloads,
	NULL,
};

struct run {
	const struct workload *workload;
	int64_t n;
	struct result result;
};

/* 0: no warm-up. */
static int64_t warm_up_n(const struct run *run)
{
	unsigned flags = run->workload->flags;
	int64_t n = run->n / 20;

	if (flags & WARM_NONE)
		return 0;
	if (flags & WARM_TENTH)
		n = run->n / 10;
	if (flags & WARM_DEPTH)
		n = run->n - 6;
	return n > 0 ? n : 1;
}

static void run_workload(void *arg)
{
	struct run *run = arg;
	int64_t warm = warm_up_n(run);

	memory_at_start = memory_now();
	if (warm > 0) {
		struct result unused = {0};
		run->workload->run(&unused, warm);
	}
	run->workload->run(&run->result, run->n);
}

static void print(const struct run *run)
{
	const struct result *r = &run->result;

	printf("{\"runtime\":\"gmp\",\"workload\":\"%s\",\"workers\":%d,", run->workload->name, bench_workers);
	if (r->unsupported)
		printf("\"unsupported\":\"%s\"}\n", r->unsupported);
	else
		printf("\"n\":%lld,\"ns_per_op\":%.2f,\"total_s\":%.6f,\"extra\":{%s}}\n", (long long)run->n,
			(double)r->ns / (double)r->ops, (double)r->ns / 1e9, r->extra);
}

static const struct workload *find(const char *name)
{
	for (const struct workload *const *table = tables; *table; table++)
		for (const struct workload *w = *table; w->name; w++)
			if (strcmp(w->name, name) == 0)
				return w;
	return NULL;
}

static void list(void)
{
	for (const struct workload *const *table = tables; *table; table++)
		for (const struct workload *w = *table; w->name; w++)
			printf("%-14s %9lld  %s\n", w->name, (long long)w->n, w->help);
}

static bool positive(const char *text, int64_t most, int64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoll(text, &end, 10);
	return *text && *end == '\0' && errno == 0 && *value >= 1 && *value <= most;
}

static int usage(void)
{
	fputs("usage: gmp-bench WORKLOAD WORKERS [N]\n"
	      "       gmp-bench --list    workloads, their default N, and what they measure\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct run run = {0};
	int64_t workers;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		list();
		return 0;
	}
	if (argc < 3 || argc > 4 || !positive(argv[2], 1024, &workers))
		return usage();
	run.workload = find(argv[1]);
	if (!run.workload) {
		fprintf(stderr, "gmp-bench: no workload %s; see gmp-bench --list\n", argv[1]);
		return 2;
	}
	run.n = run.workload->n;
	/* Counts of coroutines go into a waitgroup, which counts in an int. */
	if (argc == 4 && !positive(argv[3], INT_MAX, &run.n))
		return usage();
	bench_workers = (int)workers;

	if (run.workload->flags & NO_RUNTIME) {
		run_workload(&run);
	} else {
		int err = gmp_run(run_workload, &run, &(gmp_config){.procs = bench_workers});
		if (err)
			bench_fail("%s: gmp_run: %s", run.workload->name, strerror(-err));
	}
	print(&run);
	return 0;
}
