// SPDX-License-Identifier: GPL-2.0-only
/* What a vCPU looked like when it could not go on. */
#include "cli/machine.h"

#include "cli/cli.h"
#include "cli/console.h"
#include "emu/disasm.h"
#include "emu/insn.h"
#include "traces/symbols.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void dump_segment(const char *name, const struct kvm_segment *s)
{
	fprintf(stderr, "  %-4s %04x base %016llx limit %08x type %x dpl %u %s%s\n", name,
		s->selector, (unsigned long long)s->base, s->limit, s->type, s->dpl,
		s->l    ? "64-bit"
		: s->db ? "32-bit"
			: "16-bit",
		s->unusable ? " unusable" : "");
}

static void dump_registers(const struct kvm_regs *r, const struct kvm_sregs *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} regs[] = {
		{ "rax", r->rax }, { "rbx", r->rbx },    { "rcx", r->rcx }, { "rdx", r->rdx },
		{ "rsi", r->rsi }, { "rdi", r->rdi },    { "rbp", r->rbp }, { "rsp", r->rsp },
		{ "r8", r->r8 },   { "r9", r->r9 },      { "r10", r->r10 }, { "r11", r->r11 },
		{ "r12", r->r12 }, { "r13", r->r13 },    { "r14", r->r14 }, { "r15", r->r15 },
		{ "rip", r->rip }, { "rfl", r->rflags }, { "cr0", s->cr0 }, { "cr2", s->cr2 },
		{ "cr3", s->cr3 }, { "cr4", s->cr4 },    { "cr8", s->cr8 }, { "efer", s->efer },
	};

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		fprintf(stderr, "  %-4s %016" PRIx64 "%s", regs[i].name, regs[i].value,
			i % 4 == 3 ? "\n" : "");
	dump_segment("cs", &s->cs);
	dump_segment("ss", &s->ss);
	dump_segment("ds", &s->ds);
	dump_segment("es", &s->es);
	dump_segment("fs", &s->fs);
	dump_segment("gs", &s->gs);
	dump_segment("tr", &s->tr);
	fprintf(stderr, "  gdt  base %016llx limit %04x   idt base %016llx limit %04x\n",
		(unsigned long long)s->gdt.base, s->gdt.limit, (unsigned long long)s->idt.base,
		s->idt.limit);
}

/* The bytes at a linear address, as far as they are mapped memory. */
static size_t read_linear(struct vcpu *v, uint64_t linear, uint8_t *bytes, size_t n)
{
	const struct guest_memory *memory = &v->monitor->memory;

	for (size_t i = 0; i < n; i++) {
		struct kvm_translation t = { .linear_address = linear + i };

		if (kvm_call(&v->handle, KVM_TRANSLATE, (unsigned long)&t) || !t.valid ||
		    t.physical_address >= memory->size)
			return i;
		bytes[i] = memory->host[t.physical_address];
	}
	return n;
}

static void dump_instruction(struct vcpu *v, const struct kvm_regs *regs,
			     const struct kvm_sregs *sregs)
{
	unsigned mode = sregs->cs.l && sregs->efer & 1u << 10 ? 64 : sregs->cs.db ? 32 : 16;
	uint64_t linear = mode == 64 ? regs->rip : (uint32_t)(sregs->cs.base + regs->rip);
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t n = read_linear(v, linear, bytes, sizeof(bytes));
	char text[96] = "(not in memory)", symbol[96];

	struct insn insn;

	/* Only its own bytes, unless they make no instruction. */
	if (n && !insn_decode(&insn, bytes, n, mode))
		n = insn.length;
	if (n)
		disasm_text(text, sizeof(text), bytes, n, regs->rip, mode);
	symbols_format(v->monitor->options.symbols, linear, symbol, sizeof(symbol));
	fprintf(stderr, "  at 0x%" PRIx64 "%s%s%s: %s  [", linear, *symbol ? " <" : "", symbol,
		*symbol ? ">" : "", text);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%02x", bytes[i]);
	fputs("]\n", stderr);
}

void dump_vcpu(struct vcpu *v, const char *why)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	console_end_progress();
	if (kvm_call(&v->handle, KVM_GET_REGS, (unsigned long)&regs) ||
	    kvm_call(&v->handle, KVM_GET_SREGS, (unsigned long)&sregs)) {
		complain("vCPU %u: %s (its registers cannot be read)", v->index, why);
		return;
	}
	flockfile(stderr);
	complain("vCPU %u: %s", v->index, why);
	dump_registers(&regs, &sregs);
	dump_instruction(v, &regs, &sregs);
	funlockfile(stderr);
}
