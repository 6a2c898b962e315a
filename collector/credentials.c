/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "common/expiry.h"
#include "common/filewatch.h"
#include "common/log.h"
#include "common/tls.h"
#include "proto/frame.h"
#include "proto/identity.h"

#include "collector/collector.h"
#include "collector/credentials.h"

#define EXPIRY_CHECK_S	3600	/* what is said is said once a day all the same */

struct credentials {
	struct filewatch *files;	/* NULL: cannot be watched */
	struct event	*hourly;
	struct expiry	 expiry;
};

static int
credentials_check_role(const struct collector_options *options, const struct tls_context *tls, char *error, size_t error_size)
{
	struct identity identity;

	if (identity_parse(tls_context_uri(tls), tls_context_common_name(tls), &identity) == 0 && identity.role == ROLE_COLLECTOR)
		return 0;
	snprintf(error, error_size, "%s: not a collector's certificate (URI \"%s\"): make one with vmtap pki collector",
	    options->cert, tls_context_uri(tls));
	return -1;
}

/* What else is spoken on the port. */
static int
credentials_add_protocols(struct tls_context *tls, char *error, size_t error_size)
{
	if (tls_context_add_alpn(tls, FRAME_ALPN_CTL, 0) == 0 &&
	    tls_context_add_alpn(tls, FRAME_ALPN_ENROLL, TLS_ALPN_ANONYMOUS | TLS_ALPN_ROOT) == 0)
		return 0;
	snprintf(error, error_size, "out of memory");
	return -1;
}

int
credentials_load(struct collector *collector, struct tls_context *tls[], char *error, size_t error_size)
{
	const struct collector_options *options = &collector->options;
	char reason[TLS_ERROR_SIZE];
	unsigned i;

	for (i = 0; i < options->workers; i++) {
		if ((tls[i] = tls_context_load(options->ca, options->cert, options->key, FRAME_ALPN, reason)) == NULL) {
			snprintf(error, error_size, "%s", reason);
			goto fail;
		}
		if (credentials_check_role(options, tls[i], error, error_size) == 0 &&
		    credentials_add_protocols(tls[i], error, error_size) == 0)
			continue;
		i++;
		goto fail;
	}
	collector->not_after = tls_context_not_after(tls[0]);
	return 0;
fail:
	while (i-- > 0) {
		tls_context_free(tls[i]);
		tls[i] = NULL;
	}
	return -1;
}

static void
credentials_warn(struct collector *collector)
{
	expiry_warn(&collector->credentials->expiry, collector->options.cert, "without a new one no agent will talk to this collector",
	    collector->not_after, time(NULL));
}

/* That is no harm yet while what is in use is valid. */
static void
credentials_keep(const struct collector *collector, const char *error)
{
	if (collector->not_after > time(NULL))
		log_warn("reload: %s; the certificate before stays in use", error);
	else
		log_error("reload: %s; the certificate before has ended, and no agent will talk to this collector", error);
}

/* A key that does not fit its certificate yet is one of two files written one after the other: the second one calls again. */
static void
credentials_take(struct collector *collector)
{
	struct tls_context *tls[WORKERS_MAX];
	char error[TLS_ERROR_SIZE * 2];

	if (credentials_load(collector, tls, error, sizeof(error)) == -1) {
		credentials_keep(collector, error);
		return;
	}
	for (unsigned i = 0; i < collector->workers.count; i++) {
		struct note *note = note_new(NOTE_CREDENTIALS);

		note->tls = tls[i];
		mailbox_post(collector->workers.worker[i].inbox, note);
	}
	credentials_warn(collector);
}

static void
credentials_watch(struct collector *collector)
{
	const struct collector_options *options = &collector->options;
	const char *const path[] = { options->ca, options->cert, options->key };
	struct filewatch *files = collector->credentials->files;

	if (files == NULL || filewatch_set(files, path, sizeof(path) / sizeof(path[0])) == -1)
		log_warn("new credentials are taken at SIGHUP only, their files cannot be watched: %s", strerror(errno));
}

void
credentials_reload(struct collector *collector)
{
	credentials_watch(collector);
	credentials_take(collector);
}

static void
credentials_changed(void *arg)
{
	struct collector *collector = arg;

	if (collector->stopping)
		return;
	log_info("the credentials on disk have changed");
	credentials_take(collector);
}

static void
credentials_hourly(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	credentials_warn(arg);
}

int
credentials_start(struct collector *collector)
{
	static const struct timeval hour = { .tv_sec = EXPIRY_CHECK_S };
	struct credentials *credentials = collector->credentials = calloc(1, sizeof(*credentials));

	if (credentials == NULL ||
	    (credentials->hourly = event_new(collector->base, -1, EV_PERSIST, credentials_hourly, collector)) == NULL ||
	    event_add(credentials->hourly, &hour) == -1)
		return -1;
	credentials->files = filewatch_new(collector->base, credentials_changed, collector);
	credentials_watch(collector);
	credentials_warn(collector);
	return 0;
}

void
credentials_free(struct credentials *credentials)
{
	if (credentials == NULL)
		return;
	filewatch_free(credentials->files);
	if (credentials->hourly != NULL)
		event_free(credentials->hourly);
	free(credentials);
}
