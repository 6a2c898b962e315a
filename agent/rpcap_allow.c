/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/rpcap_allow.h"
#include "common/conf.h"

#define NAME	"rpcap-allow"
#define BITS_V4	32u
#define BITS_V6	128u

/* Digits alone: strtoul(3) would take a sign and white space, too. */
static int
parse_bits(const char *text, unsigned most, unsigned *bits)
{
	if (text[0] == '\0' || strlen(text) > 3 || strspn(text, "0123456789") != strlen(text))
		return -1;
	*bits = (unsigned)strtoul(text, NULL, 10);
	return *bits <= most ? 0 : -1;
}

static int
parse_prefix(const char *text, struct rpcap_prefix *prefix)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	unsigned most = BITS_V4;

	if (len >= sizeof(address))
		return -1;
	memset(prefix, 0, sizeof(*prefix));
	memcpy(address, text, len);
	address[len] = '\0';
	prefix->family = AF_INET;
	if (inet_pton(AF_INET, address, prefix->address) != 1) {
		prefix->family = AF_INET6;
		most = BITS_V6;
		if (inet_pton(AF_INET6, address, prefix->address) != 1)
			return -1;
	}
	prefix->bits = most;
	return text[len] == '/' ? parse_bits(text + len + 1, most, &prefix->bits) : 0;
}

int
rpcap_allow_read(struct rpcap_allow *allow, const struct conf_list *list, struct conf_error *error)
{
	struct rpcap_allow fresh = { .count = 0 };
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (fresh.count < RPCAP_ALLOW_MAX && parse_prefix(list->value[i], &fresh.prefix[fresh.count++]) == 0)
			continue;
		conf_error_set(error, i < RPCAP_ALLOW_MAX ? "%s: must be an address or a prefix, such as 192.0.2.7, 192.0.2.0/24 "
		    "or 2001:db8::/32" : "%s: is one too many, 64 is the most", list->value[i]);
		conf_error_place(error, list->origin[i], NAME);
		return -1;
	}
	*allow = fresh;
	return 0;
}

int
rpcap_allow_check(const struct conf_list *list, struct conf_error *error)
{
	struct rpcap_allow allow;

	return rpcap_allow_read(&allow, list, error);
}

/* --- who is one of them --- */

static int
address_of(const struct sockaddr_storage *ss, const uint8_t **bytes)
{
	const struct sockaddr_in *v4 = (const void *)ss;
	const struct sockaddr_in6 *v6 = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		*bytes = (const uint8_t *)&v4->sin_addr;
		return AF_INET;
	}
	if (ss->ss_family != AF_INET6)
		return AF_UNSPEC;
	if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		*bytes = v6->sin6_addr.s6_addr + 12;
		return AF_INET;
	}
	*bytes = v6->sin6_addr.s6_addr;
	return AF_INET6;
}

static bool
prefix_has(const struct rpcap_prefix *prefix, int family, const uint8_t *bytes)
{
	size_t whole = prefix->bits / 8;
	unsigned rest = prefix->bits % 8;

	if (prefix->family != family || memcmp(prefix->address, bytes, whole) != 0)
		return false;
	return rest == 0 || ((prefix->address[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool
rpcap_allow_has(const struct rpcap_allow *allow, const struct sockaddr_storage *ss)
{
	const uint8_t *bytes = NULL;
	int family = address_of(ss, &bytes);
	size_t i;

	for (i = 0; i < allow->count && family != AF_UNSPEC; i++)
		if (prefix_has(&allow->prefix[i], family, bytes))
			return true;
	return allow->count == 0;
}
