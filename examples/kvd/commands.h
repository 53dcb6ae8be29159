/* SPDX-License-Identifier: MIT
 * commands.h - the data of kvd and the commands on it.
 */
#ifndef KVD_COMMANDS_H
#define KVD_COMMANDS_H

#include "resp.h"
#include "table.h"

#include <gmp.h>

#define SHARDS 64 /* a bit each in one word, and the top six bits of a hash */

/* The keys, divided by their hash: clients on different Ps seldom meet at a lock, and growing a shard is short. */
struct store {
	struct shard {
		gmp_mutex lock;
		struct table table;
	} shards[SHARDS];
	gmp_chan *expiring; /* a signal when a key with an expiry time has come */
	int64_t started;
};

/* Of one command. MGET of the same large value again and again would multiply the few bytes that a client sends. */
#define REPLY_MAX (64 * 1024 * 1024)

/* Replies on their way to a client, or a part of one. */
struct reply {
	char *data;
	size_t len, cap;
	bool fixed;  /* data may not be freed: it is a buffer of the owner's */
	bool failed; /* no memory, or too long: what is here is not complete */
};

void reply_text(struct reply *r, const char *text);
void reply_error(struct reply *r, const char *message);

struct client {
	struct store *store;
	struct reply out;
	int64_t now; /* time that expiry is measured by: that of the last read */
	bool quit;
};

/* Performs one command and appends its reply. It may be cut short by cancellation: then c->quit is set. Notes the hashes
 * of keys in argv. */
void command_run(struct client *c, struct resp_arg *argv, uint32_t argc);

/* One step of the search for expired keys. Number of keys with an expiry time that are left; -ECANCELED. */
int64_t store_sweep(struct store *s);

void store_clear(struct store *s);

/* Does text match the pattern of KEYS: * ? [a-z] [^a-z] \x ? */
bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len);

#endif
