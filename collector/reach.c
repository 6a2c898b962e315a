/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cmd.h"
#include "ctl.h"
#include "reach_internal.h"

#define ANSWER_MAX	(16u * 1024 * 1024)
#define READ_SIZE	(64u * 1024)

static int
connect_ctl(const char *path)
{
	struct timeval limit = { .tv_sec = REACH_ANSWER_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int
open_local(struct reach *reach, const char *store, const char *ctl)
{
	if (ctl != NULL)
		snprintf(reach->where, sizeof(reach->where), "%s", ctl);
	else
		snprintf(reach->where, sizeof(reach->where), "%s/ctl.sock", store);
	if ((reach->fd = connect_ctl(reach->where)) != -1)
		return 0;
	return cmd_fail(reach->verb, "%s: %s: is the collector running?", reach->where, strerror(errno)), -1;
}

struct reach *
reach_open(const char *verb, const struct reach_options *options, const char *store, const char *ctl)
{
	struct reach *reach = calloc(1, sizeof(*reach));

	if (reach == NULL) {
		cmd_fail(verb, "out of memory");
		return NULL;
	}
	reach->verb = verb;
	reach->fd = -1;
	buf_init(&reach->in, ANSWER_MAX);
	if ((options->connect != NULL ? reach_tls_open(reach, options) : open_local(reach, store, ctl)) == 0)
		return reach;
	reach_close(reach);
	return NULL;
}

void
reach_close(struct reach *reach)
{
	if (reach == NULL)
		return;
	reach_tls_close(reach);
	if (reach->fd != -1)
		close(reach->fd);
	buf_clear(&reach->in);
	free(reach);
}

static int
reach_fail(struct reach *reach, const char *why)
{
	snprintf(reach->why, sizeof(reach->why), "%s", why);
	return -1;
}

static int
say(struct reach *reach, const char *line)
{
	size_t len = strlen(line);
	ssize_t n;

	if (reach->fd == -1)
		return reach_tls_send(reach, line, len);
	for (; len > 0; line += n, len -= (size_t)n)
		if ((n = send(reach->fd, line, len, MSG_NOSIGNAL)) == -1)
			return reach_fail(reach, strerror(errno));
	return 0;
}

/* More of the answer; -1: there is none. */
static int
more(struct reach *reach, unsigned seconds)
{
	ssize_t n;

	if (reach->fd == -1)
		return reach_tls_more(reach, seconds);
	if (buf_reserve(&reach->in, READ_SIZE) == -1)
		return reach_fail(reach, "the answer is too long");
	if ((n = read(reach->fd, reach->in.data + reach->in.len, READ_SIZE)) <= 0)
		return reach_fail(reach, n == 0 ? "the collector closed the connection" : strerror(errno));
	reach->in.len += (size_t)n;
	return 0;
}

/* One line of JSON. */
static json_t *
hear(struct reach *reach)
{
	json_error_t error;
	json_t *answer;
	uint8_t *end;
	size_t len;

	while (reach->in.len == 0 || (end = memchr(reach->in.data, '\n', reach->in.len)) == NULL)
		if (more(reach, REACH_ANSWER_S) == -1) {
			cmd_fail(reach->verb, "%s: no answer: %s", reach->where, reach->why);
			return NULL;
		}
	len = (size_t)(end - reach->in.data);
	if ((answer = json_loadb((const char *)reach->in.data, len, 0, &error)) == NULL)
		cmd_fail(reach->verb, "%s: not an answer: %s", reach->where, error.text);
	buf_consume(&reach->in, len + 1);
	return answer;
}

json_t *
reach_ask(struct reach *reach, json_t *question)
{
	char *text = question != NULL ? json_dumps(question, JSON_COMPACT) : NULL, *line = NULL;
	json_t *answer = NULL;
	const char *why;

	json_decref(question);
	if (text == NULL || asprintf(&line, "%s\n", text) == -1)
		cmd_fail(reach->verb, "what is asked is not UTF-8, or there is no memory");
	else if (say(reach, line) == -1)
		cmd_fail(reach->verb, "%s: %s", reach->where, reach->why);
	else
		answer = hear(reach);
	free(text);
	free(line);
	if (answer == NULL || json_is_true(json_object_get(answer, "ok")))
		return answer;
	why = json_string_value(json_object_get(answer, "error"));
	cmd_fail(reach->verb, "%s", why != NULL ? why : "the collector's answer makes no sense");
	json_decref(answer);
	return NULL;
}

json_t *
reach_ask_once(const char *verb, const struct reach_options *options, const char *store, const char *ctl, json_t *question)
{
	struct reach *reach = reach_open(verb, options, store, ctl);
	json_t *answer;

	if (reach == NULL) {
		json_decref(question);
		return NULL;
	}
	answer = reach_ask(reach, question);
	reach_close(reach);
	return answer;
}

/* --- run --- */

static int
write_all(int fd, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	for (; len > 0; bytes += n, len -= (size_t)n)
		if ((n = write(fd, bytes, len)) == -1 && errno != EINTR)
			return -1;
		else if (n == -1)
			n = 0;
	return 0;
}

/* Messages are for a terminal, whatever the collector is. */
static void
clean_messages(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((bytes[i] < 0x20 && bytes[i] != '\n') || bytes[i] >= 0x7f)
			bytes[i] = '?';
}

/* One piece of the command's output. 1: go on; else *status is set: its end, or that of whoever reads ours. */
static int
take_piece(struct reach *reach, uint8_t channel, uint8_t *bytes, size_t len, int out, int *status)
{
	if (channel == CTL_RUN_ERR)
		clean_messages(bytes, len);
	if (channel == CTL_RUN_END) {
		*status = len == 1 ? bytes[0] : 1;
		return 0;
	}
	if (write_all(channel == CTL_RUN_OUT ? out : STDERR_FILENO, bytes, len) == 0)
		return 1;
	*status = errno == EPIPE ? 0 : cmd_fail(reach->verb, "cannot write: %s", strerror(errno));
	return 0;
}

static int
take_output(struct reach *reach, int out)
{
	struct cursor cursor;
	uint32_t len = 0;
	uint8_t channel;
	int status = 1;

	for (;;) {
		cursor_init(&cursor, reach->in.data, reach->in.len);
		if (cursor_u8(&cursor, &channel) == -1 || cursor_u32(&cursor, &len) == -1 ||
		    (len <= CTL_RUN_PIECE_MAX && reach->in.len < CTL_RUN_HEADER + len)) {
			if (more(reach, 0) == -1)
				return cmd_fail(reach->verb, "%s: cut off: %s", reach->where, reach->why);
			continue;
		}
		if (channel > CTL_RUN_ERR || len > CTL_RUN_PIECE_MAX)
			return cmd_fail(reach->verb, "%s: what came is no output", reach->where);
		if (take_piece(reach, channel, reach->in.data + CTL_RUN_HEADER, len, out, &status) == 0)
			return status;
		buf_consume(&reach->in, CTL_RUN_HEADER + len);
	}
}

int
reach_run(struct reach *reach, json_t *argv, int out)
{
	json_t *answer = reach_ask(reach, json_pack("{s:s, s:o}", "command", "run", "argv", argv));

	if (answer == NULL)
		return 1;
	json_decref(answer);
	return take_output(reach, out);
}
