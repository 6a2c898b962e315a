/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <netpacket/packet.h>

#include <pcap/bpf.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"
#include "proto/flow.h"
#include "tests/bpf_reference.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define PART_MAX	64

struct part {
	struct bpf_insn	insn[PART_MAX];
	size_t		len;
	bool		negate;
};

/* A length (its top bit: negate), then that many instructions as they lie in memory. */
static void
take_part(struct part *p, const uint8_t **data, size_t *left)
{
	size_t want = *left > 0 ? **data & 0x3f : 0;

	p->negate = *left > 0 && (**data & 0x80) != 0;
	*data += *left > 0;
	*left -= *left > 0;
	p->len = want < *left / sizeof(p->insn[0]) ? want : *left / sizeof(p->insn[0]);
	memcpy(p->insn, *data, p->len * sizeof(p->insn[0]));
	*data += p->len * sizeof(p->insn[0]);
	*left -= p->len * sizeof(p->insn[0]);
}

static bool
passes(struct part *p, const struct bpf_packet *packet)
{
	for (size_t i = 0; i < p->len; i++)
		if (p->negate && BPF_CLASS(p->insn[i].code) == BPF_RET)
			p->insn[i].k = p->insn[i].k == 0;
	return bpf_interpret(p->insn, p->len, packet) != 0;
}

struct made {
	struct bpf_insn	insn[BPF_CHAIN_MAX];
	size_t		len;
};

/* The first packet's source is a peer, and so are neighbours of it; and its own is to where it goes, and where it comes from. */
static void
make_withheld(struct made *m, enum bpf_link link, bool balanced, const uint8_t *data, size_t left)
{
	struct bpf_peer peer[20] = { { 0 } }, own[4] = { { 0 } };
	const struct bpf_withheld w = { .peer = peer, .peer_count = 20, .own = own, .own_count = 4, .balanced = balanced };
	size_t placed;

	for (size_t i = 0; i < 20; i++) {
		size_t at = (link == BPF_LINK_ETHERNET ? 14 : 0) + (i % 2 == 0 ? 12 : 8), len = i % 2 == 0 ? 4 : 16;

		peer[i].family = i % 2 == 0 ? AF_INET : AF_INET6;
		if (left >= at + len)
			memcpy(peer[i].address, data + at, len);
		peer[i].address[i % len] = (uint8_t)(peer[i].address[i % len] + i / 2);
	}
	for (size_t i = 0; i < 4; i++) {
		size_t len = i < 2 ? 4 : 16, at = (link == BPF_LINK_ETHERNET ? 14 : 0) + (i < 2 ? 12 : 8) + len * (i % 2);

		own[i].family = i < 2 ? AF_INET : AF_INET6;
		if (left >= at + len)
			memcpy(own[i].address, data + at, len);
	}
	m->len = bpf_part_withheld(m->insn, BPF_CHAIN_MAX, link, &w, &placed);
	if (placed != 20)
		abort();
}

static void
check_ready_made(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t left)
{
	static struct made sampled, withheld, balanced, tail;
	struct bpf_packet packet = { .data = data, .protocol = protocol };

	sampled.len = bpf_part_sampled_out(sampled.insn, BPF_CHAIN_MAX, link, 32);
	make_withheld(&withheld, link, false, data, left);
	make_withheld(&balanced, link, true, data, left);
	tail.len = bpf_tail_headers(tail.insn, BPF_CHAIN_MAX, link, 3, 1500);
	for (size_t len = 0; len <= left; len++) {
		struct flow flow = flow_of(link, protocol, data, len);
		size_t cut;

		packet.captured_len = packet.len = len;
		if (bpf_interpret(sampled.insn, sampled.len, &packet) != (flow.known && flow.hash >= 32))
			abort();
		if (bpf_interpret(withheld.insn, withheld.len, &packet) != 0 && (!flow.known || flow.hash == 0 || flow.icmp_error))
			abort();
		/* As it comes in; and what goes out where that is not withheld. */
		if (bpf_interpret(balanced.insn, balanced.len, &packet) != (flow.hash % 2 == 0 && !flow.tcp_fragment &&
		    bpf_interpret(withheld.insn, withheld.len, &packet) != 0))
			abort();
		packet.pkttype = PACKET_OUTGOING;
		if (bpf_interpret(balanced.insn, balanced.len, &packet) != 0 && (!flow.known || flow.hash % 2 == 0 || flow.icmp_error ||
		    flow.tcp_fragment))
			abort();
		packet.pkttype = PACKET_HOST;
		cut = bpf_interpret(tail.insn, tail.len, &packet);
		if (cut == 0 || (cut < len ? cut : len) != reference_cut(link, protocol, 3, 1500, data, len))
			abort();
	}
}

/* Two parts, then a packet: the chain accepts what both parts accept, and nothing malformed hurts the interpreter.
 * The parts of our own do to the packet, cut to each length, what they say. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
	struct bpf_packet packet = { .net_offset = 14, .pkttype = 4, .mark = 1, .vlan_present = true, .vlan_tci = 100 };
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct part a, b;
	struct bpf_chain chain;
	size_t len;

	take_part(&a, &data, &left);
	take_part(&b, &data, &left);
	packet.data = data;
	packet.captured_len = packet.len = left;
	bpf_interpret(a.insn, a.len, &packet);
	bpf_chain_init(&chain);
	if (bpf_chain_add(&chain, "a", a.insn, a.len, a.negate) == BPF_OK &&
	    bpf_chain_add(&chain, "b", b.insn, b.len, b.negate) == BPF_OK) {
		bpf_chain_finish(&chain, 96, out, &len);
		if (bpf_interpret(out, len, &packet) != (passes(&a, &packet) && passes(&b, &packet) ? 96 : 0))
			abort();
	}
	bpf_chain_clear(&chain);
	bpf_fix_cooked(a.insn, a.len, 16);
	check_ready_made(BPF_LINK_ETHERNET, 0, data, left);
	check_ready_made(BPF_LINK_RAW, 0x0800, data, left);
	return 0;
}
