; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; OpenDOS 7.01's kernel: xchg es:[di+2], dx with ES=0070h. DI=007Dh puts the two bytes at 77Fh, across
; a line: the exchange that made DOS machines crawl on hosts with split-lock detection (dosemu2 issue
; 1968). DI=007Ch is the aligned twin. XCHG locks without a LOCK prefix (SDM vol. 2, XCHG).
bits 16
org 0x1000
%include "guest.inc"
	NAMES
	mov ax, 0x70
	mov es, ax
	mov word [es:di + 2], 0xabcd
	mov dx, 0x1234
xchg_es_di:
	db 0x26, 0x87, 0x55, 0x02      ; xchg [es:di + 2], dx
	mov bx, [es:di + 2]
	mov al, 0
	out EXIT, al
halt:	hlt
	jmp halt
