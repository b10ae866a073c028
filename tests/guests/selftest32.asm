; format: bin
; SPDX-License-Identifier: GPL-2.0-only
; mode: protected
; The bus-lock selftest's loop (selftest.inc) in 32-bit code.
bits 32
org 0x1000
%include "guest.inc"
%include "selftest.inc"
