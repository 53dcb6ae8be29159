/* SPDX-License-Identifier: MIT
 * wake.c - how long from making a coroutine ready to its running: from another P, beside other jobs, from a thread outside. */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

/* ---- wake: the waker goes on computing, so another P must run the woken ------------------------------------------ */

struct wake {
	gmp_chan *chan;         /* carries the time of the wake-up */
	int64_t *late;          /* from there until the woken runs */
	_Atomic int64_t served; /* of them */
	int64_t n, gap;
};

static void woken(void *arg)
{
	struct wake *w = arg;
	int64_t sent;

	for (int64_t i = 0; i < w->n; i++) {
		must(gmp_chan_recv(w->chan, &sent));
		w->late[i] = now_ns() - sent;
		atomic_store(&w->served, i + 1);
	}
}

static void compute_until(int64_t end)
{
	while (now_ns() < end)
		continue;
}

static void waker(void *arg)
{
	struct wake *w = arg;

	for (int64_t i = 0; i < w->n; i++) {
		compute_until(now_ns() + w->gap); /* the woken blocks again, and its P finds nothing else to do */
		int64_t now = now_ns();
		must(gmp_chan_send(w->chan, &now));
		while (atomic_load(&w->served) <= i)
			continue;
	}
}

static void run_wake(struct result *r, int64_t n)
{
	struct wake w = {.n = n, .gap = env_number("BENCH_GAP_US", 100) * GMP_USEC};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	if (bench_workers < 2) {
		r->unsupported = "needs two workers";
		return;
	}
	w.chan = must_chan(sizeof(int64_t), 1);
	w.late = must_alloc((size_t)n, sizeof *w.late);
	must(gmp_waitgroup_spawn(&wg, woken, &w));
	must(gmp_waitgroup_spawn(&wg, waker, &w));
	must(gmp_waitgroup_wait(&wg));
	for (int64_t i = 0; i < n; i++)
		r->ns += w.late[i];
	r->ops = n;
	result_quantiles(r, "us", w.late, (size_t)n);
	result_number(r, "gap_us", (double)w.gap / 1e3);
	gmp_chan_free(w.chan);
	free(w.late);
}

/* ---- fanout: after light work, two jobs at once: when does the second begin? --------------------------------------- */

enum { FANOUT_LIGHT = 3 };

struct job {
	int64_t began, takes;
};

static void job(void *arg)
{
	struct job *j = arg;

	j->began = now_ns();
	compute_until(j->began + j->takes);
}

static void light(void *arg) { (void)arg; }

static void run_fanout(struct result *r, int64_t n)
{
	int64_t takes = env_number("BENCH_JOB_US", 2000) * GMP_USEC, *late = must_alloc((size_t)n, sizeof *late);

	if (bench_workers < 2) {
		r->unsupported = "needs two workers";
		free(late);
		return;
	}
	for (int64_t i = 0; i < n; i++) {
		gmp_waitgroup wg = GMP_WAITGROUP_INIT;
		struct job jobs[2] = {{.takes = takes}, {.takes = takes}};
		for (int k = 0; k < FANOUT_LIGHT; k++) { /* is over before another P could come for it */
			for (int j = 0; j < FANOUT_LIGHT; j++)
				must(gmp_waitgroup_spawn(&wg, light, NULL));
			must(gmp_waitgroup_wait(&wg));
			must(gmp_sleep(GMP_MSEC));
		}
		int64_t start = now_ns();
		for (int j = 0; j < 2; j++)
			must(gmp_waitgroup_spawn(&wg, job, &jobs[j]));
		must(gmp_waitgroup_wait(&wg));
		late[i] = (jobs[0].began > jobs[1].began ? jobs[0].began : jobs[1].began) - start;
		r->ns += late[i];
	}
	r->ops = n;
	result_quantiles(r, "us", late, (size_t)n);
	result_number(r, "job_us", (double)takes / 1e3);
	free(late);
}

/* ---- wake_xthread: round trips of a plain thread and a coroutine ------------------------------------------------- */

struct crossing {
	gmp_chan *there, *back;
	int64_t *took;
	int64_t n;
};

static void echo(void *arg)
{
	struct crossing *x = arg;
	int64_t v;

	while (gmp_chan_recv(x->there, &v) == 0)
		must(gmp_chan_send(x->back, &v));
}

static void *foreigner(void *arg)
{
	struct crossing *x = arg;

	for (int64_t i = 0; i < x->n; i++) {
		int64_t start = now_ns(), v = -1;
		must(gmp_chan_send(x->there, &i));
		must(gmp_chan_recv(x->back, &v));
		x->took[i] = now_ns() - start;
		check(v == i, "got %lld, not %lld", (long long)v, (long long)i);
	}
	must(gmp_chan_close(x->there));
	return NULL;
}

static void join_thread(void *arg) { pthread_join(*(pthread_t *)arg, NULL); }

/* The floor: the same between two plain threads. */
struct floor {
	sem_t there, back;
	int64_t *took;
	int64_t n;
};

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) != 0)
		check(errno == EINTR, "sem_wait failed");
}

static void *floor_echo(void *arg)
{
	struct floor *f = arg;

	for (int64_t i = 0; i < f->n; i++) {
		wait_for(&f->there);
		sem_post(&f->back);
	}
	return NULL;
}

static void measure_floor(void *arg)
{
	struct floor *f = arg;
	pthread_t partner;

	sem_init(&f->there, 0, 0);
	sem_init(&f->back, 0, 0);
	must(-pthread_create(&partner, NULL, floor_echo, f));
	for (int64_t i = 0; i < f->n; i++) {
		int64_t start = now_ns();
		sem_post(&f->there);
		wait_for(&f->back);
		f->took[i] = now_ns() - start;
	}
	pthread_join(partner, NULL);
	sem_destroy(&f->there);
	sem_destroy(&f->back);
}

static void run_wake_xthread(struct result *r, int64_t n)
{
	enum { MOST_FLOOR = 20000 };
	struct crossing x = {must_chan(sizeof(int64_t), 1), must_chan(sizeof(int64_t), 1), NULL, n};
	struct floor f = {.n = n < MOST_FLOOR ? n : MOST_FLOOR};
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	pthread_t thread;

	x.took = must_alloc((size_t)n, sizeof *x.took);
	f.took = must_alloc((size_t)f.n, sizeof *f.took);
	must(gmp_waitgroup_spawn(&wg, echo, &x));
	must(gmp_sleep(5 * GMP_MSEC)); /* the first message finds it parked */
	gmp_hold();                    /* until its first call nobody knows that the thread will come */
	int64_t start = now_ns();
	must(-pthread_create(&thread, NULL, foreigner, &x));
	must(gmp_waitgroup_wait(&wg));
	r->ns = now_ns() - start;
	r->ops = n;
	gmp_release();
	must(gmp_blocking(join_thread, &thread));
	must(gmp_blocking(measure_floor, &f));
	result_quantiles(r, "us", x.took, (size_t)n);
	result_number(r, "floor_p50_us", (double)quantile(f.took, (size_t)f.n, 0.5) / 1e3);
	gmp_chan_free(x.there);
	gmp_chan_free(x.back);
	free(x.took);
	free(f.took);
}

const struct workload wake_workloads[] = {
	{"wake", run_wake, 10000, 0, "ready on one P, run on another: latency, BENCH_GAP_US"},
	{"fanout", run_fanout, 200, 0, "two jobs of BENCH_JOB_US after light work: when does the second begin?"},
	{"wake_xthread", run_wake_xthread, 100000, 0, "round trip of a plain thread and a coroutine"},
	{0},
};
