/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/buf.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/store_commit.h"
#include "collector/store_scan.h"

#include "tests/store_lab.h"

/* Of each kind what the committer's thread told, apart from the other: a commit that fails may be done before anyone looks. */
static sem_t failing, done;
static struct batch *done_batch;
static char failing_text[512];

static void
report(enum commit_event event, struct batch *batch, const char *text, void *arg)
{
	(void)arg;
	if (event == COMMIT_FAILING) {
		snprintf(failing_text, sizeof(failing_text), "%s", text);
		sem_post(&failing);
		return;
	}
	ck_assert_msg(event == COMMIT_DONE, "%s", text);
	done_batch = batch;
	sem_post(&done);
}

void
store_lab_start(struct store_lab *lab)
{
	const struct archive_settings settings = { .rotate_size = 1u << 20, .rotate_interval_ms = 3600000 };
	struct identity identity = { .role = ROLE_AGENT, .tenant = "acme", .name = "web1", .uuid = STORE_LAB_UUID };
	static const uint8_t id[MSG_ID_SIZE] = { 1, 2, 3 };
	struct msg_interface interface;
	struct fault fault;
	char error[512] = "";

	ck_assert_msg(store_open(&lab->store, lab->path, NULL, error, sizeof(error)) == 0, "%s", error);
	ck_assert_msg(archive_init(&lab->archive, &lab->store, &settings, error, sizeof(error)) == 0, "%s", error);
	sem_init(&failing, 0, 0);
	sem_init(&done, 0, 0);
	lab->committer = committer_new(&lab->store, report, NULL, error, sizeof(error));
	ck_assert_msg(lab->committer != NULL, "%s", error);
	lab->vm = archive_vm(&lab->archive, &identity, &fault);
	ck_assert_ptr_nonnull(lab->vm);
	archive_vm_changed(&lab->archive, lab->vm);
	lab->stream = stream_get(&lab->archive, lab->vm, id, 1, &fault);
	ck_assert_ptr_nonnull(lab->stream);
	interface = store_lab_interface(lab, 0);
	ck_assert_msg(stream_add_interface(&lab->archive, lab->stream, &interface, &fault) == 0, "%s", fault.text);
}

void
store_lab_open(struct store_lab *lab)
{
	memset(lab, 0, sizeof(*lab));
	strcpy(lab->path, "/tmp/check_store.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(lab->path));
	store_lab_start(lab);
}

void
store_lab_kill(struct store_lab *lab)
{
	committer_free(lab->committer);
	archive_clear(&lab->archive);
	store_close(&lab->store);
}

void
store_lab_close(struct store_lab *lab)
{
	char command[128];

	store_lab_kill(lab);
	snprintf(command, sizeof(command), "rm -rf %s", lab->path);
	ck_assert_int_eq(system(command), 0);
}

void
store_lab_commit_begin(struct store_lab *lab)
{
	struct batch *batch = archive_take_batch(&lab->archive);

	ck_assert_ptr_nonnull(batch);
	committer_start(lab->committer, batch);
}

const char *
store_lab_commit_fails(void)
{
	while (sem_wait(&failing) == -1)
		continue;
	return failing_text;
}

void
store_lab_commit_end(struct store_lab *lab)
{
	while (sem_wait(&done) == -1)
		continue;
	archive_committed(&lab->archive, done_batch, NULL, NULL);
	batch_free(done_batch);
}

void
store_lab_commit(struct store_lab *lab)
{
	store_lab_commit_begin(lab);
	store_lab_commit_end(lab);
}

struct msg_interface
store_lab_interface(const struct store_lab *lab, uint32_t id)
{
	static struct buf idb;
	struct pcapng_interface interface = { .linktype = 1, .has_mac = true, .mac = { 2, 0, 0, 0, 0, (uint8_t)id } };
	struct msg_interface msg = { .id = id };

	snprintf(interface.name, sizeof(interface.name), "eth%u", id);
	buf_clear(&idb);
	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	memcpy(msg.stream, lab->stream->id, MSG_ID_SIZE);
	msg.idb = idb.data;
	msg.idb_len = idb.len;
	return msg;
}

static void
fill_raw(struct buf *raw, struct msg_block *msg, uint32_t packets)
{
	static uint8_t data[128];
	struct pcapng_packet packet = { .data = data, .flags = PCAPNG_EPB_IN };

	for (uint32_t i = 0; i < packets; i++) {
		packet.time_ns = STORE_LAB_START + msg->number * 1000000 + i * 1000;
		packet.captured_len = packet.original_len = 60 + i % 31;
		memset(data, (int)(msg->number + i), sizeof(data));
		ck_assert_int_eq(pcapng_put_epb(raw, &packet), 0);
		msg->bytes += packet.captured_len;
		msg->first_ns = i == 0 ? packet.time_ns : msg->first_ns;
		msg->last_ns = packet.time_ns;
	}
	if (packets == 0)
		ck_assert_int_eq(pcapng_put_isb(raw, &(struct pcapng_statistics){ .time_ns = STORE_LAB_START }), 0);
}

struct msg_block
store_lab_block(const struct store_lab *lab, const struct codec *codec, uint64_t number, uint32_t packets)
{
	static uint8_t data[MSG_BLOCK_MAX];
	struct msg_block msg = { .number = number, .codec = (uint8_t)codec->id, .packets = packets, .data = data };
	void *state = codec->state_new(codec->level_initial);
	struct buf raw;
	ssize_t n;

	memcpy(msg.stream, lab->stream->id, MSG_ID_SIZE);
	buf_init(&raw, MSG_BLOCK_RAW_MAX);
	fill_raw(&raw, &msg, packets);
	n = codec->encode(state, raw.data, raw.len, data, sizeof(data));
	ck_assert_int_gt(n, 0);
	msg.data_len = (size_t)n;
	msg.raw_len = (uint32_t)raw.len;
	codec->state_free(state);
	buf_clear(&raw);
	return msg;
}

void
store_lab_add(struct store_lab *lab, const struct codec *codec, uint64_t number, uint32_t packets)
{
	struct msg_block msg = store_lab_block(lab, codec, number, packets);
	struct fault fault;

	ck_assert_msg(stream_add_block(&lab->archive, lab->stream, &msg, &fault) == 0, "%s", fault.text);
}

static struct sqlite3 *
open_catalog(const struct store_lab *lab)
{
	char error[512] = "";
	struct sqlite3 *db = catalog_open(lab->path, error, sizeof(error));

	ck_assert_msg(db != NULL, "%s", error);
	return db;
}

const char *
store_lab_text(const struct store_lab *lab, const char *sql)
{
	static char text[512];
	struct sqlite3 *db = open_catalog(lab);
	sqlite3_stmt *stmt;

	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	ck_assert_msg(sqlite3_step(stmt) == SQLITE_ROW, "no row: %s", sql);
	snprintf(text, sizeof(text), "%s", sqlite3_column_type(stmt, 0) == SQLITE_NULL ? ""
	    : (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return text;
}

int64_t
store_lab_number(const struct store_lab *lab, const char *sql)
{
	return strtoll(store_lab_text(lab, sql), NULL, 10);
}

void
store_lab_sql(const struct store_lab *lab, const char *sql)
{
	struct sqlite3 *db = open_catalog(lab);

	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void
full_path(const struct store_lab *lab, const char *path, char *full, size_t full_size)
{
	char hidden[STORE_PATH_SIZE + 1];

	store_hidden_path(path, hidden);
	snprintf(full, full_size, "%s/%s", lab->path, hidden);
	if (access(full, F_OK) == -1)
		snprintf(full, full_size, "%s/%s", lab->path, path);
}

uint64_t
store_lab_packets(const struct store_lab *lab, const char *path, const struct codec *codec)
{
	struct store_scan found;
	char full[512];
	int fd;

	full_path(lab, path, full, sizeof(full));
	fd = open(full, O_RDONLY);
	ck_assert_msg(fd != -1, "%s", full);
	store_scan(fd, codec, &found);
	close(fd);
	return found.packets;
}

bool
store_lab_exists(const struct store_lab *lab, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", lab->path, path);
	return access(full, F_OK) == 0;
}
