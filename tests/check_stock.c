/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/buf.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

/* Files as a collector writes them, read by the tools that people have, as far as installed: lz4, gzip, zstd and tshark. */

#define BLOCKS		5
#define BLOCK_PACKETS	400

static char dir[] = "/tmp/vmtap-check-stock-XXXXXX";

struct stored_file {
	struct buf	encoded, raw;
	size_t		block_end[BLOCKS + 1];	/* in encoded; the first is the file header's */
};

static bool
installed(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", tool);
	if (system(command) == 0)
		return true;
	fprintf(stderr, "skipped: %s is not installed\n", tool);
	return false;
}

static void
make_block(struct buf *raw, int number)
{
	static uint8_t data[1500];
	struct pcapng_packet packet = {.data = data, .flags = PCAPNG_EPB_IN};
	int i;

	for (i = 0; i < BLOCK_PACKETS; i++) {
		packet.time_ns = 1700000000000000000u + (uint64_t)(number * BLOCK_PACKETS + i) * 1000;
		packet.captured_len = packet.original_len = 60 + (uint32_t)(i * 37) % 1400;
		memset(data, i, sizeof(data));
		data[200 + i] = (uint8_t)number;
		ck_assert_int_eq(pcapng_put_epb(raw, &packet), 0);
	}
}

static void
add_unit(const struct codec *codec, struct stored_file *file, const struct buf *raw, bool store)
{
	size_t bound = codec->bound(raw->len);
	void *state = codec->state_new(codec->level_initial);
	uint8_t *out;
	ssize_t n;

	ck_assert_int_eq(buf_reserve(&file->encoded, bound) + buf_put(&file->raw, raw->data, raw->len), 0);
	out = file->encoded.data + file->encoded.len;
	n = store ? codec->store(raw->data, raw->len, out, bound) : codec->encode(state, raw->data, raw->len, out, bound);
	ck_assert_int_gt(n, 0);
	file->encoded.len += (size_t)n;
	codec->state_free(state);
}

/* Every other block is stored. */
static void
make_file(const struct codec *codec, struct stored_file *file)
{
	struct pcapng_interface interface = {.linktype = 1, .name = "eth0"};
	uint8_t edge[CODEC_FILE_EDGE_MAX];
	struct buf raw;
	int i;

	buf_init(&file->encoded, 16u << 20);
	buf_init(&file->raw, 16u << 20);
	buf_init(&raw, 4u << 20);
	ck_assert_int_eq(buf_put(&file->encoded, edge, codec->file_begin(edge, sizeof(edge))), 0);
	ck_assert_int_eq(pcapng_put_shb(&raw, "x86_64", "Linux", "vmtap") + pcapng_put_idb(&raw, &interface), 0);
	add_unit(codec, file, &raw, false);
	file->block_end[0] = file->encoded.len;
	for (i = 0; i < BLOCKS; i++) {
		raw.len = 0;
		make_block(&raw, i);
		add_unit(codec, file, &raw, i % 2 == 1);
		file->block_end[i + 1] = file->encoded.len;
	}
	ck_assert_int_eq(buf_put(&file->encoded, edge, codec->file_end(edge, sizeof(edge))), 0);
	buf_clear(&raw);
}

static void
clear_file(struct stored_file *file)
{
	buf_clear(&file->encoded);
	buf_clear(&file->raw);
}

static void
write_file(const char *path, const uint8_t *data, size_t len)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* Standard output of a command. */
static void
run(const char *command, struct buf *out)
{
	char piece[4096];
	FILE *f = popen(command, "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		ck_assert_int_eq(buf_put(out, piece, n), 0);
	pclose(f);
}

static const struct {
	enum codec_id	id;
	const char	*tool, *command;
} unpackers[] = {
	{CODEC_LZ4, "lz4", "lz4 -dc"},
	{CODEC_ZLIB, "gzip", "gzip -dc"},
	{CODEC_ZSTD, "zstd", "zstd -dcq"},
};

START_TEST(unpacks)
{
	const struct codec *codec = codec_by_id(unpackers[_i].id);
	struct stored_file file;
	char path[64], command[160];
	struct buf out;

	if (codec == NULL || !installed(unpackers[_i].tool))
		return;
	make_file(codec, &file);
	snprintf(path, sizeof(path), "%s/whole.pcapng%s", dir, codec->suffix);
	write_file(path, file.encoded.data, file.encoded.len);
	snprintf(command, sizeof(command), "%s < %s", unpackers[_i].command, path);
	buf_init(&out, 16u << 20);
	run(command, &out);
	ck_assert_uint_eq(out.len, file.raw.len);
	ck_assert_mem_eq(out.data, file.raw.data, out.len);
	buf_clear(&out);
	clear_file(&file);
	unlink(path);
}
END_TEST

static size_t
tshark_packets(const char *path)
{
	char command[160];
	struct buf out;
	size_t lines = 0, i;

	snprintf(command, sizeof(command), "tshark -n -r %s -T fields -e frame.number 2>/dev/null", path);
	buf_init(&out, 1u << 20);
	run(command, &out);
	for (i = 0; i < out.len; i++)
		lines += out.data[i] == '\n';
	buf_clear(&out);
	return lines;
}

/* As our own reader finds them. */
static size_t
whole_packets(const struct codec *codec, const uint8_t *in, size_t len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t block_len, n = 0;
	void *reader = codec->reader_new(true);
	struct buf out;
	uint32_t type;
	int r;

	buf_init(&out, 16u << 20);
	while ((r = codec->reader_decode(reader, &in, &len, &out)) == 1)
		continue;
	ck_assert_int_eq(r, 0);
	pcapng_walk_init(&walk, out.data, out.len);
	while ((r = pcapng_walk_any(&walk, &type, &packet, &block, &block_len)) == 1)
		n += type == PCAPNG_EPB;
	ck_assert(r == 0 || walk.torn);
	buf_clear(&out);
	codec->reader_free(reader);
	return n;
}

/* tshark 4.0 does not read zstd files as written here, so those are left out. */
static const enum codec_id opened[] = {CODEC_NONE, CODEC_LZ4, CODEC_ZLIB};

START_TEST(tshark_opens)
{
	const struct codec *codec = codec_by_id(opened[_i]);
	struct stored_file file;
	char path[64];
	size_t cut[6], i;

	if (codec == NULL || !installed("tshark"))
		return;
	make_file(codec, &file);
	cut[0] = file.encoded.len;
	cut[1] = file.block_end[BLOCKS];		/* without the end */
	cut[2] = file.block_end[BLOCKS] - 1;
	cut[3] = file.block_end[2];			/* behind a stored block */
	cut[4] = (file.block_end[2] + file.block_end[3]) / 2;
	cut[5] = (file.block_end[1] + file.block_end[2]) / 2;	/* inside of a stored one */
	for (i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "%s/cut%zu.pcapng%s", dir, i, codec->suffix);
		write_file(path, file.encoded.data, cut[i]);
		ck_assert_uint_eq(tshark_packets(path), whole_packets(codec, file.encoded.data, cut[i]));
		unlink(path);
	}
	ck_assert_uint_eq(whole_packets(codec, file.encoded.data, cut[0]), BLOCKS * BLOCK_PACKETS);
	ck_assert_uint_ge(whole_packets(codec, file.encoded.data, cut[4]), 2 * BLOCK_PACKETS);
	clear_file(&file);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stock");
	TCase *tc = tcase_create("stock");
	SRunner *runner;
	int failed;

	if (mkdtemp(dir) == NULL) {
		perror(dir);
		return EXIT_FAILURE;
	}
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, unpacks, 0, sizeof(unpackers) / sizeof(unpackers[0]));
	tcase_add_loop_test(tc, tshark_opens, 0, sizeof(opened) / sizeof(opened[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rmdir(dir);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
