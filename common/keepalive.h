/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_KEEPALIVE_H
#define VMTAP_COMMON_KEEPALIVE_H

#include <stdint.h>

/*
 * Is the peer alive (PROTOCOL, "PING and PONG")? Silent for a part of the keepalive time it is asked; for the whole of it without a
 * byte it is dead. Who was stopped itself, and so comes late, has not listened: the peer is asked first and has a third more.
 * Times are monotonic nanoseconds; nothing here looks at a clock.
 */
enum keepalive_verdict {
	KEEPALIVE_ALIVE,
	KEEPALIVE_ASK,		/* send a PING */
	KEEPALIVE_DEAD
};

struct keepalive {
	uint64_t	time_ns;	/* the whole */
	uint64_t	ask_ns;		/* silence before a question, at most two thirds of the whole */
	uint64_t	heard_ns;	/* the last byte */
	uint64_t	due_ns;		/* when keepalive_check() has something to say */
	uint64_t	dead_ns;	/* asked: dead if nothing is heard until then; 0: not asked */
};

void	keepalive_start(struct keepalive *, uint64_t time_ns, uint64_t ask_ns, uint64_t now_ns);
void	keepalive_heard(struct keepalive *, uint64_t now_ns);
enum keepalive_verdict keepalive_check(struct keepalive *, uint64_t now_ns);
uint64_t keepalive_wait_ns(const struct keepalive *, uint64_t now_ns);		/* until the next check is due */

#endif
