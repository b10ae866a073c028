; SPDX-License-Identifier: GPL-2.0-only
; RCX rounds of 100 instructions, one of them locked, on [RSI]: 1 % locks, aligned or split as the
; offset says.
bits 64
org 0x100000
	mov ebx, 0x800000
	xor eax, eax
	xor edx, edx
round:
%rep 12
	add rax, rbx
	xor rdx, rax
	mov [rbx + 8], rdx
	lea rdi, [rax + rdx * 4 + 7]
	add rdi, [rbx + 16]
	ror rdx, 7
	imul r8, rax, 17
	or r9, rdi
%endrep
	nop
	lock inc dword [rsi]
	dec rcx
	jnz round
	mov eax, [rsi]
	hlt
	jmp $
