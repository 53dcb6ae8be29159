/* SPDX-License-Identifier: MIT
 * resp.c - see resp.h.
 */
#include "resp.h"

#include <stdlib.h>
#include <string.h>

enum { START, INLINE, BULK_HEAD, BULK_BODY };

#define KEEP_ARGS 128 /* room for so many stays allocated */
#define NUMBER_MAX 12 /* digits and sign of any number that a limit lets pass, and more */

/* "123\r\n" at p[0..n). Its length; 0: more bytes are needed; -1: no such number. */
static int number(const char *p, size_t n, int64_t *out)
{
	bool negative = n > 0 && *p == '-';
	size_t i = negative;
	int64_t value = 0;

	for (; i < n && i < NUMBER_MAX && p[i] >= '0' && p[i] <= '9'; i++)
		value = value * 10 + (p[i] - '0');
	if (i == n)
		return 0;
	if (p[i] != '\r' || i == (size_t)negative)
		return -1;
	if (i + 1 == n)
		return 0;
	if (p[i + 1] != '\n')
		return -1;
	*out = negative ? -value : value;
	return (int)i + 2;
}

static bool add_arg(struct resp_request *req, size_t offset, size_t len)
{
	if (!req->argv) {
		req->argv = req->small;
		req->cap = sizeof req->small / sizeof req->small[0];
	}
	if (req->argc == req->cap) {
		struct resp_arg *old = req->argv == req->small ? NULL : req->argv;
		struct resp_arg *argv = realloc(old, 2 * req->cap * sizeof *argv);
		if (!argv)
			return false;
		if (!old)
			memcpy(argv, req->small, sizeof req->small);
		req->argv = argv;
		req->cap *= 2;
	}
	req->argv[req->argc++] = (struct resp_arg){.offset = (uint32_t)offset, .len = (uint32_t)len};
	return true;
}

/* A line of words, ended by LF or CRLF. */
static int64_t parse_inline(struct resp_request *req, const char *buf, size_t len)
{
	size_t limit = len < RESP_MAX_INLINE ? len : RESP_MAX_INLINE;
	const char *newline = memchr(buf + req->scanned, '\n', limit - req->scanned);

	req->scanned = limit;
	if (!newline)
		return limit == RESP_MAX_INLINE ? RESP_BAD_INLINE : 0;

	size_t end = (size_t)(newline - buf);
	for (size_t i = 0; i < end;) {
		size_t from = i;
		while (i < end && buf[i] != ' ' && buf[i] != '\t' && buf[i] != '\r')
			i++;
		if (i > from && !add_arg(req, from, i - from))
			return RESP_NO_MEMORY;
		if (i == from)
			i++;
	}
	req->pos = end + 1;
	return (int64_t)req->pos;
}

/* "*3\r\n" and then the arguments. */
static int64_t parse_array(struct resp_request *req, const char *buf, size_t len)
{
	int64_t value;
	int n;

	if (req->state == START) {
		n = number(buf + 1, len - 1, &value);
		if (n <= 0)
			return n < 0 ? RESP_BAD_COUNT : 0;
		if (value > RESP_MAX_ARGS)
			return RESP_BAD_COUNT;
		req->pos = 1 + (size_t)n;
		req->want = value > 0 ? (uint32_t)value : 0;
		req->state = BULK_HEAD;
	}
	while (req->argc < req->want) {
		const char *p = buf + req->pos;
		size_t left = len - req->pos;

		if (req->state == BULK_HEAD) {
			if (left == 0)
				return 0;
			if (*p != '$')
				return RESP_BAD_TYPE;
			n = number(p + 1, left - 1, &value);
			if (n == 0)
				return 0;
			if (n < 0 || value < 0 || value > RESP_MAX_BULK)
				return RESP_BAD_LENGTH;
			req->pos += 1 + (size_t)n;
			req->bulk = (size_t)value;
			if (req->pos + req->bulk > RESP_MAX_REQUEST)
				return RESP_TOO_BIG;
			req->state = BULK_BODY;
			continue;
		}
		if (left < req->bulk + 2)
			return 0;
		if (p[req->bulk] != '\r' || p[req->bulk + 1] != '\n')
			return RESP_BAD_END;
		if (!add_arg(req, req->pos, req->bulk))
			return RESP_NO_MEMORY;
		req->pos += req->bulk + 2;
		req->state = BULK_HEAD;
	}
	return (int64_t)req->pos;
}

int64_t resp_parse(struct resp_request *req, const char *buf, size_t len)
{
	if (len == 0)
		return 0;
	if (req->state == START && buf[0] != '*')
		req->state = INLINE;

	int64_t n = req->state == INLINE ? parse_inline(req, buf, len) : parse_array(req, buf, len);
	for (uint32_t i = 0; n > 0 && i < req->argc; i++)
		req->argv[i].p = buf + req->argv[i].offset;
	return n;
}

size_t resp_need(const struct resp_request *req) { return req->pos + (req->state == BULK_BODY ? req->bulk + 2 : 1); }

void resp_reset(struct resp_request *req)
{
	if (req->cap > KEEP_ARGS) {
		resp_free(req);
		return;
	}
	req->argc = req->want = 0;
	req->state = START;
	req->pos = req->bulk = req->scanned = 0;
}

void resp_free(struct resp_request *req)
{
	if (resp_holds_memory(req))
		free(req->argv);
	req->argv = NULL;
	req->cap = 0;
	resp_reset(req);
}

const char *resp_message(int64_t error)
{
	switch (error) {
	case RESP_BAD_COUNT:
		return "Protocol error: invalid multibulk length";
	case RESP_BAD_TYPE:
		return "Protocol error: expected '$'";
	case RESP_BAD_LENGTH:
		return "Protocol error: invalid bulk length";
	case RESP_BAD_END:
		return "Protocol error: bulk string without its end";
	case RESP_BAD_INLINE:
		return "Protocol error: too big inline request";
	case RESP_TOO_BIG:
		return "Protocol error: too big request";
	default:
		return "out of memory";
	}
}
