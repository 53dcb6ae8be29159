/* SPDX-License-Identifier: MIT
 * test_net_deadline.c - the reader's timer, which stands from one wait to the next (net_timer.c, DT-1..6): times kept, later and
 * earlier deadlines, none, close and the same number anew, threads that read in turn, fork, a deadlock beside it. */
#include "nettest.h"
#include <pthread.h>
#include <sys/wait.h>

#define LONG (gmp_now() + 3600 * GMP_SEC)

static void write_byte(int fd) { check_int(gmp_write(fd, "x", 1), 1); }

/* A read that waits first, under this deadline, and gets a byte. */
typedef struct Sender {
	int fd;
	gmp_sem go;
} Sender;

static void send_when_read(void *arg)
{
	Sender *s = arg;
	while (gmp_sem_acquire(&s->go) == 0) {
		until_waiting(1);
		write_byte(s->fd);
	}
}

static void read_waiting(Sender *s, int fd, int64_t deadline)
{
	char c;
	gmp_sem_release(&s->go);
	check_int(gmp_read_until(fd, &c, 1, deadline), 1);
}

static void time_out(int fd, int64_t ns)
{
	char c;
	int64_t d = gmp_now() + ns;
	check_int(gmp_read_until(fd, &c, 1, d), -ETIMEDOUT);
	check(gmp_now() >= d);
}

static uint64_t timers(void)
{
	gmp_stats s;
	gmp_stats_read(&s);
	return s.timers;
}

static void in_order(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	Sender s = {.fd = fd[1]};
	gmp_g *g = start(send_when_read, &s);
	for (int k = 0; k < 3; k++) {
		read_waiting(&s, fd[0], LONG);
		check_int(timers(), 1); /* it stands */
		read_waiting(&s, fd[0], LONG);
		check_int(timers(), 1);              /* the same one */
		time_out(fd[0], 2 * GMP_MSEC);       /* earlier: DT-2 */
		read_waiting(&s, fd[0], gmp_now() + GMP_MSEC + 20 * GMP_SEC);
		read_waiting(&s, fd[0], GMP_FOREVER); /* beside a timer that stands */
		time_out(fd[0], 3 * GMP_MSEC);
		/* One that stands goes off under a wait that ends later, or never: DT-3, DT-1. */
		read_waiting(&s, fd[0], gmp_now() + 20 * GMP_MSEC + 20 * GMP_SEC);
		time_out(fd[0], GMP_MSEC);
	}
	check_int(gmp_cancel(g), 0);
	finish(g);
	close_both(fd);
	check_int(timers(), 0); /* DT-5 */
}

static void deadlines_of_reads_one_after_another(void **state)
{
	(void)state;
	run_on_all(in_order, NULL);
}

/* The first deadline is near, and what waits when it comes has a later one. Only then is it known how late. */
static void goes_off_early(void *arg)
{
	(void)arg;
	int fd[2];
	char c;
	tcp_pair(fd);
	for (int k = 0; k < 5; k++) {
		write_byte(fd[1]);
		check_int(gmp_wait_fd(fd[0], GMP_READABLE, SOON), GMP_READABLE);
		int64_t near = gmp_now() + 4 * GMP_MSEC;
		check_int(gmp_read_until(fd[0], &c, 1, near), 1);
		ssize_t n = gmp_read_until(fd[0], &c, 1, near); /* sets it, unless that moment has passed */
		check(n == -ETIMEDOUT);
		time_out(fd[0], 8 * GMP_MSEC);
	}
	close_both(fd);
}

static void a_timer_that_is_due_goes_by_who_waits_then(void **state)
{
	(void)state;
	run_on_all(goes_off_early, NULL);
}

/* The number comes back at once, with and without the library's knowledge, while the old timer is about to go off. */
static void number_again(void *arg)
{
	(void)arg;
	for (int k = 0; k < 60 / test_scale() + 4; k++) {
		int fd[2];
		char c;
		tcp_pair(fd);
		Sender s = {.fd = fd[1]};
		gmp_g *g = start(send_when_read, &s);
		read_waiting(&s, fd[0], gmp_now() + (k % 2 ? GMP_MSEC : 0) + 20 * GMP_SEC);
		check_int(gmp_cancel(g), 0);
		finish(g);
		int64_t near = gmp_now() + 300 * 1000; /* earlier than what stands: it is set anew */
		(void)gmp_read_until(fd[0], &c, 1, near);
		if (k % 3 == 0)
			check_int(close(fd[0]), 0);
		else
			check_int(gmp_close(fd[0]), 0);
		check_int(gmp_close(fd[1]), 0);
		int again[2];
		tcp_pair(again);
		time_out(again[0], GMP_MSEC);
		time_out(again[1], GMP_MSEC);
		close_both(again);
	}
}

static void the_number_of_a_closed_descriptor_begins_anew(void **state)
{
	(void)state;
	run_on_all(number_again, NULL);
}

/* Readers take turns on one descriptor with deadlines of their own, on several Ps, while some bytes come. */
typedef struct Turns {
	int fd;
	long got, late;
	gmp_mutex lock;
} Turns;

static void take_turns(void *arg)
{
	Turns *t = arg;
	uint64_t seed = (uint64_t)(uintptr_t)&arg;
	for (int k = 0; k < 100 / test_scale() + 10; k++) {
		char c;
		int64_t d = gmp_now() + test_rand(&seed) % 500 * 1000;
		ssize_t n = gmp_read_until(t->fd, &c, 1, d);
		check(n == 1 || n == -ETIMEDOUT);
		check(n == 1 || gmp_now() >= d);
		check_int(gmp_mutex_lock(&t->lock), 0);
		n == 1 ? t->got++ : t->late++;
		gmp_mutex_unlock(&t->lock);
	}
}

static void turns(void *arg)
{
	(void)arg;
	int fd[2];
	tcp_pair(fd);
	Turns t = {.fd = fd[0]};
	gmp_g *g[4];
	int sent = 0;
	for (int i = 0; i < 4; i++)
		g[i] = start(take_turns, &t);
	for (; sent < 50; sent++) {
		write_byte(fd[1]);
		check_int(gmp_sleep(300 * 1000), 0);
	}
	for (int i = 0; i < 4; i++)
		finish(g[i]);
	check(t.got <= sent && t.got + t.late == 4 * (100 / test_scale() + 10));
	close_both(fd);
	check_int(timers(), 0);
}

static void readers_in_turn_keep_their_own_deadlines(void **state)
{
	(void)state;
	run_on_all(turns, NULL);
}

/* ---- DT-6, fork -------------------------------------------------------------------------------------------------- */

static int across[2]; /* descriptors that outlive a run */

static void leave_standing(void *arg)
{
	tcp_pair(across);
	Sender s = {.fd = across[1]};
	gmp_g *g = start(send_when_read, &s);
	read_waiting(&s, across[0], LONG);
	check_int(gmp_cancel(g), 0);
	finish(g);
	if (arg) {
		gmp_chan *never = gmp_chan_new(0, 0);
		(void)gmp_chan_recv(never, NULL);
		check(0);
	}
}

static void time_out_again(void *arg)
{
	(void)arg;
	time_out(across[0], 2 * GMP_MSEC);
	time_out(across[0], 2 * GMP_MSEC);
}

static void deadlock_in_child(void *arg)
{
	(void)arg;
	int r = gmp_run(leave_standing, "deadlock", &(gmp_config){.procs = 2});
	_exit(r == -EDEADLK ? 7 : 8);
}

static void a_timer_that_nobody_waits_for_hides_no_deadlock(void **state)
{
	(void)state;
	char out[8192];
	int status = in_child(deadlock_in_child, NULL, out, sizeof out);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	check(strstr(out, "deadlock"));
}

static void the_next_run_sets_it_anew(void **state)
{
	(void)state;
	for (int procs = 1; procs <= 2; procs++) {
		run_on(procs, leave_standing, NULL);
		run_on(3 - procs, time_out_again, NULL);
		check_int(close(across[0]), 0);
		check_int(close(across[1]), 0);
	}
}

static void run_in_child(void *arg)
{
	(void)arg;
	int r = gmp_run(time_out_again, NULL, &(gmp_config){.procs = 1});
	_exit(r == 0 || r == -ENOTSUP ? 7 : 8);
}

static void forks(void *arg)
{
	leave_standing(arg);
	char out[8192];
	int status = in_child(run_in_child, NULL, out, sizeof out);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	close_both(across);
}

static void a_forked_child_has_no_timer_pending(void **state)
{
	(void)state;
	if (TEST_SANITIZED || getenv("GMP_TEST_EMULATED"))
		skip(); /* whose own locks another thread may hold at the fork: the child allocates, and starts threads */
	run_on(2, forks, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlines_of_reads_one_after_another),
		cmocka_unit_test(a_timer_that_is_due_goes_by_who_waits_then),
		cmocka_unit_test(the_number_of_a_closed_descriptor_begins_anew),
		cmocka_unit_test(readers_in_turn_keep_their_own_deadlines),
		cmocka_unit_test(a_timer_that_nobody_waits_for_hides_no_deadlock),
		cmocka_unit_test(the_next_run_sets_it_anew),
		cmocka_unit_test(a_forked_child_has_no_timer_pending),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
