/* SPDX-License-Identifier: MIT
 * regroup.c - coroutines that share so much that several Ps are slower than one.
 *
 * What they share are cache lines, which travel with each call once they are spread. A thief cannot know that, nor does it see
 * it afterwards: all are busy. But then Ps find object locks taken, which is rare otherwise (measured: 80 a millisecond
 * with 4 senders and 4 receivers on one channel, 0 to 3 with pipelines, trees and rings), and together they switch less
 * often than one did alone. A P that sees both gives what it has to the one that it stole from.
 *   RG-1 Each P knows how often it switched (work_ticks) in its last window. Where locks are contended, the sum of all that
 *        run is compared with that of a P alone, if it is known of late; if not, to give way will tell, but not if the other
 *        Ps have work of their own: that is tried now and then.
 *   RG-2 Nobody steals from the two for a while then, the longer the more often it came to that, but who is called because one
 *        does not switch. Where it has paid several times to be spread, that is not asked again soon.
 *   RG-3 Of two that stole from each other the one with the higher id gives way. So somebody stays.
 * To hand over, the other P is stopped as by a thief (p.c): its owner is in user code and comes back to its queues, as it would
 * to what it queued itself. All the rest is a matter of speed alone, and what Ps read of each other are hints. */
#include "proc.h"

static const int64_t WINDOW_NS = 100 * 1000;
static const int64_t CONTENDED_NS = 100 * 1000; /* a lock found taken at least every so many */
static const int64_t KNOWN_NS = 200 * 1000 * 1000, TRY_NS = 50 * 1000 * 1000; /* RG-1 */
static const int64_t PAYS_NS = 100 * 1000 * 1000;  /* RG-2 */
static const int64_t APART_MIN_NS = 1000 * 1000, APART_MAX_NS = 16 * 1000 * 1000;
static const int64_t PATIENCE_NS = 3 * 1000;
enum {
	PAYS_ENOUGH = 4, /* times in a row */
	RATE_MIN = 60,   /* who switches less often in a ms does much in between */
};

/* A run begins. */
void gmp__regroup_init(void)
{
	store_relaxed(&sched.alonerate, (uint64_t)0);
	store_relaxed(&sched.npays, 0u);
	store_relaxed(&sched.spreadpays, (int64_t)0);
	store_relaxed(&sched.triedat, (int64_t)0);
	store_relaxed(&sched.apart, (int64_t)0);
}

/* Somebody else has it. */
void gmp__olock_slow(uint8_t *b)
{
	M *m = getm();
	if (m && m->p)
		m->p->ncontended++;
	gmp__lockbyte_slow(b);
}

static bool alone(void) { return load_relaxed(&sched.npidle) + 1 >= (uint32_t)load_relaxed(&sched.procs); }

/* RG-1: is it known how one P alone does? */
static bool known(int64_t now)
{
	return load_relaxed(&sched.alonerate) && now - load_relaxed(&sched.alonewhen) < KNOWN_NS;
}

static uint64_t per_ms(uint64_t n, int64_t ns) { return n * 1000000 / (uint64_t)ns; }

/* Of another P. Its last window may be of before the coroutines were spread. */
static uint64_t rate_of(const P *v, int64_t now)
{
	int64_t at = load_relaxed(&v->windowat), dt = now - at;
	if (!load_relaxed(&v->m) || at == 0)
		return 0;
	int64_t n = (int64_t)(work_ticks(v) - load_relaxed(&v->windowticks));
	return dt < WINDOW_NS / 2 || n < 0 ? load_relaxed(&v->rate) : per_ms((uint64_t)n, dt);
}

static bool pays(int64_t now)
{
	uint64_t sum = 0;
	for (int i = 0, n = load_relaxed(&sched.procs); i < n; i++)
		sum += rate_of(sched.allp[i], now);
	return sum * 100 >= load_relaxed(&sched.alonerate) * (uint64_t)gmp__debug.regroup;
}

/* RG-3; not one that computes: what came there would wait. NULL: p stays where it is. */
static P *whom(const P *p, int64_t now)
{
	P *v = load_relaxed(&p->stolenfrom);
	if (!v || v == p || v->id >= load_relaxed(&sched.procs) || rate_of(v, now) == 0)
		return NULL;
	return load_relaxed(&v->stolenfrom) == p && v->id > p->id ? NULL : v;
}

static bool hand_over(M *m, P *p, P *v)
{
	if (!gmp__revoke(v, m, PATIENCE_NS))
		return false;
	if (p->runnext)
		runq_put(&v->runq, p->runnext);
	store_relaxed(&p->runnext, (G *)NULL);
	runq_append(&v->runq, &p->runq);
	runq_append(&v->fresh, &p->fresh);
	gmp__unrevoke(v);
	return true;
}

static void judge(M *m, P *p, int64_t now)
{
	if (now < load_relaxed(&sched.spreadpays))
		return;
	bool told = known(now);
	int64_t tried = now - load_relaxed(&sched.triedat);
	if (!told && tried > APART_MIN_NS && tried < TRY_NS)
		return;
	if (told && pays(now)) {
		uint32_t n = load_relaxed(&sched.npays) + 1;
		store_relaxed(&sched.npays, n);
		if (n >= PAYS_ENOUGH) {
			store_relaxed(&sched.spreadpays, now + PAYS_NS);
			store_relaxed(&sched.apart, (int64_t)0);
		}
		return;
	}
	P *v = whom(p, now);
	if (!v || !hand_over(m, p, v))
		return;
	int64_t apart = told ? min_i64(max_i64(2 * load_relaxed(&sched.apart), APART_MIN_NS), APART_MAX_NS) : APART_MIN_NS;
	store_relaxed(&sched.apart, apart);
	store_relaxed(&sched.npays, 0u);
	if (!told && tried >= TRY_NS)
		store_relaxed(&sched.triedat, now);
	store_relaxed(&v->togetheruntil, now + apart);
	gmp__quiet_for(v, now, apart);
	store_relaxed(&p->togetheruntil, now + apart);
	p->stolen = 0;
}

/* On g0, after a round of ticks. */
void gmp__regroup(M *m, P *p, int64_t now)
{
	p->windowalone &= alone();
	int64_t dt = now - p->windowat;
	if (dt < WINDOW_NS)
		return;
	uint64_t ticks = work_ticks(p), contended = p->ncontended - p->contendedseen;
	bool whole = p->windowat > 0; /* it did not sleep */
	store_relaxed(&p->rate, whole ? per_ms(ticks - p->windowticks, dt) : 0);
	if (whole && p->windowalone) {
		store_relaxed(&sched.alonerate, p->rate);
		store_relaxed(&sched.alonewhen, now);
	}
	store_relaxed(&p->windowticks, ticks);
	p->contendedseen = p->ncontended;
	p->windowalone = alone();
	store_relaxed(&p->windowat, now);
	if (p->rate >= RATE_MIN && (int64_t)contended * CONTENDED_NS > dt && gmp__debug.regroup > 0)
		judge(m, p, now);
}
