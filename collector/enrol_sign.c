/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#include "common/buf.h"
#include "common/clock.h"

#include "collector/counts.h"
#include "collector/enrol_command.h"
#include "collector/enrol_internal.h"
#include "collector/note.h"
#include "collector/pki_make.h"
#include "collector/revoked.h"

/* A signer's work: a token and a key, or a certificate's holder and a key, become a certificate. */

#define SIGN_SKEW_S	300		/* valid from five minutes ago: clocks differ */
#define SIGN_TRIES	8		/* of names that others take meanwhile */
#define SIGN_OUTPUT_MAX	(64u * 1024)	/* bytes of a command's answer */
#define SIGN_LOG_MS	1000u
#define ENV_SIZE	(IDENTITY_URI_SIZE + 32)

/* later: the reason is the collector's trouble, and says nothing of the token. */
static void
answer(const struct desk_request *request, const char *reason, bool later, struct pki_chain *chain)
{
	struct note *note = note_new(NOTE_CERTIFICATE);

	note->token = request->ticket;
	note->later = later;
	note->good = chain != NULL;
	snprintf(note->text, sizeof(note->text), "%s", reason);
	if (chain != NULL) {
		if ((note->chain = malloc(sizeof(*chain))) == NULL) {
			log_error("out of memory");
			abort();
		}
		*note->chain = *chain;
		*chain = (struct pki_chain){ 0 };
	}
	mailbox_post(request->to, note);
}

/* --- signed --- */

static int
sign_by_command(struct desk_thread *thread, const struct desk_signing *signing, const struct pki_request *wanted,
    const struct pki_csr *csr, struct pki_chain *chain, char *error)
{
	const struct identity *identity = &wanted->identity;
	char uri[IDENTITY_URI_SIZE] = "", env[5][ENV_SIZE], *pem = pki_csr_pem(csr);
	const char *const environment[] = { env[0], env[1], env[2], env[3], env[4], NULL };
	const struct enrol_command command = { .command = signing->command, .environment = environment, .input = pem,
	    .limit_ms = DESK_COMMAND_MS, .stop_fd = thread->desk->stop_fd };
	struct buf output;
	int rc = -1;

	identity_format(identity, uri, sizeof(uri));
	snprintf(env[0], ENV_SIZE, "VMTAP_URI=%s", uri);
	snprintf(env[1], ENV_SIZE, "VMTAP_NAME=%s", identity->name);
	snprintf(env[2], ENV_SIZE, "VMTAP_TENANT=%s", identity->tenant);
	snprintf(env[3], ENV_SIZE, "VMTAP_UUID=%s", identity->uuid);
	snprintf(env[4], ENV_SIZE, "VMTAP_NOT_AFTER=%lld", (long long)wanted->not_after);
	buf_init(&output, SIGN_OUTPUT_MAX);
	if (pem == NULL)
		snprintf(error, PKI_ERROR_SIZE, "out of memory");
	else if (enrol_command_run(&command, &output, error, PKI_ERROR_SIZE) == 0)
		rc = pki_take_signed(signing->issuer, wanted, csr, (const char *)output.data, output.len, chain, error);
	buf_clear(&output);
	free(pem);
	return rc;
}

/* 0, or -1 with a line for the holder, the same that is logged. */
static int
sign(struct desk_thread *thread, const struct identity *identity, const struct pki_csr *csr, struct pki_chain *chain, char *reason)
{
	struct desk_signing *signing = desk_signing_get(thread->desk);
	time_t now = time(NULL);
	struct pki_request wanted = { .identity = *identity, .not_before = now - SIGN_SKEW_S,
	    .not_after = now + (time_t)(signing->life_ms / 1000) };
	char error[PKI_ERROR_SIZE] = "";
	int rc = -1;

	if (signing->off)
		snprintf(reason, DESK_ERROR_SIZE,
		    "enrolment is off at this collector: it has neither --enroll-key nor --enroll-command");
	else {
		rc = signing->command != NULL ? sign_by_command(thread, signing, &wanted, csr, chain, error)
		    : pki_sign(signing->issuer, &wanted, csr, chain, error);
		if (rc == -1)
			snprintf(reason, DESK_ERROR_SIZE, "signing failed: %s", error);
	}
	desk_signing_put(signing);
	return rc;
}

/* --- enrolled --- */

static void
explain(enum token_verdict verdict, const struct token *token, char *reason)
{
	char iso[CLOCK_ISO_SIZE];

	switch (verdict) {
	case TOKEN_EXPIRED:
		snprintf(reason, DESK_ERROR_SIZE, "the token expired at %s", clock_iso(token->expires_ns, iso, sizeof(iso)));
		break;
	case TOKEN_REVOKED:
		snprintf(reason, DESK_ERROR_SIZE, "the token has been revoked");
		break;
	case TOKEN_USED_UP:
		if (token->uses == 1)
			snprintf(reason, DESK_ERROR_SIZE, "the token has been used by another key, and is for one");
		else
			snprintf(reason, DESK_ERROR_SIZE, "the token has been used by %" PRIu64 " other keys, and is for no more",
			    token->uses);
		break;
	case TOKEN_VM_REVOKED:
		snprintf(reason, DESK_ERROR_SIZE, "the VM that this key has enrolled has been revoked");
		break;
	case TOKEN_TENANT_FULL:
		snprintf(reason, DESK_ERROR_SIZE, "tenant %s has %u VMs, and may have no more", token->tenant, TOKEN_VMS_MAX);
		break;
	case TOKEN_FAILED:
		snprintf(reason, DESK_ERROR_SIZE, "the collector's catalog cannot be used now; try again");
		break;
	case TOKEN_GOOD:
	case TOKEN_AGAIN:
	case TOKEN_UNKNOWN:
		break;
	}
}

static void
refuse(struct desk_thread *thread, const struct desk_request *request, const struct token_use *use, enum count count,
    const char *reason)
{
	count_add(count, 1);
	log_limited(&thread->limit, SIGN_LOG_MS, LOG_LEVEL_WARN, "%s: enrolment refused: token %s of tenant %s: %s", request->address,
	    use->token.id, use->token.tenant, reason);
	answer(request, reason, count == COUNT_ENROL_FAILED, NULL);
}

static void
refuse_stranger(struct desk_thread *thread, const struct desk_request *request)
{
	count_add(COUNT_ENROL_STRANGERS, 1);
	log_limited(&thread->limit, SIGN_LOG_MS, LOG_LEVEL_WARN, "%s: enrolment refused: the token is unknown here, or expired long ago",
	    request->address);
	answer(request, "", false, NULL);
}

/* The same that it got, whatever became of the answer then. */
static void
give_again(struct desk_thread *thread, const struct desk_request *request, const struct token_use *use)
{
	struct pki_chain chain;
	char error[PKI_ERROR_SIZE];

	if (pki_chain_parse(&chain, use->certificate, use->certificate_len, error) == -1) {
		refuse(thread, request, use, COUNT_ENROL_FAILED, error);
		return;
	}
	count_add(COUNT_ENROLLED_AGAIN, 1);
	log_info("%s: VM %s of tenant %s gets its certificate again by token %s", request->address, use->uuid, use->token.tenant,
	    use->token.id);
	answer(request, "", false, &chain);
	pki_chain_clear(&chain);
}

/* One try: under a name that is free now. taken: somebody got it meanwhile. */
static enum token_verdict
enrol_once(struct desk_thread *thread, const struct desk_request *request, struct token_use *use, const struct pki_csr *csr,
    struct identity *identity, struct pki_chain *chain, bool *taken, char *reason)
{
	struct token_vm vm = { 0 };
	enum token_verdict verdict = TOKEN_FAILED;
	char error[DESK_ERROR_SIZE] = "no random numbers";

	*taken = false;
	reason[0] = '\0';
	*identity = (struct identity){ .role = ROLE_AGENT };
	memcpy(identity->tenant, use->token.tenant, sizeof(identity->tenant));
	if (pki_make_uuid(identity->uuid) == -1 ||
	    token_name(thread->db, &use->token, request->wish, identity->uuid, identity->name, error, sizeof(error)) == -1) {
		log_error("enrolment: %s", error);
		return TOKEN_FAILED;
	}
	if (sign(thread, identity, csr, chain, reason) == -1)
		return TOKEN_FAILED;
	memcpy(vm.uuid, identity->uuid, sizeof(vm.uuid));
	memcpy(vm.name, identity->name, sizeof(vm.name));
	vm.certificate = chain->der;
	vm.certificate_len = chain->len;
	vm.not_after_ns = clock_ns_of_s(chain->not_after);
	pthread_mutex_lock(&thread->desk->binding);
	verdict = token_bind(thread->db, use, &vm, clock_wall_ns(), taken, error, sizeof(error));
	pthread_mutex_unlock(&thread->desk->binding);
	if (verdict == TOKEN_FAILED)
		log_error("enrolment: %s", error);
	return verdict;
}

static void
enrol(struct desk_thread *thread, const struct desk_request *request, struct token_use *use, const struct pki_csr *csr)
{
	enum token_verdict verdict = TOKEN_FAILED;
	char reason[DESK_ERROR_SIZE] = "";
	struct pki_chain chain = { 0 };
	struct identity identity;
	bool taken = true;

	for (int i = 0; i < SIGN_TRIES && taken; i++) {
		pki_chain_clear(&chain);
		verdict = enrol_once(thread, request, use, csr, &identity, &chain, &taken, reason);
	}
	if (taken)
		verdict = TOKEN_FAILED;
	if (verdict == TOKEN_GOOD) {
		count_add(COUNT_ENROLLED, 1);
		log_info("%s: enrolled VM %s (%s) of tenant %s by token %s", request->address, identity.name, identity.uuid,
		    identity.tenant, use->token.id);
		answer(request, "", false, &chain);
	} else if (verdict == TOKEN_AGAIN)
		give_again(thread, request, use);
	else {
		if (reason[0] == '\0')
			explain(verdict, &use->token, reason);
		refuse(thread, request, use, verdict == TOKEN_FAILED ? COUNT_ENROL_FAILED : COUNT_ENROL_REFUSED, reason);
	}
	pki_chain_clear(&chain);
}

void
desk_run_enrol(struct desk_thread *thread, struct desk_request *request)
{
	char malformed[PKI_ERROR_SIZE] = "", error[DESK_ERROR_SIZE] = "", reason[DESK_ERROR_SIZE] = "";
	struct pki_csr *csr = pki_csr_new(request->csr, request->csr_len, malformed);
	struct token_use use = { 0 };
	enum token_verdict verdict;

	memcpy(use.hash, request->hash, sizeof(use.hash));
	if (csr != NULL)
		memcpy(use.key, pki_csr_key_hash(csr), sizeof(use.key));
	verdict = token_look(thread->db, &use, clock_wall_ns(), error, sizeof(error));
	if (verdict == TOKEN_FAILED)
		log_error("enrolment: %s", error);
	explain(verdict, &use.token, reason);
	if (verdict == TOKEN_UNKNOWN)
		refuse_stranger(thread, request);
	else if (csr == NULL)
		refuse(thread, request, &use, COUNT_ENROL_REFUSED, malformed);
	else if (verdict == TOKEN_GOOD)
		enrol(thread, request, &use, csr);
	else if (verdict == TOKEN_AGAIN)
		give_again(thread, request, &use);
	else
		refuse(thread, request, &use, verdict == TOKEN_FAILED ? COUNT_ENROL_FAILED : COUNT_ENROL_REFUSED, reason);
	token_use_clear(&use);
	pki_csr_free(csr);
}

/* --- renewed --- */

void
desk_run_renew(struct desk_thread *thread, struct desk_request *request)
{
	const struct identity *identity = &request->identity;
	char reason[DESK_ERROR_SIZE] = "";
	struct pki_csr *csr = pki_csr_new(request->csr, request->csr_len, reason);
	struct pki_chain chain = { 0 };
	char iso[CLOCK_ISO_SIZE];

	if (csr != NULL && revoked_has(thread->desk->revoked, identity->uuid))
		snprintf(reason, sizeof(reason), "the VM has been revoked");
	else if (csr != NULL && sign(thread, identity, csr, &chain, reason) == 0) {
		count_add(COUNT_RENEWED, 1);
		log_info("VM %s (%s) of tenant %s: certificate renewed, until %s", identity->name, identity->uuid, identity->tenant,
		    clock_iso(clock_ns_of_s(chain.not_after), iso, sizeof(iso)));
		answer(request, "", false, &chain);
	}
	if (reason[0] != '\0') {
		count_add(COUNT_RENEWALS_REFUSED, 1);
		log_limited(&thread->limit, SIGN_LOG_MS, LOG_LEVEL_WARN, "VM %s (%s) of tenant %s: renewal refused: %s", identity->name,
		    identity->uuid, identity->tenant, reason);
		answer(request, reason, false, NULL);
	}
	pki_chain_clear(&chain);
	pki_csr_free(csr);
}
