/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "collector/archive.h"
#include "collector/quota.h"
#include "collector/catalog.h"
#include "collector/stream.h"

int
fault_set(struct fault *fault, enum msg_error code, const char *format, ...)
{
	va_list ap;

	fault->code = code;
	va_start(ap, format);
	vsnprintf(fault->text, sizeof(fault->text), format, ap);
	va_end(ap);
	return -1;
}

char *
archive_clean_text(char *text)
{
	for (char *p = text; *p != '\0'; p++)
		if (*p < 0x20 || *p == 0x7f || (unsigned char)*p >= 0x80)
			*p = '?';
	return text;
}

int
archive_init(struct archive *archive, struct store *store, const struct archive_settings *settings, char *error, size_t error_size)
{
	memset(archive, 0, sizeof(*archive));
	archive->store = store;
	archive->settings = *settings;
	TAILQ_INIT(&archive->vms);
	TAILQ_INIT(&archive->dirty_vms);
	if ((archive->db = catalog_open_read_only(store->path, error, error_size)) == NULL)
		return -1;
	archive->batch = batch_new();
	if ((archive->scratch = malloc(MSG_BLOCK_RAW_MAX)) != NULL)
		return 0;
	snprintf(error, error_size, "out of memory");
	archive_clear(archive);
	return -1;
}

static int
archive_compare_vm(const void *a, const void *b)
{
	const struct vm *left = a, *right = b;

	return strcmp(left->row.uuid, right->row.uuid);
}

static void
archive_free_vm(struct vm *vm)
{
	struct stream *stream;

	while ((stream = TAILQ_FIRST(&vm->streams)) != NULL)
		stream_free(stream);
	free(vm->row.policy_text);
	free(vm);
}

void
archive_clear(struct archive *archive)
{
	struct vm *vm;

	while ((vm = TAILQ_FIRST(&archive->vms)) != NULL) {
		TAILQ_REMOVE(&archive->vms, vm, entry);
		tdelete(vm, &archive->vm_by_uuid, archive_compare_vm);
		archive_free_vm(vm);
	}
	batch_free(archive->batch);
	free(archive->scratch);
	sqlite3_close(archive->db);
	archive->batch = NULL;
	archive->scratch = NULL;
	archive->db = NULL;
}

/* The states are static texts in memory. */
static const char *
archive_policy_state(const unsigned char *text)
{
	static const char *const states[] = { "accepted", "refused", "pending", "none" };

	for (size_t i = 0; text != NULL && i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp((const char *)text, states[i]) == 0)
			return states[i];
	return "none";
}

static void
archive_read_vm(sqlite3_stmt *stmt, struct vm_row *row)
{
	const unsigned char *text = sqlite3_column_text(stmt, 3);
	const unsigned char *reason = sqlite3_column_text(stmt, 4);
	const unsigned char *labels = sqlite3_column_text(stmt, 5);

	row->policy_version = (uint64_t)sqlite3_column_int64(stmt, 1);
	row->policy_state = archive_policy_state(sqlite3_column_text(stmt, 2));
	row->policy_text = text != NULL ? strdup((const char *)text) : NULL;
	snprintf(row->policy_reason, sizeof(row->policy_reason), "%s", reason != NULL ? (const char *)reason : "");
	snprintf(row->labels, sizeof(row->labels), "%s", labels != NULL ? (const char *)labels : "");
	row->not_after_ns = (uint64_t)sqlite3_column_int64(stmt, 6);
}

/* What the catalog has of the VM; a VM it does not have is left as it is. */
static int
archive_load_vm(struct archive *archive, struct vm *vm, struct fault *fault)
{
	sqlite3_stmt *stmt = NULL;
	int rc = -1;

	if (sqlite3_prepare_v2(archive->db, "SELECT tenant, policy_version, policy_state, policy_text, policy_reason, labels,"
	    " not_after_ns FROM vm WHERE uuid = ?1", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, vm->row.uuid, -1, SQLITE_STATIC) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		const unsigned char *tenant = sqlite3_column_text(stmt, 0);

		if (tenant == NULL || strcmp((const char *)tenant, vm->row.tenant) != 0)
			rc = fault_set(fault, MSG_ERR_TENANT, "VM %s belongs to another tenant in this store", vm->row.uuid);
		else
			archive_read_vm(stmt, &vm->row);
	} else if (rc != SQLITE_DONE)
		rc = fault_set(fault, MSG_ERR_STORE, "catalog: %s", sqlite3_errmsg(archive->db));
	sqlite3_finalize(stmt);
	return rc == -1 ? -1 : 0;
}

struct vm *
archive_find_vm(struct archive *archive, const char *uuid)
{
	struct vm key, **found;

	snprintf(key.row.uuid, sizeof(key.row.uuid), "%s", uuid);
	found = tfind(&key, &archive->vm_by_uuid, archive_compare_vm);
	return found != NULL ? *found : NULL;
}

static struct vm *
archive_new_vm(struct archive *archive, const struct identity *identity, struct fault *fault)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (vm == NULL) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		return NULL;
	}
	TAILQ_INIT(&vm->streams);
	vm->row.policy_state = "none";
	vm->cut_pending = true;
	memcpy(vm->row.uuid, identity->uuid, sizeof(vm->row.uuid));
	memcpy(vm->row.tenant, identity->tenant, sizeof(vm->row.tenant));
	if (archive_load_vm(archive, vm, fault) == -1)
		goto fail;
	if (tsearch(vm, &archive->vm_by_uuid, archive_compare_vm) == NULL) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		goto fail;
	}
	TAILQ_INSERT_TAIL(&archive->vms, vm, entry);
	return vm;
fail:
	archive_free_vm(vm);
	return NULL;
}

struct vm *
archive_vm(struct archive *archive, const struct identity *identity, struct fault *fault)
{
	struct vm *vm = archive_find_vm(archive, identity->uuid);

	if (vm != NULL && strcmp(vm->row.tenant, identity->tenant) != 0) {
		fault_set(fault, MSG_ERR_TENANT, "VM %s belongs to another tenant in this store", identity->uuid);
		return NULL;
	}
	if (vm == NULL && (vm = archive_new_vm(archive, identity, fault)) == NULL)
		return NULL;
	memcpy(vm->row.name, identity->name, sizeof(vm->row.name));
	return vm;
}

void
archive_mark_dirty(struct archive *archive, struct vm *vm)
{
	if (vm->dirty)
		return;
	vm->dirty = true;
	TAILQ_INSERT_TAIL(&archive->dirty_vms, vm, dirty_entry);
}

void
archive_vm_changed(struct archive *archive, struct vm *vm)
{
	vm->row_dirty = true;
	archive->soon = true;
	archive_mark_dirty(archive, vm);
}

bool
archive_is_dirty(const struct archive *archive)
{
	return !TAILQ_EMPTY(&archive->dirty_vms) || !batch_empty(archive->batch);
}

static void
archive_put_vm(struct archive *archive, struct vm *vm)
{
	struct stream *stream;

	if (vm->row_dirty)
		batch_add_vm(archive->batch, &vm->row);
	vm->row_dirty = false;
	TAILQ_FOREACH(stream, &vm->streams, entry)
		if (stream->dirty)
			stream_put_rows(archive, stream);
}

struct batch *
archive_take_batch(struct archive *archive)
{
	struct batch *batch = archive->batch;
	struct vm *vm;

	while ((vm = TAILQ_FIRST(&archive->dirty_vms)) != NULL) {
		TAILQ_REMOVE(&archive->dirty_vms, vm, dirty_entry);
		vm->dirty = false;
		archive_put_vm(archive, vm);
	}
	archive->urgent = archive->soon = false;
	if (batch_empty(batch))
		return NULL;
	archive->batch = batch_new();
	return batch;
}

static void
archive_stream_durable(struct stream *stream, const struct stream_row *row)
{
	stream->durable = row->last_block;
	stream->end_durable = row->ended && stream->ended;	/* not if it has been taken up again since */
	stream->ack_wanted = true;
}

/* What the catalog says by now of streams that were cut off. */
static void
archive_settle_cuts(struct archive *archive, const struct batch *batch)
{
	const struct stream_row *row = batch->streams.row;

	for (size_t i = 0; i < batch->streams.count; i++) {
		struct vm *vm = row[i].owner;

		/* Only now can the catalog tell that it was cut: an earlier look found nothing left to do. */
		if (row[i].ended && row[i].cut == STREAM_CUT)
			vm->cut_pending = true;
		/* A VM's rows stand together: once for all of them. */
		if (vm->cut_pending && (i + 1 == batch->streams.count || vm != row[i + 1].owner))
			stream_settle_cuts(archive, vm);
	}
}

static void
archive_files_closed(struct archive *archive, const struct batch *batch)
{
	const struct file_row *row = batch->files.row;
	struct vm *vm;

	for (size_t i = 0; i < batch->files.count; i++)
		if (!row[i].live && (vm = archive_find_vm(archive, row[i].vm)) != NULL)
			vm->files_closing--;
}

void
archive_committed(struct archive *archive, const struct batch *batch, void (*durable)(struct stream *, void *), void *arg)
{
	const struct stream_row *row = batch->streams.row;

	for (size_t i = 0; i < batch->streams.count; i++) {
		struct stream *stream = stream_find(row[i].owner, row[i].id);

		if (stream == NULL)
			continue;
		archive_stream_durable(stream, &row[i]);
		if (durable != NULL)
			durable(stream, arg);
		if (stream->end_durable && !stream->dirty)	/* STATS may have come since: the next batch has them */
			stream_free(stream);
	}
	archive_files_closed(archive, batch);
	archive_settle_cuts(archive, batch);
}

static bool
archive_is_away(const struct vm *vm)
{
	return vm->session == NULL && vm->pulls == 0 && vm->left_ns != 0 && clock_mono_ns() - vm->left_ns >= ARCHIVE_AWAY_NS;
}

void
archive_rotate_old(struct archive *archive)
{
	uint64_t now = clock_mono_ns(), limit = archive->settings.rotate_interval_ms * 1000000u;
	struct stream *stream;
	struct vm *vm;

	TAILQ_FOREACH(vm, &archive->vms, entry) {
		bool away = archive_is_away(vm);

		TAILQ_FOREACH(stream, &vm->streams, entry)
			if (stream->file != NULL && (away || (limit > 0 && now - stream->file->created_mono_ns >= limit)))
				stream_close_file(archive, stream);
	}
}

static bool
archive_has_file(const struct vm *vm)
{
	const struct stream *stream;

	TAILQ_FOREACH(stream, &vm->streams, entry)
		if (stream->file != NULL)
			return true;
	return false;
}

void
archive_give_places(struct archive *archive)
{
	bool wanted = quota_short();
	struct stream *stream;
	struct vm *vm;

	TAILQ_FOREACH(vm, &archive->vms, entry) {
		if (!vm->has_place || vm->session != NULL || vm->pulls > 0)
			continue;
		if (wanted)
			TAILQ_FOREACH(stream, &vm->streams, entry)
				stream_close_file(archive, stream);
		if (archive_has_file(vm) || vm->files_closing > 0)
			continue;
		vm->has_place = false;
		quota_give_vm(&vm->use->places);
	}
}

void
archive_close_files(struct archive *archive)
{
	struct stream *stream;
	struct vm *vm;

	TAILQ_FOREACH(vm, &archive->vms, entry)
		TAILQ_FOREACH(stream, &vm->streams, entry)
			stream_close_file(archive, stream);
}
