/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_RPCAP_H
#define VMTAP_PROTO_RPCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct bpf_insn;

/*
 * RPCAP, version 0: what libpcap's remote capture and rpcapd speak. Its reference is libpcap's rpcap-protocol.h, whose names these
 * are. All numbers are big-endian but the byte order magic, which is in the server's. Pure: no I/O, no globals.
 *
 * A message is a header and a payload of the length that it says. rpcap_put_*() append a whole message; rpcap_get_*() take a
 * payload that is there whole. What follows a payload's known fields is passed over, as rpcapd does. All return 0 or -1; -1 of a
 * get: too short, or it lies about lengths inside.
 */
#define RPCAP_PORT		2002	/* passive: the server waits */
#define RPCAP_PORT_ACTIVE	2003	/* active: the client waits, the server calls */
#define RPCAP_VERSION		0
#define RPCAP_HEADER_SIZE	8u
#define RPCAP_PACKET_HEADER_SIZE 20u
#define RPCAP_CAPTURED_MAX	(65535u - RPCAP_PACKET_HEADER_SIZE)	/* peers keep a packet message's length in 16 bits */
#define RPCAP_DATAGRAM_CAPTURED_MAX (65507u - RPCAP_HEADER_SIZE - RPCAP_PACKET_HEADER_SIZE)	/* over UDP */
#define RPCAP_TEXT_SIZE		512u	/* of an error's text that is kept, NUL included; longer ones are cut */
#define RPCAP_INSNS_MAX		8192u	/* of a filter, before a kernel has its say */
#define RPCAP_REQUEST_MAX	(12u + 8u + 8u * RPCAP_INSNS_MAX)	/* the longest payload that a request can use: STARTCAP with a filter */

#define RPCAP_REPLY	0x80u
enum rpcap_type {
	RPCAP_ERROR = 1,
	RPCAP_FINDALLIF,
	RPCAP_OPEN,
	RPCAP_STARTCAP,
	RPCAP_UPDATEFILTER,
	RPCAP_CLOSE,		/* no reply */
	RPCAP_PACKET,
	RPCAP_AUTH,
	RPCAP_STATS,
	RPCAP_ENDCAP,
	RPCAP_SETSAMPLING,
	RPCAP_TYPE_MAX
};
const char	*rpcap_type_name(uint8_t type);		/* "STARTCAP", "STARTCAP reply"; NULL: no such type */

enum rpcap_error {		/* PCAP_ERR_... */
	RPCAP_ERR_NETW = 1,
	RPCAP_ERR_INITTIMEOUT,
	RPCAP_ERR_AUTH,
	RPCAP_ERR_FINDALLIF,
	RPCAP_ERR_NOREMOTEIF,
	RPCAP_ERR_OPEN,
	RPCAP_ERR_UPDATEFILTER,
	RPCAP_ERR_GETSTATS,
	RPCAP_ERR_READEX,
	RPCAP_ERR_HOSTNOAUTH,
	RPCAP_ERR_REMOTEACCEPT,
	RPCAP_ERR_STARTCAPTURE,
	RPCAP_ERR_ENDCAPTURE,
	RPCAP_ERR_RUNTIMETIMEOUT,
	RPCAP_ERR_SETSAMPLING,
	RPCAP_ERR_WRONGMSG,
	RPCAP_ERR_WRONGVER,
	RPCAP_ERR_AUTH_FAILED,
	RPCAP_ERR_TLS_REQUIRED,
	RPCAP_ERR_AUTH_TYPE_NOTSUP
};
const char	*rpcap_error_name(uint16_t code);	/* "AUTH_FAILED"; NULL: not known */

struct rpcap_header {
	uint8_t		version, type;
	uint16_t	value;
	uint32_t	length;		/* of the payload */
};
void	rpcap_get_header(const uint8_t bytes[RPCAP_HEADER_SIZE], struct rpcap_header *);
int	rpcap_put_header(struct buf *, const struct rpcap_header *);
/* A message without payload: FINDALLIF, CLOSE, STATS, ENDCAP and some replies. */
int	rpcap_put_empty(struct buf *, uint8_t version, uint8_t type);

/* Texts: no NUL on the wire. dst is NUL-terminated; a byte that is 0 ends it; -1 EMSGSIZE: it does not fit (dst holds what does). */
int	rpcap_get_text(struct cursor *, char *dst, size_t dst_size);
int	rpcap_put_error(struct buf *, uint8_t version, enum rpcap_error, const char *text);	/* cut to RPCAP_TEXT_SIZE - 1 */
int	rpcap_put_open(struct buf *, uint8_t version, const char *source);

#define RPCAP_AUTH_NULL		0
#define RPCAP_AUTH_PASSWORD	1
struct rpcap_auth {
	uint16_t	type;
	const char	*user, *password;	/* into the payload, without NUL; of a password's alone */
	uint16_t	user_len, password_len;
};
int	rpcap_put_auth(struct buf *, const struct rpcap_auth *);	/* always of version 0 */
int	rpcap_get_auth(struct cursor *, struct rpcap_auth *);

/* Three forms: of old servers empty (version 0 only), of 1.9 with versions, of 1.10 with versions and byte order. */
enum rpcap_order { RPCAP_ORDER_UNKNOWN, RPCAP_ORDER_LITTLE, RPCAP_ORDER_BIG };
struct rpcap_auth_reply {
	uint8_t		version_min, version_max;
	enum rpcap_order order;		/* of the server's integers in the headers of some link types */
};
int	rpcap_put_auth_reply(struct buf *, const struct rpcap_auth_reply *);	/* 1.10's form, or 1.9's if order is not known */
int	rpcap_get_auth_reply(struct cursor *, struct rpcap_auth_reply *);	/* also -1: a magic that is none, a minimum above the maximum */

/* FINDALLIF reply: value is how many interfaces follow. */
#define RPCAP_IF_LOOPBACK		0x01u	/* PCAP_IF_... */
#define RPCAP_IF_UP			0x02u
#define RPCAP_IF_RUNNING		0x04u
#define RPCAP_IF_WIRELESS		0x08u
#define RPCAP_IF_CONNECTED		0x10u
#define RPCAP_IF_DISCONNECTED		0x20u
#define RPCAP_IF_NOT_APPLICABLE		0x30u
struct rpcap_interface {
	const char	*name, *description;	/* get: into the payload, without NUL */
	uint16_t	name_len, description_len;
	uint32_t	flags;
	uint16_t	address_count;		/* that many follow */
};
struct rpcap_address {		/* family AF_INET, AF_INET6 (this system's values), 0: none; 128 bytes on the wire */
	uint8_t		family;
	uint8_t		address[16];
	uint32_t	scope;
};
struct rpcap_addresses {
	struct rpcap_address address, netmask, broadcast, destination;
};
int	rpcap_put_interface(struct buf *, const struct rpcap_interface *);
int	rpcap_put_addresses(struct buf *, const struct rpcap_addresses *);
int	rpcap_get_interface(struct cursor *, struct rpcap_interface *);
int	rpcap_get_addresses(struct cursor *, struct rpcap_addresses *);

struct rpcap_open_reply {
	uint32_t	linktype;	/* as pcap_datalink(3PCAP) has it */
	uint32_t	tzoff;		/* 0 */
};
int	rpcap_put_open_reply(struct buf *, uint8_t version, const struct rpcap_open_reply *);
int	rpcap_get_open_reply(struct cursor *, struct rpcap_open_reply *);

#define RPCAP_FLAG_PROMISC	0x01u
#define RPCAP_FLAG_DGRAM	0x02u	/* data over UDP; the server opens then */
#define RPCAP_FLAG_SERVEROPEN	0x04u
#define RPCAP_FLAG_INBOUND	0x08u
#define RPCAP_FLAG_OUTBOUND	0x10u
struct rpcap_startcap {
	uint32_t	snaplen, read_timeout_ms;
	uint16_t	flags, port;	/* port: where the client waits, if the server opens */
};
/* Behind STARTCAP's fields and in UPDATEFILTER. get: -1 with a line in error, which says what is wrong. */
struct rpcap_filter {
	const struct bpf_insn	*insn;	/* get: heap, the caller's to free */
	uint32_t	count;		/* 0: all packets; get: RPCAP_INSNS_MAX at most */
};
int	rpcap_put_startcap(struct buf *, uint8_t version, const struct rpcap_startcap *, const struct rpcap_filter *);
int	rpcap_put_updatefilter(struct buf *, uint8_t version, const struct rpcap_filter *);
int	rpcap_get_startcap(struct cursor *, struct rpcap_startcap *);	/* the filter is what is left */
/* How long a STARTCAP's payload is whose header says length, of which so many bytes are there. libpcap's client without a filter sends
 * the one instruction that accepts all, and leaves it out of the length. It is longer than what is there as long as that is open. */
uint32_t	rpcap_startcap_length(uint32_t length, const uint8_t *payload, size_t there);
int	rpcap_get_filter(struct cursor *, struct rpcap_filter *, char error[RPCAP_TEXT_SIZE]);

struct rpcap_startcap_reply {
	uint32_t	buffer_bytes;
	uint16_t	port;		/* where the server waits; 0: it opens */
};
int	rpcap_put_startcap_reply(struct buf *, uint8_t version, const struct rpcap_startcap_reply *);
int	rpcap_get_startcap_reply(struct cursor *, struct rpcap_startcap_reply *);

struct rpcap_stats {		/* all modulo 2^32 */
	uint32_t	ifrecv;		/* passed the kernel's filter */
	uint32_t	ifdrop;		/* dropped by the interface */
	uint32_t	krnldrop;	/* passed the filter and were not delivered */
	uint32_t	svrcapt;	/* sent */
};
int	rpcap_put_stats_reply(struct buf *, uint8_t version, const struct rpcap_stats *);
int	rpcap_get_stats_reply(struct cursor *, struct rpcap_stats *);

#define RPCAP_SAMPLE_NONE	0	/* PCAP_SAMP_NOSAMP, */
#define RPCAP_SAMPLE_1_EVERY_N	1	/* PCAP_SAMP_1_EVERY_N, */
#define RPCAP_SAMPLE_AFTER_N_MS	2	/* PCAP_SAMP_FIRST_AFTER_N_MS */
struct rpcap_sampling {
	uint8_t		method;
	uint32_t	value;
};
int	rpcap_put_sampling(struct buf *, uint8_t version, const struct rpcap_sampling *);
int	rpcap_get_sampling(struct cursor *, struct rpcap_sampling *);

/* PACKET, header and payload's header; the captured bytes follow. */
struct rpcap_packet {
	uint32_t	seconds, microseconds;	/* since 1970, modulo 2^32: until 2106 */
	uint32_t	captured_len, original_len;
	uint32_t	number;			/* from 1, modulo 2^32 */
};
#define RPCAP_PACKET_SIZE	(RPCAP_HEADER_SIZE + RPCAP_PACKET_HEADER_SIZE)
void	rpcap_write_packet(uint8_t dst[RPCAP_PACKET_SIZE], uint8_t version, const struct rpcap_packet *);
/* -1: the payload is shorter than it says it captured. c is left at the captured bytes. */
int	rpcap_get_packet(struct cursor *, struct rpcap_packet *);

/*
 * Headers of some link types have integers in the byte order of the machine that captured (USB, NFLOG, pflog). Turns those of a
 * packet round, in place, where it is long enough to have them; -1: not known for this link type, nothing done. Others need
 * nothing: 0.
 */
int	rpcap_swap_packet(uint32_t linktype, uint8_t *packet, size_t captured_len);

#endif
