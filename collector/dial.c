/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dial.h"

static int
dial_address(const struct addrinfo *address, unsigned timeout_ms)
{
	socklen_t len = sizeof(int);
	struct pollfd poller;
	int fd, why = 0;

	if ((fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return fd;
	poller = (struct pollfd){ .fd = fd, .events = POLLOUT };
	if (errno != EINPROGRESS)
		why = errno;
	else if (poll(&poller, 1, (int)timeout_ms) != 1)
		why = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == -1)
		why = errno;
	if (why == 0)
		return fd;
	close(fd);
	errno = why;
	return -1;
}

int
dial_blocking(const char *host, uint16_t port, unsigned timeout_ms, char *error, size_t error_size)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found = NULL, *one;
	char service[8];
	int rc, fd = -1;

	snprintf(service, sizeof(service), "%u", port);
	if ((rc = getaddrinfo(host, service, &hints, &found)) != 0) {
		snprintf(error, error_size, "%s: %s", host, gai_strerror(rc));
		return -1;
	}
	for (one = found; one != NULL && fd == -1; one = one->ai_next)
		fd = dial_address(one, timeout_ms);
	if (fd == -1)
		snprintf(error, error_size, "%s port %u: %s", host, port, strerror(errno));
	freeaddrinfo(found);
	return fd;
}
