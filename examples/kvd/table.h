/* SPDX-License-Identifier: MIT
 * table.h - hash table of strings with expiry times. No locks: one user at a time.
 */
#ifndef KVD_TABLE_H
#define KVD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_NEVER INT64_MAX

/* A key and its value, in one piece of memory. */
struct entry {
	struct entry *next;
	uint64_t hash;
	int64_t expires; /* TABLE_NEVER or the time from which on it is not there any more */
	uint32_t key_len, value_len;
	char data[]; /* key, value */
};

/* All zero: empty. */
struct table {
	struct entry **buckets;
	size_t mask; /* buckets - 1 */
	size_t count, expiring;
	size_t sweep; /* next bucket to look at for what has expired */
};

static inline const char *entry_value(const struct entry *e) { return e->data + e->key_len; }

/* SipHash-1-3 under a key drawn once a process: nobody outside can choose keys that collide. */
uint64_t table_hash(const void *key, size_t len);

/* NULL when there is no such entry, or it has expired by `now`, in which case it is removed. */
struct entry *table_find(struct table *t, uint64_t hash, const char *key, size_t len, int64_t now);

/* New or in place of the old one. The value may not point into the table. False: out of memory, nothing changed. */
bool table_set(struct table *t, uint64_t hash, const char *key, size_t len, const char *value, size_t value_len,
	int64_t expires);

void table_set_expiry(struct table *t, struct entry *e, int64_t expires);
bool table_remove(struct table *t, uint64_t hash, const char *key, size_t len);
void table_clear(struct table *t);

/* Calls visit for every entry of one bucket and returns the cursor of the next, 0 after the last; begin with 0.
 * Whatever stays in the table during a whole round is visited, some of it twice when the table grows or shrinks
 * meanwhile. */
typedef void table_visit(void *ctx, const struct entry *e);
uint64_t table_scan(const struct table *t, uint64_t cursor, int64_t now, table_visit *visit, void *ctx);

/* Removes what has expired from the next n buckets. */
void table_sweep(struct table *t, size_t n, int64_t now);

#endif
