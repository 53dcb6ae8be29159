/* SPDX-License-Identifier: MIT
 * kvd.c - key-value server that speaks the Redis protocol (RESP2): a coroutine for each client, one more for expiry.
 * Usage: kvd [-p PROCS] [PORT]        Try: redis-cli -p 6380
 */
#include "../serve.h"
#include "commands.h"
#include "resp.h"

#include <gmp.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_TIMEOUT (3600 * GMP_SEC)
#define REQUEST_TIMEOUT (60 * GMP_SEC) /* from a request's first byte to its last */
#define WRITE_TIMEOUT (60 * GMP_SEC)
#define DRAIN_TIMEOUT (5 * GMP_SEC)
#define SWEEP_INTERVAL (100 * GMP_MSEC)
#define TRIM_AFTER GMP_SEC             /* idle for so long: gives back what busier times took */
#define PIPELINE (16 * 1024)           /* how much is read at once from a client that sends much at once */
#define FLUSH_AT (64 * 1024) /* replies to pipelined requests leave together, but no later than this */

/* On the coroutine's stack. The small buffers serve almost every request; with them an idle client costs one page. */
struct conn {
	int fd;
	char *in;
	size_t in_cap, in_start, in_len; /* bytes [start, len) wait to be looked at */
	int64_t request_deadline;        /* of the request that has come in part; 0: there is none */
	bool filled;                     /* the last read filled the buffer: there is more */
	struct client client;
	struct resp_request req;
	char small_out[1024]; /* first: it lies near the stack pointer, and is warm */
	char small_in[1024];
};

static void use_small_out(struct conn *c)
{
	if (!c->client.out.fixed)
		free(c->client.out.data);
	c->client.out = (struct reply){.data = c->small_out, .cap = sizeof c->small_out, .fixed = true};
}

static bool flush(struct conn *c)
{
	const struct reply *out = &c->client.out;
	bool ok = !out->failed;

	if (ok && out->len > 0)
		ok = gmp_write_all(c->fd, out->data, out->len, c->client.now + WRITE_TIMEOUT) == (ssize_t)out->len;
	use_small_out(c);
	return ok;
}

static void use_small_in(struct conn *c)
{
	if (c->in != c->small_in)
		free(c->in);
	c->in = c->small_in;
	c->in_cap = sizeof c->small_in;
}

/* Room for the request that waits at the buffer's start, as far as it has announced itself. */
static bool make_room(struct conn *c)
{
	size_t need = resp_need(&c->req), cap = c->in_cap;

	if (c->in_start > 0) {
		c->in_len -= c->in_start;
		if (c->in_len > 0)
			memmove(c->in, c->in + c->in_start, c->in_len);
		c->in_start = 0;
	}
	if (c->in_len == 0 && need <= PIPELINE && cap > PIPELINE) {
		use_small_in(c);
		cap = c->in_cap;
	}
	if (need <= c->in_len)
		need = c->in_len + 1;
	if (c->filled && need < PIPELINE)
		need = PIPELINE;
	while (cap < need)
		cap *= 2;
	if (cap == c->in_cap)
		return true;
	char *big = realloc(c->in == c->small_in ? NULL : c->in, cap);
	if (!big)
		return false;
	if (c->in == c->small_in)
		memcpy(big, c->small_in, c->in_len);
	c->in = big;
	c->in_cap = cap;
	return true;
}

/* Sends what waits, then reads more. False: the connection is over. */
static bool fill(struct conn *c)
{
	int64_t deadline;

	if (!flush(c))
		return false;
	bool idle = c->in_start == c->in_len;
	if (!make_room(c)) {
		reply_error(&c->client.out, resp_message(RESP_NO_MEMORY));
		return false;
	}
	bool trim = idle && (c->in != c->small_in || resp_holds_memory(&c->req));
	if (idle)
		deadline = c->client.now + (trim ? TRIM_AFTER : IDLE_TIMEOUT);
	else if (c->request_deadline)
		deadline = c->request_deadline;
	else
		deadline = c->request_deadline = gmp_now() + REQUEST_TIMEOUT;
	ssize_t n = gmp_read_until(c->fd, c->in + c->in_len, c->in_cap - c->in_len, deadline);
	if (n == -ETIMEDOUT && trim) {
		use_small_in(c);
		resp_free(&c->req);
		n = gmp_read_until(c->fd, c->in, c->in_cap, c->client.now + IDLE_TIMEOUT);
	}
	if (n <= 0)
		return false;
	c->in_len += (size_t)n;
	c->filled = c->in_len == c->in_cap;
	c->client.now = gmp_now();
	return true;
}

static void talk(struct conn *c)
{
	while (!c->client.quit && !c->client.out.failed) {
		int64_t n = resp_parse(&c->req, c->in + c->in_start, c->in_len - c->in_start);
		if (n < 0) { /* what follows cannot be understood either */
			reply_error(&c->client.out, resp_message(n));
			if (flush(c))
				linger(c->fd);
			return;
		}
		if (n == 0) {
			if (!fill(c))
				return;
			continue;
		}
		if (c->req.argc > 0)
			command_run(&c->client, c->req.argv, c->req.argc);
		resp_reset(&c->req);
		c->in_start += (size_t)n;
		c->request_deadline = 0;
		if (c->client.out.len >= FLUSH_AT && !flush(c))
			return;
	}
}

static void connection(int fd, void *arg)
{
	struct conn c;

	/* Not `= {0}`, which would touch the buffers. */
	c.fd = fd;
	c.in = c.small_in;
	c.in_cap = sizeof c.small_in;
	c.in_start = c.in_len = 0;
	c.request_deadline = 0;
	c.filled = false;
	c.client = (struct client){.store = arg, .out = {.fixed = true}, .now = gmp_now()};
	use_small_out(&c);
	memset(&c.req, 0, sizeof c.req);

	talk(&c);
	flush(&c);
	resp_free(&c.req);
	use_small_in(&c);
}

/* Keys expire when they are touched; this finds those that nobody touches. While no key has a time it costs nothing. */
static void sweeper(void *arg)
{
	struct store *s = arg;

	while (gmp_chan_recv(s->expiring, NULL) == 0) {
		do {
			if (gmp_sleep(SWEEP_INTERVAL))
				return;
		} while (store_sweep(s) > 0);
	}
}

static void run(void *arg)
{
	static struct store store; /* too large for a coroutine's stack */
	const char *port = arg;
	char address[32];
	gmp_g *g = NULL;

	store.started = gmp_now();
	store.expiring = gmp_chan_new(0, 1);
	int err = store.expiring ? gmp_spawn_attr(&g, &(gmp_attr){.name = "sweeper"}, sweeper, &store) : -ENOMEM;
	snprintf(address, sizeof address, "127.0.0.1:%s", port);
	if (!err)
		err = serve(address, connection, &store, DRAIN_TIMEOUT);
	if (err)
		fprintf(stderr, "kvd: %s: %s\n", address, strerror(-err));
	if (g) {
		gmp_cancel(g);
		gmp_join(g);
	}
	store_clear(&store);
	gmp_chan_free(store.expiring);
}

int main(int argc, char **argv)
{
	gmp_config cfg = {0};
	int opt;

	while ((opt = getopt(argc, argv, "p:")) != -1) {
		if (opt != 'p') {
			fprintf(stderr, "usage: kvd [-p PROCS] [PORT]\n");
			return 2;
		}
		cfg.procs = (int)parse_number(optarg, 1, 1024);
	}
	char *port = optind < argc ? argv[optind] : "6380";
	parse_number(port, 0, 65535);

	int err = gmp_run(run, port, &cfg);
	if (err)
		fprintf(stderr, "kvd: %s\n", strerror(-err));
	return err ? 1 : 0;
}
