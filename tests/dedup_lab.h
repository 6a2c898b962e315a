/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_DEDUP_LAB_H
#define VMTAP_TESTS_DEDUP_LAB_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#include "collector/dedup.h"

/* Packets of which the bytes of a payload follow from where they stand in the flow, and what the engine made of them. */

#define LAB_US		UINT64_C(1000)
#define LAB_MS		UINT64_C(1000000)
#define LAB_S		UINT64_C(1000000000)
#define LAB_START	(1700000000 * LAB_S)
#define LAB_FIN		0x01u
#define LAB_SYN		0x02u
#define LAB_ACK		0x10u

struct lab_packet {
	uint32_t	source;
	enum dedup_direction direction;
	uint64_t	at;		/* after LAB_START */
	uint8_t		protocol;	/* 6, 17; 1: neither; 0: ARP */
	uint8_t		src, dst;	/* last byte of 10.0.0.x; 255: broadcast */
	uint32_t	seq;		/* of UDP, too: which of the flow's bytes are the payload */
	uint32_t	len;
	unsigned	flags;
	uint16_t	id;
	uint8_t		hops, salt;
	uint32_t	flip;		/* the payload's byte of this number, from 1, is another */
	uint16_t	urgent;		/* pointer of TCP */
	uint16_t	fragment;	/* flags and offset of IP */
	uint32_t	cut;		/* so many bytes were not captured */
};

/* The EPB; put in place of what is there. Returns where in it the packet is. */
size_t	lab_make(struct buf *, const struct lab_packet *);
/* As a dedup_packet on the same bytes. */
struct dedup_packet lab_packet_of(const struct buf *, const struct lab_packet *, size_t data_at);

#endif
