/* SPDX-License-Identifier: MIT
 * workers.c - a pool of workers, jobs in, results out, and a deadline for the whole. What is not done by then is
 * cancelled, in the middle of its wait if need be.
 */
#include <gmp.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WORKERS 4
#define JOBS 20
#define DEADLINE (300 * GMP_MSEC)

struct result {
	int job;
	int64_t took;
};

struct pool {
	gmp_chan *jobs, *results;
};

/* Stands for a query to some backend: mostly quick, now and then hopeless. 0 or -ECANCELED. */
static int perform(int job) { return gmp_sleep(job % 7 == 6 ? GMP_SEC : (10 + job * 3) * GMP_MSEC); }

static void worker(void *arg)
{
	struct pool *p = arg;
	struct result r;

	while (gmp_chan_recv(p->jobs, &r.job) ==
		0) { /* ends when the channel is closed and empty, or on cancellation */
		int64_t start = gmp_now();
		if (perform(r.job))
			return;
		r.took = gmp_now() - start;
		if (gmp_chan_send(p->results, &r))
			return;
	}
}

static void run(void *arg)
{
	/* With room for all jobs and all results nobody waits to hand them over. */
	struct pool p = {gmp_chan_new(sizeof(int), JOBS), gmp_chan_new(sizeof(struct result), JOBS)};
	gmp_group *workers = gmp_group_new();
	int64_t deadline = gmp_now() + DEADLINE;
	int err = p.jobs && p.results && workers ? 0 : -ENOMEM;
	int done = 0;

	(void)arg;
	for (int i = 0; i < WORKERS && !err; i++)
		err = gmp_group_spawn(workers, worker, &p);
	for (int job = 0; job < JOBS && !err; job++)
		err = gmp_chan_send(p.jobs, &job);
	if (!err)
		gmp_chan_close(p.jobs);

	while (done < JOBS && !err) {
		struct result r;
		err = gmp_chan_recv_until(p.results, &r, deadline);
		if (err)
			break;
		done++;
		printf("job %2d took %lld ms\n", r.job, (long long)(r.took / GMP_MSEC));
	}
	printf("%d of %d jobs done%s%s\n", done, JOBS, err ? ": " : "", err ? strerror(-err) : "");
	gmp_group_free(workers); /* cancels who is still at it, and waits for his end */
	gmp_chan_free(p.jobs);
	gmp_chan_free(p.results);
}

int main(void)
{
	int err = gmp_run(run, NULL, NULL);

	if (err)
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
	return err ? 1 : 0;
}
