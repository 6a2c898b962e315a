/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_LINKTYPE_H
#define VMTAP_AGENT_CAPTURE_LINKTYPE_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

struct ipc_tap_interface;

/*
 * What pcap_datalink(3PCAP) says of interfaces. To open one and close it takes 40 ms in which no ring is read, and an RPCAP client
 * may ask as often as it likes: so it is done once. Starts all zero.
 */
struct capture_linktypes {
	size_t		next;		/* place to be written */
	struct {
		uint32_t	ifindex;	/* 0: free */
		char		name[IF_NAMESIZE];
		unsigned	hardware;	/* ARPHRD_... it had then */
		int		linktype;
	} known[MSG_INTERFACES_MAX];
};

/* -1 with a line in error: it cannot be opened. */
int	capture_linktype(struct capture_linktypes *, const struct ipc_tap_interface *, char error[MSG_TEXT_SIZE]);

#endif
