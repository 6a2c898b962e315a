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

static bool
is_tag(unsigned type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
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
