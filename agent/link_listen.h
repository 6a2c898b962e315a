/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_LISTEN_H
#define VMTAP_AGENT_LINK_LISTEN_H

struct link;
struct listener;

/* The sockets of --listen, from ROLE_FD_LISTEN on. While LISTEN_UNSETTLED_MAX connections are not live sessions yet, others wait
 * in the kernel's queue. NULL: none configured. */
#define LISTEN_UNSETTLED_MAX	16

struct listener	*listener_new(struct link *);
void		 listener_free(struct listener *);
/* May it accept now? Call when a session changed its state, when capture answered, when the agent stops. */
void		 listener_check(struct listener *);

#endif
