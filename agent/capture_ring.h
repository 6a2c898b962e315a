/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_RING_H
#define VMTAP_AGENT_CAPTURE_RING_H

#include <sys/queue.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/capture_block.h"
#include "agent/capture_filter.h"
#include "agent/capture_ledger.h"
#include "agent/capture_share.h"
#include "agent/ipc.h"
#include "proto/pcapng.h"

struct capture_sample;
struct capture_tap;
struct event;
struct last_counts;
struct pcap;

#define CAPTURE_RING_TIMEOUT_MAX_MS	1000	/* a part-full block of the ring is seen after this at most, and so is the end */

struct capture_ring_settings {
	uint64_t	buffer_kib;
	uint64_t	flush_ms;	/* like promiscuous, for as long as it is open */
	bool		promiscuous;
	enum ledger_level ledger;
	bool		 sampled;	/* below LEDGER_KERNEL what sampling leaves out is counted all the same */
	struct capture_held *held;	/* the ring's memory is counted there while it is open; NULL: nowhere */
};

/* What the kernel has left of a packet, and what is made of that. */
struct capture_cut {
	uint32_t	snaplen;
	bool		mask;		/* what it left out is put in as zeroes */
};

/*
 * One interface: a libpcap handle with its TPACKET_V3 ring, drained into the tap's block.
 *
 * What was captured under which filter is told by counting: the kernel says how many packets it has put into the ring, we know how
 * many we took. A new program is attached while the kernel's count is B (the boundary): the packets up to B may be of the program
 * before, all later ones are of the new one. The ring is settled once B packets were taken.
 */
struct capture_ring {
	TAILQ_ENTRY(capture_ring) entry;
	struct pcap	*pcap;
	int		 fd;
	int		 linktype;
	uint32_t	 ifindex;
	char		 name[IF_NAMESIZE];
	bool		 loopback;
	bool		 has_mac;
	uint8_t		 mac[6];
	uint64_t	 delivered;		/* packets taken out of the ring */
	uint64_t	 received, dropped;	/* by the kernel's count, since the handle was opened */
	uint64_t	 due_received, due_dropped;	/* of these, not yet a row's */
	uint64_t	 memory;		/* of the ring, */
	struct capture_held *held;		/* counted there */
	unsigned	 timeout_ms;		/* of its blocks */
	bool		 counting;		/* a ledger is wanted: its sockets are opened with the first programs */
	bool		 counting_sampled;	/* or, of it only the one that counts what sampling leaves out */
	bool		 uncounted;		/* but they failed, which was said */
	struct capture_ledger ledger;		/* likewise, of what does not come into the ring */
	struct capture_ledger_interface interface;
	uint64_t	 boundary;		/* of delivered */
	bool		 unsettled;		/* delivered has not reached the boundary */
	bool		 filtered;		/* false: what comes was captured before the first filter and is discarded */
	bool		 armed;			/* a filter has been attached: what the kernel counts now counts */
	bool		 closing;		/* passes nothing more; to be closed once settled */
	bool		 gone;			/* the interface went down or away, for this reason */
	char		 reason[MSG_TEXT_SIZE];
	struct capture_programs programs;	/* attached, where there is a socket */
	struct capture_cut cut, next_cut;	/* of what comes now, and behind the boundary */
	struct pcapng_interface description, next_description;	/* likewise */
	bool		 has_next;
	struct last_counts *last;		/* the tap's; NULL: none */
	struct capture_row *row;		/* of description; NULL: the stream has none for it yet */
	bool		 paused;		/* told in the row's counters */
	bool		 governed;		/* by the governor */
	struct capture_block *block;
	struct capture_sample *sample;		/* the tap's */
	struct event	*readable, *offered;	/* the tap's; freed with the ring */
	struct capture_tap *tap;
	unsigned	 time_scale;		/* of the handle's timestamps, in ns */
	bool		 ring_v3;
	size_t		 address_offset;	/* a packet's sockaddr_ll stood this far before its data the last time */
	uint64_t	 address_key;
};
TAILQ_HEAD(capture_rings, capture_ring);

/* An open handle under a program that passes nothing, not yet in any list. NULL with a line in error; *gone: the interface is down
 * or not there, which a later try may find otherwise. */
struct capture_ring *capture_ring_open(const struct capture_ring_settings *, const struct ipc_tap_interface *, bool *gone,
	    char error[MSG_TEXT_SIZE]);
void	capture_ring_free(struct capture_ring *);
/* Opens and closes one to see what pcap_datalink(3PCAP) says; -1 with a line in error. */
int	capture_ring_linktype(const struct ipc_tap_interface *, char error[MSG_TEXT_SIZE]);
/* What comes from now on is of another description, under the same programs. */
void	capture_ring_set_boundary(struct capture_ring *);
/* Takes at most limit packets, none beyond the boundary. Returns how many; -1 EAGAIN: the block has to be sealed before more is
 * taken. gone and reason are set if the interface is; what is still in the ring can be drained then. */
int	capture_ring_drain(struct capture_ring *, int limit);
void	capture_ring_settle(struct capture_ring *);	/* at the boundary: what comes now is of the program attached last */
void	capture_ring_give_up(struct capture_ring *);	/* what is missing to the boundary will not come: counted as dropped */
/* Brings the kernel's counts up to date. They become the row's; between a boundary and its settling they wait for the row to come,
 * so that each row's counts are of what is delivered under it. With them, and only then, the interface's own count is read: what
 * lies between the two, if the process is killed, is the width of the bound. */
void	capture_ring_poll(struct capture_ring *);
uint8_t	capture_ring_paused(const struct capture_ring *);	/* as the row tells it */
void	capture_ring_set_row(struct capture_ring *, struct capture_row *);
/* The row's stream ends: what it was credited with and is still in the ring is the next row's. What is offered while the counts are
 * read is the one's, and in a place the other's: switched, for both. */
void	capture_ring_leave_row(struct capture_ring *);

/* --- capture_attach.c --- */
/* Exchanges the programs with those attached before, in the caller's too, so that the same call goes back. That cannot be at one
 * moment: what was offered meanwhile is counted as switched. On -1 nothing changed. Where only the ledger's sockets fail, which is
 * said, capture goes on without them: the row is uncounted. The next call tries again. */
int	capture_ring_attach(struct capture_ring *, struct capture_programs *, char error[MSG_TEXT_SIZE]);
/* Nothing passes any more; once settled the ring may be freed. */
void	capture_ring_close_begin(struct capture_ring *);

#endif
