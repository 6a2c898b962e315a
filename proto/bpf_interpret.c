/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf.h"

struct machine {
	const struct bpf_packet	*packet;
	uint32_t		 a, x;
	uint32_t		 mem[BPF_MEMWORDS];
	size_t			 pc;
	uint32_t		 result;	/* once halted */
	bool			 halted;
};

static void
halt(struct machine *m, uint32_t result)
{
	m->result = result;
	m->halted = true;
}

/* What a program asks of the packet's metadata; what we know nothing of refuses the packet. */
static void
load_ancillary(struct machine *m, uint32_t what)
{
	const struct bpf_packet *p = m->packet;

	switch (what) {
	case SKF_AD_PROTOCOL:
		m->a = p->protocol;
		break;
	case SKF_AD_PKTTYPE:
		m->a = p->pkttype;
		break;
	case SKF_AD_IFINDEX:
		m->a = p->ifindex;
		break;
	case SKF_AD_MARK:
		m->a = p->mark;
		break;
	case SKF_AD_ALU_XOR_X:
		m->a ^= m->x;
		break;
	case SKF_AD_VLAN_TAG:
		m->a = p->vlan_tci;
		break;
	case SKF_AD_VLAN_TAG_PRESENT:
		m->a = p->vlan_present;
		break;
	case SKF_AD_VLAN_TPID:
		m->a = p->vlan_tpid;
		break;
	default:
		halt(m, 0);
	}
}

/* Offsets are signed: negative ones count from the network or the link header. NULL: not all of it is in the packet. */
static const uint8_t *
packet_bytes(const struct bpf_packet *p, uint32_t k, size_t size)
{
	int64_t offset = (int32_t)k;

	if (offset >= SKF_NET_OFF && offset < 0)
		offset += (int64_t)p->net_offset - SKF_NET_OFF;
	else if (offset >= SKF_LL_OFF && offset < 0)
		offset -= SKF_LL_OFF;
	if (offset < 0 || (uint64_t)offset + size > p->captured_len)
		return NULL;
	return p->data + offset;
}

static bool
load_packet(struct machine *m, uint32_t k, uint16_t size_code, uint32_t *value)
{
	size_t size = size_code == BPF_W ? 4 : size_code == BPF_H ? 2 : 1;
	const uint8_t *p = packet_bytes(m->packet, k, size);

	if (p == NULL) {
		halt(m, 0);
		return false;
	}
	*value = 0;
	while (size-- > 0)
		*value = *value << 8 | *p++;
	return true;
}

static void
load_memory(struct machine *m, uint32_t k, uint32_t *value)
{
	if (k >= BPF_MEMWORDS)
		halt(m, 0);
	else
		*value = m->mem[k];
}

static void
store_memory(struct machine *m, uint32_t k, uint32_t value)
{
	if (k >= BPF_MEMWORDS)
		halt(m, 0);
	else
		m->mem[k] = value;
}

static void
run_ld(struct machine *m, const struct bpf_insn *insn)
{
	switch (BPF_MODE(insn->code)) {
	case BPF_IMM:
		m->a = insn->k;
		break;
	case BPF_ABS:
		if (insn->k >= (uint32_t)SKF_AD_OFF)
			load_ancillary(m, insn->k - (uint32_t)SKF_AD_OFF);
		else
			load_packet(m, insn->k, BPF_SIZE(insn->code), &m->a);
		break;
	case BPF_IND:
		load_packet(m, m->x + insn->k, BPF_SIZE(insn->code), &m->a);
		break;
	case BPF_MEM:
		load_memory(m, insn->k, &m->a);
		break;
	case BPF_LEN:
		m->a = (uint32_t)m->packet->len;
		break;
	default:
		halt(m, 0);
	}
}

static void
run_ldx(struct machine *m, const struct bpf_insn *insn)
{
	uint32_t byte;

	switch (BPF_MODE(insn->code)) {
	case BPF_IMM:
		m->x = insn->k;
		break;
	case BPF_MEM:
		load_memory(m, insn->k, &m->x);
		break;
	case BPF_LEN:
		m->x = (uint32_t)m->packet->len;
		break;
	case BPF_MSH:
		if (load_packet(m, insn->k, BPF_B, &byte))
			m->x = (byte & 0xf) * 4;
		break;
	default:
		halt(m, 0);
	}
}

/* Division by zero refuses the packet. */
static void
divide(struct machine *m, uint32_t by, bool modulo)
{
	if (by == 0)
		halt(m, 0);
	else
		m->a = modulo ? m->a % by : m->a / by;
}

static void
run_alu(struct machine *m, const struct bpf_insn *insn)
{
	uint32_t v = BPF_SRC(insn->code) == BPF_X ? m->x : insn->k;

	switch (BPF_OP(insn->code)) {
	case BPF_ADD:
		m->a += v;
		break;
	case BPF_SUB:
		m->a -= v;
		break;
	case BPF_MUL:
		m->a *= v;
		break;
	case BPF_DIV:
	case BPF_MOD:
		divide(m, v, BPF_OP(insn->code) == BPF_MOD);
		break;
	case BPF_OR:
		m->a |= v;
		break;
	case BPF_AND:
		m->a &= v;
		break;
	case BPF_XOR:
		m->a ^= v;
		break;
	case BPF_LSH:
		m->a <<= v & 31;
		break;
	case BPF_RSH:
		m->a >>= v & 31;
		break;
	case BPF_NEG:
		m->a = 0 - m->a;
		break;
	default:
		halt(m, 0);
	}
}

static void
run_jmp(struct machine *m, const struct bpf_insn *insn)
{
	uint32_t v = BPF_SRC(insn->code) == BPF_X ? m->x : insn->k;
	bool taken;

	switch (BPF_OP(insn->code)) {
	case BPF_JA:
		m->pc += insn->k;
		return;
	case BPF_JEQ:
		taken = m->a == v;
		break;
	case BPF_JGT:
		taken = m->a > v;
		break;
	case BPF_JGE:
		taken = m->a >= v;
		break;
	case BPF_JSET:
		taken = (m->a & v) != 0;
		break;
	default:
		halt(m, 0);
		return;
	}
	m->pc += taken ? insn->jt : insn->jf;
}

static void
run_misc(struct machine *m, const struct bpf_insn *insn)
{
	switch (BPF_MISCOP(insn->code)) {
	case BPF_TAX:
		m->x = m->a;
		break;
	case BPF_TXA:
		m->a = m->x;
		break;
	default:
		halt(m, 0);
	}
}

static void
run_insn(struct machine *m, const struct bpf_insn *insn)
{
	switch (BPF_CLASS(insn->code)) {
	case BPF_LD:
		run_ld(m, insn);
		break;
	case BPF_LDX:
		run_ldx(m, insn);
		break;
	case BPF_ST:
		store_memory(m, insn->k, m->a);
		break;
	case BPF_STX:
		store_memory(m, insn->k, m->x);
		break;
	case BPF_ALU:
		run_alu(m, insn);
		break;
	case BPF_JMP:
		run_jmp(m, insn);
		break;
	case BPF_RET:
		halt(m, BPF_RVAL(insn->code) == BPF_A ? m->a : insn->k);
		break;
	case BPF_MISC:
		run_misc(m, insn);
		break;
	}
}

uint32_t
bpf_interpret(const struct bpf_insn *insn, size_t len, const struct bpf_packet *packet)
{
	struct machine m = { .packet = packet };

	while (!m.halted) {
		if (m.pc >= len)
			return 0;
		run_insn(&m, &insn[m.pc++]);
	}
	return m.result;
}
