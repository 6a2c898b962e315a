/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>

#include "proto/flow.h"

#define LINKTYPE_ETHERNET	1

static unsigned
u16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t
u32(const uint8_t *p)
{
	return (uint32_t)u16(p) << 16 | u16(p + 2);
}

static bool
is_tag(unsigned type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

/* The Ethertype behind the link header and its tags, and where it leads; -1: the packet ends before. */
static int
link_type(enum bpf_link link, unsigned protocol, const uint8_t *d, size_t len, size_t *off)
{
	unsigned type = protocol, tags = 0;

	*off = link == BPF_LINK_ETHERNET ? 14 : 0;
	if (len < *off + 20)
		return -1;
	if (link == BPF_LINK_ETHERNET)
		type = u16(d + 12);
	for (; tags < 2 && is_tag(type); tags++) {
		if (*off + 4 > len)
			return -1;
		type = u16(d + *off + 2);
		*off += 4;
	}
	return (int)type;
}

static uint32_t
mixed(uint32_t end)
{
	end *= 0x85ebca6b;
	end ^= end >> 15;
	return end * 0xc2b2ae35;
}

static uint32_t
address_number(const uint8_t *address, unsigned words)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < words; i++)
		n = n * 0x9e3779b1 + u32(address + 4 * i);
	return n;
}

static void
flow_set_hash(struct flow *flow, const uint8_t *ports)
{
	unsigned words = flow->family == AF_INET ? 1 : 4;
	uint32_t source = address_number(flow->source, words), destination = address_number(flow->destination, words);

	if (ports != NULL) {
		source += u16(ports) * 0x9e3779b1u;
		destination += u16(ports + 2) * 0x9e3779b1u;
	}
	flow->hash = (mixed(source) + mixed(destination)) >> 26;
	flow->known = true;
}

static bool
is_icmp_error(unsigned protocol, unsigned type)
{
	if (protocol == 1)
		return (type >= 3 && type <= 5) || type == 11 || type == 12;
	return protocol == 58 && type >= 1 && type <= 4;
}

static void
flow_transport(struct flow *flow, unsigned protocol, const uint8_t *d, size_t len, size_t off)
{
	if (protocol == 6) {
		if (off + 4 <= len)
			flow_set_hash(flow, d + off);
		return;
	}
	if ((protocol == 1 || protocol == 58) && (off >= len || is_icmp_error(protocol, d[off])))
		flow->icmp_error = true;
	flow_set_hash(flow, NULL);
}

static void
flow_v4(struct flow *flow, const uint8_t *d, size_t len, size_t off)
{
	const uint8_t *ip = d + off;

	flow->family = AF_INET;
	flow->source = ip + 12;
	flow->destination = ip + 16;
	if ((u16(ip + 6) & 0x3fff) != 0) {
		flow->icmp_error = ip[9] == 1 || ip[9] == 58;
		flow->tcp_fragment = ip[9] == 6;
		flow_set_hash(flow, NULL);
	} else {
		flow_transport(flow, ip[9], d, len, off + (ip[0] & 0xfu) * 4);
	}
}

static void
flow_v6(struct flow *flow, const uint8_t *d, size_t len, size_t off)
{
	const uint8_t *ip = d + off;
	unsigned next = ip[6], walked = 0;

	flow->family = AF_INET6;
	flow->source = ip + 8;
	flow->destination = ip + 24;
	for (off += 40; walked < 4 && (next == 0 || next == 43 || next == 51 || next == 60); walked++) {
		if (off + 8 > len)
			return;
		ip = d + off;
		off += next == 51 ? (ip[1] + 2u) * 4 : (ip[1] + 1u) * 8;
		next = ip[0];
	}
	if (next != 44) {
		flow_transport(flow, next, d, len, off);
		return;
	}
	flow->icmp_error = off + 8 > len || d[off] == 1 || d[off] == 58;
	flow->tcp_fragment = off + 8 <= len && d[off] == 6;
	flow_set_hash(flow, NULL);
}

struct flow
flow_of(enum bpf_link link, uint16_t protocol, const uint8_t *d, size_t len)
{
	struct flow flow = { .known = false };
	size_t off;
	int type = link_type(link, protocol, d, len, &off);

	if ((type != 0x0800 && type != 0x86dd) || off + 20 > len)
		return flow;
	if (d[off] >= 0x45 && d[off] <= 0x4f)
		flow_v4(&flow, d, len, off);
	else if (d[off] >> 4 == 6 && off + 40 <= len)
		flow_v6(&flow, d, len, off);
	return flow;
}

struct flow
flow_of_stored(uint16_t linktype, const uint8_t *d, size_t len)
{
	return flow_of(linktype == LINKTYPE_ETHERNET ? BPF_LINK_ETHERNET : BPF_LINK_RAW, len > 0 && d[0] >> 4 == 6 ? 0x86dd : 0x0800, d,
	    len);
}
