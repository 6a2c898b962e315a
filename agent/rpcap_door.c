/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/rpcap_door.h"
#include "agent/rpcap_server.h"
#include "common/log.h"

#define BACKLOG	(IPC_RPCAP_MAX)

struct rpcap_door {
	LIST_ENTRY(rpcap_door) entry;
	struct rpcap	*server;
	struct event	*event;		/* its descriptor is the socket */
	struct sockaddr_storage address;
	TAILQ_HEAD(, rpcap_guest) guests;
};

static const struct sockaddr_in *
v4(const struct sockaddr_storage *ss)
{
	return (const struct sockaddr_in *)(const void *)ss;
}

static const struct sockaddr_in6 *
v6(const struct sockaddr_storage *ss)
{
	return (const struct sockaddr_in6 *)(const void *)ss;
}

bool
rpcap_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return v4(a)->sin_addr.s_addr == v4(b)->sin_addr.s_addr;
	return memcmp(&v6(a)->sin6_addr, &v6(b)->sin6_addr, sizeof(v6(a)->sin6_addr)) == 0 &&
	    v6(a)->sin6_scope_id == v6(b)->sin6_scope_id;
}

static bool
same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == AF_INET ? v4(a)->sin_port == v4(b)->sin_port : v6(a)->sin6_port == v6(b)->sin6_port;
}

/* --- who comes --- */

static void
door_close(struct rpcap_door *door)
{
	LIST_REMOVE(door, entry);
	close(event_get_fd(door->event));
	event_free(door->event);
	free(door);
}

static void
door_fail(struct rpcap_door *door, const char *why)
{
	struct rpcap_guest *guest = TAILQ_FIRST(&door->guests);

	/* The others hear of it when they come by here themselves. */
	rpcap_door_leave(guest);
	guest->failed(why, guest->arg);
}

static struct rpcap_guest *
find_guest(const struct rpcap_door *door, const struct sockaddr_storage *peer)
{
	struct rpcap_guest *guest;

	TAILQ_FOREACH(guest, &door->guests, entry)
		if (guest->expected && rpcap_same_host(guest->address, peer))
			return guest;
	return NULL;
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	static struct log_limit limit;
	struct rpcap_door *door = arg;
	struct sockaddr_storage peer;
	struct rpcap_guest *guest;
	socklen_t len = sizeof(peer);
	int connection = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (connection == -1) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			door_fail(door, strerror(errno));
		return;
	}
	if ((guest = find_guest(door, &peer)) == NULL) {
		door->server->refused++;
		log_limited(&limit, 60000, LOG_LEVEL_WARN, "an RPCAP data connection was refused: nobody was expected from its address");
		close(connection);
		return;
	}
	rpcap_door_leave(guest);
	guest->came(connection, guest->arg);
}

/* --- open and close --- */

static void
guest_join(struct rpcap_door *door, struct rpcap_guest *guest)
{
	guest->door = door;
	guest->waiting = guest->expected = false;
	TAILQ_INSERT_TAIL(&door->guests, guest, entry);
}

bool
rpcap_door_join(struct rpcap *server, const struct sockaddr_storage *address, struct rpcap_guest *guest)
{
	struct rpcap_door *door;

	LIST_FOREACH(door, &server->doors, entry)
		if (rpcap_same_host(&door->address, address) && same_port(&door->address, address)) {
			guest_join(door, guest);
			return true;
		}
	return false;
}

static int
listen_at(int fd, const struct sockaddr_storage *address, struct rpcap_door *door)
{
	const int on = 1;
	socklen_t len = sizeof(door->address);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1)
		return -1;
	if (bind(fd, (const struct sockaddr *)address, address->ss_family == AF_INET ? sizeof(struct sockaddr_in) :
	    sizeof(struct sockaddr_in6)) == -1 || listen(fd, BACKLOG) == -1)
		return -1;
	return getsockname(fd, (struct sockaddr *)&door->address, &len);
}

int
rpcap_door_open(struct rpcap *server, int fd, const struct sockaddr_storage *address, struct rpcap_guest *guest)
{
	struct rpcap_door *door = calloc(1, sizeof(*door));
	int saved;

	if (door == NULL)
		return -1;
	if (listen_at(fd, address, door) == 0) {
		door->server = server;
		door->event = event_new(server->link->base, fd, EV_READ | EV_PERSIST, on_connection, door);
		if (door->event != NULL && event_add(door->event, NULL) == 0) {
			TAILQ_INIT(&door->guests);
			LIST_INSERT_HEAD(&server->doors, door, entry);
			guest_join(door, guest);
			return 0;
		}
		errno = ENOMEM;
	}
	saved = errno;
	if (door->event != NULL)
		event_free(door->event);
	free(door);
	errno = saved;
	return -1;
}

const struct sockaddr_storage *
rpcap_door_address(const struct rpcap_guest *guest)
{
	return &guest->door->address;
}

static void
guest_turn(struct rpcap_guest *guest)
{
	guest->waiting = false;
	guest->expected = true;
	guest->turn(guest->arg);
}

/* Behind those that wait already. */
void
rpcap_door_wait(struct rpcap_guest *guest)
{
	if (find_guest(guest->door, guest->address) == NULL) {
		guest_turn(guest);
		return;
	}
	TAILQ_REMOVE(&guest->door->guests, guest, entry);
	TAILQ_INSERT_TAIL(&guest->door->guests, guest, entry);
	guest->waiting = true;
}

void
rpcap_door_leave(struct rpcap_guest *guest)
{
	struct rpcap_door *door = guest->door;
	struct rpcap_guest *next;

	if (door == NULL)
		return;
	guest->door = NULL;
	TAILQ_REMOVE(&door->guests, guest, entry);
	if (TAILQ_EMPTY(&door->guests)) {
		door_close(door);
		return;
	}
	TAILQ_FOREACH(next, &door->guests, entry)
		if (guest->expected && next->waiting && rpcap_same_host(next->address, guest->address)) {
			guest_turn(next);
			break;
		}
}
