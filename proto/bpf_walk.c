/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <netinet/in.h>

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <pcap/bpf.h>

#include "proto/bpf_walk.h"

#define QINQ_OLD	0x9100	/* before 802.1ad had its own number */

void
bpf_walk_pass(struct bpf_code *code, uint32_t len, struct bpf_label *cut)
{
	bpf_code_stmt(code, BPF_MISC | BPF_TXA, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_K, len);
	bpf_code_stmt(code, BPF_MISC | BPF_TAX, 0);
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_LEN, 0);
	bpf_code_unless(code, BPF_JGE | BPF_X, 0, cut);
}

void
bpf_walk_have(struct bpf_code *code, uint32_t len, struct bpf_label *cut)
{
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_LEN, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_SUB | BPF_K, len);
	bpf_code_unless(code, BPF_JGE | BPF_X, 0, cut);
}

void
bpf_walk_link(struct bpf_code *code, enum bpf_link link, struct bpf_label *cut)
{
	uint32_t header = link == BPF_LINK_ETHERNET ? ETH_HLEN : 0;

	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_LEN, 0);
	bpf_code_unless(code, BPF_JGE, header + BPF_WALK_LEAST, cut);
	bpf_code_stmt(code, BPF_LDX | BPF_IMM, header);
	if (link == BPF_LINK_ETHERNET)
		bpf_code_stmt(code, BPF_LD | BPF_H | BPF_IND, (uint32_t)-2);
	else
		bpf_code_stmt(code, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL));
}

void
bpf_walk_tags(struct bpf_code *code, unsigned at_most, struct bpf_label *cut)
{
	struct bpf_label none = { 0 };

	while (at_most-- > 0) {
		struct bpf_label tag = { 0 };

		bpf_code_if(code, BPF_JEQ, ETH_P_8021Q, &tag);
		bpf_code_if(code, BPF_JEQ, ETH_P_8021AD, &tag);
		bpf_code_unless(code, BPF_JEQ, QINQ_OLD, &none);
		bpf_code_here(code, &tag);
		bpf_walk_pass(code, 4, cut);
		bpf_code_stmt(code, BPF_LD | BPF_H | BPF_IND, (uint32_t)-2);
	}
	bpf_code_here(code, &none);
}

void
bpf_walk_version(struct bpf_code *code, struct bpf_label *v6, struct bpf_label *neither, struct bpf_label *cut)
{
	bpf_walk_have(code, sizeof(uint32_t) * 5, cut);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 0);
	bpf_code_if(code, BPF_JGE, 0x70, neither);
	bpf_code_if(code, BPF_JGE, 0x60, v6);
	bpf_code_if(code, BPF_JGE, 0x50, neither);
	bpf_code_unless(code, BPF_JGE, 0x45, neither);
}

void
bpf_walk_v4(struct bpf_code *code)
{
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xf);
	bpf_code_stmt(code, BPF_ALU | BPF_LSH | BPF_K, 2);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_code_stmt(code, BPF_ST, BPF_WALK_M_NEXT);
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_IND, 6);
	bpf_code_stmt(code, BPF_LDX | BPF_MEM, BPF_WALK_M_NEXT);
}

void
bpf_walk_v6(struct bpf_code *code, struct bpf_label *cut)
{
	bpf_walk_pass(code, 40, cut);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, (uint32_t)-34);
}

/* A = (length field + units) * 2^shift. */
static void
extension_len(struct bpf_code *code, uint32_t units, uint32_t shift)
{
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_WALK_M_HEADER);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xff);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_K, units);
	bpf_code_stmt(code, BPF_ALU | BPF_LSH | BPF_K, shift);
}

/* AH counts in words of 4 bytes less 2 (RFC 4302, 2.2), the others in 8 less 1. */
void
bpf_walk_extension(struct bpf_code *code, struct bpf_label *fragment, struct bpf_label *transport, struct bpf_label *cut)
{
	struct bpf_label header = { 0 }, ah = { 0 }, pass = { 0 };

	bpf_code_if(code, BPF_JEQ, IPPROTO_FRAGMENT, fragment);
	bpf_code_if(code, BPF_JEQ, IPPROTO_AH, &header);
	bpf_code_if(code, BPF_JEQ, IPPROTO_HOPOPTS, &header);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ROUTING, &header);
	bpf_code_unless(code, BPF_JEQ, IPPROTO_DSTOPTS, transport);
	bpf_code_here(code, &header);
	bpf_code_stmt(code, BPF_ST, BPF_WALK_M_NEXT);
	bpf_walk_have(code, 8, cut);
	bpf_code_stmt(code, BPF_LD | BPF_H | BPF_IND, 0);
	bpf_code_stmt(code, BPF_ST, BPF_WALK_M_HEADER);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_WALK_M_NEXT);
	bpf_code_if(code, BPF_JEQ, IPPROTO_AH, &ah);
	extension_len(code, 1, 3);
	bpf_code_goto(code, &pass);
	bpf_code_here(code, &ah);
	extension_len(code, 2, 2);
	bpf_code_here(code, &pass);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_code_stmt(code, BPF_MISC | BPF_TAX, 0);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_WALK_M_HEADER);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 8);
}
