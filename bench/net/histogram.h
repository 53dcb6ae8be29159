/* SPDX-License-Identifier: MIT
 * histogram.h - log-linear histogram of nanoseconds: constant memory, relative error below 1 %, whatever the range.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 7 /* each power of two is divided into that many times two parts */
#define HISTOGRAM_SUB (1u << HISTOGRAM_BITS)
#define HISTOGRAM_SLOTS ((64 - HISTOGRAM_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
	uint64_t count, max;
	uint64_t slots[HISTOGRAM_SLOTS];
};

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	unsigned shift = value < HISTOGRAM_SUB ? 0 : (unsigned)(63 - __builtin_clzll(value)) - HISTOGRAM_BITS;

	/* The mantissa of a larger value has its top bit set, so it counts as the part above `shift` powers of two. */
	h->slots[shift * HISTOGRAM_SUB + (value >> shift)]++;
	h->count++;
	if (value > h->max)
		h->max = value;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *h)
{
	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++)
		into->slots[i] += h->slots[i];
	into->count += h->count;
	if (h->max > into->max)
		into->max = h->max;
}

/* The value that `fraction` of all values do not exceed. */
static inline double histogram_quantile(const struct histogram *h, double fraction)
{
	uint64_t rank = (uint64_t)((double)h->count * fraction), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += h->slots[i];
		if (seen > rank || (seen == h->count && seen > 0)) {
			unsigned shift = i < 2 * HISTOGRAM_SUB ? 0 : i / HISTOGRAM_SUB - 1;
			uint64_t mantissa = i - shift * HISTOGRAM_SUB;
			double middle = (double)(mantissa << shift) + (double)((UINT64_C(1) << shift) - 1) / 2;
			return middle < (double)h->max ? middle : (double)h->max;
		}
	}
	return 0;
}

#endif
