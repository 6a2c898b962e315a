/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "proto/pcapng.h"

/* pcapng: what others wrote, checked block by block. Option values are looked at only where a length is fixed. */

#define BLOCK_MIN		12u	/* type, length, length again */

struct option {
	uint16_t	code, len;
	const uint8_t	*value;
};

/* Options whose length is fixed; the list ends with code 0. Others may have any. */
struct option_rule {
	uint16_t	code, len;
};
static const struct option_rule epb_rules[] = {
	{PCAPNG_EPB_FLAGS, 4}, {PCAPNG_EPB_DROPCOUNT, 8}, {PCAPNG_EPB_PACKETID, 8}, {PCAPNG_EPB_QUEUE, 4}, {0, 0}
};
static const struct option_rule isb_rules[] = {
	{PCAPNG_ISB_STARTTIME, 8}, {PCAPNG_ISB_ENDTIME, 8}, {PCAPNG_ISB_IFRECV, 8}, {PCAPNG_ISB_IFDROP, 8},
	{PCAPNG_ISB_FILTERACCEPT, 8}, {PCAPNG_ISB_OSDROP, 8}, {PCAPNG_ISB_USRDELIV, 8}, {0, 0}
};
static const struct option_rule idb_rules[] = {
	{PCAPNG_IF_IPV4, 8}, {PCAPNG_IF_IPV6, 17}, {PCAPNG_IF_MAC, 6}, {PCAPNG_IF_EUI, 8}, {PCAPNG_IF_SPEED, 8},
	{PCAPNG_IF_TSRESOL, 1}, {PCAPNG_IF_TSOFFSET, 8}, {0, 0}
};
static const struct option_rule shb_rules[] = {{0, 0}};

static int __attribute__((format(printf, 3, 4)))
fail(char *error, size_t error_size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, error_size, fmt, ap);
	va_end(ap);
	return -1;
}

static size_t
padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

/* 1: an option; 0: the end, with or without opt_endofopt, and nothing behind it; -1. */
static int
option_next(struct cursor *c, struct option *option)
{
	if (cursor_end(c) == 0)
		return 0;
	if (cursor_u16le(c, &option->code) == -1 || cursor_u16le(c, &option->len) == -1)
		return -1;
	if (option->code == 0)
		return option->len == 0 && cursor_end(c) == 0 ? 0 : -1;
	option->value = c->p;
	return cursor_skip(c, padded(option->len)) == -1 ? -1 : 1;
}

static int
option_check(const struct option *option, const struct option_rule *rule)
{
	for (; rule->code != 0; rule++) {
		if (rule->code == option->code)
			return rule->len == option->len ? 0 : -1;
	}
	return 0;
}

static uint32_t
option_u32(const struct option *option)
{
	struct cursor c;
	uint32_t value = 0;

	cursor_init(&c, option->value, option->len);
	cursor_u32le(&c, &value);
	return value;
}

static uint64_t
option_u64(const struct option *option)
{
	struct cursor c;
	uint64_t value = 0;

	cursor_init(&c, option->value, option->len);
	cursor_u64le(&c, &value);
	return value;
}

static int
options_check(struct cursor *c, const struct option_rule *rules)
{
	struct option option;
	int r;

	while ((r = option_next(c, &option)) == 1) {
		if (option_check(&option, rules) == -1)
			return -1;
	}
	return r;
}

static int
epb_options(struct cursor *c, struct pcapng_packet *packet)
{
	struct option option;
	int r;

	while ((r = option_next(c, &option)) == 1) {
		if (option_check(&option, epb_rules) == -1)
			return -1;
		if (option.code == PCAPNG_EPB_FLAGS)
			packet->flags = option_u32(&option);
		else if (option.code == PCAPNG_EPB_DROPCOUNT)
			packet->dropped = option_u64(&option);
		else if (option.code == PCAPNG_EPB_PACKETID)
			packet->packetid = option_u64(&option);
	}
	return r;
}

static const char *
check_epb(struct cursor *c, struct pcapng_packet *packet)
{
	uint32_t high, low;

	memset(packet, 0, sizeof(*packet));
	if (cursor_u32le(c, &packet->interface) == -1 || cursor_u32le(c, &high) == -1 || cursor_u32le(c, &low) == -1 ||
	    cursor_u32le(c, &packet->captured_len) == -1 || cursor_u32le(c, &packet->original_len) == -1)
		return "an enhanced packet block too short for its header";
	packet->time_ns = (uint64_t)high << 32 | low;
	if (packet->captured_len > PCAPNG_SNAPLEN || packet->captured_len > packet->original_len)
		return "a captured length above the snapshot length or the original length";
	packet->data = c->p;
	packet->zeroes = 0;
	if (cursor_skip(c, padded(packet->captured_len)) == -1)
		return "an enhanced packet block shorter than its packet";
	return epb_options(c, packet) == -1 ? "malformed options of an enhanced packet block" : NULL;
}

static const char *
check_isb(struct cursor *c)
{
	if (cursor_skip(c, 12) == -1)
		return "an interface statistics block too short for its header";
	return options_check(c, isb_rules) == -1 ? "malformed options of an interface statistics block" : NULL;
}

static const char *
check_idb(struct cursor *c)
{
	if (cursor_skip(c, 8) == -1)
		return "an interface description block too short for its header";
	return options_check(c, idb_rules) == -1 ? "malformed options of an interface description block" : NULL;
}

static const char *
check_shb(struct cursor *c)
{
	uint32_t magic;
	uint16_t major, minor;
	uint64_t section_length;

	if (cursor_u32le(c, &magic) == -1 || cursor_u16le(c, &major) == -1 || cursor_u16le(c, &minor) == -1 ||
	    cursor_u64le(c, &section_length) == -1)
		return "a section header block too short for its header";
	if (magic != PCAPNG_MAGIC || major != 1 || minor != 0)
		return "a section header of another byte order or version";
	return options_check(c, shb_rules) == -1 ? "malformed options of a section header block" : NULL;
}

static const char *
check_body(uint32_t type, struct cursor *body, struct pcapng_packet *packet)
{
	switch (type) {
	case PCAPNG_EPB:
		return check_epb(body, packet);
	case PCAPNG_ISB:
		return check_isb(body);
	case PCAPNG_IDB:
		return check_idb(body);
	case PCAPNG_SHB:
		return check_shb(body);
	default:
		return "a block of unknown type";
	}
}

/* A whole block's type, length and body; *torn: the bytes end before the block does. */
static const char *
split_block(struct cursor *c, uint32_t *type, uint32_t *length, struct cursor *body, bool *torn)
{
	uint32_t trailer;

	*torn = true;
	if (cursor_u32le(c, type) == -1 || cursor_u32le(c, length) == -1)
		return "cut short in a block's header";
	if (*length < BLOCK_MIN || *length % 4 != 0 || *length > PCAPNG_BLOCK_MAX) {
		*torn = false;
		return "an impossible block length";
	}
	if (cursor_sub(c, *length - BLOCK_MIN, body) == -1 || cursor_u32le(c, &trailer) == -1)
		return "cut short inside a block";
	*torn = false;
	return trailer == *length ? NULL : "a block whose two lengths differ";
}

void
pcapng_walk_init(struct pcapng_walk *walk, const uint8_t *data, size_t len)
{
	memset(walk, 0, sizeof(*walk));
	walk->p = data;
	walk->left = len;
}

static int
walk_next(struct pcapng_walk *walk, bool any, uint32_t *type, struct pcapng_packet *packet, const uint8_t **block,
    size_t *block_len)
{
	struct cursor c, body;
	const char *problem;
	uint32_t length;

	if (walk->left == 0)
		return 0;
	cursor_init(&c, walk->p, walk->left);
	problem = split_block(&c, type, &length, &body, &walk->torn);
	if (problem == NULL && !any && *type != PCAPNG_EPB && *type != PCAPNG_ISB)
		problem = "a block that is neither a packet nor statistics";
	if (problem == NULL)
		problem = check_body(*type, &body, packet);
	if (problem != NULL)
		return fail(walk->error, sizeof(walk->error), "at byte %zu: %s", walk->offset, problem);
	*block = walk->p;
	*block_len = length;
	walk->p = c.p;
	walk->left = c.left;
	walk->offset += length;
	return 1;
}

int
pcapng_walk_next(struct pcapng_walk *walk, uint32_t *type, struct pcapng_packet *packet, const uint8_t **block, size_t *block_len)
{
	return walk_next(walk, false, type, packet, block, block_len);
}

int
pcapng_walk_any(struct pcapng_walk *walk, uint32_t *type, struct pcapng_packet *packet, const uint8_t **block, size_t *block_len)
{
	return walk_next(walk, true, type, packet, block, block_len);
}

int
pcapng_next_comment(const uint8_t *block, size_t block_len, size_t *at, const uint8_t **text, size_t *text_len)
{
	struct cursor c, body;
	struct option option;
	uint32_t type, length, captured_len;
	bool torn;

	cursor_init(&c, block, block_len);
	if (split_block(&c, &type, &length, &body, &torn) != NULL || type != PCAPNG_EPB || cursor_skip(&body, 12) == -1 ||
	    cursor_u32le(&body, &captured_len) == -1 || cursor_skip(&body, 4) == -1 ||
	    cursor_skip(&body, padded(captured_len)) == -1 || cursor_skip(&body, *at) == -1)
		return 0;
	while (option_next(&body, &option) == 1) {
		*at += 4 + padded(option.len);
		if (option.code != PCAPNG_OPT_COMMENT)
			continue;
		*text = option.value;
		*text_len = option.len;
		return 1;
	}
	return 0;
}

static void
summary_add(struct pcapng_summary *summary, const struct pcapng_packet *packet)
{
	if (summary->packets == 0 || packet->time_ns < summary->first_ns)
		summary->first_ns = packet->time_ns;
	if (packet->time_ns > summary->last_ns)
		summary->last_ns = packet->time_ns;
	summary->packets++;
	summary->bytes += packet->captured_len;
}

/* The first field of both kinds of block, which the walk found to be there. */
static uint32_t
block_interface(const uint8_t *block, size_t block_len)
{
	struct cursor c;
	uint32_t interface = UINT32_MAX;

	cursor_init(&c, block, block_len);
	if (cursor_skip(&c, 8) == 0)
		cursor_u32le(&c, &interface);
	return interface;
}

int
pcapng_check_block(const uint8_t *data, size_t len, uint32_t interface_count, struct pcapng_summary *summary, char *error,
    size_t error_size)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t block_len;
	uint32_t type;
	int r;

	memset(summary, 0, sizeof(*summary));
	pcapng_walk_init(&walk, data, len);
	while ((r = pcapng_walk_next(&walk, &type, &packet, &block, &block_len)) == 1) {
		if (block_interface(block, block_len) >= interface_count)
			return fail(error, error_size, "at byte %zu: interface %u, but only %u are declared",
			    walk.offset - block_len, block_interface(block, block_len), interface_count);
		if (type == PCAPNG_EPB)
			summary_add(summary, &packet);
	}
	return r == 0 ? 0 : fail(error, error_size, "%s", walk.error);
}

/* -1: does not fit, or holds a NUL. */
static int
copy_text(char *dst, size_t dst_size, const uint8_t *text, size_t len)
{
	if (len >= dst_size || memchr(text, '\0', len) != NULL)
		return -1;
	memcpy(dst, text, len);
	dst[len] = '\0';
	return 0;
}

/* Only libpcap's language (kind 0) is kept. */
static int
copy_filter(struct pcapng_interface *interface, const struct option *option)
{
	if (option->len == 0)
		return -1;
	if (option->value[0] != 0)
		return 0;
	return copy_text(interface->filter, sizeof(interface->filter), option->value + 1, (size_t)option->len - 1);
}

/* Addresses beyond the room there is are passed over. */
static int
copy_ipv4(struct pcapng_interface *interface, const struct option *option)
{
	if (interface->ipv4_count < sizeof(interface->ipv4) / sizeof(interface->ipv4[0]))
		memcpy(interface->ipv4[interface->ipv4_count++], option->value, sizeof(interface->ipv4[0]));
	return 0;
}

static int
copy_ipv6(struct pcapng_interface *interface, const struct option *option)
{
	if (interface->ipv6_count < sizeof(interface->ipv6) / sizeof(interface->ipv6[0]))
		memcpy(interface->ipv6[interface->ipv6_count++], option->value, sizeof(interface->ipv6[0]));
	return 0;
}

static int
copy_mac(struct pcapng_interface *interface, const struct option *option)
{
	memcpy(interface->mac, option->value, sizeof(interface->mac));
	interface->has_mac = true;
	return 0;
}

static int
idb_option(struct pcapng_interface *interface, const struct option *option)
{
	switch (option->code) {
	case PCAPNG_IF_NAME:
		return copy_text(interface->name, sizeof(interface->name), option->value, option->len);
	case PCAPNG_IF_DESCRIPTION:
		return copy_text(interface->description, sizeof(interface->description), option->value, option->len);
	case PCAPNG_IF_IPV4:
		return copy_ipv4(interface, option);
	case PCAPNG_IF_IPV6:
		return copy_ipv6(interface, option);
	case PCAPNG_IF_MAC:
		return copy_mac(interface, option);
	case PCAPNG_IF_TSRESOL:
		interface->tsresol = option->value[0];
		return 0;
	case PCAPNG_IF_FILTER:
		return copy_filter(interface, option);
	case PCAPNG_IF_OS:
		return copy_text(interface->os, sizeof(interface->os), option->value, option->len);
	default:
		return 0;
	}
}

static int
idb_body(struct cursor *c, struct pcapng_interface *interface)
{
	struct option option;
	uint16_t reserved;
	int r;

	if (cursor_u16le(c, &interface->linktype) == -1 || cursor_u16le(c, &reserved) == -1 ||
	    cursor_u32le(c, &interface->snaplen) == -1)
		return -1;
	interface->tsresol = 6;		/* where the option is missing */
	while ((r = option_next(c, &option)) == 1) {
		if (option_check(&option, idb_rules) == -1 || idb_option(interface, &option) == -1)
			return -1;
	}
	return r;
}

int
pcapng_parse_idb(const uint8_t *data, size_t len, struct pcapng_interface *interface)
{
	struct cursor c, body;
	uint32_t type, length;
	bool torn;

	memset(interface, 0, sizeof(*interface));
	cursor_init(&c, data, len);
	if (split_block(&c, &type, &length, &body, &torn) != NULL || cursor_end(&c) == -1 || type != PCAPNG_IDB)
		return -1;
	if (idb_body(&body, interface) == -1)
		return -1;
	return interface->tsresol == 9 && interface->snaplen == PCAPNG_SNAPLEN ? 0 : -1;
}
