; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; As interrupts64.asm, through the interrupt vector table of real mode.
bits 16
org 0x1000
%include "guest.inc"
	NAMES
	add di, BUFFER
	mov dword [di], 0
	mov bp, cx
	mov word [0x20 * 4], handler
	mov word [0x20 * 4 + 2], 0
sleep:
	sti
	hlt
	cli
	cmp [di], bp
	jb sleep
	PUTVAR "interrupts ", [di]
	PUTNL
	xor eax, eax
	mov ax, sp
	mov [di], eax
	PUTVAR "sp ", [di]
	PUTNL
	LEAVE
handler:
	lock inc dword [di]
	iret
	CONSOLE_ROUTINES
