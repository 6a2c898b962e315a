/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_DOOR_H
#define VMTAP_AGENT_RPCAP_DOOR_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <stdbool.h>

struct rpcap;
struct rpcap_door;

/*
 * Where clients' data connections come in: a listening socket, open for as long as somebody is expected there. With
 * --rpcap-data-port several clients share one, for a port can be listened on only once: each connection is that of the guest who is
 * expected from its address. Of those from one address only one is expected at a time, and the next one is told where to go once it
 * has come or is given up: which of them made a connection could not be told.
 */
struct rpcap_guest {
	TAILQ_ENTRY(rpcap_guest) entry;
	struct rpcap_door *door;	/* NULL: at none */
	bool		 waiting, expected;	/* for its turn; since that */
	const struct sockaddr_storage *address;	/* where it must come from, whatever the port */
	void		(*turn)(void *arg);		/* from rpcap_door_wait() on; it is expected */
	void		(*came)(int fd, void *arg);	/* takes fd; it has left the door */
	void		(*failed)(const char *why, void *arg);	/* likewise */
	void		*arg;
};

/* Somebody is at that address and port of ours already. */
bool	rpcap_door_join(struct rpcap *, const struct sockaddr_storage *, struct rpcap_guest *);
/* Binds fd to the address, and port if it is not 0, and listens; 0: takes fd. -1 with errno. */
int	rpcap_door_open(struct rpcap *, int fd, const struct sockaddr_storage *, struct rpcap_guest *);
const struct sockaddr_storage *rpcap_door_address(const struct rpcap_guest *);	/* at which it listens */
void	rpcap_door_wait(struct rpcap_guest *);	/* turn() follows, from here or later */
void	rpcap_door_leave(struct rpcap_guest *);	/* the last one closes it; fine at none */

bool	rpcap_same_host(const struct sockaddr_storage *, const struct sockaddr_storage *);

#endif
