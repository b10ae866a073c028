; format: elf32
; SPDX-License-Identifier: GPL-2.0-only
; A multiboot guest for QEMU's microvm and for `buslock run`: takes 20 locks on operands whose places
; in their lines come from the variable `offset` (62: each splits; multiboot_aligned.asm has 60),
; prints through COM1 and port E9h, leaves through isa-debug-exit at F4h (QEMU ends with 33).
%ifndef OFFSET
%define OFFSET 62
%endif
bits 32
MAGIC equ 0x1badb002
section .multiboot
align 4
	dd MAGIC, 0, -MAGIC
section .text
global _start, take_locks, exchange
_start:
	mov esp, stack_end
	mov esi, hello
	call print
	call take_locks
	mov esi, total
	call print
	mov eax, [count]
	cmp eax, 20
	mov esi, right
	je .say
	mov esi, wrong
.say:
	call print
	mov al, 0x10                   ; QEMU: (0x10 << 1) | 1
	out 0xf4, al
.halt:
	cli
	hlt
	jmp .halt

; 20 locks: five rounds of four instructions, each in its own line
take_locks:
	mov ebx, lines
	add ebx, [offset]
	mov ecx, 5
.round:
	mov eax, 1
	lock inc dword [ebx]
	lock xadd [ebx + 64], eax
	lock bts dword [ebx + 128], 4
	jmp exchange
.next:
	inc dword [ebx + 192]
	loop .round
	; every counter counts one a round: 5 + 5 + 5 (BTS sets one bit) + 5 times XCHG
	mov eax, [ebx]
	add eax, [ebx + 64]
	mov edx, [ebx + 128]
	shr edx, 4
	lea edx, [edx * 4 + edx]
	add eax, edx
	add eax, [exchanged]
	mov [count], eax
	ret
; a routine of its own, so that a report names two symbols
exchange:
	mov eax, [ebx + 192]
	xchg [ebx + 256], eax
	inc dword [exchanged]
	jmp take_locks.next

; text at ESI to both consoles
print:
	lodsb
	test al, al
	jz .done
	mov dx, 0x3f8
	out dx, al
	out 0xe9, al
	jmp print
.done:
	ret

section .data
align 4
offset:    dd OFFSET
count:     dd 0
exchanged: dd 0
hello:     db "buslock guest: 20 locks at offset ", '0' + OFFSET / 10, '0' + OFFSET % 10, " of their lines", 10, 0
total:     db "done: ", 0
right:     db "20", 10, 0
wrong:     db "a wrong number", 10, 0
section .bss align=4096
lines:     resb 4096
stack:     resb 4096
stack_end:
