/* SPDX-License-Identifier: MIT
 * test_switches.c - the switches of GMP_DEBUG that change what the scheduler does. That all else goes on working under them is
 * shown by test_sched, which ctest runs with each (tests/CMakeLists.txt). */
#include "testutil.h"
#include "tls.h"
#include <fenv.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static void debug(const char *text) { check_int(text ? setenv("GMP_DEBUG", text, 1) : unsetenv("GMP_DEBUG"), 0); }

/* ---- runnext ----------------------------------------------------------------------------------------------------- */

static int order[3], norder;
static gmp_sem sem[2];

static void waits(void *arg)
{
	intptr_t i = (intptr_t)arg;
	check_int(gmp_sem_acquire(&sem[i]), 0);
	order[norder++] = (int)i;
}

static void readies(void *arg)
{
	norder = 0;
	for (intptr_t i = 0; i < 2; i++) {
		gmp_sem_init(&sem[i], 0);
		check_int(gmp_spawn(waits, (void *)i), 0);
	}
	gmp_yield();
	gmp_sem_release(&sem[0]);
	gmp_sem_release(&sem[1]);
	gmp_yield();
	check_int(norder, 2);
	check_int(order[0], *(int *)arg);
}

static void the_last_one_readied_is_next_or_not(void **state)
{
	(void)state;
	int first = 1;
	run_alone(readies, &first);
	debug("runnext=0");
	first = 0;
	run_alone(readies, &first);
	debug(NULL);
}

/* ---- checkfp ----------------------------------------------------------------------------------------------------- */

static void changes_rounding(void *arg)
{
	check_int(fesetround(FE_UPWARD), 0);
	if (arg)
		gmp_yield();
	check_int(fesetround(FE_TONEAREST), 0);
}

static void spawns_changing(void *arg)
{
	gmp_attr own = {.fpenv = 1};
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, &own, changes_rounding, "yields"), 0);
	check_int(gmp_join(g), 0);
	check_int(gmp_spawn_attr(&g, NULL, changes_rounding, arg), 0);
	check_int(gmp_join(g), 0);
}

static void child(void *arg)
{
	debug("checkfp=1");
	_exit(gmp_run(spawns_changing, arg, NULL));
}

static void control_words_left_behind_are_reported(void **state)
{
	(void)state;
	char buf[4096];
	int s = in_child(child, NULL, buf, sizeof buf);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 0);
	s = in_child(child, "yields", buf, sizeof buf);
	check(!WIFEXITED(s) || WEXITSTATUS(s));
	check(strstr(buf, "floating-point control words") != NULL);
}

/* ---- tick -------------------------------------------------------------------------------------------------------- */

/* TK-1. sysmon may give the P to another M meanwhile: what has been read counts if it was still this one's afterwards. */
static void look_at_ticks(void)
{
	M *m = getm();
	P *p = m->p;
	uint32_t t = p ? load_relaxed(&p->ticks) : 1;
	check(!p || load_acquire(&p->m) != m || t - 1 < sched.ticksinit);
}

static void parks_locked(void *arg)
{
	gmp_chan *c = arg;
	int v;
	gmp_lock_thread();
	while (gmp_chan_recv(c, &v) == 0)
		look_at_ticks();
	gmp_unlock_thread();
	look_at_ticks();
	gmp_yield();
	look_at_ticks();
}

static void blocks(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		gmp_blocking_enter();
		usleep(i % 4 ? 0 : 50);
		gmp_blocking_leave();
		look_at_ticks();
	}
}

static void a_p_changes_hands(void *arg)
{
	(void)arg;
	gmp_chan *c = gmp_chan_new(sizeof(int), 0);
	gmp_g *g[6];
	for (int i = 0; i < 6; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, i % 2 ? blocks : parks_locked, c), 0);
	for (int i = 0; i < 300; i++) {
		check_int(gmp_chan_send(c, &i), 0);
		if (i % 3 == 0)
			check_int(gmp_sleep(20 * GMP_USEC), 0);
		look_at_ticks();
	}
	check_int(gmp_chan_close(c), 0);
	for (int i = 0; i < 6; i++)
		check_int(gmp_join(g[i]), 0);
	gmp_chan_free(c);
}

/* A P that was put aside on the last switch before g0's turn must not run on without one for four thousand million switches. */
static void a_p_that_changes_hands_keeps_its_ticks(void **state)
{
	(void)state;
	debug("tick=1");
	for (int i = 0; i < 10; i++)
		run_on_all(a_p_changes_hands, NULL);
	debug("tick=2");
	run_on_all(a_p_changes_hands, NULL);
	debug(NULL);
}

/* ---- schedtrace -------------------------------------------------------------------------------------------------- */

/* The text matches a pattern in which # stands for a number. */
static bool matches(const char *s, const char *pattern)
{
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*s++ != *pattern)
				return false;
			continue;
		}
		if (*s < '0' || *s > '9')
			return false;
		while (*s >= '0' && *s <= '9')
			s++;
	}
	return true;
}

static bool has_line(const char *text, const char *pattern)
{
	for (const char *s = text; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (matches(s, pattern))
			return true;
	}
	return false;
}

typedef struct Trace {
	const char *debug, *lines[6];
} Trace;

static void asleep(void *arg)
{
	(void)arg;
	check_int(gmp_sleep(GMP_FOREVER), -ECANCELED);
}

/* Asleep, and locked to its thread, until each of the lines has been traced. */
static void traces(void *arg)
{
	const Trace *t = arg;
	static char buf[1 << 20];
	gmp_g *g;
	check_int(gmp_spawn_attr(&g, NULL, asleep, NULL), 0);
	gmp_lock_thread();
	for (const char *const *line = t->lines; *line;) {
		check_int(gmp_sleep(5 * GMP_MSEC), 0);
		check(pread(STDERR_FILENO, buf, sizeof buf - 1, 0) >= 0);
		while (*line && has_line(buf, *line))
			line++;
	}
	gmp_unlock_thread();
	check_int(gmp_cancel(g), 0);
	check_int(gmp_join(g), 0);
}

static void trace_child(void *arg)
{
	gmp_config cfg = {.procs = 2};
	FILE *f = tmpfile(); /* to be read back */
	check(f && dup2(fileno(f), STDERR_FILENO) == STDERR_FILENO);
	debug(((Trace *)arg)->debug);
	_exit(gmp_run(traces, arg, &cfg));
}

static void the_trace_has_gos_format(void **state)
{
	(void)state;
	static Trace t[] = {
		{"schedtrace=1",
			{"SCHED #ms: gomaxprocs=2 idleprocs=# threads=# spinningthreads=# needspinning=# idlethreads=# runqueue=# [# #]\n"}},
		{"schedtrace=1,scheddetail=1",
			{"SCHED #ms: gomaxprocs=2 idleprocs=# threads=# spinningthreads=# needspinning=# idlethreads=# runqueue=# "
			 "gcwaiting=false nmidlelocked=# stopwait=# sysmonwait=false\n",
				"  P1: status=# schedtick=# syscalltick=# m=nil runqsize=# gfreecnt=# timerslen=#\n",
				"  M#: p=nil curg=nil mallocing=# throwing=# preemptoff= locks=# dying=# spinning=false blocked=false lockedg=nil\n",
				"  G#: status=4(sleep) m=nil lockedm=nil\n", "  G#: status=4(sleep) m=nil lockedm=#\n"}},
	};
	for (int i = 0; i < 2; i++) {
		char buf[4096];
		int s = in_child(trace_child, &t[i], buf, sizeof buf);
		check(WIFEXITED(s) && WEXITSTATUS(s) == 0);
	}
}

int main(void)
{
	debug(NULL);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_one_readied_is_next_or_not),
		cmocka_unit_test(control_words_left_behind_are_reported),
		cmocka_unit_test(the_trace_has_gos_format),
		cmocka_unit_test(a_p_that_changes_hands_keeps_its_ticks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
