/* SPDX-License-Identifier: MIT
 * os_impl.h - between os.c and its two back ends, os_linux.c and os_posix.c; of no interest to anybody else. */
#ifndef GMP_OS_IMPL_H
#define GMP_OS_IMPL_H

#include "os.h"

/* A call that cannot fail did: says which, and aborts. */
void gmp__os_die(const char *call, int err) __attribute__((noreturn, cold));
/* A seed when the system has no random numbers for us: different in each process and at each call. */
uint64_t gmp__os_weak_random(void);
/* Names the calling thread where that can be done. */
void gmp__os_thread_name(const char *name);
/* `cpus` limited by the cgroup quotas; at least 1. */
int gmp__os_ncpu_limited(int cpus);

#endif
