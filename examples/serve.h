/* SPDX-License-Identifier: MIT
 * serve.h - what the servers among the examples share: listen, accept, coroutines for connections, graceful stop.
 */
#ifndef SERVE_H
#define SERVE_H

#include <stdint.h>

/* Talks to one client; cuts the talk short when a call returns -ECANCELED. fd is closed after it returned. */
typedef void serve_fn(int fd, void *arg);

/* Listens on `address` ("host:port", port 0: any), prints "listening on HOST:PORT" on stdout and runs handler(fd, arg)
 * in a coroutine for each connection, until SIGINT or SIGTERM. Then it accepts no more, lets the handlers see the end
 * of their input, so that the idle ones leave at once and the others after what they have already received, waits for
 * them for `drain` ns and cancels the rest. 0 or a negative errno: could not listen. To be called from a coroutine. */
int serve(const char *address, serve_fn *handler, void *arg, int64_t drain);

/* The same for a handler as gmp_serve_idle wants it: called when there is something to read, so that a connection which
 * has nothing to say has no coroutine. It may say nothing for `idle` ns. When the end comes, idle ones are closed at once;
 * others have `drain` ns for what they have begun, and may go on reading. */
typedef int serve_idle_fn(int fd, void **state, void *arg);
int serve_idle(const char *address, serve_idle_fn *handler, void *arg, int64_t idle, int64_t drain);

/* To be called before the end of a connection whose client may have sent what we have not read. Closing such a socket
 * resets it, which may destroy our last reply on its way; so this says that we are done and lets the client finish, for
 * a second at most. */
void linger(int fd);

/* gmp_now() at the last tick of the system's clock, some milliseconds ago: good enough for time-outs of seconds, at a quarter
 * of the price. */
int64_t coarse_now(void);

/* The argument of an option as a number between min and max, or exits with a message. */
long parse_number(const char *text, long min, long max);

#endif
