// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program of calls, made of bytes, against the shim over the emulated processor: any request with any
 * argument on any descriptor, guests that run whatever the bytes are, descriptors and memory that go
 * while they are used, forks, several threads. What must hold: no crash, no hang, only errnos that KVM
 * gives, no descriptor left behind.
 *
 *   fuzz_ioctl [--seed N] [--seconds N | --programs N]   random programs; N is the first one's seed
 *   fuzz_ioctl --against-device …                        single-threaded, without KVM_RUN, also on the
 *                                                        real /dev/kvm: the same errno
 *   fuzz_ioctl FILE…                                     these programs
 *
 * With -DBUSLOCK_FUZZ=ON (clang) it is a target of libFuzzer instead, and takes that one's arguments.
 */
#include "tests/fuzz/program.h"

#include <getopt.h>

static bool against_device;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_setup();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_run(data, size, against_device);
	return 0;
}

#ifndef BUSLOCK_LIBFUZZER

/* ------------------------------------------------------------------ random programs */

#define PROGRAM_MAX 16384

static uint64_t splitmix(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static size_t random_program(uint64_t seed, uint8_t *program)
{
	size_t size = 256 + splitmix(&seed) % (PROGRAM_MAX - 256);

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = splitmix(&seed);

		memcpy(program + i, &word, 8);
	}
	return size;
}

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	static uint8_t data[1 << 20];
	size_t size;

	if (!file) {
		fprintf(stderr, "fuzz_ioctl: %s: %s\n", path, strerror(errno));
		return 2;
	}
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	fuzz_run(data, size, against_device);
	return 0;
}

static uint64_t seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: fuzz_ioctl [--against-device] [--seed N] [--seconds N | --programs N] "
		"| FILE…\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "programs", required_argument, NULL, 'n' },
		{ "against-device", no_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	static uint8_t program[PROGRAM_MAX + 8];
	uint64_t seed = 1, seconds = 0, programs = 0, done = 0, end;
	int option, status = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			seconds = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			programs = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			against_device = true;
			break;
		default:
			return usage();
		}
	}
	fuzz_setup();
	if (against_device && access("/dev/kvm", R_OK | W_OK)) {
		printf("skipped: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	for (; optind < argc && !status; optind++, done++)
		status = replay(argv[optind]);
	if (status || done)
		return status;
	end = seconds_now() + (seconds ? seconds : 10);
	for (; programs ? done < programs : seconds_now() < end; done++, seed++) {
		fuzz_seed = seed;
		fuzz_run(program, random_program(seed, program), against_device);
	}
	printf("%llu programs, %llu calls, last seed %llu: %u differences\n",
	       (unsigned long long)done, (unsigned long long)fuzz_calls,
	       (unsigned long long)seed - 1, fuzz_differences);
	return fuzz_differences != 0;
}

#endif
