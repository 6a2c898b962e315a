/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/conf.h"
#include "common/log.h"
#include "proto/frame.h"

#include "collector/listen.h"

#define LISTEN_BACKLOG		4096	/* all agents come back at once; the system's somaxconn bounds it */
#define LISTEN_BUDGET		64	/* connections of one wake-up */
#define LISTEN_PAUSE_MS		500	/* when descriptors have run out */
#define LISTEN_HOST_SIZE	256

struct listener {
	struct listeners	*all;
	const char		*text;		/* of the list's */
	int			 fd;
	struct event		*event, *pause;
};

struct listeners {
	struct listener	*listener;
	size_t		 count;
	void		(*accepted)(int, void *);
	void		*arg;
	struct log_limit limit;
};

static int
listener_bind(const struct addrinfo *ai, const char *host)
{
	int on = 1, off = 0, fd, saved;

	if ((fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, strcmp(host, "::") == 0 ? &off : &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int
listener_open_at(const char *host, const char *service, char *why, size_t why_size)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *ai = NULL;
	int fd = -1, rc = getaddrinfo(host, service, &hints, &ai);

	if (rc != 0)
		snprintf(why, why_size, "%s", rc == EAI_NONAME ? "not an address" : gai_strerror(rc));
	else if ((fd = listener_bind(ai, host)) == -1)
		snprintf(why, why_size, "%s", strerror(errno));
	if (ai != NULL)
		freeaddrinfo(ai);
	return fd;
}

/* A machine without IPv6 still has all of IPv4 behind "::". */
static int
listener_open(const char *text, char *error, size_t error_size)
{
	char host[LISTEN_HOST_SIZE], service[8], why[128];
	struct conf_error conf;
	uint16_t port;
	int fd;

	if (conf_host_port(text, FRAME_PORT, host, sizeof(host), &port, &conf) == -1) {
		snprintf(error, error_size, "%s", conf.text);
		return -1;
	}
	snprintf(service, sizeof(service), "%u", port);
	fd = listener_open_at(host, service, why, sizeof(why));
	if (fd == -1 && strcmp(host, "::") == 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		fd = listener_open_at("0.0.0.0", service, why, sizeof(why));
	if (fd == -1)
		snprintf(error, error_size, "cannot listen on %s port %u: %s", host, port, why);
	return fd;
}

struct listeners *
listeners_new(const struct conf_list *list, char *error, size_t error_size)
{
	struct listeners *all = calloc(1, sizeof(*all));

	if (all == NULL || (all->listener = calloc(list->count + 1, sizeof(*all->listener))) == NULL) {
		snprintf(error, error_size, "out of memory");
		free(all);
		return NULL;
	}
	for (; all->count < list->count; all->count++) {
		all->listener[all->count].all = all;
		all->listener[all->count].text = list->value[all->count];
		all->listener[all->count].fd = listener_open(list->value[all->count], error, error_size);
		if (all->listener[all->count].fd == -1) {
			listeners_free(all);
			return NULL;
		}
	}
	return all;
}

static void
listener_resume(evutil_socket_t fd, short events, void *arg)
{
	struct listener *listener = arg;

	(void)fd;
	(void)events;
	event_add(listener->event, NULL);
}

static void
listener_rest(struct listener *listener)
{
	const struct timeval tv = { .tv_usec = LISTEN_PAUSE_MS * 1000 };

	log_limited(&listener->all->limit, 60000, LOG_LEVEL_ERROR, "accept: %s", strerror(errno));
	event_del(listener->event);
	event_add(listener->pause, &tv);
}

static void
listener_accept(evutil_socket_t fd, short events, void *arg)
{
	struct listener *listener = arg;
	int peer;

	(void)events;
	for (int i = 0; i < LISTEN_BUDGET; i++) {
		peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (peer != -1)
			listener->all->accepted(peer, listener->all->arg);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			listener_rest(listener);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

int
listeners_start(struct listeners *all, struct event_base *base, void (*accepted)(int fd, void *arg), void *arg)
{
	all->accepted = accepted;
	all->arg = arg;
	for (size_t i = 0; i < all->count; i++) {
		struct listener *listener = &all->listener[i];

		listener->event = event_new(base, listener->fd, EV_READ | EV_PERSIST, listener_accept, listener);
		listener->pause = evtimer_new(base, listener_resume, listener);
		if (listener->event == NULL || listener->pause == NULL || event_add(listener->event, NULL) == -1)
			return -1;
		log_info("listening on %s", listener->text);
	}
	return 0;
}

void
listeners_free(struct listeners *all)
{
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->count; i++) {
		if (all->listener[i].event != NULL)
			event_free(all->listener[i].event);
		if (all->listener[i].pause != NULL)
			event_free(all->listener[i].pause);
		close(all->listener[i].fd);
	}
	free(all->listener);
	free(all);
}
