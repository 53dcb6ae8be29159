/* SPDX-License-Identifier: MIT
 * model_timer.c - nobody oversleeps a timer (timer.c TM-1, TM-5..9, idle_poll and await_net in sched.c) by exhaustive
 * interleaving: foreign threads and Ms that go idle add timers, Ms go to sleep in the poller or on their note, come back
 * with work, serve what is due. When nobody moves any more and a P is idle, somebody must be polling with a time-out no
 * later than the earliest timer.
 *
 * Time is a number that one thread counts up; or it stands still, nothing is ever due, and nobody looks. An event or a
 * timer may bring a pair that readies each other until all timers have been run: its M visits g0 and wakes nobody. Could it
 * go on for ever, no end would be reachable. Or there comes a G that computes for as long; of sysmon just what it is to do
 * then is here.
 *
 * Left out: queues and thieves (model_wake.c), whose search is one more look at what is due; how many polls and wake-ups
 * TM-7 and WK-7 save, and when (deadlines come thick and fast up to a certain time, a sleep was short or not); TM-8's 50 us;
 * retake; that the clock goes on between a look at it and the sleep that goes by it. */
#define IL_T 7
#define IL_V 18
#define IL_BUF 6
#include "interleave.h"

enum { NP = 3, NEVER = 9 };
enum { MINWHEN = 0, HEAPLOCK = MINWHEN + NP, POLLING = HEAPLOCK + NP, POLLUNTIL, SCHED, HINT, NSPIN, NOTE /* + thread */ };
_Static_assert(NOTE + IL_T <= IL_V, "");
enum { WAITS = 1, EVENT };         /* S.net */
enum { ENDS = 1, PAIR, COMPUTES, BLOCKS }; /* Gs */

enum { M_NONE, M_NO_FENCE, M_LOOK_FIRST, M_NO_SECOND_LOOK, M_NO_BREAK, M_NO_WAKE, M_POLLUNTIL_BEHIND, M_IGNORE_POLLER,
	M_SLEEP_LONGER, M_START_BLIND, M_MOVE_TWICE, M_GATHER_ANEW, M_GATHER_LEAVE, M_SYSMON_EARLY, M_NO_SYSMON,
	M_NO_TM8, M_TM8_POLLER, M_LOOK_TAKES_BREAK, M_LOOK_FREE, M_LOOK_UNPUBLISHED, M_DONE_UNSEEN, M_HANDOFF_ONCE,
	M_HANDOFF_OLD, M_HANDOFF_OWN };
enum { H_BREAK, H_WAKE, H_SECOND, H_REMOVED, H_OTHER, H_STOOD, H_OWN, H_BUSY, H_OTHERS, H_TIMEOUT, H_GATHERS, H_BATCH,
	H_LOOK_EVENT, H_LOOK_BREAK, H_LOOK_DONE, H_LOOK_LATE, H_NO_P, H_SYSMON, H_HANDOFF,
	H_HANDOFF_BREAK, H_HANDOFF_WAKE };
static const char *const reach[] = {"adder breaks the poll", "adder wakes an M",
	"poller's second look finds an earlier timer", "poller's timer is removed meanwhile",
	"idler breaks another one's poll", "poller finds no P while the world stands",
	"timers of the own P", "a busy P serves another one's timers", "a P without work does", "a poll times out",
	"timers that gather are left alone", "a batch is served", "a look finds an event", "a look leaves a break alone",
	"the run ends during a look", "polluntil comes during a look", "poller with a G finds no P", "sysmon wakes",
	"a P is handed off", "who hands one off breaks the poll", "who hands one off finds that nobody polls", NULL};

struct S {
	Il il;
	uint8_t pidle, midle, broken, stw, done, runq, net, got[IL_T];
	uint8_t heap[NP]; /* pending timers, a bit for each time; under HEAPLOCK */
	uint8_t now, gathered;
	uint8_t left;  /* timers that have not been run: ghost */
	uint8_t alarm; /* ghost: 1 + gathered when sysmon woke somebody */
	struct {
		uint8_t p, spinning, until, i, hp, m, when, polls, adds; /* polls: in the poller, until then */
		uint8_t now, looks, g, ready;  /* g: what it runs, ready: what timers have readied */
		uint8_t polled;                /* it came out of the poller, for a mutation */
	} m[IL_T];
};

static int procs;
static uint8_t end;              /* the last time; 0: time stands still */
static uint8_t gathering, thick; /* TM-7: how far apart batches are, before then */
static uint8_t pair;             /* the timer for then brings a pair */
static uint8_t brings;           /* and the event this */
static bool looks;               /* WK-7: sleeps in the poller may be short */

static uint8_t p_get(S *s, int t)
{
	if (!s->pidle || s->stw)
		return 0;
	unsigned from = s->pidle;
	for (int skip = il_choose(__builtin_popcount(from)); skip > 0; skip--)
		from &= from - 1;
	uint8_t p = (uint8_t)(__builtin_ctz(from) + 1);
	s->pidle &= (uint8_t)~(1u << (p - 1));
	if (!s->pidle)
		*rmw(s, t, HINT) = 0;
	return p;
}

static int wakep(S *s, int t, int d)
{
	BEGIN;
	STEP("load hints");
	if (!ld(s, t, HINT))
		RETURN;
	STEP("load nmspinning");
	if (ld(s, t, NSPIN))
		RETURN;
	STEP("nmspinning: 0 -> 1");
	if (*rmw(s, t, NSPIN))
		RETURN;
	*rmw(s, t, NSPIN) = 1;
	AWAIT("lock SCHED, a thread", /* startm: a new one, too */
		*rmw(s, t, SCHED) == 0 && (s->midle || !s->pidle || s->stw || s->done));
	s->m[t].hp = s->done ? 0 : p_get(s, t);
	if (s->m[t].hp) {
		s->m[t].m = (uint8_t)__builtin_ctz(s->midle);
		s->midle &= (uint8_t)~(1u << s->m[t].m);
		s->got[s->m[t].m] = s->m[t].hp;
		s->m[s->m[t].m].spinning = 1;
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->m[t].m) = 1;
		REACHED(H_WAKE);
	} else {
		*rmw(s, t, NSPIN) -= 1;
	}
	s->m[t].hp = s->m[t].m = 0;
	END;
}

/* gmp__timer_add to P `i`. */
static int add(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + s->m[t].i);
	STEP("minwhen");
	s->heap[s->m[t].i] |= (uint8_t)(1u << s->m[t].when);
	if (s->m[t].when < ld(s, t, MINWHEN + s->m[t].i))
		st(s, t, MINWHEN + s->m[t].i, s->m[t].when);
	st(s, t, HEAPLOCK + s->m[t].i, 0);
	END;
}

/* A foreign thread's gmp__timer_start: to P 0. */
static int adder(S *s, int t, int d)
{
	BEGIN;
	if (MUT(M_LOOK_FIRST)) {
		STEP("load polling, too early");
		s->m[t].polls = ld(s, t, POLLING);
		STEP("load polluntil, too early");
		s->m[t].until = ld(s, t, POLLUNTIL);
	}
	CALL(add);
	if (!MUT(M_NO_FENCE))
		FENCE();
	if (!MUT(M_LOOK_FIRST)) {
		STEP("load polling");
		s->m[t].polls = ld(s, t, POLLING);
	}
	if (s->m[t].polls) {
		STEP("load polluntil");
		if (!MUT(M_LOOK_FIRST))
			s->m[t].until = ld(s, t, POLLUNTIL);
		if (s->m[t].until > s->m[t].when && !MUT(M_IGNORE_POLLER)) {
			STEP("netpoll_break");
			il_drain(s, t);
			s->broken = 1;
			REACHED(H_BREAK);
		}
	} else if (!MUT(M_NO_WAKE)) {
		CALL(wakep);
	}
	s->m[t].polls = s->m[t].until = 0;
	END;
}

static uint8_t earliest(const S *s, int p) { return s->heap[p] ? (uint8_t)__builtin_ctz(s->heap[p]) : NEVER; }

/* Somebody takes the only timer out of P 1's heap. */
static int remover(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + 1);
	STEP("minwhen");
	s->heap[1] = 0;
	st(s, t, MINWHEN + 1, earliest(s, 1));
	st(s, t, HEAPLOCK + 1, 0);
	END;
}

/* gmp__timer_pop of the only timer of P 1, a periodic one. */
static int mover(S *s, int t, int d)
{
	BEGIN;
	LOCK(HEAPLOCK + 1);
	if (MUT(M_MOVE_TWICE)) {
		STEP("minwhen without it");
		st(s, t, MINWHEN + 1, NEVER);
	}
	STEP("minwhen: its next time");
	s->heap[1] = 1 << 4;
	st(s, t, MINWHEN + 1, earliest(s, 1));
	st(s, t, HEAPLOCK + 1, 0);
	END;
}

static int timers_min(S *s, int t, int d)
{
	BEGIN;
	s->m[t].until = NEVER;
	for (s->m[t].i = 0; s->m[t].i < procs; s->m[t].i++) {
		STEP("load minwhen");
		if (ld(s, t, MINWHEN + s->m[t].i) < s->m[t].until)
			s->m[t].until = ld(s, t, MINWHEN + s->m[t].i);
	}
	s->m[t].i = 0;
	END;
}

/* gmp__gather_until */
static uint8_t gather_until(const S *s, int now) { return now < thick ? (uint8_t)(s->gathered + gathering) : 0; }

static int run_due(S *s, int t, int d)
{
	BEGIN;
	STEP("load minwhen");
	while (ld(s, t, MINWHEN + s->m[t].i) <= s->m[t].now) {
		LOCK(HEAPLOCK + s->m[t].i);
		STEP("pop");
		if (earliest(s, s->m[t].i) <= s->m[t].now) {
			bool brings_pair = pair && earliest(s, s->m[t].i) == pair;
			s->heap[s->m[t].i] &= (uint8_t)(s->heap[s->m[t].i] - 1);
			s->left--;
			REACHED(s->m[t].i + 1 == s->m[t].p ? H_OWN : s->m[t].g ? H_BUSY : H_OTHERS);
			if (s->m[t].ready != PAIR)
				s->m[t].ready = brings_pair ? PAIR : ENDS;
			if (!s->m[t].g && s->m[t].now < thick) {
				s->gathered = s->m[t].now;
				REACHED(H_BATCH);
			}
		}
		st(s, t, MINWHEN + s->m[t].i, earliest(s, s->m[t].i));
		st(s, t, HEAPLOCK + s->m[t].i, 0);
	}
	END;
}

static int due_timers(S *s, int t, int d)
{
	BEGIN;
	STEP("clock");
	s->m[t].now = s->now;
	if (!s->m[t].g && gather_until(s, s->now) > s->now) {
		if (earliest(s, s->m[t].p - 1) <= s->now)
			REACHED(H_GATHERS);
		if (s->alarm == s->gathered + 1)
			il_fail("TM-7: sysmon wakes an M for timers that gather");
		RETURN;
	}
	s->m[t].i = (uint8_t)(s->m[t].p - 1);
	CALL(run_due);
	s->m[t].i = 0;
	if (s->m[t].g) {
		STEP("load npidle");
		if (!ld(s, t, HINT) || MUT(M_NO_TM8) || (MUT(M_TM8_POLLER) && !s->m[t].polled))
			RETURN;
		STEP("load polling");
		if (ld(s, t, POLLING))
			RETURN;
	}
	for (; s->m[t].i < procs; s->m[t].i++)
		CALL(run_due);
	s->m[t].i = 0;
	END;
}

/* When a sleep ends that begins now. */
static uint8_t wake_at(const S *s, int t)
{
	uint8_t gathers = MUT(M_GATHER_ANEW) && s->now < thick ? (uint8_t)(s->now + gathering) : gather_until(s, s->now);
	return s->m[t].until > gathers ? s->m[t].until : gathers;
}

static void take_event(S *s, int t)
{
	if (s->net != EVENT)
		return;
	s->net = 0;
	s->m[t].g = brings;
}

/* m.until: polluntil, or earlier; afterwards when the sleep was to end. */
static int await_net(S *s, int t, int d)
{
	BEGIN;
	if (s->m[t].looks) {
		STEP("clock");
		s->m[t].now = s->now;
		s->m[t].until = wake_at(s, t);
		if (s->m[t].until <= s->now)
			s->m[t].looks = 0;
	}
	if (s->m[t].looks) {
		do {
			STEP("netpoll, no wait");
			if (s->broken)
				REACHED(H_LOOK_BREAK);
			if (MUT(M_LOOK_TAKES_BREAK))
				s->broken = 0;
			take_event(s, t);
			if (s->m[t].g) {
				REACHED(H_LOOK_EVENT);
				RETURN;
			}
			if (s->done)
				REACHED(H_LOOK_DONE);
		} while (!s->done && il_choose(2)); /* until it has looked for long enough */
		if (MUT(M_LOOK_UNPUBLISHED)) {
			STEP("polluntil = until, after the look");
			*rmw(s, t, POLLUNTIL) = s->m[t].until;
		}
	}
	STEP("netpoll");
	if (!s->m[t].looks)
		s->m[t].until = wake_at(s, t);
	else if (MUT(M_LOOK_FREE) && s->m[t].until != NEVER)
		s->m[t].until = (uint8_t)(s->m[t].until + s->now - s->m[t].now);
	if (s->m[t].until <= s->now) { /* no wait */
		if (s->m[t].looks)
			REACHED(H_LOOK_LATE);
		take_event(s, t);
		RETURN;
	}
	if (s->now < thick && s->m[t].until > ld(s, t, POLLUNTIL) && s->m[t].until > gather_until(s, s->now))
		il_fail("TM-7: poller sleeps until %d, deadlines gather until %d", s->m[t].until, gather_until(s, s->now));
	s->m[t].polls = s->m[t].until;
	AWAIT("netpoll returns", s->broken || s->net == EVENT || s->now >= s->m[t].polls);
	if (!s->broken && s->net != EVENT)
		REACHED(H_TIMEOUT);
	s->broken = 0;
	take_event(s, t);
	s->m[t].polls = 0;
	END;
}

/* The M has no P; has one afterwards if it is to look again. */
static int idle_poll(S *s, int t, int d)
{
	BEGIN;
	CALL(timers_min);
	if (s->m[t].until == NEVER && !s->net)
		RETURN;
	if (MUT(M_GATHER_LEAVE) && s->m[t].until <= s->now && s->now < thick)
		RETURN;
	STEP("polling: 0 -> 1");
	if (*rmw(s, t, POLLING)) {
		STEP("load polluntil");
		if (ld(s, t, POLLUNTIL) > s->m[t].until && !MUT(M_NO_BREAK)) {
			STEP("netpoll_break");
			s->broken = 1;
			REACHED(H_OTHER);
		}
		RETURN;
	}
	*rmw(s, t, POLLING) = 1;
	s->m[t].looks = looks && s->net && il_choose(2); /* pollshort, pollskip */
	if (!MUT(M_POLLUNTIL_BEHIND) && !(MUT(M_LOOK_UNPUBLISHED) && s->m[t].looks)) {
		STEP("polluntil = until");
		*rmw(s, t, POLLUNTIL) = s->m[t].until;
	}
	s->m[t].hp = s->m[t].until;
	if (!MUT(M_NO_SECOND_LOOK))
		CALL(timers_min);
	if (s->m[t].until < s->m[t].hp)
		REACHED(H_SECOND);
	if (s->m[t].until > s->m[t].hp) {
		REACHED(H_REMOVED);
		if (!MUT(M_SLEEP_LONGER))
			s->m[t].until = s->m[t].hp;
	}
	s->m[t].hp = 0;
	if (MUT(M_POLLUNTIL_BEHIND)) {
		STEP("polluntil = until, too late");
		*rmw(s, t, POLLUNTIL) = s->m[t].until;
	}
	STEP("done ?");
	if (!s->done || MUT(M_DONE_UNSEEN))
		CALL(await_net);
	s->m[t].looks = s->m[t].now = 0;
	STEP("polluntil = 0");
	*rmw(s, t, POLLUNTIL) = 0;
	LOCK(SCHED);
	*rmw(s, t, POLLING) = 0;
	s->m[t].p = p_get(s, t);
	if (!s->m[t].p && s->stw)
		REACHED(H_STOOD);
	UNLOCK(SCHED);
	s->m[t].polled = MUT(M_TM8_POLLER);
	if (s->m[t].g && !s->m[t].p) { /* injectlist */
		REACHED(H_NO_P);
		s->m[t].g = 0;
		LOCK(SCHED);
		s->runq++;
		UNLOCK(SCHED);
		CALL(wakep);
	}
	END;
}

/* A foreign thread's stopworld and startworld; whoever has a P is none of its concern here. */
static int stopper(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->stw = 1;
	UNLOCK(SCHED);
	LOCK(SCHED); /* startworld */
	s->stw = 0;
	if (!MUT(M_START_BLIND)) {
		CALL(timers_min);
		s->m[t].hp = s->pidle && (s->runq || (!ld(s, t, POLLING) && (s->net || s->m[t].until != NEVER)));
	}
	UNLOCK(SCHED);
	if (s->m[t].hp) {
		s->m[t].hp = 0;
		CALL(wakep);
	}
	s->m[t].until = 0;
	END;
}

/* sysmon's look: a timer is due beside an M that computes. */
static bool neglected(const S *s)
{
	bool stands = false;
	int due = NEVER;
	for (int p = 0; p < procs; p++)
		if (s->il.v[MINWHEN + p] < due)
			due = s->il.v[MINWHEN + p];
	if (due < gather_until(s, s->now) && !MUT(M_SYSMON_EARLY))
		due = gather_until(s, s->now);
	for (int t = 0; t < il_threads; t++)
		stands |= s->m[t].g == COMPUTES && s->m[t].p;
	return due <= s->now && stands && s->il.v[HINT] && !s->il.v[NSPIN] && !MUT(M_NO_SYSMON);
}

static int sysmon(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("a timer is due, an M computes, a P is idle, nobody searches", neglected(s));
		s->alarm = (uint8_t)(s->gathered + 1);
		CALL(wakep);
		REACHED(H_SYSMON);
	}
	END;
}

static int time_passes(S *s, int t, int d)
{
	BEGIN;
	while (s->now < end) {
		STEP("time passes");
		s->now++;
	}
	END;
}

static int peer(S *s, int t, int d)
{
	BEGIN;
	STEP("an event of the network");
	s->net = EVENT;
	END;
}

/* gmp__end_run */
static int ender(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->done = 1;
	for (; s->m[t].i < il_threads; s->m[t].i++) {
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->m[t].i) = 1;
	}
	s->m[t].i = 0;
	STEP("netpoll_break");
	s->broken = 1;
	UNLOCK(SCHED);
	END;
}

/* Of P `p`, which nobody owns. */
static int handoffp(S *s, int t, int d)
{
	BEGIN;
	STEP("load minwhen");
	s->m[t].until = ld(s, t, MINWHEN + s->m[t].p - 1);
	STEP("work ? nmspinning ?");
	s->m[t].hp = s->runq > 0;
	s->m[t].m = ld(s, t, NSPIN) == 0;
	STEP("polling ? all others idle ?");
	if (s->m[t].m && !ld(s, t, POLLING))
		s->m[t].hp |= s->m[t].until != NEVER || s->net || __builtin_popcount(s->pidle) + 1 == procs;
	s->m[t].m = 0;
	if (s->m[t].hp) {
		AWAIT("startm: lock SCHED, a thread", *rmw(s, t, SCHED) == 0 && s->midle);
		s->m[t].m = (uint8_t)__builtin_ctz(s->midle);
		s->midle &= (uint8_t)~(1u << s->m[t].m);
		s->got[s->m[t].m] = s->m[t].p;
		s->m[t].p = s->m[t].hp = s->m[t].until = 0;
		STEP("notewakeup");
		*rmw(s, t, NOTE + s->m[t].m) = 1;
		s->m[t].m = 0;
		REACHED(H_HANDOFF);
		RETURN;
	}
	LOCK(SCHED);
	s->pidle |= (uint8_t)(1u << (s->m[t].p - 1));
	*rmw(s, t, HINT) = 1;
	UNLOCK(SCHED);
	STEP("anything queued ?");
	s->m[t].hp = s->runq > 0;
	if (MUT(M_HANDOFF_OWN)) {
		STEP("load minwhen again");
		s->m[t].until = ld(s, t, MINWHEN + s->m[t].p - 1);
	} else if (!MUT(M_HANDOFF_OLD)) {
		CALL(timers_min);
	}
	s->m[t].p = 0;
	STEP("load polling");
	if (ld(s, t, POLLING) || MUT(M_HANDOFF_ONCE)) {
		STEP("load polluntil");
		if (s->m[t].until < ld(s, t, POLLUNTIL)) {
			STEP("netpoll_break");
			s->broken = 1;
			REACHED(H_HANDOFF_BREAK);
		}
	} else if (s->m[t].until != NEVER || s->net) {
		s->m[t].hp = 1;
		REACHED(H_HANDOFF_WAKE);
	}
	s->m[t].until = 0;
	if (s->m[t].hp) {
		s->m[t].hp = 0;
		CALL(wakep);
	}
	END;
}

/* A foreign thread readies a G. */
static int submitter(S *s, int t, int d)
{
	BEGIN;
	LOCK(SCHED);
	s->runq++;
	UNLOCK(SCHED);
	CALL(wakep);
	END;
}

/* findrunnable, but for the end and for thieves. */
static int look_round(S *s, int t, int d)
{
	BEGIN;
	CALL(due_timers);
	s->m[t].now = 0;
	if (s->m[t].ready == PAIR)
		s->m[t].g = PAIR;
	if (!s->m[t].g && s->net) {
		STEP("netpoll, no wait");
		take_event(s, t);
	}
	if (!s->m[t].g && s->runq) {
		LOCK(SCHED);
		if (s->runq) {
			s->runq--;
			s->m[t].g = brings;
		}
		UNLOCK(SCHED);
	}
	END;
}

static int spin_end(S *s, int t, int d)
{
	BEGIN;
	if (s->m[t].spinning) {
		STEP("nmspinning--");
		s->m[t].spinning = 0;
		*rmw(s, t, NSPIN) -= 1;
	}
	END;
}

static int mthread(S *s, int t, int d)
{
	BEGIN;
	if (s->midle >> t & 1)
		goto asleep;
	for (;;) {
		if (s->m[t].adds) { /* a G that it runs sleeps */
			s->m[t].adds = 0;
			s->m[t].i = (uint8_t)(s->m[t].p - 1);
			CALL(add);
			s->m[t].i = 0;
		}
		if (s->done)
			RETURN;
		if (end)
			CALL(look_round);
		if (s->m[t].g || s->m[t].ready) {
			s->m[t].ready = 0;
			CALL(spin_end);
			if (s->m[t].g == BLOCKS) { /* until all timers have been run */
				CALL(handoffp);
				RETURN;
			}
			if (s->m[t].g == COMPUTES)
				AWAIT("computes until all timers have been run", !s->left);
			else
				STEP("the Gs switch");
			if (!s->left)
				s->m[t].g = 0;
			continue;
		}
		LOCK(SCHED); /* idle */
		if (s->runq) { /* WK-5 */
			UNLOCK(SCHED);
			continue;
		}
		s->pidle |= (uint8_t)(1u << (s->m[t].p - 1));
		*rmw(s, t, HINT) = 1;
		s->m[t].p = 0;
		UNLOCK(SCHED);
		CALL(spin_end);
		if (s->done)
			RETURN;
		CALL(idle_poll);
		s->m[t].until = 0;
		if (s->m[t].p)
			continue;
		LOCK(SCHED); /* stopm */
		if (s->runq && !s->done)
			s->m[t].p = p_get(s, t);
		if (!s->m[t].p && !s->done)
			s->midle |= (uint8_t)(1u << t);
		UNLOCK(SCHED);
		if (s->m[t].p)
			continue;
		if (!(s->midle >> t & 1)) /* done */
			RETURN;
asleep:
		AWAIT("notesleep", *rmw(s, t, NOTE + t));
		*rmw(s, t, NOTE + t) = 0;
		s->m[t].p = s->got[t];
		s->got[t] = 0;
		if (!s->m[t].p) /* done */
			RETURN;
	}
	END;
}

static void terminal(const S *s)
{
	int min = NEVER, watched = NEVER;
	for (int p = 0; p < procs; p++)
		if (s->il.v[MINWHEN + p] < min)
			min = s->il.v[MINWHEN + p];
	for (int t = 0; t < il_threads; t++) {
		if (s->m[t].polls && s->m[t].polls < watched)
			watched = s->m[t].polls;
		if (!s->il.done[t] && (il_fn[t] == adder || (il_fn[t] == mthread && s->done)))
			il_fail("stuck: %s", il_thread_name[t]);
	}
	if (s->done)
		return;
	if (min < watched && s->pidle)
		il_fail("TM-1: a timer for %d is pending, but the poller sleeps until %d", min, watched);
	if (end && s->left)
		il_fail("a timer has not been run");
}

static void begin(S *s, int ps, int ms)
{
	procs = ps;
	end = gathering = thick = pair = 0;
	looks = false;
	memset(s->il.v + MINWHEN, NEVER, NP);
	for (int t = 0; t < ms; t++) {
		static const char *const names[] = {"M0", "M1", "M2"};
		il_thread(names[t], mthread);
		if (t < ps)
			s->m[t].p = (uint8_t)(t + 1);
		else
			s->midle |= (uint8_t)(1u << t);
	}
}
static void foreign(S *s, int when)
{
	s->m[il_threads].when = (uint8_t)when;
	s->left++;
	il_thread("adder", adder);
}
static void own(S *s, int t, int when)
{
	s->m[t].adds = 1;
	s->m[t].when = (uint8_t)when;
	s->left++;
}

static void one(S *s)
{
	begin(s, 1, 2);
	foreign(s, 1);
}
static void earlier(S *s)
{
	begin(s, 1, 2);
	own(s, 0, 5);
	foreign(s, 1);
}
static void adders(S *s)
{
	begin(s, 1, 2);
	foreign(s, 5);
	foreign(s, 1);
}
static void idlers(S *s)
{
	begin(s, 2, 2);
	own(s, 0, 5);
	own(s, 1, 1);
}
static void removal(S *s)
{
	begin(s, 2, 2);
	s->il.v[MINWHEN + 1] = 3;
	s->heap[1] = 1 << 3;
	il_thread("remover", remover);
	foreign(s, 5);
}
static void periodic(S *s)
{
	begin(s, 2, 2);
	s->il.v[MINWHEN + 1] = 2;
	s->heap[1] = 1 << 2;
	il_thread("mover", mover);
}
static void everybody(S *s)
{
	begin(s, 2, 3);
	own(s, 0, 5);
	own(s, 1, 3);
	foreign(s, 1);
}

static void stopped_world(S *s)
{
	earlier(s);
	il_thread("stopper", stopper);
}

static void times(int to)
{
	end = (uint8_t)to;
	il_thread("time", time_passes);
}
static void event(S *s, int what)
{
	s->net = WAITS;
	brings = (uint8_t)what;
	il_thread("peer", peer);
}
/* P p is idle, its M asleep. */
static void idle(S *s, int p)
{
	s->m[p].p = 0;
	s->midle |= (uint8_t)(1u << p);
	s->pidle |= (uint8_t)(1u << p);
	s->il.v[HINT] = 1;
}
static void idle_with(S *s, int p, int when)
{
	idle(s, p);
	s->il.v[MINWHEN + p] = (uint8_t)when;
	s->heap[p] = (uint8_t)(1u << when);
	s->left++;
}
static void pair_of_event(S *s)
{
	begin(s, 2, 3);
	own(s, 1, 1);
	event(s, PAIR);
	times(1);
}
static void pair_of_timer(S *s)
{
	begin(s, 2, 3);
	own(s, 0, 1);
	own(s, 1, 2);
	pair = 1;
	times(2);
}
static void pair_and_poller(S *s)
{
	begin(s, 3, 3);
	s->m[0].g = PAIR;
	idle_with(s, 2, 1);
	event(s, COMPUTES);
	times(1);
}
static void pair_of_adder(S *s)
{
	begin(s, 2, 2);
	foreign(s, 1);
	foreign(s, 2);
	pair = 1;
	idle(s, 1);
	times(2);
}
static void pair_stopped(S *s)
{
	begin(s, 2, 2);
	idle_with(s, 1, 1);
	event(s, PAIR);
	il_thread("stopper", stopper);
	times(1);
}
static void computing(S *s)
{
	begin(s, 2, 3);
	own(s, 1, 1);
	event(s, COMPUTES);
	il_thread("sysmon", sysmon);
	times(1);
}
static void look(S *s)
{
	begin(s, 1, 2);
	own(s, 0, 2);
	foreign(s, 1);
	s->net = WAITS;
	looks = true;
	times(2);
}
static void look_event(S *s)
{
	begin(s, 1, 2);
	own(s, 0, 2);
	foreign(s, 1);
	event(s, PAIR);
	looks = true;
	times(2);
}
static void look_end(S *s)
{
	begin(s, 2, 2);
	s->net = WAITS;
	looks = true;
	times(1);
	il_thread("ender", ender);
}
static void gather(int until)
{
	gathering = 2;
	thick = (uint8_t)until;
	times(until - 1 + gathering);
}
static void batches(S *s)
{
	begin(s, 1, 2);
	own(s, 0, 1);
	foreign(s, 2);
	gather(3);
}
static void batches_two(S *s)
{
	begin(s, 2, 3);
	own(s, 0, 1);
	own(s, 1, 2);
	gather(3);
}
static void batches_computing(S *s)
{
	begin(s, 2, 3);
	own(s, 1, 1);
	event(s, COMPUTES);
	il_thread("sysmon", sysmon);
	gather(2);
}

static void handoff(S *s)
{
	begin(s, 1, 3);
	own(s, 0, 1);
	brings = BLOCKS;
	il_thread("F", submitter);
	times(1);
}
static void handoff_two(S *s)
{
	begin(s, 2, 3);
	s->m[0].g = s->m[1].g = BLOCKS;
	foreign(s, 1);
	times(1);
}
static void handoff_idle(S *s)
{
	begin(s, 3, 3);
	s->m[0].g = s->m[1].g = BLOCKS;
	idle_with(s, 2, 1);
}
static void handoff_poller(S *s)
{
	begin(s, 2, 3);
	own(s, 0, 2);
	own(s, 1, 1);
	s->m[1].g = BLOCKS;
	s->net = WAITS;
	times(2);
}

static const IlRun runs[] = {
	{"foreign timer while the last M goes idle", one, 0, NULL},
	{"foreign timer earlier than the M's own", earlier, 0, NULL},
	{"two foreign timers", adders, 0, NULL},
	{"two Ms go idle, each with a timer", idlers, 0, NULL},
	{"a timer goes, a later one comes", removal, 0, NULL},
	{"a periodic timer moves on while Ms go idle", periodic, 0, NULL},
	{"two Ms with timers and a foreign one", everybody, 0, NULL},
	{"foreign timer while the world stands", stopped_world, 0, NULL},
	{"an event brings a pair", pair_of_event, 0, NULL},
	{"a timer brings a pair", pair_of_timer, 0, NULL},
	{"a foreign timer brings a pair, another one comes", pair_of_adder, 0, NULL},
	{"a pair, and a poller that comes back", pair_and_poller, 0, NULL},
	{"an event brings a pair while the world stands", pair_stopped, 0, NULL},
	{"an event brings a G that computes, sysmon", computing, 0, NULL},
	{"a poller that looks before it sleeps, foreign timer", look, 0, NULL},
	{"a poller that looks before it sleeps, foreign timer and an event", look_event, 0, NULL},
	{"a poller that looks before it sleeps when the run ends", look_end, 0, NULL},
	{"deadlines gather", batches, 0, NULL},
	{"deadlines gather on two Ps", batches_two, 0, NULL},
	{"deadlines gather beside a G that computes, sysmon", batches_computing, 0, NULL},
	{"the only P is handed off", handoff, 0, NULL},
	{"two Ps are handed off, foreign timer", handoff_two, 0, NULL},
	{"two Ps are handed off, an idle one has a timer", handoff_idle, 0, NULL},
	{"a P is handed off beside a poller", handoff_poller, 0, NULL},

	{"TM-1 adder without fence", earlier, M_NO_FENCE, "TM-1"},
	{"TM-1 adder looks for a poller before it publishes", earlier, M_LOOK_FIRST, "TM-1"},
	{"TM-1 poller does not look again after it published polluntil", earlier, M_NO_SECOND_LOOK, "TM-1"},
	{"TM-1 poller publishes polluntil after its last look", earlier, M_POLLUNTIL_BEHIND, "TM-1"},
	{"TM-1 poller sleeps longer than polluntil tells", removal, M_SLEEP_LONGER, "TM-1"},
	{"TM-1 idler leaves a poller alone that sleeps longer", idlers, M_NO_BREAK, "TM-1"},
	{"TM-1 adder wakes nobody when nobody polls", one, M_NO_WAKE, "TM-1"},
	{"TM-1 adder leaves a poller alone that sleeps longer", earlier, M_IGNORE_POLLER, "TM-1"},
	{"TM-1 a periodic timer is away for a moment", periodic, M_MOVE_TWICE, "TM-1"},
	{"TM-5 poller's sleep is not shorter by its look", look, M_LOOK_FREE, "TM-1"},
	{"TM-6 startworld does not look at timers", stopped_world, M_START_BLIND, "TM-1"},
	{"TM-7 each sleep gathers anew", batches, M_GATHER_ANEW, "TM-7"},
	{"TM-7 who leaves timers alone does not poll", batches, M_GATHER_LEAVE, "TM-1"},
	{"TM-7 sysmon takes timers that gather for neglected ones", batches_computing, M_SYSMON_EARLY, "TM-7"},
	{"TM-7 no sysmon beside a G that computes", batches_computing, M_NO_SYSMON, "TM-1"},
	{"TM-8 a pair from the network looks at its own timers only", pair_of_event, M_NO_TM8, "no end"},
	{"TM-8 a timer's pair looks at its own timers only", pair_of_timer, M_NO_TM8, "no end"},
	{"TM-8 a searcher that an adder relied on looks at its own timers only", pair_of_adder, M_NO_TM8, "no end"},
	{"TM-8 of busy Ps only the one that polled looks", pair_and_poller, M_TM8_POLLER, "no end"},
	{"TM-9 handoffp does not look again for a poller", handoff, M_HANDOFF_ONCE, "TM-1"},
	{"TM-9 handoffp does not look again at deadlines", handoff_two, M_HANDOFF_OLD, "TM-1"},
	{"TM-9 handoffp looks at deadlines of its own P only", handoff_idle, M_HANDOFF_OWN, "TM-1"},
	{"WK-7 a look takes the break", look, M_LOOK_TAKES_BREAK, "TM-1"},
	{"WK-7 a look takes the break that ends the run", look_end, M_LOOK_TAKES_BREAK, "stuck"},
	{"WK-7 polluntil is published after the look", look, M_LOOK_UNPUBLISHED, "TM-1"},
	{"WK-7 poller does not look whether the run is over", look_end, M_DONE_UNSEEN, "stuck"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_timer", sizeof(S), NULL, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
