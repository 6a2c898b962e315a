/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_PACK_H
#define VMTAP_AGENT_RPCAP_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A raw block of the spool, of one interface, to RPCAP's packet messages. Pure. A message is never longer than the Enhanced Packet
 * Block that it is made from, so that a whole block's always have room in as many bytes.
 */
struct rpcap_pack {
	uint8_t		 version;	/* of the messages */
	uint32_t	 captured_max;	/* bytes of a packet at most: the client's snaplen, and the protocol's */
	uint32_t	 number;	/* of the packet packed last, modulo 2^32; from one block to the next */
	const uint8_t	*p;		/* what of the block is left */
	size_t		 left;
};

/* The block's bytes are the caller's, until all is packed. */
void	rpcap_pack_block(struct rpcap_pack *, const uint8_t *block, size_t len);
/* Writes whole messages until the next does not fit, or the block is at its end: bytes written. *packets grows by the packets in them.
 * What makes no sense is the end of a block: it may hold fewer packets than it should. */
size_t	rpcap_pack_some(struct rpcap_pack *, uint8_t *dst, size_t size, uint64_t *packets);
bool	rpcap_pack_done(const struct rpcap_pack *);

#endif
