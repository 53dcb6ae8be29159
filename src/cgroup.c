/* SPDX-License-Identifier: MIT
 * cgroup.c - CPU quotas of control groups, v1 (cpu.cfs_quota_us, cpu.cfs_period_us) and v2 (cpu.max), also both mounted
 * at once. /proc/self/cgroup says in which groups we are, /proc/self/mountinfo where their files are to be found.
 * Whatever cannot be read or understood does not limit. Nothing is allocated here: files are read in small pieces. */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- reading by lines -------------------------------------------------------------------------------------------- */

typedef struct Reader {
	int fd;
	size_t at, end;
	char buf[1024];
} Reader;

static bool reader_open(Reader *r, const char *root, const char *path)
{
	char name[PATH_MAX];
	int n = snprintf(name, sizeof name, "%s%s", root, path);
	r->at = r->end = 0;
	r->fd = n > 0 && (size_t)n < sizeof name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	return r->fd >= 0;
}

static int reader_getc(Reader *r)
{
	if (r->at == r->end) {
		ssize_t n;
		do
			n = read(r->fd, r->buf, sizeof r->buf);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			return EOF;
		r->at = 0;
		r->end = (size_t)n;
	}
	return (unsigned char)r->buf[r->at++];
}

/* The next line without its newline; what does not fit is dropped: mounts may have options without end, not ours. */
static bool reader_line(Reader *r, char *line, size_t size)
{
	size_t n = 0;
	int c;
	while ((c = reader_getc(r)) != EOF && c != '\n') {
		if (n + 1 < size)
			line[n++] = (char)c;
	}
	line[n] = '\0';
	return c != EOF || n > 0;
}

/* ---- pieces of text ---------------------------------------------------------------------------------------------- */

/* A positive decimal number, which ends at a blank or at the end; 0: there is none. *s moves behind it. */
static int64_t number(const char **s)
{
	int64_t n = 0;
	for (; **s >= '0' && **s <= '9'; ++*s) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, **s - '0', &n))
			return 0;
	}
	if (**s != '\0' && **s != ' ')
		return 0;
	*s += strspn(*s, " ");
	return n;
}

/* Is `word` one of the comma-separated words of list? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *s = list; s; s = strchr(s, ',')) {
		s += *s == ',';
		if (strncmp(s, word, len) == 0 && (s[len] == ',' || s[len] == '\0'))
			return true;
	}
	return false;
}

/* Cuts the next blank-separated field off *s. NULL: no more. */
static char *field(char **s)
{
	char *f = *s;
	if (!f || *f == '\0')
		return NULL;
	char *blank = strchr(f, ' ');
	if (blank)
		*blank++ = '\0';
	*s = blank;
	return f;
}

static bool is_octal(char c) { return c >= '0' && c <= '7'; }

/* mountinfo writes blank, tab, newline and backslash as \ooo. In place. */
static void unescape(char *s)
{
	char *to = s;
	for (; *s; s++) {
		if (s[0] == '\\' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3])) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

static bool has_dotdot(const char *path)
{
	for (const char *s = path; (s = strstr(s, "/..")) != NULL; s += 3) {
		if (s[3] == '/' || s[3] == '\0')
			return true;
	}
	return false;
}

/* ---- quotas ------------------------------------------------------------------------------------------------------ */

typedef struct Groups {
	bool has_v1, has_v2;
	char v1[PATH_MAX]; /* paths of our groups, as the hierarchy names them */
	char v2[PATH_MAX];
} Groups;

static int quota_cpus(int64_t quota, int64_t period)
{
	if (quota <= 0 || period <= 0)
		return INT_MAX;
	int64_t n = (quota - 1) / period + 1;
	return n < INT_MAX ? (int)n : INT_MAX;
}

/* First line of a file of group dir. */
static bool read_value(const char *root, char *dir, size_t dirsize, const char *file, char *line, size_t size)
{
	Reader r;
	size_t len = strlen(dir);
	bool ok = (size_t)snprintf(dir + len, dirsize - len, "/%s", file) < dirsize - len && reader_open(&r, root, dir);
	dir[len] = '\0';
	if (ok) {
		ok = reader_line(&r, line, size);
		(void)close(r.fd);
	}
	return ok;
}

static int group_cpus(const char *root, char *dir, size_t dirsize, bool v2)
{
	char line[64];
	const char *s = line;
	if (v2) {
		if (!read_value(root, dir, dirsize, "cpu.max", line, sizeof line))
			return INT_MAX;     /* the root, or a group without the controller */
		int64_t quota = number(&s); /* "max 100000" has none */
		return quota_cpus(quota, number(&s));
	}
	if (!read_value(root, dir, dirsize, "cpu.cfs_quota_us", line, sizeof line))
		return INT_MAX;
	int64_t quota = number(&s); /* nor has "-1" */
	if (!read_value(root, dir, dirsize, "cpu.cfs_period_us", line, sizeof line))
		return INT_MAX;
	s = line;
	return quota_cpus(quota, number(&s));
}

/* The hierarchy's directory `top` is mounted on `mount`; `path` is our group. The tightest from there up to `top`; what
 * lies above is not to be seen from here. */
static int mount_cpus(const char *root, const char *mount, const char *top, const char *path, bool v2)
{
	char dir[PATH_MAX];
	size_t toplen = strcmp(top, "/") == 0 ? 0 : strlen(top);
	const char *below = path + toplen;
	if (strncmp(path, top, toplen) != 0 || (*below != '\0' && *below != '/'))
		return INT_MAX; /* some other part of the tree (a container's, bind-mounted) */
	if (strcmp(below, "/") == 0)
		below = "";
	/* A process that was moved out of its cgroup namespace is at "/..": no directory of this mount. */
	if (has_dotdot(below) || (size_t)snprintf(dir, sizeof dir, "%s%s", mount, below) >= sizeof dir)
		return INT_MAX;

	size_t mountlen = strlen(mount);
	int cpus = INT_MAX;
	for (;;) {
		int n = group_cpus(root, dir, sizeof dir, v2);
		if (n < cpus)
			cpus = n;
		char *slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < mountlen)
			return cpus;
		*slash = '\0';
	}
}

/* Lines are "4:cpu,cpuacct:/path" (v1) and "0::/path" (v2). */
static void read_groups(const char *root, Groups *g)
{
	Reader r;
	char line[PATH_MAX + 128];
	g->has_v1 = g->has_v2 = false;
	if (!reader_open(&r, root, "/proc/self/cgroup"))
		return;
	while (reader_line(&r, line, sizeof line)) {
		char *names = strchr(line, ':');
		char *path = names ? strchr(names + 1, ':') : NULL;
		if (!path || path[1] != '/')
			continue;
		*path++ = '\0';
		*names++ = '\0';
		size_t size = strlen(path) + 1;
		if (size > sizeof g->v1)
			continue;
		if (has_word(names, "cpu")) {
			memcpy(g->v1, path, size);
			g->has_v1 = true;
		} else if (*names == '\0' && strcmp(line, "0") == 0) {
			memcpy(g->v2, path, size);
			g->has_v2 = true;
		}
	}
	(void)close(r.fd);
}

/* A line is "36 35 98:0 /top /mount rw,noatime [optional fields] - type source options". */
static int line_cpus(const char *root, char *line, const Groups *g)
{
	char *rest = line, *f, *top = NULL, *mount = NULL;
	for (int i = 0; (f = field(&rest)) != NULL && strcmp(f, "-") != 0; i++) {
		if (i == 3)
			top = f;
		else if (i == 4)
			mount = f;
	}
	char *type = field(&rest), *source = field(&rest), *options = field(&rest);
	if (!f || !mount || !type || !source || !options || top[0] != '/' || mount[0] != '/')
		return INT_MAX;
	bool v2 = strcmp(type, "cgroup2") == 0;
	if (!(v2 ? g->has_v2 : g->has_v1 && strcmp(type, "cgroup") == 0 && has_word(options, "cpu")))
		return INT_MAX;
	unescape(top);
	unescape(mount);
	return mount_cpus(root, strcmp(mount, "/") == 0 ? "" : mount, top, v2 ? g->v2 : g->v1, v2);
}

int gmp__cgroup_cpus(const char *root)
{
	Reader r;
	Groups g;
	char line[2 * PATH_MAX + 256];
	int cpus = INT_MAX;
	read_groups(root, &g);
	if ((!g.has_v1 && !g.has_v2) || !reader_open(&r, root, "/proc/self/mountinfo"))
		return cpus;
	while (reader_line(&r, line, sizeof line)) {
		int n = line_cpus(root, line, &g);
		if (n < cpus)
			cpus = n;
	}
	(void)close(r.fd);
	return cpus;
}
