/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's devices: a serial port at 3F8h (a 16550 to be polled: no interrupts, nobody types),
 * a debug console at E9h, an exit port at F4h like QEMU's isa-debug-exit, and the keyboard
 * controller's reset line at 64h. Where there is no device, reads give all ones and writes vanish,
 * both counted.
 *
 * Any thread: devices_io() locks.
 */
#ifndef BUSLOCK_CLI_DEVICES_H
#define BUSLOCK_CLI_DEVICES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct serial {
	uint8_t ier, lcr, mcr, fcr, scratch, divisor[2];
	bool received; /* loop-back only */
	uint8_t byte;
};

struct devices {
	pthread_mutex_t lock;
	struct serial serial;
	void (*put_serial)(uint8_t byte), (*put_debug)(uint8_t byte);  /* NULL: not printed */
	uint64_t port_reads, port_writes, memory_reads, memory_writes; /* that hit nothing */
};

enum device_result { DEVICE_DONE, DEVICE_EXIT, DEVICE_RESET };

void devices_init(struct devices *devices, void (*put_serial)(uint8_t byte),
		  void (*put_debug)(uint8_t byte));
/* `count` accesses of `size` bytes (string instructions have several), up to one that ends the run:
 * for DEVICE_EXIT `*value` is what was written. */
enum device_result devices_io(struct devices *devices, uint16_t port, bool write, unsigned size,
			      unsigned count, uint8_t *data, uint32_t *value);
void devices_mmio(struct devices *devices, bool write, unsigned size, uint8_t *data);

#endif
