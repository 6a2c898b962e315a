/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf.h"
#include "proto/bpf_check.h"

#define ANCILLARY(what)	((uint32_t)(SKF_AD_OFF + (what)))

/* Every instruction that the kernel takes, but "ret a". */
static const uint16_t opcodes[] = {
	BPF_LD | BPF_W | BPF_ABS, BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS,
	BPF_LD | BPF_W | BPF_IND, BPF_LD | BPF_H | BPF_IND, BPF_LD | BPF_B | BPF_IND,
	BPF_LD | BPF_W | BPF_LEN, BPF_LD | BPF_IMM, BPF_LD | BPF_MEM,
	BPF_LDX | BPF_W | BPF_LEN, BPF_LDX | BPF_B | BPF_MSH, BPF_LDX | BPF_IMM, BPF_LDX | BPF_MEM, BPF_ST, BPF_STX,
	BPF_ALU | BPF_ADD | BPF_K, BPF_ALU | BPF_ADD | BPF_X, BPF_ALU | BPF_SUB | BPF_K, BPF_ALU | BPF_SUB | BPF_X,
	BPF_ALU | BPF_MUL | BPF_K, BPF_ALU | BPF_MUL | BPF_X, BPF_ALU | BPF_DIV | BPF_K, BPF_ALU | BPF_DIV | BPF_X,
	BPF_ALU | BPF_MOD | BPF_K, BPF_ALU | BPF_MOD | BPF_X, BPF_ALU | BPF_AND | BPF_K, BPF_ALU | BPF_AND | BPF_X,
	BPF_ALU | BPF_OR | BPF_K, BPF_ALU | BPF_OR | BPF_X, BPF_ALU | BPF_XOR | BPF_K, BPF_ALU | BPF_XOR | BPF_X,
	BPF_ALU | BPF_LSH | BPF_K, BPF_ALU | BPF_LSH | BPF_X, BPF_ALU | BPF_RSH | BPF_K, BPF_ALU | BPF_RSH | BPF_X,
	BPF_ALU | BPF_NEG, BPF_MISC | BPF_TAX, BPF_MISC | BPF_TXA, BPF_RET | BPF_K, BPF_JMP | BPF_JA,
	BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JEQ | BPF_X, BPF_JMP | BPF_JGT | BPF_K, BPF_JMP | BPF_JGT | BPF_X,
	BPF_JMP | BPF_JGE | BPF_K, BPF_JMP | BPF_JGE | BPF_X, BPF_JMP | BPF_JSET | BPF_K, BPF_JMP | BPF_JSET | BPF_X,
};

static int __attribute__((format(printf, 2, 3)))
fail(char error[BPF_CHECK_ERROR_SIZE], const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, BPF_CHECK_ERROR_SIZE, format, ap);
	va_end(ap);
	return -1;
}

/* A part has to say yes or no in constants; only the end of a program may "ret a". */
static bool
opcode_known(uint16_t code, bool is_tail)
{
	if (is_tail && code == (BPF_RET | BPF_A))
		return true;
	for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
		if (opcodes[i] == code)
			return true;
	return false;
}

static bool
is_memory(uint16_t code)
{
	return code == (BPF_LD | BPF_MEM) || code == (BPF_LDX | BPF_MEM) || code == BPF_ST || code == BPF_STX;
}

/* What is wrong with the constant; NULL: nothing. These the kernel refuses. */
static const char *
operand_fault(const struct bpf_insn *insn)
{
	if (is_memory(insn->code))
		return insn->k < BPF_MEMWORDS ? NULL : "there is no such word of scratch memory";
	switch (insn->code) {
	case BPF_ALU | BPF_DIV | BPF_K:
	case BPF_ALU | BPF_MOD | BPF_K:
		return insn->k != 0 ? NULL : "divides by 0";
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K:
		return insn->k < 32 ? NULL : "shifts by more than 31 bits";
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
		return insn->k < ANCILLARY(0) || (insn->k < ANCILLARY(SKF_AD_MAX) && insn->k % 4 == 0) ? NULL :
		    "loads what the kernel has not";
	}
	return NULL;
}

/* left: instructions behind this one. */
static bool
jumps_inside(const struct bpf_insn *insn, size_t left)
{
	if (BPF_CLASS(insn->code) != BPF_JMP)
		return true;
	if (BPF_OP(insn->code) == BPF_JA)
		return insn->k < left;
	return insn->jt < left && insn->jf < left;
}

/* written[i]: words of M[] that every way to instruction i has written; what is read must be among them. A return is a way to
 * what stands behind it, for the kernel too. */
static bool
memory_flow(const struct bpf_insn *insn, size_t left, uint16_t *written)
{
	if (BPF_CLASS(insn->code) == BPF_JMP) {
		if (BPF_OP(insn->code) == BPF_JA) {
			written[1 + insn->k] &= written[0];
		} else {
			written[1 + insn->jt] &= written[0];
			written[1 + insn->jf] &= written[0];
		}
		return true;
	}
	if (insn->code == BPF_ST || insn->code == BPF_STX)
		written[0] |= (uint16_t)(1u << insn->k);
	else if (is_memory(insn->code) && (written[0] & 1u << insn->k) == 0)
		return false;
	if (left > 0)
		written[1] &= written[0];
	return true;
}

/* NULL: nothing is wrong with it. */
static const char *
insn_fault(const struct bpf_insn *insn, size_t left, bool is_tail, uint16_t *written)
{
	const char *fault;

	if (!opcode_known(insn->code, is_tail))
		return insn->code == (BPF_RET | BPF_A) ? "returns what is not a constant" : "is none that the kernel takes";
	if ((fault = operand_fault(insn)) != NULL)
		return fault;
	if (!jumps_inside(insn, left))
		return "jumps behind the end";
	if (!memory_flow(insn, left, written))
		return "reads scratch memory that may not have been written";
	return NULL;
}

static int
check(const struct bpf_insn *insn, size_t len, bool is_tail, char error[BPF_CHECK_ERROR_SIZE])
{
	uint16_t written[BPF_CHAIN_MAX];
	const char *fault;

	if (len == 0)
		return 0;
	if (len > BPF_CHAIN_MAX)
		return fail(error, "%zu instructions; the kernel takes %d", len, BPF_CHAIN_MAX);
	if (BPF_CLASS(insn[len - 1].code) != BPF_RET)
		return fail(error, "instruction %zu: the last one does not return", len - 1);
	memset(written, 0xff, len * sizeof(written[0]));
	written[0] = 0;
	for (size_t i = 0; i < len; i++)
		if ((fault = insn_fault(&insn[i], len - i - 1, is_tail, &written[i])) != NULL)
			return fail(error, "instruction %zu: %s", i, fault);
	return 0;
}

int
bpf_check(const struct bpf_insn *insn, size_t len, char error[BPF_CHECK_ERROR_SIZE])
{
	return check(insn, len, false, error);
}

int
bpf_check_tail(const struct bpf_insn *insn, size_t len, char error[BPF_CHECK_ERROR_SIZE])
{
	return check(insn, len, true, error);
}
