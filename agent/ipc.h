/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_IPC_H
#define VMTAP_AGENT_IPC_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"
#include "proto/digest.h"
#include "proto/msg.h"
#include "proto/slice.h"

struct event_base;

/*
 * The three processes of an agent talk over SOCK_SEQPACKET pairs: one message a packet, few kinds, bounded, decoded through a
 * cursor (the other side may be broken), descriptors beside them.
 *
 *   supervisor <-> capture    CONFIG, PEER, SHUTDOWN, DUMP ->          <- READY
 *   supervisor <-> link       CONFIG, PEER, SHUTDOWN, DUMP, SOCKET, ENROLMENT, CREDENTIALS, STORED, RPCAP_FILES ->
 *                                                        <- SOCKET_REQUEST, CREDENTIALS_REQUEST, STORE, READY
 *   link       <-> capture    TAP, LEASE, LINKTYPE_REQUEST, COUNT_REQUEST ->
 *                                                        <- TAP_RESULT, LAST_STATS, INTERFACE_GONE, LINKTYPE, COUNTED
 */
enum ipc_type {
	IPC_CONFIG = 1,		/* fd: config text (conf_to_text) in a memfd; sent at start and after SIGHUP */
	IPC_PEER,		/* fd: a new pair's end to the other role, which was restarted */
	IPC_SHUTDOWN,		/* u32 ms until it is killed. capture: seal, publish, exit. link, after that: send what is left, BYE, exit */
	IPC_DUMP,		/* log the counters (SIGUSR1) */
	IPC_READY,		/* role -> supervisor: does its work (capture: first tap applied) */
	IPC_SOCKET_REQUEST,	/* link -> supervisor: u8 family, u8 type; a marked, non-blocking, unconnected TCP or UDP socket please */
	IPC_SOCKET,		/* fd, or u32 errno */
	IPC_CREDENTIALS_REQUEST,
	IPC_CREDENTIALS,	/* fds: ca, cert, key; or text why not; unasked when the files have changed */
	IPC_ENROLMENT,		/* with --enroll, before each IPC_CREDENTIALS: struct ipc_enrolment; fds: token, pending key, as it says */
	IPC_STORE,		/* link -> supervisor: u8 enum ipc_store, then the file's bytes, IPC_STORE_MAX at most; one at a time */
	IPC_STORED,		/* u8 enum ipc_store, u32 errno; 0: it is on disk. CREDENTIALS follow what they changed by */
	IPC_TAP,		/* struct ipc_tap */
	IPC_LEASE,		/* struct ipc_lease: of the peers of the TAP told last, in place of what that said */
	IPC_TAP_RESULT,		/* struct ipc_tap_result */
	IPC_LAST_STATS,		/* the counters of a stream that has ended, as they stay; the next one's stand in their place */
	IPC_INTERFACE_GONE,	/* struct ipc_interface_gone: capture closed it; link's next TAP says when to open it */
	IPC_LINKTYPE_REQUEST,	/* link -> capture: struct ipc_linktype, without an answer in it */
	IPC_LINKTYPE,		/* and with it; the interface was opened for that and closed again */
	IPC_COUNT_REQUEST,	/* link -> capture: u8 tap; bring its counters up to date, and publish what is in its open block */
	IPC_COUNTED,		/* u8 tap: that is done, as far as the spool had room */
	IPC_RPCAP_FILES,	/* supervisor -> link, at its start, SIGHUP and when they change: u8 bits of enum ipc_rpcap_file; their fds */
	IPC_TYPE_MAX
};
#define IPC_FDS_MAX	4
#define IPC_SIZE_MAX	(128u * 1024)

/* What enrolment got, in the state folder. Bytes to the supervisor, which keeps them under a fixed name. */
enum ipc_store {
	STORE_PENDING,		/* the key that a token is being used with */
	STORE_CA,		/* the deployment's root */
	STORE_ENROLLED,		/* key and certificates: the token and the pending key have done their work */
	STORE_RENEWED,		/* key and certificates, in place of those before */
	STORE_MAX
};
#define IPC_STORE_MAX	(48u * 1024)

struct ipc_enrolment {
	bool		token, pending;	/* there is one: its file is beside the message */
	bool		cloned;		/* this machine is not the one that enrolled: what it got is not handed out */
	char		why[MSG_TEXT_SIZE];	/* of that */
};

/* Of the configuration's --rpcap-... files, those there are, in this order. */
enum ipc_rpcap_file { RPCAP_FILE_CERT, RPCAP_FILE_KEY, RPCAP_FILE_CA, RPCAP_FILE_PASSWORDS, RPCAP_FILES };

/* Taps: 0 is the collector's stream; 1..4 are operators' pulls, those behind RPCAP clients' captures, each with its own handles,
 * filter, stream and small spool. */
#define IPC_TAPS_OPERATORS 4
#define IPC_TAP_RPCAP	(1 + IPC_TAPS_OPERATORS)	/* the first of them */
#define IPC_RPCAP_MAX	8
#define IPC_TAPS_MAX	(IPC_TAP_RPCAP + IPC_RPCAP_MAX)
#define IPC_OWN_MAX	96
#define IPC_PEERS_MAX	BPF_WITHHELD_PEERS_MAX

struct ipc_endpoint {			/* traffic of ours: this address and port, both ways */
	uint8_t		family;		/* AF_INET, AF_INET6; 0: any address, only the port */
	bool		udp;		/* else TCP */
	uint8_t		address[16];
	uint16_t	port;
};

/* Which packets an RPCAP client wants of those that pass, as pcap has it. */
struct ipc_sampling {
	uint8_t		method;		/* RPCAP_SAMPLE_... */
	uint32_t	value;
};
#define IPC_PROGRAM_MAX	BPF_CHAIN_MAX
struct ipc_insn {			/* struct bpf_insn */
	uint16_t	code;
	uint8_t		jt, jf;
	uint32_t	k;
};

struct ipc_tap_interface {
	uint32_t	ifindex;
	char		name[IF_NAMESIZE];
	bool		has_mac;
	uint8_t		mac[6];
	uint8_t		ipv4_count, ipv6_count;
	uint8_t		ipv4[8][8];
	uint8_t		ipv6[8][17];
	bool		paused;		/* by the breaker: handle stays open, nothing passes */
};

/* All that one tap shall be, whole each time: the capture role compares it with what is and changes what differs. */
struct ipc_tap {
	uint8_t		tap;
	uint64_t	version;	/* told back in TAP_RESULT */
	bool		active;		/* false: close all */
	char		filter[MSG_FILTER_SIZE];	/* the collector's or operator's; the guest's is in the config */
	uint32_t	snaplen;	/* 0: no wish */
	uint8_t		direction;	/* enum msg_direction */
	uint32_t	flush_ms;	/* after which a packet is to be on its way; 0: no wish */
	bool		promiscuous;	/* wished; an RPCAP client's, like the two below */
	struct ipc_sampling sampling;
	uint16_t	program_len;	/* beside the filter */
	struct ipc_insn	program[IPC_PROGRAM_MAX];
	struct slice	slice;
	char		codec[MSG_NAME_SIZE];
	bool		digest;		/* packets carry theirs, keyed by: */
	uint8_t		secret[DIGEST_SECRET_SIZE];
	uint16_t	own_count;
	struct ipc_endpoint own[IPC_OWN_MAX];
	uint16_t	peer_count;	/* whose packets are withheld, for their own agents deliver them; the first ones first */
	struct bpf_peer	peer[IPC_PEERS_MAX];
	bool		balanced;	/* bpf_part_withheld() */
	uint64_t	peers_until_ns;	/* clock_boot_ns(): from then on all is captured, whatever becomes of the link role */
	uint16_t	interface_count;	/* the last ones are the least important */
	struct ipc_tap_interface interface[MSG_INTERFACES_MAX];
};

/* Writes only what differs: most of it is empty, and takes no memory as long as nobody writes there. */
void	ipc_tap_copy(struct ipc_tap *to, const struct ipc_tap *from);

struct ipc_lease {
	uint8_t		tap;
	uint64_t	peers_until_ns;
};

/* Sent once the ring holds nothing captured under what was before. Refused: nothing of it is in force, what was before stays. */
struct ipc_tap_result {
	uint8_t		tap;
	uint64_t	version;
	bool		accepted;
	char		reason[MSG_TEXT_SIZE];
};

struct ipc_interface_gone {
	uint8_t		tap;
	uint32_t	ifindex;
	char		reason[MSG_TEXT_SIZE];
};

struct ipc_linktype {
	uint32_t	ticket;		/* told back */
	uint32_t	ifindex;
	char		name[IF_NAMESIZE];
	int32_t		linktype;	/* as pcap_datalink(3PCAP) has it; -1: it cannot be opened, for this reason: */
	char		reason[MSG_TEXT_SIZE];
};

struct ipc_message {
	enum ipc_type	 type;
	const uint8_t	*payload;	/* until the callback returns */
	size_t		 length;
	int		 fd[IPC_FDS_MAX];	/* -1 behind fd_count; taken by setting it to -1, the rest are closed */
	size_t		 fd_count;
};

struct ipc;
struct ipc_callbacks {
	void	(*message)(struct ipc *, struct ipc_message *, void *arg);
	void	(*closed)(struct ipc *, void *arg);	/* the other end is gone; ipc_free() may be called from here */
};
/* Owns the descriptor. */
struct ipc	*ipc_new(struct event_base *, int fd, const struct ipc_callbacks *, void *arg);
void		 ipc_free(struct ipc *);
/* Waits in a bounded queue while the socket is full; -1 ENOBUFS. Descriptors are duplicated. */
int		 ipc_send(struct ipc *, enum ipc_type, const void *, size_t, const int *fds, size_t fd_count);

int	ipc_send_shutdown(struct ipc *, uint32_t left_ms);
int	ipc_get_shutdown(const struct ipc_message *, uint32_t *left_ms);
int	ipc_send_enrolment(struct ipc *, const struct ipc_enrolment *, const int *fds);
int	ipc_get_enrolment(const struct ipc_message *, struct ipc_enrolment *);
int	ipc_send_store(struct ipc *, enum ipc_store, const void *, size_t);
/* bytes: into the message. */
int	ipc_get_store(const struct ipc_message *, enum ipc_store *, const uint8_t **bytes, size_t *len);
int	ipc_send_stored(struct ipc *, enum ipc_store, int error);
int	ipc_get_stored(const struct ipc_message *, enum ipc_store *, int *error);
int	ipc_send_tap(struct ipc *, const struct ipc_tap *);
int	ipc_get_tap(const struct ipc_message *, struct ipc_tap *);
int	ipc_send_lease(struct ipc *, const struct ipc_lease *);
int	ipc_get_lease(const struct ipc_message *, struct ipc_lease *);
int	ipc_send_tap_result(struct ipc *, const struct ipc_tap_result *);
int	ipc_get_tap_result(const struct ipc_message *, struct ipc_tap_result *);
int	ipc_send_last_stats(struct ipc *, uint8_t tap, const struct msg_stats *);
int	ipc_get_last_stats(const struct ipc_message *, uint8_t *tap, struct msg_stats *);	/* stat: as for msg_get_stats() */
int	ipc_send_interface_gone(struct ipc *, const struct ipc_interface_gone *);
int	ipc_get_interface_gone(const struct ipc_message *, struct ipc_interface_gone *);
int	ipc_send_linktype(struct ipc *, enum ipc_type, const struct ipc_linktype *);	/* the request, or the answer */
int	ipc_get_linktype(const struct ipc_message *, struct ipc_linktype *);
int	ipc_send_count(struct ipc *, enum ipc_type, uint8_t tap);	/* IPC_COUNT_REQUEST, IPC_COUNTED */
int	ipc_get_count(const struct ipc_message *, uint8_t *tap);

#endif
