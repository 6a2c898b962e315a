/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STREAM_H
#define VMTAP_COLLECTOR_STREAM_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/msg.h"

#include "collector/archive.h"
#include "collector/catalog.h"
#include "collector/loss.h"

struct stream_interface {
	uint8_t	*idb;
	size_t	 len;
};

struct stream_stat {
	uint16_t	counter;
	uint32_t	interface;
	uint64_t	value;
	uint64_t	since_ns, changed_ns;	/* guest's time, see the catalog's table stat; 0: not known */
	bool		dirty;
};

/*
 * One stream of one VM, put together again: numbers checked, repeats discarded, gaps recorded, blocks checked and written to
 * the stream's current file. 0 <= durable <= received.
 */
struct stream {
	TAILQ_ENTRY(stream)	 entry;
	struct vm		*vm;
	uint8_t			 id[MSG_ID_SIZE];
	uint64_t		 started_ns;
	uint64_t		 received;	/* last block or gap taken */
	uint64_t		 durable;	/* last one committed */
	bool			 known;		/* in the catalog, or of a session before: WELCOME tells */
	bool			 told;		/* by the VM's session, which alone may hear of it */
	bool			 ended;		/* END received: nothing comes after received */
	enum stream_cut		 cut;
	bool			 resumed;	/* it was taken for over and is not; the next batch says so */
	uint8_t			 instance[MSG_ID_SIZE];	/* the agent process that spoke of it last; 0: not known */
	uint64_t		 packets, bytes;	/* of all blocks taken */
	uint64_t		 packets_block;	/* the last of them that has packets */
	uint64_t		 first_ns, last_ns;	/* smallest and largest time of their packets; 0: none */
	uint64_t		 stats_ns;	/* guest's time of the last STATS; 0: none */
	bool			 end_durable;
	bool			 dirty;
	bool			 ack_wanted;	/* a repeat of what is durable came: the agent missed an ACK */
	struct msg_gap		 gap;		/* the last one recorded, as the agent told it */
	struct {				/* the row that it went to */
		uint64_t	last;
		enum loss_place	place;
		enum loss_bound	bound;
	} lost;
	uint32_t		 interface_count;
	struct stream_interface	 interface[MSG_INTERFACES_MAX];
	struct store_file	*file;		/* NULL: none open */
	bool			 had_file;
	bool			 pushed_out;	/* its file was closed for another stream's: the next one is paid for */
	struct loss_sum		 missing[LOSS_PLACES];	/* since packets_block: the next packets stored say so */
	char			*preface;	/* heap: what its first file begins with, that the stream before it was cut off; or NULL */
	struct stream_stat	*stat;		/* the latest of each counter */
	size_t			 stat_count, stat_size;
};

/* In memory, or NULL. */
struct stream	*stream_find(const struct vm *, const uint8_t id[MSG_ID_SIZE]);
/* In memory, from the catalog, or new (known = false); started_ns, 0 or beyond tomorrow: now. NULL with fault: another VM's, too many, no memory. */
struct stream	*stream_get(struct archive *, struct vm *, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns, struct fault *);
void	stream_free(struct stream *);

/* The VM's session names the stream: it is now its process's. */
void	stream_told(struct archive *, struct stream *);
/* HELLO says the agent holds first to last: those before that this store lacks were acknowledged elsewhere. A stream taken for
 * over (another instance's HELLO did not name it) goes on if there is more of it. */
int	stream_begin_at(struct archive *, struct stream *, uint64_t first, uint64_t last, struct fault *);
/* All: 0, or -1 with fault, and then nothing of the message has had any effect. */
int	stream_add_interface(struct archive *, struct stream *, const struct msg_interface *, struct fault *);
int	stream_add_block(struct archive *, struct stream *, const struct msg_block *, struct fault *);
int	stream_add_gap(struct archive *, struct stream *, const struct msg_gap *, struct fault *);
/* The same, told by the collector itself of a place and with a bound that no agent tells. */
int	stream_add_loss(struct archive *, struct stream *, enum loss_place, enum loss_bound, const struct msg_gap *, struct fault *);
int	stream_end(struct archive *, struct stream *, const struct msg_stream_end *, struct fault *);
int	stream_set_stats(struct archive *, struct stream *, const struct msg_stats *, struct fault *);
/* The agent holds only these now: of all others of the VM, in memory or in the catalog, nothing will come any more. */
int	stream_abandon_others(struct archive *, struct vm *, const struct msg_hello *, struct fault *);
/* One more loss, event or measured clock of the VM in the catalog, or line of it in the log. False: there are too many for now. */
bool	stream_pay_report(struct vm *);
/* The catalog gets to know in which networks the policy has the interfaces of the VM's streams that go on. */
void	stream_networks_changed(struct archive *, const struct vm *);
void	stream_close_file(struct archive *, struct stream *);
/* Records how many packets the cut off streams of the VM have lost, of those for which the catalog tells by now. */
void	stream_settle_cuts(struct archive *, struct vm *);
/* Puts what changed into the archive's batch. */
void	stream_put_rows(struct archive *, struct stream *);

#endif
