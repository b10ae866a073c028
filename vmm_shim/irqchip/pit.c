// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 8254 (Intel 231164), as Linux models it (arch/x86/kvm/i8254.c, 6.12): counters are computed from
 * the time since they were loaded, in binary; only channel 0 has an interrupt, and its OUT is not a
 * line but a tick. Channel 2's gate, the speaker and the refresh clock are at port 61h.
 */
#include "vmm_shim/irqchip/chips.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FREQUENCY     1193181u
#define SECOND        1000000000u
#define MIN_PERIOD_NS 200000 /* kvm.min_timer_period_us: of periodic ticks */
#define PORT          0x40
#define PORT_SPEAKER  0x61

/* rw_mode, read_state, write_state; WORD1: the second byte of a word */
enum { LOW = 1, HIGH, WORD0, WORD1 };
enum { CONTROL = 3, CHANNELS = 3, NO_MODE = 0xff };

__extension__ typedef unsigned __int128 wide; /* nanoseconds times clocks */

struct pit {
	struct kvm_pit_channel_state channel[CHANNELS];
	uint32_t flags; /* KVM_PIT_FLAGS_ */
	struct irq_timer timer;
	uint64_t due_ns; /* channel 0 begins anew, or has begun to count through zero */
	uint64_t period_ns;
	bool periodic;

	/* Ticks that the guest has not taken yet are kept for it (KVM_REINJECT_CONTROL). */
	bool reinject;
	unsigned long pending;
	bool acked;
};

/* ------------------------------------------------------------------ channel 0's interrupt */

static void tick(struct irqchip *chip)
{
	struct pit *pit = chip->pit;

	if (pit->reinject) {
		if (!pit->acked)
			return;
		pit->acked = false;
	}
	irq_set_line(chip, IRQ_SOURCE_PIT, 0, true);
	irq_set_line(chip, IRQ_SOURCE_PIT, 0, false);
	lapic_nmi_watchdog(chip);
}

static void reset_reinject(struct pit *pit)
{
	pit->pending = 0;
	pit->acked = true;
}

void pit_acked(struct irqchip *chip)
{
	struct pit *pit = chip->pit;

	if (!pit || !pit->reinject)
		return;
	pit->acked = true;
	if (pit->pending && --pit->pending)
		tick(chip);
}

/* The guest begins to listen: what it has not heard is not for it. */
void pit_masked(struct irqchip *chip, bool masked)
{
	if (chip->pit && chip->pit->reinject && !masked)
		reset_reinject(chip->pit);
}

static void expired(struct irqchip *chip, struct irq_timer *timer)
{
	struct pit *pit = chip->pit;
	uint64_t now = shim_now_ns(), ticks = 1;

	if (pit->periodic) {
		/* whoever was stopped for a while gets all its ticks, but not one by one */
		if (now > pit->due_ns)
			ticks += (now - pit->due_ns) / pit->period_ns;
		pit->due_ns += ticks * pit->period_ns;
		irq_timer_set(chip, timer, pit->due_ns);
	}
	if (pit->reinject)
		pit->pending += ticks;
	tick(chip);
}

static void timer_start(struct irqchip *chip, uint32_t count, bool periodic)
{
	struct pit *pit = chip->pit;
	uint64_t interval = (uint64_t)count * SECOND / FREQUENCY;

	if (pit->flags & KVM_PIT_FLAGS_HPET_LEGACY)
		return;
	pit->periodic = periodic;
	pit->period_ns = periodic && interval < MIN_PERIOD_NS ? MIN_PERIOD_NS : interval;
	pit->due_ns = shim_now_ns() + interval;
	reset_reinject(pit);
	irq_timer_set(chip, &pit->timer, pit->due_ns);
}

/* ------------------------------------------------------------------ counting */

/* In input clocks, since it was loaded */
static uint64_t elapsed(const struct pit *pit, unsigned index)
{
	uint64_t now = shim_now_ns(), since = (uint64_t)pit->channel[index].count_load_time;

	if (index == 0) {
		if (!pit->period_ns)
			return 0;
		since = pit->due_ns - pit->period_ns;
	}
	return now < since ? 0 : (uint64_t)((wide)(now - since) * FREQUENCY / SECOND);
}

static uint16_t counter(const struct pit *pit, unsigned index)
{
	const struct kvm_pit_channel_state *c = &pit->channel[index];
	uint64_t clocks = elapsed(pit, index);

	switch (c->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return (uint16_t)(c->count - clocks); /* through zero, and on */
	case 3:
		return (uint16_t)(c->count - 2 * clocks % c->count);
	default:
		return (uint16_t)(c->count - clocks % c->count);
	}
}

static bool output(const struct pit *pit, unsigned index)
{
	const struct kvm_pit_channel_state *c = &pit->channel[index];
	uint64_t clocks = elapsed(pit, index);

	switch (c->mode) {
	case 1:
		return clocks < c->count;
	case 2:
		return clocks && clocks % c->count == 0;
	case 3:
		return clocks % c->count < (c->count + 1) / 2;
	case 4:
	case 5:
		return clocks == c->count;
	default:
		return clocks >= c->count;
	}
}

static void load(struct irqchip *chip, unsigned index, uint32_t count)
{
	struct kvm_pit_channel_state *c = &chip->pit->channel[index];

	c->count = count ? count : 0x10000;
	if (index) {
		c->count_load_time = (int64_t)shim_now_ns();
		return;
	}
	switch (c->mode) {
	case 0:
	case 1:
	case 4:
		timer_start(chip, c->count, false);
		break;
	case 2:
	case 3:
		timer_start(chip, c->count, true);
		break;
	default:
		irq_timer_set(chip, &chip->pit->timer, 0);
		break;
	}
}

static void set_gate(struct kvm_pit_channel_state *c, bool gate)
{
	/* these restart on a rising edge; the others would only pause */
	bool restarts = c->mode == 1 || c->mode == 2 || c->mode == 3 || c->mode == 5;

	if (restarts && gate && !c->gate)
		c->count_load_time = (int64_t)shim_now_ns();
	c->gate = gate;
}

/* ------------------------------------------------------------------ ports 40h to 43h */

static void latch_count(struct pit *pit, unsigned index)
{
	struct kvm_pit_channel_state *c = &pit->channel[index];

	if (c->count_latched)
		return;
	c->latched_count = counter(pit, index);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct pit *pit, unsigned index)
{
	struct kvm_pit_channel_state *c = &pit->channel[index];

	if (c->status_latched)
		return;
	c->status = (uint8_t)(output(pit, index) << 7 | c->rw_mode << 4 | c->mode << 1 | c->bcd);
	c->status_latched = 1;
}

static void read_back(struct pit *pit, uint8_t command)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		if (!(command & 2u << i))
			continue;
		if (!(command & 0x20))
			latch_count(pit, i);
		if (!(command & 0x10))
			latch_status(pit, i);
	}
}

static void control(struct pit *pit, uint8_t word)
{
	unsigned index = word >> 6, access = word >> 4 & 3;
	struct kvm_pit_channel_state *c;

	if (index == CHANNELS) {
		read_back(pit, word);
		return;
	}
	if (!access) {
		latch_count(pit, index);
		return;
	}
	c = &pit->channel[index];
	c->rw_mode = c->read_state = c->write_state = (uint8_t)access;
	c->mode = word >> 1 & 7;
	if (c->mode > 5) /* bit 2 of the mode does not matter for 2 and 3 */
		c->mode -= 4;
	c->bcd = word & 1;
}

static void write_count(struct irqchip *chip, unsigned index, uint8_t value)
{
	struct kvm_pit_channel_state *c = &chip->pit->channel[index];

	switch (c->write_state) {
	case HIGH:
		load(chip, index, (uint32_t)value << 8);
		break;
	case WORD0:
		c->write_latch = value;
		c->write_state = WORD1;
		break;
	case WORD1:
		load(chip, index, c->write_latch | (uint32_t)value << 8);
		c->write_state = WORD0;
		break;
	default:
		load(chip, index, value);
		break;
	}
}

static uint8_t read_latched(struct kvm_pit_channel_state *c)
{
	uint8_t value = (uint8_t)c->latched_count;

	if (c->count_latched == HIGH)
		value = (uint8_t)(c->latched_count >> 8);
	c->count_latched = c->count_latched == WORD0 ? HIGH : 0;
	return value;
}

static uint8_t read_count(struct pit *pit, unsigned index)
{
	struct kvm_pit_channel_state *c = &pit->channel[index];
	uint16_t count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	count = counter(pit, index);
	switch (c->read_state) {
	case HIGH:
		return (uint8_t)(count >> 8);
	case WORD0:
		c->read_state = WORD1;
		return (uint8_t)count;
	case WORD1:
		c->read_state = WORD0;
		return (uint8_t)(count >> 8);
	default:
		return (uint8_t)count;
	}
}

static void give(void *data, unsigned size, uint8_t value)
{
	memset(data, 0, size);
	*(uint8_t *)data = value;
}

static bool counter_access(struct irqchip *chip, void *opaque, uint64_t port, unsigned size,
			   bool write, void *data)
{
	struct pit *pit = opaque;
	unsigned index = port & 3;
	uint8_t value = *(uint8_t *)data;

	if (write && index == CONTROL)
		control(pit, value);
	else if (write)
		write_count(chip, index, value);
	else /* nobody answers a read of the control word; in Linux AL keeps what it had */
		give(data, size, index == CONTROL ? 0 : read_count(pit, index));
	return true;
}

/* ------------------------------------------------------------------ port 61h */

#define SPEAKER_GATE    0x01
#define SPEAKER_DATA    0x02
#define SPEAKER_REFRESH 0x10
#define SPEAKER_OUT     0x20

static bool speaker_access(struct irqchip *chip, void *opaque, uint64_t port, unsigned size,
			   bool write, void *data)
{
	struct pit *pit = chip->pit;
	struct kvm_pit_channel_state *c = &pit->channel[2];
	uint8_t value = *(uint8_t *)data;

	(void)opaque;
	if (port != PORT_SPEAKER) /* it is registered with four ports, among them the keyboard's */
		return false;
	if (write) {
		pit->flags &= ~KVM_PIT_FLAGS_SPEAKER_DATA_ON;
		if (value & SPEAKER_DATA)
			pit->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
		set_gate(c, value & SPEAKER_GATE);
		return true;
	}
	value = c->gate;
	if (pit->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON)
		value |= SPEAKER_DATA;
	if (output(pit, 2))
		value |= SPEAKER_OUT;
	if (shim_now_ns() >> 14 & 1) /* toggles about every 15 µs */
		value |= SPEAKER_REFRESH;
	give(data, size, value);
	return true;
}

/* ------------------------------------------------------------------ ioctls */

static void set_reinject(struct pit *pit, bool reinject)
{
	if (reinject && !pit->reinject)
		reset_reinject(pit);
	pit->reinject = reinject;
}

static int create_locked(struct irqchip *chip, uint32_t flags)
{
	struct bus_device counters = { PORT, 4, counter_access, NULL, false };
	struct bus_device speaker = { PORT_SPEAKER, 4, speaker_access, NULL, false };
	struct pit *pit;
	int r;

	if (chip->pit)
		return -EEXIST;
	if (!chip->pic)
		return -ENOENT;
	pit = calloc(1, sizeof(*pit));
	if (!pit)
		return -ENOMEM;
	counters.opaque = speaker.opaque = pit;
	pit->timer.fire = expired;
	chip->pit = pit;
	for (unsigned i = 0; i < CHANNELS; i++) {
		pit->channel[i].mode = NO_MODE;
		pit->channel[i].gate = i != 2;
		load(chip, i, 0);
	}
	set_reinject(pit, true);
	r = bus_add(chip, true, &counters);
	if (!r && flags & KVM_PIT_SPEAKER_DUMMY)
		r = bus_add(chip, true, &speaker);
	if (r)
		pit_free(chip);
	return r ? -ENOMEM : 0;
}

void pit_free(struct irqchip *chip)
{
	if (!chip->pit)
		return;
	irq_timer_set(chip, &chip->pit->timer, 0);
	bus_remove(chip, true, chip->pit);
	free(chip->pit);
	chip->pit = NULL;
}

static long create(struct irqchip *chip, uint32_t flags)
{
	int r;

	lock_take(&chip->lock);
	r = create_locked(chip, flags);
	lock_drop(&chip->lock);
	return r;
}

/* `disarm`: the HPET takes over, and channel 0 keeps its mode for later. */
static void set_channels(struct irqchip *chip, const struct kvm_pit_channel_state *channel,
			 bool disarm)
{
	struct pit *pit = chip->pit;

	memcpy(pit->channel, channel, sizeof(pit->channel));
	for (unsigned i = 0; i < CHANNELS; i++) {
		uint8_t mode = pit->channel[i].mode;

		if (disarm && i == 0)
			pit->channel[0].mode = NO_MODE;
		load(chip, i, pit->channel[i].count);
		pit->channel[i].mode = mode;
	}
}

static long get_pit(struct irqchip *chip, unsigned long argument)
{
	struct kvm_pit_state state;
	bool there;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	lock_take(&chip->lock);
	there = chip->pit != NULL;
	if (there)
		memcpy(state.channels, chip->pit->channel, sizeof(state.channels));
	lock_drop(&chip->lock);
	return there ? user_write(argument, &state, sizeof(state)) : -ENXIO;
}

static long set_pit(struct irqchip *chip, unsigned long argument)
{
	struct kvm_pit_state state;
	long r = -ENXIO;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	lock_take(&chip->lock);
	if (chip->pit) {
		set_channels(chip, state.channels, false);
		r = 0;
	}
	lock_drop(&chip->lock);
	return r;
}

static long get_pit2(struct irqchip *chip, unsigned long argument)
{
	struct kvm_pit_state2 state = { .flags = 0 };
	bool there;

	lock_take(&chip->lock);
	there = chip->pit != NULL;
	if (there) {
		memcpy(state.channels, chip->pit->channel, sizeof(state.channels));
		state.flags = chip->pit->flags;
	}
	lock_drop(&chip->lock);
	return there ? user_write(argument, &state, sizeof(state)) : -ENXIO;
}

static long set_pit2(struct irqchip *chip, unsigned long argument)
{
	struct kvm_pit_state2 state;
	long r = -ENXIO;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	lock_take(&chip->lock);
	if (chip->pit) {
		uint32_t came = state.flags & ~chip->pit->flags;

		chip->pit->flags = state.flags;
		set_channels(chip, state.channels, came & KVM_PIT_FLAGS_HPET_LEGACY);
		r = 0;
	}
	lock_drop(&chip->lock);
	return r;
}

static long reinject_control(struct irqchip *chip, unsigned long argument)
{
	struct kvm_reinject_control wanted;
	long r = -ENXIO;

	if (user_read(&wanted, argument, sizeof(wanted)))
		return -EFAULT;
	lock_take(&chip->lock);
	if (chip->pit) {
		set_reinject(chip->pit, wanted.pit_reinject);
		r = 0;
	}
	lock_drop(&chip->lock);
	return r;
}

long pit_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument)
{
	struct kvm_pit_config config;

	switch (request) {
	case KVM_CREATE_PIT:
		return create(chip, KVM_PIT_SPEAKER_DUMMY);
	case KVM_CREATE_PIT2:
		if (user_read(&config, argument, sizeof(config)))
			return -EFAULT;
		return create(chip, config.flags);
	case KVM_GET_PIT:
		return get_pit(chip, argument);
	case KVM_SET_PIT:
		return set_pit(chip, argument);
	case KVM_GET_PIT2:
		return get_pit2(chip, argument);
	case KVM_SET_PIT2:
		return set_pit2(chip, argument);
	case KVM_REINJECT_CONTROL:
		return reinject_control(chip, argument);
	default:
		return -ENOTTY;
	}
}
