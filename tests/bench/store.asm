; SPDX-License-Identifier: GPL-2.0-only
; RCX rounds of 20 instructions, 8 of them stores, 4 loads, over 8 MiB: no lock.
bits 64
org 0x100000
	mov ebx, 0x800000
	xor eax, eax
	xor edx, edx
round:
%assign n 0
%rep 4
	mov [rbx + rdx + n * 64], rax
	mov [rbx + rdx + n * 64 + 8], ecx
	add rax, [rbx + rdx + n * 64 + 32]
	lea rax, [rax + rcx + n]
%assign n n + 1
%endrep
	add edx, 256
	and edx, 0x7fffff
	dec rcx
	jnz round
	hlt
	jmp $
