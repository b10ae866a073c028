/* SPDX-License-Identifier: GPL-2.0-only */
/* Where an instruction reads and writes, given the registers. */
#include "emu/insn.h"
#include "emu/insn_bits.h"

enum { REG_AX = 0, REG_BX = 3, REG_SP = 4, REG_BP = 5, REG_SI = 6, REG_DI = 7 };

uint32_t insn_mem_bytes(const struct insn *insn)
{
	if (insn->mem_size != 255)
		return insn->mem_size;
	if (insn->op == OP_XSAVE || insn->op == OP_XRSTOR)
		return 576; /* legacy region and header; the components behind it depend on XCR0 */
	if (insn->map == MAP_0F)
		return 512;                  /* FXSAVE, FXRSTOR */
	return insn->opsize == 2 ? 94 : 108; /* FNSAVE, FRSTOR */
}

/* Which register the bit offset comes from, in bytes from the operand. SDM vol. 2, table 3-2. */
static uint64_t bit_string_displacement(const struct insn *insn, const struct insn_regs *regs)
{
	int64_t bits = sign_extend(regs->gpr[insn->reg], insn->opsize);

	/* An arithmetic shift: negative bit offsets reach below the operand. */
	return (uint64_t)(bits >> (insn->opsize == 2   ? 4
				   : insn->opsize == 4 ? 5
						       : 6)) *
	       insn->opsize;
}

static uint64_t stack_pointer(const struct insn_regs *regs, int64_t offset)
{
	return mask_bytes(regs->gpr[REG_SP] + (uint64_t)offset, regs->stack_size);
}

uint64_t insn_effective_address(const struct insn *insn, const struct insn_regs *regs)
{
	uint64_t address = (uint64_t)insn->disp;

	if (insn->base == INSN_REG_RIP)
		address += regs->rip + insn->length;
	else if (insn->base == REG_SP && insn->op == OP_POP)
		address += stack_pointer(regs,
					 insn->opsize); /* SDM vol. 2, POP: rSP counts after it */
	else if (insn->base != INSN_NO_REG)
		address += regs->gpr[insn->base];
	if (insn->index != INSN_NO_REG)
		address += regs->gpr[insn->index] * insn->scale;
	if (insn->flags & INSN_BITSTRING)
		address += bit_string_displacement(insn, regs);
	return mask_bytes(address, insn->addrsize);
}

struct access_list {
	const struct insn *insn;
	const struct insn_regs *regs;
	struct insn_access *out;
	int count;
};

static void add_access(struct access_list *list, unsigned seg, uint64_t offset, uint32_t size,
		       unsigned access)
{
	struct insn_access *a = &list->out[list->count++];
	uint64_t linear = list->regs->seg_base[seg] + offset;

	a->linear = list->insn->mode == 64 ? linear : (uint32_t)linear;
	a->offset = offset;
	a->size = size;
	a->seg = (uint8_t)seg;
	a->access = (uint8_t)access;
}

static void add_operand(struct access_list *list)
{
	const struct insn *insn = list->insn;

	if (insn->flags & INSN_MEM && insn->mem_size)
		add_access(list, insn->seg, insn_effective_address(insn, list->regs),
			   insn_mem_bytes(insn), insn->mem_access);
}

/* A string operand: rSI within the overridable segment, rDI within ES. */
static void add_string(struct access_list *list, unsigned reg, unsigned access)
{
	const struct insn *insn = list->insn;
	unsigned seg = reg == REG_SI ? insn->seg : SEG_ES;

	add_access(list, seg, mask_bytes(list->regs->gpr[reg], insn->addrsize), insn->opsize,
		   access);
}

static void add_push(struct access_list *list, uint32_t size)
{
	add_access(list, SEG_SS, stack_pointer(list->regs, -(int64_t)size), size, INSN_WRITE);
}

static void add_pop(struct access_list *list, uint32_t size)
{
	add_access(list, SEG_SS, stack_pointer(list->regs, 0), size, INSN_READ);
}

/* SDM vol. 2, ENTER. The outer frame pointers, and what is pushed, are one range each. */
static void add_enter(struct access_list *list)
{
	const struct insn_regs *regs = list->regs;
	unsigned level = list->insn->imm2 & 31, size = list->insn->opsize;
	uint64_t copied = level > 1 ? (uint64_t)(level - 1) * size : 0;

	if (copied)
		add_access(list, SEG_SS, mask_bytes(regs->gpr[REG_BP] - copied, regs->stack_size),
			   (uint32_t)copied, INSN_READ);
	add_push(list, (level + 1) * size);
}

static void plain_accesses(struct access_list *list)
{
	const struct insn *insn = list->insn;
	const struct insn_regs *regs = list->regs;

	add_operand(list);
	if (insn->map == MAP_0F) {
		if (insn->opcode == 0xf7) /* MASKMOVQ, MASKMOVDQU: DS:rDI */
			add_access(list, insn->seg, mask_bytes(regs->gpr[REG_DI], insn->addrsize),
				   insn->flags & INSN_OPSIZE ? 16 : 8, INSN_WRITE);
		return;
	}
	if (insn->map != MAP_ONE)
		return;
	switch (insn->opcode) {
	case 0x60: /* PUSHA */
		add_push(list, 8 * insn->opsize);
		break;
	case 0x61: /* POPA */
		add_pop(list, 8 * insn->opsize);
		break;
	case 0xc8:
		add_enter(list);
		break;
	case 0xc9: /* LEAVE: rSP becomes rBP first */
		add_access(list, SEG_SS, mask_bytes(regs->gpr[REG_BP], regs->stack_size),
			   insn->opsize, INSN_READ);
		break;
	case 0xd7: /* XLAT */
		add_access(list, insn->seg,
			   mask_bytes(regs->gpr[REG_BX] + (uint8_t)regs->gpr[REG_AX],
				      insn->addrsize),
			   1, INSN_READ);
		break;
	}
}

static void branch_accesses(struct access_list *list)
{
	const struct insn *insn = list->insn;

	add_operand(list);
	if (insn->map != MAP_ONE)
		return;
	if (insn->opcode == 0xe8 || (insn->opcode == 0xff && (insn->modrm >> 3 & 7) == 2))
		add_push(list, insn->opsize);
	else if (insn->opcode == 0xc2 || insn->opcode == 0xc3)
		add_pop(list, insn->opsize);
}

int insn_accesses(const struct insn *insn, const struct insn_regs *regs,
		  struct insn_access out[INSN_MAX_ACCESSES])
{
	struct access_list list = { insn, regs, out, 0 };

	switch (insn->op) {
	case OP_UD:
	case OP_VMX_SVM: /* #UD, too */
		break;
	case OP_MOVS:
		add_string(&list, REG_SI, INSN_READ);
		add_string(&list, REG_DI, INSN_WRITE);
		break;
	case OP_CMPS: /* in this order on Intel's parts, seen in CR2 when both fault */
		add_string(&list, REG_DI, INSN_READ);
		add_string(&list, REG_SI, INSN_READ);
		break;
	case OP_LODS:
	case OP_OUTS:
		add_string(&list, REG_SI, INSN_READ);
		break;
	case OP_SCAS:
		add_string(&list, REG_DI, INSN_READ);
		break;
	case OP_STOS:
	case OP_INS:
		add_string(&list, REG_DI, INSN_WRITE);
		break;
	case OP_PUSH:
		add_operand(&list);
		add_push(&list, insn->opsize);
		break;
	case OP_POP:
		add_pop(&list, insn->opsize);
		add_operand(&list);
		break;
	case OP_PUSHF:
	case OP_PUSH_SEG:
		add_push(&list, insn->opsize);
		break;
	case OP_POPF:
	case OP_POP_SEG:
		add_pop(&list, insn->opsize);
		break;
	case OP_CALL_FAR:
		add_operand(&list);
		add_push(&list, 2 * insn->opsize);
		break;
	case OP_RET_FAR:
		add_pop(&list, 2 * insn->opsize);
		break;
	case OP_BRANCH:
		branch_accesses(&list);
		break;
	case OP_PLAIN:
		plain_accesses(&list);
		break;
	default:
		add_operand(&list);
		break;
	}
	return list.count;
}
