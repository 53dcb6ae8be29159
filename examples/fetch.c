/* SPDX-License-Identifier: MIT
 * fetch.c - many HTTP GETs at a time, each with a deadline, no more than so many at once, and a line of progress.
 * Usage: fetch [-c CONCURRENT] [-n REQUESTS] [-t SECONDS] http://HOST[:PORT]/PATH...
 */
#include <gmp.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct url {
	char host[256];    /* as it stands in the URL, for the Host field */
	char address[264]; /* the same with a port, for dialling */
	const char *path;
};

struct job {
	struct url *urls;
	int url_count, requests, concurrent;
	int64_t timeout;
	gmp_sem slots;
	atomic_int next, done, failed;
	_Atomic int64_t bytes;
	int64_t started;
};

static bool parse_url(struct url *u, const char *text)
{
	if (strncasecmp(text, "http://", 7) != 0)
		return false;
	text += 7;
	size_t len = strcspn(text, "/?#");
	if (len == 0 || len >= sizeof u->host || memchr(text, '@', len))
		return false;
	memcpy(u->host, text, len);
	u->host[len] = '\0';
	const char *bracket = strrchr(u->host, ']'),
		   *colon = strrchr(u->host, ':'); /* colons of [::1] are none of a port */
	bool has_port = colon && (!bracket || colon > bracket);
	snprintf(u->address, sizeof u->address, has_port ? "%s" : "%s:80", u->host);
	u->path = text[len] == '/' ? text + len : "/";
	return true;
}

/* Status of a reply's head in buf[0..len) and its Content-Length, -1 without one. 0: it is no HTTP. */
static int parse_head(const char *buf, size_t len, long long *length)
{
	const char *line = buf, *end = buf + len;
	int status = 0;

	*length = -1;
	if (sscanf(buf, "HTTP/1.%*1d %3d", &status) != 1)
		return 0;
	while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
		if (strncasecmp(line, "content-length:", 15) == 0)
			*length = strtoll(line + 15, NULL, 10);
	}
	return status;
}

/* One request. Number of bytes of the body or a negative errno; -EPROTO for any answer but 200. */
static long long get(const struct url *u, int64_t deadline)
{
	char buf[8192];
	size_t len = 0;
	long long length = -1, total = 0;
	const char *body = NULL;

	int fd = gmp_dial("tcp", u->address, deadline);
	if (fd < 0)
		return fd;
	static const char form[] = "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: gmpsched\r\nConnection: close\r\n\r\n";
	int n = snprintf(buf, sizeof buf, form, u->path, u->host);
	ssize_t r = n < (int)sizeof buf ? gmp_write_all(fd, buf, (size_t)n, deadline) : -EMSGSIZE;
	if (r >= 0 && r < n)
		r = -EPIPE;

	while (r >= 0 && !body) { /* the head */
		r = gmp_read_until(fd, buf + len, sizeof buf - 1 - len, deadline);
		if (r <= 0) { /* ended, or its head does not fit */
			r = r < 0 ? r : -EPROTO;
			break;
		}
		len += (size_t)r;
		buf[len] = '\0';
		body = strstr(buf, "\r\n\r\n");
		if (body && parse_head(buf, (size_t)(body - buf) + 2, &length) != 200)
			r = -EPROTO;
	}
	if (body)
		total = (long long)len - (body + 4 - buf);
	while (r > 0 && (length < 0 || total < length)) { /* the rest of the body */
		r = gmp_read_until(fd, buf, sizeof buf, deadline);
		total += r > 0 ? r : 0;
	}
	gmp_close(fd);
	if (r < 0)
		return r;
	return length >= 0 && total != length ? -EPROTO : total;
}

static void fetch(void *arg)
{
	struct job *j = arg;
	int i = atomic_fetch_add(&j->next, 1);

	long long n = get(&j->urls[i % j->url_count], gmp_now() + j->timeout);
	if (n < 0 && atomic_fetch_add(&j->failed, 1) < 10)
		fprintf(stderr, "\r%s%s: %s\n", j->urls[i % j->url_count].host, j->urls[i % j->url_count].path,
			strerror((int)-n));
	if (n > 0)
		atomic_fetch_add(&j->bytes, n);
	atomic_fetch_add(&j->done, 1);
	gmp_sem_release(&j->slots);
}

static void show(const struct job *j, const char *end)
{
	double seconds = (double)(gmp_now() - j->started) / 1e9;
	int done = atomic_load(&j->done);

	fprintf(stderr, "\r%d of %d done, %d failed, %.1f MB, %.0f/s%s", done, j->requests, atomic_load(&j->failed),
		(double)atomic_load(&j->bytes) / 1e6, done / (seconds > 0 ? seconds : 1), end);
}

static void progress(void *arg)
{
	const struct job *j = arg;

	while (gmp_sleep(200 * GMP_MSEC) == 0) /* until it is cancelled */
		show(j, "   ");
}

static void run(void *arg)
{
	struct job *j = arg;
	gmp_group *fetches = gmp_group_new(), *ticker = gmp_group_new();
	int err = fetches && ticker ? gmp_group_spawn(ticker, progress, j) : -ENOMEM;

	j->started = gmp_now();
	gmp_sem_init(&j->slots, j->concurrent);
	for (int i = 0; i < j->requests && !err; i++) {
		err = gmp_sem_acquire(&j->slots); /* waits here for one of them to end when all slots are taken */
		if (!err)
			err = gmp_group_spawn(fetches, fetch, j);
	}
	if (!err)
		err = gmp_group_wait(fetches);
	if (err)
		fprintf(stderr, "fetch: %s\n", strerror(-err));
	gmp_group_free(fetches);
	gmp_group_free(ticker);
	show(j, "\n");
}

static int to_number(const char *text, int max)
{
	char *end;
	long value = strtol(text, &end, 10);

	return *end || value < 1 || value > max ? -1 : (int)value;
}

int main(int argc, char **argv)
{
	struct job job = {.concurrent = 64, .timeout = 10 * GMP_SEC};
	bool bad = false;
	int opt;

	while ((opt = getopt(argc, argv, "c:n:t:")) != -1) {
		int value = opt == '?' ? -1 : to_number(optarg, opt == 't' ? 3600 : 10000000);
		bad |= value < 0;
		if (opt == 'c')
			job.concurrent = value;
		else if (opt == 'n')
			job.requests = value;
		else if (opt == 't')
			job.timeout = value * GMP_SEC;
	}
	job.url_count = argc - optind;
	job.urls = calloc((size_t)job.url_count + 1, sizeof *job.urls);
	if (!job.urls)
		return 1;
	for (int i = 0; i < job.url_count; i++)
		bad |= !parse_url(&job.urls[i], argv[optind + i]);
	if (bad || job.url_count == 0) {
		fprintf(stderr, "usage: fetch [-c CONCURRENT] [-n REQUESTS] [-t SECONDS] http://HOST[:PORT]/PATH...\n");
		free(job.urls);
		return 2;
	}
	if (job.requests == 0)
		job.requests = job.url_count;

	int err = gmp_run(run, &job, NULL);
	if (err)
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
	free(job.urls);
	return err || atomic_load(&job.failed) ? 1 : 0;
}
