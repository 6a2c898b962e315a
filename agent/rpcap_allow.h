/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_ALLOW_H
#define VMTAP_AGENT_RPCAP_ALLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf_error;
struct conf_list;
struct sockaddr_storage;

/* --rpcap-allow: who may connect, as numeric addresses and prefixes. */
#define RPCAP_ALLOW_MAX	64
struct rpcap_prefix {
	int		 family;	/* AF_INET, AF_INET6 */
	uint8_t		 address[16];
	unsigned	 bits;
};
struct rpcap_allow {
	struct rpcap_prefix prefix[RPCAP_ALLOW_MAX];
	size_t		 count;		/* 0: all may */
};

/* 0; -1 with the error placed at its origin, and *allow as it was. */
int	rpcap_allow_read(struct rpcap_allow *, const struct conf_list *, struct conf_error *);
int	rpcap_allow_check(const struct conf_list *, struct conf_error *);
/* An IPv4 address that came in IPv6 is one of IPv4. */
bool	rpcap_allow_has(const struct rpcap_allow *, const struct sockaddr_storage *);

#endif
