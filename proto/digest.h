/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_DIGEST_H
#define VMTAP_PROTO_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct transit;

/*
 * The digest of a packet (PROTOCOL, "Digest"): 64 bits of XXH3 over what stays the same on the way. Keyed by a secret that a tenant's
 * agents share, so that nobody else can make packets that meet; it is an index, equality is proven on bytes.
 */
#define DIGEST_SECRET_SIZE	192	/* random bytes; XXH3 takes 136 or more */
#define DIGEST_NONE		0u	/* of a packet of which nothing can be said; no other has it */

uint64_t digest_packet(const struct transit *, const uint8_t secret[DIGEST_SECRET_SIZE]);

#endif
