/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

#include "common/conf.h"
#include "common/log.h"
#include "proto/frame.h"

#include "collector/pull.h"
#include "collector/rpcap_url.h"

#define PULL_HOST_SIZE		256
#define PULL_BACKOFF_MIN_MS	1000u
#define PULL_BACKOFF_MAX_MS	60000u
#define PULL_LOG_MS		60000u
#define PULL_LINE_SIZE		2048

struct pull {
	struct pulls		*all;
	int			 index;
	char			 host[PULL_HOST_SIZE];
	uint16_t		 port;
	struct rpcap_url	*rpcap;		/* NULL: an agent */
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
	bool			 rpcap_plain;
	const struct conf_list	*tenants;
	pull_dialled		*dialled;
	void			*arg;
};

static bool
pull_is_tenant(const struct conf_list *tenants, const char *name)
{
	for (size_t i = 0; i < tenants->count; i++)
		if (strcmp(tenants->value[i], name) == 0)
			return true;
	return tenants->count == 0;
}

/* One that names none is of the collector's only one. */
static int
pull_set_tenant(const struct pulls *all, struct rpcap_url *url, struct conf_error *error)
{
	if (url->tenant[0] == '\0' && all->tenants->count > 1) {
		conf_error_set(error, "%.300s: which tenant's? Put TENANT/NAME= before it", url->label);
		return -1;
	}
	if (url->tenant[0] == '\0')
		snprintf(url->tenant, sizeof(url->tenant), "%s", all->tenants->count == 1 ? all->tenants->value[0] : PULL_RPCAP_TENANT);
	if (pull_is_tenant(all->tenants, url->tenant))
		return 0;
	conf_error_set(error, "%.300s: this collector does not take VMs of tenant %s", url->label, url->tenant);
	return -1;
}

/* A second connection would bring all of it twice. */
static int
pull_check_other(const struct pulls *all, const struct rpcap_url *url, struct conf_error *error)
{
	for (int i = 0; i < all->count; i++)
		if (all->pull[i]->rpcap != NULL && rpcap_url_same(all->pull[i]->rpcap, url)) {
			conf_error_set(error, "%.300s: the same interface twice", url->label);
			return -1;
		}
	return 0;
}

static bool
pull_belong(const struct rpcap_url *a, const struct rpcap_url *b)
{
	return strcasecmp(a->host, b->host) == 0 || (strcmp(a->tenant, b->tenant) == 0 && strcmp(a->name, b->name) == 0);
}

/* What belongs to the new one becomes a group with it. */
static void
pull_set_group(const struct pulls *all, struct rpcap_url *url)
{
	url->group = (unsigned)all->count;
	for (int i = 0; i < all->count; i++) {
		const struct rpcap_url *other = all->pull[i]->rpcap;
		unsigned group;

		if (other == NULL || other->group == url->group || !pull_belong(other, url))
			continue;
		group = other->group;
		for (int j = 0; j < all->count; j++)
			if (all->pull[j]->rpcap != NULL && all->pull[j]->rpcap->group == group)
				all->pull[j]->rpcap->group = url->group;
	}
}

static int
pull_parse_rpcap(const struct pulls *all, const char *text, struct pull *pull, struct conf_error *error)
{
	char why[RPCAP_URL_ERROR_SIZE];

	if ((pull->rpcap = calloc(1, sizeof(*pull->rpcap))) == NULL) {
		conf_error_set(error, "out of memory");
		return -1;
	}
	if (rpcap_url_parse(text, pull->rpcap, why) == -1) {
		conf_error_set(error, "pull: %s", why);
		return -1;
	}
	memcpy(pull->host, pull->rpcap->host, sizeof(pull->host));
	pull->port = pull->rpcap->port;
	if (pull_set_tenant(all, pull->rpcap, error) == -1 || pull_check_other(all, pull->rpcap, error) == -1)
		return -1;
	pull_set_group(all, pull->rpcap);
	return 0;
}

static int
pull_parse(const struct pulls *all, const char *text, struct pull *pull, struct conf_error *error)
{
	if (rpcap_url_is(text))
		return pull_parse_rpcap(all, text, pull, error);
	return conf_host_port(text, FRAME_PORT, pull->host, sizeof(pull->host), &pull->port, error);
}

static void
pull_free(struct pull *pull)
{
	if (pull->dns != NULL)
		evdns_base_free(pull->dns, 0);
	if (pull->timer != NULL)
		event_free(pull->timer);
	if (pull->rpcap != NULL)
		explicit_bzero(pull->rpcap, sizeof(*pull->rpcap));
	free(pull->rpcap);
	free(pull);
}

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
	if (pull_parse(all, text, pull, error) == -1) {
		pull_free(pull);
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
	char line[PULL_LINE_SIZE], *text;
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
	explicit_bzero(line, sizeof(line));
	fclose(file);
	return rc;
}

struct pulls *
pulls_new(const struct pull_settings *settings, char *error, size_t error_size)
{
	const struct conf_list *list = settings->list;
	struct pulls *all = calloc(1, sizeof(*all));
	struct conf_error conf;

	if (all == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	all->tenants = settings->tenants;
	all->rpcap_plain = settings->rpcap_plain;
	for (size_t i = 0; i < list->count; i++)
		if (pull_add(all, list->value[i], &conf) == -1) {
			snprintf(error, error_size, "%s", conf.text);
			goto fail;
		}
	if (settings->file == NULL || pull_add_file(all, settings->file, error, error_size) == 0)
		return all;
fail:
	pulls_free(all);
	return NULL;
}

bool
pulls_need_tls(const struct pulls *all)
{
	for (int i = 0; i < all->count; i++)
		if (all->pull[i]->rpcap != NULL && all->pull[i]->rpcap->tls)
			return true;
	return false;
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

static bool
pull_is_loopback(const struct sockaddr *address)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;

	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET);
}

/* What goes in plain text to another host is read by whoever is between. */
static bool
pull_may_speak(const struct pull *pull, const struct sockaddr *address)
{
	return pull->rpcap == NULL || pull->rpcap->tls || !pull->rpcap->has_user || pull->all->rpcap_plain || pull_is_loopback(address);
}

static void
pull_connect(struct pull *pull, const struct evutil_addrinfo *ai)
{
	int fd;
	char name[PULL_HOST_SIZE + 32];

	if (!pull_may_speak(pull, ai->ai_addr)) {
		pull_failed(pull, "the password would be sent in plain text: use rpcaps://, or allow it with --rpcap-plain");
		return;
	}
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1 || (connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno != EINPROGRESS)) {
		pull_failed(pull, strerror(errno));
		if (fd != -1)
			close(fd);
		return;
	}
	snprintf(name, sizeof(name), "pull %s port %u", pull->host, pull->port);
	pull->all->dialled(fd, pull->index, name, pull->rpcap, pull->all->arg);
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
	for (int i = 0; i < all->count; i++)
		pull_free(all->pull[i]);
	free(all->pull);
	free(all);
}
