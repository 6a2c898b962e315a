/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HINT_RULE_H
#define VMTAP_COLLECTOR_HINT_RULE_H

#include <stdbool.h>

/*
 * May a receiver leave a packet out because its sender captures it? For filters that is decided by their texts (if_filter), so that
 * "yes" is certain and "no" may just be not understood. Pure.
 */

/* Does a filter say the same of a packet at its sender's and its receiver's interface? Only if each word of it is known to: "" does,
 * and hosts, nets, ports and protocols without a direction. Not src and dst, ether and MAC addresses, vlan, mpls, pppoe, len, less,
 * greater, bytes by their offset (TTL is one), inbound, outbound, gateway, broadcast, multicast, nor a text that was cut short. */
bool	hint_filter_decidable(const char *filter);
/* Does the sender's filter let through all that the receiver's does, and can the receiver's be asked of the sender's copies, when they
 * are brought back? So it is if the two are the same and decidable, or the sender's is empty and the receiver's decidable but for src
 * and dst, and for the direction inbound, that an agent puts behind it. */
bool	hint_filter_covers(const char *sender, const char *receiver);

#endif
