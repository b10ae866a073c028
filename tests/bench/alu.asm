; SPDX-License-Identifier: GPL-2.0-only
; RCX rounds of 20 instructions on registers: no memory, no lock.
bits 64
org 0x100000
	mov ebx, 12345
	xor eax, eax
	xor edx, edx
round:
%rep 2
	add rax, rbx
	xor rdx, rax
	lea rdi, [rax + rdx * 4 + 7]
	ror rdx, 7
	sub rbx, rdi
	imul r8, rax, 17
	and r9, r8
	or r9, rdi
	shr r8, 3
%endrep
	dec rcx
	jnz round
	hlt
	jmp $
