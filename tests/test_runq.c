/* SPDX-License-Identifier: MIT
 * test_runq.c - who runs when: nothing that is runnable waits for long behind coroutines that keep a P busy without end. It
 * is counted in switches. */
#include "testutil.h"
#include <pthread.h>
#include <stdatomic.h>

enum { BUSY = 50, NEW = 500 };

static atomic_uint begun, switches;
static atomic_bool over;

/* A ring with a token for every other one. Nobody yields: that would let the new ones run. */
static gmp_chan *ring[BUSY];
static void passes_on(void *arg)
{
	gmp_chan **from = arg, **to = from + 1 < ring + BUSY ? from + 1 : ring;
	while (gmp_chan_recv(*from, NULL) == 0 && !atomic_load(&over)) {
		atomic_fetch_add(&switches, 1);
		if (gmp_chan_send(*to, NULL))
			break;
	}
	(void)gmp_chan_close(*from);
	(void)gmp_chan_close(*to);
}

static void begins(void *arg)
{
	(void)arg;
	atomic_fetch_add(&begun, 1);
}

static void busy_begin(gmp_waitgroup *wg)
{
	atomic_store(&begun, 0);
	atomic_store(&over, false);
	for (int i = 0; i < BUSY; i++)
		check(ring[i] = gmp_chan_new(0, 1));
	for (int i = 0; i < BUSY; i++)
		check_int(gmp_waitgroup_spawn(wg, passes_on, &ring[i]), 0);
	for (int i = 0; i < BUSY; i += 2)
		check_int(gmp_chan_send(ring[i], NULL), 0);
	gmp_yield();
}

static void busy_end(gmp_waitgroup *wg)
{
	atomic_store(&over, true);
	check_int(gmp_waitgroup_wait(wg), 0);
	for (int i = 0; i < BUSY; i++)
		gmp_chan_free(ring[i]);
}

/* Hops of the tokens until all the new ones have begun. */
static unsigned until_all_have_begun(void)
{
	unsigned at = atomic_load(&switches), most = at + 1000000;
	while (atomic_load(&begun) < NEW && atomic_load(&switches) < most)
		check_int(gmp_sleep(GMP_USEC), 0);
	return atomic_load(&switches) - at;
}

/* With what the test is about switched on, whatever GMP_DEBUG says. */
static void run_with(const char *more, gmp_fn *fn)
{
	const char *was = getenv("GMP_DEBUG");
	char now[300], before[200] = "";
	if (was)
		snprintf(before, sizeof before, "%s", was);
	snprintf(now, sizeof now, "%s%s%s", before, was ? "," : "", more);
	setenv("GMP_DEBUG", now, 1);
	run_alone(fn, NULL);
	if (was)
		setenv("GMP_DEBUG", before, 1);
	else
		unsetenv("GMP_DEBUG");
}

/* FQ-2: the first ones of a server's new connections do not wait for a time slice each. */
static void fresh_main(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	busy_begin(&wg);
	for (int i = 0; i < NEW; i++)
		check_int(gmp_waitgroup_spawn(&wg, begins, NULL), 0);
	unsigned n = until_all_have_begun();
	busy_end(&wg);
	check(n < 20 * NEW);
}
static void fresh_ones_get_their_share(void **state) { (void)state, run_with("tick=61", fresh_main); }

static void *foreign_spawner(void *arg)
{
	(void)arg;
	for (int i = 0; i < NEW; i++)
		check_int(gmp_spawn(begins, NULL), 0);
	return NULL;
}

/* What comes by the global queue (from threads, from sysmon's look at the network) does not wait for a look round each. */
static void global_main(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	pthread_t t;
	busy_begin(&wg);
	check_int(pthread_create(&t, NULL, foreign_spawner, NULL), 0); /* while this one has the P */
	check_int(pthread_join(t, NULL), 0);
	unsigned n = until_all_have_begun();
	busy_end(&wg);
	check(n < 20 * NEW);
}
static void the_global_queue_gets_its_share(void **state) { (void)state, run_with("tick=61", global_main); }

enum { NODES = 400, LEAVES = 5 };
static atomic_uint nodes, most_nodes;

static void leaf(void *arg) { (void)arg; }

static void node(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	unsigned n = atomic_fetch_add(&nodes, 1) + 1;
	if (n > atomic_load(&most_nodes))
		atomic_store(&most_nodes, n); /* alone */
	for (int i = 0; i < LEAVES; i++)
		check_int(gmp_waitgroup_spawn(&wg, leaf, NULL), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	atomic_fetch_sub(&nodes, 1);
}

/* RA-1: a tree stays depth-first, however wide it is. */
static void wide_main(void *arg)
{
	(void)arg;
	gmp_waitgroup wg = {0};
	atomic_store(&most_nodes, 0);
	for (int i = 0; i < NODES; i++)
		check_int(gmp_waitgroup_spawn(&wg, node, NULL), 0);
	check_int(gmp_waitgroup_wait(&wg), 0);
	check(atomic_load(&most_nodes) <= 20);
}
/* The slice is what FQ-1 goes by, and so how fast the machine is. */
static void wide_trees_are_depth_first(void **state) { (void)state, run_with("runahead=50,slice=100000000", wide_main); }

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(fresh_ones_get_their_share),
	        cmocka_unit_test(wide_trees_are_depth_first),
	        cmocka_unit_test(the_global_queue_gets_its_share),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
