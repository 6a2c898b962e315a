/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "proto/frame.h"
#include "proto/msg.h"

/* Bytes on the wire of a string that fits char[size], and of one HELLO or WELCOME stream. */
#define STR_MAX(size)	(2 + (size) - 1)
#define STREAM_SIZE	(MSG_ID_SIZE + 8 + 8 + 8)
#define STAT_SIZE	(2 + 4 + 8)
#define PEER_SIZE	(1 + 16)

/* length_max is the longest that the message's fields can make. */
static const struct frame_row {
	const char	*name;
	size_t		 length_max;
} rows[FRAME_TYPE_MAX] = {
	[FRAME_HELLO] =		{ "HELLO",
	    2 + 2 + MSG_ID_SIZE + 3 * STR_MAX(MSG_NAME_SIZE) + 4 + 8 + 2 + MSG_STREAMS_MAX * STREAM_SIZE },
	[FRAME_WELCOME] =	{ "WELCOME", 2 + 4 + 4 + 8 + 2 + MSG_STREAMS_MAX * STREAM_SIZE },
	[FRAME_INTERFACE] =	{ "INTERFACE", MSG_ID_SIZE + 4 + MSG_IDB_MAX },
	[FRAME_POLICY] =	{ "POLICY",
	    8 + STR_MAX(MSG_TEXT_SIZE) + STR_MAX(MSG_FILTER_SIZE) + 4 + 1 + STR_MAX(MSG_NAME_SIZE) + 8 + 1 + 2 + 1 +
	    DIGEST_SECRET_SIZE },
	[FRAME_POLICY_RESULT] =	{ "POLICY_RESULT", 8 + 1 + STR_MAX(MSG_TEXT_SIZE) },
	[FRAME_HINTS] =		{ "HINTS", 8 + 8 + 4 + 1 + 2 * (2 + MSG_PEERS_MAX * PEER_SIZE) },
	[FRAME_BLOCK] =		{ "BLOCK", MSG_BLOCK_HEADER_SIZE + MSG_BLOCK_MAX },
	[FRAME_GAP] =		{ "GAP", MSG_ID_SIZE + 8 + 8 + 8 + 8 + 8 + 8 + 1 },
	[FRAME_END] =		{ "END", MSG_ID_SIZE + 8 + 1 },
	[FRAME_ACK] =		{ "ACK", MSG_ID_SIZE + 8 },
	[FRAME_STATS] =		{ "STATS", MSG_ID_SIZE + 8 + 2 + MSG_STATS_MAX * STAT_SIZE },
	[FRAME_PING] =		{ "PING", 8 + 8 },
	[FRAME_PONG] =		{ "PONG", 8 + 8 },
	[FRAME_BYE] =		{ "BYE", 2 + STR_MAX(MSG_TEXT_SIZE) },
	[FRAME_ERROR] =		{ "ERROR", 2 + STR_MAX(MSG_TEXT_SIZE) },
	[FRAME_HINTS_RESULT] =	{ "HINTS_RESULT", 8 + 8 },
	[FRAME_ADDRESSES] =	{ "ADDRESSES", MSG_ID_SIZE + 4 + 2 + MSG_ADDRESSES_MAX * PEER_SIZE },
	[FRAME_ENROLL] =	{ "ENROLL", 2 * STR_MAX(MSG_NAME_SIZE) + STR_MAX(IDENTITY_NAME_SIZE) + MSG_CERTIFICATE_MAX },
	[FRAME_CERTIFICATE] =	{ "CERTIFICATE", STR_MAX(MSG_TEXT_SIZE) + 2 + MSG_CHAIN_MAX * (2 + MSG_CERTIFICATE_MAX) },
	[FRAME_RENEW] =		{ "RENEW", MSG_CERTIFICATE_MAX },
};

static const struct frame_row *
row_of(unsigned type)
{
	return type < FRAME_TYPE_MAX && rows[type].name != NULL ? &rows[type] : NULL;
}

const char *
frame_type_name(enum frame_type type)
{
	const struct frame_row *row = row_of(type);

	return row != NULL ? row->name : "unknown";
}

size_t
frame_length_max(enum frame_type type)
{
	const struct frame_row *row = row_of(type);

	return row != NULL ? row->length_max : 0;
}

const char *
frame_error_text(enum frame_error error)
{
	switch (error) {
	case FRAME_OK:
		return "no error";
	case FRAME_MORE:
		return "frame cut short";
	case FRAME_UNKNOWN_TYPE:
		return "unknown message type";
	case FRAME_TOO_LARGE:
		return "frame longer than its type may be";
	case FRAME_RESERVED:
		return "reserved bits of the frame header are not zero";
	}
	return "unknown frame error";
}

enum frame_error
frame_parse(const uint8_t *data, size_t len, struct frame *f)
{
	struct cursor c;
	uint16_t type, reserved;
	uint32_t length;

	cursor_init(&c, data, len);
	if (cursor_u16(&c, &type) == -1 || cursor_u16(&c, &reserved) == -1 || cursor_u32(&c, &length) == -1)
		return FRAME_MORE;
	if (row_of(type) == NULL)
		return FRAME_UNKNOWN_TYPE;
	if (reserved != 0)
		return FRAME_RESERVED;
	if (length > rows[type].length_max)
		return FRAME_TOO_LARGE;
	if (c.left < length)
		return FRAME_MORE;
	f->type = (enum frame_type)type;
	f->payload = c.p;
	f->length = length;
	return FRAME_OK;
}

int
frame_begin(struct buf *b, enum frame_type type, size_t *mark)
{
	*mark = b->len;
	if (buf_reserve(b, FRAME_HEADER_SIZE) == -1)
		return -1;
	return buf_put_u16(b, (uint16_t)type) | buf_put_u16(b, 0) | buf_put_u32(b, 0);
}

int
frame_end(struct buf *b, size_t mark)
{
	uint8_t *header = b->data + mark;
	enum frame_type type = (enum frame_type)(header[0] << 8 | header[1]);
	size_t length = b->len - mark - FRAME_HEADER_SIZE;

	if (length > frame_length_max(type)) {
		b->len = mark;
		errno = EMSGSIZE;
		return -1;
	}
	header[4] = (uint8_t)(length >> 24);
	header[5] = (uint8_t)(length >> 16);
	header[6] = (uint8_t)(length >> 8);
	header[7] = (uint8_t)length;
	return 0;
}
