/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BPF_REFERENCE_H
#define VMTAP_TESTS_BPF_REFERENCE_H

#include "proto/bpf_part.h"

/* What proto/bpf_part.h says of a packet, without BPF. Protocol: the kernel's Ethertype, of use where the link shows none. */
struct reference_flow {
	bool		known;		/* it has a hash */
	bool		icmp_error;	/* or a fragment of ICMP, which might be one */
	unsigned	hash;
	uint8_t		family;		/* AF_INET, AF_INET6 */
	const uint8_t	*source, *destination;
};

struct reference_flow	reference_flow(enum bpf_link, uint16_t protocol, const uint8_t *data, size_t len);
/* What is left of the packet after bpf_tail_headers(). */
size_t			reference_cut(enum bpf_link, uint16_t protocol, unsigned payload, size_t snaplen, const uint8_t *data,
			    size_t len);

#endif
