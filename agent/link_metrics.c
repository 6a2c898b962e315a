/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/link_enroll.h"
#include "agent/link_metrics.h"
#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "agent/spool.h"
#include "common/buf.h"
#include "common/http.h"
#include "common/log.h"
#include "common/metrics.h"
#include "proto/counter_metrics.h"

#define METRICS_MAX	(4u * 1024 * 1024)

struct link_metrics {
	struct link	*link;
	struct http	*http;
};

static void
put_one(struct metrics *metrics, const char *name, const char *help, uint64_t value)
{
	metrics_family(metrics, METRICS_GAUGE, help, "%s", name);
	metrics_u64(metrics, NULL, value);
}

/* --- who it is --- */

static void
put_standing(struct metrics *metrics, const struct link *link)
{
	struct metrics_label label[] = { { "state", NULL }, { NULL, NULL } };

	metrics_family(metrics, METRICS_GAUGE, "1 of what there is of a certificate.", "vmtap_agent_identity_state");
	for (enum standing standing = 0; standing < STANDING_MAX; standing++) {
		label[0].value = enroll_standing_name(standing);
		metrics_u64(metrics, label, standing == enroll_standing(link));
	}
	put_one(metrics, "vmtap_agent_enrolling", "1 while a certificate is being asked for.", enroll_under_way(link));
}

static void
put_agent(struct metrics *metrics, const struct link *link)
{
	const struct metrics_label version[] = { { "version", PACKAGE_VERSION }, { NULL, NULL } };
	const struct metrics_label identity[] = { { "tenant", link->own.tenant }, { "vm", link->own.name }, { "uuid", link->own.uuid },
	    { NULL, NULL } };

	metrics_family(metrics, METRICS_GAUGE, "The program's version.", "vmtap_agent_build_info");
	metrics_u64(metrics, version, 1);
	put_standing(metrics, link);
	if (link->tls == NULL)
		return;
	metrics_family(metrics, METRICS_GAUGE, "Whose packets these are, by the certificate.", "vmtap_agent_identity_info");
	metrics_u64(metrics, identity, 1);
	put_one(metrics, "vmtap_agent_certificate_expiry_timestamp_seconds", "End of the agent's certificate, since 1970.",
	    (uint64_t)tls_context_not_after(link->tls));
}

/* --- sessions and spool --- */

static void
put_sessions(struct metrics *metrics, const struct link *link)
{
	const struct session *s, *own = link->tap[0].session;
	uint64_t live = 0;

	TAILQ_FOREACH(s, &link->sessions, entry)
		live += s->state == SESSION_LIVE;
	put_one(metrics, "vmtap_agent_connected", "1 while there is a session with a collector.",
	    own != NULL && own->state == SESSION_LIVE);
	put_one(metrics, "vmtap_agent_sessions", "Sessions with collectors and operators.", live);
	put_one(metrics, "vmtap_agent_capture_running", "1 while the capture role runs.", link->capture != NULL);
	put_one(metrics, "vmtap_agent_withheld_peers", "Peers whose packets are left out, for their agents deliver them.",
	    link->capture != NULL ? link->hints.in_force_count : 0);
	put_one(metrics, "vmtap_agent_spool_limit_bytes", "Bytes that the spool in memory can hold.", spool_size(link->tap[0].spool));
}

static void
put_count(struct metrics *metrics, const char *name, const char *help, uint64_t value)
{
	metrics_family(metrics, METRICS_COUNTER, help, "%s", name);
	metrics_u64(metrics, NULL, value);
}

static void
put_rpcap(struct metrics *metrics, const struct link *link)
{
	struct rpcap_totals totals;

	rpcap_totals(link->rpcap, &totals);
	put_one(metrics, "vmtap_agent_rpcap_clients", "RPCAP clients that are connected.", totals.clients);
	put_one(metrics, "vmtap_agent_rpcap_captures", "Of these, that capture.", totals.captures);
	put_count(metrics, "vmtap_agent_rpcap_sent_packets_total", "Packets sent to RPCAP clients.", totals.packets_sent);
	put_count(metrics, "vmtap_agent_rpcap_lost_packets_total", "Packets that passed an RPCAP client's filter and did not reach it.",
	    totals.packets_lost);
	put_count(metrics, "vmtap_agent_rpcap_sent_bytes_total", "Bytes sent to RPCAP clients on their data connections.",
	    totals.bytes_sent);
	put_count(metrics, "vmtap_agent_rpcap_refused_connections_total", "Connections of RPCAP clients that were refused.", totals.refused);
}

/* --- counters --- */

/* A NIC that went and came back has several ids: counters are summed up, a level is that of the newest. */
static uint64_t
interface_value(const struct link_tap *tap, const struct counter_row *row, uint32_t newest)
{
	const struct stats_interface *interface = tap->stats.interface;
	uint64_t sum = 0;

	if (row->level)
		return spool_count_get(tap->spool, row->id, newest);
	for (uint32_t id = 0; id <= newest; id++)
		if (strcmp(interface[id].name, interface[newest].name) == 0)
			sum += spool_count_get(tap->spool, row->id, id);
	return sum;
}

static void
put_interfaces(struct metrics *metrics, const struct link_tap *tap, const struct counter_row *row)
{
	for (uint32_t id = 0; id < tap->stats.count; id++) {
		const struct metrics_label label[] = { { "interface", tap->stats.interface[id].name }, { NULL, NULL } };

		if (tap->stats.interface[id].current)
			counter_metrics_sample(metrics, row, label, interface_value(tap, row, id));
	}
}

/* Of the collector's tap. */
static void
put_counters(struct metrics *metrics, struct link_tap *tap)
{
	const struct counter_row *row;

	(void)stats_refresh(&tap->stats, tap->spool);
	for (unsigned id = 0; id < COUNTER_MAX; id++) {
		if ((row = counter_row(id)) == NULL)
			continue;
		counter_metrics_family(metrics, row);
		if (row->per_interface)
			put_interfaces(metrics, tap, row);
		else
			counter_metrics_sample(metrics, row, NULL, id == COUNTER_SPOOL_BYTES ? spool_used(tap->spool) :
			    spool_count_get(tap->spool, row->id, STATS_AGENT));
	}
}

/* --- the server --- */

static void
on_ask(struct http_client *client, void *arg)
{
	struct link_metrics *m = arg;
	struct metrics metrics;
	struct buf buf;

	buf_init(&buf, METRICS_MAX);
	metrics_init(&metrics, &buf);
	put_agent(&metrics, m->link);
	put_sessions(&metrics, m->link);
	put_rpcap(&metrics, m->link);
	put_counters(&metrics, &m->link->tap[0]);
	metrics_process(&metrics);
	if (metrics_end(&metrics) == 0)
		http_answer(client, buf.data, buf.len, NULL);
	else
		http_answer(client, NULL, 0, strerror(errno));
	buf_clear(&buf);
}

/* A number that the supervisor left free may be some other descriptor's by now. */
static bool
is_listening(int fd)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening != 0;
}

static bool
any_socket(void)
{
	for (int i = 0; i < AGENT_METRICS_MAX; i++)
		if (is_listening(ROLE_FD_METRICS + i))
			return true;
	return false;
}

struct link_metrics *
link_metrics_new(struct link *link)
{
	struct link_metrics *m;

	if (!any_socket())
		return NULL;
	if ((m = calloc(1, sizeof(*m))) == NULL || (m->http = http_new(link->base, on_ask, m)) == NULL) {
		log_warn("metrics: out of memory: going on without");
		free(m);
		return NULL;
	}
	m->link = link;
	for (int i = 0; i < AGENT_METRICS_MAX; i++)
		if (is_listening(ROLE_FD_METRICS + i) && http_listen(m->http, ROLE_FD_METRICS + i) == -1)
			log_warn("metrics: a socket cannot be used: %s", strerror(errno));
	return m;
}

void
link_metrics_free(struct link_metrics *m)
{
	if (m == NULL)
		return;
	http_free(m->http);
	free(m);
}
