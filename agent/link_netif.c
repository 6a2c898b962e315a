/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <linux/if_link.h>
#include <errno.h>
#include <fnmatch.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/link_netif.h"

#define ROUTES_MAX	4096	/* lines of /proc/net/ipv6_route looked at: a router's full table is not worth more */
#define PREFIX_MAX	128

static struct netif *
table_find(const struct netif_table *table, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < table->count; i++)
		if (strncmp(table->netif[i].tap.name, name, len) == 0 && table->netif[i].tap.name[len] == '\0')
			return &table->netif[i];
	return NULL;
}

struct netif *
netif_by_name(const struct netif_table *table, const char *name)
{
	size_t len = strlen(name);

	return len < IF_NAMESIZE ? table_find(table, name, len) : NULL;
}

struct netif *
netif_by_index(const struct netif_table *table, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < table->count; i++)
		if (table->netif[i].tap.ifindex == ifindex)
			return &table->netif[i];
	return NULL;
}

void
netif_clear(struct netif_table *table)
{
	free(table->netif);
	memset(table, 0, sizeof(*table));
}

/* --- getifaddrs(3) --- */

static void
add_link(struct netif_table *table, const struct ifaddrs *ifa)
{
	const struct sockaddr_ll *link = (const void *)ifa->ifa_addr;
	const struct rtnl_link_stats *stats = ifa->ifa_data;
	struct netif *netif = &table->netif[table->count];

	if (strlen(ifa->ifa_name) >= IF_NAMESIZE || link->sll_ifindex <= 0)
		return;
	memset(netif, 0, sizeof(*netif));
	strcpy(netif->tap.name, ifa->ifa_name);
	netif->tap.ifindex = (uint32_t)link->sll_ifindex;
	netif->up = (ifa->ifa_flags & IFF_UP) != 0;
	netif->running = (ifa->ifa_flags & IFF_RUNNING) != 0;
	netif->loopback = (ifa->ifa_flags & IFF_LOOPBACK) != 0;
	if (link->sll_hatype == ARPHRD_ETHER && link->sll_halen == sizeof(netif->tap.mac)) {
		netif->tap.has_mac = true;
		memcpy(netif->tap.mac, link->sll_addr, sizeof(netif->tap.mac));
	}
	if (stats != NULL) {
		netif->has_drops = true;
		netif->rx_dropped = stats->rx_dropped;
		netif->rx_missed = stats->rx_missed_errors;
	}
	table->count++;
}

static void
add_ipv4(struct ipc_tap_interface *tap, const struct ifaddrs *ifa)
{
	const struct sockaddr_in *address = (const void *)ifa->ifa_addr, *mask = (const void *)ifa->ifa_netmask;
	uint8_t *out;

	if (tap->ipv4_count == sizeof(tap->ipv4) / sizeof(tap->ipv4[0]))
		return;
	out = tap->ipv4[tap->ipv4_count++];
	memcpy(out, &address->sin_addr, 4);
	memset(out + 4, 0xff, 4);
	if (mask != NULL)
		memcpy(out + 4, &mask->sin_addr, 4);
}

static uint8_t
prefix_length(const struct in6_addr *mask)
{
	uint8_t bits = 0;

	while (bits < PREFIX_MAX && (mask->s6_addr[bits / 8] & 0x80 >> bits % 8) != 0)
		bits++;
	return bits;
}

static void
add_ipv6(struct ipc_tap_interface *tap, const struct ifaddrs *ifa)
{
	const struct sockaddr_in6 *address = (const void *)ifa->ifa_addr, *mask = (const void *)ifa->ifa_netmask;
	uint8_t *out;

	if (tap->ipv6_count == sizeof(tap->ipv6) / sizeof(tap->ipv6[0]))
		return;
	out = tap->ipv6[tap->ipv6_count++];
	memcpy(out, &address->sin6_addr, 16);
	out[16] = mask != NULL ? prefix_length(&mask->sin6_addr) : PREFIX_MAX;
}

/* For ADDRESSES. */
static void
add_told(struct netif *netif, uint8_t family, const void *bytes, size_t len)
{
	struct bpf_peer *address;

	if (netif->address_count == MSG_ADDRESSES_MAX)
		return;
	address = &netif->address[netif->address_count++];
	address->family = family;
	memcpy(address->address, bytes, len);
}

/* An IPv4 address may stand under a label such as "eth0:1". */
static void
add_address(struct netif_table *table, const struct ifaddrs *ifa)
{
	struct netif *netif = table_find(table, ifa->ifa_name, strcspn(ifa->ifa_name, ":"));

	if (netif == NULL)
		return;
	if (ifa->ifa_addr->sa_family == AF_INET) {
		add_ipv4(&netif->tap, ifa);
		add_told(netif, AF_INET, &((const struct sockaddr_in *)(const void *)ifa->ifa_addr)->sin_addr, 4);
	} else if (ifa->ifa_addr->sa_family == AF_INET6) {
		add_ipv6(&netif->tap, ifa);
		add_told(netif, AF_INET6, &((const struct sockaddr_in6 *)(const void *)ifa->ifa_addr)->sin6_addr, 16);
	}
}

static int
compare_ifindex(const void *a, const void *b)
{
	const struct netif *left = a, *right = b;

	return left->tap.ifindex < right->tap.ifindex ? -1 : left->tap.ifindex > right->tap.ifindex;
}

static void
read_routes(struct netif_table *table, const char *path, void (*parse)(struct netif_table *, FILE *))
{
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return;
	parse(table, file);
	fclose(file);
}

static int
table_fill(struct netif_table *table, const struct ifaddrs *all)
{
	const struct ifaddrs *ifa;
	size_t links = 0;

	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		if (ifa->ifa_addr != NULL && ifa->ifa_addr->sa_family == AF_PACKET)
			links++;
	if ((table->netif = calloc(links + 1, sizeof(*table->netif))) == NULL)
		return -1;
	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		if (ifa->ifa_addr != NULL && ifa->ifa_addr->sa_family == AF_PACKET)
			add_link(table, ifa);
	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		if (ifa->ifa_addr != NULL)
			add_address(table, ifa);
	qsort(table->netif, table->count, sizeof(*table->netif), compare_ifindex);
	return 0;
}

int
netif_scan(struct netif_table *table)
{
	struct ifaddrs *all;
	int rc;

	memset(table, 0, sizeof(*table));
	if (getifaddrs(&all) == -1)
		return -1;
	rc = table_fill(table, all);
	freeifaddrs(all);
	if (rc == -1)
		return -1;
	read_routes(table, "/proc/net/route", netif_routes_ipv4);
	read_routes(table, "/proc/net/ipv6_route", netif_routes_ipv6);
	return 0;
}

/* --- default routes --- */

static void
mark_default(struct netif_table *table, const char *name, unsigned flags)
{
	struct netif *netif = netif_by_name(table, name);

	if (netif != NULL && !netif->loopback && (flags & RTF_UP) != 0 && (flags & RTF_REJECT) == 0)
		netif->default_route = true;
}

/* A line of a routes file; false: the end, or one cut short. */
static bool
next_route(FILE *file, char *line, int size)
{
	return fgets(line, size, file) != NULL && strchr(line, '\n') != NULL;
}

/* The kernel lists by destination, 0.0.0.0 first. */
void
netif_routes_ipv4(struct netif_table *table, FILE *file)
{
	unsigned destination, flags, mask;
	char line[512], name[32];

	while (next_route(file, line, sizeof(line))) {
		if (sscanf(line, "%31s %8x %*8x %4x %*d %*u %*d %8x", name, &destination, &flags, &mask) != 4)
			continue;
		if (destination != 0)
			break;
		if (mask == 0)
			mark_default(table, name, flags);
	}
}

void
netif_routes_ipv6(struct netif_table *table, FILE *file)
{
	char line[512], destination[33], name[32];
	unsigned prefix, flags, count;

	for (count = 0; count < ROUTES_MAX && next_route(file, line, sizeof(line)); count++) {
		if (sscanf(line, "%32s %2x %*32s %*2x %*32s %*8x %*8x %*8x %8x %31s", destination, &prefix, &flags, name) != 4)
			continue;
		if (prefix == 0 && strspn(destination, "0") == 32)
			mark_default(table, name, flags);
	}
}

/* --- which of them --- */

static bool
list_matches(const struct conf_list *patterns, const char *name)
{
	size_t i;

	for (i = 0; i < patterns->count; i++)
		if (fnmatch(patterns->value[i], name, 0) == 0)
			return true;
	return false;
}

/* A pattern of the policy's comma-separated text; *literal: it is the name itself. */
static bool
text_matches(const char *text, const char *name, bool *literal)
{
	char pattern[MSG_TEXT_SIZE];
	size_t len;

	*literal = false;
	for (; *text != '\0'; text += len + (text[len] == ',')) {
		len = strcspn(text, ",");
		snprintf(pattern, sizeof(pattern), "%.*s", (int)len, text + strspn(text, " "));
		pattern[strcspn(pattern, " ,")] = '\0';
		if (fnmatch(pattern, name, 0) == 0) {
			*literal = strcmp(pattern, name) == 0;
			return true;
		}
	}
	return false;
}

static bool
name_wanted(const struct netif *netif, const char *name, const struct conf_list *guest, const char *policy)
{
	bool literal = false, named = policy[0] != '\0' && text_matches(policy, name, &literal);

	if (policy[0] != '\0' && !named)
		return false;
	if (guest->count > 0)
		return list_matches(guest, name);
	return policy[0] != '\0' ? !netif->loopback || literal : netif->default_route;
}

static bool
netif_wanted(struct netif *netif, const struct conf_list *guest, const char *policy)
{
	if (!netif->up || netif->gone)
		return false;
	if (name_wanted(netif, netif->tap.name, guest, policy)) {
		memcpy(netif->known_as, netif->tap.name, sizeof(netif->known_as));
		return true;
	}
	return netif->known_as[0] != '\0' && name_wanted(netif, netif->known_as, guest, policy);
}

static bool
same_addresses(const struct netif *a, const struct netif *b)
{
	return a->address_count == b->address_count && memcmp(a->address, b->address, a->address_count * sizeof(a->address[0])) == 0;
}

void
netif_carry(const struct netif_table *before, struct netif_table *fresh)
{
	const struct netif *old;
	size_t i;

	fresh->addresses = before->addresses;
	for (i = 0; i < fresh->count; i++) {
		old = netif_by_index(before, fresh->netif[i].tap.ifindex);
		if (old != NULL && same_addresses(old, &fresh->netif[i]))
			fresh->netif[i].addresses = old->addresses;
		else
			fresh->netif[i].addresses = ++fresh->addresses;
		if (old != NULL && old->tap.has_mac && fresh->netif[i].tap.has_mac &&
		    memcmp(old->tap.mac, fresh->netif[i].tap.mac, sizeof(old->tap.mac)) == 0)
			memcpy(fresh->netif[i].known_as, old->known_as, sizeof(old->known_as));
	}
}

size_t
netif_pick(struct netif_table *table, const struct conf_list *guest, const char *policy,
    struct ipc_tap_interface out[MSG_INTERFACES_MAX], size_t *left_out)
{
	size_t i, count = 0;

	*left_out = 0;
	for (i = 0; i < table->count; i++) {
		if (!netif_wanted(&table->netif[i], guest, policy))
			continue;
		if (count < MSG_INTERFACES_MAX)
			memcpy(&out[count++], &table->netif[i].tap, sizeof(out[0]));
		else
			(*left_out)++;
	}
	return count;
}

bool
netif_may(const struct netif *netif, const struct conf_list *guest)
{
	return guest->count == 0 || list_matches(guest, netif->tap.name);
}

static void
names_text(const struct netif_table *table, char *text, size_t size)
{
	size_t i, len = 0;

	text[0] = '\0';
	for (i = 0; i < table->count && len < size; i++)
		len += (size_t)snprintf(text + len, size - len, "%s%s", i > 0 ? ", " : "", table->netif[i].tap.name);
}

int
netif_check_names(const struct conf_list *patterns, struct conf_error *error)
{
	struct netif_table table;
	char there[256];
	size_t i;

	if (netif_scan(&table) == -1) {
		conf_error_set(error, "cannot list the network interfaces: %s", strerror(errno));
		return -1;
	}
	for (i = 0; i < patterns->count; i++)
		if (strpbrk(patterns->value[i], "*?[\\") == NULL && netif_by_name(&table, patterns->value[i]) == NULL)
			break;
	if (i < patterns->count) {
		names_text(&table, there, sizeof(there));
		conf_error_set(error, "%s: there is no such interface, only %s", patterns->value[i], there);
		conf_error_place(error, patterns->origin[i], "interface");
	}
	netif_clear(&table);
	return i < patterns->count ? -1 : 0;
}
