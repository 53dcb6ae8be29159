/* SPDX-License-Identifier: MIT
 * gmp.h - M:N coroutines for C in the manner of Go: the one public header of libgmpsched.
 *
 * G is a coroutine, M an OS thread, P the right to run coroutines. `gmp_run` starts as many Ps as the process has
 * CPUs; a coroutine that waits in a call of this header costs no thread, and a coroutine that computes or blocks in
 * any other C function does not hold up its neighbours.
 *
 * Conventions, valid for every function below unless it says otherwise:
 *  - Time is int64_t nanoseconds. A deadline is a point on CLOCK_MONOTONIC (see gmp_now); GMP_FOREVER never passes,
 *    0 has passed already, so a call with deadline 0 only tries.
 *  - An int or ssize_t result is 0, a count, an index or a descriptor, or a negative errno. `errno` itself means
 *    nothing after a call that may block: compilers keep its address, and the coroutine may have moved to another thread.
 *  - "Any thread": coroutines and plain (foreign) threads may call; a foreign thread blocks as a thread.
 *    Foreign threads may use channels and the sync objects even while no runtime is up.
 *  - A call with a deadline that has to wait may return -ENOMEM: no memory for its timer, nothing has happened.
 *  - A blocking call of a coroutine that was cancelled (gmp_cancel) returns -ECANCELED. An operation that had
 *    completed by then keeps its result: a value is either delivered or not, never lost.
 *  - No signal is used for scheduling, and no system call of yours returns EINTR because of this library. Coroutines run
 *    under the signal mask of the thread that called gmp_run or gmp_start, on whatever thread; so programs that they start
 *    (fork and exec, posix_spawn, system) inherit that one. What other threads are to handle must be blocked there.
 *  - Objects may be freed by whoever knows that the last call on them has returned to him (a waitgroup on the waiter's
 *    stack, a channel by the receiver of its last value): the other side touches nothing after it made that possible.
 */
#ifndef GMPSCHED_H
#define GMPSCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h> /* sigset_t, in strict C11 too */
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GMPSCHED_VERSION_MAJOR 0
#define GMPSCHED_VERSION_MINOR 1
#define GMPSCHED_VERSION_PATCH 0

#define GMP_NSEC INT64_C(1)
#define GMP_USEC INT64_C(1000)
#define GMP_MSEC INT64_C(1000000)
#define GMP_SEC INT64_C(1000000000)
#define GMP_FOREVER INT64_MAX

/* ---- runtime ---------------------------------------------------------------------------------------------------- */

/* A coroutine's function. It must return; longjmp, pthread_exit and C++ exceptions must not leave it. */
typedef void gmp_fn(void *arg);

/* Zeros are defaults. */
typedef struct gmp_config {
	int procs;         /* Ps, 1..1024; 0: GMP_PROCS, else CPUs of the affinity mask, limited by the tightest cgroup quota */
	int max_threads;   /* most OS threads, at least 2; 0: 10000. At the limit nothing is handed off, said once on stderr */
	size_t stack_size; /* reservation of a coroutine's stack in bytes, 16 KiB..1 GiB, rounded up to a power of two; from 32
	                    * pages on the lowest two are part of its guard; 0: 256 KiB */
	uint64_t seed;     /* of every random choice (steal order, select); 0: from the system */
	uint64_t reserved[4]; /* must be 0 */
} gmp_config;

/* Runs fn(arg) as the main coroutine; the calling thread becomes M0. Returns when the main coroutine and all others
 * have ended; may be called again afterwards.
 * 0; -EDEADLK: every coroutine waits for something that cannot come (report on stderr; they are abandoned);
 * -ECANCELED after gmp_shutdown; -EINVAL bad config or fn NULL; -EBUSY a runtime is up; -ENOMEM; -EAGAIN no thread.
 * A forked child has no runtime and none of its parent's coroutines: spawning, joining, timers, gmp_set_procs and gmp_stop
 * return -ENOTSUP there until it calls gmp_run or gmp_start; gmp_join of a parent's handle always. */
int gmp_run(gmp_fn *fn, void *arg, const gmp_config *cfg);

/* Starts the Ps on threads of their own beside the caller's main loop, which stays a foreign thread. No deadlock report.
 * 0; -EINVAL, -EBUSY, -ENOMEM, -EAGAIN as gmp_run. */
int gmp_start(const gmp_config *cfg);

/* Ends what gmp_start began: cancels every coroutine, waits for their end until `deadline`. Foreign threads only.
 * Number of coroutines left: 0, the runtime is down; >0, it still runs, call again. -ESRCH nothing to stop,
 * or a gmp_run (gmp_shutdown ends that); -EDEADLK called from a coroutine. */
int gmp_stop(int64_t deadline);

/* Cancels every coroutine of a gmp_run, which then returns -ECANCELED. Any thread; returns at once. Not for signal handlers. */
void gmp_shutdown(void);

/* While held, a deadlock is not reported: a foreign thread that the runtime does not know yet will still come. Any
 * thread; counts. A foreign thread that has made a blocking or waking call takes part without this until it exits. */
void gmp_hold(void);
void gmp_release(void);

/* Gives the memory of idle stacks back to the OS now, and what waiting coroutines once touched below their present depth.
 * Any thread. For idle stacks it happens by itself as well, some time after a burst. */
void gmp_trim(void);

int gmp_procs(void);          /* number of Ps; 0 without a runtime */
/* Changes the number of Ps while coroutines run. Returns the previous number; -EINVAL unless 1..1024; -ESRCH. Any thread. */
int gmp_set_procs(int n);

/* CLOCK_MONOTONIC in ns. Any thread. */
int64_t gmp_now(void);

/* Environment: GMP_PROCS=n. GMP_DEBUG=name=value,... : schedtrace=MS prints a line every MS ms, scheddetail=1 adds
 * every M, P and G. Further names (fallback paths, ablation switches) are listed in docs/debug.md. */

/* ---- coroutines ------------------------------------------------------------------------------------------------- */

typedef struct gmp_g gmp_g; /* handle of a joinable coroutine */

/* Zeros are defaults. */
typedef struct gmp_attr {
	const char *name;  /* copied, at most 31 bytes kept; shown by gmp_dump and in reports */
	size_t stack_size; /* as in gmp_config */
	int fpenv;         /* non-zero: this coroutine owns its FP control words (rounding, traps): saved at each switch.
	                    * Without it, control words belong to the thread: have them back at their defaults when blocking. */
	int reserved_int;  /* must be 0 */
	uint64_t reserved[4]; /* must be 0 */
} gmp_attr;

/* Queue a new coroutine; it does not run before the caller blocks or yields, or on another P. But when 1024 that have not
 * begun wait on the caller's P, the newest runs first and the caller after it: nobody runs ahead of his coroutines without
 * bound. So for a coroutine this is a call that may block, as gmp_yield (GMP_DEBUG=runahead=0: never); the same holds for
 * the other ways to spawn. Any thread.
 * 0; -EINVAL fn NULL or bad size; -ENOMEM; -ESRCH no runtime; -ENOTSUP in a forked child; -ECANCELED the runtime ends. */
int gmp_spawn(gmp_fn *fn, void *arg);
/* fn gets a copy of args[0..size) that lives as long as the coroutine, aligned to 16; size up to 1024, else -EINVAL. */
int gmp_spawn_copy(gmp_fn *fn, const void *args, size_t size);
/* out != NULL: joinable, *out must be joined or detached once. out NULL: detached. attr NULL: defaults. */
int gmp_spawn_attr(gmp_g **out, const gmp_attr *attr, gmp_fn *fn, void *arg);

/* Wait for g's end; frees the handle on 0. One joiner at a time. Any thread.
 * 0; -ETIMEDOUT, -ECANCELED: the handle stays valid; -EINVAL NULL; -EDEADLK joining oneself; -EBUSY another one joins. */
int gmp_join(gmp_g *g);
int gmp_join_until(gmp_g *g, int64_t deadline);
/* Nobody will join g; the handle is gone. 0; -EINVAL NULL; -EBUSY somebody is joining it. Any thread. */
int gmp_detach(gmp_g *g);

/* g's blocking calls return -ECANCELED, the one it is in and all later ones (those that can complete at once still do).
 * 0, also when g has ended; -EINVAL NULL. Any thread. The caller owns the handle, so g cannot go under him. */
int gmp_cancel(gmp_g *g);
/* Has the calling coroutine been cancelled? false on a foreign thread. */
bool gmp_cancelled(void);

/* To the tail of the queue: every other runnable coroutine of this P runs first. A foreign thread: sched_yield. */
void gmp_yield(void);
/* Yields only when asked to (time slice over while others wait): a load and a branch. For long loops. Any thread. */
void gmp_checkpoint(void);

/* 0; -ECANCELED. ns <= 0 or a passed deadline returns 0 at once. Any thread. Never early; where 20 and more deadlines come each
 * millisecond and the CPUs are idle, up to 0.4 ms later than else, since one wake-up serves several (timers, too). */
int gmp_sleep(int64_t ns);
int gmp_sleep_until(int64_t deadline);

/* Id of the calling coroutine, unique in the process, from 1; 0 on a foreign thread. */
uint64_t gmp_id(void);

/* Keep the calling coroutine on its present thread (libraries with thread-local state), and others off it. Nests.
 * No effect on a foreign thread. A coroutine that ends while locked takes its thread with it (M0 stays). */
void gmp_lock_thread(void);
void gmp_unlock_thread(void);

/* Around code that will block the thread: the P goes to another thread at once. Between the two the coroutine must not
 * call anything else of this header. Nests. No effect on a foreign thread. Undeclared blocking is noticed too, within 15 ms. */
void gmp_blocking_enter(void);
void gmp_blocking_leave(void);
/* The same around fn(arg). 0; -EINVAL fn NULL; -ECANCELED (fn not called) the coroutine is cancelled. Any thread. */
int gmp_blocking(gmp_fn *fn, void *arg);

/* ---- groups (structured concurrency) ------------------------------------------------------------------------------ */

typedef struct gmp_group gmp_group;

gmp_group *gmp_group_new(void); /* NULL: out of memory */
/* As gmp_spawn, as a member of the group. -ECANCELED: the group was cancelled. Any thread. */
int gmp_group_spawn(gmp_group *grp, gmp_fn *fn, void *arg);
/* Until no member is left. 0; -ETIMEDOUT; -ECANCELED: the caller was cancelled. Any thread, but no member. */
int gmp_group_wait(gmp_group *grp);
int gmp_group_wait_until(gmp_group *grp, int64_t deadline);
/* gmp_cancel for every member, present and future. Any thread. */
void gmp_group_cancel(gmp_group *grp);
/* Cancels, waits (even when the caller is cancelled), frees. NULL is allowed. */
void gmp_group_free(gmp_group *grp);

/* ---- coroutine-local values -------------------------------------------------------------------------------------- */

typedef uint32_t gmp_key;
/* dtor (may be NULL) runs in the ending coroutine for each non-NULL value. 0; -EAGAIN: 128 keys are in use; -EINVAL. */
int gmp_key_create(gmp_key *key, void (*dtor)(void *));
int gmp_key_delete(gmp_key key); /* no dtor is called for values still set. 0; -EINVAL */
void *gmp_key_get(gmp_key key);  /* NULL when unset or no such key. Any thread (a foreign thread has values of its own) */
int gmp_key_set(gmp_key key, void *value); /* 0; -EINVAL; -ENOMEM */

/* ---- channels ---------------------------------------------------------------------------------------------------- */

typedef struct gmp_chan gmp_chan;

/* capacity 0: rendezvous. elem_size 0: signals; at most 65536. NULL: out of memory or sizes out of range. Any thread. */
gmp_chan *gmp_chan_new(size_t elem_size, size_t capacity);
/* Nobody may wait on it: that is reported and aborts. NULL is allowed. Any thread. */
void gmp_chan_free(gmp_chan *c);

/* Copy *elem in; waiting receivers are served first come, first served, straight into their memory. Any thread.
 * Wakes: a receiver, close, cancel, deadline. 0; -EPIPE closed, nothing was taken; -EAGAIN (try); -ETIMEDOUT; -ECANCELED.
 * c NULL: blocks forever (try: -EAGAIN). elem may be NULL only if elem_size is 0 (-EINVAL). */
int gmp_chan_send(gmp_chan *c, const void *elem);
int gmp_chan_try_send(gmp_chan *c, const void *elem);
int gmp_chan_send_until(gmp_chan *c, const void *elem, int64_t deadline);
/* The oldest value to *elem (elem NULL: receive and drop). 0; -EPIPE closed and drained, *elem zeroed; rest as send. */
int gmp_chan_recv(gmp_chan *c, void *elem);
int gmp_chan_try_recv(gmp_chan *c, void *elem);
int gmp_chan_recv_until(gmp_chan *c, void *elem, int64_t deadline);
/* Wakes every waiter. 0; -EPIPE closed already; -EINVAL NULL. Any thread. */
int gmp_chan_close(gmp_chan *c);
size_t gmp_chan_len(gmp_chan *c); /* values buffered now; 0 for NULL */
size_t gmp_chan_cap(gmp_chan *c);

#define GMP_SEND 1
#define GMP_RECV 2
typedef struct gmp_case {
	gmp_chan *chan; /* NULL: never ready */
	int op;         /* GMP_SEND, GMP_RECV */
	void *elem;     /* as in send / recv */
	int result;     /* out, chosen case only: 0 or -EPIPE */
} gmp_case;
/* Performs exactly one ready case, chosen uniformly among the ready; waits when none is. Index of the case, its result
 * in cases[i].result; chan, op and elem stay as they were. n up to 65535; n 0 waits for the deadline. Any thread.
 * -ETIMEDOUT; -EAGAIN (deadline 0); -ECANCELED; -EINVAL bad op or n; -ENOMEM (n > 64). After Go's selectgo.
 * A channel that stands in several cases must not be freed before the call has returned. */
int gmp_select(gmp_case *cases, int n, int64_t deadline);

/* ---- synchronisation ----------------------------------------------------------------------------------------------
 * Plain structs: all zero is ready to use, on any stack or heap, no destroy. Never copy one in use. Any thread.
 * lock, wait, acquire: 0; -ECANCELED (nothing was acquired); _until: -ETIMEDOUT too; try: -EAGAIN.
 * Misuse (unlock of an unlocked mutex, negative waitgroup) is reported on stderr and aborts, in all builds. */

typedef struct gmp_mutex { uint32_t gmp__state, gmp__spare; void *gmp__q[2]; } gmp_mutex;
typedef struct gmp_rwmutex { uint32_t gmp__state, gmp__w; int32_t gmp__r, gmp__spare; void *gmp__q[4]; } gmp_rwmutex;
typedef struct gmp_cond { uint32_t gmp__state, gmp__spare; void *gmp__q[2]; } gmp_cond;
typedef struct gmp_waitgroup { uint32_t gmp__state; int32_t gmp__n; void *gmp__q[2]; } gmp_waitgroup;
typedef struct gmp_sem { uint32_t gmp__state; int32_t gmp__n; void *gmp__q[2]; } gmp_sem;
typedef struct gmp_once { uint32_t gmp__state, gmp__done; void *gmp__q[2]; } gmp_once;
#define GMP_MUTEX_INIT {0, 0, {NULL, NULL}}
#define GMP_RWMUTEX_INIT {0, 0, 0, 0, {NULL, NULL, NULL, NULL}}
#define GMP_COND_INIT {0, 0, {NULL, NULL}}
#define GMP_WAITGROUP_INIT {0, 0, {NULL, NULL}}
#define GMP_SEM_INIT {0, 0, {NULL, NULL}}
#define GMP_ONCE_INIT {0, 0, {NULL, NULL}}

/* Not recursive, not bound to its locker. Hand-off to a waiter that starved for 1 ms (Go's sync.Mutex). */
int gmp_mutex_lock(gmp_mutex *m);
int gmp_mutex_lock_until(gmp_mutex *m, int64_t deadline);
int gmp_mutex_trylock(gmp_mutex *m);
void gmp_mutex_unlock(gmp_mutex *m);

/* Readers share; a waiting writer holds back new readers, and the readers that waited for a writer go before the next one. */
int gmp_rwmutex_rlock(gmp_rwmutex *m);
int gmp_rwmutex_rlock_until(gmp_rwmutex *m, int64_t deadline);
int gmp_rwmutex_tryrlock(gmp_rwmutex *m);
void gmp_rwmutex_runlock(gmp_rwmutex *m);
int gmp_rwmutex_lock(gmp_rwmutex *m);
int gmp_rwmutex_lock_until(gmp_rwmutex *m, int64_t deadline);
int gmp_rwmutex_trylock(gmp_rwmutex *m);
void gmp_rwmutex_unlock(gmp_rwmutex *m);

/* m is locked again when wait returns, whatever it returns. No spurious wake-up. */
int gmp_cond_wait(gmp_cond *c, gmp_mutex *m);
int gmp_cond_wait_until(gmp_cond *c, gmp_mutex *m, int64_t deadline);
void gmp_cond_signal(gmp_cond *c);
void gmp_cond_broadcast(gmp_cond *c);

void gmp_waitgroup_add(gmp_waitgroup *wg, int n);
void gmp_waitgroup_done(gmp_waitgroup *wg);
int gmp_waitgroup_wait(gmp_waitgroup *wg);
int gmp_waitgroup_wait_until(gmp_waitgroup *wg, int64_t deadline);
/* add(1), spawn fn(arg), done at its end. Errors of gmp_spawn (then nothing was added). */
int gmp_waitgroup_spawn(gmp_waitgroup *wg, gmp_fn *fn, void *arg);

void gmp_sem_init(gmp_sem *s, int n); /* n >= 0 permits */
int gmp_sem_acquire(gmp_sem *s);
int gmp_sem_acquire_until(gmp_sem *s, int64_t deadline);
int gmp_sem_tryacquire(gmp_sem *s);
void gmp_sem_release(gmp_sem *s);

/* fn(arg) once; later callers wait for its end. Not cancelled: the waiters return when fn has returned. */
void gmp_once_do(gmp_once *o, gmp_fn *fn, void *arg);

/* ---- timers ------------------------------------------------------------------------------------------------------ */

typedef struct gmp_timer gmp_timer;
/* fn(arg) runs in a coroutine of its own at each expiry. NULL: no memory or fn NULL. Any thread. */
gmp_timer *gmp_timer_new(gmp_fn *fn, void *arg);
/* Start or reset: first expiry at `deadline` (0: now), then every `period` ns (0: once); missed periods are dropped, the
 * phase is kept. What was started before is stopped (gmp_timer_stop). A timer keeps no run alive, and ends with it.
 * Periods under 0.4 ms lose expiries where deadlines come as thick as gmp_sleep says.
 * 1: it was pending; 0: it was not; -EINVAL NULL or period < 0; -ESRCH no runtime; -ENOMEM (it is stopped). Any thread. */
int gmp_timer_start(gmp_timer *t, int64_t deadline, int64_t period);
/* After it returned fn is not begun any more; one that has begun may still run. Any thread; fn itself may call it, too.
 * 1: it was pending (so a one-shot fn is not called); 0: never started, stopped, or a one-shot fn has begun; -EINVAL. */
int gmp_timer_stop(gmp_timer *t);
void gmp_timer_free(gmp_timer *t); /* stops it; NULL is allowed. Any thread, fn itself, too */
/* A channel (element int64_t: time of the tick, capacity 1) that gets a value every `period` ns; drops what nobody takes.
 * NULL: period <= 0, no runtime or no memory. Ticks end with the run. Free only with gmp_ticker_free, while nobody waits on
 * it (else reported and aborted). Any thread. */
gmp_chan *gmp_ticker_new(int64_t period);
void gmp_ticker_free(gmp_chan *ticker);

/* ---- network and files -------------------------------------------------------------------------------------------
 * Plain descriptors, made non-blocking and known to the poller at first use. Coroutines park, foreign threads poll(2).
 * Several coroutines may use one descriptor: readers take turns in no defined order, writers likewise; a reader and a
 * writer are independent. Errors are those of the system call, negative, and -ECANCELED when the descriptor is closed
 * with gmp_close under the caller, -ETIMEDOUT, -EBADF. -EINTR and -EAGAIN are never returned (deadline 0: -EAGAIN).
 * No SIGPIPE is raised. */

/* network "tcp" "tcp4" "tcp6" "udp" "udp4" "udp6": address "host:port", ":0", "[::1]:80"; "unix" "unixgram": a path.
 * A descriptor that listens (stream) or is bound (datagram); close-on-exec, backlog SOMAXCONN; TCP: SO_REUSEADDR and
 * TCP_NODELAY, which accepted connections inherit. ":80" listens on both IPv6 and IPv4 where there are both.
 * -EINVAL unknown network or bad address; -EADDRNOTAVAIL name not found; errors of socket, bind, listen. */
int gmp_listen(const char *network, const char *address);
int gmp_accept(int fd, struct sockaddr *addr, socklen_t *len);
int gmp_accept_until(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline);
/* Resolves, then tries each address until one connects. TCP_NODELAY is set. -EHOSTUNREACH name not found; -ETIMEDOUT. */
int gmp_dial(const char *network, const char *address, int64_t deadline);
/* The caller's own socket. After -ETIMEDOUT, -ECANCELED it may still connect: close it. Deadline 0: 0 or -EINPROGRESS. */
int gmp_connect(int fd, const struct sockaddr *addr, socklen_t len, int64_t deadline);

ssize_t gmp_read(int fd, void *buf, size_t n); /* 0: end of stream (or n is 0) */
ssize_t gmp_read_until(int fd, void *buf, size_t n, int64_t deadline);
ssize_t gmp_write(int fd, const void *buf, size_t n); /* as write(2): may be partial */
ssize_t gmp_write_until(int fd, const void *buf, size_t n, int64_t deadline);
ssize_t gmp_readv(int fd, const struct iovec *iov, int cnt);
ssize_t gmp_readv_until(int fd, const struct iovec *iov, int cnt, int64_t deadline);
ssize_t gmp_writev(int fd, const struct iovec *iov, int cnt);
ssize_t gmp_writev_until(int fd, const struct iovec *iov, int cnt, int64_t deadline);
ssize_t gmp_recv(int fd, void *buf, size_t n, int flags);
ssize_t gmp_recv_until(int fd, void *buf, size_t n, int flags, int64_t deadline);
ssize_t gmp_send(int fd, const void *buf, size_t n, int flags);
ssize_t gmp_send_until(int fd, const void *buf, size_t n, int flags, int64_t deadline);
ssize_t gmp_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len);
ssize_t gmp_recvfrom_until(int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len, int64_t deadline);
ssize_t gmp_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len);
ssize_t gmp_sendto_until(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len,
                         int64_t deadline);
ssize_t gmp_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t gmp_recvmsg_until(int fd, struct msghdr *msg, int flags, int64_t deadline);
ssize_t gmp_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t gmp_sendmsg_until(int fd, const struct msghdr *msg, int flags, int64_t deadline);
/* All n bytes, in one turn: what several coroutines write this way is not mixed. n; fewer: end of stream (read), or an
 * error after some bytes were moved, which the next call returns. */
ssize_t gmp_read_full(int fd, void *buf, size_t n, int64_t deadline);
ssize_t gmp_write_all(int fd, const void *buf, size_t n, int64_t deadline);

#define GMP_READABLE 1
#define GMP_WRITABLE 2
/* For foreign libraries: until fd is readable and/or writable (an error or hang-up counts as both). The ready ones. */
int gmp_wait_fd(int fd, int events, int64_t deadline);
/* Closes; waiters get -ECANCELED, and the number is not reused under them: the call returns when they have left. What was
 * used with the functions here is to be closed by this, not close(2). 0; -EBADF; errors of close. Any thread. */
int gmp_close(int fd);

/* Zeros are defaults. */
typedef struct gmp_serve_opts {
	int max_conns;     /* most connections at a time, further ones stay in the listener's queue; 0: no limit */
	int reserved_int;  /* must be 0 */
	int64_t drain;     /* ns that the handlers have to come to their end once the serving ends; then they are cancelled */
	void (*closed)(int conn, void *state, void *arg); /* gmp_serve_idle: before conn is closed, for the end of `state` */
	int64_t idle;      /* gmp_serve_idle: ns that a connection may be idle before it is closed; 0: no limit */
	uint64_t reserved[3]; /* must be 0 */
} gmp_serve_opts;

/* Accepts on the listener fd and runs handler(conn, arg) in a coroutine for each connection; closes conn after it returned.
 * Where accept fails for want of descriptors or memory it tries again, after a pause that doubles up to a second.
 * Serving ends when fd is closed (gmp_close), when the caller is cancelled, or accept fails for good. fd is closed then,
 * and the call returns when the last handler has. Coroutines only. opts NULL: defaults.
 * 0: fd was closed; -ECANCELED: the caller was cancelled; -EINVAL; -ENOMEM; -ENOTSUP foreign thread; errors of accept. */
int gmp_serve(int fd, void (*handler)(int conn, void *arg), void *arg, const gmp_serve_opts *opts);

/* What a handler of the idle form returns: the connection is over, or: call me again when there is something to read. */
#define GMP_SERVE_CLOSE 0
#define GMP_SERVE_AGAIN 1
/* The same for connections that are idle for most of their time: such a one owns no coroutine and no stack, but 144 bytes.
 * The handler is called, in a fresh coroutine each time, when there may be something to read. It reads with deadline 0,
 * returns GMP_SERVE_AGAIN at -EAGAIN or when it has answered, and keeps what it must remember in *state (NULL at first).
 * At the end of the stream it returns GMP_SERVE_CLOSE: else it is called again. When serving ends, idle connections are
 * closed at once, others when they have nothing to read. One that has been idle for opts->idle is closed too: never earlier,
 * up to a sixteenth of that later, as long as the CPUs keep up. It is idle from the handler's return until there is something
 * to read: a handler may run for long, and is called for what arrives in the last moment. opts->closed may hold up the end
 * of other connections: it is to be short. gmp_serve knows nobody to be idle: -EINVAL. */
int gmp_serve_idle(int fd, int (*handler)(int conn, void **state, void *arg), void *arg, const gmp_serve_opts *opts);

struct addrinfo;
/* getaddrinfo(3) in a declared blocking region; the deadline covers it. 0, or EAI_ codes as the negative errno nearest:
 * -ENOENT name unknown; -EAGAIN temporary; -ENOMEM; -EINVAL; -ETIMEDOUT (a late answer is dropped); -ECANCELED.
 * Free *res with freeaddrinfo. */
int gmp_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **res,
                    int64_t deadline);
/* open (close-on-exec), pread, pwrite, fsync in declared blocking regions: they hold no P. */
int gmp_open(const char *path, int flags, mode_t mode);
ssize_t gmp_pread(int fd, void *buf, size_t n, off_t off);
ssize_t gmp_pwrite(int fd, const void *buf, size_t n, off_t off);
int gmp_fsync(int fd);

/* The next pending signal of *set, which is blocked in every thread of the runtime from now on (block it in your other
 * threads before they start). Signal number; -ETIMEDOUT; -ECANCELED; -EINVAL. Any thread. The runtime's own threads
 * block all signals from the start, and a program started from there inherits that: posix_spawnattr_setsigmask. */
int gmp_signal_wait(const sigset_t *set, int64_t deadline);

/* ---- looking inside ---------------------------------------------------------------------------------------------- */

/* Writes every coroutine to fd: id, name, state, wait reason, age, spawn site. 0 or a negative errno. Any thread. */
int gmp_dump(int fd);

typedef struct gmp_stats {
	uint64_t gs, gs_running, gs_runnable, gs_waiting; /* coroutines now */
	uint64_t ms, ms_idle, ps;
	uint64_t spawned, ended, switches, parks, readies, steals, handoffs, barriers, wakes, polls; /* since the start */
	uint64_t timers;                           /* pending now; a descriptor's may stand after the read it was for */
	uint64_t stacks, stacks_idle, stack_bytes; /* stacks in use and free; bytes reserved */
	uint64_t reserved[16];
} gmp_stats;
void gmp_stats_read(gmp_stats *out); /* any thread; not one instant, but each field true at some time during the call */
size_t gmp_stack_used(gmp_g *g);     /* most bytes of stack that g touched (since gmp_trim), in pages; 0: has no stack (yet) */

/* ---- the inline half: how a call parks without being unwound ------------------------------------------------------
 * A blocking call is an ordinary function that either completes, or queues the coroutine and *returns* the context to
 * switch to; the switch itself stands inline in the caller's frame. It saves three registers (PC, SP, BP); all others
 * are declared clobbered, so the compiler saves what is live there and nothing more. No return address is popped after
 * the stack changed, so the return predictor never misses (docs: architecture, "the three-register switch").
 * Nothing below is for direct use. */

typedef struct gmp__gobuf {
	void *pc, *sp, *bp;
	intptr_t ret; /* what the interrupted call will return */
	void *m;      /* the M that resumes it; first words: in-runtime flag, dummy, address of a byte to clear */
} gmp__gobuf;
typedef struct gmp__sw {
	intptr_t r;     /* to NULL: the result. Else: the gmp__gobuf to save into */
	gmp__gobuf *to; /* context to go to */
} gmp__sw;

gmp__sw gmp__yield(void);
gmp__sw gmp__join(gmp_g *g);
gmp__sw gmp__chan_send(gmp_chan *c, const void *elem);
gmp__sw gmp__chan_recv(gmp_chan *c, void *elem);
gmp__sw gmp__mutex_lock(gmp_mutex *m);
void gmp__mutex_unlock(gmp_mutex *m);
gmp__sw gmp__waitgroup_wait(gmp_waitgroup *wg);
gmp__sw gmp__sem_acquire(gmp_sem *s);

/* The first words of the M that runs on this thread (the library's runtime.h). */
typedef struct gmp__m {
	uint32_t inrt;
	uint8_t dummy;
	uint8_t *unlock;
	union {
		uint64_t all; /* 0: this thread runs alone, and nobody wants anything of it */
		struct { uint32_t revoke; uint8_t shared, rest[3]; } each;
	} gates;
	void *p;
	gmp_g *curg;
} gmp__m;
#define GMP__G_ID 136
#define GMP__RV_FENCE UINT64_C(8)
#define GMP__SW_LOCK UINT64_C(1)
#define GMP__SW_WAIT UINT64_C(256)
#define GMP__MU_LOCKED UINT64_C(512)
#define GMP__MU_WOKEN UINT64_C(1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GMP__SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define GMP__SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GMP__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GMP__TSAN 1
#endif
#endif

/* The M of this thread, NULL on a foreign one, read anew each time (the library's tls.h). */
#if defined(__GNUC__) && defined(__x86_64__) && defined(__LP64__)
#define GMP__GETM(m) do { \
	uintptr_t gmp__off; \
	__asm__ volatile("movq gmp__tls_m@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %1" : "=&r"(gmp__off), "=r"(m)); \
} while (0)
#elif defined(__GNUC__) && defined(__aarch64__)
#define GMP__GETM(m) do { \
	uintptr_t gmp__off; \
	__asm__ volatile("adrp %0, :gottprel:gmp__tls_m\n\tldr %0, [%0, #:gottprel_lo12:gmp__tls_m]\n\t" \
	                 "mrs %1, tpidr_el0\n\tldr %1, [%1, %0]" : "=&r"(gmp__off), "=&r"(m)); \
} while (0)
#elif defined(__GNUC__) && defined(__riscv) && __riscv_xlen == 64
#define GMP__GETM(m) do { \
	uintptr_t gmp__off; \
	__asm__ volatile("la.tls.ie %0, gmp__tls_m\n\tadd %0, %0, tp\n\tld %1, 0(%0)" : "=&r"(gmp__off), "=r"(m)); \
} while (0)
#endif

#if defined(__GNUC__) && (defined(GMP__NO_INLINE_API) || !(defined(GMP__SANITIZED) || defined(GMP_NO_INLINE)))
#if defined(__x86_64__) && defined(__LP64__)
#define GMP__HAVE_SWITCH 1
#ifdef __CET__
#define GMP__LANDING "endbr64\n\t"
#else
#define GMP__LANDING
#endif
#ifdef __AVX512F__
#define GMP__CLOBBER_WIDE , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
	"xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define GMP__CLOBBER_WIDE
#endif
extern inline __attribute__((gnu_inline, always_inline, unused)) intptr_t gmp__switch(gmp__gobuf *from, gmp__gobuf *to)
{
	intptr_t ret = (intptr_t)from;
	__asm__ volatile(
		"leaq 1f(%%rip), %%rcx\n\t"
		"movq %%rcx, (%%rax)\n\t"
		"movq %%rsp, 8(%%rax)\n\t"
		"movq %%rbp, 16(%%rax)\n\t"
		"movq (%%rdx), %%rcx\n\t"
		"movq 8(%%rdx), %%rsp\n\t"
		"movq 16(%%rdx), %%rbp\n\t"
		"movq 24(%%rdx), %%rax\n\t"
		"movq 32(%%rdx), %%rdx\n\t"
		"jmp *%%rcx\n"
		"1:\t" GMP__LANDING
		"movq 8(%%rdx), %%rcx\n\t"
		"movb $0, (%%rcx)\n\t" /* the lock that the former coroutine parked under */
		"movl $0, (%%rdx)\n\t" /* out of the runtime */
		: "+a"(ret), "+d"(to)
		:
		: "rbx", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2",
		  "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
		  "xmm15" GMP__CLOBBER_WIDE, "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory");
	return ret;
}
#elif defined(__aarch64__) && defined(__LP64__) && !defined(__AARCH64EB__)
#define GMP__HAVE_SWITCH 1
#ifdef __ARM_FEATURE_BTI_DEFAULT
#define GMP__LANDING "hint #36\n\t" /* bti j */
#else
#define GMP__LANDING
#endif
extern inline __attribute__((gnu_inline, always_inline, unused)) intptr_t gmp__switch(gmp__gobuf *from, gmp__gobuf *to)
{
	register intptr_t x0 __asm__("x0") = (intptr_t)from;
	register gmp__gobuf *x1 __asm__("x1") = to;
	__asm__ volatile(
		"adr x9, 1f\n\t"
		"mov x10, sp\n\t"
		"stp x9, x10, [x0]\n\t"
		"str x29, [x0, #16]\n\t"
		"ldp x9, x10, [x1]\n\t"
		"ldp x29, x0, [x1, #16]\n\t"
		"ldr x1, [x1, #32]\n\t"
		"mov sp, x10\n\t"
		"br x9\n"
		"1:\t" GMP__LANDING
		"ldr x9, [x1, #8]\n\t"
		"stlrb wzr, [x9]\n\t"
		"stlr wzr, [x1]\n\t"
		: "+r"(x0), "+r"(x1)
		:
		: "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19",
		  "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6",
		  "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
		  "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
	return x0;
}
#elif defined(__riscv) && __riscv_xlen == 64 && defined(__riscv_float_abi_double)
#define GMP__HAVE_SWITCH 1
extern inline __attribute__((gnu_inline, always_inline, unused)) intptr_t gmp__switch(gmp__gobuf *from, gmp__gobuf *to)
{
	register intptr_t a0 __asm__("a0") = (intptr_t)from;
	register gmp__gobuf *a1 __asm__("a1") = to;
	__asm__ volatile(
		"lla t0, 1f\n\t"
		"sd t0, 0(a0)\n\t"
		"sd sp, 8(a0)\n\t"
		"sd s0, 16(a0)\n\t"
		"ld t0, 0(a1)\n\t"
		"ld sp, 8(a1)\n\t"
		"ld s0, 16(a1)\n\t"
		"ld a0, 24(a1)\n\t"
		"ld a1, 32(a1)\n\t"
		"jr t0\n"
		"1:\t"
		"ld t0, 8(a1)\n\t"
		"fence rw, w\n\t"
		"sb zero, 0(t0)\n\t"
		"fence rw, w\n\t"
		"sw zero, 0(a1)\n\t"
		: "+r"(a0), "+r"(a1)
		:
		: "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a2", "a3", "a4", "a5", "a6", "a7", "s1", "s2", "s3", "s4",
		  "s5", "s6", "s7", "s8", "s9", "s10", "s11", "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "ft8",
		  "ft9", "ft10", "ft11", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5", "fa6", "fa7", "fs0", "fs1", "fs2", "fs3",
		  "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "memory");
	return a0;
}
#endif
#endif

#ifdef __GNUC__
/* The short ways of the sync objects (the library's sync.h): one step of an object's word, for who waits for nobody. A
 * compare-and-swap; or, where this thread runs alone, plain accesses inside the runtime (SY-3). */
#define GMP__HELPER extern inline __attribute__((gnu_inline, always_inline, unused))
typedef uint64_t __attribute__((may_alias)) gmp__word;

/* What a coroutine does to go in where it runs alone. 0: it may not, and is not (SY-5). */
GMP__HELPER int gmp__alone(gmp__m *m)
{
	uint64_t gates;
#ifdef GMP__TSAN /* whose builds know no membarrier */
	(void)__atomic_exchange_n(&m->inrt, 1u, __ATOMIC_SEQ_CST);
	gates = __atomic_load_n(&m->gates.all, __ATOMIC_SEQ_CST) & ~GMP__RV_FENCE;
#else
	__atomic_store_n(&m->inrt, 1u, __ATOMIC_RELAXED);
	__asm__ volatile("" ::: "memory");
	gates = __atomic_load_n(&m->gates.all, __ATOMIC_ACQUIRE);
#endif
	if (__builtin_expect(gates == 0, 1))
		return 1;
	__atomic_store_n(&m->inrt, 0u, __ATOMIC_RELEASE);
	return 0;
}

/* True: the word *w has become what `next`, an expression of its former value v, says. False (next is SW_LOCK, or m is
 * NULL): the caller goes the long way; it may be half in then (inrt set), which entering does not mind. */
#define GMP__WORD_STEP(m, w, v, next) __extension__({ \
	uint64_t v, gmp__n; \
	int gmp__done = 0; \
	if (__builtin_expect((m) != NULL, 1)) { \
		if (!__atomic_load_n(&(m)->gates.each.shared, __ATOMIC_RELAXED)) { \
			if (__builtin_expect(gmp__alone(m), 1)) { \
				v = __atomic_load_n(w, __ATOMIC_ACQUIRE); \
				gmp__n = (next); \
				if (__builtin_expect(gmp__n != GMP__SW_LOCK, 1)) { \
					__atomic_store_n(w, gmp__n, __ATOMIC_RELEASE); \
					__atomic_store_n(&(m)->inrt, 0u, __ATOMIC_RELEASE); \
					gmp__done = 1; \
				} \
			} \
		} else { \
			v = __atomic_load_n(w, __ATOMIC_RELAXED); \
			while (__builtin_expect((gmp__n = (next)) != GMP__SW_LOCK, 1) && !gmp__done) \
				gmp__done = __atomic_compare_exchange_n(w, &v, gmp__n, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED); \
		} \
	} \
	gmp__done; \
})

/* A mutex: free, locked by whose id is in the upper half, with or without waiters. */
GMP__HELPER uint64_t gmp__held_by(const gmp_g *g)
{
	return *(const gmp__word *)(const void *)((const char *)g + GMP__G_ID) << 32 | GMP__MU_LOCKED;
}
GMP__HELPER uint64_t gmp__lock_step(uint64_t v, uint64_t mine)
{
	if (__builtin_expect(v == 0, 1)) /* the same, but the word to store does not wait for the load */
		return mine;
	return __builtin_expect(!(v & (GMP__SW_LOCK | GMP__MU_LOCKED)), 1) ? v | mine : GMP__SW_LOCK;
}
GMP__HELPER uint64_t gmp__unlock_step(uint64_t v)
{
	if (__builtin_expect((uint32_t)v == GMP__MU_LOCKED, 1))
		return 0;
	if ((v & (GMP__SW_LOCK | GMP__MU_LOCKED | GMP__MU_WOKEN)) == (GMP__MU_LOCKED | GMP__MU_WOKEN)) /* somebody is awake already */
		return v & (GMP__SW_WAIT | GMP__MU_WOKEN);
	return GMP__SW_LOCK;
}
#endif

#if defined(GMP__HAVE_SWITCH) && defined(__OPTIMIZE__) && !defined(GMP__NO_INLINE_API)
#define GMP__INLINE extern inline __attribute__((gnu_inline, unused))
#define GMP__FINISH(sw) ((sw).to ? gmp__switch((gmp__gobuf *)(sw).r, (sw).to) : (sw).r)
GMP__INLINE void gmp_yield(void)
{
	gmp__sw s = gmp__yield();
	(void)GMP__FINISH(s);
}
GMP__INLINE int gmp_join(gmp_g *g)
{
	gmp__sw s = gmp__join(g);
	return (int)GMP__FINISH(s);
}
GMP__INLINE int gmp_chan_send(gmp_chan *c, const void *elem)
{
	gmp__sw s = gmp__chan_send(c, elem);
	return (int)GMP__FINISH(s);
}
GMP__INLINE int gmp_chan_recv(gmp_chan *c, void *elem)
{
	gmp__sw s = gmp__chan_recv(c, elem);
	return (int)GMP__FINISH(s);
}
GMP__INLINE int gmp_mutex_lock(gmp_mutex *m)
{
	gmp__m *self;
	gmp__sw s;
	uint64_t mine;
	GMP__GETM(self);
	mine = __builtin_expect(self != NULL, 1) ? gmp__held_by(self->curg) : 0;
	if (__builtin_expect(GMP__WORD_STEP(self, (gmp__word *)(void *)m, v, gmp__lock_step(v, mine)), 1))
		return 0;
	s = gmp__mutex_lock(m);
	return (int)GMP__FINISH(s);
}
GMP__INLINE void gmp_mutex_unlock(gmp_mutex *m)
{
	gmp__m *self;
	GMP__GETM(self);
	if (__builtin_expect(!GMP__WORD_STEP(self, (gmp__word *)(void *)m, v, gmp__unlock_step(v)), 0))
		gmp__mutex_unlock(m);
}
GMP__INLINE int gmp_waitgroup_wait(gmp_waitgroup *wg)
{
	gmp__sw s = gmp__waitgroup_wait(wg);
	return (int)GMP__FINISH(s);
}
GMP__INLINE int gmp_sem_acquire(gmp_sem *s_)
{
	gmp__sw s = gmp__sem_acquire(s_);
	return (int)GMP__FINISH(s);
}
#endif

#ifdef __cplusplus
}
#endif
#endif /* GMPSCHED_H */
