/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>
#include <sqlite3.h>

#include "common/clock.h"

#include "collector/catalog.h"
#include "collector/enrol_internal.h"
#include "collector/enrol_limit.h"
#include "collector/note.h"
#include "collector/revoked.h"

/* The clerk's work: what the control socket asks (ctl.h), answered as it answers. */

#define NS_PER_S	UINT64_C(1000000000)

static void
answer(const struct desk_request *request, json_t *json, const char *uuid)
{
	struct note *note = note_new(NOTE_DESK);

	note->token = request->ticket;
	note->json = json;
	snprintf(note->uuid, sizeof(note->uuid), "%s", uuid);
	mailbox_post(request->to, note);
}

static void
answer_error(const struct desk_request *request, const char *error)
{
	answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", error), "");
}

void
desk_run_create(struct desk_thread *thread, struct desk_request *request)
{
	struct desk_signing *signing = desk_signing_get(thread->desk);
	struct token *token = &request->token;
	uint64_t now_ns = clock_wall_ns();
	char text[TOKEN_TEXT_SIZE], error[DESK_ERROR_SIZE];

	token->expires_ns = now_ns + request->ttl_s * NS_PER_S;
	if (signing->off)
		answer_error(request, "this collector signs no certificates: it has neither --enroll-key nor --enroll-command");
	else if (token_create(thread->db, token, now_ns, text, error, sizeof(error)) == -1)
		answer_error(request, error);
	else {
		enrol_limit_add(thread->desk->limit, token);
		log_info("token %s of tenant %s made, for %llu VMs", token->id, token->tenant, (unsigned long long)token->uses);
		answer(request, json_pack("{s:b, s:s, s:s, s:s, s:I, s:s}", "ok", 1, "id", token->id, "token", text, "tenant",
		    token->tenant, "expires_ns", (json_int_t)token->expires_ns, "fingerprint", signing->fingerprint), "");
		explicit_bzero(text, sizeof(text));
	}
	desk_signing_put(signing);
}

static void
add_token(const struct token *token, void *arg)
{
	json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "id", token->id, "tenant", token->tenant,
	    "name", token->name, "labels", token->labels, "uses", (json_int_t)token->uses, "used", (json_int_t)token->used,
	    "created_ns", (json_int_t)token->created_ns, "expires_ns", (json_int_t)token->expires_ns, "revoked", token->revoked));
}

void
desk_run_list(struct desk_thread *thread, struct desk_request *request)
{
	json_t *rows = json_array();
	char error[DESK_ERROR_SIZE];

	if (token_each(thread->db, request->has_tenant ? request->tenant : NULL, add_token, rows, error, sizeof(error)) == 0) {
		answer(request, json_pack("{s:b, s:o}", "ok", 1, "tokens", rows), "");
		return;
	}
	json_decref(rows);
	answer_error(request, error);
}

void
desk_run_revoke_token(struct desk_thread *thread, struct desk_request *request)
{
	struct token token;
	char error[DESK_ERROR_SIZE];

	if (token_revoke(thread->db, request->what, request->has_tenant ? request->tenant : NULL, clock_wall_ns(), &token, error,
	    sizeof(error)) == -1) {
		answer_error(request, error);
		return;
	}
	enrol_limit_remove(thread->desk->limit, token.hash);
	log_info("token %s of tenant %s revoked", token.id, token.tenant);
	answer(request, json_pack("{s:b, s:s, s:s}", "ok", 1, "id", token.id, "tenant", token.tenant), "");
}

/* What cannot be taken back is not done to whoever's name begins so. */
static int
find_named(struct desk_thread *thread, const struct desk_request *request, struct catalog_vm *vm, char *error)
{
	if (catalog_find_vm_of(thread->db, request->has_tenant ? request->tenant : NULL, request->what, vm, error, DESK_ERROR_SIZE) == -1)
		return -1;
	if (strcmp(vm->name, request->what) == 0 || strcasecmp(vm->uuid, request->what) == 0)
		return 0;
	snprintf(error, DESK_ERROR_SIZE, "no VM is called so; to revoke %s (%s of tenant %s), give its whole name or UUID", vm->name,
	    vm->uuid, vm->tenant);
	return -1;
}

/* One whose certificate was made elsewhere may never have been here, and have no row. */
static int
find_vm(struct desk_thread *thread, const struct desk_request *request, struct catalog_vm *vm, char *error)
{
	*vm = (struct catalog_vm){ 0 };
	if (find_named(thread, request, vm, error) == 0)
		return 0;
	if (request->has_tenant || !identity_uuid_valid(request->what))
		return -1;
	memcpy(vm->uuid, request->what, sizeof(vm->uuid));
	return 0;
}

void
desk_run_revoke(struct desk_thread *thread, struct desk_request *request)
{
	struct note note = { .kind = NOTE_REVOKE, .token = request->ticket };
	char error[DESK_ERROR_SIZE];
	struct catalog_vm vm;

	if (find_vm(thread, request, &vm, error) == -1 ||
	    revoked_add(thread->desk->revoked, thread->db, vm.uuid, clock_wall_ns(), error, sizeof(error)) == -1) {
		answer_error(request, error);
		return;
	}
	log_warn("VM %s (%s) of tenant %s revoked", vm.name, vm.uuid, vm.tenant);
	memcpy(note.uuid, vm.uuid, sizeof(note.uuid));
	thread->desk->tell(&note, thread->desk->tell_arg);
	answer(request, json_pack("{s:b, s:s, s:s, s:s}", "ok", 1, "vm", vm.uuid, "name", vm.name, "tenant", vm.tenant), vm.uuid);
}
