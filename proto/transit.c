/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>

#include <linux/if_ether.h>
#include <string.h>

#include "common/buf.h"
#include "proto/transit.h"

/* Link types as files number them. */
#define LINKTYPE_NULL		0
#define LINKTYPE_ETHERNET	1
#define LINKTYPE_RAW		101
#define LINKTYPE_LOOP		108
#define LINKTYPE_SLL		113
#define LINKTYPE_IPV4		228
#define LINKTYPE_IPV6		229
#define LINKTYPE_SLL2		276

#define SLL_SIZE		16
#define SLL2_SIZE		20
#define SLL_BROADCAST		1
#define SLL_MULTICAST		2

#define TYPE_MIN		0x600	/* below it is a length (IEEE 802.3, 3.2.6) */
#define TYPE_QINQ_OLD		0x9100
#define TYPE_ETHERNET		0x6558	/* in GRE and Geneve: an Ethernet frame */
#define TAGS			2
#define PPP_IP			0x0021
#define PPP_IPV6		0x0057

#define PORT_VXLAN		4789
#define PORT_GENEVE		6081
#define LEVELS			2	/* of tunnels that are looked into */

#define UDP_SIZE		8
#define SCTP_SIZE		12
#define FRAGMENT_MORE		1

#define FOLD			0x9e3779b97f4a7c15u

static int parse_type(struct transit *, struct cursor *, uint16_t, unsigned);
static int parse_ethernet(struct transit *, struct cursor *, unsigned);

static uint16_t
big16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
big32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static uint64_t
big64(const uint8_t *p)
{
	return (uint64_t)big32(p) << 32 | big32(p + 4);
}

/* One to one in value, so that what differs in one word never meets. */
static void
fold(struct transit *t, uint64_t value)
{
	uint64_t flow = (t->flow ^ value) * FOLD;

	t->flow = flow ^ flow >> 32;
}

static void
fold_transport(struct transit *t, unsigned version)
{
	fold(t, (uint64_t)version << 40 | (uint64_t)t->protocol << 32 | (uint32_t)t->src_port << 16 | t->dst_port);
}

static int
described(struct transit *t, enum transit_kind kind, const struct cursor *c)
{
	t->kind = kind;
	t->payload = c->p;
	t->payload_len = c->left;
	return 0;
}

/* --- tunnels: what they carry is described if it can be, and else what carries it --- */

static int
parse_inner(struct transit *t, struct cursor c, uint16_t type, uint64_t name, unsigned level)
{
	struct transit inner = *t;

	if (level == LEVELS || (type != ETH_P_IP && type != ETH_P_IPV6 && type != TYPE_ETHERNET))
		return -1;
	fold(&inner, name);
	inner.src_port = inner.dst_port = 0;
	if ((type == TYPE_ETHERNET ? parse_ethernet(&inner, &c, level + 1) : parse_type(&inner, &c, type, level + 1)) == -1)
		return -1;
	*t = inner;
	return 0;
}

/* RFC 7348, 5: the I flag says that there is a network's number. */
static int
parse_vxlan(struct transit *t, struct cursor c, unsigned level)
{
	const uint8_t *p = cursor_take(&c, 8);

	if (p == NULL || (p[0] & 0x08) == 0)
		return -1;
	return parse_inner(t, c, TYPE_ETHERNET, big32(p + 4) >> 8, level);
}

/* RFC 8926, 3.4 */
static int
parse_geneve(struct transit *t, struct cursor c, unsigned level)
{
	const uint8_t *p = cursor_take(&c, 8);

	if (p == NULL || p[0] >> 6 != 0 || cursor_skip(&c, (p[0] & 0x3fu) * 4) == -1)
		return -1;
	return parse_inner(t, c, big16(p + 2), big32(p + 4) >> 8, level);
}

/* RFC 2784, 2.1 and RFC 2890, 2: checksum, key, sequence number, where flags say so. */
static int
parse_gre(struct transit *t, struct cursor c, unsigned level)
{
	const uint8_t *p = cursor_take(&c, 4);
	uint32_t key = 0;

	if (p == NULL || (big16(p) & 0x4007) != 0)
		return -1;
	if ((p[0] & 0x80) != 0 && cursor_skip(&c, 4) == -1)
		return -1;
	if ((p[0] & 0x20) != 0 && cursor_u32(&c, &key) == -1)
		return -1;
	if ((p[0] & 0x10) != 0 && cursor_skip(&c, 4) == -1)
		return -1;
	return parse_inner(t, c, big16(p + 2), key, level);
}

/* --- transport; the cursor ends where IP says that the packet does --- */

static int
parse_tcp(struct transit *t, struct cursor *c, unsigned version)
{
	const uint8_t *p = c->p;
	size_t header_len;

	if (c->left < 20 || (header_len = (size_t)(p[12] >> 4) * 4) < 20 || cursor_skip(c, header_len) == -1)
		return -1;
	t->src_port = big16(p);
	t->dst_port = big16(p + 2);
	t->seq = big32(p + 4);
	t->ack = big32(p + 8);
	t->tcp_flags = p[13];
	t->header = p;
	t->header_len = header_len;
	fold_transport(t, version);
	return described(t, TRANSIT_TCP, c);
}

static int
parse_udp(struct transit *t, struct cursor *c, unsigned version, unsigned level)
{
	const uint8_t *p = cursor_take(c, UDP_SIZE);

	if (p == NULL)
		return -1;
	t->src_port = big16(p);
	t->dst_port = big16(p + 2);
	fold_transport(t, version);
	if (t->dst_port == PORT_VXLAN && parse_vxlan(t, *c, level) == 0)
		return 0;
	if (t->dst_port == PORT_GENEVE && parse_geneve(t, *c, level) == 0)
		return 0;
	return described(t, TRANSIT_UDP, c);
}

/* Its checksum is left to the NIC as those of TCP and UDP are. The verification tag (RFC 9260, 3.1) names an association. */
static int
parse_sctp(struct transit *t, struct cursor *c, unsigned version)
{
	const uint8_t *p = cursor_take(c, SCTP_SIZE);

	if (p == NULL)
		return -1;
	t->src_port = big16(p);
	t->dst_port = big16(p + 2);
	fold_transport(t, version);
	fold(t, big32(p + 4));
	return described(t, TRANSIT_IP, c);
}

static int
parse_transport(struct transit *t, struct cursor *c, unsigned version, unsigned level)
{
	switch (t->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(t, c, version);
	case IPPROTO_UDP:
		return parse_udp(t, c, version, level);
	case IPPROTO_SCTP:
		return parse_sctp(t, c, version);
	}
	fold_transport(t, version);
	if ((t->protocol == IPPROTO_GRE && parse_gre(t, *c, level) == 0) ||
	    (t->protocol == IPPROTO_IPIP && parse_inner(t, *c, ETH_P_IP, 0, level) == 0) ||
	    (t->protocol == IPPROTO_IPV6 && parse_inner(t, *c, ETH_P_IPV6, 0, level) == 0))
		return 0;
	return described(t, TRANSIT_IP, c);
}

static int
parse_fragment(struct transit *t, struct cursor *c, unsigned version, uint32_t id, uint16_t fragment)
{
	t->ip_id = id;
	t->fragment = fragment;
	fold_transport(t, version);
	return described(t, TRANSIT_FRAGMENT, c);
}

/* --- IP --- */

static int
parse_ipv4(struct transit *t, struct cursor *c, unsigned level)
{
	const uint8_t *p = c->p;
	size_t header_len, total;
	uint16_t fragment;

	if (c->left < 20 || p[0] >> 4 != 4 || (header_len = (p[0] & 0xfu) * 4) < 20)
		return -1;
	if ((total = big16(p + 2)) == 0)	/* a super-packet too long to say how long */
		total = c->left;
	if (total > c->left || cursor_skip(c, header_len) == -1 || total < header_len)
		return -1;
	c->left = total - header_len;
	if (level == 0) {
		t->family = AF_INET;
		memcpy(t->src, p + 12, 4);
		memcpy(t->dst, p + 16, 4);
		t->group |= (p[16] & 0xf0) == 0xe0 || big32(p + 16) == INADDR_BROADCAST;
		t->hops = p[8];
		t->ip_id = big16(p + 4);
	}
	t->protocol = p[9];
	t->addresses = p + 12;
	t->addresses_len = 8;
	fold(t, big64(p + 12));
	fragment = (uint16_t)((big16(p + 6) & 0x1fff) << 3 | ((p[6] & 0x20) != 0 ? FRAGMENT_MORE : 0));
	return fragment != 0 ? parse_fragment(t, c, 4, big16(p + 4), fragment) : parse_transport(t, c, 4, level);
}

static int
parse_ipv6_fragment(struct transit *t, struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 8);

	if (p == NULL)
		return -1;
	t->protocol = p[0];
	return parse_fragment(t, c, 6, big32(p + 4), (uint16_t)((big16(p + 2) & 0xfff8) | ((p[3] & 1) != 0 ? FRAGMENT_MORE : 0)));
}

/* AH is none of the headers passed over: what it protects reaches the receiver as it was sent. */
static int
parse_ipv6_next(struct transit *t, struct cursor *c, unsigned level)
{
	const uint8_t *p;

	while (t->protocol == IPPROTO_HOPOPTS || t->protocol == IPPROTO_ROUTING || t->protocol == IPPROTO_DSTOPTS) {
		p = c->p;
		if (c->left < 8 || cursor_skip(c, ((size_t)p[1] + 1) * 8) == -1)
			return -1;
		t->protocol = p[0];
	}
	return t->protocol == IPPROTO_FRAGMENT ? parse_ipv6_fragment(t, c) : parse_transport(t, c, 6, level);
}

static int
parse_ipv6(struct transit *t, struct cursor *c, unsigned level)
{
	const uint8_t *p = cursor_take(c, 40);
	size_t len;

	if (p == NULL || p[0] >> 4 != 6)
		return -1;
	len = big16(p + 4);
	if (len == 0 && p[6] != IPPROTO_NONE)	/* a jumbogram, or a super-packet too long to say how long */
		len = c->left;
	if (len > c->left)
		return -1;
	c->left = len;
	if (level == 0) {
		t->family = AF_INET6;
		memcpy(t->src, p + 8, 16);
		memcpy(t->dst, p + 24, 16);
		t->group |= p[24] == 0xff;
		t->hops = p[7];
	}
	t->protocol = p[6];
	t->addresses = p + 8;
	t->addresses_len = 32;
	for (size_t i = 8; i < 40; i += 8)
		fold(t, big64(p + i));
	return parse_ipv6_next(t, c, level);
}

/* --- links --- */

static int
parse_arp(struct transit *t, struct cursor *c)
{
	const uint8_t *p = c->p;
	size_t len;

	if (c->left < 8 || (len = 8 + 2 * ((size_t)p[4] + p[5])) > c->left)
		return -1;
	c->left = len;
	fold(t, ETH_P_ARP);
	return described(t, TRANSIT_ARP, c);
}

/* Its own length is not known: a short one may have been padded, on one side only. */
static int
parse_frame(struct transit *t, struct cursor *c, uint16_t type)
{
	if (c->left <= ETH_ZLEN - ETH_HLEN)
		while (c->left > 0 && c->p[c->left - 1] == 0)
			c->left--;
	fold(t, type);
	return described(t, TRANSIT_FRAME, c);
}

static int
parse_network(struct transit *t, struct cursor *c, uint16_t type, unsigned level)
{
	switch (type) {
	case ETH_P_IP:
		return parse_ipv4(t, c, level);
	case ETH_P_IPV6:
		return parse_ipv6(t, c, level);
	case ETH_P_ARP:
		return parse_arp(t, c);
	}
	if (type < TYPE_MIN) {
		if (type > ETH_P_802_2 && type < c->left)
			c->left = type;
		type = ETH_P_802_2;
	}
	return parse_frame(t, c, type);
}

/* RFC 2516, 4 and 5: IP in a session is IP behind a longer link header; anything else is a frame. */
static int
parse_pppoe(struct transit *t, struct cursor *c, unsigned level)
{
	struct cursor inner = *c;
	const uint8_t *p = cursor_take(&inner, 8);

	if (p != NULL && p[0] == 0x11 && p[1] == 0 && big16(p + 6) == PPP_IP)
		return parse_ipv4(t, &inner, level);
	if (p != NULL && p[0] == 0x11 && p[1] == 0 && big16(p + 6) == PPP_IPV6)
		return parse_ipv6(t, &inner, level);
	return parse_frame(t, c, ETH_P_PPP_SES);
}

static int
parse_type(struct transit *t, struct cursor *c, uint16_t type, unsigned level)
{
	const uint8_t *p;

	for (unsigned i = 0; i < TAGS && (type == ETH_P_8021Q || type == ETH_P_8021AD || type == TYPE_QINQ_OLD); i++) {
		if ((p = cursor_take(c, 4)) == NULL)
			return -1;
		type = big16(p + 2);
	}
	return type == ETH_P_PPP_SES ? parse_pppoe(t, c, level) : parse_network(t, c, type, level);
}

static int
parse_ethernet(struct transit *t, struct cursor *c, unsigned level)
{
	const uint8_t *p = cursor_take(c, ETH_HLEN);

	if (p == NULL)
		return -1;
	if (level == 0)
		t->group = (p[0] & 1) != 0;
	return parse_type(t, c, big16(p + 12), level);
}

static int
parse_cooked(struct transit *t, struct cursor *c, size_t size, size_t type_at, size_t packet_type_at)
{
	const uint8_t *p = cursor_take(c, size);

	if (p == NULL)
		return -1;
	t->group = p[packet_type_at] == SLL_BROADCAST || p[packet_type_at] == SLL_MULTICAST;
	return parse_type(t, c, big16(p + type_at), 0);
}

static int
parse_raw(struct transit *t, struct cursor *c)
{
	if (c->left == 0)
		return -1;
	return c->p[0] >> 4 == 6 ? parse_ipv6(t, c, 0) : parse_ipv4(t, c, 0);
}

static int
parse_link(struct transit *t, struct cursor *c, uint16_t linktype)
{
	switch (linktype) {
	case LINKTYPE_ETHERNET:
		return parse_ethernet(t, c, 0);
	case LINKTYPE_SLL:
		return parse_cooked(t, c, SLL_SIZE, 14, 1);
	case LINKTYPE_SLL2:
		return parse_cooked(t, c, SLL2_SIZE, 0, 10);
	case LINKTYPE_NULL:	/* a number for the family, another one on each system: IP says itself what it is */
	case LINKTYPE_LOOP:
		return cursor_skip(c, 4) == -1 ? -1 : parse_raw(t, c);
	case LINKTYPE_RAW:
	case LINKTYPE_IPV4:
	case LINKTYPE_IPV6:
		return parse_raw(t, c);
	}
	return -1;
}

void
transit_parse(struct transit *t, uint16_t linktype, const uint8_t *data, size_t captured, size_t original)
{
	struct cursor c;

	memset(t, 0, sizeof(*t));
	cursor_init(&c, data, captured);
	if (captured < original || parse_link(t, &c, linktype) == -1)
		memset(t, 0, sizeof(*t));
}

bool
transit_undivided(const struct transit *t)
{
	switch (t->kind) {
	case TRANSIT_TCP:
	case TRANSIT_UDP:
		return t->payload_len == 0;
	case TRANSIT_IP:
		return t->protocol != IPPROTO_SCTP;
	case TRANSIT_ARP:
	case TRANSIT_FRAME:
		return true;
	case TRANSIT_NONE:
	case TRANSIT_FRAGMENT:
		break;
	}
	return false;
}
