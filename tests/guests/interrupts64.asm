; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Sleeps in HLT until CX external interrupts (vector 20h) have come, counts them with a locked
; instruction (RDI: offset of the counter in its line), then checks that STI's shadow and CLI hold.
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
	mov ebp, esp
sleep:
	sti
	hlt
	cli
	cmp [BUFFER + r8], r9d
	jb sleep
	PUTVAR "interrupts ", [BUFFER + r8]
	PUTNL
	sub ebp, esp
	PUTVAR "stack moved ", ebp
	PUTNL
	LEAVE
handler:
	cmp dword [rsp], 0x20
	je .interrupt
	PUTVAR "vector ", [rsp]
	LEAVE 1
.interrupt:
	lock inc dword [BUFFER + r8]
	add rsp, 16
	iretq
	CONSOLE_ROUTINES
	STUBS
