/* SPDX-License-Identifier: MIT
 * http_parse.h - incremental parser of HTTP/1.x request heads (RFC 9112). Pure: no I/O, no allocation, no global state.
 *
 * The caller keeps the bytes; the parser remembers how far it came, so a head that arrives byte by byte costs linear
 * time. It is strict where leniency has let requests be smuggled past proxies: lines end in CRLF, no folded fields, no
 * space before a colon, one Host, one Content-Length, none beside a Transfer-Encoding.
 */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_MAX_HEAD 16384 /* bytes of request line and fields together: beyond it 431 */
#define HTTP_MAX_FIELDS 100

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OTHER /* defined, yet not served here */, HTTP_UNKNOWN };

/* All zero: ready for the first byte of a request. */
struct http_request {
	uint32_t target, target_len; /* as an offset from the head's first byte: the buffer may move while it fills */
	int64_t content_length;      /* 0 without the field */
	enum http_method method;
	uint8_t minor; /* of HTTP/1.minor */
	bool keep_alive;
	bool chunked;         /* Transfer-Encoding: chunked */
	bool expect_continue; /* the client holds its body back until it is told to go on */

	/* progress */
	bool have_line, have_host, have_length, have_coding;
	uint8_t fields;
	uint32_t line;    /* where the line that is not complete yet starts */
	uint32_t scanned; /* no line end between `line` and here */
};

/* Looks at buf[0..len), which starts with the head's first byte and only ever grows between calls on the same request.
 * > 0: length of the complete head; 0: needs more bytes; < 0: negative status to answer with (400, 431, 501, 505). */
int http_parse(struct http_request *req, const char *buf, size_t len);

/* Path of a request target ("/a%20b?q", "http://host/a"), percent-decoded and NUL-terminated in dst[0..cap).
 * It starts with '/' and has no "." or ".." segment, no empty one except at its end, and no NUL.
 * Its length; -400 malformed or trying to climb; -414 does not fit. */
int http_path(char *dst, size_t cap, const char *target, size_t len);

/* "Not Found" for 404. */
const char *http_reason(int status);

#endif
