/* SPDX-License-Identifier: MIT
 * stress_mutex.c [seconds [procs]] - one mutex under everything at once: lock, deadlines, try, holders that yield,
 * sleep or compute, cancellation of waiters, foreign threads, Ps that come and go; and mutexes freed by their last
 * holder. Seed: GMP_TEST_SEED. MU-1..4 (mutex.c). */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

enum { WORKERS = 12, THREADS = 2 };

typedef struct Worker {
	struct Stress *s;
	uint64_t seed;
} Worker;

typedef struct Stress {
	gmp_mutex mu;
	int inside;            /* guarded by mu, as is sum */
	uint64_t sum;
	atomic_ullong locked;  /* what sum should be */
	atomic_ullong timeouts, cancels, busy;
	atomic_bool stop;
	bool foreign;
	uint64_t seed;
	int64_t end;
} Stress;

static void spin_for(int64_t ns)
{
	int64_t end = gmp_now() + ns;
	while (gmp_now() < end)
		;
}

static int lock_somehow(Stress *s, uint64_t *seed)
{
	uint32_t x = test_rand(seed) % 16;
	if (x < 8)
		return gmp_mutex_lock(&s->mu);
	if (x < 14)
		return gmp_mutex_lock_until(&s->mu, gmp_now() + test_rand(seed) % 200000);
	return gmp_mutex_trylock(&s->mu);
}

/* Until the end, or cancelled while it waited. */
static void work(Stress *s, uint64_t seed)
{
	while (!s->stop) {
		int r = lock_somehow(s, &seed);
		if (r == 0) {
			check_int(s->inside++, 0);
			s->sum++;
			uint32_t x = test_rand(&seed) % 512;
			if (x < 64)
				gmp_yield();
			else if (x < 68)
				(void)gmp_sleep(test_rand(&seed) % 100000);
			else if (x < 80)
				spin_for(test_rand(&seed) % 20000);
			else if (x == 80)
				spin_for(test_rand(&seed) % 1500000);
			check_int(--s->inside, 0);
			gmp_mutex_unlock(&s->mu);
			s->locked++;
		} else if (r == -ETIMEDOUT) {
			s->timeouts++;
		} else if (r == -EAGAIN) {
			s->busy++;
			gmp_yield();
		} else {
			check_int(r, -ECANCELED);
			s->cancels++;
			check(gmp_cancelled());
			return;
		}
		if (test_rand(&seed) % 8 == 0)
			gmp_yield();
	}
}

static void worker(void *arg)
{
	Worker *w = arg;
	work(w->s, w->seed);
	free(w);
}

static void *thread(void *arg)
{
	worker(arg);
	return NULL;
}

static Worker *new_worker(Stress *s)
{
	Worker *w = malloc(sizeof *w);
	check(w);
	w->s = s;
	w->seed = s->seed * 31 + test_rand(&s->seed);
	return w;
}

static void storm(void *arg)
{
	Stress *s = arg;
	gmp_g *g[WORKERS];
	pthread_t t[THREADS];
	int procs = gmp_procs();
	for (int i = 0; i < WORKERS; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, worker, new_worker(s)), 0);
	gmp_hold();
	for (int i = 0; s->foreign && i < THREADS; i++)
		check_int(pthread_create(&t[i], NULL, thread, new_worker(s)), 0);
	while (gmp_now() < s->end) {
		uint32_t x = test_rand(&s->seed);
		(void)gmp_sleep(x % 300000);
		if (x % 4 == 0) { /* a storm: half of them at once */
			for (int i = 0; i < WORKERS; i += 2)
				check_int(gmp_cancel(g[i]), 0);
			for (int i = 0; i < WORKERS; i += 2) {
				check_int(gmp_join(g[i]), 0);
				check_int(gmp_spawn_attr(&g[i], NULL, worker, new_worker(s)), 0);
			}
		} else {
			int i = (int)(x / 4 % WORKERS);
			check_int(gmp_cancel(g[i]), 0);
			check_int(gmp_join(g[i]), 0);
			check_int(gmp_spawn_attr(&g[i], NULL, worker, new_worker(s)), 0);
		}
		if (procs > 1 && x % 16 == 1)
			check(gmp_set_procs(1 + (int)(x / 16 % (uint32_t)procs)) > 0);
	}
	s->stop = true;
	for (int i = 0; i < WORKERS; i++)
		check_int(gmp_join(g[i]), 0);
	for (int i = 0; s->foreign && i < THREADS; i++)
		check_int(pthread_join(t[i], NULL), 0);
	gmp_release();
	check_int(s->inside, 0);
	check_int(s->sum, s->locked);
	check_int(gmp_mutex_lock_until(&s->mu, 0), 0);
	gmp_mutex_unlock(&s->mu);
	gmp_mutex want = {0};
	check(memcmp(&s->mu, &want, sizeof want) == 0);
}

/* ---- freed by the last holder ------------------------------------------------------------------------------------ */

typedef struct Counted {
	gmp_mutex mu;
	int refs;
} Counted;

typedef struct Drop {
	Counted *c;
	uint64_t seed;
} Drop;

static void drop(void *arg)
{
	Drop *d = arg;
	Counted *c = d->c;
	int r;
	do
		r = test_rand(&d->seed) % 2 ? gmp_mutex_lock(&c->mu)
		                             : gmp_mutex_lock_until(&c->mu, gmp_now() + test_rand(&d->seed) % 50000);
	while (r == -ETIMEDOUT);
	check_int(r, 0);
	if (test_rand(&d->seed) % 4 == 0)
		gmp_yield();
	int left = --c->refs;
	gmp_mutex_unlock(&c->mu);
	if (left == 0) {
		memset(c, 0xee, sizeof *c);
		free(c);
	}
}

static void freeing(void *arg)
{
	Stress *s = arg;
	while (gmp_now() < s->end) {
		for (int i = 0; i < 10; i++) {
			Counted *c = calloc(1, sizeof *c);
			check(c);
			int n = 2 + (int)(test_rand(&s->seed) % 5);
			c->refs = n;
			while (n--) {
				Drop d = {c, s->seed + (uint64_t)n};
				check_int(gmp_spawn_copy(drop, &d, sizeof d), 0);
			}
			(void)test_rand(&s->seed);
		}
		if (test_rand(&s->seed) % 4 == 0)
			(void)gmp_sleep(100000);
		else
			gmp_yield();
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 3;
	int procs[] = {1, 2, 4};
	uint64_t seed = test_seed();
	for (int i = 0; i < 9; i++) {
		int n = argc > 2 ? atoi(argv[2]) : procs[i % 3];
		Stress s = {.seed = seed, .foreign = i / 3 == 1};
		s.end = gmp_now() + (int64_t)(seconds * 1e9 / 9);
		run_on(n, i / 3 == 2 ? freeing : storm, &s);
		if (i / 3 != 2)
			printf("procs %d%s: %llu locked, %llu timed out, %llu cancelled, %llu busy\n", n,
			        s.foreign ? " and threads" : "", s.locked, s.timeouts, s.cancels, s.busy);
		seed = s.seed;
	}
	return 0;
}
