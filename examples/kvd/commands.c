/* SPDX-License-Identifier: MIT
 * commands.c - see commands.h.
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char not_an_integer[] = "value is not an integer or out of range";
static const char syntax_error[] = "syntax error";

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static char *reply_room(struct reply *r, size_t n)
{
	if (r->failed || n > REPLY_MAX - r->len) {
		r->failed = true;
		return NULL;
	}
	if (r->cap - r->len < n) {
		size_t cap = r->cap < 2048 ? 4096 : 2 * r->cap;
		while (cap - r->len < n)
			cap *= 2;
		char *data = realloc(r->fixed ? NULL : r->data, cap);
		if (!data) {
			r->failed = true;
			return NULL;
		}
		if (r->fixed)
			memcpy(data, r->data, r->len);
		r->data = data;
		r->cap = cap;
		r->fixed = false;
	}
	r->len += n;
	return r->data + r->len - n;
}

static void reply_bytes(struct reply *r, const char *data, size_t n)
{
	char *p = n > 0 ? reply_room(r, n) : NULL; /* data of an empty list is NULL, which memcpy does not take */

	if (p)
		memcpy(p, data, n);
}

void reply_text(struct reply *r, const char *text) { reply_bytes(r, text, strlen(text)); }

/* "<type><value>\r\n": an integer, or the head of a string or an array. */
static void reply_number(struct reply *r, char type, int64_t value)
{
	char text[24];
	size_t at = sizeof text;
	uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;

	text[--at] = '\n';
	text[--at] = '\r';
	do {
		text[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (value < 0)
		text[--at] = '-';
	text[--at] = type;
	reply_bytes(r, text + at, sizeof text - at);
}

static void reply_bulk(struct reply *r, const char *data, size_t n)
{
	reply_number(r, '$', (int64_t)n);
	char *p = reply_room(r, n + 2);
	if (p) {
		memcpy(p, data, n);
		memcpy(p + n, "\r\n", 2);
	}
}

static void reply_bulk_text(struct reply *r, const char *text) { reply_bulk(r, text, strlen(text)); }

void reply_error(struct reply *r, const char *message)
{
	reply_text(r, "-ERR ");
	reply_text(r, message);
	reply_text(r, "\r\n");
}

static void wrong_arguments(struct client *c, const char *command)
{
	char text[64];

	snprintf(text, sizeof text, "wrong number of arguments for '%s' command", command);
	reply_error(&c->out, text);
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static bool is_word(const struct resp_arg *arg, const char *word)
{
	return arg->len == strlen(word) && strncasecmp(arg->p, word, arg->len) == 0;
}

/* As Redis wants integers: no spaces, no plus, no leading zeros, no overflow. */
static bool to_int(const char *p, size_t n, int64_t *out)
{
	bool negative = n > 0 && *p == '-';
	uint64_t value = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	size_t i = negative;

	if (i == n || n > 20 || (p[i] == '0' && n > 1))
		return false;
	for (; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		unsigned digit = (unsigned)(p[i] - '0');
		if (value > (limit - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out = negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

/* The point in time that lies `text` units after now. */
static bool to_expiry(const struct client *c, const struct resp_arg *arg, int64_t unit, int64_t *expires)
{
	int64_t value;

	if (!to_int(arg->p, arg->len, &value) || value > (INT64_MAX - c->now - 1) / unit || value < INT64_MIN / unit)
		return false;
	*expires = c->now + value * unit;
	return true;
}

bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len)
{
	const char *p = pattern, *p_end = pattern + pattern_len, *t = text, *t_end = text + text_len;
	/* Where to go on when the last star has to take one character more. */
	const char *star = NULL, *star_text = NULL;

	while (t < t_end) {
		bool match = false;
		const char *next = p + 1;

		if (p < p_end && *p == '*') {
			star = next;
			star_text = t;
			p = next;
			continue;
		}
		if (p < p_end && *p == '?') {
			match = true;
		} else if (p < p_end && *p == '[') {
			bool inverted = next < p_end && *next == '^';
			next += inverted;
			while (next < p_end && *next != ']') {
				if (*next == '\\' && next + 1 < p_end)
					next++;
				unsigned char c = (unsigned char)*t, low = (unsigned char)*next, high = low;
				if (next + 2 < p_end && next[1] == '-' && next[2] != ']') {
					high = (unsigned char)next[2];
					next += 2;
				}
				match |= low <= high ? c >= low && c <= high : c >= high && c <= low;
				next++;
			}
			match ^= inverted;
			next += next < p_end; /* over the bracket, if it was closed */
		} else if (p < p_end) {
			if (*p == '\\' && next < p_end)
				p = next++;
			match = *p == *t;
		}
		if (match) {
			p = next;
			t++;
		} else if (star) {
			p = star;
			t = ++star_text;
		} else {
			return false;
		}
	}
	while (p < p_end && *p == '*')
		p++;
	return p == p_end;
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* By the high bits: the low ones choose the bucket. */
static unsigned shard_index(uint64_t hash) { return (unsigned)(hash >> 58); }
static struct shard *shard_of(struct store *s, const struct resp_arg *key)
{
	return &s->shards[shard_index(key->hash)];
}

static void unlock_shards(struct store *s, uint64_t set)
{
	for (; set; set &= set - 1)
		gmp_mutex_unlock(&s->shards[__builtin_ctzll(set)].lock);
}

/* Always in ascending order, so that two commands never wait for each other. False: cancelled, none is locked. */
static bool lock_shards(struct store *s, uint64_t set)
{
	for (uint64_t left = set; left; left &= left - 1) {
		if (gmp_mutex_lock(&s->shards[__builtin_ctzll(left)].lock)) {
			unlock_shards(s, set & ~left);
			return false;
		}
	}
	return true;
}

static struct entry *find(struct client *c, const struct resp_arg *key)
{
	return table_find(&shard_of(c->store, key)->table, key->hash, key->p, key->len, c->now);
}

static bool set(struct client *c, const struct resp_arg *key, const char *value, size_t len, int64_t expires)
{
	if (!table_set(&shard_of(c->store, key)->table, key->hash, key->p, key->len, value, len, expires)) {
		reply_error(&c->out, "out of memory");
		return false;
	}
	if (expires != TABLE_NEVER)
		gmp_chan_try_send(c->store->expiring, NULL); /* full: it has been said already */
	return true;
}

static bool del(struct client *c, const struct resp_arg *key)
{
	return table_remove(&shard_of(c->store, key)->table, key->hash, key->p, key->len);
}

int64_t store_sweep(struct store *s)
{
	int64_t now = gmp_now(), left = 0;

	for (int i = 0; i < SHARDS; i++) {
		struct shard *sh = &s->shards[i];
		if (gmp_mutex_lock(&sh->lock))
			return -ECANCELED;
		table_sweep(&sh->table, 64 + sh->table.mask / 16, now);
		left += (int64_t)sh->table.expiring;
		gmp_mutex_unlock(&sh->lock);
	}
	return left;
}

void store_clear(struct store *s)
{
	for (int i = 0; i < SHARDS; i++) {
		if (gmp_mutex_lock(&s->shards[i].lock))
			return;
		struct table old = s->shards[i].table;
		s->shards[i].table = (struct table){0};
		gmp_mutex_unlock(&s->shards[i].lock);
		table_clear(&old); /* which may take a while, and nobody waits for it */
	}
}

/* ---- commands on keys: the shards of the keys are locked --------------------------------------------------------- */

static void cmd_get(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	const struct entry *e = find(c, &argv[1]);

	(void)argc;
	if (e)
		reply_bulk(&c->out, entry_value(e), e->value_len);
	else
		reply_text(&c->out, "$-1\r\n");
}

static void cmd_mget(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	reply_number(&c->out, '*', argc - 1);
	for (uint32_t i = 1; i < argc; i++)
		cmd_get(c, &argv[i - 1], 2);
}

/* SET key value [NX | XX] [EX seconds | PX milliseconds] [KEEPTTL] [GET is not here] */
static void cmd_set(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	int64_t expires = TABLE_NEVER;
	bool nx = false, xx = false, keep = false;

	for (uint32_t i = 3; i < argc; i++) {
		bool ex = is_word(&argv[i], "EX"), px = is_word(&argv[i], "PX");
		if (is_word(&argv[i], "NX")) {
			nx = true;
		} else if (is_word(&argv[i], "XX")) {
			xx = true;
		} else if (is_word(&argv[i], "KEEPTTL")) {
			keep = true;
		} else if ((ex || px) && i + 1 < argc && expires == TABLE_NEVER) {
			i++;
			if (!to_expiry(c, &argv[i], ex ? GMP_SEC : GMP_MSEC, &expires) || expires <= c->now) {
				reply_error(&c->out, "invalid expire time in 'set' command");
				return;
			}
		} else {
			reply_error(&c->out, syntax_error);
			return;
		}
	}
	if ((nx && xx) || (keep && expires != TABLE_NEVER)) {
		reply_error(&c->out, syntax_error);
		return;
	}

	const struct entry *old = nx || xx || keep ? find(c, &argv[1]) : NULL;
	if ((nx && old) || (xx && !old)) {
		reply_text(&c->out, "$-1\r\n");
		return;
	}
	if (keep && old)
		expires = old->expires;
	if (set(c, &argv[1], argv[2].p, argv[2].len, expires))
		reply_text(&c->out, "+OK\r\n");
}

static void cmd_mset(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	if (argc % 2 == 0) {
		wrong_arguments(c, "MSET");
		return;
	}
	for (uint32_t i = 1; i < argc; i += 2) {
		if (!set(c, &argv[i], argv[i + 1].p, argv[i + 1].len, TABLE_NEVER))
			return;
	}
	reply_text(&c->out, "+OK\r\n");
}

static void cmd_del(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	int64_t n = 0;

	for (uint32_t i = 1; i < argc; i++)
		n += find(c, &argv[i]) && del(c, &argv[i]); /* an expired key counts as gone */
	reply_number(&c->out, ':', n);
}

static void cmd_exists(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	int64_t n = 0;

	for (uint32_t i = 1; i < argc; i++)
		n += find(c, &argv[i]) != NULL;
	reply_number(&c->out, ':', n);
}

static void cmd_incr(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	const struct entry *e = find(c, &argv[1]);
	int64_t value = 0;
	char text[24];

	(void)argc;
	if (e && !to_int(entry_value(e), e->value_len, &value)) {
		reply_error(&c->out, not_an_integer);
		return;
	}
	if (value == INT64_MAX) {
		reply_error(&c->out, "increment or decrement would overflow");
		return;
	}
	value++;
	int len = snprintf(text, sizeof text, "%lld", (long long)value);
	if (set(c, &argv[1], text, (size_t)len, e ? e->expires : TABLE_NEVER))
		reply_number(&c->out, ':', value);
}

static void expire(struct client *c, const struct resp_arg *argv, uint32_t argc, int64_t unit)
{
	struct entry *e = find(c, &argv[1]);
	int64_t expires;

	(void)argc;
	if (!to_expiry(c, &argv[2], unit, &expires)) {
		reply_error(&c->out, not_an_integer);
		return;
	}
	if (e && expires <= c->now) {
		del(c, &argv[1]);
	} else if (e) {
		table_set_expiry(&shard_of(c->store, &argv[1])->table, e, expires);
		gmp_chan_try_send(c->store->expiring, NULL);
	}
	reply_number(&c->out, ':', e != NULL);
}

static void cmd_expire(struct client *c, const struct resp_arg *argv, uint32_t argc) { expire(c, argv, argc, GMP_SEC); }
static void cmd_pexpire(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	expire(c, argv, argc, GMP_MSEC);
}

static void time_left(struct client *c, const struct resp_arg *argv, int64_t unit)
{
	const struct entry *e = find(c, &argv[1]);

	if (!e)
		reply_number(&c->out, ':', -2);
	else if (e->expires == TABLE_NEVER)
		reply_number(&c->out, ':', -1);
	else
		reply_number(&c->out, ':', (e->expires - c->now + unit / 2) / unit);
}

static void cmd_ttl(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argc;
	time_left(c, argv, GMP_SEC);
}

static void cmd_pttl(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argc;
	time_left(c, argv, GMP_MSEC);
}

/* ---- commands on the whole store: they lock one shard at a time -------------------------------------------------- */

#define MAX_PATTERN 1024 /* matching takes time in proportion to it, under a lock */

struct key_list {
	struct reply keys;              /* as bulk strings */
	int64_t n, seen;                /* keys listed, keys looked at */
	const struct resp_arg *pattern; /* NULL: all */
};

static void list_key(void *ctx, const struct entry *e)
{
	struct key_list *l = ctx;

	l->seen++;
	if (l->pattern && !glob_match(l->pattern->p, l->pattern->len, e->data, e->key_len))
		return;
	reply_bulk(&l->keys, e->data, e->key_len);
	l->n++;
}

static void reply_key_list(struct client *c, struct key_list *l)
{
	c->out.failed |= l->keys.failed;
	reply_number(&c->out, '*', l->n);
	reply_bytes(&c->out, l->keys.data, l->keys.len);
	free(l->keys.data);
}

static void cmd_keys(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	struct key_list list = {.pattern = &argv[1]};

	(void)argc;
	if (argv[1].len > MAX_PATTERN) {
		reply_error(&c->out, "pattern is too long");
		return;
	}
	for (int i = 0; i < SHARDS; i++) {
		struct shard *sh = &c->store->shards[i];
		uint64_t cursor = 0;
		if (gmp_mutex_lock(&sh->lock)) {
			c->quit = true;
			break;
		}
		do {
			cursor = table_scan(&sh->table, cursor, c->now, list_key, &list);
		} while (cursor);
		gmp_mutex_unlock(&sh->lock);
	}
	reply_key_list(c, &list);
}

/* SCAN cursor [MATCH pattern] [COUNT n]. The client's cursor is that of the table times SHARDS plus the shard. */
static void cmd_scan(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	struct key_list list = {0};
	int64_t cursor, count = 10;
	char text[24];

	if (!to_int(argv[1].p, argv[1].len, &cursor) || cursor < 0) {
		reply_error(&c->out, "invalid cursor");
		return;
	}
	for (uint32_t i = 2; i < argc; i += 2) {
		const struct resp_arg *value = &argv[i + 1];
		if (i + 1 < argc && is_word(&argv[i], "MATCH") && value->len <= MAX_PATTERN) {
			list.pattern = value;
		} else if (i + 1 == argc || !is_word(&argv[i], "COUNT")) {
			reply_error(&c->out, syntax_error);
			return;
		} else if (!to_int(value->p, value->len, &count) || count < 1 || count > INT32_MAX) {
			reply_error(&c->out, not_an_integer);
			return;
		}
	}

	uint64_t shard = (uint64_t)cursor % SHARDS, at = (uint64_t)cursor / SHARDS;
	int64_t buckets = 10 * count; /* however few keys are in them */
	while (shard < SHARDS && list.seen < count && buckets > 0) {
		struct shard *sh = &c->store->shards[shard];
		if (gmp_mutex_lock(&sh->lock)) {
			c->quit = true;
			break;
		}
		if (sh->table.count == 0)
			at = 0;
		for (bool more = sh->table.count > 0; more; more = at && list.seen < count && buckets > 0) {
			at = table_scan(&sh->table, at, c->now, list_key, &list);
			buckets--;
		}
		gmp_mutex_unlock(&sh->lock);
		shard += at == 0;
	}
	int len = snprintf(text, sizeof text, "%llu", shard == SHARDS ? 0 : (unsigned long long)(at * SHARDS + shard));
	reply_text(&c->out, "*2\r\n");
	reply_bulk(&c->out, text, (size_t)len);
	reply_key_list(c, &list);
}

static bool count_keys(struct client *c, int64_t *keys, int64_t *expiring)
{
	*keys = *expiring = 0;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *sh = &c->store->shards[i];
		if (gmp_mutex_lock(&sh->lock)) {
			c->quit = true;
			return false;
		}
		*keys += (int64_t)sh->table.count;
		*expiring += (int64_t)sh->table.expiring;
		gmp_mutex_unlock(&sh->lock);
	}
	return true;
}

static void cmd_dbsize(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	int64_t keys, expiring;

	(void)argv;
	(void)argc;
	if (count_keys(c, &keys, &expiring))
		reply_number(&c->out, ':', keys);
}

static void cmd_flushall(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argv;
	(void)argc;
	store_clear(c->store);
	reply_text(&c->out, "+OK\r\n");
}

static void cmd_info(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	char text[512];
	int64_t keys, expiring;
	gmp_stats stats;

	(void)argv;
	(void)argc;
	if (!count_keys(c, &keys, &expiring))
		return;
	gmp_stats_read(&stats);
	snprintf(text, sizeof text,
		"# Server\r\nredis_version:7.0.0\r\nserver_name:kvd\r\nprocess_id:%d\r\nuptime_in_seconds:%lld\r\n"
		"\r\n# Runtime\r\nprocs:%llu\r\nthreads:%llu\r\ncoroutines:%llu\r\n"
		"\r\n# Keyspace\r\ndb0:keys=%lld,expires=%lld,avg_ttl=0\r\n",
		(int)getpid(), (long long)((c->now - c->store->started) / GMP_SEC), (unsigned long long)stats.ps,
		(unsigned long long)stats.ms, (unsigned long long)stats.gs, (long long)keys, (long long)expiring);
	reply_bulk_text(&c->out, text);
}

/* ---- commands without data --------------------------------------------------------------------------------------- */

static void cmd_ping(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	if (argc == 1)
		reply_text(&c->out, "+PONG\r\n");
	else
		reply_bulk(&c->out, argv[1].p, argv[1].len);
}

static void cmd_echo(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argc;
	reply_bulk(&c->out, argv[1].p, argv[1].len);
}

static void cmd_select(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argc;
	if (is_word(&argv[1], "0"))
		reply_text(&c->out, "+OK\r\n");
	else
		reply_error(&c->out, "DB index is out of range");
}

static void cmd_quit(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	(void)argv;
	(void)argc;
	reply_text(&c->out, "+OK\r\n");
	c->quit = true;
}

/* CONFIG GET pattern: what benchmarks and clients ask about. */
static void cmd_config(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	static const char *const settings[][2] = {
		{"save", ""}, {"appendonly", "no"}, {"databases", "1"}, {"maxmemory", "0"}};
	struct key_list list = {0};

	if (!is_word(&argv[1], "GET")) {
		reply_error(&c->out, "only CONFIG GET is known");
		return;
	}
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		bool wanted = false;
		for (uint32_t k = 2; k < argc; k++)
			wanted |= glob_match(argv[k].p, argv[k].len, settings[i][0], strlen(settings[i][0]));
		if (!wanted)
			continue;
		reply_bulk_text(&list.keys, settings[i][0]);
		reply_bulk_text(&list.keys, settings[i][1]);
		list.n += 2;
	}
	reply_key_list(c, &list);
}

static void cmd_command(struct client *c, const struct resp_arg *argv, uint32_t argc);

/* ---- dispatch ---------------------------------------------------------------------------------------------------- */

enum keys { NO_KEY, ONE_KEY, EACH_A_KEY, PAIRS };

static const struct command {
	char name[9];
	enum keys keys;    /* which arguments are keys */
	uint32_t min, max; /* arguments, with the name */
	void (*run)(struct client *c, const struct resp_arg *argv, uint32_t argc);
} commands[] = {
	{"GET", ONE_KEY, 2, 2, cmd_get},
	{"SET", ONE_KEY, 3, UINT32_MAX, cmd_set},
	{"INCR", ONE_KEY, 2, 2, cmd_incr},
	{"DEL", EACH_A_KEY, 2, UINT32_MAX, cmd_del},
	{"EXISTS", EACH_A_KEY, 2, UINT32_MAX, cmd_exists},
	{"MGET", EACH_A_KEY, 2, UINT32_MAX, cmd_mget},
	{"MSET", PAIRS, 3, UINT32_MAX, cmd_mset},
	{"EXPIRE", ONE_KEY, 3, 3, cmd_expire},
	{"PEXPIRE", ONE_KEY, 3, 3, cmd_pexpire},
	{"TTL", ONE_KEY, 2, 2, cmd_ttl},
	{"PTTL", ONE_KEY, 2, 2, cmd_pttl},
	{"PING", NO_KEY, 1, 2, cmd_ping},
	{"ECHO", NO_KEY, 2, 2, cmd_echo},
	{"KEYS", NO_KEY, 2, 2, cmd_keys},
	{"SCAN", NO_KEY, 2, UINT32_MAX, cmd_scan},
	{"DBSIZE", NO_KEY, 1, 1, cmd_dbsize},
	{"FLUSHALL", NO_KEY, 1, 2, cmd_flushall},
	{"INFO", NO_KEY, 1, UINT32_MAX, cmd_info},
	{"CONFIG", NO_KEY, 2, UINT32_MAX, cmd_config},
	{"COMMAND", NO_KEY, 1, UINT32_MAX, cmd_command},
	{"SELECT", NO_KEY, 2, 2, cmd_select},
	{"QUIT", NO_KEY, 1, UINT32_MAX, cmd_quit},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

/* COMMAND COUNT; the other forms describe commands, and an empty description is one that clients live with. */
static void cmd_command(struct client *c, const struct resp_arg *argv, uint32_t argc)
{
	if (argc > 1 && is_word(&argv[1], "COUNT"))
		reply_number(&c->out, ':', COMMANDS);
	else
		reply_text(&c->out, "*0\r\n");
}

static const struct command *find_command(const struct resp_arg *name)
{
	char upper[9] = "";

	if (name->len > 8)
		return NULL;
	for (size_t i = 0; i < name->len; i++)
		upper[i] = (char)(name->p[i] >= 'a' && name->p[i] <= 'z' ? name->p[i] - 'a' + 'A' : name->p[i]);
	for (size_t i = 0; i < COMMANDS; i++) {
		if (memcmp(upper, commands[i].name, 8) == 0)
			return &commands[i];
	}
	return NULL;
}

/* Hashes the keys: the set of their shards. */
static uint64_t shards_of_keys(const struct command *cmd, struct resp_arg *argv, uint32_t argc)
{
	uint32_t end = cmd->keys == NO_KEY ? 1 : cmd->keys == ONE_KEY ? 2 : argc;
	uint64_t set = 0;

	for (uint32_t i = 1; i < end; i += cmd->keys == PAIRS ? 2 : 1) {
		argv[i].hash = table_hash(argv[i].p, argv[i].len);
		set |= UINT64_C(1) << shard_index(argv[i].hash);
	}
	return set;
}

static void unknown_command(struct client *c, const struct resp_arg *name)
{
	char text[64] = "unknown command '", *p = text + strlen(text);

	for (size_t i = 0; i < name->len && i < 32; i++) /* what is not printable would break the line of the reply */
		*p++ = (char)(name->p[i] >= ' ' && name->p[i] <= '~' ? name->p[i] : '?');
	memcpy(p, "'", 2);
	reply_error(&c->out, text);
}

void command_run(struct client *c, struct resp_arg *argv, uint32_t argc)
{
	const struct command *cmd = find_command(&argv[0]);

	if (!cmd) {
		unknown_command(c, &argv[0]);
		return;
	}
	if (argc < cmd->min || argc > cmd->max) {
		wrong_arguments(c, cmd->name);
		return;
	}
	uint64_t shards = shards_of_keys(cmd, argv, argc);
	if (!lock_shards(c->store, shards)) {
		c->quit = true;
		return;
	}
	cmd->run(c, argv, argc);
	unlock_shards(c->store, shards);
}
