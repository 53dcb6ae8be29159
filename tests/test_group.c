/* SPDX-License-Identifier: MIT
 * test_group.c - gmp_group: waiting for members, cancelling them together, freeing, foreign threads, deadlock. */
#include "testutil.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define MSEC INT64_C(1000000)

/* On one P: everybody else runs until it waits. */
static void settle(void)
{
	for (int i = 0; i < 4; i++)
		gmp_yield();
}

typedef struct Tree {
	gmp_group *grp;
	int depth;
	atomic_int n, cancelled;
	gmp_mutex locked;
} Tree;

static void member(void *arg)
{
	Tree *t = arg;
	int me = ++t->n;
	if (me <= 100)
		for (int i = 0; i < 3; i++)
			check_int(gmp_group_spawn(t->grp, member, t), 0);
	if (me % 5 == 0)
		check_int(gmp_sleep(1000), 0);
}

static void waits(void *arg)
{
	(void)arg;
	Tree t = {.grp = gmp_group_new()};
	check(t.grp);
	check_int(gmp_group_wait(t.grp), 0);
	check_int(gmp_group_wait_until(t.grp, 0), 0);
	check_int(gmp_group_spawn(t.grp, NULL, NULL), -EINVAL);
	check_int(gmp_group_spawn(NULL, member, NULL), -EINVAL);
	for (int round = 0; round < 3; round++) {
		t.n = 0;
		check_int(gmp_group_spawn(t.grp, member, &t), 0);
		check_int(gmp_group_wait(t.grp), 0);
		check_int(t.n, 301);
	}
	gmp_group_free(t.grp);
	gmp_group_free(NULL);
	gmp_group_cancel(NULL);
}

static void wait_returns_when_the_last_member_has_ended(void **state)
{
	(void)state;
	run_on_all(waits, NULL);
}

/* ---- cancellation ------------------------------------------------------------------------------------------------ */

static void stuck(void *arg)
{
	Tree *t = arg;
	t->n++;
	if (t->n % 2)
		check_int(gmp_mutex_lock(&t->locked), -ECANCELED);
	else
		check_int(gmp_sleep(3600 * GMP_SEC), -ECANCELED);
	check(gmp_cancelled());
	check_int(gmp_sleep(MSEC), -ECANCELED);
	t->cancelled++;
}

static void cancels(void *arg)
{
	Tree t = {.grp = gmp_group_new()};
	check(t.grp);
	check_int(gmp_mutex_lock(&t.locked), 0);
	for (int i = 0; i < 20; i++) {
		check_int(gmp_group_spawn(t.grp, stuck, &t), 0);
		if (i % 4 == 0)
			gmp_yield();
	}
	if (arg)
		settle();
	check_int(gmp_group_wait_until(t.grp, 0), -ETIMEDOUT);
	check_int(gmp_group_wait_until(t.grp, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_group_cancel(t.grp);
	gmp_group_cancel(t.grp);
	check_int(gmp_group_spawn(t.grp, stuck, &t), -ECANCELED);
	check_int(gmp_group_wait(t.grp), 0);
	check_int(t.cancelled, 20);
	check_int(gmp_group_spawn(t.grp, stuck, &t), -ECANCELED);
	gmp_group_free(t.grp);
	gmp_mutex_unlock(&t.locked);
}

static void cancel_reaches_every_member(void **state)
{
	(void)state;
	run_on_all(cancels, NULL);
	run_on_all(cancels, "settle");
}

static void owner(void *arg)
{
	Tree *t = arg;
	gmp_group *grp = gmp_group_new();
	check(grp);
	check_int(gmp_mutex_lock(&t->locked), 0);
	for (int i = 0; i < 10; i++)
		check_int(gmp_group_spawn(grp, stuck, t), 0);
	check_int(gmp_group_wait(grp), -ECANCELED); /* the owner was cancelled, its members were not */
	check_int(gmp_group_wait(grp), -ECANCELED);
	check_int(t->cancelled, 0);
	gmp_group_free(grp);
	check_int(t->cancelled, 10);
	gmp_mutex_unlock(&t->locked);
}

static void free_waits(void *arg)
{
	(void)arg;
	Tree t = {.n = 0};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, owner, &t), 0);
	settle();
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
	check_int(t.cancelled, 10);
}

static void free_waits_even_if_its_caller_is_cancelled(void **state)
{
	(void)state;
	run_on_all(free_waits, NULL);
}

/* Members of a group that have groups of their own: the tree comes down from the top. */
static void nested(void *arg)
{
	Tree *t = arg;
	gmp_group *grp = gmp_group_new();
	check(grp);
	Tree below = {.depth = t->depth + 1};
	for (int i = 0; i < 3 && t->depth < 3; i++)
		check_int(gmp_group_spawn(grp, nested, &below), 0);
	(void)gmp_sleep(3600 * GMP_SEC);
	gmp_group_free(grp);
	check_int(below.cancelled, t->depth < 3 ? 3 : 0);
	t->cancelled++;
}

static void trees(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		gmp_group *grp = gmp_group_new();
		check(grp);
		Tree t = {.n = 0};
		check_int(gmp_group_spawn(grp, nested, &t), 0);
		for (int k = 0; k < i; k++)
			gmp_yield();
		gmp_group_free(grp);
		check_int(t.cancelled, 1);
	}
}

static void trees_of_groups_come_down(void **state)
{
	(void)state;
	run_on_all(trees, NULL);
}

/* ---- foreign threads --------------------------------------------------------------------------------------------- */

static void napper(void *arg)
{
	Tree *t = arg;
	(void)gmp_sleep(MSEC);
	t->n++;
}

static void *group_thread(void *arg)
{
	(void)arg;
	Tree t = {.grp = gmp_group_new()};
	check(t.grp);
	for (int i = 0; i < 10; i++)
		check_int(gmp_group_spawn(t.grp, napper, &t), 0);
	check_int(gmp_group_wait(t.grp), 0);
	check_int(t.n, 10);
	check_int(gmp_mutex_lock(&t.locked), 0);
	for (int i = 0; i < 10; i++)
		check_int(gmp_group_spawn(t.grp, stuck, &t), 0);
	check_int(gmp_group_wait_until(t.grp, gmp_now() + MSEC), -ETIMEDOUT);
	gmp_group_free(t.grp);
	check_int(t.cancelled, 10);
	return NULL;
}

static void threads_have_groups(void **state)
{
	(void)state;
	check_int(gmp_start(&(gmp_config){.procs = 2}), 0);
	(void)group_thread(NULL);
	pthread_t t;
	check_int(pthread_create(&t, NULL, group_thread, NULL), 0);
	check_int(pthread_join(t, NULL), 0);
	check_int(gmp_stop(GMP_FOREVER), 0);
	gmp_group *grp = gmp_group_new();
	check(grp);
	check_int(gmp_group_spawn(grp, napper, NULL), -ESRCH);
	check_int(gmp_group_wait(grp), 0);
	gmp_group_free(grp);
}

/* A thread that spawns while the run ends: what could not be spawned any more is no member. */
typedef struct Late {
	gmp_group *grp;
	atomic_int spawned, ended;
	atomic_int quota; /* of a run: so it ends however slow the machine is */
	atomic_bool stop;
} Late;

static void late_member(void *arg) { ((Late *)arg)->ended++; }

static void *late_spawner(void *arg)
{
	Late *l = arg;
	while (!l->stop) {
		if (l->quota <= 0) {
			usleep(20);
			continue;
		}
		int r = gmp_group_spawn(l->grp, late_member, l);
		check(r == 0 || r == -ESRCH);
		if (r == 0) {
			l->spawned++;
			l->quota--;
		}
	}
	return NULL;
}

static void ends(void *arg) { ((Late *)arg)->quota = 8; }

static void a_spawn_at_the_end_of_a_run_leaves_no_member(void **state)
{
	(void)state;
	Late l = {.grp = gmp_group_new()};
	pthread_t t;
	check_int(pthread_create(&t, NULL, late_spawner, &l), 0);
	for (int i = 0; i < 200 / test_scale(); i++)
		check_int(run_result(1 + i % 2, ends, &l), 0);
	l.stop = true;
	check_int(pthread_join(t, NULL), 0);
	gmp_group_cancel(l.grp); /* walks the list */
	check_int(gmp_group_wait(l.grp), 0);
	check_int(l.spawned, l.ended);
	gmp_group_free(l.grp);
}

/* ---- bad ends ---------------------------------------------------------------------------------------------------- */

static void wait_for_ever(void *arg)
{
	Tree *t = arg;
	(void)gmp_mutex_lock(&t->locked);
}

static void deadlock(void *arg)
{
	Tree *t = arg;
	check_int(gmp_mutex_lock(&t->locked), 0);
	for (int i = 0; i < 3; i++)
		check_int(gmp_group_spawn(t->grp, wait_for_ever, t), 0);
	(void)gmp_group_wait(t->grp);
}

static void run_deadlock(void *arg)
{
	(void)arg;
	Tree t = {.grp = gmp_group_new()};
	check(t.grp);
	check_int(gmp_run(deadlock, &t, NULL), -EDEADLK);
	gmp_group_free(t.grp); /* its members were abandoned */
	_exit(7);
}

static void a_group_outlives_a_deadlocked_run(void **state)
{
	(void)state;
	char out[8192];
	int status = in_child(run_deadlock, NULL, out, sizeof out);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	check(strstr(out, "group wait"));
}

static void wait_for_oneself(void *arg) { (void)gmp_group_wait(arg); }

static void own_wait(void *arg)
{
	(void)arg;
	gmp_group *grp = gmp_group_new();
	check(grp);
	check_int(gmp_group_spawn(grp, wait_for_oneself, grp), 0);
	(void)gmp_group_wait(grp);
}

static void run_own_wait(void *arg)
{
	(void)arg;
	gmp_run(own_wait, NULL, NULL);
}

static void a_member_that_waits_for_its_group_aborts(void **state)
{
	(void)state;
	char out[8192];
	int status = in_child(run_own_wait, NULL, out, sizeof out);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	check(strstr(out, "a member waits for its own group"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_returns_when_the_last_member_has_ended),
		cmocka_unit_test(cancel_reaches_every_member),
		cmocka_unit_test(free_waits_even_if_its_caller_is_cancelled),
		cmocka_unit_test(trees_of_groups_come_down),
		cmocka_unit_test(threads_have_groups),
		cmocka_unit_test(a_spawn_at_the_end_of_a_run_leaves_no_member),
		cmocka_unit_test(a_group_outlives_a_deadlocked_run),
		cmocka_unit_test(a_member_that_waits_for_its_group_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
