; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: protected (buslock run --mode protected, at 1 MiB)
; Bus locks by memory type, and stuffed ones. tests/integration/test_cli_memory.c counts them:
;   10 locked instructions on an aligned operand at OPERAND
;   the accessed bit of a descriptor that crosses a line, once in two loads: a split lock
;   4 updates in the page directory at DIRECTORY: A and D of two large pages
;   1 locked instruction on a page that the guest maps uncacheable (PCD, PWT)
; With EDI=1 (--set edi=1) it turns the MTRRs off first, as RESET leaves them.
bits 32
org 0x100000
OPERAND   equ 0x300000
DIRECTORY equ 0x310000
TABLE     equ 0x320025      ; the entry of selector 18h lies at 32003Dh to 320044h
FRESH     equ 0x18
DISTANT       equ 0x800000      ; in a large page of its own

	cmp edi, 1
	jne .begin
	mov ecx, 0x2ff              ; IA32_MTRR_DEF_TYPE
	xor eax, eax
	xor edx, edx
	wrmsr
.begin:
	mov ecx, 10
.locked:
	lock inc dword [OPERAND]
	loop .locked

	; the null descriptor, code, data, and data whose accessed bit is clear
	mov esi, descriptors
	mov edi, TABLE
	mov ecx, 32
	rep movsb
	lgdt [pointer]
	mov eax, FRESH
	mov es, eax
	mov es, eax

	; identity by pages of 4 MiB; the first and the third will be touched
	mov edi, DIRECTORY
	mov eax, 0x83               ; P, R/W, PS
	mov ecx, 4
.entry:
	mov [edi], eax
	add eax, 0x400000
	add edi, 4
	loop .entry
	mov eax, cr4
	or eax, 0x10                ; PSE
	mov cr4, eax
	mov eax, DIRECTORY
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	nop                         ; A of the first page, by its fetch
	mov dword [OPERAND + 8], 1  ; D
	mov eax, [DISTANT]              ; A of the third
	mov dword [DISTANT], 1          ; D

	or dword [DIRECTORY + 8], 0x18
	invlpg [DISTANT]
	lock inc dword [DISTANT]
	hlt

pointer:
	dw 31
	dd TABLE
descriptors:
	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cf92000000ffff
