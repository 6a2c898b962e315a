/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HINT_INTERNAL_H
#define VMTAP_COLLECTOR_HINT_INTERNAL_H

#include <sys/queue.h>

#include "collector/hint.h"

/*
 * hint.c: VMs, their interfaces, and who claims which address. hint_pair.c: pairs, and when one is fit. hint_proof.c: samples and what
 * they prove. hint_send.c: messages, their results, records.
 */
#define HINT_BUCKETS		16384u		/* of the hashes of addresses and pairs */
#define HINT_SEEN_BUCKETS	262144u		/* of the hash of digests */
#define HINT_SLOT_NS		UINT64_C(500000000)
#define HINT_SLOTS		16u		/* of a VM's covered time */
#define HINT_SLACK_NS		UINT64_C(1000000000)	/* clocks of two guests, and ways, may differ by so much */

/* Why a pair ends. */
enum hint_cause {
	CAUSE_LEFT, CAUSE_SILENT, CAUSE_POLICY, CAUSE_ADDRESS, CAUSE_FILTER, CAUSE_SHEDDING, CAUSE_PAUSED, CAUSE_BEHIND, CAUSE_LOSSY,
	CAUSE_CONFLICT, CAUSE_MISMATCH, CAUSE_UNEVEN, CAUSE_UNPROVEN, CAUSE_RECEIVER, CAUSE_ROOM
};

/* What is known against a VM as the one that others rely on. */
enum hint_trouble {
	TROUBLE_AWAY = 0x01, TROUBLE_POLICY = 0x02, TROUBLE_SHEDDING = 0x04, TROUBLE_PAUSED = 0x08, TROUBLE_BEHIND = 0x10,
	TROUBLE_URGENT = 0x20, TROUBLE_LOSSY = 0x40
};

struct hint_realm {		/* a network of a tenant; they are never forgotten */
	LIST_ENTRY(hint_realm)	entry;
	char			tenant[IDENTITY_NAME_SIZE], network[IDENTITY_NAME_SIZE];
};

struct hint_claim {
	LIST_ENTRY(hint_claim)	 by_address, by_interface;
	struct hint_interface	*interface;
	struct hint_address	*address;
};

struct hint_address {
	LIST_ENTRY(hint_address) entry;		/* of its hash */
	const struct hint_realm	*realm;
	struct bpf_peer		 peer;
	LIST_HEAD(, hint_claim)	 claims;
	bool			 conflict;	/* of several VMs */
};

struct hint_interface {
	TAILQ_ENTRY(hint_interface) entry;
	struct hint_vm		*vm;
	uint32_t		 id;
	char			 name[64];
	char			 filter[1024];
	bool			 whole;		/* no slicing */
	const struct hint_realm	*realm;
	size_t			 count;		/* of claims, at most MSG_ADDRESSES_MAX */
	LIST_HEAD(, hint_claim)	 claims;
	size_t			 local_count;
	struct bpf_peer		 local[MSG_ADDRESSES_MAX];	/* its other addresses, which others may have too */
};

enum hint_state {
	PAIR_IDLE,
	PAIR_ADDING,		/* in the list, the next message says so */
	PAIR_LISTED,
	PAIR_REMOVING,		/* not in the list any more, the next message says so */
	PAIR_GOING		/* a message has said so, its result has not come */
};

struct hint_pair {
	LIST_ENTRY(hint_pair)	 entry;		/* of its hash */
	LIST_ENTRY(hint_pair)	 by_sender, by_receiver;
	TAILQ_ENTRY(hint_pair)	 lru;		/* by touched_ns */
	TAILQ_ENTRY(hint_pair)	 change;	/* of the receiver's changes, or of its going */
	struct hint_vm		*sender, *receiver;
	const struct hint_realm	*realm;
	struct bpf_peer		 peer;		/* the sender's address */
	enum hint_state		 state;
	uint64_t		 seq;		/* of the message that took it off */
	uint64_t		 touched_ns;
	uint64_t		 proven_ns;	/* the last proof */
	uint64_t		 came_ns;	/* the last one by a packet of this direction; 0: none */
	uint64_t		 proven_wall_ns;
	uint64_t		 proofs, mismatches, mismatch_ns, barred_ns;
	uint64_t		 from_wall_ns;	/* of its open row; 0: none */
	uint64_t		 gap_wall_ns;	/* a possible gap since then; 0: none */
	enum hint_cause		 cause;
};
TAILQ_HEAD(hint_pairs, hint_pair);

struct hint_seen {		/* a sample that is remembered */
	LIST_ENTRY(hint_seen)	 entry;		/* of its digest's hash */
	TAILQ_ENTRY(hint_seen)	 wait;		/* of the sender's, until it must have sent it */
	struct hint_vm		*vm, *sender;	/* sender: NULL: waits for nobody */
	const struct hint_realm	*realm;		/* NULL: unused */
	uint64_t		 digest, wall_ns, arrived_ns;
	struct bpf_peer		 src, dst;
	bool			 out, audit, matched;
};

struct hint_slot {
	uint64_t	number;		/* of wall_ns / HINT_SLOT_NS */
	uint64_t	ceiling[2];
};

struct hint_withheld {			/* what STATS told of it */
	uint64_t	wall_ns, packets;
};
#define HINT_HISTORY	16u

struct hint_vm {
	struct hints		*hints;
	char			 uuid[IDENTITY_UUID_SIZE], tenant[IDENTITY_NAME_SIZE];
	unsigned		 group;
	bool			 withhold, balanced;
	unsigned		 trouble;
	uint64_t		 urgent_ns, lossy_ns;	/* until then */
	uint64_t		 hold_ns;		/* no pair before: its agent may still do as it did */
	int64_t			 clock_ns;
	uint64_t		 heard_ns;
	uint64_t		 valid_wall_ns;	/* what was captured before proves nothing */
	uint64_t		 covered_wall_ns;	/* from then on its blocks tell all; 0: none yet */
	uint64_t		 last_wall_ns;	/* its last packet */
	uint64_t		 stats_wall_ns;	/* its last STATS; 0: none in this stream */
	uint64_t		 lost;
	bool			 lost_known;
	unsigned		 late_stats;	/* STATS in turn that had something in the spool, and no block came */
	TAILQ_HEAD(, hint_interface) interfaces;
	size_t			 interface_count;
	LIST_HEAD(, hint_pair)	 sends, receives;
	size_t			 relied_on, receives_count, listed;
	TAILQ_ENTRY(hint_vm)	 relied_entry, listed_entry;
	uint64_t		 rows, rows_ns;	/* that it may still begin, and when that was counted */
	/* what it is told */
	TAILQ_ENTRY(hint_vm)	 queue_entry;
	bool			 queued;	/* in its group's queue; else, with changes, the next tick puts it there */
	bool			 later;
	TAILQ_ENTRY(hint_vm)	 later_entry;
	struct hint_pairs	 changes, going;
	uint64_t		 seq;		/* of the last message that changed something */
	uint64_t		 generation;	/* the list that the agent has, if all arrives */
	uint64_t		 whole_seq;	/* a whole list is out that is not confirmed; 0: none */
	bool			 whole;		/* the next message has the whole list */
	uint64_t		 sent_ns;
	bool			 list_balanced;
	/* possible gaps that the next STATS bound */
	uint64_t		 gap_from_ns, gap_to_ns;
	char			 gap_peer[IDENTITY_UUID_SIZE];
	enum hint_cause		 gap_cause;
	struct hint_withheld	 history[HINT_HISTORY];
	size_t			 history_count;
	/* samples */
	struct hint_seen	*seen;		/* HINT_SAMPLES, a ring; NULL: none yet */
	size_t			 seen_next;
	TAILQ_HEAD(, hint_seen)	 waits;		/* samples of others that it must have sent */
	struct hint_slot	 slot[HINT_SLOTS];
};

struct hint_record_entry {
	STAILQ_ENTRY(hint_record_entry) entry;
	struct hint_record	 record;
};

struct hint_group {
	TAILQ_HEAD(, hint_vm)	 queue;
	STAILQ_HEAD(, hint_record_entry) records;
};

LIST_HEAD(hint_addresses, hint_address);
LIST_HEAD(hint_pair_hash, hint_pair);
LIST_HEAD(hint_seen_hash, hint_seen);

struct hints {
	struct hint_settings	 settings;
	void			*vms;		/* tsearch(3), by UUID */
	LIST_HEAD(, hint_realm)	 realms;
	struct hint_addresses	*addresses;
	struct hint_pair_hash	*pairs;
	struct hint_seen_hash	*seen;
	struct hint_pairs	 lru;
	TAILQ_HEAD(, hint_vm)	 relied, listed, later;
	struct hint_group	*group;
	uint64_t		 tick_ns;
	uint64_t		 count;		/* pairs in lists */
	struct hint_totals	 totals;
};

/* hint.c */
void	*hint_alloc(size_t);		/* zeroed; without memory there is no sensible way on: it logs and aborts */
uint32_t hint_hash(const struct hints *, const void *, size_t, uint32_t);
bool	 hint_same(const struct bpf_peer *, const struct bpf_peer *);
struct hint_interface *hint_find_interface(const struct hint_vm *, uint32_t id);
/* Is it an address of one host, and of one in the whole network? */
bool	 hint_may_claim(const struct bpf_peer *);
/* NULL: nobody has claimed it. */
struct hint_address *hint_find_address(const struct hints *, const struct hint_realm *, const struct bpf_peer *);
/* The one VM that claims it; NULL: none, or several. */
struct hint_vm	*hint_owner(const struct hint_address *);
bool	 hint_claims(const struct hint_vm *, const struct hint_realm *, const struct bpf_peer *);
/* Notes what is against the VM; what was not before takes back all that relies on it. */
void	 hint_add_trouble(struct hint_vm *, unsigned trouble, enum hint_cause, const struct hint_time *);

/* hint_pair.c */
struct hint_pair *hint_find_pair(const struct hints *, const struct hint_vm *sender, const struct hint_vm *receiver,
	    const struct hint_realm *, const struct bpf_peer *);
/* NULL: the receiver has too many. */
struct hint_pair *hint_make_pair(struct hint_vm *sender, struct hint_vm *receiver, const struct hint_realm *, const struct bpf_peer *,
	    const struct hint_time *);
void	 hint_touch(struct hint_pair *, const struct hint_time *);
void	 hint_free_pair(struct hint_pair *);
bool	 hint_proven(const struct hint_pair *, const struct hint_time *);
void	 hint_consider(struct hint_pair *, const struct hint_time *);	/* puts it into the list if it is fit for that */
void	 hint_withdraw(struct hint_pair *, enum hint_cause, const struct hint_time *);
/* It is not proven any more, and what relies on that is taken back. */
void	 hint_disprove(struct hint_pair *, enum hint_cause, const struct hint_time *);
void	 hint_withdraw_sender(struct hint_vm *, enum hint_cause, const struct hint_time *);
void	 hint_withdraw_receiver(struct hint_vm *, enum hint_cause, const struct hint_time *);
/* Those of one address of the sender. */
void	 hint_withdraw_address(struct hint_vm *, const struct hint_realm *, const struct bpf_peer *, enum hint_cause,
	    const struct hint_time *);
void	 hint_forget_proofs(struct hint_vm *);		/* of both directions */
void	 hint_expire(struct hints *, const struct hint_time *);
bool	 hint_cause_loses(enum hint_cause);
const char *hint_cause_text(enum hint_cause);

/* hint_proof.c */
void	 hint_forget_samples(struct hint_vm *);

/* hint_send.c */
void	 hint_queue(struct hint_vm *);			/* a message now */
void	 hint_queue_later(struct hint_vm *);		/* with the next tick */
struct hint_record *hint_record(const struct hint_vm *, enum hint_record_kind);	/* to be filled in; goes to the VM's group */
bool	 hint_may_begin_row(struct hint_vm *, const struct hint_time *);
bool	 hint_pay_row(struct hint_vm *, const struct hint_time *);	/* for one that is to begin; false: it may not */
void	 hint_begin_row(struct hint_pair *, const struct hint_time *);
void	 hint_end_row(struct hint_pair *, uint64_t to_wall_ns);
/* Its rows end and begin anew: its own addresses are others. */
void	 hint_renew_rows(struct hint_vm *, const struct hint_time *);
/* A possible gap of the receiver up to now, which the next STATS bound; 0 to_wall_ns: none. */
void	 hint_add_gap(struct hint_pair *, uint64_t to_wall_ns);
void	 hint_flush_gap(struct hint_vm *, bool bounded, uint64_t packets);
/* All that was in the list ends by to_wall_ns at the latest, and nothing is waited for. */
void	 hint_end_list(struct hint_vm *, enum hint_cause, uint64_t to_wall_ns, const struct hint_time *);
void	 hint_unlist(struct hint_pair *);		/* out of all queues and lists of its state: it is idle then */

#endif
