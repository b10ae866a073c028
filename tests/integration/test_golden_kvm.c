/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that use the KVM API, line by line against what a real device gave: each file below
 * tests/golden/kvm_api and tests/golden/guests is two tests, one on the device (skipped where it does
 * not open) and one under `buslock exec`. tests/golden/README.md describes the files.
 */
#include "tests/integration/process.h"

#include <glob.h>

struct golden {
	char *path;
	char command[512];
	char *device, *emulated; /* expected text */
	bool on_device;
};

static void append(char *text, size_t size, const char *line)
{
	size_t used = strlen(text);

	assert_true(used + strlen(line) < size);
	strcpy(text + used, line);
}

/*
 * "$ program arguments" is the command; "= reason" says that it cannot run on the device; then lines of
 * output: "  " on both, "d " on the device, "k " under emulation as on Linux with VMX, "e " under
 * emulation alone; "# " remarks.
 */
static void golden_read(struct golden *g)
{
	FILE *file = fopen(g->path, "r");
	char line[1024];
	size_t size = 1 << 20;

	assert_non_null(file);
	g->device = calloc(1, size);
	g->emulated = calloc(1, size);
	g->on_device = true;
	assert_true(g->device && g->emulated);
	while (fgets(line, sizeof(line), file)) {
		const char *rest = line + 2;

		switch (strlen(line) < 2 ? '?' : line[0]) {
		case '$':
			snprintf(g->command, sizeof(g->command), "%.*s", (int)strcspn(rest, "\n"),
				 rest);
			break;
		case '=':
			g->on_device = false;
			break;
		case '#':
			break;
		case ' ':
			append(g->device, size, rest);
			append(g->emulated, size, rest);
			break;
		case 'd':
			append(g->device, size, rest);
			break;
		case 'k':
		case 'e':
			append(g->emulated, size, rest);
			break;
		default:
			fail_msg("%s: not a line of a golden file: %s", g->path, line);
		}
	}
	fclose(file);
	assert_true(g->command[0]);
}

/* "run_guest --mode real NAME.bin": programs and images by their place in the build tree. */
static void full_command(const char *command, char *full, size_t size)
{
	char copy[512], *rest = copy, *word;
	int used;

	snprintf(copy, sizeof(copy), "%s", command);
	used = snprintf(full, size, BUILT("tests/programs/%s"), strtok_r(rest, " ", &rest));
	while ((word = strtok_r(rest, " ", &rest))) {
		bool image = strstr(word, ".bin") != NULL;

		used += snprintf(full + used, size - (size_t)used, " %s%s",
				 image ? BUILT("tests/guests/") : "", word);
	}
	assert_true((size_t)used < size);
}

static void show_difference(const char *expected, const char *got)
{
	unsigned line = 1;

	while (*expected && *got) {
		size_t a = strcspn(expected, "\n"), b = strcspn(got, "\n");

		if (a != b || memcmp(expected, got, a))
			break;
		expected += a + (expected[a] == '\n');
		got += b + (got[b] == '\n');
		line++;
	}
	print_message("line %u\n  expected: %.*s\n  got:      %.*s\n", line,
		      (int)strcspn(expected, "\n"), expected, (int)strcspn(got, "\n"), got);
}

static void check(const struct golden *g, enum host host)
{
	const char *expected = host == EMULATED ? g->emulated : g->device;
	struct output output;
	char command[1024];

	full_command(g->command, command, sizeof(command));
	run_on(host, NULL, command, 90, &output);
	if (strcmp(output.text, expected)) {
		print_message("%s\n", command);
		show_difference(expected, output.text);
		if (getenv("BUSLOCK_SHOW_OUTPUT"))
			show_output(command, &output);
		fail_msg(
			"%s: output differs (status %d; BUSLOCK_SHOW_OUTPUT=1 prints all of it) %s",
			g->path, output.status, output.errors);
	}
	expect_status(command, &output, 0);
	output_free(&output);
}

static void on_device(void **state)
{
	const struct golden *g = *state;

	require_device();
	if (!g->on_device) {
		print_message("skipped: %s: not what this device can run, see there\n", g->path);
		skip();
	}
	check(g, ON_DEVICE);
}

static void emulated(void **state)
{
	check(*state, EMULATED);
}

static const char *test_name(const char *path, const char *how)
{
	const char *base = strrchr(path, '/') + 1;
	char *name;

	assert_true(asprintf(&name, "test_golden_%.*s_%s", (int)strcspn(base, "."), base, how) > 0);
	return name;
}

int main(void)
{
	static struct golden golden[256];
	static struct CMUnitTest tests[512];
	glob_t files;
	size_t n = 0;

	if (glob(BUSLOCK_SOURCE_DIR "/tests/golden/kvm_api/*.txt", 0, NULL, &files) ||
	    glob(BUSLOCK_SOURCE_DIR "/tests/golden/guests/*.txt", GLOB_APPEND, NULL, &files) ||
	    files.gl_pathc > 256) {
		fprintf(stderr, "no golden files below %s/tests/golden, or too many\n",
			BUSLOCK_SOURCE_DIR);
		return 1;
	}
	for (size_t i = 0; i < files.gl_pathc; i++) {
		golden[i].path = files.gl_pathv[i];
		golden_read(&golden[i]);
		tests[n++] =
			(struct CMUnitTest){ .name = test_name(golden[i].path, "on_the_device"),
					     .test_func = on_device,
					     .initial_state = &golden[i] };
		tests[n++] = (struct CMUnitTest){ .name = test_name(golden[i].path, "emulated"),
						  .test_func = emulated,
						  .initial_state = &golden[i] };
	}
	return _cmocka_run_group_tests("golden", tests, n, NULL, NULL);
}
