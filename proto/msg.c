/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "proto/codec.h"
#include "proto/counter.h"
#include "proto/frame.h"
#include "proto/msg.h"
#include "proto/msg_internal.h"
#include "proto/pcapng.h"

#define KEEPALIVE_MAX_MS	(24u * 3600 * 1000)
#define EPB_SIZE_MIN		32u	/* an Enhanced Packet Block without data and options */
#define BYE_CODE_MAX		2u
#define ERROR_CODE_MAX		((unsigned)MSG_ERR_TOKEN)

int
msg_refuse(void)
{
	errno = EBADMSG;
	return -1;
}

int
msg_open_frame(const struct frame *f, enum frame_type type, struct cursor *c)
{
	if (f->type != type)
		return msg_refuse();
	cursor_init(c, f->payload, f->length);
	return 0;
}

int
msg_close_frame(struct buf *b, size_t mark, int errs)
{
	if (errs != 0) {
		b->len = mark;
		return -1;
	}
	return frame_end(b, mark);
}

int
msg_too_many(void)
{
	errno = EMSGSIZE;
	return -1;
}

static int
put_streams(struct buf *b, const struct msg_stream *stream, uint16_t count)
{
	int errs = buf_put_u16(b, count);

	for (uint16_t i = 0; i < count; i++) {
		errs += buf_put(b, stream[i].id, MSG_ID_SIZE);
		errs += buf_put_u64(b, stream[i].started_ns);
		errs += buf_put_u64(b, stream[i].first);
		errs += buf_put_u64(b, stream[i].last);
	}
	return errs;
}

static int
get_stream(struct cursor *c, struct msg_stream *s)
{
	return cursor_bytes(c, s->id, MSG_ID_SIZE) == -1 || cursor_u64(c, &s->started_ns) == -1 ||
	    cursor_u64(c, &s->first) == -1 || cursor_u64(c, &s->last) == -1 ? -1 : 0;
}

/* Each stream once. */
static int
get_streams(struct cursor *c, struct msg_stream stream[MSG_STREAMS_MAX], uint16_t *count)
{
	if (cursor_u16(c, count) == -1 || *count > MSG_STREAMS_MAX)
		return -1;
	for (uint16_t i = 0; i < *count; i++) {
		if (get_stream(c, &stream[i]) == -1)
			return -1;
		for (uint16_t j = 0; j < i; j++)
			if (memcmp(stream[j].id, stream[i].id, MSG_ID_SIZE) == 0)
				return -1;
	}
	return 0;
}

int
msg_put_hello(struct buf *b, const struct msg_hello *m)
{
	size_t mark;
	int errs;

	if (m->stream_count > MSG_STREAMS_MAX)
		return msg_too_many();
	if (frame_begin(b, FRAME_HELLO, &mark) == -1)
		return -1;
	errs = buf_put_u16(b, m->version_min);
	errs += buf_put_u16(b, m->version_max);
	errs += buf_put(b, m->instance, MSG_ID_SIZE);
	errs += buf_put_str(b, m->software);
	errs += buf_put_str(b, m->os);
	errs += buf_put_str(b, m->hardware);
	errs += buf_put_u32(b, m->codecs);
	errs += buf_put_u64(b, m->wall_ns);
	errs += put_streams(b, m->stream, m->stream_count);
	return msg_close_frame(b, mark, errs);
}

/* Numbers count from 1 and never reach the last one, so that last + 1 does not wrap. */
static int
hello_check(const struct msg_hello *m)
{
	if (m->version_min == 0 || m->version_min > m->version_max || m->codecs == 0)
		return -1;
	for (uint16_t i = 0; i < m->stream_count; i++) {
		const struct msg_stream *s = &m->stream[i];

		if (s->first == 0 || s->last == UINT64_MAX || s->first > s->last + 1)
			return -1;
	}
	return 0;
}

int
msg_get_hello(const struct frame *f, struct msg_hello *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_HELLO, &c) == -1)
		return -1;
	if (cursor_u16(&c, &m->version_min) == -1 || cursor_u16(&c, &m->version_max) == -1 ||
	    cursor_bytes(&c, m->instance, MSG_ID_SIZE) == -1 || cursor_str(&c, m->software, sizeof(m->software)) == -1 ||
	    cursor_str(&c, m->os, sizeof(m->os)) == -1 || cursor_str(&c, m->hardware, sizeof(m->hardware)) == -1 ||
	    cursor_u32(&c, &m->codecs) == -1 || cursor_u64(&c, &m->wall_ns) == -1 ||
	    get_streams(&c, m->stream, &m->stream_count) == -1 || cursor_end(&c) == -1 || hello_check(m) == -1)
		return msg_refuse();
	return 0;
}

int
msg_put_welcome(struct buf *b, const struct msg_welcome *m)
{
	size_t mark;
	int errs;

	if (m->stream_count > MSG_STREAMS_MAX)
		return msg_too_many();
	if (frame_begin(b, FRAME_WELCOME, &mark) == -1)
		return -1;
	errs = buf_put_u16(b, m->version);
	errs += buf_put_u32(b, m->codecs);
	errs += buf_put_u32(b, m->keepalive_ms);
	errs += buf_put_u64(b, m->wall_ns);
	errs += put_streams(b, m->stream, m->stream_count);
	return msg_close_frame(b, mark, errs);
}

static int
welcome_check(const struct msg_welcome *m)
{
	if (m->version == 0 || m->codecs == 0 || m->keepalive_ms == 0 || m->keepalive_ms > KEEPALIVE_MAX_MS)
		return -1;
	for (uint16_t i = 0; i < m->stream_count; i++)
		if (m->stream[i].first != 0 || m->stream[i].last == UINT64_MAX)
			return -1;
	return 0;
}

int
msg_get_welcome(const struct frame *f, struct msg_welcome *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_WELCOME, &c) == -1)
		return -1;
	if (cursor_u16(&c, &m->version) == -1 || cursor_u32(&c, &m->codecs) == -1 || cursor_u32(&c, &m->keepalive_ms) == -1 ||
	    cursor_u64(&c, &m->wall_ns) == -1 || get_streams(&c, m->stream, &m->stream_count) == -1 || cursor_end(&c) == -1 ||
	    welcome_check(m) == -1)
		return msg_refuse();
	return 0;
}

int
msg_put_interface(struct buf *b, const struct msg_interface *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_INTERFACE, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u32(b, m->id);
	errs += buf_put(b, m->idb, m->idb_len);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_interface(const struct frame *f, struct msg_interface *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_INTERFACE, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u32(&c, &m->id) == -1 || m->id >= MSG_INTERFACES_MAX ||
	    c.left == 0 || c.left > MSG_IDB_MAX)
		return msg_refuse();
	m->idb = c.p;
	m->idb_len = c.left;
	return 0;
}

static int
put_peers(struct buf *b, const struct bpf_peer *peer, uint16_t count)
{
	int errs = buf_put_u16(b, count);

	for (uint16_t i = 0; i < count; i++) {
		errs += buf_put_u8(b, peer[i].family == AF_INET ? 4 : 6);
		errs += buf_put(b, peer[i].address, sizeof(peer[i].address));
	}
	return errs;
}

static int
get_peer(struct cursor *c, struct bpf_peer *peer)
{
	static const uint8_t zeroes[12];
	uint8_t version;

	if (cursor_u8(c, &version) == -1 || cursor_bytes(c, peer->address, sizeof(peer->address)) == -1 ||
	    (version != 4 && version != 6))
		return -1;
	peer->family = version == 4 ? AF_INET : AF_INET6;
	return version == 4 && memcmp(peer->address + 4, zeroes, sizeof(zeroes)) != 0 ? -1 : 0;
}

static int
get_peers(struct cursor *c, struct bpf_peer *peer, uint16_t max, uint16_t *count)
{
	if (cursor_u16(c, count) == -1 || *count > max)
		return -1;
	for (uint16_t i = 0; i < *count; i++)
		if (get_peer(c, &peer[i]) == -1)
			return -1;
	return 0;
}

int
msg_put_addresses(struct buf *b, const struct msg_addresses *m)
{
	size_t mark;
	int errs;

	if (m->count > MSG_ADDRESSES_MAX)
		return msg_too_many();
	if (frame_begin(b, FRAME_ADDRESSES, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u32(b, m->id);
	errs += put_peers(b, m->address, m->count);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_addresses(const struct frame *f, struct msg_addresses *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_ADDRESSES, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u32(&c, &m->id) == -1 || m->id >= MSG_INTERFACES_MAX ||
	    get_peers(&c, m->address, MSG_ADDRESSES_MAX, &m->count) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}

int
msg_put_policy(struct buf *b, const struct msg_policy *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_POLICY, &mark) == -1)
		return -1;
	errs = buf_put_u64(b, m->version);
	errs += buf_put_str(b, m->interfaces);
	errs += buf_put_str(b, m->filter);
	errs += buf_put_u32(b, m->snaplen);
	errs += buf_put_u8(b, m->direction);
	errs += buf_put_str(b, m->codec);
	errs += buf_put_u64(b, m->rate_limit);
	errs += slice_put(b, &m->slice);
	errs += buf_put_u8(b, m->digest);
	errs += buf_put(b, m->secret, sizeof(m->secret));
	return msg_close_frame(b, mark, errs);
}

int
msg_get_policy(const struct frame *f, struct msg_policy *m)
{
	struct cursor c;
	uint8_t digest;

	if (msg_open_frame(f, FRAME_POLICY, &c) == -1)
		return -1;
	if (cursor_u64(&c, &m->version) == -1 || cursor_str(&c, m->interfaces, sizeof(m->interfaces)) == -1 ||
	    cursor_str(&c, m->filter, sizeof(m->filter)) == -1 || cursor_u32(&c, &m->snaplen) == -1 ||
	    cursor_u8(&c, &m->direction) == -1 || cursor_str(&c, m->codec, sizeof(m->codec)) == -1 ||
	    cursor_u64(&c, &m->rate_limit) == -1 || slice_get(&c, &m->slice) == -1 || cursor_u8(&c, &digest) == -1 ||
	    cursor_bytes(&c, m->secret, sizeof(m->secret)) == -1 || cursor_end(&c) == -1 || m->snaplen > PCAPNG_SNAPLEN ||
	    m->direction > DIRECTION_OUT || digest > 1)
		return msg_refuse();
	m->digest = digest == 1;
	return 0;
}

int
msg_put_policy_result(struct buf *b, const struct msg_policy_result *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_POLICY_RESULT, &mark) == -1)
		return -1;
	errs = buf_put_u64(b, m->version);
	errs += buf_put_u8(b, m->accepted);
	errs += buf_put_str(b, m->reason);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_policy_result(const struct frame *f, struct msg_policy_result *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_POLICY_RESULT, &c) == -1)
		return -1;
	if (cursor_u64(&c, &m->version) == -1 || cursor_u8(&c, &m->accepted) == -1 ||
	    cursor_str(&c, m->reason, sizeof(m->reason)) == -1 || cursor_end(&c) == -1 || m->accepted > 1)
		return msg_refuse();
	return 0;
}

int
msg_put_hints(struct buf *b, const struct msg_hints *m)
{
	size_t mark;
	int errs;

	if (m->gone_count > MSG_PEERS_MAX || m->added_count > MSG_PEERS_MAX)
		return msg_too_many();
	if (frame_begin(b, FRAME_HINTS, &mark) == -1)
		return -1;
	errs = buf_put_u64(b, m->generation);
	errs += buf_put_u64(b, m->base);
	errs += buf_put_u32(b, m->lease_ms);
	errs += buf_put_u8(b, m->flags);
	errs += put_peers(b, m->gone, m->gone_count);
	errs += put_peers(b, m->added, m->added_count);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_hints(const struct frame *f, struct msg_hints *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_HINTS, &c) == -1)
		return -1;
	if (cursor_u64(&c, &m->generation) == -1 || cursor_u64(&c, &m->base) == -1 || cursor_u32(&c, &m->lease_ms) == -1 ||
	    cursor_u8(&c, &m->flags) == -1 || get_peers(&c, m->gone, MSG_PEERS_MAX, &m->gone_count) == -1 ||
	    get_peers(&c, m->added, MSG_PEERS_MAX, &m->added_count) == -1 || cursor_end(&c) == -1 || m->lease_ms < HINTS_LEASE_MIN_MS ||
	    m->lease_ms > HINTS_LEASE_MAX_MS || (m->flags & ~HINTS_BALANCED) != 0 ||
	    (m->generation == 0 && m->added_count > 0))
		return msg_refuse();
	return 0;
}

int
msg_put_hints_result(struct buf *b, const struct msg_hints_result *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_HINTS_RESULT, &mark) == -1)
		return -1;
	errs = buf_put_u64(b, m->generation);
	errs += buf_put_u64(b, m->wall_ns);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_hints_result(const struct frame *f, struct msg_hints_result *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_HINTS_RESULT, &c) == -1)
		return -1;
	if (cursor_u64(&c, &m->generation) == -1 || cursor_u64(&c, &m->wall_ns) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}

/* The frame's length counts the data that the caller sends behind it. */
int
msg_put_block_header(struct buf *b, const struct msg_block *m)
{
	int errs;

	if (m->data_len > MSG_BLOCK_MAX)
		return msg_too_many();
	if (buf_reserve(b, FRAME_HEADER_SIZE + MSG_BLOCK_HEADER_SIZE) == -1)
		return -1;
	errs = buf_put_u16(b, FRAME_BLOCK);
	errs += buf_put_u16(b, 0);
	errs += buf_put_u32(b, (uint32_t)(MSG_BLOCK_HEADER_SIZE + m->data_len));
	errs += buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u64(b, m->number);
	errs += buf_put_u8(b, m->codec);
	errs += buf_put_u8(b, m->flags);
	errs += buf_put_u32(b, m->raw_len);
	errs += buf_put_u32(b, m->packets);
	errs += buf_put_u64(b, m->bytes);
	errs += buf_put_u64(b, m->first_ns);
	errs += buf_put_u64(b, m->last_ns);
	return errs == 0 ? 0 : -1;
}

/* What can be told without decoding; the rest is pcapng_check_block()'s. */
static int
block_check(const struct msg_block *m)
{
	if (m->number == 0 || m->number == UINT64_MAX || m->codec > CODEC_ZSTD || (m->flags & ~(BLOCK_URGENT | BLOCK_EVENT)) != 0)
		return -1;
	if (m->raw_len == 0 || m->raw_len > MSG_BLOCK_RAW_MAX || m->data_len == 0 || m->data_len > MSG_BLOCK_MAX)
		return -1;
	if (m->packets == 0)
		return m->bytes == 0 && m->first_ns == 0 && m->last_ns == 0 ? 0 : -1;
	return m->packets <= m->raw_len / EPB_SIZE_MIN && m->bytes <= m->raw_len && m->first_ns <= m->last_ns ? 0 : -1;
}

int
msg_get_block(const struct frame *f, struct msg_block *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_BLOCK, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u64(&c, &m->number) == -1 ||
	    cursor_u8(&c, &m->codec) == -1 || cursor_u8(&c, &m->flags) == -1 || cursor_u32(&c, &m->raw_len) == -1 ||
	    cursor_u32(&c, &m->packets) == -1 || cursor_u64(&c, &m->bytes) == -1 || cursor_u64(&c, &m->first_ns) == -1 ||
	    cursor_u64(&c, &m->last_ns) == -1)
		return msg_refuse();
	m->data = c.p;
	m->data_len = c.left;
	return block_check(m) == -1 ? msg_refuse() : 0;
}

int
msg_put_gap(struct buf *b, const struct msg_gap *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_GAP, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u64(b, m->first);
	errs += buf_put_u64(b, m->last);
	errs += buf_put_u64(b, m->packets);
	errs += buf_put_u64(b, m->bytes);
	errs += buf_put_u64(b, m->first_ns);
	errs += buf_put_u64(b, m->last_ns);
	errs += buf_put_u8(b, m->place);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_gap(const struct frame *f, struct msg_gap *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_GAP, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u64(&c, &m->first) == -1 || cursor_u64(&c, &m->last) == -1 ||
	    cursor_u64(&c, &m->packets) == -1 || cursor_u64(&c, &m->bytes) == -1 || cursor_u64(&c, &m->first_ns) == -1 ||
	    cursor_u64(&c, &m->last_ns) == -1 || cursor_u8(&c, &m->place) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	if (m->first == 0 || m->first > m->last || m->last == UINT64_MAX || m->first_ns > m->last_ns ||
	    m->place < GAP_SPOOL || m->place > GAP_DISK)
		return msg_refuse();
	return 0;
}

int
msg_put_stream_end(struct buf *b, const struct msg_stream_end *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_END, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u64(b, m->number);
	errs += buf_put_u8(b, m->cut);
	return msg_close_frame(b, mark, errs);
}

/* Number 0: a stream that ended without a block. */
int
msg_get_stream_end(const struct frame *f, struct msg_stream_end *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_END, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u64(&c, &m->number) == -1 || cursor_u8(&c, &m->cut) == -1 ||
	    cursor_end(&c) == -1 || m->number == UINT64_MAX || m->cut > 1)
		return msg_refuse();
	return 0;
}

int
msg_put_ack(struct buf *b, const struct msg_mark *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_ACK, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u64(b, m->number);
	return msg_close_frame(b, mark, errs);
}

/* Number 0: nothing durable. */
int
msg_get_ack(const struct frame *f, struct msg_mark *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_ACK, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u64(&c, &m->number) == -1 || cursor_end(&c) == -1 ||
	    m->number == UINT64_MAX)
		return msg_refuse();
	return 0;
}

int
msg_put_stats(struct buf *b, const struct msg_stats *m)
{
	size_t mark;
	int errs;

	if (m->count > MSG_STATS_MAX)
		return msg_too_many();
	if (frame_begin(b, FRAME_STATS, &mark) == -1)
		return -1;
	errs = buf_put(b, m->stream, MSG_ID_SIZE);
	errs += buf_put_u64(b, m->wall_ns);
	errs += buf_put_u16(b, m->count);
	for (uint16_t i = 0; i < m->count; i++) {
		errs += buf_put_u16(b, m->stat[i].counter);
		errs += buf_put_u32(b, m->stat[i].interface);
		errs += buf_put_u64(b, m->stat[i].value);
	}
	return msg_close_frame(b, mark, errs);
}

/* A newer agent may count more than we know: such values are checked and passed over. */
static int
get_stat_list(struct cursor *c, uint16_t count, struct msg_stats *m)
{
	m->count = 0;
	for (uint16_t i = 0; i < count; i++) {
		struct msg_stat *s = &m->stat[m->count];

		if (cursor_u16(c, &s->counter) == -1 || cursor_u32(c, &s->interface) == -1 || cursor_u64(c, &s->value) == -1 ||
		    (s->interface >= MSG_INTERFACES_MAX && s->interface != STATS_AGENT))
			return -1;
		if (counter_row(s->counter) != NULL)
			m->count++;
	}
	return 0;
}

int
msg_get_stats(const struct frame *f, struct msg_stats *m)
{
	struct cursor c;
	uint16_t count;

	if (msg_open_frame(f, FRAME_STATS, &c) == -1)
		return -1;
	if (cursor_bytes(&c, m->stream, MSG_ID_SIZE) == -1 || cursor_u64(&c, &m->wall_ns) == -1 || cursor_u16(&c, &count) == -1 ||
	    count > MSG_STATS_MAX || get_stat_list(&c, count, m) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}

static int
put_ping(struct buf *b, enum frame_type type, const struct msg_ping *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, type, &mark) == -1)
		return -1;
	errs = buf_put_u64(b, m->token);
	errs += buf_put_u64(b, m->wall_ns);
	return msg_close_frame(b, mark, errs);
}

static int
get_ping(const struct frame *f, enum frame_type type, struct msg_ping *m)
{
	struct cursor c;

	if (msg_open_frame(f, type, &c) == -1)
		return -1;
	if (cursor_u64(&c, &m->token) == -1 || cursor_u64(&c, &m->wall_ns) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}

int
msg_put_ping(struct buf *b, const struct msg_ping *m)
{
	return put_ping(b, FRAME_PING, m);
}

int
msg_get_ping(const struct frame *f, struct msg_ping *m)
{
	return get_ping(f, FRAME_PING, m);
}

int
msg_put_pong(struct buf *b, const struct msg_ping *m)
{
	return put_ping(b, FRAME_PONG, m);
}

int
msg_get_pong(const struct frame *f, struct msg_ping *m)
{
	return get_ping(f, FRAME_PONG, m);
}

static int
put_end(struct buf *b, enum frame_type type, const struct msg_end *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, type, &mark) == -1)
		return -1;
	errs = buf_put_u16(b, m->code);
	errs += buf_put_str(b, m->text);
	return msg_close_frame(b, mark, errs);
}

static int
get_end(const struct frame *f, enum frame_type type, struct msg_end *m)
{
	struct cursor c;

	if (msg_open_frame(f, type, &c) == -1)
		return -1;
	if (cursor_u16(&c, &m->code) == -1 || cursor_str(&c, m->text, sizeof(m->text)) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}

int
msg_put_bye(struct buf *b, const struct msg_end *m)
{
	return put_end(b, FRAME_BYE, m);
}

int
msg_get_bye(const struct frame *f, struct msg_end *m)
{
	if (get_end(f, FRAME_BYE, m) == -1)
		return -1;
	return m->code > BYE_CODE_MAX ? msg_refuse() : 0;
}

int
msg_put_error(struct buf *b, const struct msg_end *m)
{
	return put_end(b, FRAME_ERROR, m);
}

int
msg_get_error(const struct frame *f, struct msg_end *m)
{
	if (get_end(f, FRAME_ERROR, m) == -1)
		return -1;
	return m->code == 0 || m->code > ERROR_CODE_MAX ? msg_refuse() : 0;
}
