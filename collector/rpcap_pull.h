/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_RPCAP_PULL_H
#define VMTAP_COLLECTOR_RPCAP_PULL_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "proto/identity.h"
#include "proto/rpcap.h"

#include "collector/archive.h"
#include "collector/rpcap_stream.h"

struct bpf_insn;
struct event;
struct json_t;
struct msg_policy;
struct rpcap_url;
struct tenant_use;
struct tlsio;
struct worker;

/*
 * One RPCAP server's interface that is pulled, from its dialled connection to its end: of the VM that the URL names, in whose home
 * worker it lives. One request is out at a time. Any violation: logged, and the connection ends; pull.c dials again.
 *
 * Packets of the data connection itself, were they captured, would be sent over it again and so on: so the capture begins with a
 * filter that refuses all, and only when both connections and their ports are known comes the one that is wanted. It leaves out
 * those of all that are pulled from the same host, too: of a bridge and its port, each would have the other's.
 */
enum rpcap_pull_state {
	RPCAP_PULL_CONNECTING,	/* TCP and TLS */
	RPCAP_PULL_AUTH,
	RPCAP_PULL_OPEN,
	RPCAP_PULL_STARTCAP,
	RPCAP_PULL_DATA,	/* the data connection is being made */
	RPCAP_PULL_BASE,	/* what the server counted before the filter */
	RPCAP_PULL_FILTER,
	RPCAP_PULL_RUNNING,
	RPCAP_PULL_ENDING	/* no packet comes any more: what was lost is asked */
};

#define RPCAP_PULL_HANDSHAKE_MS	10000u
#define RPCAP_PULL_ANSWER_MS	30000u	/* a request; a server may be slow on purpose after a wrong password */
#define RPCAP_PULL_ENDING_MS	2000u
#define RPCAP_PULL_STATS_MS	10000u
#define RPCAP_PULL_LOOK_EACH	256u	/* packets: one of them is looked at */
#define RPCAP_PULL_CONTROL_MAX	(64u * 1024)	/* bytes of a message from the server, but packets */
#define RPCAP_PULL_DESCRIPTORS	3u	/* both connections and a file */

/* rpcapd has the length of a packet's message in 16 bits, and longer packets are garbled. */
#define RPCAP_PULL_SNAPLEN	RPCAP_CAPTURED_MAX

struct rpcap_pull {
	TAILQ_ENTRY(rpcap_pull)	 entry;
	struct worker		*worker;
	int			 index;		/* of pull.c */
	const struct rpcap_url	*url;		/* as long as the workers live */
	struct identity		 identity;
	struct tlsio		*control, *data;	/* data: NULL until STARTCAP's reply */
	enum rpcap_pull_state	 state;
	uint8_t			 awaited;	/* the request whose answer is; 0: none is out */
	struct event		*timer;		/* of the answer, or the next STATS */
	struct event		*seal_timer;
	uint64_t		 deadline_ns;	/* monotonic: of the answer */
	uint64_t		 stats_ns;	/* when to ask again */
	struct tenant_use	*use;
	struct vm		*vm;		/* since OPEN's reply */
	bool			 has_session;	/* of its tenant's */
	bool			 has_descriptors;
	bool			 throttled;	/* its tenant is beyond its rate */
	bool			 backlog;	/* whole packets may wait in the input */
	bool			 good;		/* got as far as packets */
	bool			 is_last;	/* of the STATS that is out: nothing comes behind it */
	bool			 ended;		/* ENDCAP was answered */
	char			 address[MSG_NAME_SIZE];
	uint64_t		 since_ns;
	/* what is captured */
	uint32_t		 linktype, snaplen, buffer_bytes;
	uint16_t		 port;		/* the server's, of the data connection */
	bool			 swapped;	/* the server's byte order is the other one */
	struct {
		uint64_t	version;	/* of the policy */
		bool		known;		/* there has been one */
		bool		due;		/* it is to be sent */
		bool		other;		/* not only for the connections of others */
		bool		exchanged;	/* packets had been let through before the one in force */
		bool		refused;	/* by us or the server */
		char		text[MSG_FILTER_SIZE];	/* the policy's */
		char		force[MSG_FILTER_SIZE];	/* the last one that was not refused; "": all packets */
		char		reason[MSG_TEXT_SIZE];	/* of a refusal, or what is left out of the policy */
	} filter;
	/* Where addresses are translated on the way, that filter lets through what it should not: seen by the data connection's port. */
	struct {
		struct bpf_insn	*insn;		/* "tcp port" of it; NULL: not compiled yet */
		unsigned	 looked, own;	/* packets */
		bool		 found;		/* from then on all of that port is left out */
	} loop;
	uint32_t		 next_number;
	struct rpcap_stream	*stream;
	struct rpcap_stats	 last;		/* of the last reply, as it came */
	struct rpcap_counts	 counts;
	uint64_t		 received;	/* ifrecv, since the filter */
	uint64_t		 refused;	/* of these, by a filter that came later: at most, and UINT64_MAX until STATS behind it */
	uint64_t		 stalled_packets;	/* that had come, at the last STATS that told of more */
	unsigned		 stalled;
	uint64_t		 bytes, tick_bytes, bytes_per_second;
	struct log_limit	 packet_limit;
};

/* Takes fd in any case: it is being connected to the url's server. */
void	rpcap_pull_new(struct worker *, int fd, int index, const struct rpcap_url *);
/* All at once, without asking what was lost. */
void	rpcap_pull_free(struct rpcap_pull *);
void	rpcap_pull_fail(struct rpcap_pull *, const char *why);	/* logged; it is freed */
/* Ends in order, within RPCAP_PULL_ENDING_MS: worker_pulls_ended() is told. */
void	rpcap_pull_stop(struct rpcap_pull *);
/* The worker takes no more for now; it does again; a tenant's rate lets it perhaps; a backlog has its turn. */
void	rpcap_pull_pause(struct rpcap_pull *);
void	rpcap_pull_resume(struct rpcap_pull *);
void	rpcap_pull_go_on(struct rpcap_pull *);
void	rpcap_pull_come_back(struct rpcap_pull *);
/* Another connection of its group is there. */
void	rpcap_pull_meet(struct rpcap_pull *, const struct rpcap_pull *other);
/* The VM's policy may be another one. True: its version has changed. */
bool	rpcap_pull_policy(struct rpcap_pull *);
struct json_t *rpcap_pull_status(const struct rpcap_pull *);	/* as session_status() */

/* rpcap_pull.c <-> rpcap_pull_answer.c, _vm.c, _policy.c, _filter.c, _data.c. All that return int: -1 with fault, which ends it. */
int	rpcap_pull_answer(struct rpcap_pull *, const struct rpcap_header *, struct cursor *, struct fault *);
int	rpcap_pull_ask(struct rpcap_pull *, uint8_t type, struct buf *message, struct fault *);
int	rpcap_pull_ask_stats(struct rpcap_pull *, bool last, struct fault *);
void	rpcap_pull_close(struct rpcap_pull *, const struct fault *);	/* frees it */
void	rpcap_pull_read(struct rpcap_pull *);			/* the data connection, or not: as things are */
int	rpcap_pull_join(struct rpcap_pull *, struct fault *);
void	rpcap_pull_leave(struct rpcap_pull *);
int	rpcap_pull_connect_data(struct rpcap_pull *, struct fault *);
/* What the data connection has brought, packet by packet; all: whatever the worker thinks of it. */
int	rpcap_pull_take_packets(struct rpcap_pull *, bool all, struct fault *);
/* One of many packets: is it of the data connection? */
void	rpcap_pull_look_for_loop(struct rpcap_pull *, const uint8_t *packet, uint32_t captured_len, uint32_t original_len);
int	rpcap_pull_ask_filter(struct rpcap_pull *, struct fault *);
void	rpcap_pull_renew_filter(struct rpcap_pull *);		/* now, or once nothing else is awaited */
void	rpcap_pull_filter_answered(struct rpcap_pull *);
uint32_t rpcap_pull_snaplen(const struct msg_policy *);
int	rpcap_pull_begin_stream(struct rpcap_pull *, struct fault *);
int	rpcap_pull_count(struct rpcap_pull *, const struct rpcap_stats *, struct fault *);
/* The capture ends: ENDCAP, the packets that are on the way, the last STATS. To be called again as these come. */
int	rpcap_pull_finish(struct rpcap_pull *, struct fault *);

#endif
