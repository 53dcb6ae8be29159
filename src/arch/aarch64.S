/* SPDX-License-Identifier: MIT
 * aarch64.S - where a coroutine begins, and FP control words; the switch itself stands inline in gmp.h (three registers).
 *
 * A resumed context finds its M in x1 (first words: u32 in-runtime flag; at 8 the address of the lock byte to clear)
 * and its result in x0. Offsets are asserted against C in switch.c.
 * FPCR stays with the thread, unless the coroutine has attr.fpenv (then g0 saves and loads it). SP is 16-aligned always. */
	.text

#ifdef __ARM_FEATURE_BTI_DEFAULT
#define LANDING_J hint #36
#define LANDING_C hint #34
#else
#define LANDING_J
#define LANDING_C
#endif

/* First PC of a fresh coroutine: x0 = G. */
	.globl	gmp__gostart
	.hidden	gmp__gostart
	.type	gmp__gostart, %function
	.p2align 4
gmp__gostart:
	.cfi_startproc
	.cfi_undefined x30	/* the outermost frame: unwinders stop here */
	LANDING_J
	ldr	x9, [x1, #8]
	ldr	x10, [x0, #128]	/* G.fn; loaded before the M may lose its P */
	ldr	x0, [x0, #16]	/* G.sg.elem: the argument */
	stlrb	wzr, [x9]
	stlr	wzr, [x1]
	mov	x29, xzr
	mov	x30, xzr
	blr	x10
	bl	gmp__goexit	/* the context to go to, in x0 */
	b	.Lgo
	.cfi_endproc
	.size	gmp__gostart, .-gmp__gostart

	.globl	gmp__gogo
	.hidden	gmp__gogo
	.type	gmp__gogo, %function
	.p2align 4
gmp__gogo:
	.cfi_startproc
	.cfi_undefined x30
	LANDING_C
.Lgo:
	mov	x1, x0
	ldp	x9, x10, [x1]
	ldp	x29, x0, [x1, #16]
	ldr	x1, [x1, #32]
	mov	sp, x10
	br	x9
	.cfi_endproc
	.size	gmp__gogo, .-gmp__gogo

/* void gmp__fp_save(uint32_t fp[2]) */
	.globl	gmp__fp_save
	.hidden	gmp__fp_save
	.type	gmp__fp_save, %function
	.p2align 4
gmp__fp_save:
	.cfi_startproc
	LANDING_C
	mrs	x9, fpcr
	str	w9, [x0]
	ret
	.cfi_endproc
	.size	gmp__fp_save, .-gmp__fp_save

/* void gmp__fp_load(const uint32_t fp[2]) */
	.globl	gmp__fp_load
	.hidden	gmp__fp_load
	.type	gmp__fp_load, %function
	.p2align 4
gmp__fp_load:
	.cfi_startproc
	LANDING_C
	ldr	w9, [x0]
	msr	fpcr, x9
	ret
	.cfi_endproc
	.size	gmp__fp_load, .-gmp__fp_load

	.section .note.GNU-stack, "", %progbits
