; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Accesses to addresses without memory, in the forms that Linux's instruction emulator knows: the
; monitor sees them in the order of the instruction's own accesses, in fragments of at most 8 bytes.
bits 64
org 0x1000
%include "guest.inc"
	NAMES
; STEP text, instruction: RAX is printed after it
%macro STEP 1+
	%defstr %%text %1
	PUTS %%text
	PUTNL
	mov rax, 0x1122334455667788
	%1
	call show
%endmacro
	mov ebx, MMIO
	mov r8d, BUFFER
	STEP mov al, [rbx]
	STEP mov ax, [rbx + 2]
	STEP mov eax, [rbx + 4]
	STEP mov rax, [rbx + 8]
	STEP movzx eax, byte [rbx + 0x10]
	STEP movsx rax, word [rbx + 0x12]
	STEP movsxd rax, dword [rbx + 0x14]
	STEP mov [rbx], al
	STEP mov [rbx + 2], ax
	STEP mov [rbx + 4], eax
	STEP mov [rbx + 8], rax
	STEP mov byte [rbx + 1], 0x5a
	STEP mov dword [rbx + 4], 0x12345678
	STEP mov qword [rbx + 8], -2
	STEP add [rbx + 0x20], eax
	STEP add eax, [rbx + 0x20]
	STEP inc word [rbx + 0x24]
	STEP not byte [rbx + 0x26]
	STEP xor qword [rbx + 0x28], 0x7f
	STEP shl dword [rbx + 0x30], 3
	STEP cmp eax, [rbx + 0x34]
	STEP test byte [rbx + 0x38], 1
	STEP bts dword [rbx + 0x3c], 5
	STEP xchg [rbx + 0x40], eax
	STEP xadd [rbx + 0x48], rax
	STEP cmpxchg [rbx + 0x50], ecx
	STEP setc [rbx + 0x58]
	STEP push qword [rbx + 0x60]
	STEP pop qword [rbx + 0x68]
	; string instructions: device to memory, memory to device, both
	lea rsi, [rbx + 0x100]
	mov edi, BUFFER
	mov ecx, 3
	cld
	rep movsb
	mov rax, [r8]
	call show
	mov esi, BUFFER
	lea rdi, [rbx + 0x140]
	mov ecx, 2
	rep movsd
	mov rax, rsi
	call show
	lea rdi, [rbx + 0x180]
	mov ecx, 3
	mov rax, 0x1122334455667788
	rep stosq
	mov rax, rdi
	call show
	lea rsi, [rbx + 0x1c0]
	lodsd
	call show
	; an access that begins in memory and ends outside: the page behind the last one of RAM
	mov ecx, 0x400000
	mov qword [rcx - 8], 0x66
	STEP mov [rcx - 3], rax
	STEP mov rax, [rcx - 3]
	STEP mov ax, [rcx - 1]
	; across two pages outside
	STEP mov rax, [rbx + 0xffd]
	STEP mov [rbx + 0xffd], rax
	; 16 bytes: two fragments
	STEP movups xmm0, [rbx + 0x200]
	STEP movups [rbx + 0x210], xmm0
	STEP movaps [rbx + 0x220], xmm0
	mov rax, [rcx - 8]
	call show
	LEAVE
show:
	mov r9, rax
	mov r10, rcx
	mov r11, rdx
	shr rax, 32
	call puthex
	mov eax, r9d
	call puthex
	PUTNL
	mov rcx, r10
	mov rdx, r11
	ret
	CONSOLE_ROUTINES
