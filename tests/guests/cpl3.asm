; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Locked increments in user mode, 64-bit, CX of them, DI bytes into a line; the way back to CPL 0 is an
; undefined instruction through the IDT, with the stack from the TSS.
bits 64
org 0x1000
%include "guest.inc"
%include "idt64.inc"
	NAMES
	mov r8d, edi
	mov r9d, ecx
	BUILD_TSS
	BUILD_IDT 0
	mov dword [BUFFER + r8], 0
	mov ecx, r9d
	push qword USERDATA
	push qword 0x1d000
	push qword 2
	push qword USER64
	push qword user
	iretq
user:
	lea rsi, [BUFFER + r8]
increment:
	lock inc dword [rsi]
	loop increment
	mov eax, 0x100
	lock xadd [rsi], eax
	mov edx, eax
	xchg [rsi], edx
	mov r10, rsp
leave_user:
	ud2
handler:
	mov [saved], eax
	mov [saved + 4], edx
	PUTVAR "vector ", [rsp]
	PUTVAR " cs ", [rsp + 24]
	PUTVAR " ss ", [rsp + 48]
	PUTVAR " rsp ", [rsp + 40]
	mov rax, [rsp + 16]
	sub eax, leave_user
	mov [saved + 8], eax
	PUTVAR " rip+", [saved + 8]
	PUTNL
	PUTVAR "xadd ", [saved]
	PUTVAR " xchg ", [saved + 4]
	PUTVAR " memory ", [BUFFER + r8]
	mov rax, rsp
	mov [saved], eax
	PUTVAR " handler's rsp ", [saved]
	PUTNL
	LEAVE
	CONSOLE_ROUTINES
	STUBS
saved:	times 4 dd 0
