/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_NETIF_H
#define VMTAP_AGENT_LINK_NETIF_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/ipc.h"
#include "common/conf.h"

struct event_base;

/* The guest's network interfaces as getifaddrs(3) shows them, and which of them a tap wants. */
struct netif {
	struct ipc_tap_interface tap;	/* as a tap carries it; paused is false */
	bool		up, running, loopback;
	bool		default_route;
	uint16_t	address_count;
	struct bpf_peer	address[MSG_ADDRESSES_MAX];	/* all that are told; of the tap's, the first few of each family */
	uint64_t	addresses;		/* a number that these addresses alone have; grows when they change, from 1 */
	bool		gone;			/* capture could not keep it open; not picked */
	char		known_as[IF_NAMESIZE];	/* its name when it was last picked by it; "": never was */
	bool		has_drops;
	uint32_t	rx_dropped, rx_missed;	/* rtnetlink's, modulo 2^32 */
};

struct netif_table {
	struct netif	*netif;		/* sorted by ifindex */
	size_t		 count;
	uint64_t	 addresses;		/* the newest number of them */
};

/* What there is now. 0, or -1 with errno and the table empty. */
int		 netif_scan(struct netif_table *);
void		 netif_clear(struct netif_table *);
struct netif	*netif_by_index(const struct netif_table *, uint32_t ifindex);
struct netif	*netif_by_name(const struct netif_table *, const char *);

/* Sets default_route of the interfaces that a text in the form of /proc/net/route or /proc/net/ipv6_route names so. */
void		 netif_routes_ipv4(struct netif_table *, FILE *);
void		 netif_routes_ipv6(struct netif_table *, FILE *);

/* What fresh has of before, by ifindex and MAC, is known as it was: a rename does not end its capture. Addresses that an ifindex had
 * before keep their number, others get one. */
void		 netif_carry(const struct netif_table *before, struct netif_table *fresh);

/*
 * The interfaces to capture: those of the guest's patterns (glob(7) style; without any: those with a default route) that are up
 * and not gone, and of these the ones that the policy's patterns (comma-separated, empty: all) match. Where the guest names none
 * and the policy does, the policy picks among all; a loopback must then be named in full. One picked before by a name that it has
 * lost since is picked by that.
 * Returns how many were written to out; *left_out: how many more would have matched.
 */
size_t		 netif_pick(struct netif_table *, const struct conf_list *guest, const char *policy,
		    struct ipc_tap_interface out[MSG_INTERFACES_MAX], size_t *left_out);
/* May it be captured at all, by the guest's patterns? Without any all may. */
bool		 netif_may(const struct netif *, const struct conf_list *guest);
/* 0, or -1 with a line about the first of the names without wildcards that no interface has. */
int		 netif_check_names(const struct conf_list *, struct conf_error *);

/* Calls changed() when links, addresses or default routes change: at once, then at most every 100 ms. NULL with errno. */
struct netif_watch;
struct netif_watch *netif_watch_new(struct event_base *, void (*changed)(void *), void *arg);
void		 netif_watch_free(struct netif_watch *);
/* Calls changed() again in delay_ms, or sooner if something changes. */
void		 netif_watch_later(struct netif_watch *, unsigned delay_ms);

#endif
