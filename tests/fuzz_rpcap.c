/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/bpf.h>

#include "common/buf.h"
#include "proto/bpf.h"
#include "proto/bpf_check.h"
#include "proto/rpcap.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define MESSAGE_MAX	(1u << 20)

static void
must(int result)
{
	if (result == -1)
		abort();
}

/* What is accepted as a filter becomes a part, however the chain is made; only room may be missing. */
static void
check_filter(const struct rpcap_filter *f)
{
	char error[BPF_CHECK_ERROR_SIZE] = "";
	struct bpf_chain chain;
	enum bpf_error result;

	if (bpf_check(f->insn, f->count, error) == -1) {
		if (error[0] == '\0')
			abort();
		return;
	}
	bpf_chain_init(&chain);
	for (int negate = 0; negate < 2 && f->count > 0; negate++) {
		result = bpf_chain_add(&chain, "client", f->insn, f->count, negate == 1);
		if (result != BPF_OK && result != BPF_TOO_LONG)
			abort();
	}
	bpf_chain_clear(&chain);
}

static int
recode_filter(struct cursor *c, struct buf *b, const struct rpcap_startcap *s)
{
	char error[RPCAP_TEXT_SIZE] = "";
	struct rpcap_filter f;

	if (rpcap_get_filter(c, &f, error) == -1) {
		if (error[0] == '\0')
			abort();
		return -1;
	}
	check_filter(&f);
	must(s != NULL ? rpcap_put_startcap(b, 0, s, &f) : rpcap_put_updatefilter(b, 0, &f));
	free((void *)f.insn);
	return 0;
}

static int
recode_startcap(struct cursor *c, struct buf *b)
{
	struct rpcap_startcap s;

	return rpcap_get_startcap(c, &s) == -1 ? -1 : recode_filter(c, b, &s);
}

/* As many as the header says, or as there are. */
static int
recode_interfaces(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	struct rpcap_interface interface;
	struct rpcap_addresses addresses;

	must(rpcap_put_header(b, h));
	for (unsigned i = 0; i < h->value; i++) {
		if (rpcap_get_interface(c, &interface) == -1)
			return -1;
		must(rpcap_put_interface(b, &interface));
		for (unsigned k = 0; k < interface.address_count; k++) {
			if (rpcap_get_addresses(c, &addresses) == -1)
				return -1;
			must(rpcap_put_addresses(b, &addresses));
		}
	}
	return 0;
}

static int
recode_packet(struct cursor *c, struct buf *b)
{
	struct rpcap_packet p;
	uint8_t header[RPCAP_PACKET_SIZE];

	if (rpcap_get_packet(c, &p) == -1)
		return -1;
	rpcap_write_packet(header, 0, &p);
	must(buf_put(b, header, sizeof(header)));
	must(buf_put(b, c->p, p.captured_len));
	return cursor_skip(c, p.captured_len);
}

static int
recode_text(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	char text[RPCAP_TEXT_SIZE];
	size_t len = c->left;

	if (rpcap_get_text(c, text, sizeof(text)) == -1 && len < sizeof(text))
		abort();
	if (strlen(text) > len || c->left != 0)
		abort();
	must(h->type == RPCAP_OPEN ? rpcap_put_open(b, 0, text) : rpcap_put_error(b, 0, RPCAP_ERR_NETW, text));
	return 0;
}

#define RECODE(type, name, m, ...)						\
	case type: {								\
		struct m m;							\
										\
		if (rpcap_get_##name(c, &m) == -1)				\
			return -1;						\
		must(rpcap_put_##name(b, __VA_ARGS__ &m));			\
		return 0;							\
	}

/* What a server gets, and what a client does. */
static int
recode(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	switch (h->type) {
	case RPCAP_ERROR:
	case RPCAP_OPEN:
		return recode_text(c, h, b);
	case RPCAP_STARTCAP:
		return recode_startcap(c, b);
	case RPCAP_UPDATEFILTER:
		return recode_filter(c, b, NULL);
	case RPCAP_PACKET:
		return recode_packet(c, b);
	case RPCAP_FINDALLIF | RPCAP_REPLY:
		return recode_interfaces(c, h, b);
	RECODE(RPCAP_AUTH, auth, rpcap_auth)
	RECODE(RPCAP_SETSAMPLING, sampling, rpcap_sampling, 0,)
	RECODE(RPCAP_AUTH | RPCAP_REPLY, auth_reply, rpcap_auth_reply)
	RECODE(RPCAP_OPEN | RPCAP_REPLY, open_reply, rpcap_open_reply, 0,)
	RECODE(RPCAP_STARTCAP | RPCAP_REPLY, startcap_reply, rpcap_startcap_reply, 0,)
	RECODE(RPCAP_STATS | RPCAP_REPLY, stats_reply, rpcap_stats, 0,)
	default:
		return -1;
	}
}

/* What a get takes, put again, is taken again as the same. */
static void
check_message(const struct rpcap_header *h, struct cursor payload)
{
	struct buf once, twice;
	struct rpcap_header again;

	buf_init(&once, MESSAGE_MAX);
	buf_init(&twice, MESSAGE_MAX);
	if (recode(&payload, h, &once) == 0) {
		rpcap_get_header(once.data, &again);
		if (again.type != h->type)
			abort();
		cursor_init(&payload, once.data + RPCAP_HEADER_SIZE, once.len - RPCAP_HEADER_SIZE);
		if (recode(&payload, &again, &twice) == -1 || twice.len != once.len || memcmp(once.data, twice.data, once.len) != 0)
			abort();
	}
	buf_clear(&once);
	buf_clear(&twice);
}

/* A header that says more than there is gets what there is: lengths inside lie then. */
static void
check_stream(const uint8_t *data, size_t len)
{
	struct cursor c, payload;
	struct rpcap_header h;

	cursor_init(&c, data, len);
	while (c.left >= RPCAP_HEADER_SIZE) {
		rpcap_get_header(c.p, &h);
		(void)rpcap_type_name(h.type);
		(void)rpcap_error_name(h.value);
		cursor_skip(&c, RPCAP_HEADER_SIZE);
		cursor_sub(&c, h.length < c.left ? h.length : c.left, &payload);
		check_message(&h, payload);
	}
}

/* Where no length inside changes with it, twice is as never. */
static void
check_swap(uint8_t which, const uint8_t *data, size_t len)
{
	static const uint32_t linktypes[] = { DLT_NULL, DLT_PFLOG, DLT_USB_LINUX, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_EN10MB, DLT_NETLINK,
		DLT_USB_LINUX_MMAPPED, DLT_NFLOG };
	uint32_t linktype = linktypes[which % (sizeof(linktypes) / sizeof(linktypes[0]))];
	uint8_t *packet = malloc(len > 0 ? len : 1);

	if (packet == NULL)
		return;
	memcpy(packet, data, len);
	if (rpcap_swap_packet(linktype, packet, len) != (linktype == DLT_NETLINK ? -1 : 0))
		abort();
	rpcap_swap_packet(linktype, packet, len);
	if (linktype != DLT_USB_LINUX_MMAPPED && linktype != DLT_NFLOG && memcmp(packet, data, len) != 0)
		abort();
	free(packet);
}

/* The first byte: 255, a stream of messages; else a packet of a link type. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (data[0] == 255)
		check_stream(data + 1, len - 1);
	else
		check_swap(data[0], data + 1, len - 1);
	return 0;
}
