/* SPDX-License-Identifier: MIT
 * resp.h - incremental parser of Redis requests (RESP2 arrays and inline commands). No I/O, no global state.
 *
 * The caller keeps the bytes; the parser remembers how far it came. Limits hold before memory is spent on what a client
 * merely announces.
 */
#ifndef KVD_RESP_H
#define KVD_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_MAX_ARGS 65536
#define RESP_MAX_BULK (8 * 1024 * 1024)     /* of one argument */
#define RESP_MAX_REQUEST (16 * 1024 * 1024) /* of a whole request */
#define RESP_MAX_INLINE (16 * 1024)

enum resp_error {
	RESP_BAD_COUNT = -1,  /* not an array length, or too large */
	RESP_BAD_TYPE = -2,   /* an array's element is not a bulk string */
	RESP_BAD_LENGTH = -3, /* not a bulk length, or too large */
	RESP_BAD_END = -4,    /* a bulk string without its CRLF */
	RESP_BAD_INLINE = -5, /* too long */
	RESP_TOO_BIG = -6,
	RESP_NO_MEMORY = -7,
};

struct resp_arg {
	const char *p;         /* valid once the request is complete */
	uint64_t hash;         /* for who runs the command */
	uint32_t len, offset; /* less than RESP_MAX_REQUEST */
};

/* All zero: ready for the first byte of a request. */
struct resp_request {
	struct resp_arg *argv; /* small, or allocated for more than that; NULL before the first request */
	uint32_t argc;
	/* progress */
	uint32_t want; /* arguments announced */
	uint32_t cap;
	uint8_t state;
	size_t pos;     /* everything before it is understood */
	size_t bulk;    /* length of the argument at pos, when the state says so */
	size_t scanned; /* of an inline command: no line end before it */
	struct resp_arg small[8];
};

/* Looks at buf[0..len), which starts with the request's first byte and only ever grows between calls on the same
 * request. > 0: length of the request (argc 0: nothing to do); 0: needs more bytes; < 0: an enum resp_error. */
int64_t resp_parse(struct resp_request *req, const char *buf, size_t len);

/* At least so many bytes, from the request's first one, are needed before resp_parse can go on. */
size_t resp_need(const struct resp_request *req);

/* Ready for the next request. Keeps room for some arguments: a client mostly sends more of the same. */
void resp_reset(struct resp_request *req);

/* The same, and keeps nothing. */
void resp_free(struct resp_request *req);
static inline bool resp_holds_memory(const struct resp_request *req) { return req->argv && req->argv != req->small; }

/* What to tell the client, without "-ERR " and CRLF. */
const char *resp_message(int64_t error);

#endif
