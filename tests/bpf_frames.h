/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BPF_FRAMES_H
#define VMTAP_TESTS_BPF_FRAMES_H

#include <stddef.h>
#include <stdint.h>

/* Ethernet frames of all kinds that the parts of a kernel filter tell apart, and what they are made of. */
#define ETH		"\x02\0\0\0\0\1\x02\0\0\0\0\2"
#define A4		"\x0a\1\2\3"
#define B4		"\xc0\xa8\1\1"
#define A6		"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define B6		"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2"
#define IP(first, frag, proto, src, dst)	first "\0\0\x28\0\1" frag "\x40" proto "\0\0" src dst
#define V4(proto, src, dst)	IP("\x45", "\x40\0", proto, src, dst)
#define V6(next, src, dst)	"\x60\0\0\0\0\x20" next "\x40" src dst
#define TCP(sport, dport)	sport dport "\0\0\0\1\0\0\0\0\x50\x02\xff\xff\0\0\0\0"
#define TCP_OPTIONS(sport, dport)	sport dport "\0\0\0\1\0\0\0\0\x80\x02\xff\xff\0\0\0\0\1\1\1\1\1\1\1\1\1\1\1\1"
#define P1		"\x80\1"
#define P2		"\0\x50"
#define REST		"payload of eighty bytes, which is more than any payload that the tests ask for..."
#define UDP(dport)	P1 dport "\0\x10\0\0"
#define VXLAN		"\x08\0\0\0\0\0\1\0"
#define V4_TCP		V4("\6", A4, B4) TCP_OPTIONS(P1, P2)

struct bytes {
	const uint8_t	*data;
	size_t		 len;
};

struct frame_end {
	struct bytes	frame;
	size_t		end;		/* of its headers */
};

extern const struct bytes frames_both[][2];	/* pairs that have one flow hash, most of them both directions of a flow */
extern const struct bytes frames_unhashed[];	/* without a flow hash, so never left out */
extern const struct frame_end frames_ends[];
extern const size_t frames_both_count, frames_unhashed_count, frames_ends_count;

#endif
