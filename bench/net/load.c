/* SPDX-License-Identifier: MIT
 * load.c - closed-loop load generator on epoll: each connection sends its next request when the answer to the last one
 * has come. Prints one line of JSON.
 * Usage: netload [-c CONNS] [-t THREADS] [-d SECONDS] [-w SECONDS] [-p DEPTH] [-s BYTES] [-u PATH] MODE PORT
 *   MODE  http     GET PATH, keep-alive, DEPTH requests sent at a time
 *         echo     BYTES bytes, likewise
 *         connect  a connection for each GET
 *         idle     opens the connections, one GET on each, prints {"ready": N} and holds them until its input ends
 *         idle-echo
 *   -w    warm-up, counted in requests_all only
 */
#include "histogram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define BUFFER (256 * 1024)
#define MAX_DEPTH 256
#define MAX_BYTES 65536
#define MAX_CONNS 100000
#define MAX_THREADS 64
#define IDLE_BURST 128 /* idle: so many connections are being set up at a time, to spare the server's backlog */

static struct {
	bool connect, idle, echo;
	int conns, threads, depth, bytes, port;
	double seconds, warmup;
	const char *path;
} opt = {.conns = 64, .threads = 1, .depth = 1, .bytes = 64, .seconds = 2, .path = "/plaintext"};

static char *request; /* `depth` of them, one behind the other */
static size_t request_len;
static size_t answer_len; /* of one answer: they are all alike */
static int64_t measure_ns, end_ns;

struct conn {
	int fd;
	bool connecting;
	int64_t sent_at;
	size_t to_send; /* bytes of the batch that did not go out yet */
	size_t awaited; /* bytes of its answers that have not come yet */
};

struct thread {
	pthread_t id;
	int epoll, conns, opened;
	struct conn *conn;
	char *buffer;
	uint64_t requests, errors;
	struct histogram latency;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int new_socket(int flags)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static int connect_to_server(int fd)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (struct sockaddr *)&addr, sizeof addr);
}

/* ---- what to send and what to expect ----------------------------------------------------------------------------- */

static void make_request(void)
{
	char head[1024];
	size_t one = (size_t)opt.bytes;

	if (!opt.echo)
		one = (size_t)snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", opt.path,
			opt.port, opt.connect ? "Connection: close\r\n" : "");
	if (one >= sizeof head && !opt.echo)
		exit(2);
	request_len = one * (size_t)opt.depth;
	request = malloc(request_len);
	if (!request)
		die("malloc");
	for (size_t i = 0; i < request_len; i++)
		request[i] = opt.echo ? (char)('a' + i % one % 26) : head[i % one];
}

/* One request on a connection of its own, whose answer tells how long all answers are. */
static void learn_answer(void)
{
	struct timeval timeout = {.tv_sec = 5};
	char buf[8192];
	size_t len = 0;

	answer_len = (size_t)opt.bytes;
	if (opt.echo)
		return;
	int fd = new_socket(0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	if (connect_to_server(fd))
		die("connect");
	if (send(fd, request, request_len / (size_t)opt.depth, MSG_NOSIGNAL) < 0)
		die("send");
	for (answer_len = 0; answer_len == 0 || len < answer_len;) {
		ssize_t n = recv(fd, buf + len, sizeof buf - 1 - len, 0);
		if (n <= 0)
			die("the first answer");
		len += (size_t)n;
		buf[len] = '\0';
		const char *end = strstr(buf, "\r\n\r\n"), *field = strcasestr(buf, "\r\ncontent-length:");
		if (end && field && field < end)
			answer_len = (size_t)(end - buf) + 4 + strtoul(field + 17, NULL, 10);
		else if (end)
			break;
	}
	if (answer_len == 0 || len != answer_len || memcmp(buf, "HTTP/1.1 200", 12) != 0) {
		fprintf(stderr, "netload: the first answer is none to work with: %.60s\n", buf);
		exit(1);
	}
	close(fd);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void watch(const struct thread *t, struct conn *c, uint32_t events, int op)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(t->epoll, op, c->fd, &ev))
		die("epoll_ctl");
}

static void open_conn(const struct thread *t, struct conn *c)
{
	c->sent_at = now_ns();
	c->fd = new_socket(SOCK_NONBLOCK);
	c->connecting = true;
	if (connect_to_server(c->fd) && errno != EINPROGRESS)
		die("connect");
	watch(t, c, EPOLLOUT, EPOLL_CTL_ADD);
}

/* A broken connection is counted and replaced. */
static void fail(struct thread *t, struct conn *c)
{
	t->errors++;
	close(c->fd);
	open_conn(t, c);
}

static void send_rest(struct thread *t, struct conn *c)
{
	ssize_t n = send(c->fd, request + request_len - c->to_send, c->to_send, MSG_NOSIGNAL);
	bool waited = c->connecting || c->to_send < request_len; /* for the socket to become writable */

	if (n < 0 && errno != EAGAIN) {
		fail(t, c);
		return;
	}
	c->to_send -= n > 0 ? (size_t)n : 0;
	if (waited || c->to_send > 0)
		watch(t, c, EPOLLIN | (c->to_send > 0 ? EPOLLOUT : 0), EPOLL_CTL_MOD);
	c->connecting = false;
}

static void send_batch(struct thread *t, struct conn *c)
{
	if (!opt.connect) /* there the time counts from the connect on */
		c->sent_at = now_ns();
	c->to_send = request_len;
	c->awaited = answer_len * (size_t)opt.depth;
	send_rest(t, c);
}

/* Looks at n bytes of answers, piece by piece. False: they are not what was asked for. */
static bool take_answers(struct thread *t, struct conn *c, const char *data, size_t n)
{
	int64_t now = now_ns();

	while (n > 0) {
		if (c->awaited == 0)
			return false;
		size_t left = (c->awaited - 1) % answer_len + 1, at = answer_len - left, piece = n < left ? n : left;
		if (opt.echo && memcmp(data, request + at, piece) != 0)
			return false;
		if (!opt.echo && at == 0 && memcmp(data, "HTTP/1.1 200", piece < 12 ? piece : 12) != 0)
			return false;
		c->awaited -= piece;
		data += piece;
		n -= piece;
		if (piece < left)
			continue;
		t->requests++;
		if (now >= measure_ns)
			histogram_add(&t->latency, (uint64_t)(now - c->sent_at));
	}
	return true;
}

static void on_readable(struct thread *t, struct conn *c)
{
	ssize_t n = recv(c->fd, t->buffer, BUFFER, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n == 0 && opt.connect && c->awaited == 0) {
		close(c->fd);
		open_conn(t, c);
		return;
	}
	if (n <= 0 || !take_answers(t, c, t->buffer, (size_t)n)) {
		fail(t, c);
		return;
	}
	if (c->awaited > 0 || opt.connect)
		return;
	if (!opt.idle)
		send_batch(t, c);
	else if (t->opened < t->conns)
		open_conn(t, &t->conn[t->opened++]);
}

/* Until `end`, or, for idle connections, until all have had their answer. */
static void drive(struct thread *t)
{
	struct epoll_event events[EVENTS];

	t->opened = opt.idle && t->conns > IDLE_BURST ? IDLE_BURST : t->conns;
	for (int i = 0; i < t->opened; i++)
		open_conn(t, &t->conn[i]);
	while (!opt.idle || t->requests < (uint64_t)t->conns) {
		int64_t left = end_ns - now_ns();
		if (left <= 0)
			return;
		int n = epoll_wait(t->epoll, events, EVENTS, (int)(left / 1000000) + 1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (events[i].events & (EPOLLERR | EPOLLHUP) && c->connecting)
				fail(t, c);
			else if (c->connecting)
				send_batch(t, c);
			else if (events[i].events & EPOLLOUT)
				send_rest(t, c);
			else
				on_readable(t, c);
		}
	}
}

static void *thread_main(void *arg)
{
	drive(arg);
	return NULL;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static double option_value(const char *text, double min, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max)) {
		fprintf(stderr, "netload: '%s' is not between %g and %g\n", text, min, max);
		exit(2);
	}
	return value;
}

static void parse_options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "c:t:d:w:p:s:u:")) != -1) {
		switch (o) {
		case 'c':
			opt.conns = (int)option_value(optarg, 1, MAX_CONNS);
			break;
		case 't':
			opt.threads = (int)option_value(optarg, 1, MAX_THREADS);
			break;
		case 'd':
			opt.seconds = option_value(optarg, 0.01, 3600);
			break;
		case 'w':
			opt.warmup = option_value(optarg, 0, 3600);
			break;
		case 'p':
			opt.depth = (int)option_value(optarg, 1, MAX_DEPTH);
			break;
		case 's':
			opt.bytes = (int)option_value(optarg, 1, MAX_BYTES);
			break;
		case 'u':
			opt.path = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: netload [options] http|echo|connect|idle|idle-echo PORT\n");
		exit(2);
	}
	const char *mode = argv[optind];
	opt.port = (int)option_value(argv[optind + 1], 1, 65535);
	opt.connect = strcmp(mode, "connect") == 0;
	opt.echo = strcmp(mode, "echo") == 0 || strcmp(mode, "idle-echo") == 0;
	opt.idle = strncmp(mode, "idle", 4) == 0;
	if (opt.connect || opt.idle)
		opt.depth = 1;
	if (opt.idle)
		opt.threads = 1;
	if (opt.threads > opt.conns)
		opt.threads = opt.conns;
}

static void print_result(struct thread *threads)
{
	struct histogram *sum = &threads[0].latency;
	double seconds = (double)(end_ns - measure_ns) / 1e9;
	uint64_t all = 0, errors = 0;

	for (int i = 0; i < opt.threads; i++) {
		all += threads[i].requests;
		errors += threads[i].errors;
		if (i > 0)
			histogram_merge(sum, &threads[i].latency);
	}
	printf("{\"requests\": %llu, \"requests_all\": %llu, \"errors\": %llu, \"seconds\": %.3f, \"rps\": %.1f, "
	       "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
		(unsigned long long)sum->count, (unsigned long long)all, (unsigned long long)errors, seconds,
		(double)sum->count / seconds, histogram_quantile(sum, 0.5) / 1e3, histogram_quantile(sum, 0.9) / 1e3,
		histogram_quantile(sum, 0.99) / 1e3, histogram_quantile(sum, 0.999) / 1e3, (double)sum->max / 1e3);
}

int main(int argc, char **argv)
{
	struct rlimit lim;

	parse_options(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	make_request();
	learn_answer();

	struct thread *threads = calloc((size_t)opt.threads, sizeof *threads);
	if (!threads)
		die("calloc");
	measure_ns = now_ns() + (int64_t)(opt.warmup * 1e9);
	end_ns = measure_ns + (int64_t)(opt.seconds * 1e9);
	for (int i = 0; i < opt.threads; i++) {
		struct thread *t = &threads[i];
		t->conns = opt.conns / opt.threads + (i < opt.conns % opt.threads);
		t->conn = calloc((size_t)t->conns, sizeof *t->conn);
		t->buffer = malloc(BUFFER);
		t->epoll = epoll_create1(EPOLL_CLOEXEC);
		if (!t->conn || !t->buffer || t->epoll < 0)
			die("thread");
		if (i > 0 && pthread_create(&t->id, NULL, thread_main, t))
			die("pthread_create");
	}
	drive(&threads[0]);
	for (int i = 1; i < opt.threads; i++)
		pthread_join(threads[i].id, NULL);

	if (opt.idle) {
		int64_t left = (end_ns - now_ns()) / 1000000;
		struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
		printf("{\"ready\": %llu, \"errors\": %llu}\n", (unsigned long long)threads[0].requests,
			(unsigned long long)threads[0].errors);
		fflush(stdout);
		poll(&in, 1, left > 0 ? (int)left : 0);
		return 0;
	}
	print_result(threads);
	return 0;
}
