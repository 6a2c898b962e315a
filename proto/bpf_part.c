/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <string.h>
#include <netpacket/packet.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf_code.h"
#include "proto/bpf_flow.h"
#include "proto/bpf_part.h"

#define ANCILLARY(what)	((uint32_t)(SKF_AD_OFF + (what)))

size_t
bpf_part_own_mark(struct bpf_insn *insn, uint32_t mark)
{
	const struct bpf_insn part[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ANCILLARY(SKF_AD_PKTTYPE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ANCILLARY(SKF_AD_MARK)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, mark, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	memcpy(insn, part, sizeof(part));
	return sizeof(part) / sizeof(part[0]);
}

size_t
bpf_part_direction(struct bpf_insn *insn, bool in)
{
	const struct bpf_insn part[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ANCILLARY(SKF_AD_PKTTYPE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, in ? 0 : 1),
		BPF_STMT(BPF_RET | BPF_K, in ? 1 : 0),
	};

	memcpy(insn, part, sizeof(part));
	return sizeof(part) / sizeof(part[0]);
}

size_t
bpf_part_nothing(struct bpf_insn *insn)
{
	insn[0] = (struct bpf_insn)BPF_STMT(BPF_RET | BPF_K, 0);
	return 1;
}

size_t
bpf_part_sampled_out(struct bpf_insn *insn, size_t room, enum bpf_link link, unsigned keep)
{
	struct bpf_label kept = { 0 };
	struct bpf_code code;

	bpf_code_init(&code, insn, room);
	bpf_flow_hash(&code, link, 0, &kept);
	bpf_code_unless(&code, BPF_JGE, keep, &kept);
	bpf_code_return(&code, 1);
	bpf_code_here(&code, &kept);
	bpf_code_return(&code, 0);
	return bpf_code_end(&code);
}
