// SPDX-License-Identifier: GPL-2.0-only
/* Reading a script of exits. */
#include "vmm_shim/script.h"

#include "vmm_shim/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const key_names[KEYS] = {
	"word",     "qualification", "idt",   "linear", "gpa", "port", "size",
	"count",    "index",         "value", "vector", "rip", "dr6",  "dr7",
	"suberror", "write",         "more",  "rflags", "rax", "cr8",  "efer",
	"cpl",      "shadow",        "cs_l",  "cause"
};

static const struct {
	const char *name;
	enum emu_exit_type type;
	uint32_t word;
} exit_names[] = {
	{ "none", EMU_EXIT_NONE, 0 },
	{ "bus_lock", EMU_EXIT_BUS_LOCK, VMX_BUS_LOCK | VMX_EXIT_BUS_LOCK_ASSERTED },
	{ "io", EMU_EXIT_IO, VMX_IO },
	{ "mmio", EMU_EXIT_MMIO, VMX_EPT_MISCONFIG },
	{ "hlt", EMU_EXIT_HLT, VMX_HLT },
	{ "rdmsr", EMU_EXIT_RDMSR, VMX_RDMSR },
	{ "wrmsr", EMU_EXIT_WRMSR, VMX_WRMSR },
	{ "shutdown", EMU_EXIT_SHUTDOWN, VMX_TRIPLE_FAULT },
	{ "window", EMU_EXIT_INTERRUPT_WINDOW, VMX_INTERRUPT_WINDOW },
	{ "debug", EMU_EXIT_DEBUG, VMX_EXCEPTION_NMI },
	{ "kicked", EMU_EXIT_KICKED, VMX_EXTERNAL_INTERRUPT },
	{ "exception", EMU_EXIT_EXCEPTION, VMX_EXCEPTION_NMI },
	{ "set_tpr", EMU_EXIT_SET_TPR, VMX_CR_ACCESS },
	{ "vmcall", EMU_EXIT_VMCALL, VMX_VMCALL },
	{ "error", EMU_EXIT_INTERNAL_ERROR, VMX_EPT_MISCONFIG },
	{ "entry_failure", EMU_EXIT_ENTRY_FAILURE, VMX_INVALID_STATE | VMX_EXIT_ENTRY_FAILURE },
};

static const struct {
	const char *name;
	int number;
} error_names[] = {
	{ "EFAULT", EFAULT }, { "EIO", EIO },     { "ENOMEM", ENOMEM },
	{ "EINVAL", EINVAL }, { "EINTR", EINTR },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hex(const char *text, uint8_t *bytes, size_t max, size_t *n)
{
	for (*n = 0; text[0]; text += 2) {
		int high = hex_digit(text[0]), low = text[1] ? hex_digit(text[1]) : -1;

		if (high < 0 || low < 0 || *n == max)
			return -EINVAL;
		bytes[(*n)++] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int parse_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	return errno || end == text || *end ? -EINVAL : 0;
}

static int parse_key(struct script_line *line, char *word)
{
	char *value = strchr(word, '=');
	size_t n;
	int r;

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (!strcmp(word, "insn")) {
		r = parse_hex(value, line->insn, sizeof(line->insn), &n);
		line->insn_length = (uint8_t)n;
		return r;
	}
	if (!strcmp(word, "data")) {
		line->data = malloc(SCRIPT_DATA_MAX);
		return line->data ? parse_hex(value, line->data, SCRIPT_DATA_MAX, &line->data_size)
				  : -ENOMEM;
	}
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(word, key_names[i]))
			continue;
		line->given |= 1u << i;
		return parse_number(value, &line->value[i]);
	}
	return -EINVAL;
}

static int parse_exit_type(struct script_line *line, const char *word)
{
	for (size_t i = 0; word && i < sizeof(exit_names) / sizeof(exit_names[0]); i++) {
		if (strcmp(word, exit_names[i].name))
			continue;
		line->type = exit_names[i].type;
		line->word = exit_names[i].word;
		return 0;
	}
	return -EINVAL;
}

static int parse_error(struct script_line *line, const char *word)
{
	for (size_t i = 0; word && i < sizeof(error_names) / sizeof(error_names[0]); i++) {
		if (!strcmp(word, error_names[i].name)) {
			line->number[0] = (uint64_t)error_names[i].number;
			return 0;
		}
	}
	return word ? parse_number(word, &line->number[0]) : -EINVAL;
}

static int parse_dirty(struct script_line *line, char **rest)
{
	for (unsigned i = 0; i < 2; i++) {
		const char *word = strtok_r(NULL, " \t\n", rest);

		if (!word || parse_number(word, &line->number[i]))
			return -EINVAL;
	}
	return 0;
}

static int parse_statement(struct script_line *line, const char *word, char **rest)
{
	static const char *const names[] = { "exit",  "fail", "set",   "lock",
					     "dirty", "wait", "repeat" };
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]) && strcmp(word, names[i]); i++)
		;
	line->statement = (enum statement)i;
	switch (line->statement) {
	case S_EXIT:
		return parse_exit_type(line, strtok_r(NULL, " \t\n", rest));
	case S_FAIL:
		return parse_error(line, strtok_r(NULL, " \t\n", rest));
	case S_DIRTY:
		return parse_dirty(line, rest);
	case S_SET:
	case S_LOCK:
	case S_WAIT:
	case S_REPEAT:
		return 0;
	}
	return -EINVAL;
}

/* 1: there is a statement on the line. */
static int parse_line(struct script_line *line, char *text)
{
	char *rest, *word;
	int r;

	memset(line, 0, sizeof(*line));
	text[strcspn(text, "#\n")] = '\0';
	word = strtok_r(text, " \t\n", &rest);
	if (!word)
		return 0;
	r = parse_statement(line, word, &rest);
	while (!r && (word = strtok_r(NULL, " \t\n", &rest)))
		r = parse_key(line, word);
	if (line->given & 1u << K_WORD)
		line->word = (uint32_t)line->value[K_WORD];
	else if (!config_intel())
		line->word = emu_svm_exit_code(line->type, (unsigned)line->value[K_VECTOR]);
	return r ? r : 1;
}

static int parse_file(struct script *script, FILE *file, const char *name)
{
	char *text = NULL;
	size_t room = 0, at = 0;
	int r = 0;

	while (r >= 0 && getline(&text, &room, file) >= 0) {
		struct script_line *more =
			realloc(script->line, (script->lines + 1) * sizeof(*more));

		at++;
		if (!more) {
			r = -ENOMEM;
			break;
		}
		script->line = more;
		r = parse_line(&script->line[script->lines], text);
		if (r > 0)
			script->lines++;
		else if (r < 0)
			free(script->line[script->lines].data);
	}
	free(text);
	if (r == -EINVAL)
		shim_log(1, "script %s, line %zu: not understood", name, at);
	return r < 0 ? r : 0;
}

int script_read(struct script *script, const char *path)
{
	FILE *file = fopen(path, "re");
	int r;

	if (!file) {
		r = -errno;
		shim_log(1, "script %s: cannot be opened", path);
		return r;
	}
	r = parse_file(script, file, path);
	fclose(file);
	return r;
}

void script_free(struct script *script)
{
	for (size_t i = 0; i < script->lines; i++)
		free(script->line[i].data);
	free(script->line);
	*script = (struct script){ 0 };
}
