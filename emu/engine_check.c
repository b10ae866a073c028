/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine checks itself before the first VM: is it the version whose insides we rely on, is its
 * state laid out as we think (engine_create() looks), do the seams work? What does not agree is
 * refused, with the reason.
 */
#include "emu/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
	struct engine *engine;
	uint8_t *page;
	int scans;
	int locks, stis; /* asked for, below 0: not to be let pass */
};

static bool check_fill(void *opaque, uint64_t page, enum engine_access access, unsigned cpl,
		       bool ac, void **host, unsigned *perms)
{
	struct check *k = opaque;
	(void)cpl, (void)ac;
	/* a stop in the middle of a block: must not act before its end */
	if (access != ENGINE_FETCH)
		engine_stop(k->engine);
	*host = k->page;
	*perms = ENGINE_PERM_R | ENGINE_PERM_W | ENGINE_PERM_X;
	return page == 0;
}

#define CHECK_STOP       0x20 /* where the first loop has to end */
#define CHECK_LOOP       0x40 /* the second */
#define CHECK_NATIVE     0x80 /* what the engine asks for first */
#define CHECK_STI        0x8a
#define CHECK_NATIVE_END 0x8b
#define CHECK_OPERAND    0xc0
static bool check_scan(void *opaque, uint64_t pc, unsigned mode, uint64_t *stop)
{
	struct check *k = opaque;
	(void)mode;
	k->scans++;
	*stop = pc < CHECK_LOOP     ? CHECK_STOP
		: pc < CHECK_NATIVE ? CHECK_LOOP + 4
				    : CHECK_NATIVE_END; /* a stub if pc is there */
	return pc <= *stop;
}

static void *check_lock(void *opaque, uint64_t linear, unsigned size, bool ac)
{
	struct check *k = opaque;
	(void)size, (void)ac;
	if (k->locks < 0)
		return NULL;
	k->locks++;
	return k->page + linear;
}

static bool check_sti(void *opaque)
{
	struct check *k = opaque;
	if (k->stis < 0)
		return false;
	k->stis++;
	return true;
}

static struct cpu check_cpu(void)
{
	struct cpu c = { .cr0 = CR0_PE | CR0_PG | CR0_ET,
			 .cr4 = CR4_PAE,
			 .efer = EFER_LME | EFER_LMA,
			 .rflags = FL_FIXED };
	c.segment[EMU_CS].flags = 0x00209b00;
	c.segment[EMU_SS].flags = c.segment[EMU_DS].flags = 0x00c09300;
	return c;
}

/* The seams of engine_native.c: who is asked, and what is left where the answer is no. */
static const char *check_native(struct check *k)
{
	static const uint8_t code[] = {
		0xf0, 0xff, 0x05, 0x39, 0x00, 0x00, 0x00, /* 80: lock inc dword [rip+0x39] → 0xc0 */
		0x0f, 0xb1, 0xd9,                         /* 87: cmpxchg ecx, ebx */
		0xfb,                                     /* 8a: sti */
	};
	struct cpu c = check_cpu();
	struct engine_stop stop;
	uint32_t count = 0;
	memcpy(k->page + CHECK_NATIVE, code, sizeof(code));
	memcpy(k->page + CHECK_OPERAND, &count, 4);
	c.rip = CHECK_NATIVE;
	c.gpr[EMU_RAX] = 0x100000005;
	c.gpr[EMU_RCX] = 5;
	c.gpr[EMU_RBX] = 7;

	k->locks = -1;
	engine_arm(k->engine);
	stop = engine_run(k->engine, &c);
	memcpy(&count, k->page + CHECK_OPERAND, 4);
	if (stop.reason != ENGINE_LEFT || c.rip != CHECK_NATIVE || count)
		return "a locked instruction was not asked for (seams tcg_func_start, "
		       "helper_atomic)";
	k->locks = 0;
	k->stis = -1;
	engine_arm(k->engine);
	stop = engine_run(k->engine, &c);
	memcpy(&count, k->page + CHECK_OPERAND, 4);
	if (k->locks != 1 || count != 1)
		return "a locked instruction was not executed (seam helper_atomic)";
	if (c.gpr[EMU_RCX] != 7 || c.gpr[EMU_RAX] != 0x100000005)
		return "CMPXCHG came out wrong (seams tcg_gen_movcond, tcg_gen_ext32u)";
	if (stop.reason != ENGINE_LEFT || c.rip != CHECK_STI || c.rflags & FL_IF)
		return "STI was not asked for (seam helper_sti)";
	k->stis = 0;
	engine_arm(k->engine);
	stop = engine_run(k->engine, &c);
	if (stop.reason != ENGINE_STUB || c.rip != CHECK_NATIVE_END || !(c.rflags & FL_IF) ||
	    c.shadow != EMU_SHADOW_STI || k->stis != 1)
		return "STI was not executed (seam helper_sti)";
	return NULL;
}

/* Both seams at work: a store-and-load loop of a known length that is stopped again and again must
 * come out exact, and a block must end in front of the named instruction. */
static const char *check_seams(struct check *k)
{
	static const uint8_t loop[] = {
		0xff, 0x05, 0x7a, 0x00, 0x00, 0x00, /* 00: inc dword [rip+0x7a] → 0x80 */
		0xff, 0xc9,                         /* 06: dec ecx */
		0x75, 0xf6,                         /* 08: jnz 0 */
	};
	struct cpu c = check_cpu();
	enum { TURNS = 200 };
	memset(k->page, 0x90, PAGE_SIZE);
	memcpy(k->page, loop, sizeof(loop));
	memset(k->page + 0x80, 0, 4);
	c.gpr[EMU_RCX] = TURNS;
	struct engine_stop stop = { 0 };
	for (int runs = 0; runs < 3 * TURNS && c.rip != CHECK_STOP; runs++) {
		engine_flush_tlb(k->engine);
		engine_arm(k->engine);
		stop = engine_run(k->engine, &c);
		if (stop.reason != ENGINE_STUB && stop.reason != ENGINE_STOPPED)
			return "a plain loop did not run";
	}
	uint32_t count;
	memcpy(&count, k->page + 0x80, 4);
	if (!k->scans)
		return "translation does not pass the scan (seam tb_gen_code)";
	engine_arm(k->engine);
	if (c.rip != CHECK_STOP)
		return "a block did not end where the scan said";
	if (count != TURNS || c.gpr[EMU_RCX])
		return "a loop did not come out exact (seam check_exit_request)";
	/* a stop before the start must not be lost: the loop would come to its end */
	memcpy(k->page + CHECK_LOOP, "\xff\xc9\x75\xfc", 4); /* dec ecx; jnz */
	c.rip = CHECK_LOOP;
	c.gpr[EMU_RCX] = TURNS;
	engine_stop(k->engine);
	stop = engine_run(k->engine, &c);
	if (stop.reason != ENGINE_STOPPED || c.rip != CHECK_LOOP)
		return "a stop before the start was lost (seam cpu_exec)";
	return NULL;
}

int engine_check(char *message, size_t size)
{
	const char *problem = NULL;
	struct check k = { 0 };
	const struct engine_callbacks callbacks = { .fill = check_fill,
						    .scan = check_scan,
						    .lock = check_lock,
						    .sti = check_sti,
						    .opaque = &k };
	void *page = NULL;
	int ret = 0;
	if (!engine_version_fits()) {
		problem = "the engine is not Unicorn 2.1.1";
	} else if (posix_memalign(&page, PAGE_SIZE, PAGE_SIZE)) {
		return -ENOMEM;
	} else {
		k.page = page;
		ret = engine_create(&k.engine, &callbacks);
		if (ret == -ENOMEM) {
			free(page);
			return ret;
		}
		if (ret)
			problem =
				"the engine's processor state is not laid out as in Unicorn 2.1.1";
		else
			problem = check_seams(&k);
		if (!problem)
			problem = check_native(&k);
		engine_destroy(k.engine);
	}
	free(page);
	if (problem && message)
		snprintf(message, size,
			 "%s; buslock was built against another engine than it runs on", problem);
	return problem ? -ENOTSUP : 0;
}
