/* SPDX-License-Identifier: MIT
 * timer.h - the timers of each P: an event source. It never calls the scheduler; sched.c runs what is due. */
#ifndef GMP_TIMER_H
#define GMP_TIMER_H

#include "runtime.h"

/* Adds t to the timers of m's P (allp[0] on a foreign thread) and makes sure that somebody wakes in time. 0 or -ENOMEM.
 * t->p is NULL before. sched.c */
int gmp__timer_start(M *m, Timer *t);

/* park.c: the deadline of a contested wait */
int gmp__park_timer(M *m, G *gp, Timer *t, uint32_t seq, int64_t deadline);
void gmp__park_timer_end(Timer *t);

/* time.c: gmp_sleep_until, with a reason for dumps */
int gmp__sleep(uint8_t reason, int64_t deadline);

#endif
