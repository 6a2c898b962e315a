/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#include "collector/hint_internal.h"

/* VMs, their interfaces, and who claims which address. */

void *
hint_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL) {
		log_error("out of memory");
		abort();
	}
	return p;
}

/* FNV-1a, begun with what no agent knows, and mixed, for only low bits are used. */
uint32_t
hint_hash(const struct hints *hints, const void *data, size_t len, uint32_t before)
{
	uint64_t hash = (UINT64_C(14695981039346656037) ^ hints->settings.seed) + before;
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(1099511628211);
	hash ^= hash >> 29;
	hash *= UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(hash >> 32);
}

bool
hint_same(const struct bpf_peer *a, const struct bpf_peer *b)
{
	return a->family == b->family && memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

static void
hints_init(struct hints *hints)
{
	LIST_INIT(&hints->realms);
	TAILQ_INIT(&hints->lru);
	TAILQ_INIT(&hints->relied);
	TAILQ_INIT(&hints->listed);
	TAILQ_INIT(&hints->later);
	for (unsigned i = 0; i < hints->settings.groups; i++) {
		TAILQ_INIT(&hints->group[i].queue);
		STAILQ_INIT(&hints->group[i].records);
	}
}

struct hints *
hints_new(const struct hint_settings *settings)
{
	struct hints *hints = calloc(1, sizeof(*hints));

	if (hints == NULL)
		return NULL;
	hints->settings = *settings;
	hints->addresses = calloc(HINT_BUCKETS, sizeof(*hints->addresses));
	hints->pairs = calloc(HINT_BUCKETS, sizeof(*hints->pairs));
	hints->seen = calloc(HINT_SEEN_BUCKETS, sizeof(*hints->seen));
	hints->group = calloc(settings->groups, sizeof(*hints->group));
	if (hints->addresses == NULL || hints->pairs == NULL || hints->seen == NULL || hints->group == NULL) {
		hints_free(hints);
		return NULL;
	}
	hints_init(hints);
	return hints;
}

static void
hint_drop_interface(struct hint_interface *interface)
{
	struct hint_claim *claim;

	while ((claim = LIST_FIRST(&interface->claims)) != NULL) {
		LIST_REMOVE(claim, by_interface);
		LIST_REMOVE(claim, by_address);
		if (LIST_EMPTY(&claim->address->claims)) {
			LIST_REMOVE(claim->address, entry);
			free(claim->address);
		}
		free(claim);
	}
	TAILQ_REMOVE(&interface->vm->interfaces, interface, entry);
	interface->vm->interface_count--;
	free(interface);
}

static void
hint_free_vm(void *any)
{
	struct hint_vm *vm = any;

	while (!TAILQ_EMPTY(&vm->interfaces))
		hint_drop_interface(TAILQ_FIRST(&vm->interfaces));
	free(vm->seen);
	free(vm);
}

void
hints_free(struct hints *hints)
{
	struct hint_realm *realm;
	struct hint_record record;

	if (hints == NULL)
		return;
	while (!TAILQ_EMPTY(&hints->lru))
		hint_free_pair(TAILQ_FIRST(&hints->lru));
	tdestroy(hints->vms, hint_free_vm);
	for (unsigned i = 0; hints->group != NULL && i < hints->settings.groups; i++)
		while (hint_take_record(hints, i, &record))
			free(record.own);
	while ((realm = LIST_FIRST(&hints->realms)) != NULL) {
		LIST_REMOVE(realm, entry);
		free(realm);
	}
	free(hints->addresses);
	free(hints->pairs);
	free(hints->seen);
	free(hints->group);
	free(hints);
}

void
hints_set_lease(struct hints *hints, uint64_t lease_ns)
{
	hints->settings.lease_ns = lease_ns;
}

uint64_t
hints_pairs(const struct hints *hints)
{
	return hints->count;
}

const struct hint_totals *
hint_totals(const struct hints *hints)
{
	return &hints->totals;
}

const char *
hint_uuid(const struct hint_vm *vm)
{
	return vm->uuid;
}

static int
hint_compare_vm(const void *a, const void *b)
{
	const struct hint_vm *left = a, *right = b;

	return strcmp(left->uuid, right->uuid);
}

static struct hint_vm *
hint_new_vm(struct hints *hints, const char *tenant, const char *uuid)
{
	struct hint_vm *vm = calloc(1, sizeof(*vm));

	if (vm == NULL)
		return NULL;
	vm->hints = hints;
	vm->trouble = TROUBLE_AWAY;
	vm->rows = HINT_ROWS_BURST;
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
	snprintf(vm->tenant, sizeof(vm->tenant), "%s", tenant);
	TAILQ_INIT(&vm->interfaces);
	TAILQ_INIT(&vm->changes);
	TAILQ_INIT(&vm->going);
	TAILQ_INIT(&vm->waits);
	if (tsearch(vm, &hints->vms, hint_compare_vm) != NULL)
		return vm;
	free(vm);
	return NULL;
}

struct hint_vm *
hint_up(struct hints *hints, const char *tenant, const char *uuid, unsigned group, const struct hint_time *now)
{
	struct hint_vm key, **found, *vm;

	snprintf(key.uuid, sizeof(key.uuid), "%s", uuid);
	found = tfind(&key, &hints->vms, hint_compare_vm);
	vm = found != NULL ? *found : hint_new_vm(hints, tenant, uuid);
	if (vm == NULL)
		return NULL;
	vm->group = group;
	vm->trouble = TROUBLE_POLICY | (vm->trouble & (TROUBLE_URGENT | TROUBLE_LOSSY));
	vm->withhold = false;
	vm->heard_ns = now->mono_ns;
	vm->valid_wall_ns = now->wall_ns;
	vm->lost_known = false;
	if (vm->generation != 0) {	/* of a session before, and still in force */
		vm->generation = 0;
		vm->whole = true;
		vm->hold_ns = now->mono_ns + hints->settings.lease_ns;
		hint_queue(vm);
	}
	return vm;
}

void
hint_add_trouble(struct hint_vm *vm, unsigned trouble, enum hint_cause cause, const struct hint_time *now)
{
	bool fresh = (vm->trouble & trouble) == 0;

	vm->trouble |= trouble;
	if (fresh)
		hint_withdraw_sender(vm, cause, now);
}

void
hint_policy(struct hint_vm *vm, const struct hint_policy *policy, const struct hint_time *now)
{
	bool other = policy->withhold != vm->withhold || policy->balanced != vm->balanced;

	if (!policy->settled || other) {
		hint_add_trouble(vm, TROUBLE_POLICY, CAUSE_POLICY, now);
		hint_withdraw_receiver(vm, CAUSE_RECEIVER, now);
		hint_forget_proofs(vm);
		vm->valid_wall_ns = now->wall_ns;
	}
	/* Shares must not differ at the two ends, at no time: a list of before is out of force by then. */
	if (other && (vm->generation != 0 || !TAILQ_EMPTY(&vm->going)))
		vm->hold_ns = now->mono_ns + vm->hints->settings.lease_ns;
	vm->withhold = policy->withhold;
	vm->balanced = policy->balanced;
	if (policy->settled && (vm->trouble & TROUBLE_POLICY)) {
		vm->trouble &= ~(unsigned)TROUBLE_POLICY;
		vm->valid_wall_ns = now->wall_ns;
	}
	if (!vm->withhold)
		hint_forget_samples(vm);
}

void
hint_clock(struct hint_vm *vm, int64_t offset_ns)
{
	vm->clock_ns = offset_ns;
}

static const struct hint_realm *
hint_realm(struct hints *hints, const char *tenant, const char *network)
{
	struct hint_realm *realm;

	LIST_FOREACH(realm, &hints->realms, entry)
		if (strcmp(realm->network, network) == 0 && strcmp(realm->tenant, tenant) == 0)
			return realm;
	realm = hint_alloc(sizeof(*realm));
	snprintf(realm->tenant, sizeof(realm->tenant), "%s", tenant);
	snprintf(realm->network, sizeof(realm->network), "%s", network);
	LIST_INSERT_HEAD(&hints->realms, realm, entry);
	return realm;
}

struct hint_interface *
hint_find_interface(const struct hint_vm *vm, uint32_t id)
{
	struct hint_interface *interface;

	TAILQ_FOREACH(interface, &vm->interfaces, entry)
		if (interface->id == id)
			return interface;
	return NULL;
}

static struct hint_addresses *
hint_address_bucket(const struct hints *hints, const struct hint_realm *realm, const struct bpf_peer *peer)
{
	return &hints->addresses[hint_hash(hints, peer->address, sizeof(peer->address), hint_hash(hints, &realm, sizeof(realm),
	    peer->family)) % HINT_BUCKETS];
}

struct hint_address *
hint_find_address(const struct hints *hints, const struct hint_realm *realm, const struct bpf_peer *peer)
{
	struct hint_address *address;

	LIST_FOREACH(address, hint_address_bucket(hints, realm, peer), entry)
		if (address->realm == realm && hint_same(&address->peer, peer))
			return address;
	return NULL;
}

struct hint_vm *
hint_owner(const struct hint_address *address)
{
	if (address == NULL || address->conflict || LIST_EMPTY(&address->claims))
		return NULL;
	return LIST_FIRST(&address->claims)->interface->vm;
}

bool
hint_claims(const struct hint_vm *vm, const struct hint_realm *realm, const struct bpf_peer *peer)
{
	const struct hint_address *address = hint_find_address(vm->hints, realm, peer);
	const struct hint_claim *claim;

	if (address != NULL)
		LIST_FOREACH(claim, &address->claims, by_address)
			if (claim->interface->vm == vm)
				return true;
	return false;
}

static void
hint_tell_conflict(const struct hint_address *address, const struct hint_vm *vm, const struct hint_vm *other)
{
	struct hint_record *record = hint_record(vm, HINT_CONFLICT);

	vm->hints->totals.conflicts++;
	memcpy(record->peer, other->uuid, sizeof(record->peer));
	memcpy(record->network, address->realm->network, sizeof(record->network));
	inet_ntop(address->peer.family, address->peer.address, record->address, sizeof(record->address));
}

/* After a claim has come or gone: is it of one VM? */
static void
hint_settle_address(struct hint_address *address, struct hint_vm *claimant, const struct hint_time *now)
{
	struct hint_claim *claim;
	struct hint_vm *other = NULL;

	LIST_FOREACH(claim, &address->claims, by_address)
		if (claim->interface->vm != claimant)
			other = claim->interface->vm;
	if (claimant == NULL || other == NULL || address->conflict)
		return;
	address->conflict = true;
	hint_withdraw_address(other, address->realm, &address->peer, CAUSE_CONFLICT, now);
	hint_withdraw_address(claimant, address->realm, &address->peer, CAUSE_CONFLICT, now);
	hint_tell_conflict(address, claimant, other);
}

static void
hint_unclaim(struct hint_claim *claim, const struct hint_time *now)
{
	struct hint_address *address = claim->address;
	struct hint_vm *vm = claim->interface->vm, *owner = NULL;
	bool conflict = false;

	LIST_REMOVE(claim, by_address);
	LIST_REMOVE(claim, by_interface);
	claim->interface->count--;
	free(claim);
	LIST_FOREACH(claim, &address->claims, by_address) {
		conflict = conflict || (owner != NULL && claim->interface->vm != owner);
		owner = claim->interface->vm;
	}
	address->conflict = address->conflict && conflict;
	if (!hint_claims(vm, address->realm, &address->peer))
		hint_withdraw_address(vm, address->realm, &address->peer, CAUSE_ADDRESS, now);
	if (owner != NULL)
		return;
	LIST_REMOVE(address, entry);
	free(address);
}

static void
hint_claim(struct hint_interface *interface, const struct bpf_peer *peer, const struct hint_time *now)
{
	struct hints *hints = interface->vm->hints;
	struct hint_address *address = hint_find_address(hints, interface->realm, peer);
	struct hint_claim *claim = hint_alloc(sizeof(*claim));

	if (address == NULL) {
		address = hint_alloc(sizeof(*address));
		address->realm = interface->realm;
		address->peer = *peer;
		LIST_INIT(&address->claims);
		LIST_INSERT_HEAD(hint_address_bucket(hints, interface->realm, peer), address, entry);
	}
	claim->interface = interface;
	claim->address = address;
	LIST_INSERT_HEAD(&address->claims, claim, by_address);
	LIST_INSERT_HEAD(&interface->claims, claim, by_interface);
	interface->count++;
	hint_settle_address(address, interface->vm, now);
}

bool
hint_may_claim(const struct bpf_peer *peer)
{
	static const uint8_t zero[16], loopback[16] = { [15] = 1 };
	const uint8_t *a = peer->address;

	if (peer->family == AF_INET)
		return a[0] != 0 && a[0] != 127 && a[0] < 224 && !(a[0] == 169 && a[1] == 254);
	return peer->family == AF_INET6 && memcmp(a, zero, 16) != 0 && memcmp(a, loopback, 16) != 0 && a[0] != 0xff &&
	    !(a[0] == 0xfe && (a[1] & 0xc0) == 0x80) && memcmp(a, zero, 10) != 0;	/* nor one that holds one of IPv4 */
}

static bool
hint_is_in(const struct bpf_peer *peer, const struct bpf_peer *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (hint_same(&list[i], peer))
			return true;
	return false;
}

static bool
hint_has_claim(const struct hint_interface *interface, const struct bpf_peer *peer)
{
	const struct hint_claim *claim;

	LIST_FOREACH(claim, &interface->claims, by_interface)
		if (hint_same(&claim->address->peer, peer))
			return true;
	return false;
}

/* What comes to these from a peer is left out as well. */
static bool
hint_set_local(struct hint_interface *interface, const struct bpf_peer *list, size_t count)
{
	struct bpf_peer local[MSG_ADDRESSES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < count && n < MSG_ADDRESSES_MAX; i++)
		if (!hint_may_claim(&list[i]))
			local[n++] = list[i];
	if (n == interface->local_count && memcmp(local, interface->local, n * sizeof(*local)) == 0)
		return false;
	memcpy(interface->local, local, n * sizeof(*local));
	interface->local_count = n;
	return true;
}

void
hint_addresses(struct hint_vm *vm, uint32_t id, const struct bpf_peer *list, size_t count, const struct hint_time *now)
{
	struct hint_interface *interface = hint_find_interface(vm, id);
	struct hint_claim *claim, *next;
	bool changed;

	if (interface == NULL)
		return;
	changed = hint_set_local(interface, list, count);
	for (claim = LIST_FIRST(&interface->claims); claim != NULL; claim = next) {
		next = LIST_NEXT(claim, by_interface);
		if (hint_is_in(&claim->address->peer, list, count))
			continue;
		hint_unclaim(claim, now);
		changed = true;
	}
	for (size_t i = 0; i < count && interface->count < MSG_ADDRESSES_MAX; i++) {
		if (!hint_may_claim(&list[i]) || hint_has_claim(interface, &list[i]))
			continue;
		hint_claim(interface, &list[i], now);
		changed = true;
	}
	if (changed)
		hint_renew_rows(vm, now);
}

static void
hint_remove_interface(struct hint_interface *interface, const struct hint_time *now)
{
	hint_addresses(interface->vm, interface->id, NULL, 0, now);
	hint_drop_interface(interface);
}

void
hint_down(struct hint_vm *vm, const struct hint_time *now)
{
	if (vm->trouble & TROUBLE_AWAY)
		return;
	hint_add_trouble(vm, TROUBLE_AWAY, CAUSE_LEFT, now);
	hint_end_list(vm, CAUSE_RECEIVER, now->wall_ns + vm->hints->settings.lease_ns, now);
	hint_flush_gap(vm, false, 0);
	while (!TAILQ_EMPTY(&vm->interfaces))
		hint_remove_interface(TAILQ_FIRST(&vm->interfaces), now);
	hint_forget_samples(vm);
	hint_forget_proofs(vm);
	vm->history_count = 0;
	vm->covered_wall_ns = vm->stats_wall_ns = 0;
}

void
hint_stream(struct hint_vm *vm, const struct hint_time *now)
{
	hint_withdraw_sender(vm, CAUSE_LEFT, now);
	hint_withdraw_receiver(vm, CAUSE_RECEIVER, now);
	while (!TAILQ_EMPTY(&vm->interfaces))
		hint_remove_interface(TAILQ_FIRST(&vm->interfaces), now);
	vm->valid_wall_ns = now->wall_ns;
	vm->covered_wall_ns = vm->stats_wall_ns = 0;
	vm->lost_known = false;
	hint_flush_gap(vm, false, 0);
	vm->history_count = 0;
}

static size_t
hint_described_addresses(const struct pcapng_interface *description, struct bpf_peer *list)
{
	size_t count = 0;

	memset(list, 0, 16 * sizeof(*list));
	for (uint8_t i = 0; i < description->ipv4_count; i++) {
		list[count].family = AF_INET;
		memcpy(list[count++].address, description->ipv4[i], 4);
	}
	for (uint8_t i = 0; i < description->ipv6_count; i++) {
		list[count].family = AF_INET6;
		memcpy(list[count++].address, description->ipv6[i], 16);
	}
	return count;
}

static struct hint_interface *
hint_interface_named(const struct hint_vm *vm, const char *name)
{
	struct hint_interface *interface;

	TAILQ_FOREACH(interface, &vm->interfaces, entry)
		if (strcmp(interface->name, name) == 0)
			return interface;
	return NULL;
}

static struct hint_interface *
hint_new_interface(struct hint_vm *vm, uint32_t id, const struct pcapng_interface *description, const struct hint_realm *realm)
{
	struct hint_interface *interface = hint_alloc(sizeof(*interface));

	LIST_INIT(&interface->claims);
	interface->vm = vm;
	interface->id = id;
	interface->realm = realm;
	interface->whole = description->description[0] == '\0';
	snprintf(interface->name, sizeof(interface->name), "%s", description->name);
	snprintf(interface->filter, sizeof(interface->filter), "%s", description->filter);
	TAILQ_INSERT_TAIL(&vm->interfaces, interface, entry);
	vm->interface_count++;
	return interface;
}

/* What it captures has changed, and with that what it delivers and wants. */
void
hint_interface(struct hint_vm *vm, uint32_t id, const struct pcapng_interface *description, const char *network,
    const struct hint_time *now)
{
	const struct hint_realm *realm = hint_realm(vm->hints, vm->tenant, network);
	struct hint_interface *old = hint_interface_named(vm, description->name);
	struct bpf_peer list[MSG_ADDRESSES_MAX];
	size_t count = hint_described_addresses(description, list);
	struct hint_claim *claim;

	if (old != NULL ? old->id > id || (old->id == id && old->realm == realm) : vm->interface_count == MSG_INTERFACES_MAX)
		return;
	if (old != NULL) {
		memcpy(list, old->local, old->local_count * sizeof(*list));
		count = old->local_count;
		LIST_FOREACH(claim, &old->claims, by_interface)
			if (count < MSG_ADDRESSES_MAX)
				list[count++] = claim->address->peer;
		hint_remove_interface(old, now);
	}
	hint_withdraw_sender(vm, CAUSE_FILTER, now);
	hint_withdraw_receiver(vm, CAUSE_RECEIVER, now);
	hint_forget_proofs(vm);
	vm->valid_wall_ns = now->wall_ns;
	hint_new_interface(vm, id, description, realm);
	hint_addresses(vm, id, list, count, now);
}
