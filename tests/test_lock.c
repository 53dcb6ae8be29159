/* SPDX-License-Identifier: MIT
 * test_lock.c - the runtime's lock (its three states and mutual exclusion), the note (no wake-up lost, none invented,
 * deadlines), and the byte locks of objects. A lost wake-up shows as a hang. */
#include "testutil.h"

#include "lock.h"
#include "os.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 4 };

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	check_int(gmp__os_thread_new(&t, fn, arg, 256 * 1024, "gmp-test"), 0);
	return t;
}

static void join(pthread_t t) { check_int(pthread_join(t, NULL), 0); }

static void await(uint32_t *word, uint32_t value)
{
	while (load_acquire(word) != value)
		gmp__os_osyield();
}

/* On a busy machine each round of a test may wait for its turn: then fewer do. */
static int64_t end_of_rounds(void) { return gmp__os_now() + 3000000000; }

/* ---- Lock -------------------------------------------------------------------------------------------------------- */

static void test_lock_alone(void **state)
{
	(void)state;
	Lock l = {0};
	for (int i = 0; i < 3; i++) {
		lock(&l);
		assert_int_equal(l.key, 1);
		assert_false(trylock(&l));
		unlock(&l);
		assert_int_equal(l.key, 0);
		assert_true(trylock(&l));
		assert_int_equal(l.key, 1);
		unlock(&l);
		assert_int_equal(l.key, 0);
	}
}

typedef struct Contended {
	Lock l;
	uint32_t got; /* how many had the lock */
	uint32_t key; /* of the lock while the last one held it */
} Contended;

static void *contender(void *arg)
{
	Contended *c = arg;
	lock(&c->l);
	c->key = load_relaxed(&c->l.key);
	check(c->key == 1 || c->key == 2);
	check(!trylock(&c->l));
	(void)fetch_add_acqrel(&c->got, 1u);
	unlock(&c->l);
	return NULL;
}

/* LK-1: whoever slept holds the lock with 2. */
static void test_lock_three_states(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		Contended c = {{0}, 0, 0};
		lock(&c.l);
		pthread_t t = start(contender, &c);
		await(&c.l.key, 2);
		assert_int_equal(load_acquire(&c.got), 0);
		unlock(&c.l);
		join(t);
		assert_int_equal(c.got, 1);
		assert_int_equal(c.key, 2);
		assert_int_equal(c.l.key, 0);
	}
}

/* Each of several sleepers is woken in the end. */
static void test_lock_sleepers(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		Contended c = {{0}, 0, 0};
		pthread_t t[THREADS];
		lock(&c.l);
		for (int i = 0; i < THREADS; i++)
			t[i] = start(contender, &c);
		await(&c.l.key, 2);
		unlock(&c.l);
		for (int i = 0; i < THREADS; i++)
			join(t[i]);
		assert_int_equal(c.got, THREADS);
		assert_int_equal(c.l.key, 0);
	}
}

typedef struct Hammer {
	Lock l;
	uint8_t bytes[8];   /* the lock is bytes[3] */
	uint64_t plain[16]; /* guarded; on two cache lines at least */
	uint64_t made;      /* by the threads' own count */
	uint32_t rounds;
	int64_t end;
} Hammer;

/* For each round of a thread that has made `made` so far. */
static bool hammer_on(Hammer *h, uint32_t made)
{
	if (made < h->rounds && (made % 64 != 0 || gmp__os_now() < h->end))
		return true;
	(void)fetch_add_relaxed(&h->made, made);
	return false;
}

static void *hammer_lock(void *arg)
{
	Hammer *h = arg;
	for (uint32_t i = 0; hammer_on(h, i); i++) {
		if (i % 16 != 15 || !trylock(&h->l))
			lock(&h->l);
		uint64_t n = h->plain[0];
		if (i % 64 == 0)
			gmp__os_osyield(); /* a holder that is descheduled: others go to sleep */
		h->plain[15]++;
		h->plain[0] = n + 1;
		unlock(&h->l);
	}
	return NULL;
}

static void hammer(void *(*fn)(void *))
{
	Hammer h = {.bytes = {1, 2, 3, 0, 5, 6, 7, 8}};
	h.rounds = 50000 / (uint32_t)test_scale();
	h.end = end_of_rounds();
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		t[i] = start(fn, &h);
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
	assert_int_equal(h.plain[0], h.made);
	assert_int_equal(h.plain[15], h.made);
	assert_int_equal(h.l.key, 0);
	for (uint8_t i = 0; i < 8; i++)
		assert_int_equal(h.bytes[i], i == 3 ? 0 : i + 1);
}

static void test_lock_hammer(void **state)
{
	(void)state;
	hammer(hammer_lock);
}

/* ---- object locks ------------------------------------------------------------------------------------------------ */

static void *hammer_byte(void *arg)
{
	Hammer *h = arg;
	for (uint32_t i = 0; hammer_on(h, i); i++) {
		lockbyte(&h->bytes[3]);
		uint64_t n = h->plain[0];
		if (i % 64 == 0)
			gmp__os_osyield();
		h->plain[15]++;
		h->plain[0] = n + 1;
		unlockbyte(&h->bytes[3]);
	}
	return NULL;
}

static void test_byte_hammer(void **state)
{
	(void)state;
	hammer(hammer_byte);
}

typedef struct ByteLock {
	uint32_t waiting, got;
	uint8_t b;
} ByteLock;

static void *byte_waiter(void *arg)
{
	ByteLock *c = arg;
	store_release(&c->waiting, 1u);
	lockbyte(&c->b);
	store_release(&c->got, 1u);
	unlockbyte(&c->b);
	return NULL;
}

/* A holder that stays away for long is waited for: past the spinning, the yielding and the naps. */
static void test_byte_slow_holder(void **state)
{
	(void)state;
	ByteLock c = {0, 0, 0};
	lockbyte(&c.b);
	assert_int_not_equal(c.b, 0);
	pthread_t t = start(byte_waiter, &c);
	await(&c.waiting, 1);
	for (int i = 0; i < 20; i++) {
		gmp__os_usleep(100000);
		assert_int_equal(load_acquire(&c.got), 0);
	}
	unlockbyte(&c.b);
	join(t);
	assert_int_equal(c.got, 1);
	assert_int_equal(c.b, 0);
}

/* ---- Note -------------------------------------------------------------------------------------------------------- */

static void test_note_wake_first(void **state)
{
	(void)state;
	Note n = {0};
	for (int i = 0; i < 3; i++) {
		gmp__notewakeup(&n);
		assert_true(gmp__notesleep(&n, i == 0 ? INT64_MAX : 0)); /* what was woken is not late */
		assert_int_equal(n.key, 0);
		assert_false(gmp__notesleep(&n, 0)); /* the wake-up was taken */
		assert_int_equal(n.key, 0);
	}
	gmp__notewakeup(&n);
	gmp__notewakeup(&n); /* binary */
	assert_true(gmp__notesleep(&n, 0));
	assert_false(gmp__notesleep(&n, 0));
}

static void test_note_deadline(void **state)
{
	(void)state;
	Note n = {0};
	int64_t passed[] = {0, -1, INT64_MIN, gmp__os_now() - 1};
	for (size_t i = 0; i < nelem(passed); i++)
		assert_false(gmp__notesleep(&n, passed[i]));
	int64_t deadline = gmp__os_now() + 3000000;
	assert_false(gmp__notesleep(&n, deadline));
	assert_true(gmp__os_now() >= deadline);
	assert_int_equal(n.key, 0);

	/* Woken after the deadline: for the next sleep. */
	gmp__notewakeup(&n);
	assert_true(gmp__notesleep(&n, INT64_MAX));
}

typedef struct Pair {
	Note there, back;
	uint32_t last, sleeps; /* number of the last round, told before it */
	uint64_t cargo;        /* handed over by the notes alone */
} Pair;

static void *echo(void *arg)
{
	Pair *p = arg;
	for (uint32_t i = 0; i == 0 || load_acquire(&p->last) != i; i++) {
		check(gmp__notesleep(&p->there, INT64_MAX));
		check_int(p->cargo, 2 * i + 1);
		p->cargo++;
		gmp__notewakeup(&p->back);
	}
	return NULL;
}

static void test_note_ping_pong(void **state)
{
	(void)state;
	Pair p = {.last = 0};
	uint32_t rounds = 10000 / (uint32_t)test_scale(), i = 0;
	int64_t end = end_of_rounds();
	pthread_t t = start(echo, &p);
	do {
		if (++i == rounds || gmp__os_now() >= end)
			store_release(&p.last, i);
		p.cargo++;
		gmp__notewakeup(&p.there);
		assert_true(gmp__notesleep(&p.back, INT64_MAX));
		assert_int_equal(p.cargo, 2 * i);
	} while (p.last != i);
	join(t);
	assert_true(p.there.key == 0 && p.back.key == 0);
}

/* Sleeps with deadlines about as long as a wake-up takes, or passed: the two meet at every point. */
static void *impatient(void *arg)
{
	Pair *p = arg;
	uint64_t seed = 1;
	for (uint32_t i = 0; i == 0 || load_acquire(&p->last) != i; i++) {
		int64_t patience = i % 2 ? (int64_t)(test_rand(&seed) % 20000) : -1;
		while (!gmp__notesleep(&p->there, gmp__os_now() + patience))
			p->sleeps++;
		check_int(p->cargo, i + 1);
		gmp__notewakeup(&p->back);
	}
	return NULL;
}

/* Of N wake-ups, each is taken once, however many sleeps ended without. */
static void test_note_timeout_race(void **state)
{
	(void)state;
	Pair p = {.last = 0};
	uint32_t rounds = 10000 / (uint32_t)test_scale(), i = 0;
	int64_t end = end_of_rounds();
	uint64_t seed = 2;
	pthread_t t = start(impatient, &p);
	do {
		if (++i == rounds || gmp__os_now() >= end)
			store_release(&p.last, i);
		for (uint32_t n = test_rand(&seed) % 512; n > 0; n--)
			cpu_pause();
		p.cargo++;
		gmp__notewakeup(&p.there);
		assert_true(gmp__notesleep(&p.back, INT64_MAX));
	} while (p.last != i);
	join(t);
	assert_int_equal(p.cargo, i);
	assert_true(p.there.key == 0 && p.back.key == 0);
}

/* The sleeper frees its note as soon as it was woken: the waker does not touch it any more. */
static void *waker(void *arg)
{
	Note **slot = arg, *n;
	for (;;) {
		while (!(n = xchg_acqrel(slot, (Note *)NULL)))
			gmp__os_osyield();
		if (n == (Note *)(void *)slot)
			return NULL;
		gmp__notewakeup(n);
	}
}

static void test_note_freed(void **state)
{
	(void)state;
	Note *slot = NULL;
	pthread_t t = start(waker, &slot);
	int64_t end = end_of_rounds();
	for (int i = 0; i < 5000 / test_scale() && gmp__os_now() < end; i++) {
		Note *n = calloc(1, sizeof *n);
		assert_non_null(n);
		store_release(&slot, n);
		assert_true(gmp__notesleep(n, INT64_MAX));
		free(n);
	}
	store_release(&slot, (Note *)(void *)&slot);
	join(t);
}

static void second_sleeper(void *arg)
{
	Note n = {2}; /* somebody sleeps here */
	(void)arg;
	(void)gmp__notesleep(&n, 0);
}

static void test_note_two_sleepers(void **state)
{
	(void)state;
	char out[4096];
	int status = in_child(second_sleeper, NULL, out, sizeof out);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(out, "gmp: fatal: notesleep"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lock_alone),
		cmocka_unit_test(test_lock_three_states),
		cmocka_unit_test(test_lock_sleepers),
		cmocka_unit_test(test_lock_hammer),
		cmocka_unit_test(test_byte_hammer),
		cmocka_unit_test(test_byte_slow_holder),
		cmocka_unit_test(test_note_wake_first),
		cmocka_unit_test(test_note_deadline),
		cmocka_unit_test(test_note_ping_pong),
		cmocka_unit_test(test_note_timeout_race),
		cmocka_unit_test(test_note_freed),
		cmocka_unit_test(test_note_two_sleepers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
