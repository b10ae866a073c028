; format: elf32
; SPDX-License-Identifier: GPL-2.0-only
; A multiboot guest for every PC that QEMU has: the 8259s' interrupts, as an old kernel takes them. 20
; ticks of the 8254 at 200 a second wake it from HLT, then the first serial port's transmitter interrupts.
; Prints through COM1 and port E9h, leaves through isa-debug-exit at F4h (QEMU ends with 33).
bits 32
MAGIC equ 0x1badb002
TICKS equ 20
section .multiboot
align 4
	dd MAGIC, 0, -MAGIC
section .text
global _start
_start:
	mov esp, stack_end
	cli
	lgdt [gdt_pointer]
	jmp 8:.flat
.flat:
	mov ax, 16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esi, hello
	call print
	mov eax, timer
	mov edi, idt + 0x20 * 8
	call gate
	mov eax, serial
	mov edi, idt + 0x24 * 8
	call gate
	lidt [idt_pointer]
	; virtual wire mode (SDM 11.4.3), which not every firmware leaves; elsewhere there is nothing
	mov dword [0xfee000f0], 0x1ff
	mov dword [0xfee00350], 0x700

	; ICW1 to ICW4: edges, cascade on IRQ 2, vectors 20h and 28h; then the timer, IRQ 4, the cascade
	mov esi, pic
.pic:
	movzx edx, byte [esi]
	mov al, [esi + 1]
	test edx, edx
	jz .pit
	out dx, al
	add esi, 2
	jmp .pic
.pit:
	mov al, 0x34                   ; counter 0, mode 2
	out 0x43, al
	mov al, 5966 & 0xff            ; 1193182 Hz / 5966: 200 Hz
	out 0x40, al
	mov al, 5966 >> 8
	out 0x40, al
.tick:
	sti
	hlt
	cli
	cmp dword [ticks], TICKS
	jb .tick

	mov dx, 0x3fc                  ; OUT2: the UART drives its line
	mov al, 0x0b
	out dx, al
	mov dx, 0x3f9                  ; transmitter empty
	mov al, 2
	out dx, al
.sent:
	sti
	hlt
	cli
	cmp dword [sent], 0
	je .sent
	mov esi, bye
	call print
	mov al, 0x10                   ; QEMU: (0x10 << 1) | 1
	out 0xf4, al
.halt:
	cli
	hlt
	jmp .halt

timer:
	push eax
	inc dword [ticks]
	mov al, 0x20                   ; EOI
	out 0x20, al
	pop eax
	iretd

serial:
	push eax
	push edx
	mov dx, 0x3fa                  ; reading its identification ends it
	in al, dx
	inc dword [sent]
	mov dx, 0x3f9
	xor eax, eax
	out dx, al
	mov al, 0x20
	out 0x20, al
	pop edx
	pop eax
	iretd

; an interrupt gate at EDI to EAX
gate:
	mov [edi], ax
	mov word [edi + 2], 8
	mov word [edi + 4], 0x8e00
	shr eax, 16
	mov [edi + 6], ax
	ret

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
align 8
gdt:         dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer: dw 23
             dd gdt
idt_pointer: dw 0x30 * 8 - 1
             dd idt
pic:         db 0x20, 0x11, 0xa0, 0x11, 0x21, 0x20, 0xa1, 0x28, 0x21, 4, 0xa1, 2, 0x21, 1, 0xa1, 1
             db 0x21, 0xea, 0xa1, 0xff, 0, 0
ticks:       dd 0
sent:        dd 0
hello:       db "buslock guest: interrupts", 10, 0
bye:         db "20 ticks, serial port", 10, 0
section .bss align=4096
idt:         resb 0x30 * 8
stack:       resb 4096
stack_end:
