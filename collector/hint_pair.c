/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "collector/hint_internal.h"
#include "collector/hint_rule.h"

/* Pairs: a sender's address and a receiver; when one is fit, and what becomes of it when it is not any more. */

static const struct {
	const char	*text;
	bool		 loses;		/* the sender may have delivered less before that was known */
} causes[] = {
	[CAUSE_LEFT] = { "the peer's session or stream ended", true },
	[CAUSE_SILENT] = { "nothing was heard of the peer", true },
	[CAUSE_POLICY] = { "the peer's policy changed", true },
	[CAUSE_ADDRESS] = { "the peer's address changed", true },
	[CAUSE_FILTER] = { "what the peer captures changed", true },
	[CAUSE_SHEDDING] = { "the peer's agent sheds load", true },
	[CAUSE_PAUSED] = { "the peer's capture is paused", true },
	[CAUSE_BEHIND] = { "the peer is behind", false },
	[CAUSE_LOSSY] = { "the peer has lost packets", true },
	[CAUSE_CONFLICT] = { "another VM claims the peer's address", true },
	[CAUSE_MISMATCH] = { "packets came that the peer did not send", true },
	[CAUSE_UNPROVEN] = { "no packet was seen at both ends of late", false },
	[CAUSE_RECEIVER] = { "the VM itself changed", false },
	[CAUSE_ROOM] = { "others are more important", false },
};

bool
hint_cause_loses(enum hint_cause cause)
{
	return causes[cause].loses;
}

const char *
hint_cause_text(enum hint_cause cause)
{
	return causes[cause].text;
}

static struct hint_pair_hash *
hint_pair_bucket(const struct hints *hints, const struct hint_vm *sender, const struct hint_vm *receiver,
    const struct hint_realm *realm, const struct bpf_peer *peer)
{
	const void *key[] = { sender, receiver, realm };

	return &hints->pairs[hint_hash(hints, peer->address, sizeof(peer->address), hint_hash(hints, key, sizeof(key), peer->family)) %
	    HINT_BUCKETS];
}

struct hint_pair *
hint_find_pair(const struct hints *hints, const struct hint_vm *sender, const struct hint_vm *receiver,
    const struct hint_realm *realm, const struct bpf_peer *peer)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, hint_pair_bucket(hints, sender, receiver, realm, peer), entry)
		if (pair->sender == sender && pair->receiver == receiver && pair->realm == realm && hint_same(&pair->peer, peer))
			return pair;
	return NULL;
}

struct hint_pair *
hint_make_pair(struct hint_vm *sender, struct hint_vm *receiver, const struct hint_realm *realm, const struct bpf_peer *peer,
    const struct hint_time *now)
{
	struct hints *hints = sender->hints;
	struct hint_pair *pair = hint_find_pair(hints, sender, receiver, realm, peer);

	if (pair != NULL || receiver->receives_count >= HINT_PAIRS_MAX)
		return pair;
	pair = hint_alloc(sizeof(*pair));
	pair->sender = sender;
	pair->receiver = receiver;
	pair->realm = realm;
	pair->peer = *peer;
	pair->touched_ns = now->mono_ns;
	LIST_INSERT_HEAD(hint_pair_bucket(hints, sender, receiver, realm, peer), pair, entry);
	LIST_INSERT_HEAD(&sender->sends, pair, by_sender);
	LIST_INSERT_HEAD(&receiver->receives, pair, by_receiver);
	receiver->receives_count++;
	TAILQ_INSERT_TAIL(&hints->lru, pair, lru);
	return pair;
}

void
hint_touch(struct hint_pair *pair, const struct hint_time *now)
{
	struct hints *hints = pair->sender->hints;

	pair->touched_ns = now->mono_ns;
	TAILQ_REMOVE(&hints->lru, pair, lru);
	TAILQ_INSERT_TAIL(&hints->lru, pair, lru);
}

void
hint_free_pair(struct hint_pair *pair)
{
	hint_unlist(pair);
	LIST_REMOVE(pair, entry);
	LIST_REMOVE(pair, by_sender);
	LIST_REMOVE(pair, by_receiver);
	pair->receiver->receives_count--;
	TAILQ_REMOVE(&pair->sender->hints->lru, pair, lru);
	free(pair);
}

bool
hint_proven(const struct hint_pair *pair, const struct hint_time *now)
{
	return pair->proofs >= HINT_PROOFS && pair->proven_ns + HINT_PROOF_NS > now->mono_ns && pair->barred_ns <= now->mono_ns;
}

/* Times that are over take their trouble with them. */
static unsigned
hint_trouble(struct hint_vm *vm, const struct hint_time *now)
{
	if (vm->urgent_ns <= now->mono_ns)
		vm->trouble &= ~(unsigned)TROUBLE_URGENT;
	if (vm->lossy_ns <= now->mono_ns)
		vm->trouble &= ~(unsigned)TROUBLE_LOSSY;
	return vm->trouble;
}

/* What of the receiver's may be held against all of the sender's interfaces in the network, which any of its packets may leave by. */
static bool
hint_interface_covers(const struct hint_vm *sender, const struct hint_realm *realm, const struct hint_interface *receiver)
{
	const struct hint_interface *interface;

	TAILQ_FOREACH(interface, &sender->interfaces, entry)
		if (interface->realm == realm && (!interface->whole || !hint_filter_covers(interface->filter, receiver->filter)))
			return false;
	return true;
}

static bool
hint_covers(const struct hint_vm *sender, const struct hint_vm *receiver, const struct hint_realm *realm)
{
	const struct hint_interface *interface;

	if (TAILQ_EMPTY(&receiver->interfaces))
		return false;
	TAILQ_FOREACH(interface, &receiver->interfaces, entry)
		if (interface->realm != realm || !hint_interface_covers(sender, realm, interface))
			return false;
	return true;
}

/* Balanced, the sender's agent captures what the receiver sends to it: has that been seen, too? */
static bool
hint_reverse_came(const struct hint_pair *pair, const struct hint_time *now)
{
	const struct hint_interface *interface;
	const struct hint_claim *claim;
	const struct hint_pair *reverse;

	TAILQ_FOREACH(interface, &pair->receiver->interfaces, entry)
		LIST_FOREACH(claim, &interface->claims, by_interface)
			if (!claim->address->conflict && (reverse = hint_find_pair(pair->sender->hints, pair->receiver, pair->sender,
			    pair->realm, &claim->address->peer)) != NULL && reverse->came_ns != 0 &&
			    reverse->came_ns + HINT_PROOF_NS > now->mono_ns)
				return true;
	return false;
}

static bool
hint_fit(struct hint_pair *pair, const struct hint_time *now)
{
	struct hint_vm *sender = pair->sender, *receiver = pair->receiver;

	if (!hint_proven(pair, now) || hint_trouble(sender, now) != 0 || (hint_trouble(receiver, now) & (TROUBLE_AWAY | TROUBLE_POLICY)) ||
	    !sender->withhold || !receiver->withhold || sender->balanced != receiver->balanced ||
	    sender->hold_ns > now->mono_ns || receiver->hold_ns > now->mono_ns ||
	    sender->heard_ns + sender->hints->settings.lease_ns <= now->mono_ns)
		return false;
	if (hint_owner(hint_find_address(sender->hints, pair->realm, &pair->peer)) != sender || !hint_covers(sender, receiver, pair->realm))
		return false;
	return !sender->balanced || hint_reverse_came(pair, now);
}

/* The one of the list that has matched least. */
static struct hint_pair *
hint_least(const struct hint_vm *receiver)
{
	struct hint_pair *pair, *least = NULL;

	LIST_FOREACH(pair, &receiver->receives, by_receiver)
		if ((pair->state == PAIR_ADDING || pair->state == PAIR_LISTED) && (least == NULL || pair->proofs < least->proofs))
			least = pair;
	return least;
}

/* One that comes late must be worth twice as much, so that two of a kind don't push each other out in turn. */
static bool
hint_make_room(struct hint_pair *pair, const struct hint_time *now)
{
	struct hint_pair *least;

	if (pair->receiver->listed < MSG_PEERS_MAX)
		return true;
	least = hint_least(pair->receiver);
	if (least == NULL || least->proofs >= pair->proofs / 2)
		return false;
	hint_withdraw(least, CAUSE_ROOM, now);
	return true;
}

static void
hint_rely(struct hint_vm *sender, int change)
{
	struct hints *hints = sender->hints;

	if (sender->relied_on == 0)
		TAILQ_INSERT_TAIL(&hints->relied, sender, relied_entry);
	sender->relied_on = change > 0 ? sender->relied_on + 1 : sender->relied_on - 1;
	if (sender->relied_on == 0)
		TAILQ_REMOVE(&hints->relied, sender, relied_entry);
}

static void
hint_enlist(struct hint_pair *pair)
{
	struct hint_vm *receiver = pair->receiver;

	if (pair->state == PAIR_REMOVING) {	/* not yet said */
		TAILQ_REMOVE(&receiver->changes, pair, change);
		pair->state = PAIR_LISTED;
	} else {
		if (pair->state == PAIR_GOING)
			TAILQ_REMOVE(&receiver->going, pair, change);
		pair->state = PAIR_ADDING;
		TAILQ_INSERT_TAIL(&receiver->changes, pair, change);
		hint_queue_later(receiver);
	}
	receiver->listed++;
	receiver->hints->count++;
	receiver->hints->totals.given++;
	hint_rely(pair->sender, 1);
}

void
hint_consider(struct hint_pair *pair, const struct hint_time *now)
{
	if (pair->state == PAIR_ADDING || pair->state == PAIR_LISTED) {
		if (pair->sender->balanced && !hint_reverse_came(pair, now))
			hint_withdraw(pair, CAUSE_UNPROVEN, now);
		return;
	}
	if (!hint_fit(pair, now) || !hint_may_begin_row(pair->receiver, now) || !hint_make_room(pair, now) ||
	    !hint_pay_row(pair->receiver, now))
		return;
	hint_add_gap(pair, now->wall_ns);
	hint_enlist(pair);
}

static void
hint_delist(struct hint_pair *pair)
{
	struct hint_vm *receiver = pair->receiver;

	receiver->listed--;
	receiver->hints->count--;
	receiver->hints->totals.withdrawn++;
	hint_rely(pair->sender, -1);
	if (pair->state == PAIR_LISTED) {
		pair->state = PAIR_REMOVING;
		TAILQ_INSERT_TAIL(&receiver->changes, pair, change);
		hint_queue(receiver);
		return;
	}
	TAILQ_REMOVE(&receiver->changes, pair, change);
	if (pair->from_wall_ns != 0) {	/* it was on its way off */
		pair->state = PAIR_GOING;
		TAILQ_INSERT_TAIL(&receiver->going, pair, change);
	} else
		pair->state = PAIR_IDLE;
}

void
hint_unlist(struct hint_pair *pair)
{
	struct hint_vm *receiver = pair->receiver;

	if (pair->state == PAIR_ADDING || pair->state == PAIR_LISTED) {
		receiver->listed--;
		receiver->hints->count--;
		hint_rely(pair->sender, -1);
	}
	if (pair->state == PAIR_ADDING || pair->state == PAIR_REMOVING)
		TAILQ_REMOVE(&receiver->changes, pair, change);
	else if (pair->state == PAIR_GOING)
		TAILQ_REMOVE(&receiver->going, pair, change);
	pair->state = PAIR_IDLE;
}

/* Since when the sender may not have delivered all: since its last packet that is here; if it lost or left out some, since the STATS
 * before that was told; of a mismatch, since the last proof. */
static uint64_t
hint_gap_begin(const struct hint_pair *pair, enum hint_cause cause)
{
	uint64_t begin = pair->sender->last_wall_ns;

	if (cause == CAUSE_MISMATCH)
		begin = pair->proven_wall_ns;
	else if ((cause == CAUSE_SHEDDING || cause == CAUSE_PAUSED || cause == CAUSE_LOSSY) && pair->sender->stats_wall_ns < begin)
		begin = pair->sender->stats_wall_ns;
	return begin > pair->from_wall_ns ? begin : pair->from_wall_ns;
}

void
hint_withdraw(struct hint_pair *pair, enum hint_cause cause, const struct hint_time *now)
{
	bool open = pair->from_wall_ns != 0 && pair->state != PAIR_IDLE;

	if (open && pair->gap_wall_ns == 0 && hint_cause_loses(cause)) {
		pair->gap_wall_ns = hint_gap_begin(pair, cause);
		if (pair->gap_wall_ns > now->wall_ns)
			pair->gap_wall_ns = now->wall_ns;
		pair->cause = cause;
	}
	if (pair->state == PAIR_ADDING || pair->state == PAIR_LISTED)
		hint_delist(pair);
}

/* Balanced, what goes the other way was left to the pair's receiver on the pair's word. */
static void
hint_withdraw_other_way(const struct hint_pair *pair, enum hint_cause cause, const struct hint_time *now)
{
	const struct hint_interface *interface;
	const struct hint_claim *claim;
	struct hint_pair *other;

	TAILQ_FOREACH(interface, &pair->receiver->interfaces, entry)
		LIST_FOREACH(claim, &interface->claims, by_interface)
			if ((other = hint_find_pair(pair->sender->hints, pair->receiver, pair->sender, pair->realm,
			    &claim->address->peer)) != NULL && !hint_reverse_came(other, now))
				hint_withdraw(other, cause, now);
}

void
hint_disprove(struct hint_pair *pair, enum hint_cause cause, const struct hint_time *now)
{
	pair->proofs = 0;
	pair->came_ns = 0;
	hint_withdraw(pair, cause, now);
	if (pair->sender->balanced)
		hint_withdraw_other_way(pair, cause, now);
}

void
hint_withdraw_sender(struct hint_vm *vm, enum hint_cause cause, const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->sends, by_sender)
		hint_withdraw(pair, cause, now);
}

void
hint_withdraw_receiver(struct hint_vm *vm, enum hint_cause cause, const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->receives, by_receiver)
		hint_withdraw(pair, cause, now);
}

void
hint_withdraw_address(struct hint_vm *vm, const struct hint_realm *realm, const struct bpf_peer *peer, enum hint_cause cause,
    const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->sends, by_sender)
		if (pair->realm == realm && hint_same(&pair->peer, peer))
			hint_disprove(pair, cause, now);
}

void
hint_forget_proofs(struct hint_vm *vm)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->sends, by_sender)
		pair->proofs = pair->came_ns = 0;
	LIST_FOREACH(pair, &vm->receives, by_receiver)
		pair->proofs = pair->came_ns = 0;
}

/* The longest untouched ones are in front; one that is still of use is looked at again when its time has passed once more. */
void
hint_expire(struct hints *hints, const struct hint_time *now)
{
	struct hint_pair *pair;

	while ((pair = TAILQ_FIRST(&hints->lru)) != NULL && pair->touched_ns + HINT_PROOF_NS <= now->mono_ns) {
		hint_disprove(pair, CAUSE_UNPROVEN, now);
		if (pair->state == PAIR_IDLE && pair->barred_ns <= now->mono_ns)
			hint_free_pair(pair);
		else
			hint_touch(pair, now);
	}
}
