; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; All lockable instructions (locks.inc) in 64-bit code.
bits 64
org 0x1000
%include "guest.inc"
%include "locks.inc"
