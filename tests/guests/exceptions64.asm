; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Exceptions through the guest's IDT: vector, error code, RIP of the fault (as an offset from the
; instruction), CR2, and that the faulting instruction left memory alone.
bits 64
org 0x1000
%include "guest.inc"
%include "idt64.inc"
	NAMES
; TRY instruction: it must fault; execution goes on behind it
%macro TRY 1+
	%defstr %%text %1
	PUTS %%text
	mov r14d, %%here
	mov r15d, %%next
%%here:
	%1
	PUTS " no exception"
	PUTNL
%%next:
%endmacro
	BUILD_TSS
	BUILD_IDT 0
	; the 2 MiB at 0x200000 are absent, those at 0x400000 show the
	; first ones read-only
	mov dword [TABLES + 0x2000 + 8], 0
	mov dword [TABLES + 0x2000 + 16], 0x85
	mov rax, cr0
	or eax, 0x10000                ; WP
	mov cr0, rax
	mov rax, cr3
	mov cr3, rax
	mov ebx, 0x200000
	mov r8d, 0x400000
	mov r9, 0x8000000000000000
	mov r10d, 0x8000
	TRY ud2
	TRY db 0xf0, 0x90              ; lock nop
	TRY db 0xf0, 0x8b, 0x06        ; lock mov eax, [rsi]
	TRY db 0xf0, 0xff, 0xc0        ; lock inc eax
	TRY db 0xf0, 0x0f, 0xa3, 0x06  ; lock bt [rsi], eax
	TRY db 0xf0, 0x0f, 0xab, 0xc0  ; lock bts eax, eax
	TRY db 0xf0, 0x87, 0xc0        ; lock xchg eax, eax
	xor ecx, ecx
	TRY div ecx
	TRY mov al, [rbx]
	TRY mov [rbx], al
	TRY lock inc dword [rbx]
	TRY lock xadd [rbx + 8], eax
	TRY xchg [rbx], eax
	TRY lock inc dword [r8]
	TRY mov byte [r8], 1
	TRY jmp rbx
	TRY mov rax, [r9]
	TRY lock inc dword [r9]
	TRY mov ds, r10d               ; selector 8000h: beyond the GDT
	; a locked operand across the end of a page, the next one absent: nothing is written
	mov dword [rbx - 4], 0x55667788
	TRY lock add dword [rbx - 2], eax
	PUTVAR "memory ", [rbx - 4]
	PUTNL
	; a fault in CPL 0 uses the same stack; many in a row must not move it
	mov ebp, 100
many:
	mov r14d, .fault
	mov r15d, .behind
	mov byte [quiet], 1
.fault:
	ud2
.behind:
	mov byte [quiet], 0
	dec ebp
	jnz many
	PUTVAR "rsp ", esp
	PUTNL
	LEAVE
handler:
	cmp byte [quiet], 0
	jne .resume
	mov [saved], rax
	mov [saved + 8], rcx
	mov [saved + 16], rdx
	mov [saved + 24], rsi
	PUTVAR ": vector ", [rsp]
	PUTVAR " error ", [rsp + 8]
	mov rax, [rsp + 16]
	sub eax, r14d
	mov [offset], eax
	PUTVAR " rip+", [offset]
	mov rax, cr2
	mov [offset], eax
	PUTVAR " cr2 ", [offset]
	PUTNL
	mov rax, [saved]
	mov rcx, [saved + 8]
	mov rdx, [saved + 16]
	mov rsi, [saved + 24]
.resume:
	mov [rsp + 16], r15
	add rsp, 16
	iretq
	CONSOLE_ROUTINES
	STUBS
saved:	times 4 dq 0
offset:	dd 0
quiet:	db 0
