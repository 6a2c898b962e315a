/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <jansson.h>
#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/note.h"
#include "collector/policy.h"

#include "tests/script_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define INPUT_MAX	(2 * CTL_LINE_MAX)
#define READ_SIZE	(64u * 1024)

/* The input is what a client of the control socket writes. There is no worker: who waits for one is told that time is up. */
static struct collector collector;
static struct ctl *ctl;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void
start(void)
{
	char error[512] = "", path[128];

	snprintf(path, sizeof(path), "%s/ctl", script_folder());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	collector.base = event_base_new();
	collector.policy = policy_set_new();
	collector.db = catalog_open(script_folder(), error, sizeof(error));
	script_assert(collector.db != NULL);
	collector.inbox = collector.workers.main = mailbox_new();
	ctl = ctl_new(&collector, path, (gid_t)-1, error, sizeof(error));
	script_assert(ctl != NULL);
}

/* One JSON object a line. */
static void
take_answers(int fd, struct buf *answers)
{
	json_t *answer;
	uint8_t *end;
	ssize_t len;

	script_assert(buf_reserve(answers, READ_SIZE) == 0);
	if ((len = recv(fd, answers->data + answers->len, READ_SIZE, MSG_DONTWAIT)) > 0)
		answers->len += (size_t)len;
	while (answers->len > 0 && (end = memchr(answers->data, '\n', answers->len)) != NULL) {
		answer = json_loadb((const char *)answers->data, (size_t)(end - answers->data), 0, NULL);
		script_assert(json_is_boolean(json_object_get(answer, "ok")));
		json_decref(answer);
		buf_consume(answers, (size_t)(end - answers->data) + 1);
	}
}

static void
run(int fd)
{
	struct ctl_client *client;
	struct buf answers;

	buf_init(&answers, SIZE_MAX);
	for (unsigned i = 0; i < 64 && ctl->client_count > 0; i++) {
		script_loop(collector.base, 2);
		take_answers(fd, &answers);
		if ((client = TAILQ_FIRST(&ctl->clients)) != NULL && client->token != 0)
			event_active(client->timer, EV_TIMEOUT, 1);
	}
	buf_clear(&answers);
	close(fd);
	for (unsigned i = 0; i < 64 && ctl->client_count > 0; i++)
		script_loop(collector.base, 1);
	script_assert(ctl->client_count == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd;

	if (size > INPUT_MAX)
		return 0;
	if (ctl == NULL)
		start();
	script_assert((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) != -1);
	script_assert(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	(void)!send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	script_loop(collector.base, 2);
	run(fd);
	sqlite3_exec(collector.db, "DELETE FROM policy", NULL, NULL, NULL);
	policy_set_unref(collector.policy);
	collector.policy = policy_set_new();
	return 0;
}
