/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_DATA_H
#define VMTAP_AGENT_RPCAP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ipc_endpoint;
struct rpcap_client;
struct rpcap_data;
struct rpcap_startcap;

#define RPCAP_DATA_MS	10000	/* for each: a client to come, a connection to be made, TLS on it */

/*
 * A capture's data connection: one that the client makes to us, one that we make to the client, or UDP. In three steps, for no tap
 * may have seen anything of it: prepared (its endpoint is known), connected (the client can be answered), open (packets can be
 * sent). Callbacks come from the loop, or from inside the function that is waited for, as the last thing it does. From failed() the
 * owner may free it, and nothing comes after that.
 */
struct rpcap_data_callbacks {
	void	(*prepared)(void *arg);		/* rpcap_data_connect(), once the taps leave its endpoint out */
	void	(*connected)(void *arg);	/* or waiting for the client: rpcap_data_open(), once it knows where */
	void	(*opened)(void *arg);
	void	(*writable)(void *arg);		/* after a send that was short */
	void	(*failed)(const char *why, void *arg);	/* or the client closed it */
};

struct rpcap_data *rpcap_data_new(struct rpcap_client *, const struct rpcap_startcap *, const struct rpcap_data_callbacks *, void *arg);
void		 rpcap_data_free(struct rpcap_data *);
void		 rpcap_data_prepare(struct rpcap_data *);
void		 rpcap_data_connect(struct rpcap_data *);
void		 rpcap_data_open(struct rpcap_data *);
/* What of it the taps must leave out; false: it is not known yet. */
bool		 rpcap_data_endpoint(const struct rpcap_data *, struct ipc_endpoint *);
uint16_t	 rpcap_data_port(const struct rpcap_data *);	/* where the client is waited for; 0: we go there */

/* Whole messages. How many bytes were taken; short: writable() comes, and then the rest first. Over UDP whole messages
 * are taken, also one that is longer than len. */
size_t		 rpcap_data_send(struct rpcap_data *, const uint8_t *, size_t);
/* What TCP is given between these two goes out in few large writes. */
void		 rpcap_data_cork(struct rpcap_data *, bool);
uint64_t	 rpcap_data_bytes(const struct rpcap_data *);	/* sent so far */
uint64_t	 rpcap_data_unsent(const struct rpcap_data *);	/* of these, not acknowledged by the client's TCP */
uint64_t	 rpcap_data_lost(const struct rpcap_data *);	/* datagrams that the system did not take */

#endif
