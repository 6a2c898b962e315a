/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_SPOOL_INTERNAL_H
#define VMTAP_AGENT_SPOOL_INTERNAL_H

#include <stdatomic.h>

#include "agent/spool.h"

/*
 * The shared memory: a page of geometry, the producer's page, the consumer's pages, counters, streams, index, their interface
 * descriptions, bytes. All words are atomic; each has one writer, which keeps its own copy of what it depends on.
 *
 * Position p of the index is entry p % index_count; it is there while tail - index_count < p < tail, so writing a new entry
 * pushes the oldest description out without another word. A stream covers the positions first..end: number n is position first
 * + n - 1, END is position end. Each entry carries the sums over all entries up to itself: what lies between any two of them
 * is a difference, and a GAP is exact even when the descriptions inside it are gone.
 *
 * A payload is there while position >= gone and the entry is there. To push one out, the producer first moves gone, then looks
 * whether the consumer holds it; to take one, the consumer first sets hold, then looks at gone. Both are sequentially
 * consistent, so at least one of them sees the other.
 */
#define SPOOL_MAGIC		0x6c6f6f7073706174ull
#define SPOOL_VERSION		3
#define SPOOL_PAGE		4096u
#define SPOOL_IDB_SPACE		(32u * 1024)		/* of one stream */
#define SPOOL_INDEX_MIN		1024u
#define SPOOL_INDEX_MAX		65536u
#define SPOOL_MARKS		4096u			/* items handed out and not acknowledged */
#define SPOOL_POSITION_MAX	(UINT64_C(1) << 62)
#define SPOOL_NONE		UINT64_MAX
#define SPOOL_HOLD_ALL		(UINT64_MAX - 1)	/* hold: no byte is to be written */
#define SPOOL_RUNS_MAX		16
#define SPOOL_ALIGN		64u

#define SPOOL_PLACE_BLOCK	0u			/* else enum msg_gap_place, or: */
#define SPOOL_PLACE_END		255u

typedef _Atomic uint64_t spool_word;

struct spool_header {
	uint64_t	magic, version, data_size, index_count, total_size;
};

/* Sums over all entries below a position, since the spool was made. */
struct spool_sum {
	uint64_t	packets, bytes, stored;		/* stored: bytes of payload */
};
struct spool_sum_words {
	spool_word	packets, bytes, stored;
};

struct spool_entry_words {
	spool_word	position, data;
	spool_word	lengths;			/* raw_len << 32 | data_len */
	spool_word	kind;				/* packets << 32 | flags << 16 | codec << 8 | place */
	spool_word	bytes, first_ns, last_ns;
	struct spool_sum_words sum;			/* this entry included */
};

/* One entry, copied and checked. */
struct spool_record {
	uint64_t	position, data;
	uint32_t	raw_len, data_len, packets;
	uint8_t		codec, flags, place;
	uint64_t	bytes, first_ns, last_ns;
	struct spool_sum sum;
};

struct spool_stream_words {
	spool_word	sequence;			/* of the stream, from 1; 0 while it is being written */
	spool_word	id[2], started_ns, first;
	struct spool_sum_words first_sum;
	spool_word	end;				/* position of END, SPOOL_NONE before; counts once it is below tail */
	spool_word	end_ns;
	spool_word	cut;				/* 1: ended by the next stream's begin */
	struct spool_sum_words end_sum;
	spool_word	interface_count;
	spool_word	interface[MSG_INTERFACES_MAX];	/* offset << 32 | length in the stream's idb space */
};

struct spool_stream_record {
	uint64_t	sequence;
	uint64_t	id[2], started_ns, first, end;	/* end: SPOOL_NONE, or published */
	uint64_t	end_ns;				/* of the last packet before it */
	bool		cut;
	struct spool_sum first_sum, end_sum;
	uint64_t	interface_count;
};

struct spool_producer_words {
	_Alignas(SPOOL_PAGE) spool_word tail;
	spool_word	streams;			/* begun so far */
	_Alignas(SPOOL_ALIGN) spool_word gone;
	spool_word	reserved;			/* spool_extent() of the payload being written */
};

/* Where an item that was handed out ended. */
struct spool_mark {
	uint64_t	position, last_ns;
	struct spool_sum sum;
};
struct spool_mark_words {
	spool_word	position, last_ns;
	struct spool_sum_words sum;
};

struct spool_consumer_words {
	_Alignas(SPOOL_PAGE) spool_word ack;
	_Alignas(SPOOL_ALIGN) spool_word hold;
	spool_word	hold_data;			/* spool_extent() of what is held */
	_Alignas(SPOOL_ALIGN) spool_word handed;	/* the furthest that read ever was */
	spool_word	void_streams;			/* streams up to this sequence were thrown away */
	spool_word	mark_first, mark_next;
	struct spool_mark_words ack_mark[2];		/* the one whose position is ack */
	struct {
		spool_word sequence;
		struct spool_mark_words mark;
	} acked[MSG_STREAMS_MAX];
	struct {
		spool_word sequence, number;
	} durable[MSG_STREAMS_MAX];			/* what a receiver acknowledged, of what has moved to the disk too */
	struct spool_mark_words mark[SPOOL_MARKS];
};

/* A stretch of adjoining payloads, oldest first. */
struct spool_run {
	size_t		start, end;
	uint64_t	until;				/* position behind its last one */
};

struct spool_producer {
	uint64_t	tail, streams;
	uint64_t	acked;				/* as far as seen */
	uint64_t	gone;
	uint64_t	last_ns;			/* of the packets so far */
	uint64_t	oldest;				/* whose bytes may not be written over */
	struct spool_sum sum;
	struct spool_run run[SPOOL_RUNS_MAX];
	size_t		run_count;
	struct spool_run guard;				/* held since before attaching, as long as position until is */
	size_t		reserved_at, reserved_len;
};

struct spool_consumer {
	uint64_t	read, handed, void_streams;
	struct spool_mark read_mark, ack_mark;		/* ack_mark.position: acknowledged below */
	unsigned	ack_slot;
	uint64_t	mark_first, mark_next;
	/* By stream, since collectors need not acknowledge in order: how far, with the sums as long as they can be told. */
	struct {
		uint64_t sequence;
		struct spool_mark mark;
	} acked[MSG_STREAMS_MAX];
	bool		stalled;			/* by SPOOL_MARKS items in flight */
	bool		peeking;
	uint64_t	stop;				/* where an item ends at the latest, or SPOOL_NONE */
	struct spool_mark peeked;			/* behind what was peeked at */
};

struct spool {
	enum spool_side	 side;
	int		 wake_fd;
	size_t		 data_size, index_count, total_size;
	uint8_t		*map;
	struct spool_producer_words *producer;
	struct spool_consumer_words *consumer;
	spool_word	*counters;			/* rows of COUNTER_MAX; the last one is the agent's */
	struct spool_stream_words *streams;
	struct spool_entry_words *index;
	uint8_t		*idb, *data;
	struct spool_producer p;
	struct spool_consumer c;
};

/* A stretch of bytes in one word. */
#define spool_extent(at, length)	((uint64_t)(at) / SPOOL_ALIGN << 32 | ((uint64_t)(length) + SPOOL_ALIGN - 1) / SPOOL_ALIGN)
#define spool_load(word)		atomic_load_explicit(&(word), memory_order_acquire)
#define spool_store(word, value)	atomic_store_explicit(&(word), (value), memory_order_release)

struct spool_sum spool_sum_load(const struct spool_sum_words *);
void		 spool_sum_store(struct spool_sum_words *, const struct spool_sum *);
uint64_t	 spool_tail(const struct spool *);
/* False: pushed out, or not there yet. What cannot be is turned into a loss of unknown size. */
bool		 spool_record_read(const struct spool *, uint64_t position, struct spool_record *);
/* Stream number sequence (from 1), if its slot still has it. */
bool		 spool_stream_read(const struct spool *, uint64_t sequence, struct spool_stream_record *);
/* The stretch of bytes that a word tells, cut to what there is. */
void		 spool_extent_get(const struct spool *, uint64_t word, size_t *start, size_t *end);
void		 spool_wake(const struct spool *);
int		 spool_producer_attach(struct spool *);
int		 spool_consumer_attach(struct spool *);

#endif
