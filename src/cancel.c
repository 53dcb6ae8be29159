/* SPDX-License-Identifier: MIT
 * cancel.c - taking a coroutine out of whatever it waits for.
 *
 *   CA-1 Cancellation acts while the world is stopped: no queue operation, claim or ready is half done anywhere, so a G
 *        that is Gwaiting is really waiting, and its operation has not completed. The one exception, events of the network
 *        poller, is decided by a compare-and-swap there (gmp__netpoll_cancel).
 *   CA-2 A cancelled G's later waits fail before they queue (cancelled()); what can complete at once still does.
 *   CA-3 HINT_ENDING is set before the world stops for the cancellation of all, and whoever spawns looks at it inside the
 *        runtime: either it is seen and the spawn refused, or the new coroutine is there when the world has stopped. */
#include "proc.h"
#include "netpoll.h"

void gmp__cancel_locked(M *m, G *gp)
{
	store_relaxed(&gp->flags, (uint16_t)(gp->flags | GF_CANCELLED)); /* read from user mode too */
	if (load_relaxed(&gp->status) != Gwaiting || (gp->flags & GF_NOCANCEL))
		return;
	if (gp->waitreason == WAIT_IO_READ || gp->waitreason == WAIT_IO_WRITE) {
		if (!gmp__netpoll_cancel(gp))
			return;
	} else if (gp->sg.g & SG_CONTESTED) {
		uint32_t seq = load_acquire(&gp->claim);
		if ((seq & 1u) || !claim(gp, seq))
			return;
	}
	if (gp->waitq) {
		queue_remove(gp->waitq, &gp->sg.link);
		gp->waitq = NULL;
	} else if (gp->waitreason == WAIT_JOIN) {
		((G *)gp->waitobj)->joiner = NULL;
	}
	gp->ctx.ret = -ECANCELED;
	ready(m, gp);
}

int gmp_cancel(gmp_g *g)
{
	if (!g)
		return -EINVAL;
	M *m = gmp__foreign_enter();
	if (sched.state == ST_UP) {
		gmp__stopworld();
		uint8_t s = load_relaxed(&g->status);
		if (s != Gdead && s != Gidle)
			gmp__cancel_locked(m, g);
		gmp__startworld();
	}
	gmp__foreign_leave(m);
	return 0;
}

bool gmp_cancelled(void)
{
	M *m = getm();
	return m && m->curg && (load_relaxed(&m->curg->flags) & GF_CANCELLED);
}

uint64_t gmp_id(void)
{
	M *m = getm();
	return m ? m->curg->id : 0;
}
