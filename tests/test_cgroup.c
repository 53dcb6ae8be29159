/* SPDX-License-Identifier: MIT
 * test_cgroup.c - CPU quotas read from made-up /proc and cgroup trees in a temporary directory: both versions, nested
 * groups, containers' views of them, and files that are broken. */
#include "testutil.h"

#include "cgroup.h"
#include "base.h"

#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

#define V2_MOUNT "31 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT "33 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define OTHER_MOUNTS \
	"23 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n" \
	"28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
#define V2 "/sys/fs/cgroup"
#define V1 "/sys/fs/cgroup/cpu,cpuacct"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/gmp-test-cgroup-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* root/path with this text, and all directories above. */
static void put(const char *path, const char *text)
{
	char name[2 * PATH_MAX];
	check((size_t)snprintf(name, sizeof name, "%s%s", root, path) < sizeof name);
	for (char *s = strchr(name + strlen(root) + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = '\0';
		check(mkdir(name, 0700) == 0 || errno == EEXIST);
		*s = '/';
	}
	FILE *f = fopen(name, "w");
	check(f != NULL);
	check(fputs(text, f) >= 0);
	check_int(fclose(f), 0);
}

static void put_group(const char *text) { put("/proc/self/cgroup", text); }
static void put_mounts(const char *text) { put("/proc/self/mountinfo", text); }

static void test_nothing(void **state)
{
	(void)state;
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put_group("0::/a\n");
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put_mounts(OTHER_MOUNTS V2_MOUNT);
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put(V2 "/a/cgroup.procs", "1\n");
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put_group("");
	put(V2 "/a/cpu.max", "100000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
}

static void test_v2_rounding(void **state)
{
	(void)state;
	static const struct {
		const char *max;
		int cpus;
	} cases[] = {
		{"max 100000\n", INT_MAX},
		{"100000 100000\n", 1},
		{"100001 100000\n", 2},
		{"199999 100000\n", 2},
		{"200000 100000\n", 2},
		{"250000 100000\n", 3},
		{"1000 100000\n", 1},
		{"1 1000000\n", 1},
		{"2500 1000\n", 3},
		{"300000 50000\n", 6},
		{"150000 100000", 2},
		{"6400000 100000\n", 64},
		{"9223372036854775807 1\n", INT_MAX},
		{"9223372036854775807 9223372036854775807\n", 1},
	};
	put_group("0::/a\n");
	put_mounts(OTHER_MOUNTS V2_MOUNT);
	for (size_t i = 0; i < nelem(cases); i++) {
		put(V2 "/a/cpu.max", cases[i].max);
		assert_int_equal(gmp__cgroup_cpus(root), cases[i].cpus);
	}
}

static void test_v2_nested(void **state)
{
	(void)state;
	put_group("0::/a/b/c\n");
	put_mounts(V2_MOUNT OTHER_MOUNTS);
	put(V2 "/a/b/c/cpu.max", "max 100000\n");
	put(V2 "/a/b/cpu.max", "300000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 3);
	put(V2 "/a/cpu.max", "120000 100000\n"); /* the tightest is the furthest */
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put(V2 "/a/b/c/cpu.max", "50000 100000\n"); /* the nearest */
	assert_int_equal(gmp__cgroup_cpus(root), 1);
	put(V2 "/a/b/c/cpu.max", "400000 100000\n");
	put(V2 "/a/cpu.max", "500000 100000\n"); /* the middle one */
	assert_int_equal(gmp__cgroup_cpus(root), 3);
	put(V2 "/a/d/cpu.max", "100000 100000\n"); /* a group that we are not in */
	put(V2 "/a/b/c/d/cpu.max", "100000 100000\n");
	put(V2 "/a/b/cc/cpu.max", "100000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 3);
	put(V2 "/cpu.max", "200000 100000\n"); /* the top: in a container it is not the true one */
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put_group("0::/a/b/gone (deleted)\n"); /* ancestors still count */
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put_group("0::/\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
}

static void test_v1(void **state)
{
	(void)state;
	put_group("12:cpuset:/x\n11:name=systemd:/x\n4:cpu,cpuacct:/a/b\n3:memory:/x\n");
	put_mounts(OTHER_MOUNTS "32 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" V1_MOUNT
				"34 23 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n");
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put("/sys/fs/cgroup/cpuset/a/b/cpu.cfs_quota_us", "100000\n"); /* not of this hierarchy */
	put("/sys/fs/cgroup/cpuset/a/b/cpu.cfs_period_us", "100000\n");
	put(V1 "/x/cpu.cfs_quota_us", "100000\n");
	put(V1 "/x/cpu.cfs_period_us", "100000\n");
	put(V1 "/a/b/cpu.cfs_quota_us", "-1\n");
	put(V1 "/a/b/cpu.cfs_period_us", "100000\n");
	put(V1 "/a/b/cpu.max", "1 1\n"); /* of the other version */
	assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	put(V1 "/a/b/cpu.cfs_quota_us", "450000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 5);
	put(V1 "/a/b/cpu.cfs_period_us", "50000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 9);
	put(V1 "/a/cpu.cfs_quota_us", "20000\n");
	put(V1 "/a/cpu.cfs_period_us", "10000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put(V1 "/cpu.cfs_quota_us", "1000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2); /* no period */
	put(V1 "/cpu.cfs_period_us", "1000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 1);
}

/* The controller may stand anywhere in the lists, but a part of a word is not the word. */
static void test_v1_controllers(void **state)
{
	(void)state;
	static const struct {
		const char *names, *options;
		int cpus;
	} cases[] = {
		{"cpu", "rw,cpu", 2},
		{"cpuacct,cpu", "rw,cpuacct,cpu", 2},
		{"a,cpu,b", "rw,a,cpu,b", 2},
		{"cpuacct", "rw,cpu", INT_MAX},
		{"cpu", "rw,cpuacct", INT_MAX},
		{"name=cpu", "rw,cpu", INT_MAX},
		{"cpu", "rw,name=cpu", INT_MAX},
		{"", "rw,cpu", INT_MAX},
		{",,", "rw,cpu", INT_MAX},
		{"cpu", "", INT_MAX},
		{",cpu", ",,cpu", 2},
		{"xcpu", "rw,cpu", INT_MAX},
	};
	put(V1 "/a/cpu.cfs_quota_us", "200000\n");
	put(V1 "/a/cpu.cfs_period_us", "100000\n");
	for (size_t i = 0; i < nelem(cases); i++) {
		char s[256];
		(void)snprintf(s, sizeof s, "4:%s:/a\n", cases[i].names);
		put_group(s);
		(void)snprintf(s, sizeof s, "33 23 0:29 / " V1 " rw - cgroup cgroup %s\n", cases[i].options);
		put_mounts(s);
		assert_int_equal(gmp__cgroup_cpus(root), cases[i].cpus);
	}
}

/* Version 2 mounted beside version 1: both limit. */
static void test_hybrid(void **state)
{
	(void)state;
	put_group("4:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/b\n");
	put_mounts(V1_MOUNT "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put(V1 "/a/cpu.cfs_quota_us", "200000\n");
	put(V1 "/a/cpu.cfs_period_us", "100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put("/sys/fs/cgroup/unified/b/cpu.max", "300000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put("/sys/fs/cgroup/unified/b/cpu.max", "100000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 1);
}

/* What containers see: a part of the tree mounted, or names relative to a cgroup namespace. */
static void test_views(void **state)
{
	(void)state;
	static const struct {
		const char *group, *top, *dir; /* dir: where the quota is, below the mount */
		int cpus;
	} cases[] = {
		{"/docker/abc", "/docker/abc", "", 2}, {"/docker/abc/x", "/docker/abc", "/x", 2},
		{"/docker/abc/x/y", "/docker/abc", "/x", 2}, {"/docker/abc/x", "/docker/abc", "", 2},
		{"/docker/abcd", "/docker/abc", "", INT_MAX}, /* a neighbour whose name begins alike */
		{"/docker/ab", "/docker/abc", "", INT_MAX}, {"/", "/docker/abc", "", INT_MAX}, {"/", "/", "", 2},
		{"/x", "/", "/x", 2}, {"/../x", "/", "", INT_MAX},    /* we were moved out of the namespace */
		{"/..", "/", "", INT_MAX}, {"/../x", "/..", "/x", 2}, /* the mount is older than the namespace */
		{"/../../x/y", "/../..", "/x", 2}, {"/..x/...", "/", "/..x", 2}, /* mere names */
	};
	for (size_t i = 0; i < nelem(cases); i++) {
		char s[256];
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		(void)snprintf(s, sizeof s, "0::%s\n", cases[i].group);
		put_group(s);
		(void)snprintf(
			s, sizeof s, "31 23 0:27 %s " V2 " rw shared:1 master:2 - cgroup2 cgroup rw\n", cases[i].top);
		put_mounts(s);
		(void)snprintf(s, sizeof s, V2 "%s/cpu.max", cases[i].dir);
		put(s, "200000 100000\n");
		put("/sys/fs/cpu.max", "1 1\n"); /* above the mount is no group */
		put("/sys/cpu.max", "1 1\n");
		assert_int_equal(gmp__cgroup_cpus(root), cases[i].cpus);
	}
}

/* The same hierarchy in two places: whichever lets us see more. */
static void test_two_mounts(void **state)
{
	(void)state;
	put_group("0::/a/b\n");
	put_mounts("40 23 0:27 /c /mnt/c rw - cgroup2 cgroup2 rw\n"
		   "41 23 0:27 /a/b /mnt/b rw - cgroup2 cgroup2 rw\n" V2_MOUNT);
	put("/mnt/c/cpu.max", "1 1\n");
	put("/mnt/b/cpu.max", "300000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 3);
	put(V2 "/a/cpu.max", "200000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
}

/* Odd but right: escapes in mount points, colons in names, a group at the root of the file system. */
static void test_names(void **state)
{
	(void)state;
	put_group("0::/a:b/c d\n");
	put_mounts("31 23 0:27 /a:b /odd\\040place\\134x rw - cgroup2 cgroup2 rw\n");
	put("/odd place\\x/c d/cpu.max", "200000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	put_mounts("31 23 0:27 / / rw - cgroup2 cgroup2 rw\n");
	put("/a:b/c d/cpu.max", "300000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 3);
	put("/cpu.max", "100000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 1);
}

static void test_malformed_values(void **state)
{
	(void)state;
	static const char *const bad_number[] = {"", "\n", " ", "max\n", "0\n", "-1\n", "+1\n", "1x\n", "1e5\n",
		"0x10\n", "1.5\n", "1,1\n", "99999999999999999999999\n", "9223372036854775808\n", " 1\n"};
	static const char *const bad_pair[] = {"", "\n", " ", "max", "max\n", "maximum 100000\n", "100000\n",
		"100000 \n", "100000 0\n", "0 100000\n", "-1 100000\n", "100000 -1\n", "+1 1\n", "1x 100000\n",
		"100000 1x\n", "1e5 100000\n", "0x10 1\n", "1.5 1\n", "1,1\n", "100000\t100000\n",
		"99999999999999999999999 1\n", "1 99999999999999999999999\n", "9223372036854775808 1\n",
		" 100000 100000\n"};
	put_group("5:cpu,cpuacct:/b\n0::/a\n");
	put_mounts(V2_MOUNT V1_MOUNT);
	for (size_t i = 0; i < nelem(bad_pair); i++) {
		put(V2 "/a/cpu.max", bad_pair[i]);
		assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	}
	for (size_t i = 0; i < nelem(bad_number); i++) {
		put(V1 "/b/cpu.cfs_quota_us", bad_number[i]);
		put(V1 "/b/cpu.cfs_period_us", "1\n");
		assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
		put(V1 "/b/cpu.cfs_quota_us", "1\n");
		put(V1 "/b/cpu.cfs_period_us", bad_number[i]);
		assert_int_equal(gmp__cgroup_cpus(root), INT_MAX);
	}
	/* A group with such a file does not hide the others. */
	put(V2 "/cpu.max", "200000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
	/* A directory in the place of a file. */
	put(V2 "/d/cpu.max/x", "");
	put_group("0::/d\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
}

static void test_malformed_lines(void **state)
{
	(void)state;
	static const char *const groups[] = {
		"\n\n:\n::\n:::\n0:\n0::\n0::x\nx\n1:cpu\n1:cpu:\n00::/z\n0::/a\n", "0::/a"};
	static const char *const mounts[] = {
		V2_MOUNT,
		"\n \n-\n - \n1\n1 2 3\n1 2 3 / /m\n1 2 3 / /m rw -\n1 2 3 / /m rw - cgroup2\n" V2_MOUNT,
		"1 2 3 / /m rw - cgroup2 x\n1 2 3 / m rw - cgroup2 x rw\n1 2 3 m / rw - cgroup2 x rw\n" V2_MOUNT,
		"1 - cgroup2 cgroup2 rw\n1 2 3 / - cgroup2 cgroup2 rw\n1 2 3 / /m rw  - cgroup3 x rw\n" V2_MOUNT,
		"1 2 3 / " V2 " rw - cgroup2  rw", /* no name of a source: two blanks; and no newline */
		"1 2 3 / /sys\\057fs/cgroup rw - cgroup2 x rw\n",
		"1 2 3 / /m\\ rw - cgroup2 x rw\n1 2 3 / /m\\04 rw - cgroup2 x rw\n" V2_MOUNT,
		"1 2 3 / /m\\999 rw - cgroup2 x rw\n" V2_MOUNT,
	};
	put(V2 "/a/cpu.max", "200000 100000\n");
	put("/m/a/cpu.max/x", "");
	for (size_t i = 0; i < nelem(groups); i++) {
		for (size_t j = 0; j < nelem(mounts); j++) {
			put_group(groups[i]);
			put_mounts(mounts[j]);
			assert_int_equal(gmp__cgroup_cpus(root), 2);
		}
	}
}

/* n times c, at a point of a line. */
static char *stretched(const char *before, char c, size_t n, const char *after)
{
	size_t b = strlen(before), a = strlen(after);
	char *s = malloc(b + n + a + 1);
	check(s != NULL);
	memcpy(s, before, b);
	memset(s + b, c, n);
	memcpy(s + b + n, after, a + 1);
	return s;
}

/* Lines longer than any buffer hide neither the lines behind them, nor their own beginnings. */
static void test_long_lines(void **state)
{
	(void)state;
	put(V2 "/a/cpu.max", "200000 100000\n");
	for (size_t n = 1000; n <= 64000; n = n * 3 / 2) {
		char *s = stretched("28 1 0:9 / / rw - overlay overlay rw,lowerdir=", 'x', n, "\n" V2_MOUNT);
		put_group("0::/a\n");
		put_mounts(s);
		assert_int_equal(gmp__cgroup_cpus(root), 2);
		free(s);
		s = stretched("31 23 0:27 / " V2 " rw - cgroup2 cgroup2 rw,x=", 'x', n, "");
		put_mounts(s);
		assert_int_equal(gmp__cgroup_cpus(root), 2);
		free(s);
		s = stretched("31 23 0:27 / /", 'x', n, " rw - cgroup2 cgroup2 rw\n" V2_MOUNT);
		put_mounts(s);
		assert_int_equal(gmp__cgroup_cpus(root), 2);
		free(s);
		s = stretched("5:cpu:/", 'x', n, "\n0::/a\n");
		put_mounts(V2_MOUNT V1_MOUNT);
		put_group(s);
		assert_int_equal(gmp__cgroup_cpus(root), 2);
		free(s);
		s = stretched("0::/a", '/', n, "b\n"); /* too long for us, or a/b with very many slashes */
		put_group(s);
		int cpus = gmp__cgroup_cpus(root);
		assert_true(cpus == 2 || (cpus == INT_MAX && n > PATH_MAX / 2));
		free(s);
	}
}

/* A machine with thousands of mounts before the one that matters. */
static void test_many_mounts(void **state)
{
	(void)state;
	enum { N = 3000, LINE = 64 };
	char *s = malloc(N * LINE + sizeof V2_MOUNT), *end = s;
	check(s != NULL);
	for (int i = 0; i < N; i++)
		end += snprintf(end, LINE, "%d 1 0:%d / /m%d rw - tmpfs t rw\n", i, i, i);
	memcpy(end, V2_MOUNT, sizeof V2_MOUNT);
	put_group("0::/a\n");
	put_mounts(s);
	free(s);
	put(V2 "/a/cpu.max", "200000 100000\n");
	assert_int_equal(gmp__cgroup_cpus(root), 2);
}

/* No descriptor stays open, whatever the way out. */
static void test_descriptors(void **state)
{
	(void)state;
	int before = dup(0);
	assert_true(before >= 0);
	(void)close(before);
	test_malformed_values(state);
	(void)gmp__cgroup_cpus(root);
	int after = dup(0);
	(void)close(after);
	assert_int_equal(before, after);
}

static void test_real(void **state)
{
	(void)state;
	assert_true(gmp__cgroup_cpus("") >= 1);
	char *s = stretched("/", 'x', 2 * PATH_MAX, "");
	assert_int_equal(gmp__cgroup_cpus(s), INT_MAX); /* no such place */
	free(s);
}

#define IN_TREE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_TREE(test_nothing),
		IN_TREE(test_v2_rounding),
		IN_TREE(test_v2_nested),
		IN_TREE(test_v1),
		IN_TREE(test_v1_controllers),
		IN_TREE(test_hybrid),
		IN_TREE(test_views),
		IN_TREE(test_two_mounts),
		IN_TREE(test_names),
		IN_TREE(test_malformed_values),
		IN_TREE(test_malformed_lines),
		IN_TREE(test_long_lines),
		IN_TREE(test_many_mounts),
		IN_TREE(test_descriptors),
		IN_TREE(test_real),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
