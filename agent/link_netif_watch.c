/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_netif.h"
#include "common/clock.h"
#include "common/log.h"

/* Nothing is learnt from the messages but that something changed: what is then there, netif_scan() tells. */

#define WATCH_GROUPS	(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
#define WATCH_SPACE_MS	100
#define WATCH_BURST	64	/* messages read in one wake-up: routes of a router come without end */

struct netif_watch {
	struct event	*readable, *timer;
	void		(*changed)(void *);
	void		*arg;
	uint64_t	 called_ns;
	uint64_t	 due_ns;	/* of the timer; 0: not set */
};

static void
watch_schedule(struct netif_watch *watch, uint64_t due_ns)
{
	uint64_t now_ns = clock_mono_ns(), left_us;
	struct timeval tv;

	if (watch->due_ns != 0 && watch->due_ns <= due_ns)
		return;
	watch->due_ns = due_ns;
	left_us = due_ns > now_ns ? (due_ns - now_ns) / 1000 : 0;
	tv.tv_sec = (time_t)(left_us / 1000000);
	tv.tv_usec = (suseconds_t)(left_us % 1000000);
	evtimer_add(watch->timer, &tv);
}

static void
watch_due(evutil_socket_t fd, short what, void *arg)
{
	struct netif_watch *watch = arg;

	(void)fd;
	(void)what;
	watch->due_ns = 0;
	watch->called_ns = clock_mono_ns();
	watch->changed(watch->arg);
}

/* Routes other than default ones come and go on a router all the time. */
static bool
message_matters(const struct nlmsghdr *header)
{
	const struct rtmsg *route = NLMSG_DATA(header);

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return true;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return header->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) && route->rtm_dst_len == 0;
	default:
		return false;
	}
}

static bool
datagram_matters(const uint8_t *data, size_t len)
{
	const struct nlmsghdr *header = (const void *)data;

	for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len))
		if (message_matters(header))
			return true;
	return false;
}

static void
watch_readable(evutil_socket_t fd, short what, void *arg)
{
	struct netif_watch *watch = arg;
	_Alignas(struct nlmsghdr) uint8_t data[16384];
	bool matters = false;
	ssize_t n;

	(void)what;
	for (unsigned i = 0; i < WATCH_BURST; i++) {
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n == 0 || (n == -1 && errno != EINTR && errno != ENOBUFS))
			break;
		matters = matters || n == -1 || datagram_matters(data, (size_t)n);
	}
	if (matters)
		watch_schedule(watch, watch->called_ns + WATCH_SPACE_MS * UINT64_C(1000000));
}

void
netif_watch_later(struct netif_watch *watch, unsigned delay_ms)
{
	watch_schedule(watch, clock_mono_ns() + delay_ms * UINT64_C(1000000));
}

static int
watch_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = WATCH_GROUPS };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd == -1)
		return -1;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

struct netif_watch *
netif_watch_new(struct event_base *base, void (*changed)(void *), void *arg)
{
	struct netif_watch *watch;
	int fd = watch_socket();

	if (fd == -1)
		return NULL;
	if ((watch = calloc(1, sizeof(*watch))) == NULL) {
		close(fd);
		return NULL;
	}
	watch->changed = changed;
	watch->arg = arg;
	watch->readable = event_new(base, fd, EV_READ | EV_PERSIST, watch_readable, watch);
	watch->timer = evtimer_new(base, watch_due, watch);
	if (watch->readable == NULL || watch->timer == NULL || event_add(watch->readable, NULL) == -1) {
		if (watch->readable == NULL)
			close(fd);
		netif_watch_free(watch);
		errno = ENOMEM;
		return NULL;
	}
	return watch;
}

void
netif_watch_free(struct netif_watch *watch)
{
	if (watch == NULL)
		return;
	if (watch->readable != NULL) {
		close(event_get_fd(watch->readable));
		event_free(watch->readable);
	}
	if (watch->timer != NULL)
		event_free(watch->timer);
	free(watch);
}
