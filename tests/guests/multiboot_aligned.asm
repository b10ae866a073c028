; format: elf32
; SPDX-License-Identifier: GPL-2.0-only
; multiboot.asm's twin: the same code, operands within their lines.
%define OFFSET 60
%include "multiboot.asm"
