/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ENROL_LIMIT_H
#define VMTAP_COLLECTOR_ENROL_LIMIT_H

#include <stddef.h>
#include <stdint.h>

#include "collector/token.h"

struct sqlite3;

/*
 * Whose tokens are looked up in the catalog. One that is in force is known here, and looked up however often others behind the same
 * address try: a fleet behind one NAT enrols whatever its neighbours do. Each such token has tries of its own, more than it has uses.
 * Of other tokens few are looked up, for each source address and for all together. Any thread.
 */
#define ENROL_TOKEN_SPARE	20u		/* tries of a token beyond twice its uses, and then one a second */
#define ENROL_ADDRESS_BURST	10u		/* unknown tokens of one address (IPv6: a /64), and then one in 6 s */
#define ENROL_ADDRESS_NS	UINT64_C(6000000000)
#define ENROL_ALL_BURST		100u		/* of all, and then ten a second */
#define ENROL_ALL_NS		UINT64_C(100000000)

enum enrol_limit_verdict {
	ENROL_LOOK,		/* in the catalog */
	ENROL_AGAIN_LATER,	/* in force, and tried too often */
	ENROL_STRANGER		/* not in force, and so are many */
};

struct enrol_limit;
/* With all tokens of the catalog that are in force. NULL with a line for people. */
struct enrol_limit *enrol_limit_new(struct sqlite3 *, char *error, size_t error_size);
void	enrol_limit_free(struct enrol_limit *);		/* NULL is fine */
void	enrol_limit_add(struct enrol_limit *, const struct token *);
void	enrol_limit_remove(struct enrol_limit *, const uint8_t hash[TOKEN_HASH_SIZE]);
/* address: as tlsio_peer_address() has it. tenant and id: the token's; "" of one that is not in force. */
enum enrol_limit_verdict enrol_limit_take(struct enrol_limit *, const uint8_t hash[TOKEN_HASH_SIZE], const char *address,
	    uint64_t now_ns, char tenant[IDENTITY_NAME_SIZE], char id[TOKEN_ID_SIZE]);

#endif
