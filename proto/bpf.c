/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdlib.h>
#include <string.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf.h"
#include "proto/bpf_check.h"

#define ANCILLARY(what)	((uint32_t)(SKF_AD_OFF + (what)))
#define PREAMBLE_LEN	2	/* A and X to zero, as at a program's start */
#define PARTS_MAX	(sizeof(((struct bpf_chain *)NULL)->part_start) / sizeof(size_t))

static enum bpf_error
check_part(const struct bpf_insn *insn, size_t len, bool is_tail)
{
	char error[BPF_CHECK_ERROR_SIZE];

	if (len == 0)
		return BPF_MALFORMED;
	return (is_tail ? bpf_check_tail : bpf_check)(insn, len, error) == -1 ? BPF_MALFORMED : BPF_OK;
}

/* A return that accepts, or refuses, goes on behind the part; the other one ends the whole with this result. */
static void
redirect_returns(struct bpf_insn *insn, size_t len, bool accepts_go_on, uint32_t end)
{
	for (size_t i = 0; i < len; i++) {
		if (BPF_CLASS(insn[i].code) != BPF_RET)
			continue;
		if ((insn[i].k != 0) == accepts_go_on)
			insn[i] = (struct bpf_insn)BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)(len - i - 1));
		else
			insn[i] = (struct bpf_insn)BPF_STMT(BPF_RET | BPF_K, end);
	}
}

void
bpf_chain_init(struct bpf_chain *chain)
{
	memset(chain, 0, sizeof(*chain));
}

void
bpf_chain_clear(struct bpf_chain *chain)
{
	free(chain->insn);
	bpf_chain_init(chain);
}

static size_t
zero_registers(struct bpf_insn *insn)
{
	insn[0] = (struct bpf_insn)BPF_STMT(BPF_LD | BPF_IMM, 0);
	insn[1] = (struct bpf_insn)BPF_STMT(BPF_MISC | BPF_TAX, 0);
	return PREAMBLE_LEN;
}

static enum bpf_error
chain_append(struct bpf_chain *chain, const char *name, const struct bpf_insn *insn, size_t len, bool accepts_go_on, uint32_t end)
{
	size_t preamble = chain->part_count > 0 ? PREAMBLE_LEN : 0;
	struct bpf_insn *grown;
	enum bpf_error error;

	if (chain->part_count == PARTS_MAX)
		return BPF_TOO_MANY_PARTS;
	if (len > BPF_CHAIN_MAX || chain->len + preamble + len + 1 > BPF_CHAIN_MAX)
		return BPF_TOO_LONG;
	if ((error = check_part(insn, len, false)) != BPF_OK)
		return error;
	if ((grown = reallocarray(chain->insn, chain->len + preamble + len, sizeof(*insn))) == NULL)
		return BPF_NO_MEMORY;
	chain->insn = grown;
	chain->part_start[chain->part_count] = chain->len;
	chain->part_name[chain->part_count++] = name;
	if (preamble > 0)
		chain->len += zero_registers(chain->insn + chain->len);
	memcpy(chain->insn + chain->len, insn, len * sizeof(*insn));
	redirect_returns(chain->insn + chain->len, len, accepts_go_on, end);
	chain->len += len;
	return BPF_OK;
}

enum bpf_error
bpf_chain_add(struct bpf_chain *chain, const char *name, const struct bpf_insn *insn, size_t len, bool negate)
{
	return chain_append(chain, name, insn, len, !negate, 0);
}

enum bpf_error
bpf_chain_add_enough(struct bpf_chain *chain, const char *name, const struct bpf_insn *insn, size_t len)
{
	return chain_append(chain, name, insn, len, false, 1);
}

enum bpf_error
bpf_chain_finish(const struct bpf_chain *chain, uint32_t snaplen, struct bpf_insn *out, size_t *out_len)
{
	if (chain->len + 1 > BPF_CHAIN_MAX)
		return BPF_TOO_LONG;
	if (chain->len > 0)
		memcpy(out, chain->insn, chain->len * sizeof(*out));
	out[chain->len] = (struct bpf_insn)BPF_STMT(BPF_RET | BPF_K, snaplen);
	*out_len = chain->len + 1;
	return BPF_OK;
}

enum bpf_error
bpf_chain_finish_with(const struct bpf_chain *chain, const struct bpf_insn *tail, size_t tail_len, struct bpf_insn *out,
    size_t *out_len)
{
	size_t len = chain->len;
	enum bpf_error error;

	if (tail_len > BPF_CHAIN_MAX || len + PREAMBLE_LEN + tail_len > BPF_CHAIN_MAX)
		return BPF_TOO_LONG;
	if ((error = check_part(tail, tail_len, true)) != BPF_OK)
		return error;
	if (len > 0) {
		memcpy(out, chain->insn, len * sizeof(*out));
		len += zero_registers(out + len);
	}
	memcpy(out + len, tail, tail_len * sizeof(*out));
	*out_len = len + tail_len;
	return BPF_OK;
}

const char *
bpf_error_text(enum bpf_error error)
{
	switch (error) {
	case BPF_OK:
		return "no error";
	case BPF_TOO_LONG:
		return "the kernel filter would be longer than 4096 instructions";
	case BPF_NO_MEMORY:
		return "out of memory";
	case BPF_MALFORMED:
		return "not a valid filter program";
	case BPF_TOO_MANY_PARTS:
		return "too many parts in one kernel filter";
	}
	return "unknown filter error";
}

/* Fields of the cooked headers (LINKTYPE_LINUX_SLL and SLL2) that the kernel knows without them. */
static const struct cooked_field {
	size_t		header_len;
	uint32_t	offset;
	uint16_t	size;		/* BPF_H ... */
	uint32_t	ancillary;
} cooked_fields[] = {
	{ 16,	0,	BPF_H,	ANCILLARY(SKF_AD_PKTTYPE) },
	{ 16,	2,	BPF_H,	ANCILLARY(SKF_AD_HATYPE) },
	{ 16,	14,	BPF_H,	ANCILLARY(SKF_AD_PROTOCOL) },
	{ 20,	0,	BPF_H,	ANCILLARY(SKF_AD_PROTOCOL) },
	{ 20,	4,	BPF_W,	ANCILLARY(SKF_AD_IFINDEX) },
	{ 20,	8,	BPF_H,	ANCILLARY(SKF_AD_HATYPE) },
	{ 20,	10,	BPF_B,	ANCILLARY(SKF_AD_PKTTYPE) },
};

static int
fix_cooked_field(struct bpf_insn *insn, size_t header_len)
{
	if (BPF_MODE(insn->code) != BPF_ABS)
		return -1;
	for (size_t i = 0; i < sizeof(cooked_fields) / sizeof(cooked_fields[0]); i++) {
		const struct cooked_field *f = &cooked_fields[i];

		if (f->header_len == header_len && f->offset == insn->k && f->size == BPF_SIZE(insn->code)) {
			insn->code = BPF_LD | BPF_W | BPF_ABS;
			insn->k = f->ancillary;
			return 0;
		}
	}
	return -1;
}

int
bpf_fix_cooked(struct bpf_insn *insn, size_t len, size_t cooked_header_len)
{
	for (size_t i = 0; i < len; i++) {
		uint16_t class = BPF_CLASS(insn[i].code), mode = BPF_MODE(insn[i].code);

		if ((class != BPF_LD && class != BPF_LDX) || (mode != BPF_ABS && mode != BPF_IND && mode != BPF_MSH))
			continue;
		if (insn[i].k > INT32_MAX)	/* the kernel's own offsets already */
			continue;
		if (insn[i].k >= cooked_header_len)
			insn[i].k -= (uint32_t)cooked_header_len;
		else if (fix_cooked_field(&insn[i], cooked_header_len) == -1)
			return -1;
	}
	return 0;
}
