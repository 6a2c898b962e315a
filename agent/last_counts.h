/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LAST_COUNTS_H
#define VMTAP_AGENT_LAST_COUNTS_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

/*
 * How far the kernel had counted each interface, in and out, as it was last captured: what it has counted more when it is captured
 * again passed while no agent ran. In memory that supervisor and capture role share, and between two agents in a file, which is of
 * one boot. Zeroed: none.
 */
struct last_counts {
	struct last_row {
		uint32_t	ifindex;	/* 0: place is free */
		char		name[IF_NAMESIZE];
		uint8_t		mac[6];		/* zeroes: none */
		uint8_t		before;		/* by the agent before this one */
		uint64_t	packets;
	} row[MSG_INTERFACES_MAX];
};

#define LAST_BOOT_ID_SIZE	37
#define LAST_TEXT_SIZE		(MSG_INTERFACES_MAX * 96 + 64)

/* What the interface's count is now. 1: for the first time since the agent before, and *missed packets were counted meanwhile; -1:
 * likewise, but the count began anew, so that nobody knows; else 0. */
int	last_counts_see(struct last_counts *, const struct last_row *now, uint64_t *missed);
/* It is captured no more, though the agent runs. */
void	last_counts_forget(struct last_counts *, uint32_t ifindex);

/* A line of the boot, one of each interface. The length; 0: there is none. */
size_t	last_counts_format(const struct last_counts *, const char *boot_id, char text[LAST_TEXT_SIZE]);
/* All that is found are before. Of another boot, or not as it was written: none from there on. */
void	last_counts_parse(const char *text, const char *boot_id, struct last_counts *);

#endif
