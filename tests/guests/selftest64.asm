; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: long
; The bus-lock selftest's loop (selftest.inc) in 64-bit code.
bits 64
org 0x1000
%include "guest.inc"
%include "selftest.inc"
