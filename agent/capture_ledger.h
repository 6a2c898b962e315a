/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_LEDGER_H
#define VMTAP_AGENT_CAPTURE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/capture_filter.h"

enum ledger_level { LEDGER_OFF, LEDGER_RING, LEDGER_KERNEL };	/* COUNTER_LEDGER; --ledger's values backwards */
#define LEDGER_PLACES	PROGRAM_TAP	/* a socket for each program but the tap's */

/* Counted and not yet a row's: row->... of the same names. */
struct ledger_counts {
	uint64_t	offered, own, filtered, withheld, sampled_out, paused, switched;
};

/*
 * What the kernel shows of one interface, counted by packet sockets that nobody reads: their smallest buffer is full at once, and then
 * the kernel counts and drops, before it would clone. PACKET_STATISTICS counts both.
 *
 * Each packet comes to the sockets one after the other, to the one bound last first. So they are bound in the order OFFERED, OWN,
 * TAKEN, WITHHELD, SAMPLED and read in that order: what OFFERED has counted when it is read, the others have counted when they are,
 * and what was refused (offered less taken) is never told too high while packets come by, and exact once none does.
 */
struct capture_ledger {
	int		fd[LEDGER_PLACES];	/* -1: not open */
	int64_t		refused;		/* not counted yet; below 0: of packets that OFFERED has yet to tell */
	struct ledger_counts due;
};

void	capture_ledger_init(struct capture_ledger *);
/* A socket that counts nothing yet; its program into *attached. -1 with a line in error. */
int	capture_ledger_open(struct capture_ledger *, enum capture_program_use place, uint32_t ifindex, const char *name,
	    struct capture_program *attached, char error[MSG_TEXT_SIZE]);
void	capture_ledger_close(struct capture_ledger *);
void	capture_ledger_close_place(struct capture_ledger *, enum capture_program_use);	/* nothing comes there from here on */
bool	capture_ledger_counts(const struct capture_ledger *);	/* is anything open? */
/* Brings due up to date; paused: what was refused since the last time was by the breaker. */
void	capture_ledger_poll(struct capture_ledger *, bool paused);
/* What was offered since that, while programs were being exchanged. */
void	capture_ledger_poll_switched(struct capture_ledger *);
/* Empties OFFERED's buffer, so that the next packet makes it readable. */
void	capture_ledger_drain(const struct capture_ledger *);

/* The interface's own count, whatever its name is later. */
struct capture_ledger_interface {
	int	in_fd, out_fd;		/* -1: not known, or of another interface by that name */
};
void	capture_ledger_interface_open(struct capture_ledger_interface *, const char *name, uint32_t ifindex);
void	capture_ledger_interface_close(struct capture_ledger_interface *);
/* rx and tx packets; -1: not known. */
int	capture_ledger_interface_read(const struct capture_ledger_interface *, uint64_t *packets);

#endif
