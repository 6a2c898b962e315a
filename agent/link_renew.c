/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "agent/link_enroll.h"
#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "common/buf.h"
#include "common/log.h"

#define LOOK_S		3600		/* wall clocks are set, guests are suspended: look again this often */
#define RETRY_MAX_S	3600
#define RETRY_PART	20		/* of the certificate's life */
#define SPREAD_PART	10		/* of it, in which all agents of a day come one by one */
#define TEXT_MAX	(MSG_CHAIN_MAX * 6000u + 4096)

/* --- when --- */

static time_t
life_of(const struct renew *r)
{
	time_t life = tls_context_not_after(r->link->tls) - r->begin;

	return life > 0 ? life : 1;
}

static void
look_later(struct renew *r)
{
	time_t left = r->due - time(NULL);

	if (r->due == 0)
		event_del(r->timer);
	else
		link_timer_set(r->timer, (uint64_t)(left < 0 ? 0 : left < LOOK_S ? left : LOOK_S) * 1000 * LINK_MS);
}

static void
try_later(struct renew *r)
{
	time_t wait = r->link->tls != NULL ? life_of(r) / RETRY_PART : RETRY_MAX_S;

	tls_key_free(r->key);
	r->key = NULL;
	r->asked = NULL;
	r->storing = false;
	if (r->due == 0)
		return;
	r->due = time(NULL) + (wait < 1 ? 1 : wait < RETRY_MAX_S ? wait : RETRY_MAX_S);
	look_later(r);
}

static void
failed(struct renew *r, const char *what, const char *why)
{
	log_warn("the certificate is not renewed yet: %s%s", what, why);
	try_later(r);
}

/* --- asking --- */

static void
ask(struct renew *r, struct session *s)
{
	struct msg_renew msg;
	struct buf csr;

	buf_init(&csr, MSG_CERTIFICATE_MAX);
	if ((r->key = tls_key_new()) == NULL || tls_key_request(r->key, &csr) == -1)
		failed(r, "no key can be made", "");
	else {
		log_debug("%s: asking for the next certificate", s->name);
		r->asked = s;
		msg.csr = csr.data;
		msg.csr_len = csr.len;
		session_put(s, msg_put_renew(&s->sender.control, &msg));
	}
	buf_clear(&csr);
}

/* At the next session, if there is none. */
static void
review(struct renew *r)
{
	struct session *s = r->link->tap[0].session;

	if (r->due == 0 || r->asked != NULL || r->storing || r->link->stopping || enroll_standing(r->link) != STANDING_VALID)
		return;
	if (time(NULL) < r->due)
		look_later(r);
	else if (s != NULL && s->state == SESSION_LIVE)
		ask(r, s);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	review(arg);
}

/* --- the answer --- */

static int
check_same(const struct link *link, const struct tls_granted *granted, char *why)
{
	struct identity identity;

	if (identity_parse(granted->uri, granted->common_name, &identity) == 0 && identity.role == ROLE_AGENT &&
	    strcmp(identity.uuid, link->own.uuid) == 0 && strcmp(identity.tenant, link->own.tenant) == 0)
		return 0;
	snprintf(why, TLS_ERROR_SIZE, "the certificate is another VM's");
	return -1;
}

static void
take(struct renew *r, const struct session *s, const struct msg_certificate *msg)
{
	struct tls_der chain[MSG_CHAIN_MAX];
	struct tls_granted granted;
	char why[TLS_ERROR_SIZE] = "out of memory";
	struct buf text, root;

	for (size_t i = 0; i < msg->count; i++)
		chain[i] = (struct tls_der){ msg->certificate[i].der, msg->certificate[i].len };
	buf_init(&text, TEXT_MAX);
	buf_init(&root, TEXT_MAX);
	if (buf_reserve(&text, TEXT_MAX) == 0 && tls_key_put(r->key, &text) == 0 && tlsio_peer_root(s->io, &root) == 0 &&
	    tls_key_granted(r->key, chain, msg->count, root.data, root.len, &granted, &text, why) == 0 &&
	    check_same(r->link, &granted, why) == 0 &&
	    ipc_send_store(r->link->supervisor, STORE_RENEWED, text.data, text.len) == 0) {
		r->asked = NULL;
		r->storing = true;
	} else
		failed(r, "", why);
	buf_wipe(&text);
	buf_clear(&root);
}

int
renew_certificate(struct session *s, const struct msg_certificate *msg)
{
	struct renew *r = s->link->renewal;
	char why[MSG_TEXT_SIZE];

	if (r == NULL || r->asked != s)
		return -1;
	if (msg->reason[0] == '\0')
		take(r, s, msg);
	else {
		log_escape(why, sizeof(why), msg->reason);
		failed(r, "the collector refuses: ", why);
	}
	return 0;
}

/* CREDENTIALS follow. */
void
renew_stored(struct link *link, int error)
{
	struct renew *r = link->renewal;

	if (r == NULL || !r->storing)
		return;
	if (error != 0)
		failed(r, "the state folder cannot keep it: ", strerror(error));
	else {
		renew_granted(link);
		try_later(r);
	}
}

/* --- from outside --- */

void
renew_granted(struct link *link)
{
	if (link->renewal != NULL)
		link->renewal->granted = time(NULL);
}

void
renew_managed(struct link *link)
{
	if (link->renewal == NULL)
		return;
	memset(link->renewal->certificate, 0, sizeof(link->renewal->certificate));
	link->renewal->due = 0;
}

bool
renew_overdue(const struct link *link)
{
	const struct renew *r = link->renewal;

	return r == NULL || r->due == 0 || time(NULL) > tls_context_not_after(link->tls) - life_of(r) / 4;
}

void
renew_credentials(struct link *link)
{
	struct renew *r = link->renewal;
	time_t life;

	if (r == NULL || memcmp(r->certificate, tls_context_fingerprint(link->tls), sizeof(r->certificate)) == 0)
		return;
	memcpy(r->certificate, tls_context_fingerprint(link->tls), sizeof(r->certificate));
	r->begin = r->granted != 0 ? r->granted : tls_context_not_before(link->tls);
	r->granted = 0;
	life = life_of(r);
	r->due = link->options.enroll == NULL ? 0 : r->begin + life / 2 + (time_t)link_random((uint64_t)(life / SPREAD_PART + 1));
	review(r);
}

void
renew_session_live(struct link *link)
{
	if (link->renewal != NULL)
		review(link->renewal);
}

void
renew_session_ended(struct link *link, const struct session *s)
{
	struct renew *r = link->renewal;

	if (r != NULL && r->asked == s)
		failed(r, "the session ended before the collector's answer", "");
}

struct renew *
renew_new(struct link *link)
{
	struct renew *r = calloc(1, sizeof(*r));

	if (r == NULL)
		fatal("out of memory");
	r->link = link;
	r->timer = link_timer_new(link, on_timer, r);
	return r;
}

void
renew_free(struct renew *r)
{
	if (r == NULL)
		return;
	event_free(r->timer);
	tls_key_free(r->key);
	free(r);
}
