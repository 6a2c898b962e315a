/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_breaker.h"
#include "agent/link_dial.h"
#include "agent/link_session.h"
#include "agent/spool.h"
#include "tests/link_lab.h"

static void
nothing(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	(void)ipc;
	(void)message;
	(void)arg;
}

static void
not_closed(struct ipc *ipc, void *arg)
{
	(void)ipc;
	(void)arg;
}

static void
wake_up(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
changed(void *arg)
{
	(void)arg;
}

static void
open_taps(struct link_lab *lab, size_t spool_size)
{
	for (uint8_t i = 0; i < IPC_TAPS_MAX; i++) {
		struct link_tap *tap = &lab->link.tap[i];
		int fd = spool_create("lab", spool_size);

		script_assert(fd != -1);
		tap->number = i;
		tap->wanted = i == 0;
		lab->producer[i] = spool_attach(fd, SPOOL_PRODUCER);
		tap->spool = spool_attach(fd, SPOOL_CONSUMER);
		tap->wake = event_new(lab->link.base, -1, EV_READ, wake_up, NULL);
		script_assert(lab->producer[i] != NULL && tap->spool != NULL && tap->wake != NULL);
		backlog_init(&tap->backlog, tap->spool, NULL);
		close(fd);
	}
}

void
link_lab_open(struct link_lab *lab, size_t spool_size)
{
	static const struct ipc_callbacks callbacks = { nothing, not_closed };
	struct link *link = &lab->link;

	script_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, lab->supervisor) == 0);
	script_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, lab->capture) == 0);
	link->base = event_base_new();
	link->options.keepalive_ms = 10000;
	link->options.flush_ms = 200;
	link->options.spool_memory = spool_size;
	TAILQ_INIT(&link->sessions);
	link->supervisor = ipc_new(link->base, lab->supervisor[0], lab->from_supervisor != NULL ? lab->from_supervisor : &callbacks, NULL);
	link->capture = ipc_new(link->base, lab->capture[0], lab->from_capture != NULL ? lab->from_capture : &callbacks, NULL);
	link->tls = script_context(ROLE_AGENT, "acme", "web1");
	script_assert(identity_parse(tls_context_uri(link->tls), tls_context_common_name(link->tls), &link->own) == 0);
	link->stop_timer = link_timer_new(link, wake_up, NULL);
	link->pulse = link_timer_new(link, pulse_beat, link);
	pulse_init(link);
	open_taps(lab, spool_size);
	hints_init(link);
	link->dial = dial_new(link);
	link->watch = netif_watch_new(link->base, changed, link);
	script_assert(link->watch != NULL);
}

void
link_lab_close(struct link_lab *lab)
{
	struct link *link = &lab->link;
	struct session *s;

	while ((s = TAILQ_FIRST(&link->sessions)) != NULL)
		session_free(s);
	dial_free(link->dial);
	netif_watch_free(link->watch);
	netif_clear(&link->netifs);
	ipc_free(link->capture);
	ipc_free(link->supervisor);
	close(lab->supervisor[1]);
	close(lab->capture[1]);
	event_free(link->stop_timer);
	event_free(link->pulse);
	hints_clear(link);
	for (unsigned i = 0; i < IPC_TAPS_MAX; i++) {
		free(link->tap[i].asked);
		free(link->tap[i].waiting);
		event_free(link->tap[i].wake);
		backlog_clear(&link->tap[i].backlog);
		spool_detach(link->tap[i].spool);
		spool_detach(lab->producer[i]);
	}
	event_base_loop(link->base, EVLOOP_NONBLOCK);
	breaker_free(link->breaker);
	breaker_free(link->rpcap_breaker);
	event_base_free(link->base);
}
