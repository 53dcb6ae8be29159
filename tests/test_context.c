/* SPDX-License-Identifier: MIT
 * test_context.c - the three-register switch: what must survive it, alignment at the entry, where backtraces end. */
#include "testutil.h"
#include <execinfo.h>
#include <fenv.h>

/* ---- registers --------------------------------------------------------------------------------------------------- */

/* Sets every callee-saved register to a pattern, calls the out-of-line yield, and counts those that came back different:
 * what any compiled caller relies on. */
static void yield_real(void)
{
	void (*volatile f)(void) = gmp_yield;
	f();
}

#if defined(__x86_64__)
static long clobbered(long k)
{
	long bad;
	void (*f)(void) = yield_real;
	__asm__ volatile(
		"pushq %%rbp\n\tpushq %%rbx\n\tpushq %%r12\n\tpushq %%r13\n\tpushq %%r14\n\tpushq %%r15\n\t"
		"leaq 1(%%rdi), %%rbx\n\tleaq 2(%%rdi), %%rbp\n\tleaq 3(%%rdi), %%r12\n\tleaq 4(%%rdi), %%r13\n\t"
		"leaq 5(%%rdi), %%r14\n\tmovq %%rdi, %%r15\n\t"
		"movq %%rsp, %%rax\n\tandq $-16, %%rsp\n\tsubq $16, %%rsp\n\tmovq %%rax, (%%rsp)\n\t"
		"call *%%rsi\n\t"
		"movq (%%rsp), %%rsp\n\t"
		"xorl %%eax, %%eax\n\t"
		"leaq 1(%%r15), %%rcx\n\tcmpq %%rcx, %%rbx\n\tje 1f\n\tincq %%rax\n1:\t"
		"leaq 2(%%r15), %%rcx\n\tcmpq %%rcx, %%rbp\n\tje 1f\n\tincq %%rax\n1:\t"
		"leaq 3(%%r15), %%rcx\n\tcmpq %%rcx, %%r12\n\tje 1f\n\tincq %%rax\n1:\t"
		"leaq 4(%%r15), %%rcx\n\tcmpq %%rcx, %%r13\n\tje 1f\n\tincq %%rax\n1:\t"
		"leaq 5(%%r15), %%rcx\n\tcmpq %%rcx, %%r14\n\tje 1f\n\tincq %%rax\n1:\t"
		"popq %%r15\n\tpopq %%r14\n\tpopq %%r13\n\tpopq %%r12\n\tpopq %%rbx\n\tpopq %%rbp\n\t"
		: "=a"(bad), "+D"(k), "+S"(f)
		:
		: "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
	return bad;
}
#else
/* Elsewhere by the compiler: as many live values across the call as the machine has callee-saved registers. */
static long clobbered(long k)
{
	long v[24], bad = 0;
	double d[12];
	for (int i = 0; i < 24; i++)
		v[i] = k + i;
	for (int i = 0; i < 12; i++)
		d[i] = (double)(k * 3 + i);
	long a0 = v[0], a1 = v[1], a2 = v[2], a3 = v[3], a4 = v[4], a5 = v[5], a6 = v[6], a7 = v[7], a8 = v[8], a9 = v[9];
	double d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5], d6 = d[6], d7 = d[7];
	__asm__ volatile("" : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a4), "+r"(a5), "+r"(a6), "+r"(a7), "+r"(a8), "+r"(a9));
	__asm__ volatile("" : "+m"(d0), "+m"(d1), "+m"(d2), "+m"(d3), "+m"(d4), "+m"(d5), "+m"(d6), "+m"(d7));
	yield_real();
	__asm__ volatile("" : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a4), "+r"(a5), "+r"(a6), "+r"(a7), "+r"(a8), "+r"(a9));
	long got[10] = {a0, a1, a2, a3, a4, a5, a6, a7, a8, a9};
	double gotd[8] = {d0, d1, d2, d3, d4, d5, d6, d7};
	for (int i = 0; i < 10; i++)
		bad += got[i] != k + i;
	for (int i = 0; i < 8; i++)
		bad += gotd[i] != (double)(k * 3 + i);
	return bad;
}
#endif

static void keeps_registers(void *arg)
{
	long k = (long)(intptr_t)arg * 1000003;
	for (int i = 0; i < 1000; i++)
		check_int(clobbered(k + i), 0);
}

/* Values in whatever registers the compiler chose, across the inline switch of gmp.h. */
static void keeps_locals(void *arg)
{
	long a = (long)(intptr_t)arg, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13, g = a * 17, h = a * 19;
	double x = (double)a * 0.5, y = (double)a * 0.25;
	for (int i = 0; i < 1000; i++) {
		gmp_yield();
		a += 1, b += 3, c += 5, d += 7, e += 11, f += 13, g += 17, h += 19;
		x += 0.5, y += 0.25;
		check(b == a * 3 && c == a * 5 && d == a * 7 && e == a * 11 && f == a * 13 && g == a * 17 && h == a * 19);
		check(x == (double)a * 0.5 && y == (double)a * 0.25);
	}
}

static void spawn_eight(void *fn)
{
	gmp_g *g[8];
	for (intptr_t i = 0; i < 8; i++)
		check_int(gmp_spawn_attr(&g[i], NULL, *(gmp_fn **)fn, (void *)(i + 1)), 0);
	for (int i = 0; i < 8; i++)
		check_int(gmp_join(g[i]), 0);
}

static void registers_survive(void **state)
{
	(void)state;
	gmp_fn *fn = keeps_registers;
	run_on_all(spawn_eight, &fn);
	fn = keeps_locals;
	run_on_all(spawn_eight, &fn);
}

/* ---- FP control words -------------------------------------------------------------------------------------------- */

static void rounds_up(void *arg)
{
	(void)arg;
	check_int(fesetround(FE_UPWARD), 0);
	for (int i = 0; i < 200; i++) {
		gmp_yield();
		check_int(fegetround(), FE_UPWARD);
		if (i % 20 == 0)
			check_int(gmp_sleep(1000), 0);
	}
}

static void rounds_to_nearest(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		gmp_yield();
		check_int(fegetround(), FE_TONEAREST);
	}
}

static void fp_main(void *arg)
{
	(void)arg;
	gmp_attr own = {.fpenv = 1, .name = "upward"};
	gmp_g *g[6];
	for (int i = 0; i < 6; i++)
		check_int(gmp_spawn_attr(&g[i], i % 2 ? &own : NULL, i % 2 ? rounds_up : rounds_to_nearest, NULL), 0);
	for (int i = 0; i < 6; i++)
		check_int(gmp_join(g[i]), 0);
	check_int(fegetround(), FE_TONEAREST);
}

static void fp_control_words_are_a_coroutines_own_on_request(void **state)
{
	(void)state;
	run_on_all(fp_main, NULL);
}

/* ---- entry ------------------------------------------------------------------------------------------------------- */

static void aligned(void *arg)
{
	(void)arg;
	_Alignas(16) char v[16];
	__asm__ volatile("" : : "r"(v) : "memory");
	check_int((uintptr_t)v % 16, 0);
	check_int((uintptr_t)__builtin_frame_address(0) % 16, 0);
	char buf[64];
	check(snprintf(buf, sizeof buf, "%.3f %Lf", 1.5, 2.5L) > 0); /* movaps into a misaligned stack would fault */
	check_int(strncmp(buf, "1.500 2.5", 9), 0);
}

static void the_stack_is_aligned_at_entry(void **state)
{
	(void)state;
	gmp_fn *fn = aligned;
	run_on(1, spawn_eight, &fn);
}

/* For debuggers: where the stack is deep. */
static __attribute__((noinline)) void backtrace_here(void) { __asm__ volatile(""); }

static __attribute__((noinline)) void deep(int n)
{
	void *pc[64];
	if (n > 0) {
		gmp_yield();
		deep(n - 1);
		__asm__ volatile("" ::: "memory");
		return;
	}
	backtrace_here();
	int k = backtrace(pc, 64);
	check(k >= 6 && k < 20); /* deep x5, the coroutine's function, its start: and there it ends */
}

static void traced(void *arg)
{
	(void)arg;
	deep(5);
}

static void a_backtrace_ends_at_the_entry(void **state)
{
	(void)state;
	void *pc[2];
	(void)backtrace(pc, 2); /* loads the unwinder now, on a big stack */
	gmp_fn *fn = traced;
	run_on_all(spawn_eight, &fn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_survive),
		cmocka_unit_test(fp_control_words_are_a_coroutines_own_on_request),
		cmocka_unit_test(the_stack_is_aligned_at_entry),
		cmocka_unit_test(a_backtrace_ends_at_the_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
