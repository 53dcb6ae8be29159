/* SPDX-License-Identifier: MIT
 * serve.c - gmp_serve: accept, one coroutine a connection, limits, graceful end; and the idle form, in which a
 * connection that waits for input is a hook in its PollDesc, and nothing else.
 *
 * The caller accepts. In the idle form a dispatcher coroutine starts the handlers of connections that became readable.
 *   SV-1 A connection is counted in `live` and on the list `conns` from accept to its end, under `lock`. The server
 *        stands on the caller's stack; who ends a connection touches it last by releasing `lock`.
 *   SV-2 An idle connection has the turn to read (FD-1), held by the hook in the place of a coroutine; so gmp_close by
 *        others waits for us. Whoever takes the hook out (event, close, end of serving) has the turn then.
 *   SV-3 The hook may be called by an M without P, the moment it is set. It puts the connection on `readable` and wakes
 *        the dispatcher, both under `hooklock`; the end of serving passes through hooklock when nobody is live.
 *   SV-4 gate is a PollDesc of no descriptor: IO_R wakes the dispatcher, IO_W the accepting caller. */
#include "net_fd.h"
#include <stdlib.h>
#include <string.h>

typedef struct Server Server;

typedef struct Conn {
	PollHook hook;
	Link link;          /* conns */
	Server *s;
	G *g;               /* runs its handler; under lock */
	void *state;
	struct Conn *next;  /* readable */
	int fd;
	bool idle;          /* the hook was set by us; under lock */
} Conn;

struct Server {
	void (*handler)(int, void *);
	int (*idle_handler)(int, void **, void *);
	void (*closed)(int, void *, void *);
	void *arg;
	uint8_t lock, hooklock;
	bool ending;        /* under lock: idle connections are closed, not kept */
	bool cut;           /* under lock: nobody starts */
	bool dispatcher;    /* there is one, counted in live */
	uint32_t live;
	Queue conns;
	Conn *readable;     /* last come first; under hooklock */
	PollDesc gate;
	PollDesc *listener;
	PollHook listen_hook;
	bool listen_hooked; /* under hooklock */
	int fd;
	uint32_t max;
};

/* ---- the gate ---------------------------------------------------------------------------------------------------- */

/* In the runtime. */
static void open_gate(M *m, Server *s, int dir)
{
	Queue q = {NULL, NULL};
	Harvest h = {&q, 0};
	gmp__netpoll_fire(&s->gate, dir, &h);
	for (Link *l; (l = queue_pop_head(&q)) != NULL;)
		ready(m, link2g(l));
}

/* Until the gate was opened since the last time. */
static int pass_gate(Server *s, int dir, int64_t deadline)
{
	int r = gmp__fd_park(&s->gate, 1u << dir, deadline, true);
	gmp__fd_note(&s->gate, dir);
	return r;
}

/* ---- a connection ------------------------------------------------------------------------------------------------ */

static void readable(PollHook *hook, Harvest *h);

static Conn *conn_new(Server *s, int fd)
{
	Conn *c = gmp__os_zalloc(sizeof *c);
	if (!c)
		return NULL;
	c->hook.f = readable;
	c->s = s;
	c->fd = fd;
	M *m = enter();
	olock(&s->lock);
	store_relaxed(&s->live, s->live + 1);
	queue_push_tail(&s->conns, &c->link);
	ounlock(&s->lock);
	leave(m);
	return c;
}

/* One less. SV-1 */
static void gone(Server *s, Conn *c)
{
	M *m = enter();
	olock(&s->lock);
	if (c)
		queue_remove(&s->conns, &c->link);
	store_relaxed(&s->live, s->live - 1);
	open_gate(m, s, IO_W);
	ounlock(&s->lock);
	leave(m);
	free(c);
}

static void conn_end(Conn *c, bool close_it)
{
	Server *s = c->s;
	if (s->closed && s->idle_handler)
		s->closed(c->fd, c->state, s->arg);
	if (close_it)
		(void)gmp_close(c->fd);
	gone(s, c);
}

/* The calling coroutine is the handler of c from now on. False: serving is over. */
static bool conn_begin(Conn *c)
{
	Server *s = c->s;
	M *m = enter();
	olock(&s->lock);
	bool ok = !s->cut;
	c->g = m->curg;
	c->idle = false;
	ounlock(&s->lock);
	leave(m);
	return ok;
}

static void conn_main(void *arg)
{
	Conn *c = arg;
	if (conn_begin(c))
		c->s->handler(c->fd, c->s->arg);
	conn_end(c, true);
}

/* ---- the idle form ----------------------------------------------------------------------------------------------- */

static void readable(PollHook *hook, Harvest *h)
{
	Conn *c = container_of(hook, Conn, hook);
	Server *s = c->s;
	lockbyte(&s->hooklock); /* SV-3 */
	c->next = s->readable;
	s->readable = c;
	gmp__netpoll_fire(&s->gate, IO_R, h);
	unlockbyte(&s->hooklock);
}

/* Takes the hook out again. False: it was called, or will be. */
static bool unhook(PollDesc *pd, PollHook *hook)
{
	uintptr_t w = (uintptr_t)hook | IO_HOOKBIT;
	return cas_acqrel(&pd->word[IO_R], &w, (uintptr_t)IO_NIL);
}

enum { SLEEPS, AWAKE, FAILED, CLOSED };

/* Lets c wait without a coroutine. SLEEPS: c is others' now. AWAKE: there is, or may be, something to do. FAILED: the
 * poller does not take it. CLOSED: somebody has called gmp_close. */
static int conn_sleep(Conn *c)
{
	Server *s = c->s;
	PollDesc *pd;
	int e = gmp__fd_enter(c->fd, IO_R, GMP_FOREVER, &pd);
	if (e)
		return e == -ECANCELED && gmp_cancelled() ? FAILED : CLOSED;
	bool set = false, closing = false;
	while (!set && !closing) {
		gmp__fd_note(pd, IO_R);
		/* Not drained as far as we know, and no event is sure to come: look. An unregistered one reports what is there. */
		uint32_t flags = load_relaxed(&pd->flags);
		if ((flags & (PD_INR | PD_INW)) && (!pd->drained[IO_R] || (flags & PD_HUP)) && gmp__fd_poll(c->fd, IO_RBIT) != 0)
			break;
		if ((e = gmp__netpoll_arm(pd, IO_RBIT)) != 0)
			break;
		M *m = enter();
		olock(&s->lock);
		bool stay = !s->ending;
		if (stay) {
			c->g = NULL;
			c->idle = true;
			uintptr_t nil = IO_NIL;
			set = cas_acqrel(&pd->word[IO_R], &nil, (uintptr_t)&c->hook | IO_HOOKBIT);
			closing = gmp__fd_closing(pd); /* and whoever closes may just have missed the hook */
			if (set && closing && unhook(pd, &c->hook))
				set = false;
			if (!set) {
				c->g = m->curg;
				c->idle = false;
			}
		}
		ounlock(&s->lock);
		leave(m);
		if (!stay)
			break;
	}
	if (set)
		return SLEEPS;
	closing = gmp__fd_closing(pd);
	gmp__fd_exit(pd, IO_R);
	return closing ? CLOSED : e ? FAILED : AWAKE;
}

static bool is_ending(Server *s)
{
	M *m = enter();
	olock(&s->lock);
	bool ending = s->ending;
	ounlock(&s->lock);
	leave(m);
	return ending;
}

static void idle_main(void *arg)
{
	Conn *c = arg;
	Server *s = c->s;
	bool open = true;
	if (conn_begin(c)) {
		while (s->idle_handler(c->fd, &c->state, s->arg) == GMP_SERVE_AGAIN && !is_ending(s)) {
			int r = conn_sleep(c);
			if (r == SLEEPS)
				return;
			open = r != CLOSED;
			if (r != AWAKE || gmp_cancelled())
				break;
			gmp_yield();
		}
	}
	conn_end(c, open);
}

static void conn_start(Conn *c)
{
	if (gmp_spawn(c->s->idle_handler ? idle_main : conn_main, c) != 0)
		conn_end(c, true);
}

static void conn_wake(Conn *c)
{
	M *m = enter();
	int e = gmp__newproc_rt(m, idle_main, c, NULL);
	leave(m);
	if (e)
		conn_end(c, true);
}

/* The caller has the turn to read that went with the hook, and gives it back. False: somebody has called gmp_close. */
static bool give_back_turn(Conn *c)
{
	PollDesc *pd = gmp__netpoll_find(c->fd);
	bool open = !gmp__fd_closing(pd);
	gmp__fd_exit(pd, IO_R);
	return open;
}

static void dispatch(void *arg)
{
	Server *s = arg;
	for (;;) {
		lockbyte(&s->hooklock);
		Conn *c = s->readable;
		s->readable = NULL;
		unlockbyte(&s->hooklock);
		if (!c) {
			M *m = enter();
			olock(&s->lock);
			bool last = s->ending && s->live == 1;
			ounlock(&s->lock);
			leave(m);
			if (last)
				break;
			(void)pass_gate(s, IO_R, GMP_FOREVER);
			continue;
		}
		Conn *oldest = NULL;
		for (Conn *next; c; c = next) {
			next = c->next;
			c->next = oldest;
			oldest = c;
		}
		for (Conn *next; oldest; oldest = next) {
			next = oldest->next;
			if (give_back_turn(oldest))
				conn_wake(oldest);
			else
				conn_end(oldest, false);
		}
	}
	gone(s, NULL);
}

/* ---- accepting --------------------------------------------------------------------------------------------------- */

static void listener_event(PollHook *hook, Harvest *h)
{
	Server *s = container_of(hook, Server, listen_hook);
	lockbyte(&s->hooklock);
	s->listen_hooked = false;
	gmp__netpoll_fire(&s->gate, IO_W, h);
	unlockbyte(&s->hooklock);
}

static bool still_hooked(Server *s)
{
	lockbyte(&s->hooklock);
	bool r = s->listen_hooked;
	unlockbyte(&s->hooklock);
	return r;
}

/* Accepts nothing until a connection ends, the listener is closed or has an event, or the deadline passes. 0 or
 * -ECANCELED. */
static int hold(Server *s, int64_t deadline)
{
	PollDesc *pd;
	int r = gmp__fd_enter(s->fd, IO_R, GMP_FOREVER, &pd);
	if (r)
		return r;
	gmp__fd_note(pd, IO_R);
	uintptr_t nil = IO_NIL;
	s->listen_hooked = true;
	if (!gmp__fd_closing(pd) && cas_acqrel(&pd->word[IO_R], &nil, (uintptr_t)&s->listen_hook | IO_HOOKBIT)) {
		if (!gmp__fd_closing(pd))
			r = gmp__fd_park(&s->gate, IO_WBIT, deadline, false);
		gmp__fd_note(&s->gate, IO_W);
		if (!unhook(pd, &s->listen_hook)) /* it was called, or is about to be */
			while (still_hooked(s))
				(void)pass_gate(s, IO_W, GMP_FOREVER);
	}
	gmp__fd_exit(pd, IO_R);
	return r == -ETIMEDOUT ? 0 : r;
}

static bool passing(int err)
{
	static const int errs[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, ENETDOWN, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH};
	for (size_t i = 0; i < nelem(errs); i++)
		if (err == -errs[i])
			return true;
	return false;
}

static int accept_loop(Server *s)
{
	int64_t pause = 0;
	for (;;) {
		int r;
		if (s->max && load_relaxed(&s->live) - s->dispatcher >= s->max) {
			if ((r = hold(s, GMP_FOREVER)) != 0)
				return r;
			continue;
		}
		r = gmp_accept(s->fd, NULL, NULL);
		if (r >= 0) {
			Conn *c = conn_new(s, r);
			if (c) {
				pause = 0;
				conn_start(c);
				gmp_checkpoint();
				continue;
			}
			(void)gmp_close(r);
			r = -ENOMEM;
		}
		if (!passing(r))
			return r;
		pause = pause == 0 ? 5 * GMP_MSEC : min_i64(2 * pause, GMP_SEC);
		int64_t until = add_sat_i64(gmp_now(), pause);
		if ((r = hold(s, until)) != 0)
			return r;
	}
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void close_idle(Server *s)
{
	Conn *mine = NULL;
	M *m = enter();
	olock(&s->lock);
	s->ending = true;
	for (Link *l = s->conns.head; l; l = l->next) {
		Conn *c = container_of(l, Conn, link);
		if (c->idle && unhook(gmp__netpoll_find(c->fd), &c->hook)) { /* else the dispatcher has it, or will have it */
			c->idle = false;
			c->next = mine;
			mine = c;
		}
	}
	ounlock(&s->lock);
	leave(m);
	for (Conn *next; mine; mine = next) {
		next = mine->next;
		conn_end(mine, give_back_turn(mine));
	}
}

/* Cancels the handlers that run. */
static void cut(Server *s)
{
	M *m = gmp__foreign_enter();
	gmp__stopworld();
	s->cut = true;
	for (Link *l = s->conns.head; l; l = l->next) {
		Conn *c = container_of(l, Conn, link);
		if (c->g)
			gmp__cancel_locked(m, c->g);
	}
	gmp__startworld();
	gmp__foreign_leave(m);
}

/* Until no more than n are live. False: the deadline has passed. */
static bool drained(Server *s, uint32_t n, int64_t deadline)
{
	for (;;) {
		M *m = enter();
		olock(&s->lock);
		uint32_t live = s->live;
		ounlock(&s->lock);
		leave(m);
		if (live <= n)
			return true;
		if (deadline <= 0 || pass_gate(s, IO_W, deadline) != 0)
			return false;
	}
}

static int serve(Server *s, int fd, const gmp_serve_opts *opts)
{
	static const gmp_serve_opts defaults;
	if (!opts)
		opts = &defaults;
	if (!getm())
		return -ENOTSUP;
	if ((!s->handler && !s->idle_handler) || opts->max_conns < 0 || opts->reserved_int || opts->drain < 0)
		return -EINVAL;
	for (size_t i = 0; i < nelem(opts->reserved); i++)
		if (opts->reserved[i])
			return -EINVAL;
	int r = gmp__fd_ref(fd, &s->listener); /* so the number stays ours to the end of accept_loop */
	if (r)
		return r;
	s->fd = fd;
	s->max = (uint32_t)opts->max_conns;
	s->closed = opts->closed;
	s->listen_hook.f = listener_event;
	s->gate.fd = -1;
	if (s->idle_handler) {
		s->dispatcher = true;
		s->live = 1;
		if ((r = gmp_spawn(dispatch, s)) != 0) {
			gmp__fd_unref(s->listener);
			return r;
		}
	}
	r = accept_loop(s);
	bool closed = gmp__fd_closing(s->listener);
	(void)gmp__fd_close_ref(s->listener);
	close_idle(s);
	int64_t deadline = opts->drain ? add_sat_i64(gmp_now(), opts->drain) : 0;
	if (!drained(s, s->dispatcher, deadline)) {
		cut(s);
		(void)drained(s, s->dispatcher, GMP_FOREVER);
	}
	if (s->dispatcher) {
		M *m = enter();
		open_gate(m, s, IO_R);
		leave(m);
		(void)drained(s, 0, GMP_FOREVER);
	}
	lockbyte(&s->hooklock); /* SV-3 */
	unlockbyte(&s->hooklock);
	return closed ? 0 : r;
}

int gmp_serve(int fd, void (*handler)(int conn, void *arg), void *arg, const gmp_serve_opts *opts)
{
	Server s;
	memset(&s, 0, sizeof s);
	s.handler = handler;
	s.arg = arg;
	return serve(&s, fd, opts);
}

int gmp_serve_idle(int fd, int (*handler)(int conn, void **state, void *arg), void *arg, const gmp_serve_opts *opts)
{
	Server s;
	memset(&s, 0, sizeof s);
	s.idle_handler = handler;
	s.arg = arg;
	return serve(&s, fd, opts);
}
