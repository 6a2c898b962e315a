/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/counts.h"
#include "collector/quota.h"

#include "tests/store_lab.h"

static struct store_lab lab;
static const struct codec *codec;
static struct fault fault;

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	codec = codec_by_id(CODEC_ZLIB);
	store_lab_open(&lab);
}

static void
teardown(void)
{
	store_lab_close(&lab);
}

static int
add(const struct msg_block *msg)
{
	memset(&fault, 0, sizeof(fault));
	return stream_add_block(&lab.archive, lab.stream, msg, &fault);
}

static int
gap(uint64_t first, uint64_t last, uint64_t packets)
{
	struct msg_gap msg = { .first = first, .last = last, .packets = packets, .bytes = packets * 100, .first_ns = 1,
	    .last_ns = 2, .place = GAP_SPOOL };

	memset(&fault, 0, sizeof(fault));
	return stream_add_gap(&lab.archive, lab.stream, &msg, &fault);
}

START_TEST(repeats_are_discarded)
{
	struct msg_block msg;

	store_lab_add(&lab, codec, 1, 5);
	store_lab_add(&lab, codec, 2, 5);
	msg = store_lab_block(&lab, codec, 1, 5);
	ck_assert_int_eq(add(&msg), 0);
	ck_assert_uint_eq(lab.stream->received, 2);
	ck_assert(!lab.stream->ack_wanted);
	store_lab_commit(&lab);
	ck_assert_uint_eq(lab.stream->durable, 2);
	lab.stream->ack_wanted = false;
	ck_assert_int_eq(add(&msg), 0);
	ck_assert(lab.stream->ack_wanted);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM file"), 10);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_block FROM stream"), 2);
}
END_TEST

START_TEST(jumps_are_refused)
{
	struct msg_block msg = store_lab_block(&lab, codec, 2, 5);

	ck_assert_int_eq(add(&msg), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	msg.number = 0;
	ck_assert_int_eq(add(&msg), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	ck_assert_int_eq(gap(3, 4, 1), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	ck_assert_uint_eq(lab.stream->received, 0);
	ck_assert_ptr_null(lab.stream->file);
}
END_TEST

START_TEST(gaps_are_recorded)
{
	store_lab_add(&lab, codec, 1, 5);
	ck_assert_int_eq(gap(2, 4, 30), 0);
	ck_assert_uint_eq(lab.stream->received, 4);
	ck_assert_int_eq(gap(2, 4, 30), 0);		/* again, after a reconnect */
	ck_assert_int_eq(gap(2, 6, 50), 0);		/* has grown: the difference is exact */
	store_lab_add(&lab, codec, 7, 5);
	ck_assert_int_eq(gap(7, 9, 12), 0);		/* some of it was received */
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), 2);	/* neighbours are one */
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets * 100 + first_block * 10 + last_block FROM loss WHERE approximate = 0"),
	    5026);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(last_block - first_block + 1) FROM loss"), 7);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT first_block FROM loss WHERE approximate"), 8);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT DISTINCT place FROM loss"), "spool");
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_block FROM stream"), 9);
}
END_TEST

START_TEST(bad_gaps_are_refused)
{
	struct msg_gap msg = { .first = 1, .last = 1, .place = 77 };

	ck_assert_int_eq(gap(0, 1, 1), -1);
	ck_assert_int_eq(gap(5, 4, 1), -1);
	ck_assert_int_eq(gap(1, UINT64_MAX, 1), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &msg, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_PROTOCOL);
	ck_assert_uint_eq(lab.stream->received, 0);
}
END_TEST

START_TEST(what_a_block_announces_must_be_true)
{
	struct msg_block good = store_lab_block(&lab, codec, 1, 5), msg;

#define LIE(field, value)	do { msg = good; msg.field = value; ck_assert_int_eq(add(&msg), -1); \
	ck_assert_int_eq(fault.code, MSG_ERR_BLOCK); } while (0)
	LIE(packets, 4);
	LIE(packets, 6);
	LIE(bytes, good.bytes + 1);
	LIE(first_ns, good.first_ns + 1);
	LIE(last_ns, 0);
	LIE(raw_len, good.raw_len - 1);
	LIE(raw_len, good.raw_len + 1);
	LIE(raw_len, 0);
	LIE(raw_len, MSG_BLOCK_RAW_MAX + 1);
	LIE(raw_len, UINT32_MAX);
	LIE(codec, 200);
	LIE(codec, CODEC_NONE);
#undef LIE
	ck_assert_ptr_null(lab.stream->file);
	ck_assert_int_eq(add(&good), 0);
}
END_TEST

/* Whatever is cut off or flipped: no crash, and nothing of it is stored unless it still is what it announces. */
START_TEST(damaged_blocks_are_refused)
{
	struct msg_block good = store_lab_block(&lab, codec_by_id((unsigned)_i), 1, 3), msg = good;
	uint8_t *copy = malloc(good.data_len);

	for (msg.data_len = 0; msg.data_len < good.data_len; msg.data_len++) {
		ck_assert_int_eq(add(&msg), -1);
		ck_assert_int_eq(fault.code, MSG_ERR_BLOCK);
	}
	msg = good;
	msg.data = copy;
	for (size_t bit = 0; bit < good.data_len * 8; bit++) {
		memcpy(copy, good.data, good.data_len);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (stream_check_block(&lab.archive, lab.stream, &msg, &fault) == -1)
			ck_assert_int_eq(fault.code, MSG_ERR_BLOCK);
	}
	ck_assert_ptr_null(lab.stream->file);
	free(copy);
}
END_TEST

/* A unit that would swell to far more than it announces. */
START_TEST(bombs_are_refused)
{
	const size_t raw_len = 16u * 1024 * 1024;
	uint8_t *raw = calloc(1, raw_len), *out = malloc(codec->bound(raw_len));
	void *state = codec->state_new(codec->level_initial);
	ssize_t n = codec->encode(state, raw, raw_len, out, codec->bound(raw_len));
	struct msg_block msg = store_lab_block(&lab, codec, 1, 5);

	ck_assert_int_gt(n, 0);
	msg.data = out;
	msg.data_len = (size_t)n;
	for (msg.raw_len = 1; msg.raw_len <= MSG_BLOCK_RAW_MAX; msg.raw_len *= 8) {
		ck_assert_int_eq(add(&msg), -1);
		ck_assert_int_eq(fault.code, MSG_ERR_BLOCK);
	}
	codec->state_free(state);
	free(raw);
	free(out);
}
END_TEST

static const char *
networks(void)
{
	store_lab_commit(&lab);
	return store_lab_text(&lab, "SELECT group_concat(network, ' ') FROM (SELECT network FROM interface ORDER BY id)");
}

/* Of streams that go on, also those of a run before; what is over was captured where it was. */
START_TEST(interfaces_are_where_the_policy_has_them)
{
	struct msg_interface msg = store_lab_interface(&lab, 1);

	strcpy(lab.vm->dedup.network, "eth1:blue,green");
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	ck_assert_str_eq(networks(), " blue");		/* eth0 was known before the policy */
	stream_networks_changed(&lab.archive, lab.vm);
	ck_assert_str_eq(networks(), "green blue");
	strcpy(lab.vm->dedup.network, "eth0:blue,red");
	stream_networks_changed(&lab.archive, lab.vm);
	ck_assert_str_eq(networks(), "blue red");
	store_lab_kill(&lab);
	store_lab_start(&lab);
	strcpy(lab.vm->dedup.network, "red");
	stream_networks_changed(&lab.archive, lab.vm);
	ck_assert_str_eq(networks(), "red red");
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 0 }, &fault), 0);
	lab.vm->dedup.network[0] = '\0';
	stream_networks_changed(&lab.archive, lab.vm);
	ck_assert_str_eq(networks(), "red red");
}
END_TEST

START_TEST(interfaces_are_dense_and_stay)
{
	struct msg_interface msg = store_lab_interface(&lab, 2);
	uint8_t other[MSG_IDB_MAX];

	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_PROTOCOL);
	msg = store_lab_interface(&lab, 0);
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	memcpy(other, msg.idb, msg.idb_len);
	other[msg.idb_len - 10] ^= 1;
	msg.idb = other;
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_PROTOCOL);
	msg = store_lab_interface(&lab, 1);
	for (size_t len = msg.idb_len; msg.idb_len > 0;) {
		msg.idb_len--;
		ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), -1);
		ck_assert_int_eq(fault.code, MSG_ERR_BLOCK);
		ck_assert_uint_lt(msg.idb_len, len);
	}
	ck_assert_uint_eq(lab.stream->interface_count, 1);
	for (uint32_t id = 1; id < MSG_INTERFACES_MAX; id++) {
		msg = store_lab_interface(&lab, id);
		ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	}
	msg = store_lab_interface(&lab, MSG_INTERFACES_MAX);
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), -1);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM interface"), MSG_INTERFACES_MAX);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT name || ' ' || mac FROM interface WHERE id = 3"), "eth3 02:00:00:00:00:03");
}
END_TEST

START_TEST(a_stream_ends_once)
{
	struct msg_block msg;

	store_lab_add(&lab, codec, 1, 5);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 2 }, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 1 }, &fault), 0);
	ck_assert_ptr_null(lab.stream->file);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 1 }, &fault), 0);
	msg = store_lab_block(&lab, codec, 2, 5);
	ck_assert_int_eq(add(&msg), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_SEQUENCE);
	ck_assert_int_eq(gap(2, 3, 1), -1);
	store_lab_commit(&lab);
	ck_assert(TAILQ_EMPTY(&lab.vm->streams));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT ended FROM stream"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT live FROM file"), 0);
}
END_TEST

START_TEST(streams_come_back_from_the_catalog)
{
	struct msg_interface msg = store_lab_interface(&lab, 1);

	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	store_lab_add(&lab, codec, 1, 5);
	store_lab_commit(&lab);
	store_lab_add(&lab, codec, 2, 5);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	ck_assert(lab.stream->known);
	ck_assert_uint_eq(lab.stream->received, 1);
	ck_assert_uint_eq(lab.stream->interface_count, 2);
	store_lab_add(&lab, codec, 2, 5);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), 10);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file"), 2);
}
END_TEST

START_TEST(streams_of_others_are_refused)
{
	struct identity other = { .role = ROLE_AGENT, .tenant = "acme", .name = "web2",
	    .uuid = "99999999-2222-3333-4444-555555555555" };
	struct vm *vm;

	store_lab_commit(&lab);
	vm = archive_vm(&lab.archive, &other, &fault);
	ck_assert_ptr_nonnull(vm);
	ck_assert_ptr_null(stream_get(&lab.archive, vm, lab.stream->id, 1, &fault));
	ck_assert_int_eq(fault.code, MSG_ERR_PROTOCOL);
	strcpy(other.uuid, STORE_LAB_UUID);
	strcpy(other.tenant, "evil");
	ck_assert_ptr_null(archive_vm(&lab.archive, &other, &fault));
	ck_assert_int_eq(fault.code, MSG_ERR_TENANT);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	ck_assert_ptr_null(archive_vm(&lab.archive, &other, &fault));
	ck_assert_int_eq(fault.code, MSG_ERR_TENANT);
}
END_TEST

START_TEST(streams_have_a_bound)
{
	uint8_t id[MSG_ID_SIZE] = { 9 };

	while (lab.vm->stream_count < ARCHIVE_VM_STREAMS_MAX) {
		id[1]++;
		ck_assert_ptr_nonnull(stream_get(&lab.archive, lab.vm, id, 1, &fault));
	}
	id[1]++;
	ck_assert_ptr_null(stream_get(&lab.archive, lab.vm, id, 1, &fault));
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
}
END_TEST

START_TEST(streams_of_the_future_begin_now)
{
	const uint64_t now = clock_wall_ns(), hour = UINT64_C(3600000000000);
	const uint64_t told[] = { UINT64_MAX, now + 48 * hour, 0, now + hour, now - hour };
	struct stream *stream;

	for (unsigned i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		const uint8_t id[MSG_ID_SIZE] = { 9, (uint8_t)i };

		ck_assert_ptr_nonnull(stream = stream_get(&lab.archive, lab.vm, id, told[i], &fault));
		if (i < 3) {
			ck_assert_uint_ge(stream->started_ns, now);
			ck_assert_uint_le(stream->started_ns, clock_wall_ns());
		} else
			ck_assert_uint_eq(stream->started_ns, told[i]);
	}
}
END_TEST

/* A file for each block, by another codec each time, would be more head than packets. */
START_TEST(files_begun_have_a_bound)
{
	const struct codec *codecs[] = { codec_by_id(CODEC_NONE), codec_by_id(CODEC_ZLIB) };
	struct msg_block msg;
	uint64_t n;

	for (n = 1; n <= ARCHIVE_VM_FILES_BURST; n++) {
		store_lab_add(&lab, codecs[n % 2], n, 1);
		store_lab_commit(&lab);
	}
	for (; n <= ARCHIVE_VM_FILES_BURST * 2; n++) {
		msg = store_lab_block(&lab, codecs[n % 2], n, 1);
		if (add(&msg) == -1)
			break;
		store_lab_commit(&lab);
	}
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	msg = store_lab_block(&lab, lab.stream->file->codec, lab.stream->received + 1, 1);
	ck_assert_int_eq(add(&msg), 0);
}
END_TEST

/* Only a commit closes a descriptor, and a disk that hangs makes none. */
START_TEST(files_that_wait_for_the_disk_have_a_bound)
{
	const struct codec *codecs[] = { codec_by_id(CODEC_NONE), codec_by_id(CODEC_ZLIB) };
	struct msg_block msg;
	uint64_t n;

	for (n = 1; n <= QUOTA_FILES_CLOSING_MAX + 1; n++)
		store_lab_add(&lab, codecs[n % 2], n, 1);
	msg = store_lab_block(&lab, codecs[n % 2], n, 1);
	ck_assert_int_eq(add(&msg), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	ck_assert_uint_eq(lab.vm->files_closing, QUOTA_FILES_CLOSING_MAX);
	store_lab_commit(&lab);
	ck_assert_uint_eq(lab.vm->files_closing, 0);
	ck_assert_int_eq(add(&msg), 0);
}
END_TEST

static unsigned
open_files(void)
{
	const struct stream *stream;
	unsigned count = 0;

	TAILQ_FOREACH(stream, &lab.vm->streams, entry)
		count += stream->file != NULL;
	return count;
}

/* Streams that take turns: of each all is stored, in ever new files, until it is too many of them. */
START_TEST(open_files_have_a_bound)
{
	struct stream *streams[QUOTA_FILES_PER_VM + 1] = { lab.stream };
	const unsigned count = sizeof(streams) / sizeof(streams[0]);
	uint8_t id[MSG_ID_SIZE] = { 9 };
	struct msg_interface interface;
	struct msg_block msg;
	uint64_t n = 0;
	int rc;

	for (unsigned i = 1; i < count; i++) {
		id[1]++;
		ck_assert_ptr_nonnull(streams[i] = stream_get(&lab.archive, lab.vm, id, 1, &fault));
		interface = store_lab_interface(&lab, 0);
		ck_assert_int_eq(stream_add_interface(&lab.archive, streams[i], &interface, &fault), 0);
	}
	do {
		msg = store_lab_block(&lab, codec, 1 + n / count, 1);
		rc = stream_add_block(&lab.archive, streams[n % count], &msg, &fault);
		ck_assert_uint_le(open_files(), QUOTA_FILES_PER_VM);
		n += rc == 0;
		if (rc == 0)
			store_lab_commit(&lab);
	} while (rc == 0 && n < 2 * ARCHIVE_VM_FILES_BURST);
	ck_assert_uint_ge(n, ARCHIVE_VM_FILES_BURST);
	ck_assert_int_eq(rc, -1);
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), (int64_t)n);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM file WHERE live"), QUOTA_FILES_PER_VM);
}
END_TEST

/* Beyond what a VM may report, gaps have one row, and no packet less. */
START_TEST(gaps_that_are_too_many_are_joined)
{
	const uint64_t count = ARCHIVE_VM_REPORTS_BURST + 500, taken_before = count_get(COUNT_LOSSES_JOINED);
	struct msg_gap other = { .first = count + 1, .last = count + 2, .packets = 7, .place = GAP_PULL }, one;
	uint64_t joined;

	for (uint64_t n = 1; n <= count; n++) {		/* no neighbours, which would be one row anyway */
		one = (struct msg_gap){ .first = n, .last = n, .packets = n, .bytes = n * 100, .first_ns = n, .last_ns = n,
			.place = n % 2 != 0 ? GAP_SPOOL : GAP_CAPTURE };
		ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &one, &fault), 0);
	}
	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &other, &fault), 0);
	store_lab_commit(&lab);
	joined = count_get(COUNT_LOSSES_JOINED) - taken_before;
	ck_assert_uint_ge(joined, 300);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss"), (int64_t)(count + 1 - joined + 1));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM loss WHERE place <> 'pull'"), (int64_t)(count * (count + 1) / 2));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(bytes) FROM loss"), (int64_t)(count * (count + 1) / 2 * 100));
	ck_assert_int_eq(store_lab_number(&lab, "SELECT max(last_block) FROM loss WHERE place <> 'pull'"), (int64_t)count);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT packets || ' ' || first_block || ' ' || coalesce(first_ns, '-') FROM loss WHERE place ="
	    " 'pull'"), "7 1525 -");
	ck_assert_int_eq(gap(count + 3, count + 3, UINT64_MAX), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT max(packets) FROM loss"), INT64_MAX);
}
END_TEST

START_TEST(streams_and_interfaces_that_are_too_many_are_refused)
{
	struct msg_stat stat = { .counter = COUNTER_BLOCKS_SEALED, .interface = STATS_AGENT, .value = 1 };
	const struct msg_stats stats = { .count = 1, .stat = &stat };
	struct msg_interface interface = store_lab_interface(&lab, 1);
	uint8_t id[MSG_ID_SIZE] = { 9 };
	struct stream *stream;
	unsigned n = 0;

	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &stats, &fault), 0);
	while (n < 2 * ARCHIVE_VM_ROWS_BURST) {
		memcpy(id + 1, &n, sizeof(n));
		if ((stream = stream_get(&lab.archive, lab.vm, id, 1, &fault)) == NULL)
			break;
		stream_free(stream);
		n++;
	}
	ck_assert_uint_ge(n, ARCHIVE_VM_ROWS_BURST - 10);
	ck_assert_uint_lt(n, 2 * ARCHIVE_VM_ROWS_BURST);
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	ck_assert_ptr_nonnull(strstr(fault.text, "a minute"));
	budget_spend(&lab.vm->rows, &(struct budget_rate){ .piece_ns = UINT64_C(60000000000) }, 1);
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &interface, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &stats, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_LIMIT);
	/* What is known already costs nothing. */
	interface = store_lab_interface(&lab, 0);
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &interface, &fault), 0);
	ck_assert_int_eq(gap(1, 1, 1), 0);
}
END_TEST

START_TEST(what_hello_no_longer_names_is_over)
{
	struct msg_hello hello = { .stream_count = 1, .stream = { { .id = { 42 }, .first = 1 } } };

	store_lab_add(&lab, codec, 1, 5);
	store_lab_commit(&lab);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	stream_free(lab.stream);	/* only the catalog knows it */
	ck_assert_int_eq(stream_abandon_others(&lab.archive, lab.vm, &hello, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT ended FROM stream"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_block FROM stream"), 1);
	ck_assert_uint_eq(lab.vm->stream_count, 0);
}
END_TEST

/* The instance that has it was cut off, another one's HELLO did not name it, and it comes again, while that is being committed. */
START_TEST(what_was_taken_for_over_goes_on)
{
	struct msg_hello hello = { .stream_count = 0 };
	struct batch *batch;

	store_lab_add(&lab, codec, 1, 5);
	ck_assert_int_eq(stream_abandon_others(&lab.archive, lab.vm, &hello, &fault), 0);
	ck_assert(lab.stream->ended);
	batch = archive_take_batch(&lab.archive);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 1, &fault), 0);
	ck_assert(lab.stream->ended);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 2, &fault), 0);
	ck_assert(!lab.stream->ended);
	archive_committed(&lab.archive, batch, NULL, NULL);
	batch_free(batch);
	ck_assert_uint_eq(lab.vm->stream_count, 1);
	store_lab_add(&lab, codec, 2, 5);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT ended FROM stream"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT last_block FROM stream"), 2);
}
END_TEST

START_TEST(blocks_acknowledged_elsewhere_are_said)
{
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 0, 9, &fault), -1);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 9, &fault), 0);
	ck_assert_uint_eq(lab.stream->received, 0);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 8, 9, &fault), 0);
	store_lab_add(&lab, codec, 8, 5);
	store_lab_commit(&lab);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT place || first_block || last_block FROM loss"), "elsewhere17");
}
END_TEST

START_TEST(the_latest_stats_are_kept)
{
	struct msg_stat stat[] = { { COUNTER_PACKETS_CAPTURED, 0, 10 }, { COUNTER_BLOCKS_SEALED, STATS_AGENT, UINT64_MAX },
	    { 65000, 0, 1 } };
	struct msg_stats msg = { .count = 3, .stat = stat };

	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &msg, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stat"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT value FROM stat WHERE interface = -1"), INT64_MAX);
	stat[0].value = 11;
	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &msg, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT value FROM stat WHERE interface = 0"), 11);
	stat[0].interface = MSG_INTERFACES_MAX;
	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &msg, &fault), -1);
	ck_assert_int_eq(fault.code, MSG_ERR_PROTOCOL);
}
END_TEST

/* A block of packets with comments, NULL for none; in static memory. */
static struct msg_block
block_of_comments(uint64_t number, const char *const *comment, unsigned count)
{
	static uint8_t data[MSG_BLOCK_MAX];
	struct msg_block msg = { .number = number, .codec = CODEC_NONE, .flags = BLOCK_EVENT, .packets = count, .bytes = 4 * count,
	    .first_ns = STORE_LAB_START, .last_ns = STORE_LAB_START + count - 1, .data = data };
	struct buf raw;

	buf_init(&raw, sizeof(data));
	for (unsigned i = 0; i < count; i++) {
		struct pcapng_packet packet = { .time_ns = STORE_LAB_START + i, .captured_len = 4, .original_len = 4,
		    .data = (const uint8_t *)"abcd", .comment = comment[i] };

		ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	}
	memcpy(data, raw.data, raw.len);
	msg.data_len = msg.raw_len = (uint32_t)raw.len;
	buf_clear(&raw);
	return msg;
}

/* What waits for a commit is bounded by that. */
START_TEST(what_rows_hold_is_dirty)
{
	const struct msg_interface interface = store_lab_interface(&lab, 1);
	char large[1001] = "";
	const char *comment[16];
	uint64_t before;
	struct msg_block msg;

	memset(large, 'x', sizeof(large) - 1);
	for (unsigned i = 0; i < 16; i++)
		comment[i] = large;
	msg = block_of_comments(1, comment, 16);
	before = lab.archive.batch->dirty_bytes;
	ck_assert_int_eq(add(&msg), 0);
	ck_assert_uint_ge(lab.archive.batch->dirty_bytes - before, lab.stream->file->length + 16 * (sizeof(struct event_row) + 1001));
	before = lab.archive.batch->dirty_bytes;
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &interface, &fault), 0);
	ck_assert_uint_eq(lab.archive.batch->dirty_bytes - before, sizeof(struct interface_row) + interface.idb_len);
	ck_assert_ptr_nonnull(lab.vm->row.policy_text = strdup(large));
	before = lab.archive.batch->dirty_bytes;
	batch_add_vm(lab.archive.batch, &lab.vm->row);
	ck_assert_uint_eq(lab.archive.batch->dirty_bytes - before, sizeof(struct vm_row) + sizeof(large));
}
END_TEST

START_TEST(events_are_recorded_once)
{
	char large[3000];
	const char *comment[40] = { NULL, "clock stepped by 1 h\n", large };
	struct msg_block msg;

	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	msg = block_of_comments(1, comment, 3);
	ck_assert_int_eq(add(&msg), 0);
	ck_assert_int_eq(add(&msg), 0);		/* a repeat */
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM event"), 2);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT text FROM event WHERE block = 1 ORDER BY id"), "clock stepped by 1 h?");
	ck_assert_int_eq(store_lab_number(&lab, "SELECT at_ns FROM event"), (int64_t)STORE_LAB_START + 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT max(length(text)) FROM event"), 1000);
	for (unsigned i = 0; i < 40; i++)
		comment[i] = "often";
	msg = block_of_comments(2, comment, 40);
	ck_assert_int_eq(add(&msg), 0);
	msg = block_of_comments(3, comment, 5);
	msg.flags = 0;
	ck_assert_int_eq(add(&msg), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM event WHERE block = 2"), 16);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM event WHERE block = 3"), 0);
}
END_TEST

/* Does the only file, of codec none, hold the text, and how often? */
static unsigned
file_says(const char *text)
{
	static uint8_t bytes[1 << 20];
	char path[1024];
	unsigned n = 0;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", lab.path, store_lab_text(&lab, "SELECT path FROM file ORDER BY id DESC LIMIT 1"));
	ck_assert_ptr_nonnull(file = fopen(path, "r"));
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	for (uint8_t *p = bytes; (p = memmem(p, len - (size_t)(p - bytes), text, strlen(text))) != NULL; p++)
		n++;
	return n;
}

/* Once the catalog has had enough it says so, and the files go on to have all. */
START_TEST(events_that_are_too_many_are_in_the_files)
{
	const char *comment[16];
	const uint64_t count = ARCHIVE_VM_REPORTS_BURST / 16 * 2, before = count_get(COUNT_EVENTS_LEFT_OUT);
	struct msg_block msg;

	for (unsigned i = 0; i < 16; i++)
		comment[i] = "what happens";
	for (uint64_t n = 1; n <= count; n++) {
		msg = block_of_comments(n, comment, 16);
		ck_assert_int_eq(add(&msg), 0);
	}
	store_lab_commit(&lab);
	ck_assert_uint_ge(count_get(COUNT_EVENTS_LEFT_OUT) - before, count / 4);
	ck_assert_int_ge(store_lab_number(&lab, "SELECT count(*) FROM event"), ARCHIVE_VM_REPORTS_BURST * 3 / 4);
	ck_assert_int_le(store_lab_number(&lab, "SELECT count(*) FROM event"), ARCHIVE_VM_REPORTS_BURST * 5 / 4);
	ck_assert_int_ge(store_lab_number(&lab, "SELECT count(*) FROM event WHERE text LIKE 'too much happens%'"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), (int64_t)(16 * count));
}
END_TEST

START_TEST(the_first_packet_after_a_gap_says_so)
{
	const struct codec *none = codec_by_id(CODEC_NONE);

	store_lab_add(&lab, none, 1, 3);
	ck_assert_int_eq(gap(2, 4, 30), 0);
	store_lab_add(&lab, none, 5, 0);	/* no packet: the next one */
	ck_assert_int_eq(gap(6, 6, 5), 0);
	store_lab_commit(&lab);
	ck_assert_uint_eq(file_says("missing"), 0);
	store_lab_kill(&lab);			/* the catalog knows what is to be said */
	store_lab_start(&lab);
	store_lab_add(&lab, none, 7, 3);
	store_lab_add(&lab, none, 8, 3);
	store_lab_commit(&lab);
	ck_assert_uint_eq(file_says("35 packets (3500 bytes) between"), 1);
	ck_assert_uint_eq(file_says("are missing: pushed out of the agent's full spool"), 1);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 12, 20, &fault), 0);
	store_lab_add(&lab, none, 12, 3);
	store_lab_commit(&lab);
	ck_assert_uint_eq(file_says("an unknown number of packets are missing: another collector took them"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM stream"), 12);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets_block FROM stream"), 12);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT sum(packets) FROM file"), 12);
}
END_TEST

/* What is rebuilt is a unit like any other, of every codec, also at a block's full size. */
START_TEST(rebuilt_blocks_are_read)
{
	const struct codec *of = codec_by_id((unsigned)_i);
	char path[STORE_PATH_SIZE];

	ck_assert_int_eq(gap(1, 2, 3), 0);
	store_lab_add(&lab, of, 3, 4351);	/* with the comment above MSG_BLOCK_RAW_MAX */
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 3 }, &fault), 0);
	store_lab_commit(&lab);
	snprintf(path, sizeof(path), "%s", store_lab_text(&lab, "SELECT path FROM file"));
	ck_assert_uint_eq(store_lab_packets(&lab, path, of), 4351);
}
END_TEST

static void
set_stat(struct stream *stream, uint64_t wall_ns, uint16_t counter, uint32_t interface, uint64_t value)
{
	struct msg_stat stat = { counter, interface, value };
	struct msg_stats msg = { .wall_ns = wall_ns, .count = 1, .stat = &stat };

	ck_assert_int_eq(stream_set_stats(&lab.archive, stream, &msg, &fault), 0);
}

START_TEST(counters_have_times)
{
	set_stat(lab.stream, 1000, COUNTER_RING_DROPPED, 0, 0);
	set_stat(lab.stream, 2000, COUNTER_RING_DROPPED, 0, 0);
	set_stat(lab.stream, 3000, COUNTER_RING_DROPPED, 0, 5);
	store_lab_commit(&lab);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	set_stat(lab.stream, 4000, COUNTER_RING_DROPPED, 0, 5);
	set_stat(lab.stream, 5000, COUNTER_RING_DROPPED, 0, 6);
	set_stat(lab.stream, 6000, COUNTER_RING_DROPPED, 0, 6);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT since_ns FROM stat"), 2000);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT changed_ns FROM stat"), 5000);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT stats_ns FROM stream"), 6000);
}
END_TEST

/* A counter of an interface is none of the agent, nor the other way round; one that is not known is passed over. */
START_TEST(counters_at_the_wrong_place_are_ignored)
{
	uint64_t before = count_get(COUNT_STATS_IGNORED);

	set_stat(lab.stream, 1000, COUNTER_RING_DROPPED, STATS_AGENT, 1);
	set_stat(lab.stream, 1000, COUNTER_SPOOL_BYTES, 0, 1);
	set_stat(lab.stream, 1000, COUNTER_MAX, 0, 1);
	set_stat(lab.stream, 1000, 0, 0, 1);
	ck_assert_uint_eq(count_get(COUNT_STATS_IGNORED) - before, 2);
	set_stat(lab.stream, 1000, COUNTER_SPOOL_BYTES, STATS_AGENT, 5);
	set_stat(lab.stream, 1000, COUNTER_RING_DROPPED, 0, 6);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stat"), 2);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT value FROM stat WHERE interface = -1"), 5);
}
END_TEST

/* The stream after it, which captures the same interface. */
static struct stream *
next_stream(void)
{
	static const uint8_t id[MSG_ID_SIZE] = { 7 };
	struct stream *next = stream_get(&lab.archive, lab.vm, id, STORE_LAB_START + 50, &fault);
	struct msg_interface msg;

	ck_assert_ptr_nonnull(next);
	lab.stream = next;
	msg = store_lab_interface(&lab, 0);
	ck_assert_int_eq(stream_add_interface(&lab.archive, next, &msg, &fault), 0);
	return next;
}

/* Of 100 that passed the filter 60 are in sealed blocks; the interface counted 20 more before it was captured again. Where more are
 * stored than could have come, some count is wrong. */
START_TEST(cut_streams_are_bounded)
{
	static const int64_t starts[] = { 1020, 900, 1020 };	/* the second guest was booted anew */
	struct msg_block msg;
	struct stream *next;

	store_lab_add(&lab, codec, 1, 50);
	ck_assert_int_eq(gap(2, 2, 10), 0);
	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_INTERFACE_PACKETS, 0, 1000);
	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_RING_RECEIVED, 0, _i == 2 ? 42 : 103);
	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_RING_DROPPED, 0, 3);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 2, .cut = 1 }, &fault), 0);
	store_lab_commit(&lab);
	lab.stream = next_stream();
	set_stat(lab.stream, STORE_LAB_START + 60, COUNTER_SPOOL_BYTES, STATS_AGENT, 1);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut'"), 0);
	next = lab.stream;
	set_stat(next, STORE_LAB_START + 70, COUNTER_INTERFACE_START, 0, (uint64_t)starts[_i]);
	store_lab_commit(&lab);
	msg = store_lab_block(&lab, codec_by_id(CODEC_NONE), 1, 3);
	ck_assert_int_eq(stream_add_block(&lab.archive, next, &msg, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut'"), 1);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM loss WHERE place = 'cut'"), _i == 0 ? 20 + 100 - 60 : 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT approximate FROM loss WHERE place = 'cut'"), _i == 0 ? 1 : 2);
	/* From its last packet: the next stream says that it began before that. */
	ck_assert_int_eq(store_lab_number(&lab, "SELECT first_ns FROM loss WHERE place = 'cut'"),
	    store_lab_number(&lab, "SELECT max(last_ns) FROM stream"));
	ck_assert_uint_eq(file_says(_i == 0 ? "capture was cut off: up to 60 packets" : "an unknown number of packets"), 1);
	ck_assert(!lab.vm->cut_pending);
}
END_TEST

/* What STATS told is looked at when it is in the catalog, and what that says is there after one commit more. */
static void
commit_and_settle(uint64_t stats_ns)
{
	static uint64_t value = 1;

	for (int i = 0; i < 2; i++) {
		set_stat(lab.stream, stats_ns, COUNTER_SPOOL_BYTES, STATS_AGENT, ++value);
		store_lab_commit(&lab);
	}
}

/*
 * Of two interfaces the second was captured no more when the first stream was cut off: it has lost nothing, or if it is there again,
 * no more than it counted since. One of which nothing was told leaves no bound.
 */
START_TEST(cut_streams_with_an_interface_gone)
{
	static const struct { uint64_t last, start; int64_t packets; enum loss_bound bound; } rows[] = {
		{ 500, 0, 20, LOSS_UP_TO }, { 500, 7, 27, LOSS_UP_TO }, { 0, 0, 0, LOSS_UNKNOWN },
	};
	const uint64_t late = STORE_LAB_START + 50 + UINT64_C(6000000000);
	struct msg_interface msg = store_lab_interface(&lab, 1);

	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_INTERFACE_PACKETS, 0, 1000);
	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_INTERFACE_PACKETS, 1, rows[_i].last);
	set_stat(lab.stream, STORE_LAB_START + 20, COUNTER_INTERFACE_PACKETS, 1, 0);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 0, .cut = 1 }, &fault), 0);
	store_lab_commit(&lab);
	lab.stream = next_stream();
	if (rows[_i].start != 0) {
		msg = store_lab_interface(&lab, 1);
		ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
		set_stat(lab.stream, STORE_LAB_START + 60, COUNTER_INTERFACE_START, 1, rows[_i].start);
	}
	set_stat(lab.stream, STORE_LAB_START + 60, COUNTER_INTERFACE_START, 0, 1020);
	commit_and_settle(STORE_LAB_START + 60);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut'"), 0);	/* it may still come */
	commit_and_settle(late);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM loss WHERE place = 'cut'"), rows[_i].packets);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT approximate FROM loss WHERE place = 'cut'"), rows[_i].bound);
}
END_TEST

/* The stream after it dies before it has told anything: the one after that bounds both. */
START_TEST(cut_streams_in_a_row)
{
	static const uint8_t id[MSG_ID_SIZE] = { 8 };
	struct msg_interface msg;

	set_stat(lab.stream, STORE_LAB_START + 10, COUNTER_INTERFACE_PACKETS, 0, 1000);
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 0, .cut = 1 }, &fault), 0);
	store_lab_commit(&lab);
	lab.stream = next_stream();
	ck_assert_int_eq(stream_end(&lab.archive, lab.stream, &(struct msg_stream_end){ .number = 0, .cut = 1 }, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_ptr_nonnull(lab.stream = stream_get(&lab.archive, lab.vm, id, STORE_LAB_START + 100, &fault));
	msg = store_lab_interface(&lab, 0);
	ck_assert_int_eq(stream_add_interface(&lab.archive, lab.stream, &msg, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut'"), 0);
	set_stat(lab.stream, STORE_LAB_START + 110, COUNTER_INTERFACE_START, 0, 1040);
	commit_and_settle(STORE_LAB_START + 110);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT packets FROM loss WHERE place = 'cut' AND approximate = 1"), 40);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut' AND approximate = 2"), 1);
}
END_TEST

/* Agents may tell of any number of packets: the sum stops at the largest. */
START_TEST(absurd_gaps)
{
	const struct loss loss = { .packets = UINT64_MAX - 1, .bytes = UINT64_MAX };
	struct loss_sum sum = { 0 };

	for (int i = 0; i < 3; i++)
		loss_add(&sum, &loss);
	ck_assert_uint_eq(sum.loss.packets, UINT64_MAX);
	ck_assert_uint_eq(sum.loss.bytes, UINT64_MAX);
}
END_TEST

/* Agents that do not count leave no bound; the collector was restarted between. */
START_TEST(cut_streams_of_old_agents)
{
	const struct msg_hello hello = { .instance = { 5 } };

	store_lab_add(&lab, codec, 1, 5);
	ck_assert_int_eq(stream_abandon_others(&lab.archive, lab.vm, &hello, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT cut FROM stream"), STREAM_CUT);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	lab.stream = next_stream();
	set_stat(lab.stream, STORE_LAB_START + 60, COUNTER_SPOOL_BYTES, STATS_AGENT, 1);
	store_lab_commit(&lab);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT approximate FROM loss WHERE place = 'cut'"), LOSS_UNKNOWN);
	/* It goes on after all. */
	store_lab_kill(&lab);
	store_lab_start(&lab);
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 2, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM loss WHERE place = 'cut'"), 0);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT count(*) FROM stream WHERE cut"), 0);
}
END_TEST

/* Nothing but the process changes. */
START_TEST(another_process_is_written)
{
	store_lab_add(&lab, codec, 1, 5);
	store_lab_commit(&lab);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT hex(substr(instance, 1, 1)) FROM stream"), "00");
	stream_told(&lab.archive, lab.stream);
	ck_assert(!archive_is_dirty(&lab.archive));
	lab.vm->instance[0] = 5;
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 1, &fault), 0);
	ck_assert(archive_is_dirty(&lab.archive));
	store_lab_commit(&lab);
	ck_assert_str_eq(store_lab_text(&lab, "SELECT hex(substr(instance, 1, 1)) FROM stream"), "05");
}
END_TEST

/* The agent that had it lives on: another store has the rest. */
START_TEST(what_went_elsewhere_is_not_cut)
{
	const struct msg_hello hello = { .instance = { 5 } };

	lab.vm->instance[0] = 5;
	ck_assert_int_eq(stream_begin_at(&lab.archive, lab.stream, 1, 1, &fault), 0);
	store_lab_add(&lab, codec, 1, 5);
	store_lab_commit(&lab);
	store_lab_kill(&lab);
	store_lab_start(&lab);
	ck_assert_int_eq(stream_abandon_others(&lab.archive, lab.vm, &hello, &fault), 0);
	store_lab_commit(&lab);
	ck_assert_int_eq(store_lab_number(&lab, "SELECT cut FROM stream"), STREAM_ELSEWHERE);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stream");
	TCase *tcase = tcase_create("stream");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, repeats_are_discarded);
	tcase_add_test(tcase, jumps_are_refused);
	tcase_add_test(tcase, gaps_are_recorded);
	tcase_add_test(tcase, bad_gaps_are_refused);
	tcase_add_test(tcase, what_a_block_announces_must_be_true);
	for (int id = CODEC_NONE; id <= CODEC_ZSTD; id++)
		if (codec_by_id((unsigned)id) != NULL)
			tcase_add_loop_test(tcase, damaged_blocks_are_refused, id, id + 1);
	tcase_add_test(tcase, bombs_are_refused);
	tcase_add_test(tcase, interfaces_are_where_the_policy_has_them);
	tcase_add_test(tcase, interfaces_are_dense_and_stay);
	tcase_add_test(tcase, a_stream_ends_once);
	tcase_add_test(tcase, streams_come_back_from_the_catalog);
	tcase_add_test(tcase, streams_of_others_are_refused);
	tcase_add_test(tcase, streams_have_a_bound);
	tcase_add_test(tcase, streams_of_the_future_begin_now);
	tcase_add_test(tcase, files_begun_have_a_bound);
	tcase_add_test(tcase, files_that_wait_for_the_disk_have_a_bound);
	tcase_add_test(tcase, open_files_have_a_bound);
	tcase_add_test(tcase, gaps_that_are_too_many_are_joined);
	tcase_add_test(tcase, streams_and_interfaces_that_are_too_many_are_refused);
	tcase_add_test(tcase, what_hello_no_longer_names_is_over);
	tcase_add_test(tcase, what_was_taken_for_over_goes_on);
	tcase_add_test(tcase, blocks_acknowledged_elsewhere_are_said);
	tcase_add_test(tcase, the_latest_stats_are_kept);
	tcase_add_test(tcase, what_rows_hold_is_dirty);
	tcase_add_test(tcase, events_are_recorded_once);
	tcase_add_test(tcase, events_that_are_too_many_are_in_the_files);
	tcase_add_test(tcase, the_first_packet_after_a_gap_says_so);
	for (int id = CODEC_NONE; id <= CODEC_ZSTD; id++)
		if (codec_by_id((unsigned)id) != NULL)
			tcase_add_loop_test(tcase, rebuilt_blocks_are_read, id, id + 1);
	tcase_add_test(tcase, counters_have_times);
	tcase_add_test(tcase, counters_at_the_wrong_place_are_ignored);
	tcase_add_loop_test(tcase, cut_streams_are_bounded, 0, 3);
	tcase_add_loop_test(tcase, cut_streams_with_an_interface_gone, 0, 3);
	tcase_add_test(tcase, cut_streams_in_a_row);
	tcase_add_test(tcase, absurd_gaps);
	tcase_add_test(tcase, cut_streams_of_old_agents);
	tcase_add_test(tcase, another_process_is_written);
	tcase_add_test(tcase, what_went_elsewhere_is_not_cut);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
