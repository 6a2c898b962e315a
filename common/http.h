/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_HTTP_H
#define VMTAP_COMMON_HTTP_H

#include <stddef.h>

struct buf;
struct conf_error;
struct event_base;

/*
 * What a monitoring system asks: GET /metrics, one request a connection, over TCP or Unix sockets, in an event loop. All else gets
 * 400, 404, 405 or 431. It is meant to cost the program it is in next to nothing, whoever asks (libevent's own server sets no limit to
 * its connections): of HTTP_CLIENTS_MAX the oldest that has not asked, or is slow to take the answer, gives way to a new one; if
 * there is none, more wait in the kernel's queue; a head is at most HTTP_HEAD_MAX bytes, a body is never read, and who has not asked or
 * not taken the answer within HTTP_IDLE_S goes. At rest it wakes nobody.
 */
#define HTTP_CLIENTS_MAX	16
#define HTTP_HEAD_MAX		8192u
#define HTTP_IDLE_S		10

struct http;
struct http_client;

/* Somebody wants the metrics: call http_answer() exactly once, now or soon. */
typedef void http_ask(struct http_client *, void *arg);

struct http	*http_new(struct event_base *, http_ask *, void *arg);	/* NULL: ENOMEM */
/* Accepts from this listening socket too, and owns it if that succeeds. -1 with errno. */
int		 http_listen(struct http *, int fd);
/* Takes no more, and forgets those who wait: http_answer() must not follow. NULL is fine. */
void		 http_free(struct http *);
/* The metrics, or NULL: 503, why being one line for people. The client may have gone meanwhile. */
void		 http_answer(struct http_client *, const void *metrics, size_t len, const char *why);

/* The same with long texts, one behind the other, that are not copied for each client: a text lives until the last of them has it. */
struct http_text;
struct http_text *http_text_new(struct buf *);		/* takes what is in the buf; NULL: ENOMEM, and the buf has it still */
void		 http_text_unref(struct http_text *);	/* NULL is fine */
void		 http_answer_texts(struct http_client *, struct http_text *const *, size_t count);	/* NULL among them is none */

/* --- http_bind.c --- */
/* A place to listen at: "/a/path" is a Unix socket, mode 0660, in place of one that nobody listens at; else "ADDR:PORT", numeric. */
int		 http_check_place(const char *place, struct conf_error *);	/* 0, or -1 with what would be right */
int		 http_bind(const char *place, struct conf_error *);	/* the socket, or -1 with the error */
void		 http_unbind(const char *place);	/* removes the file of a Unix socket */

#endif
