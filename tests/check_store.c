/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"

#include "collector/catalog.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

#include "tests/store_lab.h"

static struct store_lab lab;

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	store_lab_open(&lab);
}

static void
teardown(void)
{
	store_lab_close(&lab);
}

static off_t
size_of(const char *path)
{
	char full[512];
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", lab.path, path);
	ck_assert_msg(stat(full, &st) == 0, "%s", full);
	return st.st_size;
}

static char *
keep_text(const char *sql)
{
	return strdup(store_lab_text(&lab, sql));
}

START_TEST(tenants_stay_off_our_own_files)
{
	ck_assert(store_tenant_fits("default") && store_tenant_fits("locksmith"));
	ck_assert(!store_tenant_fits("lock") && !store_tenant_fits("ctl.sock"));
	ck_assert(!store_tenant_fits("catalog.sqlite") && !store_tenant_fits("catalog.sqlite-wal"));
}
END_TEST

START_TEST(files_are_readable_at_any_moment)
{
	const struct codec *codec = codec_by_id((unsigned)_i);
	char *path;

	for (uint64_t n = 1; n <= 20; n++) {
		store_lab_add(&lab, codec, n, 50);
		if (n == 7) {
			store_lab_commit(&lab);
			path = keep_text("SELECT path FROM file");
			ck_assert_int_eq(store_lab_number(&lab, "SELECT live FROM file"), 1);
			ck_assert_uint_eq(store_lab_packets(&lab, path, codec), 7 * 50);
			ck_assert_int_eq(size_of(path), store_lab_number(&lab, "SELECT length FROM file"));
			free(path);
		}
	}
	stream_close_file(&lab.archive, lab.stream);
	store_lab_commit(&lab);
	path = keep_text("SELECT path FROM file");
	ck_assert_int_eq(strncmp(path, "acme/" STORE_LAB_UUID "/20", strlen("acme/" STORE_LAB_UUID "/20")), 0);
	ck_assert_ptr_nonnull(strstr(path, "Z-1.pcapng"));
	ck_assert_str_eq(strstr(path, ".pcapng") + 7, codec->suffix);
	ck_assert_uint_eq(store_lab_packets(&lab, path, codec), 20 * 50);
	ck_assert_int_eq(size_of(path), store_lab_number(&lab, "SELECT length FROM file"));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT live FROM file"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT hidden FROM file"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM file"), 1000);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT first_block * 100 + last_block FROM file"), 120);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM point WHERE block = 1"), 1);
	free(path);
}
END_TEST

START_TEST(files_are_rotated_by_size)
{
	const struct codec *codec = codec_by_id(CODEC_NONE);
	struct msg_interface interface = store_lab_interface(&lab, 1);
	struct fault fault;

	lab.archive.settings.rotate_size = 20000;
	for (uint64_t n = 1; n <= 12; n++) {
		if (n == 2)
			ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &interface, &fault), 0);
		store_lab_add(&lab, codec, n, 50);
	}
	stream_close_file(&lab.archive, lab.stream);
	store_lab_commit(&lab);
	ck_assert_int_gt(store_lab_number(&lab, "SELECT count(*) FROM file"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), 600);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(last_block - first_block + 1) FROM file"), 12);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(DISTINCT path) - count(*) FROM file"), 0);
	ck_assert_int_lt(store_lab_number(&lab, "SELECT max(length) FROM file"), 20000 + 8000);
}
END_TEST

START_TEST(files_are_rotated_by_age_and_codec)
{
	store_lab_add(&lab, codec_by_id(CODEC_NONE), 1, 5);
	store_lab_add(&lab, codec_by_id(CODEC_ZLIB), 2, 5);
	archive_rotate_old(&lab.archive);
	ck_assert_ptr_nonnull(lab.stream->file);
	lab.stream->file->created_mono_ns -= UINT64_C(3600) * 1000000000;
	archive_rotate_old(&lab.archive);
	ck_assert_ptr_null(lab.stream->file);
	store_lab_add(&lab, codec_by_id(CODEC_ZLIB), 3, 5);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file WHERE codec = 'none'"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file WHERE codec = 'zlib'"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file WHERE live"), 1);
}
END_TEST

/* The crash is between the files and the catalog. */
static void
write_files_only(void)
{
	struct batch *batch = archive_take_batch(&lab.archive);
	struct file_row *row = batch->files.row;

	for (size_t i = 0; i < batch->files.count; i++)
		ck_assert_int_eq(store_file_write(&row[i].file), 0);
	batch_free(batch);
}

/* Whatever the wall clock does meanwhile. */
START_TEST(files_of_who_is_long_away_are_closed)
{
	store_lab_add(&lab, codec_by_id(CODEC_NONE), 1, 5);
	lab.vm->row.seen_ns = clock_wall_ns() + ARCHIVE_AWAY_NS;
	archive_rotate_old(&lab.archive);
	ck_assert_ptr_nonnull(lab.stream->file);
	lab.vm->left_ns = clock_mono_ns();
	archive_rotate_old(&lab.archive);
	ck_assert_ptr_nonnull(lab.stream->file);
	lab.vm->left_ns -= ARCHIVE_AWAY_NS;
	archive_rotate_old(&lab.archive);
	ck_assert_ptr_null(lab.stream->file);
}
END_TEST

/* What is not durable is cut off by the next start, and then the file is whole: at every length that a crash may leave. */
START_TEST(recovery_cuts_at_any_point)
{
	const struct codec *codec = codec_by_id((unsigned)_i);
	uint8_t bytes[65536];
	char *path, full[512], sql[256];
	off_t durable, size;
	int fd;

	store_lab_add(&lab, codec, 1, 4);
	store_lab_commit(&lab);
	store_lab_add(&lab, codec, 2, 4);
	write_files_only();
	path = keep_text("SELECT path FROM file");
	durable = (off_t)store_lab_number(&lab, "SELECT length FROM file");
	size = size_of(path);
	ck_assert_int_gt(size, durable);
	snprintf(full, sizeof(full), "%s/%s", lab.path, path);
	fd = open(full, O_RDWR);
	ck_assert_int_eq(pread(fd, bytes, sizeof(bytes), 0), size);
	snprintf(sql, sizeof(sql), "UPDATE file SET live = 1, length = %lld", (long long)durable);
	for (off_t cut = durable; cut <= size; cut++) {
		store_lab_kill(&lab);
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(pwrite(fd, bytes, (size_t)cut, 0), cut);
		store_lab_sql(&lab, sql);
		store_lab_start(&lab);
		ck_assert_uint_eq(store_lab_packets(&lab, path, codec), 4);
		ck_assert_int_eq(store_lab_number(&lab, "SELECT live FROM file"), 0);
		ck_assert_int_eq(size_of(path), store_lab_number(&lab, "SELECT length FROM file"));
		ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 0);
	}
	close(fd);
	free(path);
}
END_TEST

/* A disk that lied: what is missing is counted. */
START_TEST(recovery_counts_what_is_missing)
{
	const struct codec *codec = codec_by_id(CODEC_NONE);
	char *path, full[512];

	store_lab_add(&lab, codec, 1, 4);
	store_lab_add(&lab, codec, 2, 6);
	store_lab_commit(&lab);
	path = keep_text("SELECT path FROM file");
	store_lab_kill(&lab);
	log_init("check", LOG_LEVEL_ERROR);
	snprintf(full, sizeof(full), "%s/%s", lab.path, path);
	ck_assert_int_eq(truncate(full, size_of(path) - 10), 0);
	store_lab_start(&lab);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT place || packets FROM loss"), "store1");
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM file"), 9);
	ck_assert_int_eq(size_of(path), store_lab_number(&lab, "SELECT length FROM file"));
	store_lab_kill(&lab);
	store_lab_sql(&lab, "UPDATE file SET live = 1");
	ck_assert_int_eq(unlink(full), 0);
	store_lab_start(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM point"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM loss WHERE place = 'store'"), 10);
	free(path);
}
END_TEST

START_TEST(recovery_finishes_names)
{
	const struct codec *codec = codec_by_id(CODEC_NONE);
	char hidden[STORE_PATH_SIZE + 1], from[512], to[512], *path;

	store_lab_add(&lab, codec, 1, 4);
	store_lab_commit(&lab);
	path = keep_text("SELECT path FROM file");
	store_hidden_path(path, hidden);
	ck_assert(store_lab_exists(&lab, path));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT hidden FROM file"), 1);	/* the rename is not durable yet */
	snprintf(from, sizeof(from), "%s/%s", lab.path, path);
	snprintf(to, sizeof(to), "%s/%s", lab.path, hidden);
	for (int renamed = 0; renamed <= 1; renamed++) {
		store_lab_kill(&lab);
		store_lab_sql(&lab, "UPDATE file SET hidden = 1");
		if (!renamed)
			ck_assert_int_eq(rename(from, to), 0);
		store_lab_start(&lab);
		ck_assert(store_lab_exists(&lab, path));
		ck_assert(!store_lab_exists(&lab, hidden));
		ck_assert_int_eq(store_lab_number(&lab, "SELECT hidden + live FROM file"), 0);
	}
	free(path);
}
END_TEST

START_TEST(recovery_removes_only_what_is_unfinished)
{
	const char *unfinished = "acme/" STORE_LAB_UUID "/.20200101T000000Z-1.pcapng",
	    *strange = "acme/" STORE_LAB_UUID "/mine.pcapng";
	char full[512];
	int fd;

	store_lab_add(&lab, codec_by_id(CODEC_NONE), 1, 4);	/* never committed */
	store_lab_kill(&lab);
	log_init("check", LOG_LEVEL_ERROR);
	for (int i = 0; i < 2; i++) {
		snprintf(full, sizeof(full), "%s/%s", lab.path, i == 0 ? unfinished : strange);
		fd = open(full, O_CREAT | O_WRONLY, 0600);
		ck_assert_int_ge(fd, 0);
		close(fd);
	}
	store_lab_start(&lab);
	ck_assert(!store_lab_exists(&lab, unfinished));
	ck_assert(store_lab_exists(&lab, strange));
	snprintf(full, sizeof(full), "test \"$(ls -A %s/acme/*/ | wc -l)\" = 1", lab.path);
	ck_assert_int_eq(system(full), 0);
}
END_TEST

static int
retain(uint64_t size, uint64_t size_vm, uint64_t age_ms)
{
	const struct retain_limits limits = { .size = size, .size_vm = size_vm, .age_ms = age_ms };
	char error[512] = "";
	struct sqlite3 *db = catalog_open(lab.path, error, sizeof(error));
	int n = store_retain(&lab.store, db, &limits, error, sizeof(error));

	ck_assert_msg(n >= 0, "%s", error);
	sqlite3_close(db);
	return n;
}

static void
make_files(int count)
{
	for (int i = 1; i <= count; i++) {
		store_lab_add(&lab, codec_by_id(CODEC_NONE), (uint64_t)i, 100);
		if (i < count)
			stream_close_file(&lab.archive, lab.stream);
	}
	store_lab_commit(&lab);
	ck_assert_int_eq(retain(1, 1, 1), 0);		/* their names are not durable yet */
	archive_vm_changed(&lab.archive, lab.vm);
	store_lab_commit(&lab);
}

/* Of one tenant alone; the other's stay, however many there are. */
START_TEST(retention_by_tenant)
{
	struct retain_limits limits = { 0 };
	char error[512] = "";
	struct sqlite3 *db;
	int64_t total;

	make_files(6);
	total = store_lab_number(&lab, "SELECT sum(length) FROM file");
	ck_assert_ptr_nonnull(db = catalog_open(lab.path, error, sizeof(error)));
	ck_assert_ptr_nonnull(limits.tenants = tenants_new(lab.path, error, sizeof(error)));
	tenant_use_set(tenants_use(limits.tenants, "globex"), &(struct tenant_quota){ .store = 1 });
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), 0);
	tenant_use_set(tenants_use(limits.tenants, "acme"), &(struct tenant_quota){ .store = (uint64_t)total });
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), 0);
	tenant_use_set(tenants_use(limits.tenants, "acme"), &(struct tenant_quota){ .store = (uint64_t)total / 2 });
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), 3);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT min(id) FROM file"), 4);
	tenants_free(limits.tenants);
	sqlite3_close(db);
}
END_TEST

START_TEST(retention_by_size)
{
	char *oldest;
	int64_t total;

	make_files(6);
	total = store_lab_number(&lab, "SELECT sum(length) FROM file");
	oldest = keep_text("SELECT path FROM file ORDER BY id LIMIT 1");
	ck_assert_int_eq(retain(0, 0, 0), 0);
	ck_assert_int_eq(retain((uint64_t)total, 0, 0), 0);
	ck_assert_int_eq(retain((uint64_t)total - 1, 0, 0), 1);
	ck_assert(!store_lab_exists(&lab, oldest));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT min(id) FROM file"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM point WHERE file = 1"), 0);
	ck_assert_int_eq(retain(0, (uint64_t)total / 2, 0), 2);
	ck_assert_int_eq(retain(1, 0, 0), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file WHERE live"), 1);	/* kept, whatever its size */
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file"), 1);
	free(oldest);
}
END_TEST

START_TEST(retention_by_age)
{
	char sql[128];

	make_files(4);
	ck_assert_int_eq(retain(0, 0, UINT64_C(36600) * 86400 * 1000), 0);
	snprintf(sql, sizeof(sql), "UPDATE file SET last_ns = %llu WHERE id > 1", (unsigned long long)clock_wall_ns());
	store_lab_sql(&lab, sql);
	ck_assert_int_eq(retain(0, 0, 3600000), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT min(id) FROM file"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream"), 1);	/* not ended */
	snprintf(sql, sizeof(sql), "UPDATE file SET last_ns = %llu, created_ns = 1 WHERE id = 2",
	    (unsigned long long)INT64_MAX);
	store_lab_sql(&lab, sql);
	ck_assert_int_eq(retain(0, 0, 3600000), 1);	/* a guest's clock that is ahead keeps nothing */
	ck_assert_int_eq(store_lab_number(&lab, "SELECT min(id) FROM file"), 3);
}
END_TEST

#define RECEIVER	"99999999-2222-3333-4444-555555555555"

/* Another VM that left packets to this one, from a microsecond after its first packet on. */
static void
make_receiver(const char *to_ns)
{
	char sql[512];

	store_lab_sql(&lab, "INSERT INTO vm (uuid, tenant, name, clock_offset_ns) VALUES ('" RECEIVER "', 'acme', 'receiver', 7)");
	store_lab_sql(&lab, "INSERT INTO stream (id, vm, started_ns) VALUES (x'0a000000000000000000000000000000', '" RECEIVER "', 1)");
	snprintf(sql, sizeof(sql), "INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns, to_ns) SELECT '" RECEIVER
	    "', uuid, '10.0.0.1', '10.0.0.2', '', 0, (SELECT min(first_ns) FROM file) + 1000, %s FROM vm WHERE uuid <> '" RECEIVER "'", to_ns);
	store_lab_sql(&lab, sql);
}

/* What is removed was also another VM's. */
START_TEST(retention_tells_receivers)
{
	static const char row[] = "SELECT count(*) FROM loss WHERE vm = '" RECEIVER "' AND place = 'withheld' AND approximate = 2"
	    " AND hex(stream) LIKE '0A%' AND packets = 0";
	int64_t first, last;

	make_files(4);
	make_receiver("NULL");
	first = store_lab_number(&lab, "SELECT first_ns FROM file ORDER BY id LIMIT 1");
	last = store_lab_number(&lab, "SELECT last_ns FROM file ORDER BY id LIMIT 1");
	ck_assert_int_eq(retain((uint64_t)store_lab_number(&lab, "SELECT sum(length) - 1 FROM file"), 0, 0), 1);
	ck_assert_int_eq(store_lab_number(&lab, row), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT first_ns FROM loss"), first + 1000 + 7);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_ns FROM loss"), last + 7);
	last = store_lab_number(&lab, "SELECT last_ns FROM file ORDER BY id LIMIT 1 OFFSET 1");
	ck_assert_int_eq(retain(1, 0, 0), 2);
	ck_assert_int_eq(store_lab_number(&lab, row), 1);	/* one, and longer */
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_ns FROM loss"), last + 7);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM withheld"), 1);
}
END_TEST

START_TEST(retention_forgets_who_withheld)
{
	make_files(2);
	make_receiver("(SELECT min(first_ns) FROM file) + 1001");
	ck_assert_int_eq(retain(UINT64_C(1) << 40, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM withheld"), 1);
	store_lab_sql(&lab, "UPDATE file SET first_ns = first_ns + 86400000000000, created_ns = first_ns");
	ck_assert_int_eq(retain(UINT64_C(1) << 40, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM withheld"), 1);
	store_lab_sql(&lab, "UPDATE file SET first_ns = first_ns + 86400000000000, created_ns = first_ns + 86400000000000");
	ck_assert_int_eq(retain(UINT64_C(1) << 40, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM withheld"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 0);
}
END_TEST

/* What an agent lost was also others', to whom it was left: up to as many. Those of another time are not told. */
START_TEST(gaps_are_receivers_too)
{
	struct msg_gap gap = { .first = 3, .last = 3, .packets = 40, .bytes = 4000, .place = GAP_SPOOL };
	struct fault fault;

	make_files(2);
	make_receiver("(SELECT min(first_ns) FROM file) + 500000");
	memcpy(gap.stream, lab.stream->id, MSG_ID_SIZE);
	gap.first_ns = STORE_LAB_START + 1002000;
	gap.last_ns = STORE_LAB_START + 1003000;
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &gap, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE vm = '" RECEIVER "' AND place = 'withheld' AND"
	    " approximate = 1 AND packets = 40"), 1);
	gap = (struct msg_gap){ .first = 4, .last = 4, .packets = 2, .place = GAP_SPOOL, .first_ns = STORE_LAB_START + 1004000,
	    .last_ns = STORE_LAB_START + 1005000 };
	memcpy(gap.stream, lab.stream->id, MSG_ID_SIZE);
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &gap, &fault), 0);
	gap.first = gap.last = 5;
	gap.first_ns = gap.last_ns = STORE_LAB_START + UINT64_C(3600000000000);
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &gap, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE vm = '" RECEIVER "'"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM loss WHERE vm = '" RECEIVER "'"), 42);
}
END_TEST

/* A stream that was cut off is found out late: by then its receivers have been told, or else are now. */
START_TEST(cuts_are_receivers_too)
{
	struct loss_row *row;

	make_files(1);
	make_receiver("(SELECT min(first_ns) FROM file) + 500000");
	if (_i == 1)
		store_lab_sql(&lab, "INSERT INTO loss (vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate)"
		    " SELECT vm, x'0a000000000000000000000000000000', 'withheld', 5, 0, from_ns, from_ns + 10, 1, 1 FROM withheld");
	row = batch_add_loss(lab.archive.batch);
	memcpy(row->vm, lab.vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, lab.stream->id, MSG_ID_SIZE);
	row->place = "cut";
	row->packets = 9;
	row->first_ns = STORE_LAB_START + 1000000;
	row->last_ns = STORE_LAB_START + 2000000;
	row->approximate = 1;
	row->recorded_ns = 1;
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE vm = '" RECEIVER "'"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT approximate FROM loss WHERE vm = '" RECEIVER "'"), _i == 1 ? 1 : 2);
}
END_TEST

START_TEST(leases_end_with_the_collector)
{
	make_files(1);
	make_receiver("NULL");
	store_lab_kill(&lab);
	store_lab_start(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM withheld WHERE to_ns > from_ns"), 1);
}
END_TEST

START_TEST(retention_forgets_streams)
{
	struct msg_gap gap = { .first = 3, .last = 4, .packets = 7, .place = GAP_SPOOL };
	struct fault fault;

	make_files(2);
	memcpy(gap.stream, lab.stream->id, MSG_ID_SIZE);
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &gap, &fault), 0);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 4 }, &fault), 0);
	store_lab_commit(&lab);
	store_lab_sql(&lab, "UPDATE stream SET started_ns = 1; UPDATE file SET live = 1 WHERE id = 2;"
	    " INSERT INTO event (vm, stream, block, at_ns, text) SELECT vm, id, 1, 1, 'x' FROM stream");
	ck_assert_int_eq(retain(1, 0, 0), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 1);
	store_lab_sql(&lab, "UPDATE file SET live = 0");
	ck_assert_int_eq(retain(1, 0, 0), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 1);	/* of an old stream, but told today */
	store_lab_sql(&lab, "UPDATE loss SET recorded_ns = 1; UPDATE stat SET updated_ns = 1");
	ck_assert_int_eq(retain(1, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM interface"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM event"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 0);
}
END_TEST

/* One clock is kept from before the oldest packet, for it holds then; without packets, the last. Others' are others'. */
START_TEST(retention_forgets_clocks)
{
	make_files(3);
	store_lab_sql(&lab, "INSERT INTO vm (uuid, tenant, name) VALUES ('other', 'acme', 'other'); UPDATE file SET first_ns = id * 100;"
	    " INSERT INTO clock (vm, at_ns, offset_ns, rtt_ns) SELECT vm.uuid, at.value, 0, 0 FROM vm, (SELECT 10 AS value UNION"
	    " VALUES (90), (110), (190), (210), (1000)) at");
	ck_assert_int_eq(retain(UINT64_C(1) << 40, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(at_ns) FROM clock WHERE vm <> 'other'"), 1600);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(at_ns) FROM clock WHERE vm = 'other'"), 1000);
	store_lab_sql(&lab, "DELETE FROM point WHERE file = 1; DELETE FROM file WHERE id = 1");
	ck_assert_int_eq(retain(UINT64_C(1) << 40, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(at_ns) FROM clock WHERE vm <> 'other'"), 1400);
}
END_TEST

/* One that never had a file, and so pays for none; all of it goes, or nothing. */
START_TEST(streams_without_files_are_forgotten)
{
	const struct retain_limits limits = { .size = UINT64_C(1) << 40 };
	char error[512] = "";
	struct sqlite3 *db = catalog_open(lab.path, error, sizeof(error));
	struct fault fault;

	lab.stream->started_ns = clock_wall_ns();
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 0 }, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(retain(limits.size, 0, 0), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream"), 1);	/* too young */
	store_lab_sql(&lab, "UPDATE stream SET started_ns = 1; CREATE TRIGGER no BEFORE DELETE ON stream BEGIN SELECT"
	    " RAISE(ABORT, 'not now'); END");
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "not now"));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM interface"), 1);
	store_lab_sql(&lab, "DROP TRIGGER no");
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM interface"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream"), 0);
	sqlite3_close(db);
}
END_TEST

START_TEST(one_collector_has_the_store)
{
	struct store other;
	char error[512] = "", pid[32];

	ck_assert_int_eq(store_open(&other, lab.path, NULL, error, sizeof(error)), -1);
	snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	ck_assert_ptr_nonnull(strstr(error, pid));
	ck_assert_int_eq(store_open(&other, "/dev/null/store", NULL, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "/dev/null/store"));
}
END_TEST

/* No room: the commit says so and goes on by itself once there is, with nothing lost. A file size limit stands in for the full disk. */
START_TEST(a_full_disk_is_waited_for)
{
	const struct codec *codec = codec_by_id(CODEC_NONE);
	struct rlimit limit, before;

	store_lab_add(&lab, codec, 1, 2000);	/* far above what check itself writes to its files */
	store_lab_commit(&lab);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = lab.stream->file->length + 1000;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	store_lab_add(&lab, codec, 2, 50);
	store_lab_commit_begin(&lab);
	ck_assert_ptr_nonnull(strstr(store_lab_commit_fails(), lab.stream->file->path));
	ck_assert_int_eq(size_of(lab.stream->file->path), (off_t)limit.rlim_cur);
	ck_assert_uint_eq(lab.stream->durable, 1);
	store_lab_add(&lab, codec, 3, 50);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	store_lab_commit_end(&lab);
	ck_assert_uint_eq(lab.stream->durable, 2);
	ck_assert_uint_eq(store_lab_packets(&lab, lab.stream->file->path, codec), 2050);
	store_lab_commit(&lab);
	ck_assert_uint_eq(store_lab_packets(&lab, lab.stream->file->path, codec), 2100);
}
END_TEST

/* Nothing is acknowledged that nobody would find: neither in a store of another name, nor beside a catalog that is not there. */
START_TEST(a_store_that_is_gone_is_waited_for)
{
	static const char *const names[] = { "", "/catalog.sqlite" };
	char here[96], away[112];
	const char *text;

	store_lab_add(&lab, codec_by_id(CODEC_NONE), 1, 50);
	store_lab_commit(&lab);
	snprintf(here, sizeof(here), "%s%s", lab.path, names[_i]);
	snprintf(away, sizeof(away), "%s.away", here);
	ck_assert_int_eq(rename(here, away), 0);
	store_lab_add(&lab, codec_by_id(CODEC_NONE), 2, 50);
	store_lab_commit_begin(&lab);
	ck_assert_ptr_nonnull(text = store_lab_commit_fails());
	ck_assert_msg(strstr(text, "the store is not there any more") != NULL, "%s", text);
	ck_assert_int_eq(rename(away, here), 0);
	store_lab_commit_end(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), 100);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	for (int id = CODEC_NONE; id <= CODEC_ZSTD; id++)
		if (codec_by_id((unsigned)id) != NULL) {
			tcase_add_loop_test(tcase, files_are_readable_at_any_moment, id, id + 1);
			tcase_add_loop_test(tcase, recovery_cuts_at_any_point, id, id + 1);
		}
	tcase_add_test(tcase, tenants_stay_off_our_own_files);
	tcase_add_test(tcase, files_are_rotated_by_size);
	tcase_add_test(tcase, files_are_rotated_by_age_and_codec);
	tcase_add_test(tcase, files_of_who_is_long_away_are_closed);
	tcase_add_test(tcase, recovery_counts_what_is_missing);
	tcase_add_test(tcase, recovery_finishes_names);
	tcase_add_test(tcase, recovery_removes_only_what_is_unfinished);
	tcase_add_test(tcase, retention_by_size);
	tcase_add_test(tcase, retention_by_tenant);
	tcase_add_test(tcase, retention_by_age);
	tcase_add_test(tcase, retention_tells_receivers);
	tcase_add_test(tcase, retention_forgets_who_withheld);
	tcase_add_test(tcase, gaps_are_receivers_too);
	tcase_add_loop_test(tcase, cuts_are_receivers_too, 0, 2);
	tcase_add_test(tcase, leases_end_with_the_collector);
	tcase_add_test(tcase, retention_forgets_streams);
	tcase_add_test(tcase, retention_forgets_clocks);
	tcase_add_test(tcase, streams_without_files_are_forgotten);
	tcase_add_test(tcase, one_collector_has_the_store);
	tcase_add_test(tcase, a_full_disk_is_waited_for);
	tcase_add_loop_test(tcase, a_store_that_is_gone_is_waited_for, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
