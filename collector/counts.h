/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_COUNTS_H
#define VMTAP_COLLECTOR_COUNTS_H

#include <stdint.h>

#include "proto/msg.h"

/* What the collector itself counts since its start; any thread adds. */
enum count {
	COUNT_CONNECTIONS,		/* accepted or dialled */
	COUNT_CONNECTIONS_DROPPED,	/* too many without a handshake or a place, or no memory */
	COUNT_HANDSHAKES_FAILED,
	COUNT_SESSIONS_REFUSED,		/* no descriptors for one more VM */
	COUNT_OPERATORS_REFUSED,	/* whose certificate gives no right to control */
	COUNT_SESSIONS,			/* that got a WELCOME */
	COUNT_BLOCKS,
	COUNT_BLOCK_BYTES,		/* as stored */
	COUNT_PACKETS,
	COUNT_BLOCKS_REPEATED,		/* received before, discarded */
	COUNT_GAPS,
	COUNT_GAP_PACKETS,
	COUNT_LOSSES_JOINED,		/* with others in the catalog: too many of one VM */
	COUNT_EVENTS_LEFT_OUT,		/* blocks whose comments are in files alone: the same */
	COUNT_STATS_IGNORED,		/* counters of an interface told as of the agent, or the other way round */
	COUNT_FILES,
	COUNT_FILES_REMOVED,		/* by retention */
	COUNT_COMMITS,
	COUNT_COMMITS_FAILED,		/* tries, each repeated until it works */
	COUNT_POLICIES_REFUSED,
	COUNT_HINTS_GIVEN,		/* a peer's address to be withheld by a VM */
	COUNT_HINTS_WITHDRAWN,
	COUNT_HINTS_MISMATCHES,		/* packets that came and were not sent */
	COUNT_HINTS_BARRED,		/* pairs, for too many of these */
	COUNT_HINTS_CONFLICTS,		/* addresses that several VMs claim */
	COUNT_HINTS_SENT,		/* HINTS, renewals included */
	COUNT_HINTS_SENT_WHOLE,		/* of these, whole lists */
	COUNT_ENROLLED,			/* keys that got a certificate by a token */
	COUNT_ENROLLED_AGAIN,		/* and asked for it again */
	COUNT_ENROL_STRANGERS,		/* tokens that the catalog does not know, or that were not looked up: too many */
	COUNT_ENROL_REFUSED,		/* tokens used up, expired, revoked; requests that are none */
	COUNT_ENROL_FAILED,		/* not signed, not stored, or too much was waiting */
	COUNT_RENEWED,
	COUNT_RENEWALS_REFUSED,		/* for whatever reason */
	COUNT_ERRORS,			/* + enum msg_error: sessions ended with that ERROR */
	COUNT_MAX = COUNT_ERRORS + MSG_ERR_TOKEN + 1
};

void		 count_add(enum count, uint64_t);
uint64_t	 count_get(enum count);
const char	*count_name(enum count);	/* "blocks_repeated"; NULL: no such count */
const char	*count_help(enum count);	/* a sentence; COUNT_ERRORS: of all errors */
void		 count_log(void);		/* all that are not 0, a few to a line */

/* How long commits took: a histogram. */
#define COUNT_COMMIT_BOUNDS	10
extern const double count_commit_bounds[COUNT_COMMIT_BOUNDS];	/* seconds */
void		 count_commit(uint64_t ns);
/* In each bucket, and above the last bound; their sum in nanoseconds. */
void		 count_commits(uint64_t counts[COUNT_COMMIT_BOUNDS + 1], uint64_t *sum_ns);

#endif
