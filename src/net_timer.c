/* SPDX-License-Identifier: MIT
 * net_timer.c - the deadline of who waits to read. A connection sets one for each request, mostly later than the one before,
 * and hardly one of them comes. So the timer of a descriptor stands: it is set for the first deadline, left alone when a
 * wait ends otherwise, and when it is due it goes by the deadline of who waits then.
 *
 *   DT-1 Whoever waits to read leaves its deadline in `deadline` before its G can be found in the word; INT64_MAX: it has
 *        none, or a timer of its own.
 *   DT-2 Who finds the timer pending, and not later than its own deadline, relies on it. It looks after its G is in the
 *        word; the callback looks at the word after the timer is no longer pending. Both go through the word by
 *        read-modify-write: either the waiter sees that the timer is off, or the callback sees the G.
 *   DT-3 The callback claims the G under evlock, as an event does, if its deadline has come; if not, it sees to it that the
 *        timer is set for that deadline; if nobody waits, the timer stays off. The G does not go on before evlock is free
 *        (NP-3).
 *   DT-4 The timer is set under evlock, by who has looked there that it is not early enough already: it is pending once at
 *        most, and `when` does not move while it is relied on.
 *   DT-5 A descriptor that is closed, or known anew, has its timer off. The tag is looked at after the word: who sees a new
 *        G sees the new tag, and leaves it alone.
 *   DT-6 Timers that stand do not keep a run alive: they are counted (nstanding), and a deadlock is reported beside them.
 *
 * Model: tests/model_fdtimer.c. */
#include "net_fd.h"
#include "timer.h"

static void reader_late(M *m, void *arg, uintptr_t tag);

/* evlock is held. */
static int set(M *m, PollDesc *pd, FdTimer *ft, int64_t deadline)
{
	if (gmp__fd_timer_covers(ft, deadline))
		return 0;
	gmp__fd_timer_off(pd);
	ft->t.f = reader_late;
	ft->t.arg = pd;
	ft->t.seq = load_relaxed(&pd->tag);
	store_relaxed(&ft->t.when, deadline);
	(void)fetch_add_seqcst(&sched.nstanding, 1);
	int e = gmp__timer_start(m, &ft->t);
	if (e)
		(void)fetch_add_seqcst(&sched.nstanding, -1);
	return e;
}

static void reader_late(M *m, void *arg, uintptr_t tag)
{
	PollDesc *pd = arg;
	FdTimer *ft = gmp__netpoll_timer(pd);
	int64_t now = gmp__os_now();
	G *won = NULL;
	int r = -ETIMEDOUT;
	(void)fetch_add_seqcst(&sched.nstanding, -1);
	lockbyte(&pd->evlock);
	uintptr_t w = fetch_or_acqrel(&pd->word[IO_R], (uintptr_t)0); /* DT-2 */
	if (w > IO_READY && !(w & IO_HOOKBIT) && load_relaxed(&pd->tag) == (uint32_t)tag) {
		int64_t deadline = load_relaxed(&ft->deadline);
		bool due = deadline <= now;
		if (!due && deadline != INT64_MAX)
			due = (r = set(m, pd, ft, deadline)) != 0;
		if (due && claim((G *)w, load_relaxed(&pd->seq[IO_R])))
			won = (G *)w;
	}
	unlockbyte(&pd->evlock);
	if (!won)
		return;
	await_commit(won); /* NP-4 */
	won->ctx.ret = r;
	ready(m, won);
}

outofline int gmp__fd_timer_set(M *m, PollDesc *pd, FdTimer *ft, int64_t deadline)
{
	lockbyte(&pd->evlock);
	int e = set(m, pd, ft, deadline);
	unlockbyte(&pd->evlock);
	return e;
}

/* In the runtime. Under evlock, or when nobody uses pd: then nobody sets it, since a callback does so only for a waiter, who
 * does not go on before it is through. */
void gmp__fd_timer_off(PollDesc *pd)
{
	FdTimer *ft = gmp__netpoll_timer(pd);
	if (load_acquire(&ft->t.id) && gmp__timer_remove(&ft->t))
		(void)fetch_add_seqcst(&sched.nstanding, -1);
}
