/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/http.h"
#include "common/log.h"

#include "agent/supervisor.h"

#define LISTEN_BACKLOG	16

int
supervisor_socket(int family, int type)
{
	static bool said;
	const uint32_t mark = AGENT_MARK;
	int fd;

	if ((fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == -1 && !said) {
		said = true;
		log_warn("cannot mark sockets (%s): own traffic is told by addresses and ports alone (before Linux 5.17 this needs "
		    "CAP_NET_ADMIN)", strerror(errno));
	}
	return fd;
}

static int
listen_at(const struct addrinfo *address, bool v6only)
{
	const int on = 1;
	int fd, saved;

	if ((fd = supervisor_socket(address->ai_family, SOCK_STREAM)) == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (!v6only || address->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
	    bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct addrinfo *
supervisor_address(const struct supervisor_places *places, size_t i, struct conf_error *error)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	const char *text = places->list->value[i];
	struct addrinfo *address = NULL;
	char host[MSG_NAME_SIZE * 2], service[8];
	uint16_t port;

	if (conf_host_port(text, places->port, host, sizeof(host), &port, error) == 0) {
		snprintf(service, sizeof(service), "%u", (unsigned)port);
		if (getaddrinfo(host, service, &hints, &address) == 0)
			return address;
		conf_error_set(error, "%s: not a numeric address to listen on, like 0.0.0.0 or [::]", text);
	}
	conf_error_place(error, places->list->origin[i], places->option);
	return NULL;
}

int
supervisor_listen(const struct supervisor_places *places, size_t i, struct conf_error *error)
{
	struct addrinfo *address;
	int fd;

	if ((address = supervisor_address(places, i, error)) == NULL)
		return -1;
	if ((fd = listen_at(address, places->v6only)) == -1) {
		conf_error_set(error, "%s: cannot listen: %s", places->list->value[i], strerror(errno));
		conf_error_place(error, places->list->origin[i], places->option);
	}
	freeaddrinfo(address);
	return fd;
}

/* --- metrics --- */

static bool
metrics_none(const struct conf_list *list)
{
	return list->count == 1 && strcmp(list->value[0], AGENT_METRICS_NONE) == 0;
}

int
supervisor_check_metrics(const struct conf_list *list, struct conf_error *error)
{
	return metrics_none(list) ? 0 : http_check_places(list, AGENT_METRICS_MAX, "metrics", error);
}

/* Where place is a path. If that fails, http_bind() says so. */
static void
make_folder_of(const char *place)
{
	const char *end = strrchr(place, '/');
	char folder[PATH_MAX];

	if (place[0] != '/' || end == place || (size_t)(end - place) >= sizeof(folder))
		return;
	memcpy(folder, place, (size_t)(end - place));
	folder[end - place] = '\0';
	(void)mkdir(folder, 0755);
}

void
supervisor_metrics_listen(struct supervisor *supervisor)
{
	const struct conf_list *list = &supervisor->options->metrics;
	struct conf_error error;

	if (metrics_none(list))
		return;
	for (size_t i = 0; i < list->count && i < AGENT_METRICS_MAX; i++) {
		make_folder_of(list->value[i]);
		if ((supervisor->metrics_fd[i] = http_bind(list->value[i], &error)) == -1)
			log_warn("metrics: %s: going on without", error.text);
		supervisor->metrics_count++;
	}
}

/* Options that need a restart are those of the start. */
void
supervisor_metrics_clear(struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->metrics_count; i++) {
		if (supervisor->metrics_fd[i] == -1)
			continue;
		close(supervisor->metrics_fd[i]);
		http_unbind(supervisor->options->metrics.value[i]);
	}
	supervisor->metrics_count = 0;
}
