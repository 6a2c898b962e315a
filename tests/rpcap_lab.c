/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_dial.h"
#include "tests/rpcap_lab.h"

/* Callbacks of the role's own ends have no argument. */
static struct rpcap_lab *the_lab;

static void
gone(struct ipc *ipc, void *arg)
{
	(void)ipc;
	(void)arg;
}

/* --- the role's ends, as link.c has them --- */

static void
of_supervisor(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	(void)ipc;
	(void)arg;
	if (message->type == IPC_SOCKET)
		link_socket_came(the_lab->link, message);
	else if (message->type == IPC_RPCAP_FILES)
		rpcap_files(the_lab->server, message);
}

static void
of_capture(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	static struct msg_stat stat[MSG_STATS_MAX];
	struct msg_stats last = { .stat = stat };
	struct ipc_interface_gone interface;
	struct ipc_tap_result result;
	struct ipc_linktype linktype;
	uint8_t tap;

	(void)ipc;
	(void)arg;
	if (message->type == IPC_TAP_RESULT && ipc_get_tap_result(message, &result) == 0)
		tap_result(the_lab->link, &result);
	else if (message->type == IPC_LINKTYPE && ipc_get_linktype(message, &linktype) == 0)
		rpcap_linktype(the_lab->server, &linktype);
	else if (message->type == IPC_COUNTED && ipc_get_count(message, &tap) == 0)
		rpcap_counted(the_lab->server, tap);
	else if (message->type == IPC_LAST_STATS && ipc_get_last_stats(message, &tap, &last) == 0)
		tap_last_stats(&the_lab->link->tap[tap], &last);
	else if (message->type == IPC_INTERFACE_GONE && ipc_get_interface_gone(message, &interface) == 0)
		interfaces_gone(the_lab->link, &interface);
}

/* --- the supervisor --- */

void
rpcap_lab_answer_socket(struct rpcap_lab *lab, int error)
{
	uint8_t bytes[4] = { 0, 0, 0, (uint8_t)error };
	int fd;

	if (error != 0) {
		script_assert(ipc_send(lab->supervisor, IPC_SOCKET, bytes, sizeof(bytes), NULL, 0) == 0);
		return;
	}
	fd = socket(lab->socket_family, lab->socket_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	script_assert(ipc_send(lab->supervisor, IPC_SOCKET, NULL, 0, &fd, 1) == 0);
	close(fd);
}

static void
to_supervisor(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct rpcap_lab *lab = arg;

	(void)ipc;
	if (message->type != IPC_SOCKET_REQUEST)
		return;
	script_assert(message->length == 2);
	lab->sockets++;
	lab->socket_family = message->payload[0];
	lab->socket_type = message->payload[1];
	if (!lab->supervisor_mute)
		rpcap_lab_answer_socket(lab, 0);
}

void
rpcap_lab_files(struct rpcap_lab *lab, const int fd[RPCAP_FILES])
{
	struct ipc_message message = { .type = IPC_RPCAP_FILES, .length = 1 };
	uint8_t bits = 0;

	for (unsigned i = 0; i < RPCAP_FILES; i++)
		if (fd[i] != -1) {
			bits |= (uint8_t)(1u << i);
			message.fd[message.fd_count++] = fd[i];
		}
	message.payload = &bits;
	rpcap_files(lab->server, &message);
}

/* --- the capture role --- */

static void
answer_tap(struct rpcap_lab *lab, const struct ipc_tap *tap)
{
	const struct ipc_tap_result result = { .tap = tap->tap, .version = tap->version, .accepted = true };

	script_assert(ipc_send_tap_result(lab->capture, &result) == 0);
}

void
rpcap_lab_answer_taps(struct rpcap_lab *lab)
{
	for (unsigned i = 0; i < IPC_TAPS_MAX; i++)
		answer_tap(lab, &lab->tap[i]);
}

void
rpcap_lab_answer_linktype(struct rpcap_lab *lab, int32_t linktype, const char *reason)
{
	lab->linktype.linktype = linktype;
	snprintf(lab->linktype.reason, sizeof(lab->linktype.reason), "%s", reason);
	script_assert(ipc_send_linktype(lab->capture, IPC_LINKTYPE, &lab->linktype) == 0);
}

static void
to_capture(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	static struct ipc_tap tap;
	struct rpcap_lab *lab = arg;
	uint8_t number;

	(void)ipc;
	if (message->type == IPC_TAP && ipc_get_tap(message, &tap) == 0) {
		lab->taps++;
		lab->tap[tap.tap] = tap;
		if (!lab->capture_mute)
			answer_tap(lab, &tap);
	} else if (message->type == IPC_LINKTYPE_REQUEST && ipc_get_linktype(message, &lab->linktype) == 0) {
		lab->linktypes++;
		if (!lab->capture_mute)
			rpcap_lab_answer_linktype(lab, 1, "");
	} else if (message->type == IPC_COUNT_REQUEST && ipc_get_count(message, &number) == 0) {
		lab->counts++;
		if (!lab->capture_mute)
			script_assert(ipc_send_count(lab->capture, IPC_COUNTED, number) == 0);
	}
}

/* --- life --- */

static struct ipc *
end_of(struct rpcap_lab *lab, int fd, const struct ipc_callbacks *callbacks)
{
	struct ipc *ipc;

	/* Theirs to close: the other one is the lab's. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	script_assert(fd != -1 && (ipc = ipc_new(lab->link->base, fd, callbacks, lab)) != NULL);
	return ipc;
}

/* As the supervisor would have it, at its place. */
static void
open_listening(struct rpcap_lab *lab)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	script_assert(fcntl(ROLE_FD_RPCAP, F_GETFD) == -1);
	script_assert(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, 128) == 0);
	script_assert(getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
	script_assert(dup2(fd, ROLE_FD_RPCAP) == ROLE_FD_RPCAP);
	close(fd);
	lab->port = ntohs(sin.sin_port);
	snprintf(lab->listen, sizeof(lab->listen), "127.0.0.1:%u", lab->port);
	lab->listens[0] = lab->origins[0] = lab->listen;
	lab->link->options.rpcap_listens = (struct conf_list){ .value = lab->listens, .origin = lab->origins, .count = 1 };
}

void
rpcap_lab_open(struct rpcap_lab *lab)
{
	static const struct ipc_callbacks from_supervisor = { of_supervisor, gone }, from_capture = { of_capture, gone };
	static const struct ipc_callbacks supervisor = { to_supervisor, gone }, capture = { to_capture, gone };

	the_lab = lab;
	lab->link = &lab->role.link;
	open_listening(lab);
	lab->role.from_supervisor = &from_supervisor;
	lab->role.from_capture = &from_capture;
	link_lab_open(&lab->role, lab->spool_size > 0 ? lab->spool_size : 64 * 1024);
	lab->supervisor = end_of(lab, lab->role.supervisor[1], &supervisor);
	lab->capture = end_of(lab, lab->role.capture[1], &capture);
	if (lab->link->options.rpcap_clients == 0)
		lab->link->options.rpcap_clients = IPC_RPCAP_MAX;
	script_assert(netif_scan(&lab->link->netifs) == 0);
	lab->server = lab->link->rpcap = rpcap_new(lab->link);
	script_assert(lab->server != NULL);
	rpcap_options(lab->server);
	tap_update_all(lab->link);
	rpcap_lab_turn(lab);
}

void
rpcap_lab_turn(struct rpcap_lab *lab)
{
	event_base_loop(lab->link->base, EVLOOP_NONBLOCK);
}

void
rpcap_lab_forgive(struct rpcap_lab *lab)
{
	struct rpcap_client *client;

	memset(lab->server->guesser, 0, sizeof(lab->server->guesser));
	lab->server->hash_ns = 0;
	TAILQ_FOREACH(client, &lab->server->clients, entry) {
		client->guess_ns = 0;
		link_timer_set(client->next, 0);
	}
}

void
rpcap_lab_close(struct rpcap_lab *lab)
{
	rpcap_free(lab->server);
	lab->server = lab->link->rpcap = NULL;
	ipc_free(lab->supervisor);
	ipc_free(lab->capture);
	link_lab_close(&lab->role);
}
