/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_RPCAP_LAB_H
#define VMTAP_TESTS_RPCAP_LAB_H

#include "agent/rpcap.h"
#include "agent/rpcap_server.h"
#include "tests/link_lab.h"

/* A link role with an RPCAP server that listens on 127.0.0.1; supervisor and capture role answer as they should, or not at all. */
struct rpcap_lab {
	struct link_lab	 role;
	struct link	*link;
	struct rpcap	*server;
	struct ipc	*supervisor, *capture;	/* their ends */
	uint16_t	 port;
	size_t		 spool_size;	/* 0: a small one */
	bool		 capture_mute, supervisor_mute;	/* what comes is kept, and not answered */
	unsigned	 taps, linktypes, counts, sockets;	/* were asked for */
	struct ipc_linktype linktype;	/* asked for last */
	struct ipc_tap	 tap[IPC_TAPS_MAX];	/* told last */
	uint8_t		 socket_family, socket_type;	/* asked for last */
	char		 listen[32];
	char		*listens[1], *origins[1];
};

/* The options may be set before. */
void	rpcap_lab_open(struct rpcap_lab *);
void	rpcap_lab_close(struct rpcap_lab *);
void	rpcap_lab_turn(struct rpcap_lab *);	/* all that can be done now */
void	rpcap_lab_forgive(struct rpcap_lab *);	/* what wrong passwords cost is over */
void	rpcap_lab_answer_taps(struct rpcap_lab *);
void	rpcap_lab_answer_linktype(struct rpcap_lab *, int32_t linktype, const char *reason);	/* to the one asked last */
void	rpcap_lab_answer_socket(struct rpcap_lab *, int error);	/* likewise; 0: a socket */
/* IPC_RPCAP_FILES: those that are not -1, which stay the caller's. */
void	rpcap_lab_files(struct rpcap_lab *, const int fd[RPCAP_FILES]);

#endif
