/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_LEDGER_H
#define VMTAP_COLLECTOR_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

struct sqlite3;

/*
 * The ledger of a VM (PROTOCOL, "The ledger"): where each packet went that its kernel showed to the agent. Computed from the
 * catalog alone, for each stream and in sum.
 *
 *	offered = filtered + own + withheld + sampled_out + paused + ring_dropped + oversize + stored + gaps + under_way + unaccounted
 *
 * or, where the agent counts no more than that, ring_received in place of offered and without the five terms behind it.
 */
enum ledger_id {
	LEDGER_OFFERED, LEDGER_FILTERED, LEDGER_OWN, LEDGER_WITHHELD, LEDGER_SAMPLED_OUT, LEDGER_PAUSED, LEDGER_RING_RECEIVED,
	LEDGER_RING_DROPPED, LEDGER_OVERSIZE,
	LEDGER_STORED,		/* in files, or removed by retention */
	LEDGER_EXPIRED,		/* of these, removed by retention */
	LEDGER_GAP_SPOOL, LEDGER_GAP_CAPTURE, LEDGER_GAP_PULL, LEDGER_GAP_DISK, LEDGER_GAP_LINK, LEDGER_GAP_ELSEWHERE,
	LEDGER_GAP_STORE,
	LEDGER_CUT,		/* beyond all counters, so outside the equation: no more than this */
	LEDGER_POSSIBLE,	/* withheld, and perhaps not delivered by the peer either: outside of it, too, for "withheld" has them */
	LEDGER_UNDER_WAY,	/* captured, but not yet stored or in a gap; below 0 where what is stored is ahead of the counters */
	LEDGER_SWITCHED,	/* not a term: by so many the others may differ */
	LEDGER_TERMS
};
#define LEDGER_GAP(place)	((enum ledger_id)(LEDGER_GAP_SPOOL + (place)))	/* of enum loss_place, those before LOSS_CUT */

enum ledger_level {		/* the counter "ledger"; below kernel the second equation is what there is */
	LEDGER_OFF, LEDGER_RING, LEDGER_KERNEL
};

struct ledger_term {
	bool		known;		/* it was told */
	bool		up_to;		/* packets are an upper bound */
	bool		more;		/* and so many more that nobody counted */
	int64_t		packets;
	uint64_t	from_ns, to_ns;	/* 0: not known */
};

struct ledger_part {		/* of a stream, or of all */
	enum ledger_level	level;
	struct ledger_term	term[LEDGER_TERMS];
	bool			balanced;	/* the counters that the equation begins with were told */
	int64_t			unaccounted;
	bool			exact;		/* no term is a bound, and nothing was made to fit */
};

struct ledger_stream {
	uint8_t			id[MSG_ID_SIZE];
	uint64_t		started_ns, stats_ns;
	bool			ended;
	int			cut;		/* enum stream_cut */
	struct ledger_part	part;
};

struct ledger {
	struct ledger_part	 sum;		/* level: the lowest of the streams' */
	struct ledger_stream	*stream;	/* in the order in which they became known */
	size_t			 count;
};

/* 0, or -1 with what SQLite says in the database, or ENOMEM; a VM that is not there has an empty ledger. */
int		 ledger_read(struct sqlite3 *, const char *vm_uuid, struct ledger *);
void		 ledger_clear(struct ledger *);
/* What agents tell may be anything up to INT64_MAX: sums stop there, and at -INT64_MAX. */
int64_t		 ledger_add(int64_t, int64_t);
const char	*ledger_name(enum ledger_id);		/* "ring_dropped"; the key in JSON */
const char	*ledger_words(enum ledger_id);		/* for people */
const char	*ledger_level_name(enum ledger_level);	/* "kernel" */

#endif
