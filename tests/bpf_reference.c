/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <string.h>

#include "tests/bpf_reference.h"

#define TUNNEL_LEVELS	2
#define WHOLE		SIZE_MAX	/* headers that end with the packet */

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

/* --- flows --- */

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
flow_hash(struct reference_flow *flow, const uint8_t *ports)
{
	unsigned words = flow->family == AF_INET ? 1 : 4;
	uint32_t source = address_number(flow->source, words), destination = address_number(flow->source + 4 * words, words);

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
flow_transport(struct reference_flow *flow, unsigned protocol, const uint8_t *d, size_t len, size_t off)
{
	if (protocol == 6) {
		if (off + 4 <= len)
			flow_hash(flow, d + off);
		return;
	}
	if ((protocol == 1 || protocol == 58) && (off >= len || is_icmp_error(protocol, d[off])))
		flow->icmp_error = true;
	flow_hash(flow, NULL);
}

static void
flow_v4(struct reference_flow *flow, const uint8_t *d, size_t len, size_t off)
{
	const uint8_t *ip = d + off;

	flow->family = AF_INET;
	flow->source = ip + 12;
	flow->destination = ip + 16;
	if ((u16(ip + 6) & 0x3fff) != 0) {
		flow->icmp_error = ip[9] == 1 || ip[9] == 58;
		flow_hash(flow, NULL);
	} else {
		flow_transport(flow, ip[9], d, len, off + (ip[0] & 0xfu) * 4);
	}
}

static void
flow_v6(struct reference_flow *flow, const uint8_t *d, size_t len, size_t off)
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
	flow_hash(flow, NULL);
}

struct reference_flow
reference_flow(enum bpf_link link, uint16_t protocol, const uint8_t *d, size_t len)
{
	struct reference_flow flow = { .known = false };
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

/* --- headers --- */

struct headers {
	const uint8_t	*d;
	size_t		 len;
	size_t		 off;		/* of the next header */
	unsigned	 level;
};

static size_t	headers_type(struct headers *, unsigned type);
static size_t	headers_ip(struct headers *);

static bool
pass(struct headers *h, size_t size)
{
	h->off += size;
	return h->off <= h->len;
}

static size_t
headers_leaf(struct headers *h, unsigned protocol)
{
	unsigned tcp;

	switch (protocol) {
	case 6:
		if (h->off + 13 > h->len)
			return WHOLE;
		tcp = (h->d[h->off + 12] >> 4) * 4u;
		return h->off + (tcp < 20 ? 20 : tcp);
	case 1:
	case 17:
	case 50:
	case 58:
		return h->off + 8;
	case 132:
		return h->off + 12;
	}
	return h->off;
}

/* 1: there was one, 0: none, -1: the packet ends in it. */
static int
headers_extension(struct headers *h, unsigned *next)
{
	const uint8_t *p = h->d + h->off;

	if (*next != 0 && *next != 43 && *next != 51 && *next != 60)
		return 0;
	if (h->off + 8 > h->len)
		return -1;
	h->off += *next == 51 ? (p[1] + 2u) * 4 : (p[1] + 1u) * 8;
	*next = p[0];
	return 1;
}

/* Up to 3 extension headers and a fragment header, where no tunnel is looked for any more. */
static size_t
headers_last(struct headers *h, unsigned next)
{
	for (int i = 0, found = 1; i < 3 && found == 1; i++)
		if ((found = headers_extension(h, &next)) == -1)
			return WHOLE;
	if (next != 44)
		return headers_leaf(h, next);
	if (!pass(h, 8))
		return WHOLE;
	if ((u16(h->d + h->off - 6) & 0xfff8) != 0)
		return h->off;
	return headers_leaf(h, h->d[h->off - 8]);
}

static size_t
headers_ethernet(struct headers *h)
{
	if (!pass(h, 14))
		return WHOLE;
	return headers_type(h, u16(h->d + h->off - 2));
}

static size_t
headers_payload(struct headers *h, unsigned type)
{
	return type == 0x6558 ? headers_ethernet(h) : headers_type(h, type);
}

static size_t
headers_udp(struct headers *h)
{
	unsigned port;

	if (!pass(h, 8))
		return WHOLE;
	port = u16(h->d + h->off - 6);
	if (port == 4789 && h->off + 8 <= h->len && (h->d[h->off] & 0x7f) == 0x08) {
		h->level++;
		h->off += 8;
		return headers_ethernet(h);
	}
	if (port != 6081 || h->off + 8 > h->len || (h->d[h->off] & 0xc0) != 0 || (h->d[h->off + 1] & 0x3f) != 0)
		return h->off;
	h->off += 8;
	h->level++;
	port = u16(h->d + h->off - 6);
	h->off += (h->d[h->off - 8] & 0x3fu) * 4;
	return headers_payload(h, port);
}

static size_t
headers_gre(struct headers *h)
{
	unsigned flags, type;

	if (!pass(h, 4))
		return WHOLE;
	flags = u16(h->d + h->off - 4);
	type = u16(h->d + h->off - 2);
	if ((flags & 0x4007) != 0)
		return h->off;
	for (unsigned bit = 0x8000; bit >= 0x1000; bit >>= 1)
		if ((flags & bit) != 0)
			h->off += 4;
	h->level++;
	return headers_payload(h, type);
}

static size_t
headers_transport(struct headers *h, unsigned protocol)
{
	if (h->level == TUNNEL_LEVELS)
		return headers_last(h, protocol);
	switch (protocol) {
	case 17:
		return headers_udp(h);
	case 47:
		return headers_gre(h);
	case 4:
	case 41:
		h->level++;
		return headers_ip(h);
	}
	return headers_last(h, protocol);
}

static size_t
headers_ip(struct headers *h)
{
	const uint8_t *ip = h->d + h->off;
	unsigned next;

	if (h->off + 20 > h->len)
		return WHOLE;
	if (ip[0] >= 0x45 && ip[0] <= 0x4f) {
		h->off += (ip[0] & 0xfu) * 4;
		return (u16(ip + 6) & 0x1fff) != 0 ? h->off : headers_transport(h, ip[9]);
	}
	if (ip[0] >> 4 != 6)
		return h->off;
	if (!pass(h, 40))
		return WHOLE;
	next = ip[6];
	if (h->level == 0 && headers_extension(h, &next) == -1)
		return WHOLE;
	return headers_transport(h, next);
}

static size_t
headers_mpls(struct headers *h)
{
	for (int label = 0; label < 3; label++) {
		if (!pass(h, 4))
			return WHOLE;
		if ((h->d[h->off - 2] & 1) != 0)
			return headers_ip(h);
	}
	return h->off;
}

static size_t
headers_pppoe(struct headers *h)
{
	unsigned protocol;

	if (!pass(h, 8))
		return WHOLE;
	protocol = u16(h->d + h->off - 2);
	return protocol == 0x21 || protocol == 0x57 ? headers_ip(h) : h->off;
}

static size_t
headers_type(struct headers *h, unsigned type)
{
	for (int tags = 0; tags < 2 && is_tag(type); tags++) {
		if (!pass(h, 4))
			return WHOLE;
		type = u16(h->d + h->off - 2);
	}
	switch (type) {
	case 0x0800:
	case 0x86dd:
		return headers_ip(h);
	case 0x0806:
		return h->off + 28;
	case 0x8847:
	case 0x8848:
		return h->level == 0 ? headers_mpls(h) : h->off;
	case 0x8864:
		return h->level == 0 ? headers_pppoe(h) : h->off;
	}
	return h->off;
}

size_t
reference_cut(enum bpf_link link, uint16_t protocol, unsigned payload, size_t snaplen, const uint8_t *d, size_t len)
{
	struct headers h = { .d = d, .len = len, .off = link == BPF_LINK_ETHERNET ? 14 : 0 };
	size_t end = WHOLE, cut = len < snaplen ? len : snaplen;

	if (len >= h.off + 20)
		end = headers_type(&h, link == BPF_LINK_ETHERNET ? u16(d + 12) : protocol);
	if (end == WHOLE)
		end = BPF_TAIL_CUT;
	if (end + payload >= cut)
		return cut;
	return end + payload > 0 ? end + payload : 1;
}
