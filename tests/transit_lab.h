/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_TRANSIT_LAB_H
#define VMTAP_TESTS_TRANSIT_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/transit.h"

/* A packet built from its end: each header is put before what is there, with the lengths that follow from it. */
#define LAB_ROOM	(128 * 1024)
#define LAB_TEXT	"payload of a packet, fifty bytes long, as sent by."
#define LAB_TCP_FLAGS	0x3f	/* without those of ECN */
#define LAB_ETHERNET	1
#define LAB_RAW		101
#define LAB_SLL		113
#define LAB_SLL2	276

struct lab {
	uint8_t	room[LAB_ROOM];
	size_t	at;
};

void	lab_begin(struct lab *, const void *payload, size_t);
void	lab_put(struct lab *, const void *, size_t);
const uint8_t *lab_data(const struct lab *);
uint8_t	*lab_byte(struct lab *, size_t offset);
size_t	lab_len(const struct lab *);
void	lab_tcp(struct lab *, uint8_t flags);		/* ports 4000 to 80, with an option of 4 bytes */
void	lab_udp(struct lab *, uint16_t dst_port);	/* from port 4000 */
void	lab_ipv4(struct lab *, uint8_t protocol);	/* 10.1.2.3 to 192.168.1.1, identification 0x1234 */
void	lab_ipv6(struct lab *, uint8_t next);		/* 2001:db8::1 to 2001:db8::2 */
void	lab_link(struct lab *, uint16_t linktype, uint16_t type);
void	lab_ethernet(struct lab *, uint16_t type);	/* unicast */

/* One of each kind; all of LAB_ETHERNET. */
struct lab_case {
	const char	*name;
	void		(*make)(struct lab *);
	enum transit_kind kind;
	const char	*free;		/* offsets of bytes that are left out: "0-11,14"; after a dot of bits: "20.40" the mask in hex */
};
extern const struct lab_case lab_cases[];
extern const size_t lab_cases_count;
/* Is their identity the same, by its bytes? As those that merge streams compare. */
bool	lab_same(const struct transit *, const struct transit *);
/* All packets of the capture files in the folder VMTAP_CAPTURES; says so and returns 0 if it is not set. */
typedef void lab_packet_fn(unsigned file, uint16_t linktype, const uint8_t *, size_t captured, size_t original);
size_t	lab_captures(const char *program, lab_packet_fn *);
bool	lab_free_bit(const struct lab_case *, size_t offset, unsigned bit);	/* is it left out? */

#endif
