/* SPDX-License-Identifier: MIT
 * os_sock.h - recv and send in place, with the result of the kernel: bytes or a negative errno.
 *
 * Not by the C library's functions: those are cancellation points of threads, two atomic operations each for nothing here. Nor
 * by its syscall(): where the kernel guards itself against speculative returns, each return after a system call is
 * mispredicted (10 ns), so the fewer lie between it and the caller of gmp_read the better. */
#ifndef GMP_OS_SOCK_H
#define GMP_OS_SOCK_H

#include "os.h"
#include "sanitize.h"
#include <errno.h>
#include <sys/socket.h>

/* System calls lose the vector registers of SVE and RVV, which no clobber here names. */
#if defined(__linux__) && !defined(GMP_OS_POSIX) && !SAN_BUILD && !defined(__ARM_FEATURE_SVE) && !defined(__riscv_vector) && \
        ((defined(__x86_64__) && !defined(__ILP32__)) || defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64))
#include <sys/syscall.h>

static alwaysinline long os_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long r = nr;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "+a"(r) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long n __asm__("x8") = nr;
	register long r __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(r) : "r"(n), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
#else
	register long n __asm__("a7") = nr;
	register long r __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;
	__asm__ volatile("ecall" : "+r"(r) : "r"(n), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
#endif
	return r;
}

static alwaysinline ssize_t os_recv(int fd, void *buf, size_t n, int flags)
{
	return os_syscall6(SYS_recvfrom, fd, (long)buf, (long)n, flags, 0, 0);
}

static alwaysinline ssize_t os_send(int fd, const void *buf, size_t n, int flags)
{
	return os_syscall6(SYS_sendto, fd, (long)buf, (long)n, flags, 0, 0);
}

#else

static inline ssize_t os_result(ssize_t r, int before)
{
	if (r < 0)
		r = errno == EWOULDBLOCK ? -EAGAIN : -errno;
	errno = before;
	return r;
}

static inline ssize_t os_recv(int fd, void *buf, size_t n, int flags)
{
	int e = errno;
	return os_result(recv(fd, buf, n, flags), e);
}

static inline ssize_t os_send(int fd, const void *buf, size_t n, int flags)
{
	int e = errno;
	return os_result(send(fd, buf, n, flags), e);
}

#endif
#endif
