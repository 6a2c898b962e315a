/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_TRANSIT_H
#define VMTAP_PROTO_TRANSIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What of a packet stays the same from its sender's vNIC to its receiver's (PROTOCOL, "What stays the same on the way"): by that two
 * copies of one transmission are told to be the same. MACs, tags, TTL, DSCP, ECN, checksums and the options that routers change are
 * left out. Of tunnels, the innermost packet is described, and what encloses it is one number.
 */
enum transit_kind {	/* the numbers are part of the digest */
	TRANSIT_NONE,		/* cut short or malformed: nothing can be said of it */
	TRANSIT_TCP,		/* a range of sequence numbers: offloads part and join segments on the way */
	TRANSIT_UDP,		/* a run of payloads: offloads part and join datagrams, too */
	TRANSIT_FRAGMENT,	/* of IP */
	TRANSIT_IP,		/* any other protocol of IP: all of the payload */
	TRANSIT_ARP,
	TRANSIT_FRAME		/* not IP: Ethertype and payload */
};

struct transit {
	enum transit_kind kind;
	uint8_t		 family;	/* AF_INET, AF_INET6; 0: not IP. The outermost's: */
	uint8_t		 src[16], dst[16];	/* IPv4: the first 4 bytes, the others 0 */
	bool		 group;		/* the outermost goes to a multicast or broadcast address, of IP or of the link */
	uint8_t		 hops;		/* the outermost's TTL or hop limit: a hint, for it changes */
	uint32_t	 ip_id;		/* the outermost's identification: a hint, for it may change; of a fragment its own, and a part */
	uint64_t	 flow;		/* tunnels around it, and of the innermost: addresses, protocol, ports, Ethertype: one number, not keyed */
	uint8_t		 protocol;	/* the innermost's */
	const uint8_t	*addresses;	/* both of the innermost IP header, in the packet; NULL: not IP */
	size_t		 addresses_len;
	uint16_t	 src_port, dst_port;	/* the innermost's, TCP and UDP */
	uint16_t	 fragment;	/* offset in 8 bytes << 3, and 1 for "more"; of a fragment */
	uint32_t	 seq, ack;	/* TCP. Its range is seq to seq + payload_len, and one more each for SYN and FIN */
	uint8_t		 tcp_flags;
	const uint8_t	*header;	/* TCP: header with options; else NULL. In the packet */
	size_t		 header_len;
	const uint8_t	*payload;	/* of the innermost, without link padding. In the packet */
	size_t		 payload_len;
};

/* Any packet of a link type as files number them; original > captured: cut short. Never reads beyond captured. */
void	transit_parse(struct transit *, uint16_t linktype, const uint8_t *, size_t captured, size_t original);
/* Would the receiver see the packet in one piece as the sender did? Not data of TCP, UDP and SCTP, which offloads part and join, nor
 * a fragment, which a router may have made. */
bool	transit_undivided(const struct transit *);

#endif
