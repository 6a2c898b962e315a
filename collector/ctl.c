/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "collector/collector.h"
#include "collector/counts.h"
#include "collector/ctl_internal.h"

#define CTL_BACKLOG	16
#define CTL_PAUSE_MS	500

static void
ctl_client_free(struct ctl_client *client)
{
	TAILQ_REMOVE(&client->ctl->clients, client, entry);
	client->ctl->client_count--;
	if (client->timer != NULL)
		event_free(client->timer);
	if (client->bev != NULL)
		bufferevent_free(client->bev);
	json_decref(client->rows);
	json_decref(client->answer);
	free(client);
}

static bool
ctl_is_busy(const struct ctl_client *client)
{
	return client->token != 0 || evbuffer_get_length(bufferevent_get_output(client->bev)) > 0;
}

/* One line at a time: the next is looked at when its answer is out, so that answers do not pile up for one who does not read. */
static void
ctl_next_line(struct ctl_client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);
	size_t len;
	char *line;

	if (ctl_is_busy(client))
		return;
	if ((line = evbuffer_readln(input, &len, EVBUFFER_EOL_LF)) != NULL) {
		ctl_command(client, line, len);
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
	(void)bev;
	ctl_next_line(arg);
	ctl_free_if_done(arg);
}

/* A client may shut its side down as soon as it has asked. */
static void
ctl_event(struct bufferevent *bev, short what, void *arg)
{
	struct ctl_client *client = arg;

	(void)bev;
	if (what & BEV_EVENT_EOF) {
		client->eof = true;
		ctl_free_if_done(client);
	} else
		ctl_client_free(client);
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

/* Answers with what came. */
static void
ctl_finish(struct ctl_client *client)
{
	json_t *answer = json_pack("{s:b, s:O}", "ok", 1, client->list, client->rows);
	const char *name;
	json_t *counters;

	if (strcmp(client->list, "workers") == 0 && answer != NULL && (counters = json_object()) != NULL) {
		for (unsigned i = 0; i < COUNT_MAX; i++)
			if ((name = count_name(i)) != NULL)
				json_object_set_new(counters, name, json_integer((json_int_t)count_get(i)));
		json_object_set_new(answer, "counters", counters);
	}
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
	if (client->list != NULL)
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
		json_array_append_new(client->rows, json_pack("{s:s, s:s, s:n, s:s}", "vm", note->uuid, "name", note->name,
		    "accepted", "reason", "no answer yet"));
		client->results_left++;
	} else {
		if (note->kind == NOTE_STATUS_REPLY)
			json_array_append(client->rows, note->json);
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

/* Takes fd. */
static void
ctl_client_new(struct ctl *ctl, int fd)
{
	const struct timeval idle = { .tv_sec = CTL_IDLE_S };
	struct ctl_client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		close(fd);
		return;
	}
	client->ctl = ctl;
	TAILQ_INSERT_TAIL(&ctl->clients, client, entry);
	ctl->client_count++;
	client->timer = evtimer_new(ctl->collector->base, ctl_timeout, client);
	client->bev = bufferevent_socket_new(ctl->collector->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (client->bev == NULL || client->timer == NULL) {
		if (client->bev == NULL)
			close(fd);
		ctl_client_free(client);
		return;
	}
	bufferevent_setcb(client->bev, ctl_readable, ctl_written, ctl_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, CTL_LINE_MAX);
	bufferevent_set_timeouts(client->bev, &idle, &idle);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
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
		ctl_client_new(ctl, peer);
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
	TAILQ_INIT(&ctl->clients);
	if (ctl_bind(ctl, gid) == 0 &&
	    (ctl->event = event_new(collector->base, ctl->fd, EV_READ | EV_PERSIST, ctl_accept, ctl)) != NULL &&
	    (ctl->pause = evtimer_new(collector->base, ctl_resume, ctl)) != NULL && event_add(ctl->event, NULL) == 0)
		return ctl;
	snprintf(error, error_size, "control socket %s: %s", path, strerror(errno));
	if (ctl->event != NULL)
		event_free(ctl->event);
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
	event_free(ctl->event);
	event_free(ctl->pause);
	close(ctl->fd);
	unlink(ctl->path);
	free(ctl->path);
	free(ctl);
}
