// SPDX-License-Identifier: GPL-2.0-only
/* A bounded differential run against the real device, where there is one. */
#include "verify/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICE   "/dev/kvm"
#define PROGRAMS 700

static void told(void *opaque, const struct program *program, const struct finding *finding,
		 uint64_t n)
{
	(void)opaque;
	print_message("%s, seed 11, program %llu: %s\n", program->mode->name, (unsigned long long)n,
		      finding->difference);
}

static void runs_alike(void **state)
{
	const struct mode *mode = *state;
	struct verify verify = {
		.api = &kvm_device, .path = DEVICE, .seed = 11, .count = PROGRAMS, .different = told
	};
	struct verify_counts counts = { 0 };
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("skipped: %s: %s\n", DEVICE, strerror(errno));
		skip();
	}
	close(fd);
	if (verify_run(&verify, mode, &counts))
		fail_msg("%s", verify.error);
	assert_int_equal(counts.programs, PROGRAMS);
	assert_int_equal(counts.verdict[VERDICT_DIFFERENT], 0);
	/* most of it is really compared, and every lockable form is */
	assert_true(counts.verdict[VERDICT_SAME] > PROGRAMS * 8 / 10);
	for (size_t i = 0; i < counts.lockables; i++)
		assert_true(counts.compared[i] > 0);
}

int main(void)
{
	static struct CMUnitTest tests[16];
	static char names[16][64];

	for (unsigned i = 0; i < modes_count; i++) {
		snprintf(names[i], sizeof(names[i]), "test_verify_%s_runs_as_on_the_device",
			 modes[i].name);
		tests[i] = (struct CMUnitTest){ .name = names[i],
						.test_func = runs_alike,
						.initial_state = (void *)&modes[i] };
	}
	return _cmocka_run_group_tests("verify_kvm", tests, modes_count, NULL, NULL);
}
