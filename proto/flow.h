/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_FLOW_H
#define VMTAP_PROTO_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bpf_part.h"

/* The flow hash of a packet (PROTOCOL, "Flow hash"), as proto/bpf_flow.h has it computed in the kernel. */
struct flow {
	bool		 known;		/* it has a hash */
	bool		 icmp_error;	/* or a fragment of ICMP, which might be one */
	bool		 tcp_fragment;	/* its hash is not the whole packet's, which has ports */
	unsigned	 hash;		/* 0 to 63; 0 is never withheld */
	uint8_t		 family;	/* AF_INET, AF_INET6 */
	const uint8_t	*source, *destination;	/* their addresses, in the packet */
};

/* protocol: the kernel's Ethertype, of use where the link shows none. */
struct flow	flow_of(enum bpf_link, uint16_t protocol, const uint8_t *, size_t len);

/* The same of a packet of a link type as files number them, which says itself what it is. */
struct flow	flow_of_stored(uint16_t linktype, const uint8_t *, size_t len);

#endif
