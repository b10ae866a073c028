; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: protected
; 32-bit paging (SDM vol. 3, 4.3): 4 KiB and 4 MiB pages; checks: paging32.inc.
bits 32
org 0x1000
%include "guest.inc"
%include "paging32.inc"
	NAMES
%define LEAF(linear) (TABLES + 0x1000 + (((linear) >> 12) & 0x3ff) * 4)
	cld
	mov ebp, edi
	mov edi, TABLES
	xor eax, eax
	mov ecx, 0x800
	rep stosd
	mov dword [TABLES], 0x83                    ; 0 to 4 MiB onto itself, a large page
	mov dword [TABLES + 4], TABLES + 0x1003     ; 4 to 8 MiB: the small pages
	mov dword [TABLES + 8], 0x83                ; 8 to 12 MiB: the first 4 again
	mov dword [LEAF(0x400000)], 0x200003
	mov dword [LEAF(0x401000)], 0x202003
	mov dword [LEAF(0x402000)], 0x203001
	mov edi, ebp
	BUILD_IDT32
	mov eax, cr4
	or eax, 0x10                                ; PSE
	mov cr4, eax
	mov eax, TABLES
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	jmp paged
	PAGING_CHECKS
