/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_BREAKER_H
#define VMTAP_AGENT_LINK_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The breaker: what the agent sends must not come back as captured packets. The kernel filter sees to that by mark, address and
 * port; a tunnel in user space (a VPN process in the guest) carries our bytes past all three. So where an interface's captured
 * bytes are as many as are sent, sending is held for one to three seconds, and looked whether the capture falls silent with it and
 * comes back with it. That, BREAKER_TRIALS times in a row at random distances, is a loop: the interface is paused for five minutes,
 * if it is found again for ten, up to four hours. One miss, and it is innocent for a minute, then two, up to a quarter of an hour,
 * or until it has grown fourfold. (Fewer trials are not enough: ordinary traffic in bursts of seconds falls into step by chance.)
 *
 * A trial: hold; wait until TCP has delivered what it had (drain); let pass what capture still has in ring and open block, twice
 * the flush interval (settle); then count for a while of random length (quiet), in parts a bit longer than that, since counters
 * move only when a block seals; release and count again (recover); then a random space, in which a loop is not silent either.
 * What keeps coming while nothing is sent ends the trial at once, before the spool overflows.
 *
 * Pure: time and counts are parameters. Only bytes count, and only growing ones.
 */
#define BREAKER_TRIALS		4
#define BREAKER_RATE_MIN	(256u * 1024)	/* bytes a second sent below which nothing is suspected */
#define BREAKER_WATCHES_MAX	128
#define BREAKER_NEVER		UINT64_MAX

struct breaker;

struct breaker_sample {			/* one interface of one tap */
	uint8_t		tap;
	uint32_t	ifindex;
	uint64_t	bytes;		/* original bytes captured so far; may start again from 0 */
};

struct breaker_input {
	uint64_t	now_ns;		/* monotonic */
	uint64_t	sent;		/* bytes sent so far, of all sessions */
	uint64_t	unsent;		/* of these still in the kernel: not acknowledged by TCP */
	const struct breaker_sample *sample;
	size_t		count;
};

enum breaker_verdict { BREAKER_LOOP, BREAKER_INNOCENT, BREAKER_UNCLEAR, BREAKER_AGAIN };	/* AGAIN: the pause is over */
typedef void	breaker_verdict_fn(enum breaker_verdict, const struct breaker_sample *, uint64_t pause_ns, void *arg);

struct breaker_options {
	uint64_t	flush_ns;	/* after which a block seals */
	uint64_t	tail_max;	/* bytes that capture may still hold once nothing more comes */
	uint64_t	seed;
	breaker_verdict_fn *verdict;
	void		*arg;
};

struct breaker	*breaker_new(const struct breaker_options *);
void		 breaker_free(struct breaker *);
void		 breaker_set_flush(struct breaker *, uint64_t flush_ns);	/* the configuration changed */
/* Call about every second while bytes are sent, and at breaker_due_ns(). */
void		 breaker_tick(struct breaker *, const struct breaker_input *);
uint64_t	 breaker_due_ns(const struct breaker *);
bool		 breaker_tries(const struct breaker *);		/* a trial is under way: each interface must be told of */
bool		 breaker_holds(const struct breaker *);		/* no blocks may be sent now */
bool		 breaker_paused(const struct breaker *, uint8_t tap, uint32_t ifindex);

#endif
