/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/link_netif.h"

static const char *
state_of(const struct netif *netif)
{
	if (!netif->up)
		return "down";
	return netif->running ? "up" : "no link";
}

static void
print_mac(const struct ipc_tap_interface *tap)
{
	const uint8_t *m = tap->mac;

	if (tap->has_mac)
		printf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	else
		printf("%-17s", "-");
}

static unsigned
mask_length(const uint8_t mask[4])
{
	unsigned bits = 0;

	while (bits < 32 && (mask[bits / 8] & 0x80 >> bits % 8) != 0)
		bits++;
	return bits;
}

static void
print_addresses(const struct ipc_tap_interface *tap)
{
	char text[INET6_ADDRSTRLEN];
	size_t i;

	for (i = 0; i < tap->ipv4_count; i++)
		printf(" %s/%u", inet_ntop(AF_INET, tap->ipv4[i], text, sizeof(text)), mask_length(tap->ipv4[i] + 4));
	for (i = 0; i < tap->ipv6_count; i++)
		printf(" %s/%u", inet_ntop(AF_INET6, tap->ipv6[i], text, sizeof(text)), tap->ipv6[i][16]);
	printf("\n");
}

int
agent_list_interfaces(void)
{
	struct netif_table table;
	const struct netif *netif;
	size_t i;

	if (netif_scan(&table) == -1) {
		fprintf(stderr, "vmtap-agent: cannot list the network interfaces: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	printf("%-15s  %-7s  %-13s  %-17s  %s\n", "INTERFACE", "STATE", "DEFAULT ROUTE", "MAC", "ADDRESSES");
	for (i = 0; i < table.count; i++) {
		netif = &table.netif[i];
		printf("%-15s  %-7s  %-13s  ", netif->tap.name, state_of(netif), netif->default_route ? "yes" : "-");
		print_mac(&netif->tap);
		printf(" ");
		print_addresses(&netif->tap);
	}
	netif_clear(&table);
	return EXIT_SUCCESS;
}
