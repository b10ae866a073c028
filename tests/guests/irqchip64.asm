; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Does what the program has written at BUFFER, 16 bytes each: operation, address, value (in and out), 0.
; Interrupts are logged at LOG: their number, then a byte for the vector of each. No EOI: that is an
; operation, too. Ends with a write to port F4h.
bits 64
org 0x1000

TABLE equ 0x8000
IDT   equ 0x9000
LOG   equ 0xb000

	mov edi, IDT
	mov ecx, stubs
gate:
	mov [rdi], cx
	mov word [rdi + 2], 0x18
	mov dword [rdi + 4], 0x8e00     ; an interrupt gate; the code is below 64 KiB
	mov qword [rdi + 8], 0
	add edi, 16
	add ecx, 16
	cmp ecx, stubs + 256 * 16
	jb gate
	lidt [idt_pointer]
	mov dword [LOG], 0
	mov esi, TABLE - 16
next:
	add esi, 16
	mov edx, [rsi + 4]
	mov eax, [rsi + 8]
	mov ecx, [rsi]
	cmp ecx, 7
	ja leave
	jmp [table + rcx * 8]
table:
	dq leave, in8, out8, read32, write32, window, halt, spin
in8:
	in al, dx
	movzx eax, al
	mov [rsi + 8], eax
	jmp next
out8:
	out dx, al
	jmp next
read32:
	mov eax, [rdx]
	mov [rsi + 8], eax
	jmp next
write32:
	mov [rdx], eax
	jmp next
window: ; takes what is pending
	sti
	nop
	nop
	nop
	nop
	cli
	jmp next
halt:
	sti
	hlt
	cli
	jmp next
spin:
	sti
more:
	dec eax
	jnz more
	cli
	jmp next
leave:
	mov al, 0
	out 0xf4, al
	jmp leave

handler: ; [rsp] vector
	push rax
	push rcx
	mov eax, [rsp + 16]
	mov ecx, [LOG]
	mov [LOG + 4 + rcx], al
	inc dword [LOG]
	cmp al, 32
	jb leave ; an exception
	pop rcx
	pop rax
	add rsp, 8
	iretq

idt_pointer:
	dw 256 * 16 - 1
	dq IDT

align 16
stubs:
%assign n 0
%rep 256
	align 16
	push strict dword n
	jmp handler
%assign n n + 1
%endrep
