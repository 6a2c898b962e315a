/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/link.h"
#include "agent/rpcap.h"
#include "agent/rpcap_server.h"
#include "common/clock.h"
#include "common/log.h"

#define AUTH_MAX	(8u + 2u * RPCAP_TEXT_SIZE)	/* a longer name is nobody's, a longer password no hash's */
#define SAMPLING_SIZE	8u
#define USER_SIZE	256u

/* --- before all else --- */

static void
check_password(struct rpcap_client *client, const struct rpcap_auth *auth)
{
	char user[USER_SIZE];
	size_t len = auth->user_len < sizeof(user) ? auth->user_len : sizeof(user) - 1;
	const struct rpcap_passwords *passwords = client->server->passwords;
	uint64_t begin_ns = clock_mono_ns();
	bool right = rpcap_passwords_match(passwords, auth->user, auth->user_len, auth->password, auth->password_len);

	memcpy(user, auth->user, len);
	user[len] = '\0';
	if (right)
		rpcap_client_ready(client, user);
	else
		rpcap_client_wrong(client, user, clock_mono_ns() - begin_ns);
	explicit_bzero(user, sizeof(user));
}

static void
request_auth(struct rpcap_client *client, struct cursor *payload)
{
	struct rpcap_auth auth;

	if (rpcap_get_auth(payload, &auth) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_AUTH, "malformed authentication, or one that is too long");
	else if (auth.type == RPCAP_AUTH_PASSWORD)
		check_password(client, &auth);
	else if (auth.type != RPCAP_AUTH_NULL)
		rpcap_client_refuse(client, RPCAP_ERR_AUTH_TYPE_NOTSUP, "authentication of type %u is not known here", auth.type);
	else if (client->server->link->options.rpcap_null_auth)
		rpcap_client_ready(client, NULL);
	else
		rpcap_client_refuse(client, RPCAP_ERR_AUTH_FAILED, "a password is needed: NULL authentication is not permitted");
}

/* No answer. */
static void
request_error(struct rpcap_client *client, struct cursor *payload)
{
	static struct log_limit limit;
	char text[RPCAP_TEXT_SIZE], escaped[RPCAP_TEXT_SIZE];

	(void)rpcap_get_text(payload, text, sizeof(text));
	log_escape(escaped, sizeof(escaped), text);
	log_limited(&limit, 10000, LOG_LEVEL_WARN, "RPCAP client %s reports: %s", client->name, escaped);
	client->awaited = 0;
}

static void
request_close(struct rpcap_client *client, struct cursor *payload)
{
	(void)payload;
	client->asked_to_close = true;
	rpcap_client_close(client, "it asked for that");
}

/* --- interfaces --- */

static void
request_findallif(struct rpcap_client *client, struct cursor *payload)
{
	char error[RPCAP_TEXT_SIZE];
	enum rpcap_error code;
	struct buf msg;

	(void)payload;
	buf_init(&msg, RPCAP_INTERFACES_MAX);
	if (rpcap_put_interfaces(client->server->link, &msg, client->version, &code, error) == 0)
		rpcap_client_answer(client, &msg);
	else
		rpcap_client_refuse(client, code, "%s", error);
	buf_clear(&msg);
}

static void
ask_linktype(struct rpcap_client *client, const struct netif *netif)
{
	struct rpcap *r = client->server;
	struct ipc_linktype ask = { .ticket = ++r->tickets, .ifindex = netif->tap.ifindex };

	memcpy(ask.name, netif->tap.name, sizeof(ask.name));
	if (r->link->capture == NULL)
		rpcap_client_refuse(client, RPCAP_ERR_OPEN, "capturing is being restarted; try again");
	else if (ipc_send_linktype(r->link->capture, IPC_LINKTYPE_REQUEST, &ask) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_OPEN, "cannot ask for the interface: %s", strerror(errno));
	else
		client->ticket = ask.ticket;
}

/* The name is kept when it is known to open; until then the one before holds. */
static void
request_open(struct rpcap_client *client, struct cursor *payload)
{
	char source[RPCAP_TEXT_SIZE], escaped[RPCAP_TEXT_SIZE];
	const struct netif *netif = NULL;

	if (rpcap_get_text(payload, source, sizeof(source)) == 0)
		netif = rpcap_find_interface(client->server->link, source);
	if (netif != NULL) {
		ask_linktype(client, netif);
		return;
	}
	log_escape(escaped, sizeof(escaped), source);
	rpcap_client_refuse(client, RPCAP_ERR_OPEN, "%.64s: there is no such interface here, or it may not be captured", escaped);
}

static void
opened(struct rpcap_client *client, const struct ipc_linktype *answer)
{
	const struct rpcap_open_reply reply = { .linktype = (uint32_t)answer->linktype };
	struct buf msg;

	if (answer->linktype < 0) {
		rpcap_client_refuse(client, RPCAP_ERR_OPEN, "%s: %s", answer->name, answer->reason);
		return;
	}
	memcpy(client->source, answer->name, sizeof(client->source));
	client->ifindex = answer->ifindex;
	buf_init(&msg, RPCAP_TEXT_SIZE);
	if (rpcap_put_open_reply(&msg, client->version, &reply) == 0)
		rpcap_client_answer(client, &msg);
	else
		rpcap_client_refuse(client, RPCAP_ERR_OPEN, "out of memory");
}

void
rpcap_linktype(struct rpcap *r, const struct ipc_linktype *answer)
{
	struct rpcap_client *client;

	if (r == NULL)
		return;
	TAILQ_FOREACH(client, &r->clients, entry)
		if (client->awaited == RPCAP_OPEN && client->ticket == answer->ticket) {
			opened(client, answer);
			return;
		}
}

/* --- captures --- */

static void
request_startcap(struct rpcap_client *client, struct cursor *payload)
{
	char error[RPCAP_TEXT_SIZE];
	struct rpcap_startcap startcap;
	struct rpcap_filter filter;

	if (client->source[0] == '\0')
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "no interface was opened before");
	else if (client->capture != NULL)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "a capture is running already");
	else if (rpcap_get_startcap(payload, &startcap) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "malformed request");
	else if (rpcap_get_filter(payload, &filter, error) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "the filter is refused: %s", error);
	else
		rpcap_capture_start(client, &startcap, &filter);
}

static void
request_updatefilter(struct rpcap_client *client, struct cursor *payload)
{
	char error[RPCAP_TEXT_SIZE];
	struct rpcap_filter filter;

	if (client->capture == NULL)
		rpcap_client_refuse(client, RPCAP_ERR_UPDATEFILTER, "no capture is running");
	else if (rpcap_get_filter(payload, &filter, error) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_UPDATEFILTER, "the filter is refused: %s", error);
	else
		rpcap_capture_filter(client, &filter);
}

/* Without a capture: of the one that ended before. */
static void
request_stats(struct rpcap_client *client, struct cursor *payload)
{
	struct buf msg;

	(void)payload;
	if (client->capture != NULL) {
		rpcap_capture_stats(client);
		return;
	}
	buf_init(&msg, RPCAP_TEXT_SIZE);
	if (rpcap_put_stats_reply(&msg, client->version, &client->last) == 0)
		rpcap_client_answer(client, &msg);
	else
		rpcap_client_refuse(client, RPCAP_ERR_GETSTATS, "out of memory");
}

static void
request_endcap(struct rpcap_client *client, struct cursor *payload)
{
	(void)payload;
	if (client->capture != NULL)
		rpcap_capture_end(client);
	else
		rpcap_client_refuse(client, RPCAP_ERR_ENDCAPTURE, "no capture is running");
}

static void
request_setsampling(struct rpcap_client *client, struct cursor *payload)
{
	struct rpcap_sampling sampling;
	struct buf msg;

	if (rpcap_get_sampling(payload, &sampling) == -1 || sampling.method > RPCAP_SAMPLE_AFTER_N_MS ||
	    (sampling.method == RPCAP_SAMPLE_1_EVERY_N && sampling.value == 0)) {
		rpcap_client_refuse(client, RPCAP_ERR_SETSAMPLING, "malformed request, or a method that is not known here");
		return;
	}
	buf_init(&msg, RPCAP_TEXT_SIZE);
	if (rpcap_put_empty(&msg, client->version, RPCAP_SETSAMPLING | RPCAP_REPLY) == 0) {
		client->sampling = sampling;
		rpcap_client_answer(client, &msg);
	} else
		rpcap_client_refuse(client, RPCAP_ERR_SETSAMPLING, "out of memory");
}

const struct rpcap_request rpcap_requests[RPCAP_TYPE_MAX] = {
	[RPCAP_ERROR] = { request_error, RPCAP_TEXT_SIZE },
	[RPCAP_FINDALLIF] = { request_findallif, 0 },
	[RPCAP_OPEN] = { request_open, RPCAP_TEXT_SIZE },
	[RPCAP_STARTCAP] = { request_startcap, RPCAP_REQUEST_MAX },
	[RPCAP_UPDATEFILTER] = { request_updatefilter, RPCAP_REQUEST_MAX },
	[RPCAP_CLOSE] = { request_close, 0 },
	[RPCAP_AUTH] = { request_auth, AUTH_MAX },
	[RPCAP_STATS] = { request_stats, 0 },
	[RPCAP_ENDCAP] = { request_endcap, 0 },
	[RPCAP_SETSAMPLING] = { request_setsampling, SAMPLING_SIZE },
};
