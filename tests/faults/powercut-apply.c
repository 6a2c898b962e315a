/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * powercut-apply LOG STORE UNTIL KEEP [SEED]: makes of STORE, a copy from before the run that LOG tells of, what a disk could hold
 * after a power cut. Of the run, the first UNTIL operations were done ("all", or a number modulo their count). All that was synced is
 * there; of the rest the first KEEP (modulo their count), the last one torn; with a SEED each write beyond them by chance too. Names
 * change in their order, as file systems' journals have it.
 */
#include <sys/stat.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "powercut.h"

struct operation {
	struct powercut_record	 record;
	char			*path, *to;
	uint8_t			*data;
	bool			 durable;
};

struct name {
	uint64_t inode;
	char	*path;
};

static struct operation *operation;
static size_t operation_count;
static struct name *name;
static size_t name_count;

static void *
read_part(FILE *in, uint32_t len)
{
	char *p = calloc(1, (size_t)len + 1);

	if (p != NULL && fread(p, 1, len, in) == len)
		return p;
	free(p);
	return NULL;
}

/* A torn last record, of a program that was killed, is no operation. */
static void
read_log(const char *path)
{
	FILE *in = fopen(path, "r");
	struct operation o = { 0 };

	if (in == NULL)
		err(2, "%s", path);
	while (fread(&o.record, sizeof(o.record), 1, in) == 1) {
		o.path = read_part(in, o.record.path_len);
		o.to = read_part(in, o.record.to_len);
		o.data = read_part(in, o.record.data_len);
		if (o.path == NULL || o.to == NULL || o.data == NULL) {
			free(o.path);
			free(o.to);
			free(o.data);
			break;
		}
		if ((operation = reallocarray(operation, operation_count + 1, sizeof(o))) == NULL)
			err(2, "memory");
		operation[operation_count++] = o;
	}
	fclose(in);
}

static bool
is_data(const struct operation *o)
{
	return o->record.kind == POWERCUT_WRITE || o->record.kind == POWERCUT_TRUNCATE;
}

/* A sync of a file makes its name durable too, and those made before: one journal. */
static void
mark_durable(void)
{
	for (size_t i = 0; i < operation_count; i++) {
		const struct powercut_record *sync = &operation[i].record;

		if (sync->kind != POWERCUT_SYNC)
			continue;
		for (size_t j = 0; j < i && j < sync->offset; j++) {
			const struct powercut_record *r = &operation[j].record;

			if (sync->inode == 0 || !is_data(&operation[j]) || r->inode == sync->inode)
				operation[j].durable = true;
		}
	}
}

static void
set_name(uint64_t inode, const char *path)
{
	size_t i;

	for (i = 0; i < name_count && name[i].inode != inode; i++)
		;
	if (i == name_count) {
		if ((name = reallocarray(name, ++name_count, sizeof(*name))) == NULL)
			err(2, "memory");
		name[i] = (struct name){ 0 };
	}
	free(name[i].path);
	name[i] = (struct name){ inode, strdup(path) };
}

static const char *
find_name(uint64_t inode)
{
	for (size_t i = 0; i < name_count; i++)
		if (name[i].inode == inode)
			return name[i].path;
	return NULL;
}

static void
rename_all(const char *from, const char *to)
{
	for (size_t i = 0; i < name_count; i++)
		if (strcmp(name[i].path, from) == 0) {
			free(name[i].path);
			name[i].path = strdup(to);
		}
}

static void
apply_data(const struct operation *o, bool torn)
{
	const char *path = find_name(o->record.inode);
	size_t len = torn ? o->record.data_len / 2 : o->record.data_len;
	int fd = path != NULL ? open(path, O_WRONLY) : -1;

	if (fd == -1)
		return;		/* its name did not reach the disk */
	if (o->record.kind == POWERCUT_TRUNCATE ? ftruncate(fd, (off_t)o->record.offset) == -1
	    : pwrite(fd, o->data, len, (off_t)o->record.offset) == -1)
		err(2, "%s", path);
	close(fd);
}

static void
apply(const struct operation *o, bool torn)
{
	int fd;

	switch (o->record.kind) {
	case POWERCUT_CREATE:
		if ((fd = open(o->path, O_WRONLY | O_CREAT | O_TRUNC, 0640)) != -1)
			close(fd);
		set_name(o->record.inode, o->path);
		break;
	case POWERCUT_OPEN:
		set_name(o->record.inode, o->path);
		break;
	case POWERCUT_MKDIR:
		mkdir(o->path, 0750);
		break;
	case POWERCUT_RENAME:
		if (rename(o->path, o->to) == 0)
			rename_all(o->path, o->to);
		break;
	case POWERCUT_UNLINK:
		remove(o->path);
		break;
	case POWERCUT_WRITE:
	case POWERCUT_TRUNCATE:
		apply_data(o, torn);
		break;
	}
}

static void
free_all(void)
{
	for (size_t i = 0; i < operation_count; i++) {
		free(operation[i].path);
		free(operation[i].to);
		free(operation[i].data);
	}
	for (size_t i = 0; i < name_count; i++)
		free(name[i].path);
	free(operation);
	free(name);
}

/* What is neither durable nor without effect on a disk. */
static bool
is_open(const struct operation *o)
{
	return !o->durable && o->record.kind != POWERCUT_SYNC && o->record.kind != POWERCUT_OPEN;
}

static size_t
count_open(void)
{
	size_t n = 0;

	for (size_t i = 0; i < operation_count; i++)
		n += is_open(&operation[i]);
	return n;
}

/* The first keep of those not durable; beyond, with chance, writes. */
static void
apply_all(size_t keep, bool chance)
{
	size_t n = 0;

	for (size_t i = 0; i < operation_count; i++) {
		const struct operation *o = &operation[i];

		if (o->record.kind == POWERCUT_SYNC)
			continue;
		if (!is_open(o))
			apply(o, false);
		else if (++n <= keep || (chance && is_data(o) && random() % 2 == 0))
			apply(o, n == keep);
	}
}

int
main(int argc, char **argv)
{
	size_t done, count, keep;

	if (argc != 5 && argc != 6)
		errx(2, "usage: powercut-apply LOG STORE UNTIL KEEP [SEED]");
	read_log(argv[1]);
	done = operation_count;
	if (strcmp(argv[3], "all") != 0)
		operation_count = strtoull(argv[3], NULL, 10) % (done + 1);
	mark_durable();
	count = count_open();
	keep = strtoull(argv[4], NULL, 10) % (count + 1);
	srandom(argc == 6 ? (unsigned)strtoul(argv[5], NULL, 10) : 0);
	if (chdir(argv[2]) == -1)
		err(2, "%s", argv[2]);
	apply_all(keep, argc == 6);
	printf("%zu of %zu operations, %zu of them not durable, the first %zu of those kept%s\n", operation_count, done, count, keep,
	    argc == 6 ? " and some others" : "");
	operation_count = done;
	free_all();
	return 0;
}
