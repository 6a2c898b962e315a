/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/pcapng.h"

#include "tests/hint_lab.h"

/* What an agent holds after the messages. */
struct list {
	struct bpf_peer	peer[MSG_PEERS_MAX];
	size_t		count;
	uint64_t	generation;
};

struct hint_lab lab;
struct hint_record lab_record;
static struct list *lists;
static unsigned recorded[HINT_BARRED + 1];
static struct hint_record kept[HINT_BARRED + 1];
static unsigned lab_groups;

void
lab_begin(unsigned groups)
{
	const struct hint_settings settings = { .lease_ns = LAB_LEASE_NS, .groups = groups, .seed = 4711 };

	memset(&lab, 0, sizeof(lab));
	memset(recorded, 0, sizeof(recorded));
	lab.now = (struct hint_time){ .mono_ns = 1000 * LAB_SECOND, .wall_ns = UINT64_C(1700000000) * LAB_SECOND };
	lab_groups = groups;
	lists = calloc(LAB_VMS, sizeof(*lists));
	lab.hints = hints_new(&settings);
	assert(lists != NULL && lab.hints != NULL);
}

static void
take_records(void)
{
	struct hint_record record;

	for (unsigned group = 0; group < lab_groups; group++)
		while (hint_take_record(lab.hints, group, &record)) {
			recorded[record.kind]++;
			free(record.own);
			record.own = NULL;
			kept[record.kind] = record;
		}
}

void
lab_end(void)
{
	take_records();
	hints_free(lab.hints);
	free(lists);
}

void
lab_pass(uint64_t ns)
{
	lab.now.mono_ns += ns;
	lab.now.wall_ns += ns;
	hint_tick(lab.hints, &lab.now);
}

struct bpf_peer
lab_address(unsigned vm)
{
	return (struct bpf_peer){ .family = AF_INET, .address = { 10, 0, (uint8_t)(vm >> 8), (uint8_t)(vm + 1) } };
}

static void
lab_uuid(unsigned vm, char *uuid)
{
	snprintf(uuid, IDENTITY_UUID_SIZE, "00000000-0000-4000-8000-%012u", vm);
}

void
lab_up_as(unsigned vm, const char *tenant, const char *network, const char *filter, bool balanced)
{
	const struct hint_policy policy = { .withhold = true, .balanced = balanced, .settled = true };
	struct pcapng_interface description = { .name = "eth0", .ipv4_count = 1 };
	struct bpf_peer address = lab_address(vm);
	char uuid[IDENTITY_UUID_SIZE];

	lab_uuid(vm, uuid);
	lab.vm[vm] = hint_up(lab.hints, tenant, uuid, vm % lab_groups, &lab.now);
	assert(lab.vm[vm] != NULL);
	memcpy(description.ipv4[0], address.address, 4);
	snprintf(description.filter, sizeof(description.filter), "%s", filter);
	hint_policy(lab.vm[vm], &policy, &lab.now);
	hint_interface(lab.vm[vm], 0, &description, network, &lab.now);
}

void
lab_up(unsigned vm)
{
	lab_up_as(vm, "acme", "", "", false);
}

void
lab_up_sender(unsigned vm)
{
	const struct pcapng_interface other = { .name = "eth9" };

	lab_up(vm);
	hint_interface(lab.vm[vm], 9, &other, "elsewhere", &lab.now);
}

static void
lab_block(unsigned vm, const struct hint_sample *sample)
{
	static struct hint_block block;

	block = (struct hint_block){ .first_ns = lab.now.wall_ns, .last_ns = lab.now.wall_ns, .ceiling = { UINT64_MAX, UINT64_MAX } };
	if (sample != NULL)
		block.sample[block.count++] = *sample;
	hint_heard(lab.vm[vm], lab.now.mono_ns);
	hint_block(lab.vm[vm], &block, &lab.now);
}

void
lab_idle_block(unsigned vm)
{
	lab_block(vm, NULL);
}

void
lab_sent(unsigned from, unsigned to, uint64_t digest)
{
	const struct hint_sample sample = { .digest = digest, .time_ns = lab.now.wall_ns, .src = lab_address(from),
	    .dst = lab_address(to), .out = true, .undivided = true };

	lab_block(from, &sample);
}

void
lab_came(unsigned to, struct bpf_peer from, uint64_t digest, bool audit)
{
	const struct hint_sample sample = { .digest = digest, .time_ns = lab.now.wall_ns, .src = from, .dst = lab_address(to),
	    .undivided = true, .audit = audit };

	lab_block(to, &sample);
}

void
lab_packet(unsigned from, unsigned to)
{
	uint64_t digest = ++lab.digest * UINT64_C(0x9e3779b97f4a7c15);

	if (lab.digest % 2 == 0)
		lab_sent(from, to, digest);
	lab_came(to, lab_address(from), digest, true);
	if (lab.digest % 2 == 1)
		lab_sent(from, to, digest);
}

void
lab_packets(unsigned from, unsigned to, unsigned count)
{
	while (count-- > 0)
		lab_packet(from, to);
}

static size_t
list_find(const struct list *list, const struct bpf_peer *peer)
{
	size_t i = 0;

	while (i < list->count && memcmp(&list->peer[i], peer, sizeof(*peer)) != 0)
		i++;
	return i;
}

/* As PROTOCOL says; false: base is another. */
static bool
list_apply(struct list *list, const struct msg_hints *msg)
{
	size_t at;

	if (msg->base != 0 && msg->base != list->generation)
		return false;
	if (msg->base == 0)
		list->count = 0;
	for (size_t i = 0; i < msg->gone_count; i++)
		if ((at = list_find(list, &msg->gone[i])) < list->count) {
			memmove(&list->peer[at], &list->peer[at + 1], (list->count - at - 1) * sizeof(list->peer[0]));
			list->count--;
		}
	for (size_t i = 0; i < msg->added_count; i++)
		if (list_find(list, &msg->added[i]) == list->count && list->count < MSG_PEERS_MAX)
			list->peer[list->count++] = msg->added[i];
	list->generation = msg->generation;
	return true;
}

int
lab_take_unanswered(void)
{
	struct hint_vm *vm = NULL;
	struct buf buf;
	bool any = false;
	int number = 0;

	for (unsigned group = 0; group < lab_groups && !any; group++)
		any = hint_take(lab.hints, group, &lab.msg, &vm, &lab.now);
	take_records();
	if (!any)
		return -1;
	buf_init(&buf, 65536);
	assert(msg_put_hints(&buf, &lab.msg) == 0);
	lab.bytes += buf.len;
	buf_clear(&buf);
	while (lab.vm[number] != vm)
		number++;
	return number;
}

int
lab_take(void)
{
	int vm = lab_take_unanswered();
	struct msg_hints_result result = { .wall_ns = lab.now.wall_ns };
	uint64_t before;

	if (vm == -1)
		return -1;
	before = lists[vm].generation;
	assert(list_apply(&lists[vm], &lab.msg));
	result.generation = lists[vm].generation;
	if (result.generation != before)
		hint_result(lab.vm[vm], &result, &lab.now);
	take_records();
	return vm;
}

void
lab_take_all(void)
{
	while (lab_take() != -1)
		;
}

bool
lab_withholds(unsigned vm, unsigned peer)
{
	struct bpf_peer address = lab_address(peer);

	return list_find(&lists[vm], &address) < lists[vm].count;
}

size_t
lab_list_size(unsigned vm)
{
	return lists[vm].count;
}

unsigned
lab_records(enum hint_record_kind kind)
{
	unsigned count;

	take_records();
	count = recorded[kind];
	recorded[kind] = 0;
	lab_record = kept[kind];
	return count;
}
