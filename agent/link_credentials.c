/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_dial.h"
#include "agent/link_listen.h"
#include "common/clock.h"
#include "common/expiry.h"
#include "common/log.h"
#include "common/tls.h"
#include "proto/frame.h"

/* The files are opened by the supervisor and read anew when they change, before each call and each hour: a renewed certificate
 * needs no restart. */

#define RENEW_MS	3600000
#define RETRY_MS	60000	/* while there is none */

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
log_renewed(const struct link *link, const struct tls_context *tls)
{
	char when[CLOCK_ISO_SIZE];

	if (link->tls == NULL ||
	    memcmp(tls_context_fingerprint(link->tls), tls_context_fingerprint(tls), TLS_FINGERPRINT_SIZE) == 0)
		return;
	clock_iso((uint64_t)tls_context_not_after(tls) * 1000000000, when, sizeof(when));
	log_info("the certificate %s is a new one, which ends at %s", link->options.cert, when);
}

/* What stays wrong is said once, not at each call. */
static void
log_unusable(const struct link *link, const char *error)
{
	static char said[TLS_ERROR_SIZE];

	if (strcmp(said, error) != 0 && error[0] != '\0')
		log_error("%s%s", error, without(link));
	snprintf(said, sizeof(said), "%s", error);
}

static void
use_context(struct link *link, struct tls_context *tls)
{
	static struct expiry expiry;
	struct identity identity;
	const char *why = identity_refused(link, tls, &identity);

	if (why != NULL) {
		log_error("%s (\"%s\"): %s%s", link->options.cert, tls_context_uri(tls), why, without(link));
		tls_context_free(tls);
		return;
	}
	log_unusable(link, "");
	log_renewed(link, tls);
	tls_context_free(link->tls);
	link->tls = tls;
	link->own = identity;
	expiry_warn(&expiry, link->options.cert, "without a new one no collector will talk to this agent",
	    tls_context_not_after(tls), time(NULL));
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
		log_unusable(link, error);
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
