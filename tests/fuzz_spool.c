/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"

#include "agent/spool.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The input is a list of calls on either side, with scribbles all over the shared memory between them. */

struct fuzz {
	int		 fd;
	struct spool	*side[2];
	uint8_t		*map;
	size_t		 size;
};

static void
produce(struct spool *spool, uint8_t what, uint16_t value)
{
	struct spool_entry entry = { .data_len = value, .packets = what };
	uint8_t bytes[MSG_IDB_MAX] = { what }, *data;

	switch (what % 6) {
	case 0:
		(void)spool_stream_begin(spool, bytes, value);
		break;
	case 1:
		(void)spool_interface_add(spool, bytes, value);
		break;
	case 2:
		spool_lose(spool, &entry, GAP_CAPTURE);
		break;
	case 3:
		spool_stream_end(spool);
		break;
	default:
		if ((data = spool_reserve(spool, value)) != NULL)
			memset(data, what, value);
		spool_publish(spool, &entry);
		break;
	}
}

/* Reads each byte of a block that is handed out. */
static void
consume(struct spool *spool, uint8_t what, uint16_t value)
{
	struct spool_stream streams[MSG_STREAMS_MAX];
	uint8_t idb[MSG_IDB_MAX];
	struct spool_item item;
	size_t count;

	switch (what % 6) {
	case 0:
		count = spool_streams(spool, streams);
		for (size_t i = 0; i < count; i++)
			(void)spool_acknowledge(spool, streams[i].id, streams[i].first + value);
		break;
	case 1:
		count = spool_streams(spool, streams);
		for (size_t i = 0; i < count; i++)
			(void)spool_interface_get(spool, streams[i].id, value % 70, idb);
		break;
	case 2:
		spool_rewind(spool);
		break;
	case 3:
		spool_reset(spool);
		break;
	default:
		spool_next(spool, &item);
		for (uint32_t i = 0; item.kind == SPOOL_BLOCK && i < item.entry.data_len; i++)
			(void)*(const volatile uint8_t *)&item.data[i];
		break;
	}
	(void)spool_used(spool);
}

/* Anywhere, or where positions and holds are. */
static void
scribble(struct fuzz *fuzz, struct cursor *cursor, bool near)
{
	uint32_t at;
	uint64_t word;

	if (cursor_u32(cursor, &at) == 0 && cursor_u64(cursor, &word) == 0)
		memcpy(fuzz->map + at % ((near ? 3 * 4096 : fuzz->size) / 8) * 8, &word, sizeof(word));
}

static void
step(struct fuzz *fuzz, struct cursor *cursor, uint8_t call)
{
	enum spool_side side = call & 1 ? SPOOL_PRODUCER : SPOOL_CONSUMER;
	uint16_t value;

	if (call >= 0xc0) {
		scribble(fuzz, cursor, call & 1);
	} else if (call >= 0xb0) {
		spool_detach(fuzz->side[side]);
		fuzz->side[side] = spool_attach(fuzz->fd, side);
	} else if (cursor_u16(cursor, &value) == 0 && fuzz->side[side] != NULL) {
		if (side == SPOOL_PRODUCER)
			produce(fuzz->side[side], call >> 1, value);
		else
			consume(fuzz->side[side], call >> 1, value);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = { .fd = spool_create("fuzz", 64 * 1024) };
	struct cursor cursor;
	struct stat st;
	uint8_t call;

	if (fuzz.fd == -1 || fstat(fuzz.fd, &st) == -1)
		return 0;
	fuzz.size = (size_t)st.st_size;
	fuzz.map = mmap(NULL, fuzz.size, PROT_READ | PROT_WRITE, MAP_SHARED, fuzz.fd, 0);
	for (unsigned i = 0; i < 2; i++)
		fuzz.side[i] = spool_attach(fuzz.fd, (enum spool_side)i);
	cursor_init(&cursor, data, size);
	while (fuzz.map != MAP_FAILED && cursor_u8(&cursor, &call) == 0)
		step(&fuzz, &cursor, call);
	for (unsigned i = 0; i < 2; i++)
		spool_detach(fuzz.side[i]);
	munmap(fuzz.map, fuzz.size);
	close(fuzz.fd);
	return 0;
}
