/* SPDX-License-Identifier: MIT
 * test_http_parse.c - the HTTP parser of examples/httpd.c: what it takes and refuses, split at every byte, and garbage.
 */
#include "../examples/http_parse.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

/* Parses from a heap block of exactly the right size, so that ASan sees a read past the end. */
static int parse_exact(struct http_request *req, const char *text, size_t len)
{
	char *copy = malloc(len + (len == 0));

	assert_non_null(copy);
	memcpy(copy, text, len);
	int n = http_parse(req, copy, len);
	free(copy);
	return n;
}

static int parse(struct http_request *req, const char *text)
{
	*req = (struct http_request){0};
	return parse_exact(req, text, strlen(text));
}

static void takes_requests(void **state)
{
	struct http_request req;
	const char *text = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nUser-Agent: y z\r\n\r\nGET /next";

	(void)state;
	assert_int_equal(parse(&req, text), (int)(strstr(text, "GET /next") - text));
	assert_int_equal(req.method, HTTP_GET);
	assert_int_equal(req.target_len, 6);
	assert_memory_equal(text + req.target, "/a?b=c", 6);
	assert_int_equal(req.minor, 1);
	assert_true(req.keep_alive);
	assert_int_equal(req.content_length, 0);

	assert_true(parse(&req, "\r\n\r\nHEAD / HTTP/1.0\r\n\r\n") > 0);
	assert_int_equal(req.method, HTTP_HEAD);
	assert_false(req.keep_alive);
	assert_int_equal(req.target, 9);
	assert_true(parse(&req, "GET / HTTP/1.0\r\nConnection: foo , Keep-Alive\r\n\r\n") > 0);
	assert_true(req.keep_alive);
	assert_true(parse(&req, "GET / HTTP/1.1\r\nhOST:\r\nconnection: CLOSE\r\n\r\n") > 0);
	assert_false(req.keep_alive);
	assert_true(
		parse(&req, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0012 \r\nExpect: 100-continue\r\n\r\n") > 0);
	assert_int_equal(req.method, HTTP_OTHER);
	assert_int_equal(req.content_length, 12);
	assert_true(req.expect_continue);
	assert_true(parse(&req, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n") > 0);
	assert_true(req.chunked);
	assert_true(parse(&req, "get / HTTP/1.1\r\nHost: a\r\n\r\n") > 0);
	assert_int_equal(req.method, HTTP_UNKNOWN);
	assert_true(parse(&req, "OPTIONS * HTTP/1.9\r\nHost: a\r\nX:\ty\xe4\t\r\n\r\n") > 0);
}

static void refuses(void **state)
{
	static const struct {
		int status;
		const char *text;
	} cases[] = {
		{400, "GET / HTTP/1.1\r\n\r\n"}, /* no Host */
		{400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"}, {400, "GET / HTTP/1.1\nHost: a\n\n"},
		{400, "GET /\r\n"}, {400, "GET  / HTTP/1.1\r\n"}, {400, "GET / HTTP/1.1 \r\n"},
		{400, "GET / x HTTP/1.1\r\n"}, {400, " GET / HTTP/1.1\r\n"}, {400, "GET\t/ HTTP/1.1\r\n"},
		{400, "G(T / HTTP/1.1\r\n"}, {400, "GET /\x01 HTTP/1.1\r\n"},
		{400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"}, {400, "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n"}, {400, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
		{505, "GET / HTTP/2.0\r\n"}, {400, "\x16\x03\x01"}, /* TLS: known at the first byte */
	};
	struct http_request req;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int n = parse(&req, cases[i].text);
		if (n != -cases[i].status)
			print_error("case %zu: %d\n", i, n);
		assert_int_equal(n, -cases[i].status);
	}
}

static void bounds_heads(void **state)
{
	struct http_request req = {0};
	char *text = malloc(HTTP_MAX_HEAD + 100);
	size_t len;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', HTTP_MAX_HEAD + 100);
	memcpy(text, "GET /", 5); /* an endless target */
	assert_int_equal(http_parse(&req, text, HTTP_MAX_HEAD - 1), 0);
	assert_int_equal(http_parse(&req, text, HTTP_MAX_HEAD + 100), -431);

	len = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < HTTP_MAX_FIELDS; i++)
		len += (size_t)sprintf(text + len, "A: b\r\n");
	req = (struct http_request){0};
	assert_int_equal(http_parse(&req, text, len), -431);
	free(text);
}

static void splits_anywhere(void **state)
{
	static const char *const texts[] = {
		"GET /index.html HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
		"\r\nPOST /x HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
	};

	(void)state;
	for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
		struct http_request whole = {0}, bytewise = {0};
		size_t len = strlen(texts[t]);
		int expected = parse_exact(&whole, texts[t], len), n = 0;

		for (size_t split = 0; split <= len; split++) {
			struct http_request req = {0};
			n = parse_exact(&req, texts[t], split);
			if (n == 0)
				n = parse_exact(&req, texts[t], len);
			assert_int_equal(n, expected);
			if (expected > 0)
				assert_memory_equal(&req, &whole, offsetof(struct http_request, line));
		}
		n = 0;
		for (size_t i = 1; i <= len && n == 0; i++)
			n = parse_exact(&bytewise, texts[t], i);
		assert_int_equal(n, expected);
	}
}

static int path_of(char *dst, size_t cap, const char *target) { return http_path(dst, cap, target, strlen(target)); }

static void decodes_paths(void **state)
{
	static const char *const good[][2] = {
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a%20b?c=/../d", "/a b"},
		{"//a///b/", "/a/b/"},
		{"/./a/.", "/a/"},
		{"/a/./b#f", "/a/b"},
		{"/...", "/..."},
		{"/.a/..b", "/.a/..b"},
		{"/%41%2e", "/A."},
		{"http://h:1/x?y", "/x"},
		{"HTTP://h", "/"},
		{"/?", "/"},
	};
	static const char *const bad[] = {
		"",
		"*",
		"a",
		"/..",
		"/../x",
		"/a/../b",
		"/%2e%2e/x",
		"/.%2E",
		"/a/..",
		"/%2e./",
		"/a%2fb",
		"/%00",
		"/%",
		"/%4",
		"/%zz",
		"/..?x",
	};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(path_of(path, sizeof path, good[i][0]), (int)strlen(good[i][1]));
		assert_string_equal(path, good[i][1]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(path_of(path, sizeof path, bad[i]), -400);
	assert_int_equal(path_of(path, 4, "/ab"), 3);
	assert_int_equal(path_of(path, 4, "/abc"), -414);
}

/* ---- garbage ----------------------------------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned draw(unsigned n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (unsigned)((seed * UINT64_C(2685821657736338717)) >> 33) % n;
}

static void print_seed(void)
{
	const char *given = getenv("GMP_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	print_message("GMP_TEST_SEED=%llu\n", (unsigned long long)seed);
}

static size_t add(char *dst, size_t len, const char *piece)
{
	memcpy(dst + len, piece, strlen(piece));
	return len + strlen(piece);
}

/* A request made of likely pieces, now and then with a byte of it changed. At most 400 bytes. */
static size_t garbage(char *dst)
{
	static const char *const lines[] = {
		"Host: a\r\n",
		"Content-Length: 5\r\n",
		"Transfer-Encoding: chunked\r\n",
		"Connection: close, x\r\n",
		"X:\ty\r\n",
		"Connection: keep-alive\r\n",
		"Expect: 100-continue\r\n",
		"\r\n",
		"\n",
		" folded\r\n",
		"no colon\r\n",
		":\r\n",
	};
	static const char *const parts[] = {
		"/", "a", ".", "..", "%2e", "%2F", "%", "?", "#", "http://", "\x80", "//", "%00", "*"};
	size_t len = add(dst, 0, draw(8) ? "GET /" : "\r\n");

	for (unsigned n = draw(8); n > 0; n--)
		len = add(dst, len, parts[draw(sizeof parts / sizeof parts[0])]);
	len = add(dst, len, draw(4) ? " HTTP/1.1\r\nHost: b\r\n" : " HTTP/1.0\r\n");
	for (unsigned n = draw(4); n > 0; n--)
		len = add(dst, len, lines[draw(sizeof lines / sizeof lines[0])]);
	if (draw(8))
		len = add(dst, len, "\r\n");
	for (unsigned n = draw(3); n > 0; n--)
		dst[draw((unsigned)len)] = (char)draw(256);
	return len;
}

static void survives_garbage(void **state)
{
	char text[400], path[256];
	int complete = 0;

	(void)state;
	print_seed();
	for (int round = 0; round < 200000; round++) {
		struct http_request whole = {0}, split = {0};
		size_t len = garbage(text);
		int expected = parse_exact(&whole, text, len), n = 0;

		assert_true(expected <= (int)len && (expected >= 0 || http_reason(-expected)[0] != 'U'));
		for (size_t at = 0; at <= len && n == 0; at += 1 + draw(40))
			n = parse_exact(&split, text, at);
		if (n == 0)
			n = parse_exact(&split, text, len);
		assert_int_equal(n, expected);
		if (n <= 0)
			continue;
		complete++;
		assert_memory_equal(&whole, &split, offsetof(struct http_request, line));
		assert_true(whole.target + whole.target_len <= (size_t)n);
		int p = http_path(path, sizeof path, text + whole.target, whole.target_len);
		if (p < 0)
			continue;
		assert_int_equal(strlen(path), p);
		assert_true(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
		assert_false(p >= 3 && strcmp(path + p - 3, "/..") == 0);
	}
	print_message("%d of 200000 were requests\n", complete);
	assert_true(complete > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_requests),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_heads),
		cmocka_unit_test(splits_anywhere),
		cmocka_unit_test(decodes_paths),
		cmocka_unit_test(survives_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
