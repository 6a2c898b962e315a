/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "common/conf.h"

/* Without a scope (%eth0), which is left to getaddrinfo(3). */
static bool
is_ipv6(const char *text, size_t n)
{
	char		 address[INET6_ADDRSTRLEN];
	struct in6_addr	 in6;
	const char	*scope = memchr(text, '%', n);

	if (scope != NULL)
		n = (size_t)(scope - text);
	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	return inet_pton(AF_INET6, address, &in6) == 1;
}

static bool
is_host_name(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)text[i]) && strchr("-._%:", text[i]) == NULL)
			return false;
	}
	return n > 0;
}

static int
parse_port(const char *text, uint16_t *port)
{
	unsigned long	 n = 0;

	if (*text == '\0' || strlen(text) > 5)
		return -1;
	for (; *text != '\0'; text++) {
		if (!isdigit((unsigned char)*text))
			return -1;
		n = n * 10 + (unsigned long)(*text - '0');
	}
	if (n < 1 || n > UINT16_MAX)
		return -1;
	*port = (uint16_t)n;
	return 0;
}

/* Finds the host's bytes and what follows them: "" or ":PORT". NULL, or why there are none. */
static const char *
split(const char *text, const char **host, size_t *n, const char **behind)
{
	const char	*colon = strchr(text, ':'), *bracket;

	*host = text;
	*n = strlen(text);
	*behind = text + *n;
	if (*text == '[') {
		bracket = strchr(text, ']');
		if (bracket == NULL)
			return "\"]\" is missing";
		*host = text + 1;
		*n = (size_t)(bracket - *host);
		*behind = bracket + 1;
		return is_ipv6(*host, *n) ? NULL : "no IPv6 address in the brackets";
	}
	if (colon != NULL && strchr(colon + 1, ':') != NULL)
		return is_ipv6(text, *n) ? NULL : "not an IPv6 address (with a port: [ADDRESS]:PORT)";
	if (colon != NULL) {
		*n = (size_t)(colon - text);
		*behind = colon;
	}
	if (*n == 0)
		return "host is missing before the port";
	return NULL;
}

int
conf_host_port(const char *text, uint16_t port_default, char *host, size_t host_size, uint16_t *port, struct conf_error *error)
{
	const char	*at, *behind, *why;
	size_t		 n;
	uint16_t	 number = port_default;

	if (*text == '\0')
		why = "must be HOST or HOST:PORT";
	else
		why = split(text, &at, &n, &behind);
	if (why == NULL && !is_host_name(at, n))
		why = "not a host name or address";
	if (why == NULL && n >= host_size)
		why = "host name is too long";
	if (why == NULL && *behind != '\0' && (*behind != ':' || parse_port(behind + 1, &number) == -1))
		why = "port must be from 1 to 65535";
	if (why != NULL) {
		conf_error_set(error, "%.80s: %s", text, why);
		return -1;
	}
	memcpy(host, at, n);
	host[n] = '\0';
	*port = number;
	return 0;
}
