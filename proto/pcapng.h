/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_PCAPNG_H
#define VMTAP_PROTO_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/* pcapng (draft-ietf-opsawg-pcapng), little-endian always, as far as vmtap writes it and checks what others wrote. */
#define PCAPNG_SHB		0x0a0d0d0au
#define PCAPNG_IDB		1u
#define PCAPNG_ISB		5u
#define PCAPNG_EPB		6u
#define PCAPNG_MAGIC		0x1a2b3c4du	/* of a section header: byte order */
#define PCAPNG_BLOCK_MAX	(1024u * 1024)	/* a longer one is not of ours */
#define PCAPNG_SNAPLEN		262144u		/* if_snaplen of every interface: tcpdump refuses files where they differ */
#define PCAPNG_EPB_IN		1u		/* epb_flags bits 0-1 */
#define PCAPNG_EPB_OUT		2u
#define PCAPNG_EPB_MAX(caplen)	((size_t)(caplen) + 3 + 32 + 8 + 12 + 12 + 4)	/* with all options but a comment */

/* Option codes; those of each kind of block count by themselves. */
enum pcapng_option {
	PCAPNG_OPT_END = 0, PCAPNG_OPT_COMMENT = 1,
	PCAPNG_SHB_HARDWARE = 2, PCAPNG_SHB_OS = 3, PCAPNG_SHB_USERAPPL = 4,
	PCAPNG_IF_NAME = 2, PCAPNG_IF_DESCRIPTION = 3, PCAPNG_IF_IPV4 = 4, PCAPNG_IF_IPV6 = 5, PCAPNG_IF_MAC = 6, PCAPNG_IF_EUI = 7,
	PCAPNG_IF_SPEED = 8, PCAPNG_IF_TSRESOL = 9, PCAPNG_IF_FILTER = 11, PCAPNG_IF_OS = 12, PCAPNG_IF_TSOFFSET = 14,
	PCAPNG_EPB_FLAGS = 2, PCAPNG_EPB_DROPCOUNT = 4, PCAPNG_EPB_PACKETID = 5, PCAPNG_EPB_QUEUE = 6,
	PCAPNG_ISB_STARTTIME = 2, PCAPNG_ISB_ENDTIME = 3, PCAPNG_ISB_IFRECV = 4, PCAPNG_ISB_IFDROP = 5, PCAPNG_ISB_FILTERACCEPT = 6,
	PCAPNG_ISB_OSDROP = 7, PCAPNG_ISB_USRDELIV = 8
};

struct pcapng_interface {
	uint16_t	linktype;
	uint32_t	snaplen;	/* as found; written as PCAPNG_SNAPLEN */
	char		name[64];
	char		description[128];
	char		filter[1024];
	char		os[128];
	bool		has_mac;
	uint8_t		mac[6];
	uint8_t		ipv4_count, ipv6_count;
	uint8_t		ipv4[8][8];	/* address, netmask */
	uint8_t		ipv6[8][17];	/* address, prefix length */
	uint8_t		tsresol;	/* 9 when written */
};

struct pcapng_packet {
	uint32_t	 interface;
	uint64_t	 time_ns;
	uint32_t	 captured_len, original_len;
	uint32_t	 zeroes;	/* of captured_len, behind the data: put in by pcapng_write_epb() */
	const uint8_t	*data;
	uint32_t	 flags;		/* epb_flags; written if not 0 */
	uint64_t	 dropped;	/* epb_dropcount; written if not 0 */
	uint64_t	 packetid;	/* epb_packetid, the digest (proto/digest.h); written if not 0 */
	const char	*comment;	/* opt_comment; written if not NULL; only by pcapng_put_epb() */
};

struct pcapng_statistics {
	uint32_t	interface;
	uint64_t	time_ns;
	bool		has_offered;
	uint64_t	offered;	/* isb_ifrecv; written if has_offered */
	uint64_t	received;	/* isb_filteraccept */
	uint64_t	dropped;	/* isb_osdrop: ring */
	uint64_t	delivered;	/* isb_usrdeliv */
	uint64_t	start_ns;	/* isb_starttime */
};

/* Appending writers: 0 / -1 as buf_put(). */
int	pcapng_put_shb(struct buf *, const char *hardware, const char *os, const char *application);
/* The same with an opt_comment in front; NULL: none. */
int	pcapng_put_shb_comment(struct buf *, const char *hardware, const char *os, const char *application, const char *comment);
int	pcapng_put_idb(struct buf *, const struct pcapng_interface *);
int	pcapng_put_isb(struct buf *, const struct pcapng_statistics *);
int	pcapng_put_epb(struct buf *, const struct pcapng_packet *);
/* The packet path's writer: into room of at least PCAPNG_EPB_MAX(captured_len); returns the bytes written. No comment. */
size_t	pcapng_write_epb(uint8_t *, const struct pcapng_packet *);

/*
 * A block's inside, as it comes from an agent: walks Enhanced Packet and Interface Statistics Blocks.
 * 1: *type and, for an EPB, *packet (data points into the bytes) are set; 0: clean end; -1: malformed, error says where and why.
 */
struct pcapng_walk {
	const uint8_t	*p;
	size_t		 left;
	size_t		 offset;	/* of the next block */
	char		 error[128];
	bool		 torn;		/* with -1: the bytes end inside the block at p, well-formed so far: more may come */
};
void	pcapng_walk_init(struct pcapng_walk *, const uint8_t *, size_t);
int	pcapng_walk_next(struct pcapng_walk *, uint32_t *type, struct pcapng_packet *, const uint8_t **block, size_t *block_len);
/* Walks SHB and IDB too (of files). */
int	pcapng_walk_any(struct pcapng_walk *, uint32_t *type, struct pcapng_packet *, const uint8_t **block, size_t *block_len);

/* The next opt_comment of an EPB that a walk has returned whole; *at is 0 at first. 1: *text (not NUL-terminated, it points into the
 * block) and its length are set; 0: no more. */
int	pcapng_next_comment(const uint8_t *block, size_t block_len, size_t *at, const uint8_t **text, size_t *text_len);
/* Appends a copy of a block's inside, as a walk goes through it, with an opt_comment more on its first EPB, before those that it
 * has. 0; or -1 with EBADMSG (malformed up to there, or no packet) or as buf_put(), and nothing is appended. */
int	pcapng_put_commented(struct buf *, const uint8_t *, size_t, const char *comment);

/* What a collector asks before it stores: only EPB and ISB, declared interfaces. 0 / -1 with error. Fills in the sums (times are 0
 * without packets), which the caller compares with those announced. */
struct pcapng_summary {
	uint32_t	packets;
	uint64_t	bytes;
	uint64_t	first_ns, last_ns;
};
int	pcapng_check_block(const uint8_t *, size_t, uint32_t interface_count, struct pcapng_summary *, char *error,
	    size_t error_size);
/* One Interface Description Block, exactly; tsresol must be 9, snaplen PCAPNG_SNAPLEN. 0 / -1. */
int	pcapng_parse_idb(const uint8_t *, size_t, struct pcapng_interface *);

#endif
