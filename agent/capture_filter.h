/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_FILTER_H
#define VMTAP_AGENT_CAPTURE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/ipc.h"
#include "proto/bpf_part.h"
#include "proto/slice.h"

struct bpf_chain;
struct bpf_insn;
struct governor_orders;
struct pcap;

#define CAPTURE_FILTER_SHOWN	200	/* bytes of a filter's text in an error */
#define CAPTURE_CONDITIONS_MAX	256	/* of one filter: libpcap's time grows with their cube, and no ring is read meanwhile */
#define CAPTURE_ENDPOINTS_MAX	(IPC_OWN_MAX + 64)	/* the link role's, and the ports of the configuration */

/*
 * What shall be in the kernel filter of a tap's interfaces, from the guest's configuration and what the collector or operator
 * wishes and the governor orders, which can only narrow it. Strings and lists are the options' and the tap's.
 */
struct capture_wish {
	const struct conf_list *never;	/* the guest's veto: what may not leave, whatever is asked */
	const char	*guest;		/* filters; NULL or empty: none */
	const char	*remote;
	bool		 operator;	/* remote is an operator's, not the collector's policy */
	const struct ipc_insn *program;	/* an RPCAP client's filter, beside those; nobody has checked it */
	size_t		 program_len;	/* 0: none */
	enum msg_direction direction;
	uint32_t	 snaplen;
	struct slice	 agreed, slice;	/* of guest and policy; and in force: the governor may take more away */
	unsigned	 keep;		/* of 64 parts of the flows */
	const struct bpf_peer *peer;	/* whose packets are withheld */
	size_t		 peer_count;
	bool		 balanced;	/* bpf_part_withheld() */
	size_t		 address_count;
	struct bpf_peer	 address[BPF_WITHHELD_OWN_MAX];	/* the guest's, for which they must be; of the first interfaces */
	size_t		 own_count;
	struct ipc_endpoint own[CAPTURE_ENDPOINTS_MAX];
};

struct capture_program {
	struct bpf_insn	*insn;		/* heap */
	size_t		 len;
};

/* What a wish is compiled to, each part once; programs are chained from them. */
enum filter_kind {
	FILTER_VIEW,		/* what of the interface counts as a packet at all: on loopback each comes by twice */
	FILTER_REFUSES,		/* the filters and the direction */
	FILTER_NEVER,		/* accepts what the guest's veto keeps back */
	FILTER_OWN,		/* accepts the agent's own traffic, which is left out */
	FILTER_WITHHELD,	/* accepts what a peer's agent delivers */
	FILTER_SAMPLED,		/* accepts what sampling leaves out */
	FILTER_KINDS
};
struct filter_parts {
	size_t		count;
	struct {
		const char	*name;
		enum filter_kind kind;
		struct capture_program program;
	} part[16];
	enum bpf_link	link;
	bool		link_known;	/* else nothing can be withheld, sampled or sliced */
	size_t		peers_left;	/* out, for want of room: their packets are captured */
};

/*
 * The programs of one interface: the tap's, and those of the sockets that count what it does not take (capture_ledger.h). A load
 * beyond the packet refuses it in any program, so what the filters refuse cannot be counted by a program turned round: counted is
 * what is own or passes them, and the rest of what was offered was refused. Parts of our own making load nothing beyond the packet.
 */
enum capture_program_use {
	PROGRAM_OFFERED,	/* every packet */
	PROGRAM_OWN,
	PROGRAM_TAKEN,		/* own, or what passes filters, veto and direction */
	PROGRAM_WITHHELD,	/* what passes them and is a peer's to deliver */
	PROGRAM_SAMPLED,	/* what passes them, is not, and sampling leaves out */
	PROGRAM_TAP,
	PROGRAM_COUNT
};
struct capture_programs {
	struct capture_program of[PROGRAM_COUNT];
	struct capture_programs_state {
		bool	in_use[PROGRAM_COUNT];	/* has it something to count? TAKEN is OFFERED where nothing refuses */
		bool	paused;			/* it is breaker or governor that refuses all */
		size_t	peers_left;
	} state;
};

/* What and, or, && and || join; a range counts as three. */
size_t	capture_filter_conditions(const char *);
/* What libpcap does not know of its error: nobody looks names up here. "": nothing. */
const char *capture_filter_hint(const char *why);
bool	capture_filter_given(const char *);		/* more than blanks */
/* -1 with a line in error: the directions leave nothing, a port that is none. Orders may be NULL: none. */
int	capture_wish_init(struct capture_wish *, const struct agent_options *, const struct ipc_tap *, const struct governor_orders *,
	    char error[MSG_TEXT_SIZE]);
/* What is in force, for people and for if_filter: "(guest's) and (policy's) and inbound", cut to fit. */
void	capture_wish_text(const struct capture_wish *, char *, size_t);
/* Of slice and snaplen that guest and policy agree on; "": all is kept. */
void	capture_wish_slice_text(const struct capture_wish *, char *, size_t);

/* Compiles the parts on the live handle of interface name. loopback: the inbound one of each pair of packets is taken. -1 with a line
 * in error, in pcap's own words. */
int	capture_filter_compile(struct pcap *, const char *name, const struct capture_wish *, bool loopback, struct filter_parts *,
	    char error[MSG_TEXT_SIZE]);
void	capture_filter_parts_clear(struct filter_parts *);
/* Adds them to the chain as a use has it; -1 with a line in error. */
int	capture_filter_chain(const char *name, const struct filter_parts *, enum capture_program_use, struct bpf_chain *,
	    char error[MSG_TEXT_SIZE]);
/* The end of the tap's program where a wish slices, into insn of BPF_TAIL_HEADERS_MAX; 0: it just returns the snaplen. */
size_t	capture_filter_tail(const struct filter_parts *, const struct capture_wish *, struct bpf_insn *);
/* All programs; paused: the tap's passes nothing. -1 with a line in error, nothing made. One for counting that cannot be made is
 * left empty, which the kernel refuses. */
int	capture_filter_build(struct pcap *, const char *name, const struct capture_wish *, bool loopback, bool paused,
	    struct capture_programs *, char error[MSG_TEXT_SIZE]);
int	capture_programs_copy(struct capture_programs *, const struct capture_programs *);	/* -1 ENOMEM */
int	capture_programs_nothing(struct capture_programs *);	/* that pass, and so count, nothing; -1 ENOMEM */
bool	capture_programs_equal(const struct capture_programs *, const struct capture_programs *);
void	capture_programs_clear(struct capture_programs *);
int	capture_filter_nothing(struct capture_program *);	/* the program that passes nothing; -1 ENOMEM */
/* In place of what is attached, at once; on -1 that stays, and error says what the kernel wants. */
int	capture_filter_attach(int fd, const char *name, const struct capture_program *, char error[MSG_TEXT_SIZE]);
bool	capture_program_equal(const struct capture_program *, const struct capture_program *);
void	capture_program_clear(struct capture_program *);

#endif
