// SPDX-License-Identifier: GPL-2.0-only
/* irqfds, ioeventfds and coalesced zones: rules and errors of virt/kvm/eventfd.c and coalesced_mmio.c. */
#include "tests/unit/irqchip_vm.h"
#include "vmm_shim/own_fd.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define VECTORS 0x20
#define EOI     0x20

static long irqfd(int fd, unsigned gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd args = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = flags, .resamplefd = (uint32_t)resample
	};

	return FD_IOCTL(m.vm, KVM_IRQFD, &args);
}

static long ioeventfd(int fd, uint64_t address, uint32_t size, uint32_t flags, uint64_t match)
{
	struct kvm_ioeventfd args = {
		.fd = fd, .addr = address, .len = size, .flags = flags, .datamatch = match
	};

	return FD_IOCTL(m.vm, KVM_IOEVENTFD, &args);
}

static int event_new(unsigned count)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static void signal_it(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* What it counted; 0: nothing. */
static uint64_t counted(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static bool wait_for(bool (*come)(void))
{
	const struct timespec moment = { 0, 20000 };

	for (unsigned i = 0; i < 100000 && !come(); i++)
		nanosleep(&moment, NULL);
	return come();
}

static bool interrupt_pending(void)
{
	bool pending;

	lock_take(&chip->lock);
	pending = pic_pending(chip);
	lock_drop(&chip->lock);
	return pending;
}

static int setup(void **state)
{
	int r = irqchip_setup(state);

	out(0x20, 0x11);
	out(0x21, VECTORS);
	out(0x21, 4);
	out(0x21, 1);
	return r;
}

/* ------------------------------------------------------------------ irqfd */

static void test_irqfd_that_is_written_is_an_edge(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		signal_it(fd);
		assert_true(wait_for(interrupt_pending));
		assert_int_equal(acknowledge(), VECTORS + 5);
		out(0x20, EOI);
		assert_int_equal(acknowledge(), -1);
		assert_int_equal(counted(fd), 0); /* taken */
	}
	close(fd);
}

static void test_irqfd_written_before_it_was_assigned_interrupts(void **state)
{
	int fd = event_new(2);

	(void)state;
	assert_int_equal(irqfd(fd, 6, 0, 0), 0);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(acknowledge(), VECTORS + 6);
	close(fd);
}

static void test_irqfd_closed_by_the_program_still_works_from_elsewhere(void **state)
{
	int fd = event_new(0);
	pid_t child;

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	child = fork();
	if (!child) {
		usleep(20000); /* the parent has closed its own */
		signal_it(fd);
		_exit(0);
	}
	close(fd);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_irqfd_deassigned_no_longer_interrupts(void **state)
{
	int fd = event_new(0), other = event_new(0);

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	assert_int_equal(irqfd(other, 6, 0, 0), 0);
	assert_int_equal(irqfd(fd, 4, KVM_IRQFD_FLAG_DEASSIGN, 0), 0); /* another line: nothing */
	signal_it(fd);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(acknowledge(), VECTORS + 5);
	out(0x20, EOI);
	assert_int_equal(irqfd(dup(fd), 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0); /* by a copy of it */
	signal_it(fd);
	signal_it(other);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(acknowledge(), VECTORS + 6);
	assert_int_equal(counted(fd), 1);
	close(fd);
	close(other);
}

static void test_irqfd_of_one_eventfd_twice_is_ebusy(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	assert_int_equal(irqfd(dup(fd), 6, 0, 0), -EBUSY);
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	assert_int_equal(irqfd(fd, 6, 0, 0), 0);
	close(fd);
}

static void test_irqfd_wrong_arguments_give_linuxs_errors(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(irqfd(fd, 5, 4, 0), -EINVAL);
	assert_int_equal(irqfd(-1, 5, 0, 0), -EBADF);
	assert_int_equal(irqfd(m.kvm, 5, 0, 0), -EINVAL);
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_RESAMPLE, -1), -EBADF);
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_RESAMPLE, m.kvm), -EINVAL);
	assert_int_equal(irqfd(-1, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), -EBADF);
	assert_int_equal(irqfd(m.kvm, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), -EINVAL);
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0); /* there was none */
	close(fd);
}

static void test_irqfd_without_a_controller_is_einval(void **state)
{
	int vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0), fd = event_new(0);
	struct kvm_irqfd args = { .fd = (uint32_t)fd, .flags = KVM_IRQFD_FLAG_RESAMPLE };

	(void)state;
	assert_int_equal(FD_IOCTL(vm, KVM_IRQFD, &args), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, 24), 0);
	assert_int_equal(FD_IOCTL(vm, KVM_IRQFD, &args), -EINVAL); /* nobody acknowledges a line */
	fd_close(vm);
	close(fd);
}

static void test_irqfd_resampling_keeps_the_line_up_until_it_is_acknowledged(void **state)
{
	int fd = event_new(0), resample = event_new(0);

	(void)state;
	out(0x4d0, 1 << 5); /* level */
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_RESAMPLE, resample), 0);
	signal_it(fd);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(acknowledge(), VECTORS + 5);
	assert_int_equal(counted(resample), 0);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).irr, 1 << 5);
	out(0x20, EOI);
	assert_int_equal(counted(resample), 1);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).irr, 0);
	assert_int_equal(acknowledge(), -1);
	close(fd);
	close(resample);
}

static void test_irqfd_resampling_that_is_deassigned_lets_go_of_the_line(void **state)
{
	int fd = event_new(0), resample = event_new(0);

	(void)state;
	out(0x4d0, 1 << 5);
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_RESAMPLE, resample), 0);
	signal_it(fd);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).irr, 0);
	close(fd);
	close(resample);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The best of many: a machine that is busy may delay some of them for as long as it likes. */
static void test_irqfd_reaches_the_controller_in_well_under_a_millisecond(void **state)
{
	uint64_t best = UINT64_MAX;
	int fd = event_new(0);

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t begun = now(), taken;

		signal_it(fd);
		while (!interrupt_pending() && now() - begun < 1000000000)
			sched_yield();
		taken = now() - begun;
		best = taken < best ? taken : best;
		acknowledge();
		out(0x20, EOI);
	}
	print_message("irqfd to 8259: %llu ns at best\n", (unsigned long long)best);
	assert_true(best < 500000);
	close(fd);
}

static void test_irqfd_many_of_them_each_have_their_line(void **state)
{
	int fd[300];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		fd[i] = event_new(0);
		assert_int_equal(irqfd(fd[i], i == 250 ? 7 : 100, 0, 0), 0);
	}
	for (unsigned i = 0; i < 300; i++)
		signal_it(fd[i]);
	assert_true(wait_for(interrupt_pending));
	assert_int_equal(acknowledge(), VECTORS + 7);
	for (unsigned i = 0; i < 300; i++)
		close(fd[i]);
}

/* ------------------------------------------------------------------ ioeventfd */

#define PORT 0x600
#define GPA  0xd0000000ull

static bool store(bool port, uint64_t address, unsigned size, uint64_t value)
{
	return bus_access(vcpu, port, address, size, true, &value);
}

static void test_ioeventfd_is_signalled_by_a_write_of_its_size(void **state)
{
	int fd = event_new(0);
	uint64_t value = 0;

	(void)state;
	assert_int_equal(ioeventfd(fd, PORT, 2, KVM_IOEVENTFD_FLAG_PIO, 0), 0);
	assert_true(store(true, PORT, 2, 7));
	assert_true(store(true, PORT, 2, 8));
	assert_int_equal(counted(fd), 2);
	assert_false(store(true, PORT, 1, 7));
	assert_false(store(true, PORT, 4, 7));
	assert_false(store(true, PORT + 2, 2, 7));
	assert_false(store(false, PORT, 2, 7));
	assert_false(bus_access(vcpu, true, PORT, 2, false, &value));
	assert_int_equal(counted(fd), 0);
	close(fd);
}

static void test_ioeventfd_with_datamatch_is_signalled_by_its_value_alone(void **state)
{
	const uint32_t match = KVM_IOEVENTFD_FLAG_DATAMATCH;
	int one = event_new(0), two = event_new(0), any = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(one, GPA, 4, match, 1), 0);
	assert_int_equal(ioeventfd(two, GPA, 4, match, 0x80000002), 0);
	assert_int_equal(ioeventfd(any, GPA, 2, 0, 0), 0); /* another size: no collision */
	assert_true(store(false, GPA, 4, 0xffffffff00000001));
	assert_true(store(false, GPA, 4, 0x80000002));
	assert_false(store(false, GPA, 4, 3));
	assert_true(store(false, GPA, 2, 3));
	assert_int_equal(counted(one), 1);
	assert_int_equal(counted(two), 1);
	assert_int_equal(counted(any), 1);
	close(one);
	close(two);
	close(any);
}

static void test_ioeventfd_of_any_length_takes_all_sizes(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(fd, GPA, 0, 0, 0), 0);
	for (unsigned size = 1; size <= 8; size *= 2)
		assert_true(store(false, GPA, size, 1));
	assert_int_equal(counted(fd), 4);
	assert_false(store(false, GPA + 1, 1, 1));
	close(fd);
}

static void test_ioeventfd_that_would_share_a_write_is_eexist(void **state)
{
	const uint32_t match = KVM_IOEVENTFD_FLAG_DATAMATCH;
	int fd = event_new(0), other = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(fd, GPA, 4, match, 1), 0);
	assert_int_equal(ioeventfd(other, GPA, 4, match, 1), -EEXIST);
	assert_int_equal(ioeventfd(other, GPA, 4, 0, 0), -EEXIST);
	assert_int_equal(ioeventfd(other, GPA, 0, 0, 0), -EEXIST);
	assert_int_equal(ioeventfd(other, GPA, 4, KVM_IOEVENTFD_FLAG_PIO, 0), 0);
	assert_int_equal(ioeventfd(other, GPA + 4, 4, 0, 0), 0);
	close(fd);
	close(other);
}

static void test_ioeventfd_deassign_wants_all_of_it_the_same(void **state)
{
	const uint32_t match = KVM_IOEVENTFD_FLAG_DATAMATCH, off = KVM_IOEVENTFD_FLAG_DEASSIGN;
	int fd = event_new(0), other = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(fd, GPA, 4, match, 1), 0);
	assert_int_equal(ioeventfd(other, GPA, 4, off | match, 1), -ENOENT);
	assert_int_equal(ioeventfd(fd, GPA + 1, 4, off | match, 1), -ENOENT);
	assert_int_equal(ioeventfd(fd, GPA, 2, off | match, 1), -ENOENT);
	assert_int_equal(ioeventfd(fd, GPA, 4, off, 1), -ENOENT);
	assert_int_equal(ioeventfd(fd, GPA, 4, off | match, 2), -ENOENT);
	assert_int_equal(ioeventfd(fd, GPA, 4, off | match | KVM_IOEVENTFD_FLAG_PIO, 1), -ENOENT);
	assert_int_equal(ioeventfd(dup(fd), GPA, 4, off | match, 1), 0);
	assert_int_equal(ioeventfd(fd, GPA, 4, off | match, 1), -ENOENT);
	assert_false(store(false, GPA, 4, 1));
	close(fd);
	close(other);
}

static void test_ioeventfd_wrong_arguments_give_linuxs_errors(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(fd, GPA, 3, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(fd, GPA, 16, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(fd, UINT64_MAX - 2, 4, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(fd, GPA, 4, 1 << 5, 0), -EINVAL);
	assert_int_equal(ioeventfd(fd, GPA, 0, KVM_IOEVENTFD_FLAG_DATAMATCH, 0), -EINVAL);
	assert_int_equal(ioeventfd(-1, GPA, 4, 0, 0), -EBADF);
	assert_int_equal(ioeventfd(m.kvm, GPA, 4, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(-1, GPA, 3, KVM_IOEVENTFD_FLAG_DEASSIGN, 0), -EBADF);
	close(fd);
}

static void test_ioeventfd_whose_counter_is_full_does_not_block_the_guest(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC); /* blocking */
	uint64_t most = UINT64_MAX - 1;

	(void)state;
	assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
	assert_int_equal(ioeventfd(fd, GPA, 4, 0, 0), 0);
	assert_true(store(false, GPA, 4, 0));
	assert_int_equal(counted(fd), most);
	close(fd);
}

static void test_ioeventfd_keeps_the_guest_running(void **state)
{
	int fd = event_new(0);

	(void)state;
	assert_int_equal(ioeventfd(fd, PORT, 1, KVM_IOEVENTFD_FLAG_PIO, 0), 0);
	assert_int_equal(ioeventfd(fd, 0xb8000, 2, 0, 0), 0);
	/* mov dx, 600h; out dx, al; out dx, al; mov ax, b800h; mov es, ax; mov [es:0], ax; out 80h, al */
	LOAD("\xba\x00\x06\xee\xee\xb8\x00\xb8\x8e\xc0\x26\xa3\x00\x00\xe6\x80");
	munmap(ram + 0xb0000, 0x10000);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION,
				  (&(struct kvm_userspace_memory_region){ 0 })),
			 0);
	assert_int_equal(
		FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION,
			 (&(struct kvm_userspace_memory_region){
				 .memory_size = 0xa0000, .userspace_addr = (uintptr_t)ram })),
		0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m.run->io.port, 0x80);
	assert_int_equal(counted(fd), 3);
	close(fd);
}

/* ------------------------------------------------------------------ coalesced zones */

static long zone(unsigned long request, uint64_t address, uint32_t size, uint32_t pio)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = address, .size = size, .pio = pio };

	return FD_IOCTL(m.vm, request, &zone);
}

static struct kvm_coalesced_mmio_ring *ring(void)
{
	return (void *)((char *)m.run + 2 * 4096);
}

static void test_coalesced_write_waits_in_the_ring(void **state)
{
	uint64_t value;

	(void)state;
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 0x1000, 0), 0);
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, 0x3f8, 1, 1), 0);
	assert_true(store(false, GPA + 8, 4, 0x11223344));
	assert_true(store(true, 0x3f8, 1, 0x55));
	assert_int_equal(ring()->first, 0);
	assert_int_equal(ring()->last, 2);
	assert_int_equal(ring()->coalesced_mmio[0].phys_addr, GPA + 8);
	assert_int_equal(ring()->coalesced_mmio[0].len, 4);
	assert_int_equal(ring()->coalesced_mmio[0].pio, 0);
	assert_memory_equal(ring()->coalesced_mmio[0].data, "\x44\x33\x22\x11", 4);
	assert_int_equal(ring()->coalesced_mmio[1].phys_addr, 0x3f8);
	assert_int_equal(ring()->coalesced_mmio[1].pio, 1);
	assert_false(bus_access(vcpu, false, GPA, 4, false, &value)); /* a read is the monitor's */
	assert_false(store(false, GPA + 0xffe, 4, 0));                /* half outside */
	assert_false(store(false, GPA + 0x1000, 1, 0));
}

static void test_coalesced_write_to_a_full_ring_is_an_exit(void **state)
{
	const unsigned entries =
		(4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio);

	(void)state;
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 16, 0), 0);
	for (unsigned i = 0; i < entries - 1; i++)
		assert_true(store(false, GPA, 1, i));
	assert_false(store(false, GPA, 1, 0));
	ring()->first = 1;
	assert_true(store(false, GPA, 1, 0));
	assert_int_equal(ring()->last, 0);
	ring()->last = entries; /* spoilt */
	assert_false(store(false, GPA, 1, 0));
	ring()->last = ~0u;
	assert_false(store(false, GPA, 1, 0));
}

static void test_coalesced_unregister_takes_all_zones_around_the_range(void **state)
{
	(void)state;
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 0x100, 0), 0);
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 0x1000, 0), 0);
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA + 0x2000, 0x100, 0), 0);
	assert_int_equal(zone(KVM_UNREGISTER_COALESCED_MMIO, GPA, 0x100, 1), 0);
	assert_true(store(false, GPA, 1, 0));
	assert_int_equal(zone(KVM_UNREGISTER_COALESCED_MMIO, GPA, 0x100, 0), 0);
	assert_false(store(false, GPA, 1, 0));
	assert_true(store(false, GPA + 0x2000, 1, 0));
	assert_int_equal(zone(KVM_UNREGISTER_COALESCED_MMIO, GPA, 0x100, 0), 0); /* none left */
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 1, 2), -EINVAL);
	assert_int_equal(zone(KVM_UNREGISTER_COALESCED_MMIO, GPA, 1, 2), -EINVAL);
}

static void test_bus_has_room_for_a_thousand_devices_and_more_ioeventfds(void **state)
{
	struct rlimit limit = { 4096, 4096 };
	int fd[1100];
	unsigned i = 0;

	(void)state;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max < 4096) {
		print_message("skipped: RLIMIT_NOFILE is %llu, 4096 are needed\n",
			      (unsigned long long)limit.rlim_max);
		skip();
	}
	limit.rlim_cur = limit.rlim_cur < 4096 ? 4096 : limit.rlim_cur;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (; i < 1100; i++) {
		fd[i] = event_new(0);
		if (ioeventfd(fd[i], GPA + i * 8, 8, 0, 0))
			break;
	}
	assert_int_equal(i, 1100);
	/* the I/O APIC is one of the thousand */
	for (i = 0; i < 1100 && !zone(KVM_REGISTER_COALESCED_MMIO, GPA + 0x100000 + i, 1, 0); i++)
		;
	assert_int_equal(i, 999);
	assert_int_equal(zone(KVM_REGISTER_COALESCED_MMIO, GPA, 1, 0), -ENOSPC);
	assert_true(store(false, GPA + 1099 * 8, 8, 1));
	assert_int_equal(counted(fd[1099]), 1);
	for (i = 0; i < 1100; i++)
		close(fd[i]);
}

/* ------------------------------------------------------------------ descriptors */

static int own_count(void)
{
	int n = 0;

	for (int own = own_fd_in(0, ~0u); own >= 0; own = own_fd_in((unsigned)own + 1, ~0u))
		n++;
	return n;
}

static void test_descriptors_of_a_vm_go_with_it(void **state)
{
	int fd = event_new(0), before = own_count(), own;

	(void)state;
	assert_int_equal(irqfd(fd, 5, KVM_IRQFD_FLAG_RESAMPLE, fd), 0);
	assert_int_equal(ioeventfd(fd, GPA, 4, 0, 0), 0);
	own = own_fd_in(3, ~0u);
	assert_true(own >= 0 && fcntl(own, F_GETFD) & FD_CLOEXEC);
	irqchip_teardown(state);
	assert_in_range(own_count(), before, before + 1); /* the helper thread's bell */
	close(fd);
	irqchip_setup(state);
}

/* In a child that has forked: a VM of its own, whose irqfd wants a thread that fork() did not copy. */
static int child_main(void)
{
	int fd = event_new(0);

	alarm(20);
	shim_after_fork();
	m.vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0);
	if (m.vm < 0 || fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0))
		return 1;
	chip = vm_object()->irqchip;
	if (irqfd(fd, 5, 0, 0))
		return 2;
	signal_it(fd);
	return wait_for(interrupt_pending) ? 0 : 3;
}

static void test_forked_child_has_a_helper_thread_of_its_own(void **state)
{
	int fd = event_new(0), status;
	pid_t child;

	(void)state;
	assert_int_equal(irqfd(fd, 5, 0, 0), 0);
	signal_it(fd);
	assert_true(wait_for(interrupt_pending)); /* it runs here */
	child = fork();
	if (!child)
		_exit(child_main());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	acknowledge();
	out(0x20, EOI);
	signal_it(fd); /* and still does */
	assert_true(wait_for(interrupt_pending));
	close(fd);
}

static void test_own_descriptor_gives_way_and_keeps_its_file(void **state)
{
	int fd = event_new(0), handle = own_fd_copy(fd), number = own_fd(handle);

	(void)state;
	assert_true(own_fd_is(number));
	assert_int_equal(own_fd_in((unsigned)number, (unsigned)number), number);
	own_fd_give_way(number);
	assert_false(own_fd_is(number));
	assert_int_equal(fcntl(number, F_GETFD), -1);
	assert_true(own_fd(handle) > number);
	signal_it(own_fd(handle));
	assert_int_equal(counted(fd), 1);
	own_fd_close(handle);
	assert_int_equal(own_fd_copy(-1), -EBADF);
	close(fd);
}

static void test_own_descriptor_that_is_lost_leaves_its_handle_to_its_owner(void **state)
{
	int fd = event_new(0), lost = own_fd_copy(fd), other;

	(void)state;
	close(own_fd(lost));
	own_fd_lost(lost);
	assert_true(own_fd(lost) < 0);
	other = own_fd_copy(fd);
	assert_int_not_equal(other, lost);
	own_fd_close(lost); /* closes nothing of anybody's */
	signal_it(own_fd(other));
	assert_int_equal(counted(fd), 1);
	own_fd_close(other);
	assert_true(own_fd(-1) < 0);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, irqchip_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_irqfd_that_is_written_is_an_edge),
		TEST(test_irqfd_written_before_it_was_assigned_interrupts),
		TEST(test_irqfd_closed_by_the_program_still_works_from_elsewhere),
		TEST(test_irqfd_deassigned_no_longer_interrupts),
		TEST(test_irqfd_of_one_eventfd_twice_is_ebusy),
		TEST(test_irqfd_wrong_arguments_give_linuxs_errors),
		TEST(test_irqfd_without_a_controller_is_einval),
		TEST(test_irqfd_resampling_keeps_the_line_up_until_it_is_acknowledged),
		TEST(test_irqfd_resampling_that_is_deassigned_lets_go_of_the_line),
		TEST(test_irqfd_reaches_the_controller_in_well_under_a_millisecond),
		TEST(test_irqfd_many_of_them_each_have_their_line),
		TEST(test_ioeventfd_is_signalled_by_a_write_of_its_size),
		TEST(test_ioeventfd_with_datamatch_is_signalled_by_its_value_alone),
		TEST(test_ioeventfd_of_any_length_takes_all_sizes),
		TEST(test_ioeventfd_that_would_share_a_write_is_eexist),
		TEST(test_ioeventfd_deassign_wants_all_of_it_the_same),
		TEST(test_ioeventfd_wrong_arguments_give_linuxs_errors),
		TEST(test_ioeventfd_whose_counter_is_full_does_not_block_the_guest),
		TEST(test_ioeventfd_keeps_the_guest_running),
		TEST(test_coalesced_write_waits_in_the_ring),
		TEST(test_coalesced_write_to_a_full_ring_is_an_exit),
		TEST(test_coalesced_unregister_takes_all_zones_around_the_range),
		TEST(test_bus_has_room_for_a_thousand_devices_and_more_ioeventfds),
		TEST(test_descriptors_of_a_vm_go_with_it),
		TEST(test_forked_child_has_a_helper_thread_of_its_own),
		TEST(test_own_descriptor_gives_way_and_keeps_its_file),
		TEST(test_own_descriptor_that_is_lost_leaves_its_handle_to_its_owner),
	};

	irqchip_options(SHIM_TIME_REAL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
