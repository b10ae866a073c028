; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; Exceptions and software interrupts through the vector table of real mode (SDM vol. 3, 21.1.4): which
; vector, where the pushed IP points (at the instruction or behind it), and that IF and TF are clear in
; the handler and back after IRET.
bits 16
org 0x1000
%include "guest.inc"
	NAMES
%macro TRY 1+
	%defstr %%text %1
	PUTS %%text
	mov word [instruction], %%here
	mov word [resume], %%next
	mov cx, 0x2345
	mov di, BUFFER
%%here:
	%1
	PUTS " no exception"
	PUTNL
%%next:
%endmacro
	; vectors 0 to 35 to stubs: push the vector's number, go on
	xor di, di
	mov ax, stubs
	mov cx, 36
fill:
	mov [di], ax
	mov word [di + 2], 0
	add di, 4
	add ax, 5
	loop fill
	mov dword [BUFFER], 0
	sti
	TRY ud2
	TRY db 0xf0, 0x90              ; lock nop
	TRY db 0xf0, 0x8b, 0x05        ; lock mov ax, [di]
	TRY db 0xf0, 0xff, 0xc1        ; lock inc cx
	TRY div byte [di]
	TRY int3
	TRY int 0x21
	TRY lock inc word [0xffff]     ; beyond the limit of DS
	PUTVAR "sp ", [saved_sp]
	PUTNL
	pushf
	pop ax
	and ax, 0x300
	mov [value], ax
	PUTVAR "IF and TF ", [value]
	PUTNL
	LEAVE
dispatch:
	pop word [vector]
	pop word [ip]
	pop word [value]               ; CS
	pop word [flags]
	mov [saved_sp], sp
	pushf
	pop ax
	and ax, 0x300
	mov [in_handler], ax
	PUTVAR ": vector ", [vector]
	mov ax, [ip]
	sub ax, [instruction]
	mov [ip], ax
	PUTVAR " ip+", [ip]
	PUTVAR " IF, TF there ", [in_handler]
	PUTNL
	push word [flags]
	push word [value]
	push word [resume]
	iret
	CONSOLE_ROUTINES
	align 4
stubs:                                 ; 5 bytes each: the near jump reaches everything
%assign n 0
%rep 36
	push byte n
	jmp near dispatch
%assign n n + 1
%endrep
align 4
vector:      dd 0
ip:          dd 0
flags:       dd 0
value:       dd 0
in_handler:  dd 0
saved_sp:    dd 0
instruction: dw 0
resume:      dw 0
