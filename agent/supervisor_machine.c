/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/supervisor_identity.h"

#define PRODUCT_UUID	"product_uuid"
#define INSTANCE_ID	"instance_id"
#define UUID_LEN	36

static const struct {
	const char	*name, *words;
	size_t		 offset;
} rows[] = {
	{ PRODUCT_UUID, "product UUID", offsetof(struct machine, product_uuid) },
	{ INSTANCE_ID, "cloud-init instance", offsetof(struct machine, instance_id) },
};
#define ROWS	(sizeof(rows) / sizeof(rows[0]))

static char *
fact(struct machine *machine, size_t row)
{
	return (char *)machine + rows[row].offset;
}

static const char *
fact_of(const struct machine *machine, size_t row)
{
	return (const char *)machine + rows[row].offset;
}

/* The first word of text, if it is nothing but printable. */
static void
fact_set(char dst[MACHINE_FACT_SIZE], const char *text)
{
	size_t len = strcspn(text, " \t\r\n");

	dst[0] = '\0';
	if (len >= MACHINE_FACT_SIZE)
		return;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f)
			return;
	memcpy(dst, text, len);
	dst[len] = '\0';
}

static void
fact_read(char dst[MACHINE_FACT_SIZE], const char *path)
{
	char text[MACHINE_FACT_SIZE + 8] = "";
	int fd;

	if (dst[0] != '\0' || (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) == -1)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0)
		fact_set(dst, text);
	close(fd);
}

/* The service manager's copy first, where it gives one: root alone can read the firmware's. */
void
machine_read(struct machine *machine)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_MAX];

	memset(machine, 0, sizeof(*machine));
	if (folder != NULL && snprintf(path, sizeof(path), "%s/" PRODUCT_UUID, folder) < (int)sizeof(path))
		fact_read(machine->product_uuid, path);
	fact_read(machine->product_uuid, "/sys/class/dmi/id/" PRODUCT_UUID);
	fact_read(machine->instance_id, MACHINE_INSTANCE_RUN);
	fact_read(machine->instance_id, MACHINE_INSTANCE_DATA);
}

size_t
machine_format(const struct machine *machine, char dst[MACHINE_TEXT_SIZE])
{
	size_t at = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < ROWS; i++)
		if (fact_of(machine, i)[0] != '\0')
			at += (size_t)snprintf(dst + at, MACHINE_TEXT_SIZE - at, "%s: %s\n", rows[i].name, fact_of(machine, i));
	return at;
}

static void
parse_line(const char *line, struct machine *machine)
{
	for (size_t i = 0; i < ROWS; i++) {
		size_t len = strlen(rows[i].name);

		if (strncmp(line, rows[i].name, len) == 0 && strncmp(line + len, ": ", 2) == 0)
			fact_set(fact(machine, i), line + len + 2);
	}
}

void
machine_parse(const char *text, struct machine *machine)
{
	memset(machine, 0, sizeof(*machine));
	while (text != NULL && *text != '\0') {
		parse_line(text, machine);
		text = strchr(text, '\n');
		text += text != NULL;
	}
}

/* A UUID's first three groups are in either order of bytes, as firmware and kernel understand SMBIOS. */
static void
swap_bytes(const char *uuid, char swapped[MACHINE_FACT_SIZE])
{
	static const uint8_t from[] = { 6, 7, 4, 5, 2, 3, 0, 1, 8, 11, 12, 9, 10, 13, 16, 17, 14, 15 };

	snprintf(swapped, MACHINE_FACT_SIZE, "%s", uuid);
	for (size_t i = 0; i < sizeof(from) && strlen(uuid) == UUID_LEN; i++)
		swapped[i] = uuid[from[i]];
}

static bool
same_fact(const char *a, const char *b)
{
	char swapped[MACHINE_FACT_SIZE];

	swap_bytes(a, swapped);
	return strcasecmp(a, b) == 0 || strcasecmp(swapped, b) == 0;
}

bool
machine_differs(const struct machine *was, const struct machine *now, char *why, size_t size)
{
	for (size_t i = 0; i < ROWS; i++) {
		const char *a = fact_of(was, i), *b = fact_of(now, i);

		if (a[0] == '\0' || b[0] == '\0' || same_fact(a, b))
			continue;
		snprintf(why, size, "its %s was %s and is %s", rows[i].words, a, b);
		return true;
	}
	return false;
}

bool
machine_learn(struct machine *was, const struct machine *now)
{
	bool learned = false;

	for (size_t i = 0; i < ROWS; i++)
		if (fact_of(was, i)[0] == '\0' && fact_of(now, i)[0] != '\0') {
			memcpy(fact(was, i), fact_of(now, i), MACHINE_FACT_SIZE);
			learned = true;
		}
	return learned;
}
