// SPDX-License-Identifier: GPL-2.0-only
#include "cli/devices.h"

#include <string.h>

#define SERIAL       0x3f8
#define SERIAL_PORTS 8
#define DEBUG        0xe9
#define EXIT         0xf4
#define EXIT_PORTS   4
#define KEYBOARD     0x64
#define RESET        0xfe /* keyboard controller: pulse the processor's reset line */

/* PC16550D data sheet (National Semiconductor, 1995), table II */
enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };
#define LCR_DLAB  0x80
#define FCR_FIFO  0x01
#define IIR_NONE  0x01 /* no interrupt pending */
#define IIR_FIFO  0xc0
#define LSR_DATA  0x01
#define LSR_EMPTY 0x60 /* transmitter and its holding register */
#define MCR_LOOP  0x10
#define MSR_READY 0xb0 /* carrier, data set ready, clear to send */

void devices_init(struct devices *devices, void (*put_serial)(uint8_t byte),
		  void (*put_debug)(uint8_t byte))
{
	memset(devices, 0, sizeof(*devices));
	pthread_mutex_init(&devices->lock, NULL);
	devices->put_serial = put_serial;
	devices->put_debug = put_debug;
	devices->serial.divisor[0] = 12; /* 9600 baud, as firmware leaves it */
	devices->serial.lcr = 3;
}

static uint8_t modem_status(const struct serial *s)
{
	uint8_t out = s->mcr;

	if (!(out & MCR_LOOP))
		return MSR_READY;
	/* Loop-back connects RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD: drivers probe that. */
	return (uint8_t)((out & 2 ? 0x10 : 0) | (out & 1 ? 0x20 : 0) | (out & 4 ? 0x40 : 0) |
			 (out & 8 ? 0x80 : 0));
}

static uint8_t serial_read(struct serial *s, unsigned reg)
{
	switch (reg) {
	case RBR_THR:
		if (s->lcr & LCR_DLAB)
			return s->divisor[0];
		s->received = false;
		return s->byte;
	case IER:
		return s->lcr & LCR_DLAB ? s->divisor[1] : s->ier;
	case IIR_FCR:
		return (uint8_t)(IIR_NONE | (s->fcr & FCR_FIFO ? IIR_FIFO : 0));
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		return (uint8_t)(LSR_EMPTY | (s->received ? LSR_DATA : 0));
	case MSR:
		return modem_status(s);
	default:
		return s->scratch;
	}
}

static void serial_write(struct devices *d, unsigned reg, uint8_t value)
{
	struct serial *s = &d->serial;

	switch (reg) {
	case RBR_THR:
		if (s->lcr & LCR_DLAB) {
			s->divisor[0] = value;
		} else if (s->mcr & MCR_LOOP) {
			s->byte = value;
			s->received = true;
		} else if (d->put_serial) {
			d->put_serial(value);
		}
		break;
	case IER:
		if (s->lcr & LCR_DLAB)
			s->divisor[1] = value;
		else
			s->ier = value & 0x0f;
		break;
	case IIR_FCR:
		s->fcr = value;
		break;
	case LCR:
		s->lcr = value;
		break;
	case MCR:
		s->mcr = value & 0x1f;
		break;
	case SCR:
		s->scratch = value;
		break;
	default:
		break; /* LSR, MSR: read-only */
	}
}

static uint8_t read_byte(struct devices *d, uint16_t port)
{
	if (port >= SERIAL && port < SERIAL + SERIAL_PORTS)
		return serial_read(&d->serial, port - SERIAL);
	/* The debug console says that it is there by its own number (Bochs). */
	if (port == DEBUG)
		return DEBUG;
	if (port >= EXIT && port < EXIT + EXIT_PORTS)
		return 0;
	if (port == KEYBOARD)
		return 0; /* ready for a command */
	d->port_reads++;
	return 0xff;
}

static enum device_result write_byte(struct devices *d, uint16_t port, uint8_t value)
{
	if (port >= SERIAL && port < SERIAL + SERIAL_PORTS) {
		serial_write(d, port - SERIAL, value);
	} else if (port == DEBUG) {
		if (d->put_debug)
			d->put_debug(value);
	} else if (port == KEYBOARD) {
		return value == RESET ? DEVICE_RESET : DEVICE_DONE;
	} else {
		d->port_writes++;
	}
	return DEVICE_DONE;
}

/* One IN or OUT; a wide one on byte ports is several, as on ISA. */
static enum device_result access(struct devices *d, uint16_t port, bool write, unsigned size,
				 uint8_t *data, uint32_t *value)
{
	enum device_result result = DEVICE_DONE;

	/* One register of four bytes, at any of its ports: the value counts as a whole. */
	if (write && port >= EXIT && port < EXIT + EXIT_PORTS) {
		*value = 0;
		memcpy(value, data, size);
		return DEVICE_EXIT;
	}
	for (unsigned i = 0; i < size && result == DEVICE_DONE; i++) {
		if (write)
			result = write_byte(d, (uint16_t)(port + i), data[i]);
		else
			data[i] = read_byte(d, (uint16_t)(port + i));
	}
	return result;
}

enum device_result devices_io(struct devices *d, uint16_t port, bool write, unsigned size,
			      unsigned count, uint8_t *data, uint32_t *value)
{
	enum device_result result = DEVICE_DONE;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < count && result == DEVICE_DONE; i++)
		result = access(d, port, write, size, data + i * size, value);
	pthread_mutex_unlock(&d->lock);
	return result;
}

void devices_mmio(struct devices *d, bool write, unsigned size, uint8_t *data)
{
	pthread_mutex_lock(&d->lock);
	if (write) {
		d->memory_writes++;
	} else {
		d->memory_reads++;
		memset(data, 0xff, size);
	}
	pthread_mutex_unlock(&d->lock);
}
