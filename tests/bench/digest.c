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
#include "proto/digest.h"
#include "proto/pcapng.h"
#include "proto/transit.h"

#include "packets.h"

/*
 * What digests cost, in CPU time of this process: reading a packet (parse), that and its digest (digest), putting it into a block
 * (build), and both (with; cost: what that is more than build); and what epb_packetid makes of a block, for codecs. Packets are TCP
 * of a text, so many that they fit into the cache (near) or that they do not (far), as they come from a ring; IMIX; or capture
 * files. Each pass does all in turn; figures are medians over the passes.
 */
#define BLOCK_SEAL	(256u * 1024)
#define BLOCK_ROOM	(BLOCK_SEAL + PCAPNG_EPB_MAX(PCAPNG_SNAPLEN))
#define HEADERS		54
#define NEAR		(128u * 1024)
#define FAR		(64u * 1024 * 1024)
#define IMIX_PACKETS	65536
#define PASSES_MAX	2000
#define LINKTYPE_RAW	101

enum column { PARSE, DIGEST, BUILD, WITH, COLUMNS };

struct input {
	char			 name[32];
	uint16_t		 linktype;
	struct pcapng_packet	*packets;
	size_t			 count, room, bytes;
};

static struct {
	const char	*corpus;
	double		 seconds;
} options = { .corpus = "/usr/share/common-licenses/GPL-3", .seconds = 1 };

static uint8_t block[BLOCK_ROOM], secret[DIGEST_SECRET_SIZE];
static volatile uint64_t sink;

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

static uint32_t
next_random(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

/* --- packets --- */

static struct pcapng_packet *
input_add(struct input *input, const uint8_t *data, uint32_t len, uint32_t original_len)
{
	uint8_t *copy = allocate(len + 1u);

	if (input->count == input->room) {
		input->room = input->room * 2 + 1024;
		if ((input->packets = realloc(input->packets, input->room * sizeof(*input->packets))) == NULL)
			err(1, "realloc");
	}
	if (len > 0)
		memcpy(copy, data, len);
	input->bytes += len;
	input->packets[input->count] = (struct pcapng_packet){ .time_ns = 1700000000000000000u + input->count * 5000, .captured_len = len,
		.original_len = original_len, .data = copy, .flags = PCAPNG_EPB_IN };
	return &input->packets[input->count++];
}

static void
input_clear(struct input *input)
{
	for (size_t i = 0; i < input->count; i++)
		free((void *)(uintptr_t)input->packets[i].data);
	free(input->packets);
	*input = (struct input){ .linktype = 1 };
}

static char *
read_corpus(size_t *len)
{
	FILE *file = fopen(options.corpus, "rb");
	char *text = allocate(1u << 20);

	if (file == NULL || (*len = fread(text, 1, 1u << 20, file)) == 0)
		err(1, "%s", options.corpus);
	fclose(file);
	return text;
}

/* len is on the wire, of which the last 4 bytes are not captured. */
static void
make_tcp(struct input *input, uint32_t len, size_t bytes, const char *place)
{
	static const uint8_t headers[HEADERS] = "\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0" "\x45\0\0\0\0\1\x40\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2"
	    "\x9c\x40\0\x50\0\0\0\1\0\0\0\2\x50\x18\2\0\0\0\0";
	uint8_t *packet = allocate(len);
	size_t corpus_len, from;
	char *corpus = read_corpus(&corpus_len);

	*input = (struct input){ .linktype = 1 };
	snprintf(input->name, sizeof(input->name), "%u %s", len, place);
	memcpy(packet, headers, HEADERS);
	packet[16] = (uint8_t)((len - 18) >> 8);
	packet[17] = (uint8_t)(len - 18);
	while (input->bytes < bytes) {
		from = next_random();
		for (size_t i = HEADERS; i < len; i++)
			packet[i] = (uint8_t)corpus[(from + i) % corpus_len];
		packet[41] = (uint8_t)input->count;
		input_add(input, packet, len - 4, len - 4);
	}
	free(packet);
	free(corpus);
}

static void
make_imix(struct input *input)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 2 };
	struct packets packets;

	*input = (struct input){ .name = "IMIX", .linktype = 1 };
	if (packets_make(&packets, IMIX_PACKETS, "imix", options.corpus, mac, 1) == -1)
		err(1, "%s", options.corpus);
	for (size_t i = 0; i < packets.count; i++) {
		packets_set_sequence(packets.data[i], i);
		input_add(input, packets.data[i], packets.len[i], packets.len[i]);
	}
	packets_free(&packets);
}

static void
make_capture(struct input *input, const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *data;
	int linktype;

	if (pcap == NULL)
		errx(1, "%s: %s", path, error);
	linktype = pcap_datalink(pcap);
	*input = (struct input){ .linktype = (uint16_t)(linktype == DLT_RAW ? LINKTYPE_RAW : linktype) };
	snprintf(input->name, sizeof(input->name), "%.31s", strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path);
	while (pcap_next_ex(pcap, &header, &data) == 1)
		if (header->caplen <= PCAPNG_SNAPLEN)
			input_add(input, data, header->caplen, header->len);
	pcap_close(pcap);
}

/* --- times --- */

static uint64_t
digest_of(const struct input *input, const struct pcapng_packet *packet)
{
	struct transit t;

	transit_parse(&t, input->linktype, packet->data, packet->captured_len, packet->original_len);
	return digest_packet(&t, secret);
}

/* So often that the clock is not what is measured. */
static unsigned
rounds_of(const struct input *input)
{
	return input->bytes < FAR / 16 ? (unsigned)(FAR / 16 / (input->bytes + 1)) : 1;
}

static void
pass(const struct input *input, enum column column)
{
	struct transit t;
	size_t used = 0;

	for (struct pcapng_packet *p = input->packets; p < input->packets + input->count; p++) {
		if (column == PARSE) {
			transit_parse(&t, input->linktype, p->data, p->captured_len, p->original_len);
			sink += t.flow;
			continue;
		}
		p->packetid = column == BUILD ? 0 : digest_of(input, p);
		if (column == DIGEST)
			continue;
		if (used + PCAPNG_EPB_MAX(p->captured_len) > BLOCK_SEAL)
			used = 0;
		used += pcapng_write_epb(block + used, p);
	}
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *values, size_t count)
{
	qsort(values, count, sizeof(values[0]), compare_doubles);
	return values[count / 2];
}

static void
bench_times(struct input *input)
{
	static double ns[COLUMNS + 1][PASSES_MAX];
	double start = cpu_ns(), begin, count = (double)input->count;
	unsigned rounds = rounds_of(input);
	size_t passes = 0;

	if (input->count == 0)
		return;
	while (passes < PASSES_MAX && (passes < 5 || cpu_ns() - start < options.seconds * 1e9)) {
		for (enum column column = PARSE; column < COLUMNS; column++) {
			begin = cpu_ns();
			for (unsigned i = 0; i < rounds; i++)
				pass(input, column);
			ns[column][passes] = (cpu_ns() - begin) / count / rounds;
		}
		ns[COLUMNS][passes] = ns[WITH][passes] - ns[BUILD][passes];
		passes++;
	}
	printf("%-32s %8zu %7.0f %8.1f %8.1f %8.1f %8.1f %8.1f\n", input->name, input->count, (double)input->bytes / count,
	    median(ns[PARSE], passes), median(ns[DIGEST], passes), median(ns[BUILD], passes), median(ns[WITH], passes),
	    median(ns[COLUMNS], passes));
	fflush(stdout);
}

/* --- bytes --- */

/* Encoded bytes of all packets, and what encoding them took. */
static size_t
encode_all(const struct input *input, const struct codec *codec, int level, uint8_t *out, double *ns)
{
	struct encoder *encoder = encoder_new(codec, level);
	size_t used = 0, encoded = 0, out_size = codec->bound(BLOCK_ROOM);
	bool stored;
	double begin;

	if (encoder == NULL)
		err(1, "%s", codec->name);
	*ns = 0;
	for (size_t i = 0; i <= input->count; i++) {
		if (used > 0 && (i == input->count || used + PCAPNG_EPB_MAX(input->packets[i].captured_len) > BLOCK_SEAL)) {
			begin = cpu_ns();
			encoded += (size_t)encoder_block(encoder, block, used, out, out_size, &stored);
			*ns += cpu_ns() - begin;
			used = 0;
		}
		if (i < input->count)
			used += pcapng_write_epb(block + used, &input->packets[i]);
	}
	encoder_free(encoder);
	return encoded;
}

static void
set_digests(struct input *input, bool on)
{
	for (size_t i = 0; i < input->count; i++)
		input->packets[i].packetid = on ? digest_of(input, &input->packets[i]) : DIGEST_NONE;
}

static void
bench_bytes(struct input *input, const char *what)
{
	static double ns[2][PASSES_MAX], more[PASSES_MAX];
	double start = cpu_ns(), count = (double)input->count;
	size_t passes = 0, bytes[2];
	const struct codec *codec;
	char error[256];
	uint8_t *out;
	int level;

	if (codec_parse(what, &codec, &level, error, sizeof(error)) == -1)
		errx(1, "%s", error);
	out = allocate(codec->bound(BLOCK_ROOM));
	for (; passes < PASSES_MAX && (passes < 5 || cpu_ns() - start < options.seconds * 1e9); passes++) {
		for (unsigned on = 0; on < 2; on++) {
			set_digests(input, on == 1);
			bytes[on] = encode_all(input, codec, level, out, &ns[on][passes]);
		}
		more[passes] = ns[1][passes] - ns[0][passes];
	}
	printf("%-32s %-8s %9.2f %9.2f %8.2f %7.2f%% %8.1f %8.1f %8.1f\n", input->name, what, (double)bytes[0] / count,
	    (double)bytes[1] / count, ((double)bytes[1] - (double)bytes[0]) / count,
	    100 * ((double)bytes[1] / (double)bytes[0] - 1), median(ns[0], passes) / count, median(ns[1], passes) / count,
	    median(more, passes) / count);
	free(out);
}

/* --- tables --- */

static void
table_times(int argc, char **argv)
{
	static const uint32_t sizes[] = { 64, 350, 1518, 65000 };
	struct input input;

	printf("%-32s %8s %7s %8s %8s %8s %8s %8s   ns a packet\n", "packets", "count", "mean B", "parse", "digest", "build", "with",
	    "cost");
	for (int i = 0; i < argc; i++) {
		make_capture(&input, argv[i]);
		bench_times(&input);
		input_clear(&input);
	}
	for (size_t i = 0; argc == 0 && i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_tcp(&input, sizes[i / 2], i % 2 == 0 ? NEAR : FAR, i % 2 == 0 ? "near" : "far");
		bench_times(&input);
		input_clear(&input);
	}
}

static void
table_bytes(int argc, char **argv)
{
	static const char *const codecs[] = { "none", "lz4", "zstd:1" };
	struct input input;

	printf("\n%-32s %-8s %9s %9s %8s %8s %8s %8s %8s   bytes and ns a packet\n", "packets", "codec", "without", "with", "more", "",
	    "ns", "with", "more");
	for (int i = 0; i < (argc == 0 ? 1 : argc); i++) {
		if (argc == 0)
			make_imix(&input);
		else
			make_capture(&input, argv[i]);
		for (size_t c = 0; input.count > 0 && c < sizeof(codecs) / sizeof(codecs[0]); c++)
			bench_bytes(&input, codecs[c]);
		input_clear(&input);
	}
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = { { "corpus", required_argument, NULL, 't' }, { "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 't')
			options.corpus = optarg;
		else if (c != 's' || (options.seconds = strtod(optarg, NULL)) <= 0) {
			fprintf(stderr, "usage: digest [--corpus FILE] [--seconds N] [CAPTURE...]\n");
			return 2;
		}
	}
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)next_random();
	table_times(argc - optind, argv + optind);
	table_bytes(argc - optind, argv + optind);
	return 0;
}
