/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_MSG_H
#define VMTAP_PROTO_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bpf_part.h"
#include "proto/digest.h"
#include "proto/identity.h"
#include "proto/slice.h"

struct buf;
struct frame;

/*
 * The messages of a session (PROTOCOL, "Messages"). Fields are encoded in the order they stand in the structs, big-endian,
 * strings as buf_put_str(), lists as u16 count and then their members; a payload has exactly that, nothing behind it.
 * msg_put_x() appends a whole frame to the buffer (0 / -1); msg_get_x() decodes a frame's payload (0 / -1 EBADMSG).
 * Pointers in decoded messages point into the payload.
 */
#define MSG_ID_SIZE		16
#define MSG_STREAMS_MAX		16	/* streams one agent holds at a time */
#define MSG_INTERFACES_MAX	64	/* interface ids of one stream */
#define MSG_IDB_MAX		4096	/* bytes of one interface description block */
#define MSG_FILTER_SIZE		8192
#define MSG_TEXT_SIZE		1024
#define MSG_NAME_SIZE		128
#define MSG_STATS_MAX		4096
#define MSG_ADDRESSES_MAX	64	/* of one interface that are told */
#define MSG_PEERS_MAX		BPF_WITHHELD_PEERS_MAX
#define MSG_CERTIFICATE_MAX	4096	/* bytes of one certificate or request, DER */
#define MSG_CHAIN_MAX		4	/* a holder's certificate and the intermediates' */
#define MSG_BLOCK_RAW_MAX	(512u * 1024)	/* uncompressed bytes of one block */
#define MSG_BLOCK_MAX		(576u * 1024)	/* encoded bytes of one block */

struct msg_stream {
	uint8_t		id[MSG_ID_SIZE];
	uint64_t	started_ns;	/* wall clock */
	uint64_t	first, last;	/* HELLO: block numbers held (first = last + 1: none). WELCOME: 0 and the last durable one */
};

/* agent -> collector or operator, first of all */
struct msg_hello {
	uint16_t	version_min, version_max;
	uint8_t		instance[MSG_ID_SIZE];	/* random, of this agent process */
	char		software[MSG_NAME_SIZE];
	char		os[MSG_NAME_SIZE];
	char		hardware[MSG_NAME_SIZE];
	uint32_t	codecs;			/* bit 1 << enum codec_id */
	uint64_t	wall_ns;
	uint16_t	stream_count;		/* oldest first */
	struct msg_stream stream[MSG_STREAMS_MAX];
};

struct msg_welcome {
	uint16_t	version;
	uint32_t	codecs;			/* those the receiver reads */
	uint32_t	keepalive_ms;		/* silence after which each side sends a PING; three times it is a dead peer */
	uint64_t	wall_ns;
	uint16_t	stream_count;		/* one for each of HELLO's that is known */
	struct msg_stream stream[MSG_STREAMS_MAX];
};

/* agent ->: an interface of a stream, before the first block that uses it */
struct msg_interface {
	uint8_t		 stream[MSG_ID_SIZE];
	uint32_t	 id;			/* dense from 0 */
	const uint8_t	*idb;			/* a pcapng Interface Description Block, to the end of the payload */
	size_t		 idb_len;
};

/* agent ->: the addresses that an interface of a stream has now; INTERFACE has those that it had when it was described. */
struct msg_addresses {
	uint8_t		stream[MSG_ID_SIZE];
	uint32_t	id;
	uint16_t	count;
	struct bpf_peer	address[MSG_ADDRESSES_MAX];
};

/* -> agent: what to capture. Empty interfaces: as the agent's own configuration has it. The guest's configuration bounds it:
 * both filters must match, the smaller snaplen and slice and the narrower direction hold, interfaces are picked among its own, if it
 * names any. */
enum msg_direction { DIRECTION_INOUT, DIRECTION_IN, DIRECTION_OUT };
struct msg_policy {
	uint64_t	version;		/* of the policy, grows; told back in POLICY_RESULT */
	char		interfaces[MSG_TEXT_SIZE];	/* globs, comma-separated */
	char		filter[MSG_FILTER_SIZE];	/* pcap-filter(7) */
	uint32_t	snaplen;		/* 0: no wish */
	uint8_t		direction;
	char		codec[MSG_NAME_SIZE];	/* "zstd:1"; empty: the agent's own */
	uint64_t	rate_limit;		/* bits a second the agent may send; 0: no limit */
	struct slice	slice;
	bool		digest;			/* packets carry their digest (proto/digest.h), keyed by: */
	uint8_t		secret[DIGEST_SECRET_SIZE];
};
struct msg_policy_result {
	uint64_t	version;
	uint8_t		accepted;
	char		reason[MSG_TEXT_SIZE];	/* of a refusal: pcap's own words; the policy before stays in force */
};

/* collector ->: a change of the list of peers whose packets shall be withheld, for their agents deliver them; each message renews the
 * lease of the whole list. */
#define HINTS_LEASE_MIN_MS	100u
#define HINTS_LEASE_MAX_MS	600000u
#define HINTS_BALANCED	0x1	/* flows are shared between both ends (PROTOCOL, HINTS), instead of leaving all to their senders */
struct msg_hints {
	uint64_t	generation;		/* of the list after this change; 0: it is empty */
	uint64_t	base;			/* of the list that it changes; 0: an empty one, whatever was before */
	uint32_t	lease_ms;		/* from its arrival; without another message all is captured then */
	uint8_t		flags;			/* of the whole list */
	uint16_t	gone_count, added_count;
	struct bpf_peer	gone[MSG_PEERS_MAX], added[MSG_PEERS_MAX];	/* gone first; of a list the first ones are the most important */
};
/* agent ->: what is in force since when. Sent after each change, and also when the lease has ended or base was another. */
struct msg_hints_result {
	uint64_t	generation;		/* 0: nothing is withheld */
	uint64_t	wall_ns;		/* from then on no packet was treated as before */
};

#define BLOCK_URGENT	0x1	/* the agent's spool is half full: acknowledge soon */
#define BLOCK_EVENT	0x2	/* a packet in it has an opt_comment that tells what happened just before it */
struct msg_block {
	uint8_t		 stream[MSG_ID_SIZE];
	uint64_t	 number;		/* from 1, no number skipped but by GAP */
	uint8_t		 codec;			/* enum codec_id */
	uint8_t		 flags;
	uint32_t	 raw_len;		/* of the decoded block */
	uint32_t	 packets;		/* Enhanced Packet Blocks in it */
	uint64_t	 bytes;			/* sum of their captured lengths */
	uint64_t	 first_ns, last_ns;	/* smallest and largest timestamp; 0 when there is no packet */
	const uint8_t	*data;			/* to the end of the payload */
	size_t		 data_len;
};
#define MSG_BLOCK_HEADER_SIZE	(MSG_ID_SIZE + 8 + 1 + 1 + 4 + 4 + 8 + 8 + 8)

/* agent ->: blocks that will never come */
/* memory spool full; sealed but no room; reader of a pull too slow; disk spool full or damaged */
enum msg_gap_place { GAP_SPOOL = 1, GAP_CAPTURE = 2, GAP_PULL = 3, GAP_DISK = 4 };
struct msg_gap {
	uint8_t		stream[MSG_ID_SIZE];
	uint64_t	first, last;
	uint64_t	packets, bytes;
	uint64_t	first_ns, last_ns;
	uint8_t		place;
};

/* Nothing of this stream comes after number. */
struct msg_stream_end {
	uint8_t		stream[MSG_ID_SIZE];
	uint64_t	number;		/* the last one; 0: it had none */
	uint8_t		cut;		/* 1: capture died; what it had not sealed is in no counter */
};

/* ACK: all up to number is durable. */
struct msg_mark {
	uint8_t		stream[MSG_ID_SIZE];
	uint64_t	number;
};

#define STATS_AGENT	UINT32_MAX	/* interface of a counter that belongs to the whole agent */
struct msg_stat {
	uint16_t	counter;	/* proto/counter.h; unknown ones are passed over */
	uint32_t	interface;
	uint64_t	value;
};
struct msg_stats {
	uint8_t		 stream[MSG_ID_SIZE];	/* the one being captured */
	uint64_t	 wall_ns;
	uint16_t	 count;
	struct msg_stat	*stat;		/* put: the caller's; get: the caller's array of MSG_STATS_MAX */
};

struct msg_ping {			/* PING and PONG */
	uint64_t	token;		/* PONG repeats it */
	uint64_t	wall_ns;	/* the sender's */
};

/* Ends of a session. BYE: 0 done, 1 restart, 2 shutting down. ERROR: */
enum msg_error {
	MSG_ERR_PROTOCOL = 1, MSG_ERR_ROLE, MSG_ERR_TENANT, MSG_ERR_VERSION, MSG_ERR_CLONE, MSG_ERR_SEQUENCE, MSG_ERR_BLOCK,
	MSG_ERR_STORE, MSG_ERR_LIMIT, MSG_ERR_REPLACED, MSG_ERR_TIMEOUT, MSG_ERR_REVOKED, MSG_ERR_TOKEN
};
struct msg_end {			/* BYE and ERROR */
	uint16_t	code;
	char		text[MSG_TEXT_SIZE];
};

/* agent -> collector, where it has no certificate yet (ALPN FRAME_ALPN_ENROLL): answered by CERTIFICATE, or ERROR */
struct msg_enroll {
	char		 token[MSG_NAME_SIZE];	/* a secret: explicit_bzero() it */
	char		 name[IDENTITY_NAME_SIZE];	/* what it would like to be called; "": no wish */
	char		 software[MSG_NAME_SIZE];
	const uint8_t	*csr;		/* PKCS#10 in DER, to the end of the payload */
	size_t		 csr_len;
};
/* agent -> collector, in a live session: answered by CERTIFICATE */
struct msg_renew {
	const uint8_t	*csr;		/* as above: of the key that comes next */
	size_t		 csr_len;
};
/* collector -> agent: why not, or the holder's certificate and then those up to the root, without it */
struct msg_certificate {
	char		 reason[MSG_TEXT_SIZE];	/* "": granted */
	uint16_t	 count;
	struct {
		const uint8_t	*der;
		size_t		 len;
	} certificate[MSG_CHAIN_MAX];
};

int	msg_put_hello(struct buf *, const struct msg_hello *);
int	msg_get_hello(const struct frame *, struct msg_hello *);
int	msg_put_welcome(struct buf *, const struct msg_welcome *);
int	msg_get_welcome(const struct frame *, struct msg_welcome *);
int	msg_put_interface(struct buf *, const struct msg_interface *);
int	msg_get_interface(const struct frame *, struct msg_interface *);
int	msg_put_addresses(struct buf *, const struct msg_addresses *);
int	msg_get_addresses(const struct frame *, struct msg_addresses *);
int	msg_put_policy(struct buf *, const struct msg_policy *);
int	msg_get_policy(const struct frame *, struct msg_policy *);
int	msg_put_policy_result(struct buf *, const struct msg_policy_result *);
int	msg_get_policy_result(const struct frame *, struct msg_policy_result *);
int	msg_put_hints(struct buf *, const struct msg_hints *);
int	msg_get_hints(const struct frame *, struct msg_hints *);
int	msg_put_hints_result(struct buf *, const struct msg_hints_result *);
int	msg_get_hints_result(const struct frame *, struct msg_hints_result *);
/* Only frame header and fields, FRAME_HEADER_SIZE + MSG_BLOCK_HEADER_SIZE bytes: data_len bytes of data follow by other means. */
int	msg_put_block_header(struct buf *, const struct msg_block *);
int	msg_get_block(const struct frame *, struct msg_block *);
int	msg_put_gap(struct buf *, const struct msg_gap *);
int	msg_get_gap(const struct frame *, struct msg_gap *);
int	msg_put_stream_end(struct buf *, const struct msg_stream_end *);
int	msg_get_stream_end(const struct frame *, struct msg_stream_end *);
int	msg_put_ack(struct buf *, const struct msg_mark *);
int	msg_get_ack(const struct frame *, struct msg_mark *);
int	msg_put_stats(struct buf *, const struct msg_stats *);
int	msg_get_stats(const struct frame *, struct msg_stats *);
int	msg_put_ping(struct buf *, const struct msg_ping *);
int	msg_get_ping(const struct frame *, struct msg_ping *);
int	msg_put_pong(struct buf *, const struct msg_ping *);
int	msg_get_pong(const struct frame *, struct msg_ping *);
int	msg_put_enroll(struct buf *, const struct msg_enroll *);
int	msg_get_enroll(const struct frame *, struct msg_enroll *);
int	msg_put_certificate(struct buf *, const struct msg_certificate *);
int	msg_get_certificate(const struct frame *, struct msg_certificate *);
int	msg_put_renew(struct buf *, const struct msg_renew *);
int	msg_get_renew(const struct frame *, struct msg_renew *);
int	msg_put_bye(struct buf *, const struct msg_end *);
int	msg_get_bye(const struct frame *, struct msg_end *);
int	msg_put_error(struct buf *, const struct msg_end *);
int	msg_get_error(const struct frame *, struct msg_end *);

#endif
