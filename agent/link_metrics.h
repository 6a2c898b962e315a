/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_METRICS_H
#define VMTAP_AGENT_LINK_METRICS_H

struct link;
struct link_metrics;

/* Serves the agent's metrics at the sockets of --metrics, from ROLE_FD_METRICS on: at each request, from what the roles count anyway.
 * NULL: there are none, or there is no memory, which is said. */
struct link_metrics	*link_metrics_new(struct link *);
void			 link_metrics_free(struct link_metrics *);

#endif
