/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/rpcap_server.h"

/* The list of interfaces as pcap_findalldevs(3PCAP) has it, of those that a client may capture. */

static bool
is_of(const struct ifaddrs *ifa, const char *name)
{
	size_t len = strcspn(ifa->ifa_name, ":");	/* an IPv4 address may stand under a label such as "eth0:1" */

	return strlen(name) == len && strncmp(ifa->ifa_name, name, len) == 0;
}

static bool
is_told(const struct ifaddrs *ifa, const char *name)
{
	return ifa->ifa_addr != NULL && (ifa->ifa_addr->sa_family == AF_INET || ifa->ifa_addr->sa_family == AF_INET6) && is_of(ifa, name);
}

/* --- flags --- */

static bool
is_wireless(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/net/%s/phy80211", name);
	return access(path, F_OK) == 0;
}

static uint32_t
connection(int fd, const char *name)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = { .ifr_data = (void *)&value };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, SIOCETHTOOL, &ifr) == 0)
		return value.data != 0 ? RPCAP_IF_CONNECTED : RPCAP_IF_DISCONNECTED;
	return errno == EOPNOTSUPP || errno == EINVAL ? RPCAP_IF_NOT_APPLICABLE : 0;
}

static uint32_t
flags_of(int fd, const struct netif *netif)
{
	uint32_t flags = netif->loopback ? RPCAP_IF_LOOPBACK | RPCAP_IF_NOT_APPLICABLE : connection(fd, netif->tap.name);

	if (netif->up)
		flags |= RPCAP_IF_UP;
	if (netif->running)
		flags |= RPCAP_IF_RUNNING;
	if (!netif->loopback && is_wireless(netif->tap.name))
		flags |= RPCAP_IF_WIRELESS;
	return flags;
}

/* --- addresses --- */

static void
set_address(struct rpcap_address *out, const struct sockaddr *sa, sa_family_t family)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	memset(out, 0, sizeof(*out));
	if (sa == NULL || sa->sa_family != family)
		return;
	out->family = (uint8_t)family;
	if (family == AF_INET)
		memcpy(out->address, &v4->sin_addr, 4);
	else {
		memcpy(out->address, &v6->sin6_addr, 16);
		out->scope = v6->sin6_scope_id;
	}
}

static int
put_addresses(struct buf *b, const struct ifaddrs *ifa)
{
	sa_family_t family = ifa->ifa_addr->sa_family;
	struct rpcap_addresses all;

	set_address(&all.address, ifa->ifa_addr, family);
	set_address(&all.netmask, ifa->ifa_netmask, family);
	set_address(&all.broadcast, (ifa->ifa_flags & IFF_BROADCAST) != 0 ? ifa->ifa_broadaddr : NULL, family);
	if (memcmp(&all.broadcast, &all.address, sizeof(all.address)) == 0)	/* getifaddrs(3)'s way to say that there is none */
		set_address(&all.broadcast, NULL, family);
	set_address(&all.destination, (ifa->ifa_flags & IFF_POINTOPOINT) != 0 ? ifa->ifa_dstaddr : NULL, family);
	return rpcap_put_addresses(b, &all);
}

/* --- all of them --- */

static int
put_interface(struct buf *b, int fd, const struct netif *netif, const struct ifaddrs *all)
{
	struct rpcap_interface interface = {
		.name = netif->tap.name, .name_len = (uint16_t)strlen(netif->tap.name), .description = "",
		.flags = flags_of(fd, netif),
	};
	const struct ifaddrs *ifa;
	int errs;

	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		interface.address_count = (uint16_t)(interface.address_count + is_told(ifa, netif->tap.name));
	errs = rpcap_put_interface(b, &interface);
	for (ifa = all; ifa != NULL && errs == 0; ifa = ifa->ifa_next)
		if (is_told(ifa, netif->tap.name))
			errs += put_addresses(b, ifa);
	return errs;
}

/* Loopback last: who takes the first one wants none. */
static int
put_list(const struct link *link, struct buf *b, int fd, const struct ifaddrs *all, uint16_t *count)
{
	const struct netif *netif;
	int errs = 0, loopback;
	size_t i;

	*count = 0;
	for (loopback = 0; loopback < 2; loopback++)
		for (i = 0; i < link->netifs.count && errs == 0; i++) {
			netif = &link->netifs.netif[i];
			if (netif->loopback != (loopback == 1) || !netif_may(netif, &link->options.interfaces))
				continue;
			errs += put_interface(b, fd, netif, all);
			(*count)++;
		}
	return errs;
}

static int
put_reply(const struct link *link, struct buf *b, uint8_t version, enum rpcap_error *code, char error[RPCAP_TEXT_SIZE],
    const struct ifaddrs *all)
{
	struct rpcap_header header = { .version = version, .type = RPCAP_FINDALLIF | RPCAP_REPLY };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), errs;
	struct buf list;

	buf_init(&list, RPCAP_INTERFACES_MAX - RPCAP_HEADER_SIZE);
	errs = put_list(link, &list, fd, all, &header.value);
	if (fd != -1)
		close(fd);
	header.length = (uint32_t)list.len;
	errs = errs != 0 ? -1 : rpcap_put_header(b, &header) + buf_put(b, list.data, list.len);
	buf_clear(&list);
	if (errs == 0 && header.value > 0)
		return 0;
	*code = errs != 0 ? RPCAP_ERR_FINDALLIF : RPCAP_ERR_NOREMOTEIF;
	snprintf(error, RPCAP_TEXT_SIZE, "%s", errs != 0 ? "there are more interfaces and addresses than a list can have" :
	    "there is no interface that may be captured");
	return -1;
}

int
rpcap_put_interfaces(const struct link *link, struct buf *b, uint8_t version, enum rpcap_error *code, char error[RPCAP_TEXT_SIZE])
{
	struct ifaddrs *all;
	int rc;

	if (getifaddrs(&all) == -1) {
		*code = RPCAP_ERR_FINDALLIF;
		snprintf(error, RPCAP_TEXT_SIZE, "cannot list the addresses: %s", strerror(errno));
		return -1;
	}
	rc = put_reply(link, b, version, code, error, all);
	freeifaddrs(all);
	return rc;
}

const struct netif *
rpcap_find_interface(const struct link *link, const char *name)
{
	const struct netif *netif = netif_by_name(&link->netifs, name);

	return netif != NULL && netif_may(netif, &link->options.interfaces) ? netif : NULL;
}
