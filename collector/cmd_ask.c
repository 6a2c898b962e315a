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

#include "common/buf.h"

#include "cmd.h"
#include "cmd_ask.h"

#define ANSWER_MAX	(64u * 1024 * 1024)
#define ANSWER_SECONDS	15

static int
connect_ctl(const char *path)
{
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
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
exchange(int fd, const json_t *question, struct buf *answer)
{
	char *line = json_dumps(question, JSON_COMPACT);
	ssize_t got = -1;
	int rc = -1;

	if (line != NULL && dprintf(fd, "%s\n", line) > 0)
		while (buf_reserve(answer, 4096) == 0 && (got = read(fd, answer->data + answer->len, 4096)) > 0) {
			answer->len += (size_t)got;
			if (answer->data[answer->len - 1] == '\n') {
				rc = 0;
				break;
			}
		}
	if (rc == -1 && got == 0)
		errno = ECONNRESET;
	free(line);
	return rc;
}

/* Whether it says yes. */
static json_t *
judge(const char *verb, json_t *answer)
{
	const char *why;

	if (answer == NULL || json_is_true(json_object_get(answer, "ok")))
		return answer;
	why = json_string_value(json_object_get(answer, "error"));
	cmd_fail(verb, "%s", why != NULL ? why : "the collector's answer makes no sense");
	json_decref(answer);
	return NULL;
}

json_t *
cmd_ask(const char *verb, const char *store, const char *ctl, json_t *question)
{
	json_t *answer = NULL;
	json_error_t error;
	struct buf text;
	char path[512];
	int fd;

	if (ctl != NULL)
		snprintf(path, sizeof(path), "%s", ctl);
	else
		snprintf(path, sizeof(path), "%s/ctl.sock", store);
	if ((fd = connect_ctl(path)) == -1) {
		cmd_fail(verb, "%s: %s: is the collector running?", path, strerror(errno));
		json_decref(question);
		return NULL;
	}
	buf_init(&text, ANSWER_MAX);
	if (exchange(fd, question, &text) == -1)
		cmd_fail(verb, "%s: no answer: %s", path, strerror(errno));
	else if ((answer = json_loadb((const char *)text.data, text.len, JSON_DISABLE_EOF_CHECK, &error)) == NULL)
		cmd_fail(verb, "%s: not an answer: %s", path, error.text);
	buf_clear(&text);
	close(fd);
	json_decref(question);
	return judge(verb, answer);
}
