; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; OUTS and INS in all sizes, with and without REP, both directions, a count of 0, and across a page.
bits 16
org 0x1000
%include "guest.inc"
	NAMES
%macro OUTPUT 4 ; instruction, port, source, count
	mov dx, %2
	mov si, %3
	mov cx, %4
	%1
	movzx eax, si
	call report
%endmacro
%macro INPUT 4
	mov dx, %2
	mov di, %3
	mov cx, %4
	%1
	movzx eax, di
	call report
%endmacro
	cld
	OUTPUT outsb, 0x10, text, 7
	OUTPUT rep outsb, 0x10, text, 5
	OUTPUT rep outsw, 0x11, text, 3
	OUTPUT rep outsd, 0x12, text, 2
	OUTPUT rep outsb, 0x10, text, 0
	std
	OUTPUT rep outsw, 0x11, text + 8, 3
	cld
	INPUT insb, 0x20, BUFFER, 9
	INPUT rep insb, 0x20, BUFFER, 6
	INPUT rep insw, 0x21, BUFFER + 8, 4
	INPUT rep insd, 0x22, BUFFER + 16, 3
	INPUT rep insb, 0x20, BUFFER, 0
	INPUT rep insb, 0x20, BUFFER + 0xffe, 5 ; across a page
	std
	INPUT rep insw, 0x21, BUFFER + 40, 3
	cld
	mov al, 0x5a
	out 0x30, al
	mov ax, 0x1234
	out 0x31, ax
	mov eax, 0x89abcdef
	mov dx, 0x32
	out dx, eax
	xor eax, eax
	in al, 0x30
	call report
	in ax, 0x31
	call report
	mov dx, 0x32
	in eax, dx
	call report
	LEAVE
; where the pointer and the count stand
report:
	mov bp, cx                     ; DX, CX are lost but for this
	call puthex
	mov ax, bp
	call puthex
	mov al, 10
	out CONSOLE, al
	mov cx, bp
	ret
	CONSOLE_ROUTINES
text:	db "0123456789abcdef"
