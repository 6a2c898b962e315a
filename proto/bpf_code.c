/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>

#include <pcap/bpf.h>

#include "proto/bpf_code.h"

/* In the code of a jump whose label is not placed yet: which field will hold the way. No code of the kernel's has these bits. */
#define PENDING_ALWAYS	0x100	/* k */
#define PENDING_TRUE	0x200	/* jt */
#define PENDING_FALSE	0x400	/* jf */
#define PENDING		(PENDING_ALWAYS | PENDING_TRUE | PENDING_FALSE)
#define BACK_MAX	UINT16_MAX	/* a pending jump's way back to the one before: in k, or in jt and jf together */

void
bpf_code_init(struct bpf_code *code, struct bpf_insn *insn, size_t room)
{
	*code = (struct bpf_code){ .insn = insn, .room = room };
}

void
bpf_code_stmt(struct bpf_code *code, uint16_t opcode, uint32_t k)
{
	if (code->failed || code->len == code->room) {
		code->failed = true;
		return;
	}
	code->insn[code->len++] = (struct bpf_insn)BPF_STMT(opcode, k);
}

void
bpf_code_return(struct bpf_code *code, uint32_t k)
{
	bpf_code_stmt(code, BPF_RET | BPF_K, k);
}

static void
set_back(struct bpf_insn *insn, size_t back)
{
	if ((insn->code & PENDING_ALWAYS) != 0) {
		insn->k = (uint32_t)back;
	} else {
		insn->jt = (uint8_t)(back >> 8);
		insn->jf = (uint8_t)back;
	}
}

static size_t
get_back(const struct bpf_insn *insn)
{
	return (insn->code & PENDING_ALWAYS) != 0 ? insn->k : (size_t)insn->jt << 8 | insn->jf;
}

static void
jump(struct bpf_code *code, uint16_t opcode, uint32_t k, struct bpf_label *label)
{
	size_t back = label->last == 0 ? 0 : code->len + 1 - label->last;

	if (back > BACK_MAX)
		code->failed = true;
	bpf_code_stmt(code, opcode, k);
	if (code->failed)
		return;
	set_back(&code->insn[code->len - 1], back);
	label->last = code->len;
}

void
bpf_code_if(struct bpf_code *code, uint16_t test, uint32_t k, struct bpf_label *label)
{
	jump(code, BPF_JMP | PENDING_TRUE | test, k, label);
}

void
bpf_code_unless(struct bpf_code *code, uint16_t test, uint32_t k, struct bpf_label *label)
{
	jump(code, BPF_JMP | PENDING_FALSE | test, k, label);
}

void
bpf_code_goto(struct bpf_code *code, struct bpf_label *label)
{
	jump(code, BPF_JMP | BPF_JA | PENDING_ALWAYS, 0, label);
}

static void
resolve(struct bpf_code *code, struct bpf_insn *insn, size_t distance)
{
	uint16_t pending = insn->code & PENDING;

	if (pending != PENDING_ALWAYS && distance > UINT8_MAX)
		code->failed = true;
	insn->code &= (uint16_t)~PENDING;
	if (pending == PENDING_ALWAYS) {
		insn->k = (uint32_t)distance;
	} else {
		insn->jt = pending == PENDING_TRUE ? (uint8_t)distance : 0;
		insn->jf = pending == PENDING_FALSE ? (uint8_t)distance : 0;
	}
}

void
bpf_code_here(struct bpf_code *code, struct bpf_label *label)
{
	size_t at = label->last, back;

	for (; !code->failed && at != 0; at = back == 0 ? 0 : at - back) {
		struct bpf_insn *insn = &code->insn[at - 1];

		back = get_back(insn);
		resolve(code, insn, code->len - at);
	}
	label->last = 0;
}

void
bpf_code_relay(struct bpf_code *code, struct bpf_label *label)
{
	if (label->last == 0)
		return;
	bpf_code_here(code, label);
	bpf_code_goto(code, label);
}

size_t
bpf_code_end(struct bpf_code *code)
{
	for (size_t i = 0; !code->failed && i < code->len; i++)
		if ((code->insn[i].code & PENDING) != 0)
			code->failed = true;
	return code->failed ? 0 : code->len;
}
