/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/capture_linktype.h"
#include "agent/capture_ring.h"

static bool
ask(int fd, const char *name, unsigned long what, struct ifreq *answer)
{
	memset(answer, 0, sizeof(*answer));
	snprintf(answer->ifr_name, sizeof(answer->ifr_name), "%s", name);
	return ioctl(fd, what, answer) == 0;
}

/* -1 with the error. One that is down is not opened to find that out: to close it would stop all rings for a moment, each time. */
static int
hardware_of(const struct ipc_tap_interface *interface, char error[MSG_TEXT_SIZE])
{
	int fd = socket(AF_UNIX, SOCK_RAW | SOCK_CLOEXEC, 0), hardware = -1;
	const char *why = NULL;
	struct ifreq index, flags, address;

	if (fd == -1 || !ask(fd, interface->name, SIOCGIFINDEX, &index) || !ask(fd, interface->name, SIOCGIFFLAGS, &flags) ||
	    !ask(fd, interface->name, SIOCGIFHWADDR, &address))
		why = strerror(errno);
	else if ((uint32_t)index.ifr_ifindex != interface->ifindex)
		why = "the interface was renamed or replaced";
	else if ((flags.ifr_flags & IFF_UP) == 0)
		why = "the interface is down";
	else
		hardware = address.ifr_hwaddr.sa_family;
	if (why != NULL)
		snprintf(error, MSG_TEXT_SIZE, "%s: %s", interface->name, why);
	if (fd != -1)
		close(fd);
	return hardware;
}

static void
remember(struct capture_linktypes *l, const struct ipc_tap_interface *interface, int hardware, int linktype)
{
	size_t place = l->next;

	l->known[place].ifindex = interface->ifindex;
	snprintf(l->known[place].name, sizeof(l->known[place].name), "%s", interface->name);
	l->known[place].hardware = (unsigned)hardware;
	l->known[place].linktype = linktype;
	l->next = (place + 1) % MSG_INTERFACES_MAX;
}

int
capture_linktype(struct capture_linktypes *l, const struct ipc_tap_interface *interface, char error[MSG_TEXT_SIZE])
{
	int hardware, linktype;

	if ((hardware = hardware_of(interface, error)) == -1)
		return -1;
	for (size_t i = 0; i < MSG_INTERFACES_MAX; i++)
		if (l->known[i].ifindex == interface->ifindex && strcmp(l->known[i].name, interface->name) == 0 &&
		    l->known[i].hardware == (unsigned)hardware)
			return l->known[i].linktype;
	linktype = capture_ring_linktype(interface, error);
	if (linktype != -1)
		remember(l, interface, hardware, linktype);
	return linktype;
}
