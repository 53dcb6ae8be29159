/* SPDX-License-Identifier: MIT
 * The file that knows GNU MP. */
#include <gmp.h>
#ifndef __GNU_MP__
#error "this is not GNU MP's gmp.h"
#endif

unsigned long factorial_digits(unsigned long n);
unsigned long factorial_digits(unsigned long n)
{
	mpz_t f;
	mpz_init(f);
	mpz_fac_ui(f, n);
	unsigned long digits = mpz_sizeinbase(f, 2);
	mpz_clear(f);
	return digits;
}
