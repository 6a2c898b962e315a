/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/bpf.h>

#include "proto/rpcap.h"

/* The two requests that carry a program. */

#define FILTER_BPF		1u	/* the only type that there is */
#define FILTER_SIZE		8u
#define INSN_SIZE		8u
#define STARTCAP_SIZE		12u

/* Header and room for a payload of fixed bytes and a filter. */
static int
begin(struct buf *b, uint8_t version, uint8_t type, uint32_t fixed, const struct rpcap_filter *f)
{
	struct rpcap_header h = { .version = version, .type = type };

	if (f->count > RPCAP_INSNS_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	h.length = fixed + FILTER_SIZE + INSN_SIZE * f->count;
	return buf_reserve(b, RPCAP_HEADER_SIZE + h.length) == -1 ? -1 : rpcap_put_header(b, &h);
}

static int
put_filter(struct buf *b, const struct rpcap_filter *f)
{
	int	errs;

	errs = buf_put_u16(b, FILTER_BPF);
	errs += buf_put_u16(b, 0);
	errs += buf_put_u32(b, f->count);
	for (uint32_t i = 0; i < f->count; i++) {
		errs += buf_put_u16(b, f->insn[i].code);
		errs += buf_put_u8(b, f->insn[i].jt);
		errs += buf_put_u8(b, f->insn[i].jf);
		errs += buf_put_u32(b, f->insn[i].k);
	}
	return errs;
}

int
rpcap_put_startcap(struct buf *b, uint8_t version, const struct rpcap_startcap *s, const struct rpcap_filter *f)
{
	int	errs;

	if (begin(b, version, RPCAP_STARTCAP, STARTCAP_SIZE, f) == -1)
		return -1;
	errs = buf_put_u32(b, s->snaplen);
	errs += buf_put_u32(b, s->read_timeout_ms);
	errs += buf_put_u16(b, s->flags);
	errs += buf_put_u16(b, s->port);
	errs += put_filter(b, f);
	return errs == 0 ? 0 : -1;
}

int
rpcap_put_updatefilter(struct buf *b, uint8_t version, const struct rpcap_filter *f)
{
	if (begin(b, version, RPCAP_UPDATEFILTER, 0, f) == -1)
		return -1;
	return put_filter(b, f) == 0 ? 0 : -1;
}

/* All of it is there. */
static void
get_insns(struct cursor *c, struct bpf_insn *insn, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint16_t	code = 0;
		uint32_t	k = 0;

		cursor_u16(c, &code);
		cursor_u8(c, &insn[i].jt);
		cursor_u8(c, &insn[i].jf);
		cursor_u32(c, &k);
		insn[i].code = code;
		insn[i].k = k;
	}
}

static int
get_filter_header(struct cursor *c, uint32_t *count, char error[RPCAP_TEXT_SIZE])
{
	uint16_t	type, pad;

	if (cursor_u16(c, &type) == -1 || cursor_u16(c, &pad) == -1 || cursor_u32(c, count) == -1) {
		snprintf(error, RPCAP_TEXT_SIZE, "the request is too short for a filter");
		return -1;
	}
	if (type != FILTER_BPF) {
		snprintf(error, RPCAP_TEXT_SIZE, "filter of type %u; only BPF (type %u) is known", type, FILTER_BPF);
		return -1;
	}
	if (*count > RPCAP_INSNS_MAX) {
		snprintf(error, RPCAP_TEXT_SIZE, "filter of %u instructions; at most %u are taken", *count, RPCAP_INSNS_MAX);
		return -1;
	}
	if (INSN_SIZE * *count > c->left) {
		snprintf(error, RPCAP_TEXT_SIZE, "filter of %u instructions, and %zu bytes are there for them", *count, c->left);
		return -1;
	}
	return 0;
}

uint32_t
rpcap_startcap_length(uint32_t length, const uint8_t *payload, size_t there)
{
	static const uint8_t one[] = { 0, FILTER_BPF, 0, 0, 0, 0, 0, 1, 0, BPF_RET | BPF_K, 0, 0 };
	size_t seen = there > STARTCAP_SIZE ? there - STARTCAP_SIZE : 0;

	if (length != STARTCAP_SIZE + FILTER_SIZE || memcmp(payload + STARTCAP_SIZE, one, seen < sizeof(one) ? seen : sizeof(one)) != 0)
		return length;
	return length + INSN_SIZE;
}

int
rpcap_get_filter(struct cursor *c, struct rpcap_filter *f, char error[RPCAP_TEXT_SIZE])
{
	struct bpf_insn	*insn;
	uint32_t	 count;

	*f = (struct rpcap_filter){ 0 };
	if (get_filter_header(c, &count, error) == -1)
		return -1;
	if (count == 0)
		return 0;
	if ((insn = calloc(count, sizeof(*insn))) == NULL) {
		snprintf(error, RPCAP_TEXT_SIZE, "no memory for a filter of %u instructions", count);
		return -1;
	}
	get_insns(c, insn, count);
	*f = (struct rpcap_filter){ .insn = insn, .count = count };
	return 0;
}
