/* SPDX-License-Identifier: MIT
 * debugvars.c - reads GMP_DEBUG into the table of debugvars.h. A mistake in the variable never stops a program. */
#include "debugvars.h"
#include "throw.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define X(name, dflt, help) .name = dflt,
#define DEFAULTS {DEBUGVARS(X)}
/* clang-format on */
static const DebugVars defaults = DEFAULTS;
DebugVars gmp__debug = DEFAULTS;
#undef X

#define X(name, dflt, help) {#name, offsetof(DebugVars, name)},
static const struct {
	const char *name;
	size_t offset;
} table[] = {DEBUGVARS(X)};
#undef X

static int64_t *find(const char *name, size_t len)
{
	for (size_t i = 0; i < nelem(table); i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return (int64_t *)(void *)((char *)&gmp__debug + table[i].offset);
	return NULL;
}

/* The whole of s[0..len) as a decimal number. */
static bool number(const char *s, size_t len, int64_t *out)
{
	const char *end = s + len;
	bool negative = s < end && *s == '-';
	int64_t n = 0;
	s += negative;
	if (s == end)
		return false;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return false;
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
			return false;
	}
	*out = negative ? -n : n;
	return true;
}

/* Each start of the runtime reads the variable again; the same text is complained of once. */
static bool seen_before(const char *text)
{
	static uint64_t last;
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (const char *c = text; *c; c++)
		h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	bool seen = h == last;
	last = h;
	return seen;
}

void gmp__debugvars_init(void)
{
	gmp__debug = defaults;
	const char *text = getenv("GMP_DEBUG");
	if (!text)
		return;
	bool quiet = seen_before(text);
	for (const char *item = text, *end; *item; item = *end ? end + 1 : end) {
		size_t len = strcspn(item, ",");
		end = item + len;
		const char *eq = memchr(item, '=', len);
		int64_t *var = eq ? find(item, (size_t)(eq - item)) : find(item, len);
		const char *wrong = NULL;
		if (len == 0)
			continue;
		if (!var)
			wrong = "no such name";
		else if (!eq || !number(eq + 1, (size_t)(end - eq - 1), var))
			wrong = "not name=number";
		if (wrong && !quiet)
			gmp__warn("GMP_DEBUG: %.*s: %s", (int)(len < 64 ? len : 64), item, wrong);
	}
}
