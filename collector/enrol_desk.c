/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/eventfd.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "collector/enrol_desk.h"
#include "collector/enrol_internal.h"
#include "collector/enrol_limit.h"
#include "collector/note.h"
#include "collector/revoked.h"

/* What the desk is: its threads, their queues, who signs now. What they do: enrol_sign.c and enrol_clerk.c. */

void
desk_request_free(struct desk_request *request)
{
	if (request == NULL)
		return;
	free(request->csr);
	explicit_bzero(request->hash, sizeof(request->hash));
	free(request);
}

/* --- who signs --- */

static void
signing_free(struct desk_signing *signing)
{
	pki_issuer_free(signing->issuer);
	free(signing->command);
	free(signing);
}

struct desk_signing *
desk_signing_new(const struct desk_settings *settings, char *error, size_t error_size)
{
	struct desk_signing *signing = calloc(1, sizeof(*signing));
	char reason[PKI_ERROR_SIZE] = "out of memory";

	if (signing == NULL)
		goto fail;
	atomic_init(&signing->refs, 1);
	signing->life_ms = settings->life_ms;
	signing->off = settings->key == NULL && settings->command == NULL;
	if (pki_fingerprint(settings->ca, signing->fingerprint, reason) == -1)
		goto fail;
	if (signing->off)
		return signing;
	if ((settings->command == NULL || (signing->command = strdup(settings->command)) != NULL) &&
	    (signing->issuer = pki_issuer_load(settings->ca, settings->cert, settings->key, reason)) != NULL)
		return signing;
	signing_free(signing);
	signing = NULL;
fail:
	free(signing);
	snprintf(error, error_size, "%s", reason);
	return NULL;
}

struct desk_signing *
desk_signing_get(struct desk *desk)
{
	struct desk_signing *signing;

	pthread_mutex_lock(&desk->mutex);
	signing = desk->signing;
	atomic_fetch_add(&signing->refs, 1);
	pthread_mutex_unlock(&desk->mutex);
	return signing;
}

void
desk_signing_put(struct desk_signing *signing)
{
	if (signing != NULL && atomic_fetch_sub(&signing->refs, 1) == 1)
		signing_free(signing);
}

void
desk_set(struct desk *desk, struct desk_signing *signing)
{
	struct desk_signing *old;

	pthread_mutex_lock(&desk->mutex);
	old = desk->signing;
	desk->signing = signing;
	pthread_mutex_unlock(&desk->mutex);
	desk_signing_put(old);
}

/* --- queues --- */

static unsigned
queued_of_tenant(const struct desk_queue *queue, const char *tenant)
{
	const struct desk_request *request;
	unsigned n = 0;

	STAILQ_FOREACH(request, &queue->requests, entry)
		n += strcmp(request->tenant, tenant) == 0;
	return n;
}

/* Behind all of its round, which is the one after its tenant's last. */
static void
queue_insert(struct desk_queue *queue, struct desk_request *request)
{
	struct desk_request *other, *before = NULL;

	request->round = queue->round;
	STAILQ_FOREACH(other, &queue->requests, entry)
		if (strcmp(other->tenant, request->tenant) == 0)
			request->round = other->round + 1;
	STAILQ_FOREACH(other, &queue->requests, entry)
		if (other->round <= request->round)
			before = other;
	if (before != NULL)
		STAILQ_INSERT_AFTER(&queue->requests, before, request, entry);
	else
		STAILQ_INSERT_HEAD(&queue->requests, request, entry);
	queue->count++;
}

/* Takes the request in any case. Once half of the queue waits, no tenant may have all of the rest. */
static int
desk_put(struct desk *desk, struct desk_queue *queue, struct desk_request *request)
{
	bool room;

	pthread_mutex_lock(&desk->mutex);
	room = queue->count < queue->max &&
	    (queue->count < queue->max / 2 || queued_of_tenant(queue, request->tenant) < DESK_QUEUE_TENANT);
	if (room) {
		queue_insert(queue, request);
		pthread_cond_signal(&queue->cond);
	}
	pthread_mutex_unlock(&desk->mutex);
	if (room)
		return 0;
	desk_request_free(request);
	return -1;
}

/* Waits; NULL: the desk closes. */
static struct desk_request *
desk_take(struct desk *desk, struct desk_queue *queue)
{
	struct desk_request *request = NULL;

	pthread_mutex_lock(&desk->mutex);
	while (!desk->stopping && STAILQ_EMPTY(&queue->requests))
		pthread_cond_wait(&queue->cond, &desk->mutex);
	if (!desk->stopping) {
		request = STAILQ_FIRST(&queue->requests);
		STAILQ_REMOVE_HEAD(&queue->requests, entry);
		queue->count--;
		queue->round = request->round;
	}
	pthread_mutex_unlock(&desk->mutex);
	return request;
}

static void *
desk_main(void *arg)
{
	struct desk_thread *thread = arg;
	struct desk_request *request;

	while ((request = desk_take(thread->desk, thread->queue)) != NULL) {
		request->run(thread, request);
		desk_request_free(request);
	}
	return NULL;
}

static struct desk_request *
request_new(void (*run)(struct desk_thread *, struct desk_request *), struct mailbox *to, uint64_t ticket)
{
	struct desk_request *request = calloc(1, sizeof(*request));

	if (request == NULL)
		return NULL;
	request->run = run;
	request->to = to;
	request->ticket = ticket;
	return request;
}

/* --- what is asked --- */

static enum desk_answer
desk_ask(struct desk *desk, struct desk_request *request, const uint8_t *csr, size_t csr_len)
{
	if (request == NULL)
		return DESK_BUSY;
	if ((request->csr = malloc(csr_len)) == NULL) {
		desk_request_free(request);
		return DESK_BUSY;
	}
	memcpy(request->csr, csr, csr_len);
	request->csr_len = csr_len;
	return desk_put(desk, &desk->sign, request) == 0 ? DESK_QUEUED : DESK_BUSY;
}

enum desk_answer
desk_enrol(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct desk_enrol *enrol)
{
	struct desk_request *request;
	char tenant[IDENTITY_NAME_SIZE], id[TOKEN_ID_SIZE];
	uint8_t hash[TOKEN_HASH_SIZE];
	enum enrol_limit_verdict verdict;

	if (!token_text_valid(enrol->token))
		return DESK_STRANGER;
	token_hash(enrol->token, hash);
	if ((verdict = enrol_limit_take(desk->limit, hash, enrol->address, clock_wall_ns(), tenant, id)) != ENROL_LOOK)
		return verdict == ENROL_STRANGER ? DESK_STRANGER : DESK_BUSY;
	if ((request = request_new(desk_run_enrol, to, ticket)) != NULL) {
		memcpy(request->hash, hash, sizeof(request->hash));
		memcpy(request->tenant, tenant, sizeof(request->tenant));
		snprintf(request->wish, sizeof(request->wish), "%s", enrol->wish);
		snprintf(request->address, sizeof(request->address), "%s", enrol->address);
	}
	return desk_ask(desk, request, enrol->csr, enrol->csr_len);
}

enum desk_answer
desk_renew(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct identity *identity, const struct msg_renew *renew)
{
	struct desk_request *request = request_new(desk_run_renew, to, ticket);

	if (request != NULL) {
		request->identity = *identity;
		memcpy(request->tenant, identity->tenant, sizeof(request->tenant));
	}
	return desk_ask(desk, request, renew->csr, renew->csr_len);
}

int
desk_create_token(struct desk *desk, uint64_t ticket, const struct token *token, uint64_t ttl_s)
{
	struct desk_request *request = request_new(desk_run_create, desk->to, ticket);

	if (request == NULL)
		return -1;
	request->token = *token;
	memcpy(request->tenant, token->tenant, sizeof(request->tenant));
	request->ttl_s = ttl_s;
	return desk_put(desk, &desk->control, request);
}

static int
desk_ask_about(struct desk *desk, void (*run)(struct desk_thread *, struct desk_request *), uint64_t ticket, const char *what,
    const char *tenant)
{
	struct desk_request *request = request_new(run, desk->to, ticket);

	if (request == NULL)
		return -1;
	snprintf(request->what, sizeof(request->what), "%s", what);
	if ((request->has_tenant = tenant != NULL))
		snprintf(request->tenant, sizeof(request->tenant), "%s", tenant);
	return desk_put(desk, &desk->control, request);
}

int
desk_list_tokens(struct desk *desk, uint64_t ticket, const char *tenant)
{
	return desk_ask_about(desk, desk_run_list, ticket, "", tenant);
}

int
desk_revoke_token(struct desk *desk, uint64_t ticket, const char *id, const char *tenant)
{
	return desk_ask_about(desk, desk_run_revoke_token, ticket, id, tenant);
}

int
desk_revoke(struct desk *desk, uint64_t ticket, const char *vm, const char *tenant)
{
	return desk_ask_about(desk, desk_run_revoke, ticket, vm, tenant);
}

/* --- opened and closed --- */

static void
queue_init(struct desk_queue *queue, unsigned max)
{
	STAILQ_INIT(&queue->requests);
	pthread_cond_init(&queue->cond, NULL);
	queue->max = max;
}

static void
queue_clear(struct desk_queue *queue)
{
	struct desk_request *request;

	while ((request = STAILQ_FIRST(&queue->requests)) != NULL) {
		STAILQ_REMOVE_HEAD(&queue->requests, entry);
		desk_request_free(request);
	}
	pthread_cond_destroy(&queue->cond);
}

/* The last thread is the clerk. */
static int
desk_start(struct desk *desk, const char *store, char *error, size_t error_size)
{
	for (unsigned i = 0; i < DESK_THREADS; i++) {
		struct desk_thread *thread = &desk->thread[i];

		thread->desk = desk;
		thread->queue = i < DESK_SIGNERS ? &desk->sign : &desk->control;
		if ((thread->db = catalog_open(store, error, error_size)) == NULL)
			return -1;
		if ((errno = pthread_create(&thread->id, NULL, desk_main, thread)) != 0) {
			snprintf(error, error_size, "thread: %s", strerror(errno));
			return -1;
		}
		thread->runs = true;
	}
	return 0;
}

struct desk *
desk_new(const char *store, struct desk_signing *signing, struct revoked *revoked, struct mailbox *to,
    void (*tell)(const struct note *, void *), void *arg, char *error, size_t error_size)
{
	struct desk *desk = calloc(1, sizeof(*desk));
	struct sqlite3 *db = NULL;

	if (desk == NULL) {
		snprintf(error, error_size, "out of memory");
		desk_signing_put(signing);
		return NULL;
	}
	desk->signing = signing;
	pthread_mutex_init(&desk->mutex, NULL);
	pthread_mutex_init(&desk->binding, NULL);
	queue_init(&desk->sign, DESK_QUEUE_MAX);
	queue_init(&desk->control, DESK_CONTROL_MAX);
	desk->revoked = revoked;
	desk->to = to;
	desk->tell = tell;
	desk->tell_arg = arg;
	if ((desk->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1)
		snprintf(error, error_size, "eventfd: %s", strerror(errno));
	else if ((db = catalog_open_read_only(store, error, error_size)) != NULL &&
	    (desk->limit = enrol_limit_new(db, error, error_size)) != NULL && desk_start(desk, store, error, error_size) == 0) {
		sqlite3_close(db);
		return desk;
	}
	sqlite3_close(db);
	desk_free(desk);
	return NULL;
}

void
desk_free(struct desk *desk)
{
	if (desk == NULL)
		return;
	pthread_mutex_lock(&desk->mutex);
	desk->stopping = true;
	pthread_cond_broadcast(&desk->sign.cond);
	pthread_cond_broadcast(&desk->control.cond);
	pthread_mutex_unlock(&desk->mutex);
	if (desk->stop_fd != -1)
		eventfd_write(desk->stop_fd, 1);
	for (unsigned i = 0; i < DESK_THREADS; i++) {
		if (desk->thread[i].runs)
			pthread_join(desk->thread[i].id, NULL);
		sqlite3_close(desk->thread[i].db);
	}
	queue_clear(&desk->sign);
	queue_clear(&desk->control);
	desk_signing_put(desk->signing);
	enrol_limit_free(desk->limit);
	if (desk->stop_fd != -1)
		close(desk->stop_fd);
	pthread_mutex_destroy(&desk->binding);
	pthread_mutex_destroy(&desk->mutex);
	free(desk);
}
