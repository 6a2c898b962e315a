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
