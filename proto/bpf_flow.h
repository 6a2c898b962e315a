/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_FLOW_H
#define VMTAP_PROTO_BPF_FLOW_H

#include "proto/bpf_code.h"
#include "proto/bpf_part.h"

#define BPF_FLOW_M_SOURCE	0	/* the source address: one word, or four */
#define BPF_FLOW_M_DESTINATION	4	/* likewise, of IPv4 if asked for */
#define BPF_FLOW_M_VERSION	8	/* 4 or 6 */
#define BPF_FLOW_M_FREE		12	/* and 13: whoever asked for the hash may use them */

/*
 * A piece of a program: A = the packet's flow hash (proto/PROTOCOL, "Flow hash"), M[] as above. Packets without one go to "none".
 * So do, if asked for, errors of ICMP and ICMPv6, and all fragments of either, which might be one; and fragments of TCP, whose hash
 * is another one than that of the packet that they are of.
 */
#define BPF_FLOW_NO_ICMP_ERRORS		0x1
#define BPF_FLOW_NO_TCP_FRAGMENTS	0x2	/* only with NO_ICMP_ERRORS */
#define BPF_FLOW_DESTINATION		0x4
void	bpf_flow_hash(struct bpf_code *, enum bpf_link, unsigned flags, struct bpf_label *none);

#endif
