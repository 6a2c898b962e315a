/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proto/digest.h"
#include "proto/transit.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static const uint16_t linktypes[] = { 1, 0, 101, 108, 113, 228, 229, 276, 9 };
static const uint8_t secret[DIGEST_SECRET_SIZE] = "any 192 bytes would do";

static bool
inside(const uint8_t *p, size_t len, const uint8_t *data, size_t size)
{
	return p >= data && len <= size && (size_t)(p - data) <= size - len;
}

static bool
all_zero(const uint8_t *p, size_t len)
{
	while (len > 0 && p[len - 1] == 0)
		len--;
	return len == 0;
}

/* What each kind promises. */
static bool
consistent(const struct transit *t, const uint8_t *data, size_t size)
{
	bool ip = t->kind == TRANSIT_TCP || t->kind == TRANSIT_UDP || t->kind == TRANSIT_IP || t->kind == TRANSIT_FRAGMENT;

	if (!inside(t->payload, t->payload_len, data, size) || (ip && t->family == 0))
		return false;
	if (t->family != AF_INET6 && !(all_zero(t->src + 4, 12) && all_zero(t->dst + 4, 12)))
		return false;
	if (t->kind != TRANSIT_TCP)
		return t->header == NULL && (t->kind == TRANSIT_FRAGMENT || t->fragment == 0);
	return t->protocol == IPPROTO_TCP && t->header_len >= 20 && t->header_len <= 60 &&
	    t->payload == t->header + t->header_len && inside(t->header, t->header_len, data, size);
}

/* The first byte chooses the link type, the rest is a packet. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transit t, again;
	uint16_t linktype;
	uint64_t digest;

	if (size == 0)
		return 0;
	linktype = linktypes[data[0] % (sizeof(linktypes) / sizeof(linktypes[0]))];
	transit_parse(&t, linktype, data + 1, size - 1, size - 1);
	digest = digest_packet(&t, secret);
	if ((digest == DIGEST_NONE) != (t.kind == TRANSIT_NONE))
		abort();
	if (t.kind != TRANSIT_NONE && !consistent(&t, data + 1, size - 1))
		abort();
	if (t.kind == TRANSIT_NONE && (t.payload != NULL || t.family != 0 || transit_undivided(&t)))
		abort();
	transit_parse(&again, linktype, data + 1, size - 1, size - 1);
	if (digest_packet(&again, secret) != digest)
		abort();
	transit_parse(&again, linktype, data + 1, size - 1, size);
	if (again.kind != TRANSIT_NONE)
		abort();
	return 0;
}
