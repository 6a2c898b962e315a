/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/rpcap.h"
#include "agent/rpcap_server.h"
#include "common/log.h"
#include "common/tls.h"

/* The RPCAP server as a whole: what all clients share. */

bool
rpcap_wants_tls(const struct rpcap *r)
{
	return r->link->options.rpcap_cert != NULL;
}

/* --- what they need: TLS, passwords --- */

static bool
has_files(const struct agent_options *options)
{
	return options->rpcap_cert != NULL || options->rpcap_key != NULL || options->rpcap_ca != NULL ||
	    options->rpcap_passwords != NULL;
}

static void
warn_plain(struct rpcap *r)
{
	if (r->link->options.rpcap_plain && !r->said_plain)
		log_warn("RPCAP is served in plain text (--rpcap-plain): who sees it on its way sees passwords and all that is captured");
	r->said_plain = r->link->options.rpcap_plain;
}

void
rpcap_options(struct rpcap *r)
{
	struct conf_error error;

	if (r == NULL)
		return;
	if (rpcap_allow_read(&r->allow, &r->link->options.rpcap_allow, &error) == -1)
		log_error("%s; those before stay", error.text);
	warn_plain(r);
	rpcap_calls_start(r);
	rpcap_listener_check(r->listener);
}

/* The descriptors, by what they are of; -1: not among them. */
static void
sort_files(const struct ipc_message *message, int fd[RPCAP_FILES])
{
	unsigned bits = message->length == 1 ? message->payload[0] : 0;
	size_t next = 0;

	for (unsigned i = 0; i < RPCAP_FILES; i++)
		fd[i] = (bits & 1u << i) != 0 && next < message->fd_count ? message->fd[next++] : -1;
}

static void
use_tls(struct rpcap *r, const int fd[RPCAP_FILES])
{
	const struct agent_options *options = &r->link->options;
	const struct tls_files files = {
		.ca_name = options->rpcap_ca, .cert_name = options->rpcap_cert, .key_name = options->rpcap_key,
		.ca_fd = fd[RPCAP_FILE_CA], .cert_fd = fd[RPCAP_FILE_CERT], .key_fd = fd[RPCAP_FILE_KEY],
	};
	char error[TLS_ERROR_SIZE] = "the supervisor could not open it";
	struct tls_context *tls = NULL;

	if (options->rpcap_cert != NULL) {
		if (files.cert_fd != -1 && files.key_fd != -1 && (options->rpcap_ca == NULL || files.ca_fd != -1))
			tls = tls_context_new_foreign(&files, TLSIO_SERVER, error);
		if (tls == NULL) {
			log_error("RPCAP: %s: %s%s", options->rpcap_cert, error,
			    r->tls != NULL ? "; what was read before stays in use" : "; nobody can connect by TLS");
			return;
		}
	}
	tls_context_free(r->tls);
	r->tls = tls;
}

static void
use_passwords(struct rpcap *r, int fd)
{
	const char *name = r->link->options.rpcap_passwords;
	struct rpcap_passwords *passwords = NULL;

	if (name != NULL && fd != -1)
		passwords = rpcap_passwords_read(fd, name);
	if (name != NULL && passwords == NULL) {
		log_error("RPCAP: %s cannot be used%s", name,
		    r->passwords != NULL ? "; what was read before stays in use" : ": no password is right");
		return;
	}
	rpcap_passwords_free(r->passwords);
	r->passwords = passwords;
}

void
rpcap_files(struct rpcap *r, struct ipc_message *message)
{
	int fd[RPCAP_FILES];

	if (r == NULL)
		return;
	sort_files(message, fd);
	use_tls(r, fd);
	use_passwords(r, fd[RPCAP_FILE_PASSWORDS]);
	r->files_known = true;
	rpcap_listener_check(r->listener);
}

/* --- sockets of the supervisor's, one at a time --- */

static void
ask_next(struct rpcap *r)
{
	struct rpcap_wait *wait;

	while (!r->socket_due && (wait = TAILQ_FIRST(&r->waits)) != NULL) {
		if (link_ask_socket(r->link, wait->family, wait->type, LINK_RPCAP) == 0) {
			r->asked = wait;
			r->socket_due = true;
			return;
		}
		TAILQ_REMOVE(&r->waits, wait, entry);
		wait->queued = false;
		wait->came(-1, errno, wait->arg);
	}
}

void
rpcap_wait_socket(struct rpcap *r, struct rpcap_wait *wait)
{
	wait->queued = true;
	TAILQ_INSERT_TAIL(&r->waits, wait, entry);
	ask_next(r);
}

void
rpcap_wait_cancel(struct rpcap *r, struct rpcap_wait *wait)
{
	if (!wait->queued)
		return;
	TAILQ_REMOVE(&r->waits, wait, entry);
	wait->queued = false;
	if (r->asked == wait)
		r->asked = NULL;
}

void
rpcap_socket(struct rpcap *r, int fd, int error)
{
	struct rpcap_wait *wait = r != NULL ? r->asked : NULL;

	if (wait == NULL && fd != -1)
		close(fd);
	if (r == NULL)
		return;
	r->socket_due = false;
	r->asked = NULL;
	if (wait != NULL) {
		TAILQ_REMOVE(&r->waits, wait, entry);
		wait->queued = false;
		wait->came(fd, error, wait->arg);
	}
	ask_next(r);
}

/* --- for the capture role and the breaker --- */

static size_t
put_port(struct ipc_endpoint *out, size_t max, uint16_t port)
{
	if (max == 0 || port == 0)
		return 0;
	memset(out, 0, sizeof(*out));
	out->port = port;
	return 1;
}

size_t
rpcap_endpoints(const struct rpcap *r, struct ipc_endpoint *out, size_t max)
{
	const struct agent_options *options;
	const struct rpcap_client *client;
	struct conf_error error;
	size_t count = 0, i;
	char host[256];
	uint16_t port;

	if (r == NULL)
		return 0;
	options = &r->link->options;
	for (i = 0; i < options->rpcap_listens.count; i++)
		if (conf_host_port(options->rpcap_listens.value[i], RPCAP_PORT, host, sizeof(host), &port, &error) == 0)
			count += put_port(out + count, max - count, port);
	count += put_port(out + count, max - count, (uint16_t)options->rpcap_data_port);
	TAILQ_FOREACH(client, &r->clients, entry)
		count += rpcap_capture_endpoints(client->capture, out + count, max - count);
	return count + rpcap_calls_endpoints(r, out + count, max - count);
}

uint64_t
rpcap_count_bytes(struct rpcap *r)
{
	uint64_t bytes = r != NULL ? r->counted_bytes : 0;

	if (r != NULL)
		r->counted_bytes = 0;
	return bytes;
}

uint64_t
rpcap_unsent(const struct rpcap *r)
{
	const struct rpcap_client *client;
	uint64_t bytes = 0;

	if (r == NULL)
		return 0;
	TAILQ_FOREACH(client, &r->clients, entry)
		bytes += rpcap_capture_unsent(client->capture);
	return bytes;
}

void
rpcap_hold(struct rpcap *r, bool held)
{
	struct rpcap_client *client;

	if (r == NULL || r->held == held)
		return;
	r->held = held;
	TAILQ_FOREACH(client, &r->clients, entry)
		rpcap_capture_hold(client->capture, held);
}

void
rpcap_taps_answered(struct rpcap *r)
{
	struct rpcap_client *client;

	if (r == NULL)
		return;
	TAILQ_FOREACH(client, &r->clients, entry)
		rpcap_capture_answered(client->capture);
	rpcap_calls_answered(r);
	rpcap_listener_check(r->listener);
}

/* OPEN asked it for a link type. */
void
rpcap_capture_is_new(struct rpcap *r)
{
	struct rpcap_client *client;

	if (r == NULL)
		return;
	TAILQ_FOREACH(client, &r->clients, entry) {
		rpcap_capture_restart(client->capture);
		if (client->awaited == RPCAP_OPEN)
			rpcap_client_refuse(client, RPCAP_ERR_OPEN, "capturing has just been restarted; try again");
	}
	rpcap_taps_answered(r);
}

/* --- life --- */

void
rpcap_log(const struct rpcap *r)
{
	const struct rpcap_client *client;

	if (r == NULL)
		return;
	log_info("RPCAP: %llu connections accepted, %llu refused; %llu packets sent, %llu lost, %llu bytes sent",
	    (unsigned long long)r->accepted, (unsigned long long)r->refused, (unsigned long long)r->packets_sent,
	    (unsigned long long)r->packets_lost, (unsigned long long)r->bytes_sent);
	TAILQ_FOREACH(client, &r->clients, entry) {
		log_info("RPCAP client %s%s%s%s%s", client->name, client->tls ? ", TLS" : "",
		    client->authenticated ? "" : ", unauthenticated", client->source[0] != '\0' ? ", " : "", client->source);
		rpcap_capture_log(client->capture);
	}
}

void
rpcap_stop(struct rpcap *r)
{
	struct rpcap_client *client;

	if (r == NULL || r->stopping)
		return;
	r->stopping = true;
	rpcap_listener_check(r->listener);
	TAILQ_FOREACH(client, &r->clients, entry) {
		rpcap_client_tell(client, RPCAP_ERR_NETW, "the agent shuts down");
		rpcap_client_close(client, "the agent shuts down");
	}
	rpcap_calls_stop(r);
}

bool
rpcap_done(const struct rpcap *r)
{
	return r == NULL || TAILQ_EMPTY(&r->clients);
}

struct rpcap *
rpcap_new(struct link *link)
{
	struct rpcap *r;

	if (!agent_options_rpcap(&link->options))
		return NULL;
	if ((r = calloc(1, sizeof(*r))) == NULL)
		fatal("out of memory");
	r->link = link;
	TAILQ_INIT(&r->clients);
	TAILQ_INIT(&r->waits);
	r->files_known = !has_files(&link->options);
	r->listener = rpcap_listener_new(r);
	return r;
}

void
rpcap_free(struct rpcap *r)
{
	struct rpcap_client *client;

	if (r == NULL)
		return;
	r->stopping = true;
	rpcap_calls_stop(r);
	while ((client = TAILQ_FIRST(&r->clients)) != NULL)
		rpcap_client_free(client);
	rpcap_listener_free(r->listener);
	rpcap_passwords_free(r->passwords);
	tls_context_free(r->tls);
	free(r);
}
