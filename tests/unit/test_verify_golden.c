// SPDX-License-Identifier: GPL-2.0-only
/* tests/golden/verify: what a real device made of programs, held against the emulator. */
#include "verify/verify.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void replays_as_recorded(void **state)
{
	const char *path = *state;
	char why[256];

	if (verify_golden(&kvm_emulator, NULL, path, why, sizeof(why)))
		fail_msg("%s: %s", path, why);
}

int main(void)
{
	static struct CMUnitTest tests[1024];
	glob_t files;

	if (glob(BUSLOCK_SOURCE_DIR "/tests/golden/verify/*.txt", 0, NULL, &files) ||
	    files.gl_pathc > sizeof(tests) / sizeof(tests[0])) {
		fprintf(stderr, "no golden cases in %s/tests/golden/verify, or too many\n",
			BUSLOCK_SOURCE_DIR);
		return 1;
	}
	for (size_t i = 0; i < files.gl_pathc; i++) {
		const char *base = strrchr(files.gl_pathv[i], '/') + 1;
		char *name;

		if (asprintf(&name, "test_verify_golden_%.*s_replays", (int)strcspn(base, "."),
			     base) < 0)
			return 1;
		tests[i] = (struct CMUnitTest){ .name = name,
						.test_func = replays_as_recorded,
						.initial_state = files.gl_pathv[i] };
	}
	int failed = _cmocka_run_group_tests("verify_golden", tests, files.gl_pathc, NULL, NULL);

	globfree(&files);
	return failed;
}
