/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_POLICY_H
#define VMTAP_AGENT_LINK_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/backlog.h"
#include "agent/ipc.h"
#include "agent/link_stats.h"
#include "proto/msg.h"

struct event;
struct link;
struct rpcap_capture;
struct session;
struct spool;

/* A policy on its way: told to capture, or waiting for the answer to what was told before. */
struct policy_ask {
	struct msg_policy policy;
	struct session	*session;	/* whom to tell the result; NULL: nobody any more */
};

/*
 * A tap as the link role sees it: 0 is the collector's, the others are operators', and RPCAP clients' from IPC_TAP_RPCAP on. What capture shall do is built whole from
 * interfaces, own addresses, policy and breaker, and told when it differs from what was told last; one at a time.
 */
struct link_tap {
	uint8_t		 number;
	struct spool	*spool;
	struct backlog	 backlog;	/* over the spool; on disk too, if there is one: tap 0 */
	struct event	*spill;		/* goes on moving to the disk */
	struct event	*wake;		/* of the spool; added while the session has nothing to send */
	struct session	*session;	/* that has it, from HELLO on */
	struct rpcap_capture *rpcap;	/* or, that has it */
	bool		 wanted;	/* tap 0: there is, was or will be a collector */
	bool		 has_policy;
	struct msg_policy policy;	/* in force */
	uint8_t		*kept;		/* tap 0: it, where the next link role finds it; NULL: nowhere */
	struct policy_ask *asked, *waiting;
	struct ipc_tap	 told;
	bool		 told_any, answered;
	bool		 reset_due;	/* the spool is thrown away once capture has closed the tap */
	bool		 said_none;	/* that no interface fits */
	struct link_stats stats;
};

/* Builds and tells what is new. */
void	tap_update(struct link *, struct link_tap *);
void	tap_update_all(struct link *);
void	tap_capture_is_new(struct link *);	/* that role was (re)started or is gone */
void	tap_result(struct link *, const struct ipc_tap_result *);
void	tap_last_stats(struct link_tap *, const struct msg_stats *);	/* of a stream that has ended: to whoever has the tap */
bool	tap_all_answered(const struct link *);	/* nothing told waits for its answer */
/* Asks capture; session_policy_result() follows. */
void	tap_policy(struct link *, struct link_tap *, struct session *, const struct msg_policy *);
bool	tap_free(const struct link_tap *);	/* an operator, or an RPCAP client, may have it */
void	tap_attach(struct link_tap *, struct session *);
void	tap_attach_rpcap(struct link_tap *, struct rpcap_capture *);
void	tap_detach(struct link *, struct link_tap *);
/* --- link_kept.c --- */
void	policy_kept_open(struct link_tap *);	/* and what is there is in force */
void	policy_keep(struct link_tap *, const struct msg_policy *);
void	policy_forget(struct link_tap *);	/* it was told to another VM than this has become */
void	policy_kept_close(struct link_tap *);

/* Bits a second that may be sent of the tap; 0: no limit. */
uint64_t tap_rate_limit(const struct link *, const struct link_tap *);
uint64_t tap_rate_burst(const struct link *);	/* of each session and RPCAP capture: a share */

#endif
