/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/codec.h"

static const struct codec *const codecs[] = {
	&codec_none,
#ifdef HAVE_LZ4
	&codec_lz4,
#endif
	&codec_zlib,
#ifdef HAVE_ZSTD
	&codec_zstd,
#endif
};
#define CODEC_COUNT	(sizeof(codecs) / sizeof(codecs[0]))

const struct codec *
codec_by_id(unsigned id)
{
	size_t i;

	for (i = 0; i < CODEC_COUNT; i++) {
		if ((unsigned)codecs[i]->id == id)
			return codecs[i];
	}
	return NULL;
}

static const struct codec *
codec_by_prefix(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < CODEC_COUNT; i++) {
		if (strlen(codecs[i]->name) == len && memcmp(codecs[i]->name, name, len) == 0)
			return codecs[i];
	}
	return NULL;
}

const struct codec *
codec_by_name(const char *name)
{
	return codec_by_prefix(name, strlen(name));
}

uint32_t
codec_mask(void)
{
	uint32_t mask = 0;
	size_t i;

	for (i = 0; i < CODEC_COUNT; i++)
		mask |= 1u << codecs[i]->id;
	return mask;
}

static int
unknown_codec(const char *text, size_t len, char *error, size_t error_size)
{
	char names[64] = "";
	size_t i, used = 0;

	for (i = 0; i < CODEC_COUNT; i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i == 0 ? "" : ", ", codecs[i]->name);
	snprintf(error, error_size, "unknown codec \"%.*s\": this build has %s", (int)(len < 32 ? len : 32), text, names);
	return -1;
}

static int
parse_level(const struct codec *codec, const char *text, int *level, char *error, size_t error_size)
{
	char *end;
	long value;

	if (codec->level_min == codec->level_max) {
		snprintf(error, error_size, "codec %s has no levels", codec->name);
		return -1;
	}
	errno = 0;
	value = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || value < codec->level_min || value > codec->level_max) {
		snprintf(error, error_size, "level \"%.32s\" of codec %s: should be a number from %d to %d", text, codec->name,
		    codec->level_min, codec->level_max);
		return -1;
	}
	*level = (int)value;
	return 0;
}

int
codec_parse(const char *text, const struct codec **codec, int *level, char *error, size_t error_size)
{
	const char *colon = strchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
	const struct codec *found = codec_by_prefix(text, len);
	int value;

	if (found == NULL)
		return unknown_codec(text, len, error, error_size);
	value = found->level_initial;
	if (colon != NULL && parse_level(found, colon + 1, &value, error, error_size) == -1)
		return -1;
	*codec = found;
	*level = value;
	return 0;
}

size_t
codec_reader_room(struct buf *out)
{
	size_t room = out->max - out->len;

	if (room > CODEC_READ_MAX)
		room = CODEC_READ_MAX;
	if (room == 0) {
		errno = ENOBUFS;
		return 0;
	}
	return buf_reserve(out, room) == -1 ? 0 : room;
}

/*
 * When is compressing worth the try? What cannot be compressed (encrypted payload) still has headers that can, so even random
 * payload of mixed packet sizes shrinks by 15 to 20 %, at the price of the whole. Hence a block that does not lose at least
 * 1/SHRINK_PART of its length is stored. From then on blocks are probed first: pieces of it, spread evenly, are searched for words
 * seen before, and only a block with clearly more of them than those stored lately is tried. So the measure adjusts itself to codec
 * and traffic. As repeats further apart than the probe sees are possible, every RETRY_INTERVAL-th block is tried anyhow. As long as
 * blocks shrink nothing is probed.
 */
#define SHRINK_PART	4
#define RETRY_INTERVAL	128
#define PROBE_RAW_MIN	(16u * 1024)	/* smaller blocks, which come seldom, are always tried and teach nothing */
#define PROBE_PIECES	128	/* many and small: a large one sees one packet's payload, or a row of headers */
#define PROBE_PIECE	32u
#define PROBE_WORDS	(PROBE_PIECES * (PROBE_PIECE - 3))
#define PROBE_MARGIN	(PROBE_WORDS / 14)	/* IMIX: of random payload 12 % are repeats (deviation 2), of text 29 % */
#define PROBE_HASH_BITS	11

struct encoder {
	const struct codec	*codec;
	void			*state;
	bool			 store;		/* all blocks, whatever they are */
	unsigned		 stored_in_row;
	unsigned		 usual_score;	/* of the blocks stored lately: a moving average */
	uint32_t		 seen[1 << PROBE_HASH_BITS];
};

struct encoder *
encoder_new(const struct codec *codec, int level)
{
	struct encoder *encoder = calloc(1, sizeof(*encoder));

	if (encoder == NULL)
		return NULL;
	encoder->codec = codec;
	encoder->state = codec->state_new(level);
	if (encoder->state == NULL) {
		free(encoder);
		return NULL;
	}
	return encoder;
}

void
encoder_free(struct encoder *encoder)
{
	if (encoder == NULL)
		return;
	encoder->codec->state_free(encoder->state);
	free(encoder);
}

/* What did not shrink may do so at another level: the next block is tried. */
int
encoder_set_level(struct encoder *encoder, int level)
{
	if (encoder->codec->state_set_level(encoder->state, level) == -1)
		return -1;
	encoder->stored_in_row = 0;
	return 0;
}

void
encoder_set_store(struct encoder *encoder, bool store)
{
	encoder->store = store;
}

/* How many of a piece's words were seen before, in it or in an earlier one. */
static unsigned
probe_piece(uint32_t *seen, const uint8_t *p)
{
	const uint8_t *end = p + PROBE_PIECE - 3;
	uint32_t word, *slot;
	unsigned repeated = 0;

	for (; p < end; p++) {
		memcpy(&word, p, sizeof(word));
		slot = &seen[word * 2654435761u >> (32 - PROBE_HASH_BITS)];	/* 2^32 divided by the golden ratio */
		repeated += *slot == word;
		*slot = word;
	}
	return repeated;
}

/* 0 to PROBE_WORDS. */
static unsigned
probe(struct encoder *encoder, const uint8_t *raw, size_t raw_len)
{
	size_t stride = (raw_len - PROBE_PIECE) / (PROBE_PIECES - 1), i;
	unsigned score = 0;

	memset(encoder->seen, 0, sizeof(encoder->seen));
	for (i = 0; i < PROBE_PIECES; i++)
		__builtin_prefetch(raw + i * stride);
	for (i = 0; i < PROBE_PIECES; i++)
		score += probe_piece(encoder->seen, raw + i * stride);
	return score;
}

static bool
worth_trying(struct encoder *encoder, const uint8_t *raw, size_t raw_len)
{
	unsigned score, usual = encoder->usual_score;

	if (encoder->codec->id == CODEC_NONE)
		return false;
	if (raw_len < PROBE_RAW_MIN || encoder->stored_in_row == 0)
		return true;
	score = probe(encoder, raw, raw_len);
	encoder->usual_score = (7 * usual + score) / 8;
	return score > usual + PROBE_MARGIN || encoder->stored_in_row % RETRY_INTERVAL == 0;
}

static void
learn(struct encoder *encoder, const uint8_t *raw, size_t raw_len, bool shrank)
{
	if (raw_len < PROBE_RAW_MIN)
		return;
	if (shrank)
		encoder->stored_in_row = 0;
	else if (encoder->stored_in_row++ == 0)
		encoder->usual_score = probe(encoder, raw, raw_len);
}

ssize_t
encoder_block(struct encoder *encoder, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size, bool *stored)
{
	ssize_t n = -1;

	if (encoder->store) {
		*stored = true;
		return encoder->codec->store(raw, raw_len, out, out_size);
	}
	if (worth_trying(encoder, raw, raw_len))
		n = encoder->codec->encode(encoder->state, raw, raw_len, out, raw_len - raw_len / SHRINK_PART);
	learn(encoder, raw, raw_len, n != -1);
	*stored = n == -1;
	return n != -1 ? n : encoder->codec->store(raw, raw_len, out, out_size);
}
