/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/tls.h"

#include "collector/counts.h"
#include "collector/ctl.h"
#include "collector/session.h"
#include "collector/worker.h"

/* A connection whose peer wants control: an operator's, or refused. */

static void
operator_right(const char *uri, void *arg)
{
	rights_add_uri(arg, uri);
}

/* 0, or -1 with why. A list of rights that is too long for us is none: what is left out could be what it is about. */
static int
operator_read(const struct session *session, struct ctl_operator *operator, char *why, size_t why_size)
{
	const char *uri = tlsio_peer_uri(session->tls);
	struct rights *rights = &operator->rights;

	if (identity_parse(uri, tlsio_peer_common_name(session->tls), &operator->identity) == -1)
		snprintf(why, why_size, "the certificate says nothing vmtap understands: URI \"%.100s\"", uri);
	else if (operator->identity.role != ROLE_OPERATOR)
		snprintf(why, why_size, "an operator's certificate is needed here, this one is of role %s",
		    identity_role_name(operator->identity.role));
	else if (tlsio_peer_uris(session->tls, RIGHTS_SCHEME, operator_right, rights) == -1)
		snprintf(why, why_size, "the certificate names more rights than %d", TLS_URIS_MAX);
	else if (rights->all == 0 && rights->count == 0)
		snprintf(why, why_size, "the certificate gives no rights at a collector: vmtap pki operator --rights does");
	else
		return 0;
	return -1;
}

static void
operator_refuse(struct session *session, const char *why)
{
	char *line = ctl_refusal(why);

	count_add(COUNT_OPERATORS_REFUSED, 1);
	log_limited(&session->worker->fault_limit, SESSION_LOG_MS, LOG_LEVEL_WARN, "%s: control refused: %s", session->address, why);
	if (line != NULL)
		tlsio_write(session->tls, line, strlen(line));
	free(line);
	session_close(session, why);
}

void
session_operator(struct session *session)
{
	struct ctl_operator *operator = calloc(1, sizeof(*operator));
	struct mailbox *main_box = session->worker->all->main;
	char why[512] = "out of memory";
	struct note *note;

	if (operator == NULL || operator_read(session, operator, why, sizeof(why)) == -1) {
		free(operator);
		operator_refuse(session, why);
		return;
	}
	log_info("%s: operator %s of tenant %s", session->address, operator->identity.name, operator->identity.tenant);
	tlsio_detach(session->tls);
	operator->io = session->tls;
	session->tls = NULL;
	session_free(session);
	note = note_new(NOTE_OPERATOR);
	note->operator = operator;
	mailbox_post(main_box, note);
}
