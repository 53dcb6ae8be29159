/* SPDX-License-Identifier: MIT
 * tls.c - the one thread-local word; see tls.h. */
#include "tls.h"

/* used: the references stand in assembly, where link-time optimisation does not see them. */
__thread M *gmp__tls_m __attribute__((tls_model("initial-exec"), used));

outofline void gmp__setm(M *m) { gmp__tls_m = m; }
