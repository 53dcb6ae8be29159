/* SPDX-License-Identifier: MIT
 * test_sched.c - the runtime and its coroutines as a user sees them: runs, spawn, join, yield, sleep, P count, hogs. */
#include "testutil.h"
#include <limits.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- runs -------------------------------------------------------------------------------------------------------- */

static void nothing(void *arg) { (void)arg; }

static void set_int(void *arg) { *(int *)arg = 1; }

static void a_run_can_be_repeated(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		int ran = 0;
		run_on(1 + i % 4, set_int, &ran);
		check_int(ran, 1);
	}
}

static void run_inside(void *arg)
{
	(void)arg;
	check_int(gmp_run(nothing, NULL, NULL), -EBUSY);
	check_int(gmp_start(NULL), -EBUSY);
	check_int(gmp_stop(0), -EDEADLK);
}

static void bad_calls_get_an_error(void **state)
{
	(void)state;
	gmp_config bad[] = {{.procs = -1}, {.procs = 1025}, {.max_threads = -1}, {.max_threads = 1}, {.stack_size = 1},
		{.stack_size = (size_t)-1}, {.reserved = {1}}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		check_int(gmp_run(nothing, NULL, &bad[i]), -EINVAL);
		check_int(gmp_start(&bad[i]), -EINVAL);
	}
	check_int(gmp_run(NULL, NULL, NULL), -EINVAL);
	check_int(gmp_spawn(nothing, NULL), -ESRCH);
	check_int(gmp_spawn_attr(NULL, NULL, nothing, NULL), -ESRCH);
	check_int(gmp_spawn_copy(nothing, NULL, 0), -ESRCH);
	check_int(gmp_set_procs(2), -ESRCH);
	check_int(gmp_set_procs(0), -EINVAL);
	check_int(gmp_stop(0), -ESRCH);
	check_int(gmp_join(NULL), -EINVAL);
	check_int(gmp_join_until(NULL, 0), -EINVAL);
	check_int(gmp_detach(NULL), -EINVAL);
	check_int(gmp_cancel(NULL), -EINVAL);
	check_int(gmp_procs(), 0);
	check_int(gmp_id(), 0);
	check(!gmp_cancelled());
	gmp_yield();
	gmp_checkpoint();
	gmp_lock_thread();
	gmp_unlock_thread();
	gmp_blocking_enter();
	gmp_blocking_leave();
	check_int(gmp_blocking(NULL, NULL), -EINVAL);
	int ran = 0;
	check_int(gmp_blocking(set_int, &ran), 0);
	check_int(ran, 1);
	check_int(gmp_sleep(1000), 0);
	gmp_shutdown();
	gmp_trim();
	run_on(2, run_inside, NULL);
}

static void bad_spawns(void *arg)
{
	(void)arg;
	gmp_g *g = NULL;
	check_int(gmp_spawn(NULL, NULL), -EINVAL);
	check_int(gmp_spawn_attr(&g, NULL, NULL, NULL), -EINVAL);
	gmp_attr bad[] = {{.stack_size = 1}, {.stack_size = (size_t)-1}, {.reserved_int = 1}, {.reserved = {0, 0, 0, 1}}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		check_int(gmp_spawn_attr(&g, &bad[i], nothing, NULL), -EINVAL);
	check_int(gmp_spawn_copy(nothing, NULL, 8), -EINVAL);
	check_int(gmp_spawn_copy(nothing, arg, 1025), -EINVAL);
	check(g == NULL);
}

static void a_bad_spawn_gets_an_error(void **state)
{
	(void)state;
	run_on_all(bad_spawns, NULL);
}

/* ---- spawn, join ------------------------------------------------------------------------------------------------- */

static atomic_long count;

static void count_one(void *arg)
{
	(void)arg;
	atomic_fetch_add(&count, 1);
}

static void spawns_many(void *arg)
{
	long n = *(long *)arg;
	for (long i = 0; i < n; i++)
		check_int(gmp_spawn(count_one, NULL), 0);
}

static void everything_spawned_runs_before_the_run_ends(void **state)
{
	(void)state;
	long n = 100000 / test_scale();
	atomic_store(&count, 0);
	run_on_all(spawns_many, &n);
	check(atomic_load(&count) % n == 0 && atomic_load(&count) >= 3 * n);
}

typedef struct Fib {
	int n;
	long r;
} Fib;

static void fib(void *arg)
{
	Fib *f = arg;
	if (f->n < 2) {
		f->r = f->n;
		return;
	}
	Fib a = {f->n - 1, 0}, b = {f->n - 2, 0};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, fib, &a), 0);
	fib(&b);
	check_int(gmp_join(g), 0);
	f->r = a.r + b.r;
}

static void fib_main(void *arg)
{
	Fib f = {TEST_SANITIZED ? 13 : 19, 0};
	(void)arg;
	fib(&f);
	check_int(f.r, TEST_SANITIZED ? 233 : 4181);
}

static void fork_join_gives_the_right_sum(void **state)
{
	(void)state;
	run_on_all(fib_main, NULL);
}

typedef struct Copy {
	char text[1000];
	int n;
} Copy;

static void use_copy(void *arg)
{
	Copy *c = arg;
	check_int((uintptr_t)c % 16, 0);
	gmp_yield();
	check_int(strlen(c->text), (size_t)c->n);
	atomic_fetch_add(&count, c->n);
}

static void copies(void *arg)
{
	(void)arg;
	for (int i = 1; i <= 100; i++) {
		Copy c = {.n = i};
		memset(c.text, 'x', (size_t)i);
		check_int(gmp_spawn_copy(use_copy, &c, sizeof c), 0);
		memset(&c, 0, sizeof c);
	}
	check_int(gmp_spawn_copy(count_one, NULL, 0), 0);
}

static void spawn_copy_keeps_the_arguments(void **state)
{
	(void)state;
	atomic_store(&count, 0);
	run_on(2, copies, NULL);
	check_int(atomic_load(&count), 5051);
}

static void joiner_of_other(void *arg)
{
	check_int(gmp_join(*(gmp_g **)arg), 0);
	count_one(NULL);
}

static gmp_g *_Atomic self;
static void join_self(void *arg)
{
	(void)arg;
	gmp_g *g;
	while (!(g = atomic_load(&self))) /* another P may run this before the spawner goes on */
		gmp_yield();
	check_int(gmp_join(g), -EDEADLK);
	check_int(gmp_join_until(g, GMP_FOREVER), -EDEADLK);
}

static void sleeps_long(void *arg)
{
	(void)arg;
	check_int(gmp_sleep(3600 * GMP_SEC), -ECANCELED);
	check(gmp_cancelled());
	check_int(gmp_sleep(GMP_SEC), -ECANCELED);
}

static void join_rules(void *arg)
{
	(void)arg;
	gmp_g *g, *j;
	/* after the end */
	check_int(gmp_spawn_attr(&g, NULL, count_one, NULL), 0);
	until_left(1, 0);
	check_int(gmp_join(g), 0);
	/* before the end, with a deadline that is far */
	check_int(gmp_spawn_attr(&g, NULL, count_one, NULL), 0);
	check_int(gmp_join_until(g, gmp_now() + 3600 * GMP_SEC), 0);
	/* deadline, then two joiners, then cancelled */
	check_int(gmp_spawn_attr(&g, NULL, sleeps_long, NULL), 0);
	check_int(gmp_join_until(g, 0), -ETIMEDOUT);
	check_int(gmp_join_until(g, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	check_int(gmp_spawn_attr(&j, NULL, joiner_of_other, &g), 0);
	int r;
	while ((r = gmp_join_until(g, 0)) != -EBUSY) {
		check_int(r, -ETIMEDOUT);
		gmp_yield();
	}
	check_int(gmp_detach(g), -EBUSY);
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(j), 0);
	/* itself */
	atomic_store(&self, NULL);
	check_int(gmp_spawn_attr(&g, NULL, join_self, NULL), 0);
	atomic_store(&self, g);
	check_int(gmp_join(g), 0);
	/* detach before and after the end */
	check_int(gmp_spawn_attr(&g, NULL, sleeps_long, NULL), 0);
	check_int(gmp_spawn_attr(&j, NULL, nothing, NULL), 0);
	until_left(2, 1);
	check_int(gmp_cancel(g), 0);
	check_int(gmp_detach(g), 0);
	check_int(gmp_detach(j), 0);
}

static void join_follows_its_rules(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		run_on_all(join_rules, NULL);
}

static void cancelled_joiner(void *arg)
{
	check_int(gmp_join(*(gmp_g **)arg), -ECANCELED);
}

static void cancel_a_join(void *arg)
{
	(void)arg;
	gmp_g *g, *j;
	check_int(gmp_spawn_attr(&g, NULL, sleeps_long, NULL), 0);
	check_int(gmp_spawn_attr(&j, NULL, cancelled_joiner, &g), 0);
	gmp_yield();
	check_int(gmp_cancel(j), 0);
	check_int(gmp_join(j), 0);
	check_int(gmp_join_until(g, 0), -ETIMEDOUT); /* free to be joined again */
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
}

static void a_cancelled_join_leaves_the_handle(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		run_on_all(cancel_a_join, NULL);
}

/* ---- yield, order ------------------------------------------------------------------------------------------------ */

typedef struct Order {
	int n, at[64];
} Order;

static Order order;

static void note(void *arg) { order.at[order.n++] = (int)(intptr_t)arg; }

static void yield_lets_all_run(void *arg)
{
	(void)arg;
	order.n = 0;
	for (intptr_t i = 0; i < 20; i++)
		check_int(gmp_spawn(note, (void *)i), 0);
	check_int(order.n, 0);
	gmp_yield();
	check_int(order.n, 20);
	for (int i = 0; i < 20; i++)
		check_int(order.at[i], i);
}

static void yield_runs_every_other_coroutine_first(void **state)
{
	(void)state;
	run_alone(yield_lets_all_run, NULL);
}

static atomic_int stop;
static atomic_long progress[4];

static void yields(void *arg)
{
	while (!atomic_load(&stop)) {
		atomic_fetch_add(&progress[(intptr_t)arg], 1);
		gmp_yield();
	}
}

static gmp_chan *ping, *pong;

static void echoes(void *arg)
{
	int v;
	(void)arg;
	while (gmp_chan_recv(ping, &v) == 0)
		check_int(gmp_chan_send(pong, &v), 0);
}

/* A pair that readies each other for ever must not keep a yielding one, a fresh one, or a sleeper from running. */
static void pair_hogs(void *arg)
{
	(void)arg;
	atomic_store(&stop, 0);
	atomic_store(&progress[0], 0);
	atomic_store(&count, 0);
	ping = gmp_chan_new(sizeof(int), 0);
	pong = gmp_chan_new(sizeof(int), 0);
	check_int(gmp_spawn(yields, (void *)0), 0);
	check_int(gmp_spawn(count_one, NULL), 0);
	check_int(gmp_spawn(echoes, NULL), 0);
	for (int i = 0; atomic_load(&progress[0]) < 100 || !atomic_load(&count); i++) { /* else run_on's watchdog ends it */
		check_int(gmp_chan_send(ping, &i), 0);
		int v;
		check_int(gmp_chan_recv(pong, &v), 0);
		check_int(v, i);
	}
	atomic_store(&stop, 1);
	check_int(gmp_chan_close(ping), 0);
}

static void a_pair_that_wakes_each_other_starves_nobody(void **state)
{
	(void)state;
	run_on(1, pair_hogs, NULL);
	gmp_chan_free(ping);
	gmp_chan_free(pong);
	run_on(2, pair_hogs, NULL);
	gmp_chan_free(ping);
	gmp_chan_free(pong);
}

/* ---- nothing blocks the others ----------------------------------------------------------------------------------- */

static void hog(void *arg)
{
	volatile long x = 0;
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		x++;
}

static void sleep_under_hogs(void *arg)
{
	(void)arg;
	atomic_store(&stop, 0);
	for (int i = 0; i < gmp_procs(); i++)
		check_int(gmp_spawn(hog, NULL), 0);
	for (int i = 0; i < 5; i++) {
		int64_t t = gmp_now() + 5 * GMP_MSEC;
		check_int(gmp_sleep_until(t), 0);
		check(gmp_now() >= t);
	}
	gmp_stats s;
	gmp_stats_read(&s);
	check(s.handoffs >= 1 || gmp_procs() > 1); /* with several Ps one may have run the hogs in turn */
	atomic_store(&stop, 1);
}

static void hogs_do_not_stop_a_sleeper(void **state)
{
	(void)state;
	run_on(1, sleep_under_hogs, NULL);
	run_on(2, sleep_under_hogs, NULL);
}

static atomic_int ready_, go_;

/* Blocks its thread in libc until the other coroutine has run: without a hand-off this never ends. */
static void blocks_thread(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ready_, 1);
	while (!atomic_load(&go_)) {
		struct timespec t = {0, 1000000};
		nanosleep(&t, NULL);
	}
}

static void declared(void *arg)
{
	(void)arg;
	check_int(gmp_blocking(blocks_thread, NULL), 0);
}

static void waits_for_blocked(void *arg)
{
	atomic_store(&ready_, 0);
	atomic_store(&go_, 0);
	for (int i = 0; i < 8; i++)
		check_int(gmp_spawn(arg ? declared : blocks_thread, NULL), 0);
	while (atomic_load(&ready_) < 8)
		gmp_yield();
	atomic_store(&go_, 1);
}

static void blocked_threads_are_replaced(void **state)
{
	(void)state;
	run_on_all(waits_for_blocked, NULL);
	run_on_all(waits_for_blocked, "declared");
}

static void calls_inside(void *arg)
{
	(void)arg;
	gmp_blocking_enter();
	gmp_yield();
}

static void runs_calls_inside(void *arg)
{
	(void)arg;
	gmp_run(calls_inside, NULL, NULL);
}

static void a_call_inside_a_blocking_region_is_reported(void **state)
{
	(void)state;
	char buf[4096];
	int s = in_child(runs_calls_inside, NULL, buf, sizeof buf);
	check(s != 0);
	check(strstr(buf, "between gmp_blocking_enter and gmp_blocking_leave") != NULL);
}

static void checkpoints(void *arg)
{
	(void)arg;
	while (!atomic_load(&go_))
		gmp_checkpoint();
}

static void opens(void *arg)
{
	(void)arg;
	atomic_store(&go_, 1);
}

static void spawn_checkpoints(void *arg)
{
	(void)arg;
	atomic_store(&go_, 0);
	for (int i = 0; i < gmp_procs(); i++)
		check_int(gmp_spawn(checkpoints, NULL), 0);
	check_int(gmp_spawn(opens, NULL), 0);
}

static void a_checkpoint_yields_when_asked_to(void **state)
{
	(void)state;
	run_on_all(spawn_checkpoints, NULL);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void stays(void *arg)
{
	(void)arg;
	gmp_lock_thread();
	gmp_lock_thread();
	uintptr_t me = this_thread();
	for (int i = 0; i < 50; i++) {
		gmp_yield();
		check(me == this_thread());
		check_int(gmp_sleep(10000), 0);
		check(me == this_thread());
	}
	gmp_unlock_thread();
	gmp_yield();
	check(me == this_thread());
	gmp_unlock_thread();
	gmp_unlock_thread(); /* one too many does nothing */
	gmp_yield();
}

static void ends_locked(void *arg)
{
	(void)arg;
	gmp_lock_thread();
	gmp_yield();
}

static void locked_main(void *arg)
{
	(void)arg;
	gmp_g *g[6];
	for (int i = 0; i < 6; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, i < 3 ? stays : i < 5 ? ends_locked : fib_main, NULL), 0);
	for (int i = 0; i < 6; i++)
		check_int(gmp_join(g[i]), 0);
}

static void a_locked_coroutine_keeps_its_thread(void **state)
{
	(void)state;
	run_on_all(locked_main, NULL);
}

static void has_the_mask(void *arg)
{
	sigset_t set;
	check_int(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
	check(sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2) && !sigismember(&set, SIGTERM));
	uintptr_t me = this_thread();
	if (arg) /* on a thread of the runtime, or on M0 */
		*(uintptr_t *)arg = me;
	char *argv[] = {"sh", "-c", "kill -TERM $$; exit 1", NULL};
	pid_t pid;
	int s;
	check_int(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
	check_int(waitpid(pid, &s, 0), pid);
	check(WIFSIGNALED(s) && WTERMSIG(s) == SIGTERM);
}

static void masks(void *arg)
{
	(void)arg;
	uintptr_t there = 0;
	gmp_g *g;
	gmp_lock_thread(); /* so that the other one runs on another thread */
	check_int(gmp_spawn_attr(&g, NULL, has_the_mask, &there), 0);
	check_int(gmp_join(g), 0);
	check(there != this_thread());
	has_the_mask(NULL);
}

/* What a coroutine starts must not find all signals blocked. */
static void coroutines_run_under_the_mask_of_the_starter(void **state)
{
	(void)state;
	sigset_t set, before;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	check_int(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
	run_on_all(masks, NULL);
	check_int(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static long virtual_pages(void)
{
	long n = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = 0;
		fclose(f);
	}
	return n;
}

static void many_end_locked(void *arg)
{
	int n = 4000 / test_scale();
	long before = virtual_pages();
	(void)arg;
	gmp_lock_thread(); /* M0 stays ours: each of the others ends with its coroutine */
	for (int i = 0; i < n; i++) {
		gmp_g *g;
		check_int(gmp_spawn_attr(&g, NULL, ends_locked, NULL), 0);
		check_int(gmp_join(g), 0);
	}
	/* A thread that was not joined keeps its stack of 256 KiB. The C library keeps some for the next ones, and its own arenas,
	 * which would be most of it where the number is scaled down. */
	check(TEST_SANITIZED || test_scale() > 1 || (virtual_pages() - before) / n * sysconf(_SC_PAGESIZE) < (long)200 << 10);
}

static void threads_of_ended_coroutines_are_given_back(void **state)
{
	(void)state;
#ifdef M_ARENA_MAX
	(void)mallopt(M_ARENA_MAX, 2); /* with many CPUs the C library's arenas would be most of what is measured */
#endif
	for (int procs = 1; procs <= 3; procs++)
		run_on(procs, many_end_locked, NULL);
}

static void *foreign_spawns(void *arg)
{
	gmp_g *g[32];
	for (int k = 0; k < 20; k++) {
		for (int i = 0; i < 32; i++)
			check_int(gmp_spawn_attr(&g[i], NULL, count_one, NULL), 0);
		for (int i = 0; i < 32; i++)
			check_int(gmp_join(g[i]), 0);
	}
	check_int(gmp_id(), 0);
	return arg;
}

static void join_threads(void *arg)
{
	for (int i = 0; i < 4; i++)
		check_int(pthread_join(((pthread_t *)arg)[i], NULL), 0);
}

static void with_foreigners(void *arg)
{
	(void)arg;
	pthread_t t[4];
	atomic_store(&count, 0);
	for (int i = 0; i < 4; i++)
		check_int(pthread_create(&t[i], NULL, foreign_spawns, NULL), 0);
	check_int(gmp_blocking(join_threads, t), 0);
	check_int(atomic_load(&count), 4 * 20 * 32);
}

static void foreign_threads_spawn_and_join(void **state)
{
	(void)state;
	run_on_all(with_foreigners, NULL);
}

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static uint64_t ids[1000];

static void own_id(void *arg)
{
	ids[(intptr_t)arg] = gmp_id();
	gmp_yield();
	check_int(ids[(intptr_t)arg], gmp_id());
}

static int by_value(const void *a, const void *b)
{
	uint64_t u = *(const uint64_t *)a, v = *(const uint64_t *)b;
	return u < v ? -1 : u > v;
}

static void id_main(void *arg)
{
	(void)arg;
	gmp_g *g[1000];
	for (intptr_t i = 0; i < 1000; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, own_id, (void *)i), 0);
	for (int i = 0; i < 1000; i++)
		check_int(gmp_join(g[i]), 0);
	qsort(ids, 1000, sizeof *ids, by_value);
	check(ids[0] > 0);
	for (int i = 1; i < 1000; i++)
		check(ids[i] != ids[i - 1]);
}

static void ids_are_unique(void **state)
{
	(void)state;
	run_on_all(id_main, NULL);
}

/* ---- number of Ps ------------------------------------------------------------------------------------------------ */

static void resize(void *arg)
{
	(void)arg;
	gmp_g *g[8];
	atomic_store(&stop, 0);
	for (intptr_t i = 0; i < 8; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, yields, (void *)(i % 4)), 0);
	static const int to[] = {1, 4, 2, 8, 1, 3, 16, 1, 2};
	int was = gmp_procs();
	for (int k = 0; k < 5; k++)
		for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
			check_int(gmp_set_procs(to[i]), was);
			was = to[i];
			check_int(gmp_procs(), was);
			long p = atomic_load(&progress[0]);
			while (atomic_load(&progress[0]) == p)
				gmp_yield();
			check_int(gmp_sleep(100 * GMP_USEC), 0); /* for the others, at this number; none has to come first */
		}
	check_int(gmp_set_procs(-1), -EINVAL);
	check_int(gmp_set_procs(1025), -EINVAL);
	atomic_store(&stop, 1);
	for (int i = 0; i < 8; i++)
		check_int(gmp_join(g[i]), 0);
}

static void the_number_of_ps_changes_live(void **state)
{
	(void)state;
	run_on_all(resize, NULL);
}

/* ---- start, stop, shutdown --------------------------------------------------------------------------------------- */

static void start_and_stop_beside_a_main_loop(void **state)
{
	(void)state;
	for (int k = 0; k < 10; k++) {
		gmp_config cfg = {.procs = 1 + k % 3};
		check_int(gmp_start(&cfg), 0);
		check_int(gmp_start(&cfg), -EBUSY);
		check_int(gmp_run(nothing, NULL, NULL), -EBUSY);
		gmp_g *g;
		atomic_store(&count, 0);
		check_int(gmp_spawn_attr(&g, NULL, count_one, NULL), 0);
		check_int(gmp_join(g), 0);
		check_int(atomic_load(&count), 1);
		check_int(gmp_spawn(sleeps_long, NULL), 0);
		check_int(gmp_spawn(sleeps_long, NULL), 0);
		check_int(gmp_stop(GMP_FOREVER), 0);
		check_int(gmp_procs(), 0);
		check_int(gmp_spawn(nothing, NULL), -ESRCH);
	}
}

static void join_thread(void *arg) { check_int(pthread_join(*(pthread_t *)arg, NULL), 0); }

static void *stops(void *arg)
{
	*(int *)arg = gmp_stop(GMP_FOREVER);
	return NULL;
}

static void stopped_from_outside(void *arg)
{
	pthread_t t;
	int r = 0;
	(void)arg;
	check_int(pthread_create(&t, NULL, stops, &r), 0);
	check_int(gmp_blocking(join_thread, &t), 0);
	check_int(r, -ESRCH);
}

static void stop_is_not_for_a_run(void **state)
{
	(void)state;
	run_on(2, stopped_from_outside, NULL);
}

static void two_may_stop(void **state)
{
	(void)state;
	pthread_t t;
	int r = 1;
	check_int(gmp_start(NULL), 0);
	atomic_store(&go_, 0);
	atomic_store(&ready_, 0);
	check_int(gmp_spawn(blocks_thread, NULL), 0);
	while (!atomic_load(&ready_))
		gmp_yield();
	check_int(pthread_create(&t, NULL, stops, &r), 0);
	while (gmp_spawn(nothing, NULL) != -ECANCELED)
		gmp_yield();
	check(gmp_stop(gmp_now() + 5 * GMP_MSEC) >= 1); /* the other one's deadline is not ours */
	check(gmp_stop(0) >= 1);
	atomic_store(&go_, 1);
	check_int(pthread_join(t, NULL), 0);
	check_int(r, 0);
	check_int(gmp_stop(0), -ESRCH);
}

static void stop_has_a_deadline(void **state)
{
	(void)state;
	check_int(gmp_start(NULL), 0);
	atomic_store(&go_, 0);
	atomic_store(&ready_, 0);
	check_int(gmp_spawn(blocks_thread, NULL), 0);
	while (!atomic_load(&ready_))
		gmp_yield();
	check_int(gmp_stop(gmp_now() + 5 * GMP_MSEC), 1);
	check_int(gmp_spawn(nothing, NULL), -ECANCELED);
	atomic_store(&go_, 1);
	check_int(gmp_stop(GMP_FOREVER), 0);
}

static void shuts_down(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++)
		check_int(gmp_spawn(sleeps_long, NULL), 0);
	gmp_yield();
	gmp_shutdown();
	check_int(gmp_spawn(nothing, NULL), -ECANCELED);
	check_int(gmp_sleep(GMP_SEC), -ECANCELED);
}

static void shutdown_ends_a_run(void **state)
{
	(void)state;
	for (int i = 1; i <= 4; i++)
		check_int(run_result(i, shuts_down, NULL), -ECANCELED);
}

/* ---- stacks ------------------------------------------------------------------------------------------------------ */

/* Uses n bytes of stack, a page a call: the compiler can neither shrink the page nor reuse the frame for the next one. */
static __attribute__((noinline)) size_t touch(size_t n)
{
	char page[4096];
	page[0] = (char)n;
	__asm__ volatile("" : : "r"(page) : "memory");
	size_t pages = n > 4096 ? touch(n - 4096) + 1 : 1;
	__asm__ volatile("" : : "r"(page) : "memory");
	return pages;
}

static gmp_waitgroup touched, looked_at;

/* Whoever is being spawned in the moment of a shutdown is either refused or cancelled. */
static void spawns_until_refused(void *arg)
{
	int e, n = 0, kind = *(int *)arg;
	gmp_waitgroup wg = {0};
	atomic_store(&ready_, 1);
	do {
		gmp_fn *fn = n < 2000 ? sleeps_long : nothing; /* the other thread may be late: not ever more sleepers */
		e = kind ? gmp_waitgroup_spawn(&wg, fn, NULL) : gmp_spawn(fn, NULL);
		if (n++ >= 2000)
			gmp_yield();
	} while (e == 0);
	check_int(e, -ECANCELED);
	while (gmp_waitgroup_wait_until(&wg, 0)) /* it lives in this frame */
		gmp_yield();
}

static void *shuts_down_once(void *arg)
{
	while (!atomic_load(&ready_))
		usleep(20);
	usleep(*(unsigned *)arg);
	gmp_shutdown();
	return NULL;
}

static void a_shutdown_misses_nobody(void **state)
{
	(void)state;
	uint64_t r = test_seed();
	for (int i = 0; i < 200 / test_scale(); i++) {
		unsigned us = test_rand(&r) % 300;
		int kind = i % 2;
		pthread_t t;
		atomic_store(&ready_, 0);
		check_int(pthread_create(&t, NULL, shuts_down_once, &us), 0);
		int e = run_result(1 + i % 3, spawns_until_refused, &kind);
		check_int(e, -ECANCELED);
		check_int(pthread_join(t, NULL), 0);
	}
}

static void deep(void *arg)
{
	check(touch((size_t)(intptr_t)arg) > 0);
	gmp_waitgroup_done(&touched);
	check_int(gmp_waitgroup_wait(&looked_at), 0);
}

static void stack_sizes(void *arg)
{
	(void)arg;
	size_t sizes[] = {64 << 10, 256 << 10, 1 << 20, 8 << 20, 0};
	gmp_g *g[5];
	gmp_waitgroup_add(&touched, 5);
	gmp_waitgroup_add(&looked_at, 1);
	for (int i = 0; i < 5; i++) {
		size_t n = sizes[i] ? sizes[i] : 256 << 10;
		gmp_attr a = {.stack_size = sizes[i]};
		check_int(gmp_spawn_attr(&g[i], &a, deep, (void *)(intptr_t)(n / (TEST_SANITIZED ? 8 : 2))), 0);
	}
	/* Not by gmp_yield: a P that is slow to touch pages is handed on, and the one who yielded goes on beside it. */
	check_int(gmp_waitgroup_wait(&touched), 0);
	for (int i = 0; i < 5; i++) {
		size_t n = sizes[i] ? sizes[i] : 256 << 10, used = gmp_stack_used(g[i]);
		check(used >= n / (TEST_SANITIZED ? 8 : 2) && used <= n);
	}
	gmp_waitgroup_done(&looked_at);
	for (int i = 0; i < 5; i++)
		check_int(gmp_join(g[i]), 0);
}

static atomic_uint have_run;
static void runs(void *arg)
{
	(void)arg;
	atomic_fetch_add(&have_run, 1);
}

/* RA-1: whoever only spawns does not get further ahead than that, in whichever way it spawns. */
static void spawner(void *arg)
{
	(void)arg;
	const char *switches = getenv("GMP_DEBUG");
	unsigned n = 0, most = switches && strstr(switches, "runahead=0") ? UINT_MAX : 2 * 1024; /* the oldest are left behind */
	gmp_waitgroup wg = {0};
	atomic_store(&have_run, 0);
	while (n < 8000) {
		gmp_g *g;
		switch (n++ % 4) {
		case 0: check_int(gmp_spawn(runs, NULL), 0); break;
		case 1: check_int(gmp_spawn_copy(runs, &n, sizeof n), 0); break;
		case 2: check_int(gmp_waitgroup_spawn(&wg, runs, NULL), 0); break;
		default:
			check_int(gmp_spawn_attr(&g, NULL, runs, NULL), 0);
			check_int(gmp_detach(g), 0);
		}
		check(n - atomic_load(&have_run) <= most);
	}
	check_int(gmp_waitgroup_wait(&wg), 0);
}

static void spawners_do_not_run_ahead(void **state)
{
	(void)state;
	run_on(1, spawner, NULL);
}

static void stacks_have_the_size_asked_for(void **state)
{
	(void)state;
	run_on_all(stack_sizes, NULL);
	gmp_trim();
}

static gmp_waitgroup deep_down, trimmed;

static void returns_from_the_deep(void *arg)
{
	volatile char mine[1000];
	memset((void *)mine, (int)(intptr_t)arg, sizeof mine);
	check(touch(100 << 10) > 0);
	gmp_waitgroup_done(&deep_down);
	check_int(gmp_waitgroup_wait(&trimmed), 0);
	for (size_t i = 0; i < sizeof mine; i++)
		check_int(mine[i], (intptr_t)arg);
	check(touch(100 << 10) > 0);
}

static void trim_parked(void *arg)
{
	enum { N = 600 };
	gmp_g *g[N];
	size_t before = 0, after = 0;
	(void)arg;
	gmp_waitgroup_add(&deep_down, N);
	gmp_waitgroup_add(&trimmed, 1);
	gmp_attr a = {.stack_size = TEST_SANITIZED ? 1 << 20 : 0};
	for (intptr_t i = 0; i < N; i++)
		check_int(gmp_spawn_attr(&g[i], &a, returns_from_the_deep, (void *)(i % 100)), 0);
	check_int(gmp_waitgroup_wait(&deep_down), 0);
	until_left(N + 1, N);
	for (int i = 0; i < N; i++)
		before += gmp_stack_used(g[i]);
	gmp_trim();
	for (int i = 0; i < N; i++)
		after += gmp_stack_used(g[i]);
	check(before >= (size_t)N * (100 << 10));
	/* What is live stays: a page or two, which may be large. */
	size_t live = N * 2 * (size_t)sysconf(_SC_PAGESIZE);
	check(TEST_SANITIZED || getenv("GMP_TEST_EMULATED") || after < before / 8 + live);
	gmp_waitgroup_done(&trimmed);
	for (int i = 0; i < N; i++)
		check_int(gmp_join(g[i]), 0);
}

static void a_trim_takes_what_parked_coroutines_need_no_more(void **state)
{
	(void)state;
	run_on_all(trim_parked, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_can_be_repeated),
		cmocka_unit_test(bad_calls_get_an_error),
		cmocka_unit_test(a_bad_spawn_gets_an_error),
		cmocka_unit_test(everything_spawned_runs_before_the_run_ends),
		cmocka_unit_test(fork_join_gives_the_right_sum),
		cmocka_unit_test(spawn_copy_keeps_the_arguments),
		cmocka_unit_test(join_follows_its_rules),
		cmocka_unit_test(a_cancelled_join_leaves_the_handle),
		cmocka_unit_test(yield_runs_every_other_coroutine_first),
		cmocka_unit_test(a_pair_that_wakes_each_other_starves_nobody),
		cmocka_unit_test(hogs_do_not_stop_a_sleeper),
		cmocka_unit_test(blocked_threads_are_replaced),
		cmocka_unit_test(a_call_inside_a_blocking_region_is_reported),
		cmocka_unit_test(a_checkpoint_yields_when_asked_to),
		cmocka_unit_test(a_locked_coroutine_keeps_its_thread),
		cmocka_unit_test(coroutines_run_under_the_mask_of_the_starter),
		cmocka_unit_test(threads_of_ended_coroutines_are_given_back),
		cmocka_unit_test(foreign_threads_spawn_and_join),
		cmocka_unit_test(ids_are_unique),
		cmocka_unit_test(the_number_of_ps_changes_live),
		cmocka_unit_test(start_and_stop_beside_a_main_loop),
		cmocka_unit_test(stop_is_not_for_a_run),
		cmocka_unit_test(two_may_stop),
		cmocka_unit_test(stop_has_a_deadline),
		cmocka_unit_test(shutdown_ends_a_run),
		cmocka_unit_test(a_shutdown_misses_nobody),
		cmocka_unit_test(spawners_do_not_run_ahead),
		cmocka_unit_test(stacks_have_the_size_asked_for),
		cmocka_unit_test(a_trim_takes_what_parked_coroutines_need_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
