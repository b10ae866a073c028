// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timers of the interrupt controllers, and the one thread of the process that runs them in real time
 * and waits for what is written to irqfds. It sleeps until the first timer; without irqfds it does so
 * on a futex, so that a program that uses none has no descriptor of ours.
 */
#include "vmm_shim/irqchip/chips.h"
#include "vmm_shim/own_fd.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>

#define NEVER       UINT64_MAX
#define SECOND      1000000000ull
#define THREAD_SIZE (512 * 1024)

/* ------------------------------------------------------------------ the thread's bed */

enum { THREAD_NONE, THREAD_WORKS, THREAD_IN_FUTEX, THREAD_IN_POLL };

static struct {
	struct shim_lock start_lock;
	_Atomic uint32_t news;     /* counts what it has to look at */
	_Atomic uint32_t state;    /* THREAD_ */
	_Atomic uint64_t until_ns; /* when it looks by itself; NEVER also while it works */
	_Atomic int bell;          /* handle of an eventfd that ends its poll(); -1: none yet */

	struct pollfd *entry; /* the bell and the irqfds */
	unsigned room;
} helper = { .bell = -1 };

static void wake(void)
{
	const uint64_t one = 1;

	atomic_fetch_add(&helper.news, 1);
	switch (atomic_load(&helper.state)) {
	case THREAD_IN_FUTEX:
		raw_syscall(SYS_futex, &helper.news, FUTEX_WAKE_PRIVATE, 1);
		break;
	case THREAD_IN_POLL:
		raw_syscall(SYS_write, own_fd(helper.bell), &one, sizeof(one));
		break;
	default: /* it looks at the news before it sleeps */
		break;
	}
}

/* ------------------------------------------------------------------ timers */

/* A handful per VM: one for each local APIC, one for the 8254. A sorted list does. */
static void unlink_timer(struct irqchip *chip, struct irq_timer *timer)
{
	struct irq_timer **at = &chip->timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
}

void irq_timer_set(struct irqchip *chip, struct irq_timer *timer, uint64_t at_ns)
{
	struct irq_timer **at = &chip->timers;

	if (timer->at_ns)
		unlink_timer(chip, timer);
	timer->at_ns = chip->stopped ? 0 : at_ns;
	if (!timer->at_ns)
		return;
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
	if (chip->timers != timer)
		return;
	if (vclock_virtual())
		lapic_timer_came_first(chip);
	else if (atomic_load(&helper.state) == THREAD_NONE || at_ns < atomic_load(&helper.until_ns))
		irq_helper_wake();
}

bool irq_next_timer(const struct irqchip *chip, uint64_t *at_ns)
{
	if (!chip->timers)
		return false;
	*at_ns = chip->timers->at_ns;
	return true;
}

void irq_run_timers(struct irqchip *chip, uint64_t now_ns)
{
	struct irq_timer *timer;

	while ((timer = chip->timers) && timer->at_ns <= now_ns) {
		chip->timers = timer->next;
		timer->at_ns = 0;
		timer->fire(chip, timer);
	}
}

/* ------------------------------------------------------------------ the thread */

/* One VM: what has come, and what to wait for. The time of its next timer, or NEVER. */
static uint64_t serve(struct irqchip *chip, unsigned handled, unsigned *wanted)
{
	uint64_t next = NEVER;

	lock_take(&chip->lock);
	if (!chip->stopped) {
		irqfd_serve(chip, helper.entry, handled);
		if (!vclock_virtual()) { /* in virtual time who passes time runs them */
			irq_run_timers(chip, shim_now_ns());
			irq_next_timer(chip, &next);
		}
		*wanted += irqfd_poll(chip, helper.entry, *wanted, helper.room);
	}
	lock_drop(&chip->lock);
	return next;
}

/* All VMs of this process. `handled`: entries with the results of a poll. The first entry is the bell. */
static uint64_t serve_all(unsigned handled, unsigned *wanted)
{
	unsigned n = atomic_load(&shim_vm_slots);
	uint64_t next = NEVER;

	*wanted = 1;
	readers_enter();
	for (unsigned i = 0; i < n; i++) {
		struct shim_vm *vm = atomic_load(&shim_vms[i]);
		uint64_t at;

		if (!vm || !file_is_ours(&vm->file))
			continue;
		at = serve(vm->irqchip, handled, wanted);
		next = at < next ? at : next;
	}
	readers_leave();
	return next;
}

static bool bell_ready(void)
{
	int fd;

	if (helper.bell >= 0)
		return true;
	fd = (int)raw_syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd >= 0) {
		helper.bell = own_fd_copy(fd);
		raw_syscall(SYS_close, fd);
	}
	return helper.bell >= 0;
}

/* Room for the bell and the irqfds; false: no memory or no descriptor, and they have to wait. */
static bool entries_ready(unsigned wanted)
{
	struct pollfd *more;

	if (!bell_ready())
		return false;
	if (wanted <= helper.room)
		return true;
	more = realloc(helper.entry, 2 * wanted * sizeof(*more));
	if (!more)
		return false;
	helper.entry = more;
	helper.room = 2 * wanted;
	return true;
}

static struct timespec span(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

/* Until `until_ns` on CLOCK_MONOTONIC, or news. */
static void sleep_in_futex(uint32_t news, uint64_t until_ns)
{
	const struct timespec until = span(until_ns);

	atomic_store(&helper.state, THREAD_IN_FUTEX);
	raw_syscall(SYS_futex, &helper.news, FUTEX_WAIT_BITSET_PRIVATE, news,
		    until_ns == NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
	atomic_store(&helper.state, THREAD_WORKS);
}

/* The number of entries that hold results. */
static unsigned sleep_in_poll(uint32_t news, uint64_t until_ns, unsigned used)
{
	uint64_t now = shim_now_ns(), bell;
	const struct timespec left = span(until_ns > now ? until_ns - now : 0);
	long n = 0;

	helper.entry[0] = (struct pollfd){ .fd = own_fd(helper.bell), .events = POLLIN };
	atomic_store(&helper.state, THREAD_IN_POLL);
	if (atomic_load(&helper.news) == news)
		n = raw_syscall(SYS_ppoll, helper.entry, used,
				until_ns == NEVER || vclock_virtual() ? NULL : &left, NULL, 8);
	atomic_store(&helper.state, THREAD_WORKS);
	if (n > 0 && helper.entry[0].revents & POLLNVAL) { /* closed by a raw system call */
		own_fd_lost(helper.bell);
		own_fd_close(helper.bell);
		helper.bell = -1;
		bell_ready();
	}
	if (n > 0 && helper.entry[0].revents & POLLIN)
		raw_syscall(SYS_read, helper.entry[0].fd, &bell, sizeof(bell));
	return n > 0 ? used : 0;
}

static void *work(void *unused)
{
	unsigned handled = 0, wanted;

	(void)unused;
	vclock_stay_out();
	prctl(PR_SET_NAME, "buslock-irq");
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		uint32_t news;
		uint64_t until;

		/* Who sets a timer from here on does not know whether we have seen it. */
		atomic_store(&helper.until_ns, NEVER);
		news = atomic_load(&helper.news);
		until = serve_all(handled, &wanted);
		handled = 0;
		if (wanted > 1 && wanted > helper.room && entries_ready(wanted))
			continue;
		atomic_store(&helper.until_ns, until);
		if (atomic_load(&helper.news) != news)
			continue;
		if (wanted > 1 && wanted <= helper.room)
			handled = sleep_in_poll(news, until, wanted);
		else
			sleep_in_futex(news, until);
	}
	return NULL;
}

static bool start(void)
{
	__typeof__(shim_helper_create) create = shim_helper_create ? shim_helper_create
								   : pthread_create;
	pthread_attr_t attributes;
	pthread_t thread;
	bool done;

	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, THREAD_SIZE);
	done = !create(&thread, &attributes, work, NULL);
	pthread_attr_destroy(&attributes);
	return done;
}

/* A new thread inherits that all signals are blocked. */
static void start_once(void)
{
	kernel_sigset mask = signals_block();

	lock_take(&helper.start_lock);
	if (atomic_load(&helper.state) == THREAD_NONE) {
		atomic_store(&helper.state, THREAD_WORKS);
		if (!start()) {
			atomic_store(&helper.state, THREAD_NONE);
			shim_log(1,
				 "no helper thread: timers and irqfds of the guest will not work "
				 "(raise RLIMIT_NPROC)");
		}
	}
	lock_drop(&helper.start_lock);
	signals_restore(mask);
}

void irq_helper_wake(void)
{
	if (__builtin_expect(atomic_load(&helper.state) == THREAD_NONE, 0))
		start_once();
	else
		wake();
}

/* The bell was the parent's: ringing it would wake the parent. */
void irqchip_after_fork(void)
{
	unsigned n = atomic_load(&shim_vm_slots);

	for (unsigned i = 0; i < n; i++) {
		struct shim_vm *vm = atomic_load(&shim_vms[i]);

		if (vm)
			atomic_store(&vm->irqchip->lock.state, 0);
	}
	if (helper.bell >= 0)
		own_fd_close(helper.bell);
	helper.bell = -1;
	helper.room = 0; /* the memory stays: malloc()'s lock may have been held */
	helper.entry = NULL;
	atomic_store(&helper.start_lock.state, 0);
	atomic_store(&helper.state, THREAD_NONE);
}
