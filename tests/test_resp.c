/* SPDX-License-Identifier: MIT
 * test_resp.c - the request parser and the hash table of examples/kvd: limits, split at every byte, garbage, scans.
 */
#include "../examples/kvd/resp.c"
#include "../examples/kvd/table.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

/* From a heap block of exactly the right size, so that ASan sees a read past the end. The block is the caller's. */
static int64_t parse_exact(struct resp_request *req, const char *text, size_t len, char **block)
{
	*block = malloc(len + (len == 0));
	assert_non_null(*block);
	memcpy(*block, text, len);
	return resp_parse(req, *block, len);
}

/* Expects `args`, separated by '|', in text[0..len) and `rest` bytes behind them. */
static void expect(const char *text, size_t len, const char *args, size_t rest)
{
	struct resp_request req = {0};
	char joined[256], *block;
	size_t n = 0;

	assert_int_equal(parse_exact(&req, text, len, &block), len - rest);
	for (uint32_t i = 0; i < req.argc; i++) {
		n += (size_t)snprintf(
			joined + n, sizeof joined - n, "%s%.*s", i ? "|" : "", (int)req.argv[i].len, req.argv[i].p);
		assert_true(n < sizeof joined);
	}
	joined[n] = '\0';
	assert_string_equal(joined, args);
	resp_free(&req);
	free(block);
}

static void takes_requests(void **state)
{
	(void)state;
#define EXPECT(text, args, rest) expect(text, sizeof(text) - 1, args, rest)
	EXPECT("*1\r\n$4\r\nPING\r\n", "PING", 0);
	EXPECT("*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1", "GET|", 2);
	EXPECT("*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n", "GET|\r\n", 0);
	EXPECT("*0\r\n", "", 0);
	EXPECT("*-1\r\n+", "", 1);
	EXPECT("PING\r\n", "PING", 0);
	EXPECT("  SET \t a  b \r\nGET", "SET|a|b", 3);
	EXPECT("\r\n", "", 0);
	EXPECT("get x\n", "get|x", 0);
	EXPECT("*11\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$"
	       "1\r\n8\r\n$1\r\n9\r\n"
	       "$2\r\n10\r\n",
		"0|1|2|3|4|5|6|7|8|9|10", 0);
}

static void refuses(void **state)
{
	static const struct {
		int64_t error;
		const char *text;
	} cases[] = {
		{RESP_BAD_COUNT, "*x\r\n"},
		{RESP_BAD_COUNT, "*\r\n"},
		{RESP_BAD_COUNT, "*1\rx"},
		{RESP_BAD_COUNT, "*65537\r\n"},
		{RESP_BAD_COUNT, "*99999999999999"},
		{RESP_BAD_TYPE, "*1\r\n:1\r\n"},
		{RESP_BAD_LENGTH, "*1\r\n$-1\r\n"},
		{RESP_BAD_LENGTH, "*1\r\n$8388609\r\n"},
		{RESP_BAD_LENGTH, "*1\r\n$1 \r\n"},
		{RESP_BAD_END, "*1\r\n$1\r\nabc"},
		{RESP_BAD_END, "*1\r\n$1\r\na\rx"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct resp_request req = {0};
		char *block;
		assert_int_equal(parse_exact(&req, cases[i].text, strlen(cases[i].text), &block), cases[i].error);
		assert_string_not_equal(resp_message(cases[i].error), "");
		resp_free(&req);
		free(block);
	}
}

static void bounds_requests(void **state)
{
	struct resp_request req = {0};
	char *text = malloc(RESP_MAX_REQUEST);
	size_t len;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', RESP_MAX_REQUEST);
	assert_int_equal(resp_parse(&req, text, RESP_MAX_INLINE - 1), 0);
	assert_int_equal(resp_parse(&req, text, RESP_MAX_INLINE), RESP_BAD_INLINE);

	resp_reset(&req);
	len = (size_t)sprintf(text, "*3\r\n$%d\r\n", RESP_MAX_BULK);
	assert_int_equal(resp_parse(&req, text, len), 0);
	assert_int_equal(resp_need(&req), len + RESP_MAX_BULK + 2);
	len += RESP_MAX_BULK;
	memcpy(text + len, "\r\n$8000000\r\n", 12);
	assert_int_equal(resp_parse(&req, text, len + 12), 0);
	len += 12 + 8000000;
	memcpy(text + len, "\r\n$500000\r\n", 11);
	assert_int_equal(resp_parse(&req, text, len + 11), RESP_TOO_BIG);
	resp_free(&req);
	free(text);
}

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

/* The same result whatever the pieces that the bytes come in. step 0: random ones. */
static int64_t in_pieces(const char *text, size_t len, size_t step, int64_t expected, uint32_t argc)
{
	struct resp_request req = {0};
	char *block = NULL;
	int64_t n = 0;

	for (size_t at = 0; n == 0;) {
		free(block);
		n = parse_exact(&req, text, at, &block);
		if (at == len)
			break;
		at += step ? step : 1 + draw(20);
		at = at < len ? at : len;
	}
	assert_int_equal(n, expected);
	if (n > 0)
		assert_int_equal(req.argc, argc);
	for (uint32_t i = 0; n > 0 && i < req.argc; i++)
		assert_memory_equal(req.argv[i].p, text + req.argv[i].offset, req.argv[i].len);
	resp_free(&req);
	free(block);
	return n;
}

static void splits_anywhere(void **state)
{
	static const char text[] = "*3\r\n$3\r\nSET\r\n$5\r\na\r\nb \r\n$10\r\n0123456789\r\n";
	static const char line[] = "SET key  value\r\n";

	(void)state;
	for (size_t step = 1; step < sizeof text; step++)
		in_pieces(text, sizeof text - 1, step, sizeof text - 1, 3);
	for (size_t step = 1; step < sizeof line; step++)
		in_pieces(line, sizeof line - 1, step, sizeof line - 1, 3);
}

static void survives_garbage(void **state)
{
	static const char *const pieces[] = {"*", "$", "1", "2", "3", "0", "-1", "\r\n", "\r", "\n", "GET", "a", " ",
		"*2\r\n", "$1\r\n", "$3\r\n", "abc\r\n", "x\r\n", "*1\r\n$1\r\na\r\n"};
	char text[256];
	int complete = 0;

	(void)state;
	print_seed();
	for (int round = 0; round < 200000; round++) {
		size_t len = 0;
		for (unsigned n = draw(16); n > 0; n--) {
			const char *piece = pieces[draw(sizeof pieces / sizeof pieces[0])];
			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
			if (draw(10) == 0)
				text[len++] = (char)draw(256);
		}
		struct resp_request req = {0};
		char *block;
		int64_t n = parse_exact(&req, text, len, &block);
		uint32_t argc = req.argc;
		assert_true(n <= (int64_t)len && n >= RESP_NO_MEMORY);
		resp_free(&req);
		free(block);
		complete += in_pieces(text, len, 0, n, argc) > 0 && argc > 0;
	}
	print_message("%d of 200000 were commands\n", complete);
	assert_true(complete > 0);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define KEYS 5000

static size_t key_of(char *dst, int i) { return (size_t)sprintf(dst, "key:%d", i); }

static void keeps_keys(void **state)
{
	struct table t = {0};
	char key[32], value[32];

	(void)state;
	assert_null(table_find(&t, table_hash("x", 1), "x", 1, 0));
	assert_false(table_remove(&t, table_hash("x", 1), "x", 1));
	for (int round = 0; round < 2; round++) { /* the second time the same keys, with values of other lengths */
		for (int i = 0; i < KEYS; i++) {
			size_t len = key_of(key, i);
			int value_len = sprintf(value, "%d", i * (round ? 1000 : 1));
			assert_true(table_set(&t, table_hash(key, len), key, len, value, (size_t)value_len,
				i % 3 ? TABLE_NEVER : 100));
		}
		assert_int_equal(t.count, KEYS);
		assert_int_equal(t.expiring, (KEYS + 2) / 3);
	}
	for (int i = 0; i < KEYS; i++) {
		size_t len = key_of(key, i);
		const struct entry *e = table_find(&t, table_hash(key, len), key, len, 99);
		assert_non_null(e);
		snprintf(value, sizeof value, "%.*s", (int)e->value_len, entry_value(e));
		assert_int_equal(atoi(value), i * 1000);
	}
	assert_null(table_find(&t, table_hash("key:0", 5), "key:0", 5, 100)); /* its time has come */
	assert_int_equal(t.count, KEYS - 1);
	table_sweep(&t, t.mask + 1, 100);
	assert_int_equal(t.expiring, 0);
	assert_int_equal(t.count, KEYS - (KEYS + 2) / 3);
	for (int i = 0; i < KEYS; i++) {
		size_t len = key_of(key, i);
		assert_int_equal(table_remove(&t, table_hash(key, len), key, len), i % 3 != 0);
	}
	assert_int_equal(t.count, 0);
	assert_true(t.mask < 256); /* it has shrunk */
	table_clear(&t);
}

static void mark(void *ctx, const struct entry *e)
{
	bool *seen = ctx;

	if (e->key_len > 4 && memcmp(e->data, "key:", 4) == 0) {
		char number[16] = "";
		memcpy(number, e->data + 4, e->key_len - 4);
		seen[atoi(number)] = true;
	}
}

/* A scan meets every key that stays, while others come and go and the table grows and shrinks under it. */
static void scans_all(void **state)
{
	static bool seen[KEYS];
	struct table t = {0};
	char key[32];
	int other = 0;
	uint64_t cursor = 0;

	(void)state;
	print_seed();
	for (int i = 0; i < KEYS; i++) {
		size_t len = key_of(key, i);
		assert_true(table_set(&t, table_hash(key, len), key, len, "", 0, TABLE_NEVER));
	}
	int target = 0;
	do {
		if (draw(500) == 0)
			target = (int)draw(100000);
		for (int step = 0; step < 50 && other != target; step++) {
			size_t len = (size_t)sprintf(key, "other:%d", other < target ? other : other - 1);
			if (other < target) {
				assert_true(table_set(&t, table_hash(key, len), key, len, "", 0, TABLE_NEVER));
				other++;
			} else {
				assert_true(table_remove(&t, table_hash(key, len), key, len));
				other--;
			}
		}
		cursor = table_scan(&t, cursor, 0, mark, seen);
	} while (cursor);
	for (int i = 0; i < KEYS; i++)
		assert_true(seen[i]);
	table_clear(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_requests),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_requests),
		cmocka_unit_test(splits_anywhere),
		cmocka_unit_test(survives_garbage),
		cmocka_unit_test(keeps_keys),
		cmocka_unit_test(scans_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
