/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "common/conf.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/dedup.h"
#include "collector/heap.h"
#include "collector/merge.h"
#include "collector/pcapng_out.h"

#include "tests/dedup_lab.h"

/*
 * Packets that are merged and deduplicated per second of CPU: pairs of VMs, each of which captures both sides of one TCP flow, two
 * full segments and an acknowledgement in turn. By the engine alone, and out of a store by all of "vmtap read --merged".
 */

#define UNIT_SIZE	(1024u * 1024)	/* raw bytes of a file's unit */
#define TIME_AT		12		/* in an EPB */
#define SEQ_AT		(28 + 14 + 20 + 4)
#define ACK_AT		(SEQ_AT + 4)

struct options {
	uint64_t packets, rate, memory, size, window_ms;
};
static const struct conf_row rows[] = {
	{ .name = "packets", .letter = 'n', .type = CONF_UINT, .min = 1000, .initial = "2000000", .argument = "N",
	  .offset = offsetof(struct options, packets), .help = "of all streams together" },
	{ .name = "rate", .type = CONF_UINT, .min = 1, .initial = "100000", .argument = "N", .offset = offsetof(struct options, rate),
	  .help = "packets of all streams in a second of their time" },
	{ .name = "size", .type = CONF_UINT, .min = 1, .max = 60000, .initial = "1448", .argument = "BYTES",
	  .offset = offsetof(struct options, size), .help = "of a segment" },
	{ .name = "memory", .type = CONF_SIZE, .min = 1u << 20, .initial = "256M", .argument = "SIZE",
	  .offset = offsetof(struct options, memory), .help = "bound of what is held" },
	{ .name = "window", .type = CONF_TIME, .min = 1, .initial = "2s", .argument = "TIME",
	  .offset = offsetof(struct options, window_ms), .help = "of deduplication" },
	{ 0 }
};

/* A VM's packets, made one after another. */
struct source {
	struct heap_item heap;		/* of the next one */
	unsigned	 number;
	uint64_t	 interval_ns, made;
	struct buf	 block[2][2];	/* data, acknowledgement; sent, received */
	size_t		 data_at;
};

static void __attribute__((noreturn))
fail(const char *what)
{
	fprintf(stderr, "merge: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The even VMs send data, to the odd ones. */
static void
source_init(struct source *source, unsigned number, unsigned streams, const struct options *options)
{
	memset(source, 0, sizeof(*source));
	source->number = number;
	source->interval_ns = LAB_S * streams / options->rate;
	source->heap.time_ns = LAB_START + number / 2 * LAB_US + number % 2 * 50 * LAB_US;
	for (unsigned i = 0; i < 4; i++) {
		bool back = i / 2 == 1;
		unsigned sender = number / 2 * 2 + (back ? 1 : 0);
		struct lab_packet packet = { .direction = i % 2 == 0 ? DEDUP_OUT : DEDUP_IN, .protocol = 6, .src = (uint8_t)(1 + sender),
		    .dst = (uint8_t)(1 + (sender ^ 1)), .len = back ? 0 : (uint32_t)options->size, .flags = LAB_ACK };

		buf_init(&source->block[i / 2][i % 2], UNIT_SIZE);
		source->data_at = lab_make(&source->block[i / 2][i % 2], &packet);
	}
}

static void
source_clear(struct source *source)
{
	for (unsigned i = 0; i < 4; i++)
		buf_clear(&source->block[i / 2][i % 2]);
}

static void
put_be32(uint8_t *p, uint32_t value)
{
	value = htobe32(value);
	memcpy(p, &value, sizeof(value));
}

/* The packet at hand; both VMs of a pair make the same, in opposite directions. */
static struct dedup_packet
source_packet(struct source *source, const struct options *options)
{
	bool back = source->made % 3 == 2, sent = back == (source->number % 2 == 1);
	struct buf *block = &source->block[back][!sent];
	uint32_t seq = (uint32_t)((source->made / 3 * 2 + source->made % 3) * options->size);
	uint32_t time[2] = { htole32((uint32_t)(source->heap.time_ns >> 32)), htole32((uint32_t)source->heap.time_ns) };
	struct dedup_packet packet = { .source = source->number, .time_ns = source->heap.time_ns, .direction = sent ? DEDUP_OUT : DEDUP_IN,
	    .block = block->data, .block_len = block->len, .data_at = source->data_at };

	memcpy(block->data + TIME_AT, time, sizeof(time));
	put_be32(block->data + (back ? ACK_AT : SEQ_AT), seq);
	packet.captured = packet.original = 14 + 20 + 20 + (back ? 0 : options->size);
	return packet;
}

static void
source_step(struct source *source)
{
	source->made++;
	source->heap.time_ns += source->interval_ns;
}

static int
count_out(const struct dedup_out *out, void *arg)
{
	*(uint64_t *)arg += out->block_len;
	return 1;
}

static void
report(const char *what, unsigned streams, uint64_t cpu_us, const struct dedup_stats *stats)
{
	printf("%-7s %7u %9llu %9llu %9llu %10.0f %7.0f %9llu %8.1f %9llu\n", what, streams, (unsigned long long)stats->in,
	    (unsigned long long)stats->removed, (unsigned long long)stats->early, (double)stats->in * 1e6 / (double)(cpu_us + 1),
	    (double)cpu_us * 1e3 / (double)stats->in, (unsigned long long)stats->peak_entries, (double)stats->memory_peak / 1e6,
	    (unsigned long long)(stats->peak_entries > 0 ? stats->peak_state / stats->peak_entries : 0));
}

static void
run_engine(unsigned streams, const struct options *options)
{
	uint64_t bytes = 0, begin;
	struct dedup_settings settings = { .window_ns = options->window_ms * LAB_MS, .memory_max = options->memory, .seed = 1,
	    .emit = count_out, .arg = &bytes };
	struct dedup *dedup = dedup_new(&settings);
	struct source *source = calloc(streams, sizeof(*source)), *first;
	struct heap heap = { 0 };

	for (unsigned i = 0; i < streams; i++) {
		source_init(&source[i], i, streams, options);
		if (dedup_add_source(dedup, i, 0, 1) != i || heap_put(&heap, &source[i].heap) == -1)
			fail("source");
	}
	begin = clock_cpu_us();
	for (uint64_t i = 0; i < options->packets; i++) {
		first = (struct source *)heap_first(&heap);
		struct dedup_packet packet = source_packet(first, options);

		if (dedup_advance(dedup, packet.time_ns) != 1 || dedup_put(dedup, &packet) != 1)
			fail("put");
		heap_remove(&heap, &first->heap);
		source_step(first);
		heap_put(&heap, &first->heap);
	}
	if (dedup_finish(dedup) != 1)
		fail("finish");
	report("engine", streams, clock_cpu_us() - begin, dedup_stats(dedup));
	for (unsigned i = 0; i < streams; i++)
		source_clear(&source[i]);
	free(source);
	heap_clear(&heap);
	dedup_free(dedup);
}

/* --- a store of files, one of each VM --- */

static void
write_unit(int fd, const struct codec *codec, void *state, struct buf *raw)
{
	uint8_t *out = malloc(codec->bound(raw->len));
	ssize_t len;

	if (out == NULL || (len = codec->encode(state, raw->data, raw->len, out, codec->bound(raw->len))) == -1 ||
	    write(fd, out, (size_t)len) != len)
		fail("file");
	free(out);
	raw->len = 0;
}

static void
fill_file(int fd, struct source *source, uint64_t packets, const struct options *options)
{
	const struct codec *codec = codec_by_name("lz4");
	void *state = codec->state_new(codec->level_initial);
	uint8_t edge[CODEC_FILE_EDGE_MAX];
	size_t len = codec->file_begin(edge, sizeof(edge));
	struct buf raw;

	buf_init(&raw, 2 * UNIT_SIZE);
	if (write(fd, edge, len) != (ssize_t)len)
		fail("file");
	for (; packets > 0; packets--) {
		struct dedup_packet packet = source_packet(source, options);

		if (buf_put(&raw, packet.block, packet.block_len) == -1)
			fail("memory");
		source_step(source);
		if (raw.len > UNIT_SIZE || packets == 1)
			write_unit(fd, codec, state, &raw);
	}
	codec->state_free(state);
	buf_clear(&raw);
}

static void
insert(sqlite3 *db, const char *format, unsigned number, long long value)
{
	char *sql = sqlite3_mprintf(format, number, number, number, value);

	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail(sqlite3_errmsg(db));
	sqlite3_free(sql);
}

static void
insert_interface(sqlite3 *db, unsigned number)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	sqlite3_stmt *statement;
	struct buf idb;
	char sql[160];

	buf_init(&idb, 4096);
	snprintf(sql, sizeof(sql), "INSERT INTO interface (stream, id, name, linktype, idb) VALUES (x'%032u', 0, 'eth0', 1, ?1)", number);
	if (pcapng_put_idb(&idb, &interface) == -1)
		fail("memory");
	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		fail("interface");
	sqlite3_bind_blob(statement, 1, idb.data, (int)idb.len, SQLITE_STATIC);
	if (sqlite3_step(statement) != SQLITE_DONE)
		fail("interface");
	sqlite3_finalize(statement);
	buf_clear(&idb);
}

static void
add_vm(sqlite3 *db, const char *dir, unsigned number, unsigned streams, const struct options *options)
{
	struct source source;
	char path[128];
	int fd;

	source_init(&source, number, streams, options);
	snprintf(path, sizeof(path), "%s/file%u", dir, number);
	if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600)) == -1)
		fail(path);
	fill_file(fd, &source, options->packets / streams, options);
	insert(db, "INSERT INTO vm (uuid, tenant, name) VALUES ('%08u', 'bench', 'vm%u')", number, 0);
	insert(db, "INSERT INTO stream (id, vm, started_ns) VALUES (x'%032u', '%08u', 1)", number, 0);
	insert_interface(db, number);
	insert(db, "INSERT INTO file (vm, stream, path, codec, created_ns, length) VALUES ('%08u', x'%032u', 'file%u', 'lz4', 1, %lld)",
	    number, (long long)lseek(fd, 0, SEEK_CUR));
	close(fd);
	source_clear(&source);
}

static void
merge_store(sqlite3 *db, const char *dir, unsigned streams, const struct options *options)
{
	char error[512] = "";
	struct pcapng_out *out = pcapng_out_open("/dev/null", NULL, "bench", error, sizeof(error));
	struct merge_settings settings = { .db = db, .store = dir, .tenant = "bench", .out = out, .to_ns = UINT64_MAX,
	    .window_ns = options->window_ms * LAB_MS, .memory_max = options->memory };
	struct merge *merge = merge_new(&settings, error, sizeof(error));
	uint64_t begin = clock_cpu_us();
	int rc;

	do
		rc = merge_pass(merge, 0);
	while (rc == 1 && merge_behind(merge));
	if (rc != 1 || merge_finish(merge) != 1)
		fail(merge_error(merge));
	report("store", streams, clock_cpu_us() - begin, merge_stats(merge));
	merge_free(merge);
	pcapng_out_close(out);
}

static void
run_store(unsigned streams, const struct options *options)
{
	char dir[] = "/tmp/bench-merge.XXXXXX", error[512] = "", command[64];
	sqlite3 *db;

	if (mkdtemp(dir) == NULL)
		fail(dir);
	if ((db = catalog_open(dir, error, sizeof(error))) == NULL)
		fail(error);
	sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	for (unsigned i = 0; i < streams; i++)
		add_vm(db, dir, i, streams, options);
	merge_store(db, dir, streams, options);
	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		fail(dir);
}

int
main(int argc, char **argv)
{
	static const unsigned streams[] = { 2, 4, 8, 16, 32, 64 };
	struct options options = { 0 }, full;
	struct conf_error error;
	int rest;

	if (conf_defaults(rows, &options, &error) == -1 || conf_parse_args(rows, &options, argc, argv, &rest, &error) == -1)
		conf_usage("merge", &error);
	printf("%-7s %7s %9s %9s %9s %10s %7s %9s %8s %9s\n", "what", "streams", "in", "removed", "early", "packets/s", "ns", "held", "MB",
	    "state B");
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
		run_engine(streams[i], &options);
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
		run_store(streams[i], &options);
	full = options;
	full.rate = 20 * options.rate;		/* more than the bound holds of a window */
	run_engine(2, &full);
	run_engine(64, &full);
	full.size = 64;				/* as many packets as fit */
	run_engine(2, &full);
	return 0;
}
