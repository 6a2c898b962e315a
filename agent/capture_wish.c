/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/frame.h"
#include "proto/pcapng.h"
#include "agent/capture_filter.h"
#include "agent/governor.h"

/* What shall be in the filter, of all that have a say in it. */

bool
capture_filter_given(const char *text)
{
	return text != NULL && text[strspn(text, " \t\r\n")] != '\0';
}

/* What is left out anyway makes the filter no longer. */
static void
wish_add_endpoint(struct capture_wish *w, const struct ipc_endpoint *endpoint)
{
	for (size_t i = 0; i < w->own_count; i++)
		if (w->own[i].family == 0 && w->own[i].udp == endpoint->udp && w->own[i].port == endpoint->port)
			return;
	w->own[w->own_count++] = *endpoint;
}

static void
wish_add_port(struct capture_wish *w, uint16_t port)
{
	wish_add_endpoint(w, &(struct ipc_endpoint){ .port = port });
}

/* vmtap's own port always, the configuration's, and what the link role knows of its connections. */
static int
wish_add_own(struct capture_wish *w, const struct agent_options *options, const struct ipc_tap *tap, char error[MSG_TEXT_SIZE])
{
	const struct conf_list *ports = &options->exclude_ports;
	unsigned long port;
	char *end;

	if (ports->count + tap->own_count + 1 > CAPTURE_ENDPOINTS_MAX) {
		snprintf(error, MSG_TEXT_SIZE, "more than %d addresses and ports to exclude", CAPTURE_ENDPOINTS_MAX);
		return -1;
	}
	wish_add_port(w, FRAME_PORT);
	for (size_t i = 0; i < ports->count; i++) {
		port = strtoul(ports->value[i], &end, 10);
		if (*end != '\0' || end == ports->value[i] || port == 0 || port > UINT16_MAX) {
			snprintf(error, MSG_TEXT_SIZE, "%s: exclude-port \"%.64s\": not a port number from 1 to 65535", ports->origin[i],
			    ports->value[i]);
			return -1;
		}
		wish_add_port(w, (uint16_t)port);
	}
	for (size_t i = 0; i < tap->own_count; i++)
		wish_add_endpoint(w, &tap->own[i]);
	return 0;
}

static uint32_t
smaller_snaplen(uint64_t guest, uint32_t remote)
{
	uint32_t snaplen = guest > 0 && guest < PCAPNG_SNAPLEN ? (uint32_t)guest : PCAPNG_SNAPLEN;

	return remote > 0 && remote < snaplen ? remote : snaplen;
}

/* The guest's, the policy's, and what the governor takes away. */
static int
wish_add_slice(struct capture_wish *w, const struct agent_options *options, const struct ipc_tap *tap,
    const struct governor_orders *orders, char error[MSG_TEXT_SIZE])
{
	struct slice guest = { .mask = options->mask }, governed = { .headers = orders->slice };

	if (options->slice != NULL && slice_parse(options->slice, &guest, error, MSG_TEXT_SIZE) == -1)
		return -1;
	w->agreed = slice_narrower(&guest, &tap->slice);
	w->slice = slice_narrower(&w->agreed, &governed);
	w->slice.mask &= !orders->slice;	/* lengths are told anyway, and zeroes cost */
	return 0;
}

static void
wish_add_address(struct capture_wish *w, uint8_t family, const uint8_t *bytes, size_t len)
{
	struct bpf_peer *address;

	if (w->address_count == BPF_WITHHELD_OWN_MAX)
		return;
	address = &w->address[w->address_count++];
	address->family = family;
	memcpy(address->address, bytes, len);
}

static void
wish_add_addresses(struct capture_wish *w, const struct ipc_tap *tap)
{
	for (size_t i = 0; i < tap->interface_count; i++) {
		const struct ipc_tap_interface *interface = &tap->interface[i];

		for (size_t k = 0; k < interface->ipv4_count; k++)
			wish_add_address(w, AF_INET, interface->ipv4[k], 4);
		for (size_t k = 0; k < interface->ipv6_count; k++)
			wish_add_address(w, AF_INET6, interface->ipv6[k], 16);
	}
}

int
capture_wish_init(struct capture_wish *w, const struct agent_options *options, const struct ipc_tap *tap,
    const struct governor_orders *orders, char error[MSG_TEXT_SIZE])
{
	static const struct governor_orders none = GOVERNOR_NO_ORDERS;

	if (orders == NULL)
		orders = &none;
	memset(w, 0, sizeof(*w));
	w->never = &options->never;
	w->keep = orders->keep;
	w->peer = tap->peer;
	w->peer_count = tap->peer_count;
	w->balanced = tap->balanced;
	wish_add_addresses(w, tap);
	w->guest = options->filter;
	w->remote = tap->filter;
	w->operator = tap->tap > 0;
	w->program = tap->program;
	w->program_len = tap->program_len;
	w->snaplen = smaller_snaplen(options->snaplen, tap->snaplen);
	w->direction = options->direction != DIRECTION_INOUT ? (enum msg_direction)options->direction : tap->direction;
	if (tap->direction != DIRECTION_INOUT && w->direction != tap->direction) {
		snprintf(error, MSG_TEXT_SIZE, "direction \"%s\" is asked for, but the guest allows \"%s\" only: nothing would be captured",
		    tap->direction == DIRECTION_IN ? "in" : "out", w->direction == DIRECTION_IN ? "in" : "out");
		return -1;
	}
	if (wish_add_slice(w, options, tap, orders, error) == -1)
		return -1;
	return wish_add_own(w, options, tap, error);
}

/* Of ports that not every agent leaves out, for another may rely on this one to deliver what is sent to them. */
static void
text_add_own(struct buf *text, const struct capture_wish *w)
{
	for (size_t i = 0; i < w->own_count; i++)
		if (w->own[i].family == 0 && (w->own[i].udp || w->own[i].port != FRAME_PORT))
			buf_printf(text, "%snot (%s port %u)", text->len > 0 ? " and " : "", w->own[i].udp ? "udp" : "tcp",
			    w->own[i].port);
}

void
capture_wish_text(const struct capture_wish *w, char *dst, size_t dst_size)
{
	const char *filters[] = { w->guest, w->remote };
	const char *direction = w->direction == DIRECTION_IN ? "inbound" : "outbound";
	struct buf text;
	size_t len;

	buf_init(&text, (2 + AGENT_NEVER_MAX) * (MSG_FILTER_SIZE + 16) + CAPTURE_ENDPOINTS_MAX * 32 + 64);
	for (size_t i = 0; i < 2; i++)
		if (capture_filter_given(filters[i]))
			buf_printf(&text, "%s(%s)", text.len > 0 ? " and " : "", filters[i]);
	for (size_t i = 0; i < w->never->count; i++)
		buf_printf(&text, "%snot (%s)", text.len > 0 ? " and " : "", w->never->value[i]);
	text_add_own(&text, w);
	if (w->direction != DIRECTION_INOUT)
		buf_printf(&text, "%s%s", text.len > 0 ? " and " : "", direction);
	len = text.len < dst_size ? text.len : dst_size - 1;
	if (len > 0)
		memcpy(dst, text.data, len);
	dst[len] = '\0';
	if (len < text.len && len > 3)
		memcpy(dst + len - 3, "...", 3);
	buf_clear(&text);
}

void
capture_wish_slice_text(const struct capture_wish *w, char *dst, size_t dst_size)
{
	char slice[64] = "", snaplen[32] = "";

	if (slice_cuts(&w->agreed) && w->agreed.payload == 0)
		snprintf(slice, sizeof(slice), "headers only");
	else if (slice_cuts(&w->agreed))
		snprintf(slice, sizeof(slice), "headers and %u bytes of payload", w->agreed.payload);
	if (w->snaplen < PCAPNG_SNAPLEN)
		snprintf(snaplen, sizeof(snaplen), "%sfirst %u bytes", *slice != '\0' ? ", of the " : "", w->snaplen);
	snprintf(dst, dst_size, "%s%s%s", slice, w->agreed.mask ? ", " SLICE_ZEROES_TEXT : "", snaplen);
}
