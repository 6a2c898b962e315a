/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/clock.h"

#include "collector/collector.h"
#include "collector/counts.h"
#include "collector/ctl_internal.h"

#define CTL_BACKLOG	16
#define CTL_PAUSE_MS	500

static void
ctl_client_free(struct ctl_client *client)
{
	struct ctl *ctl = client->ctl;

	TAILQ_REMOVE(&ctl->clients, client, entry);
	ctl_run_abandon(client->run);
	if (client->tenant != NULL) {
		client->tenant->clients--;
		ctl->operator_count--;
	} else
		ctl->client_count--;
	if (client->timer != NULL)
		event_free(client->timer);
	if (client->bev != NULL)
		bufferevent_free(client->bev);
	json_decref(client->rows);
	json_decref(client->answer);
	free(client);
}

bool
ctl_may(const struct ctl_client *client, const char *tenant, unsigned set)
{
	return rights_have(&client->rights, tenant, set);
}

static bool
ctl_is_busy(const struct ctl_client *client)
{
	return client->token != 0 || client->run != NULL || client->held || evbuffer_get_length(bufferevent_get_output(client->bev)) > 0;
}

/* Questions of a tenant's operators come no faster than these: each has the policy file read, or all workers asked. */
static bool
ctl_may_ask(struct ctl_client *client)
{
	static const struct budget_rate rate = { .piece_ns = CTL_QUESTION_NS, .burst = CTL_QUESTION_BURST };
	const struct timeval wait = { .tv_usec = CTL_PAUSE_MS * 1000 };

	if (client->tenant == NULL || budget_take(&client->tenant->questions, &rate, 1))
		return true;
	client->held = true;
	event_add(client->timer, &wait);
	return false;
}

/* A question that takes long is many: all sessions, agents' too, wait meanwhile for this thread. */
static void
ctl_command_charged(struct ctl_client *client, const char *line, size_t len)
{
	static const struct budget_rate rate = { .piece_ns = CTL_QUESTION_NS, .burst = CTL_QUESTION_BURST };
	struct ctl_tenant *tenant = client->tenant;
	uint64_t from_ns = clock_mono_ns();

	ctl_command(client, line, len);
	if (tenant != NULL)
		budget_spend(&tenant->questions, &rate, (clock_mono_ns() - from_ns) * CTL_QUESTION_SHARE / CTL_QUESTION_NS);
}

/* One line at a time: the next is looked at when its answer is out, so that answers do not pile up for one who does not read. */
void
ctl_next_line(struct ctl_client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);
	size_t len;
	char *line;

	if (ctl_is_busy(client) || (evbuffer_search_eol(input, NULL, NULL, EVBUFFER_EOL_LF).pos != -1 && !ctl_may_ask(client)))
		return;
	if ((line = evbuffer_readln(input, &len, EVBUFFER_EOL_LF)) != NULL) {
		ctl_command_charged(client, line, len);
		free(line);
	} else if (evbuffer_get_length(input) >= CTL_LINE_MAX) {
		evbuffer_drain(input, evbuffer_get_length(input));
		ctl_error(client, "the line is longer than 65536 bytes");
	}
}

static void
ctl_readable(struct bufferevent *bev, void *arg)
{
	(void)bev;
	ctl_next_line(arg);
}

static void
ctl_free_if_done(struct ctl_client *client)
{
	if (client->eof && !ctl_is_busy(client))
		ctl_client_free(client);
}

static void
ctl_written(struct bufferevent *bev, void *arg)
{
	struct ctl_client *client = arg;

	(void)bev;
	ctl_run_continue(client->run);
	ctl_next_line(client);
	ctl_free_if_done(client);
}

/* A client may shut its side down as soon as it has asked; but one by TLS, and whoever has output coming, has gone by that. */
static void
ctl_event(struct bufferevent *bev, short what, void *arg)
{
	struct ctl_client *client = arg;

	(void)bev;
	if ((what & BEV_EVENT_EOF) && client->tenant == NULL) {
		client->eof = true;
		ctl_free_if_done(client);
	} else
		ctl_client_free(client);
}

char *
ctl_refusal(const char *why)
{
	json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "error", why);
	char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT) : NULL, *line = NULL;

	if (text == NULL || asprintf(&line, "%s\n", text) == -1)
		line = NULL;
	free(text);
	json_decref(answer);
	return line;
}

void
ctl_answer(struct ctl_client *client, json_t *answer)
{
	char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT) : NULL;
	struct evbuffer *output = bufferevent_get_output(client->bev);

	if (text != NULL)
		evbuffer_add_printf(output, "%s\n", text);
	else
		evbuffer_add_printf(output, "{\"ok\":false,\"error\":\"out of memory\"}\n");
	free(text);
	json_decref(answer);
}

void
ctl_error(struct ctl_client *client, const char *error)
{
	json_t *text = json_string(error);

	ctl_answer(client, json_pack("{s:b, s:o}", "ok", 0, "error", text != NULL ? text : json_string("not UTF-8")));
}

static json_t *
ctl_counters(void)
{
	json_t *counters = json_object();
	const char *name;

	for (unsigned i = 0; i < COUNT_MAX; i++)
		if ((name = count_name(i)) != NULL)
			json_object_set_new(counters, name, json_integer((json_int_t)count_get(i)));
	return counters;
}

/* Answers with what came. */
static void
ctl_finish(struct ctl_client *client)
{
	json_t *answer = json_pack("{s:b, s:O}", "ok", 1, client->list, client->rows);

	if (strcmp(client->list, "workers") == 0 && answer != NULL && ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_READ))
		json_object_set_new(answer, "counters", ctl_counters());
	client->token = 0;
	event_del(client->timer);
	json_decref(client->rows);
	client->rows = NULL;
	ctl_answer(client, answer);
}

static void
ctl_finish_desk(struct ctl_client *client, json_t *answer)
{
	client->token = 0;
	event_del(client->timer);
	client->answer = NULL;
	ctl_answer(client, answer);
}

static void
ctl_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct ctl_client *client = arg;

	(void)fd;
	(void)events;
	if (client->held) {
		client->held = false;
		ctl_next_line(client);
	} else if (client->list != NULL)
		ctl_finish(client);
	else {
		json_decref(client->answer);
		ctl_finish_desk(client, json_pack("{s:b, s:s}", "ok", 0, "error", "the catalog is busy: it may be done yet"));
	}
}

void
ctl_wait(struct ctl_client *client)
{
	const struct timeval tv = { .tv_sec = CTL_RESULTS_S };

	client->token = ++client->ctl->last_token;
	client->workers_left = client->ctl->collector->workers.count;
	client->results_left = 0;
	client->rows = json_array();
	event_add(client->timer, &tv);
}

void
ctl_wait_desk(struct ctl_client *client)
{
	const struct timeval tv = { .tv_sec = CTL_DESK_S };

	client->list = NULL;
	client->token = ++client->ctl->last_token;
	client->workers_left = client->ctl->collector->workers.count;
	client->closed = 0;
	event_add(client->timer, &tv);
}

/* The workers' answers may come before the desk's, which says whether they were asked at all. */
static void
ctl_desk_note(struct ctl_client *client, const struct note *note)
{
	if (note->kind == NOTE_REVOKED) {
		client->workers_left--;
		client->closed += note->version;
	} else {
		client->answer = json_incref(note->json);
		if (note->uuid[0] == '\0')
			client->workers_left = 0;
	}
	if (client->answer == NULL || client->workers_left > 0)
		return;
	if (note->kind == NOTE_REVOKED || note->uuid[0] != '\0')
		json_object_set_new(client->answer, "closed", json_integer((json_int_t)client->closed));
	ctl_finish_desk(client, client->answer);
}

static void
ctl_set_result(struct ctl_client *client, const struct note *note)
{
	json_t *row;
	size_t i;

	json_array_foreach(client->rows, i, row) {
		if (!json_is_null(json_object_get(row, "accepted")) ||
		    strcmp(json_string_value(json_object_get(row, "vm")), note->uuid) != 0)
			continue;
		json_object_set_new(row, "accepted", json_boolean(note->good));
		json_object_set_new(row, "reason", json_string(note->text));
		client->results_left--;
	}
}

/* Of a worker's state what the client may see. */
static json_t *
ctl_visible_status(const struct ctl_client *client, json_t *all)
{
	json_t *sessions = json_array(), *session;
	const char *tenant;
	size_t i;

	if (ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_READ)) {
		json_decref(sessions);
		return json_incref(all);
	}
	json_array_foreach(json_object_get(all, "sessions"), i, session)
		if ((tenant = json_string_value(json_object_get(session, "tenant"))) != NULL && ctl_may(client, tenant, RIGHT_READ))
			json_array_append(sessions, session);
	return json_pack("{s:O, s:o}", "worker", json_object_get(all, "worker"), "sessions", sessions);
}

static void
ctl_client_note(struct ctl_client *client, struct note *note)
{
	if (note->kind != NOTE_POLICY_RESULT && note->token != client->token)
		return;
	if (client->list == NULL) {
		if (note->kind == NOTE_REVOKED || note->kind == NOTE_DESK)
			ctl_desk_note(client, note);
		return;
	}
	if (note->kind == NOTE_POLICY_RESULT)
		ctl_set_result(client, note);
	else if (note->kind == NOTE_POLICY_PUSHED) {
		if (!ctl_may(client, note->text, RIGHT_POLICY))
			return;		/* the policy file has changed, too */
		json_array_append_new(client->rows, json_pack("{s:s, s:s, s:n, s:s}", "vm", note->uuid, "name", note->name,
		    "accepted", "reason", "no answer yet"));
		client->results_left++;
	} else {
		if (note->kind == NOTE_STATUS_REPLY)
			json_array_append_new(client->rows, ctl_visible_status(client, note->json));
		client->workers_left--;
	}
	if (client->workers_left == 0 && client->results_left == 0)
		ctl_finish(client);
}

void
ctl_note(struct ctl *ctl, struct note *note)
{
	struct ctl_client *client, *next;

	if (ctl == NULL)
		return;
	for (client = TAILQ_FIRST(&ctl->clients); client != NULL; client = next) {
		next = TAILQ_NEXT(client, entry);
		if (client->token != 0)
			ctl_client_note(client, note);
	}
}

void
ctl_client_set_idle(struct ctl_client *client, const struct timeval *reading, const struct timeval *writing)
{
	bufferevent_set_timeouts(client->bev, reading, writing);
}

struct ctl_client *
ctl_client_new(struct ctl *ctl, int fd, struct ctl_tenant *tenant)
{
	const struct timeval idle = { .tv_sec = CTL_IDLE_S };
	struct ctl_client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		close(fd);
		return NULL;
	}
	client->ctl = ctl;
	client->tenant = tenant;
	snprintf(client->who, sizeof(client->who), "command");
	rights_add(&client->rights, RIGHTS_ALL_TENANTS, tenant == NULL ? RIGHTS_EVERY : 0);
	TAILQ_INSERT_TAIL(&ctl->clients, client, entry);
	if (tenant != NULL) {
		tenant->clients++;
		ctl->operator_count++;
	} else
		ctl->client_count++;
	client->timer = evtimer_new(ctl->collector->base, ctl_timeout, client);
	client->bev = bufferevent_socket_new(ctl->collector->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (client->bev == NULL || client->timer == NULL) {
		if (client->bev == NULL)
			close(fd);
		ctl_client_free(client);
		return NULL;
	}
	bufferevent_setcb(client->bev, ctl_readable, ctl_written, ctl_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, CTL_LINE_MAX);
	ctl_client_set_idle(client, &idle, &idle);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
	return client;
}

static void
ctl_resume(evutil_socket_t fd, short events, void *arg)
{
	struct ctl *ctl = arg;

	(void)fd;
	(void)events;
	event_add(ctl->event, NULL);
}

/* One who cannot be accepted, for want of descriptors, must not wake us without end. */
static void
ctl_rest(struct ctl *ctl)
{
	const struct timeval tv = { .tv_usec = CTL_PAUSE_MS * 1000 };

	event_del(ctl->event);
	event_add(ctl->pause, &tv);
}

static void
ctl_accept(evutil_socket_t fd, short events, void *arg)
{
	struct ctl *ctl = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (peer == -1)
		ctl_rest(ctl);
	else if (ctl->client_count >= CTL_CLIENTS_MAX)
		close(peer);
	else
		ctl_client_new(ctl, peer, NULL);
}

/* A dead run's socket goes; the store's lock, taken before, says that there is no live one. */
static int
ctl_bind(struct ctl *ctl, gid_t gid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int rc;

	if (strlen(ctl->path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, ctl->path);
	if (lstat(ctl->path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(ctl->path);
	if ((ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		return -1;
	mask = umask(0117);
	rc = bind(ctl->fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (rc == -1 || listen(ctl->fd, CTL_BACKLOG) == -1)
		return -1;
	if (gid != (gid_t)-1 && chown(ctl->path, (uid_t)-1, gid) == -1)
		log_debug("%s: group cannot be set: %s", ctl->path, strerror(errno));
	return 0;
}

static void
ctl_free_events(struct ctl *ctl)
{
	struct event *events[] = { ctl->event, ctl->pause, ctl->child };

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i] != NULL)
			event_free(events[i]);
}

static void
ctl_child_ended(evutil_socket_t signo, short events, void *arg)
{
	(void)signo;
	(void)events;
	ctl_run_reap(arg);
}

struct ctl *
ctl_new(struct collector *collector, const char *path, gid_t gid, char *error, size_t error_size)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));

	if (ctl == NULL || (ctl->path = strdup(path)) == NULL) {
		snprintf(error, error_size, "out of memory");
		free(ctl);
		return NULL;
	}
	ctl->collector = collector;
	ctl->fd = -1;
	ctl->run_program = "/proc/self/exe";
	TAILQ_INIT(&ctl->clients);
	TAILQ_INIT(&ctl->tenants);
	TAILQ_INIT(&ctl->remotes);
	TAILQ_INIT(&ctl->runs);
	if (ctl_bind(ctl, gid) == 0 &&
	    (ctl->event = event_new(collector->base, ctl->fd, EV_READ | EV_PERSIST, ctl_accept, ctl)) != NULL &&
	    (ctl->pause = evtimer_new(collector->base, ctl_resume, ctl)) != NULL &&
	    (ctl->child = evsignal_new(collector->base, SIGCHLD, ctl_child_ended, ctl)) != NULL &&
	    event_add(ctl->child, NULL) == 0 && event_add(ctl->event, NULL) == 0)
		return ctl;
	snprintf(error, error_size, "control socket %s: %s", path, strerror(errno));
	ctl_free_events(ctl);
	if (ctl->fd != -1)
		close(ctl->fd);
	free(ctl->path);
	free(ctl);
	return NULL;
}

void
ctl_free(struct ctl *ctl)
{
	struct ctl_client *client;

	if (ctl == NULL)
		return;
	while ((client = TAILQ_FIRST(&ctl->clients)) != NULL)
		ctl_client_free(client);
	ctl_runs_free(ctl);
	ctl_operators_free(ctl);
	ctl_free_events(ctl);
	close(ctl->fd);
	unlink(ctl->path);
	free(ctl->path);
	free(ctl);
}
