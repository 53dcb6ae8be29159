/* SPDX-License-Identifier: MIT
 * net_fd.h - using a descriptor: references, turns, waiting for readiness, closing. The parking half of netpoll.c. */
#ifndef GMP_NET_FD_H
#define GMP_NET_FD_H

#include "netpoll.h"
#include "proc.h"

/* PollDesc.users: a count of references in steps of FD_REF, and */
enum {
	FD_CLOSING = 1,
	FD_RTURN = 2,   /* somebody has the turn to read; FD_RTURN << IO_W: to write */
	FD_WTURN = 4,
	FD_WAITERS = 8, /* turnq may have somebody who waits for a turn */
	FD_REF = 16,
};

int gmp__fd_enter_slow(int fd, int dir, int64_t deadline, PollDesc **out);
void gmp__fd_exit_slow(PollDesc *pd, uint32_t turn);

/* A reference to fd and the turn for `dir`. 0; -EBADF; -ECANCELED closed while waiting; -EAGAIN, -ETIMEDOUT; -ENOMEM.
 * */
static inline int gmp__fd_enter(int fd, int dir, int64_t deadline, PollDesc **out)
{
	PollDesc *pd = gmp__netpoll_find(fd);
	uint32_t turn = (uint32_t)FD_RTURN << dir;
	if (likely(pd != NULL)) {
		uint32_t u = load_relaxed(&pd->users);
		if (likely(!(u & (turn | FD_CLOSING)) && (load_relaxed(&pd->flags) & PD_KNOWN) &&
		            cas_acqrel(&pd->users, &u, (u | turn) + FD_REF))) {
			*out = pd;
			return 0;
		}
	}
	return gmp__fd_enter_slow(fd, dir, deadline, out);
}

static inline void gmp__fd_exit(PollDesc *pd, int dir)
{
	uint32_t turn = (uint32_t)FD_RTURN << dir, u = load_relaxed(&pd->users);
	if (likely(!(u & (FD_CLOSING | FD_WAITERS)) && cas_acqrel(&pd->users, &u, u - turn - FD_REF)))
		return;
	gmp__fd_exit_slow(pd, turn);
}

/* The same without finding out the kind of descriptor and setting O_NONBLOCK; `turns` may be FD_RTURN | FD_WTURN. */
int gmp__fd_enter_raw(int fd, uint32_t turns, int64_t deadline, PollDesc **out);

/* A reference without a turn. 0; -EBADF; -ENOMEM. */
int gmp__fd_ref(int fd, PollDesc **out);
void gmp__fd_unref(PollDesc *pd);
/* gmp_close by someone who has a reference, which goes with it. -EBADF: somebody else closes it. */
int gmp__fd_close_ref(PollDesc *pd);

static inline bool gmp__fd_closing(PollDesc *pd) { return unlikely(load_acquire(&pd->users) & FD_CLOSING); }

/* Takes note of an event, if there was one: then the caller tries (again). NP-1 */
static inline void gmp__fd_note(PollDesc *pd, int dir)
{
	uintptr_t w = load_relaxed(&pd->word[dir]);
	if (w == IO_READY) {
		(void)cas_acqrel(&pd->word[dir], &w, (uintptr_t)IO_NIL);
		pd->drained[dir] = 0;
	}
}

/* Until an event on one of `dirs` (a set), whose turns the caller has. 0: try again; -ECANCELED closed or cancelled;
 * -EAGAIN (deadline 0 or less); -ETIMEDOUT; -ENOMEM; -EPERM: cannot be polled. */
int gmp__fd_wait(PollDesc *pd, uint32_t dirs, int64_t deadline);
/* The same of a PollDesc that no back end knows, woken by gmp__netpoll_fire alone. nocancel: not ended by
 * cancellation. */
int gmp__fd_park(PollDesc *pd, uint32_t dirs, int64_t deadline, bool nocancel);
/* net_timer.c. The G waits to read and is in the word: is the timer that stands early enough (DT-2)? If not, set it. 0 or -ENOMEM. */
static inline bool gmp__fd_timer_covers(const FdTimer *ft, int64_t deadline)
{
	return load_acquire(&ft->t.id) && load_relaxed(&ft->t.when) <= deadline;
}
int gmp__fd_timer_set(M *m, PollDesc *pd, FdTimer *ft, int64_t deadline);
void gmp__fd_timer_off(PollDesc *pd);
/* Until poll(2) says so. The ready ones of dirs, or as above. */
int gmp__fd_wait_level(PollDesc *pd, uint32_t dirs, int64_t deadline);

/* fd is new in this process: nothing that was known of the number holds. flags: PD_KNOWN and more. 0 or -ENOMEM. */
int gmp__fd_fresh(int fd, uint32_t flags);
/* Finds out what kind of descriptor it is; O_NONBLOCK. 0 or a negative errno. */
int gmp__fd_adopt(PollDesc *pd);

/* poll(2) without waiting: the ready ones of dirs, or a negative errno. */
int gmp__fd_poll(int fd, uint32_t dirs);

/* close(2) with errno kept. 0 or a negative errno. */
int gmp__fd_close(int fd);

#endif
