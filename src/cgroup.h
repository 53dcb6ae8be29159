/* SPDX-License-Identifier: MIT
 * cgroup.h - how many CPUs' worth of time the control groups leave to this process. */
#ifndef GMP_CGROUP_H
#define GMP_CGROUP_H

#include "base.h"

/* The tightest CPU quota of this process's cgroup and all its ancestors, in CPUs, rounded up; INT_MAX: none.
 * `root` is put before every path that is opened ("" but for tests). Allocates nothing; may write errno. */
int gmp__cgroup_cpus(const char *root);

#endif
