/* SPDX-License-Identifier: MIT
 * table.c - see table.h. Chained buckets, a power of two of them, about one entry each.
 */
#include "table.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MIN_BUCKETS 16

/* ---- SipHash-1-3 (Aumasson, Bernstein) --------------------------------------------------------------------------- */

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void draw_hash_key(void)
{
	if (getrandom(hash_key, sizeof hash_key, 0) != sizeof hash_key)
		abort(); /* 16 bytes are never cut short once the system has entropy */
}

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

uint64_t table_hash(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint64_t word = 0;

	pthread_once(&hash_key_once, draw_hash_key);
	uint64_t v[4] = {
		hash_key[0] ^ 0x736f6d6570736575,
		hash_key[1] ^ 0x646f72616e646f6d,
		hash_key[0] ^ 0x6c7967656e657261,
		hash_key[1] ^ 0x7465646279746573,
	};

	for (size_t left = len; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = 0;
	memcpy(&word, p, len % 8);
	word |= (uint64_t)len << 56;
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- buckets ----------------------------------------------------------------------------------------------------- */

/* Without memory the old buckets stay: slower, but right. */
static void resize(struct table *t, size_t buckets)
{
	struct entry **fresh = calloc(buckets, sizeof *fresh);

	if (!fresh)
		return;
	for (size_t i = 0; t->buckets && i <= t->mask; i++) {
		for (struct entry *e = t->buckets[i], *next; e; e = next) {
			next = e->next;
			e->next = fresh[e->hash & (buckets - 1)];
			fresh[e->hash & (buckets - 1)] = e;
		}
	}
	free(t->buckets);
	t->buckets = fresh;
	t->mask = buckets - 1;
}

/* The link that points to the entry, or NULL. */
static struct entry **find_link(struct table *t, uint64_t hash, const char *key, size_t len)
{
	if (!t->buckets)
		return NULL;
	for (struct entry **link = &t->buckets[hash & t->mask]; *link; link = &(*link)->next) {
		if ((*link)->hash == hash && (*link)->key_len == len && memcmp((*link)->data, key, len) == 0)
			return link;
	}
	return NULL;
}

/* Does not shrink the table: others may be on their way through its buckets. */
static void unlink_entry(struct table *t, struct entry **link)
{
	struct entry *e = *link;

	*link = e->next;
	t->count--;
	t->expiring -= e->expires != TABLE_NEVER;
	free(e);
}

static void shrink(struct table *t)
{
	if (t->mask >= MIN_BUCKETS && t->count < t->mask / 8)
		resize(t, (t->mask + 1) / 4);
}

struct entry *table_find(struct table *t, uint64_t hash, const char *key, size_t len, int64_t now)
{
	struct entry **link = find_link(t, hash, key, len);

	if (!link)
		return NULL;
	if ((*link)->expires <= now) {
		unlink_entry(t, link);
		return NULL;
	}
	return *link;
}

void table_set_expiry(struct table *t, struct entry *e, int64_t expires)
{
	t->expiring += expires != TABLE_NEVER;
	t->expiring -= e->expires != TABLE_NEVER;
	e->expires = expires;
}

bool table_set(struct table *t, uint64_t hash, const char *key, size_t len, const char *value, size_t value_len,
	int64_t expires)
{
	struct entry **link = find_link(t, hash, key, len);

	if (link && (*link)->value_len == value_len) {
		memcpy((*link)->data + len, value, value_len);
		table_set_expiry(t, *link, expires);
		return true;
	}

	struct entry *e = malloc(sizeof *e + len + value_len);
	if (!e)
		return false;
	if (!link && (!t->buckets || t->count > t->mask))
		resize(t, t->buckets ? 2 * (t->mask + 1) : MIN_BUCKETS);
	if (!t->buckets) {
		free(e);
		return false;
	}
	e->hash = hash;
	e->expires = expires;
	e->key_len = (uint32_t)len;
	e->value_len = (uint32_t)value_len;
	memcpy(e->data, key, len);
	memcpy(e->data + len, value, value_len);
	if (link)
		unlink_entry(t, link);
	e->next = t->buckets[hash & t->mask];
	t->buckets[hash & t->mask] = e;
	t->count++;
	t->expiring += expires != TABLE_NEVER;
	return true;
}

bool table_remove(struct table *t, uint64_t hash, const char *key, size_t len)
{
	struct entry **link = find_link(t, hash, key, len);

	if (!link)
		return false;
	unlink_entry(t, link);
	shrink(t);
	return true;
}

void table_clear(struct table *t)
{
	for (size_t i = 0; t->buckets && i <= t->mask; i++) {
		while (t->buckets[i])
			unlink_entry(t, &t->buckets[i]);
	}
	free(t->buckets);
	*t = (struct table){0};
}

static uint64_t reverse_bits(uint64_t x)
{
	x = (x & 0x5555555555555555) << 1 | (x >> 1 & 0x5555555555555555);
	x = (x & 0x3333333333333333) << 2 | (x >> 2 & 0x3333333333333333);
	x = (x & 0x0f0f0f0f0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f0f0f0f0f);
	return __builtin_bswap64(x);
}

/* The cursor counts with its high bits first (an idea of Redis): when the table doubles, a bucket's entries go to two
 * buckets that are neighbours in this order, both still to come or both done, and likewise when it shrinks. */
uint64_t table_scan(const struct table *t, uint64_t cursor, int64_t now, table_visit *visit, void *ctx)
{
	if (!t->buckets)
		return 0;
	for (const struct entry *e = t->buckets[cursor & t->mask]; e; e = e->next) {
		if (e->expires > now)
			visit(ctx, e);
	}
	return reverse_bits(reverse_bits(cursor | ~(uint64_t)t->mask) + 1);
}

void table_sweep(struct table *t, size_t n, int64_t now)
{
	for (; n > 0 && t->expiring > 0; n--) {
		struct entry **link = &t->buckets[t->sweep++ & t->mask];
		while (*link) {
			if ((*link)->expires <= now)
				unlink_entry(t, link);
			else
				link = &(*link)->next;
		}
	}
	if (t->buckets)
		shrink(t);
}
