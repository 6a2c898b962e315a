/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <jansson.h>

#include "common/clock.h"
#include "common/http.h"
#include "common/metrics.h"

#include "collector/collector.h"
#include "collector/counts.h"
#include "collector/hint_hub.h"
#include "collector/scrape.h"
#include "collector/tenant.h"

#define SCRAPE_TOKEN	(UINT64_C(1) << 63)	/* the control socket's tokens are below */

struct scrape {
	struct collector *collector;
	int		 fd[SCRAPE_PLACES_MAX];
	const struct conf_list *places;
	size_t		 count;			/* of places bound */
	struct http	*http;
	struct scrape_catalog *catalog;
	bool		 catalog_due;		/* it is reading */
	bool		 catalog_good;		/* what it read is of this request, or fresh */
	bool		 catalog_awaited;	/* by this request */
	uint64_t	 catalog_ns;		/* monotonic, of the last reading's end */
	struct http_text *vms;			/* what was read last; NULL: nothing yet */
	uint64_t	 vms_ns;		/* monotonic, of that reading's begin */
	bool		 vms_complete;
	bool		 gathering;
	uint64_t	 token;
	unsigned	 workers_left;
	json_t		*workers;		/* what they have told */
	struct event	*timer;
	struct http_client *waiting[HTTP_CLIENTS_MAX];
	size_t		 waiting_count;
};

/* --- the collector itself --- */

static void
put_one(struct metrics *metrics, const char *name, const char *help, uint64_t value)
{
	metrics_family(metrics, METRICS_GAUGE, help, "%s", name);
	metrics_u64(metrics, NULL, value);
}

static void
put_counts(struct metrics *metrics)
{
	const char *name;

	for (enum count i = 0; i < COUNT_ERRORS; i++)
		if ((name = count_name(i)) != NULL) {
			metrics_family(metrics, METRICS_COUNTER, count_help(i), "vmtap_collector_%s_total", name);
			metrics_u64(metrics, NULL, count_get(i));
		}
	metrics_family(metrics, METRICS_COUNTER, count_help(COUNT_ERRORS), "vmtap_collector_errors_total");
	for (enum count i = COUNT_ERRORS; i < COUNT_MAX; i++)
		if ((name = count_name(i)) != NULL) {
			const struct metrics_label label[] = { { "code", name + strlen("errors_") }, { NULL, NULL } };

			metrics_u64(metrics, label, count_get(i));
		}
}

static void
put_commits(struct metrics *metrics)
{
	uint64_t counts[COUNT_COMMIT_BOUNDS + 1], sum_ns;

	count_commits(counts, &sum_ns);
	metrics_family(metrics, METRICS_HISTOGRAM, "How long commits took, repeated tries included.",
	    "vmtap_collector_commit_duration_seconds");
	metrics_histogram(metrics, NULL, count_commit_bounds, counts, COUNT_COMMIT_BOUNDS, (double)sum_ns / 1e9);
}

/* vmtap_vm_* and vmtap_agent_*: are they of now, and all? */
static void
put_vms_state(struct metrics *metrics, const struct scrape *scrape)
{
	put_one(metrics, "vmtap_collector_catalog_up", "1 if the catalog could be read for this answer.", scrape->catalog_good);
	if (scrape->vms == NULL)
		return;
	metrics_family(metrics, METRICS_GAUGE, "How old it is what this answer tells of virtual machines.",
	    "vmtap_collector_vm_metrics_age_seconds");
	metrics_double(metrics, NULL, (double)(clock_mono_ns() - scrape->vms_ns) / 1e9);
	put_one(metrics, "vmtap_collector_vm_metrics_complete", "1 if all that is told of virtual machines had room in this answer.",
	    scrape->vms_complete);
}

static void
put_collector(struct metrics *metrics, const struct scrape *scrape)
{
	const struct metrics_label version[] = { { "version", PACKAGE_VERSION }, { NULL, NULL } };

	metrics_family(metrics, METRICS_GAUGE, "The program's version.", "vmtap_collector_build_info");
	metrics_u64(metrics, version, 1);
	put_one(metrics, "vmtap_collector_certificate_expiry_timestamp_seconds", "End of the collector's certificate, since 1970.",
	    (uint64_t)scrape->collector->not_after);
	put_vms_state(metrics, scrape);
	if (scrape->collector->workers.hints != NULL)
		put_one(metrics, "vmtap_collector_hints_pairs", "Addresses of peers that virtual machines withhold now.",
		    hint_hub_pairs(scrape->collector->workers.hints));
	put_counts(metrics);
	put_commits(metrics);
	metrics_process(metrics);
}

/* --- what workers told --- */

static const struct {
	const char	*key, *name, *help;
} worker_rows[] = {
	{ "sessions", "sessions", "Agents that have shown who they are." },
	{ "handshakes", "handshakes", "Connections that have not shown yet who they are." },
	{ "dirty_bytes", "dirty_bytes", "Bytes received that no commit has made durable." },
	{ "committing", "committing", "1 while a commit runs." },
	{ "failing", "failing", "1 while a commit fails and is repeated." },
	{ "paused", "paused", "1 while nothing is read from agents, since the store does not keep up." },
};

static uint64_t
json_count(const json_t *value)
{
	return json_is_array(value) ? json_array_size(value) : json_is_true(value) ? 1 : (uint64_t)json_integer_value(value);
}

static void
put_workers(struct metrics *metrics, const json_t *workers)
{
	char number[16];
	json_t *worker;
	size_t n;

	for (size_t i = 0; i < sizeof(worker_rows) / sizeof(worker_rows[0]); i++) {
		metrics_family(metrics, METRICS_GAUGE, worker_rows[i].help, "vmtap_collector_worker_%s", worker_rows[i].name);
		json_array_foreach(workers, n, worker) {
			const struct metrics_label label[] = { { "worker", number }, { NULL, NULL } };

			snprintf(number, sizeof(number), "%lld",
			    (long long)json_integer_value(json_object_get(worker, "worker")));
			metrics_u64(metrics, label, json_count(json_object_get(worker, worker_rows[i].key)));
		}
	}
}

static const char *
json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

/* A VM has one session that is open, others only contend for it. */
static void
put_session(struct metrics *metrics, const json_t *session)
{
	const struct metrics_label label[] = { { "tenant", json_text(session, "tenant") }, { "vm", json_text(session, "name") },
	    { "uuid", json_text(session, "vm") }, { NULL, NULL } };

	if (strcmp(json_text(session, "state"), "open") == 0)
		metrics_u64(metrics, label, (uint64_t)json_integer_value(json_object_get(session, "certificate_ends")));
}

static void
put_certificates(struct metrics *metrics, const json_t *workers)
{
	json_t *worker, *session;
	size_t i, n;

	metrics_family(metrics, METRICS_GAUGE, "End of the certificate of the agent's session, since 1970.",
	    "vmtap_vm_certificate_expiry_timestamp_seconds");
	json_array_foreach(workers, i, worker)
		json_array_foreach(json_object_get(worker, "sessions"), n, session)
			put_session(metrics, session);
}

/* --- tenants --- */

static void
put_tenant_sessions(const char *name, struct tenant_use *use, void *arg)
{
	const struct metrics_label label[] = { { "tenant", name }, { NULL, NULL } };

	metrics_u64(arg, label, atomic_load(&use->sessions));
}

static void
put_tenant_places(const char *name, struct tenant_use *use, void *arg)
{
	const struct metrics_label label[] = { { "tenant", name }, { NULL, NULL } };

	metrics_u64(arg, label, atomic_load(&use->places));
}

static void
put_tenant_received(const char *name, struct tenant_use *use, void *arg)
{
	const struct metrics_label label[] = { { "tenant", name }, { NULL, NULL } };

	metrics_u64(arg, label, atomic_load(&use->received));
}

/* What each takes of what is shared. */
static void
put_tenants(struct metrics *metrics, struct tenants *known)
{
	metrics_family(metrics, METRICS_GAUGE, "Virtual machines of the tenant with a session.", "vmtap_tenant_sessions");
	tenants_each(known, put_tenant_sessions, metrics);
	metrics_family(metrics, METRICS_GAUGE, "Places of virtual machines that the tenant holds.", "vmtap_tenant_vm_places");
	tenants_each(known, put_tenant_places, metrics);
	metrics_family(metrics, METRICS_COUNTER, "Bytes taken in from the tenant's agents.", "vmtap_tenant_received_bytes_total");
	tenants_each(known, put_tenant_received, metrics);
}

/* --- gathering --- */

static struct http_text *
scrape_own_text(const struct scrape *scrape)
{
	struct http_text *text = NULL;
	struct metrics metrics;
	struct buf buf;

	buf_init(&buf, SCRAPE_TEXT_MAX);
	metrics_init(&metrics, &buf);
	put_collector(&metrics, scrape);
	put_workers(&metrics, scrape->workers);
	put_certificates(&metrics, scrape->workers);
	if (scrape->collector->known != NULL)
		put_tenants(&metrics, scrape->collector->known);
	if (metrics_end(&metrics) == 0)
		text = http_text_new(&buf);
	buf_clear(&buf);
	return text;
}

static void
scrape_finish(struct scrape *scrape)
{
	struct http_text *text[] = { scrape->vms, scrape_own_text(scrape) };
	const char *why = strerror(errno);

	scrape->gathering = false;
	event_del(scrape->timer);
	while (scrape->waiting_count > 0)
		if (text[1] != NULL)
			http_answer_texts(scrape->waiting[--scrape->waiting_count], text, sizeof(text) / sizeof(text[0]));
		else
			http_answer(scrape->waiting[--scrape->waiting_count], NULL, 0, why);
	http_text_unref(text[1]);
	json_decref(scrape->workers);
	scrape->workers = NULL;
}

static void
scrape_check(struct scrape *scrape)
{
	if (scrape->gathering && scrape->workers_left == 0 && !scrape->catalog_awaited)
		scrape_finish(scrape);
}

static void
scrape_timeout(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	scrape_finish(arg);
}

static void
scrape_gather(struct scrape *scrape)
{
	const struct timeval tv = { .tv_sec = SCRAPE_WAIT_S };
	struct note note = { .kind = NOTE_STATUS };

	scrape->gathering = true;
	scrape->workers = json_array();
	scrape->workers_left = scrape->collector->workers.count;
	note.token = scrape->token = SCRAPE_TOKEN | (scrape->token + 1);
	workers_tell(&scrape->collector->workers, &note);
	scrape->catalog_good = scrape->catalog_ns != 0 && clock_mono_ns() - scrape->catalog_ns < SCRAPE_FRESH_MS * UINT64_C(1000000);
	/* A reading that began for a request before has had its time, if there is something to tell instead. */
	scrape->catalog_awaited = !scrape->catalog_good && (!scrape->catalog_due || scrape->vms == NULL);
	if (!scrape->catalog_good && !scrape->catalog_due) {
		scrape->catalog_due = true;
		scrape_catalog_read(scrape->catalog);
	}
	event_add(scrape->timer, &tv);
	scrape_check(scrape);
}

static void
scrape_ask(struct http_client *client, void *arg)
{
	struct scrape *scrape = arg;

	scrape->waiting[scrape->waiting_count++] = client;	/* there are never more clients */
	if (!scrape->gathering)
		scrape_gather(scrape);
}

/* What could not be read leaves what was read before, which grows old. */
static void
scrape_take_vms(struct scrape *scrape)
{
	struct http_text *vms = NULL;
	struct scrape_text text;

	if (scrape_catalog_take(scrape->catalog, &text) == 0)
		vms = http_text_new(&text.buf);
	buf_clear(&text.buf);
	scrape->catalog_due = scrape->catalog_awaited = false;
	scrape->catalog_good = vms != NULL;
	if (vms == NULL)
		return;
	scrape->catalog_ns = clock_mono_ns();
	http_text_unref(scrape->vms);
	scrape->vms = vms;
	scrape->vms_ns = text.begun_ns;
	scrape->vms_complete = text.complete;
}

void
scrape_note(struct scrape *scrape, struct note *note)
{
	if (scrape == NULL)
		return;
	if (note->kind == NOTE_METRICS) {
		scrape_take_vms(scrape);
	} else if (scrape->gathering && note->token == scrape->token) {
		json_array_append(scrape->workers, note->json);
		scrape->workers_left--;
	}
	scrape_check(scrape);
}

/* --- life --- */

struct scrape *
scrape_new(const struct conf_list *places, char *error, size_t error_size)
{
	struct scrape *scrape = calloc(1, sizeof(*scrape));
	struct conf_error conf;

	if (scrape == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	scrape->places = places;
	for (; scrape->count < places->count; scrape->count++) {
		if ((scrape->fd[scrape->count] = http_bind(places->value[scrape->count], &conf)) != -1)
			continue;
		snprintf(error, error_size, "--metrics %s", conf.text);
		scrape_free(scrape);
		return NULL;
	}
	return scrape;
}

static int
scrape_listen(struct scrape *scrape)
{
	for (size_t i = 0; i < scrape->count; i++) {
		if (http_listen(scrape->http, scrape->fd[i]) == -1)
			return -1;
		scrape->fd[i] = -1;
		log_info("metrics at %s", scrape->places->value[i]);
	}
	return 0;
}

int
scrape_start(struct scrape *scrape, struct collector *collector, char *error, size_t error_size)
{
	if (scrape->count == 0)
		return 0;
	scrape->collector = collector;
	if ((scrape->catalog = scrape_catalog_new(&collector->store, collector->inbox, error, error_size)) == NULL)
		return -1;
	if ((scrape->timer = evtimer_new(collector->base, scrape_timeout, scrape)) != NULL &&
	    (scrape->http = http_new(collector->base, scrape_ask, scrape)) != NULL && scrape_listen(scrape) == 0)
		return 0;
	snprintf(error, error_size, "metrics: %s", strerror(errno));
	return -1;
}

void
scrape_stop(struct scrape *scrape)
{
	http_free(scrape->http);
	scrape->http = NULL;
	scrape->waiting_count = 0;
}

void
scrape_free(struct scrape *scrape)
{
	if (scrape == NULL)
		return;
	scrape_stop(scrape);
	scrape_catalog_free(scrape->catalog);
	http_text_unref(scrape->vms);
	if (scrape->timer != NULL)
		event_free(scrape->timer);
	json_decref(scrape->workers);
	for (size_t i = 0; i < scrape->count; i++) {
		if (scrape->fd[i] != -1)
			close(scrape->fd[i]);
		http_unbind(scrape->places->value[i]);
	}
	free(scrape);
}
