/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/eventfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "common/log.h"
#include "common/tls.h"

#include "collector/ctl.h"
#include "collector/note.h"
#include "collector/pki_sign.h"
#include "collector/policy.h"
#include "collector/session.h"
#include "collector/store_batch.h"

struct mailbox {
	int		 fd;
	pthread_mutex_t	 mutex;
	STAILQ_HEAD(, note) notes;
};

struct note *
note_new(enum note_kind kind)
{
	struct note *note = calloc(1, sizeof(*note));

	if (note == NULL) {
		log_error("out of memory");
		abort();
	}
	note->kind = kind;
	note->fd = note->pull = -1;
	return note;
}

void
note_free(struct note *note)
{
	if (note == NULL)
		return;
	if (note->fd != -1)
		close(note->fd);
	session_free(note->session);
	tls_context_free(note->tls);
	policy_set_unref(note->policy);
	batch_free(note->batch);
	if (note->chain != NULL)
		pki_chain_clear(note->chain);
	free(note->chain);
	json_decref(note->json);
	ctl_operator_free(note->operator);
	free(note);
}

struct mailbox *
mailbox_new(void)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (mailbox == NULL)
		return NULL;
	if ((mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1) {
		free(mailbox);
		return NULL;
	}
	pthread_mutex_init(&mailbox->mutex, NULL);
	STAILQ_INIT(&mailbox->notes);
	return mailbox;
}

void
mailbox_free(struct mailbox *mailbox)
{
	struct note *note;

	if (mailbox == NULL)
		return;
	while ((note = mailbox_take(mailbox)) != NULL)
		note_free(note);
	pthread_mutex_destroy(&mailbox->mutex);
	close(mailbox->fd);
	free(mailbox);
}

void
mailbox_post(struct mailbox *mailbox, struct note *note)
{
	pthread_mutex_lock(&mailbox->mutex);
	STAILQ_INSERT_TAIL(&mailbox->notes, note, entry);
	pthread_mutex_unlock(&mailbox->mutex);
	eventfd_write(mailbox->fd, 1);
}

struct note *
mailbox_take(struct mailbox *mailbox)
{
	struct note *note;

	pthread_mutex_lock(&mailbox->mutex);
	if ((note = STAILQ_FIRST(&mailbox->notes)) != NULL)
		STAILQ_REMOVE_HEAD(&mailbox->notes, entry);
	pthread_mutex_unlock(&mailbox->mutex);
	return note;
}

int
mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}

void
mailbox_clear(struct mailbox *mailbox)
{
	eventfd_t value;

	eventfd_read(mailbox->fd, &value);
}
