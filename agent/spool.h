/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_SPOOL_H
#define VMTAP_AGENT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/counter.h"
#include "proto/msg.h"

/*
 * The spool: blocks between their sealing and their acknowledgement, in one sealed memfd that the supervisor makes and both
 * roles map. It outlives either role. The capture role is its only producer, the link role its only consumer; each side copies
 * what the other wrote and checks it before use, so a broken role can spoil its own blocks and nothing else.
 *
 * Entries stand in order of position (from 0, never reused): blocks of one stream after another. Payloads lie in a ring of
 * bytes, descriptions in a longer ring of entries. When bytes run out, the oldest unacknowledged payload goes first, its
 * description stays and becomes (part of) a GAP; when entries run out too, the oldest descriptions are summed up per stream.
 */
#define SPOOL_SIZE_MIN	(2u * 1024 * 1024)

enum spool_side { SPOOL_PRODUCER, SPOOL_CONSUMER, SPOOL_OBSERVER };	/* observer: changes nothing but counters of its own */
struct spool;

/* A sealed memfd of about size bytes of payload. -1 with errno. Untouched pages take no memory. */
int		 spool_create(const char *name, size_t size);
/* NULL with errno; EBADMSG: not a spool, or of another version. Owns the mapping, not the descriptor. Continues where the last one
 * of this side ended: a producer behind what was published, a consumer rewound, with nothing held. */
struct spool	*spool_attach(int fd, enum spool_side);
void		 spool_detach(struct spool *);

struct spool_entry {		/* what msg_block tells, without the data */
	uint64_t	number;
	uint8_t		codec;
	uint8_t		flags;			/* BLOCK_EVENT */
	uint32_t	raw_len, data_len;
	uint32_t	packets;
	uint64_t	bytes;
	uint64_t	first_ns, last_ns;
};

/* --- producer --- */
/* The counters of interfaces start anew, as their ids do. An older stream that has not ended was cut off by its producer's death, and
 * ends here as such. EAGAIN while MSG_STREAMS_MAX streams still have something unacknowledged. */
bool		 spool_stream_fits(struct spool *);	/* one more would not be EAGAIN */
int		 spool_stream_begin(struct spool *, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns);
/* The next interface id of the current stream, or -1 ENOSPC: begin a new stream. idb_len <= MSG_IDB_MAX. */
int		 spool_interface_add(struct spool *, const uint8_t *idb, size_t idb_len);
/* Contiguous room for the next block's data, pushing out the oldest if need be; NULL EBUSY: the consumer holds the oldest just now
 * (try again in a moment, or spool_lose()); NULL EMSGSIZE: more than the spool is large. */
uint8_t		*spool_reserve(struct spool *, size_t max_len);
/* data_len <= reserved; gives the block its number; wakes the consumer. */
void		 spool_publish(struct spool *, struct spool_entry *);
/* Takes a number, has no data: a GAP from the start. */
void		 spool_lose(struct spool *, struct spool_entry *, enum msg_gap_place);
/* The stream that is current will get no more blocks (END follows the last one). */
void		 spool_stream_end(struct spool *);

/* --- consumer --- */
struct spool_stream {
	uint8_t		id[MSG_ID_SIZE];
	uint64_t	started_ns;
	uint64_t	first, last;		/* numbers held, gaps included; first = last + 1: none */
	bool		ended;
};
/* Streams that hold something or may still get something, oldest first; returns how many. */
size_t		 spool_streams(struct spool *, struct spool_stream out[MSG_STREAMS_MAX]);
/* Copy of interface id's description; bytes, or -1 ENOENT. out of MSG_IDB_MAX. */
int		 spool_interface_get(struct spool *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out);

enum spool_kind { SPOOL_NOTHING, SPOOL_BLOCK, SPOOL_LOST, SPOOL_ENDED };
struct spool_item {
	enum spool_kind	kind;
	uint8_t		stream[MSG_ID_SIZE];
	struct spool_entry entry;		/* SPOOL_BLOCK; SPOOL_ENDED: number is the last, and data_len */
	bool		cut;			/* SPOOL_ENDED: its producer died */
	struct msg_gap	gap;			/* SPOOL_LOST: neighbours are joined, but where one was handed out before */
	const uint8_t	*data;			/* SPOOL_BLOCK: valid until spool_release(). SPOOL_ENDED, from the backlog: the
						 * last counters as a STATS frame, NULL if they are not known */
};
/* The item at the reading position, which moves on; a SPOOL_BLOCK is held (not pushed out) until spool_release(). Hold only while
 * writing without blocking; for longer, copy the rest and release. SPOOL_NOTHING comes also while 4096 items wait for their
 * acknowledgement, which then wakes. */
void		 spool_next(struct spool *, struct spool_item *);
void		 spool_release(struct spool *);
/* All of the stream up to number is durable. -1 EINVAL: beyond what was ever handed out. */
int		 spool_acknowledge(struct spool *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
/* Back to the oldest unacknowledged item: a new session. Best before what WELCOME acknowledges: no END is then taken for sent. */
void		 spool_rewind(struct spool *);
/* Moving on to the disk, whatever the reading position, which stays where it is or goes up to where what is left begins.
 * The oldest unacknowledged item, held until spool_release(); a stretch of lost ones ends where an item ended that was handed out. */
void		 spool_peek(struct spool *, struct spool_item *, uint64_t *started_ns);
bool		 spool_peek_read(const struct spool *);	/* what was peeked at was handed out since spool_rewind() */
bool		 spool_peek_handed(const struct spool *);	/* or ever */
void		 spool_drop(struct spool *);		/* what was peeked at is safe elsewhere: it counts as acknowledged */
/* As spool_acknowledge(), also beyond what was ever handed out: the disk has it. Nothing for a stream that is not here. */
void		 spool_confirm(struct spool *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
/* A receiver has the stream up to number, wherever that was sent from; what is known of that, 0: nothing. Outlives the role. */
void		 spool_set_durable(struct spool *, const uint8_t stream[MSG_ID_SIZE], uint64_t number);
uint64_t	 spool_durable(const struct spool *, const uint8_t stream[MSG_ID_SIZE]);
bool		 spool_has_stream(const struct spool *, const uint8_t stream[MSG_ID_SIZE]);
void		 spool_reset(struct spool *);	/* throws all away and gives the memory back (after a pull) */

/* --- both --- */
/* None unless set: an eventfd that the producer writes at publish, and that the consumer waits on. */
void		 spool_set_wake_fd(struct spool *, int fd);
size_t		 spool_used(const struct spool *);	/* bytes of payload not acknowledged */
size_t		 spool_size(const struct spool *);
bool		 spool_empty(const struct spool *);	/* all acknowledged, gaps too */

/* Counters (proto/counter.h) in the same memory, so that they outlive a role. Each has one writer, by its row's place: the
 * producer ("kernel", "capture"; "spool", where the spool itself counts what it loses), the consumer ("link", "interface", "disk"), the
 * observer ("agent"). COUNTER_SPOOL_BYTES is written by nobody: it is spool_used(). Only where a stream begins, the producer
 * zeroes all of interfaces. interface: the stream's interface id, or STATS_AGENT. */
void		 spool_count_set(struct spool *, enum counter, uint32_t interface, uint64_t value);
void		 spool_count_add(struct spool *, enum counter, uint32_t interface, uint64_t value);
uint64_t	 spool_count_get(const struct spool *, enum counter, uint32_t interface);

#endif
