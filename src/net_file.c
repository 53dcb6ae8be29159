/* SPDX-License-Identifier: MIT
 * net_file.c - what the poller cannot wait for, in declared blocking regions: files, and the resolver. */
#include "net_fd.h"
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ------------------------------------------------------------------------------------------------------- */

static outofline int call_open(const char *path, int flags, mode_t mode)
{
	int e = errno, fd;
	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	int r = fd < 0 ? -errno : fd;
	errno = e;
	return r;
}

int gmp_open(const char *path, int flags, mode_t mode)
{
	if (!path)
		return -EINVAL;
	if (gmp_cancelled())
		return -ECANCELED;
	gmp_blocking_enter();
	int fd = call_open(path, flags, mode);
	gmp_blocking_leave();
	if (fd < 0)
		return fd;
	int e = gmp__fd_fresh(fd, 0);
	if (e) {
		(void)gmp__fd_close(fd);
		return e;
	}
	return fd;
}

enum { OP_PREAD, OP_PWRITE, OP_FSYNC };

static outofline ssize_t call_file(int op, int fd, void *buf, size_t n, off_t off)
{
	int e = errno;
	ssize_t r;
	do
		r = op == OP_PREAD ? pread(fd, buf, n, off) : op == OP_PWRITE ? pwrite(fd, buf, n, off) : fsync(fd);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		r = -errno;
	errno = e;
	return r;
}

static ssize_t file_op(int op, int fd, void *buf, size_t n, off_t off)
{
	PollDesc *pd;
	int e = gmp__fd_ref(fd, &pd);
	if (e)
		return e;
	ssize_t r = -ECANCELED;
	if (!gmp_cancelled()) {
		gmp_blocking_enter();
		r = call_file(op, fd, buf, n, off);
		gmp_blocking_leave();
	}
	gmp__fd_unref(pd);
	return r;
}

ssize_t gmp_pread(int fd, void *buf, size_t n, off_t off) { return file_op(OP_PREAD, fd, buf, n, off); }

ssize_t gmp_pwrite(int fd, const void *buf, size_t n, off_t off)
{
	return file_op(OP_PWRITE, fd, (void *)(uintptr_t)buf, n, off);
}

int gmp_fsync(int fd) { return (int)file_op(OP_FSYNC, fd, NULL, 0, 0); }

/* ---- resolver ---------------------------------------------------------------------------------------------------- */

/* getaddrinfo(3) cannot be interrupted, and wants more stack than the caller may have: a coroutine of its own calls
 * it, on a thread of its own, and the caller waits for that one or for the deadline. Who comes last frees the
 * question. */
typedef struct Query {
	struct addrinfo hints, *res;
	bool has_hints;
	char *host, *service;
	int err;
	uint32_t refs;
	gmp_sem done;
	char text[];
} Query;

enum { RESOLVER_STACK = 512 * 1024, RESOLVERS = 64 };

static gmp_sem resolvers; /* threads at once */
static pthread_once_t resolvers_once = PTHREAD_ONCE_INIT;

static void resolvers_init(void) { gmp_sem_init(&resolvers, RESOLVERS); }

static int from_eai(int e, int err)
{
	switch (e) {
	case 0:
		return 0;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return err == EMFILE || err == ENFILE || err == ENOMEM ? -err : -EAGAIN;
	case EAI_BADFLAGS:
	case EAI_FAMILY:
	case EAI_SERVICE:
	case EAI_SOCKTYPE:
		return -EINVAL;
	default:
		return -ENOENT; /* EAI_NONAME, EAI_FAIL, EAI_NODATA, EAI_ADDRFAMILY */
	}
}

static outofline int call_resolver(
        const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int e = errno, g = getaddrinfo(host, service, hints, res), r = from_eai(g, errno);
	errno = e;
	return r;
}

static void query_drop(Query *q)
{
	if (fetch_add_acqrel(&q->refs, -1u) != 1)
		return;
	if (q->err == 0 && q->res)
		freeaddrinfo(q->res);
	free(q);
}

static void ask(void *arg)
{
	Query *q = arg;
	q->err = gmp_sem_acquire(&resolvers);
	if (q->err == 0) {
		if (load_acquire(&q->refs) > 1) { /* else nobody waits any more */
			gmp_blocking_enter();
			q->err = call_resolver(q->host, q->service, q->has_hints ? &q->hints : NULL, &q->res);
			gmp_blocking_leave();
		} else {
			q->err = -ETIMEDOUT;
		}
		gmp_sem_release(&resolvers);
	}
	gmp_sem_release(&q->done); /* q is ours until query_drop: no last-access rule to keep */
	query_drop(q);
}

static Query *query_new(const char *host, const char *service, const struct addrinfo *hints)
{
	size_t h = host ? strlen(host) + 1 : 0, s = service ? strlen(service) + 1 : 0;
	if (h > 4096 || s > 4096)
		return NULL;
	Query *q = gmp__os_zalloc(sizeof *q + h + s);
	if (!q)
		return NULL;
	if (host)
		q->host = memcpy(q->text, host, h);
	if (service)
		q->service = memcpy(q->text + h, service, s);
	if (hints) {
		q->has_hints = true;
		q->hints.ai_flags = hints->ai_flags;
		q->hints.ai_family = hints->ai_family;
		q->hints.ai_socktype = hints->ai_socktype;
		q->hints.ai_protocol = hints->ai_protocol;
	}
	q->refs = 2;
	return q;
}

int gmp_getaddrinfo(
        const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **res, int64_t deadline)
{
	if (!res || (!host && !service))
		return -EINVAL;
	*res = NULL;
	if (deadline <= 0)
		return -ETIMEDOUT;
	if (gmp_procs() == 0) { /* a plain thread of a program without runtime blocks itself; a late answer is dropped */
		int e = call_resolver(host, service, hints, res);
		if (deadline == GMP_FOREVER || gmp_now() < deadline)
			return e;
		if (e == 0)
			freeaddrinfo(*res);
		*res = NULL;
		return -ETIMEDOUT;
	}
	Query *q = query_new(host, service, hints);
	if (!q)
		return -ENOMEM;
	(void)pthread_once(&resolvers_once, resolvers_init);
	gmp_attr attr = {.name = "resolver", .stack_size = RESOLVER_STACK};
	int e = gmp_spawn_attr(NULL, &attr, ask, q);
	if (e) {
		free(q);
		return e;
	}
	e = gmp_sem_acquire_until(&q->done, deadline);
	if (e == 0 && (e = q->err) == 0) {
		*res = q->res;
		q->res = NULL;
	}
	query_drop(q);
	return e;
}
