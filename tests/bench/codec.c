/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pcap/pcap.h>

#include "proto/codec.h"
#include "proto/pcapng.h"

#include "packets.h"

/*
 * What blocks cost, without capture and network: building them (build), copying them (copy) and each codec as the agent uses it,
 * in CPU time of this process. Inputs are IMIX packets (packets.h) with payload from a text at random offsets, the same with random
 * payload, or capture files. A row is the median of as many passes as fit into its time.
 */
#define BLOCK_SEAL	(256u * 1024)
#define BLOCK_ROOM	(BLOCK_SEAL + PCAPNG_EPB_MAX(PCAPNG_SNAPLEN))
#define IMIX_PACKETS	65536
#define PASSES_MAX	1000
#define ROWS_MAX	32

struct block {
	uint8_t	*raw;
	size_t	 len;
};

struct input {
	const char		*name;
	struct pcapng_packet	*packets;
	size_t			 packet_count, packet_room, captured, uncut;
	struct block		*blocks;
	size_t			 block_room, block_count, raw_len;
};

struct result {
	double	ns;			/* of a pass */
	size_t	encoded, stored;
};

static struct {
	const char	*corpus;
	const char	*codecs[ROWS_MAX];
	unsigned	 codec_count;
	uint32_t	 snaplen;
	double		 seconds;
	bool		 json;
} options = {.corpus = "/usr/share/common-licenses/GPL-3", .snaplen = PCAPNG_SNAPLEN, .seconds = 1};

static const char *const usual_codecs[] = {
	"build", "copy", "none", "lz4", "lz4:-3", "lz4:-15", "zstd:-3", "zstd:1", "zstd:3", "zlib:1", "zlib:6"
};

static void *
allocate(size_t n)
{
	void *p = calloc(1, n);

	if (p == NULL)
		err(1, "calloc");
	return p;
}

static double
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Takes a copy of the bytes, of at most options.snaplen. */
static void
input_add(struct input *input, uint64_t time_ns, const uint8_t *data, uint32_t len, uint32_t original_len)
{
	uint32_t captured_len = len < options.snaplen ? len : options.snaplen;
	uint8_t *copy = allocate(captured_len + 1u);

	if (input->packet_count == input->packet_room) {
		input->packet_room = input->packet_room == 0 ? 1024 : input->packet_room * 2;
		input->packets = realloc(input->packets, input->packet_room * sizeof(*input->packets));
		if (input->packets == NULL)
			err(1, "realloc");
	}
	memcpy(copy, data, captured_len);
	input->packets[input->packet_count++] = (struct pcapng_packet){.time_ns = time_ns, .captured_len = captured_len,
	    .original_len = original_len, .data = copy, .flags = PCAPNG_EPB_IN};
	input->captured += captured_len;
	input->uncut += len;
}

/* payload: "random" or a corpus. The timestamps are those of 200,000 packets a second. */
static void
imix_make(struct input *input, const char *name, const char *payload)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 2};
	uint64_t time_ns = 1700000000000000000u;
	struct packets packets;
	size_t i;

	if (packets_make(&packets, IMIX_PACKETS, "imix", payload, mac, 1) == -1)
		err(1, "%s", payload);
	input->name = name;
	for (i = 0; i < packets.count; i++) {
		packets_set_sequence(packets.data[i], i);
		time_ns += 4500 + i * 7919 % 1000;
		input_add(input, time_ns, packets.data[i], packets.len[i], packets.len[i]);
	}
	packets_free(&packets);
}

static void
capture_read(struct input *input, const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, error);
	struct pcap_pkthdr *header;
	const u_char *data;

	if (pcap == NULL)
		errx(1, "%s: %s", path, error);
	input->name = path;
	while (pcap_next_ex(pcap, &header, &data) == 1) {
		if (header->caplen <= PCAPNG_SNAPLEN)
			input_add(input, (uint64_t)header->ts.tv_sec * 1000000000u + (uint64_t)header->ts.tv_usec, data,
			    header->caplen, header->len);
	}
	pcap_close(pcap);
	if (input->packet_count == 0)
		errx(1, "%s: no packets", path);
}

/* As the agent does it: a packet that would not fit any more goes into the next block. */
static void
build_blocks(struct input *input)
{
	size_t i, used = 0, n = 0;

	for (i = 0; i < input->packet_count; i++) {
		if (used > 0 && used + PCAPNG_EPB_MAX(input->packets[i].captured_len) > BLOCK_SEAL) {
			input->blocks[n++].len = used;
			used = 0;
		}
		used += pcapng_write_epb(input->blocks[n].raw + used, &input->packets[i]);
	}
	input->blocks[n++].len = used;
	input->block_count = n;
}

static void
make_blocks(struct input *input)
{
	size_t i;

	input->block_room = input->packet_count < 1024 ? input->packet_count : 1024 + input->captured / BLOCK_SEAL * 4;
	input->blocks = allocate(input->block_room * sizeof(*input->blocks));
	for (i = 0; i < input->block_room; i++)
		input->blocks[i].raw = allocate(BLOCK_ROOM);
	build_blocks(input);
	for (i = 0; i < input->block_count; i++)
		input->raw_len += input->blocks[i].len;
}

static void
pass_copy(const struct input *input, uint8_t *out)
{
	size_t i;

	for (i = 0; i < input->block_count; i++) {
		memcpy(out, input->blocks[i].raw, input->blocks[i].len);
		__asm__ volatile("" : : "r"(out) : "memory");	/* or the copy is left out */
	}
}

static void
pass_encode(const struct input *input, struct encoder *encoder, uint8_t *out, size_t out_size, struct result *result)
{
	const struct block *block;
	bool stored;
	ssize_t n;

	result->encoded = result->stored = 0;
	for (block = input->blocks; block < input->blocks + input->block_count; block++) {
		n = encoder_block(encoder, block->raw, block->len, out, out_size, &stored);
		if (n == -1)
			errx(1, "%s: a block of %zu bytes did not fit the codec's own bound", input->name, block->len);
		result->encoded += (size_t)n;
		result->stored += stored;
	}
}

/* Once, outside of the measure: what comes out is what went in. */
static void
verify(const struct input *input, const struct codec *codec, int level, uint8_t *out, size_t out_size)
{
	struct encoder *encoder = encoder_new(codec, level);
	uint8_t *back = allocate(BLOCK_ROOM);
	bool stored;
	ssize_t n;
	size_t i;

	for (i = 0; i < input->block_count; i++) {
		n = encoder_block(encoder, input->blocks[i].raw, input->blocks[i].len, out, out_size, &stored);
		if (n == -1 || codec->decode(out, (size_t)n, back, input->blocks[i].len) == -1 ||
		    memcmp(back, input->blocks[i].raw, input->blocks[i].len) != 0)
			errx(1, "%s: codec %s does not give back block %zu", input->name, codec->name, i);
	}
	encoder_free(encoder);
	free(back);
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct result
measure(struct input *input, const char *what, const struct codec *codec, int level, uint8_t *out, size_t out_size)
{
	struct encoder *encoder = NULL;
	struct result result = {.encoded = input->raw_len, .stored = input->block_count};
	double ns[PASSES_MAX], start = cpu_ns(), begin;
	size_t passes = 0;

	do {
		if (codec != NULL && (encoder = encoder_new(codec, level)) == NULL)	/* an agent's has not seen these before */
			err(1, "%s", what);
		begin = cpu_ns();
		if (encoder != NULL)
			pass_encode(input, encoder, out, out_size, &result);
		else if (strcmp(what, "copy") == 0)
			pass_copy(input, out);
		else
			build_blocks(input);
		ns[passes++] = cpu_ns() - begin;
		encoder_free(encoder);
	} while (passes < PASSES_MAX && (passes < 3 || cpu_ns() - start < options.seconds * 1e9));
	qsort(ns, passes, sizeof(ns[0]), compare_doubles);
	result.ns = ns[passes / 2];
	return result;
}

static void
print_row(const struct input *input, const char *what, const struct result *result)
{
	static bool begun;
	double packets = (double)input->packet_count, raw = (double)input->raw_len, encoded = (double)result->encoded;
	const char *name = strrchr(input->name, '/') != NULL ? strrchr(input->name, '/') + 1 : input->name;

	if (options.json) {
		printf("%s{\"input\": \"%s\", \"codec\": \"%s\", \"packets\": %zu, \"uncut_bytes\": %zu, "
		    "\"captured_bytes\": %zu, \"raw_bytes\": %zu, \"encoded_bytes\": %zu, \"blocks\": %zu, "
		    "\"stored_blocks\": %zu, \"ns_per_packet\": %.2f}",
		    begun ? ",\n " : "[", name, what, input->packet_count, input->uncut, input->captured, input->raw_len,
		    result->encoded, input->block_count, result->stored, result->ns / packets);
	} else {
		if (!begun)
			printf("%-24s %-8s %9s %7s %9s %8s %7s %9s %8s\n", "input", "codec", "packets", "mean B", "ns/packet",
			    "ns/byte", "ratio", "wire/capt", "stored");
		printf("%-24.24s %-8s %9zu %7.0f %9.1f %8.3f %7.4f %9.4f %7.1f%%\n", name, what, input->packet_count,
		    (double)input->captured / packets, result->ns / packets, result->ns / raw, encoded / raw,
		    encoded / (double)input->captured, 100 * (double)result->stored / (double)input->block_count);
	}
	begun = true;
	fflush(stdout);
}

static void
bench_row(struct input *input, const char *what)
{
	const struct codec *codec = NULL;
	struct result result;
	size_t out_size = BLOCK_ROOM;
	uint8_t *out;
	char error[256];
	int level = 0;

	if (strcmp(what, "build") != 0 && strcmp(what, "copy") != 0) {
		if (codec_parse(what, &codec, &level, error, sizeof(error)) == -1)
			errx(2, "%s", error);
		out_size = codec->bound(BLOCK_ROOM);
	}
	out = allocate(out_size);
	memset(out, 1, out_size);	/* page faults are not the codec's */
	if (codec != NULL)
		verify(input, codec, level, out, out_size);
	result = measure(input, what, codec, level, out, out_size);
	print_row(input, what, &result);
	free(out);
}

static void
bench_input(struct input *input)
{
	size_t i;

	make_blocks(input);
	for (i = 0; i < options.codec_count; i++)
		bench_row(input, options.codecs[i]);
	for (i = 0; i < input->packet_count; i++)
		free((void *)(uintptr_t)input->packets[i].data);
	free(input->packets);
	for (i = 0; i < input->block_room; i++)
		free(input->blocks[i].raw);
	free(input->blocks);
}

static void
usage(void)
{
	fprintf(stderr, "usage: codec [--codec build|copy|CODEC[:LEVEL]]... [--corpus FILE] [--snaplen BYTES] [--seconds N]\n"
	    "\t[--json] [CAPTURE...]\n"
	    "Without CAPTURE: IMIX packets of the corpus, and of random bytes.\n");
	exit(2);
}

static void
parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"codec", required_argument, NULL, 'c'}, {"corpus", required_argument, NULL, 't'},
	    {"snaplen", required_argument, NULL, 'l'}, {"seconds", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
	    {NULL, 0, NULL, 0}};
	unsigned long snaplen;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'c' && options.codec_count < ROWS_MAX)
			options.codecs[options.codec_count++] = optarg;
		else if (c == 't')
			options.corpus = optarg;
		else if (c == 'l' && (snaplen = strtoul(optarg, NULL, 10)) > 0 && snaplen <= PCAPNG_SNAPLEN)
			options.snaplen = (uint32_t)snaplen;
		else if (c == 's' && (options.seconds = strtod(optarg, NULL)) > 0)
			continue;
		else if (c == 'j')
			options.json = true;
		else
			usage();
	}
	if (options.codec_count == 0) {
		options.codec_count = sizeof(usual_codecs) / sizeof(usual_codecs[0]);
		memcpy(options.codecs, usual_codecs, sizeof(usual_codecs));
	}
}

static void
bench_imix(void)
{
	struct input text = {.name = NULL}, noise = {.name = NULL};

	imix_make(&text, "imix-text", options.corpus);
	bench_input(&text);
	imix_make(&noise, "imix-random", "random");
	bench_input(&noise);
}

int
main(int argc, char **argv)
{
	struct input capture;

	parse_options(argc, argv);
	if (optind == argc)
		bench_imix();
	for (; optind < argc; optind++) {
		capture = (struct input){.name = NULL};
		capture_read(&capture, argv[optind]);
		bench_input(&capture);
	}
	if (options.json)
		printf("]\n");
	return 0;
}
