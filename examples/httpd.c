/* SPDX-License-Identifier: MIT
 * httpd.c - HTTP/1.1 server: keep-alive, pipelining, static files, time-outs, graceful stop on SIGINT and SIGTERM.
 * A coroutine for each connection that has said something, in straight lines: read, parse, answer, as often as there is more
 * to do, however long the client makes it wait in the middle. Between two requests there is nothing to be remembered, so
 * that a connection has neither a coroutine nor a stack then (gmp_serve_idle).
 * Usage: httpd [-d DIR] [-p PROCS] [PORT]        Try: curl http://127.0.0.1:8080/plaintext
 */
#include "http_parse.h"
#include "serve.h"

#include <gmp.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IDLE_TIMEOUT (60 * GMP_SEC)    /* between two requests */
#define REQUEST_TIMEOUT (10 * GMP_SEC) /* from a request's first byte to its last, however it drips */
#define WRITE_TIMEOUT (30 * GMP_SEC)   /* for each bufferful that a client has to take */
#define DRAIN_TIMEOUT (5 * GMP_SEC)
#define MAX_BODY (64 * 1024) /* nothing here wants a body; one of this size is skipped, a larger one refused */

#define BIG_IN HTTP_MAX_HEAD
#define BIG_OUT (32 * 1024)
#define DATE_LENGTH 29
#define HEAD_ROOM 320 /* of a reply without its body */

/* A connection that is not idle. It lives on its coroutine's stack, and the small buffers are so small that one which stops
 * in the middle of a request has one page of it in use; the big ones exist only while a request or a burst of replies needs
 * them. */
struct conn {
	int fd;
	const char *root; /* directory of the files, or NULL */
	char *in, *out;   /* the small buffer or a big one */
	size_t in_cap, out_cap;
	size_t in_start, in_len;  /* bytes [start, len) of `in` wait to be looked at */
	size_t out_len;           /* replies not sent yet: those to pipelined requests leave together */
	int64_t request_deadline; /* of the request that has come in part; 0: there is none */
	time_t date_at;           /* when `date` was true; 0: there is none yet */
	char date[32];
	char small_out[640]; /* first: it lies near the stack pointer, and is warm */
	char small_in[1024];
};

/* ---- output ------------------------------------------------------------------------------------------------------ */

static bool flush(struct conn *c)
{
	size_t n = c->out_len;

	c->out_len = 0;
	if (n == 0)
		return true;
	return gmp_write_all(c->fd, c->out, n, coarse_now() + WRITE_TIMEOUT) == (ssize_t)n;
}

/* Room for `n` bytes in `out`, n being at most sizeof small_out. */
static bool reserve(struct conn *c, size_t n)
{
	if (c->out_cap - c->out_len >= n)
		return true;
	if (c->out == c->small_out) {
		char *big = malloc(BIG_OUT);
		if (big) {
			memcpy(big, c->out, c->out_len);
			c->out = big;
			c->out_cap = BIG_OUT;
			return true;
		}
	}
	return flush(c);
}

static void put(struct conn *c, const void *data, size_t n)
{
	memcpy(c->out + c->out_len, data, n);
	c->out_len += n;
}

static void put_text(struct conn *c, const char *text) { put(c, text, strlen(text)); }

static void put_number(struct conn *c, uint64_t value)
{
	size_t n = 1;

	for (uint64_t v = value; v >= 10; v /= 10)
		n++;
	c->out_len += n;
	for (char *at = c->out + c->out_len; n > 0; n--) {
		*--at = (char)('0' + value % 10);
		value /= 10;
	}
}

/* Status line and fields of a reply, at most HEAD_ROOM bytes, which the caller has reserved. */
static void put_head(struct conn *c, int status, const char *type, uint64_t length, const struct http_request *req)
{
	if (status == 200) {
		put_text(c, "HTTP/1.1 200 OK\r\n");
	} else {
		put_text(c, "HTTP/1.1 ");
		put_number(c, (uint64_t)status);
		put_text(c, " ");
		put_text(c, http_reason(status));
		put_text(c, status == 405 ? "\r\nAllow: GET, HEAD\r\n" : "\r\n");
	}
	put_text(c, "Server: gmpsched\r\nDate: ");
	put(c, c->date, DATE_LENGTH);
	put_text(c, "\r\nContent-Type: ");
	put_text(c, type);
	put_text(c, "\r\nContent-Length: ");
	put_number(c, length);
	if (!req->keep_alive)
		put_text(c, "\r\nConnection: close");
	else if (req->minor == 0)
		put_text(c, "\r\nConnection: keep-alive");
	put_text(c, "\r\n\r\n");
}

static bool reply(struct conn *c, int status, const char *body, const struct http_request *req)
{
	size_t n = strlen(body);

	if (!reserve(c, HEAD_ROOM + n))
		return false;
	put_head(c, status, "text/plain", n, req);
	if (req->method != HTTP_HEAD)
		put(c, body, n);
	return true;
}

static bool reply_status(struct conn *c, int status, const struct http_request *req)
{
	return reply(c, status, http_reason(status), req);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{".html", "text/html; charset=utf-8"},
		{".txt", "text/plain; charset=utf-8"},
		{".css", "text/css"},
		{".js", "text/javascript"},
		{".json", "application/json"},
		{".svg", "image/svg+xml"},
		{".png", "image/png"},
		{".jpg", "image/jpeg"},
		{".ico", "image/x-icon"},
		{".wasm", "application/wasm"},
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++) {
		if (strcasecmp(dot, types[i][0]) == 0)
			return types[i][1];
	}
	return "application/octet-stream";
}

/* Opens path, or its index.html when it is a directory. A descriptor of a regular file or a negative errno. */
static int open_file(char *path, size_t cap, struct stat *st)
{
	for (int try = 0; try < 2; try++) {
		/* O_NONBLOCK: opening a fifo must not wait for its writer. It means nothing for a regular file. */
		int fd = gmp_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
		if (fd < 0)
			return fd;
		if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
			return fd;
		gmp_close(fd);
		size_t len = strlen(path);
		if (!S_ISDIR(st->st_mode) || len + sizeof "/index.html" > cap)
			return -ENOENT;
		strcpy(path + len, "/index.html");
	}
	return -ENOENT;
}

/* The file's bytes travel through the output buffer, behind what waits there already: a small file leaves together with
 * its head and its neighbours, a large one takes a bufferful of memory. Reading holds no P, however slow the disk. */
static bool send_file(struct conn *c, int file, uint64_t size, const char *type, const struct http_request *req)
{
	if (!reserve(c, HEAD_ROOM))
		return false;
	put_head(c, 200, type, size, req);
	if (req->method == HTTP_HEAD)
		return true;
	for (uint64_t done = 0; done < size;) {
		if (!reserve(c, 512))
			return false;
		size_t room = c->out_cap - c->out_len;
		size_t want = size - done < room ? (size_t)(size - done) : room;
		ssize_t n = gmp_pread(file, c->out + c->out_len, want, (off_t)done);
		if (n <= 0) /* unreadable, or shorter than we promised: only the end of the connection can say so now */
			return false;
		c->out_len += (size_t)n;
		done += (uint64_t)n;
	}
	return true;
}

/* Symbolic links are followed, also out of the directory: whoever may write there decides what is served. Not inlined:
 * the large frame is to be on the stack only while it runs. */
static __attribute__((noinline)) bool reply_file(struct conn *c, const char *target, const struct http_request *req)
{
	char path[PATH_MAX];
	struct stat st = {0};
	size_t root_len = strlen(c->root);

	memcpy(path, c->root, root_len); /* main made sure that it is short */
	int len = http_path(path + root_len, sizeof path - root_len, target, req->target_len);
	if (len < 0)
		return reply_status(c, -len, req);
	int file = open_file(path, sizeof path, &st);
	if (file == -ECANCELED)
		return false;
	if (file == -EMFILE || file == -ENFILE || file == -ENOMEM)
		return reply_status(c, 503, req);
	if (file < 0)
		return reply_status(c, 404, req);
	bool ok = send_file(c, file, (uint64_t)st.st_size, type_of(path), req);
	gmp_close(file);
	return ok;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* The time of day, made once a second by whoever needs it first. Making it takes more stack than all the rest, which is
 * another reason not to have every connection do it. False: cancelled. */
static bool update_date(struct conn *c)
{
	static gmp_mutex lock;
	static char date[sizeof c->date];
	static time_t date_at;
	time_t now = time(NULL);
	struct tm tm;

	if (now == c->date_at)
		return true;
	if (gmp_mutex_lock(&lock))
		return false;
	if (now != date_at && gmtime_r(&now, &tm)) {
		strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
		date_at = now;
	}
	memcpy(c->date, date, sizeof date);
	gmp_mutex_unlock(&lock);
	c->date_at = now;
	return true;
}

/* Sends what waits, then reads more of a request behind the bytes [start, len). False: the connection is over. */
static bool fill(struct conn *c)
{
	if (!flush(c))
		return false;
	if (c->out != c->small_out) {
		free(c->out);
		c->out = c->small_out;
		c->out_cap = sizeof c->small_out;
	}

	if (c->in_start > 0) {
		c->in_len -= c->in_start;
		if (c->in_len > 0)
			memmove(c->in, c->in + c->in_start, c->in_len);
		c->in_start = 0;
	}
	if (c->in_len == 0 && c->in != c->small_in) {
		free(c->in);
		c->in = c->small_in;
		c->in_cap = sizeof c->small_in;
	} else if (c->in_len == c->in_cap) { /* only the small one: a head that fills the big one has been refused */
		char *big = malloc(BIG_IN);
		if (!big)
			return false;
		memcpy(big, c->in, c->in_len);
		c->in = big;
		c->in_cap = BIG_IN;
	}

	if (!c->request_deadline)
		c->request_deadline = gmp_now() + REQUEST_TIMEOUT;
	ssize_t n = gmp_read_until(c->fd, c->in + c->in_len, c->in_cap - c->in_len, c->request_deadline);
	if (n == -ETIMEDOUT) {
		reply_status(c, 408, &(struct http_request){0});
		flush(c);
	}
	if (n <= 0)
		return false;
	c->in_len += (size_t)n;
	return update_date(c);
}

/* Reads over a body that nobody wants. */
static bool skip_body(struct conn *c, uint64_t left)
{
	for (;;) {
		size_t here = c->in_len - c->in_start;
		if (here >= left) {
			c->in_start += (size_t)left;
			return true;
		}
		left -= here;
		c->in_start = c->in_len;
		if (!fill(c))
			return false;
	}
}

/* Answers a request whose head is complete. False: the connection is broken. req->keep_alive may become false. */
static bool answer(struct conn *c, const char *target, struct http_request *req)
{
	if (req->chunked || req->content_length > MAX_BODY) {
		req->keep_alive = false; /* where the next request starts is not known, or too far away */
		return reply_status(c, req->chunked ? 411 : 413, req);
	}
	if (req->content_length > 0 && req->expect_continue)
		req->keep_alive = false; /* a client that was refused may send the body or not: nobody can tell */
	if (req->method == HTTP_UNKNOWN || req->method == HTTP_OTHER)
		return reply_status(c, req->method == HTTP_UNKNOWN ? 501 : 405, req);

	static const char hello[] = "/plaintext";
	if (req->target_len == sizeof hello - 1 && memcmp(target, hello, sizeof hello - 1) == 0)
		return reply(c, 200, "Hello, World!", req);
	return c->root ? reply_file(c, target, req) : reply_status(c, 404, req);
}

/* Requests one after another, to the end of what has come. False: one of them, or the connection, was the last. */
static bool talk(struct conn *c)
{
	struct http_request req = {0};

	while (c->in_start < c->in_len) {
		const char *head = c->in + c->in_start;
		int n = http_parse(&req, head, c->in_len - c->in_start);
		if (n == 0) {
			if (!fill(c))
				return false;
			continue;
		}
		if (n < 0) {
			req.keep_alive = false;
			if (reply_status(c, -n, &req) && flush(c))
				linger(c->fd);
			return false;
		}
		c->in_start += (size_t)n;
		if (!answer(c, head + req.target, &req))
			return false;
		if (!req.keep_alive) {
			bool unread = req.chunked || req.content_length > 0 || c->in_start < c->in_len;
			if (flush(c) && unread)
				linger(c->fd);
			return false;
		}
		if (req.content_length > 0 && !skip_body(c, (uint64_t)req.content_length))
			return false;
		c->request_deadline = 0;
		req = (struct http_request){0};
	}
	return flush(c);
}

/* Called anew whenever there is something to read and no request in part. */
static int connection(int fd, void **state, void *arg)
{
	struct conn c;

	(void)state;
	/* Not `= {0}`, which would touch the buffers. */
	c.fd = fd;
	c.root = arg;
	c.in = c.small_in;
	c.in_cap = sizeof c.small_in;
	c.out = c.small_out;
	c.out_cap = sizeof c.small_out;
	c.in_start = c.out_len = 0;
	c.request_deadline = 0;
	c.date_at = 0;

	ssize_t n = gmp_read_until(fd, c.in, c.in_cap, 0);
	if (n == -EAGAIN)
		return GMP_SERVE_AGAIN;
	if (n <= 0)
		return GMP_SERVE_CLOSE;
	c.in_len = (size_t)n;

	bool again = update_date(&c) && talk(&c);
	if (c.in != c.small_in)
		free(c.in);
	if (c.out != c.small_out)
		free(c.out);
	return again ? GMP_SERVE_AGAIN : GMP_SERVE_CLOSE;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

struct options {
	const char *root, *port;
};

static void run(void *arg)
{
	const struct options *o = arg;
	char address[32];

	snprintf(address, sizeof address, "127.0.0.1:%s", o->port);
	int err = serve_idle(address, connection, (void *)o->root, IDLE_TIMEOUT, DRAIN_TIMEOUT);
	if (err)
		fprintf(stderr, "httpd: %s: %s\n", address, strerror(-err));
}

int main(int argc, char **argv)
{
	struct options o = {.port = "8080"};
	gmp_config cfg = {0};
	int opt;

	while ((opt = getopt(argc, argv, "d:p:")) != -1) {
		switch (opt) {
		case 'd':
			o.root = optarg;
			break;
		case 'p':
			cfg.procs = (int)parse_number(optarg, 1, 1024);
			break;
		default:
			fprintf(stderr, "usage: httpd [-d DIR] [-p PROCS] [PORT]\n");
			return 2;
		}
	}
	if (optind < argc)
		o.port = argv[optind];
	parse_number(o.port, 0, 65535);
	if (o.root && (strlen(o.root) > PATH_MAX / 2 || access(o.root, R_OK | X_OK))) {
		fprintf(stderr, "httpd: cannot use directory '%s'\n", o.root);
		return 2;
	}

	int err = gmp_run(run, &o, &cfg);
	if (err)
		fprintf(stderr, "httpd: %s\n", strerror(-err));
	return err ? 1 : 0;
}
