/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/hint_internal.h"

/*
 * Messages, their results, and the records that follow. What is taken off a list stays on record until the agent has said that it
 * is, or its session has ended and the lease with it. Generations are the numbers of the messages that made them.
 */

void
hint_queue(struct hint_vm *vm)
{
	if (vm->later)
		TAILQ_REMOVE(&vm->hints->later, vm, later_entry);
	vm->later = false;
	if (vm->queued || (vm->trouble & TROUBLE_AWAY))
		return;
	vm->queued = true;
	TAILQ_INSERT_TAIL(&vm->hints->group[vm->group].queue, vm, queue_entry);
}

void
hint_queue_later(struct hint_vm *vm)
{
	if (vm->queued || vm->later || (vm->trouble & TROUBLE_AWAY))
		return;
	vm->later = true;
	TAILQ_INSERT_TAIL(&vm->hints->later, vm, later_entry);
}

struct hint_record *
hint_record(const struct hint_vm *vm, enum hint_record_kind kind)
{
	struct hint_record_entry *entry = hint_alloc(sizeof(*entry));

	entry->record.kind = kind;
	memcpy(entry->record.vm, vm->uuid, sizeof(entry->record.vm));
	STAILQ_INSERT_TAIL(&vm->hints->group[vm->group].records, entry, entry);
	return &entry->record;
}

bool
hint_take_record(struct hints *hints, unsigned group, struct hint_record *record)
{
	struct hint_record_entry *entry = STAILQ_FIRST(&hints->group[group].records);

	if (entry == NULL)
		return false;
	*record = entry->record;
	STAILQ_REMOVE_HEAD(&hints->group[group].records, entry);
	free(entry);
	return true;
}

static struct hint_record *
hint_row(const struct hint_pair *pair, enum hint_record_kind kind)
{
	struct hint_record *record = hint_record(pair->receiver, kind);

	memcpy(record->peer, pair->sender->uuid, sizeof(record->peer));
	memcpy(record->network, pair->realm->network, sizeof(record->network));
	inet_ntop(pair->peer.family, pair->peer.address, record->address, sizeof(record->address));
	record->from_ns = pair->from_wall_ns;
	record->balanced = pair->receiver->list_balanced;
	return record;
}

static size_t
hint_put_address(char *text, size_t used, const struct bpf_peer *peer)
{
	if (used + CATALOG_ADDRESS_SIZE + 1 > CATALOG_OWN_SIZE)
		return used;
	if (used > 0)
		text[used++] = ',';
	inet_ntop(peer->family, peer->address, text + used, CATALOG_ADDRESS_SIZE);
	return used + strlen(text + used);
}

static char *
hint_own_addresses(const struct hint_vm *vm, const struct hint_realm *realm)
{
	char *text = hint_alloc(CATALOG_OWN_SIZE), *shorter;
	const struct hint_interface *interface;
	const struct hint_claim *claim;
	size_t used = 0;

	TAILQ_FOREACH(interface, &vm->interfaces, entry) {
		if (interface->realm != realm)
			continue;
		LIST_FOREACH(claim, &interface->claims, by_interface)
			used = hint_put_address(text, used, &claim->address->peer);
		for (size_t i = 0; i < interface->local_count; i++)
			used = hint_put_address(text, used, &interface->local[i]);
	}
	shorter = realloc(text, used + 1);
	return shorter != NULL ? shorter : text;
}

bool
hint_may_begin_row(struct hint_vm *vm, const struct hint_time *now)
{
	uint64_t fresh = (now->mono_ns - vm->rows_ns) * HINT_ROWS_SECOND / 1000000000u;

	if (fresh > 0) {
		vm->rows = vm->rows + fresh < HINT_ROWS_BURST ? vm->rows + fresh : HINT_ROWS_BURST;
		vm->rows_ns = now->mono_ns;
	}
	return vm->rows > 0;
}

bool
hint_pay_row(struct hint_vm *vm, const struct hint_time *now)
{
	if (!hint_may_begin_row(vm, now))
		return false;
	vm->rows--;
	return true;
}

void
hint_begin_row(struct hint_pair *pair, const struct hint_time *now)
{
	struct hint_record *record;

	pair->from_wall_ns = now->wall_ns;
	record = hint_row(pair, HINT_BEGINS);
	record->own = hint_own_addresses(pair->receiver, pair->realm);
}

void
hint_end_row(struct hint_pair *pair, uint64_t to_wall_ns)
{
	struct hint_record *record;

	if (pair->from_wall_ns == 0)
		return;
	record = hint_row(pair, HINT_ENDS);
	record->own = hint_alloc(1);
	record->to_ns = to_wall_ns > pair->from_wall_ns ? to_wall_ns : pair->from_wall_ns;
	pair->from_wall_ns = 0;
	hint_add_gap(pair, to_wall_ns);
}

static void
hint_renew_row(struct hint_pair *pair, const struct hint_time *now)
{
	uint64_t gap = pair->gap_wall_ns;

	pair->gap_wall_ns = 0;
	hint_end_row(pair, now->wall_ns);
	pair->gap_wall_ns = gap;
	hint_begin_row(pair, now);
}

/* One that has no rows left takes all back: until then there may be a gap. */
void
hint_renew_rows(struct hint_vm *vm, const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->receives, by_receiver) {
		if (pair->from_wall_ns == 0 || pair->from_wall_ns == now->wall_ns)
			continue;
		if (hint_pay_row(vm, now))
			hint_renew_row(pair, now);
		else
			hint_withdraw(pair, CAUSE_ADDRESS, now);
	}
}

void
hint_add_gap(struct hint_pair *pair, uint64_t to_wall_ns)
{
	struct hint_vm *vm = pair->receiver;

	if (pair->gap_wall_ns == 0)
		return;
	if (vm->gap_from_ns == 0 || pair->gap_wall_ns < vm->gap_from_ns) {
		vm->gap_from_ns = pair->gap_wall_ns;
		memcpy(vm->gap_peer, pair->sender->uuid, sizeof(vm->gap_peer));
		vm->gap_cause = pair->cause;
	}
	if (to_wall_ns > vm->gap_to_ns)
		vm->gap_to_ns = to_wall_ns;
	pair->gap_wall_ns = 0;
}

void
hint_flush_gap(struct hint_vm *vm, bool bounded, uint64_t packets)
{
	struct hint_record *record;

	if (vm->gap_from_ns == 0)
		return;
	record = hint_record(vm, HINT_GAP);
	memcpy(record->peer, vm->gap_peer, sizeof(record->peer));
	record->from_ns = vm->gap_from_ns + (uint64_t)vm->clock_ns;
	record->to_ns = vm->gap_to_ns + (uint64_t)vm->clock_ns;
	record->bounded = bounded;
	record->packets = packets;
	record->cause = hint_cause_text(vm->gap_cause);
	vm->gap_from_ns = vm->gap_to_ns = 0;
}

/* By what STATS told before it began; the first one of the history may be too late. */
static void
hint_bound_gap(struct hint_vm *vm, uint64_t withheld)
{
	const struct hint_withheld *before = NULL;

	for (size_t i = 0; i < vm->history_count; i++)
		if (vm->history[i].wall_ns <= vm->gap_from_ns && (before == NULL || vm->history[i].wall_ns > before->wall_ns))
			before = &vm->history[i];
	hint_flush_gap(vm, before != NULL && withheld >= before->packets, before != NULL ? withheld - before->packets : 0);
}

static void
hint_note_withheld(struct hint_vm *vm, const struct hint_stats *stats)
{
	uint64_t wall_ns = stats->wall_ns - (uint64_t)vm->clock_ns;

	if (vm->gap_from_ns != 0 && wall_ns > vm->gap_to_ns)
		hint_bound_gap(vm, stats->withheld);
	if (vm->history_count == HINT_HISTORY)
		memmove(vm->history, vm->history + 1, --vm->history_count * sizeof(vm->history[0]));
	vm->history[vm->history_count++] = (struct hint_withheld){ wall_ns, stats->withheld };
}

/* Twice in turn something was kept back, and no block came between. */
static void
hint_note_spool(struct hint_vm *vm, const struct hint_stats *stats, const struct hint_time *now)
{
	bool late = stats->spool_bytes > 0 && vm->last_wall_ns + vm->hints->settings.lease_ns < now->wall_ns;

	vm->late_stats = late ? vm->late_stats + 1 : 0;
	if (vm->late_stats >= 2)
		hint_add_trouble(vm, TROUBLE_BEHIND, CAUSE_BEHIND, now);
	else if (stats->spool_bytes == 0)
		vm->trouble &= ~(unsigned)TROUBLE_BEHIND;
}

static void
hint_set_trouble(struct hint_vm *vm, bool on, unsigned trouble, enum hint_cause cause, const struct hint_time *now)
{
	if (on)
		hint_add_trouble(vm, trouble, cause, now);
	else if (vm->trouble & trouble) {
		vm->trouble &= ~trouble;
		hint_forget_proofs(vm);
		vm->valid_wall_ns = now->wall_ns;
	}
}

void
hint_lossy(struct hint_vm *vm, const struct hint_time *now)
{
	vm->lossy_ns = now->mono_ns + HINT_HOLD_NS;
	hint_add_trouble(vm, TROUBLE_LOSSY, CAUSE_LOSSY, now);
}

void
hint_stats(struct hint_vm *vm, const struct hint_stats *stats, const struct hint_time *now)
{
	hint_set_trouble(vm, stats->shedding, TROUBLE_SHEDDING, CAUSE_SHEDDING, now);
	hint_set_trouble(vm, stats->paused, TROUBLE_PAUSED, CAUSE_PAUSED, now);
	if (vm->lost_known && stats->lost > vm->lost)
		hint_lossy(vm, now);
	vm->lost = stats->lost;
	vm->lost_known = true;
	vm->stats_wall_ns = stats->wall_ns - (uint64_t)vm->clock_ns;
	hint_note_spool(vm, stats, now);
	hint_note_withheld(vm, stats);
}

void
hint_end_list(struct hint_vm *vm, enum hint_cause cause, uint64_t to_wall_ns, const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->receives, by_receiver) {
		hint_withdraw(pair, cause, now);
		hint_unlist(pair);
		hint_end_row(pair, to_wall_ns);
	}
	if (vm->queued)
		TAILQ_REMOVE(&vm->hints->group[vm->group].queue, vm, queue_entry);
	if (vm->later)
		TAILQ_REMOVE(&vm->hints->later, vm, later_entry);
	if (vm->generation != 0)
		TAILQ_REMOVE(&vm->hints->listed, vm, listed_entry);
	vm->queued = vm->later = vm->whole = false;
	vm->whole_seq = 0;
}

/* The agent has none of the list: it ends, and is told from the begin, as far as there are rows for it. */
static void
hint_tell_again(struct hint_vm *vm, const struct hint_time *now)
{
	struct hint_pair *pair;

	LIST_FOREACH(pair, &vm->receives, by_receiver) {
		bool had = pair->from_wall_ns != 0;

		hint_end_row(pair, now->wall_ns);
		if (pair->state == PAIR_LISTED && had && !hint_pay_row(vm, now))
			hint_withdraw(pair, CAUSE_ROOM, now);
		if (pair->state == PAIR_REMOVING || pair->state == PAIR_GOING)
			hint_unlist(pair);
	}
	vm->whole = true;
	hint_queue_later(vm);
}

static void
hint_confirm(struct hint_vm *vm, uint64_t seq, const struct hint_time *now)
{
	struct hint_pair *pair, *next;

	if (vm->whole_seq <= seq)
		vm->whole_seq = 0;
	for (pair = TAILQ_FIRST(&vm->going); pair != NULL; pair = next) {
		next = TAILQ_NEXT(pair, change);
		if (pair->seq > seq)
			continue;
		hint_unlist(pair);
		hint_end_row(pair, now->wall_ns);
	}
}

/* 0 is also what an agent says when the lease has ended, or when it cannot follow. A whole list that is under way sets all right. */
void
hint_result(struct hint_vm *vm, const struct msg_hints_result *result, const struct hint_time *now)
{
	if (result->generation != 0 && result->generation <= vm->seq)
		hint_confirm(vm, result->generation, now);
	else if (vm->generation == 0)
		hint_confirm(vm, vm->seq, now);
	else if (vm->whole_seq == 0 && !vm->whole)
		hint_tell_again(vm, now);
}

bool
hint_heard(struct hint_vm *vm, uint64_t mono_ns)
{
	if (mono_ns > vm->heard_ns)
		vm->heard_ns = mono_ns;
	return vm->relied_on > 0;
}

/* Who was stopped itself has not listened: all that others rely on have time to be heard of. */
static void
hint_listen_again(struct hints *hints, const struct hint_time *now)
{
	uint64_t heard_ns = now->mono_ns - hints->settings.lease_ns / 2;
	struct hint_vm *vm;

	TAILQ_FOREACH(vm, &hints->relied, relied_entry)
		if (vm->heard_ns < heard_ns)
			vm->heard_ns = heard_ns;
}

static void
hint_notice_silence(struct hints *hints, const struct hint_time *now)
{
	struct hint_vm *vm, *next;

	for (vm = TAILQ_FIRST(&hints->relied); vm != NULL; vm = next) {
		next = TAILQ_NEXT(vm, relied_entry);
		if (vm->heard_ns + hints->settings.lease_ns > now->mono_ns)
			continue;
		hint_withdraw_sender(vm, CAUSE_SILENT, now);
		hint_forget_proofs(vm);
	}
}

void
hint_tick(struct hints *hints, const struct hint_time *now)
{
	uint64_t since_ns = now->mono_ns - hints->tick_ns;
	struct hint_vm *vm;

	if (since_ns < hints->settings.lease_ns / 8)
		return;
	hints->tick_ns = now->mono_ns;
	if (since_ns > hints->settings.lease_ns / 2)
		hint_listen_again(hints, now);
	hint_notice_silence(hints, now);
	hint_expire(hints, now);
	while ((vm = TAILQ_FIRST(&hints->later)) != NULL)
		hint_queue(vm);
	TAILQ_FOREACH(vm, &hints->listed, listed_entry)
		if (now->mono_ns - vm->sent_ns >= hints->settings.lease_ns / 4)
			hint_queue(vm);
}

bool
hint_waiting(const struct hints *hints, unsigned group)
{
	return !TAILQ_EMPTY(&hints->group[group].queue) || !STAILQ_EMPTY(&hints->group[group].records);
}

/* All that is to go goes; what is to come comes into the list, and on record. */
static void
hint_put_changes(struct hint_vm *vm, struct msg_hints *msg, const struct hint_time *now)
{
	struct hint_pair *pair;

	while ((pair = TAILQ_FIRST(&vm->changes)) != NULL) {
		TAILQ_REMOVE(&vm->changes, pair, change);
		if (pair->state == PAIR_ADDING) {
			msg->added[msg->added_count++] = pair->peer;
			pair->state = PAIR_LISTED;
			if (pair->from_wall_ns == 0)
				hint_begin_row(pair, now);
			continue;
		}
		msg->gone[msg->gone_count++] = pair->peer;
		pair->state = PAIR_GOING;
		pair->seq = vm->seq;
		TAILQ_INSERT_TAIL(&vm->going, pair, change);
	}
}

static int
hint_compare_proofs(const void *a, const void *b)
{
	const struct hint_pair *left = *(struct hint_pair *const *)a, *right = *(struct hint_pair *const *)b;

	return (left->proofs < right->proofs) - (left->proofs > right->proofs);
}

/* The list as it is, those with the most packets first. */
static void
hint_put_whole(struct hint_vm *vm, struct msg_hints *msg, const struct hint_time *now)
{
	struct hint_pair *pair, **list = hint_alloc((vm->listed + 1) * sizeof(*list));
	size_t count = 0;

	msg->gone_count = msg->added_count = 0;
	LIST_FOREACH(pair, &vm->receives, by_receiver) {
		if (pair->state != PAIR_LISTED)
			continue;
		if (pair->from_wall_ns == 0)
			hint_begin_row(pair, now);
		list[count++] = pair;
	}
	qsort(list, count, sizeof(*list), hint_compare_proofs);
	for (size_t i = 0; i < count; i++)
		msg->added[msg->added_count++] = list[i]->peer;
	free(list);
	msg->base = 0;
	vm->whole_seq = vm->seq;
	vm->hints->totals.whole++;
}

static void
hint_put_list(struct hint_vm *vm, struct msg_hints *msg, const struct hint_time *now)
{
	bool had = vm->generation != 0, whole = vm->whole || vm->list_balanced != vm->balanced || vm->listed == 0;

	msg->base = vm->generation;
	vm->seq++;
	vm->list_balanced = vm->balanced;
	hint_put_changes(vm, msg, now);
	if (whole)
		hint_put_whole(vm, msg, now);
	vm->whole = false;
	vm->generation = vm->listed > 0 ? vm->seq : 0;
	if (!had && vm->generation != 0)
		TAILQ_INSERT_TAIL(&vm->hints->listed, vm, listed_entry);
	if (had && vm->generation == 0)
		TAILQ_REMOVE(&vm->hints->listed, vm, listed_entry);
}

static void
hint_put(struct hint_vm *vm, struct msg_hints *msg, const struct hint_time *now)
{
	msg->gone_count = msg->added_count = 0;
	msg->base = vm->generation;
	if (vm->whole || !TAILQ_EMPTY(&vm->changes))
		hint_put_list(vm, msg, now);
	msg->generation = vm->generation;
	msg->lease_ms = (uint32_t)(vm->hints->settings.lease_ns / 1000000u);
	msg->flags = vm->list_balanced ? HINTS_BALANCED : 0;
	vm->sent_ns = now->mono_ns;
	vm->hints->totals.messages++;
}

bool
hint_take(struct hints *hints, unsigned group, struct msg_hints *msg, struct hint_vm **taken, const struct hint_time *now)
{
	struct hint_vm *vm;

	while ((vm = TAILQ_FIRST(&hints->group[group].queue)) != NULL) {
		TAILQ_REMOVE(&hints->group[group].queue, vm, queue_entry);
		vm->queued = false;
		if (!vm->whole && vm->generation == 0 && TAILQ_EMPTY(&vm->changes))
			continue;	/* what it was to be told has been taken back */
		hint_put(vm, msg, now);
		*taken = vm;
		return true;
	}
	return false;
}

size_t
hint_listed(const struct hint_vm *vm)
{
	return vm->listed;
}
