; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Linux's set_bit() on a misaligned bitmap: f0 48 0f ab 3e, lock bts [rsi], rdi. The operand is the
; quadword at RSI + 8 * (RDI >> 6), RDI signed: a bit number moves the access. Each bit below is a
; multiple of 512 away from the first, so all their quadwords stand equally in their lines: with the
; bitmap at offset 60 all of them split, at 56 none.
bits 64
org 0x1000
%include "guest.inc"
	NAMES
	mov rsi, BUFFER + 0x400
	add rsi, rdi
	xor r8d, r8d                   ; what CF was, one bit each
	mov rbx, bit_numbers
next:
	mov rdi, [rbx]
	db 0xf0, 0x48, 0x0f, 0xab, 0x3e ; lock bts [rsi], rdi
	adc r8, r8
	add rbx, 8
	cmp rbx, bit_numbers_end
	jb next
	mov r9, [rsi]
	mov r10, [rsi + 64]
	mov r11, [rsi - 64]
	mov r12, [rsi + 512]
	LEAVE
align 8
bit_numbers:
	dq 0, 63, 0, 512, 512 + 5, 512 + 5, -512, -512 + 62, -1 - 448, 4096 + 17
bit_numbers_end:
