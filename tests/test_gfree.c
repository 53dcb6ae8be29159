/* SPDX-License-Identifier: MIT
 * test_gfree.c - free descriptors (GD-4 in g.c): none is lost, none is in two places, whoever spawns and whoever ends. */
#include "testutil.h"
#include "gfree.h"
#include <pthread.h>

enum { MANY = 5 * GFREE_LOCAL, FOREIGN = 2 * GFREE_BATCH + 10 };

/* GBatch is g.c's own: what it looks like from outside. */
struct batch {
	struct batch *next;
	G *g[GFREE_BATCH];
};

static G **found;
static size_t nfound, nknown;

static void know(G *gp, void *arg)
{
	(void)arg;
	assert_int_equal(gp->status, Gidle);
	nknown++;
}

static void find(G *gp)
{
	found = realloc(found, (nfound + 1) * sizeof *found);
	assert_non_null(found);
	found[nfound++] = gp;
}

static int by_address(const void *a, const void *b)
{
	const G *x = *(G *const *)a, *y = *(G *const *)b;
	return x < y ? -1 : x > y;
}

/* No run is up. The number of descriptors. */
static size_t all_are_free_once(void)
{
	nfound = nknown = 0;
	gmp__g_foreach(know, NULL);
	for (Link *l = sched.gfree.head; l; l = l->next)
		find(link2g(l));
	for (struct batch *b = (struct batch *)(void *)sched.gfull; b; b = b->next)
		for (int i = 0; i < GFREE_BATCH; i++)
			find(b->g[i]);
	struct batch *open = (struct batch *)(void *)sched.gopen;
	for (uint32_t i = 0; open && i < sched.ngopen; i++)
		find(open->g[i]);
	for (int i = 0; i < sched.nallp; i++)
		assert_int_equal(sched.allp[i]->ngfree, 0);
	assert_int_equal(nfound, nknown);
	qsort(found, nfound, sizeof *found, by_address);
	for (size_t i = 1; i < nfound; i++)
		assert_ptr_not_equal(found[i - 1], found[i]);
	return nknown;
}

static void receives(void *chan)
{
	check_int(gmp_chan_recv(chan, NULL), -EPIPE);
}

/* MANY are alive, then end, on whatever P. */
static void burst(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(0, 0);
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	check(c != NULL);
	for (int i = 0; i < MANY; i++)
		check_int(gmp_waitgroup_spawn(&wg, receives, c), 0);
	gmp_yield();
	gmp_chan_close(c);
	check_int(gmp_waitgroup_wait(&wg), 0);
	gmp_chan_free(c);
}

static void bursts(void *arg)
{
	for (int i = 0; i < 3; i++)
		burst(arg);
}

static void nothing(void *arg) { (void)arg; }

static void *spawns(void *wg)
{
	for (int i = 0; i < FOREIGN; i++)
		check_int(gmp_waitgroup_spawn(wg, nothing, NULL), 0);
	return NULL;
}

/* After a burst there are full batches, from which a thread without a P takes one by one. */
static void foreign(void *arg)
{
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	pthread_t t;
	burst(arg);
	check(sched.gfull != NULL);
	check_int(pthread_create(&t, NULL, spawns, &wg), 0);
	gmp_blocking_enter();
	check_int(pthread_join(t, NULL), 0);
	gmp_blocking_leave();
	check_int(gmp_waitgroup_wait(&wg), 0);
}

static void they_are_used_again(void **state)
{
	(void)state;
	run_on(1, burst, NULL);
	size_t n = all_are_free_once();
	assert_true(n > MANY);
	for (int i = 0; i < 3; i++) {
		run_on(1, bursts, NULL);
		assert_int_equal(all_are_free_once(), n);
	}
}

static void also_by_several_ps(void **state)
{
	(void)state;
	run_on(4, bursts, NULL);
	size_t n = all_are_free_once();
	for (int i = 0; i < 3; i++) {
		run_on(4, bursts, NULL);
		/* What lies at a P is not at hand for another. */
		assert_true(all_are_free_once() <= n + 4 * (GFREE_LOCAL + 32));
	}
}

static void by_threads_without_a_p(void **state)
{
	(void)state;
	run_on(2, foreign, NULL);
	(void)all_are_free_once();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_are_used_again),
		cmocka_unit_test(also_by_several_ps),
		cmocka_unit_test(by_threads_without_a_p),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(found);
	return failed;
}
