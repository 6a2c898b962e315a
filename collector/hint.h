/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HINT_H
#define VMTAP_COLLECTOR_HINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"
#include "proto/pcapng.h"

#include "collector/store_batch.h"

/*
 * Which peers' packets each VM may leave out (PROTOCOL, HINTS), for the peer's agent delivers them to this store. Pure: no I/O, time is
 * given, one thread at a time (collector/hint_hub.h shares it).
 *
 * VM B may leave out what comes from address a of VM A if
 *	both are connected, of one tenant, their interfaces in one network, and both policies say so, with the same share;
 *	A claims a there and nobody else does; and all interfaces of B are in this network, for its list is of addresses alone;
 *	A's filter lets through what B's does (hint_rule.h), and A sends whole packets;
 *	nothing is known that makes A deliver less (enum hint_trouble), and it was heard of within the lease;
 *	it is proven: packets that left A with source a came to B, or left B and came to A at a, HINT_PROOFS of them, and the last one
 *	within HINT_PROOF_NS.
 * Balanced, some of what B sent must have come to A, for then A captures for B what B sends. As soon as something of this is not
 * so any more, a is taken back; what follows from it that nobody can rule out is a possible gap.
 *
 * An event costs what it changes: addresses, pairs and digests are hashed, pairs exist only of VMs that have talked.
 */
#define HINT_PROOFS		4u			/* packets seen at both ends, before a pair is proven */
#define HINT_PROOF_NS		UINT64_C(60000000000)	/* without another one for so long it is not any more */
#define HINT_MISMATCHES		3u			/* packets that came and were not sent, within HINT_PROOF_NS: */
#define HINT_BAR_NS		UINT64_C(600000000000)	/* so long a pair is barred then */
#define HINT_HOLD_NS		UINT64_C(30000000000)	/* after a loss of packets an agent delivers nothing for others for so long */
#define HINT_URGENT_NS		UINT64_C(10000000000)	/* and after a block that is urgent */
#define HINT_PAIRS_MAX		4096u			/* of one receiver; beyond, new ones are not taken */
#define HINT_ROWS_BURST		2048u			/* rows of the table withheld that one VM may begin at once, */
#define HINT_ROWS_SECOND	4u			/* and then in a second; beyond, it withholds nothing new */
#define HINT_SAMPLES		512u			/* remembered of one VM: some 60 KiB, of those whose policy withholds */
#define HINT_BLOCK_SAMPLES	128u			/* given of one block */

struct hints;
struct hint_vm;		/* of one VM; lives as long as the hints */

struct hint_time {
	uint64_t	mono_ns, wall_ns;
};

struct hint_settings {
	uint64_t	lease_ns;
	unsigned	groups;		/* of VMs, whose messages are taken by themselves: workers */
	uint64_t	seed;		/* of the hashes: from outside */
};

struct hints	*hints_new(const struct hint_settings *);	/* NULL: ENOMEM */
void		 hints_free(struct hints *);
void		 hints_set_lease(struct hints *, uint64_t lease_ns);
uint64_t	 hints_pairs(const struct hints *);		/* pairs that are withheld now */

/* Events. A session has begun: NULL: no memory. */
struct hint_vm	*hint_up(struct hints *, const char *tenant, const char *uuid, unsigned group, const struct hint_time *);
void	hint_down(struct hint_vm *, const struct hint_time *);
struct hint_policy {
	bool	withhold, balanced;
	bool	settled;	/* the agent has answered: this is what it captures; else it is being changed */
};
void	hint_policy(struct hint_vm *, const struct hint_policy *, const struct hint_time *);
void	hint_clock(struct hint_vm *, int64_t offset_ns);	/* the guest's wall clock minus the collector's */
/* Its agent has begun another stream: interfaces told before are gone. */
void	hint_stream(struct hint_vm *, const struct hint_time *);
/* An interface as described; one of this name that was told before is replaced by a larger id, or by the same one in another network.
 * Texts are copied. Addresses told of it since (hint_addresses) stay, if it is the same id. */
void	hint_interface(struct hint_vm *, uint32_t id, const struct pcapng_interface *, const char *network, const struct hint_time *);
/* Addresses that it has now. Those that are no host's, and those of one link alone (IPv6 link-local, 169.254/16), are passed over: the
 * same one may be on each link. */
void	hint_addresses(struct hint_vm *, uint32_t id, const struct bpf_peer *, size_t count, const struct hint_time *);

/* What STATS tell, sums over interfaces. */
struct hint_stats {
	bool		shedding;	/* governor_level, or kept_flows below 64 */
	bool		paused;
	uint64_t	spool_bytes;
	uint64_t	lost;		/* only grows: packets that found no room anywhere */
	uint64_t	withheld;
	uint64_t	wall_ns;	/* guest's */
};
void	hint_stats(struct hint_vm *, const struct hint_stats *, const struct hint_time *);
void	hint_lossy(struct hint_vm *, const struct hint_time *);		/* a GAP has come */

/* A block that has passed its check: what its packets prove, those to one host. Times are the guest's. */
struct hint_sample {
	uint64_t	digest;
	uint64_t	time_ns;
	uint32_t	interface;
	struct bpf_peer	src, dst;
	bool		out;
	bool		undivided;	/* in one piece at both ends (transit_undivided()) */
	bool		audit;		/* of a flow that is never withheld */
};
struct hint_block {
	uint64_t	first_ns, last_ns;
	uint64_t	ceiling[2];	/* all packets whose digest is no larger are among the samples; [1]: those of audit flows */
	bool		urgent;
	bool		dropped;	/* it tells of packets lost before it */
	size_t		count;
	struct hint_sample sample[HINT_BLOCK_SAMPLES];
};
void	hint_block(struct hint_vm *, const struct hint_block *, const struct hint_time *);

void	hint_result(struct hint_vm *, const struct msg_hints_result *, const struct hint_time *);
/* A byte of it was heard at mono_ns. Returns whether others rely on it, so that its silence must be noticed. */
bool	hint_heard(struct hint_vm *, uint64_t mono_ns);
/* At least every sixth of the lease. */
void	hint_tick(struct hints *, const struct hint_time *);

/* What follows. Is there anything for a group? */
bool	hint_waiting(const struct hints *, unsigned group);
/* The next message of a VM of the group; false: no more. What it takes is then regarded as sent. */
bool	hint_take(struct hints *, unsigned group, struct msg_hints *, struct hint_vm **, const struct hint_time *);
const char *hint_uuid(const struct hint_vm *);

enum hint_record_kind {
	HINT_BEGINS,		/* a row of the table withheld */
	HINT_ENDS,
	HINT_GAP,		/* packets that a VM may have left out and nobody delivered */
	HINT_CONFLICT,		/* vm claims an address that peer claims, too */
	HINT_BARRED		/* vm received packets from peer's address that peer did not send */
};
struct hint_record {
	enum hint_record_kind kind;
	char		vm[IDENTITY_UUID_SIZE], peer[IDENTITY_UUID_SIZE];
	char		address[CATALOG_ADDRESS_SIZE], network[IDENTITY_NAME_SIZE];
	char		*own;			/* heap, of HINT_BEGINS and HINT_ENDS (""): the VM's addresses, comma-separated; the taker's */
	bool		balanced;
	uint64_t	from_ns, to_ns;		/* collector's clock; of a gap the VM's */
	bool		bounded;		/* a gap: */
	uint64_t	packets;
	const char	*cause;			/* of a gap; static */
};
bool	hint_take_record(struct hints *, unsigned group, struct hint_record *);

size_t	hint_listed(const struct hint_vm *);	/* addresses of peers that it leaves out now */
/* Since the start. */
struct hint_totals {
	uint64_t	given, withdrawn, mismatches, barred, conflicts, messages, whole;
};
const struct hint_totals *hint_totals(const struct hints *);

#endif
