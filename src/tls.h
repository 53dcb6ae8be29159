/* SPDX-License-Identifier: MIT
 * tls.h - the one thread-local word, and the one way to read it: which M runs on this thread, NULL on a foreign thread.
 *
 * A compiler may keep the address of a thread-local variable across a call that moves the coroutine to another thread
 * (there is no flag against it), so the word is read by volatile assembly and never through a kept address (gmp.h has the
 * assembly: its inline half reads the word as well). Nobody keeps an M * or P * across a park either. tests/test_tls.c migrates a coroutine between two reads. */
#ifndef GMP_TLS_H
#define GMP_TLS_H

#include "runtime.h"

extern __thread M *gmp__tls_m __attribute__((tls_model("initial-exec")));

static alwaysinline M *getm(void)
{
	M *m;
#ifdef GMP__GETM
	GMP__GETM(m);
#else
	M **pm = &gmp__tls_m;
	__asm__ volatile("" : "+r"(pm) : : "memory");
	m = *pm;
#endif
	return m;
}

void gmp__setm(M *m);

#endif
