/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_DISK_INTERNAL_H
#define VMTAP_AGENT_DISK_INTERNAL_H

#include "common/buf.h"
#include "agent/disk.h"
#include "agent/disk_format.h"

/*
 * Segments in use have the sequences first..next-1, each in the file of number sequence % DISK_SEGMENTS; one that is missing or
 * spoiled is empty. Positions grow for ever. Of what was pushed out, pushed[] keeps each item that may have been handed out by
 * itself, since a collector can turn out to have any number of them; the others are joined.
 * Not exact: a hole where a GAP's record was damaged counts what the GAP told, which was counted where it was lost, as lost on disk
 * too; and what is damaged behind the highest number counted for damage, after it was read, is told but not counted.
 */
#define DISK_STREAMS_MAX	1024u
#define DISK_PUSHED_MAX		512u

struct disk_position {
	uint64_t	sequence, offset;
};

struct disk_segment {
	int		fd;
	uint64_t	end;		/* bytes; 0: nothing in it */
};

struct disk_stream {
	uint8_t		id[MSG_ID_SIZE];
	uint64_t	started_ns, first, last;	/* first = last + 1: only its END */
	uint64_t	acked;
	uint64_t	read;		/* handed out in this session, or acknowledged */
	uint64_t	handed;		/* ever handed out */
	uint64_t	damaged;	/* what cannot be read up to it is counted */
	struct disk_sum	sum, acked_sum, read_sum, damaged_sum;	/* up to last, acked, read, damaged */
	bool		ended, cut, end_read, end_done;
	bool		listed;		/* in the session's HELLO */
};

/* Interfaces of one stream, as far as read. */
struct disk_interfaces {
	uint8_t		stream[MSG_ID_SIZE];
	uint32_t	count;
	size_t		at[MSG_INTERFACES_MAX], len[MSG_INTERFACES_MAX];
	struct buf	idb;
};

struct disk {
	struct disk_segment segment[DISK_SEGMENTS];
	uint64_t	size, segment_size, min_free;
	uint64_t	first, next;
	uint64_t	cut;		/* segments before it are empty; from it to first they are to be */
	struct spool	*counters;

	struct disk_stream *stream;	/* oldest first */
	size_t		stream_count;

	struct disk_record *pushed;
	size_t		pushed_count, pushed_read;

	struct disk_position ack;	/* of the first record that is not done, or of the last one before a hole that is not */
	struct disk_position read;	/* of the next record to look at */
	struct disk_position skip;	/* records before it are looked at for interfaces only */
	struct disk_position handed;	/* records behind it were never handed out */
	bool		unsaved;	/* pushed has something that the newest segment does not begin with */
	bool		unlisted;
	bool		spoiled;	/* the newest segment has a place that cannot be read: begin another */
	struct disk_interfaces interfaces;
	uint8_t		*data;

	uint8_t		write_stream[MSG_ID_SIZE];	/* whose interfaces the newest segment has */
	uint32_t	write_interfaces;
};

static inline struct disk_segment *
disk_segment_of(struct disk *d, uint64_t sequence)
{
	return &d->segment[sequence % DISK_SEGMENTS];
}

static inline bool
disk_numbered(const struct disk_record *r)
{
	return (r->kind == DISK_BLOCK || r->kind == DISK_GAP) && (r->flags & DISK_PUSHED) == 0;
}

static inline bool
disk_before(const struct disk_position *a, const struct disk_position *b)
{
	return a->sequence < b->sequence || (a->sequence == b->sequence && a->offset < b->offset);
}

/* --- disk.c --- */
struct disk_position disk_end(const struct disk *);
/* -1: nothing that can be used stands there. */
int	disk_record_read(struct disk *, const struct disk_position *, struct disk_record *);
/* The record at the position, which first moves to the next segment where one ends or cannot be read; false: at the end. */
bool	disk_record_at(struct disk *, struct disk_position *, struct disk_record *);
void	disk_step(struct disk_position *, const struct disk_record *);
struct disk_stream *disk_stream_find(const struct disk *, const uint8_t id[MSG_ID_SIZE]);
/* The stream of a record is there now; -1 ENOSPC: too many. */
int	disk_stream_note(struct disk *, const struct disk_record *);
bool	disk_record_done(const struct disk *, const struct disk_record *);
uint64_t disk_number_before(const struct disk_record *);	/* the number that should stand before it */
struct disk_sum disk_sum_before(const struct disk_record *);
struct disk_sum disk_sum_between(const struct disk_sum *from, const struct disk_sum *to);
/* The numbers behind from up to last, that no record tells: they stood in a place that cannot be read. */
struct disk_record disk_hole(const struct disk_stream *, uint64_t from, const struct disk_sum *from_sum, uint64_t last,
	    const struct disk_sum *last_sum, uint64_t last_ns);
void	disk_count_lost(struct disk *, const struct disk_record *);
/* What cannot be read, as an error too: each number once, however often it is read, and not again when it is pushed out. */
void	disk_count_damaged(struct disk *, struct disk_stream *, const struct disk_record *);
/* END has no number of its own: it is done once it was handed out and nothing before it is left. */
bool	disk_end_done(struct disk_stream *);
bool	disk_stream_done(const struct disk_stream *);
/* The records that are done are; segments without any other are cut to nothing. */
void	disk_advance(struct disk *);
void	disk_cut(struct disk *);	/* segments before first are given back */
void	disk_failed(struct disk *, const char *what);	/* counts and logs errno */
struct disk_position disk_reading(const struct disk *);	/* first record that was not handed out in this session */

/* --- disk_read.c --- */
/* Into d->data; false: it cannot be read, or is not what was written. */
bool	disk_data_read(struct disk *, const struct disk_position *, const struct disk_record *);

/* --- disk_load.c --- */
void	disk_load(struct disk *);

/* --- disk_push.c --- */
/* The oldest segment goes; what is unacknowledged in it, and what is missing before what comes behind it, is joined to pushed.
 * disk_cut() gives its room back, best after pushed was saved. */
void	disk_push_out(struct disk *);
int	disk_push_save(struct disk *);	/* in disk_append.c: begins a segment, if pushed is unsaved; -1 with errno */
void	disk_push_add(struct disk *, const struct disk_record *, bool joined, bool read);
/* The next that was pushed out, and its stream; NULL: none is left. disk_push_step() moves on behind it. */
struct disk_stream *disk_push_next(struct disk *, struct disk_record *);
void	disk_push_step(struct disk *);
void	disk_push_advance(struct disk *);
void	disk_item_of(const struct disk_record *, struct spool_item *);	/* a GAP's or END's */
void	disk_gap_behind(struct disk_record *gap, uint64_t number, const struct disk_sum *);	/* the part of it that is */

#endif
