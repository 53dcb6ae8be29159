/* SPDX-License-Identifier: MIT
 * dump.h - names of states and reasons, for dump.c and schedtrace.c. */
#ifndef GMP_DUMP_H
#define GMP_DUMP_H

#include "runtime.h"

const char *gmp__waitreason(uint8_t r);

#endif
