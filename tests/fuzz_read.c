/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/pcapng_out.h"
#include "collector/store.h"
#include "collector/store_read.h"
#include "collector/store_recover.h"
#include "collector/store_scan.h"

#include "tests/script_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/*
 * The input: how the file is made (flags, codec), rows of the catalog about it (length, times, points, an interface), the window and
 * a filter, and then the file's bytes: as they are, or as blocks that a codec makes a file of. It is read as "vmtap read" does; then
 * recovered as after a crash, and read again.
 */
#define UUID		"11111111-2222-4333-8444-555555555555"
#define FILE_PATH	"acme/" UUID "/file"
#define POINTS_MAX	8
#define FLAG_ENCODED	0x01		/* the bytes are blocks; else the file itself */
#define FLAG_LIVE	0x02
#define FLAG_HIDDEN	0x04		/* and is so on disk if the next one is set too */
#define FLAG_DOT	0x08
#define FLAG_LENGTH	0x10		/* the length is what the input says */
#define FLAG_FILTER	0x20
#define FLAG_WINDOW	0x40
#define FLAG_DAMAGED	0x80		/* an interface of the input's own bytes */

static struct store store;
static struct sqlite3 *db;
static struct buf file;
static char vm_folder[256];

/* --- once --- */

static void
start(void)
{
	char error[512] = "", path[128];

	snprintf(path, sizeof(path), "%s/store", script_folder());
	if (store_open(&store, path, NULL, error, sizeof(error)) == -1)
		script_failed(error, "store", 0);
	script_assert(mkdirat(store.root_fd, "acme", 0700) == 0 && mkdirat(store.root_fd, "acme/" UUID, 0700) == 0);
	snprintf(vm_folder, sizeof(vm_folder), "%s/acme", store.path);
	db = catalog_open(store.path, error, sizeof(error));
	script_assert(db != NULL);
	script_assert(sqlite3_exec(db, "PRAGMA synchronous = OFF; INSERT INTO vm (uuid, tenant, name) VALUES ('" UUID "', 'acme', 'web1');"
	    " INSERT INTO stream (id, vm, started_ns) VALUES (x'01020300000000000000000000000000', '" UUID "', 1)", NULL, NULL, NULL)
	    == SQLITE_OK);
	buf_init(&file, 4 * 1024 * 1024);
}

/* --- each time: the catalog --- */

/* blob NULL: none. */
static void
insert(const char *sql, const uint64_t *value, int count, const void *blob, size_t len)
{
	sqlite3_stmt *statement;

	script_assert(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
	for (int i = 0; i < count; i++)
		sqlite3_bind_int64(statement, i + 1, (int64_t)value[i]);
	if (blob != NULL)
		sqlite3_bind_blob(statement, count + 1, blob, (int)len, SQLITE_STATIC);
	sqlite3_step(statement);
	sqlite3_finalize(statement);
}

static void
insert_interface(struct cursor *cursor, uint8_t flags)
{
	struct pcapng_interface interface = { .linktype = script_u8(cursor) & 1 ? 1 : 101, .name = "eth0" };
	static const uint64_t none = 0;
	uint8_t bytes[256];
	struct buf idb;

	buf_init(&idb, MSG_IDB_MAX);
	if (flags & FLAG_DAMAGED)
		buf_put(&idb, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
	else
		pcapng_put_idb(&idb, &interface);
	insert("INSERT INTO interface (stream, id, name, linktype, idb) VALUES (x'01020300000000000000000000000000', ?1, 'eth0', 1, ?2)",
	    &none, 1, idb.len > 0 ? idb.data : bytes, idb.len);
	buf_clear(&idb);
}

static void
insert_points(struct cursor *cursor)
{
	unsigned count = script_u8(cursor) % (POINTS_MAX + 1);

	for (unsigned i = 0; i < count; i++) {
		uint64_t value[3] = { i + 1 };

		value[1] = script_number(cursor);
		value[2] = script_number(cursor);
		insert("INSERT INTO point (file, block, offset, first_ns) VALUES (1, ?1, ?2, ?3)", value, 3, NULL, 0);
	}
}

static void
insert_file(const struct codec *codec, uint8_t flags, const uint64_t number[5])
{
	const uint64_t value[] = { (flags & FLAG_HIDDEN) != 0, (flags & FLAG_LIVE) != 0,
	    flags & FLAG_LENGTH ? number[0] : file.len, number[1], number[2], number[3], number[4] };
	char sql[512];

	snprintf(sql, sizeof(sql), "INSERT INTO file (id, vm, stream, path, codec, created_ns, hidden, live, length, packets, bytes,"
	    " first_ns, last_ns) VALUES (1, '" UUID "', x'01020300000000000000000000000000', '" FILE_PATH "', '%s', 1, ?1, ?2, ?3, ?4,"
	    " ?5, ?6, ?7)", codec->name);
	insert(sql, value, 7, NULL, 0);
}

/* --- the file --- */

/* As store_file.c makes one: head, a section and interface, then each block as a unit. */
static void
encode_file(const struct codec *codec, struct cursor *cursor)
{
	uint8_t edge[CODEC_FILE_EDGE_MAX], unit[8192];
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	struct buf raw;
	ssize_t len;

	buf_init(&raw, 4096);
	buf_put(&file, edge, codec->file_begin(edge, sizeof(edge)));
	pcapng_put_shb(&raw, "x86_64", "Linux", "fuzz");
	pcapng_put_idb(&raw, &interface);
	do {
		if ((len = codec->store(raw.data, raw.len, unit, sizeof(unit))) > 0)
			buf_put(&file, unit, (size_t)len);
		raw.len = 0;
		if (buf_reserve(&raw, 256) == 0)
			raw.len = script_bytes(cursor, raw.data, 255);
	} while (raw.len > 0);
	buf_clear(&raw);
}

static void
write_file(uint8_t flags)
{
	const char *path = flags & FLAG_HIDDEN && flags & FLAG_DOT ? "acme/" UUID "/.file" : FILE_PATH;
	int fd = openat(store.root_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	script_assert(fd != -1 && (file.len == 0 || write(fd, file.data, file.len) == (ssize_t)file.len));
	close(fd);
}

/* --- reading --- */

static int
on_block(const uint8_t id[MSG_ID_SIZE], const uint8_t *block, size_t len, void *arg)
{
	uint32_t interface = pcapng_out_interface_of(block, len);
	uint8_t idb[MSG_IDB_MAX];
	int idb_len;

	if (!pcapng_out_knows(arg, id, interface)) {
		if ((idb_len = store_read_interface(db, id, interface, idb)) == -1)
			return 0;
		if (pcapng_out_interface(arg, id, interface, idb, (size_t)idb_len) == -1)
			return -1;
	}
	return pcapng_out_block(arg, id, block, len);
}

static void
on_warning(const char *text, void *arg)
{
	(void)text;
	(void)arg;
}

static void
read_all(uint64_t from_ns, uint64_t to_ns, const char *filter)
{
	struct store_reader reader = { .db = db, .store = store.path, .uuid = UUID, .from_ns = from_ns, .to_ns = to_ns,
	    .block = on_block, .warning = on_warning };
	char error[512] = "";
	struct pcapng_out *out = pcapng_out_open("/dev/null", filter, "fuzz", error, sizeof(error));

	script_assert(out != NULL);
	pcapng_out_window(out, from_ns, to_ns);
	reader.arg = out;
	if (store_read(&reader) == -1)
		script_assert(reader.error[0] != '\0' || pcapng_out_error(out)[0] != '\0');
	script_assert(pcapng_out_close(out) == 0);
}

/* The bytes are looked at as a file of each codec, too. */
static void
recover(void)
{
	char error[512] = "";
	struct store_scan scan;
	int fd = openat(store.root_fd, FILE_PATH, O_RDONLY | O_CLOEXEC);

	for (unsigned id = 0; fd != -1 && id <= CODEC_ZSTD; id++)
		if (codec_by_id(id) != NULL)
			store_scan(fd, codec_by_id(id), &scan);
	if (fd != -1)
		close(fd);
	if (store_recover(&store, db, error, sizeof(error)) == -1)
		script_assert(error[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const filters[] = { "tcp", "ip host 10.0.0.1 and len > 40", "vlan or ip6" };
	uint64_t number[5], from_ns = 0, to_ns = UINT64_MAX;
	const char *filter = NULL;
	const struct codec *codec;
	struct cursor cursor;
	uint8_t flags;

	if (db == NULL)
		start();
	cursor_init(&cursor, data, size);
	flags = script_u8(&cursor);
	if ((codec = codec_by_id(script_u8(&cursor) % 4)) == NULL)
		return -1;
	for (unsigned i = 0; i < 5; i++)
		number[i] = script_number(&cursor);
	if (flags & FLAG_WINDOW) {
		from_ns = script_number(&cursor);
		to_ns = script_number(&cursor);
	}
	if (flags & FLAG_FILTER)
		filter = filters[script_u8(&cursor) % 3];
	script_assert(sqlite3_exec(db, "BEGIN; DELETE FROM point; DELETE FROM file; DELETE FROM interface; DELETE FROM loss", NULL, NULL,
	    NULL) == SQLITE_OK);
	insert_interface(&cursor, flags);
	buf_consume(&file, file.len);
	insert_points(&cursor);
	if (flags & FLAG_ENCODED)
		encode_file(codec, &cursor);
	else
		buf_put(&file, cursor.p, cursor.left);
	insert_file(codec, flags, number);
	script_assert(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
	write_file(flags);
	read_all(from_ns, to_ns, filter);
	recover();
	read_all(0, UINT64_MAX, NULL);
	script_remove_files(vm_folder);
	return 0;
}
