/* SPDX-License-Identifier: MIT
 * http_parse.c - see http_parse.h.
 */
#include "http_parse.h"

#include <string.h>
#include <strings.h>

static const bool is_token[256] = {
	['!'] = 1,
	['#'] = 1,
	['$'] = 1,
	['%'] = 1,
	['&'] = 1,
	['\''] = 1,
	['*'] = 1,
	['+'] = 1,
	['-'] = 1,
	['.'] = 1,
	['^'] = 1,
	['_'] = 1,
	['`'] = 1,
	['|'] = 1,
	['~'] = 1,
	['0' ... '9'] = 1,
	['A' ... 'Z'] = 1,
	['a' ... 'z'] = 1,
};

static bool equals(const char *p, size_t n, const char *lower)
{
	return n == strlen(lower) && strncasecmp(p, lower, n) == 0;
}

static bool all_token(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_token[(unsigned char)p[i]])
			return false;
	}
	return n > 0;
}

/* Methods are case-sensitive. What is defined but not for us is 405, what nobody knows is 501: the caller's choice. */
static enum http_method method_of(const char *p, size_t n)
{
	static const char others[][8] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};

	if (n == 3 && memcmp(p, "GET", 3) == 0)
		return HTTP_GET;
	if (n == 4 && memcmp(p, "HEAD", 4) == 0)
		return HTTP_HEAD;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		if (n == strlen(others[i]) && memcmp(p, others[i], n) == 0)
			return HTTP_OTHER;
	}
	return HTTP_UNKNOWN;
}

/* "GET /target HTTP/1.1"; `at` is its offset in the head. 0 or the status of the refusal. */
static int request_line(struct http_request *req, const char *line, size_t n, size_t at)
{
	const char *end = line + n;
	const char *target = memchr(line, ' ', n);

	if (!target || !all_token(line, (size_t)(target - line)))
		return 400;
	req->method = method_of(line, (size_t)(target - line));
	target++;

	const char *version = target;
	while (version < end && (unsigned char)*version > ' ' && *version != 0x7f)
		version++;
	req->target = (uint32_t)(at + (size_t)(target - line));
	req->target_len = (uint32_t)(version - target);
	if (req->target_len == 0 || end - version != 9 || memcmp(version, " HTTP/", 6) != 0 || version[7] != '.')
		return 400;
	if (version[6] < '0' || version[6] > '9' || version[8] < '0' || version[8] > '9')
		return 400;
	if (version[6] != '1')
		return 505;
	req->minor = (uint8_t)(version[8] - '0');
	req->keep_alive = req->minor >= 1;
	req->have_line = true;
	return 0;
}

/* The comma-separated tokens of a Connection field. An unknown one means nothing to us. */
static void connection_options(struct http_request *req, const char *p, size_t n)
{
	while (n > 0) {
		const char *comma = memchr(p, ',', n);
		size_t len = comma ? (size_t)(comma - p) : n;
		size_t from = 0, to = len;
		while (from < to && (p[from] == ' ' || p[from] == '\t'))
			from++;
		while (to > from && (p[to - 1] == ' ' || p[to - 1] == '\t'))
			to--;
		if (equals(p + from, to - from, "close"))
			req->keep_alive = false;
		else if (equals(p + from, to - from, "keep-alive") && req->minor == 0)
			req->keep_alive = true;
		len += comma != NULL;
		p += len;
		n -= len;
	}
}

static int content_length(struct http_request *req, const char *p, size_t n)
{
	if (req->have_length || n == 0 || n > 18) /* 18 digits always fit an int64_t */
		return 400;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return 400;
		req->content_length = req->content_length * 10 + (p[i] - '0');
	}
	req->have_length = true;
	return 0;
}

/* "Name: value". 0 or the status of the refusal. */
static int field(struct http_request *req, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n);

	if (req->fields == HTTP_MAX_FIELDS)
		return 431;
	req->fields++;
	if (!colon || !all_token(line, (size_t)(colon - line))) /* a folded line starts with a space: refused here */
		return 400;

	size_t name_len = (size_t)(colon - line);
	const char *value = colon + 1, *end = line + n;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	for (const char *p = value; p < end; p++) {
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return 400;
	}

	size_t value_len = (size_t)(end - value);
	switch (name_len) {
	case 4:
		if (equals(line, name_len, "host")) {
			if (req->have_host)
				return 400;
			req->have_host = true;
		}
		break;
	case 6:
		if (equals(line, name_len, "expect"))
			req->expect_continue = equals(value, value_len, "100-continue");
		break;
	case 10:
		if (equals(line, name_len, "connection"))
			connection_options(req, value, value_len);
		break;
	case 14:
		if (equals(line, name_len, "content-length"))
			return content_length(req, value, value_len);
		break;
	case 17:
		if (equals(line, name_len, "transfer-encoding")) {
			if (req->have_coding)
				return 400;
			req->have_coding = true;
			if (!equals(value, value_len, "chunked"))
				return 501;
			req->chunked = true;
		}
		break;
	default:
		break;
	}
	return 0;
}

int http_parse(struct http_request *req, const char *buf, size_t len)
{
	size_t limit = len < HTTP_MAX_HEAD ? len : HTTP_MAX_HEAD;

	for (;;) {
		const char *line = buf + req->line;
		const char *newline = NULL;

		if (limit > req->scanned)
			newline = memchr(buf + req->scanned, '\n', limit - req->scanned);
		if (!newline) {
			req->scanned = (uint32_t)limit;
			/* Who does not even speak HTTP (a TLS client, say) is told so at the first byte. */
			if (!req->have_line && limit > req->line && *line != '\r' && !is_token[(unsigned char)*line])
				return -400;
			return limit == HTTP_MAX_HEAD ? -431 : 0;
		}

		size_t at = req->line, n = (size_t)(newline - line);
		if (n == 0 || line[n - 1] != '\r')
			return -400;
		n--;
		req->line = req->scanned = (uint32_t)(newline + 1 - buf);
		if (n == 0 && req->have_line)
			break;
		if (n == 0) /* empty lines before a request are to be ignored (RFC 9112, 2.2) */
			continue;
		int status = req->have_line ? field(req, line, n) : request_line(req, line, n, at);
		if (status)
			return -status;
	}

	if (req->minor >= 1 && !req->have_host)
		return -400;
	if (req->have_coding && (req->have_length || req->minor == 0))
		return -400;
	return (int)req->line;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int http_path(char *dst, size_t cap, const char *target, size_t len)
{
	size_t n = 0, segment = 0; /* dst[segment] is the '/' that the present segment follows */

	if (len > 7 && strncasecmp(target, "http://", 7) == 0) { /* absolute form: every server must take it */
		const char *slash = memchr(target + 7, '/', len - 7);
		if (!slash) {
			target = "/";
			len = 1;
		} else {
			len -= (size_t)(slash - target);
			target = slash;
		}
	}
	if (len == 0 || target[0] != '/')
		return -400;

	for (size_t i = 0; i <= len; i++) {
		bool end = i == len || target[i] == '?' || target[i] == '#';
		int c = end ? '/' : (unsigned char)target[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_digit(target[i + 1]) : -1;
			int low = i + 2 < len ? hex_digit(target[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -400;
			c = high * 16 + low;
			i += 2;
			if (c == '/') /* an encoded slash is data, which no file name can hold */
				return -400;
		}
		if (c == 0)
			return -400;
		if (c == '/' && n > 0) {
			size_t seg_len = n - segment - 1;
			if (seg_len == 2 && dst[segment + 1] == '.' && dst[segment + 2] == '.')
				return -400;
			if (seg_len == 1 && dst[segment + 1] == '.')
				n = segment + 1;
			if (end)
				break;
			if (n == segment + 1) /* "//" and "/./" are "/" */
				continue;
			segment = n;
		}
		if (n + 1 >= cap)
			return -414;
		dst[n++] = (char)c;
	}
	dst[n] = '\0';
	return (int)n;
}

const char *http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Unknown";
	}
}
