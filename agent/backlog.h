/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_BACKLOG_H
#define VMTAP_AGENT_BACKLOG_H

#include "agent/last_stats.h"
#include "agent/spool.h"

struct disk;

/*
 * What waits to be sent and acknowledged: the older part on disk, the newer in memory, read as one queue. Without a disk it is the
 * spool and nothing else. What moves to the disk is always the oldest of memory, what is in flight too, so that no number of a stream
 * is in both for longer than it takes to move it. The functions mean what the spool's of the same name do.
 */
struct backlog {
	struct spool	*spool;
	struct disk	*disk;		/* NULL: none */
	bool		 from_disk;	/* the item last given */
	bool		 spilling;
	uint64_t	 retry_ns;	/* after an error: not before */
	struct last_stats last;		/* memory's ENDs have them as data, and the disk's from there */
};

/* disk may be NULL; both stay the caller's. What the disk has already is no longer memory's. */
void	backlog_init(struct backlog *, struct spool *, struct disk *);
size_t	backlog_streams(struct backlog *, struct spool_stream out[MSG_STREAMS_MAX]);	/* the oldest: for HELLO */
void	backlog_clear(struct backlog *);
/* Of a stream that has ended, or ends before anything else of it comes. */
void	backlog_keep_last(struct backlog *, const struct msg_stats *);
/* The session whose HELLO told of these streams is the one that reads from now on. */
void	backlog_set_listed(struct backlog *, const uint8_t (*id)[MSG_ID_SIZE], size_t count);
int	backlog_interface_get(struct backlog *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out);
void	backlog_next(struct backlog *, struct spool_item *);
void	backlog_release(struct backlog *);
/* -1 EINVAL: beyond what was ever handed out. */
int	backlog_acknowledge(struct backlog *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
void	backlog_rewind(struct backlog *);
bool	backlog_empty(const struct backlog *);
/* What the disk has of streams that memory does not know: of runs before. Forgotten, and nobody is told. Returns bytes. */
uint64_t backlog_discard_old(struct backlog *);
bool	backlog_urgent(const struct backlog *);		/* memory or disk is half full */
/* The next one is of a stream that there was no place for in HELLO, and all before it is acknowledged: time for a new session. */
bool	backlog_hello_due(const struct backlog *);

/* Moves from memory to disk while memory is half full and until a quarter is; a bounded step. True: call again soon. */
bool	backlog_spill(struct backlog *, uint64_t now_ns);
/* Moves all, as long as before(arg) says so; false: something is left in memory. */
bool	backlog_flush(struct backlog *, bool (*before)(void *arg), void *arg);

#endif
