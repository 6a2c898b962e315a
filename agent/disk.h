/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_DISK_H
#define VMTAP_AGENT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spool.h"

struct agent_options;
struct disk;

/*
 * The disk spool: a queue of what the memory spool had no room for, in a fixed number of files that the supervisor opens and the
 * link role reads, writes and cuts. Items go in at the end, are read in order, and are dropped once acknowledged; a segment whose
 * items are all acknowledged is cut to nothing. Full, or too little room on the file system: the oldest segment's unacknowledged
 * blocks go and leave a counted GAP of place GAP_DISK. Nothing is forced to the disk (fsync): what a crash of the guest's
 * kernel cuts off is cut off.
 */
#define DISK_SEGMENTS	16
#define DISK_SIZE_MIN	(16u * 1024 * 1024)

/* The supervisor's: opens lock and segments in options->spool_dir; fd of DISK_SEGMENTS. The lock's descriptor, or -1 with one
 * line in error. */
#define DISK_ERROR_SIZE	512
int	 disk_files_open(const char *dir, int fd[DISK_SEGMENTS], char error[DISK_ERROR_SIZE]);

/* Over open segment files, which stay the caller's; reads what is there. counters: where losses and errors are counted. NULL with
 * errno. */
struct disk	*disk_new(const int fd[DISK_SEGMENTS], uint64_t size, uint64_t min_free, struct spool *counters);
void	 disk_free(struct disk *);

/* An item that the memory spool handed out, with the interfaces that it is the first to need; -1 with errno: nothing of it counts as
 * written (ENOSPC: no room without going below min_free). */
int	 disk_append(struct disk *, struct spool *from, const struct spool_item *, uint64_t started_ns);
/* A GAP that was lost between memory and disk, counted here: it is told even if it cannot be written. */
void	 disk_lose(struct disk *, struct spool *from, const struct spool_item *, uint64_t started_ns);
/* What was appended last was handed out in an earlier session, before it came here. */
void	 disk_handed(struct disk *, const uint8_t stream[MSG_ID_SIZE]);
/* All that is there counts as handed out in this one: it was, before it came here. */
void	 disk_skip(struct disk *);

/* Streams that have something unacknowledged here, oldest first, at most max. */
size_t	 disk_streams(struct disk *, struct spool_stream *out, size_t max);
/* The session that reads from now on has told its receiver of these. */
void	 disk_set_listed(struct disk *, const uint8_t (*id)[MSG_ID_SIZE], size_t count);
/* Of a stream that is or was here: what is unacknowledged of it. */
bool	 disk_stream(const struct disk *, const uint8_t id[MSG_ID_SIZE], struct spool_stream *out);
/* As spool_interface_get(), of the stream being read. */
int	 disk_interface_get(struct disk *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out);
/* As spool_next(); data until the next call, also of disk_append(). Stops before a stream that is not listed: disk_unlisted() is
 * then true once all before it is acknowledged. known(): the receiver hears of the stream otherwise. */
void	 disk_next(struct disk *, struct spool_item *, bool (*known)(void *arg, const uint8_t *stream), void *arg);
bool	 disk_unlisted(const struct disk *);
/* The stream, if it is here, was handed out up to number, in this session or another. */
bool	 disk_was_handed(const struct disk *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
/* All of the stream up to number, if it is here. -1 EINVAL: what is here was not all handed out up to there. */
int	 disk_acknowledge(struct disk *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
void	 disk_discard(struct disk *, const uint8_t stream[MSG_ID_SIZE]);	/* all of it, and nobody is told */
void	 disk_rewind(struct disk *);
bool	 disk_unread(const struct disk *);	/* something is there that disk_next() has not given */
bool	 disk_empty(const struct disk *);
uint64_t disk_used(const struct disk *);	/* bytes not acknowledged */
uint64_t disk_size(const struct disk *);

#endif
