; format: elf32
; SPDX-License-Identifier: GPL-2.0-only
; A multiboot guest that counts for ever, in memory, in XMM0, in ST(0) and, every 65,536, in DR1; and
; says so if they part. For snapshots: whoever loads an old one must get all of them back.
bits 32
MAGIC equ 0x1badb002
COUNT  equ 0x8000
FAILED equ 0x8004
ROUNDED equ 0x8008
section .multiboot
align 4
	dd MAGIC, 0, -MAGIC
section .text
global _start
_start:
	mov eax, cr0
	and eax, ~(1 << 2)             ; EM
	or eax, (1 << 1) | (1 << 5)    ; MP, NE
	mov cr0, eax
	mov eax, cr4
	or eax, 1 << 9                 ; OSFXSR
	mov cr4, eax
	fninit
	fld1
	fldz                           ; ST(0) counts by ST(1)
	movd xmm1, [one]
	pxor xmm0, xmm0
	xor eax, eax
	mov dr1, eax
	mov [COUNT], eax
	mov [FAILED], eax
.next:
	inc dword [COUNT]
	mov ebx, [COUNT]
	paddd xmm0, xmm1
	fadd st0, st1
	movd eax, xmm0
	mov ecx, 1
	cmp eax, ebx
	jne .failed
	fist dword [ROUNDED]
	mov ecx, 2
	cmp [ROUNDED], ebx
	jne .failed
	test ebx, 0xffff
	jnz .next
	mov eax, dr1
	inc eax
	mov dr1, eax
	shl eax, 16
	mov ecx, 3
	cmp eax, ebx
	je .next
.failed:
	mov [FAILED], ecx
	cli
	hlt
	jmp .failed
section .data
one:
	dd 1
