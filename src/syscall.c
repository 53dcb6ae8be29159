/* SPDX-License-Identifier: MIT
 * syscall.c - declared blocking regions: the M gives up its P at once and queues for one afterwards, exactly as a coroutine
 * that sysmon found blocked without having said so. */
#include "proc.h"

void gmp_blocking_enter(void)
{
	M *m = getm();
	if (!m)
		return;
	if (m->insyscall) {
		store_relaxed(&m->insyscall, (uint8_t)(m->insyscall + 1));
		return;
	}
	m = enter_m(m);
	G *gp = m->curg;
	gstatus(gp, Grunning, Gsyscall);
	store_relaxed(&gp->waitreason, (uint8_t)WAIT_NONE);
	gp->since = load_relaxed(&sched.coarse_ms);
	lock(&sched.lock);
	P *p = gmp__releasep(m);
	unlock(&sched.lock);
	(void)fetch_or_seqcst(&m->revoke, RV_LOST);
	store_relaxed(&m->insyscall, (uint8_t)1);
	fetch_add_relaxed(&sched.nhandoffs, 1);
	gmp__handoffp(p);
	store_release(&m->land.inrt, 0u);
}

void gmp_blocking_leave(void)
{
	M *m = getm();
	if (!m || m->insyscall == 0)
		return;
	store_relaxed(&m->insyscall, (uint8_t)(m->insyscall - 1));
	if (m->insyscall)
		return;
	m = enter_m(m);
	leave(m);
}

int gmp_blocking(gmp_fn *fn, void *arg)
{
	if (!fn)
		return -EINVAL;
	if (gmp_cancelled())
		return -ECANCELED;
	gmp_blocking_enter();
	fn(arg);
	gmp_blocking_leave();
	return 0;
}
