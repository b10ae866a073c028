// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which file would run, and would the dynamic linker preload into it? ld.so(8) ignores LD_PRELOAD in
 * silence where it does not apply; the program would then run on the real /dev/kvm and prove nothing.
 * So whatever is known to escape is refused here.
 */
#include "cli/cli.h"
#include "cli/exec.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LINKER      "ld-linux-x86-64.so.2"
#define SCRIPTS_MAX 5 /* as deep as the kernel follows "#!" (exec_binprm()) */

/* ------------------------------------------------------------------ finding it */

static bool is_file(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && !S_ISDIR(status.st_mode);
}

/* 0 if `path` can be executed, else why not. */
static int executable(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	if (!S_ISREG(status.st_mode))
		return EACCES;
	return access(path, X_OK) < 0 ? errno : 0;
}

static int refuse_unexecutable(const char *path, int error)
{
	if (error == ENOENT || error == ENOTDIR) {
		complain("%s: not found", path);
		return STATUS_NOT_FOUND;
	}
	if (error == EACCES)
		complain("%s: not executable; is this the program? (chmod +x makes it one)", path);
	else
		complain("%s: %s", path, strerror(error));
	return STATUS_REFUSED;
}

/* One directory of PATH; empty means the current one. */
static bool candidate(const char *directory, size_t length, const char *name, char path[PATH_MAX])
{
	int n = length ? snprintf(path, PATH_MAX, "%.*s/%s", (int)length, directory, name)
		       : snprintf(path, PATH_MAX, "./%s", name);

	return n < PATH_MAX;
}

static int search_path(const char *name, char found[PATH_MAX])
{
	const char *list = getenv("PATH");
	char fallback[256], unusable[PATH_MAX] = "";
	int why = ENOENT;

	if (!list) {
		confstr(_CS_PATH, fallback, sizeof(fallback));
		list = fallback;
	}
	for (const char *directory = list;; directory += strcspn(directory, ":") + 1) {
		size_t length = strcspn(directory, ":");

		if (candidate(directory, length, name, found) && is_file(found)) {
			int error = executable(found);

			if (!error)
				return 0;
			why = error;
			strcpy(unusable, found);
		}
		if (!directory[length])
			break;
	}
	if (*unusable)
		return refuse_unexecutable(unusable, why);
	complain("%s: not found in PATH", name);
	return STATUS_NOT_FOUND;
}

static int find(const char *name, char found[PATH_MAX])
{
	int error;

	if (!*name) {
		complain("the program's name is empty");
		return STATUS_NOT_FOUND;
	}
	if (!strchr(name, '/'))
		return search_path(name, found);
	if (strlen(name) >= PATH_MAX) {
		complain("%s: %s", name, strerror(ENAMETOOLONG));
		return STATUS_REFUSED;
	}
	strcpy(found, name);
	error = executable(found);
	return error ? refuse_unexecutable(found, error) : 0;
}

/* ------------------------------------------------------------------ what escapes the preloading */

/*
 * A program that gains privileges runs in "secure mode" (AT_SECURE, ld.so(8)), in which the dynamic
 * linker takes no libraries from the user. No gain, no secure mode: set-uid to who one is, and
 * capabilities for root (cap_bprm_creds_from_file()).
 */
static bool gains_privileges(const char *path)
{
	struct stat status;
	uid_t uid = getuid();

	if (stat(path, &status) < 0)
		return false;
	if ((status.st_mode & S_ISUID) && status.st_uid != uid) {
		complain("%s: set-user-ID: it would run without the emulation, on the real "
			 "/dev/kvm. "
			 "Run a copy without that bit",
			 path);
		return true;
	}
	/* Without group execution the bit means something else (mandatory locks). */
	if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	    status.st_gid != getgid()) {
		complain("%s: set-group-ID: it would run without the emulation, on the real "
			 "/dev/kvm. Run a copy without that bit",
			 path);
		return true;
	}
	if (uid != 0 && getxattr(path, "security.capability", NULL, 0) > 0) {
		complain("%s: has file capabilities: it would run without the emulation, on the "
			 "real "
			 "/dev/kvm. Run a copy (cp does not keep them), or as root",
			 path);
		return true;
	}
	return false;
}

static const char *machine_name(uint16_t machine)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = { { EM_386, "32-bit x86" }, { EM_ARM, "32-bit Arm" }, { EM_AARCH64, "arm64" },
		      { EM_RISCV, "RISC-V" },   { EM_PPC64, "POWER" },    { EM_S390, "s390" } };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].machine == machine)
			return names[i].name;
	return "another machine";
}

static int check_elf(const char *path, const struct elf_program *image)
{
	const char *linker = strrchr(image->interpreter, '/');

	linker = linker ? linker + 1 : image->interpreter;
	if (image->bits != 64 && (image->machine == EM_386 || image->machine == EM_X86_64))
		complain("%s: a 32-bit program; the emulation is a 64-bit library and cannot be "
			 "loaded into it. Build it for x86-64",
			 path);
	else if (image->machine != EM_X86_64)
		complain("%s: a program for %s (ELF machine %u); the emulation is for x86-64 "
			 "programs",
			 path, machine_name(image->machine), image->machine);
	else if (!*linker)
		complain("%s: statically linked; nothing can be preloaded into it, it would run on "
			 "the real /dev/kvm. Link it dynamically, or with -lbuslock-kvm",
			 path);
	else if (strcmp(linker, LINKER) != 0)
		complain("%s: uses another C library (dynamic linker %s); the emulation needs the "
			 "GNU "
			 "C library (%s). Build it against that",
			 path, image->interpreter, LINKER);
	else
		return 0;
	return STATUS_REFUSED;
}

/* The interpreter of "#!" at the start of `path`: 1 found, 0 not a script, or a status. */
static int script_interpreter(const char *path, char interpreter[PATH_MAX])
{
	char line[512];
	size_t n;
	FILE *file = fopen(path, "re");

	if (!file) {
		complain("%s: cannot be read, so it cannot be told whether the emulation can be "
			 "preloaded into it: %s",
			 path, strerror(errno));
		return STATUS_REFUSED;
	}
	n = fread(line, 1, sizeof(line) - 1, file);
	fclose(file);
	line[n] = 0;
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return 0;
	{
		char *name = line + 2 + strspn(line + 2, " \t");

		name[strcspn(name, " \t\n")] = 0;
		if (!*name) {
			complain("%s: its first line names no interpreter", path);
			return STATUS_REFUSED;
		}
		snprintf(interpreter, PATH_MAX, "%s", name);
	}
	return 1;
}

/* Follows scripts down to the file that the kernel maps. */
static int inspect(const char *path, struct exec_program *program)
{
	char current[PATH_MAX], next[PATH_MAX];

	snprintf(current, sizeof(current), "%s", path);
	for (int depth = 0; depth < SCRIPTS_MAX; depth++) {
		int result = elf_inspect(current, &program->image), error;

		if (result == -ENOEXEC) {
			complain("%s: a damaged ELF file", current);
			return STATUS_REFUSED;
		}
		if (result < 0) {
			complain("%s: cannot be read, so it cannot be told whether the emulation "
				 "can "
				 "be preloaded into it: %s",
				 current, strerror(-result));
			return STATUS_REFUSED;
		}
		if (program->image.elf)
			return gains_privileges(current) ? STATUS_REFUSED
							 : check_elf(current, &program->image);
		result = script_interpreter(current, next);
		if (result > 1)
			return result;
		if (result == 0) {
			if (depth > 0) {
				complain("%s: neither a program nor a script", current);
				return STATUS_REFUSED;
			}
			/* execvp() falls back to the shell. */
			program->shell = true;
			strcpy(next, "/bin/sh");
		}
		error = executable(next);
		if (error) {
			complain("%s: its interpreter %s: %s", current, next, strerror(error));
			return error == ENOENT ? STATUS_NOT_FOUND : STATUS_REFUSED;
		}
		strcpy(current, next);
	}
	complain("%s: scripts whose interpreters are scripts, more than %d deep", path,
		 SCRIPTS_MAX);
	return STATUS_REFUSED;
}

int exec_find_program(const char *name, struct exec_program *program)
{
	int status;

	memset(program, 0, sizeof(*program));
	status = find(name, program->path);
	return status ? status : inspect(program->path, program);
}
