/* SPDX-License-Identifier: MIT
 * group.c - groups of coroutines: spawned together, waited for together, cancelled together.
 *
 *   GR-1 A member counts from gmp_group_spawn's call until its function and the destructors of its values have
 *        returned. It is on the list from its creation on; a group that was cancelled in between marks it then.
 *   GR-2 Everything is done under the group's lock; leaving lets go of the lock as its last access to the group, after
 *        the last member has taken the waiters off. So gmp_group_free may free when its wait has returned.
 *   GR-3 Cancelling walks the list while the world is stopped and sched.foreign is held: nobody is inside the runtime,
 *        so the lock is free (CA-1). */
#include "sync.h"
#include <stdlib.h>

struct gmp_group {
	uint8_t lock;
	bool cancelled;
	uint32_t n;
	Queue members; /* by GExt.grouplink */
	Queue waiters;
};

gmp_group *gmp_group_new(void)
{
	return gmp__os_zalloc(sizeof(gmp_group));
}

/* One member fewer. The lock is held; it is free and the group perhaps gone afterwards (GR-2). */
static void leave_group(M *m, gmp_group *grp)
{
	Queue all = {NULL, NULL};
	if (--grp->n == 0)
		(void)waitq_claim_all(&grp->waiters, &all);
	ounlock(&grp->lock);
	gmp__wake_all(m, &all);
}

int gmp_group_spawn(gmp_group *grp, gmp_fn *fn, void *arg)
{
	if (!grp || !fn)
		return -EINVAL;
	M *m = enter();
	olock(&grp->lock);
	bool refused = grp->cancelled;
	if (!refused)
		grp->n++;
	ounlock(&grp->lock);
	leave(m);
	if (refused)
		return -ECANCELED;
	int e = gmp__newproc(NULL, NULL, fn, arg, caller_pc(), NULL, 0, grp);
	if (e) {
		m = enter();
		olock(&grp->lock);
		leave_group(m, grp);
		leave(m);
	}
	return e;
}

/* gp, new and not yet queued anywhere, goes on the list. In the runtime. */
void gmp__group_add(gmp_group *grp, G *gp)
{
	olock(&grp->lock);
	gp->ext->member = gp;
	queue_push_tail(&grp->members, &gp->ext->grouplink);
	if (grp->cancelled)
		gp->flags |= GF_CANCELLED;
	ounlock(&grp->lock);
}

/* gp could not be queued after all. In the runtime; gmp_group_spawn takes back the rest. */
void gmp__group_remove(gmp_group *grp, G *gp)
{
	olock(&grp->lock);
	queue_remove(&grp->members, &gp->ext->grouplink);
	ounlock(&grp->lock);
}

/* The calling coroutine ends. User mode. */
void gmp__group_exit(G *gp)
{
	M *m = enter();
	gmp_group *grp = gp->ext->group;
	gp->ext->group = NULL;
	olock(&grp->lock);
	queue_remove(&grp->members, &gp->ext->grouplink);
	leave_group(m, grp);
	leave(m);
}

/* gp was left behind by a run that ended in a deadlock: nobody waits that could be woken. No other thread is about. */
void gmp__group_abandon(G *gp)
{
	gmp_group *grp = gp->ext->group;
	queue_remove(&grp->members, &gp->ext->grouplink);
	grp->waiters = (Queue){NULL, NULL};
	grp->n--;
}

static int wait(gmp_group *grp, int64_t deadline, bool nocan)
{
	M *m = enter();
	G *gp = m->curg;
	if (gp->ext && gp->ext->group == grp) {
		leave(m);
		gmp__misuse("a member waits for its own group (%p)", (void *)grp);
	}
	olock(&grp->lock);
	int r = 0;
	if (grp->n != 0 && (nocan || (r = wait_refused(gp, deadline)) == 0)) {
		nocancel(gp, nocan);
		r = (int)sync_park(m, gp, WAIT_GROUP, grp, &grp->waiters, false, deadline);
		if (!nocan)
			return r;
		m = enter();
		nocancel(m->curg, false);
	} else {
		ounlock(&grp->lock);
	}
	leave(m);
	return r;
}

int gmp_group_wait(gmp_group *grp) { return grp ? wait(grp, GMP_FOREVER, false) : -EINVAL; }
int gmp_group_wait_until(gmp_group *grp, int64_t deadline) { return grp ? wait(grp, deadline, false) : -EINVAL; }

void gmp_group_cancel(gmp_group *grp)
{
	if (!grp)
		return;
	M *m = gmp__foreign_enter();
	bool up = load_relaxed(&sched.state) == ST_UP;
	if (up)
		gmp__stopworld();
	if (!grp->cancelled) { /* GR-3 */
		grp->cancelled = true;
		for (Link *l = grp->members.head; l; l = l->next)
			gmp__cancel_locked(m, container_of(l, GExt, grouplink)->member);
	}
	if (up)
		gmp__startworld();
	gmp__foreign_leave(m);
}

void gmp_group_free(gmp_group *grp)
{
	if (!grp)
		return;
	gmp_group_cancel(grp);
	(void)wait(grp, GMP_FOREVER, true);
	free(grp);
}
