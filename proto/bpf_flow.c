/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <netinet/in.h>

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <pcap/bpf.h>

#include "proto/bpf_flow.h"
#include "proto/bpf_walk.h"

/* Words of M[], beside those of the header and of the walk. */
#define M_FROM		9	/* the ends as numbers, then mixed */
#define M_TO		10
#define M_PORTS		11

/* Odd; the last two are those of MurmurHash3's finish. */
#define FOLD		0x9e3779b1u
#define MIX_1		0x85ebca6bu
#define MIX_2		0xc2b2ae35u
#define EXTENSIONS	4

static void
load_word(struct bpf_code *code, int offset, uint32_t m)
{
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_IND, (uint32_t)offset);
	bpf_code_stmt(code, BPF_ST, m);
}

static void
set_version(struct bpf_code *code, uint32_t version)
{
	bpf_code_stmt(code, BPF_LD | BPF_IMM, version);
	bpf_code_stmt(code, BPF_ST, BPF_FLOW_M_VERSION);
}

/* An address of 4 words in M[] to one number. X is lost. */
static void
fold(struct bpf_code *code, uint32_t address, uint32_t to)
{
	bpf_code_stmt(code, BPF_LD | BPF_MEM, address);
	for (uint32_t i = 1; i < 4; i++) {
		bpf_code_stmt(code, BPF_ALU | BPF_MUL | BPF_K, FOLD);
		bpf_code_stmt(code, BPF_LDX | BPF_MEM, address + i);
		bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	}
	bpf_code_stmt(code, BPF_ST, to);
}

/* A port, in A, to the number of its end. X is lost. */
static void
add_port(struct bpf_code *code, uint32_t m)
{
	bpf_code_stmt(code, BPF_ALU | BPF_MUL | BPF_K, FOLD);
	bpf_code_stmt(code, BPF_LDX | BPF_MEM, m);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_code_stmt(code, BPF_ST, m);
}

static void
mix(struct bpf_code *code, uint32_t m)
{
	bpf_code_stmt(code, BPF_LD | BPF_MEM, m);
	bpf_code_stmt(code, BPF_ALU | BPF_MUL | BPF_K, MIX_1);
	bpf_code_stmt(code, BPF_MISC | BPF_TAX, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 15);
	bpf_code_stmt(code, BPF_ALU | BPF_XOR | BPF_X, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_MUL | BPF_K, MIX_2);
}

/* To "fragment" with A as bpf_walk_v4() has it, or to "transport". */
static void
read_v4(struct bpf_code *code, bool destination, struct bpf_label *fragment, struct bpf_label *transport)
{
	struct bpf_label whole = { 0 };

	bpf_code_stmt(code, BPF_ST, BPF_WALK_M_HEADER);
	load_word(code, 12, BPF_FLOW_M_SOURCE);
	for (uint32_t i = 1; i < 4; i++)	/* the kernel wants M[] written on every way that joins where it is read */
		bpf_code_stmt(code, BPF_ST, BPF_FLOW_M_SOURCE + i);
	bpf_code_stmt(code, BPF_ST, M_FROM);
	load_word(code, 16, M_TO);
	for (uint32_t i = 0; destination && i < 4; i++)
		bpf_code_stmt(code, BPF_ST, BPF_FLOW_M_DESTINATION + i);
	set_version(code, 4);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_WALK_M_HEADER);
	bpf_walk_v4(code);
	bpf_code_unless(code, BPF_JSET, 0x3fff0000, &whole);
	bpf_code_goto(code, fragment);
	bpf_code_here(code, &whole);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xff);
	bpf_code_goto(code, transport);
}

static void
read_v6(struct bpf_code *code, struct bpf_label *fragment, struct bpf_label *transport, struct bpf_label *none)
{
	bpf_walk_v6(code, none);
	bpf_code_stmt(code, BPF_ST, BPF_WALK_M_HEADER);
	bpf_code_stmt(code, BPF_STX, BPF_WALK_M_NEXT);
	for (int i = 0; i < 4; i++) {
		load_word(code, -32 + 4 * i, BPF_FLOW_M_SOURCE + (uint32_t)i);
		load_word(code, -16 + 4 * i, BPF_FLOW_M_DESTINATION + (uint32_t)i);
	}
	set_version(code, 6);
	fold(code, BPF_FLOW_M_SOURCE, M_FROM);
	fold(code, BPF_FLOW_M_DESTINATION, M_TO);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_WALK_M_HEADER);
	bpf_code_stmt(code, BPF_LDX | BPF_MEM, BPF_WALK_M_NEXT);
	for (int i = 0; i < EXTENSIONS; i++)
		bpf_walk_extension(code, fragment, transport, none);
	bpf_code_if(code, BPF_JEQ, IPPROTO_FRAGMENT, fragment);
	bpf_code_here(code, transport);
}

static void
read_ports(struct bpf_code *code, struct bpf_label *none)
{
	bpf_walk_have(code, 4, none);
	load_word(code, 0, M_PORTS);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 16);
	add_port(code, M_FROM);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, M_PORTS);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xffff);
	add_port(code, M_TO);
}

/* Types of ICMP and ICMPv6 that say what became of another packet. */
static void
refuse_errors(struct bpf_code *code, struct bpf_label *done, struct bpf_label *none)
{
	static const uint8_t errors[] = { 3, 4, 5, 11, 12 };
	struct bpf_label v6 = { 0 }, neither = { 0 };

	bpf_code_if(code, BPF_JEQ, IPPROTO_ICMPV6, &v6);
	bpf_code_unless(code, BPF_JEQ, IPPROTO_ICMP, &neither);
	bpf_walk_have(code, 1, none);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 0);
	for (size_t i = 0; i < sizeof(errors); i++)
		bpf_code_if(code, BPF_JEQ, errors[i], none);
	bpf_code_goto(code, done);
	bpf_code_here(code, &v6);
	bpf_walk_have(code, 1, none);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 0);
	bpf_code_if(code, BPF_JEQ, 0, &neither);
	bpf_code_unless(code, BPF_JGE, 5, none);
	bpf_code_here(code, &neither);
	bpf_code_goto(code, done);
}

static void
refuse_fragments(struct bpf_code *code, bool of_tcp, struct bpf_label *v4, struct bpf_label *v6, struct bpf_label *done,
    struct bpf_label *none)
{
	struct bpf_label protocol = { 0 };

	bpf_code_here(code, v6);
	bpf_walk_have(code, 8, none);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 0);
	bpf_code_goto(code, &protocol);
	bpf_code_here(code, v4);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xff);
	bpf_code_here(code, &protocol);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ICMP, none);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ICMPV6, none);
	if (of_tcp)
		bpf_code_if(code, BPF_JEQ, IPPROTO_TCP, none);
	bpf_code_goto(code, done);
}

static void
mix_both(struct bpf_code *code)
{
	mix(code, M_FROM);
	bpf_code_stmt(code, BPF_ST, M_FROM);
	mix(code, M_TO);
	bpf_code_stmt(code, BPF_LDX | BPF_MEM, M_FROM);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 26);
}

void
bpf_flow_hash(struct bpf_code *code, enum bpf_link link, unsigned flags, struct bpf_label *none)
{
	struct bpf_label ip = { 0 }, v6 = { 0 }, fragment4 = { 0 }, fragment6 = { 0 };
	struct bpf_label transport = { 0 }, ports = { 0 }, mixed = { 0 };

	bpf_walk_link(code, link, none);
	bpf_walk_tags(code, 2, none);
	bpf_code_if(code, BPF_JEQ, ETH_P_IP, &ip);
	bpf_code_unless(code, BPF_JEQ, ETH_P_IPV6, none);
	bpf_code_here(code, &ip);
	bpf_walk_version(code, &v6, none, none);
	read_v4(code, (flags & BPF_FLOW_DESTINATION) != 0, &fragment4, &transport);
	bpf_code_relay(code, none);
	bpf_code_here(code, &v6);
	read_v6(code, &fragment6, &transport, none);
	bpf_code_if(code, BPF_JEQ, IPPROTO_TCP, &ports);
	if ((flags & BPF_FLOW_NO_ICMP_ERRORS) != 0) {
		refuse_errors(code, &mixed, none);
		refuse_fragments(code, (flags & BPF_FLOW_NO_TCP_FRAGMENTS) != 0, &fragment4, &fragment6, &mixed, none);
	} else {
		bpf_code_goto(code, &mixed);
	}
	bpf_code_here(code, &ports);
	read_ports(code, none);
	bpf_code_here(code, &mixed);
	bpf_code_here(code, &fragment4);
	bpf_code_here(code, &fragment6);
	mix_both(code);
}
