/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory-heavy compiled C as a guest: sorting, a hash table, a sieve, lists, copies. Freestanding, a
 * flat 64-bit image at 1 MiB (workload.ld); RCX says how many rounds, RAX is the checksum at the end.
 * Built a second time with LOCKS: about one instruction in a hundred is then a locked one, aligned, as
 * in a program that counts what it does.
 */
#include <stddef.h>
#include <stdint.h>

#define WORDS 65536

static uint32_t numbers[WORDS], table[2 * WORDS];
static uint8_t composite[1 << 20];
static struct node {
	struct node *next;
	uint64_t value;
} nodes[WORDS];

#ifdef LOCKS
static uint32_t events;
#define COUNT(often)                                                               \
	do {                                                                       \
		if (often)                                                         \
			__asm__ volatile("lock addl $1, %0" : "+m"(events)::"cc"); \
	} while (0)
#else
#define COUNT(often) ((void)0)
#endif

static uint32_t state = 1;
static uint32_t random_word(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void sift(uint32_t *heap, size_t at, size_t size)
{
	uint32_t value = heap[at];

	COUNT(1);
	while (2 * at + 1 < size) {
		size_t child = 2 * at + 1;

		if (child + 1 < size && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= value)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = value;
}

static uint32_t sorted(void)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < WORDS; i++)
		numbers[i] = random_word();
	for (size_t i = WORDS / 2; i-- > 0;)
		sift(numbers, i, WORDS);
	for (size_t end = WORDS; --end > 0;) {
		uint32_t largest = numbers[0];

		numbers[0] = numbers[end];
		numbers[end] = largest;
		sift(numbers, 0, end);
	}
	for (size_t i = 0; i < WORDS; i += 97)
		sum = sum * 31 + numbers[i];
	return sum;
}

static uint32_t hashed(void)
{
	uint32_t found = 0;

	for (size_t i = 0; i < 2 * WORDS; i++)
		table[i] = 0;
	for (size_t i = 0; i < WORDS; i++) {
		uint32_t key = numbers[i] | 1;
		size_t at = (key * 2654435761u) >> 15;

		COUNT(i % 8 == 0);
		while (table[at] && table[at] != key)
			at = (at + 1) % (2 * WORDS);
		found += table[at] == key;
		table[at] = key;
	}
	return found;
}

static uint32_t sieve(void)
{
	uint32_t primes = 0;

	for (size_t i = 0; i < sizeof(composite); i++)
		composite[i] = 0;
	for (size_t i = 2; i < sizeof(composite); i++) {
		if (composite[i])
			continue;
		primes++;
		COUNT(1);
		for (size_t k = i * 2; k < sizeof(composite); k += i)
			composite[k] = 1;
	}
	return primes;
}

static uint64_t list(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < WORDS; i++) {
		nodes[i].next = &nodes[(i * 40503u + 1) % WORDS];
		nodes[i].value = i;
	}
	const struct node *n = nodes;
	for (size_t i = 0; i < 4 * WORDS; i++, n = n->next) {
		COUNT(i % 16 == 0);
		sum += n->value;
	}
	return sum;
}

/* Called by the first bytes of the image (start.asm would do; four instructions fit here). */
uint64_t workload(uint64_t rounds)
{
	uint64_t sum = 0;

	while (rounds--)
		sum = sum * 33 + sorted() + hashed() + sieve() + list();
	return sum;
}

__asm__(".section .start, \"ax\"\n"
	".globl _start\n"
	"_start:\n"
	"	mov %rcx, %rdi\n"
	"	call workload\n"
	"	hlt\n"
	"	jmp .\n"
	".text\n");
