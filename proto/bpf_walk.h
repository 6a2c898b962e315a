/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_WALK_H
#define VMTAP_PROTO_BPF_WALK_H

#include "proto/bpf_code.h"
#include "proto/bpf_part.h"

/*
 * Pieces of programs that walk from header to header. Between them X is the offset of the next header, and A the Ethertype or the
 * protocol number that says what it is. Where the packet ends too soon they go to "cut".
 */
#define BPF_WALK_M_NEXT		14	/* words of M[] that the walk uses itself */
#define BPF_WALK_M_HEADER	15
#define BPF_WALK_LEAST		20	/* each packet is that long once past bpf_walk_link() */

/* X += len, and so much is in the packet. A is lost. */
void	bpf_walk_pass(struct bpf_code *, uint32_t len, struct bpf_label *cut);
/* So much, at most BPF_WALK_LEAST, is in the packet at X. A is lost. */
void	bpf_walk_have(struct bpf_code *, uint32_t len, struct bpf_label *cut);
/* The link header; cut: shorter than that and an IPv4 header. */
void	bpf_walk_link(struct bpf_code *, enum bpf_link, struct bpf_label *cut);
void	bpf_walk_tags(struct bpf_code *, unsigned at_most, struct bpf_label *cut);
/* A = first byte at X, to v6 for version 6, behind it for version 4 with at least 20 bytes of header; 20 bytes are there. */
void	bpf_walk_version(struct bpf_code *, struct bpf_label *v6, struct bpf_label *neither, struct bpf_label *cut);
/* From A = first byte: X behind the header, A = its bytes 6 to 9 (fragment, time to live, protocol). */
void	bpf_walk_v4(struct bpf_code *);
/* X behind the fixed header, A = next header. */
void	bpf_walk_v6(struct bpf_code *, struct bpf_label *cut);
/* One extension header of IPv6, if there is one: hop-by-hop, routing, destination options, AH. A Fragment header leads to
 * "fragment", with X on it, anything else to "transport". */
void	bpf_walk_extension(struct bpf_code *, struct bpf_label *fragment, struct bpf_label *transport, struct bpf_label *cut);

#endif
