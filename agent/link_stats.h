/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_STATS_H
#define VMTAP_AGENT_LINK_STATS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/counter.h"
#include "proto/msg.h"

struct netif_table;
struct spool;

#define LINK_STATS_MAX	((MSG_INTERFACES_MAX + 1) * COUNTER_MAX)

/* The counters of one tap's current stream: what was told last, and which of its interface ids is which NIC. */
struct link_stats {
	uint8_t		stream[MSG_ID_SIZE];
	bool		any_stream;
	uint64_t	nics_ns;		/* of the last look at the NICs */
	uint32_t	count;			/* interface ids known */
	struct stats_interface {
		char		name[IF_NAMESIZE];
		bool		current;	/* the newest id of that name */
		bool		seen;		/* rx_dropped and rx_missed are of the last look */
		uint32_t	rx_dropped, rx_missed;
	} interface[MSG_INTERFACES_MAX];
	uint64_t	told[LINK_STATS_MAX];	/* by interface (the agent's own last) and counter */
};

void	stats_reset(struct link_stats *);
/* Brings up to date what is known: the current stream, its interfaces, our CPU time. False: there is no stream. */
bool	stats_refresh(struct link_stats *, struct spool *);
/* Adds what the NICs dropped since the last look to the spool's counters. */
void	stats_count_nics(struct link_stats *, struct spool *, const struct netif_table *);
/* Something that matters has another value than when told last. */
bool	stats_changed(const struct link_stats *, const struct spool *);
/* All counters as a STATS message over stat; they are told by that. */
void	stats_fill(struct link_stats *, const struct spool *, struct msg_stats *, struct msg_stat stat[LINK_STATS_MAX]);
/* As log lines. */
void	stats_log(const struct link_stats *, const struct spool *);

#endif
