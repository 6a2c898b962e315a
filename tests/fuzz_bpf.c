/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/bpf.h>

#include "proto/bpf.h"

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

/* Two parts, then a packet: the chain accepts what both parts accept, and nothing malformed hurts the interpreter. */
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
	return 0;
}
