/* SPDX-License-Identifier: MIT
 * limit.c - what a hand-written event loop can do: echo and HTTP on bare epoll, the limit that the coroutine servers
 * are measured against. The HTTP parser and the reply are those of examples/httpd.c, so that only the way to wait
 * differs. Usage: netlimit [-t THREADS] echo|http [PORT]
 */
#include "../../examples/http_parse.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (64 * 1024)
#define EVENTS 256
#define MAX_THREADS 64

/* Only what outlives an event is kept for each connection: bytes of a request that is not complete, bytes of replies
 * that did not go out. Both are rare, so that an idle connection is this struct and nothing else. */
struct conn {
	int fd;
	bool closing; /* when the output is out */
	uint32_t in_len, out_at, out_len;
	char *in, *out;
	struct http_request req;
};

struct worker {
	int epoll;
	char *in, *out; /* BUFFER bytes each, for the event at hand */
	size_t out_len;
	time_t date_at;
	char date[32];
};

static struct worker workers[MAX_THREADS];
static int threads = 1;
static int listener = -1;
static bool is_http;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void conn_close(struct conn *c)
{
	close(c->fd); /* leaves the epoll set by itself */
	free(c->in);
	free(c->out);
	free(c);
}

static void conn_watch(struct worker *w, struct conn *c, uint32_t events, int op)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(w->epoll, op, c->fd, &ev))
		die("epoll_ctl");
}

/* Connections go to the workers in turn, which is the best balance that there is for equal clients. */
static void accept_all(void)
{
	static unsigned turn;

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct conn *c = calloc(1, sizeof *c);
		if (!c) {
			close(fd);
			return;
		}
		c->fd = fd;
		conn_watch(&workers[turn++ % (unsigned)threads], c, EPOLLIN, EPOLL_CTL_ADD);
	}
}

/* Sends data, keeping what the socket does not take. False: the connection is broken. */
static bool conn_send(struct worker *w, struct conn *c, const char *data, size_t n)
{
	ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		return false;
	if (sent == (ssize_t)n)
		return true;
	size_t done = sent > 0 ? (size_t)sent : 0;
	c->out = malloc(n - done);
	if (!c->out)
		return false;
	memcpy(c->out, data + done, n - done);
	c->out_at = 0;
	c->out_len = (uint32_t)(n - done);
	conn_watch(w, c, EPOLLOUT, EPOLL_CTL_MOD);
	return true;
}

/* More of what is kept. False: the connection is over. */
static bool conn_send_rest(struct worker *w, struct conn *c)
{
	ssize_t sent = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN;
	c->out_at += (uint32_t)sent;
	if (c->out_at < c->out_len)
		return true;
	free(c->out);
	c->out = NULL;
	if (c->closing)
		return false;
	conn_watch(w, c, EPOLLIN, EPOLL_CTL_MOD);
	return true;
}

static void put_reply(struct worker *w, const struct http_request *req, int status)
{
	const char *body = status == 200 ? "Hello, World!" : http_reason(status);
	int n = snprintf(w->out + w->out_len, 512,
		"HTTP/1.1 %d %s\r\nServer: gmpsched\r\nDate: %s\r\nContent-Type: text/plain\r\nContent-Length: "
		"%zu%s\r\n\r\n%s",
		status, http_reason(status), w->date, strlen(body), req->keep_alive ? "" : "\r\nConnection: close",
		req->method == HTTP_HEAD ? "" : body);

	w->out_len += (size_t)n;
}

/* The usual reply by copies: printf would cost more than the rest of the server. */
static void put_hello(struct worker *w)
{
	static const char before[] = "HTTP/1.1 200 OK\r\nServer: gmpsched\r\nDate: ";
	static const char after[] = "\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
	char *p = w->out + w->out_len;

	memcpy(p, before, sizeof before - 1);
	memcpy(p + sizeof before - 1, w->date, 29);
	memcpy(p + sizeof before - 1 + 29, after, sizeof after - 1);
	w->out_len += sizeof before - 1 + 29 + sizeof after - 1;
}

static void update_date(struct worker *w)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != w->date_at && gmtime_r(&now, &tm)) {
		w->date_at = now;
		strftime(w->date, sizeof w->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
}

/* Answers the requests in data[0..len), keeps the rest of it. False: the connection is over. */
static bool serve_http(struct worker *w, struct conn *c, char *data, size_t len)
{
	size_t at = 0;

	update_date(w);
	w->out_len = 0;
	while (at < len && !c->closing && w->out_len < BUFFER - 512) {
		struct http_request *req = &c->req;
		int n = http_parse(req, data + at, len - at);
		if (n == 0)
			break;
		if (n < 0 || req->content_length > 0 || req->chunked || !req->keep_alive) {
			req->keep_alive = false;
			c->closing = true;
			put_reply(w, req, n < 0 ? -n : req->content_length > 0 || req->chunked ? 413 : 200);
			break;
		}
		if (req->method == HTTP_GET)
			put_hello(w);
		else
			put_reply(w, req, req->method == HTTP_HEAD ? 200 : 405);
		at += (size_t)n;
		*req = (struct http_request){0};
	}

	if (at < len && !c->closing) {
		char *rest = malloc(BUFFER);
		if (!rest)
			return false;
		memcpy(rest, data + at, len - at);
		free(c->in);
		c->in = rest;
	} else {
		free(c->in);
		c->in = NULL;
	}
	c->in_len = c->in ? (uint32_t)(len - at) : 0;
	if (w->out_len > 0 && !conn_send(w, c, w->out, w->out_len))
		return false;
	return !c->closing || c->out;
}

/* False: the connection is over. */
static bool conn_read(struct worker *w, struct conn *c)
{
	char *in = c->in ? c->in : w->in;
	ssize_t n = recv(c->fd, in + c->in_len, BUFFER - c->in_len, 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (!is_http)
		return conn_send(w, c, in, (size_t)n);
	return serve_http(w, c, in, c->in_len + (size_t)n);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[EVENTS];

	for (;;) {
		int n = epoll_wait(w->epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!c)
				accept_all();
			else if (!(c->out ? conn_send_rest(w, c) : conn_read(w, c)))
				conn_close(c);
		}
	}
	return NULL;
}

static void start_listening(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof addr;
	struct epoll_event ev = {.events = EPOLLIN};
	struct rlimit lim;
	int one = 1;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
	if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, SOMAXCONN) ||
		getsockname(listener, (struct sockaddr *)&addr, &len))
		die("listen");
	if (epoll_ctl(workers[0].epoll, EPOLL_CTL_ADD, listener, &ev))
		die("epoll_ctl");
	printf("listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "t:")) == 't')
		threads = atoi(optarg);
	if (opt != -1 || optind >= argc || threads < 1 || threads > MAX_THREADS) {
		fprintf(stderr, "usage: netlimit [-t THREADS] echo|http [PORT]\n");
		return 2;
	}
	is_http = strcmp(argv[optind], "http") == 0;

	for (int i = 0; i < threads; i++) {
		workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		workers[i].in = malloc(BUFFER);
		workers[i].out = malloc(BUFFER);
		if (workers[i].epoll < 0 || !workers[i].in || !workers[i].out)
			die("worker");
	}
	start_listening(optind + 1 < argc ? atoi(argv[optind + 1]) : 0);
	for (int i = 1; i < threads; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, worker_main, &workers[i]))
			die("pthread_create");
	}
	worker_main(&workers[0]);
	return 0;
}
