/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"

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

/*
 * And at which level? Packets that are encrypted but small shrink by a third, thanks to their headers alone, and a quick level
 * finds those just as well in half the time. So while blocks do not come down to 1/HARD_PART, every COMPARE_INTERVAL-th is encoded
 * at the codec's quick level too, and if that is longer by no more than 1/LONGER_PART, those up to the next comparison are
 * encoded so.
 */
#define HARD_PART	2
#define LONGER_PART	16
#define COMPARE_INTERVAL	64

struct encoder {
	const struct codec	*codec;
	void			*state;
	int			 level;
	bool			 quick;		/* the state is at the codec's quick level instead */
	bool			 hard;		/* the last block tried did not shrink by much */
	unsigned		 until_compare;
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
	encoder->level = level;
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
	encoder->level = level;
	encoder->quick = encoder->hard = false;
	encoder->until_compare = encoder->stored_in_row = 0;
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

static void
use_quick(struct encoder *encoder, bool quick)
{
	int level = quick ? encoder->codec->level_quick : encoder->level;

	if (encoder->quick != quick && encoder->codec->state_set_level(encoder->state, level) == 0)
		encoder->quick = quick;
}

static ssize_t
compress(struct encoder *encoder, const uint8_t *raw, size_t raw_len, uint8_t *out)
{
	return encoder->codec->encode(encoder->state, raw, raw_len, out, raw_len - raw_len / SHRINK_PART);
}

/* Both ways; what stays in out is that of the level that was asked for. */
static ssize_t
compare(struct encoder *encoder, const uint8_t *raw, size_t raw_len, uint8_t *out)
{
	ssize_t quick, n;

	use_quick(encoder, true);
	quick = compress(encoder, raw, raw_len, out);
	use_quick(encoder, false);
	n = compress(encoder, raw, raw_len, out);
	use_quick(encoder, n != -1 && quick != -1 && quick <= n + n / LONGER_PART);
	return n;
}

static ssize_t
try_block(struct encoder *encoder, const uint8_t *raw, size_t raw_len, uint8_t *out)
{
	bool due = encoder->hard && encoder->until_compare == 0;
	ssize_t n;

	if (raw_len < PROBE_RAW_MIN || encoder->level <= encoder->codec->level_quick)
		return compress(encoder, raw, raw_len, out);
	if (due)
		encoder->until_compare = COMPARE_INTERVAL;
	else if (encoder->until_compare > 0)
		encoder->until_compare--;
	n = due ? compare(encoder, raw, raw_len, out) : compress(encoder, raw, raw_len, out);
	if (n == -1 && encoder->quick) {
		use_quick(encoder, false);
		n = compress(encoder, raw, raw_len, out);
	}
	encoder->hard = n > (ssize_t)(raw_len / HARD_PART);
	if (!encoder->hard)
		use_quick(encoder, false);
	return n;
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
		n = try_block(encoder, raw, raw_len, out);
	learn(encoder, raw, raw_len, n != -1);
	*stored = n == -1;
	return n != -1 ? n : encoder->codec->store(raw, raw_len, out, out_size);
}
