/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_HINTS_H
#define VMTAP_AGENT_LINK_HINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/msg.h"

struct deadline;
struct ipc_tap;
struct link;
struct session;

/*
 * The collector's hints (PROTOCOL, HINTS): peers whose packets tap 0 leaves out, for their agents deliver them. The list goes to the
 * capture role with all else that the tap shall be, one at a time; what changes meanwhile goes with the next one.
 */
struct hints {
	uint64_t	generation;	/* of the list; 0: it is empty */
	uint64_t	until_ns;	/* of its lease; clock_boot_ns() */
	struct deadline	*deadline;
	bool		fits;		/* it is of this session, which may change it */
	bool		due;		/* a result, once it is in force */
	bool		balanced;
	uint16_t	count;
	struct bpf_peer	peer[MSG_PEERS_MAX];	/* the most important ones first */
	uint64_t	told;		/* generation of the list that capture was told last */
	bool		told_due;	/* with its answer a result is */
	bool		refused;	/* that was its answer */
	uint64_t	in_force;	/* generation of what capture has accepted */
	uint16_t	in_force_count;
};

enum hints_verdict {
	HINTS_MISFIT,		/* base is not what there is: nothing was changed */
	HINTS_RENEWED,		/* it is as it was */
	HINTS_CHANGED
};
/* Changes the list, and nothing else. */
enum hints_verdict hints_change(struct hints *, const struct msg_hints *);

void	hints_init(struct link *);
void	hints_clear(struct link *);
void	hints_session(struct link *);		/* another one has begun: it may replace the list, not change it */
void	hints_take(struct link *, const struct msg_hints *);
/* For link_policy.c. What tap 0 shall be; it was told that, capture has answered (to it alone: nothing else was asked for with it),
 * and there is nothing to tell. */
void	hints_build(const struct link *, struct ipc_tap *);
void	hints_told(struct link *);
void	hints_answered(struct link *, bool accepted, bool alone);
void	hints_nothing_new(struct link *);

#endif
