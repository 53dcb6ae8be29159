/* SPDX-License-Identifier: MIT
 * debugvars.h - GMP_DEBUG=name=value,...: one table of integers, read once at each start of the runtime. */
#ifndef GMP_DEBUGVARS_H
#define GMP_DEBUGVARS_H

#include "base.h"

/* X(name, default, meaning). docs/debug.md is written from this table. */
#define DEBUGVARS(X) \
	X(schedtrace, 0, "print a line of scheduler state every so many milliseconds (Go's format)") \
	X(scheddetail, 0, "1: schedtrace prints every P, M and G too") \
	X(membarrier, 1, "0: pay a fence at each entry instead of membarrier(2)") \
	X(guard, 2, "stack guards: 2 MADV_GUARD_INSTALL, 1 mprotect within a budget, 0 canary only") \
	X(guardbudget, -1, "most mprotect guards; -1: as many as take half of vm.max_map_count") \
	X(colour, 1, "0: no colouring of stack tops") \
	X(lazystack, 1, "0: bind the stack at spawn") \
	X(runahead, 1024, "0: no; else spawners wait for the newest when so many Gs of their P have not begun") \
	X(runnext, 1, "0: a readied coroutine goes to the tail of the queue") \
	X(steal, 1, "0: no stealing") \
	X(request, 1, "0: steal by force at once, without asking first") \
	X(judge, 1, "0: thefts that did not pay are not remembered") \
	X(regroup, 110, "0: Ps that find object locks taken just go on; else if they switch so many per cent of what one did alone") \
	X(spin, 1, "0: an M that finds nothing parks after 4 us, in the network poller at once") \
	X(spinus, 20, "longest search for work before an M parks, microseconds") \
	X(solo, 1, "0: object locks are taken also while one P does all the work") \
	X(solowait, 1000, "microseconds that a P works alone before they are left out; doubled when other work ended that soon") \
	X(tick, 61, "the global queue, timers and the network are looked at every so many switches") \
	X(sysmon, 1, "0: no sysmon: nothing is handed off") \
	X(slice, 10000, "time slice in microseconds") \
	X(netpoll, 0, "network back end: 0 the system's best, 1 poll(2)") \
	X(checkfp, 0, "1: abort when a coroutine parks with changed FP control words and no attr.fpenv") \
	X(ncpu, 0, "pretend so many CPUs")

typedef struct DebugVars {
#define X(name, dflt, help) int64_t name;
	DEBUGVARS(X)
#undef X
} DebugVars;

extern hidden DebugVars gmp__debug;
/* Defaults, then GMP_DEBUG. An unknown name or bad number is reported once on stderr and skipped. */
void gmp__debugvars_init(void);

#endif
