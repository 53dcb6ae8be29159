/* SPDX-License-Identifier: MIT
 * test_futex.c - the futex, of Linux or made of pthread objects: nobody sleeps through a wake-up, or past his deadline.
 * And the asymmetric fence, which stands in for one on both sides. */
#include "testutil.h"

#include "atomic.h"
#include "os.h"

#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	check_int(gmp__os_thread_new(&t, fn, arg, 256 * 1024, "gmp-test"), 0);
	return t;
}

static void *join(pthread_t t)
{
	void *r = NULL;
	check_int(pthread_join(t, &r), 0);
	return r;
}

/* Waits for another thread, which may need this CPU. */
static void await(uint32_t *word, uint32_t value)
{
	while (load_acquire(word) != value)
		gmp__os_osyield();
}

/* Round i of at most n is the last one, by number or by time: on a busy machine each round may wait for its turn. The
 * other thread is told by i + 1 in *last, before that round. */
static bool last_round(uint32_t *last, uint32_t i, uint32_t n, int64_t end)
{
	if (i + 1 < n && gmp__os_now() < end)
		return false;
	store_release(last, i + 1);
	return true;
}
static int64_t end_of_rounds(void) { return gmp__os_now() + 3000000000; }

/* ---- futex ------------------------------------------------------------------------------------------------------- */

static void test_futex_differs(void **state)
{
	(void)state;
	uint32_t word = 7;
	assert_int_equal(gmp__os_futex_wait(&word, 8, INT64_MAX), 0);
	assert_int_equal(gmp__os_futex_wait(&word, 8, 0), 0);
	assert_int_equal(gmp__os_futex_wait(&word, 8, INT64_MIN), 0);
	gmp__os_futex_wake(&word, 1); /* nobody there */
	gmp__os_futex_wake(&word, INT_MAX);
}

static void test_futex_timeout(void **state)
{
	(void)state;
	uint32_t word = 7;
	int64_t passed[] = {0, 1, -1, INT64_MIN, INT64_MIN + 1, -1000000001, gmp__os_now() - 1, gmp__os_now()};
	for (size_t i = 0; i < nelem(passed); i++)
		assert_int_equal(gmp__os_futex_wait(&word, 7, passed[i]), -ETIMEDOUT);

	int64_t deadline = gmp__os_now() + 5000000;
	int r;
	while ((r = gmp__os_futex_wait(&word, 7, deadline)) == 0)
		; /* spurious */
	assert_int_equal(r, -ETIMEDOUT);
	assert_true(gmp__os_now() >= deadline);
}

enum { SLEEPERS = 5 };
typedef struct Gate {
	uint32_t word, came, left;
} Gate;

static void *sleeper(void *arg)
{
	Gate *g = arg;
	(void)fetch_add_acqrel(&g->came, 1u);
	while (load_acquire(&g->word) == 0)
		check_int(gmp__os_futex_wait(&g->word, 0, INT64_MAX), 0);
	(void)fetch_add_acqrel(&g->left, 1u);
	return g;
}

static void test_futex_wake_all(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		Gate g = {0, 0, 0};
		pthread_t t[SLEEPERS];
		for (int i = 0; i < SLEEPERS; i++)
			t[i] = start(sleeper, &g);
		await(&g.came, SLEEPERS);
		assert_int_equal(load_acquire(&g.left), 0);
		store_release(&g.word, 1u);
		gmp__os_futex_wake(&g.word, INT_MAX);
		for (int i = 0; i < SLEEPERS; i++)
			assert_ptr_equal(join(t[i]), &g);
	}
}

/* Each wakes the next one, one at a time. */
static void *relay(void *arg)
{
	Gate *g = sleeper(arg);
	gmp__os_futex_wake(&g->word, 1);
	return g;
}

static void test_futex_wake_one(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		Gate g = {0, 0, 0};
		pthread_t t[SLEEPERS];
		for (int i = 0; i < SLEEPERS; i++)
			t[i] = start(relay, &g);
		await(&g.came, SLEEPERS);
		store_release(&g.word, 1u);
		gmp__os_futex_wake(&g.word, 1);
		for (int i = 0; i < SLEEPERS; i++)
			assert_ptr_equal(join(t[i]), &g);
	}
}

typedef struct Players {
	uint32_t turn; /* even: the first player's */
	uint32_t last;
	uint64_t plain; /* guarded by the turn */
} Players;

static void turn(Players *p, uint32_t mine, int64_t patience)
{
	uint32_t now;
	while ((now = load_acquire(&p->turn)) != mine) {
		int r = gmp__os_futex_wait(&p->turn, now, patience ? gmp__os_now() + patience : INT64_MAX);
		check(r == 0 || (patience && r == -ETIMEDOUT));
	}
	p->plain++;
	store_release(&p->turn, mine + 1);
	gmp__os_futex_wake(&p->turn, 1);
}

static void *second_player(void *arg)
{
	Players *p = arg;
	for (uint32_t i = 0; i == 0 || load_acquire(&p->last) != i; i++)
		turn(p, 2 * i + 1, 0);
	return NULL;
}

static void *impatient_player(void *arg)
{
	Players *p = arg;
	for (uint32_t i = 0; i == 0 || load_acquire(&p->last) != i; i++)
		turn(p, 2 * i + 1, i % 64 * 500);
	return NULL;
}

/* A lost wake-up hangs. */
static void test_futex_ping_pong(void **state)
{
	(void)state;
	for (int timed = 0; timed < 2; timed++) {
		Players p = {0, 0, 0};
		int64_t end = end_of_rounds();
		pthread_t t = start(timed ? impatient_player : second_player, &p);
		bool last;
		uint32_t i = 0;
		do {
			last = last_round(&p.last, i, 4000 / (uint32_t)test_scale(), end);
			turn(&p, 2 * i, 0);
			i++;
		} while (!last);
		(void)join(t);
		assert_int_equal(p.plain, 2 * i);
	}
}

typedef struct Walk {
	uint32_t came, left, last;
	uint32_t words[1024];
} Walk;

static void *walker(void *arg)
{
	Walk *w = arg;
	for (uint32_t i = 0; i == 0 || load_acquire(&w->last) != i; i++) {
		store_release(&w->came, i + 1);
		while (load_acquire(&w->words[i]) == 0)
			check_int(gmp__os_futex_wait(&w->words[i], 0, INT64_MAX), 0);
		store_release(&w->left, i + 1);
	}
	return NULL;
}

/* One waits the whole time, another one now here, now there: in the table of os_posix.c they meet. Neither gets what is
 * meant for the other. */
static void test_futex_other_words(void **state)
{
	(void)state;
	static Walk w;
	Gate g = {0, 0, 0};
	memset(&w, 0, sizeof w);
	int64_t end = end_of_rounds();
	bool last = false;
	pthread_t stays = start(sleeper, &g), walks = start(walker, &w);
	await(&g.came, 1);
	for (uint32_t i = 0; !last; i++) {
		await(&w.came, i + 1);
		gmp__os_osyield(); /* so that it often sleeps */
		last = last_round(&w.last, i, nelem(w.words), end);
		store_release(&w.words[i], 1u);
		gmp__os_futex_wake(&w.words[i], 1);
		await(&w.left, i + 1);
	}
	(void)join(walks);
	assert_int_equal(load_acquire(&g.left), 0);
	store_release(&g.word, 1u);
	gmp__os_futex_wake(&g.word, 1);
	(void)join(stays);
}

/* Never leaves the queues of os_posix.c alone. */
static uint32_t busy_words[64];

static void *busy(void *arg)
{
	uint32_t *stop = arg;
	for (size_t i = 0; load_acquire(stop) == 0; i = (i + 1) % nelem(busy_words)) {
		check_int(gmp__os_futex_wait(&busy_words[i], 0, 0), -ETIMEDOUT);
		gmp__os_futex_wake(&busy_words[i], 1);
	}
	return NULL;
}

static void futex_in_child(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < nelem(busy_words); i++) {
		check_int(gmp__os_futex_wait(&busy_words[i], 0, 0), -ETIMEDOUT);
		check_int(gmp__os_futex_wait(&busy_words[i], 1, INT64_MAX), 0);
		gmp__os_futex_wake(&busy_words[i], INT_MAX);
	}
}

/* Whatever the parent's other threads were at, the child's futexes work. */
static void test_futex_fork(void **state)
{
	(void)state;
	Gate g = {0, 0, 0};
	uint32_t stop = 0;
	char out[512];
	pthread_t asleep = start(sleeper, &g), awake = start(busy, &stop);
	await(&g.came, 1);
	for (int i = 0; i < 100 / test_scale(); i++) {
		int status = in_child(futex_in_child, NULL, out, sizeof out);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	store_release(&stop, 1u);
	store_release(&g.word, 1u);
	gmp__os_futex_wake(&g.word, 1);
	(void)join(asleep);
	(void)join(awake);
}

/* ---- asymmetric fence -------------------------------------------------------------------------------------------- */

enum { LITMUS_ROUNDS = 5000 };
typedef struct Litmus {
	uint32_t round, done, last; /* numbers of rounds begun and ended; of the last one */
	uint32_t x[LITMUS_ROUNDS], y[LITMUS_ROUNDS];
	uint32_t saw_y[LITMUS_ROUNDS];
} Litmus;

/* Spinning brings both to their stores at the same time, if there are CPUs for it. */
static void litmus_await(uint32_t *word, uint32_t value)
{
	for (int spins = 0; load_acquire(word) != value; spins++)
		if (spins > 2000)
			gmp__os_osyield();
}

/* The side that pays for no fence. */
static void *litmus_cheap(void *arg)
{
	Litmus *l = arg;
	for (uint32_t i = 0; i == 0 || load_acquire(&l->last) != i; i++) {
		litmus_await(&l->round, i + 1);
		store_relaxed(&l->x[i], 1u);
		compiler_barrier();
		l->saw_y[i] = load_relaxed(&l->y[i]);
		store_release(&l->done, i + 1);
	}
	return NULL;
}

/* Two threads each store one word and load the other's: at least one must see the other. */
static void test_membarrier(void **state)
{
	(void)state;
	static Litmus l;
	if (!gmp__os_membarrier_init())
		skip();
	assert_true(gmp__os_membarrier_init());
	memset(&l, 0, sizeof l);
	int64_t end = end_of_rounds();
	bool last = false;
	pthread_t t = start(litmus_cheap, &l);
	for (uint32_t i = 0; !last; i++) {
		last = last_round(&l.last, i, LITMUS_ROUNDS, end);
		store_release(&l.round, i + 1);
		for (uint32_t n = i % 128; n > 0; n--) /* for as long as it takes the other one to see it */
			compiler_barrier();
		store_relaxed(&l.y[i], 1u);
		gmp__os_membarrier();
		uint32_t saw_x = load_relaxed(&l.x[i]);
		litmus_await(&l.done, i + 1);
		assert_true(saw_x || l.saw_y[i]);
	}
	(void)join(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_futex_differs),
		cmocka_unit_test(test_futex_timeout),
		cmocka_unit_test(test_futex_wake_all),
		cmocka_unit_test(test_futex_wake_one),
		cmocka_unit_test(test_futex_ping_pong),
		cmocka_unit_test(test_futex_other_words),
		cmocka_unit_test(test_futex_fork),
		cmocka_unit_test(test_membarrier),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
