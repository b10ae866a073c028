// SPDX-License-Identifier: GPL-2.0-only
/* One vCPU of the built-in monitor: run, throttle, serve the exit. */
#include "cli/machine.h"

#include "cli/cli.h"
#include "traces/report_totals.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1

static void on_kick(int signal)
{
	(void)signal; /* it only has to interrupt KVM_RUN and sleeps */
}

/*
 * A host with split_lock_detect=fatal sends it, together with KVM_EXIT_EXCEPTION, which ends the guest and
 * not this program. Any other SIGBUS comes again, and then kills.
 */
static void on_bus(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code != BUS_ADRALN)
		sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

int vcpu_signal(void)
{
	struct sigaction action = { .sa_handler = on_kick };
	struct sigaction bus = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	return sigaction(KICK_SIGNAL, &action, NULL) || sigaction(SIGBUS, &bus, NULL) ? -1 : 0;
}

void vcpu_kick(struct vcpu *v)
{
	int tid = v->tid;

	/* A thread that has not begun yet looks at `ending` before it runs. */
	if (!v->run || !tid)
		return;
	/* api.rst 5, immediate_exit: closes the window between its last look and KVM_RUN. */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
	kvm_kicked(&v->handle, tid);
}

int vcpu_linear_rip(struct vcpu *v, uint64_t *rip)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	long r = kvm_call(&v->handle, KVM_GET_REGS, (unsigned long)&regs);

	if (!r)
		r = kvm_call(&v->handle, KVM_GET_SREGS, (unsigned long)&sregs);
	if (r)
		return (int)r;
	*rip = sregs.cs.l && sregs.efer & 1u << 10 ? regs.rip
						   : (uint32_t)(sregs.cs.base + regs.rip);
	return 0;
}

/* ------------------------------------------------------------------ throttling */

/* Only this thread writes it; others read. */
static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void sleep_until(struct monitor *m, uint64_t when)
{
	/* A kick interrupts it: only the end of the run counts as a reason to get up. */
	while (!m->ending && shim_sleep_until(when) == EINTR)
		;
}

/* After each KVM_RUN, whatever it returned and for whatever reason: only the flag counts. */
static void throttle(struct vcpu *v)
{
	struct monitor *m = v->monitor;
	struct throttle_verdict verdict;
	uint64_t now;

	if (!(v->run->flags & KVM_RUN_X86_BUS_LOCK))
		return;
	count(&v->bus_locks);
	if (m->options.throttle.kind == THROTTLE_NONE)
		return;
	do {
		pthread_mutex_lock(&m->throttle_lock);
		now = report_now();
		verdict = throttle_lock(&m->options.throttle, v->index, now);
		pthread_mutex_unlock(&m->throttle_lock);
		if (!verdict.sleep)
			continue;
		sleep_until(m, now + verdict.sleep);
		trace_note_sleep(m->options.trace, 0, v->index, TRACE_SLEEP_POLICY,
				 report_now() - now, m->ending);
	} while (verdict.action == THROTTLE_ASK_AGAIN && !m->ending);
	if (verdict.action == THROTTLE_END)
		machine_end(m, END_LIMIT, STATUS_TIMEOUT,
			    "ended by the policy: one bus lock too many");
}

/* ------------------------------------------------------------------ exits */

static bool serve_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	enum device_result result;
	uint32_t value = 0;

	result = devices_io(&v->monitor->devices, run->io.port,
			    run->io.direction == KVM_EXIT_IO_OUT, run->io.size, run->io.count, data,
			    &value);
	switch (result) {
	case DEVICE_EXIT:
		/* QEMU's isa-debug-exit: odd, so that 0 is never the guest's */
		machine_end(v->monitor, END_GUEST, (int)((value << 1 | 1) & 0xff),
			    "the guest left through the exit port with value 0x%" PRIx32, value);
		return false;
	case DEVICE_RESET:
		machine_end(v->monitor, END_GUEST, STATUS_OK,
			    "the guest reset the machine (port 64h)");
		return false;
	default:
		return true;
	}
}

/* There is no interrupt here that could wake it: halted is halted for ever. */
static bool serve_halt(struct vcpu *v)
{
	struct monitor *m = v->monitor;

	if (++m->halted == m->options.vcpus)
		machine_end(m, END_GUEST, STATUS_OK,
			    v->run->if_flag ? "all vCPUs halted, waiting for interrupts that this "
					      "machine has not"
					    : "all vCPUs halted");
	return false;
}

static bool died(struct vcpu *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool died(struct vcpu *v, const char *format, ...)
{
	va_list arguments;
	char why[200];

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	machine_end(v->monitor, END_DIED, STATUS_GUEST_DIED, "vCPU %u: %s", v->index, why);
	dump_vcpu(v, why);
	return false;
}

/* False: this vCPU runs no more. */
static bool serve(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	const char *name;

	switch (run->exit_reason) {
	case KVM_EXIT_X86_BUS_LOCK: /* throttle() has done it */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_INTR:
	case KVM_EXIT_SET_TPR:
		return true;
	case KVM_EXIT_IO:
		return serve_io(v);
	case KVM_EXIT_MMIO:
		devices_mmio(&v->monitor->devices, run->mmio.is_write, run->mmio.len,
			     run->mmio.data);
		return true;
	case KVM_EXIT_HLT:
		return serve_halt(v);
	case KVM_EXIT_HYPERCALL:
		run->hypercall.ret = (uint64_t)-ENOSYS;
		return true;
	case KVM_EXIT_SHUTDOWN:
		return died(v, "shutdown (triple fault)");
	case KVM_EXIT_FAIL_ENTRY:
		return died(v, "VM entry failed, hardware reason 0x%llx",
			    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		return died(v, "internal error, suberror %u%s", run->internal.suberror,
			    run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
				    ? " (an instruction that cannot be emulated)"
				    : "");
	case KVM_EXIT_EXCEPTION:
		return died(v, "exception %u, error code 0x%x, that the kernel does not pass on",
			    run->ex.exception, run->ex.error_code);
	case KVM_EXIT_DEBUG:
		return died(v, "debug exit at 0x%llx that nobody asked for",
			    (unsigned long long)run->debug.arch.pc);
	default:
		name = report_exit_name(run->exit_reason);
		return died(v, "exit reason %u (%s) that this monitor does not know",
			    run->exit_reason, name ? name : "unnamed");
	}
}

/* ------------------------------------------------------------------ the loop */

static void note_position(struct vcpu *v)
{
	uint64_t rip;

	if (!atomic_exchange(&v->look, false))
		return;
	if (!vcpu_linear_rip(v, &rip))
		v->rip = rip;
}

static long run_once(struct vcpu *v)
{
	/* The emulator reports by itself, and knows more. */
	struct report *report = v->monitor->options.device ? v->monitor->options.report : NULL;
	struct trace *trace = report ? v->monitor->options.trace : NULL;
	uint64_t begun = report_note_run(report, v->index);
	long r;

	trace_note_run(trace, 0, v->index, v->run->immediate_exit);
	r = kvm_call(&v->handle, KVM_RUN, 0);
	trace_note_exit(trace, 0, v->index,
			&(const struct trace_exit){ .result = (int)r,
						    .reason = v->run->exit_reason,
						    .flags = v->run->flags });
	report_note_return(report, v->index, begun, (int)r, v->run->exit_reason,
			   v->run->flags & KVM_RUN_X86_BUS_LOCK);
	return r;
}

void *vcpu_thread(void *argument)
{
	struct vcpu *v = argument;
	struct monitor *m = v->monitor;
	bool more = true;
	long r;

	v->tid = (int)syscall(SYS_gettid);
	while (more) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (m->ending)
			break;
		r = run_once(v);
		count(&v->exits);
		throttle(v);
		note_position(v);
		if (r >= 0)
			more = serve(v);
		else if (r != -EINTR && r != -EAGAIN)
			more = died(v, "KVM_RUN: %s", strerror((int)-r));
		if (m->options.max_exits && ++m->exits >= m->options.max_exits)
			machine_end(m, END_LIMIT, STATUS_TIMEOUT,
				    "ended by --max-exits after %" PRIu64 " exits",
				    m->options.max_exits);
	}
	return NULL;
}
