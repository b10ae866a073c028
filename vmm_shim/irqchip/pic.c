// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two 8259A, as Linux models them (arch/x86/kvm/i8259.c, 6.12): edge or level by the ELCR of a PCI
 * chip set, always cascaded, without buffered mode and without effect of special mask mode. Names are
 * those of Intel's data sheet 231468: ICW initialization, OCW operation command words.
 */
#include "vmm_shim/irqchip/chips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MASTER, SLAVE };
enum { CASCADE = 2, SPURIOUS = 7, NONE = -1 };

struct pic {
	struct kvm_pic_state side[2];
	bool output; /* INTR of the master */
	uint8_t sources[PIC_PINS];
};

static uint8_t bit(unsigned input)
{
	return (uint8_t)(1u << input);
}

/* ------------------------------------------------------------------ requests and priorities */

static int set_input(struct kvm_pic_state *s, unsigned input, bool level)
{
	bool was_up = s->last_irr & bit(input), was_requested = s->irr & bit(input);
	bool level_triggered = s->elcr & bit(input), news = true;

	if (level) {
		s->last_irr |= bit(input);
		if (level_triggered || !was_up) {
			s->irr |= bit(input);
			news = !was_requested;
		}
	} else {
		s->last_irr &= (uint8_t)~bit(input);
		if (level_triggered)
			s->irr &= (uint8_t)~bit(input);
	}
	return s->imr & bit(input) ? -1 : news;
}

/* 0 is the highest priority, 8: none of them. `priority_add` is the input that has it. */
static unsigned highest(const struct kvm_pic_state *s, uint8_t inputs)
{
	unsigned priority = 0;

	while (priority < 8 && !(inputs & bit((priority + s->priority_add) & 7)))
		priority++;
	return priority;
}

/* The input whose request goes through to INT, or NONE. */
static int requested(const struct pic *pic, unsigned side)
{
	const struct kvm_pic_state *s = &pic->side[side];
	unsigned priority = highest(s, s->irr & (uint8_t)~s->imr);
	uint8_t in_service = s->isr;

	/* Special fully nested mode: the slave may interrupt itself. */
	if (s->special_fully_nested_mode && side == MASTER)
		in_service &= (uint8_t)~bit(CASCADE);
	if (priority == 8 || priority >= highest(s, in_service))
		return NONE;
	return (int)((priority + s->priority_add) & 7);
}

void pic_update(struct irqchip *chip)
{
	struct pic *pic = chip->pic;
	bool before = pic->output;

	if (requested(pic, SLAVE) != NONE) {
		/* its INT is an edge for the master */
		set_input(&pic->side[MASTER], CASCADE, true);
		set_input(&pic->side[MASTER], CASCADE, false);
	}
	pic->output = requested(pic, MASTER) != NONE;
	if (pic->output && !before)
		lapic_pic_changed(chip);
}

int pic_set_line(struct irqchip *chip, enum irq_source source, unsigned pin, bool level)
{
	struct pic *pic = chip->pic;
	int r = set_input(&pic->side[pin / 8], pin % 8,
			  line_state(&pic->sources[pin], source, level));

	pic_update(chip);
	return r;
}

/* ------------------------------------------------------------------ INTA and EOI */

static void end(struct irqchip *chip, unsigned side, unsigned input)
{
	chip->pic->side[side].isr &= (uint8_t)~bit(input);
	irq_acked(chip, side == MASTER ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
		  side * 8 + input);
}

static void begin(struct irqchip *chip, unsigned side, unsigned input)
{
	struct kvm_pic_state *s = &chip->pic->side[side];

	s->isr |= bit(input);
	if (!(s->elcr & bit(input)))
		s->irr &= (uint8_t)~bit(input);
	if (!s->auto_eoi)
		return;
	if (s->rotate_on_auto_eoi)
		s->priority_add = (input + 1) & 7;
	end(chip, side, input);
}

bool pic_pending(const struct irqchip *chip)
{
	return chip->pic && chip->pic->output;
}

/* "If the IR input goes low before INTA, the 8259A issues interrupt 7": the same for the slave. */
uint8_t pic_acknowledge(struct irqchip *chip)
{
	struct pic *pic = chip->pic;
	unsigned side = MASTER;
	int input = requested(pic, MASTER);

	pic->output = false;
	if (input != NONE)
		begin(chip, MASTER, (unsigned)input);
	if (input == CASCADE) {
		side = SLAVE;
		input = requested(pic, SLAVE);
		if (input != NONE)
			begin(chip, SLAVE, (unsigned)input);
	}
	if (input == NONE)
		input = SPURIOUS;
	pic_update(chip);
	return (uint8_t)(pic->side[side].irq_base + input);
}

/* ------------------------------------------------------------------ command words */

#define ICW1             0x10
#define ICW1_ICW4        0x01
#define OCW3             0x08
#define OCW3_POLL        0x04
#define OCW3_READ        0x02 /* bit 0: ISR, else IRR */
#define OCW3_SPECIAL     0x40 /* bit 5: on */
#define ICW4_AUTO_EOI    0x02
#define ICW4_FULLY_NEST  0x10
#define POLL_INTERRUPTED 0x80

/* OCW2, bits 7 to 5 */
enum {
	ROTATE_AEOI_OFF,
	EOI,
	NOTHING,
	EOI_INPUT,
	ROTATE_AEOI_ON,
	ROTATE_EOI,
	SET_PRIORITY,
	ROTATE_EOI_INPUT
};

static void initialize(struct irqchip *chip, unsigned side, uint8_t icw1)
{
	struct kvm_pic_state *s = &chip->pic->side[side];
	uint8_t edges = s->irr & (uint8_t)~s->elcr;

	s->init4 = icw1 & ICW1_ICW4;
	s->init_state = 1;
	s->last_irr = 0;
	s->irr &= s->elcr; /* "the edge sense circuit is reset" */
	s->imr = 0;
	s->priority_add = 0;
	s->special_mask = 0;
	s->read_reg_select = 0;
	if (!s->init4) {
		s->special_fully_nested_mode = 0;
		s->auto_eoi = 0;
	}
	/* Edges that nobody will see any more: who waits for their end has waited enough. */
	for (unsigned input = 0; lapic_takes_pic(chip) && input < 8; input++) {
		if (edges & bit(input))
			end(chip, side, input);
	}
}

static void end_or_rotate(struct irqchip *chip, unsigned side, uint8_t ocw2)
{
	struct kvm_pic_state *s = &chip->pic->side[side];
	unsigned command = ocw2 >> 5, input = ocw2 & 7, priority;

	switch (command) {
	case ROTATE_AEOI_OFF:
	case ROTATE_AEOI_ON:
		s->rotate_on_auto_eoi = command == ROTATE_AEOI_ON;
		return;
	case NOTHING:
		return;
	case SET_PRIORITY:
		s->priority_add = (input + 1) & 7;
		pic_update(chip);
		return;
	case EOI:
	case ROTATE_EOI:
		priority = highest(s, s->isr);
		if (priority == 8)
			return;
		input = (priority + s->priority_add) & 7;
		break;
	default:
		break;
	}
	if (command == ROTATE_EOI || command == ROTATE_EOI_INPUT)
		s->priority_add = (input + 1) & 7;
	end(chip, side, input);
	pic_update(chip);
}

static void write_even(struct irqchip *chip, unsigned side, uint8_t value)
{
	struct kvm_pic_state *s = &chip->pic->side[side];

	if (value & ICW1) {
		initialize(chip, side, value);
		return;
	}
	if (!(value & OCW3)) {
		end_or_rotate(chip, side, value);
		return;
	}
	if (value & OCW3_POLL)
		s->poll = 1;
	if (value & OCW3_READ)
		s->read_reg_select = value & 1;
	if (value & OCW3_SPECIAL)
		s->special_mask = value >> 5 & 1;
}

static void write_mask(struct irqchip *chip, unsigned side, uint8_t mask)
{
	struct kvm_pic_state *s = &chip->pic->side[side];
	uint8_t changed = s->imr ^ mask;

	s->imr = mask;
	for (unsigned input = 0; input < 8; input++) {
		if (changed & bit(input))
			irq_masked(chip,
				   side == MASTER ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				   side * 8 + input, mask & bit(input));
	}
	pic_update(chip);
}

/* ICW2, ICW3 (the wiring is known), ICW4; then OCW1 */
static void write_odd(struct irqchip *chip, unsigned side, uint8_t value)
{
	struct kvm_pic_state *s = &chip->pic->side[side];

	switch (s->init_state) {
	case 0:
		write_mask(chip, side, value);
		break;
	case 1:
		s->irq_base = value & 0xf8;
		s->init_state = 2;
		break;
	case 2:
		s->init_state = s->init4 ? 3 : 0;
		break;
	case 3:
		s->special_fully_nested_mode = (value & ICW4_FULLY_NEST) != 0;
		s->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
		s->init_state = 0;
		break;
	default:
		break;
	}
}

/* The next read after OCW3 with P: INTA by software. Here an end of interrupt as well, as in Linux. */
static uint8_t poll(struct irqchip *chip, unsigned side)
{
	struct pic *pic = chip->pic;
	int input = requested(pic, side);

	if (input == NONE) {
		pic_update(chip);
		return SPURIOUS;
	}
	if (side == SLAVE) {
		pic->side[MASTER].isr &= (uint8_t)~bit(CASCADE);
		pic->side[MASTER].irr &= (uint8_t)~bit(CASCADE);
	}
	pic->side[side].irr &= (uint8_t)~bit((unsigned)input);
	end(chip, side, (unsigned)input);
	if (side == SLAVE || input != CASCADE)
		pic_update(chip);
	return (uint8_t)(POLL_INTERRUPTED | input);
}

static uint8_t read_register(struct irqchip *chip, unsigned side, bool odd)
{
	struct kvm_pic_state *s = &chip->pic->side[side];
	uint8_t value;

	if (s->poll) {
		value = poll(chip, side);
		s->poll = 0;
		return value;
	}
	if (odd)
		return s->imr;
	return s->read_reg_select ? s->isr : s->irr;
}

/* ------------------------------------------------------------------ ports 20h, A0h, 4D0h */

static bool command_access(struct irqchip *chip, void *opaque, uint64_t port, unsigned size,
			   bool write, void *data)
{
	unsigned side = port >> 7 & 1;
	uint8_t *value = data;

	(void)opaque;
	if (size != 1) { /* Linux takes such an access and ignores it */
		if (!write)
			memset(data, 0, size);
	} else if (!write) {
		*value = read_register(chip, side, port & 1);
	} else if (port & 1) {
		write_odd(chip, side, *value);
	} else {
		write_even(chip, side, *value);
	}
	return true;
}

static bool elcr_access(struct irqchip *chip, void *opaque, uint64_t port, unsigned size,
			bool write, void *data)
{
	struct kvm_pic_state *s = &chip->pic->side[port & 1];
	uint8_t *value = data;

	(void)opaque;
	if (size != 1) {
		if (!write)
			memset(data, 0, size);
	} else if (write) {
		s->elcr = *value & s->elcr_mask;
	} else {
		*value = s->elcr;
	}
	return true;
}

/* ------------------------------------------------------------------ of the VM */

void pic_get(const struct irqchip *chip, uint32_t chip_id, struct kvm_pic_state *state)
{
	*state = chip->pic->side[chip_id == KVM_IRQCHIP_PIC_SLAVE];
}

void pic_set(struct irqchip *chip, uint32_t chip_id, const struct kvm_pic_state *state)
{
	chip->pic->side[chip_id == KVM_IRQCHIP_PIC_SLAVE] = *state;
}

int pic_new(struct irqchip *chip)
{
	struct pic *pic = calloc(1, sizeof(*pic));
	const struct bus_device device[] = {
		{ 0x20, 2, command_access, pic, false },
		{ 0xa0, 2, command_access, pic, false },
		{ 0x4d0, 2, elcr_access, pic, false },
	};
	int r = 0;

	if (!pic)
		return -ENOMEM;
	/* The timer, the keyboard, the cascade, the clock and the coprocessor are always edges. */
	pic->side[MASTER].elcr_mask = 0xf8;
	pic->side[SLAVE].elcr_mask = 0xde;
	chip->pic = pic;
	for (unsigned i = 0; !r && i < sizeof(device) / sizeof(device[0]); i++)
		r = bus_add(chip, true, &device[i]);
	if (r)
		pic_free(chip);
	return r;
}

void pic_free(struct irqchip *chip)
{
	if (!chip->pic)
		return;
	bus_remove(chip, true, chip->pic);
	free(chip->pic);
	chip->pic = NULL;
}
