/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

#include "common/conf.h"
#include "common/log.h"
#include "proto/frame.h"

#include "collector/pull.h"

#define PULL_HOST_SIZE		256
#define PULL_BACKOFF_MIN_MS	1000u
#define PULL_BACKOFF_MAX_MS	60000u
#define PULL_LOG_MS		60000u

struct pull {
	struct pulls		*all;
	int			 index;
	char			 host[PULL_HOST_SIZE];
	uint16_t		 port;
	unsigned		 backoff_ms;
	unsigned		 turn;		/* of a name's several addresses */
	struct event		*timer;
	struct evdns_base	*dns;		/* of the last look-up */
	struct evdns_getaddrinfo_request *request;
	struct log_limit	 limit;
};

struct pulls {
	struct pull		**pull;
	int			 count;
	struct event_base	*base;
	bool			 stopped;
	pull_dialled		*dialled;
	void			*arg;
};

static int
pull_add(struct pulls *all, const char *text, struct conf_error *error)
{
	struct pull **more = reallocarray(all->pull, (size_t)all->count + 1, sizeof(*more));
	struct pull *pull = calloc(1, sizeof(*pull));

	if (more != NULL)
		all->pull = more;
	if (more == NULL || pull == NULL) {
		conf_error_set(error, "out of memory");
		free(pull);
		return -1;
	}
	if (conf_host_port(text, FRAME_PORT, pull->host, sizeof(pull->host), &pull->port, error) == -1) {
		free(pull);
		return -1;
	}
	pull->all = all;
	pull->index = all->count;
	pull->backoff_ms = PULL_BACKOFF_MIN_MS;
	all->pull[all->count++] = pull;
	return 0;
}

static int
pull_add_file(struct pulls *all, const char *path, char *error, size_t error_size)
{
	struct conf_error conf;
	char line[PULL_HOST_SIZE + 64], *text;
	unsigned number = 0;
	FILE *file = fopen(path, "re");
	int rc = 0;

	if (file == NULL) {
		snprintf(error, error_size, "pull-file %s: %s", path, strerror(errno));
		return -1;
	}
	while (rc == 0 && fgets(line, sizeof(line), file) != NULL) {
		number++;
		line[strcspn(line, "#\r\n")] = '\0';
		text = line + strspn(line, " \t");
		text[strcspn(text, " \t")] = '\0';
		if (text[0] != '\0' && (rc = pull_add(all, text, &conf)) == -1)
			snprintf(error, error_size, "%s:%u: %.300s", path, number, conf.text);
	}
	fclose(file);
	return rc;
}

struct pulls *
pulls_new(const struct conf_list *list, const char *file, char *error, size_t error_size)
{
	struct pulls *all = calloc(1, sizeof(*all));
	struct conf_error conf;

	if (all == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < list->count; i++)
		if (pull_add(all, list->value[i], &conf) == -1) {
			snprintf(error, error_size, "%s", conf.text);
			goto fail;
		}
	if (file == NULL || pull_add_file(all, file, error, error_size) == 0)
		return all;
fail:
	pulls_free(all);
	return NULL;
}

/* The back-off, a quarter more or less, so that many do not come at once. */
static void
pull_schedule(struct pull *pull)
{
	unsigned ms = pull->backoff_ms * 3 / 4 + (unsigned)random() % (pull->backoff_ms / 2);
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	pull->backoff_ms = pull->backoff_ms * 2 < PULL_BACKOFF_MAX_MS ? pull->backoff_ms * 2 : PULL_BACKOFF_MAX_MS;
	event_add(pull->timer, &tv);
}

static void
pull_failed(struct pull *pull, const char *why)
{
	log_limited(&pull->limit, PULL_LOG_MS, LOG_LEVEL_WARN, "pull %s port %u: %s", pull->host, pull->port, why);
	pull_schedule(pull);
}

static const struct evutil_addrinfo *
pull_pick(struct pull *pull, const struct evutil_addrinfo *first)
{
	const struct evutil_addrinfo *ai;
	unsigned count = 0, turn;

	for (ai = first; ai != NULL; ai = ai->ai_next)
		count++;
	turn = pull->turn++ % count;
	for (ai = first; turn > 0; turn--)
		ai = ai->ai_next;
	return ai;
}

static void
pull_connect(struct pull *pull, const struct evutil_addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char name[PULL_HOST_SIZE + 32];

	if (fd == -1 || (connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno != EINPROGRESS)) {
		pull_failed(pull, strerror(errno));
		if (fd != -1)
			close(fd);
		return;
	}
	snprintf(name, sizeof(name), "pull %s port %u", pull->host, pull->port);
	pull->all->dialled(fd, pull->index, name, pull->all->arg);
}

static void
pull_resolved(int result, struct evutil_addrinfo *ai, void *arg)
{
	struct pull *pull = arg;

	pull->request = NULL;
	if (!pull->all->stopped) {
		if (result != 0 || ai == NULL)
			pull_failed(pull, evutil_gai_strerror(result));
		else
			pull_connect(pull, pull_pick(pull, ai));
	}
	if (ai != NULL)
		evutil_freeaddrinfo(ai);
}

/* resolv.conf is read each time: it changes, and a collector runs for long. */
static int
pull_open_dns(struct pull *pull)
{
	if (pull->dns != NULL)
		evdns_base_free(pull->dns, 0);
	if ((pull->dns = evdns_base_new(pull->all->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE)) == NULL)
		return -1;
	evdns_base_resolv_conf_parse(pull->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
	return 0;
}

static void
pull_dial(evutil_socket_t fd, short events, void *arg)
{
	const struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct pull *pull = arg;
	struct evdns_getaddrinfo_request *request;
	char service[8];

	(void)fd;
	(void)events;
	if (pull_open_dns(pull) == -1) {
		pull_failed(pull, "no memory for a look-up");
		return;
	}
	snprintf(service, sizeof(service), "%u", pull->port);
	request = evdns_getaddrinfo(pull->dns, pull->host, service, &hints, pull_resolved, pull);
	if (request != NULL)	/* NULL: pull_resolved() has been called already */
		pull->request = request;
}

int
pulls_start(struct pulls *all, struct event_base *base, pull_dialled *dialled, void *arg)
{
	const struct timeval now = { 0 };

	all->base = base;
	all->dialled = dialled;
	all->arg = arg;
	for (int i = 0; i < all->count; i++)
		if ((all->pull[i]->timer = evtimer_new(base, pull_dial, all->pull[i])) == NULL ||
		    event_add(all->pull[i]->timer, &now) == -1)
			return -1;
	return 0;
}

void
pulls_ended(struct pulls *all, int index, bool good)
{
	if (all->stopped || index < 0 || index >= all->count)
		return;
	if (good)
		all->pull[index]->backoff_ms = PULL_BACKOFF_MIN_MS;
	pull_schedule(all->pull[index]);
}

/* The end of a cancelled look-up comes later, from the loop. */
void
pulls_stop(struct pulls *all)
{
	all->stopped = true;
	for (int i = 0; i < all->count; i++) {
		event_del(all->pull[i]->timer);
		if (all->pull[i]->request != NULL)
			evdns_getaddrinfo_cancel(all->pull[i]->request);
	}
}

void
pulls_free(struct pulls *all)
{
	if (all == NULL)
		return;
	for (int i = 0; i < all->count; i++) {
		struct pull *pull = all->pull[i];

		if (pull->dns != NULL)
			evdns_base_free(pull->dns, 0);
		if (pull->timer != NULL)
			event_free(pull->timer);
		free(pull);
	}
	free(all->pull);
	free(all);
}
