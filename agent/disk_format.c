/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <zlib.h>

#include "common/buf.h"

#include "agent/disk_format.h"
#include "agent/last_stats.h"

#define CRC_SIZE	4u

static uint32_t
crc_of(const void *data, size_t len)
{
	return len > 0 ? (uint32_t)crc32(0, data, (uInt)len) : 0;
}

int
disk_put_segment(struct buf *buf, uint64_t sequence)
{
	size_t at = buf->len;

	if (buf_put_u64(buf, DISK_MAGIC) + buf_put_u32(buf, DISK_VERSION) + buf_put_u64(buf, sequence) != 0)
		return -1;
	return buf_put_u32(buf, crc_of(buf->data + at, DISK_SEGMENT_HEADER - CRC_SIZE));
}

int
disk_get_segment(const uint8_t header[DISK_SEGMENT_HEADER], uint64_t *sequence)
{
	struct cursor c;
	uint32_t version, crc;
	uint64_t magic;

	cursor_init(&c, header, DISK_SEGMENT_HEADER);
	if (cursor_u64(&c, &magic) == 0 && cursor_u32(&c, &version) == 0 && cursor_u64(&c, sequence) == 0 &&
	    cursor_u32(&c, &crc) == 0 && magic == DISK_MAGIC && *sequence > 0 && *sequence < UINT64_MAX / 2 &&
	    crc == crc_of(header, DISK_SEGMENT_HEADER - CRC_SIZE)) {
		if (version == DISK_VERSION)
			return 0;
		errno = ENOTSUP;
		return -1;
	}
	errno = EBADMSG;
	return -1;
}

int
disk_put_record(struct buf *buf, const struct disk_record *r, const void *data)
{
	size_t at = buf->len;
	uint32_t crc;
	int errs;

	errs = buf_put_u32(buf, 0) + buf_put_u32(buf, crc_of(data, r->data_len)) + buf_put_u8(buf, (uint8_t)r->kind) +
	    buf_put_u8(buf, r->place) + buf_put_u8(buf, r->flags) + buf_put_u8(buf, r->codec) + buf_put_u32(buf, r->data_len) +
	    buf_put_u64(buf, r->sequence) + buf_put(buf, r->stream, MSG_ID_SIZE) + buf_put_u64(buf, r->started_ns) +
	    buf_put_u64(buf, r->first) + buf_put_u64(buf, r->last) + buf_put_u32(buf, r->raw_len) + buf_put_u64(buf, r->packets) +
	    buf_put_u64(buf, r->bytes) + buf_put_u64(buf, r->first_ns) + buf_put_u64(buf, r->last_ns) +
	    buf_put_u64(buf, r->sum.packets) + buf_put_u64(buf, r->sum.bytes);
	if (errs != 0)
		return -1;
	crc = crc_of(buf->data + at + CRC_SIZE, DISK_RECORD_HEADER - CRC_SIZE);
	for (size_t i = 0; i < CRC_SIZE; i++)
		buf->data[at + i] = (uint8_t)(crc >> (24 - 8 * i));
	return 0;
}

static int
record_check(const struct disk_record *r)
{
	static const uint32_t data_max[DISK_KIND_MAX] = { [DISK_INTERFACE] = MSG_IDB_MAX, [DISK_BLOCK] = MSG_BLOCK_MAX,
		[DISK_END] = LAST_STATS_FRAME_MAX };

	if (r->kind < DISK_INTERFACE || r->kind >= DISK_KIND_MAX || r->data_len > data_max[r->kind] || r->first > r->last ||
	    r->last >= UINT64_MAX / 2)
		return -1;
	if (r->kind == DISK_INTERFACE)
		return r->first < MSG_INTERFACES_MAX && r->data_len > 0 ? 0 : -1;
	if (r->kind == DISK_BLOCK && (r->first != r->last || r->raw_len > MSG_BLOCK_RAW_MAX || r->packets > UINT32_MAX))
		return -1;
	if (r->kind == DISK_GAP && (r->place < GAP_SPOOL || r->place > GAP_DISK))
		return -1;
	return r->first > 0 || r->kind == DISK_END ? 0 : -1;
}

int
disk_get_record(const uint8_t header[DISK_RECORD_HEADER], struct disk_record *r)
{
	struct cursor c;
	uint32_t crc;
	uint8_t kind;

	cursor_init(&c, header, DISK_RECORD_HEADER);
	if (cursor_u32(&c, &crc) == 0 && cursor_u32(&c, &r->data_crc) == 0 && cursor_u8(&c, &kind) == 0 &&
	    cursor_u8(&c, &r->place) == 0 && cursor_u8(&c, &r->flags) == 0 && cursor_u8(&c, &r->codec) == 0 &&
	    cursor_u32(&c, &r->data_len) == 0 && cursor_u64(&c, &r->sequence) == 0 && cursor_bytes(&c, r->stream, MSG_ID_SIZE) == 0 &&
	    cursor_u64(&c, &r->started_ns) == 0 && cursor_u64(&c, &r->first) == 0 && cursor_u64(&c, &r->last) == 0 &&
	    cursor_u32(&c, &r->raw_len) == 0 && cursor_u64(&c, &r->packets) == 0 && cursor_u64(&c, &r->bytes) == 0 &&
	    cursor_u64(&c, &r->first_ns) == 0 && cursor_u64(&c, &r->last_ns) == 0 && cursor_u64(&c, &r->sum.packets) == 0 &&
	    cursor_u64(&c, &r->sum.bytes) == 0 && cursor_end(&c) == 0 &&
	    crc == crc_of(header + CRC_SIZE, DISK_RECORD_HEADER - CRC_SIZE)) {
		r->kind = (enum disk_kind)kind;
		if (record_check(r) == 0)
			return 0;
	}
	errno = EBADMSG;
	return -1;
}

bool
disk_data_good(const struct disk_record *r, const void *data)
{
	return r->data_crc == crc_of(data, r->data_len);
}
