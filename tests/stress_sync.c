/* SPDX-License-Identifier: MIT
 * stress_sync.c [seconds [scenario [procs]]] - small random scenarios in turn, each with deadlines, cancellation and
 * objects that go at once: rwmutex (RW-1..4), cond (CV-1..4), waitgroup (WG-1, WG-2), sem (SP-1..3), once (ON-1, ON-2),
 * groups (GR-1..3) with values (LO-1). Seed: GMP_TEST_SEED. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct Job Job;
struct Job {
	void *o;
	void (*fn)(Job *);
	uint64_t seed;
	gmp_g *g;
};

enum { MOST = 16 };
typedef struct Crowd {
	Job job[MOST];
	int n;
} Crowd;

static uint32_t rnd(Job *j, uint32_t n) { return test_rand(&j->seed) % n; }

/* A deadline: near, or so far that it does not come, or none. */
static int64_t soon(Job *j)
{
	uint32_t x = rnd(j, 8);
	return x < 5 ? gmp_now() + rnd(j, 100000) : x < 6 ? GMP_FOREVER - 1 : GMP_FOREVER;
}

static void pause_a_little(Job *j)
{
	uint32_t x = rnd(j, 32);
	if (x < 8)
		gmp_yield();
	else if (x == 8)
		(void)gmp_sleep(rnd(j, 50000));
}

static void job_main(void *arg)
{
	Job *j = arg;
	j->fn(j);
}

static void crowd_add(Crowd *c, void *o, void (*fn)(Job *), uint64_t *seed)
{
	check(c->n < MOST);
	Job *j = &c->job[c->n++];
	*j = (Job){o, fn, *seed * 31 + (uint64_t)c->n, NULL};
	(void)test_rand(seed);
	check_int(gmp_spawn_attr(&j->g, NULL, job_main, j), 0);
}

/* Joins them all; before that, cancels some. */
static void crowd_end(Crowd *c, uint64_t *seed, bool cancel)
{
	for (int k = 0; cancel && k < c->n / 2; k++) {
		if (test_rand(seed) % 2)
			(void)gmp_sleep(test_rand(seed) % 50000);
		check_int(gmp_cancel(c->job[test_rand(seed) % (uint32_t)c->n].g), 0);
	}
	for (int i = 0; i < c->n; i++)
		check_int(gmp_join(c->job[i].g), 0);
}

static void may_fail(int r) { check(r == 0 || r == -ECANCELED || r == -ETIMEDOUT); }

/* ---- rwmutex ----------------------------------------------------------------------------------------------------- */

typedef struct Rw {
	gmp_rwmutex l;
	atomic_int readers, writers;
	long a, b;
} Rw;

static void rw_job(Job *j)
{
	Rw *o = j->o;
	for (int i = 0; i < 30; i++) {
		if (rnd(j, 3)) {
			int r = gmp_rwmutex_rlock_until(&o->l, soon(j));
			may_fail(r);
			if (r)
				continue;
			o->readers++;
			check_int(o->writers, 0);
			check_int(o->a, o->b);
			pause_a_little(j);
			check_int(o->a, o->b);
			o->readers--;
			gmp_rwmutex_runlock(&o->l);
		} else {
			int r = gmp_rwmutex_lock_until(&o->l, soon(j));
			may_fail(r);
			if (r)
				continue;
			check_int(o->writers++, 0);
			check_int(o->readers, 0);
			o->a++;
			pause_a_little(j);
			o->b++;
			o->writers--;
			gmp_rwmutex_unlock(&o->l);
		}
	}
}

static void rwmutexes(uint64_t *seed)
{
	Rw *o = calloc(1, sizeof *o);
	check(o);
	Crowd c = {.n = 0};
	for (int i = 0; i < 8; i++)
		crowd_add(&c, o, rw_job, seed);
	crowd_end(&c, seed, test_rand(seed) % 2);
	check_int(gmp_rwmutex_trylock(&o->l), 0); /* whoever gave up held nobody back */
	gmp_rwmutex_unlock(&o->l);
	free(o);
}

/* ---- cond: tokens, each with one signal -------------------------------------------------------------------------- */

typedef struct Tokens {
	gmp_mutex mu;
	gmp_cond more, none;
	int tokens, taken, producers;
} Tokens;

/* Stays until all is over: a lost signal leaves it asleep, and then the producer. */
static void tokens_taker(Job *j)
{
	Tokens *o = j->o;
	check_int(gmp_mutex_lock(&o->mu), 0);
	while (o->producers || o->tokens) {
		if (!o->tokens) {
			check_int(gmp_cond_wait(&o->more, &o->mu), 0);
			continue;
		}
		o->taken++;
		if (--o->tokens == 0)
			gmp_cond_signal(&o->none);
	}
	gmp_mutex_unlock(&o->mu);
}

/* Waits a little or is cancelled. If it was signalled, it passes that on, in the one way or the other. */
static void tokens_visitor(Job *j)
{
	Tokens *o = j->o;
	if (gmp_mutex_lock(&o->mu))
		return;
	while (o->producers) {
		int r = gmp_cond_wait_until(&o->more, &o->mu, soon(j));
		may_fail(r);
		check_int(gmp_mutex_trylock(&o->mu), -EAGAIN);
		if (r == -ECANCELED)
			break;
		if (r == 0 && o->tokens && rnd(j, 2)) {
			o->taken++;
			if (--o->tokens == 0)
				gmp_cond_signal(&o->none);
		} else if (r == 0) {
			gmp_cond_signal(&o->more);
		}
	}
	gmp_mutex_unlock(&o->mu);
}

static void tokens_producer(Job *j)
{
	Tokens *o = j->o;
	for (int i = 0; i < 20; i++) {
		check_int(gmp_mutex_lock(&o->mu), 0);
		o->tokens++;
		if (rnd(j, 2))
			gmp_cond_signal(&o->more);
		else {
			gmp_mutex_unlock(&o->mu);
			pause_a_little(j);
			gmp_cond_signal(&o->more);
			check_int(gmp_mutex_lock(&o->mu), 0);
		}
		while (o->tokens)
			check_int(gmp_cond_wait(&o->none, &o->mu), 0);
		gmp_mutex_unlock(&o->mu);
	}
	check_int(gmp_mutex_lock(&o->mu), 0);
	o->producers--;
	gmp_cond_broadcast(&o->more);
	gmp_mutex_unlock(&o->mu);
}

static void conds(uint64_t *seed)
{
	Tokens *o = calloc(1, sizeof *o);
	check(o);
	Crowd steady = {.n = 0}, visitors = {.n = 0};
	o->producers = 1;
	for (int i = 0; i < 2; i++)
		crowd_add(&steady, o, tokens_taker, seed);
	for (int i = 0; i < 4; i++)
		crowd_add(&visitors, o, tokens_visitor, seed);
	crowd_add(&steady, o, tokens_producer, seed);
	crowd_end(&visitors, seed, true);
	crowd_end(&steady, seed, false);
	check_int(o->taken, 20);
	check_int(o->tokens, 0);
	free(o);
}

/* ---- waitgroup: freed by the waiter at once ---------------------------------------------------------------------- */

static void wg_done(Job *j)
{
	pause_a_little(j);
	gmp_waitgroup_done(j->o);
}

static void wg_visitor(Job *j)
{
	gmp_waitgroup *pair = j->o;
	may_fail(gmp_waitgroup_wait_until(&pair[0], soon(j)));
	gmp_waitgroup_done(&pair[1]);
}

static void waitgroups(uint64_t *seed)
{
	gmp_waitgroup *pair = calloc(2, sizeof *pair);
	check(pair);
	Crowd c = {.n = 0}, visitors = {.n = 0};
	int n = 1 + (int)(test_rand(seed) % 6), v = (int)(test_rand(seed) % 4);
	gmp_waitgroup_add(&pair[0], n);
	gmp_waitgroup_add(&pair[1], v);
	for (int i = 0; i < v; i++)
		crowd_add(&visitors, pair, wg_visitor, seed);
	for (int i = 0; i < n; i++)
		crowd_add(&c, &pair[0], wg_done, seed);
	for (int i = 0; i < v; i++)
		if (test_rand(seed) % 2)
			check_int(gmp_cancel(visitors.job[i].g), 0);
	check_int(gmp_waitgroup_wait(&pair[0]), 0);
	check_int(gmp_waitgroup_wait(&pair[1]), 0);
	memset(pair, 0xee, 2 * sizeof *pair);
	free(pair);
	crowd_end(&c, seed, false);
	crowd_end(&visitors, seed, false);
}

/* ---- sem --------------------------------------------------------------------------------------------------------- */

typedef struct Sem {
	gmp_sem s;
	atomic_int inside;
	int permits;
} Sem;

static void sem_job(Job *j)
{
	Sem *o = j->o;
	for (int i = 0; i < 30; i++) {
		int r = gmp_sem_acquire_until(&o->s, soon(j));
		may_fail(r);
		if (r)
			continue;
		check(++o->inside <= o->permits);
		pause_a_little(j);
		o->inside--;
		gmp_sem_release(&o->s);
	}
}

static void sems(uint64_t *seed)
{
	Sem *o = calloc(1, sizeof *o);
	check(o);
	Crowd c = {.n = 0};
	o->permits = 1 + (int)(test_rand(seed) % 3);
	gmp_sem_init(&o->s, o->permits);
	for (int i = 0; i < 8; i++)
		crowd_add(&c, o, sem_job, seed);
	crowd_end(&c, seed, test_rand(seed) % 2);
	for (int i = 0; i < o->permits; i++)
		check_int(gmp_sem_tryacquire(&o->s), 0);
	check_int(gmp_sem_tryacquire(&o->s), -EAGAIN);
	free(o);
}

/* ---- once -------------------------------------------------------------------------------------------------------- */

typedef struct Once {
	gmp_once once;
	atomic_int refs;
	int calls;
} Once;

static void once_init(void *arg)
{
	Job *j = arg;
	pause_a_little(j);
	((Once *)j->o)->calls++;
}

static void once_job(Job *j)
{
	Once *o = j->o;
	gmp_once_do(&o->once, once_init, j);
	check_int(o->calls, 1);
	if (--o->refs == 0) {
		memset(o, 0xee, sizeof *o);
		free(o);
	}
}

static void onces(uint64_t *seed)
{
	Once *o = calloc(1, sizeof *o);
	check(o);
	Crowd c = {.n = 0};
	o->refs = 5;
	for (int i = 0; i < 5; i++)
		crowd_add(&c, o, once_job, seed);
	crowd_end(&c, seed, true);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

typedef struct Tree {
	gmp_group *grp;
	atomic_int born, gone, values;
	gmp_key key;
} Tree;

static void tree_value(void *arg)
{
	Tree *o = arg;
	if (o->born % 2)
		gmp_yield();
	o->values--;
}

static void tree_member(void *arg)
{
	Tree *o = arg;
	int me = o->born++;
	o->values++;
	check_int(gmp_key_set(o->key, o), 0);
	for (int i = 0; i < 2 && me < 30; i++) {
		int r = gmp_group_spawn(o->grp, tree_member, o);
		check(r == 0 || r == -ECANCELED);
	}
	if (me % 3 == 0)
		gmp_yield();
	(void)gmp_sleep(me % 7 == 0 ? 3600 * GMP_SEC : 1000 * me);
	o->gone++;
}

static void tree_waiter(Job *j)
{
	Tree *o = j->o;
	may_fail(gmp_group_wait_until(o->grp, soon(j)));
}

static void groups(uint64_t *seed)
{
	Tree o = {.grp = gmp_group_new()};
	check(o.grp);
	check_int(gmp_key_create(&o.key, tree_value), 0);
	Crowd c = {.n = 0};
	check_int(gmp_group_spawn(o.grp, tree_member, &o), 0);
	for (int i = 0; i < 3; i++)
		crowd_add(&c, &o, tree_waiter, seed);
	if (test_rand(seed) % 2)
		(void)gmp_sleep(test_rand(seed) % 50000);
	gmp_group_cancel(o.grp);
	crowd_end(&c, seed, true);
	gmp_group_free(o.grp);
	check_int(o.born, o.gone);
	check_int(o.values, 0);
	check_int(gmp_key_delete(o.key), 0);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

typedef struct Scenario {
	const char *name;
	void (*fn)(uint64_t *seed);
	unsigned long rounds;
} Scenario;

static Scenario scenarios[] = {
	{"rwmutex", rwmutexes, 0}, {"cond", conds, 0}, {"waitgroup", waitgroups, 0}, {"sem", sems, 0}, {"once", onces, 0},
	{"group", groups, 0},
};
enum { NSCENARIOS = sizeof scenarios / sizeof scenarios[0] };

typedef struct Run {
	Scenario *only;
	uint64_t seed;
	int64_t end;
} Run;

static void run(void *arg)
{
	Run *r = arg;
	int procs = gmp_procs();
	do {
		Scenario *s = r->only ? r->only : &scenarios[test_rand(&r->seed) % NSCENARIOS];
		s->fn(&r->seed);
		s->rounds++;
		if (procs > 1 && test_rand(&r->seed) % 16 == 0)
			check(gmp_set_procs(1 + (int)(test_rand(&r->seed) % (uint32_t)procs)) > 0);
	} while (gmp_now() < r->end);
}

static atomic_bool over;

/* Takes part for ever and so makes every lock a real one; uses the objects a little itself. */
static void *bystander(void *arg)
{
	gmp_mutex mu = {0};
	(void)arg;
	while (!over) {
		check_int(gmp_mutex_lock(&mu), 0);
		gmp_mutex_unlock(&mu);
		check_int(gmp_sleep(1000000), 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 3;
	Run r = {.seed = test_seed()};
	for (int i = 0; i < NSCENARIOS; i++)
		if (argc > 2 && strcmp(argv[2], scenarios[i].name) == 0)
			r.only = &scenarios[i];
	int procs[] = {1, 2, 4, 1};
	pthread_t t;
	for (int i = 0; i < 4; i++) {
		if (i == 3)
			check_int(pthread_create(&t, NULL, bystander, NULL), 0);
		r.end = gmp_now() + (int64_t)(seconds * 1e9 / 4);
		run_on(argc > 3 ? atoi(argv[3]) : procs[i], run, &r);
	}
	over = true;
	check_int(pthread_join(t, NULL), 0);
	for (int i = 0; i < NSCENARIOS; i++)
		printf("%s: %lu rounds\n", scenarios[i].name, scenarios[i].rounds);
	return 0;
}
