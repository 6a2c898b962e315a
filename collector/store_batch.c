/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#include "collector/store_batch.h"

#define BATCH_ROWS_MIN	16

static void *
batch_memory(void *p)
{
	if (p != NULL)
		return p;
	log_error("out of memory");
	abort();
}

static void *
rows_add(struct batch *batch, struct rows *rows, size_t row_size)
{
	if (rows->count == rows->size) {
		rows->size = rows->size > 0 ? rows->size * 2 : BATCH_ROWS_MIN;
		rows->row = batch_memory(reallocarray(rows->row, rows->size, row_size));
	}
	batch->dirty_bytes += row_size;
	return memset((char *)rows->row + rows->count++ * row_size, 0, row_size);
}

struct batch *
batch_new(void)
{
	return batch_memory(calloc(1, sizeof(struct batch)));
}

void
batch_free(struct batch *batch)
{
	if (batch == NULL)
		return;
	for (size_t i = 0; i < batch->vms.count; i++)
		free(((struct vm_row *)batch->vms.row)[i].policy_text);
	for (size_t i = 0; i < batch->interfaces.count; i++)
		free(((struct interface_row *)batch->interfaces.row)[i].idb);
	for (size_t i = 0; i < batch->events.count; i++)
		free(((struct event_row *)batch->events.row)[i].text);
	for (size_t i = 0; i < batch->withheld.count; i++)
		free(((struct withheld_row *)batch->withheld.row)[i].own);
	for (size_t i = 0; i < batch->files.count; i++) {
		struct file_row *row = &((struct file_row *)batch->files.row)[i];

		store_file_clear(&row->file, !row->live);
	}
	free(batch->vms.row);
	free(batch->streams.row);
	free(batch->interfaces.row);
	free(batch->networks.row);
	free(batch->files.row);
	free(batch->points.row);
	free(batch->losses.row);
	free(batch->stats.row);
	free(batch->events.row);
	free(batch->clocks.row);
	free(batch->withheld.row);
	free(batch);
}

bool
batch_empty(const struct batch *batch)
{
	return batch->dirty_bytes == 0;
}

void
batch_add_vm(struct batch *batch, const struct vm_row *vm)
{
	struct vm_row *row = rows_add(batch, &batch->vms, sizeof(*row));

	*row = *vm;
	if (vm->policy_text == NULL)
		return;
	row->policy_text = batch_memory(strdup(vm->policy_text));
	batch->dirty_bytes += strlen(row->policy_text) + 1;
}

struct stream_row *
batch_add_stream(struct batch *batch)
{
	return rows_add(batch, &batch->streams, sizeof(struct stream_row));
}

struct interface_row *
batch_add_interface(struct batch *batch, uint8_t *idb, size_t idb_len)
{
	struct interface_row *row = rows_add(batch, &batch->interfaces, sizeof(*row));

	row->idb = idb;
	row->idb_len = idb_len;
	batch->dirty_bytes += idb_len;
	return row;
}

struct network_row *
batch_add_network(struct batch *batch)
{
	return rows_add(batch, &batch->networks, sizeof(struct network_row));
}

struct file_row *
batch_add_file(struct batch *batch)
{
	return rows_add(batch, &batch->files, sizeof(struct file_row));
}

struct point_row *
batch_add_point(struct batch *batch)
{
	return rows_add(batch, &batch->points, sizeof(struct point_row));
}

struct loss_row *
batch_add_loss(struct batch *batch)
{
	return rows_add(batch, &batch->losses, sizeof(struct loss_row));
}

struct stat_row *
batch_add_stat(struct batch *batch)
{
	return rows_add(batch, &batch->stats, sizeof(struct stat_row));
}

struct event_row *
batch_add_event(struct batch *batch, char *text)
{
	struct event_row *row = rows_add(batch, &batch->events, sizeof(*row));

	row->text = text;
	batch->dirty_bytes += strlen(text) + 1;
	return row;
}

struct clock_row *
batch_add_clock(struct batch *batch)
{
	return rows_add(batch, &batch->clocks, sizeof(struct clock_row));
}

struct withheld_row *
batch_add_withheld(struct batch *batch, char *own)
{
	struct withheld_row *row = rows_add(batch, &batch->withheld, sizeof(*row));

	row->own = own;
	batch->dirty_bytes += strlen(own) + 1;
	return row;
}
