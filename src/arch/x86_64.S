/* SPDX-License-Identifier: MIT
 * x86_64.S - where a coroutine begins, and FP control words; the switch itself stands inline in gmp.h (three registers).
 *
 * A resumed context finds its M in rdx (first words: u32 in-runtime flag; at 8 the address of the lock byte to clear)
 * and its result in rax. Offsets are asserted against C in switch.c.
 * FP control (MXCSR, x87 CW) stays with the thread, unless the coroutine has attr.fpenv (then g0 saves and loads them).
 * Stack: SP at gmp__gostart is 64-aligned, so fn is entered with SP = 16n + 8 as the ABI wants. */
	.text

#ifdef __CET__
#define LANDING endbr64
#else
#define LANDING
#endif

/* First PC of a fresh coroutine: rax = G. */
	.globl	gmp__gostart
	.hidden	gmp__gostart
	.type	gmp__gostart, @function
	.p2align 4
gmp__gostart:
	.cfi_startproc
	.cfi_undefined rip	/* the outermost frame: unwinders stop here */
	LANDING
	movq	8(%rdx), %rcx
	movq	16(%rax), %rdi	/* G.sg.elem: the argument */
	movq	128(%rax), %rax	/* G.fn; loaded before the M may lose its P */
	movb	$0, (%rcx)
	movl	$0, (%rdx)
	xorl	%ebp, %ebp
	call	*%rax
	call	gmp__goexit	/* the context to go to, in rax */
	movq	%rax, %rdx
	jmp	.Lgo
	.cfi_endproc
	.size	gmp__gostart, .-gmp__gostart

	.globl	gmp__gogo
	.hidden	gmp__gogo
	.type	gmp__gogo, @function
	.p2align 4
gmp__gogo:
	.cfi_startproc
	.cfi_undefined rip
	LANDING
	movq	%rdi, %rdx
.Lgo:
	movq	(%rdx), %rcx
	movq	8(%rdx), %rsp
	movq	16(%rdx), %rbp
	movq	24(%rdx), %rax
	movq	32(%rdx), %rdx
	jmp	*%rcx
	.cfi_endproc
	.size	gmp__gogo, .-gmp__gogo

/* void gmp__fp_save(uint32_t fp[2]) */
	.globl	gmp__fp_save
	.hidden	gmp__fp_save
	.type	gmp__fp_save, @function
	.p2align 4
gmp__fp_save:
	.cfi_startproc
	LANDING
	stmxcsr	(%rdi)
	fnstcw	4(%rdi)
	ret
	.cfi_endproc
	.size	gmp__fp_save, .-gmp__fp_save

/* void gmp__fp_load(const uint32_t fp[2]) */
	.globl	gmp__fp_load
	.hidden	gmp__fp_load
	.type	gmp__fp_load, @function
	.p2align 4
gmp__fp_load:
	.cfi_startproc
	LANDING
	ldmxcsr	(%rdi)
	fldcw	4(%rdi)
	ret
	.cfi_endproc
	.size	gmp__fp_load, .-gmp__fp_load

	.section .note.GNU-stack, "", @progbits
