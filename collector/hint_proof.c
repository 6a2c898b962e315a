/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "collector/hint_internal.h"

/*
 * Samples of packets, and what they prove. One that left A and came to B with the same digest is a proof of A's address for B, and
 * of B's, that it went to, for A. One
 * that came to B from A's address, but did not leave A though A's blocks of that time are here, is a mismatch: the address is
 * somebody else's too, or something on the way changes packets.
 */

static struct hint_seen_hash *
hint_seen_bucket(const struct hints *hints, uint64_t digest)
{
	return &hints->seen[hint_hash(hints, &digest, sizeof(digest), 0) % HINT_SEEN_BUCKETS];
}

static void
hint_stop_waiting(struct hint_seen *seen)
{
	if (seen->sender != NULL)
		TAILQ_REMOVE(&seen->sender->waits, seen, wait);
	seen->sender = NULL;
}

static void
hint_forget_seen(struct hint_seen *seen)
{
	if (seen->realm == NULL)
		return;
	hint_stop_waiting(seen);
	LIST_REMOVE(seen, entry);
	seen->realm = NULL;
}

void
hint_forget_samples(struct hint_vm *vm)
{
	struct hint_seen *seen;

	for (size_t i = 0; vm->seen != NULL && i < HINT_SAMPLES; i++)
		hint_forget_seen(&vm->seen[i]);
	while ((seen = TAILQ_FIRST(&vm->waits)) != NULL)
		hint_stop_waiting(seen);
	free(vm->seen);
	vm->seen = NULL;
	vm->seen_next = 0;
}

static struct hint_seen *
hint_remember(struct hint_vm *vm, const struct hint_realm *realm, const struct hint_sample *sample, const struct hint_time *now)
{
	uint64_t wall_ns = sample->time_ns - (uint64_t)vm->clock_ns;
	struct hint_seen *seen;

	if (vm->seen == NULL && (vm->seen = calloc(HINT_SAMPLES, sizeof(*vm->seen))) == NULL)
		return NULL;
	seen = &vm->seen[vm->seen_next++ % HINT_SAMPLES];
	hint_forget_seen(seen);
	*seen = (struct hint_seen){ .vm = vm, .realm = realm, .digest = sample->digest, .src = sample->src, .dst = sample->dst,
	    .out = sample->out, .audit = sample->audit, .arrived_ns = now->mono_ns,
	    .wall_ns = wall_ns > now->wall_ns ? now->wall_ns : wall_ns };
	LIST_INSERT_HEAD(hint_seen_bucket(vm->hints, sample->digest), seen, entry);
	return seen;
}

/* For a VM whose address this is, and one that it talks to. */
static void
hint_prove_pair(struct hint_vm *sender, struct hint_vm *receiver, const struct hint_realm *realm, const struct bpf_peer *peer, bool came,
    uint64_t wall_ns, const struct hint_time *now)
{
	struct hint_pair *pair;

	if (hint_owner(hint_find_address(sender->hints, realm, peer)) != sender ||
	    (pair = hint_make_pair(sender, receiver, realm, peer, now)) == NULL)
		return;
	if (pair->proven_ns + HINT_PROOF_NS <= now->mono_ns && pair->state == PAIR_IDLE)
		pair->proofs = 0;
	pair->proofs++;
	pair->proven_ns = now->mono_ns;
	pair->proven_wall_ns = wall_ns;
	if (came)
		pair->came_ns = now->mono_ns;
	hint_touch(pair, now);
	hint_consider(pair, now);
}

/* What one of the two captured before its present settings proves nothing of them. Who received the packet has the address that it
 * went to: that is a proof of its address for the other, whose data may never arrive as it was sent. */
static void
hint_prove(struct hint_seen *out, struct hint_seen *in, const struct hint_time *now)
{
	hint_stop_waiting(in);
	in->matched = true;
	if (out->wall_ns < out->vm->valid_wall_ns || in->wall_ns < in->vm->valid_wall_ns)
		return;
	hint_prove_pair(out->vm, in->vm, out->realm, &out->src, true, in->wall_ns, now);
	hint_prove_pair(in->vm, out->vm, out->realm, &out->dst, false, in->wall_ns, now);
}

/* Those that are its other end. */
static bool
hint_meet(struct hint_seen *seen, const struct hint_time *now)
{
	struct hint_seen *other;
	bool met = false;

	LIST_FOREACH(other, hint_seen_bucket(seen->vm->hints, seen->digest), entry) {
		if (other->digest != seen->digest || other->vm == seen->vm || other->out == seen->out || other->realm != seen->realm ||
		    !hint_same(&other->src, &seen->src) || (seen->out && other->matched))
			continue;
		hint_prove(seen->out ? seen : other, seen->out ? other : seen, now);
		met = true;
		if (!seen->out)
			break;		/* one proof of one packet */
	}
	return met;
}

static void
hint_mismatch(struct hint_pair *pair, const struct hint_time *now)
{
	struct hints *hints = pair->sender->hints;
	struct hint_record *record;

	hints->totals.mismatches++;
	if (pair->mismatch_ns + HINT_PROOF_NS <= now->mono_ns)
		pair->mismatches = 0;
	pair->mismatch_ns = now->mono_ns;
	pair->mismatches++;
	hint_disprove(pair, CAUSE_MISMATCH, now);
	if (pair->mismatches < HINT_MISMATCHES || pair->barred_ns > now->mono_ns)
		return;
	pair->barred_ns = now->mono_ns + HINT_BAR_NS;
	hint_touch(pair, now);
	hints->totals.barred++;
	record = hint_record(pair->receiver, HINT_BARRED);
	memcpy(record->peer, pair->sender->uuid, sizeof(record->peer));
	memcpy(record->network, pair->realm->network, sizeof(record->network));
	inet_ntop(pair->peer.family, pair->peer.address, record->address, sizeof(record->address));
}

/* A packet to another host than the receiver itself is one that it forwards: nobody knows from its addresses alone that it left it
 * out. */
static void
hint_forwards(struct hint_vm *vm, const struct hint_realm *realm, const struct hint_sample *sample, const struct hint_time *now)
{
	struct hint_vm *sender = hint_owner(hint_find_address(vm->hints, realm, &sample->src));
	struct hint_pair *pair = sender != NULL ? hint_find_pair(vm->hints, sender, vm, realm, &sample->src) : NULL;

	if (pair != NULL)
		hint_mismatch(pair, now);
}

/* No mismatch is known of balanced shares but in flows that both ends capture. */
static void
hint_wait_for_sender(struct hint_seen *seen)
{
	struct hint_vm *sender = hint_owner(hint_find_address(seen->vm->hints, seen->realm, &seen->src));

	if (sender == NULL || sender == seen->vm || (sender->balanced && !seen->audit))
		return;
	seen->sender = sender;
	TAILQ_INSERT_TAIL(&sender->waits, seen, wait);
}

static void
hint_take_sample(struct hint_vm *vm, const struct hint_sample *sample, const struct hint_time *now)
{
	const struct hint_interface *interface = hint_find_interface(vm, sample->interface);
	struct hint_seen *seen;

	if (interface == NULL)
		return;
	if (sample->out && !hint_claims(vm, interface->realm, &sample->src))
		return;
	if (!sample->out && sample->undivided && hint_may_claim(&sample->dst) && !hint_claims(vm, interface->realm, &sample->dst)) {
		hint_forwards(vm, interface->realm, sample, now);
		return;
	}
	if ((seen = hint_remember(vm, interface->realm, sample, now)) == NULL)
		return;
	if (!hint_meet(seen, now) && !sample->out && sample->undivided)
		hint_wait_for_sender(seen);
}

/* Of each slot of the block's time: below this digest its samples are complete. */
static void
hint_cover(struct hint_vm *vm, const struct hint_block *block, uint64_t first_wall_ns, uint64_t last_wall_ns)
{
	uint64_t number = first_wall_ns / HINT_SLOT_NS, last = last_wall_ns / HINT_SLOT_NS;

	if (last - number >= HINT_SLOTS)
		number = last - HINT_SLOTS + 1;
	for (; number <= last; number++) {
		struct hint_slot *slot = &vm->slot[number % HINT_SLOTS];

		if (slot->number != number)
			*slot = (struct hint_slot){ .number = number, .ceiling = { UINT64_MAX, UINT64_MAX } };
		for (int i = 0; i < 2; i++)
			if (block->ceiling[i] < slot->ceiling[i])
				slot->ceiling[i] = block->ceiling[i];
	}
	if (vm->covered_wall_ns == 0)
		vm->covered_wall_ns = first_wall_ns;
}

/* Would the sender's samples have the packet if it had sent it? */
static bool
hint_must_have(const struct hint_vm *sender, const struct hint_seen *seen)
{
	uint64_t number = (seen->wall_ns - HINT_SLACK_NS) / HINT_SLOT_NS, last = (seen->wall_ns + HINT_SLACK_NS) / HINT_SLOT_NS;

	if (sender->covered_wall_ns == 0 || sender->covered_wall_ns + HINT_SLACK_NS > seen->wall_ns || seen->wall_ns <
	    sender->valid_wall_ns + HINT_SLACK_NS || (sender->trouble & ~(unsigned)TROUBLE_URGENT) != 0)
		return false;
	for (; number <= last; number++) {
		const struct hint_slot *slot = &sender->slot[number % HINT_SLOTS];

		if (slot->number > number || (slot->number == number && seen->digest > slot->ceiling[seen->audit]))
			return false;
	}
	return true;
}

static void
hint_judge(struct hint_seen *seen, const struct hint_time *now)
{
	struct hint_vm *sender = seen->sender;
	struct hint_pair *pair = hint_find_pair(sender->hints, sender, seen->vm, seen->realm, &seen->src);

	if (pair != NULL && hint_must_have(sender, seen))
		hint_mismatch(pair, now);
	hint_stop_waiting(seen);
}

/* Those that the sender's data has passed by now, by the clocks and by the order of arrival. */
static void
hint_judge_waiting(struct hint_vm *sender, const struct hint_time *now)
{
	struct hint_seen *seen;

	while ((seen = TAILQ_FIRST(&sender->waits)) != NULL && seen->wall_ns + HINT_SLACK_NS + HINT_SLOT_NS < sender->last_wall_ns &&
	    seen->arrived_ns + 2 * HINT_SLACK_NS <= now->mono_ns)
		hint_judge(seen, now);
}

static void
hint_note_lag(struct hint_vm *vm, const struct hint_block *block, const struct hint_time *now)
{
	bool behind = vm->last_wall_ns + vm->hints->settings.lease_ns < now->wall_ns;

	if (block->urgent) {
		vm->urgent_ns = now->mono_ns + HINT_URGENT_NS;
		hint_add_trouble(vm, TROUBLE_URGENT, CAUSE_BEHIND, now);
	}
	if (behind)
		hint_add_trouble(vm, TROUBLE_BEHIND, CAUSE_BEHIND, now);
	else
		vm->trouble &= ~(unsigned)TROUBLE_BEHIND;
	vm->late_stats = 0;
}

void
hint_block(struct hint_vm *vm, const struct hint_block *block, const struct hint_time *now)
{
	uint64_t first = block->first_ns - (uint64_t)vm->clock_ns, last = block->last_ns - (uint64_t)vm->clock_ns;

	hint_heard(vm, now->mono_ns);
	if (block->last_ns == 0)
		return;
	if (last > now->wall_ns + HINT_SLACK_NS)	/* its clock is not understood yet */
		last = now->wall_ns;
	if (first > last)
		first = last;
	if (last > vm->last_wall_ns || vm->last_wall_ns > now->wall_ns + HINT_SLACK_NS)
		vm->last_wall_ns = last;
	if (block->dropped)
		hint_lossy(vm, now);
	hint_note_lag(vm, block, now);
	if (!vm->withhold)
		return;
	hint_cover(vm, block, first, last);
	for (size_t i = 0; i < block->count; i++)
		hint_take_sample(vm, &block->sample[i], now);
	hint_judge_waiting(vm, now);
}
