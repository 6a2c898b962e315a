/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_CODEC_H
#define VMTAP_PROTO_CODEC_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/*
 * Codecs (PROTOCOL, "Codecs"): a row each. A *unit* is what encode() or store() makes of some raw bytes; a file is
 * file_begin(), units, file_end(), and stock tools read it at any moment. Units are independent of each other.
 */
enum codec_id { CODEC_NONE = 0, CODEC_LZ4 = 1, CODEC_ZLIB = 2, CODEC_ZSTD = 3 };

struct codec {
	enum codec_id	 id;
	const char	*name;		/* "lz4" */
	const char	*suffix;	/* of files: ".lz4", "" */
	int		 level_min, level_max, level_initial;
	int		 level_quick;	/* for blocks that hardly shrink, and where CPU is scarce, in place of those above it */
	size_t		(*bound)(size_t raw_len);	/* bytes that encode() or store() need at most */
	void		*(*state_new)(int level);	/* of encode(); NULL: ENOMEM */
	void		(*state_free)(void *);
	int		(*state_set_level)(void *, int level);		/* of encode() from now on; -1: ENOMEM, nothing changed */
	/* Bytes written; -1: did not fit out_size (which may be below the bound: a cheap way to ask "does it shrink"). */
	ssize_t		(*encode)(void *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size);
	ssize_t		(*store)(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size);
	/* One unit, all of it, to exactly raw_len bytes; never writes more. 0 / -1: malformed, or another length. */
	int		(*decode)(const uint8_t *in, size_t in_len, uint8_t *raw, size_t raw_len);
	size_t		(*file_begin)(uint8_t *out, size_t out_size);	/* bytes written; at most CODEC_FILE_EDGE_MAX */
	size_t		(*file_end)(uint8_t *out, size_t out_size);
	/* Reading files: see codec_reader below. */
	void		*(*reader_new)(bool at_file_begin);
	void		(*reader_free)(void *);
	int		(*reader_decode)(void *, const uint8_t **in, size_t *in_left, struct buf *out);
};
#define CODEC_FILE_EDGE_MAX	32

const struct codec *codec_by_id(unsigned);		/* NULL: unknown or not built in */
const struct codec *codec_by_name(const char *);
uint32_t	 codec_mask(void);			/* 1 << id of all that are built in */
/* "lz4", "zstd:3" -> row and level; -1 with a line for people in error. */
int		 codec_parse(const char *, const struct codec **, int *level, char *error, size_t error_size);

/* Encodes blocks one after another, and learns how hard to try with each, if at all (the rules stand in codec_encoder.c). */
struct encoder;
struct encoder	*encoder_new(const struct codec *, int level);
void		 encoder_free(struct encoder *);
/* Of the blocks that follow, cheaper than a new encoder; level within the codec's bounds. -1: ENOMEM, nothing changed. */
int		 encoder_set_level(struct encoder *, int level);
/* true: all blocks go in uncompressed, inside the codec's format and untried, until it is set back; what was learned is kept. */
void		 encoder_set_store(struct encoder *, bool);
/* out_size >= codec->bound(raw_len). *stored: true if it went in uncompressed. Bytes written, -1 never happens within the bound. */
ssize_t		 encoder_block(struct encoder *, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size, bool *stored);

/*
 * Reads a file from its begin, or from the begin of any unit, as a stream.
 * reader_decode(): appends to out what it can, at most CODEC_READ_MAX bytes a call; 1: something was appended, call again;
 * 0: wants more input, all of in was taken; -1: malformed (EBADMSG), out is full (ENOBUFS; drain it and call again) or ENOMEM.
 * A torn tail is simply 0 at the end of the input with reader's whole output delivered.
 */
#define CODEC_READ_MAX	(256u * 1024)

/* For the rows, which stand in codec_NAME.c. */
extern const struct codec codec_none, codec_lz4, codec_zlib, codec_zstd;
/* Room for a reader's next bytes, at most CODEC_READ_MAX: how many, at out->data + out->len; 0: full or ENOMEM, errno tells. */
size_t		 codec_reader_room(struct buf *out);

#endif
