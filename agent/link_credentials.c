/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_dial.h"
#include "agent/link_listen.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/tls.h"
#include "proto/frame.h"

/* The files are opened by the supervisor and read anew before each call and each hour: a renewed certificate needs no restart. */

#define DAY_S		86400
#define RENEW_MS	3600000
#define RETRY_MS	60000	/* while there is none */

/* Once a day from 30 days before the end: as information, as a warning from 7 days, as an error on the last day. */
static void
warn_expiry(struct link *link)
{
	static time_t said;
	time_t now = time(NULL), left = tls_context_not_after(link->tls) - now;
	char when[CLOCK_ISO_SIZE];

	if (left > 30 * DAY_S || (said != 0 && now >= said && now - said < DAY_S))
		return;
	said = now;
	clock_iso((uint64_t)tls_context_not_after(link->tls) * 1000000000, when, sizeof(when));
	if (left > 7 * DAY_S)
		log_info("the certificate %s ends in %lld days (%s)", link->options.cert, (long long)(left / DAY_S), when);
	else if (left > DAY_S)
		log_warn("the certificate %s ends in %lld days (%s): renew it", link->options.cert, (long long)(left / DAY_S), when);
	else
		log_error("the certificate %s ends at %s: without a new one no collector will talk to this agent", link->options.cert,
		    when);
}

/* NULL, or why this is not a certificate we can live with. */
static const char *
identity_refused(const struct link *link, const struct tls_context *tls, struct identity *identity)
{
	if (identity_parse(tls_context_uri(tls), tls_context_common_name(tls), identity) == -1)
		return "it names no vmtap role";
	if (identity->role != ROLE_AGENT)
		return "it is not an agent's";
	if (link->tls != NULL && (strcmp(identity->uuid, link->own.uuid) != 0 || strcmp(identity->tenant, link->own.tenant) != 0))
		return "it is of another VM than the one before: restart the agent if that is meant";
	return NULL;
}

static const char *
without(const struct link *link)
{
	return link->tls != NULL ? "; what was read before stays in use" : "; without it no session can be";
}

static void
use_context(struct link *link, struct tls_context *tls)
{
	struct identity identity;
	const char *why = identity_refused(link, tls, &identity);

	if (why != NULL) {
		log_error("%s (\"%s\"): %s%s", link->options.cert, tls_context_uri(tls), why, without(link));
		tls_context_free(tls);
		return;
	}
	tls_context_free(link->tls);
	link->tls = tls;
	link->own = identity;
	warn_expiry(link);
}

void
credentials_receive(struct link *link, struct ipc_message *message)
{
	struct tls_files files = {
		.ca_name = link->options.ca, .cert_name = link->options.cert, .key_name = link->options.key,
		.ca_fd = message->fd[0], .cert_fd = message->fd[1], .key_fd = message->fd[2],
	};
	struct tls_context *tls = NULL;
	char error[TLS_ERROR_SIZE] = "the supervisor gave none";

	if (message->fd_count == 3)
		tls = tls_context_new(&files, FRAME_ALPN, error);
	else if (message->length > 0 && message->length < sizeof(error)) {
		memcpy(error, message->payload, message->length);
		error[message->length] = '\0';
	}
	if (tls != NULL)
		use_context(link, tls);
	else
		log_error("%s%s", error, without(link));
	if (link->tls == NULL)
		link_timer_set(link->renew, RETRY_MS * LINK_MS);
	link->credentials_due = false;
	listener_check(link->listener);
	dial_credentials(link->dial);
}

void
credentials_request(struct link *link)
{
	if (link->credentials_due)
		return;
	link->credentials_due = ipc_send(link->supervisor, IPC_CREDENTIALS_REQUEST, NULL, 0, NULL, 0) == 0;
	if (link->credentials_due)
		return;
	log_error("cannot ask the supervisor for the credentials: %s", strerror(errno));
	link_timer_set(link->renew, RETRY_MS * LINK_MS);
}

static void
on_renew(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	(void)fd;
	(void)what;
	link_timer_set(link->renew, RENEW_MS * LINK_MS);
	credentials_request(link);
}

void
credentials_init(struct link *link)
{
	link->renew = link_timer_new(link, on_renew, link);
	link_timer_set(link->renew, 0);
}
