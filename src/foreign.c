/* SPDX-License-Identifier: MIT
 * foreign.c - threads that are not Ms. Such a thread has a G of its own as its name on wait queues; it acts in the
 * runtime through sched.foreignm, one thread at a time (PO-7), and parks by sleeping on its G's note. */
#include "proc.h"
#include <stdlib.h>
#include <string.h>

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

typedef struct ForeignG {
	G g;
	GExt ext;
	bool counted; /* in sched.nforeign of the run numbered `run` */
	uint64_t run;
} ForeignG;

static void thread_gone(void *arg)
{
	ForeignG *f = arg;
	gmp__keys_end(&f->ext);
	lock(&sched.foreign);
	if (f->counted && f->run == sched.run) {
		(void)fetch_add_seqcst(&sched.nforeign, -1);
		lock(&sched.lock);
		gmp__checkdone(); /* perhaps everybody waited for this thread */
		unlock(&sched.lock);
	}
	unlock(&sched.foreign);
	free(f->ext.keys);
	free(f);
}

static void make_key(void)
{
	if (pthread_key_create(&key, thread_gone) != 0)
		gmp__throw("pthread_key_create failed");
	sched.foreignm.foreign = 1;
	sched.foreignm.id = -1;
}

G *gmp__foreign_g(void)
{
	(void)pthread_once(&once, make_key);
	ForeignG *f = pthread_getspecific(key);
	if (likely(f != NULL))
		return &f->g;
	f = calloc(1, sizeof *f);
	if (!f || pthread_setspecific(key, f) != 0)
		gmp__throw("no memory for a foreign thread's descriptor");
	f->g.sg.g = (uintptr_t)&f->g;
	f->g.status = Grunning;
	f->g.flags = GF_FOREIGN;
	f->g.ext = &f->ext;
	return &f->g;
}

/* For foreign threads, and for coroutines out of the runtime that are about to stop the world. */
M *gmp__foreign_enter(void)
{
	(void)pthread_once(&once, make_key);
	G *gp = NULL;
	if (!getm())
		gp = gmp__foreign_g();
	lock(&sched.foreign);
	M *m = &sched.foreignm;
	if (gp) {
		ForeignG *f = container_of(gp, ForeignG, g);
		if (load_relaxed(&sched.state) == ST_UP && (!f->counted || f->run != sched.run)) {
			f->counted = true;
			f->run = sched.run;
			(void)fetch_add_seqcst(&sched.nforeign, 1);
			gmp__solo_end();
		}
	}
	m->curg = gp;
	return m;
}

void gmp__foreign_leave(M *m)
{
	(void)m;
	unlock(&sched.foreign);
}

/* A new run: nobody has taken part in it yet. sched.foreign is held. */
void gmp__foreign_newrun(void)
{
	sched.run++;
	store_relaxed(&sched.nforeign, 0);
}

/* The foreign half of a park: gp is queued under *unlock_. */
gmp__sw gmp__park_foreign(M *m, G *gp, uint8_t *unlock_)
{
	ounlock(unlock_);
	gmp__foreign_leave(m);
	return (gmp__sw){gmp__foreign_sleep(gp), NULL};
}

intptr_t gmp__foreign_sleep(G *gp)
{
	(void)gmp__notesleep(&gp->ext->note, INT64_MAX);
	return gp->ctx.ret;
}

/* For the M of the only P, out of work, in a run that foreign threads take part in: they may be about to ready a coroutine,
 * and a sleep that ends at once costs both sides more than a short look. The more often it was in vain the less often it
 * is done. Waking is not concerned: who submits finds no idle P, and the P becomes one afterwards as always (WK-3). */
G *gmp__foreign_await(M *m, P *p, int64_t now)
{
	enum { PAUSES = 20, SKIP_MAX = 1023 };
	if (!gmp__debug.spin || load_relaxed(&sched.waitersnet))
		return NULL;
	if (p->awaitskip > 0) {
		p->awaitskip--;
		return NULL;
	}
	int64_t end = min_i64(now + gmp__debug.spinus * 1000, max_i64(load_relaxed(&p->timers.minwhen), gmp__gather_until(now)));
	while (now < end && !load_relaxed(&sched.done) && !(load_relaxed(&m->revoke) & (uint32_t)RV_REVOKE)) {
		for (int i = 0; i < PAUSES; i++)
			cpu_pause();
		G *gp = gmp__globrunqget(p, 1);
		if (gp) {
			p->awaitvain = 0;
			return gp;
		}
		now = gmp__look_at_clock(p);
	}
	p->awaitvain = p->awaitvain < SKIP_MAX ? p->awaitvain * 2 + 1 : SKIP_MAX;
	p->awaitskip = p->awaitvain;
	return NULL;
}
