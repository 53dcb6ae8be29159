/* SPDX-License-Identifier: MIT
 * serve.c - gmp_serve: accept, one coroutine a connection, limits, graceful end; and the idle form, in which a
 * connection that waits for input is a hook in its PollDesc, and nothing else.
 *
 * The caller accepts. In the idle form a dispatcher coroutine starts the handlers of connections that became readable, and
 * a reaper ends those whose time is over.
 *   SV-1 A connection is counted in `live` and on the list `conns` from accept to its end, under `lock`. The server
 *        stands on the caller's stack; who ends a connection touches it last by releasing `lock`. Its number may have been
 *        closed by others, and be another file's: the tag of its PollDesc says whether it is still ours.
 *   SV-2 An idle connection has the turn to read (FD-1), held by the hook in the place of a coroutine; so gmp_close by
 *        others waits for us. Whoever takes the hook out (event, close, time over, end of serving) has the turn then. A
 *        hook is set under `lock`. Who looks for it by the number of a connection on `conns` may find another file's word,
 *        once that one is closed, but not this hook in it.
 *   SV-3 The hook may be called by an M without P, the moment it is set. It puts the connection on `readable` and wakes
 *        the dispatcher, both under `hooklock`; the end of serving passes through hooklock when nobody is live.
 *   SV-4 gate is a PollDesc of no descriptor: IO_R wakes the dispatcher, IO_W the accepting caller. So is reap, for the
 *        reaper: IO_R.
 *   SV-5 With an idle limit, conns is ordered by `since`, which is read from the clock under lock: when the connection last
 *        became idle, or up to a `grain` before. Who becomes idle moves to the tail only if that is not so any more. The
 *        dispatcher alone closes by time, from the head on, whose `since` is limit + grain ago: nobody too early. Those it
 *        finds with their hook out are at work, or have an event: they move to the tail as if they had just become idle.
 *   SV-6 One timer for all, standing on its own: it is set only where the dispatcher has looked, for the time at which the
 *        head of conns will be over, and who becomes idle meanwhile is later. It opens the gate; `timed` under hooklock,
 *        as SV-3, since the callback may be late when the timer cannot be taken back any more. While there is no connection,
 *        or no memory, there is no timer: the next connection opens the gate.
 *   SV-7 The dispatcher waits for nobody but its gate: not for a connection's end, since `closed` may close others, and
 *        gmp_close waits for turns that the dispatcher is about to give back. Who hands a connection to the reaper has
 *        given its turn back, so the reaper waits for none of them. */
#include "net_fd.h"
#include "timer.h"
#include <stdlib.h>
#include <string.h>

typedef struct Server Server;

typedef struct Conn {
	PollHook hook;
	Link link;          /* conns */
	Server *s;
	G *g;               /* runs its handler; read in a stopped world */
	void *state;
	struct Conn *next;  /* readable, over, or a list of the one who took the hooks out */
	int64_t since;      /* SV-5; under lock */
	int fd;
	uint32_t tag;       /* SV-1 */
} Conn;
_Static_assert(sizeof(void *) != 8 || sizeof(Conn) <= 72, "gmp.h says 144: with its PollDesc and what malloc adds");

struct Server {
	void (*handler)(int, void *);
	int (*idle_handler)(int, void **, void *);
	void (*closed)(int, void *, void *);
	void *arg;
	uint8_t lock, hooklock;
	bool ending;        /* under lock: idle connections are closed, not kept */
	bool cut;           /* nobody starts; set in a stopped world */
	uint32_t helpers;   /* dispatcher and reaper, counted in live */
	uint32_t live;
	Queue conns;
	Conn *readable;     /* last come first; under hooklock */
	Conn *over;         /* the reaper's; under hooklock */
	PollDesc gate, reap;
	PollDesc *listener;
	PollHook listen_hook;
	bool listen_hooked; /* under hooklock */
	int fd;
	uint32_t max;
	int64_t grain, limit; /* SV-5: limit is that of opts, plus a grain; 0: none */
	Timer timer;        /* the dispatcher's */
	bool timed;         /* timer is pending or its callback is not through; under hooklock */
};

/* ---- the gate ---------------------------------------------------------------------------------------------------- */

/* In the runtime. */
static void open_gate(M *m, PollDesc *gate, int dir)
{
	Queue q = {NULL, NULL};
	Harvest h = {&q, 0};
	gmp__netpoll_fire(gate, dir, &h);
	for (Link *l; (l = queue_pop_head(&q)) != NULL;)
		ready(m, link2g(l));
}

/* Until the gate was opened since the last time. */
static int pass_gate(PollDesc *gate, int dir, int64_t deadline)
{
	int r = gmp__fd_park(gate, 1u << dir, deadline, true);
	gmp__fd_note(gate, dir);
	return r;
}

/* ---- a connection ------------------------------------------------------------------------------------------------ */

static void readable(PollHook *hook, Harvest *h);

/* c, which is on conns, has been idle since now at most. SV-5. Under lock. */
static void stamp(Server *s, Conn *c, int64_t now)
{
	c->since = now;
	queue_remove(&s->conns, &c->link);
	queue_push_tail(&s->conns, &c->link);
}

static void set_timed(Server *s, bool timed)
{
	lockbyte(&s->hooklock);
	s->timed = timed;
	unlockbyte(&s->hooklock);
}

/* One of those under hooklock. */
static bool is_set(Server *s, const bool *flag)
{
	lockbyte(&s->hooklock);
	bool r = *flag;
	unlockbyte(&s->hooklock);
	return r;
}

static Conn *conn_new(Server *s, int fd)
{
	Conn *c = gmp__os_zalloc(sizeof *c);
	if (!c)
		return NULL;
	c->hook.f = readable;
	c->s = s;
	c->fd = fd;
	c->tag = load_relaxed(&gmp__netpoll_find(fd)->tag);
	M *m = enter();
	olock(&s->lock);
	store_relaxed(&s->live, s->live + 1);
	if (s->limit)
		c->since = gmp__os_now();
	queue_push_tail(&s->conns, &c->link);
	ounlock(&s->lock);
	if (s->limit && !is_set(s, &s->timed)) /* SV-6 */
		open_gate(m, &s->gate, IO_R);
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
	open_gate(m, &s->gate, IO_W);
	ounlock(&s->lock);
	leave(m);
	free(c);
}

static void conn_end(Conn *c)
{
	Server *s = c->s;
	PollDesc *pd;
	if (s->closed && s->idle_handler)
		s->closed(c->fd, c->state, s->arg);
	if (gmp__fd_ref(c->fd, &pd) == 0) {
		if (load_relaxed(&pd->tag) == c->tag)
			(void)gmp__fd_close_ref(pd);
		else
			gmp__fd_unref(pd);
	}
	gone(s, c);
}

/* The calling coroutine is the handler of c from now on. False: serving is over. */
static bool conn_begin(Conn *c)
{
	M *m = enter(); /* the world does not stop meanwhile */
	bool ok = !c->s->cut;
	c->g = m->curg;
	leave(m);
	return ok;
}

static void conn_main(void *arg)
{
	Conn *c = arg;
	if (conn_begin(c))
		c->s->handler(c->fd, c->s->arg);
	conn_end(c);
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

/* Lets c wait without a coroutine. False: it is over. True: it waits, and c is others' now (*awake false), or there is, or may
 * be, something to do. */
static bool conn_sleep(Conn *c, bool *awake)
{
	Server *s = c->s;
	PollDesc *pd;
	*awake = true;
	int e = gmp__fd_enter(c->fd, IO_R, GMP_FOREVER, &pd);
	if (e)
		return false;
	bool set = false, closing = load_relaxed(&pd->tag) != c->tag /* SV-1 */, stay = true;
	while (!set && !closing && stay) {
		if (load_acquire(&pd->word[IO_R]) == IO_READY) { /* an event since the handler's last read: it is the one to look */
			gmp__fd_note(pd, IO_R);
			break;
		}
		/* Not drained as far as we know, and no event is sure to come: look. An unregistered one reports what is there. */
		uint32_t flags = load_relaxed(&pd->flags);
		if ((flags & (PD_INR | PD_INW)) && (!pd->drained[IO_R] || (flags & PD_HUP)) && gmp__fd_poll(c->fd, IO_RBIT) != 0)
			break;
		if ((e = gmp__netpoll_arm(pd, IO_RBIT)) != 0)
			break;
		M *m = enter();
		olock(&s->lock);
		stay = !s->ending;
		if (stay) {
			int64_t now = s->limit ? gmp__os_now() : 0;
			if (now - c->since > s->grain)
				stamp(s, c, now);
			c->g = NULL;
			uintptr_t nil = IO_NIL;
			set = cas_acqrel(&pd->word[IO_R], &nil, (uintptr_t)&c->hook | IO_HOOKBIT);
			closing = gmp__fd_closing(pd); /* and whoever closes may just have missed the hook */
			if (set && closing && unhook(pd, &c->hook))
				set = false;
			if (!set)
				c->g = m->curg;
		}
		ounlock(&s->lock);
		leave(m);
	}
	*awake = !set;
	if (set)
		return true;
	if (!stay && gmp__fd_poll(c->fd, IO_RBIT) == 0)
		e = -ECANCELED;
	closing |= gmp__fd_closing(pd);
	gmp__fd_exit(pd, IO_R);
	return !closing && e == 0;
}

static void idle_main(void *arg)
{
	Conn *c = arg;
	Server *s = c->s;
	bool awake = true;
	if (conn_begin(c)) {
		while (s->idle_handler(c->fd, &c->state, s->arg) == GMP_SERVE_AGAIN && conn_sleep(c, &awake)) {
			if (!awake)
				return;
			if (gmp_cancelled())
				break;
			gmp_yield();
		}
	}
	conn_end(c);
}

static void conn_start(Conn *c)
{
	if (gmp_spawn(c->s->idle_handler ? idle_main : conn_main, c) != 0)
		conn_end(c);
}

/* Hands c, whose turn to read has been given back, to the reaper. */
static void conn_over(Conn *c)
{
	Server *s = c->s;
	M *m = enter();
	lockbyte(&s->hooklock);
	c->next = s->over;
	s->over = c;
	unlockbyte(&s->hooklock);
	open_gate(m, &s->reap, IO_R);
	leave(m);
}

/* The caller has the turn to read that went with c's hook. */
static void give_back_turn(Conn *c) { gmp__fd_exit(gmp__netpoll_find(c->fd), IO_R); }

static void conn_wake(Conn *c)
{
	bool closing = gmp__fd_closing(gmp__netpoll_find(c->fd)); /* somebody has called gmp_close */
	give_back_turn(c);
	M *m = enter();
	int e = closing ? -EBADF : gmp__newproc_rt(m, idle_main, c, NULL);
	leave(m);
	if (e)
		conn_over(c);
}

/* c is idle: takes its hook out, and puts it on the list. Under lock. Else the dispatcher has it, or will have it, or a
 * handler runs. */
static void take(Conn *c, Conn **list)
{
	if (!unhook(gmp__netpoll_find(c->fd), &c->hook))
		return;
	c->next = *list;
	*list = c;
}

static void end_taken(Conn *list)
{
	for (Conn *next; list; list = next) {
		next = list->next;
		give_back_turn(list);
		conn_over(list);
	}
}

static void reaper(void *arg)
{
	Server *s = arg;
	for (bool last = false; !last;) {
		lockbyte(&s->hooklock);
		Conn *c = s->over;
		s->over = NULL;
		unlockbyte(&s->hooklock);
		if (!c) {
			M *m = enter();
			olock(&s->lock);
			last = s->ending && s->live <= s->helpers;
			ounlock(&s->lock);
			leave(m);
			if (!last)
				(void)pass_gate(&s->reap, IO_R, GMP_FOREVER);
		}
		for (Conn *next; c; c = next) {
			next = c->next;
			conn_end(c);
		}
	}
	gone(s, NULL);
}

/* ---- the idle limit ---------------------------------------------------------------------------------------------- */

enum { SWEEP_MAX = 16 }; /* under lock, and before others have their turn */

static void time_over(M *m, void *arg, uintptr_t seq)
{
	Server *s = arg;
	(void)seq;
	Queue q = {NULL, NULL};
	Harvest h = {&q, 0};
	lockbyte(&s->hooklock);
	s->timed = false;
	gmp__netpoll_fire(&s->gate, IO_R, &h);
	unlockbyte(&s->hooklock); /* s may go: SV-3 */
	for (Link *l; (l = queue_pop_head(&q)) != NULL;)
		ready(m, link2g(l));
}

/* Closes connections that have been idle for too long. True: there may be more of them; else the timer is set. SV-5, SV-6 */
static bool sweep(Server *s)
{
	Conn *over = NULL;
	int n = 0;
	M *m = enter();
	olock(&s->lock);
	int64_t now = gmp__os_now(), since = now;
	for (; s->conns.head && n < SWEEP_MAX; n++) {
		Conn *c = container_of(s->conns.head, Conn, link);
		since = c->since;
		if (now - since < s->limit)
			break;
		take(c, &over);
		stamp(s, c, since = now);
	}
	bool any = s->conns.head != NULL;
	ounlock(&s->lock);
	if (any && n < SWEEP_MAX) {
		s->timer = (Timer){.when = add_sat_i64(since, s->limit), .f = time_over, .arg = s};
		set_timed(s, true);
		if (gmp__timer_start(m, &s->timer) != 0)
			set_timed(s, false); /* without memory: at the next event, or connection */
	}
	leave(m);
	end_taken(over);
	return n == SWEEP_MAX;
}

static void timer_off(Server *s)
{
	M *m = enter();
	bool off = gmp__timer_remove(&s->timer);
	leave(m);
	while (!off && is_set(s, &s->timed))
		(void)pass_gate(&s->gate, IO_R, GMP_FOREVER);
}

static void dispatch(void *arg)
{
	Server *s = arg;
	for (;;) {
		lockbyte(&s->hooklock);
		Conn *c = s->readable;
		bool look = s->limit && !s->timed;
		s->readable = NULL;
		unlockbyte(&s->hooklock);
		bool more = look && sweep(s);
		if (!c) {
			M *m = enter();
			olock(&s->lock);
			bool last = s->ending && s->live <= s->helpers;
			ounlock(&s->lock);
			leave(m);
			if (last)
				break;
			if (more)
				gmp_yield();
			else
				(void)pass_gate(&s->gate, IO_R, GMP_FOREVER);
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
			conn_wake(oldest);
		}
	}
	timer_off(s);
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
			while (is_set(s, &s->listen_hooked))
				(void)pass_gate(&s->gate, IO_W, GMP_FOREVER);
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
		if (s->max && load_relaxed(&s->live) - s->helpers >= s->max) {
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
	for (Link *l = s->conns.head; l; l = l->next)
		take(container_of(l, Conn, link), &mine);
	ounlock(&s->lock);
	leave(m);
	end_taken(mine);
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
		if (deadline <= 0 || pass_gate(&s->gate, IO_W, deadline) != 0)
			return false;
	}
}

static int start_helpers(Server *s)
{
	gmp_fn *const fn[] = {dispatch, reaper};
	int r = 0;
	s->helpers = s->live = nelem(fn);
	for (size_t i = 0; i < nelem(fn); i++) {
		int e = r ? r : gmp_spawn(fn[i], s);
		if (e) { /* the end waits for those that are there */
			r = e;
			s->helpers--;
			gone(s, NULL);
		}
	}
	return r;
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
	if (opts->idle < 0 || (opts->idle && !s->idle_handler))
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
	s->grain = opts->idle / 16;
	s->limit = add_sat_i64(opts->idle, s->grain);
	s->listen_hook.f = listener_event;
	s->gate.fd = s->reap.fd = -1;
	if (s->idle_handler)
		r = start_helpers(s);
	if (r == 0)
		r = accept_loop(s);
	bool closed = gmp__fd_closing(s->listener);
	(void)gmp__fd_close_ref(s->listener);
	close_idle(s);
	int64_t deadline = opts->drain ? add_sat_i64(gmp_now(), opts->drain) : 0;
	if (!drained(s, s->helpers, deadline)) {
		cut(s);
		(void)drained(s, s->helpers, GMP_FOREVER);
	}
	M *m = enter();
	open_gate(m, &s->gate, IO_R);
	open_gate(m, &s->reap, IO_R);
	leave(m);
	(void)drained(s, 0, GMP_FOREVER);
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
