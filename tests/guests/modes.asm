; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; The way from real mode through every other one and back (SDM vol. 3, 10.8.5, 10.9): real, protected,
; paged, compatibility, 64-bit, compatibility, protected, 16-bit protected, real. In each it counts
; once with a locked increment, DI bytes into a line, and prints where it is.
bits 16
org 0x1000
%include "guest.inc"
PML4 equ TABLES
	NAMES
	cld
	movzx ebp, di
	add ebp, BUFFER
	mov dword [bp], 0
	lock inc dword [bp]
	PUTS {"real", 10}, 16
	; the GDT of the other modes, and tables: 0 to 2 MiB onto itself, for PAE-shaped 4-level paging
	mov ax, TABLES >> 4
	mov es, ax
	xor di, di
	xor eax, eax
	mov cx, 0xc00
	rep stosd
	mov dword [es:0], TABLES + 0x1003
	mov dword [es:0x1000], TABLES + 0x2003
	mov dword [es:0x2000], 0x83
	lgdt [gdt_pointer]
	lidt [idt_pointer]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp CODE32:protected
bits 32
	NAMES
protected:
	mov ax, DATA32
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x21000
	lock inc dword [ebp]
	PUTS {"protected", 10}, 32
	; to long mode: PAE, CR3, EFER.LME, then paging; still in 32-bit code (compatibility mode)
	mov eax, cr4
	or eax, 0x20
	mov cr4, eax
	mov eax, PML4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	lock inc dword [ebp]
	PUTS {"compatibility", 10}, 32
	jmp CODE64:long_mode
bits 64
	NAMES
long_mode:
	mov ecx, 0xc0000080
	rdmsr
	mov [efer], eax
	lock inc dword [rbp]
	PUTS {"64-bit", 10}, 64
	mov rax, 0x123456789abcdef0
	mov r15, rax
	; back by a far return
	mov rsp, 0x21000
	push qword CODE32
	push qword compatibility
	retfq
bits 32
	NAMES
compatibility:
	lock inc dword [ebp]
	PUTS {"compatibility again", 10}, 32
	; out of long mode: paging off, LME off
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
	lock inc dword [ebp]
	PUTS {"protected again", 10}, 32
	jmp CODE16:protected16
bits 16
	NAMES
protected16:
	mov ax, DATA16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7000
	lock inc dword [bp]
	PUTS {"16-bit protected", 10}, 16
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:real_again
real_again:
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	lock inc dword [bp]
	PUTS {"real again", 10}, 16
	PUTS "counter ", 16
	mov eax, [bp]
	call puthex16
	PUTNL
	PUTS "efer ", 16
	mov eax, [efer]
	call puthex16
	PUTNL
	LEAVE
	CONSOLE_ROUTINES 16
bits 32
	CONSOLE_ROUTINES 32
bits 64
	CONSOLE_ROUTINES 64
align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff
	dq 0x00cf93000000ffff
	dq 0x00af9b000000ffff
	times 3 dq 0
	dq 0x00009b000000ffff          ; CODE16, 38h
	dq 0x000093000000ffff          ; DATA16, 40h
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dd gdt
idt_pointer:
	dw 0x3ff                       ; the IVT, where real mode wants it
	dd 0
efer:	dd 0
