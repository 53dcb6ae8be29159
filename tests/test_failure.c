/* SPDX-License-Identifier: MIT
 * test_failure.c - what happens when things go wrong: deadlock, no memory, no threads, fork, wrong calls. */
#include "testutil.h"
#include "runtime.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(void *arg) { (void)arg; }

/* ---- deadlock ---------------------------------------------------------------------------------------------------- */

static void waits_for_nobody(void *arg)
{
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	int v;
	(void)arg;
	(void)gmp_chan_recv(c, &v);
}

static void names_and_waits(void *arg)
{
	gmp_attr a = {.name = "stuck one"};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, &a, waits_for_nobody, NULL), 0);
	gmp_mutex m = GMP_MUTEX_INIT;
	check_int(gmp_mutex_lock(&m), 0);
	check_int(gmp_spawn((gmp_fn *)waits_for_nobody, arg), 0);
	(void)gmp_join(g);
}

static void run_deadlock(void *procs)
{
	gmp_config cfg = {.procs = (int)(intptr_t)procs};
	_exit(gmp_run(names_and_waits, NULL, &cfg) == -EDEADLK ? 42 : 1);
}

static void a_deadlock_is_reported(void **state)
{
	(void)state;
	for (intptr_t p = 1; p <= 4; p++) {
		char buf[8192];
		int s = in_child(run_deadlock, (void *)p, buf, sizeof buf);
		if (!WIFEXITED(s) || WEXITSTATUS(s) != 42 || !strstr(buf, "all coroutines are asleep - deadlock!") ||
			!strstr(buf, "\"stuck one\" [chan receive on channel ") || !strstr(buf, "[join of coroutine ") ||
			!strstr(buf, "spawned at ")) {
			fprintf(stderr, "status %d, report:\n%s\n", s, buf);
			check(!"the report of a deadlock");
		}
	}
}

static void deadlock_then_run(void *arg)
{
	(void)arg;
	int ok = gmp_run(names_and_waits, NULL, NULL) == -EDEADLK && gmp_run(nothing, NULL, NULL) == 0 &&
		gmp_run(names_and_waits, NULL, NULL) == -EDEADLK;
	gmp_stats s;
	gmp_stats_read(&s);
	_exit(ok && s.stacks == 0 ? 42 : 1);
}

static void a_run_after_a_deadlock_works(void **state)
{
	(void)state;
	char buf[8192];
	int s = in_child(deadlock_then_run, NULL, buf, sizeof buf);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
}

static gmp_chan *handover;
static atomic_int stage;

static void *late_sender(void *arg)
{
	int v = 7;
	while (!atomic_load(&stage))
		usleep(1000);
	check_int(gmp_chan_send(handover, &v), 0);
	gmp_release();
	return arg;
}

static void held(void *arg)
{
	int v = 0;
	(void)arg;
	atomic_store(&stage, 1);
	check_int(gmp_chan_recv(handover, &v), 0);
	check_int(v, 7);
}

static void hold_keeps_a_waiting_run_alive(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		pthread_t t;
		handover = gmp_chan_new(sizeof(int), 0);
		atomic_store(&stage, 0);
		gmp_hold();
		check_int(pthread_create(&t, NULL, late_sender, NULL), 0);
		run_on(procs, held, NULL);
		check_int(pthread_join(t, NULL), 0);
		gmp_chan_free(handover);
	}
}

static void *takes_part(void *arg)
{
	int v = 7;
	check_int(gmp_chan_send(handover, &v), 0);
	while (!atomic_load(&stage))
		usleep(1000);
	until_left(1, 1);
	usleep(5000); /* its thread, too, has come to rest, most likely: if not, it reports what we would have */
	return arg;
}

static void waits_twice(void *arg)
{
	int v = 0;
	(void)arg;
	check_int(gmp_chan_recv(handover, &v), 0);
	atomic_store(&stage, 1);
	(void)gmp_chan_recv(handover, &v);
}

static void run_until_the_last_thread_goes(void *procs)
{
	gmp_config cfg = {.procs = (int)(intptr_t)procs};
	pthread_t t;
	handover = gmp_chan_new(sizeof(int), 0);
	check_int(pthread_create(&t, NULL, takes_part, NULL), 0);
	check_int(pthread_detach(t), 0);
	_exit(gmp_run(waits_twice, NULL, &cfg) == -EDEADLK ? 42 : 1);
}

/* The report that its presence held back comes when it goes. */
static void a_deadlock_is_reported_when_the_last_foreign_thread_ends(void **state)
{
	(void)state;
	for (intptr_t p = 1; p <= 2; p++) {
		char buf[8192];
		int s = in_child(run_until_the_last_thread_goes, (void *)p, buf, sizeof buf);
		if (!WIFEXITED(s) || WEXITSTATUS(s) != 42) {
			fprintf(stderr, "status %d, report:\n%s\n", s, buf);
			check(!"a deadlock");
		}
	}
}

/* Calls that neither wait nor wake anybody do not make a thread part of the run: it may be there for ever. */
static void *looks_on(void *arg)
{
	int v = 1;
	gmp_chan *c = gmp_chan_new(sizeof v, 1);
	gmp_case none = {NULL, GMP_RECV, &v, 0}, bad = {c, 7, &v, 0};
	check_int(gmp_select(NULL, 0, 0), -EAGAIN);
	check_int(gmp_select(&none, 1, 0), -EAGAIN);
	check_int(gmp_select(&bad, 1, GMP_FOREVER), -EINVAL);
	check_int(gmp_chan_len(c), 0);
	check_int(gmp_chan_cap(c), 1);
	atomic_store(&stage, 1);
	for (;;)
		pause();
	return arg;
}

static void waits_for_nothing(void *arg)
{
	while (!atomic_load(&stage))
		gmp_yield();
	(void)gmp_chan_recv(NULL, arg);
}

static void run_beside_an_onlooker(void *procs)
{
	gmp_config cfg = {.procs = (int)(intptr_t)procs};
	pthread_t t;
	check_int(pthread_create(&t, NULL, looks_on, NULL), 0);
	check_int(pthread_detach(t), 0);
	_exit(gmp_run(waits_for_nothing, NULL, &cfg) == -EDEADLK ? 42 : 1);
}

static void a_thread_that_only_looks_on_holds_back_no_report(void **state)
{
	(void)state;
	for (intptr_t p = 1; p <= 2; p++) {
		char buf[8192];
		int s = in_child(run_beside_an_onlooker, (void *)p, buf, sizeof buf);
		check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
	}
}

static void release_without_hold(void *arg)
{
	(void)arg;
	gmp_release();
}

static void one_release_too_many_is_reported(void **state)
{
	(void)state;
	char buf[4096];
	check(in_child(release_without_hold, NULL, buf, sizeof buf) != 0);
	check(strstr(buf, "gmp_release without gmp_hold") != NULL);
}

/* ---- no memory --------------------------------------------------------------------------------------------------- */

static void spawns_without_memory(void *arg)
{
	(void)arg;
	char args[64] = {0};
	gmp_attr a = {.name = "x", .stack_size = 64 << 10};
	int failed = 0;
	for (long n = 1; n <= 12; n++) {
		gmp_g *g = NULL;
		gmp__os_fail_at = n;
		int e = gmp_spawn_attr(&g, &a, nothing, NULL);
		check(e == 0 || e == -ENOMEM);
		check((e == 0) == (g != NULL));
		int e2 = gmp_spawn_copy(nothing, args, sizeof args);
		check(e2 == 0 || e2 == -ENOMEM);
		gmp__os_fail_at = 0;
		failed += (e != 0) + (e2 != 0);
		if (g)
			check_int(gmp_join(g), 0);
	}
	check(failed > 0);
}

static void every_failing_allocation_of_a_spawn_is_an_error(void **state)
{
	(void)state;
	run_on(1, spawns_without_memory, NULL);
	run_on(1, spawns_without_memory, NULL);
}

static void a_start_without_memory_is_an_error(void **state)
{
	(void)state;
	int failed = 0;
	for (long n = 1; n <= 30; n++) {
		gmp_config cfg = {.procs = 3};
		gmp__os_fail_at = n;
		int e = gmp_run(nothing, NULL, &cfg);
		gmp__os_fail_at = 0;
		check(e == 0 || e == -ENOMEM || e == -EAGAIN);
		failed += e != 0;
	}
	check(failed > 0);
	run_on(3, nothing, NULL);
}

static void objects_without_memory(void **state)
{
	(void)state;
	gmp__os_fail_at = 1;
	check(gmp_chan_new(8, 8) == NULL);
	gmp__os_fail_at = 1;
	check(gmp_timer_new(nothing, NULL) == NULL);
	gmp__os_fail_at = 1;
	check(gmp_group_new() == NULL);
	gmp__os_fail_at = 0;
	check(gmp_chan_new(65537, 1) == NULL);
	check(gmp_chan_new(65536, SIZE_MAX / 1024) == NULL);
	check(gmp_chan_new(0, SIZE_MAX) == NULL);
}

/* ---- no threads -------------------------------------------------------------------------------------------------- */

static atomic_int seen;

static void counts(void *arg)
{
	(void)arg;
	atomic_fetch_add(&seen, 1);
}

static bool limit_was_met(void)
{
	lock(&sched.lock);
	bool met = sched.threadwarned;
	unlock(&sched.lock);
	return met;
}

/* Its thread, undeclared, until sysmon has looked for another one. */
static void blocks(void *arg)
{
	do
		usleep(20000);
	while (!limit_was_met());
	counts(arg);
}

static void many_blockers(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++)
		check_int(gmp_spawn(blocks, NULL), 0);
	for (int i = 0; i < 10; i++)
		check_int(gmp_spawn(counts, NULL), 0);
}

static void run_with_two_threads(void *arg)
{
	(void)arg;
	gmp_config cfg = {.procs = 2, .max_threads = 2};
	int r = gmp_run(many_blockers, NULL, &cfg);
	_exit(r == 0 && atomic_load(&seen) == 20 ? 42 : 1);
}

static void at_the_thread_limit_the_scheduler_goes_on(void **state)
{
	(void)state;
	char buf[4096];
	int s = in_child(run_with_two_threads, NULL, buf, sizeof buf);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
	const char *said = strstr(buf, "at the limit of threads");
	check(said != NULL && strstr(said + 1, "at the limit of threads") == NULL); /* once */
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void forks(void *arg)
{
	(void)arg;
	gmp_timer *t = gmp_timer_new(nothing, NULL);
	check_int(gmp_timer_start(t, gmp_now() + 3600 * GMP_SEC, 0), 0);
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, nothing, NULL), 0);
	((G *)g)->joinlock = 1; /* as if another thread were in there */
	pid_t pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		alarm(60); /* the parent waits */
		int none = gmp_join(g) == -ENOTSUP && gmp_join_until(g, GMP_FOREVER) == -ENOTSUP && gmp_cancel(g) == 0 &&
			gmp_set_procs(2) == -ENOTSUP && gmp_stop(0) == -ENOTSUP && gmp_timer_start(t, 0, 0) == -ENOTSUP &&
			gmp_timer_stop(t) == 0;
		gmp_timer_free(t);
		int ok = none && gmp_spawn(nothing, NULL) == -ENOTSUP && gmp_spawn_attr(NULL, NULL, nothing, NULL) == -ENOTSUP &&
			gmp_procs() == 0 && gmp_id() == 0;
		int ran = gmp_run(nothing, NULL, NULL); /* until it starts one */
		_exit(ok && ran == 0 ? 42 : 1);
	}
	((G *)g)->joinlock = 0;
	check_int(gmp_join(g), 0);
	gmp_timer_free(t);
	int s;
	check_int(waitpid(pid, &s, 0), pid);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
}

static void a_forked_child_has_no_runtime(void **state)
{
	(void)state;
	if (TEST_SANITIZED || getenv("GMP_TEST_EMULATED"))
		skip(); /* threads after a multi-threaded fork are beyond TSan and qemu-user */
	run_on(1, forks, NULL);
	run_on(2, forks, NULL);
}

/* ---- dump -------------------------------------------------------------------------------------------------------- */

static void sleeper(void *arg)
{
	(void)arg;
	check_int(gmp_sleep(3600 * GMP_SEC), -ECANCELED);
}

static void dumps(void *arg)
{
	int fd = *(int *)arg;
	gmp_attr a = {.name = "late riser"};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, &a, sleeper, NULL), 0);
	until_left(2, 1);
	check_int(gmp_dump(fd), 0);
	check_int(gmp_dump(-1), -EBADF);
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
}

static void a_dump_shows_every_coroutine(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		FILE *f = tmpfile();
		check(f != NULL);
		int fd = fileno(f);
		int64_t began = gmp_now();
		run_on(procs, dumps, &fd);
		int64_t most = (gmp_now() - began) / GMP_MSEC + 1;
		char buf[8192];
		rewind(f);
		size_t n = fread(buf, 1, sizeof buf - 1, f);
		buf[n] = 0;
		fclose(f);
		const char *at = strstr(buf, "\"late riser\" [sleep, ");
		unsigned s, ms;
		check(at && sscanf(at, "\"late riser\" [sleep, %u.%3u s", &s, &ms) == 2);
		check(s * INT64_C(1000) + ms <= most);
		check(strstr(buf, "[running]") != NULL);
		check(strstr(buf, "spawned at") != NULL);
		check(strstr(buf, "2 coroutines") != NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deadlock_is_reported),
		cmocka_unit_test(a_run_after_a_deadlock_works),
		cmocka_unit_test(hold_keeps_a_waiting_run_alive),
		cmocka_unit_test(a_deadlock_is_reported_when_the_last_foreign_thread_ends),
		cmocka_unit_test(a_thread_that_only_looks_on_holds_back_no_report),
		cmocka_unit_test(one_release_too_many_is_reported),
		cmocka_unit_test(every_failing_allocation_of_a_spawn_is_an_error),
		cmocka_unit_test(a_start_without_memory_is_an_error),
		cmocka_unit_test(objects_without_memory),
		cmocka_unit_test(at_the_thread_limit_the_scheduler_goes_on),
		cmocka_unit_test(a_forked_child_has_no_runtime),
		cmocka_unit_test(a_dump_shows_every_coroutine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
