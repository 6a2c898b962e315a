/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_H
#define VMTAP_PROTO_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_insn;

/*
 * Classic BPF programs, composed. Each part was compiled by itself (libpcap, on the live handle); the chain accepts what every part
 * accepts: a part's returns are replaced in place by jumps (no offset inside it moves), A and X are zeroed between parts, and one
 * final return gives the snapshot length. Pure: no libpcap calls, no I/O.
 */
#define BPF_CHAIN_MAX		4096	/* BPF_MAXINSNS */

struct bpf_chain {
	struct bpf_insn	*insn;
	size_t		 len;		/* without the final return */
	size_t		 part_start[16];	/* index of its first instruction, with what zeroes A and X before it */
	const char	*part_name[16];	/* the caller's */
	size_t		 part_count;
};

enum bpf_error { BPF_OK, BPF_TOO_LONG, BPF_NO_MEMORY, BPF_MALFORMED, BPF_TOO_MANY_PARTS };

void		bpf_chain_init(struct bpf_chain *);
void		bpf_chain_clear(struct bpf_chain *);
/* negate: packets that the part accepts are dropped. The instructions are copied. A load beyond the packet, or a division by zero,
 * refuses the packet in a negated part too, as it does under "not" in a pcap-filter(7) expression. "ret a" is malformed. The chain is
 * unchanged on failure. */
enum bpf_error	bpf_chain_add(struct bpf_chain *, const char *name, const struct bpf_insn *, size_t len, bool negate);
/* What this part accepts, the chain accepts at once, with length 1; what it refuses goes on to the parts behind it. For counting. */
enum bpf_error	bpf_chain_add_enough(struct bpf_chain *, const char *name, const struct bpf_insn *, size_t len);
/* The whole program, with "return snaplen" at its end, into out[BPF_CHAIN_MAX]. Snaplen 0: it accepts what was enough for a part. */
enum bpf_error	bpf_chain_finish(const struct bpf_chain *, uint32_t snaplen, struct bpf_insn *out, size_t *out_len);
/* The same with these instructions at its end, which may "ret a"; A and X are zeroed before them. */
enum bpf_error	bpf_chain_finish_with(const struct bpf_chain *, const struct bpf_insn *tail, size_t tail_len, struct bpf_insn *out,
		    size_t *out_len);
const char	*bpf_error_text(enum bpf_error);

/* libpcap compiles for the cooked header it makes up; the kernel runs the filter before that is there. In place; -1 if the
 * program asks for what the kernel cannot see. */
int	bpf_fix_cooked(struct bpf_insn *, size_t len, size_t cooked_header_len);

/* An interpreter for tests, with the kernel's ancillary data. Returns the accepted length, 0 = refused; as the kernel does, a load
 * beyond the packet refuses. */
struct bpf_packet {
	const uint8_t	*data;
	size_t		 captured_len, len;
	size_t		 net_offset;	/* of the network header: 14 on Ethernet */
	uint16_t	 protocol;	/* host order Ethertype */
	uint8_t		 pkttype;	/* PACKET_HOST, PACKET_OUTGOING ... */
	uint32_t	 ifindex, mark;
	bool		 vlan_present;
	uint16_t	 vlan_tci, vlan_tpid;
};
uint32_t	bpf_interpret(const struct bpf_insn *, size_t len, const struct bpf_packet *);

#endif
