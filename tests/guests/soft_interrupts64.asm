; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; INT n and INT3 in 64-bit mode from CPL 0 and CPL 3, the double-fault stack (IST), and a #GP from CPL 3
; with the error code that names the gate (SDM vol. 3, 6.13, 6.14.5).
bits 64
org 0x1000
%include "guest.inc"
%include "idt64.inc"
	NAMES
%macro TRY 1+
	%defstr %%text %1
	mov qword [name], %%text_at
	mov dword [instruction], %%here
	mov dword [resume], %%next
	jmp %%here
%%text_at: db %%text, 0
%%here:
	%1
%%next:
%endmacro
	BUILD_TSS
	BUILD_IDT 0
	mov byte [IDT + 0x21 * 16 + 5], 0xee ; 21h is open to CPL 3
	TRY int 0x20
	TRY int 0x21
	TRY int3
	TRY ud2
	push qword USERDATA
	push qword 0x1d000
	push qword 2
	push qword USER64
	push qword user
	iretq
user:
	TRY int 0x21
	TRY int 0x20
	TRY int3
	TRY cli
	TRY mov cr3, rax
	; the gate of #PF is gone: a page fault becomes a double fault, on the stack of IST 1
	mov byte [IDT + 14 * 16 + 5], 0x0e
	mov rbx, 0x100000000
	TRY mov al, [rbx]
handler:
	mov [saved_rax], rax
	mov rsi, [name]
	call puts
	PUTVAR ": vector ", [rsp]
	PUTVAR " error ", [rsp + 8]
	mov eax, [rsp + 16]
	sub eax, [instruction]
	mov [value], eax
	PUTVAR " rip+", [value]
	PUTVAR " cs ", [rsp + 24]
	PUTVAR " rsp ", [rsp + 40]
	PUTVAR " ss ", [rsp + 48]
	PUTVAR " handler's rsp ", esp
	PUTNL
	cmp dword [rsp], 8
	je .leave
	mov eax, [resume]
	mov [rsp + 16], rax
	mov rax, [saved_rax]
	add rsp, 16
	iretq
.leave:
	LEAVE
	CONSOLE_ROUTINES
	STUBS
name:        dq 0
saved_rax:   dq 0
instruction: dd 0
resume:      dd 0
value:       dd 0
