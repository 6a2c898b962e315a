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
#include "collector/enrol_desk.h"
#include "collector/note.h"
#include "collector/policy.h"

#include "tests/script_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define INPUT_MAX	(2 * CTL_LINE_MAX)
#define READ_SIZE	(64u * 1024)

/* The input is what a client of the control socket writes, and then what an operator does. There is no worker: who waits for one is told that time is up. */
static struct collector collector;
static struct ctl *ctl;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static uint64_t asked;		/* the ticket of what waits at the desk, which is none; 0: nothing */

static int
ask(uint64_t ticket)
{
	asked = ticket;
	return ticket % 8 == 7 ? -1 : 0;
}

int
desk_create_token(struct desk *desk, uint64_t ticket, const struct token *token, uint64_t ttl_s)
{
	char error[512];

	(void)desk;
	script_assert(identity_name_valid(token->tenant) && (token->name[0] == '\0' || identity_name_valid(token->name)));
	script_assert(token_check_labels(token->labels, error, sizeof(error)) == 0);
	script_assert(token->uses > 0 && token->uses <= TOKEN_USES_MAX && ttl_s > 0 && ttl_s <= TOKEN_TTL_MAX_S);
	return ask(ticket);
}

int
desk_list_tokens(struct desk *desk, uint64_t ticket, const char *tenant)
{
	(void)desk;
	(void)tenant;
	return ask(ticket);
}

int
desk_revoke_token(struct desk *desk, uint64_t ticket, const char *id, const char *tenant)
{
	(void)desk;
	(void)tenant;
	script_assert(strlen(id) < MSG_NAME_SIZE);
	return ask(ticket);
}

int
desk_revoke(struct desk *desk, uint64_t ticket, const char *vm, const char *tenant)
{
	(void)desk;
	(void)tenant;
	script_assert(strlen(vm) < MSG_NAME_SIZE);
	return ask(ticket);
}

/* There is no worker to ask these. */
enum desk_answer
desk_enrol(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct desk_enrol *enrol)
{
	(void)desk;
	(void)to;
	(void)ticket;
	(void)enrol;
	return DESK_BUSY;
}

enum desk_answer
desk_renew(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct identity *identity, const struct msg_renew *renew)
{
	(void)desk;
	(void)to;
	(void)ticket;
	(void)identity;
	(void)renew;
	return DESK_BUSY;
}

/* Some of it is done, of some nothing is heard. */
static void
desk_answers(void)
{
	struct note *note;

	if (asked == 0 || asked % 4 == 3)
		return;
	note = note_new(NOTE_DESK);
	note->token = asked;
	note->json = json_pack("{s:b, s:s}", "ok", asked % 4 != 2, "error", "no");
	if (asked % 4 == 1)
		memcpy(note->uuid, "11111111-2222-3333-4444-555555555555", sizeof(note->uuid));
	asked = 0;
	ctl_note(ctl, note);
	note_free(note);
}

/* What an operator of acme must never be told, and has no part in. */
#define SECRET	"s3cret-of-globex"

static void
reset(void)
{
	char error[512];

	sqlite3_exec(collector.db, "DELETE FROM policy; INSERT INTO policy VALUES ('tenant globex', 'filter = " SECRET "')", NULL, NULL, NULL);
	policy_set_unref(collector.policy);
	collector.policy = policy_set_new();
	script_assert(policy_set_override(collector.policy, "tenant globex", "filter = " SECRET "\n", error, sizeof(error)) == 0);
}

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
	ctl->run_program = "/nonexistent/program";
	script_assert(sqlite3_exec(collector.db, "INSERT INTO vm (uuid, tenant, name) VALUES"
	    " ('11111111-2222-3333-4444-555555555555', 'acme', 'web1'), ('22222222-2222-3333-4444-555555555555', 'globex', 'web1'),"
	    " ('33333333-2222-3333-4444-555555555555', 'globex', '" SECRET "')", NULL, NULL, NULL) == SQLITE_OK);
	reset();
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
		desk_answers();
		if ((client = TAILQ_FIRST(&ctl->clients)) != NULL && client->token != 0)
			event_active(client->timer, EV_TIMEOUT, 1);
	}
	buf_clear(&answers);
	close(fd);
	for (unsigned i = 0; i < 64 && ctl->client_count > 0; i++)
		script_loop(collector.base, 1);
	script_assert(ctl->client_count == 0);
}

/* The same, by an operator who has all rights of one tenant. */
static void
run_operator(const uint8_t *data, size_t size)
{
	struct ctl_tenant *tenant = ctl_tenant_get(ctl, "acme");
	static uint8_t answers[READ_SIZE];
	struct ctl_client *client;
	ssize_t len;
	int fd[2];

	script_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
	tenant->questions.spent_ns = 0;
	script_assert((client = ctl_client_new(ctl, fd[0], tenant)) != NULL);
	script_assert(rights_add(&client->rights, "acme", RIGHTS_EVERY) == 0);
	(void)!send(fd[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (unsigned i = 0; i < 32 && ctl->operator_count > 0; i++) {
		script_loop(collector.base, 2);
		len = recv(fd[1], answers, sizeof(answers), MSG_DONTWAIT);
		script_assert(len <= 0 || memmem(answers, (size_t)len, SECRET, strlen(SECRET)) == NULL ||
		    memmem(data, size, SECRET, strlen(SECRET)) != NULL);
		desk_answers();
		if ((client = TAILQ_FIRST(&ctl->clients)) != NULL && (client->token != 0 || client->held))
			event_active(client->timer, EV_TIMEOUT, 1);
	}
	close(fd[1]);
	for (unsigned i = 0; i < 64 && ctl->operator_count > 0; i++)
		script_loop(collector.base, 1);
	script_assert(ctl->operator_count == 0 && ctl->run_count == 0 && tenant->clients == 0);
	script_assert(strcmp(TAILQ_FIRST(&ctl->tenants)->name, "acme") == 0);
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
	reset();
	run_operator(data, size);
	reset();
	return 0;
}
