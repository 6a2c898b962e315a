/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "common/buf.h"
#include "common/http.h"
#include "common/metrics.h"

#define HTTP_PATH	"/metrics"
#define HTTP_SLOW_S	1
#define RETRY_S		1	/* after accept(2) failed: no descriptors, no memory */

enum client_state {
	CLIENT_ASKING,
	CLIENT_WAITING,		/* for http_answer() */
	CLIENT_ANSWERED,	/* what is queued goes out */
	CLIENT_SLOW		/* and has not within HTTP_SLOW_S */
};

struct http_client {
	TAILQ_ENTRY(http_client) entry;
	struct http	*http;
	struct bufferevent *bev;	/* NULL: it is gone */
	struct event	*timer;		/* to ask, and then to take the answer */
	enum client_state state;
};

struct http_socket {
	LIST_ENTRY(http_socket) entry;
	struct evconnlistener *listener;
};

struct http {
	struct event_base *base;
	http_ask	*ask;
	void		*arg;
	struct event	*retry;
	bool		 failed;	/* until retry */
	bool		 open;
	unsigned	 client_count;
	TAILQ_HEAD(, http_client) clients;	/* the oldest first */
	LIST_HEAD(, http_socket) sockets;
};

static bool
client_is_idle(const struct http_client *client)
{
	int unread;

	if (client->state != CLIENT_ASKING || client->bev == NULL)
		return client->state == CLIENT_SLOW;
	return ioctl(bufferevent_getfd(client->bev), FIONREAD, &unread) == -1 || unread == 0;
}

/* The oldest of those who have not asked, nor is it there to be read, or who are slow to take the answer; NULL: there is none. */
static struct http_client *
http_idle(struct http *http)
{
	struct http_client *client;

	TAILQ_FOREACH(client, &http->clients, entry)
		if (client_is_idle(client))
			return client;
	return NULL;
}

static void
http_check(struct http *http)
{
	bool open = !http->failed && (http->client_count < HTTP_CLIENTS_MAX || http_idle(http) != NULL);
	struct http_socket *s;

	if (open == http->open)
		return;
	http->open = open;
	LIST_FOREACH(s, &http->sockets, entry)
		(void)(open ? evconnlistener_enable(s->listener) : evconnlistener_disable(s->listener));
}

static void
client_free(struct http_client *client)
{
	struct http *http = client->http;

	TAILQ_REMOVE(&http->clients, client, entry);
	http->client_count--;
	if (client->bev != NULL)
		bufferevent_free(client->bev);
	if (client->timer != NULL)
		event_free(client->timer);
	free(client);
	http_check(http);
}

/* A place for one more. */
static bool
http_make_room(struct http *http)
{
	struct http_client *idle;

	if (http->client_count < HTTP_CLIENTS_MAX)
		return true;
	if ((idle = http_idle(http)) == NULL)
		return false;
	client_free(idle);
	return true;
}

/* Whoever was asked still has the client's address: then it goes with the answer. */
static void
client_gone(struct http_client *client)
{
	if (client->state != CLIENT_WAITING) {
		client_free(client);
		return;
	}
	bufferevent_free(client->bev);
	client->bev = NULL;
}

static void
client_set_timer(struct http_client *client, int seconds)
{
	const struct timeval idle = { .tv_sec = seconds };

	event_add(client->timer, &idle);
}

static void
client_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = arg;

	(void)fd;
	(void)what;
	if (client->state != CLIENT_ANSWERED) {
		client_free(client);
		return;
	}
	client->state = CLIENT_SLOW;
	client_set_timer(client, HTTP_IDLE_S - HTTP_SLOW_S);
	http_check(client->http);
}

/* --- the answer --- */

/* The head of an answer of len bytes; they follow. */
static int
client_begin(struct http_client *client, const char *status, const char *type, size_t len)
{
	client->state = CLIENT_ANSWERED;
	client_set_timer(client, HTTP_SLOW_S);
	http_check(client->http);
	return evbuffer_add_printf(bufferevent_get_output(client->bev),
	    "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n", status, type, len,
	    strncmp(status, "405", 3) == 0 ? "Allow: GET\r\n" : "");
}

static void
client_reply(struct http_client *client, const char *status, const char *type, const void *body, size_t len)
{
	if (client_begin(client, status, type, len) == -1 || evbuffer_add(bufferevent_get_output(client->bev), body, len) == -1)
		client_free(client);
}

static void
client_refuse(struct http_client *client, const char *status, const char *why)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "%.500s\n", why);

	client_reply(client, status, "text/plain; charset=utf-8", text, (size_t)len);
}

void
http_answer(struct http_client *client, const void *metrics, size_t len, const char *why)
{
	if (client->bev == NULL)
		client_free(client);
	else if (metrics != NULL)
		client_reply(client, "200 OK", METRICS_CONTENT_TYPE, metrics, len);
	else
		client_refuse(client, "503 Service Unavailable", why);
}

/* --- texts --- */

struct http_text {
	struct buf	 buf;
	unsigned	 refs;
};

struct http_text *
http_text_new(struct buf *buf)
{
	struct http_text *text = calloc(1, sizeof(*text));

	if (text == NULL)
		return NULL;
	text->buf = *buf;
	text->refs = 1;
	buf_init(buf, buf->max);
	return text;
}

void
http_text_unref(struct http_text *text)
{
	if (text == NULL || --text->refs > 0)
		return;
	buf_clear(&text->buf);
	free(text);
}

static void
text_sent(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	http_text_unref(arg);
}

static int
client_add_text(struct http_client *client, struct http_text *text)
{
	if (text == NULL || text->buf.len == 0)
		return 0;
	if (evbuffer_add_reference(bufferevent_get_output(client->bev), text->buf.data, text->buf.len, text_sent, text) == -1)
		return -1;
	text->refs++;
	return 0;
}

void
http_answer_texts(struct http_client *client, struct http_text *const *text, size_t count)
{
	size_t len = 0;
	int errs;

	if (client->bev == NULL) {
		client_free(client);
		return;
	}
	for (size_t i = 0; i < count; i++)
		len += text[i] != NULL ? text[i]->buf.len : 0;
	errs = client_begin(client, "200 OK", METRICS_CONTENT_TYPE, len) == -1;
	for (size_t i = 0; i < count && errs == 0; i++)
		errs += client_add_text(client, text[i]) == -1;
	if (errs > 0)
		client_free(client);
}

/* --- the question --- */

/* METHOD SP target SP HTTP/1.x (RFC 9112, section 3); a query behind the path is of no matter. */
static void
client_asked(struct http_client *client, char *line)
{
	char *target = strchr(line, ' '), *version = target != NULL ? strchr(target + 1, ' ') : NULL;

	if (version == NULL || strncmp(version, " HTTP/1.", 8) != 0) {
		client_refuse(client, "400 Bad Request", "this is not HTTP/1.1");
		return;
	}
	*target++ = *version = '\0';
	target[strcspn(target, "?")] = '\0';
	if (strcmp(target, HTTP_PATH) != 0)
		client_refuse(client, "404 Not Found", "there is only " HTTP_PATH);
	else if (strcmp(line, "GET") != 0)
		client_refuse(client, "405 Method Not Allowed", "there is only GET");
	else {
		client->state = CLIENT_WAITING;
		event_del(client->timer);
		http_check(client->http);
		client->http->ask(client, client->http->arg);
	}
}

/* The head ends with an empty line; what follows is a body, and thrown away. */
static bool
head_is_whole(struct evbuffer *input)
{
	return evbuffer_search(input, "\r\n\r\n", 4, NULL).pos != -1 || evbuffer_search(input, "\n\n", 2, NULL).pos != -1;
}

static void
client_readable(struct bufferevent *bev, void *arg)
{
	struct http_client *client = arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	char *line;

	if (client->state != CLIENT_ASKING) {
		evbuffer_drain(input, evbuffer_get_length(input));
		return;
	}
	if (!head_is_whole(input)) {
		if (evbuffer_get_length(input) >= HTTP_HEAD_MAX)
			client_refuse(client, "431 Request Header Fields Too Large", "the head is longer than 8192 bytes");
		else
			http_check(client->http);
		return;
	}
	line = evbuffer_readln(input, NULL, EVBUFFER_EOL_CRLF);
	evbuffer_drain(input, evbuffer_get_length(input));
	if (line != NULL)
		client_asked(client, line);
	else
		client_free(client);
	free(line);
}

static void
client_written(struct bufferevent *bev, void *arg)
{
	struct http_client *client = arg;

	(void)bev;
	if (client->state == CLIENT_ANSWERED || client->state == CLIENT_SLOW)
		client_free(client);
}

/* One may shut its side down as soon as it has asked. */
static void
client_event(struct bufferevent *bev, short what, void *arg)
{
	struct http_client *client = arg;

	if (what & BEV_EVENT_EOF && client->state != CLIENT_ASKING)
		bufferevent_disable(bev, EV_READ);
	else
		client_gone(client);
}

/* Takes fd. */
static void
client_new(struct http *http, int fd)
{
	struct http_client *client = http_make_room(http) ? calloc(1, sizeof(*client)) : NULL;

	if (client == NULL) {
		close(fd);
		return;
	}
	client->http = http;
	TAILQ_INSERT_TAIL(&http->clients, client, entry);
	http->client_count++;
	client->timer = evtimer_new(http->base, client_timeout, client);
	client->bev = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (client->timer == NULL || client->bev == NULL) {
		if (client->bev == NULL)
			close(fd);
		client_free(client);
		return;
	}
	bufferevent_setcb(client->bev, client_readable, client_written, client_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, HTTP_HEAD_MAX);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
	client_set_timer(client, HTTP_IDLE_S);
	http_check(http);
}

/* --- the sockets --- */

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	(void)listener;
	(void)address;
	(void)len;
	client_new(arg, fd);
}

/* One who cannot be accepted must not wake us without end. */
static void
on_accept_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval tv = { .tv_sec = RETRY_S };
	struct http *http = arg;

	(void)listener;
	http->failed = true;
	http_check(http);
	event_add(http->retry, &tv);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct http *http = arg;

	(void)fd;
	(void)what;
	http->failed = false;
	http_check(http);
}

struct http *
http_new(struct event_base *base, http_ask *ask, void *arg)
{
	struct http *http = calloc(1, sizeof(*http));

	if (http == NULL)
		return NULL;
	http->base = base;
	http->ask = ask;
	http->arg = arg;
	http->open = true;
	TAILQ_INIT(&http->clients);
	LIST_INIT(&http->sockets);
	if ((http->retry = evtimer_new(base, on_retry, http)) != NULL)
		return http;
	free(http);
	return NULL;
}

int
http_listen(struct http *http, int fd)
{
	unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | (http->open ? 0 : LEV_OPT_DISABLED);
	struct http_socket *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -1;
	if ((s->listener = evconnlistener_new(http->base, on_accept, http, flags, 0, fd)) == NULL) {
		free(s);
		return -1;
	}
	evconnlistener_set_error_cb(s->listener, on_accept_error);
	LIST_INSERT_HEAD(&http->sockets, s, entry);
	return 0;
}

void
http_free(struct http *http)
{
	struct http_client *client;
	struct http_socket *s;

	if (http == NULL)
		return;
	while ((s = LIST_FIRST(&http->sockets)) != NULL) {
		LIST_REMOVE(s, entry);
		evconnlistener_free(s->listener);
		free(s);
	}
	while ((client = TAILQ_FIRST(&http->clients)) != NULL)
		client_free(client);
	event_free(http->retry);
	free(http);
}
