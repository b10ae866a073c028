; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Code that changes itself: the immediate of a later instruction in the same block, the next
; instruction, its own loop, a routine that is written and called again and again, code written
; through another linear address of the same page, and by a locked instruction.
bits 64
org 0x1000
%include "guest.inc"
	NAMES
	xor r12d, r12d
	mov r13d, 50
same_block:
	lea eax, [r13 * 4 + r13]
	mov [patched + 1], eax
	nop
patched:
	mov eax, 0
	add r12, rax
	dec r13d
	jnz same_block
	PUTVAR "same block ", r12d
	PUTNL

	; the very next instruction
	xor r12d, r12d
	mov r13d, 20
next_insn:
	mov byte [next_patched + 3], r13b
next_patched:
	add r12d, byte 0
	dec r13d
	jnz next_insn
	PUTVAR "next instruction ", r12d
	PUTNL

	; a routine, written and called: mov eax, n; ret
	mov r13d, 40
	xor r12d, r12d
write_call:
	mov edi, BUFFER
	mov byte [rdi], 0xb8
	mov [rdi + 1], r13d
	mov byte [rdi + 5], 0xc3
	call rdi
	add r12d, eax
	dec r13d
	jnz write_call
	PUTVAR "routine ", r12d
	PUTNL

	; through an alias: linear 0x40000000 is mapped to physical 0, too
	mov rax, [TABLES + 0x2000]
	mov [TABLES + 0x3000], rax
	mov rax, cr3
	mov cr3, rax
	mov r13d, 30
	xor r12d, r12d
alias:
	mov edi, 0x40000000 + BUFFER
	mov [rdi + 1], r13d
	mov edi, BUFFER
	call rdi
	add r12d, eax
	dec r13d
	jnz alias
	PUTVAR "alias ", r12d
	PUTNL

	; by a locked instruction on an aligned immediate
	mov edi, BUFFER + 0x40
	mov dword [rdi - 4], 0xb8909090
	mov dword [rdi], 0
	mov byte [rdi + 4], 0xc3
	mov r13d, 30
	xor r12d, r12d
locked:
	lock add dword [rdi], 3
	call BUFFER + 0x3c
	add r12d, eax
	dec r13d
	jnz locked
	PUTVAR "locked ", r12d
	PUTNL

	; code across two pages, the far half rewritten
	mov edi, BUFFER + 0xffe
	mov byte [rdi], 0xb8
	mov byte [rdi + 5], 0xc3
	mov r13d, 30
	xor r12d, r12d
straddle:
	mov [rdi + 1], r13d
	call rdi
	add r12d, eax
	dec r13d
	jnz straddle
	PUTVAR "straddle ", r12d
	PUTNL
	LEAVE
	CONSOLE_ROUTINES
