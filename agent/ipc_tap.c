/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "proto/frame.h"
#include "proto/rpcap.h"

#include "agent/ipc.h"

/* Fields in the order of the structs, as on the wire to a collector: the reader may be another process gone wrong. */

static int
ipc_put_endpoint(struct buf *buf, const struct ipc_endpoint *endpoint)
{
	int errs = 0;

	errs += buf_put_u8(buf, endpoint->family);
	errs += buf_put_u8(buf, endpoint->udp);
	errs += buf_put(buf, endpoint->address, sizeof(endpoint->address));
	errs += buf_put_u16(buf, endpoint->port);
	return errs == 0 ? 0 : -1;
}

static int
ipc_put_interface(struct buf *buf, const struct ipc_tap_interface *interface)
{
	int errs = 0;

	errs += buf_put_u32(buf, interface->ifindex);
	errs += buf_put_str(buf, interface->name);
	errs += buf_put_u8(buf, interface->has_mac);
	errs += buf_put(buf, interface->mac, sizeof(interface->mac));
	errs += buf_put_u8(buf, interface->ipv4_count);
	errs += buf_put_u8(buf, interface->ipv6_count);
	errs += buf_put(buf, interface->ipv4, sizeof(interface->ipv4[0]) * interface->ipv4_count);
	errs += buf_put(buf, interface->ipv6, sizeof(interface->ipv6[0]) * interface->ipv6_count);
	errs += buf_put_u8(buf, interface->paused);
	return errs == 0 ? 0 : -1;
}

/* What an RPCAP client wants, beside what others do. */
static int
ipc_put_client(struct buf *buf, const struct ipc_tap *tap)
{
	int errs = 0;

	errs += buf_put_u32(buf, tap->flush_ms);
	errs += buf_put_u8(buf, tap->promiscuous);
	errs += buf_put_u8(buf, tap->sampling.method);
	errs += buf_put_u32(buf, tap->sampling.value);
	errs += buf_put_u16(buf, tap->program_len);
	for (size_t i = 0; i < tap->program_len; i++) {
		errs += buf_put_u16(buf, tap->program[i].code);
		errs += buf_put_u8(buf, tap->program[i].jt);
		errs += buf_put_u8(buf, tap->program[i].jf);
		errs += buf_put_u32(buf, tap->program[i].k);
	}
	return errs == 0 ? 0 : -1;
}

static int
ipc_put_peers(struct buf *buf, const struct ipc_tap *tap)
{
	int errs = buf_put_u16(buf, tap->peer_count);

	for (size_t i = 0; i < tap->peer_count; i++) {
		errs += buf_put_u8(buf, tap->peer[i].family);
		errs += buf_put(buf, tap->peer[i].address, sizeof(tap->peer[i].address));
	}
	errs += buf_put_u8(buf, tap->balanced);
	errs += buf_put_u64(buf, tap->peers_until_ns);
	return errs == 0 ? 0 : -1;
}

static int
ipc_tap_valid(const struct ipc_tap *tap)
{
	if (tap->tap >= IPC_TAPS_MAX || tap->direction > DIRECTION_OUT || tap->sampling.method > RPCAP_SAMPLE_AFTER_N_MS ||
	    tap->program_len > IPC_PROGRAM_MAX || tap->own_count > IPC_OWN_MAX || tap->peer_count > IPC_PEERS_MAX ||
	    tap->interface_count > MSG_INTERFACES_MAX)
		return 0;
	for (size_t i = 0; i < tap->interface_count; i++)
		if (tap->interface[i].ipv4_count > sizeof(tap->interface[i].ipv4) / sizeof(tap->interface[i].ipv4[0]) ||
		    tap->interface[i].ipv6_count > sizeof(tap->interface[i].ipv6) / sizeof(tap->interface[i].ipv6[0]))
			return 0;
	return 1;
}

void
ipc_tap_copy(struct ipc_tap *to, const struct ipc_tap *from)
{
	uint8_t *dst = (uint8_t *)to;
	const uint8_t *src = (const uint8_t *)from;
	size_t step = 512, len;

	for (size_t at = 0; at < sizeof(*to); at += len) {
		len = sizeof(*to) - at < step ? sizeof(*to) - at : step;
		if (memcmp(dst + at, src + at, len) != 0)
			memcpy(dst + at, src + at, len);
	}
}

static int
ipc_put_tap(struct buf *buf, const struct ipc_tap *tap)
{
	int errs = 0;

	errs += buf_put_u8(buf, tap->tap);
	errs += buf_put_u64(buf, tap->version);
	errs += buf_put_u8(buf, tap->active);
	errs += buf_put_str(buf, tap->filter);
	errs += buf_put_u32(buf, tap->snaplen);
	errs += buf_put_u8(buf, tap->direction);
	errs += ipc_put_client(buf, tap);
	errs += slice_put(buf, &tap->slice);
	errs += buf_put_str(buf, tap->codec);
	errs += buf_put_u8(buf, tap->digest);
	errs += buf_put(buf, tap->secret, sizeof(tap->secret));
	errs += buf_put_u16(buf, tap->own_count);
	for (size_t i = 0; i < tap->own_count; i++)
		errs += ipc_put_endpoint(buf, &tap->own[i]);
	errs += ipc_put_peers(buf, tap);
	errs += buf_put_u16(buf, tap->interface_count);
	for (size_t i = 0; i < tap->interface_count; i++)
		errs += ipc_put_interface(buf, &tap->interface[i]);
	return errs == 0 ? 0 : -1;
}

/* Sends and frees what was put; errs: of the putting. */
static int
ipc_send_buf(struct ipc *ipc, enum ipc_type type, struct buf *buf, int errs)
{
	int saved, result = -1;

	if (errs == 0)
		result = ipc_send(ipc, type, buf->data, buf->len, NULL, 0);
	saved = errno;
	buf_clear(buf);
	errno = saved;
	return result;
}

int
ipc_send_shutdown(struct ipc *ipc, uint32_t left_ms)
{
	struct buf buf;

	buf_init(&buf, IPC_SIZE_MAX);
	return ipc_send_buf(ipc, IPC_SHUTDOWN, &buf, buf_put_u32(&buf, left_ms));
}

int
ipc_get_shutdown(const struct ipc_message *message, uint32_t *left_ms)
{
	struct cursor cursor;

	cursor_init(&cursor, message->payload, message->length);
	if (message->type == IPC_SHUTDOWN && cursor_u32(&cursor, left_ms) == 0 && cursor_end(&cursor) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

int
ipc_send_tap(struct ipc *ipc, const struct ipc_tap *tap)
{
	struct buf buf;

	if (!ipc_tap_valid(tap)) {
		errno = EINVAL;
		return -1;
	}
	buf_init(&buf, IPC_SIZE_MAX);
	return ipc_send_buf(ipc, IPC_TAP, &buf, ipc_put_tap(&buf, tap));
}

/* A byte that is 0 or 1. */
static int
ipc_get_bool(struct cursor *cursor, bool *out)
{
	uint8_t value;

	if (cursor_u8(cursor, &value) == -1 || value > 1)
		return -1;
	*out = value == 1;
	return 0;
}

static int
ipc_get_endpoint(struct cursor *cursor, struct ipc_endpoint *endpoint)
{
	if (cursor_u8(cursor, &endpoint->family) == -1 ||
	    ipc_get_bool(cursor, &endpoint->udp) == -1 ||
	    cursor_bytes(cursor, endpoint->address, sizeof(endpoint->address)) == -1 ||
	    cursor_u16(cursor, &endpoint->port) == -1)
		return -1;
	return 0;
}

static int
ipc_get_interface(struct cursor *cursor, struct ipc_tap_interface *interface)
{
	if (cursor_u32(cursor, &interface->ifindex) == -1 ||
	    cursor_str(cursor, interface->name, sizeof(interface->name)) == -1 ||
	    ipc_get_bool(cursor, &interface->has_mac) == -1 ||
	    cursor_bytes(cursor, interface->mac, sizeof(interface->mac)) == -1 ||
	    cursor_u8(cursor, &interface->ipv4_count) == -1 ||
	    cursor_u8(cursor, &interface->ipv6_count) == -1 ||
	    interface->ipv4_count > sizeof(interface->ipv4) / sizeof(interface->ipv4[0]) ||
	    interface->ipv6_count > sizeof(interface->ipv6) / sizeof(interface->ipv6[0]) ||
	    cursor_bytes(cursor, interface->ipv4, sizeof(interface->ipv4[0]) * interface->ipv4_count) == -1 ||
	    cursor_bytes(cursor, interface->ipv6, sizeof(interface->ipv6[0]) * interface->ipv6_count) == -1 ||
	    ipc_get_bool(cursor, &interface->paused) == -1)
		return -1;
	return 0;
}

static int
ipc_get_client(struct cursor *cursor, struct ipc_tap *tap)
{
	if (cursor_u32(cursor, &tap->flush_ms) == -1 || ipc_get_bool(cursor, &tap->promiscuous) == -1 ||
	    cursor_u8(cursor, &tap->sampling.method) == -1 || tap->sampling.method > RPCAP_SAMPLE_AFTER_N_MS ||
	    cursor_u32(cursor, &tap->sampling.value) == -1 ||
	    cursor_u16(cursor, &tap->program_len) == -1 || tap->program_len > IPC_PROGRAM_MAX)
		return -1;
	for (size_t i = 0; i < tap->program_len; i++)
		if (cursor_u16(cursor, &tap->program[i].code) == -1 ||
		    cursor_u8(cursor, &tap->program[i].jt) == -1 ||
		    cursor_u8(cursor, &tap->program[i].jf) == -1 ||
		    cursor_u32(cursor, &tap->program[i].k) == -1)
			return -1;
	return 0;
}

static int
ipc_get_peers(struct cursor *cursor, struct ipc_tap *tap)
{
	if (cursor_u16(cursor, &tap->peer_count) == -1 || tap->peer_count > IPC_PEERS_MAX)
		return -1;
	for (size_t i = 0; i < tap->peer_count; i++)
		if (cursor_u8(cursor, &tap->peer[i].family) == -1 ||
		    cursor_bytes(cursor, tap->peer[i].address, sizeof(tap->peer[i].address)) == -1)
			return -1;
	return ipc_get_bool(cursor, &tap->balanced) == -1 || cursor_u64(cursor, &tap->peers_until_ns) == -1 ? -1 : 0;
}

static int
ipc_get_tap_lists(struct cursor *cursor, struct ipc_tap *tap)
{
	if (cursor_u16(cursor, &tap->own_count) == -1 || tap->own_count > IPC_OWN_MAX)
		return -1;
	for (size_t i = 0; i < tap->own_count; i++)
		if (ipc_get_endpoint(cursor, &tap->own[i]) == -1)
			return -1;
	if (ipc_get_peers(cursor, tap) == -1)
		return -1;
	if (cursor_u16(cursor, &tap->interface_count) == -1 || tap->interface_count > MSG_INTERFACES_MAX)
		return -1;
	for (size_t i = 0; i < tap->interface_count; i++)
		if (ipc_get_interface(cursor, &tap->interface[i]) == -1)
			return -1;
	return cursor_end(cursor);
}

int
ipc_get_tap(const struct ipc_message *message, struct ipc_tap *tap)
{
	struct cursor cursor;

	memset(tap, 0, sizeof(*tap));
	cursor_init(&cursor, message->payload, message->length);
	if (message->type == IPC_TAP &&
	    cursor_u8(&cursor, &tap->tap) == 0 && tap->tap < IPC_TAPS_MAX &&
	    cursor_u64(&cursor, &tap->version) == 0 &&
	    ipc_get_bool(&cursor, &tap->active) == 0 &&
	    cursor_str(&cursor, tap->filter, sizeof(tap->filter)) == 0 &&
	    cursor_u32(&cursor, &tap->snaplen) == 0 &&
	    cursor_u8(&cursor, &tap->direction) == 0 && tap->direction <= DIRECTION_OUT &&
	    ipc_get_client(&cursor, tap) == 0 &&
	    slice_get(&cursor, &tap->slice) == 0 && cursor_str(&cursor, tap->codec, sizeof(tap->codec)) == 0 &&
	    ipc_get_bool(&cursor, &tap->digest) == 0 && cursor_bytes(&cursor, tap->secret, sizeof(tap->secret)) == 0 &&
	    ipc_get_tap_lists(&cursor, tap) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

int
ipc_send_lease(struct ipc *ipc, const struct ipc_lease *lease)
{
	struct buf buf;
	int errs;

	buf_init(&buf, IPC_SIZE_MAX);
	errs = buf_put_u8(&buf, lease->tap) + buf_put_u64(&buf, lease->peers_until_ns);
	return ipc_send_buf(ipc, IPC_LEASE, &buf, errs);
}

int
ipc_get_lease(const struct ipc_message *message, struct ipc_lease *lease)
{
	struct cursor cursor;

	memset(lease, 0, sizeof(*lease));
	cursor_init(&cursor, message->payload, message->length);
	if (message->type == IPC_LEASE && cursor_u8(&cursor, &lease->tap) == 0 && lease->tap < IPC_TAPS_MAX &&
	    cursor_u64(&cursor, &lease->peers_until_ns) == 0 && cursor_end(&cursor) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

int
ipc_send_tap_result(struct ipc *ipc, const struct ipc_tap_result *result)
{
	struct buf buf;
	int errs = 0;

	buf_init(&buf, IPC_SIZE_MAX);
	errs += buf_put_u8(&buf, result->tap);
	errs += buf_put_u64(&buf, result->version);
	errs += buf_put_u8(&buf, result->accepted);
	errs += buf_put_str(&buf, result->reason);
	return ipc_send_buf(ipc, IPC_TAP_RESULT, &buf, errs);
}

int
ipc_get_tap_result(const struct ipc_message *message, struct ipc_tap_result *result)
{
	struct cursor cursor;

	memset(result, 0, sizeof(*result));
	cursor_init(&cursor, message->payload, message->length);
	if (message->type == IPC_TAP_RESULT &&
	    cursor_u8(&cursor, &result->tap) == 0 && result->tap < IPC_TAPS_MAX &&
	    cursor_u64(&cursor, &result->version) == 0 &&
	    ipc_get_bool(&cursor, &result->accepted) == 0 &&
	    cursor_str(&cursor, result->reason, sizeof(result->reason)) == 0 &&
	    cursor_end(&cursor) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

/* As the frame that tells them. */
int
ipc_send_last_stats(struct ipc *ipc, uint8_t tap, const struct msg_stats *stats)
{
	struct buf buf;
	int errs;

	buf_init(&buf, IPC_SIZE_MAX);
	errs = buf_put_u8(&buf, tap) + msg_put_stats(&buf, stats);
	return ipc_send_buf(ipc, IPC_LAST_STATS, &buf, errs);
}

int
ipc_get_last_stats(const struct ipc_message *message, uint8_t *tap, struct msg_stats *stats)
{
	struct frame frame;

	if (message->type == IPC_LAST_STATS && message->length > 0 && (*tap = message->payload[0]) < IPC_TAPS_MAX &&
	    frame_parse(message->payload + 1, message->length - 1, &frame) == FRAME_OK &&
	    message->length == 1 + FRAME_HEADER_SIZE + frame.length && msg_get_stats(&frame, stats) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

int
ipc_send_interface_gone(struct ipc *ipc, const struct ipc_interface_gone *gone)
{
	struct buf buf;
	int errs = 0;

	buf_init(&buf, IPC_SIZE_MAX);
	errs += buf_put_u8(&buf, gone->tap);
	errs += buf_put_u32(&buf, gone->ifindex);
	errs += buf_put_str(&buf, gone->reason);
	return ipc_send_buf(ipc, IPC_INTERFACE_GONE, &buf, errs);
}

int
ipc_get_interface_gone(const struct ipc_message *message, struct ipc_interface_gone *gone)
{
	struct cursor cursor;

	memset(gone, 0, sizeof(*gone));
	cursor_init(&cursor, message->payload, message->length);
	if (message->type == IPC_INTERFACE_GONE &&
	    cursor_u8(&cursor, &gone->tap) == 0 && gone->tap < IPC_TAPS_MAX &&
	    cursor_u32(&cursor, &gone->ifindex) == 0 &&
	    cursor_str(&cursor, gone->reason, sizeof(gone->reason)) == 0 &&
	    cursor_end(&cursor) == 0)
		return 0;
	errno = EBADMSG;
	return -1;
}

int
ipc_send_linktype(struct ipc *ipc, enum ipc_type type, const struct ipc_linktype *linktype)
{
	struct buf buf;
	int errs = 0;

	buf_init(&buf, IPC_SIZE_MAX);
	errs += buf_put_u32(&buf, linktype->ticket);
	errs += buf_put_u32(&buf, linktype->ifindex);
	errs += buf_put_str(&buf, linktype->name);
	errs += buf_put_u32(&buf, (uint32_t)linktype->linktype);
	errs += buf_put_str(&buf, linktype->reason);
	return ipc_send_buf(ipc, type, &buf, errs);
}

int
ipc_get_linktype(const struct ipc_message *message, struct ipc_linktype *linktype)
{
	struct cursor cursor;
	uint32_t value;

	memset(linktype, 0, sizeof(*linktype));
	cursor_init(&cursor, message->payload, message->length);
	if ((message->type == IPC_LINKTYPE_REQUEST || message->type == IPC_LINKTYPE) &&
	    cursor_u32(&cursor, &linktype->ticket) == 0 &&
	    cursor_u32(&cursor, &linktype->ifindex) == 0 &&
	    cursor_str(&cursor, linktype->name, sizeof(linktype->name)) == 0 &&
	    cursor_u32(&cursor, &value) == 0 &&
	    cursor_str(&cursor, linktype->reason, sizeof(linktype->reason)) == 0 &&
	    cursor_end(&cursor) == 0) {
		linktype->linktype = (int32_t)value;
		return 0;
	}
	errno = EBADMSG;
	return -1;
}

int
ipc_send_count(struct ipc *ipc, enum ipc_type type, uint8_t tap)
{
	return ipc_send(ipc, type, &tap, sizeof(tap), NULL, 0);
}

int
ipc_get_count(const struct ipc_message *message, uint8_t *tap)
{
	if ((message->type == IPC_COUNT_REQUEST || message->type == IPC_COUNTED) && message->length == sizeof(*tap) &&
	    message->payload[0] < IPC_TAPS_MAX) {
		*tap = message->payload[0];
		return 0;
	}
	errno = EBADMSG;
	return -1;
}
