/* SPDX-License-Identifier: MIT
 * local.c - coroutine-local values, and what a coroutine with a GExt does at its end.
 *
 * A key is the index of its slot and, above it, the slot's generation: odd while the slot is in use, moved on by create
 * and delete. So a key of the past, and a value set under it, are told from those of the slot's next owner.
 *   LO-1 A slot's destructor is written before its generation becomes odd. A reader that finds the generation of its
 *        key both before and after it read the destructor has the right one.
 *   LO-2 Values are touched by their own coroutine (thread) only. */
#include "proc.h"
#include <stdlib.h>

enum { INDEX_BITS = 7, GEN_MASK = (1 << (32 - INDEX_BITS)) - 1, GROW = 8, ROUNDS = 4 };
_Static_assert(GMP_MAX_KEYS == 1 << INDEX_BITS, "gmp.h promises 128 keys");

typedef struct Slot {
	uint32_t gen;
	void (*dtor)(void *);
} Slot;

static Slot slots[GMP_MAX_KEYS];
static Lock slotlock; /* create, delete. Taken in user mode only */

typedef struct KeyValues {
	uint32_t n;
	struct {
		void *value;
		uint32_t gen;
	} v[];
} KeyValues;

static uint32_t index_of(gmp_key key) { return key & (GMP_MAX_KEYS - 1); }
static uint32_t gen_of(gmp_key key) { return key >> INDEX_BITS; }

static bool in_use(uint32_t i, uint32_t gen) { return (gen & 1) && load_acquire(&slots[i].gen) == gen; }

int gmp_key_create(gmp_key *key, void (*dtor)(void *))
{
	if (!key)
		return -EINVAL;
	int r = -EAGAIN;
	lock(&slotlock);
	for (uint32_t i = 0; i < GMP_MAX_KEYS; i++) {
		uint32_t gen = slots[i].gen;
		if (gen & 1)
			continue;
		store_release(&slots[i].dtor, dtor);
		store_release(&slots[i].gen, gen + 1); /* LO-1 */
		*key = (gen + 1) << INDEX_BITS | i;
		r = 0;
		break;
	}
	unlock(&slotlock);
	return r;
}

int gmp_key_delete(gmp_key key)
{
	uint32_t i = index_of(key), gen = gen_of(key);
	lock(&slotlock);
	bool ok = in_use(i, gen);
	if (ok)
		store_release(&slots[i].gen, (gen + 1) & GEN_MASK);
	unlock(&slotlock);
	return ok ? 0 : -EINVAL;
}

void gmp__local_fork_child(void) { slotlock.key = 0; }

static G *self(void)
{
	M *m = getm();
	return m ? m->curg : gmp__foreign_g();
}

void *gmp_key_get(gmp_key key)
{
	uint32_t i = index_of(key), gen = gen_of(key);
	GExt *x = self()->ext;
	KeyValues *k = x ? x->keys : NULL;
	return k && i < k->n && k->v[i].gen == gen && in_use(i, gen) ? k->v[i].value : NULL;
}

static KeyValues *grow(KeyValues *old, uint32_t n)
{
	n = (n + GROW - 1) / GROW * GROW;
	if (gmp__os_inject_failure())
		return NULL;
	KeyValues *k = realloc(old, sizeof *k + n * sizeof k->v[0]);
	if (!k)
		return NULL;
	for (uint32_t i = old ? k->n : 0; i < n; i++) {
		k->v[i].value = NULL;
		k->v[i].gen = 0;
	}
	k->n = n;
	return k;
}

int gmp_key_set(gmp_key key, void *value)
{
	uint32_t i = index_of(key), gen = gen_of(key);
	if (!in_use(i, gen))
		return -EINVAL;
	GExt *x = gmp__gext(self());
	if (!x)
		return -ENOMEM;
	if (!x->keys || i >= x->keys->n) {
		if (!value)
			return 0;
		KeyValues *k = grow(x->keys, i + 1);
		if (!k)
			return -ENOMEM;
		x->keys = k;
	}
	x->keys->v[i].value = value;
	x->keys->v[i].gen = gen;
	return 0;
}

/* Calls the destructor of each value of x, the caller's own; again, while destructors set values, up to four times. */
void gmp__keys_end(GExt *x)
{
	bool again = x->keys != NULL;
	for (int round = 0; round < ROUNDS && again; round++) {
		again = false;
		for (uint32_t i = 0; i < x->keys->n; i++) { /* a destructor may have it moved */
			void *value = x->keys->v[i].value;
			uint32_t gen = x->keys->v[i].gen;
			x->keys->v[i].value = NULL;
			if (!value || !in_use(i, gen))
				continue;
			void (*dtor)(void *) = load_acquire(&slots[i].dtor);
			if (!dtor || !in_use(i, gen))
				continue;
			dtor(value);
			again = true;
		}
	}
}

void gmp__g_atexit(G *gp)
{
	gmp__keys_end(gp->ext);
	if (gp->ext->group)
		gmp__group_exit(gp);
}
