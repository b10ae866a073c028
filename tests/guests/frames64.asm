; format: elf64
; SPDX-License-Identifier: GPL-2.0-only
; Functions with frame pointers that take split locks: seven in lock_it, called by way of first and of
; second; one in a function that keeps no frame and has something else in RBP. For stacks in the report.
bits 64
section .text
global _start, first, second, lock_it, frameless
_start:
	xor ebp, ebp
	mov ecx, 5
.again:
	call first
	dec ecx
	jnz .again
	call second
	call second
	mov rbp, 0x123456789abcdef1
	call frameless
	mov al, 0x10
	out 0xf4, al
	hlt

first:
	push rbp
	mov rbp, rsp
	sub rsp, 0x40
	call lock_it
	leave
	ret

second:
	push rbp
	mov rbp, rsp
	call lock_it
	pop rbp
	ret

lock_it:
	push rbp
	mov rbp, rsp
	lock inc dword [counter]
	pop rbp
	ret

frameless:
	lock dec dword [counter]
	ret

section .data
align 64
	times 62 db 0
counter: dd 0
