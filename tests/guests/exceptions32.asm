; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: protected
; Exceptions, software interrupts and the change of stacks in 32-bit protected mode, from CPL 0 and
; CPL 3 (SDM vol. 3, 6.12, 6.13): vector, error code, pushed EIP, CS and stack.
bits 32
org 0x1000
%include "guest.inc"
	NAMES
NOT_PRESENT equ 0x50
TSS32       equ 0x58
%macro TRY 1+
	%defstr %%text %1
	PUTS_ANY %%text
	mov dword [instruction], %%here
	mov dword [resume], %%next
%%here:
	%1
%%next:
%endmacro
; The console needs I/O privilege, which CPL 3 has not: names of instructions wait for the handler.
%macro PUTS_ANY 1
	mov dword [name], %%text
	jmp %%over
%%text:	db %1, 0
%%over:
%endmacro
	mov esi, edi
	; a TSS for ESP0, a data segment that is not present
	mov edi, TSS
	mov ecx, 26
	xor eax, eax
	cld
	rep stosd
	mov dword [TSS + 4], 0x24000
	mov dword [TSS + 8], DATA32
	mov word [TSS + 102], 104
	mov dword [GDT + TSS32], (TSS & 0xffff) << 16 | 103
	mov dword [GDT + TSS32 + 4], 0x8900
	mov dword [GDT + NOT_PRESENT], 0x0000ffff
	mov dword [GDT + NOT_PRESENT + 4], 0x00cf1300
	mov ax, TSS32
	ltr ax
	; gates 0 to 50 to the stubs; 30h open to CPL 3, 31h not, 32h a trap gate open to CPL 3
	mov edi, IDT
	mov ecx, stubs
gate:
	mov [edi], cx
	mov word [edi + 2], CODE32
	mov dword [edi + 4], 0x8e00
	add edi, 8
	add ecx, 16
	cmp ecx, stubs + 51 * 16
	jb gate
	mov dword [IDT + 0x30 * 8 + 4], 0xee00
	mov dword [IDT + 0x32 * 8 + 4], 0xef00
	lidt [idt_pointer]
	mov ebx, BUFFER
	xor ecx, ecx
	TRY ud2
	TRY div ecx
	TRY db 0xf0, 0x90              ; lock nop
	TRY db 0xf0, 0x0f, 0xba, 0xe0, 0x01 ; lock bt eax, 1
	mov edx, NOT_PRESENT
	TRY mov es, edx
	mov edx, 0x123
	TRY mov es, edx
	mov edx, CODE32
	TRY mov ss, edx
	TRY int 0x30
	TRY int3
	TRY int 0x31
	TRY int 0x33                   ; beyond the IDT
	sti
	TRY int 0x30
	TRY int 0x32
	; to CPL 3
	mov ax, USERDATA
	mov ds, ax
	mov es, ax
	push dword USERDATA
	push dword 0x23000
	push dword 0x202
	push dword USER32
	push dword user
	iret
user:
	mov dword [BUFFER + 60], 7
	lock inc dword [BUFFER + 60]
	TRY ud2
	TRY cli
	TRY hlt
	TRY in al, 0x10
	TRY int 0x30
	TRY int 0x32
	TRY int 0x31
	TRY int3
	mov edx, DATA32
	TRY mov ds, edx
	TRY lock inc dword [cs:BUFFER]
	mov dword [leaving], 1
	TRY int 0x30
handler:
	pushad
	mov esi, [name]
	call puts
	PUTVAR ": vector ", [esp + 32]
	PUTVAR " error ", [esp + 36]
	mov eax, [esp + 40]
	sub eax, [instruction]
	mov [value], eax
	PUTVAR " eip+", [value]
	PUTVAR " cs ", [esp + 44]
	mov eax, [esp + 48]
	and eax, 0x200
	mov [value], eax
	PUTVAR " IF ", [value]
	pushfd
	pop eax
	and eax, 0x200
	mov [value], eax
	PUTVAR " there ", [value]
	test dword [esp + 44], 3
	jz .no_stack
	PUTVAR " esp ", [esp + 52]
	PUTVAR " ss ", [esp + 56]
.no_stack:
	PUTVAR " handler's esp ", esp
	PUTNL
	cmp dword [leaving], 0
	jne .leave
	popad
	push eax
	mov eax, [resume]
	mov [esp + 12], eax
	pop eax
	add esp, 8
	iret
.leave:
	PUTVAR "counter ", [BUFFER + 60]
	PUTNL
	LEAVE
	CONSOLE_ROUTINES
	align 16
stubs:
%assign n 0
%rep 51
	align 16
  %if !(n == 8 || (n >= 10 && n <= 14) || n == 17)
	push byte 0
  %endif
	push byte n
	jmp handler
%assign n n + 1
%endrep
	align 16
idt_pointer:
	dw 51 * 8 - 1
	dd IDT
name:        dd 0
instruction: dd 0
resume:      dd 0
value:       dd 0
leaving:     dd 0
