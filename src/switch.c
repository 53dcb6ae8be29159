/* SPDX-License-Identifier: MIT
 * switch.c - the real functions behind the inline half of gmp.h, for callers that cannot inline, and the switch as an
 * ordinary function. Sanitizer builds come through here for every switch, since each one must be announced. Then the
 * long ways of switch_away and wake_leave (proc.h). */
#define GMP__NO_INLINE_API 1
#include "proc.h"

_Static_assert(offsetof(struct gmp_g, sg.elem) == 16 && offsetof(struct gmp_g, fn) == 128, "arch/*.S");
_Static_assert(offsetof(gmp__gobuf, pc) == 0 && offsetof(gmp__gobuf, sp) == 8 && offsetof(gmp__gobuf, bp) == 16 &&
                       offsetof(gmp__gobuf, ret) == 24,
        "gmp.h, arch/*.S");

_Static_assert(offsetof(M, land.inrt) == offsetof(gmp__m, inrt) && offsetof(M, revoke) == offsetof(gmp__m, gates) &&
                       offsetof(M, shared) == offsetof(gmp__m, gates) + 4 && offsetof(M, curg) == offsetof(gmp__m, curg) &&
                       sizeof(((gmp__m *)0)->gates) == 8 && offsetof(M, p) == offsetof(gmp__m, gates) + 8 &&
                       offsetof(G, id) == GMP__G_ID && (int)RV_FENCE == (int)GMP__RV_FENCE,
        "gmp.h");

#if !SAN_BUILD
outofline intptr_t gmp__switch_c(gmp__gobuf *from, gmp__gobuf *to) { return gmp__switch(from, to); }
#else
/* Whose a context is: every context of a G carries the M that resumes it, g0's belongs to its M. */
static alwaysinline SanFiber *fiber_of(M *m, gmp__gobuf *b)
{
	return b == &m->g0 ? &m->san : &container_of(b, G, ctx)->san;
}

/* The landing, as the sanitizers must see it: gmp.h's own clears m->sanland. */
static outofline void landed(M *m)
{
	unlockbyte(m->land.unlock);
	store_release(&m->land.inrt, 0u);
}

outofline __attribute__((no_sanitize("thread", "address", "undefined"))) intptr_t gmp__switch_c(
        gmp__gobuf *from, gmp__gobuf *to)
{
	M *m = getm();
	if (from != to)
		gmp__san_switch_start(fiber_of(m, from), fiber_of(m, to), false);
	intptr_t r = gmp__switch(from, to);
	m = getm();
	if (from != to)
		gmp__san_switch_finish(fiber_of(m, from));
	if (from != &m->g0)
		landed(m);
	else
		unlockbyte(m->g0land.unlock);
	return r;
}

/* Stands in the place of every coroutine's function: the landing half of its first switch. */
__attribute__((no_sanitize("thread", "address", "undefined"))) void gmp__san_main(void *g)
{
	G *gp = g;
	gmp__san_switch_finish(&gp->san);
	gmp_fn *fn = gp->fn = gp->sanfn;
	void *arg = gp->sanarg;
	landed(getm());
	fn(arg);
}

/* An ended coroutine goes to `to` for good. */
__attribute__((no_sanitize("thread", "address", "undefined"), noreturn)) void gmp__san_exit(SanFiber *from, gmp__gobuf *to)
{
	M *m = getm();
	gmp__san_switch_start(from, fiber_of(m, to), true);
	gmp__gogo(to);
}
#endif

/* ---- long ways --------------------------------------------------------------------------------------------------- */

gmp__sw gmp__switch_g0(M *m, G *gp, uint8_t *unlock)
{
	if (unlikely(load_relaxed(&gp->flags) & GF_FPENV)) /* an M without a P comes here, beside a canceller */
		gmp__fp_save(gp->ext->fp);
	m->g0land.unlock = unlock;
	return (gmp__sw){(intptr_t)&gp->ctx, &m->g0};
}

/* next has no stack yet, or is for g0. The object's lock is held until the landing: g0 gets the stacks that take long. */
gmp__sw gmp__switch_slow(M *m, G *gp, uint8_t *unlock, G *next)
{
	P *p = m->p;
	if (unlikely((next->flags & GF_VIAG0) || !bindstack_cached(p, next))) {
		store_relaxed(&p->runnext, next);
		return gmp__switch_g0(m, gp, unlock);
	}
	execute_prep(m, p, next);
	m->land.unlock = unlock;
	return (gmp__sw){(intptr_t)&gp->ctx, &next->ctx};
}

gmp__sw gmp__wakep_leave(M *m)
{
	gmp__wakep_hint(m, m->p);
	leave(m);
	return (gmp__sw){0, NULL};
}

gmp__sw gmp__ready_leave_slow(M *m, G *gp)
{
	gmp__ready_slow(m, gp);
	leave(m);
	return (gmp__sw){0, NULL};
}

/* ---- behind gmp.h ------------------------------------------------------------------------------------------------ */

void gmp_yield(void) { (void)finish_sw(gmp__yield()); }
int gmp_join(gmp_g *g) { return (int)finish_sw(gmp__join(g)); }
int gmp_chan_send(gmp_chan *c, const void *elem) { return (int)finish_sw(gmp__chan_send(c, elem)); }
int gmp_chan_recv(gmp_chan *c, void *elem) { return (int)finish_sw(gmp__chan_recv(c, elem)); }
int gmp_mutex_lock(gmp_mutex *m) { return (int)finish_sw(gmp__mutex_lock(m)); }
void gmp_mutex_unlock(gmp_mutex *m) { gmp__mutex_unlock(m); }
int gmp_waitgroup_wait(gmp_waitgroup *wg) { return (int)finish_sw(gmp__waitgroup_wait(wg)); }
int gmp_sem_acquire(gmp_sem *s) { return (int)finish_sw(gmp__sem_acquire(s)); }
