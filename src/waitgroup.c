/* SPDX-License-Identifier: MIT
 * waitgroup.c - counting down to zero.
 *
 *   WG-1 The word's upper half is the count. While waiters are queued only the lock byte's holder takes it to zero, and
 *        takes all of them off the queue before: the zero and the free lock byte come in one store, the last access
 *        (SY-2). So wait may return and the memory go as soon as zero can be seen, by those who queued and by those who
 *        just look. It also may be used again at once: no waiter of the last round comes back to it.
 *   WG-2 Waiters queue only while the count is above zero, under the lock byte.
 * Model: tests/model_waitgroup.c. */
#include "sync.h"

/* Adds d to the count. To zero only if nobody waits. */
static alwaysinline uint64_t add_step(uint64_t v, uint64_t d)
{
	int64_t n = (int64_t)word_count(v) + (int32_t)d;
	if (unlikely((v & SW_LOCK) || n < 0 || n > INT32_MAX || (n == 0 && (v & SW_WAIT))))
		return NO_STEP;
	return (uint64_t)n << 32 | (uint32_t)v;
}

static outofline void add_slow(gmp_waitgroup *wg, int d)
{
	Word *w = word_of(wg);
	M *m = enter();
	uint64_t v = word_lock(w);
	int64_t n = (int64_t)word_count(v) + d;
	if (n < 0 || n > INT32_MAX) {
		word_unlock(w, v);
		leave(m);
		gmp__misuse(n < 0 ? "negative waitgroup counter (%p)" : "waitgroup counter overflow (%p)", (void *)wg);
	}
	Queue all = {NULL, NULL};
	if (n == 0 && (v & SW_WAIT)) {
		(void)waitq_claim_all(queue_of(wg->gmp__q), &all);
		v = 0;
	}
	word_unlock(w, (uint64_t)n << 32 | (uint32_t)v); /* WG-1 */
	gmp__wake_all(m, &all);
	leave(m);
}

static alwaysinline void add(gmp_waitgroup *wg, int n)
{
	if (unlikely(!word_step(getm(), word_of(wg), add_step, (uint64_t)(int64_t)n)))
		add_slow(wg, n);
}

void gmp_waitgroup_add(gmp_waitgroup *wg, int n) { add(wg, n); }

/* add_step could not: mostly this is the last one, and one waits, without a deadline. Needs no frame for that. */
static outofline void done_last(gmp_waitgroup *wg)
{
	Word *w = word_of(wg);
	Queue *q = queue_of(wg->gmp__q);
	M *m = getm();
	uint64_t v;
	if (unlikely(!m) || unlikely(!tryenter(m)) || unlikely(!word_trylock(w, &v))) {
		add_slow(wg, -1);
		return;
	}
	if (likely(word_count(v) == 1 && q->head && q->head == q->tail)) {
		G *gp = waitq_pop_plain(q);
		if (likely(gp != NULL)) {
			word_unlock(w, 0); /* WG-1 */
			(void)wake_leave(m, gp);
			return;
		}
	}
	word_unlock(w, v);
	add_slow(wg, -1);
}

static alwaysinline void done(gmp_waitgroup *wg)
{
	if (unlikely(!word_step(getm(), word_of(wg), add_step, (uint64_t)-1)))
		done_last(wg);
}

void gmp_waitgroup_done(gmp_waitgroup *wg) { done(wg); }

/* ---- wait -------------------------------------------------------------------------------------------------------- */

static alwaysinline bool at_zero(gmp_waitgroup *wg) { return word_count(load_acquire(word_of(wg))) == 0; }

/* Takes the lock byte for a wait, in the runtime. 1: it is to wait; else the result, out of the runtime. */
static int wait_begin(M *m, Word *w, int64_t deadline)
{
	uint64_t v = word_lock(w);
	int r = word_count(v) == 0 ? 0 : wait_refused(m->curg, deadline);
	if (word_count(v) == 0 || r) {
		word_unlock(w, v);
		leave(m);
		return r;
	}
	word_set(w, v | SW_WAIT);
	return 1;
}

static outofline gmp__sw wait_slow(gmp_waitgroup *wg)
{
	M *m = enter();
	int r = wait_begin(m, word_of(wg), GMP_FOREVER);
	if (r != 1)
		return (gmp__sw){r, NULL};
	return sync_park_sw(m, WAIT_WAITGROUP, wg, queue_of(wg->gmp__q));
}

/* As those of channels (chan.c), it needs no frame to park. */
gmp__sw gmp__waitgroup_wait(gmp_waitgroup *wg)
{
	if (at_zero(wg))
		return (gmp__sw){0, NULL};
	Word *w = word_of(wg);
	M *m = getm();
	uint64_t v;
	if (unlikely(!m) || unlikely(!tryenter(m)) || unlikely(!word_trylock(w, &v)))
		return wait_slow(wg);
	if (unlikely(word_count(v) == 0) || cancelled(m->curg)) {
		word_unlock(w, v);
		return wait_slow(wg);
	}
	word_set(w, v | SW_WAIT);
	return sync_park_sw(m, WAIT_WAITGROUP, wg, queue_of(wg->gmp__q));
}

int gmp_waitgroup_wait_until(gmp_waitgroup *wg, int64_t deadline)
{
	if (at_zero(wg))
		return 0;
	M *m = enter();
	int r = wait_begin(m, word_of(wg), deadline);
	if (r != 1)
		return r;
	return (int)sync_park(m, m->curg, WAIT_WAITGROUP, wg, queue_of(wg->gmp__q), false, deadline);
}

/* ---- spawn ------------------------------------------------------------------------------------------------------- */

static void run(gmp_waitgroup *wg, gmp_fn *fn, void *arg)
{
	store_relaxed(&getm()->curg->fn, fn); /* for dumps */
	fn(arg);
	done(wg);
}

static void member(void *arg)
{
	const G *gp = getm()->curg;
	run(gp->waitobj, (gmp_fn *)(void *)gp->waitq, arg);
}

typedef struct Copy {
	gmp_waitgroup *wg;
	gmp_fn *fn;
	void *arg;
} Copy;

static void member_copy(void *arg)
{
	const Copy *x = arg;
	run(x->wg, x->fn, x->arg);
}

int gmp_waitgroup_spawn(gmp_waitgroup *wg, gmp_fn *fn, void *arg)
{
	if (!fn)
		return -EINVAL;
	add(wg, 1);
	int e = gmp__newproc_with(member, arg, caller_pc(), wg, (void *)fn);
	if (unlikely(e == 1)) {
		Copy x = {wg, fn, arg};
		e = gmp__newproc(NULL, NULL, member_copy, NULL, caller_pc(), &x, sizeof x, NULL);
	}
	if (unlikely(e))
		gmp_waitgroup_done(wg);
	return e;
}
