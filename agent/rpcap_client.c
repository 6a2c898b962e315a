/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/rpcap_server.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/tls.h"

/*
 * A control connection: its first byte tells TLS from plain text, then come messages, one at a time. What cannot be taken yet waits
 * in the input, which is bounded; then TCP's window closes.
 */

#define INPUT_MAX	(RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX)
#define MESSAGES_BUDGET	16		/* taken before others have their turn, */
#define TIME_BUDGET_MS	5		/* or for so long: where there are many interfaces a list of them takes its time */
#define QUEUED_MAX	(64u * 1024)	/* of answers not read: no further request is looked at */
#define LINGER_MS	2000
#define TLS_HANDSHAKE	0x16		/* the first byte of a TLS record of this kind, */
#define TLS_ALERT	0x15
#define TLS_FATAL	2
#define TLS_HANDSHAKE_FAILURE 40
#define ALIVE_IDLE_S	60		/* TCP's keepalive: a capture may have nothing to say for days */
#define ALIVE_EACH_S	15
#define ALIVE_COUNT	4

static const char *const refusals[] = {
	[REFUSAL_NO_TLS] = "TLS is not served here",
	[REFUSAL_TLS_REQUIRED] = "TLS is required by this server",
	[REFUSAL_PLAIN] = "plain text is refused: this server allows it over loopback only",
};

/* --- what we say --- */

static void
give_up(struct rpcap_client *client)
{
	client->state = CLIENT_CLOSING;
	event_del(client->first);
	link_timer_set(client->timer, 0);	/* freed from there */
}

static void
send_message(struct rpcap_client *client, struct buf *msg, int errs)
{
	if (errs != 0)
		rpcap_client_close(client, "out of memory");
	else if (tlsio_write(client->control, msg->data, msg->len) == -1)
		rpcap_client_close(client, errno == ENOBUFS ? "it does not read its answers" : strerror(errno));
	else
		client->server->counted_bytes += msg->len;
	buf_clear(msg);
}

static void
send_error(struct rpcap_client *client, uint8_t version, enum rpcap_error code, const char *text)
{
	struct buf msg;

	buf_init(&msg, RPCAP_HEADER_SIZE + RPCAP_TEXT_SIZE);
	send_message(client, &msg, rpcap_put_error(&msg, version, code, text));
}

void
rpcap_client_tell(struct rpcap_client *client, enum rpcap_error code, const char *text)
{
	if (client->state == CLIENT_READY)
		send_error(client, RPCAP_VERSION, code, text);
}

void
rpcap_client_close(struct rpcap_client *client, const char *why)
{
	if (client->state == CLIENT_CLOSING)
		return;
	if (client->control == NULL) {
		give_up(client);
		return;
	}
	client->state = CLIENT_CLOSING;
	event_del(client->timer);
	tlsio_shutdown(client->control, why, LINGER_MS);
}

/* The request that was awaited has its answer. */
static void
go_on(struct rpcap_client *client)
{
	client->awaited = 0;
	link_timer_set(client->next, 0);
}

void
rpcap_client_answer(struct rpcap_client *client, struct buf *msg)
{
	if (client->state == CLIENT_CLOSING) {
		buf_clear(msg);
		return;
	}
	send_message(client, msg, 0);
	go_on(client);
}

void
rpcap_client_refuse(struct rpcap_client *client, enum rpcap_error code, const char *format, ...)
{
	char text[RPCAP_TEXT_SIZE];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (client->state == CLIENT_CLOSING)
		return;
	log_debug("RPCAP client %s: a message of type %u is refused: %s", client->name, client->awaited, text);
	send_error(client, client->version, code, text);
	go_on(client);
}

/* One that we called may take its time. */
static void
set_timer(struct rpcap_client *client, uint64_t ms)
{
	if (client->call == NULL)
		link_timer_set(client->timer, ms * LINK_MS);
}

/* --- what they say --- */

static bool
is_known(uint8_t type)
{
	return type < RPCAP_TYPE_MAX && rpcap_requests[type].take != NULL;
}

/* Has it a place in this phase? */
static bool
is_placed(const struct rpcap_client *client, uint8_t type)
{
	if (client->state == CLIENT_AUTH)
		return type == RPCAP_AUTH || type == RPCAP_CLOSE || type == RPCAP_ERROR;
	return is_known(type) && type != RPCAP_AUTH;
}

static void
refuse_version(struct rpcap_client *client)
{
	rpcap_client_refuse(client, RPCAP_ERR_WRONGVER, "version %u of RPCAP is not served, only %u", client->version,
	    RPCAP_VERSION);
	rpcap_client_close(client, "it speaks another version of RPCAP");
}

/* Before authentication the next message may be better; afterwards this is the end. */
static void
refuse_type(struct rpcap_client *client, uint8_t type)
{
	const char *name = rpcap_type_name(type);
	bool stranger = client->state == CLIENT_AUTH;

	if (name == NULL)
		rpcap_client_refuse(client, RPCAP_ERR_WRONGMSG, "unknown message type %u", type);
	else
		rpcap_client_refuse(client, RPCAP_ERR_WRONGMSG, "%s message %s", name, !is_known(type) ? "is not a client's" :
		    stranger ? "before authentication" : "after authentication");
	if (!stranger)
		rpcap_client_close(client, "it sent a message that has no place here");
}

static void
take_message(struct rpcap_client *client, const struct rpcap_header *header, struct cursor *payload)
{
	bool stranger = client->state == CLIENT_AUTH;

	client->awaited = header->type;
	client->version = header->version;
	if (!stranger)
		set_timer(client, RPCAP_IDLE_MS);
	if (header->version > RPCAP_VERSION)
		refuse_version(client);
	else if (!is_placed(client, header->type))
		refuse_type(client, header->type);
	else
		rpcap_requests[header->type].take(client, payload);
	if (stranger && header->type == RPCAP_ERROR)
		rpcap_client_close(client, "it reported an error");
}

/* --- bytes to messages --- */

static void
pass_over(struct rpcap_client *client, struct buf *input)
{
	size_t n = input->len < client->skip ? input->len : client->skip;

	buf_consume(input, n);
	client->skip -= (uint32_t)n;
}

/* Of its payload, what is of use: what is refused anyway is refused at once. */
static uint32_t
useful_length(const struct rpcap_client *client, const struct rpcap_header *header)
{
	uint32_t most = 0;

	if (header->version <= RPCAP_VERSION && is_placed(client, header->type))
		most = rpcap_requests[header->type].payload_max;
	return header->length < most ? header->length : most;
}

static bool
must_wait(const struct rpcap_client *client, const struct rpcap_header *header)
{
	uint64_t wait_ns;

	if (client->state != CLIENT_AUTH || header->type != RPCAP_AUTH || header->version > RPCAP_VERSION)
		return false;
	if ((wait_ns = rpcap_auth_wait_ns(client, clock_mono_ns())) > 0)
		link_timer_set(client->next, wait_ns);
	return wait_ns > 0;
}

/* One message of the input; false: it is not there as far as it is of use, or must wait. */
static bool
take_next(struct rpcap_client *client, struct buf *input)
{
	struct rpcap_header header;
	struct cursor payload;
	uint32_t length;

	pass_over(client, input);
	if (input->len < RPCAP_HEADER_SIZE)
		return false;
	rpcap_get_header(input->data, &header);
	if (header.type == RPCAP_STARTCAP)
		header.length = rpcap_startcap_length(header.length, input->data + RPCAP_HEADER_SIZE, input->len - RPCAP_HEADER_SIZE);
	length = useful_length(client, &header);
	if (input->len < RPCAP_HEADER_SIZE + length || must_wait(client, &header))
		return false;
	cursor_init(&payload, input->data + RPCAP_HEADER_SIZE, length);
	client->skip = header.length - length;
	take_message(client, &header, &payload);
	if (header.type == RPCAP_AUTH)
		explicit_bzero(input->data, RPCAP_HEADER_SIZE + length);
	buf_consume(input, RPCAP_HEADER_SIZE + length);
	return true;
}

static bool
may_take(const struct rpcap_client *client)
{
	return (client->state == CLIENT_AUTH || client->state == CLIENT_READY) && client->awaited == 0 &&
	    tlsio_queued(client->control) <= QUEUED_MAX;
}

static void
take_all(struct rpcap_client *client)
{
	struct buf *input = tlsio_input(client->control);
	uint64_t until_ns = clock_mono_ns() + TIME_BUDGET_MS * LINK_MS;
	unsigned budget = MESSAGES_BUDGET;

	while (budget > 0 && may_take(client) && take_next(client, input))
		budget = clock_mono_ns() < until_ns ? budget - 1 : 0;
	if (budget < MESSAGES_BUDGET)
		link_timer_set(client->next, 0);
	if (client->state != CLIENT_CLOSING)
		tlsio_input_taken(client->control);
}

static void
on_next(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_client *client = arg;

	(void)fd;
	(void)what;
	if (client->control != NULL)
		take_all(client);
}

/* --- authentication --- */

static size_t
count_ready(const struct rpcap *r)
{
	const struct rpcap_client *client;
	size_t count = 0;

	TAILQ_FOREACH(client, &r->clients, entry)
		count += client->authenticated;
	return count;
}

static void
log_ready(const struct rpcap_client *client, const char *user)
{
	char text[128] = "without a password";

	if (user != NULL)
		log_escape(text, sizeof(text), user);
	log_info("RPCAP client %s%s: authenticated, %s%s", client->name, client->tls ? " (TLS)" : "", user != NULL ? "user " : "",
	    text);
}

void
rpcap_client_ready(struct rpcap_client *client, const char *user)
{
	const struct rpcap_auth_reply reply = {
		.version_min = RPCAP_VERSION, .version_max = RPCAP_VERSION,
		.order = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? RPCAP_ORDER_BIG : RPCAP_ORDER_LITTLE,
	};
	struct buf msg;

	if (client->call == NULL && count_ready(client->server) >= RPCAP_CLIENTS_MAX) {
		rpcap_client_refuse(client, RPCAP_ERR_AUTH_FAILED, "%d clients are here already", RPCAP_CLIENTS_MAX);
		return;
	}
	buf_init(&msg, RPCAP_HEADER_SIZE + RPCAP_TEXT_SIZE);
	if (rpcap_put_auth_reply(&msg, &reply) == -1) {
		rpcap_client_close(client, "out of memory");
		return;
	}
	client->state = CLIENT_READY;
	client->authenticated = true;
	set_timer(client, RPCAP_IDLE_MS);
	log_ready(client, user);
	rpcap_client_answer(client, &msg);
}

void
rpcap_client_wrong(struct rpcap_client *client, const char *user, uint64_t took_ns)
{
	static struct log_limit limit;
	char text[128];

	log_escape(text, sizeof(text), user);
	log_limited(&limit, 10000, LOG_LEVEL_WARN, "RPCAP client %s: wrong user or password (user %s)", client->name, text);
	rpcap_client_refuse(client, RPCAP_ERR_AUTH_FAILED, "wrong user or password");
	rpcap_auth_wrong(client, clock_mono_ns(), took_ns);
}

/* --- the connection --- */

/* In words of TLS for one who speaks it: a record with an alert, in the version that it said. */
static void
send_alert(struct rpcap_client *client)
{
	const uint8_t alert[] = { TLS_ALERT, client->hello[1], client->hello[2], 0, 2, TLS_FATAL, TLS_HANDSHAKE_FAILURE };

	(void)tlsio_write(client->control, alert, sizeof(alert));
}

static void
refuse_connection(struct rpcap_client *client)
{
	static struct log_limit limit;
	const char *why = refusals[client->refusal];

	client->server->refused++;
	log_limited(&limit, 10000, LOG_LEVEL_WARN, "RPCAP client %s: %s", client->name, why);
	if (client->refusal == REFUSAL_NO_TLS)
		send_alert(client);
	else
		send_error(client, client->hello[0], RPCAP_ERR_TLS_REQUIRED, why);
	rpcap_client_close(client, why);
}

static void
refuse_host(struct rpcap_client *client)
{
	static struct log_limit limit;

	client->server->refused++;
	log_limited(&limit, 10000, LOG_LEVEL_WARN, "RPCAP client %s: --rpcap-allow does not have its address", client->name);
	send_error(client, 0, RPCAP_ERR_HOSTNOAUTH, "this host may not connect");
	rpcap_client_close(client, "its address is not allowed");
}

static void
on_opened(struct tlsio *io, void *arg)
{
	struct rpcap_client *client = arg;

	(void)io;
	if (client->refusal != REFUSAL_NONE)
		refuse_connection(client);
	else if (client->call == NULL && !rpcap_auth_host(client->server, &client->address))
		refuse_host(client);
	else
		client->state = CLIENT_AUTH;
}

static void
on_readable(struct tlsio *io, void *arg)
{
	(void)io;
	take_all(arg);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	struct rpcap_client *client = arg;

	(void)io;
	if (client->authenticated)
		log_info("RPCAP client %s: gone: %s", client->name, why);
	else
		log_debug("RPCAP client %s: gone without authentication: %s", client->name, why);
	rpcap_client_free(client);
}

static enum rpcap_refusal
refusal_of(const struct rpcap_client *client)
{
	const struct rpcap *r = client->server;

	if (client->tls)
		return r->tls == NULL ? REFUSAL_NO_TLS : REFUSAL_NONE;
	if (r->link->options.rpcap_plain)
		return REFUSAL_NONE;
	if (rpcap_wants_tls(r))
		return REFUSAL_TLS_REQUIRED;
	return rpcap_client_is_local(client) ? REFUSAL_NONE : REFUSAL_PLAIN;
}

static void
start_control(struct rpcap_client *client)
{
	static const struct tlsio_callbacks callbacks = { on_opened, on_readable, on_readable, on_closed };
	static const struct tlsio_options options = { .side = TLSIO_SERVER, .handshake_ms = RPCAP_AUTH_MS, .input_max = INPUT_MAX,
	    .read_budget = INPUT_MAX };
	struct rpcap *r = client->server;

	event_free(client->first);
	client->first = NULL;
	client->tls = client->hello[0] == TLS_HANDSHAKE;
	client->refusal = refusal_of(client);
	client->state = CLIENT_HANDSHAKE;
	client->control = tlsio_new(r->link->base, client->tls ? r->tls : NULL, client->fd, &options, &callbacks, client);
	if (client->control == NULL) {
		log_error("RPCAP client %s: out of memory", client->name);
		rpcap_client_free(client);
	}
}

static void
on_first_byte(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_client *client = arg;
	ssize_t n = recv(fd, client->hello, sizeof(client->hello), MSG_PEEK);

	(void)what;
	if (n > 0)
		start_control(client);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		rpcap_client_free(client);
}

/* --- time limits --- */

static void
too_idle(struct rpcap_client *client)
{
	if (client->capture != NULL || client->awaited != 0) {
		set_timer(client, RPCAP_IDLE_MS);
		return;
	}
	send_error(client, RPCAP_VERSION, RPCAP_ERR_RUNTIMETIMEOUT, "no request came for too long");
	rpcap_client_close(client, "it has been idle for too long");
}

static void
too_slow(struct rpcap_client *client)
{
	if (client->state == CLIENT_AUTH)
		send_error(client, 0, RPCAP_ERR_INITTIMEOUT, "no authentication came in time");
	rpcap_client_close(client, "it has not authenticated in time");
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_client *client = arg;

	(void)fd;
	(void)what;
	if (client->state == CLIENT_READY)
		too_idle(client);
	else if (client->control == NULL)
		rpcap_client_free(client);	/* who has said nothing hears nothing: it may speak TLS or not */
	else
		too_slow(client);
}

/* --- life --- */

bool
rpcap_client_is_local(const struct rpcap_client *client)
{
	const struct sockaddr_in *v4 = (const void *)&client->address;
	const struct sockaddr_in6 *v6 = (const void *)&client->address;

	if (client->address.ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return client->address.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* An IPv4 address that came in IPv6 is one of IPv4. */
static void
map_address(struct rpcap_client *client)
{
	const struct sockaddr_in6 v6 = *(const struct sockaddr_in6 *)(const void *)&client->address;
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = v6.sin6_port };

	if (client->address.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return;
	memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, sizeof(v4.sin_addr));
	memset(&client->address, 0, sizeof(client->address));
	memcpy(&client->address, &v4, sizeof(v4));
	client->address_len = sizeof(v4);
}

static int
name_client(struct rpcap_client *client)
{
	char host[64], port[8];
	bool v6;

	client->address_len = sizeof(client->address);
	if (getpeername(client->fd, (struct sockaddr *)&client->address, &client->address_len) == -1)
		return -1;
	map_address(client);
	v6 = client->address.ss_family == AF_INET6;
	if (getnameinfo((const struct sockaddr *)&client->address, client->address_len, host, sizeof(host), port, sizeof(port),
	    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return -1;
	snprintf(client->name, sizeof(client->name), "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
	return 0;
}

static void
keep_alive(int fd)
{
	int on = 1, idle = ALIVE_IDLE_S, each = ALIVE_EACH_S, count = ALIVE_COUNT;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof(each));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

struct rpcap_client *
rpcap_client_new(struct rpcap *r, int fd, struct rpcap_call *call)
{
	struct rpcap_client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		log_error("RPCAP: no room for a client: out of memory");
		close(fd);
		return NULL;
	}
	client->server = r;
	client->fd = fd;
	client->call = call;
	client->since_ns = clock_mono_ns();
	client->hello[1] = 3;	/* until more is known: as TLS's first record has it */
	client->hello[2] = 1;
	client->timer = link_timer_new(r->link, on_timer, client);
	client->next = link_timer_new(r->link, on_next, client);
	client->first = event_new(r->link->base, fd, EV_READ | EV_PERSIST, on_first_byte, client);
	TAILQ_INSERT_TAIL(&r->clients, client, entry);
	if (client->first == NULL || event_add(client->first, NULL) == -1 || name_client(client) == -1) {
		log_debug("RPCAP: a connection has gone before it was looked at");
		client->call = NULL;
		rpcap_client_free(client);
		return NULL;
	}
	keep_alive(fd);
	set_timer(client, RPCAP_AUTH_MS);
	return client;
}

void
rpcap_client_free(struct rpcap_client *client)
{
	struct rpcap_call *call = client->call;
	struct rpcap *r = client->server;
	bool authenticated = client->authenticated, asked_to_close = client->asked_to_close;

	rpcap_capture_free(client->capture);
	TAILQ_REMOVE(&r->clients, client, entry);
	if (client->control == NULL)
		close(client->fd);
	else {
		if (!client->authenticated)	/* a password may wait there for its turn */
			buf_wipe(tlsio_input(client->control));
		tlsio_free(client->control);
	}
	if (client->first != NULL)
		event_free(client->first);
	event_free(client->timer);
	event_free(client->next);
	free(client);
	if (call != NULL)
		rpcap_call_ended(call, authenticated, asked_to_close);
	link_stop_check(r->link);
}
