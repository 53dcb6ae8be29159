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

/* What the Ps had to do with each other. */
static void count(struct result *r, const gmp_stats *before, int64_t ns)
{
	gmp_stats after;

	gmp_stats_read(&after);
	double s = (double)ns / 1e9;
	result_number(r, "wakes_per_s", (double)(after.wakes - before->wakes) / s);
	result_number(r, "steals_per_s", (double)(after.steals - before->steals) / s);
	result_number(r, "barriers_per_s", (double)(after.barriers - before->barriers) / s);
}

static void run_workload(void *arg)
{
	struct run *run = arg;
	int64_t warm = warm_up_n(run);
	bool counted = !(run->workload->flags & NO_RUNTIME);
	gmp_stats before = {0};

	memory_at_start = memory_now();
	if (warm > 0) {
		struct result unused = {0};
		run->workload->run(&unused, warm);
	}
	if (counted)
		gmp_stats_read(&before);
	int64_t start = now_ns();
	run->workload->run(&run->result, run->n);
	if (counted)
		count(&run->result, &before, now_ns() - start);
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
