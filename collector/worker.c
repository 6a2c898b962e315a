/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <jansson.h>

#include "common/clock.h"
#include "common/tls.h"

#include "collector/enrol_session.h"
#include "collector/hint_hub.h"
#include "collector/policy.h"
#include "collector/rpcap_pull.h"
#include "collector/session.h"
#include "collector/store_commit.h"
#include "collector/store_retain.h"
#include "collector/stream.h"
#include "collector/stream_hint.h"
#include "collector/worker.h"

#define WORKER_OUT_MAX		(256u * 1024)
#define WORKER_THROTTLE_MS	20u		/* until it is seen whether a tenant's rate allows more */
#define WORKER_FINISH_MS	1500u		/* for BYEs to leave */

static const struct timeval worker_second = { .tv_sec = 1 };

static void
worker_set_commit_timer(struct worker *worker, bool soon)
{
	unsigned ms = soon ? COMMIT_AFTER_MS : COMMIT_LATER_MS;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	if (event_pending(worker->commit_timer, EV_TIMEOUT, NULL) && (worker->timer_soon || !soon))
		return;
	worker->timer_soon = soon;
	event_add(worker->commit_timer, &tv);
}

static void
worker_start_commit(struct worker *worker)
{
	struct batch *batch = archive_take_batch(&worker->archive);

	event_del(worker->commit_timer);
	worker->commit_due = false;
	if (batch == NULL)
		return;
	worker->committing = true;
	committer_start(worker->committer, batch);
}

static void
worker_pause(struct worker *worker)
{
	struct rpcap_pull *pull;
	struct session *session;

	worker->paused = true;
	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->state == SESSION_OPEN)
			tlsio_read_stop(session->tls);
	TAILQ_FOREACH(pull, &worker->rpcap_pulls, entry)
		rpcap_pull_pause(pull);
}

/* Each of them may end by what is called. */
static void
worker_each_pull(struct worker *worker, void (*call)(struct rpcap_pull *))
{
	struct rpcap_pull *pull, *next;

	for (pull = TAILQ_FIRST(&worker->rpcap_pulls); pull != NULL; pull = next) {
		next = TAILQ_NEXT(pull, entry);
		call(pull);
	}
}

static void
worker_resume(struct worker *worker)
{
	struct session *session;

	worker->paused = false;
	TAILQ_FOREACH(session, &worker->sessions, entry) {
		if (session->state == SESSION_CONTENDING)
			session_set_timer(session, SESSION_CONTEND_MS);		/* only now can the answer be read */
		if (session->state != SESSION_OPEN)
			continue;
		session_input(session);
		if (session->state == SESSION_OPEN && !worker->paused && !session->throttled)
			tlsio_read_start(session->tls);
	}
	worker_each_pull(worker, rpcap_pull_resume);
}

void
worker_consider_commit(struct worker *worker)
{
	struct archive *archive = &worker->archive;

	if (!archive_is_dirty(archive))
		return;
	if (worker->committing) {
		if (!worker->paused && archive->batch->dirty_bytes >= DIRTY_MAX)
			worker_pause(worker);
		else if (!worker->commit_due)
			worker_set_commit_timer(worker, archive->soon);
		return;
	}
	if (worker->commit_due || worker->stopping || archive->urgent || archive->batch->file_bytes >= COMMIT_BYTES ||
	    archive->batch->dirty_bytes >= DIRTY_MAX)
		worker_start_commit(worker);
	else
		worker_set_commit_timer(worker, archive->soon);
}

void
worker_come_back(struct worker *worker)
{
	static const struct timeval now = { 0 };

	event_add(worker->come_back, &now);
}

void
worker_ask_clocks_soon(struct worker *worker)
{
	static const struct timeval soon = { .tv_usec = SESSION_CLOCK_FIRST_MS * 1000 };

	if (!event_pending(worker->clock_timer, EV_TIMEOUT, NULL))
		event_add(worker->clock_timer, &soon);
}

static void
worker_ask_clocks(struct worker *worker)
{
	uint64_t now_ns = clock_mono_ns();
	struct session *session;
	bool more = false;

	TAILQ_FOREACH(session, &worker->sessions, entry)
		more |= session_ask_clock(session, now_ns);
	if (more)
		worker_ask_clocks_soon(worker);
}

static void
worker_clock_timeout(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	worker_ask_clocks(arg);
}

static void
worker_came_back(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct session *session;

	(void)fd;
	(void)events;
	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->backlog)
			session_input(session);
	worker_each_pull(worker, rpcap_pull_come_back);
}

void
worker_throttle(struct worker *worker)
{
	static const struct timeval moment = { .tv_usec = WORKER_THROTTLE_MS * 1000 };

	if (!event_pending(worker->throttle_timer, EV_TIMEOUT, NULL))
		event_add(worker->throttle_timer, &moment);
}

static void
worker_throttle_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct session *session;

	(void)fd;
	(void)events;
	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->throttled && session->state == SESSION_OPEN)
			session_go_on(session);
	worker_each_pull(worker, rpcap_pull_go_on);
}

static void
worker_commit_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)events;
	worker->commit_due = true;
	worker_consider_commit(worker);
}

/* In the committer's thread. */
static void
worker_commit_report(enum commit_event event, struct batch *batch, const char *text, void *arg)
{
	static const enum note_kind kinds[] = { [COMMIT_DONE] = NOTE_COMMITTED, [COMMIT_FAILING] = NOTE_COMMIT_FAILING,
	    [COMMIT_LOST] = NOTE_LOST };
	struct worker *worker = arg;
	struct note *note = note_new(kinds[event]);

	note->batch = batch;
	if (text != NULL)
		snprintf(note->text, sizeof(note->text), "%s", text);
	mailbox_post(event == COMMIT_LOST ? worker->all->main : worker->inbox, note);
}

static void
worker_stream_durable(struct stream *stream, void *arg)
{
	(void)arg;
	if (stream->vm->session != NULL)
		session_acknowledge(stream->vm->session, stream);
}

static void
worker_poke_retention(struct worker *worker, const struct batch *batch)
{
	const struct file_row *row = batch->files.row;

	for (size_t i = 0; i < batch->files.count; i++)
		if (!row[i].live) {
			retainer_poke(worker->all->retainer);
			return;
		}
}

/* All is durable and told: the sessions end, and with them the loop. */
static void
worker_finish(struct worker *worker)
{
	const struct timeval tv = { .tv_sec = WORKER_FINISH_MS / 1000, .tv_usec = WORKER_FINISH_MS % 1000 * 1000 };
	struct session *session;

	worker->finished = true;
	TAILQ_FOREACH(session, &worker->sessions, entry)
		session_bye(session, 2, "the collector is shutting down");
	event_base_loopexit(worker->base, TAILQ_EMPTY(&worker->sessions) ? NULL : &tv);
}

static void
worker_committed(struct worker *worker, const struct batch *batch)
{
	worker->committing = worker->failing = false;
	archive_committed(&worker->archive, batch, worker_stream_durable, NULL);
	worker_poke_retention(worker, batch);
	worker_consider_commit(worker);
	if (worker->paused && !worker->stopping)
		worker_resume(worker);
	if (worker->stopping && !worker->draining && !worker->committing && !worker->finished)
		worker_finish(worker);
}

static void
worker_commit_failing(struct worker *worker, const char *text)
{
	struct session *session;
	struct fault fault;

	worker->failing = true;
	snprintf(worker->failing_text, sizeof(worker->failing_text), "the store cannot be written: %.200s", text);
	fault_set(&fault, MSG_ERR_STORE, "%s", worker->failing_text);
	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->state == SESSION_OPEN || session->state == SESSION_CONTENDING)
			session_fail(session, &fault);
	while (!TAILQ_EMPTY(&worker->rpcap_pulls))
		rpcap_pull_close(TAILQ_FIRST(&worker->rpcap_pulls), &fault);
}

static void
worker_set_hint_timer(struct worker *worker)
{
	uint64_t us = worker->hint_lease_ms * 1000 / 6;
	const struct timeval tv = { .tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000) };

	event_add(worker->hint_timer, &tv);
}

/* Whom others rely on is asked for a sign of life before the lease has passed without one. */
static void
worker_hint_session(struct session *session)
{
	uint64_t heard_ns = session->alive.heard_ns;

	if (stream_hint_heard(&session->worker->archive, session->vm, heard_ns) &&
	    clock_mono_ns() - heard_ns >= session->worker->hint_lease_ms * 1000000u / 4)
		session_ask(session);
}

static void
worker_hint_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct session *session, *next;
	struct hint_time now;

	(void)fd;
	(void)events;
	for (session = TAILQ_FIRST(&worker->sessions); session != NULL; session = next) {
		next = TAILQ_NEXT(session, entry);
		if (session->state == SESSION_OPEN)
			worker_hint_session(session);
	}
	hint_tick(hint_hub_lock(worker->all->hints, &now), &now);
	hint_hub_unlock(worker->all->hints);
}

static void
worker_send_hints(struct worker *worker, const char *uuid)
{
	const struct vm *vm = archive_find_vm(&worker->archive, uuid);

	if (vm != NULL && vm->session != NULL && vm->session->state == SESSION_OPEN &&
	    msg_put_hints(&worker->out, worker->hints) == 0)
		session_send(vm->session);
}

static void
worker_hints(struct worker *worker)
{
	char uuid[IDENTITY_UUID_SIZE];
	struct hint_record record;
	enum hint_hub_next next;

	while ((next = hint_hub_take(worker->all->hints, worker->index, worker->hints, uuid, &record)) != HINT_NOTHING)
		if (next == HINT_MESSAGE)
			worker_send_hints(worker, uuid);
		else
			stream_hint_record(&worker->archive, &record);
}

static void
worker_settings(struct worker *worker, const struct worker_settings *settings)
{
	struct hint_time now;

	worker->keepalive_ms = settings->keepalive_ms;
	worker->dedup = settings->dedup;
	worker->enrol_life_ms = settings->enrol_life_ms;
	worker->hint_lease_ms = settings->hint_lease_ms;
	hints_set_lease(hint_hub_lock(worker->all->hints, &now), settings->hint_lease_ms * 1000000u);
	hint_hub_unlock(worker->all->hints);
	worker_set_hint_timer(worker);
	worker->archive.settings.rotate_size = settings->rotate_size;
	worker->archive.settings.rotate_interval_ms = settings->rotate_interval_ms;
}

static void
worker_tell_pushed(struct worker *worker, const struct vm_row *row, uint64_t token)
{
	struct note *note = note_new(NOTE_POLICY_PUSHED);

	note->token = token;
	note->version = row->policy_version;
	memcpy(note->uuid, row->uuid, sizeof(note->uuid));
	memcpy(note->name, row->name, sizeof(note->name));
	snprintf(note->text, sizeof(note->text), "%s", row->tenant);
	mailbox_post(worker->all->main, note);
}

static void
worker_policy(struct worker *worker, struct note *note)
{
	struct rpcap_pull *pull;
	struct session *session;
	struct note *reply;

	policy_set_unref(worker->policy);
	worker->policy = note->policy;
	note->policy = NULL;
	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->state == SESSION_OPEN && session_push_policy(session, false) && session->state == SESSION_OPEN)
			worker_tell_pushed(worker, &session->vm->row, note->token);
	TAILQ_FOREACH(pull, &worker->rpcap_pulls, entry)
		if (rpcap_pull_policy(pull))
			worker_tell_pushed(worker, &pull->vm->row, note->token);
	reply = note_new(NOTE_POLICY_PUSHED_ALL);
	reply->token = note->token;
	mailbox_post(worker->all->main, reply);
}

/* A VM was alone until now: what its policy leaves unset means another thing. */
static void
worker_peers(struct worker *worker, const char *tenant)
{
	struct session *session;

	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->state == SESSION_OPEN && strcmp(session->identity.tenant, tenant) == 0)
			session_push_policy(session, false);
}

static void
worker_status(struct worker *worker, uint64_t token)
{
	struct note *note = note_new(NOTE_STATUS_REPLY);
	json_t *sessions = json_array();
	struct rpcap_pull *pull;
	struct session *session;

	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->state != SESSION_HANDSHAKE)
			json_array_append_new(sessions, session_status(session));
	TAILQ_FOREACH(pull, &worker->rpcap_pulls, entry)
		json_array_append_new(sessions, rpcap_pull_status(pull));
	note->token = token;
	note->json = json_pack("{s:i, s:b, s:b, s:b, s:I, s:i, s:o}", "worker", (int)worker->index, "committing",
	    worker->committing, "failing", worker->failing, "paused", worker->paused, "dirty_bytes",
	    (json_int_t)worker->archive.batch->dirty_bytes, "handshakes", (int)worker->handshakes, "sessions", sessions);
	mailbox_post(worker->all->main, note);
}

/* The session that has asked may have been replaced meanwhile, by one that asks again. */
static void
worker_renewed(struct worker *worker, const struct note *note)
{
	struct session *session;

	TAILQ_FOREACH(session, &worker->sessions, entry)
		if (session->renewal == note->token) {
			session_renewed(session, note);
			return;
		}
}

static void
worker_revoke_pulls(struct worker *worker, const char *uuid)
{
	struct rpcap_pull *pull, *next;

	for (pull = TAILQ_FIRST(&worker->rpcap_pulls); pull != NULL; pull = next) {
		next = TAILQ_NEXT(pull, entry);
		if (strcmp(pull->identity.uuid, uuid) == 0)
			rpcap_pull_fail(pull, "the VM has been revoked");
	}
}

/* Those that are not here yet are refused when they say HELLO. */
static void
worker_revoke(struct worker *worker, const struct note *note)
{
	struct note *reply = note_new(NOTE_REVOKED);
	struct session *session, *next;

	for (session = TAILQ_FIRST(&worker->sessions); session != NULL; session = next) {
		next = TAILQ_NEXT(session, entry);
		if (session->state == SESSION_CLOSING || strcmp(session->identity.uuid, note->uuid) != 0)
			continue;
		session_revoked(session);
		reply->version++;
	}
	worker_revoke_pulls(worker, note->uuid);
	reply->token = note->token;
	mailbox_post(worker->all->main, reply);
}

/* Files are closed and connections noted as ended before the last commit; BYE comes after its acknowledgements. */
static void
worker_stop_store(struct worker *worker)
{
	struct vm *vm;

	archive_close_files(&worker->archive);
	TAILQ_FOREACH(vm, &worker->archive.vms, entry) {
		stream_hint_down(&worker->archive, vm);
		if (!vm->row.connected)
			continue;
		vm->row.connected = false;
		archive_vm_changed(&worker->archive, vm);
	}
	worker_hints(worker);
	worker_consider_commit(worker);
	if (!worker->committing)
		worker_finish(worker);
}

void
worker_pulls_ended(struct worker *worker)
{
	if (!worker->draining || !TAILQ_EMPTY(&worker->rpcap_pulls))
		return;
	worker->draining = false;
	worker_stop_store(worker);
}

static void
worker_stop(struct worker *worker)
{
	worker->stopping = worker->draining = true;
	worker_pause(worker);
	worker_each_pull(worker, rpcap_pull_stop);
	worker_pulls_ended(worker);
}

static void
worker_note(struct worker *worker, struct note *note)
{
	int fd = note->fd;
	struct session *session = note->session;

	switch (note->kind) {
	case NOTE_CONNECTION:
		note->fd = -1;
		session_new(worker, fd, note->pull, note->text);
		break;
	case NOTE_RPCAP:
		note->fd = -1;
		rpcap_pull_new(worker, fd, note->pull, note->url);
		break;
	case NOTE_SESSION:
		note->session = NULL;
		session_arrive(worker, session);
		break;
	case NOTE_CREDENTIALS:
		tls_context_free(worker->tls);
		worker->tls = note->tls;
		note->tls = NULL;
		break;
	case NOTE_SETTINGS:
		worker_settings(worker, &note->settings);
		break;
	case NOTE_POLICY:
		worker_policy(worker, note);
		break;
	case NOTE_HINTS:
		worker_hints(worker);
		break;
	case NOTE_PEERS:
		worker_peers(worker, note->text);
		break;
	case NOTE_STATUS:
		worker_status(worker, note->token);
		break;
	case NOTE_CERTIFICATE:
		if (!enrol_session_answer(worker, note))
			worker_renewed(worker, note);
		break;
	case NOTE_REVOKE:
		worker_revoke(worker, note);
		break;
	case NOTE_COMMITTED:
		worker_committed(worker, note->batch);
		break;
	case NOTE_COMMIT_FAILING:
		worker_commit_failing(worker, note->text);
		break;
	case NOTE_STOP:
		worker_stop(worker);
		break;
	case NOTE_PULL_ENDED:
	case NOTE_OPERATOR:
	case NOTE_POLICY_PUSHED:
	case NOTE_POLICY_PUSHED_ALL:
	case NOTE_POLICY_RESULT:
	case NOTE_STATUS_REPLY:
	case NOTE_REVOKED:
	case NOTE_DESK:
	case NOTE_METRICS:
	case NOTE_STOPPED:
	case NOTE_LOST:
		break;
	}
}

static void
worker_inbox(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct note *note;

	(void)fd;
	(void)events;
	mailbox_clear(worker->inbox);
	while ((note = mailbox_take(worker->inbox)) != NULL) {
		worker_note(worker, note);
		note_free(note);
	}
	worker_consider_commit(worker);
}

static void
worker_tick(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct rpcap_pull *pull;
	struct session *session;

	(void)fd;
	(void)events;
	TAILQ_FOREACH(pull, &worker->rpcap_pulls, entry) {
		pull->bytes_per_second = pull->bytes - pull->tick_bytes;
		pull->tick_bytes = pull->bytes;
	}
	TAILQ_FOREACH(session, &worker->sessions, entry) {
		uint64_t bytes = tlsio_bytes_in(session->tls);

		session->bytes_per_second = bytes - session->tick_bytes;
		session->tick_bytes = bytes;
		if (session->secret_wanted && session->state == SESSION_OPEN)
			session_push_policy(session, false);
	}
	worker_ask_clocks(worker);
	archive_rotate_old(&worker->archive);
	archive_give_places(&worker->archive);
	worker_consider_commit(worker);
}

static void *
worker_main(void *arg)
{
	struct worker *worker = arg;
	struct mailbox *main_box = worker->all->main;
	struct session *session;

	event_base_dispatch(worker->base);
	worker_each_pull(worker, rpcap_pull_free);
	while ((session = TAILQ_FIRST(&worker->sessions)) != NULL)
		session_free(session);
	while (!TAILQ_EMPTY(&worker->enrols))
		enrol_session_free(TAILQ_FIRST(&worker->enrols));
	mailbox_post(main_box, note_new(NOTE_STOPPED));
	return NULL;
}

static int
worker_make_events(struct worker *worker)
{
	if ((worker->base = event_base_new()) == NULL || (worker->inbox = mailbox_new()) == NULL)
		return -1;
	worker->inbox_event = event_new(worker->base, mailbox_fd(worker->inbox), EV_READ | EV_PERSIST, worker_inbox, worker);
	worker->commit_timer = evtimer_new(worker->base, worker_commit_timeout, worker);
	worker->come_back = evtimer_new(worker->base, worker_came_back, worker);
	worker->throttle_timer = evtimer_new(worker->base, worker_throttle_timeout, worker);
	worker->clock_timer = evtimer_new(worker->base, worker_clock_timeout, worker);
	worker->hint_timer = event_new(worker->base, -1, EV_PERSIST, worker_hint_timeout, worker);
	worker->tick = event_new(worker->base, -1, EV_PERSIST, worker_tick, worker);
	if (worker->inbox_event == NULL || worker->commit_timer == NULL || worker->come_back == NULL ||
	    worker->throttle_timer == NULL || worker->clock_timer == NULL || worker->hint_timer == NULL || worker->tick == NULL)
		return -1;
	if (event_add(worker->inbox_event, NULL) == -1 || event_add(worker->tick, &worker_second) == -1)
		return -1;
	return 0;
}

static int
worker_init(struct worker *worker, const struct worker_settings *settings, char *error, size_t error_size)
{
	const struct archive_settings archive = { .rotate_size = settings->rotate_size,
	    .rotate_interval_ms = settings->rotate_interval_ms };

	TAILQ_INIT(&worker->sessions);
	TAILQ_INIT(&worker->enrols);
	TAILQ_INIT(&worker->rpcap_pulls);
	buf_init(&worker->out, WORKER_OUT_MAX);
	worker->keepalive_ms = settings->keepalive_ms;
	worker->dedup = settings->dedup;
	worker->enrol_life_ms = settings->enrol_life_ms;
	worker->hint_lease_ms = settings->hint_lease_ms;
	if (worker_make_events(worker) == -1 || (worker->stats = calloc(MSG_STATS_MAX, sizeof(*worker->stats))) == NULL ||
	    (worker->hints = calloc(1, sizeof(*worker->hints))) == NULL) {
		snprintf(error, error_size, "worker: %s", strerror(errno));
		return -1;
	}
	if (archive_init(&worker->archive, worker->all->store, &archive, error, error_size) == -1)
		return -1;
	worker->archive.hints = worker->all->hints;
	worker_set_hint_timer(worker);
	worker->committer = committer_new(worker->all->store, worker_commit_report, worker, error, error_size);
	return worker->committer != NULL ? 0 : -1;
}

static void
worker_clear(struct worker *worker)
{
	committer_free(worker->committer);
	if (worker->archive.batch != NULL)
		archive_clear(&worker->archive);
	mailbox_free(worker->inbox);
	if (worker->inbox_event != NULL)
		event_free(worker->inbox_event);
	if (worker->commit_timer != NULL)
		event_free(worker->commit_timer);
	if (worker->come_back != NULL)
		event_free(worker->come_back);
	if (worker->throttle_timer != NULL)
		event_free(worker->throttle_timer);
	if (worker->clock_timer != NULL)
		event_free(worker->clock_timer);
	if (worker->hint_timer != NULL)
		event_free(worker->hint_timer);
	if (worker->tick != NULL)
		event_free(worker->tick);
	if (worker->base != NULL)
		event_base_free(worker->base);
	tls_context_free(worker->tls);
	tls_context_free(worker->rpcap_tls);
	policy_set_unref(worker->policy);
	buf_clear(&worker->out);
	free(worker->stats);
	free(worker->hints);
}

static void
workers_clear(struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		worker_clear(&workers->worker[i]);
	free(workers->worker);
	hint_hub_free(workers->hints);
	workers->hints = NULL;
	workers->worker = NULL;
	workers->count = 0;
}

static int
workers_run(struct workers *workers)
{
	int rc = 0;

	for (unsigned i = 0; i < workers->count && rc == 0; i++)
		rc = pthread_create(&workers->worker[i].thread, NULL, worker_main, &workers->worker[i]);
	errno = rc;
	return rc == 0 ? 0 : -1;
}

static void
workers_wake(unsigned index, void *arg)
{
	const struct workers *workers = arg;

	mailbox_post(workers->worker[index].inbox, note_new(NOTE_HINTS));
}

int
workers_start(struct workers *workers, unsigned count, struct tls_context *tls[], struct policy_set *policy,
    const struct worker_settings *settings, char *error, size_t error_size)
{
	if ((workers->worker = calloc(count, sizeof(*workers->worker))) == NULL ||
	    (workers->hints = hint_hub_new(settings->hint_lease_ms * 1000000u, count, workers_wake, workers)) == NULL) {
		free(workers->worker);
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	workers->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct worker *worker = &workers->worker[i];

		worker->all = workers;
		worker->index = i;
		worker->tls = tls[i];
		worker->rpcap_tls = workers->rpcap_tls[i];
		worker->policy = policy_set_ref(policy);
	}
	for (unsigned i = 0; i < count; i++)
		if (worker_init(&workers->worker[i], settings, error, error_size) == -1) {
			workers_clear(workers);
			return -1;
		}
	if (workers_run(workers) == 0)
		return 0;
	snprintf(error, error_size, "thread: %s", strerror(errno));
	return -1;	/* some may run: the process ends */
}

void
workers_tell(struct workers *workers, const struct note *like)
{
	for (unsigned i = 0; i < workers->count; i++) {
		struct note *note = note_new(like->kind);

		note->token = like->token;
		note->settings = like->settings;
		memcpy(note->uuid, like->uuid, sizeof(note->uuid));
		memcpy(note->text, like->text, sizeof(note->text));
		if (like->policy != NULL)
			note->policy = policy_set_ref(like->policy);
		mailbox_post(workers->worker[i].inbox, note);
	}
}

void
workers_join(struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		pthread_join(workers->worker[i].thread, NULL);
	workers_clear(workers);
}

unsigned
workers_home(const struct workers *workers, const char *uuid)
{
	uint32_t hash = 2166136261u;	/* FNV-1a */

	for (; *uuid != '\0'; uuid++)
		hash = (hash ^ (uint8_t)*uuid) * 16777619u;
	return hash % workers->count;
}
