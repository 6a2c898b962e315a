/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_PART_H
#define VMTAP_PROTO_BPF_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_insn;

/*
 * Parts of a chain (proto/bpf.h) that libpcap has no words for. They return their length, which is 0 if the room was too small.
 * Each load is guarded by the packet's length, for a load beyond it would refuse the packet whatever the part is for.
 */
#define BPF_PART_MAX	16	/* room for each of the first three */
size_t	bpf_part_own_mark(struct bpf_insn *, uint32_t mark);	/* accepts packets sent with this SO_MARK (to be negated) */
size_t	bpf_part_direction(struct bpf_insn *, bool in);		/* accepts inbound, or outbound ones */
size_t	bpf_part_nothing(struct bpf_insn *);			/* accepts no packet */

enum bpf_link {
	BPF_LINK_ETHERNET,
	BPF_LINK_RAW	/* the network header stands at offset 0: raw IP, and the cooked headers, which the kernel does not show */
};

/* Accepts what sampling leaves out: packets whose flow hash (proto/PROTOCOL, "Flow hash"; 0 to 63) is keep, 1 to 63, or above. A
 * packet that has no flow hash is not left out. */
#define BPF_SAMPLED_OUT_MAX	256
size_t	bpf_part_sampled_out(struct bpf_insn *, size_t room, enum bpf_link, unsigned keep);

struct bpf_peer {
	uint8_t	family;		/* AF_INET (the first 4 bytes of the address) or AF_INET6 */
	uint8_t	address[16];
};

/* Whose packets are withheld from the guest's stream, for others deliver them. */
struct bpf_withheld {
	const struct bpf_peer	*peer;		/* of them the first ones that fit; */
	size_t			 peer_count;	/* beyond BPF_WITHHELD_PEERS_MAX they are not looked at */
	const struct bpf_peer	*own;		/* the guest's addresses */
	size_t			 own_count;	/* beyond BPF_WITHHELD_OWN_MAX they are not looked at */
	bool			 balanced;
};
#define BPF_WITHHELD_PEERS_MAX	1000
#define BPF_WITHHELD_OWN_MAX	64

/* Accepts unicast packets that come in from one of the peers to one of its own addresses; balanced: of these, those with an even flow
 * hash, and those that go out the other way with an odd one, but no fragments of TCP. None whose flow hash is 0 or that has none, no
 * errors of ICMP (types 3, 4, 5, 11, 12) or ICMPv6 (1 to 4), and no fragments of either. *placed says how many of the peers have fit,
 * repeated ones included. Without a peer that fits, it accepts nothing. */
size_t	bpf_part_withheld(struct bpf_insn *, size_t room, enum bpf_link, const struct bpf_withheld *, size_t *placed);

/*
 * Not a part but the end of a program, for bpf_chain_finish_with(): returns min(end of the headers + payload, snaplen), and never 0
 * unless snaplen is. Headers are those of
 *
 *	the link, with up to 2 tags, and under the outermost one up to 3 MPLS labels, or PPPoE;
 *	ARP; IPv4 with options; IPv6 with up to 4 extension headers (3 inside a tunnel), the last of them a Fragment header if there is
 *	one; later fragments have no more;
 *	TCP with options, UDP, ICMP, ICMPv6, SCTP, ESP;
 *	VXLAN, Geneve, GRE and IP in IP, with the headers of what they carry, up to two levels; in IPv6, the outer one behind one
 *	extension header at most, the inner one behind none, and neither behind a Fragment header.
 *
 * What is none of these is payload. Of a packet that ends inside its headers, or says so, BPF_TAIL_CUT bytes and payload are returned,
 * and so they are of one of less than 20 bytes behind the link header.
 */
#define BPF_TAIL_CUT		256
#define BPF_TAIL_HEADERS_MAX	512
size_t	bpf_tail_headers(struct bpf_insn *, size_t room, enum bpf_link, unsigned payload, uint32_t snaplen);

#endif
