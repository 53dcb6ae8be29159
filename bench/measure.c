/* SPDX-License-Identifier: MIT
 * measure.c - checks, clocks, memory figures and statistics of gmp-bench. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct memory memory_at_start;

void bench_fail(const char *fmt, ...)
{
	va_list args;

	fputs("gmp-bench: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1); /* exit handlers have no business on a coroutine's stack */
}

void bench_fail_call(const char *call, int err) { bench_fail("%s: %s", call, strerror(-err)); }

void *must_alloc(size_t count, size_t size)
{
	void *p = calloc(count, size);

	check(p, "no memory for %zu x %zu bytes", count, size);
	return p;
}

gmp_chan *must_chan(size_t elem_size, size_t capacity)
{
	gmp_chan *c = gmp_chan_new(elem_size, capacity);

	check(c, "no memory for a channel");
	return c;
}

int64_t env_number(const char *name, int64_t otherwise)
{
	const char *text = getenv(name);
	char *end;

	if (!text || !*text)
		return otherwise;
	errno = 0;
	int64_t value = strtoll(text, &end, 10);
	check(*end == '\0' && errno == 0 && value >= 0, "%s=%s is not a number from 0", name, text);
	return value;
}

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

static int64_t timeval_ns(struct timeval tv) { return (int64_t)tv.tv_sec * GMP_SEC + (int64_t)tv.tv_usec * GMP_USEC; }

int64_t cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
}

__attribute__((noinline)) uint64_t spin(uint64_t iterations)
{
	uint64_t x = UINT64_C(88172645463325252);

	for (uint64_t i = 0; i < iterations; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

double spin_ns(void)
{
	enum { SAMPLES = 9, ITERATIONS = 500000 };
	int64_t best = INT64_MAX;
	uint64_t sum = 0;

	for (int i = 0; i < SAMPLES; i++) {
		int64_t start = now_ns();
		sum += spin(ITERATIONS);
		int64_t took = now_ns() - start;
		if (took < best)
			best = took;
	}
	check(sum && best > 0, "the calibration took no time");
	return (double)best / ITERATIONS;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void add(struct result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct result *r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int len = vsnprintf(r->extra + r->extra_len, sizeof r->extra - r->extra_len, fmt, args);
	va_end(args);
	check(len >= 0 && (size_t)len < sizeof r->extra - r->extra_len, "too many extra figures");
	r->extra_len += (size_t)len;
}

void result_number(struct result *r, const char *key, double value)
{
	/* 15 digits show a decimal fraction as it is meant, and a whole number without one. */
	double rounded = (double)(int64_t)(value * 1000 + (value < 0 ? -0.5 : 0.5)) / 1000;

	add(r, "%s\"%s\":%.15g", r->extra_len ? "," : "", key, rounded);
}

void result_text(struct result *r, const char *key, const char *value)
{
	add(r, "%s\"%s\":\"%s\"", r->extra_len ? "," : "", key, value);
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t quantile(int64_t *samples, size_t count, double fraction)
{
	qsort(samples, count, sizeof *samples, ascending);
	return samples[(size_t)(fraction * (double)(count - 1))];
}

void result_quantiles(struct result *r, const char *what, int64_t *samples, size_t count)
{
	static const struct {
		const char *prefix;
		double fraction;
	} wanted[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};

	qsort(samples, count, sizeof *samples, ascending);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		char key[64];
		snprintf(key, sizeof key, "%s_%s", wanted[i].prefix, what);
		result_number(r, key, (double)samples[(size_t)(wanted[i].fraction * (double)(count - 1))] / 1e3);
	}
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Plain system calls: stdio would allocate in the middle of what is measured. */
static void slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	check(fd >= 0, "%s: %s", path, strerror(errno));
	ssize_t len = read(fd, buf, size - 1);
	check(len > 0, "%s cannot be read", path);
	buf[len] = '\0';
	close(fd);
}

struct memory memory_now(void)
{
	struct memory m;
	char text[4096], *rest;
	int64_t page = sysconf(_SC_PAGESIZE);

	slurp("/proc/self/statm", text, sizeof text);
	m.vsz = strtoll(text, &rest, 10) * page;
	m.rss = strtoll(rest, NULL, 10) * page;
	slurp("/proc/self/status", text, sizeof text);
	const char *pte = strstr(text, "VmPTE:"); /* emulators have no such line */
	m.pte = pte ? strtoll(pte + sizeof "VmPTE:" - 1, NULL, 10) * 1024 : 0;
	return m;
}
