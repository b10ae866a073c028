// SPDX-License-Identifier: GPL-2.0-only
/*
 * One execution of a form between two readings of the time-stamp counter, and all of them at every
 * offset. execute() is the only place that runs an instruction on the operand, so it alone counts
 * split locks and refuses those that are not allowed.
 */
#include "traces/recorder/recorder.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096u

/* A split lock that takes longer was not the processor: the kernel put the thread to sleep
 * (split_lock_detect=warn, 10 ms). TSC ticks of 1 ms at 5 GHz. */
#define PUNISHED 5000000u

/* Inside a line nothing ought to be slow. Where it is (a processor with a smaller boundary takes bus
 * locks there, too), it is not repeated further. TSC ticks. */
#define SLOW      400u
#define SLOW_RUNS 3u

/* Read and written by measure_run() by these offsets. */
struct run {
	uint64_t rdi, rax, rbx, rcx, rdx, flags;                /* 0 to 28h: before */
	const void *code;                                       /* 30h: the instruction and RET */
	uint64_t out_rax, out_rbx, out_rcx, out_rdx, out_flags; /* 38h to 58h */
	uint64_t begin, end;                                    /* 60h, 68h */
};

/*
 * The counter is read between LFENCEs, so that nothing before it is still under way, and by RDTSCP,
 * which waits for all instructions before it (SDM vol. 2, RDTSC, RDTSCP). Between the two only moves
 * between registers and the call; they leave the flags alone.
 */
void measure_run(struct run *run);
__asm__(".text\n"
	".globl measure_run\n"
	".type measure_run, @function\n"
	"measure_run:\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rdi, %r10\n"
	"	mov 0x00(%r10), %rdi\n"
	"	mov 0x08(%r10), %r14\n"
	"	mov 0x10(%r10), %rbx\n"
	"	mov 0x18(%r10), %rcx\n"
	"	mov 0x20(%r10), %r15\n"
	"	mov 0x30(%r10), %r11\n"
	"	pushq 0x28(%r10)\n"
	"	popfq\n"
	"	mfence\n"
	"	lfence\n"
	"	rdtsc\n"
	"	lfence\n"
	"	mov %rax, %r8\n"
	"	mov %rdx, %r9\n"
	"	mov %r14, %rax\n"
	"	mov %r15, %rdx\n"
	"	call *%r11\n"
	"	mov %rax, %r12\n"
	"	mov %rcx, %r13\n"
	"	mov %rdx, %r14\n"
	"	rdtscp\n"
	"	lfence\n"
	"	pushfq\n"
	"	popq 0x58(%r10)\n"
	"	mov %r12, 0x38(%r10)\n"
	"	mov %rbx, 0x40(%r10)\n"
	"	mov %r13, 0x48(%r10)\n"
	"	mov %r14, 0x50(%r10)\n"
	"	shl $32, %r9\n"
	"	or %r9, %r8\n"
	"	mov %r8, 0x60(%r10)\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	mov %rax, 0x68(%r10)\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	ret\n"
	".size measure_run, . - measure_run\n");

static uint8_t *code,
	*data; /* a page each; operands lie around the border of two lines of `data` */
static unsigned splits, allowed;

static uint8_t *line(void)
{
	return data + PAGE / 2;
}

/* ------------------------------------------------------------------ faults */

static const int faults[] = { SIGSEGV, SIGBUS, SIGILL };
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct sigaction former[FAULTS];
static sigjmp_buf after_fault;
static volatile sig_atomic_t expecting;

static void on_fault(int number)
{
	if (!expecting) { /* not ours: die of it */
		signal(number, SIG_DFL);
		raise(number);
	}
	siglongjmp(after_fault, number);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = on_fault };

	for (size_t i = 0; i < FAULTS; i++)
		sigaction(faults[i], &action, &former[i]);
}

static void leave_faults(void)
{
	for (size_t i = 0; i < FAULTS; i++)
		sigaction(faults[i], &former[i], NULL);
}

/* The signal, or 0. */
static int run_caught(struct run *run)
{
	int number = sigsetjmp(after_fault, 1);

	if (!number) {
		expecting = 1;
		measure_run(run);
	}
	expecting = 0;
	return number;
}

/* ------------------------------------------------------------------ one execution */

static int load_code(const uint8_t *bytes, unsigned length)
{
	if (mprotect(code, PAGE, PROT_READ | PROT_WRITE))
		return -errno;
	memcpy(code, bytes, length);
	code[length] = 0xc3; /* RET */
	return mprotect(code, PAGE, PROT_READ | PROT_EXEC) ? -errno : 0;
}

/* Around the operand. */
#define UNTOUCHED 0x5a
static uint8_t untouched[PAGE];

static bool only_operand_changed(const uint8_t *operand, unsigned size)
{
	size_t before = (size_t)(operand - data), behind = before + size;

	return !memcmp(data, untouched, before) && !memcmp(data + behind, untouched, PAGE - behind);
}

/* 0 with `outcome` and `*ticks` (of a fault: 0), or the errors of measure_form(). */
static int execute(const struct form *form, unsigned offset, struct outcome *outcome,
		   unsigned *ticks)
{
	uint8_t *operand = line() + offset;
	struct run run = { .rdi = (uint64_t)(uintptr_t)operand -
				  (uint64_t)(int64_t)form->displacement,
			   .rax = form->rax,
			   .rbx = form->rbx,
			   .rcx = form->rcx,
			   .rdx = form->rdx,
			   .flags = form->flags | 2,
			   .code = code };
	int number;

	if (form_splits(form, offset)) {
		if (splits >= allowed)
			return -EDQUOT;
		splits++;
	}
	memset(data, UNTOUCHED, PAGE);
	memcpy(operand, form->memory, form->size);
	number = run_caught(&run);
	memset(outcome, 0, sizeof(*outcome));
	*ticks = 0;
	if (number == SIGSEGV && form->aligned_only) {
		outcome->fault = 1;
		return only_operand_changed(operand, form->size) ? 0 : -EFAULT;
	}
	if (number)
		return number == SIGBUS ? -EPERM : -EIO;
	if (!only_operand_changed(operand, form->size))
		return -EFAULT;
	memcpy(outcome->memory, operand, form->size);
	outcome->rax = run.out_rax;
	outcome->rbx = run.out_rbx;
	outcome->rcx = run.out_rcx;
	outcome->rdx = run.out_rdx;
	outcome->flags = (uint32_t)run.out_flags & FLAGS_STATUS;
	*ticks = (unsigned)(run.end - run.begin);
	return form_splits(form, offset) && run.end - run.begin > PUNISHED ? -EPERM : 0;
}

/* Code, data and predictions as warm as they get: the same code on an aligned operand. */
static int warm_up(const struct form *form)
{
	struct outcome outcome;
	unsigned ticks;
	int r = 0;

	for (int i = 0; i < 4 && !r; i++)
		r = execute(form, 0, &outcome, &ticks);
	return r;
}

/* ------------------------------------------------------------------ all of a form */

static int note_outcome(struct row *row, unsigned offset, const struct outcome *outcome)
{
	unsigned i;

	for (i = 0; i < row->outcome_count; i++) {
		if (!memcmp(&row->outcomes[i].outcome, outcome, sizeof(*outcome))) {
			row->outcomes[i].executions++;
			return 0;
		}
	}
	if (i == MAX_OUTCOMES)
		return -EOVERFLOW;
	row->outcomes[i].outcome = *outcome;
	row->outcomes[i].first_offset = offset;
	row->outcomes[i].executions = 1;
	row->outcome_count++;
	return 0;
}

static int ascending(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

static bool slow(const unsigned *ticks, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (ticks[i] < SLOW)
			return false;
	return true;
}

static void summarize(unsigned *ticks, unsigned count, unsigned offset, struct row *row)
{
	unsigned half = (count + 1) / 2;
	uint64_t sum = 0;

	row->runs[offset] = count;
	if (!count)
		return;
	qsort(ticks, count, sizeof(ticks[0]), ascending);
	for (unsigned i = 0; i < half; i++)
		sum += ticks[i];
	row->min[offset] = ticks[0];
	row->median[offset] = ticks[count / 2];
	row->mean10[offset] = (unsigned)(sum * 10 / half);
}

static int measure_offset(const struct form *form, const struct plan *plan, unsigned offset,
			  struct row *row)
{
	const struct timespec pause = { 0, SPLIT_PAUSE_MS * 1000000l };
	bool split = form_splits(form, offset);
	unsigned ticks[MAX_RUNS], count = 0, runs = split ? plan->split : plan->inside;
	struct outcome outcome;
	int r = 0;

	for (unsigned i = 0; i < runs && i < MAX_RUNS && !r; i++) {
		if (split)
			nanosleep(&pause, NULL);
		if (split || !i)
			r = warm_up(form);
		if (!r)
			r = execute(form, offset, &outcome, &ticks[count]);
		if (r)
			return r;
		row->splits += split;
		r = note_outcome(row, offset, &outcome);
		if (outcome.fault)
			break;
		count++;
		if (!split && count == SLOW_RUNS && slow(ticks, count))
			break;
	}
	summarize(ticks, count, offset, row);
	return r;
}

int measure_form(const struct form *form, const struct plan *plan, struct row *row)
{
	int r = load_code(form->code, form->length);

	memset(row, 0, sizeof(*row));
	catch_faults();
	for (unsigned offset = 0; offset < LINE && !r; offset++)
		r = measure_offset(form, plan, offset, row);
	leave_faults();
	return r;
}

unsigned measure_nothing(void)
{
	const struct form nothing = { .code = { 0x0f, 0x1f, 0x00 }, .length = 3, .size = 1 };
	struct row row;

	return measure_form(&nothing, &(struct plan){ MAX_RUNS, 0 }, &row) ? 0 : row.min[0];
}

unsigned measure_allow(unsigned more)
{
	allowed = more < SPLIT_BUDGET - splits ? splits + more : SPLIT_BUDGET;
	return allowed;
}

unsigned measure_splits(void)
{
	return splits;
}

/* ------------------------------------------------------------------ the machine */

int measure_begin(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (cpu < 0)
		return -errno;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return -errno;
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED || data == MAP_FAILED)
		return -errno;
	memset(untouched, UNTOUCHED, PAGE);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned measure_tsc_khz(void)
{
	uint64_t begun = now_ns(), ticks = __builtin_ia32_rdtsc(), elapsed;

	do
		elapsed = now_ns() - begun;
	while (elapsed < 200000000u);
	ticks = __builtin_ia32_rdtsc() - ticks;
	return (unsigned)(ticks * 1000000u / elapsed);
}
