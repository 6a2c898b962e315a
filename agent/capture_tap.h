/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_TAP_H
#define VMTAP_AGENT_CAPTURE_TAP_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/capture_block.h"
#include "agent/capture_ring.h"
#include "agent/capture_sample.h"
#include "agent/capture_stream.h"
#include "agent/governor.h"
#include "agent/ipc.h"

struct agent_options;
struct codec;
struct deadline;
struct event;
struct event_base;
struct last_counts;
struct spool;

#define CAPTURE_TAP_BUDGET	4096	/* packets of one interface before others have their turn */
#define CAPTURE_TAP_QUEUE_MAX	8	/* changes that wait for the one under way */

/*
 * One tap: rings into one block into one spool. A change is the whole desired state; they are applied one at a time, each answered
 * once the rings hold nothing of the state before.
 */
struct capture_tap_callbacks {
	void	(*result)(const struct ipc_tap_result *, void *);
	void	(*gone)(const struct ipc_interface_gone *, void *);
	void	(*active)(void *);		/* packets came */
	void	(*ended)(void *);		/* after capture_tap_end(): all is published */
	void	(*last)(uint8_t tap, const struct msg_stats *, void *);	/* of a stream that has ended */
	/* After capture_tap_govern(); false: refused, those before stay. Also false for orders that make room for another change. */
	void	(*governed)(uint8_t tap, bool in_force, void *);
	void	(*look)(void *);		/* a block begins: has anything happened that is to be noted? NULL: no */
};

struct capture_tap_change {
	STAILQ_ENTRY(capture_tap_change) entry;
	bool		reload;			/* want again what is, nobody is told: the options changed, */
	bool		governed;		/* or the governor's orders, */
	bool		lease;			/* or the peers' lease has ended, or goes on after all */
	struct governor_orders orders;
	char		text[GOVERNOR_TEXT_SIZE];
	struct ipc_tap	want;
};

struct capture_tap {
	uint8_t		number;
	struct event_base *base;
	const struct capture_tap_callbacks *callbacks;
	void		*arg;
	const struct agent_options *options;
	struct capture_stream stream;
	struct capture_block block;
	const struct codec *codec;		/* of the blocks after the open one */
	int		 level;
	bool		 store;
	struct capture_sample sample;
	struct governor_orders orders;
	struct capture_rings rings;
	struct event	*flush, *settle, *resume;
	struct last_counts *last;		/* of the collector's tap, which the interfaces' own counts go to; NULL: nowhere */
	bool		 stopped;		/* no ring is drained: the spool has no room, or no place for one more stream */
	bool		 ending;
	struct ipc_tap	 want;			/* accepted last */
	struct deadline	*lease;			/* of peers, wanted or queued: */
	uint64_t	 peers_until_ns;	/* clock_boot_ns() */
	bool		 lapsed;		/* it has ended: in force is what is wanted, without peers */
	bool		 shut;			/* not in force: the guest's settings do not allow it any more */
	STAILQ_HEAD(, capture_tap_change) queue;	/* its first is under way if changing */
	unsigned	 queued;
	bool		 changing;
};

/* Those that are there: up to the last one that ever was to capture. */
struct capture_taps {
	size_t		count;
	struct capture_tap tap[IPC_TAPS_MAX];
};

/* -1 with errno, nothing is left to be cleared. */
int	capture_tap_init(struct capture_tap *, uint8_t number, struct event_base *, struct spool *, struct capture_totals *,
	    const struct capture_tap_callbacks *, void *arg);
void	capture_tap_clear(struct capture_tap *);
/* What the guest's configuration says from now on; they must outlive the tap or the next call. */
void	capture_tap_set_options(struct capture_tap *, const struct agent_options *);
void	capture_tap_change(struct capture_tap *, const struct ipc_tap *);
void	capture_tap_reload(struct capture_tap *);
/* As the orders have it, and text is noted in the stream where that begins; governed() is called then. */
void	capture_tap_govern(struct capture_tap *, const struct governor_orders *, const char *text);
/* The programs anew, for the peers' lease has ended or goes on. */
void	capture_tap_refresh(struct capture_tap *);
/* Its counters up to date, and what is in the open block published, unless the spool has no room just now. */
void	capture_tap_publish(struct capture_tap *);
/* Drains the rings, ends the stream, calls ended(). */
void	capture_tap_end(struct capture_tap *);
bool	capture_tap_over(const struct capture_tap *);
/* The same at once, whatever that loses. */
void	capture_tap_end_now(struct capture_tap *);

/* --- capture_count.c --- */
void	capture_tap_count(struct capture_tap *);	/* all counters to the spool */
/* The ring closes. What passes from now on is not of a time without an agent, unless it is the end. */
void	capture_tap_unwatch(const struct capture_tap *, const struct capture_ring *);
/* The same, and active() is called once a packet is offered: there is nothing to do until then. */
void	capture_tap_count_and_wait(struct capture_tap *);
void	capture_tap_note(struct capture_tap *, const char *text);	/* into its stream */
enum ledger_level capture_tap_ledger_wanted(const struct capture_tap *);
bool	capture_tap_counts_sampled(const struct capture_tap *);	/* at least: of an RPCAP client, whose statistics tell of it */
enum ledger_level capture_tap_ledger(const struct capture_tap *);	/* how much is counted of its stream */
bool	capture_tap_counts_again(const struct capture_tap *);	/* more than is told: time for another stream */
int	capture_tap_next_stream(struct capture_tap *);	/* as capture_stream_begin(); last() is called for the one that was open */
void	capture_tap_poll(void *);	/* the open block's callbacks, of a tap */
void	capture_tap_look(void *);
void	capture_tap_log(struct capture_tap *);

/* --- capture_lease.c --- */
void	capture_lease_set(struct capture_tap *, uint64_t until_ns);	/* of peers that are told now; clock_boot_ns() */
void	capture_lease_renew(struct capture_tap *, uint64_t until_ns);	/* of those told last; they are left out again if it had ended */
void	capture_lease_end(struct capture_tap *);	/* soon, from the loop */
void	capture_lease_again(struct capture_tap *);	/* its end could not be put in force: soon another try */
void	capture_lease_on_passed(void *);		/* the deadline's callback, of a tap */
bool	capture_lease_passed(const struct capture_tap *);

/* --- capture_change.c --- */
/* Opens, compiles, attaches; all of it or, -1 with a line in error, nothing. Programs only: what is
 * wanted is what is, but for orders and lease, and nothing is opened. A ring that is open stays as promiscuous as it is, and its
 * timeout what flush_ms was then. */
int	capture_change_apply(struct capture_tap *, const struct ipc_tap *, bool programs_only, char error[MSG_TEXT_SIZE]);
/* Would the filters of the open rings compile under these options, were there no policy? */
int	capture_change_check(struct capture_tap *, const struct agent_options *, char error[MSG_TEXT_SIZE]);

/* --- for capture_change.c --- */
void	capture_tap_add_ring(struct capture_tap *, struct capture_ring *);	/* takes it over, or frees it and logs why */
void	capture_tap_tell_gone(struct capture_tap *, uint32_t ifindex, const char *reason);

#endif
