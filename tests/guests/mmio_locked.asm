; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Locked instructions on addresses without memory: each is a read and a write that the monitor sees,
; like any read-modify-write, and never a bus lock (the emulating kernel does not report one).
bits 64
org 0x1000
%include "guest.inc"
	NAMES
	mov ebx, MMIO
	mov eax, 0x01020304
	lock inc dword [rbx]
	lock xadd [rbx + 8], eax
	lock bts qword [rbx + 0x10], 3
	mov edx, 0x11
	lock cmpxchg [rbx + 0x18], edx
	xchg [rbx + 0x20], dl
	LEAVE
