; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; Counters that several vCPUs share: RBX is this one's index, RDX how many there are, RCX how often
; each counts, RDI where the counters lie in their lines. Exact totals, or atomics are not atomic.
bits 64
org 0x1000
%include "guest.inc"
	NAMES
inc_counter  equ BUFFER
xadd_counter equ BUFFER + 0x80
cmpx_counter equ BUFFER + 0x100
xadd_sum     equ BUFFER + 0x180        ; sum of what XADD returned: each value exactly once
done         equ BUFFER + 0x200        ; aligned, whatever RDI
	mov r8, rcx
	mov r9, rdx
	xor r10d, r10d
again:
	lock inc dword [inc_counter + rdi]
	mov eax, 1
	lock xadd [xadd_counter + rdi], eax
	add r10, rax
	mov eax, [cmpx_counter + rdi]
retry:
	lea edx, [rax + 1]
	lock cmpxchg [cmpx_counter + rdi], edx
	jne retry
	dec r8
	jnz again
	lock add [xadd_sum], r10
	lock inc dword [done]
	test ebx, ebx
	jnz halt
wait_for_others:
	pause
	cmp [done], r9d
	jne wait_for_others
	PUTVAR "inc=", [inc_counter + rdi]
	PUTVAR " xadd=", [xadd_counter + rdi]
	PUTVAR " cmpxchg=", [cmpx_counter + rdi]
	PUTVAR " sum=", [xadd_sum + 4]
	mov eax, [xadd_sum]
	call puthex
	PUTNL
	LEAVE
halt:	hlt
	jmp halt
	CONSOLE_ROUTINES
