/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_FILTER_NAMES_H
#define VMTAP_COLLECTOR_FILTER_NAMES_H

#include <stdbool.h>

/*
 * Would a pcap-filter(7) expression have to be compiled with the help of a name server? libpcap asks one for what stands where a
 * host or a network does and is no address, and waits for it. True also where it is not certain; names of ports and protocols
 * are fine.
 */
bool	filter_has_names(const char *filter);

#endif
