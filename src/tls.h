/* SPDX-License-Identifier: MIT
 * tls.h - the one thread-local word, and the one way to read it: which M runs on this thread, NULL on a foreign thread.
 *
 * A compiler may keep the address of a thread-local variable across a call that moves the coroutine to another thread
 * (there is no flag against it), so the word is read by volatile assembly and never through a kept address. Nobody
 * keeps an M * or P * across a park either. tests/test_tls.c migrates a coroutine between two reads. */
#ifndef GMP_TLS_H
#define GMP_TLS_H

#include "runtime.h"

extern __thread M *gmp__tls_m __attribute__((tls_model("initial-exec")));

static alwaysinline M *getm(void)
{
	M *m;
#if defined(__x86_64__) && defined(__LP64__)
	uintptr_t off;
	__asm__ volatile("movq gmp__tls_m@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %1" : "=&r"(off), "=r"(m));
#elif defined(__aarch64__)
	uintptr_t off;
	__asm__ volatile("adrp %0, :gottprel:gmp__tls_m\n\tldr %0, [%0, #:gottprel_lo12:gmp__tls_m]\n\t"
	                 "mrs %1, tpidr_el0\n\tldr %1, [%1, %0]"
	                 : "=&r"(off), "=&r"(m));
#elif defined(__riscv) && __riscv_xlen == 64
	uintptr_t off;
	__asm__ volatile("la.tls.ie %0, gmp__tls_m\n\tadd %0, %0, tp\n\tld %1, 0(%0)" : "=&r"(off), "=r"(m));
#else
	M **pm = &gmp__tls_m;
	__asm__ volatile("" : "+r"(pm) : : "memory");
	m = *pm;
#endif
	return m;
}

void gmp__setm(M *m);

#endif
