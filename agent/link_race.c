/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_race.h"

enum lane_state {
	LANE_READY,
	LANE_CONNECTING,
	LANE_USED		/* has won or failed */
};

struct lane {
	struct race	*race;
	struct resolve_address address;
	enum lane_state	 state;
	struct event	*connected;	/* while connecting; its descriptor is the socket */
};

struct race {
	struct event_base *base;
	const struct race_callbacks *callbacks;
	void		*arg;
	struct event	*next;		/* another one may begin */
	bool		 running;
	bool		 socket_due;	/* asked for and not come, perhaps by a race before */
	struct lane	 lane[RESOLVE_MAX];
	size_t		 count;
};

static void go_on(struct race *);

void
race_interleave(struct resolve_address *address, size_t count)
{
	struct resolve_address moved;
	size_t i, j;

	for (i = 1; i < count; i++) {
		for (j = i; j < count && address[j].ss.ss_family == address[i - 1].ss.ss_family; j++)
			continue;
		if (j == count)
			return;
		moved = address[j];
		memmove(&address[i + 1], &address[i], (j - i) * sizeof(*address));
		address[i] = moved;
	}
}

/* --- one address --- */

/* Returns its socket. */
static int
lane_leave(struct lane *lane, enum lane_state state)
{
	int fd = event_get_fd(lane->connected);

	event_free(lane->connected);
	lane->connected = NULL;
	lane->state = state;
	return fd;
}

static struct lane *
lane_find(struct race *race, enum lane_state state)
{
	struct lane *lane;

	for (lane = race->lane; lane < race->lane + race->count; lane++)
		if (lane->state == state)
			return lane;
	return NULL;
}

static void
lane_failed(struct lane *lane, const char *why)
{
	struct race *race = lane->race;

	if (lane->state == LANE_CONNECTING)
		close(lane_leave(lane, LANE_USED));
	lane->state = LANE_USED;
	race->callbacks->failed(&lane->address, why, race->arg);
	if (race->running)
		go_on(race);
}

static void
lane_won(struct lane *lane)
{
	struct race *race = lane->race;
	int fd = lane_leave(lane, LANE_USED);

	race_stop(race);
	race->callbacks->won(fd, &lane->address, race->arg);
}

int
race_connect_error(int fd, short what)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (what & EV_TIMEOUT)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 ? errno : error;
}

static void
on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct lane *lane = arg;
	int error = race_connect_error(fd, what);

	if (error != 0)
		lane_failed(lane, strerror(error));
	else
		lane_won(lane);
}

/* Owns fd. The next one has its turn after a while, whatever becomes of this one. */
static void
lane_connect(struct lane *lane, int fd)
{
	static const struct timeval limit = { .tv_sec = RACE_CONNECT_MS / 1000 };
	static const struct timeval delay = { .tv_usec = RACE_DELAY_MS * 1000 };
	const struct resolve_address *address = &lane->address;

	if (connect(fd, (const struct sockaddr *)&address->ss, address->len) == -1 && errno != EINPROGRESS) {
		int error = errno;

		close(fd);
		lane_failed(lane, strerror(error));
		return;
	}
	lane->connected = event_new(lane->race->base, fd, EV_WRITE, on_connected, lane);
	if (lane->connected == NULL || event_add(lane->connected, &limit) == -1) {
		if (lane->connected != NULL)
			(void)lane_leave(lane, LANE_READY);
		close(fd);
		lane_failed(lane, "out of memory");
		return;
	}
	lane->state = LANE_CONNECTING;
	event_add(lane->race->next, &delay);
}

/* --- all of them --- */

/* The next address has its turn, or it is over. */
static void
go_on(struct race *race)
{
	struct lane *lane = lane_find(race, LANE_READY);

	event_del(race->next);
	if (lane == NULL) {
		if (lane_find(race, LANE_CONNECTING) != NULL)
			return;
		race->running = false;
		race->callbacks->lost(race->arg);
		return;
	}
	if (race->socket_due)
		return;
	race->socket_due = true;
	if (race->callbacks->ask((uint8_t)lane->address.ss.ss_family, race->arg) == -1) {
		race->socket_due = false;
		lane_failed(lane, strerror(errno));
	}
}

static void
on_next(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg);
}

static int
socket_family(int fd)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof(family);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	return family;
}

void
race_socket(struct race *race, int fd, int error)
{
	struct lane *lane = race->running ? lane_find(race, LANE_READY) : NULL;

	race->socket_due = false;
	if (lane == NULL) {
		if (fd != -1)
			close(fd);
	} else if (fd == -1)
		lane_failed(lane, strerror(error));
	else if (socket_family(fd) == lane->address.ss.ss_family)
		lane_connect(lane, fd);
	else {
		close(fd);	/* a race before asked for it */
		go_on(race);
	}
}

void
race_start(struct race *race, const struct resolve_address *address, size_t count)
{
	struct resolve_address order[RESOLVE_MAX];
	size_t i;

	race_stop(race);
	race->count = count < RESOLVE_MAX ? count : RESOLVE_MAX;
	memcpy(order, address, race->count * sizeof(*order));
	race_interleave(order, race->count);
	for (i = 0; i < race->count; i++)
		race->lane[i] = (struct lane){ .race = race, .address = order[i] };
	race_again(race);
}

void
race_again(struct race *race)
{
	race->running = true;
	go_on(race);
}

void
race_stop(struct race *race)
{
	struct lane *lane;

	race->running = false;
	event_del(race->next);
	while ((lane = lane_find(race, LANE_CONNECTING)) != NULL)
		close(lane_leave(lane, LANE_READY));
}

struct race *
race_new(struct event_base *base, const struct race_callbacks *callbacks, void *arg)
{
	struct race *race = calloc(1, sizeof(*race));

	if (race == NULL || (race->next = evtimer_new(base, on_next, race)) == NULL) {
		free(race);
		return NULL;
	}
	race->base = base;
	race->callbacks = callbacks;
	race->arg = arg;
	return race;
}

void
race_free(struct race *race)
{
	if (race == NULL)
		return;
	race_stop(race);
	event_free(race->next);
	free(race);
}
