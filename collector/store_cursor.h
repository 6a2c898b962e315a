/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_CURSOR_H
#define VMTAP_COLLECTOR_STORE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"
#include "proto/pcapng.h"

struct sqlite3;

/*
 * What the store holds of one VM, as the catalog says it is durable, a block at a time: file after file, of each what the sparse
 * index says may lie within the window. Files that are being written, rotated or expired meanwhile are read as far as the catalog
 * knew them when it was asked. Holds one file open, and of it what one reading gave (some 512 KiB) and a pcapng block.
 */
struct store_cursor;

struct store_cursor_settings {
	struct sqlite3	*db;			/* outlives the cursor */
	const char	*store, *uuid;		/* so do these */
	uint64_t	 from_ns, to_ns;	/* files and stretches outside are passed over; single packets are the caller's */
	bool		 follow;		/* an end may be gone beyond: files that are written stay open */
	void		(*warning)(const char *, void *arg);
	void		*arg;
};

struct store_item {
	const uint8_t	*stream;		/* MSG_ID_SIZE; this and all else until the next call */
	uint32_t	 type;			/* PCAPNG_EPB or PCAPNG_ISB */
	struct pcapng_packet packet;		/* of an EPB */
	const uint8_t	*block;
	size_t		 len;
};

struct store_cursor *store_cursor_new(const struct store_cursor_settings *);	/* NULL: ENOMEM */
void		 store_cursor_free(struct store_cursor *);
/* 1: *item; 0: that was all, but with follow the catalog is asked again by the next call, for new files and longer ones; -1: error,
 * the same from then on. */
int		 store_cursor_next(struct store_cursor *, struct store_item *);
const char	*store_cursor_error(const struct store_cursor *);

#endif
