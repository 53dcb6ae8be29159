/* SPDX-License-Identifier: MIT
 * test_dump.c - gmp_dump and the deadlock report name what each coroutine waits for. */
#include "testutil.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t HOUR = 3600 * GMP_SEC;

typedef struct Objects {
	gmp_chan *c, *full, *other;
	gmp_mutex mu, free;
	gmp_rwmutex rw;
	gmp_cond cond;
	gmp_waitgroup wg;
	gmp_sem sem;
	gmp_once once;
	gmp_group *grp;
	gmp_g *target;
	uint64_t target_id;
	atomic_bool end;
} Objects;

static Objects o;

static void member(void *arg)
{
	(void)arg;
	(void)gmp_sleep(HOUR);
}

static void target(void *arg)
{
	(void)arg;
	o.target_id = gmp_id();
	(void)gmp_sleep(HOUR);
}

static void until_end(void *arg)
{
	(void)arg;
	while (!o.end)
		(void)gmp_sleep(10 * GMP_USEC);
}

/* Each waits for something else; `until`: with or without a deadline it reads the same. */
enum { SEND, RECV, SEND_NULL, RECV_NULL, SELECT, SELECT_NONE, SELECT_NULL, LOCK, RLOCK, WLOCK, COND, WG, SEM, ONCE_RUN, ONCE, GROUP, JOIN, SLEEP,
	KINDS };

static void waits(void *arg)
{
	int kind = (int)(intptr_t)arg % KINDS;
	bool until = (intptr_t)arg >= KINDS;
	int64_t d = until ? gmp_now() + HOUR : GMP_FOREVER;
	int v = 1, r;
	gmp_case k[3] = {{o.c, GMP_RECV, &v, 0}, {o.full, GMP_SEND, &v, 0}, {NULL, GMP_RECV, &v, 0}};
	switch (kind) {
	case SEND:
		r = until ? gmp_chan_send_until(o.full, &v, d) : gmp_chan_send(o.full, &v);
		break;
	case RECV:
		r = until ? gmp_chan_recv_until(o.c, &v, d) : gmp_chan_recv(o.c, &v);
		break;
	case SEND_NULL:
		r = until ? gmp_chan_send_until(NULL, &v, d) : gmp_chan_send(NULL, &v);
		break;
	case RECV_NULL:
		r = until ? gmp_chan_recv_until(NULL, &v, d) : gmp_chan_recv(NULL, &v);
		break;
	case SELECT:
		r = gmp_select(k, 3, d);
		break;
	case SELECT_NONE:
		r = gmp_select(NULL, 0, d);
		break;
	case SELECT_NULL:
		r = gmp_select(&k[2], 1, d);
		break;
	case LOCK:
		r = gmp_mutex_lock_until(&o.mu, d);
		break;
	case RLOCK:
		r = gmp_rwmutex_rlock_until(&o.rw, d);
		break;
	case WLOCK:
		r = gmp_rwmutex_lock_until(&o.rw, d);
		break;
	case COND:
		check_int(gmp_mutex_lock(&o.free), 0);
		r = gmp_cond_wait_until(&o.cond, &o.free, d);
		gmp_mutex_unlock(&o.free);
		break;
	case WG:
		r = until ? gmp_waitgroup_wait_until(&o.wg, d) : gmp_waitgroup_wait(&o.wg);
		break;
	case SEM:
		r = until ? gmp_sem_acquire_until(&o.sem, d) : gmp_sem_acquire(&o.sem);
		break;
	case ONCE_RUN:
	case ONCE:
		gmp_once_do(&o.once, until_end, NULL);
		return;
	case GROUP:
		r = gmp_group_wait_until(o.grp, d);
		break;
	case JOIN:
		r = until ? gmp_join_until(o.target, d) : gmp_join(o.target);
		break;
	default:
		r = gmp_sleep_until(d);
	}
	check_int(r, -ECANCELED);
}

static char text[65536];

/* The dump's line of coroutine `name` holds what fmt says. */
static void expect(const char *name, const char *fmt, ...)
{
	char want[128], quoted[64];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(want, sizeof want, fmt, ap);
	va_end(ap);
	snprintf(quoted, sizeof quoted, "\"%s\" [", name);
	char *line = strstr(text, quoted);
	char *end = line ? strchr(line, '\n') : NULL;
	char *at = line ? strstr(line, want) : NULL;
	if (!at || at > end) {
		fprintf(stderr, "%s: not \"%s\" in\n%s\n", name, want, text);
		check(at && at < end);
	}
}

static void read_back(FILE *f)
{
	rewind(f);
	text[fread(text, 1, sizeof text - 1, f)] = 0;
	fclose(f);
}

static void check_dump(const char *suffix)
{
	char n[KINDS][32];
	for (int i = 0; i < KINDS; i++)
		snprintf(n[i], sizeof n[i], "w%d%s", i, suffix);
	expect(n[SEND], "[chan send on channel %p (2 of 2)", (void *)o.full);
	expect(n[RECV], "[chan receive on channel %p (0 of 0)", (void *)o.c);
	expect(n[SEND_NULL], "[chan operation on NULL");
	expect(n[RECV_NULL], "[chan operation on NULL");
	expect(n[SELECT], "[select of 3");
	expect(n[SELECT_NONE], "[select (no cases)");
	expect(n[SELECT_NULL], "[select (no cases)");
	expect(n[LOCK], "[mutex lock %p held by coroutine %" PRIu64, (void *)&o.mu, gmp_id());
	expect(n[RLOCK], "[rwmutex rlock %p", (void *)&o.rw);
	expect(n[WLOCK], "[rwmutex lock %p", (void *)&o.rw);
	expect(n[COND], "[cond wait %p", (void *)&o.cond);
	expect(n[WG], "[waitgroup wait %p", (void *)&o.wg);
	expect(n[SEM], "[sem acquire %p", (void *)&o.sem);
	expect(n[ONCE], "[once %p", (void *)&o.once);
	expect(n[GROUP], "[group wait %p", (void *)o.grp);
	expect(n[JOIN], "[join of coroutine %" PRIu64, o.target_id);
	expect(n[SLEEP], "[sleep");
}

static void dumps(void *arg)
{
	bool until = *(bool *)arg;
	memset(&o, 0, sizeof o);
	o.c = gmp_chan_new(sizeof(int), 0);
	o.full = gmp_chan_new(sizeof(int), 2);
	o.grp = gmp_group_new();
	int v = 0;
	check_int(gmp_chan_send(o.full, &v), 0);
	check_int(gmp_chan_send(o.full, &v), 0);
	check_int(gmp_mutex_lock(&o.mu), 0);
	check_int(gmp_rwmutex_lock(&o.rw), 0);
	gmp_waitgroup_add(&o.wg, 1);
	check_int(gmp_group_spawn(o.grp, member, NULL), 0);
	check_int(gmp_spawn_attr(&o.target, NULL, target, NULL), 0);
	gmp_g *g[KINDS];
	for (intptr_t i = 0; i < KINDS; i++) {
		char name[32];
		snprintf(name, sizeof name, "w%d%s", (int)i, until ? "until" : "");
		gmp_attr a = {.name = name};
		check_int(gmp_spawn_attr(&g[i], &a, waits, (void *)(i + (until ? KINDS : 0))), 0);
		gmp_yield(); /* alone: it waits now */
	}
	FILE *f = tmpfile();
	check(f);
	check_int(gmp_dump(fileno(f)), 0);
	read_back(f);
	check_dump(until ? "until" : "");
	o.end = true;
	for (int i = 0; i < KINDS; i++)
		check_int(gmp_cancel(g[i]), 0);
	for (int i = 0; i < KINDS; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(gmp_cancel(o.target), 0);
	check_int(gmp_join(o.target), 0);
	gmp_group_free(o.grp);
	gmp_chan_free(o.c);
	gmp_chan_free(o.full);
	gmp_mutex_unlock(&o.mu);
	gmp_rwmutex_unlock(&o.rw);
}

static void a_dump_names_what_is_waited_for(void **state)
{
	(void)state;
	bool until = false;
	run_alone(dumps, &until);
	until = true;
	run_alone(dumps, &until);
}

/* ---- the deadlock report ----------------------------------------------------------------------------------------------- */

typedef struct Fork {
	gmp_mutex *first, *second;
} Fork;

static void dines(void *arg)
{
	Fork *f = arg;
	check_int(gmp_mutex_lock(f->first), 0);
	gmp_yield();
	(void)gmp_mutex_lock(f->second);
}

static void deadlock(void *arg)
{
	(void)arg;
	static gmp_mutex fork_[3];
	static Fork f[3];
	static const char *const names[] = {"left", "middle", "right"};
	for (int i = 0; i < 3; i++) {
		f[i] = (Fork){&fork_[i], &fork_[(i + 1) % 3]};
		gmp_attr a = {.name = names[i]};
		check_int(gmp_spawn_attr(NULL, &a, dines, &f[i]), 0);
	}
	gmp_chan *never = gmp_chan_new(8, 3);
	(void)gmp_chan_recv(never, NULL);
}

static void run_deadlock(void *arg)
{
	(void)arg;
	no_sysmon();
	_exit(gmp_run(deadlock, NULL, &(gmp_config){.procs = 1}) == -EDEADLK ? 42 : 1);
}

/* The id in the line that begins with "coroutine ID "name"" */
static unsigned long id_of(const char *name)
{
	char quoted[32];
	snprintf(quoted, sizeof quoted, " \"%s\"", name);
	const char *at = strstr(text, quoted);
	check(at);
	while (at > text && at[-1] != ' ')
		at--;
	return strtoul(at, NULL, 10);
}

static void the_deadlock_report_explains_the_circle(void **state)
{
	(void)state;
	int s = in_child(run_deadlock, NULL, text, sizeof text);
	check(WIFEXITED(s) && WEXITSTATUS(s) == 42);
	check(strstr(text, "deadlock!"));
	check(strstr(text, "(0 of 3)"));
	static const char *const names[] = {"left", "middle", "right"};
	for (int i = 0; i < 3; i++) {
		char held[64];
		snprintf(held, sizeof held, "held by coroutine %lu", id_of(names[(i + 1) % 3]));
		expect(names[i], "%s", held);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dump_names_what_is_waited_for),
		cmocka_unit_test(the_deadlock_report_explains_the_circle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
