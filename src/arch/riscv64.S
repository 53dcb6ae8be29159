/* SPDX-License-Identifier: MIT
 * riscv64.S - where a coroutine begins, and FP control words; the switch itself stands inline in gmp.h (three registers).
 *
 * A resumed context finds its M in a1 (first words: u32 in-runtime flag; at 8 the address of the lock byte to clear)
 * and its result in a0. Offsets are asserted against C in switch.c.
 * fcsr's rounding mode stays with the thread, unless the coroutine has attr.fpenv (then g0 saves and loads it). */
	.text

/* First PC of a fresh coroutine: a0 = G. */
	.globl	gmp__gostart
	.hidden	gmp__gostart
	.type	gmp__gostart, @function
	.p2align 2
gmp__gostart:
	.cfi_startproc
	.cfi_undefined ra	/* the outermost frame: unwinders stop here */
	ld	t0, 8(a1)
	ld	t1, 128(a0)	/* G.fn; loaded before the M may lose its P */
	ld	a0, 16(a0)	/* G.sg.elem: the argument */
	fence	rw, w
	sb	zero, 0(t0)
	fence	rw, w
	sw	zero, 0(a1)
	li	s0, 0
	li	ra, 0
	jalr	t1
	call	gmp__goexit	/* the context to go to, in a0 */
	j	.Lgo
	.cfi_endproc
	.size	gmp__gostart, .-gmp__gostart

	.globl	gmp__gogo
	.hidden	gmp__gogo
	.type	gmp__gogo, @function
	.p2align 2
gmp__gogo:
	.cfi_startproc
	.cfi_undefined ra
.Lgo:
	mv	a1, a0
	ld	t0, 0(a1)
	ld	sp, 8(a1)
	ld	s0, 16(a1)
	ld	a0, 24(a1)
	ld	a1, 32(a1)
	jr	t0
	.cfi_endproc
	.size	gmp__gogo, .-gmp__gogo

/* void gmp__fp_save(uint32_t fp[2]) */
	.globl	gmp__fp_save
	.hidden	gmp__fp_save
	.type	gmp__fp_save, @function
	.p2align 2
gmp__fp_save:
	.cfi_startproc
	frcsr	t0
	sw	t0, 0(a0)
	ret
	.cfi_endproc
	.size	gmp__fp_save, .-gmp__fp_save

/* void gmp__fp_load(const uint32_t fp[2]) */
	.globl	gmp__fp_load
	.hidden	gmp__fp_load
	.type	gmp__fp_load, @function
	.p2align 2
gmp__fp_load:
	.cfi_startproc
	lw	t0, 0(a0)
	fscsr	t0
	ret
	.cfi_endproc
	.size	gmp__fp_load, .-gmp__fp_load

	.section .note.GNU-stack, "", @progbits
