/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_H
#define VMTAP_AGENT_RPCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ipc_endpoint;
struct ipc_linktype;
struct ipc_message;
struct ipc_tap;
struct ipc_tap_result;
struct link;
struct link_tap;
struct msg_stats;
struct rpcap;
struct tokens;

/*
 * RPCAP clients, in the link role: each has a control connection, and while it captures a tap of its own (from IPC_TAP_RPCAP on)
 * and a data connection. Accepted from --rpcap-listen, or called by --rpcap-connect. All functions but rpcap_new() take NULL as
 * "not configured".
 */
struct rpcap	*rpcap_new(struct link *);	/* NULL: the configuration asks for none */
void		 rpcap_free(struct rpcap *);
void		 rpcap_options(struct rpcap *);	/* they were read anew */
void		 rpcap_files(struct rpcap *, struct ipc_message *);	/* IPC_RPCAP_FILES */
void		 rpcap_stop(struct rpcap *);	/* clients are told, and let go */
bool		 rpcap_done(const struct rpcap *);	/* after that: nobody is left */
void		 rpcap_log(const struct rpcap *);	/* who is there, what was sent and lost (SIGUSR1) */

/* What of it the capture role must leave out: ports it listens on, and connections. Returns how many were written. */
size_t		 rpcap_endpoints(const struct rpcap *, struct ipc_endpoint *, size_t max);
uint64_t	 rpcap_count_bytes(struct rpcap *);	/* sent since the last call; for the breaker */
uint64_t	 rpcap_unsent(const struct rpcap *);	/* of these, not acknowledged by the clients' TCP */
void		 rpcap_hold(struct rpcap *, bool);	/* the breaker: no packets are sent */

/* What it may wait for. */
void		 rpcap_taps_answered(struct rpcap *);	/* something was: all may be now, see tap_all_answered() */
void		 rpcap_socket(struct rpcap *, int fd, int error);	/* LINK_RPCAP's; takes fd */
void		 rpcap_linktype(struct rpcap *, const struct ipc_linktype *);
void		 rpcap_counted(struct rpcap *, uint8_t tap);
void		 rpcap_capture_is_new(struct rpcap *);	/* the role was (re)started or is gone: no answer to what it was asked will come */

/* A tap from IPC_TAP_RPCAP on. */
void		 rpcap_build(const struct link_tap *, struct ipc_tap *);	/* fills in what its client wants; active stays false: nobody has it */
const char	*rpcap_interface(const struct link_tap *);	/* the one that is captured, as a pattern for netif_pick() */
void		 rpcap_result(struct link_tap *, bool accepted, const char *reason);	/* of what was told last */
void		 rpcap_interface_gone(struct link_tap *, const char *reason);
bool		 rpcap_loses(struct link_tap *);	/* has its client lost packets since the last call, by the counts of rpcap_count()? */
void		 rpcap_wake(struct link_tap *);	/* there are blocks */
/* Somebody has the tap: */
void		 rpcap_count(struct link_tap *);	/* what was sent and lost, to what is told of all */
void		 rpcap_last_stats(struct link_tap *, const struct msg_stats *);	/* of a stream that has ended */
struct tokens	*rpcap_tokens(struct link_tap *);	/* its share of the rate limit */

struct rpcap_totals {
	uint64_t	clients, captures;	/* now */
	uint64_t	refused, packets_sent, packets_lost, bytes_sent;	/* since the role began */
};
void		 rpcap_totals(const struct rpcap *, struct rpcap_totals *);	/* of NULL all 0 */

#endif
