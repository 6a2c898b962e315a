/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "agent/backlog.h"
#include "agent/disk.h"
#include "agent/disk_format.h"

/*
 * Memory, disk and backlog against a model of who produces, who sends and who collects: random steps, the seed is the number of the
 * test. Whatever happens, the collector must be able to take each item that comes: BLOCKs that follow, GAPs that leave nothing out
 * and tell exactly the packets that are in them. At the end it has all numbers of all streams.
 */
#define STEPS		6000
#define SEEDS		8
#define STREAMS		600u
#define NUMBERS		3000u
#define MEMORY_SIZE	(96u * 1024)
#define DISK_SMALL	(16u * 24 * 1024)
#define LEN_MAX		3000u
#define MIN_FREE	(64u * 1024)
#define SECOND_NS	UINT64_C(1000000000)

struct model_stream {
	uint64_t	produced;		/* the last number, as far as it can still arrive */
	uint32_t	packets[NUMBERS + 1];
	bool		unknown[NUMBERS + 1];	/* nobody can know any more what was in it */
	bool		ended;			/* END can still arrive */
	uint64_t	taken, durable;		/* by the collector */
	bool		end_taken, end_durable;
	bool		end_sent;		/* and forgotten, perhaps: it has no number that is acknowledged */
};

static struct model_stream *model;
static unsigned newest;			/* stream being captured; 0: none */
static unsigned first_unseen;		/* streams from here on began after the last HELLO */
static uint64_t seed, now_ns;
static bool live, away, hasty;		/* away: no collector is to be had; hasty: streams are short */
static bool roomy;			/* the disk loses nothing */
static uint64_t room;			/* of the file system */
static uint64_t cut_needs;		/* stream 1 is durable up to there when a segment is cut off */
static int spool_fd = -1, fd[DISK_SEGMENTS];
static struct spool *producer, *spool;
static struct disk *disk;
static struct backlog backlog;
static uint8_t listed[MSG_STREAMS_MAX][MSG_ID_SIZE];
static size_t listed_count;
static uint8_t bytes[LEN_MAX];

static const uint8_t *
id_of(unsigned n)
{
	static uint8_t id[MSG_ID_SIZE];

	memset(id, 0x55, sizeof(id));
	id[0] = (uint8_t)n;
	id[1] = (uint8_t)(n >> 8);
	return id;
}

/* In the place of the system's: a file system with nothing but the segments. */
int
fstatvfs(int file, struct statvfs *fs)
{
	uint64_t used = 0;
	struct stat st;

	(void)file;
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		if (fstat(fd[i], &st) == 0)
			used += (uint64_t)st.st_size;
	*fs = (struct statvfs){ .f_frsize = 1, .f_blocks = room, .f_bavail = room > used ? room - used : 0 };
	return 0;
}

/* As the system's. Before a segment is cut off, memory knows that a receiver has what was in it. */
int
ftruncate(int file, off_t len)
{
	if (len == 0 && cut_needs > 0)
		ck_assert_uint_ge(spool_durable(spool, id_of(1)), cut_needs);
	return (int)syscall(SYS_ftruncate, file, len);
}

static uint64_t
chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

static unsigned
stream_of(const uint8_t *id)
{
	unsigned n = (unsigned)(id[0] | id[1] << 8);

	ck_assert_uint_gt(n, 0);
	ck_assert_uint_lt(n, STREAMS);
	return n;
}

static uint32_t
len_of(unsigned stream, uint64_t number)
{
	return 1 + (uint32_t)((stream * 7919 + number * 104729) % LEN_MAX);
}

/* --- the producer --- */

static void
begin_stream(bool cut)
{
	uint8_t idb[4] = { 1, 2, 3, (uint8_t)(newest + 1) };

	if (newest + 1 >= STREAMS)
		return;
	if (newest > 0 && !cut)
		spool_stream_end(producer);
	if (newest > 0 && !cut)
		model[newest].ended = true;
	if (spool_stream_begin(producer, id_of(newest + 1), 1000) == -1)
		return;
	if (newest > 0)
		model[newest].ended = true;
	newest++;
	ck_assert_int_eq(spool_interface_add(producer, idb, sizeof(idb)), 0);
}

static void
produce(void)
{
	struct model_stream *m = &model[newest];
	struct spool_entry entry = { .codec = 1, .packets = (uint32_t)chance(50) };
	uint8_t *data = NULL;

	if (newest == 0 || m->ended || m->produced + 1 >= NUMBERS)
		return;
	entry.data_len = entry.raw_len = len_of(newest, m->produced + 1);
	entry.bytes = entry.packets * 10;
	if (chance(50) > 0 && (data = spool_reserve(producer, LEN_MAX)) != NULL) {
		memset(data, (int)(m->produced + 1), entry.data_len);
		spool_publish(producer, &entry);
	} else
		spool_lose(producer, &entry, GAP_CAPTURE);
	ck_assert_uint_eq(entry.number, m->produced + 1);
	m->packets[++m->produced] = entry.packets;
}

/* --- the collector --- */

static void
take_block(const struct spool_item *item)
{
	unsigned n = stream_of(item->stream);
	struct model_stream *m = &model[n];
	uint64_t number = item->entry.number;
	uint8_t idb[MSG_IDB_MAX];

	ck_assert_msg(number <= m->taken + 1, "stream %u: block %lu after %lu", n, number, m->taken);
	ck_assert_uint_le(number, m->produced);
	ck_assert_uint_eq(item->entry.packets, m->packets[number]);
	ck_assert_uint_eq(item->entry.data_len, len_of(n, number));
	memset(bytes, (int)number, item->entry.data_len);
	ck_assert_mem_eq(item->data, bytes, item->entry.data_len);
	ck_assert_int_eq(backlog_interface_get(&backlog, item->stream, 0, idb), 4);
	ck_assert_uint_eq(idb[3], (uint8_t)n);
	if (number > m->taken)
		m->taken = number;
}

static void
take_gap(const struct spool_item *item)
{
	unsigned n = stream_of(item->stream);
	struct model_stream *m = &model[n];
	const struct msg_gap *gap = &item->gap;
	uint64_t least = 0, most = 0;

	ck_assert_msg(gap->first <= m->taken + 1, "stream %u: gap from %lu after %lu", n, gap->first, m->taken);
	ck_assert_uint_ge(gap->last, gap->first);
	ck_assert_uint_le(gap->last, m->produced);
	ck_assert_uint_le(gap->first_ns, gap->last_ns);
	ck_assert(gap->place != GAP_DISK || !roomy);
	for (uint64_t i = gap->first; i <= gap->last; i++) {
		most += m->packets[i];
		if (!m->unknown[i] && i > m->taken)
			least += m->packets[i];
	}
	if (gap->last > m->taken)
		ck_assert_msg(least <= gap->packets && gap->packets <= most,
		    "stream %u: gap %lu to %lu (%lu taken), %lu packets, not %lu to %lu", n, gap->first, gap->last, m->taken, gap->packets, least, most);
	if (gap->last > m->taken)
		m->taken = gap->last;
}

static void
take_end(const struct spool_item *item)
{
	struct model_stream *m = &model[stream_of(item->stream)];

	ck_assert(m->ended);
	ck_assert_uint_eq(item->entry.number, m->taken);
	ck_assert_uint_eq(item->entry.number, m->produced);
	m->end_taken = true;
}

static bool
may_come(const uint8_t *id)
{
	for (size_t i = 0; i < listed_count; i++)
		if (memcmp(listed[i], id, MSG_ID_SIZE) == 0)
			return true;
	return stream_of(id) >= first_unseen || spool_has_stream(spool, id);
}

/* False: nothing is there. */
static bool
take_one(void)
{
	struct spool_item item;

	backlog_next(&backlog, &item);
	if (item.kind == SPOOL_NOTHING)
		return false;
	ck_assert_msg(may_come(item.stream), "stream %u, not in HELLO", stream_of(item.stream));
	if (item.kind == SPOOL_BLOCK)
		take_block(&item);
	else if (item.kind == SPOOL_LOST)
		take_gap(&item);
	else
		take_end(&item);
	backlog_release(&backlog);
	return true;
}

static void
commit(void)
{
	for (unsigned n = 1; n <= newest; n++) {
		model[n].durable = model[n].taken;
		model[n].end_durable = model[n].end_taken;
	}
}

static void
collector_crash(void)
{
	for (unsigned n = 1; n <= newest; n++) {
		model[n].taken = model[n].durable;
		model[n].end_sent = model[n].end_sent || model[n].end_taken;
		model[n].end_taken = model[n].end_durable;
	}
}

/* Some of the ACKs, in any order of streams. */
static void
acknowledge(void)
{
	unsigned from = (unsigned)chance(newest + 1);

	for (unsigned i = 0; live && i <= newest; i++) {
		unsigned n = (from + i) % (newest + 1);

		if (n > 0 && chance(8) > 0 && model[n].durable > 0 && may_come(id_of(n)) && !model[n].end_durable)
			ck_assert_int_eq(backlog_acknowledge(&backlog, id_of(n), model[n].durable), 0);
	}
}

/* --- sessions --- */

static void
hello(uint8_t id[MSG_STREAMS_MAX][MSG_ID_SIZE], size_t *count)
{
	struct spool_stream out[MSG_STREAMS_MAX];

	*count = backlog_streams(&backlog, out);
	for (size_t i = 0; i < *count; i++) {
		unsigned n = stream_of(out[i].id);

		memcpy(id[i], out[i].id, MSG_ID_SIZE);
		ck_assert_msg(out[i].first <= model[n].taken + 1, "stream %u: HELLO from %lu after %lu", n, out[i].first,
		    model[n].taken);
	}
}

static void
welcome(uint8_t id[MSG_STREAMS_MAX][MSG_ID_SIZE], size_t count)
{
	commit();
	for (size_t i = 0; i < count; i++)
		if (model[stream_of(id[i])].durable > 0)
			ck_assert_int_eq(backlog_acknowledge(&backlog, id[i], model[stream_of(id[i])].durable), 0);
	memcpy(listed, id, sizeof(listed));
	listed_count = count;
	backlog_set_listed(&backlog, (const uint8_t (*)[MSG_ID_SIZE])id, count);
	backlog_rewind(&backlog);
	live = true;
}

/* With others is what happens between HELLO and WELCOME: an older session goes on, captured blocks move to the disk. */
static void
open_session(void)
{
	uint8_t id[MSG_STREAMS_MAX][MSG_ID_SIZE];
	unsigned unseen = newest + 1;
	size_t count;

	hello(id, &count);
	for (unsigned i = (unsigned)chance(4); i > 0; i--) {
		if (live)
			take_one();
		produce();
		(void)backlog_spill(&backlog, now_ns);
	}
	welcome(id, count);
	first_unseen = unseen;
}

/* --- restarts --- */

static void
role_begins(void)
{
	ck_assert_ptr_nonnull(spool = spool_attach(spool_fd, SPOOL_CONSUMER));
	ck_assert_ptr_nonnull(disk = disk_new(fd, roomy ? DISK_SIZE_MIN * 4 : DISK_SMALL, MIN_FREE, spool));
}

static void
role_ends(void)
{
	live = false;
	ck_assert(!roomy || spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT) == 0);
	disk_free(disk);
	spool_detach(spool);
}

/* The newest record that a crash may have torn, but for an END: cut off by a part, or whole. */
static bool
tear(void)
{
	uint8_t header[DISK_RECORD_HEADER];
	struct disk_record r;
	uint64_t sequence, most = 0;
	off_t at = DISK_SEGMENT_HEADER, last = 0;
	int newest_fd = -1;

	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		if (pread(fd[i], header, DISK_SEGMENT_HEADER, 0) == DISK_SEGMENT_HEADER &&
		    disk_get_segment(header, &sequence) == 0 && sequence > most) {
			most = sequence;
			newest_fd = fd[i];
		}
	if (newest_fd == -1)
		return false;
	while (pread(newest_fd, header, sizeof(header), at) == (ssize_t)sizeof(header) && disk_get_record(header, &r) == 0) {
		last = (r.flags & DISK_PUSHED) != 0 || r.kind == DISK_INTERFACE || r.kind == DISK_END ? 0 : at;
		at += DISK_RECORD_HEADER + r.data_len;
	}
	if (last == 0)
		return false;
	ck_assert_int_eq(ftruncate(newest_fd, last + (off_t)chance((uint64_t)(at - last))), 0);
	return true;
}

/* A bit of some block's data. */
static void
spoil(void)
{
	uint8_t header[DISK_RECORD_HEADER], byte;
	int file = fd[chance(DISK_SEGMENTS)];
	off_t at = DISK_SEGMENT_HEADER, where;
	struct disk_record r;

	while (pread(file, header, sizeof(header), at) == (ssize_t)sizeof(header) && disk_get_record(header, &r) == 0) {
		where = at + DISK_RECORD_HEADER + r.data_len / 2;
		if (r.kind == DISK_BLOCK && chance(4) == 0 && pread(file, &byte, 1, where) == 1) {
			byte ^= 1;
			ck_assert_int_eq(pwrite(file, &byte, 1, where), 1);
			return;
		}
		at += DISK_RECORD_HEADER + r.data_len;
	}
}

/* What memory gave away and the disk has lost: its packets are nobody's knowledge. */
static void
mark_unknown(void)
{
	struct spool_stream out[MSG_STREAMS_MAX], on_disk;
	size_t count = spool_streams(spool, out);

	for (size_t i = 0; i < count; i++) {
		if (!disk_stream(disk, out[i].id, &on_disk))
			on_disk.last = 0;
		for (uint64_t n = on_disk.last + 1; n < out[i].first; n++)
			model[stream_of(out[i].id)].unknown[n] = true;
	}
}

/* What neither the disk nor the collector has of a stream is gone without a trace, and so is its END. */
static void
forget(unsigned n)
{
	struct model_stream *m = &model[n];
	struct spool_stream on_disk = { .last = 0 };

	(void)disk_stream(disk, id_of(n), &on_disk);
	m->ended = m->end_taken || (on_disk.ended && on_disk.last >= m->taken);
	m->produced = on_disk.last > m->taken ? on_disk.last : m->taken;
}

static void
forget_all(bool memory_too)
{
	commit();
	for (unsigned n = 1; n <= newest; n++)
		if (memory_too || !spool_has_stream(spool, id_of(n)))
			forget(n);
}

/* The link role dies, perhaps between writing to the disk and dropping from memory. */
static void
restart_role(void)
{
	struct spool_item item;
	uint64_t started_ns;
	bool torn;

	if (chance(3) == 0) {
		spool_peek(spool, &item, &started_ns);
		if (item.kind != SPOOL_NOTHING)
			(void)disk_append(disk, spool, &item, started_ns);
		spool_release(spool);
	}
	role_ends();
	torn = !roomy && chance(4) == 0 && tear();
	role_begins();
	if (torn)
		forget_all(false);
	mark_unknown();
	backlog_init(&backlog, spool, disk);
}

static bool
always(void *arg)
{
	(void)arg;
	return true;
}

/* The whole agent: in order, with all of memory on the disk afterwards; or killed. */
static void
restart_agent(void)
{
	bool kept = false;

	if (chance(3) > 0) {
		if (newest > 0)
			spool_stream_end(producer);
		model[newest].ended = true;
		kept = backlog_flush(&backlog, always, NULL);
		ck_assert_msg(kept || !roomy, "not flushed: %s", strerror(errno));
	}
	role_ends();
	if (!kept && !roomy && chance(2) == 0)
		(void)tear();
	spool_detach(producer);
	close(spool_fd);
	ck_assert_int_ne(spool_fd = spool_create("test", MEMORY_SIZE), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(spool_fd, SPOOL_PRODUCER));
	role_begins();
	if (!kept)
		forget_all(true);
	backlog_init(&backlog, spool, disk);
	if (newest > 0)
		newest += newest + 1 < STREAMS;
	if (newest == 0)
		newest = 1;
	ck_assert_int_eq(spool_stream_begin(producer, id_of(newest), 1000), 0);
	ck_assert_int_eq(spool_interface_add(producer, (const uint8_t[]){ 1, 2, 3, (uint8_t)newest }, 4), 0);
}

/* --- the test --- */

static void
step(void)
{
	if (chance(200) == 0)
		away = chance(2) == 0;
	if (chance(300) == 0)
		hasty = chance(4) == 0;
	if (!roomy && chance(100) == 0)
		room = chance(2) == 0 ? SIZE_MAX / 2 : MIN_FREE + chance(DISK_SMALL);
	if (away && chance(20) == 0)
		live = false;
	switch (chance(64)) {
	case 0:
		live = false;
		if (chance(2) == 0)
			collector_crash();
		break;
	case 1 ... 2:
		if (!away)
			open_session();
		break;
	case 3:
		if (chance(4) == 0)
			restart_role();
		break;
	case 4:
		if (chance(12) == 0)
			restart_agent();
		break;
	case 5:
		if (chance(8) == 0)
			begin_stream(chance(2) == 0);
		break;
	case 33:
		if (!roomy && chance(20) == 0)
			spoil();
		break;
	case 34 ... 38:
		if (hasty)
			begin_stream(chance(2) == 0);
		break;
	case 6 ... 8:
		commit();
		break;
	case 9 ... 12:
		acknowledge();
		break;
	case 13 ... 32:
		for (uint64_t i = live ? chance(12) : 0; i > 0 && take_one(); i--)
			;
		break;
	default:
		produce();
	}
	while (backlog_spill(&backlog, now_ns += 20 * SECOND_NS))
		;
}

/* Everything arrives in the end; more streams than HELLO lists take more sessions. */
static void
drain(void)
{
	for (unsigned rounds = 0; !backlog_empty(&backlog); rounds++) {
		ck_assert_uint_lt(rounds, STREAMS);
		open_session();
		for (unsigned idle = 0; idle < 3 && !backlog_hello_due(&backlog); idle++) {
			while (take_one())
				idle = 0;
			commit();
			for (unsigned n = 1; n <= newest; n++)
				if (model[n].durable > 0)
					(void)backlog_acknowledge(&backlog, id_of(n), model[n].durable);
		}
	}
}

static void
begin(void)
{
	live = away = hasty = false;
	room = SIZE_MAX / 2;
	newest = 0;
	now_ns = 0;
	ck_assert_ptr_nonnull(model = calloc(STREAMS, sizeof(*model)));
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		ck_assert_int_ne(fd[i] = memfd_create("segment", MFD_CLOEXEC), -1);
	ck_assert_int_ne(spool_fd = spool_create("test", MEMORY_SIZE), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(spool_fd, SPOOL_PRODUCER));
	role_begins();
	backlog_init(&backlog, spool, disk);
	begin_stream(false);
}

static void
finish(void)
{
	role_ends();
	spool_detach(producer);
	close(spool_fd);
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		close(fd[i]);
	free(model);
}

START_TEST(everything_once)
{
	seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(_i + 1);
	roomy = _i % 4 == 3;
	begin();
	for (unsigned i = 0; i < STEPS; i++)
		step();
	drain();
	for (unsigned n = 1; n <= newest; n++) {
		ck_assert_msg(model[n].taken == model[n].produced, "stream %u: %lu of %lu", n, model[n].taken, model[n].produced);
		ck_assert_msg(model[n].end_taken == model[n].ended || model[n].end_sent, "stream %u: its END", n);
	}
	ck_assert_uint_eq(disk_used(disk), 0);
	finish();
}
END_TEST

/* A role killed at any moment leaves no hole where a receiver has all. */
START_TEST(durable_before_cut)
{
	seed = 1;
	roomy = true;
	begin();
	while (model[1].produced < 5)
		produce();
	ck_assert(backlog_flush(&backlog, always, NULL));
	open_session();
	while (take_one())
		;
	cut_needs = model[1].taken;
	ck_assert_uint_ge(cut_needs, 5);
	ck_assert_int_eq(backlog_acknowledge(&backlog, id_of(1), cut_needs), 0);
	ck_assert(disk_empty(disk));
	cut_needs = 0;
	finish();
}
END_TEST

/* What the disk has lost of a stream that goes on in memory is an error: nobody knows how much it was. */
START_TEST(unknown_hole)
{
	struct spool_item item;

	seed = 1;
	roomy = false;
	begin();
	while (model[1].produced < 5)
		produce();
	ck_assert(backlog_flush(&backlog, always, NULL));
	role_ends();
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		ck_assert_int_eq(ftruncate(fd[i], 0), 0);
	role_begins();
	backlog_init(&backlog, spool, disk);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_ERRORS, STATS_AGENT), 1);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT), 5);
	backlog_next(&backlog, &item);
	ck_assert_int_eq(item.kind, SPOOL_LOST);
	ck_assert_uint_eq(item.gap.first, 1);
	ck_assert_uint_eq(item.gap.last, 5);
	finish();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backlog");
	TCase *tc = tcase_create("backlog");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, everything_once, 0, SEEDS);
	tcase_add_test(tc, durable_before_cut);
	tcase_add_test(tc, unknown_hole);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
