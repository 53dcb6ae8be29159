/* SPDX-License-Identifier: MIT
 * net_fd.c - see net_fd.h. After Go's fdMutex.
 *
 *   FD-1 users is one word: whoever begins an operation adds a reference and takes the turn of its direction by one
 *        compare-and-swap that fails once the descriptor is closing. Turns serialise readers, and writers, so each word
 *        of the PollDesc has at most one waiter.
 *   FD-2 Who finds the turn taken queues under `lock` with FD_WAITERS set; whoever gives the turn back sees that and
 *        hands it over, first come, first served. The hand-over moves the turn, each has its own reference.
 *   FD-3 gmp_close sets FD_CLOSING, wakes all, and waits until the others have left. Who takes users to "closing, no
 *        reference" calls close(2). Until then the number cannot come back, so nobody acts on another file.
 *   FD-4 The PollDesc is put back to its first state (tag + 1) before close(2), except for users, which stays
 *        "closing, no reference" until close(2) has returned. Whoever comes meanwhile may already have a new file of
 *        that number: he waits (users_now), which is short unless SO_LINGER makes close(2) long. */
#include "net_fd.h"
#include "timer.h"
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- entries of turnq -------------------------------------------------------------------------------------------- */

/* A foreign thread that stands in poll(2): elem of its Sudog, told apart by the low bit. */
typedef struct Poller {
	int rfd, wfd;         /* a pipe, readable once gmp_close came by */
	uint32_t generation;  /* of the process: a forked child needs pipes of its own */
} Poller;
enum { TURNQ_POLLER = 1, TURNQ_CLOSER = 8 }; /* others: the turns it waits for, FD_RTURN or FD_WTURN */

static bool is_poller(const Sudog *sg) { return (uintptr_t)sg->elem & TURNQ_POLLER; }
static Poller *sg2poller(const Sudog *sg) { return (Poller *)((uintptr_t)sg->elem & ~(uintptr_t)TURNQ_POLLER); }

/* ---- references and turns ---------------------------------------------------------------------------------------- */

outofline int gmp__fd_close(int fd)
{
	int e = errno, r = close(fd) != 0 && errno != EINTR ? -errno : 0;
	errno = e;
	return r;
}

static bool closing_now(uint32_t u) { return (u & FD_CLOSING) && u / FD_REF == 0; }

/* users, once nobody is in close(2) with this number: FD-4. Out of the runtime. */
static uint32_t users_now(PollDesc *pd)
{
	uint32_t u = load_acquire(&pd->users);
	for (int k = 0; unlikely(closing_now(u)); k++) {
		if (k < 20)
			gmp__os_osyield();
		else
			gmp__os_usleep(50 * 1000);
		u = load_acquire(&pd->users);
	}
	return u;
}

static void reset(PollDesc *pd)
{
	gmp__fd_timer_off(pd);
	store_release(&pd->flags, 0u);
	store_release(&pd->tag, pd->tag + 1);
	store_relaxed(&pd->word[IO_R], (uintptr_t)IO_NIL);
	store_relaxed(&pd->word[IO_W], (uintptr_t)IO_NIL);
	pd->drained[IO_R] = pd->drained[IO_W] = pd->streak[IO_R] = pd->streak[IO_W] = 0;
}

/* FD-3: the last reference is gone. closer: who waits for that, or NULL. */
static int close_now(PollDesc *pd)
{
	int fd = pd->fd;
	gmp__netpoll_forget(pd);
	M *m = enter();
	olock(&pd->lock);
	Sudog *sg = (Sudog *)(void *)queue_pop_head(&pd->turnq);
	if (sg)
		sg2g(sg)->waitq = NULL;
	reset(pd);
	store_release(&pd->users, (uint32_t)FD_CLOSING);
	ounlock(&pd->lock);
	leave(m);
	int r = gmp__fd_close(fd);
	store_release(&pd->users, 0u); /* FD-4 */
	if (sg) {
		m = enter();
		waiter_wake(m, sg, r);
		leave(m);
	}
	return r;
}

int gmp__fd_ref(int fd, PollDesc **out)
{
	PollDesc *pd = *out = gmp__netpoll_desc(fd);
	if (!pd)
		return fd < 0 || fd >= NETPOLL_MAXFD ? -EBADF : -ENOMEM;
	uint32_t u = users_now(pd);
	while (!(u & FD_CLOSING))
		if (cas_acqrel(&pd->users, &u, u + FD_REF))
			return 0;
	return -EBADF;
}

/* Drops a reference (and nothing else). */
void gmp__fd_unref(PollDesc *pd)
{
	uint32_t u = fetch_add_acqrel(&pd->users, -(uint32_t)FD_REF);
	if (u / FD_REF == 1 && (u & FD_CLOSING))
		(void)close_now(pd);
}

/* lock is held. The first who waits for one of these turns, off the queue and claimed. */
static Sudog *next_in_turn(PollDesc *pd, uint32_t turn)
{
	bool more = false;
	Sudog *found = NULL;
	for (Link *l = pd->turnq.head, *next; l; l = next) {
		next = l->next;
		Sudog *sg = link2sg(l);
		if (is_poller(sg) || (uintptr_t)sg->elem == TURNQ_CLOSER)
			continue;
		if (!found && (uintptr_t)sg->elem == turn && claim_sg(sg)) {
			queue_remove(&pd->turnq, l);
			sg2g(sg)->waitq = NULL;
			found = sg;
		} else {
			more = true;
		}
	}
	if (!more)
		(void)fetch_and_seqcst(&pd->users, ~(uint32_t)FD_WAITERS);
	return found;
}

/* Gives back the turns of the set, and the references that came with them. */
void gmp__fd_exit_slow(PollDesc *pd, uint32_t turns)
{
	uint32_t u = load_relaxed(&pd->users);
	while (!(u & FD_WAITERS)) {
		uint32_t n = (u & ~turns) - (turns == (FD_RTURN | FD_WTURN) ? 2 * FD_REF : FD_REF);
		if (cas_acqrel(&pd->users, &u, n)) {
			if ((n & FD_CLOSING) && n / FD_REF == 0)
				(void)close_now(pd);
			return;
		}
	}
	for (uint32_t turn = FD_RTURN; turn <= FD_WTURN; turn <<= 1) {
		if (!(turns & turn))
			continue;
		M *m = enter();
		olock(&pd->lock);
		Sudog *sg = next_in_turn(pd, turn);
		if (!sg)
			(void)fetch_and_seqcst(&pd->users, ~turn); /* under the lock: FD-2 */
		ounlock(&pd->lock);
		if (sg)
			waiter_wake(m, sg, 0);
		leave(m);
		gmp__fd_unref(pd);
	}
}

/* A reference and one turn. */
static int take_turn(PollDesc *pd, uint32_t turn, int64_t deadline)
{
	uint32_t u = users_now(pd);
	while (!(u & (turn | FD_CLOSING)))
		if (cas_acqrel(&pd->users, &u, (u | turn) + FD_REF))
			return 0;
	if (u & FD_CLOSING)
		return -EBADF;
	if (deadline <= 0)
		return -EAGAIN;
	M *m = enter();
	G *gp = m->curg;
	if (cancelled(gp)) {
		leave(m);
		return -ECANCELED;
	}
	olock(&pd->lock);
	for (;;) {
		bool freed = !(u & turn), closed = u & FD_CLOSING;
		if (!closed && !cas_acqrel(&pd->users, &u, (u | (freed ? turn : FD_WAITERS)) + FD_REF))
			continue;
		if (!closed && !freed)
			break;
		ounlock(&pd->lock);
		leave(m);
		return closed ? -EBADF : 0;
	}
	store_relaxed(&gp->sg.g, (uintptr_t)gp | SG_CONTESTED);
	gp->sg.elem = (void *)(uintptr_t)turn;
	uint32_t seq = claim_begin(gp);
	queue_push_tail(&pd->turnq, &gp->sg.link);
	int r = (int)gmp__park_until(m, gp, turn == FD_RTURN ? WAIT_IO_READ : WAIT_IO_WRITE, pd, &pd->turnq, &pd->lock,
	        seq, deadline);
	if (r != 0)
		gmp__fd_unref(pd);
	return r;
}

int gmp__fd_enter_raw(int fd, uint32_t turns, int64_t deadline, PollDesc **out)
{
	PollDesc *pd = gmp__netpoll_desc(fd);
	if (!pd)
		return fd < 0 || fd >= NETPOLL_MAXFD ? -EBADF : -ENOMEM;
	if (turns & FD_RTURN) {
		int e = take_turn(pd, FD_RTURN, deadline);
		if (e)
			return e;
	}
	if (turns & FD_WTURN) {
		int e = take_turn(pd, FD_WTURN, deadline);
		if (e) {
			if (turns & FD_RTURN)
				gmp__fd_exit_slow(pd, FD_RTURN);
			return e;
		}
	}
	*out = pd;
	return 0;
}

outofline int gmp__fd_enter_slow(int fd, int dir, int64_t deadline, PollDesc **out)
{
	uint32_t turn = (uint32_t)FD_RTURN << dir;
	int e = gmp__fd_enter_raw(fd, turn, deadline, out);
	if (e == 0 && !(load_acquire(&(*out)->flags) & PD_KNOWN) && (e = gmp__fd_adopt(*out)) != 0)
		gmp__fd_exit_slow(*out, turn);
	return e;
}

/* ---- what kind of descriptor ------------------------------------------------------------------------------------- */

int gmp__fd_fresh(int fd, uint32_t flags)
{
	PollDesc *pd = gmp__netpoll_desc(fd);
	if (!pd)
		return -ENOMEM;
	if (users_now(pd)) /* closed behind our back while in use: that is theirs to explain */
		return 0;
	if (load_relaxed(&pd->flags)) {
		M *m = enter(); /* for the timer */
		reset(pd);
		leave(m);
	}
	(void)fetch_or_seqcst(&pd->flags, flags);
	return 0;
}

outofline int gmp__fd_adopt(PollDesc *pd)
{
	int fd = pd->fd, e = errno, r = 0;
	uint32_t flags = PD_KNOWN;
	int fl = fcntl(fd, F_GETFL);
	if (fl < 0) {
		r = -errno;
		errno = e;
		return r;
	}
	int v = 0;
	socklen_t len = sizeof v;
#ifdef SO_PROTOCOL
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, &len) == 0)
		flags |= v == 6 /* IPPROTO_TCP */ ? PD_SOCKET | PD_TCP : PD_SOCKET;
#else
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len) == 0)
		flags |= PD_SOCKET;
#endif
	if (!(flags & PD_SOCKET)) {
		struct stat st;
		if (fstat(fd, &st) != 0)
			st.st_mode = S_IFREG;
		if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
			flags |= PD_FILE;
		if (S_ISFIFO(st.st_mode))
			flags |= PD_PIPE;
		/* Terminals and inherited pipes are shared with processes that would choke on O_NONBLOCK. */
		if (!(flags & PD_FILE) && !(fl & O_NONBLOCK) && (S_ISCHR(st.st_mode) || fd <= STDERR_FILENO))
			flags |= PD_POLLFIRST;
	}
	if (!(fl & O_NONBLOCK) && !(flags & (PD_FILE | PD_POLLFIRST)) && fcntl(fd, F_SETFL, fl | O_NONBLOCK) != 0)
		r = -errno;
	if (r == 0)
		(void)fetch_or_seqcst(&pd->flags, flags);
	errno = e;
	return r;
}

/* In the runtime: flags are others' while the world is stopped (PK-5). */
static void set_nocancel(G *gp, bool on)
{
	store_relaxed(&gp->flags, (uint16_t)(on ? gp->flags | GF_NOCANCEL : gp->flags & ~GF_NOCANCEL));
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* The deadline has passed. PK-3; the G looks after the words itself (NP-2). */
static void timed_out(M *m, void *arg, uintptr_t seq)
{
	G *gp = arg;
	if (!claim(gp, (uint32_t)seq))
		return;
	await_commit(gp);
	gp->ctx.ret = -ETIMEDOUT;
	ready(m, gp);
}

/* The G goes into the words of dirs. False: there is an event already. */
static bool install(PollDesc *pd, G *gp, uint32_t seq, uint32_t dirs)
{
	for (int d = IO_R; d <= IO_W; d++) {
		if (!(dirs & 1u << d))
			continue;
		store_relaxed(&pd->seq[d], seq);
		uintptr_t nil = IO_NIL;
		if (!cas_acqrel(&pd->word[d], &nil, (uintptr_t)gp))
			return false;
	}
	return !gmp__fd_closing(pd);
}

static void uninstall(PollDesc *pd, G *gp, uint32_t dirs)
{
	for (int d = IO_R; d <= IO_W; d++)
		if ((dirs & 1u << d) && load_acquire(&pd->word[d]) != IO_NIL)
			gmp__netpoll_settle(pd, d, (uintptr_t)gp);
}

static int foreign_wait(PollDesc *pd, uint32_t dirs, int64_t deadline);

/* ft: of a wait to read, unless pd is not in the table. */
static alwaysinline int park(PollDesc *pd, FdTimer *ft, uint32_t dirs, int64_t deadline, bool nocancel)
{
	bool stands = ft && dirs == IO_RBIT;
	M *m = enter();
	G *gp = m->curg;
	if (cancelled(gp) && !nocancel) {
		leave(m);
		return -ECANCELED;
	}
	if (nocancel)
		set_nocancel(gp, true);
	store_relaxed(&gp->sg.g, (uintptr_t)gp | SG_CONTESTED);
	uint32_t seq = claim_begin(gp);
	store_relaxed(&gp->parklock, (uint8_t)1); /* NP-4: until the landing; who waits for that has found gp in a word */
	uint32_t waiters = fetch_add_seqcst(&sched.waitersnet, 1u); /* NP-6 */
	Timer t;
	t.p = NULL;
	int e = 0;
	if (ft)
		store_relaxed(&ft->deadline, stands ? deadline : GMP_FOREVER); /* DT-1 */
	bool ok = install(pd, gp, seq, dirs);
	if (ok && deadline != GMP_FOREVER) {
		if (!stands) {
			t = (Timer){.when = deadline, .f = timed_out, .arg = gp, .seq = seq};
			e = gmp__timer_start(m, &t);
		} else if (unlikely(!gmp__fd_timer_covers(ft, deadline))) {
			e = gmp__fd_timer_set(m, pd, ft, deadline);
		}
		ok = e == 0;
	}
	intptr_t r = e;
	if (unlikely(!ok) && claim(gp, seq)) {
		/* Nothing waits, and nobody will ready us. If the claim failed somebody is about to: park. */
		unlockbyte(&gp->parklock);
		leave(m);
	} else {
		if (waiters >= COLD_WAITERS)
			gmp__warm_next(m->p);
		r = finish_sw(park_sw(m, gp, dirs & IO_RBIT ? WAIT_IO_READ : WAIT_IO_WRITE, pd, NULL, &gp->parklock));
	}
	(void)fetch_add_seqcst(&sched.waitersnet, -1u);
	if (nocancel || (t.p && load_acquire(&t.id))) {
		m = enter();
		if (nocancel)
			set_nocancel(gp, false);
		(void)gmp__timer_remove(&t);
		leave(m);
	}
	uninstall(pd, gp, dirs);
	return (int)r;
}

int gmp__fd_park(PollDesc *pd, uint32_t dirs, int64_t deadline, bool nocancel)
{
	return park(pd, NULL, dirs, deadline, nocancel);
}

int gmp__fd_wait(PollDesc *pd, uint32_t dirs, int64_t deadline)
{
	if (gmp__fd_closing(pd))
		return -ECANCELED;
	if (deadline <= 0)
		return -EAGAIN;
	if (!getm())
		return foreign_wait(pd, dirs, deadline);
	int r = gmp__netpoll_arm(pd, dirs);
	if (r == 0)
		r = park(pd, dirs & IO_RBIT ? gmp__netpoll_timer(pd) : NULL, dirs, deadline, false);
	return r == 0 && gmp__fd_closing(pd) ? -ECANCELED : r;
}

outofline int gmp__fd_poll(int fd, uint32_t dirs)
{
	struct pollfd p = {.fd = fd};
	if (dirs & IO_RBIT)
		p.events |= POLLIN;
	if (dirs & IO_WBIT)
		p.events |= POLLOUT;
	int e = errno, n = poll(&p, 1, 0), r = 0;
	if (n < 0) {
		r = errno == EINTR ? 0 : -errno;
	} else if (n) {
		if (p.revents & POLLNVAL)
			r = -EBADF;
		else if (p.revents & (POLLERR | POLLHUP))
			r = (int)dirs;
		else
			r = (p.revents & POLLIN ? IO_RBIT : 0) | (p.revents & POLLOUT ? IO_WBIT : 0);
	}
	errno = e;
	return r;
}

int gmp__fd_wait_level(PollDesc *pd, uint32_t dirs, int64_t deadline)
{
	for (;;) {
		for (int d = IO_R; d <= IO_W; d++) {
			if (dirs & 1u << d) {
				gmp__fd_note(pd, d);
				pd->drained[d] = 0; /* what others do with the descriptor meanwhile is not known here */
			}
		}
		if (gmp__fd_closing(pd))
			return -ECANCELED;
		int r = gmp__fd_poll(pd->fd, dirs);
		if (r != 0)
			return r;
		r = gmp__fd_wait(pd, dirs, deadline);
		if (r == -EPERM) /* what cannot be polled is always ready */
			return (int)dirs;
		if (r != 0)
			return r;
	}
}

/* ---- foreign threads: poll(2), with a pipe beside it for gmp_close ----------------------------------------------- */

static pthread_key_t poller_key;
static pthread_once_t poller_once = PTHREAD_ONCE_INIT;

static void poller_close(Poller *p)
{
	(void)gmp__fd_close(p->rfd);
	(void)gmp__fd_close(p->wfd);
}

static void poller_free(void *p)
{
	poller_close(p);
	free(p);
}

static void poller_key_new(void)
{
	if (pthread_key_create(&poller_key, poller_free) != 0)
		gmp__throw("pthread_key_create failed");
}

static outofline int poller_open(Poller *p)
{
	int e = errno, fds[2], r = 0;
	if (pipe(fds) != 0) {
		r = -errno;
	} else {
		for (int i = 0; i < 2; i++) {
			(void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
			(void)fcntl(fds[i], F_SETFL, O_NONBLOCK);
		}
		p->rfd = fds[0];
		p->wfd = fds[1];
		p->generation = gmp__netpoll_generation;
	}
	errno = e;
	return r;
}

/* The calling thread's; made when it first waits. */
static int poller_get(Poller **out)
{
	(void)pthread_once(&poller_once, poller_key_new);
	Poller *p = *out = pthread_getspecific(poller_key);
	if (likely(p && p->generation == gmp__netpoll_generation))
		return 0;
	if (p) {
		poller_close(p);
		return poller_open(p);
	}
	p = *out = gmp__os_zalloc(sizeof *p);
	int e = p ? poller_open(p) : -ENOMEM;
	if (e == 0 && pthread_setspecific(poller_key, p) != 0) {
		poller_close(p);
		e = -ENOMEM;
	}
	if (e)
		free(p);
	return e;
}

static outofline int poll_both(int fd, uint32_t dirs, int rfd, int64_t deadline)
{
	struct pollfd p[2] = {{.fd = fd}, {.fd = rfd, .events = POLLIN}};
	if (dirs & IO_RBIT)
		p[0].events |= POLLIN;
	if (dirs & IO_WBIT)
		p[0].events |= POLLOUT;
	int e = errno, n;
	do {
		int64_t left = deadline == GMP_FOREVER ? -1 : max_i64(0, deadline - gmp__os_now());
#ifdef __linux__
		struct timespec ts = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
		n = ppoll(p, 2, left < 0 ? NULL : &ts, NULL);
#else
		int64_t ms = left < 0 ? -1 : (left + 999999) / 1000000;
		n = poll(p, 2, ms > INT32_MAX ? INT32_MAX : (int)ms);
#endif
	} while ((n < 0 && errno == EINTR) || (n == 0 && (deadline == GMP_FOREVER || gmp__os_now() < deadline)));
	int r = n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
	if (p[1].revents) {
		char c[16];
		while (read(rfd, c, sizeof c) > 0)
			;
	}
	errno = e;
	return r;
}

static void poller_poke(Poller *p)
{
	int e = errno;
	(void)!write(p->wfd, "", 1);
	errno = e;
}

static int foreign_wait(PollDesc *pd, uint32_t dirs, int64_t deadline)
{
	Poller *p;
	int r = poller_get(&p);
	if (r)
		return r;
	M *m = enter();
	G *gp = m->curg;
	store_relaxed(&gp->sg.g, (uintptr_t)gp);
	gp->sg.elem = (void *)((uintptr_t)p | TURNQ_POLLER);
	olock(&pd->lock);
	bool closing = gmp__fd_closing(pd);
	if (!closing)
		queue_push_tail(&pd->turnq, &gp->sg.link);
	ounlock(&pd->lock);
	leave(m);
	if (closing)
		return -ECANCELED;
	r = poll_both(pd->fd, dirs, p->rfd, deadline);
	m = enter();
	olock(&pd->lock);
	queue_remove(&pd->turnq, &gp->sg.link);
	ounlock(&pd->lock);
	leave(m);
	return gmp__fd_closing(pd) ? -ECANCELED : r;
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

/* FD-3: FD_CLOSING is set, the caller has a reference. */
static int close_slow(PollDesc *pd)
{
	Queue fired = {NULL, NULL};
	Harvest h = {&fired, 0};
	M *m = enter();
	olock(&pd->lock);
	for (Link *l = pd->turnq.head, *next; l; l = next) {
		next = l->next;
		Sudog *sg = link2sg(l);
		if (is_poller(sg)) {
			poller_poke(sg2poller(sg));
		} else if (claim_sg(sg)) {
			queue_remove(&pd->turnq, l);
			sg2g(sg)->waitq = NULL;
			waiter_wake(m, sg, -ECANCELED);
		}
	}
	gmp__netpoll_fire(pd, IO_R, &h);
	gmp__netpoll_fire(pd, IO_W, &h);
	for (Link *l; (l = queue_pop_head(&fired)) != NULL;)
		ready(m, link2g(l));
	if (fetch_add_acqrel(&pd->users, -(uint32_t)FD_REF) / FD_REF == 1) {
		ounlock(&pd->lock);
		leave(m);
		return close_now(pd);
	}
	G *gp = m->curg;
	set_nocancel(gp, true); /* the others leave promptly: they have been woken */
	store_relaxed(&gp->sg.g, (uintptr_t)gp);
	gp->sg.elem = (void *)(uintptr_t)TURNQ_CLOSER;
	queue_push_tail(&pd->turnq, &gp->sg.link);
	/* The last user may be a thread that the runtime has never heard of: no deadlock report meanwhile. */
	(void)fetch_add_seqcst(&sched.waitersnet, 1u);
	int r = (int)finish_sw(park_sw(m, gp, WAIT_IO_WRITE, pd, &pd->turnq, &pd->lock));
	(void)fetch_add_seqcst(&sched.waitersnet, -1u);
	m = enter();
	set_nocancel(gp, false);
	leave(m);
	return r;
}

int gmp__fd_close_ref(PollDesc *pd)
{
	uint32_t u = load_relaxed(&pd->users);
	do {
		if (u & FD_CLOSING) { /* by somebody who waits for us, too */
			gmp__fd_unref(pd);
			return -EBADF;
		}
	} while (!cas_acqrel(&pd->users, &u, u | FD_CLOSING));
	return close_slow(pd);
}

int gmp_close(int fd)
{
	PollDesc *pd = gmp__netpoll_find(fd);
	if (!pd)
		return gmp__fd_close(fd);
	uint32_t u = users_now(pd);
	do {
		if (u & FD_CLOSING)
			return -EBADF;
	} while (!cas_acqrel(&pd->users, &u, (u | FD_CLOSING) + FD_REF));
	return u == 0 ? close_now(pd) : close_slow(pd);
}
