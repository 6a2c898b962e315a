/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdlib.h>
#include <string.h>
#include <netpacket/packet.h>

#include <check.h>
#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"

#define LD_ABS		(BPF_LD | BPF_W | BPF_ABS)
#define ANCILLARY(what)	((uint32_t)(SKF_AD_OFF + (what)))
#define RET(k)		BPF_STMT(BPF_RET | BPF_K, k)
#define PROGRAM_MAX	8

static const uint8_t bytes[] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x45, 0, 0, 1 };

static const struct bpf_packet packet = {
	.data = bytes, .captured_len = sizeof(bytes), .len = 60, .net_offset = 8, .protocol = 0x0800, .pkttype = PACKET_OUTGOING,
	.ifindex = 7, .mark = 0xcafe, .vlan_present = true, .vlan_tci = 0x2064, .vlan_tpid = 0x8100,
};

/* What "ret a" gives after the instructions, or what they return themselves. */
static const struct {
	struct bpf_insn	insn[PROGRAM_MAX];
	uint32_t	want;
} runs[] = {
	{ { BPF_STMT(BPF_LD | BPF_IMM, 5) }, 5 },
	{ { BPF_STMT(LD_ABS, 0) }, 0x11223344 },
	{ { BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 1) }, 0x2233 },
	{ { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 7) }, 0x88 },
	{ { BPF_STMT(LD_ABS, 8) }, 0x45000001 },
	{ { BPF_STMT(LD_ABS, 9) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12) }, 0 },
	{ { BPF_STMT(LD_ABS, 0x7fffffff) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_NET_OFF) }, 0x45 },
	{ { BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)SKF_LL_OFF + 2) }, 0x3344 },
	{ { BPF_STMT(LD_ABS, (uint32_t)SKF_NET_OFF + 1) }, 0 },
	{ { BPF_STMT(LD_ABS, 0x80000000) }, 0 },
	{ { BPF_STMT(BPF_LDX | BPF_IMM, 3), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2) }, 0x6677 },
	{ { BPF_STMT(BPF_LDX | BPF_IMM, 3), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 8) }, 0 },
	{ { BPF_STMT(BPF_LDX | BPF_IMM, 0xffffffff), BPF_STMT(BPF_LD | BPF_B | BPF_IND, 2) }, 0x22 },
	{ { BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 8), BPF_STMT(BPF_MISC | BPF_TXA, 0) }, 20 },
	{ { BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 99), BPF_STMT(BPF_LD | BPF_IMM, 1) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0) }, 60 },
	{ { BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0) }, 60 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 9), BPF_STMT(BPF_ST, 15), BPF_STMT(BPF_LDX | BPF_MEM, 15), BPF_STMT(BPF_STX, 0),
	    BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LD | BPF_MEM, 0) }, 9 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 9), BPF_STMT(BPF_ST, 16) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_MEM, 16) }, 0 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PROTOCOL)) }, 0x0800 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PKTTYPE)) }, PACKET_OUTGOING },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_IFINDEX)) }, 7 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_MARK)) }, 0xcafe },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_VLAN_TAG)) }, 0x2064 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_VLAN_TAG_PRESENT)) }, 1 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_VLAN_TPID)) }, 0x8100 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_RXHASH)) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_LDX | BPF_IMM, 3), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_ALU_XOR_X)) }, 5 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 0xffffffff) }, 6 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 8) }, 0xffffffff },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x80000001) }, 0x80000007 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 2) }, 3 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 4) }, 3 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_ALU | BPF_MOD | BPF_X, 0) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 3) }, 2 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 3) }, 7 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 3) }, 5 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 31) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1) }, 3 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_LDX | BPF_IMM, 33), BPF_STMT(BPF_ALU | BPF_LSH | BPF_X, 0) }, 12 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_ALU | BPF_NEG, 0) }, 0xffffffff },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 8), BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0) }, 16 },
	{ { BPF_STMT(BPF_JMP | BPF_JA, 1), RET(1), RET(2) }, 2 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(1), RET(2) }, 1 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 9, 0, 1), RET(1), RET(2) }, 1 },
	{ { BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0, 0, 1), RET(1), RET(2) }, 2 },
	{ { BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0, 0, 1), RET(1), RET(2) }, 1 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1), RET(1), RET(2) }, 2 },
	{ { BPF_STMT(BPF_JMP | BPF_JA, 100) }, 0 },
	{ { BPF_STMT(0xff, 0), RET(1) }, 0 },
};

START_TEST(interprets)
{
	struct bpf_insn program[PROGRAM_MAX + 1];
	size_t len = 0;

	while (len < PROGRAM_MAX && (runs[_i].insn[len].code != 0 || runs[_i].insn[len].k != 0)) {
		program[len] = runs[_i].insn[len];
		len++;
	}
	program[len++] = (struct bpf_insn)BPF_STMT(BPF_RET | BPF_A, 0);
	ck_assert_uint_eq(bpf_interpret(program, len, &packet), runs[_i].want);
}
END_TEST

START_TEST(falls_off_the_end)
{
	const struct bpf_insn program[] = { BPF_STMT(BPF_LD | BPF_IMM, 5) };

	ck_assert_uint_eq(bpf_interpret(program, 1, &packet), 0);
	ck_assert_uint_eq(bpf_interpret(program, 0, &packet), 0);
}
END_TEST

static const struct {
	struct bpf_insn	insn[PROGRAM_MAX];
	size_t		len;
} malformed[] = {
	{ { RET(1) }, 0 },
	{ { BPF_STMT(BPF_LD | BPF_IMM, 0) }, 1 },
	{ { RET(0), BPF_STMT(BPF_LD | BPF_IMM, 0) }, 2 },
	{ { BPF_STMT(BPF_RET | BPF_A, 0) }, 1 },
	{ { BPF_STMT(BPF_RET | BPF_X, 0) }, 1 },
	{ { BPF_STMT(BPF_RET | BPF_A, 0), RET(1) }, 2 },
	{ { BPF_STMT(0xffff, 0), RET(1) }, 2 },
	{ { BPF_STMT(BPF_LD | BPF_W | BPF_MSH, 0), RET(1) }, 2 },
	{ { BPF_STMT(BPF_ALU | 0xb0, 0), RET(1) }, 2 },
	{ { BPF_STMT(BPF_JMP | BPF_JA, 1), RET(1) }, 2 },
	{ { BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), RET(1) }, 2 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), RET(1) }, 2 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 255), RET(1) }, 2 },
	{ { BPF_STMT(BPF_ST, 16), RET(1) }, 2 },
	{ { BPF_STMT(BPF_STX, 16), RET(1) }, 2 },
	{ { BPF_STMT(BPF_LD | BPF_MEM, 16), RET(1) }, 2 },
	{ { BPF_STMT(BPF_LDX | BPF_MEM, 0xffffffff), RET(1) }, 2 },
	{ { BPF_STMT(BPF_LD | BPF_MEM, 3), RET(1) }, 2 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_ST, 1), BPF_STMT(BPF_LDX | BPF_MEM, 1), RET(1) }, 4 },
	{ { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_STMT(BPF_JMP | BPF_JA, 2), BPF_STMT(BPF_ST, 1),
	    BPF_STMT(BPF_JMP | BPF_JA, 1), RET(0), BPF_STMT(BPF_LD | BPF_MEM, 1), RET(1) }, 7 },
	{ { BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(1) }, 2 },
	{ { BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 0), RET(1) }, 2 },
	{ { BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(1) }, 2 },
	{ { BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 32), RET(1) }, 2 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_MAX)), RET(1) }, 2 },
	{ { BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_MARK + 1)), RET(1) }, 2 },
};

START_TEST(refuses_malformed)
{
	static const struct bpf_insn good[] = { RET(1) };
	struct bpf_chain chain;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "bad", malformed[_i].insn, malformed[_i].len, false), BPF_MALFORMED);
	ck_assert_uint_eq(chain.part_count, 0);
	ck_assert_int_eq(bpf_chain_add(&chain, "good", good, 1, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "bad", malformed[_i].insn, malformed[_i].len, true), BPF_MALFORMED);
	ck_assert_uint_eq(chain.part_count, 1);
	ck_assert_uint_eq(chain.len, 1);
	bpf_chain_clear(&chain);
}
END_TEST

/* Words of M[] that every way has written may be read. */
START_TEST(memory_in_order)
{
	const struct bpf_insn part[] = {
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
		BPF_STMT(BPF_ST, 1), BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_STX, 1),
		BPF_STMT(BPF_LD | BPF_MEM, 1), RET(1),
	};
	struct bpf_chain chain;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "memory", part, 6, false), BPF_OK);
	bpf_chain_clear(&chain);
}
END_TEST

START_TEST(empty_chain)
{
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	size_t len;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_finish(&chain, 96, out, &len), BPF_OK);
	ck_assert_uint_eq(len, 1);
	ck_assert_uint_eq(bpf_interpret(out, len, &packet), 96);
	bpf_chain_clear(&chain);
}
END_TEST

/* A part that would answer differently, were A, X and M[] not as at a program's start. */
START_TEST(registers_are_zeroed)
{
	const struct bpf_insn spoil[] = {
		BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_MISC | BPF_TAX, 0), RET(1),
	};
	const struct bpf_insn sees_zero[] = {
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3), BPF_STMT(BPF_MISC | BPF_TXA, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(262144), RET(0),
	};
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	size_t len;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "spoil", spoil, 3, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "zero", sees_zero, 5, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_finish(&chain, 128, out, &len), BPF_OK);
	ck_assert_uint_eq(len, 3 + 2 + 5 + 1);
	ck_assert_uint_eq(chain.part_start[0], 0);
	ck_assert_uint_eq(chain.part_start[1], 3);
	ck_assert_str_eq(chain.part_name[1], "zero");
	ck_assert_uint_eq(bpf_interpret(out, len, &packet), 128);
	bpf_chain_clear(&chain);
}
END_TEST

START_TEST(too_long)
{
	static struct bpf_insn part[BPF_CHAIN_MAX + 1], out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	size_t len;

	for (size_t i = 0; i <= BPF_CHAIN_MAX; i++)
		part[i] = (struct bpf_insn)RET(1);
	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "long", part, BPF_CHAIN_MAX + 1, false), BPF_TOO_LONG);
	ck_assert_int_eq(bpf_chain_add(&chain, "long", part, BPF_CHAIN_MAX, false), BPF_TOO_LONG);
	ck_assert_int_eq(bpf_chain_add(&chain, "long", part, BPF_CHAIN_MAX - 4, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "more", part, 2, false), BPF_TOO_LONG);
	ck_assert_int_eq(bpf_chain_add(&chain, "more", part, 1, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "one too many", part, 1, false), BPF_TOO_LONG);
	ck_assert_int_eq(bpf_chain_finish(&chain, 5, out, &len), BPF_OK);
	ck_assert_uint_eq(len, BPF_CHAIN_MAX);
	ck_assert_uint_eq(bpf_interpret(out, len, &packet), 5);
	bpf_chain_clear(&chain);
}
END_TEST

START_TEST(too_many_parts)
{
	const struct bpf_insn part[] = { RET(1) };
	struct bpf_chain chain;

	bpf_chain_init(&chain);
	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(bpf_chain_add(&chain, "part", part, 1, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "part", part, 1, false), BPF_TOO_MANY_PARTS);
	ck_assert_uint_eq(chain.part_count, 16);
	bpf_chain_clear(&chain);
}
END_TEST

/* The verdict of one part in a chain, plain or negated. */
static bool
passes(const struct bpf_insn *part, size_t part_len, bool negate, const struct bpf_packet *p)
{
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	size_t len;
	uint32_t result;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "part", part, part_len, negate), BPF_OK);
	ck_assert_int_eq(bpf_chain_finish(&chain, 262144, out, &len), BPF_OK);
	bpf_chain_clear(&chain);
	result = bpf_interpret(out, len, p);
	ck_assert(result == 0 || result == 262144);
	return result != 0;
}

/* What was enough for one part passes whatever comes behind; with no rest, nothing else does. */
START_TEST(enough)
{
	struct bpf_insn mark[BPF_PART_MAX], in[BPF_PART_MAX], out[BPF_CHAIN_MAX];
	struct bpf_packet p = packet;
	struct bpf_chain chain;
	size_t len;

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add_enough(&chain, "mark", mark, bpf_part_own_mark(mark, 0xcafe)), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "in", in, bpf_part_direction(in, true), false), BPF_OK);
	for (uint32_t snaplen = 0; snaplen <= 77; snaplen += 77) {
		ck_assert_int_eq(bpf_chain_finish(&chain, snaplen, out, &len), BPF_OK);
		p.pkttype = PACKET_OUTGOING;
		p.mark = 0xcafe;
		ck_assert_uint_eq(bpf_interpret(out, len, &p), 1);
		p.mark = 0;
		ck_assert_uint_eq(bpf_interpret(out, len, &p), 0);
		p.pkttype = PACKET_HOST;
		ck_assert_uint_eq(bpf_interpret(out, len, &p), snaplen);
	}
	bpf_chain_clear(&chain);
}
END_TEST

START_TEST(ready_made_parts)
{
	struct bpf_insn mark[BPF_PART_MAX], in[BPF_PART_MAX], out[BPF_PART_MAX], nothing[BPF_PART_MAX];
	size_t mark_len = bpf_part_own_mark(mark, 0xcafe), in_len = bpf_part_direction(in, true);
	size_t out_len = bpf_part_direction(out, false), nothing_len = bpf_part_nothing(nothing);
	struct bpf_packet p = packet;

	for (p.pkttype = PACKET_HOST; p.pkttype <= PACKET_OUTGOING; p.pkttype++) {
		bool outgoing = p.pkttype == PACKET_OUTGOING;

		for (p.mark = 0xcafd; p.mark <= 0xcaff; p.mark++) {
			ck_assert_int_eq(passes(mark, mark_len, false, &p), outgoing && p.mark == 0xcafe);
			ck_assert_int_eq(passes(mark, mark_len, true, &p), !outgoing || p.mark != 0xcafe);
		}
		ck_assert_int_eq(passes(in, in_len, false, &p), !outgoing);
		ck_assert_int_eq(passes(out, out_len, false, &p), outgoing);
		ck_assert_int_eq(passes(nothing, nothing_len, false, &p), false);
		ck_assert_int_eq(passes(nothing, nothing_len, true, &p), true);
	}
}
END_TEST

static const struct {
	size_t		header_len;
	struct bpf_insn	before, after;	/* code 0: cannot be seen */
} cooked[] = {
	{ 16, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PKTTYPE)) },
	{ 16, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 14), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PROTOCOL)) },
	{ 16, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 25), BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9) },
	{ 16, BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 16), BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0) },
	{ 16, BPF_STMT(BPF_LD | BPF_H | BPF_IND, 18), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2) },
	{ 16, BPF_STMT(BPF_LDX | BPF_IMM, 18), BPF_STMT(BPF_LDX | BPF_IMM, 18) },
	{ 16, BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_MARK)), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_MARK)) },
	{ 16, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 14), BPF_STMT(0, 0) },
	{ 16, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6), BPF_STMT(0, 0) },
	{ 16, BPF_STMT(BPF_LD | BPF_H | BPF_IND, 14), BPF_STMT(0, 0) },
	{ 16, BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 15), BPF_STMT(0, 0) },
	{ 20, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PROTOCOL)) },
	{ 20, BPF_STMT(LD_ABS, 4), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_IFINDEX)) },
	{ 20, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 10), BPF_STMT(LD_ABS, ANCILLARY(SKF_AD_PKTTYPE)) },
	{ 20, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20), BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0) },
	{ 20, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12), BPF_STMT(0, 0) },
	{ 20, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 14), BPF_STMT(0, 0) },
};

START_TEST(cooked_loads)
{
	struct bpf_insn insn = cooked[_i].before;

	if (cooked[_i].after.code == 0) {
		ck_assert_int_eq(bpf_fix_cooked(&insn, 1, cooked[_i].header_len), -1);
		return;
	}
	ck_assert_int_eq(bpf_fix_cooked(&insn, 1, cooked[_i].header_len), 0);
	ck_assert_uint_eq(insn.code, cooked[_i].after.code);
	ck_assert_uint_eq(insn.k, cooked[_i].after.k);
}
END_TEST

START_TEST(error_texts)
{
	for (int error = BPF_TOO_LONG; error <= BPF_TOO_MANY_PARTS; error++)
		ck_assert_str_ne(bpf_error_text((enum bpf_error)error), bpf_error_text(BPF_OK));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bpf");
	TCase *tc = tcase_create("bpf");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, interprets, 0, sizeof(runs) / sizeof(runs[0]));
	tcase_add_test(tc, falls_off_the_end);
	tcase_add_loop_test(tc, refuses_malformed, 0, sizeof(malformed) / sizeof(malformed[0]));
	tcase_add_test(tc, memory_in_order);
	tcase_add_test(tc, empty_chain);
	tcase_add_test(tc, registers_are_zeroed);
	tcase_add_test(tc, too_long);
	tcase_add_test(tc, too_many_parts);
	tcase_add_test(tc, enough);
	tcase_add_test(tc, ready_made_parts);
	tcase_add_loop_test(tc, cooked_loads, 0, sizeof(cooked) / sizeof(cooked[0]));
	tcase_add_test(tc, error_texts);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
