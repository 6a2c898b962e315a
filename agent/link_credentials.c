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
#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_renew.h"
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
	if (link->options.enroll != NULL)
		return "";		/* it is said what becomes of that */
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

/* One that is renewed by itself is spoken of only where that has failed for long. */
static void
warn_expiry(const struct link *link)
{
	static struct expiry expiry;

	if (renew_overdue(link))
		expiry_warn(&expiry, link->options.cert, "without a new one no collector will talk to this agent",
		    tls_context_not_after(link->tls), time(NULL));
}

/* What the collector said was said to another VM; what is in the spool is this machine's all the same. */
static void
note_identity(struct link *link, const struct identity *identity)
{
	bool another = link->own.uuid[0] != '\0' &&
	    (strcmp(identity->uuid, link->own.uuid) != 0 || strcmp(identity->tenant, link->own.tenant) != 0);

	link->own = *identity;
	if (another)
		policy_forget(&link->tap[0]);
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
	log_unusable(link, "");
	log_renewed(link, tls);
	tls_context_free(link->tls);
	link->tls = tls;
	note_identity(link, &identity);
	renew_credentials(link);
	warn_expiry(link);
}

/* NULL: none that could be used. */
static struct tls_context *
read_context(struct link *link, const struct ipc_message *message, char error[TLS_ERROR_SIZE])
{
	const struct tls_files files = {
		.ca_name = link->options.ca, .cert_name = link->options.cert, .key_name = link->options.key,
		.ca_fd = message->fd[0], .cert_fd = message->fd[1], .key_fd = message->fd[2],
	};
	struct tls_context *tls;

	snprintf(error, TLS_ERROR_SIZE, "the supervisor gave none");
	if (message->fd_count == 3) {
		tls = tls_context_new(&files, FRAME_ALPN, error);
		enroll_unusable(link, tls == NULL ? tls_certificate_end(files.cert_fd) : 0);
		return tls;
	}
	enroll_unusable(link, 0);
	if (message->length < TLS_ERROR_SIZE) {
		memcpy(error, message->payload, message->length);
		error[message->length] = '\0';
	}
	return NULL;
}

/* Who enrols has none at first, which is no error. */
static void
no_context(struct link *link, const struct ipc_message *message, const char *error)
{
	bool none = message->fd_count == 0 || enroll_standing(link) == STANDING_EXPIRED;

	if (link->options.enroll == NULL || !none)
		log_unusable(link, error);
}

void
credentials_receive(struct link *link, struct ipc_message *message)
{
	char error[TLS_ERROR_SIZE];
	struct tls_context *tls = read_context(link, message, error);

	if (tls == NULL)
		no_context(link, message, error);
	else if (enroll_gives_credentials(link))
		use_context(link, tls);
	else
		tls_context_free(tls);
	if (link->tls == NULL)
		link_timer_set(link->renew, RETRY_MS * LINK_MS);
	link->credentials_due = false;
	enroll_ready(link);
	listener_check(link->listener);
	dial_credentials(link->dial);
}

void
credentials_request(struct link *link)
{
	if (link->credentials_due || !agent_options_session(&link->options))
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
