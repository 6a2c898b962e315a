/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_HINT_LAB_H
#define VMTAP_TESTS_HINT_LAB_H

#include "collector/hint.h"

/* The engine of hints, VMs by number, and a clock that stands still. Calls without an engine's result are not checked. */
#define LAB_VMS		2048
#define LAB_LEASE_NS	UINT64_C(5000000000)
#define LAB_SECOND	UINT64_C(1000000000)

struct hint_lab {
	struct hints	*hints;
	struct hint_time now;
	struct hint_vm	*vm[LAB_VMS];
	uint64_t	 digest;		/* of the last packet */
	struct msg_hints msg;		/* the last one taken */
	uint64_t	 bytes;			/* of all taken, as they would be sent */
};
extern struct hint_lab lab;

void	lab_begin(unsigned groups);
void	lab_end(void);
void	lab_pass(uint64_t ns);			/* time, with a tick at its end */
struct bpf_peer lab_address(unsigned vm);	/* 10.0.x.y */
/* Connected, of tenant "acme", its policy withholds, with eth0 in network "" that has its address. */
void	lab_up(unsigned vm);
/* The same, but it leaves nothing out itself: it has an interface in another network. */
void	lab_up_sender(unsigned vm);
void	lab_up_as(unsigned vm, const char *tenant, const char *network, const char *filter, bool balanced);
/* One packet that leaves the first and comes to the second, from the first's address; each in a block of its own, now. */
void	lab_packet(unsigned from, unsigned to);
void	lab_packets(unsigned from, unsigned to, unsigned count);
/* The halves of it; the digest is of choice. */
void	lab_sent(unsigned from, unsigned to, uint64_t digest);
void	lab_came(unsigned to, struct bpf_peer from, uint64_t digest, bool audit);
/* A block without packets of interest at this time. */
void	lab_idle_block(unsigned vm);
/* The next message of anybody, answered as an agent does that did what it says; its VM's number, or -1. */
int	lab_take(void);
int	lab_take_unanswered(void);
/* All there is; does the list of vm that they make (from an empty one on) hold the peer's address? */
void	lab_take_all(void);
bool	lab_withholds(unsigned vm, unsigned peer);
size_t	lab_list_size(unsigned vm);
/* Records, of one kind since the last call; the last one of them is kept. */
unsigned lab_records(enum hint_record_kind);
extern struct hint_record lab_record;

#endif
