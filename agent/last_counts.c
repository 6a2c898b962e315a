/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/last_counts.h"

#define ROW_TEXT_SIZE	96

static struct last_row *
row_find(struct last_counts *last, uint32_t ifindex)
{
	for (size_t i = 0; i < MSG_INTERFACES_MAX; i++)
		if (last->row[i].ifindex == ifindex)
			return &last->row[i];
	return NULL;
}

int
last_counts_see(struct last_counts *last, const struct last_row *now, uint64_t *missed)
{
	struct last_row *row = row_find(last, now->ifindex), was = { 0 };

	*missed = 0;
	if (row == NULL && (row = row_find(last, 0)) == NULL)
		return 0;
	was = *row;
	*row = *now;
	row->before = 0;
	if (!was.before || memcmp(was.mac, now->mac, sizeof(was.mac)) != 0)
		return 0;
	if (now->packets < was.packets)
		return -1;
	*missed = now->packets - was.packets;
	return 1;
}

void
last_counts_forget(struct last_counts *last, uint32_t ifindex)
{
	struct last_row *row = row_find(last, ifindex);

	if (row != NULL)
		memset(row, 0, sizeof(*row));
}

/* --- as text --- */

static size_t
row_format(const struct last_row *row, char text[ROW_TEXT_SIZE])
{
	const uint8_t *m = row->mac;

	return (size_t)snprintf(text, ROW_TEXT_SIZE, "%" PRIu32 " %02x:%02x:%02x:%02x:%02x:%02x %" PRIu64 " %.*s\n", row->ifindex, m[0],
	    m[1], m[2], m[3], m[4], m[5], row->packets, IF_NAMESIZE - 1, row->name);
}

/* Only what comes out again as it went in. */
static size_t
row_parse(const char *line, struct last_row *row)
{
	char again[ROW_TEXT_SIZE];
	uint8_t *m = row->mac;
	size_t len;

	memset(row, 0, sizeof(*row));
	if (sscanf(line, "%" SCNu32 " %2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx %" SCNu64 " %15s", &row->ifindex, &m[0], &m[1], &m[2], &m[3],
	    &m[4], &m[5], &row->packets, row->name) != 9)
		return 0;
	len = row_format(row, again);
	return strncmp(line, again, len) == 0 && row->ifindex != 0 ? len : 0;
}

size_t
last_counts_format(const struct last_counts *last, const char *boot_id, char text[LAST_TEXT_SIZE])
{
	size_t head = (size_t)snprintf(text, LAST_TEXT_SIZE, "boot_id %.*s\n", LAST_BOOT_ID_SIZE - 1, boot_id), len = head;

	for (size_t i = 0; i < MSG_INTERFACES_MAX; i++)
		if (last->row[i].ifindex != 0)
			len += row_format(&last->row[i], text + len);
	return len > head ? len : 0;
}

void
last_counts_parse(const char *text, const char *boot_id, struct last_counts *last)
{
	struct last_row row;
	char head[64];
	size_t len = (size_t)snprintf(head, sizeof(head), "boot_id %.*s\n", LAST_BOOT_ID_SIZE - 1, boot_id);

	memset(last, 0, sizeof(*last));
	if (strncmp(text, head, len) != 0)
		return;
	for (size_t i = 0; i < MSG_INTERFACES_MAX && (len = row_parse(text += len, &row)) > 0; i++) {
		row.before = 1;
		if (row_find(last, row.ifindex) == NULL)
			last->row[i] = row;
	}
}
