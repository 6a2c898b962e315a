/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_PACKETS_H
#define VMTAP_TESTS_PACKETS_H

#include <stddef.h>
#include <stdint.h>

/*
 * A pool of Ethernet/IPv4/UDP packets made once and sent again and again: sizes by the IMIX (64, 570 and 1518 bytes on the wire as 7:4:1,
 * the 4 bytes of FCS left off) or fixed, 1024 flows, payload random or text: a corpus at random offsets. The first 8 bytes of each payload
 * are a sequence number (big-endian), which the sender sets anew.
 */
struct packets {
	uint8_t		*memory;
	uint8_t		**data;
	uint32_t	*len;
	size_t		 count;
};

#define PACKETS_SEQUENCE_OFFSET	42	/* Ethernet 14, IPv4 20, UDP 8 */

/* size: "imix" or a number of bytes; payload: "random" or a file's name. 0, or -1 with errno. seed: same seed, same packets. */
int	packets_make(struct packets *, size_t count, const char *size, const char *payload, const uint8_t destination_mac[6], unsigned seed);
void	packets_free(struct packets *);
void	packets_set_sequence(uint8_t *packet, uint64_t sequence);

#endif
