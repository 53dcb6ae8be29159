/* SPDX-License-Identifier: MIT
 * stress_storm.c [seconds [storm [procs]]] - storms, each against one thing at random points, with a count that must come
 * out exactly: cancel (a victim in any blocking call; what it got, it has; what it did not get, is still there), close
 * (channels closed under senders, receivers and selects), select (competing selects on few channels), handoff (a mutex
 * from starving waiter to starving waiter), timer (timers started, stopped and freed by other Ps and threads; TI-1, TI-2).
 * Seed: GMP_TEST_SEED. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

static uint64_t seed;
static uint32_t rnd(uint64_t *r, uint32_t n) { return test_rand(r) % n; }
static uint64_t fork_seed(uint64_t *r) { return ((uint64_t)test_rand(r) << 32 | test_rand(r)) * 2 + 1; }

static void dawdle(uint64_t *r)
{
	uint32_t x = rnd(r, 16);
	if (x < 6) {
		gmp_yield();
	} else if (x < 8) {
		(void)gmp_sleep(rnd(r, 30000));
	} else if (x < 10) {
		int64_t end = gmp_now() + rnd(r, 5000);
		while (gmp_now() < end)
			;
	}
}

static int64_t some_deadline(uint64_t *r)
{
	uint32_t x = rnd(r, 6);
	return x == 0 ? gmp_now() + rnd(r, 50000) : x == 1 ? gmp_now() + 3600 * GMP_SEC : GMP_FOREVER;
}

/* ---- cancel ---------------------------------------------------------------------------------------------------------- */

enum { SEND, RECV, SELECT, SELECT_SEND, LOCK, RLOCK, WLOCK, COND, SEM, WG, JOIN, SLEEP, GROUP, ONCE, KINDS, VICTIMS = 6 };
static atomic_ulong hits[KINDS][2]; /* cancelled; got it */

typedef struct Storm {
	gmp_chan *c, *d;
	gmp_mutex mu, cm;
	gmp_rwmutex rw;
	gmp_cond cond;
	gmp_sem sem;
	gmp_waitgroup wg;
	gmp_once once;
	gmp_group *grp;
	gmp_g *target[VICTIMS];
	atomic_long sent, got, signalled, woken, permits, calls;
	int inside, readers;
	bool go; /* guarded by cm */
} Storm;

typedef struct Victim {
	Storm *s;
	int kind, at;
	uint64_t r;
} Victim;

static void slow_init(void *arg)
{
	Victim *v = arg;
	dawdle(&v->r);
	atomic_fetch_add(&v->s->calls, 1);
}

static int endure(Victim *v)
{
	Storm *s = v->s;
	int64_t d = some_deadline(&v->r);
	int x = 1, e;
	gmp_case k[3] = {{s->c, GMP_RECV, &x, 0}, {s->d, GMP_RECV, &x, 0}, {NULL, GMP_RECV, NULL, 0}};
	switch (v->kind) {
	case SEND:
		e = d == GMP_FOREVER ? gmp_chan_send(s->c, &x) : gmp_chan_send_until(s->c, &x, d);
		atomic_fetch_add(&s->sent, e == 0);
		return e;
	case RECV:
		x = 0;
		e = d == GMP_FOREVER ? gmp_chan_recv(s->c, &x) : gmp_chan_recv_until(s->c, &x, d);
		check_int(x, e == 0);
		atomic_fetch_add(&s->got, e == 0);
		return e;
	case SELECT:
		x = 0;
		e = gmp_select(k, 3, d);
		check_int(x, e >= 0);
		atomic_fetch_add(&s->got, e >= 0);
		return e < 0 ? e : 0;
	case SELECT_SEND:
		k[0].op = k[1].op = GMP_SEND;
		e = gmp_select(k, 2, d);
		atomic_fetch_add(&s->sent, e >= 0);
		return e < 0 ? e : 0;
	case LOCK:
		if ((e = d == GMP_FOREVER ? gmp_mutex_lock(&s->mu) : gmp_mutex_lock_until(&s->mu, d)))
			return e;
		check_int(s->inside++, 0);
		dawdle(&v->r);
		check_int(--s->inside, 0);
		gmp_mutex_unlock(&s->mu);
		return 0;
	case RLOCK:
		if ((e = gmp_rwmutex_rlock_until(&s->rw, d)))
			return e;
		check_int(s->inside, 0);
		dawdle(&v->r);
		gmp_rwmutex_runlock(&s->rw);
		return 0;
	case WLOCK:
		if ((e = gmp_rwmutex_lock_until(&s->rw, d)))
			return e;
		check_int(s->inside++, 0);
		dawdle(&v->r);
		check_int(--s->inside, 0);
		gmp_rwmutex_unlock(&s->rw);
		return 0;
	case COND:
		if ((e = gmp_mutex_lock_until(&s->cm, d)))
			return e;
		if (!s->go)
			e = gmp_cond_wait_until(&s->cond, &s->cm, d);
		check_int(gmp_mutex_trylock(&s->cm), -EAGAIN);
		gmp_mutex_unlock(&s->cm);
		return e;
	case SEM:
		e = d == GMP_FOREVER ? gmp_sem_acquire(&s->sem) : gmp_sem_acquire_until(&s->sem, d);
		atomic_fetch_sub(&s->permits, e == 0);
		return e;
	case WG:
		return d == GMP_FOREVER ? gmp_waitgroup_wait(&s->wg) : gmp_waitgroup_wait_until(&s->wg, d);
	case JOIN:
		e = d == GMP_FOREVER ? gmp_join(s->target[v->at]) : gmp_join_until(s->target[v->at], d);
		if (e == 0)
			s->target[v->at] = NULL;
		return e;
	case SLEEP:
		return gmp_sleep_until(d == GMP_FOREVER ? d : gmp_now() + rnd(&v->r, 50000));
	case GROUP:
		return gmp_group_wait_until(s->grp, d);
	default:
		gmp_once_do(&s->once, slow_init, v);
		check_int(atomic_load(&s->calls), 1);
		return 0;
	}
}

static void victim(void *arg)
{
	Victim *v = arg;
	for (int i = 0; i < 8; i++) {
		if (rnd(&v->r, 2))
			dawdle(&v->r);
		int e = endure(v);
		if (e == 0)
			atomic_fetch_add(&hits[v->kind][1], 1);
		if (e == 0 && (v->kind == JOIN || v->kind == COND))
			return;
		if (e == -ECANCELED) {
			check(gmp_cancelled());
			atomic_fetch_add(&hits[v->kind][0], 1);
			return;
		}
		check(e == 0 || e == -ETIMEDOUT);
	}
}

/* The other side of one operation, now. */
static void feed(Storm *s, int kind, uint64_t *r)
{
	int x = 1, e;
	switch (kind) {
	case SEND:
	case SELECT_SEND:
		x = 0;
		e = gmp_chan_try_recv(kind == SEND || rnd(r, 2) ? s->c : s->d, &x);
		check_int(x, e == 0);
		atomic_fetch_add(&s->got, e == 0);
		break;
	case RECV:
	case SELECT:
		e = gmp_chan_try_send(kind == RECV || rnd(r, 2) ? s->c : s->d, &x);
		atomic_fetch_add(&s->sent, e == 0);
		break;
	case LOCK:
		if (gmp_mutex_lock(&s->mu) == 0) {
			check_int(s->inside++, 0);
			dawdle(r);
			s->inside--;
			gmp_mutex_unlock(&s->mu);
		}
		break;
	case RLOCK:
	case WLOCK:
		if (gmp_rwmutex_lock(&s->rw) == 0) {
			check_int(s->inside++, 0);
			dawdle(r);
			s->inside--;
			gmp_rwmutex_unlock(&s->rw);
		}
		break;
	case COND:
		gmp_cond_signal(&s->cond);
		break;
	case SEM:
		gmp_sem_release(&s->sem);
		atomic_fetch_add(&s->permits, 1);
		break;
	case WG:
		gmp_waitgroup_add(&s->wg, -1);
		gmp_waitgroup_add(&s->wg, 1);
		break;
	default:
		break;
	}
}

static void until_cancelled(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	if (rnd(&r, 2))
		(void)gmp_sleep(rnd(&r, 50000));
	else
		(void)gmp_sleep(GMP_FOREVER);
}

static void cancel_storm(uint64_t *r)
{
	int kind = (int)rnd(r, KINDS);
	Storm *s = calloc(1, sizeof *s);
	check(s);
	s->c = gmp_chan_new(sizeof(int), rnd(r, 3));
	s->d = gmp_chan_new(sizeof(int), rnd(r, 2));
	gmp_waitgroup_add(&s->wg, 1);
	if (kind == GROUP) {
		check((s->grp = gmp_group_new()));
		for (int i = 0; i < 3; i++)
			check_int(gmp_group_spawn(s->grp, until_cancelled, (void *)(uintptr_t)fork_seed(r)), 0);
	}
	Victim v[VICTIMS];
	gmp_g *g[VICTIMS];
	for (int i = 0; i < VICTIMS; i++) {
		if (kind == JOIN)
			check_int(gmp_spawn_attr(&s->target[i], NULL, until_cancelled, (void *)(uintptr_t)fork_seed(r)), 0);
		v[i] = (Victim){s, kind, i, fork_seed(r)};
		check_int(gmp_spawn_attr(&g[i], NULL, victim, &v[i]), 0);
	}
	int order[VICTIMS];
	for (int i = 0; i < VICTIMS; i++) {
		int k = (int)rnd(r, (uint32_t)i + 1);
		order[i] = order[k];
		order[k] = i;
	}
	for (int i = 0; i < VICTIMS; i++) {
		for (uint32_t n = rnd(r, 4); n > 0; n--) {
			if (rnd(r, 3) == 0)
				dawdle(r);
			feed(s, kind, r);
		}
		check_int(gmp_cancel(g[order[i]]), 0);
	}
	for (int i = 0; i < VICTIMS; i++)
		check_int(gmp_join(g[i]), 0);
	/* what nobody got is still there, and nobody is left */
	long left = (long)gmp_chan_len(s->c) + (long)gmp_chan_len(s->d);
	check_int(atomic_load(&s->sent), atomic_load(&s->got) + left);
	gmp_chan_free(s->c);
	gmp_chan_free(s->d);
	check_int(gmp_mutex_trylock(&s->mu), 0);
	check_int(gmp_mutex_trylock(&s->cm), 0);
	check_int(gmp_rwmutex_trylock(&s->rw), 0);
	for (long n = atomic_load(&s->permits); n > 0; n--)
		check_int(gmp_sem_tryacquire(&s->sem), 0);
	check_int(gmp_sem_tryacquire(&s->sem), -EAGAIN);
	for (int i = 0; i < VICTIMS; i++)
		if (s->target[i]) {
			check_int(gmp_cancel(s->target[i]), 0);
			check_int(gmp_join(s->target[i]), 0);
		}
	gmp_group_free(s->grp);
	memset(s, 0xee, sizeof *s);
	free(s);
}

/* ---- close ------------------------------------------------------------------------------------------------------------- */

enum { CROWD = 8 };
typedef struct Doomed {
	gmp_chan *c[2];
	atomic_long sent, got;
	atomic_bool closed[2];
} Doomed;
typedef struct Soul {
	Doomed *d;
	uint64_t r;
} Soul;

static void soul(void *arg)
{
	Soul *m = arg;
	Doomed *d = m->d;
	for (;;) {
		int which = (int)rnd(&m->r, 2), x = 1, e;
		int op = (int)rnd(&m->r, 5);
		bool was = atomic_load(&d->closed[which]);
		if (op == 0) {
			e = gmp_chan_send(d->c[which], &x);
			atomic_fetch_add(&d->sent, e == 0);
		} else if (op == 1) {
			e = gmp_chan_recv(d->c[which], &x);
			check_int(x, e == 0);
			atomic_fetch_add(&d->got, e == 0);
		} else if (op == 2) {
			e = gmp_chan_recv_until(d->c[which], &x, gmp_now() + rnd(&m->r, 20000));
			check(e == -ETIMEDOUT || x == (e == 0));
			atomic_fetch_add(&d->got, e == 0);
		} else {
			int a = 1, b = 1;
			gmp_case k[4] = {{d->c[0], GMP_SEND, &x, 0}, {d->c[1], GMP_RECV, &a, 0}, {d->c[1], GMP_SEND, &x, 0}, {d->c[0], GMP_RECV, &b, 0}};
			int i = gmp_select(k, op == 3 ? 2 : 4, GMP_FOREVER);
			check(i >= 0);
			e = k[i].result;
			which = k[i].chan == d->c[1];
			if (k[i].op == GMP_RECV)
				check_int(i == 1 ? a : b, e == 0);
			atomic_fetch_add(k[i].op == GMP_SEND ? &d->sent : &d->got, e == 0);
		}
		check(e == 0 || e == -EPIPE || e == -ETIMEDOUT);
		if (e == -EPIPE && rnd(&m->r, 2))
			return;
		if (was && op == 0)
			check_int(e, -EPIPE); /* once closed, always closed */
		if (rnd(&m->r, 4) == 0)
			dawdle(&m->r);
	}
}

static void close_storm(uint64_t *r)
{
	Doomed d = {{gmp_chan_new(sizeof(int), rnd(r, 3)), gmp_chan_new(sizeof(int), rnd(r, 3))}, 0, 0, {false, false}};
	Soul m[CROWD];
	gmp_g *g[CROWD];
	for (int i = 0; i < CROWD; i++) {
		m[i] = (Soul){&d, fork_seed(r)};
		check_int(gmp_spawn_attr(&g[i], NULL, soul, &m[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		dawdle(r);
		check_int(gmp_chan_close(d.c[i]), 0);
		atomic_store(&d.closed[i], true);
		check_int(gmp_chan_close(d.c[i]), -EPIPE);
	}
	for (int i = 0; i < CROWD; i++)
		check_int(gmp_join(g[i]), 0);
	int x;
	for (int i = 0; i < 2; i++) {
		while (gmp_chan_recv(d.c[i], &x) == 0)
			atomic_fetch_add(&d.got, 1);
		check_int(gmp_chan_len(d.c[i]), 0);
		gmp_chan_free(d.c[i]);
	}
	check_int(atomic_load(&d.sent), atomic_load(&d.got));
}

/* ---- select ------------------------------------------------------------------------------------------------------------ */

typedef struct Arena {
	gmp_chan *c[4], *over;
	atomic_long in, out;
} Arena;
typedef struct Fighter {
	Arena *a;
	uint64_t r;
} Fighter;

static void fights(void *arg)
{
	Fighter *f = arg;
	for (;;) {
		int v[6];
		gmp_case k[7];
		int n = 1 + (int)rnd(&f->r, 6);
		for (int i = 0; i < n; i++) {
			v[i] = 1 + (int)rnd(&f->r, 1000);
			k[i] = (gmp_case){f->a->c[rnd(&f->r, 4)], rnd(&f->r, 2) ? GMP_SEND : GMP_RECV, &v[i], 0};
			if (rnd(&f->r, 16) == 0)
				k[i].chan = NULL;
		}
		k[n] = (gmp_case){f->a->over, GMP_RECV, NULL, 0};
		int i = gmp_select(k, n + 1, rnd(&f->r, 8) ? GMP_FOREVER : gmp_now() + rnd(&f->r, 20000));
		if (i == n)
			return;
		check(i == -ETIMEDOUT || (i >= 0 && k[i].result == 0));
		if (i >= 0)
			atomic_fetch_add(k[i].op == GMP_SEND ? &f->a->in : &f->a->out, v[i]);
	}
}

static void *fighting_thread(void *arg)
{
	fights(arg);
	return NULL;
}

static void select_storm(uint64_t *r)
{
	Arena a = {.over = gmp_chan_new(0, 0)};
	for (int i = 0; i < 4; i++)
		a.c[i] = gmp_chan_new(sizeof(int), (size_t)i / 2);
	Fighter f[CROWD];
	gmp_g *g[CROWD];
	pthread_t t;
	bool foreign = rnd(r, 8) == 0;
	for (int i = 0; i < CROWD; i++) {
		f[i] = (Fighter){&a, fork_seed(r)};
		if (i == 0 && foreign)
			check_int(pthread_create(&t, NULL, fighting_thread, &f[i]), 0);
		else
			check_int(gmp_spawn_attr(&g[i], NULL, fights, &f[i]), 0);
	}
	(void)gmp_sleep(rnd(r, 2000000));
	check_int(gmp_chan_close(a.over), 0);
	for (int i = foreign; i < CROWD; i++)
		check_int(gmp_join(g[i]), 0);
	if (foreign) {
		gmp_blocking_enter();
		pthread_join(t, NULL);
		gmp_blocking_leave();
	}
	int v;
	for (int i = 0; i < 4; i++) {
		while (gmp_chan_try_recv(a.c[i], &v) == 0)
			atomic_fetch_add(&a.out, v);
		gmp_chan_free(a.c[i]);
	}
	gmp_chan_free(a.over);
	check_int(atomic_load(&a.in), atomic_load(&a.out));
}

/* ---- hand-off ---------------------------------------------------------------------------------------------------------- */

typedef struct Relay {
	gmp_mutex mu;
	long count; /* guarded by mu */
	int inside;
	atomic_long locks;
	int64_t end;
} Relay;
typedef struct Runner {
	Relay *o;
	uint64_t r;
	bool hog;
} Runner;

static void runs(void *arg)
{
	Runner *m = arg;
	Relay *o = m->o;
	while (gmp_now() < o->end) {
		int e = rnd(&m->r, 4) ? gmp_mutex_lock(&o->mu) : gmp_mutex_lock_until(&o->mu, gmp_now() + rnd(&m->r, 3000000));
		if (e) {
			check(e == -ETIMEDOUT || e == -ECANCELED);
			if (e == -ECANCELED)
				return;
			continue;
		}
		check_int(o->inside++, 0);
		o->count++;
		int64_t end = gmp_now() + (m->hog ? 300000 : rnd(&m->r, 2000)); /* hogs make the others starve */
		while (gmp_now() < end)
			;
		if (rnd(&m->r, 8) == 0)
			gmp_yield();
		check_int(--o->inside, 0);
		gmp_mutex_unlock(&o->mu);
		atomic_fetch_add(&o->locks, 1);
	}
}

static void handoff_storm(uint64_t *r)
{
	Relay *o = calloc(1, sizeof *o);
	check(o);
	o->end = gmp_now() + 15 * GMP_MSEC;
	Runner m[CROWD];
	gmp_g *g[CROWD];
	for (int i = 0; i < CROWD; i++) {
		m[i] = (Runner){o, fork_seed(r), i < 2};
		check_int(gmp_spawn_attr(&g[i], NULL, runs, &m[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		(void)gmp_sleep(rnd(r, 4000000));
		check_int(gmp_cancel(g[2 + rnd(r, CROWD - 2)]), 0);
	}
	for (int i = 0; i < CROWD; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(o->count, atomic_load(&o->locks));
	check_int(gmp_mutex_trylock(&o->mu), 0);
	free(o);
}

/* ---- timers -------------------------------------------------------------------------------------------------------------- */

typedef struct Clock {
	gmp_timer *t[3];
	gmp_chan *tick;
	atomic_long starts, ends; /* of one-shots: each start ends by a call or by somebody being told that it was pending */
	gmp_waitgroup wg;
} Clock;
typedef struct Setter {
	Clock *o;
	uint64_t r;
} Setter;

static void rings(void *arg)
{
	atomic_fetch_add(&((Clock *)arg)->ends, 1);
}

static atomic_ulong beaten; /* the last one may come when its Clock is gone */
static void beats(void *arg)
{
	(void)arg;
	atomic_fetch_add(&beaten, 1);
}

static void sets(void *arg)
{
	Setter *m = arg;
	Clock *o = m->o;
	for (int i = 0; i < 40; i++) {
		gmp_timer *t = o->t[rnd(&m->r, 2)];
		int e;
		switch (rnd(&m->r, 8)) {
		case 0:
		case 1:
		case 2:
			e = gmp_timer_start(t, gmp_now() + rnd(&m->r, 20000), 0);
			check(e == 0 || e == 1);
			atomic_fetch_add(&o->starts, 1);
			atomic_fetch_add(&o->ends, e);
			break;
		case 3:
			atomic_fetch_add(&o->ends, gmp_timer_stop(t));
			break;
		case 4:
			e = rnd(&m->r, 2) ? gmp_timer_stop(o->t[2]) : gmp_timer_start(o->t[2], gmp_now(), 1000 + rnd(&m->r, 10000));
			check(e == 0 || e == 1);
			break;
		case 5:
			e = gmp_chan_recv_until(o->tick, NULL, gmp_now() + rnd(&m->r, 20000));
			check(e == 0 || e == -ETIMEDOUT);
			break;
		default:
			dawdle(&m->r);
		}
	}
	gmp_waitgroup_done(&o->wg);
}

static void *setting_thread(void *arg)
{
	sets(arg);
	return NULL;
}

static void timer_storm(uint64_t *r)
{
	Clock o = {.starts = 0};
	for (int i = 0; i < 3; i++)
		check((o.t[i] = gmp_timer_new(i < 2 ? rings : beats, &o)));
	check((o.tick = gmp_ticker_new(1000 + rnd(r, 20000))));
	Setter m[CROWD];
	pthread_t t;
	bool foreign = rnd(r, 4) == 0;
	gmp_waitgroup_add(&o.wg, CROWD);
	for (int i = 0; i < CROWD; i++) {
		m[i] = (Setter){&o, fork_seed(r)};
		if (i == 0 && foreign)
			check_int(pthread_create(&t, NULL, setting_thread, &m[i]), 0);
		else
			check_int(gmp_spawn(sets, &m[i]), 0);
	}
	check_int(gmp_waitgroup_wait(&o.wg), 0);
	if (foreign) {
		gmp_blocking_enter();
		pthread_join(t, NULL);
		gmp_blocking_leave();
	}
	for (int i = 0; i < 2; i++)
		atomic_fetch_add(&o.ends, gmp_timer_stop(o.t[i]));
	for (int i = 0; i < 3; i++)
		gmp_timer_free(o.t[i]);
	gmp_ticker_free(o.tick);
	while (atomic_load(&o.ends) < atomic_load(&o.starts))
		gmp_yield(); /* an fn has begun */
	check_int(atomic_load(&o.ends), atomic_load(&o.starts));
}

/* ---- all ----------------------------------------------------------------------------------------------------------------- */

static struct {
	const char *name;
	void (*fn)(uint64_t *r);
	unsigned long rounds;
} storms[] = {
	{"cancel", cancel_storm, 0}, {"close", close_storm, 0}, {"select", select_storm, 0}, {"handoff", handoff_storm, 0},
	{"timer", timer_storm, 0},
};
enum { NSTORMS = sizeof storms / sizeof storms[0] };
static int only = -1;
static int64_t end;

static void run(void *arg)
{
	(void)arg;
	int procs = gmp_procs();
	do {
		uint32_t s = only >= 0 ? (uint32_t)only : rnd(&seed, NSTORMS);
		storms[s].fn(&seed);
		storms[s].rounds++;
		if (procs > 1 && rnd(&seed, 16) == 0)
			check(gmp_set_procs(1 + (int)rnd(&seed, (uint32_t)procs)) > 0);
	} while (gmp_now() < end);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 3;
	seed = test_seed();
	for (int i = 0; i < NSTORMS && argc > 2; i++)
		if (strcmp(argv[2], storms[i].name) == 0)
			only = i;
	int n = test_ncpu(), procs[] = {1, 2, n, 2 * n};
	/* in slices: a single run is watched for a hang */
	int slices = (int)(seconds / 40) + 1;
	for (int k = 0; k < 4 * slices; k++) {
		end = gmp_now() + (int64_t)(seconds * 1e9 / (4 * slices));
		run_on(argc > 3 ? atoi(argv[3]) : procs[k % 4], run, NULL);
	}
	for (int i = 0; i < NSTORMS; i++)
		printf("%s: %lu rounds\n", storms[i].name, storms[i].rounds);
	printf("beats: %lu\n", atomic_load(&beaten));
	static const char *const kinds[] = {"send", "recv", "select", "select send", "lock", "rlock", "wlock", "cond", "sem", "wg", "join",
		"sleep", "group", "once"};
	for (int i = 0; i < KINDS && storms[0].rounds; i++)
		printf("%s: %lu cancelled, %lu done\n", kinds[i], atomic_load(&hits[i][0]), atomic_load(&hits[i][1]));
	return 0;
}
