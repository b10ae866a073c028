; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; Split-lock disable as an operating system uses it (SDM 11.1.2.3): looks for IA32_CORE_CAPABILITIES,
; sets MSR 33h bit 29, meets #AC(0) in front of a split lock, clears the bit, tries again.
; Prints C (capabilities), A (#AC, nothing written yet), D (done); or G where RDMSR faults.
bits 16
org 0x1000
%include "guest.inc"
	NAMES
%macro PRINT 1
	mov al, %1
	out CONSOLE, al
%endmacro
	mov word [0x0d * 4], no_such_msr
	mov word [0x0d * 4 + 2], 0
	mov word [0x11 * 4], alignment_check
	mov word [0x11 * 4 + 2], 0
	mov ecx, 0xcf
	rdmsr
	cmp eax, 0x30
	jne leave
	PRINT 'C'
	mov ecx, 0x33
	mov eax, 1 << 29
	xor edx, edx
	wrmsr
	mov di, BUFFER + 62
	mov dword [di], 0
	lock inc dword [di]
	cmp dword [di], 1
	jne leave
	PRINT 'D'
leave:
	LEAVE

alignment_check:
	cmp dword [di], 0
	jne leave
	PRINT 'A'
	xor eax, eax
	wrmsr                          ; ECX and EDX are still those
	iret

no_such_msr:
	PRINT 'G'
	jmp leave
