/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_GOVERNOR_H
#define VMTAP_AGENT_GOVERNOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The governor: what the agent costs its guest, held against what it may cost. Two regulators, one for CPU and one for bytes on the
 * link, go down a ladder of steps and up again; what is in force is the narrower of both.
 *
 * Down at once, by as much as the excess asks for. Up once what would be spent there fits, which is known beforehand: what a packet
 * costs on a rung is remembered from when it was stood on, and the kernel counts what is left out. It must have fitted for HOLD_MIN;
 * each relapse within RELAPSE doubles that, up to HOLD_MAX, so that a load that comes and goes makes no swing of the governor. What is
 * remembered may be wrong by now, and what a paused interface would bring is not known: so a step up is tried, too, after some holds.
 *
 * Pure: time and counts are parameters.
 */
enum governor_step {
	GOVERNOR_CODEC,		/* the codec's cheapest level */
	GOVERNOR_STORE,		/* blocks go uncompressed, inside the codec's format */
	GOVERNOR_SLICE,		/* headers only */
	GOVERNOR_SAMPLE,	/* fewer flows, whole ones */
	GOVERNOR_PAUSE,		/* interfaces, the last of the tap first */
	GOVERNOR_STEPS
};
#define GOVERNOR_KEEP_ALL	64
#define GOVERNOR_HOLD_MIN_MS	2000u
#define GOVERNOR_HOLD_MAX_MS	60000u
#define GOVERNOR_RELAPSE_MS	60000u
#define GOVERNOR_LOOK_MS	500u	/* a look is worth nothing before; while it has something to do, it wants one so often */
#define GOVERNOR_TEXT_SIZE	256

/* "codec,store,slice,sample,pause", some of them, or "none", as a mask of 1 << step; -1 with a line for people. */
int	governor_parse_ladder(const char *, unsigned *ladder, char *error, size_t error_size);

struct governor_limits {
	unsigned	ladder;
	uint64_t	cpu_percent;	/* of one core, all roles; 0: no limit */
};

/* Totals since whenever; they only grow, or start again. */
struct governor_sample {
	uint64_t	now_ns;			/* monotonic */
	uint64_t	cpu_us;			/* of the roles */
	uint64_t	packets, left_out;	/* captured; and of those that were not, what orders of ours left out */
	bool		left_out_known;
	bool		disturbed;		/* capture stood still for reasons of its own: ring drops say nothing */
	uint64_t	encoded, sent;		/* bytes of blocks; on the link */
	uint64_t	ring_received, ring_dropped;
	unsigned	spool_percent;		/* full */
	unsigned	interfaces;		/* that could be paused */
	uint64_t	stalled_us, stolen_us;	/* time in which somebody waited for a CPU; a host's other guests had one. 0: unknown */
};

struct governor_orders {
	bool	cheaper, store, slice;
	uint8_t	keep;			/* of GOVERNOR_KEEP_ALL parts of the flows */
	uint8_t	paused;			/* interfaces */
};
#define GOVERNOR_NO_ORDERS	{ .keep = GOVERNOR_KEEP_ALL }
bool	governor_orders_equal(const struct governor_orders *, const struct governor_orders *);
unsigned governor_orders_level(const struct governor_orders *);	/* how many steps are in force */

/* What one of the two goes by. Costs are by packet: nanoseconds, or bytes. */
#define GOVERNOR_RUNGS	(GOVERNOR_SLICE + 2)
struct governor_regulator {
	unsigned	rung[GOVERNOR_RUNGS];	/* the steps before sampling that it has in force there, as a mask; the first: none */
	unsigned	rung_count;
	bool		samples, pauses;
	double		spent[GOVERNOR_RUNGS], packets[GOVERNOR_RUNGS];	/* there, lately; 0: never stood on */
	unsigned	at, keep, paused;
	uint64_t	calm_since_ns;		/* not over, and it might go up; 0: it is not so */
	uint64_t	fits_since_ns;		/* something above fits; 0: nothing does */
	uint64_t	hold_ns;
	uint64_t	up_ns;			/* when it last went up; 0: never */
	bool		relapsed;		/* and had to go down again */
};

struct governor {
	struct governor_limits limits;
	struct governor_regulator cpu, link;
	struct governor_sample last;
	bool		begun;
	double		cpu_share, link_rate;	/* over the last looks since something changed */
	unsigned	looks;
	double		stalled, stolen;	/* of the time, lately */
	double		ceiling;		/* of the CPU that there is for us, as ring drops told it; 0: none known */
	uint64_t	ceiling_ns;
	double		capacity;		/* of the link, likewise, in bytes a second */
	unsigned	dropping;		/* looks in a row */
	struct governor_orders orders, in_force;
	char		text[GOVERNOR_TEXT_SIZE];
};

void	governor_init(struct governor *, const struct governor_limits *);
/* Other limits; what the ladder does not have any more ends with the next look. */
void	governor_set_limits(struct governor *, const struct governor_limits *);
/* true: orders have changed, and text says what and why. A sample that comes too soon is passed over. */
bool	governor_look(struct governor *, const struct governor_sample *);
/* The orders are in force: what is spent from here on is of them. */
void	governor_applied(struct governor *, const struct governor_sample *);
/* They cannot be, those before stay: what the kernel's filter takes part in is not ordered any more. */
void	governor_refused(struct governor *);
bool	governor_idle(const struct governor *);		/* nothing is ordered: it need not look while nothing comes */

#endif
