/* SPDX-License-Identifier: MIT
 * barrier.c - the expensive half of the asymmetric fence: one membarrier(2) for all who ask at the same time.
 *
 * The kernel serves such calls one after the other, and each interrupts every CPU that runs a thread of the process: with 16
 * Ps whose thieves came by force, they were all that the machine did (17 us each, measured). Who waits may as well share.
 *
 *   BA-1 sched.barrier is 2k when k shared barriers are done and none is under way, 2k+1 while one is. From even to odd by
 *        compare-and-swap, back by who did that.
 *   BA-2 A caller is served by a barrier that began after its own stores were visible: it reads sched.barrier behind a fence,
 *        and if one is under way then, it takes the next. That has interrupted every CPU behind those stores; and what the
 *        CPUs had stored by then is visible to who has seen it done (release, acquire).
 *   BA-3 Nobody depends on who does it having a CPU: after a while a waiter has its own, which needs no one's leave.
 * Checked by exhaustive interleaving: tests/model_barrier.c. */
#include "proc.h"

static const int64_t PATIENCE_NS = 40 * 1000; /* two barriers and more */

static void membarrier_now(void)
{
	fetch_add_relaxed(&sched.nbarriers, 1);
	gmp__os_membarrier();
}

/* On return: what the caller has stored is visible to every thread of the process, what they had stored to the caller, as if
 * each had passed a fence meanwhile. Not where it takes HINT_FENCE. */
void gmp__barrier(void)
{
	fence_seqcst();
	uint32_t now = load_acquire(&sched.barrier), enough = now + 2 + (now & 1);
	int64_t begun = 0;
	for (uint32_t i = 0;; i++) {
		if ((int32_t)(now - enough) >= 0)
			return;
		if (!(now & 1) && cas_acqrel(&sched.barrier, &now, now + 1)) {
			membarrier_now();
			store_release(&sched.barrier, now + 2);
			return;
		}
		if (i % 32 == 0) {
			int64_t at = gmp__os_now();
			if (i == 0)
				begun = at;
			else if (at - begun > PATIENCE_NS)
				break;
		}
		cpu_pause();
		now = load_acquire(&sched.barrier);
	}
	membarrier_now();
}
