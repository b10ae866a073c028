// SPDX-License-Identifier: GPL-2.0-only
/* Guest symbols: three kinds of files, each into one sorted table. */
#include "traces/symbols.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How far behind the last symbol of a text map an address may lie: nothing there says where it ends. */
#define LAST_EXTENT 0x10000

/* How many symbols before the nearest one are asked whether they reach over an address: a local label
 * at the end of a function must not hide the function. */
#define LOOK_BACK 64

struct symbol {
	uint64_t address;
	uint64_t size;  /* 0: up to the next one */
	uint64_t limit; /* with size 0: end of the section, as far as known */
	size_t name;    /* offset in text */
	uint8_t rank;   /* of several at one address the lowest is shown */
};

/* Code of an ELF file, to be compared with what the guest executed. */
struct code {
	uint64_t address;
	size_t size;
	uint8_t *bytes;
};

/* One file; a list of them. */
struct symbols {
	struct symbol *symbol;
	size_t count, room;
	char *text;
	size_t text_size, text_room;
	char *path;
	uint64_t bias; /* added to the file's addresses */
	bool placed;   /* … because somebody said so */
	bool movable;  /* position-independent: may be anywhere */
	struct code *code;
	size_t codes, codes_room;
	struct symbols *next;
};

__attribute__((format(printf, 4, 5))) static int fail(int error, char *why, size_t size,
						      const char *format, ...)
{
	va_list arguments;

	if (why) {
		va_start(arguments, format);
		vsnprintf(why, size, format, arguments);
		va_end(arguments);
	}
	return error;
}

static bool grow(void **array, size_t *room, size_t needed, size_t element)
{
	size_t more = *room ? *room : 64;
	void *p;

	while (more < needed)
		more *= 2;
	if (more == *room)
		return true;
	p = realloc(*array, more * element);
	if (!p)
		return false;
	*array = p;
	*room = more;
	return true;
}

static int add_symbol(struct symbols *s, const struct symbol *symbol, const char *name,
		      size_t length)
{
	if (!grow((void **)&s->symbol, &s->room, s->count + 1, sizeof(*s->symbol)) ||
	    !grow((void **)&s->text, &s->text_room, s->text_size + length + 1, 1))
		return -ENOMEM;
	s->symbol[s->count] = *symbol;
	s->symbol[s->count++].name = s->text_size;
	memcpy(s->text + s->text_size, name, length);
	s->text[s->text_size + length] = '\0';
	s->text_size += length + 1;
	return 0;
}

/* ------------------------------------------------------------------ ELF */

static uint8_t elf_rank(const GElf_Sym *sym)
{
	unsigned type = GELF_ST_TYPE(sym->st_info), bind = GELF_ST_BIND(sym->st_info);

	return (uint8_t)((type == STT_FUNC     ? 0
			  : type == STT_NOTYPE ? 2
					       : 4) +
			 (bind == STB_LOCAL ? 1 : 0));
}

static int add_elf_section(struct symbols *s, Elf *elf, Elf_Scn *table, const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(table, NULL);
	size_t n = header->sh_entsize ? header->sh_size / header->sh_entsize : 0;
	GElf_Sym sym;

	for (size_t i = 0; data && i < n && gelf_getsym(data, (int)i, &sym); i++) {
		const char *name = elf_strptr(elf, header->sh_link, sym.st_name);
		unsigned type = GELF_ST_TYPE(sym.st_info);
		struct symbol symbol = { .address = sym.st_value, .size = sym.st_size };
		GElf_Shdr home;
		int error;

		/* Absolute ones are constants, not places. */
		if (!name || !*name || type == STT_FILE || type == STT_SECTION || type == STT_TLS ||
		    sym.st_shndx == SHN_UNDEF || sym.st_shndx >= SHN_LORESERVE)
			continue;
		if (gelf_getshdr(elf_getscn(elf, sym.st_shndx), &home))
			symbol.limit = home.sh_addr + home.sh_size;
		symbol.rank = elf_rank(&sym);
		error = add_symbol(s, &symbol, name, strlen(name));
		if (error)
			return error;
	}
	return 0;
}

static int add_code(struct symbols *s, Elf_Scn *section, const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(section, NULL);
	struct code *code;

	if (!data || !data->d_buf || !data->d_size)
		return 0;
	if (!grow((void **)&s->code, &s->codes_room, s->codes + 1, sizeof(*s->code)))
		return -ENOMEM;
	code = &s->code[s->codes];
	*code = (struct code){ .address = header->sh_addr,
			       .size = data->d_size,
			       .bytes = malloc(data->d_size) };
	if (!code->bytes)
		return -ENOMEM;
	memcpy(code->bytes, data->d_buf, data->d_size);
	s->codes++;
	return 0;
}

static int add_section(struct symbols *s, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
	if (header->sh_type == SHT_SYMTAB || header->sh_type == SHT_DYNSYM)
		return add_elf_section(s, elf, section, header);
	if (header->sh_type == SHT_PROGBITS && header->sh_flags & SHF_EXECINSTR)
		return add_code(s, section, header);
	return 0;
}

static int load_elf(struct symbols *s, int fd, const char *path, char *why, size_t size)
{
	Elf *elf;
	Elf_Scn *section = NULL;
	GElf_Ehdr file;
	GElf_Shdr header;
	int error = 0;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return fail(-EINVAL, why, size, "libelf: %s", elf_errmsg(-1));
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf || elf_kind(elf) != ELF_K_ELF) {
		elf_end(elf);
		return fail(-EINVAL, why, size, "%s: damaged ELF file", path);
	}
	s->movable = gelf_getehdr(elf, &file) && file.e_type == ET_DYN;
	while (!error && (section = elf_nextscn(elf, section)))
		if (gelf_getshdr(section, &header))
			error = add_section(s, elf, section, &header);
	elf_end(elf);
	return error;
}

/* ------------------------------------------------------------------ text */

/* nm leaves the address of undefined ones away: "                 U memcpy". */
static bool is_undefined(const char *line)
{
	line += strspn(line, " ");
	return strchr("Uwv", *line) && line[1] == ' ';
}

/* "ffffffff81000000 T _text	[module]"; what is no such line is counted in `strange`. */
static int add_map_line(struct symbols *s, const char *line, size_t *strange)
{
	struct symbol symbol = { 0 };
	size_t digits = strspn(line, "0123456789abcdefABCDEF");
	char type, blank[2];
	int used = 0;

	if (!digits || line[digits] != ' ' ||
	    sscanf(line + digits, " %c%1[ \t]%n", &type, blank, &used) != 2) {
		*strange += !is_undefined(line);
		return 0;
	}
	symbol.address = strtoull(line, NULL, 16);
	line += digits + (size_t)used;
	/* 'a': absolute, a constant; T and t are code. */
	if (strchr("aAUuNn", type) || !*line)
		return 0;
	symbol.rank = (uint8_t)(tolower((unsigned char)type) == 't' ? 0 : 4);
	symbol.rank = (uint8_t)(symbol.rank + (islower((unsigned char)type) ? 1 : 0));
	return add_symbol(s, &symbol, line, strcspn(line, " \t\r\n"));
}

/*
 * nasm's [map symbols]: per section a table "Real Virtual Name", the virtual address being the one
 * that code has when it runs; constants have "Value Name".
 */
static int add_nasm_line(struct symbols *s, const char *line)
{
	struct symbol symbol = { 0 };
	uint64_t real;
	int used = 0;

	if (sscanf(line, " %" SCNx64 " %" SCNx64 " %n", &real, &symbol.address, &used) != 2 ||
	    !used)
		return 0;
	line += used;
	if (!*line || *line == '\n')
		return 0;
	/* A local label comes as "function.label". */
	symbol.rank = strchr(line, '.') ? 1 : 0;
	return add_symbol(s, &symbol, line, strcspn(line, " \t\r\n"));
}

static int load_text(struct symbols *s, FILE *file)
{
	char *line = NULL;
	size_t room = 0, lines = 0, strange = 0;
	ssize_t length;
	bool first = true, nasm = false, symbols = false, places = false;
	int error = 0;

	while (!error && (length = getline(&line, &room, file)) > 0) {
		if (line[0] == '\n')
			continue;
		if (strlen(line) != (size_t)length)
			error = -EINVAL; /* a zero byte: no text */
		if (first && strstr(line, "NASM Map file"))
			nasm = true;
		first = false;
		lines++;
		if (error)
			break;
		if (!nasm)
			error = add_map_line(s, line, &strange);
		else if (!strncmp(line, "----", 4))
			/* of a section: "---- Section .text ---"; constants: "---- No Section ---" */
			places = !strncmp(line, "---- Section", 12);
		else if (!strncmp(line, "-- ", 3))
			symbols = !strncmp(line, "-- Symbols", 10);
		else if (symbols && places)
			error = add_nasm_line(s, line);
	}
	if (!error && (ferror(file) || (s->count && strange > lines / 2)))
		error = -EINVAL; /* of another kind, with a line here and there that looks like one */
	free(line);
	return error;
}

/* ------------------------------------------------------------------ the table */

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

/* Of the names of one address the best; an extent, if any of them has one. */
static void sort(struct symbols *s)
{
	size_t kept = 0;

	qsort(s->symbol, s->count, sizeof(*s->symbol), by_address);
	for (size_t i = 1; i < s->count; i++) {
		if (s->symbol[i].address != s->symbol[kept].address)
			s->symbol[++kept] = s->symbol[i];
		else if (s->symbol[kept].size < s->symbol[i].size)
			s->symbol[kept].size = s->symbol[i].size;
	}
	s->count = kept + 1;
}

static int check(struct symbols *s, const char *path, char *why, size_t size)
{
	if (!s->count)
		return fail(-ENODATA, why, size,
			    "%s: no symbols in it (an ELF image with a symbol table, a System.map, "
			    "kallsyms or a nasm map is wanted)",
			    path);
	sort(s);
	/* What /proc/kallsyms shows to those who may not see it. */
	if (s->count == 1 && !s->symbol[0].address && s->text_size > 1000)
		return fail(-ENODATA, why, size,
			    "%s: all addresses are 0; read kallsyms as root (kernel.kptr_restrict)",
			    path);
	return 0;
}

static int load(struct symbols *s, int fd, const char *path, char *why, size_t size)
{
	char magic[SELFMAG] = { 0 };
	ssize_t n = pread(fd, magic, sizeof(magic), 0);
	FILE *file;
	int error;

	if (n < 0)
		return fail(-errno, why, size, "%s: %s", path, strerror(errno));
	if (n == SELFMAG && !memcmp(magic, ELFMAG, SELFMAG)) {
		error = load_elf(s, fd, path, why, size);
	} else {
		file = fdopen(dup(fd), "r");
		if (!file)
			return fail(-errno, why, size, "%s: %s", path, strerror(errno));
		error = load_text(s, file);
		fclose(file);
	}
	if (error == -ENOMEM)
		return fail(error, why, size, "%s: out of memory", path);
	if (error == -EINVAL)
		return fail(error, why, size,
			    "%s: neither ELF nor a text with symbols (lines of address, type and "
			    "name, as in System.map)",
			    path);
	return error ? error : check(s, path, why, size);
}

int symbols_load(struct symbols **symbols, const char *path, char *why, size_t size)
{
	struct symbols *s;
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;

	*symbols = NULL;
	if (fd < 0)
		return fail(-errno, why, size, "%s: %s", path, strerror(errno));
	s = calloc(1, sizeof(*s));
	if (s)
		s->path = strdup(path);
	error = s && s->path ? load(s, fd, path, why, size)
			     : fail(-ENOMEM, why, size, "%s: out of memory", path);
	close(fd);
	if (error) {
		symbols_free(s);
		return error;
	}
	*symbols = s;
	return 0;
}

/* "FILE@OFFSET"; a file that has such a name is one. The path is the caller's to free. */
static int split(const char *file, char **path, uint64_t *offset, bool *placed, char *why,
		 size_t size)
{
	const char *at = strrchr(file, '@');
	char *end = NULL;

	*placed = at && access(file, F_OK);
	*offset = 0;
	*path = *placed ? strndup(file, (size_t)(at - file)) : strdup(file);
	if (!*path)
		return fail(-ENOMEM, why, size, "%s: out of memory", file);
	if (!*placed)
		return 0;
	errno = 0;
	*offset = strtoull(at + 1, &end, 16);
	if (end != at + 1 && !*end && !errno && isxdigit((unsigned char)at[1]))
		return 0;
	free(*path);
	*path = NULL;
	fail(-EINVAL, why, size,
	     "%s: '%s' is no offset (FILE@OFFSET, in hexadecimal: what is to be added to the "
	     "file's addresses)",
	     file, at + 1);
	return -EINVAL;
}

/* A pipe can be read once only: what is in it is seen after the run. */
static int check_file(const char *path, char *why, size_t size)
{
	struct symbols *s;
	struct stat st;
	int error;

	if (stat(path, &st) || access(path, R_OK))
		return fail(-errno, why, size, "%s: %s", path, strerror(errno));
	if (S_ISFIFO(st.st_mode))
		return 0;
	if (!S_ISREG(st.st_mode))
		return fail(-EINVAL, why, size, "%s: not a regular file", path);
	error = symbols_load(&s, path, why, size);
	symbols_free(s);
	return error;
}

int symbols_check(const char *file, char *why, size_t size)
{
	uint64_t offset;
	bool placed;
	char *path;
	int error = split(file, &path, &offset, &placed, why, size);

	if (error)
		return error;
	error = check_file(path, why, size);
	free(path);
	return error;
}

int symbols_add(struct symbols **symbols, const char *file, char *why, size_t size)
{
	struct symbols *s;
	uint64_t offset;
	bool placed;
	char *path;
	int error = split(file, &path, &offset, &placed, why, size);

	if (error)
		return error;
	error = symbols_load(&s, path, why, size);
	free(path);
	if (error)
		return error;
	s->bias = offset;
	s->placed = placed;
	while (*symbols)
		symbols = &(*symbols)->next;
	*symbols = s;
	return 0;
}

void symbols_free(struct symbols *symbols)
{
	while (symbols) {
		struct symbols *next = symbols->next;

		for (size_t i = 0; i < symbols->codes; i++)
			free(symbols->code[i].bytes);
		free(symbols->code);
		free(symbols->path);
		free(symbols->symbol);
		free(symbols->text);
		free(symbols);
		symbols = next;
	}
}

size_t symbols_count(const struct symbols *symbols)
{
	size_t count = 0;

	for (; symbols; symbols = symbols->next)
		count += symbols->count;
	return count;
}

bool symbols_several(const struct symbols *symbols)
{
	return symbols && symbols->next;
}

/* ------------------------------------------------------------------ search */

static bool reaches(const struct symbols *s, size_t i, uint64_t address)
{
	const struct symbol *symbol = &s->symbol[i];

	if (symbol->size)
		return address - symbol->address < symbol->size;
	/* Without a size it ends where the next one begins. */
	if (i + 1 < s->count && address >= s->symbol[i + 1].address)
		return false;
	if (symbol->limit)
		return address < symbol->limit;
	return i + 1 < s->count || address - symbol->address < LAST_EXTENT;
}

/* In one table, the file's own addresses. */
static const char *find(const struct symbols *s, uint64_t address, uint64_t *offset)
{
	size_t low = 0, high = s->count;

	/* the first symbol above address */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->symbol[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t back = 0; back < LOOK_BACK && back < low; back++) {
		size_t i = low - 1 - back;

		if (!reaches(s, i, address))
			continue;
		*offset = address - s->symbol[i].address;
		return s->text + s->symbol[i].name;
	}
	return NULL;
}

static bool name_it(const struct symbols *s, uint64_t address, uint64_t bias,
		    struct symbol_place *place)
{
	const char *name = find(s, address - bias, &place->offset);

	if (!name)
		return false;
	place->name = name;
	place->file = s->path;
	place->table = s;
	place->bias = bias;
	return true;
}

static bool has_bytes(const struct symbols *s, uint64_t address, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < s->codes; i++) {
		const struct code *code = &s->code[i];
		uint64_t at = address - code->address;

		if (at < code->size && count <= code->size - at)
			return !memcmp(code->bytes + at, bytes, count);
	}
	return false;
}

/*
 * Where a program that may be anywhere has been put: pages keep their offsets, so the bytes can only be
 * at every 4096th place of its code. Found twice, they say nothing.
 */
static bool bias_by_bytes(const struct symbols *s, uint64_t address, const uint8_t *bytes,
			  size_t count, uint64_t *bias)
{
	unsigned found = 0;

	for (size_t i = 0; i < s->codes && found < 2; i++) {
		const struct code *code = &s->code[i];
		uint64_t at = (address - code->address) & 0xfff;

		for (; at < code->size && count <= code->size - at && found < 2; at += 0x1000) {
			if (memcmp(code->bytes + at, bytes, count))
				continue;
			*bias = address - (code->address + at);
			found++;
		}
	}
	return found == 1;
}

static bool locate_by_bytes(const struct symbols *s, uint64_t address, const uint8_t *bytes,
			    size_t count, struct symbol_place *place)
{
	uint64_t bias;

	if (!s->movable || s->placed)
		return has_bytes(s, address - s->bias, bytes, count) &&
		       name_it(s, address, s->bias, place);
	return bias_by_bytes(s, address, bytes, count, &bias) && name_it(s, address, bias, place);
}

bool symbols_locate(const struct symbols *symbols, uint64_t address, const uint8_t *bytes,
		    size_t count, struct symbol_place *place)
{
	for (const struct symbols *s = symbols; s && count; s = s->next)
		if (locate_by_bytes(s, address, bytes, count, place))
			return true;
	return symbols_locate_near(symbols, address, NULL, place);
}

bool symbols_locate_near(const struct symbols *symbols, uint64_t address,
			 const struct symbol_place *near, struct symbol_place *place)
{
	if (near && name_it(near->table, address, near->bias, place))
		return true;
	for (const struct symbols *s = symbols; s; s = s->next)
		if ((!s->movable || s->placed) && name_it(s, address, s->bias, place))
			return true;
	return false;
}

const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *offset)
{
	struct symbol_place place;

	for (; symbols; symbols = symbols->next) {
		if (!name_it(symbols, address, symbols->bias, &place))
			continue;
		*offset = place.offset;
		return place.name;
	}
	return NULL;
}

char *symbols_format(const struct symbols *symbols, uint64_t address, char *out, size_t size)
{
	uint64_t offset = 0;
	const char *name = symbols_find(symbols, address, &offset);

	if (!name)
		snprintf(out, size, "%s", "");
	else if (offset)
		snprintf(out, size, "%s+0x%" PRIx64, name, offset);
	else
		snprintf(out, size, "%s", name);
	return out;
}
