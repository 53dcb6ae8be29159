/* SPDX-License-Identifier: MIT
 * stress_sched.c - everything at once, at random: coroutines that spawn, join, cancel, yield, sleep, compute, block their
 * thread (declared or not), lock it, use channels, selects and mutexes, while the number of Ps changes and foreign threads
 * join in. At the end nothing may be left. What an operation must return is checked where it is known.
 *
 * Arguments: seconds a round (0: the default), seed (also GMP_TEST_SEED), procs (0: 1, 2, 4, 8 in turn), a mask of operations. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { NCHAN = 4, NWORKER = 12, NFOREIGN = 2 };
enum { OP_SPAWN, OP_JOIN, OP_YIELD, OP_SLEEP, OP_COMPUTE, OP_BLOCKING, OP_UNDECLARED, OP_LOCK_THREAD, OP_CHAN, OP_SELECT, OP_MUTEX,
	OP_CANCEL, OP_PINGPONG, OP_PROCS, OP_CANCEL_JOINER, NOPS };

static uint64_t seed;
static unsigned mask = ~0u;
static int64_t until;
static gmp_chan *chan[NCHAN];
static gmp_mutex mutex;
static long guarded;         /* by mutex */
static atomic_long locks, sent, received, children, born, done[NOPS];
static atomic_bool stop;
static atomic_ulong streams;
static gmp_waitgroup all;

static uint64_t stream(void) { return seed + 0x9e3779b97f4a7c15u * atomic_fetch_add(&streams, 1); }
static bool over(void) { return atomic_load_explicit(&stop, memory_order_relaxed) || gmp_now() >= until; }
static int64_t soon(uint64_t *r) { return gmp_now() + (int64_t)(test_rand(r) % 300) * GMP_USEC; }

static void compute(int64_t ns)
{
	int64_t end = gmp_now() + ns;
	while (gmp_now() < end)
		;
}

/* ---- small operations -------------------------------------------------------------------------------------------------- */

static void child(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	if (r & 1)
		gmp_yield();
	if (r & 2)
		gmp_sleep((int64_t)(test_rand(&r) % 50) * GMP_USEC);
	atomic_fetch_add(&children, 1);
}

static void op_spawn(uint64_t *r)
{
	int n = 1 + (int)(test_rand(r) % 20);
	for (int i = 0; i < n; i++) {
		check_int(gmp_spawn(child, (void *)(uintptr_t)test_rand(r)), 0);
		atomic_fetch_add(&born, 1);
	}
}

static void op_join(uint64_t *r)
{
	gmp_g *g[8];
	int n = 1 + (int)(test_rand(r) % 8);
	for (int i = 0; i < n; i++) {
		check_int(gmp_spawn_attr(&g[i], NULL, child, (void *)(uintptr_t)test_rand(r)), 0);
		atomic_fetch_add(&born, 1);
	}
	for (int i = 0; i < n; i++) {
		int e;
		switch (test_rand(r) % 3) {
		case 0:
			check_int(gmp_join(g[i]), 0);
			break;
		case 1:
			while ((e = gmp_join_until(g[i], soon(r))) != 0)
				check_int(e, -ETIMEDOUT);
			break;
		default:
			check_int(gmp_detach(g[i]), 0);
		}
	}
}

static void op_chan(uint64_t *r)
{
	gmp_chan *c = chan[test_rand(r) % NCHAN];
	long v = 1;
	int e = 0;
	switch (test_rand(r) % 4) {
	case 0:
		e = gmp_chan_send_until(c, &v, soon(r));
		atomic_fetch_add(&sent, e == 0);
		break;
	case 1:
		e = gmp_chan_try_send(c, &v);
		atomic_fetch_add(&sent, e == 0);
		break;
	case 2:
		v = 0;
		e = gmp_chan_recv_until(c, &v, soon(r));
		check_int(v, e == 0);
		atomic_fetch_add(&received, e == 0);
		break;
	default:
		v = 0;
		e = gmp_chan_try_recv(c, &v);
		check_int(v, e == 0);
		atomic_fetch_add(&received, e == 0);
	}
	check(e == 0 || e == -ETIMEDOUT || e == -EAGAIN);
}

static void op_select(uint64_t *r)
{
	long v[3];
	gmp_case cases[3];
	int n = 1 + (int)(test_rand(r) % 3);
	for (int i = 0; i < n; i++) {
		cases[i].op = test_rand(r) % 2 ? GMP_SEND : GMP_RECV;
		cases[i].chan = chan[test_rand(r) % NCHAN];
		cases[i].elem = &v[i];
		v[i] = cases[i].op == GMP_SEND;
	}
	int k = gmp_select(cases, n, test_rand(r) % 4 ? soon(r) : 0);
	check(k >= 0 || k == -ETIMEDOUT || k == -EAGAIN);
	for (int i = 0; i < n; i++)
		check_int(v[i], i == k || cases[i].op == GMP_SEND);
	if (k >= 0) {
		check_int(cases[k].result, 0);
		atomic_fetch_add(cases[k].op == GMP_SEND ? &sent : &received, 1);
	}
}

static void op_mutex(uint64_t *r)
{
	int e = test_rand(r) % 2 ? gmp_mutex_lock(&mutex) : gmp_mutex_lock_until(&mutex, soon(r));
	if (e) {
		check_int(e, -ETIMEDOUT);
		return;
	}
	long was = guarded++;
	if (test_rand(r) % 8 == 0)
		gmp_yield();
	check_int(guarded, was + 1);
	atomic_fetch_add(&locks, 1);
	gmp_mutex_unlock(&mutex);
}

static void op_lock_thread(uint64_t *r)
{
	gmp_lock_thread();
	pthread_t self = pthread_self();
	int n = 1 + (int)(test_rand(r) % 6);
	for (int i = 0; i < n; i++) {
		switch (test_rand(r) % 5) {
		case 0:
			gmp_yield();
			break;
		case 1:
			gmp_sleep((int64_t)(test_rand(r) % 50) * GMP_USEC);
			break;
		case 2:
			op_chan(r);
			break;
		case 3:
			gmp_blocking_enter();
			usleep(test_rand(r) % 50);
			gmp_blocking_leave();
			break;
		default:
			compute((int64_t)(test_rand(r) % 100) * GMP_USEC);
		}
		check(pthread_equal(pthread_self(), self));
	}
	gmp_unlock_thread();
}

/* Ends while locked: its thread goes with it. */
static void locked_end(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	gmp_lock_thread();
	if (r & 1)
		gmp_sleep(20 * GMP_USEC);
	atomic_fetch_add(&children, 1);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------------- */

static void waits_for_ever(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	gmp_chan *none = gmp_chan_new(sizeof(long), 0);
	check(none);
	long v = 0;
	gmp_case cases[2] = {{.chan = none, .op = GMP_RECV, .elem = &v}, {.chan = none, .op = GMP_SEND, .elem = &v}};
	gmp_sem sem;
	gmp_sem_init(&sem, 0);
	int e;
	switch (r % 6) {
	case 0:
		e = gmp_chan_recv(none, &v);
		break;
	case 1:
		e = gmp_chan_send_until(none, &v, GMP_FOREVER);
		break;
	case 2:
		e = gmp_select(cases, 2, GMP_FOREVER);
		break;
	case 3:
		e = gmp_sleep(GMP_FOREVER);
		break;
	case 4:
		e = gmp_sem_acquire(&sem);
		break;
	default:
		e = gmp_select(cases, 1, gmp_now() + 1000 * GMP_SEC);
	}
	check_int(e, -ECANCELED);
	check(gmp_cancelled());
	check_int(gmp_chan_recv(none, &v), -ECANCELED);
	gmp_chan_free(none);
	atomic_fetch_add(&children, 1);
}

static void op_cancel(uint64_t *r)
{
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, waits_for_ever, (void *)(uintptr_t)test_rand(r)), 0);
	atomic_fetch_add(&born, 1);
	if (test_rand(r) % 2)
		gmp_sleep((int64_t)(test_rand(r) % 100) * GMP_USEC);
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
}

typedef struct Joiner {
	gmp_g *target;
	int64_t deadline;
	int result;
} Joiner;

static void joins(void *arg)
{
	Joiner *j = arg;
	j->result = j->deadline ? gmp_join_until(j->target, j->deadline) : gmp_join(j->target);
	atomic_fetch_add(&children, 1);
}

/* One who joins is cancelled, while another one would like to join. */
static void op_cancel_joiner(uint64_t *r)
{
	Joiner j = {.deadline = test_rand(r) % 2 ? gmp_now() + 1000 * GMP_SEC : 0};
	gmp_g *g;
	check_int(gmp_spawn_attr(&j.target, NULL, waits_for_ever, (void *)(uintptr_t)test_rand(r)), 0);
	check_int(gmp_spawn_attr(&g, NULL, joins, &j), 0);
	atomic_fetch_add(&born, 2);
	gmp_sleep((int64_t)(test_rand(r) % 100) * GMP_USEC);
	check_int(gmp_cancel(g), 0);
	int e = gmp_join_until(j.target, soon(r));
	check(e == -ETIMEDOUT || e == -EBUSY);
	check_int(gmp_join(g), 0);
	check(j.result == -ECANCELED || j.result == -EBUSY);
	check_int(gmp_cancel(j.target), 0);
	check_int(gmp_join(j.target), 0);
}

/* ---- ping-pong --------------------------------------------------------------------------------------------------------- */

typedef struct Pair {
	gmp_chan *a, *b;
	int n;
	gmp_waitgroup wg;
} Pair;

static void pong(void *arg)
{
	Pair *p = arg;
	for (int i = 0; i < p->n; i++) {
		long v = 0;
		check_int(gmp_chan_recv(p->a, &v), 0);
		check_int(v, i);
		v++;
		check_int(gmp_chan_send(p->b, &v), 0);
	}
	atomic_fetch_add(&children, 1);
	gmp_waitgroup_done(&p->wg);
}

static void op_pingpong(uint64_t *r)
{
	Pair p = {.n = 1 + (int)(test_rand(r) % 100)};
	p.a = gmp_chan_new(sizeof(long), test_rand(r) % 2);
	p.b = gmp_chan_new(sizeof(long), test_rand(r) % 2);
	check(p.a && p.b);
	gmp_waitgroup_add(&p.wg, 1);
	check_int(gmp_spawn(pong, &p), 0);
	atomic_fetch_add(&born, 1);
	for (long i = 0; i < p.n; i++) {
		long v = i;
		check_int(gmp_chan_send(p.a, &v), 0);
		check_int(gmp_chan_recv(p.b, &v), 0);
		check_int(v, i + 1);
	}
	check_int(gmp_waitgroup_wait(&p.wg), 0);
	gmp_chan_free(p.a);
	gmp_chan_free(p.b);
}

/* ---- who does it ------------------------------------------------------------------------------------------------------- */

static void operate(int op, uint64_t *r)
{
	switch (op) {
	case OP_SPAWN:
		op_spawn(r);
		break;
	case OP_JOIN:
		op_join(r);
		break;
	case OP_YIELD:
		for (int n = (int)(test_rand(r) % 100); n >= 0; n--)
			gmp_yield();
		break;
	case OP_SLEEP:
		check_int(gmp_sleep_until(soon(r)), 0);
		break;
	case OP_COMPUTE:
		compute(test_rand(r) % 16 ? (int64_t)(test_rand(r) % 200) * GMP_USEC : 12 * GMP_MSEC);
		break;
	case OP_BLOCKING:
		gmp_blocking_enter();
		if (test_rand(r) % 2)
			usleep(test_rand(r) % 200);
		gmp_blocking_leave();
		break;
	case OP_UNDECLARED:
		usleep(test_rand(r) % 8 ? test_rand(r) % 100 : 2000);
		break;
	case OP_LOCK_THREAD:
		if (test_rand(r) % 4) {
			op_lock_thread(r);
		} else {
			check_int(gmp_spawn(locked_end, (void *)(uintptr_t)test_rand(r)), 0);
			atomic_fetch_add(&born, 1);
		}
		break;
	case OP_CHAN:
		op_chan(r);
		break;
	case OP_SELECT:
		op_select(r);
		break;
	case OP_MUTEX:
		op_mutex(r);
		break;
	case OP_CANCEL:
		op_cancel(r);
		break;
	case OP_PINGPONG:
		op_pingpong(r);
		break;
	case OP_PROCS:
		if (test_rand(r) % 4 == 0)
			check(gmp_set_procs(1 + (int)(test_rand(r) % 8)) > 0);
		break;
	case OP_CANCEL_JOINER:
		op_cancel_joiner(r);
		break;
	}
	atomic_fetch_add_explicit(&done[op], 1, memory_order_relaxed);
}

static void worker(void *arg)
{
	(void)arg;
	uint64_t r = stream();
	while (!over()) {
		int op = (int)(test_rand(&r) % NOPS);
		if ((op == OP_COMPUTE || op == OP_UNDECLARED) && test_rand(&r) % 8) /* they take long */
			continue;
		if (mask >> op & 1)
			operate(op, &r);
		gmp_checkpoint();
	}
}

static void *foreigner(void *arg)
{
	(void)arg;
	static const int ops[] = {OP_SPAWN, OP_CHAN, OP_SELECT, OP_MUTEX, OP_CANCEL, OP_JOIN, OP_SLEEP, OP_PINGPONG, OP_PROCS};
	uint64_t r = stream();
	while (!over()) {
		int op = ops[test_rand(&r) % (sizeof ops / sizeof *ops)];
		if (mask >> op & 1)
			operate(op, &r);
	}
	return NULL;
}

static void everybody(void *arg)
{
	bool foreign = *(bool *)arg;
	pthread_t t[NFOREIGN];
	for (int i = 0; i < NFOREIGN && foreign; i++)
		check_int(pthread_create(&t[i], NULL, foreigner, NULL), 0);
	for (int i = 0; i < NWORKER; i++)
		check_int(gmp_waitgroup_spawn(&all, worker, NULL), 0);
	check_int(gmp_waitgroup_wait(&all), 0);
	atomic_store(&stop, true);
	for (int i = 0; i < NFOREIGN && foreign; i++) {
		gmp_blocking_enter();
		pthread_join(t[i], NULL);
		gmp_blocking_leave();
	}
}

static void round_of(int procs, double seconds, bool foreign)
{
	for (int i = 0; i < NCHAN; i++)
		check((chan[i] = gmp_chan_new(sizeof(long), (size_t)i)));
	guarded = 0;
	atomic_store(&locks, 0);
	atomic_store(&sent, 0);
	atomic_store(&received, 0);
	atomic_store(&children, 0);
	atomic_store(&born, 0);
	atomic_store(&stop, false);
	until = gmp_now() + (int64_t)(seconds * 1e9);
	run_on(procs, everybody, &foreign);
	long left = 0;
	for (int i = 0; i < NCHAN; i++) {
		left += (long)gmp_chan_len(chan[i]);
		gmp_chan_free(chan[i]);
	}
	check_int(atomic_load(&sent), atomic_load(&received) + left);
	check_int(atomic_load(&born), atomic_load(&children));
	check_int(guarded, atomic_load(&locks));
	printf("procs %d%s: %ld coroutines, %ld values, %ld locks\n", procs, foreign ? ", foreign threads" : "", atomic_load(&born),
	       atomic_load(&sent), atomic_load(&locks));
}

/* ---- short runs, and a foreign thread that does not care when they end -------------------------------------------------- */

static void *meddler(void *arg)
{
	(void)arg;
	uint64_t r = stream();
	while (!atomic_load(&stop)) {
		int e;
		switch (test_rand(&r) % 4) {
		case 0:
			e = gmp_set_procs(1 + (int)(test_rand(&r) % 4));
			check(e > 0 || e == -ESRCH);
			break;
		case 1:
			e = gmp_spawn(child, (void *)(uintptr_t)test_rand(&r));
			check(e == 0 || e == -ESRCH);
			atomic_fetch_add(&born, e == 0);
			break;
		case 2:
			op_chan(&r);
			break;
		default:
			op_mutex(&r);
		}
		if (test_rand(&r) % 8 == 0)
			usleep(test_rand(&r) % 100);
	}
	return NULL;
}

static void a_little(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	op_spawn(&r);
	op_chan(&r);
}

static void short_runs(int procs, double seconds)
{
	for (int i = 0; i < NCHAN; i++)
		check((chan[i] = gmp_chan_new(sizeof(long), (size_t)i)));
	atomic_store(&children, 0);
	atomic_store(&born, 0);
	atomic_store(&stop, false);
	pthread_t t;
	check_int(pthread_create(&t, NULL, meddler, NULL), 0);
	uint64_t r = stream();
	int n = 0;
	for (int64_t end = gmp_now() + (int64_t)(seconds * 1e9); gmp_now() < end; n++)
		check_int(run_result(procs, a_little, (void *)(uintptr_t)test_rand(&r)), 0);
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	check_int(atomic_load(&born), atomic_load(&children));
	for (int i = 0; i < NCHAN; i++)
		gmp_chan_free(chan[i]);
	printf("procs %d: %d short runs, %ld coroutines\n", procs, n, atomic_load(&born));
}

/* ---- shutdown at any time ---------------------------------------------------------------------------------------------- */

static void until_cancelled(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	long v;
	while (!gmp_cancelled() && test_rand(&r) % 8) {
		int e = test_rand(&r) % 2 ? gmp_sleep(20 * GMP_USEC) : gmp_chan_recv_until(chan[0], &v, gmp_now() + 20 * GMP_USEC);
		check(e == 0 || e == -ETIMEDOUT || e == -ECANCELED);
	}
	atomic_fetch_add(&children, 1);
}

static void *shutter(void *arg)
{
	(void)arg;
	uint64_t r = stream();
	while (!atomic_load(&stop)) {
		usleep(test_rand(&r) % 300);
		for (uint32_t n = test_rand(&r) % 4; n > 0; n--) { /* also before the main coroutine is there */
			int e = gmp_spawn(until_cancelled, (void *)(uintptr_t)test_rand(&r));
			check(e == 0 || e == -ESRCH || e == -ECANCELED);
			atomic_fetch_add(&born, e == 0);
		}
		gmp_shutdown();
	}
	return NULL;
}

static void spawns(void *arg)
{
	uint64_t r = (uint64_t)(uintptr_t)arg;
	for (int i = 0; i < 8; i++) {
		int e = gmp_spawn(until_cancelled, (void *)(uintptr_t)test_rand(&r));
		check(e == 0 || e == -ECANCELED);
		atomic_fetch_add(&born, e == 0);
	}
}

static void shutdowns(int procs, double seconds)
{
	check((chan[0] = gmp_chan_new(sizeof(long), 0)));
	atomic_store(&children, 0);
	atomic_store(&born, 0);
	atomic_store(&stop, false);
	pthread_t t;
	check_int(pthread_create(&t, NULL, shutter, NULL), 0);
	uint64_t r = stream();
	int n = 0, cancelled = 0;
	for (int64_t end = gmp_now() + (int64_t)(seconds * 1e9); gmp_now() < end; n++) {
		int e = run_result(procs, spawns, (void *)(uintptr_t)test_rand(&r));
		check(e == 0 || e == -ECANCELED);
		cancelled += e != 0;
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	check_int(atomic_load(&born), atomic_load(&children));
	gmp_chan_free(chan[0]);
	printf("procs %d: %d short runs, %d of them shut down\n", procs, n, cancelled);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 0;
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
	int only = argc > 3 ? atoi(argv[3]) : 0;
	if (argc > 4)
		mask = (unsigned)strtoul(argv[4], NULL, 0);
	if (seconds <= 0)
		seconds = 0.9;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (int procs = 1; procs <= 8; procs *= 2) {
		if (only && procs != only)
			continue;
		round_of(procs, seconds / 4, false);
		round_of(procs, seconds / 4, true);
		short_runs(procs, seconds / 4);
		shutdowns(procs, seconds / 4);
	}
	for (int op = 0; op < NOPS; op++)
		printf("%s%ld", op ? " " : "operations: ", atomic_load(&done[op]));
	printf("\n");
	return 0;
}
