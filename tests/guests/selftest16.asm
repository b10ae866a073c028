; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: real
; The bus-lock selftest's loop (selftest.inc) in 16-bit code.
bits 16
org 0x1000
%include "guest.inc"
%include "selftest.inc"
