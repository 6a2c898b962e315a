/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/utsname.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "common/log.h"
#include "proto/codec.h"
#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "agent/governor.h"

/* From the state of a tap to the one wanted: first all that can fail, which leaves what is in force as it is; then the rest. */

#define INTERFACES_MANY		16	/* with more than these, */
#define FILTER_SIZE_MANY	128	/* filters are told shorter: a stream's descriptions have to fit into the spool */

struct change_item {
	struct capture_ring *ring;
	const struct ipc_tap_interface *interface;
	bool		fresh;			/* opened for this change */
	bool		attached;
	bool		paused;			/* by the breaker, or the governor: */
	bool		governed;
	struct capture_programs programs;	/* to be attached; afterwards those before */
};

struct change {
	struct capture_tap *tap;
	const struct ipc_tap *want;
	struct capture_wish wish;
	bool		programs_only;
	const struct codec *codec;
	int		level;
	size_t		item_count;
	struct change_item item[MSG_INTERFACES_MAX];
	size_t		gone_count;
	struct {
		uint32_t ifindex;
		char	reason[128];
	} gone[MSG_INTERFACES_MAX];
};

/* A renamed interface is told by its MAC; its ring stays open. */
static bool
ring_is(const struct capture_ring *r, const struct ipc_tap_interface *interface)
{
	if (strcmp(r->name, interface->name) == 0)
		return true;
	return r->has_mac && interface->has_mac && memcmp(r->mac, interface->mac, sizeof(r->mac)) == 0;
}

static struct capture_ring *
ring_find(struct capture_tap *tap, const struct ipc_tap_interface *interface)
{
	struct capture_ring *r;

	TAILQ_FOREACH(r, &tap->rings, entry)
		if (!r->closing && !r->gone && r->ifindex == interface->ifindex && ring_is(r, interface))
			return r;
	return NULL;
}

static bool
change_keeps(const struct change *c, const struct capture_ring *r)
{
	for (size_t i = 0; i < c->want->interface_count; i++)
		if (r->ifindex == c->want->interface[i].ifindex && ring_is(r, &c->want->interface[i]))
			return true;
	return false;
}

/* Rings that end with this change count no more, though for as long as it takes both are there. */
static uint64_t
ring_kib(const struct change *c, size_t interfaces)
{
	const struct capture_totals *totals = c->tap->block.totals;
	enum capture_pool pool = capture_pool_of(c->tap->number);
	struct capture_held held[CAPTURE_POOLS];
	const struct capture_ring *r;

	memcpy(held, totals->rings, sizeof(held));
	TAILQ_FOREACH(r, &c->tap->rings, entry)
		if (r->closing || r->gone || !change_keeps(c, r)) {
			held[pool].bytes -= r->memory;
			held[pool].rings--;
		}
	return capture_share_kib(c->tap->options, pool, held, interfaces);
}

static struct capture_ring *
change_open_ring(const struct change *c, const struct ipc_tap_interface *interface, size_t interfaces, bool *gone,
    char error[MSG_TEXT_SIZE])
{
	const struct agent_options *options = c->tap->options;
	const struct capture_ring_settings settings = { .buffer_kib = ring_kib(c, interfaces),
		.flush_ms = c->want->flush_ms > 0 ? c->want->flush_ms : options->flush_ms,
		.promiscuous = options->promiscuous || (c->want->promiscuous && !options->no_promiscuous),
		.ledger = capture_tap_ledger_wanted(c->tap),
		.sampled = capture_tap_counts_sampled(c->tap),
		.held = &c->tap->block.totals->rings[capture_pool_of(c->tap->number)] };

	if (settings.buffer_kib > 0)
		return capture_ring_open(&settings, interface, gone, error);
	*gone = c->tap->number == 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: not captured: the rings of the others take all that memory-limit leaves for them",
	    interface->name);
	return NULL;
}

/* The interface's ring, open already or opened now, one of so many yet to come; one that is not there at the moment is left out and
 * told later. */
static int
change_open_one(struct change *c, const struct ipc_tap_interface *interface, size_t interfaces, char error[MSG_TEXT_SIZE])
{
	struct change_item *item = &c->item[c->item_count];
	bool gone = false;

	item->interface = interface;
	item->ring = ring_find(c->tap, interface);
	if (item->ring == NULL && c->programs_only)
		return 0;
	if (item->ring == NULL) {
		item->fresh = true;
		item->ring = change_open_ring(c, interface, interfaces, &gone, error);
	}
	if (item->ring != NULL) {
		c->item_count++;
		return 0;
	}
	if (!gone)
		return -1;
	c->gone[c->gone_count].ifindex = interface->ifindex;
	snprintf(c->gone[c->gone_count].reason, sizeof(c->gone[0].reason), "%s", error);
	c->gone_count++;
	return 0;
}

static int
change_open(struct change *c, char error[MSG_TEXT_SIZE])
{
	for (size_t i = 0; c->want->active && i < c->want->interface_count; i++)
		if (change_open_one(c, &c->want->interface[i], c->want->interface_count - i, error) == -1)
			return -1;
	return 0;
}

/* The governor pauses the last ones, which are the least important. */
static void
change_pause(struct change *c)
{
	size_t paused = c->tap->orders.paused < c->item_count ? c->tap->orders.paused : c->item_count;

	for (size_t i = 0; i < c->item_count; i++) {
		c->item[i].governed = i >= c->item_count - paused;
		c->item[i].paused = c->item[i].governed || c->item[i].interface->paused;
	}
}

/* The program depends on what the interface is, not on which. */
static const struct capture_programs *
compiled_before(const struct change *c, const struct change_item *item)
{
	for (const struct change_item *other = c->item; other < item; other++)
		if (other->ring->linktype == item->ring->linktype && other->ring->loopback == item->ring->loopback &&
		    other->paused == item->paused)
			return &other->programs;
	return NULL;
}

static int
change_compile_one(struct change *c, struct change_item *item, char error[MSG_TEXT_SIZE])
{
	const struct capture_programs *before = compiled_before(c, item);
	struct capture_ring *r = item->ring;

	if (before == NULL)
		return capture_filter_build(r->pcap, r->name, &c->wish, r->loopback, item->paused, &item->programs, error);
	if (capture_programs_copy(&item->programs, before) == 0)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", r->name);
	return -1;
}

static int
change_compile(struct change *c, char error[MSG_TEXT_SIZE])
{
	for (size_t i = 0; i < c->item_count; i++)
		if (change_compile_one(c, &c->item[i], error) == -1)
			return -1;
	return 0;
}

/* With the first so many peers only; bare: without what the governor orders, too. */
static int
item_build(const struct change *c, const struct change_item *item, size_t peers, bool bare, struct capture_programs *programs,
    char error[MSG_TEXT_SIZE])
{
	struct capture_wish wish = c->wish;
	struct capture_ring *r = item->ring;

	wish.peer_count = peers;
	if (bare) {
		wish.keep = GOVERNOR_KEEP_ALL;
		wish.slice = wish.agreed;
	}
	if (capture_filter_build(r->pcap, r->name, &wish, r->loopback, item->paused, programs, error) == -1)
		return -1;
	programs->state.peers_left += c->wish.peer_count - peers;
	return 0;
}

/* As many peers as there is room for, which is found by asking the kernel. -1: not even without one. */
static int
item_attach_peers(const struct change *c, const struct change_item *item, size_t peers, char error[MSG_TEXT_SIZE])
{
	struct capture_programs more;
	int result = -1;

	for (;; peers = peers * 3 / 4) {
		if (item_build(c, item, peers, false, &more, error) == -1)
			return -1;
		result = capture_ring_attach(item->ring, &more, error);
		capture_programs_clear(&more);
		if (result == 0 || peers == 0)
			return result;
	}
}

/* Where a lease has ended there must be no peers, whatever else is in the kernel: for a moment nothing is captured. */
static int
item_attach_over_nothing(struct change_item *item, char error[MSG_TEXT_SIZE])
{
	struct capture_programs nothing;
	char why[MSG_TEXT_SIZE];

	if (capture_programs_nothing(&nothing) == -1)
		return -1;
	if (capture_ring_attach(item->ring, &nothing, error) == -1) {
		capture_programs_clear(&nothing);
		return -1;
	}
	if (capture_ring_attach(item->ring, &item->programs, error) == -1) {	/* nothing: those before */
		if (capture_ring_attach(item->ring, &nothing, why) == -1)
			log_error("the filter before cannot be put back: %s", why);
		capture_programs_clear(&nothing);
		return -1;
	}
	capture_programs_clear(&item->programs);
	item->programs = nothing;
	return 0;
}

/* Some room is taken by the program before, until a small one is in its place: it captures what governor and peers leave out. */
static int
item_attach_again(const struct change *c, struct change_item *item, char error[MSG_TEXT_SIZE])
{
	size_t peers = c->wish.peer_count - item->programs.state.peers_left;
	struct capture_programs bare;
	char why[MSG_TEXT_SIZE];

	if (item_build(c, item, 0, true, &bare, why) == -1)
		return -1;
	if (capture_programs_equal(&bare, &item->programs) || capture_ring_attach(item->ring, &bare, why) == -1) {
		capture_programs_clear(&bare);
		return c->tap->lapsed ? item_attach_over_nothing(item, error) : -1;
	}
	capture_programs_clear(&item->programs);
	item->programs = bare;	/* those before */
	if (item_attach_peers(c, item, peers, error) == 0)
		return 0;
	if (capture_ring_attach(item->ring, &item->programs, why) == -1)
		log_error("the filter before cannot be put back: %s", why);
	return -1;
}

static int
item_attach(const struct change *c, struct change_item *item, char error[MSG_TEXT_SIZE])
{
	static struct log_limit limit;
	const struct capture_ring *r = item->ring;

	if (capture_ring_attach(item->ring, &item->programs, error) == -1 && item_attach_again(c, item, error) == -1)
		return -1;
	item->attached = true;
	if (r->programs.state.peers_left > 0)
		log_limited(&limit, 60000, LOG_LEVEL_INFO, "%s: the filter has no room for %zu of %zu peers: their packets are captured",
		    r->name, r->programs.state.peers_left, c->wish.peer_count);
	return 0;
}

/* Where one is refused, the ones before it go back. */
static int
change_attach(struct change *c, char error[MSG_TEXT_SIZE])
{
	char ignored[MSG_TEXT_SIZE];
	size_t i;

	for (i = 0; i < c->item_count; i++) {
		struct change_item *item = &c->item[i];

		if (!item->ring->uncounted && capture_programs_equal(&item->ring->programs, &item->programs))
			continue;
		if (item_attach(c, item, error) == -1)
			break;
	}
	if (i == c->item_count)
		return 0;
	while (i-- > 0)
		if (c->item[i].attached && capture_ring_attach(c->item[i].ring, &c->item[i].programs, ignored) == -1)
			log_error("%s: the filter before cannot be put back", ignored);
	return -1;
}

/* A DLT_ as the file format numbers it; they differ where systems' own numbers did. */
static uint16_t
linktype_of(int dlt)
{
	switch (dlt) {
	case DLT_RAW:
		return 101;
	case DLT_ATM_RFC1483:
		return 100;
	}
	return (uint16_t)dlt;
}

static void
describe(struct pcapng_interface *d, const struct capture_ring *r, const struct ipc_tap_interface *interface, const struct change *c)
{
	const struct capture_wish *wish = &c->wish;
	size_t filter_size = c->item_count <= INTERFACES_MANY ? sizeof(d->filter) : FILTER_SIZE_MANY;
	struct utsname system;

	memset(d, 0, sizeof(*d));
	d->linktype = linktype_of(r->linktype);
	d->snaplen = wish->snaplen;
	d->tsresol = 9;
	snprintf(d->name, sizeof(d->name), "%s", interface->name);
	capture_wish_text(wish, d->filter, filter_size);
	capture_wish_slice_text(wish, d->description, sizeof(d->description));
	if (uname(&system) == 0)
		snprintf(d->os, sizeof(d->os), "%.40s %.80s", system.sysname, system.release);
	d->has_mac = interface->has_mac;
	memcpy(d->mac, interface->mac, sizeof(d->mac));
	d->ipv4_count = interface->ipv4_count;
	d->ipv6_count = interface->ipv6_count;
	memcpy(d->ipv4, interface->ipv4, sizeof(d->ipv4));
	memcpy(d->ipv6, interface->ipv6, sizeof(d->ipv6));
}

static bool
same_id(const struct pcapng_interface *a, const struct pcapng_interface *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->filter, b->filter) == 0 && strcmp(a->description, b->description) == 0 &&
	    a->has_mac == b->has_mac &&
	    memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

/* The new one holds behind the boundary; where no filter was exchanged that is here and now. */
static void
change_description(struct capture_ring *r, const struct pcapng_interface *description)
{
	if (strcmp(description->name, r->name) != 0) {
		log_info("%s: is called %s now, its capture goes on", r->name, description->name);
		snprintf(r->name, sizeof(r->name), "%.*s", (int)sizeof(r->name) - 1, description->name);
	}
	if (strcmp(description->filter, r->description.filter) != 0)
		log_info("%s: filter now %s", r->name, *description->filter != '\0' ? description->filter : "none");
	if (strcmp(description->description, r->description.description) != 0)
		log_info("%s: of each packet %s", r->name, *description->description != '\0' ? description->description : "all");
	r->next_description = *description;
	r->has_next = true;
	r->unsettled = true;
}

/* An interface description is of the moment when its id was first used: new addresses alone make no new one, another filter does. */
static void
change_commit_item(struct change *c, const struct change_item *item)
{
	struct capture_ring *r = item->ring;
	struct pcapng_interface description;

	describe(&description, r, item->interface, c);
	r->has_mac = item->interface->has_mac;
	memcpy(r->mac, item->interface->mac, sizeof(r->mac));
	r->paused = item->paused;
	r->governed = item->governed;
	r->next_cut = (struct capture_cut){ c->wish.snaplen, c->wish.slice.mask };
	if (!item->fresh && !item->attached && r->next_cut.mask != r->cut.mask)
		capture_ring_set_boundary(r);
	if (!r->unsettled)
		r->cut = r->next_cut;
	if (item->fresh) {
		r->description = description;
		log_info("%s: capturing, %zu instructions in the kernel, %s", r->name, r->programs.of[PROGRAM_TAP].len,
		    *description.filter != '\0' ? description.filter : c->want->program_len > 0 ? "its client's filter" :
		    "no filter");
		capture_tap_add_ring(c->tap, r);
	} else if (!same_id(&description, &r->description)) {
		if (!item->attached)
			capture_ring_set_boundary(r);
		change_description(r, &description);
	} else if (r->row != NULL) {
		r->row->paused = capture_ring_paused(r);
	}
}

static bool
change_wants(const struct change *c, const struct capture_ring *r)
{
	for (size_t i = 0; i < c->item_count; i++)
		if (c->item[i].ring == r)
			return true;
	return false;
}

static void
change_commit(struct change *c)
{
	struct capture_ring *r;

	TAILQ_FOREACH(r, &c->tap->rings, entry)
		if (!r->closing && !change_wants(c, r)) {
			log_info("%s: no longer captured", r->name);
			capture_ring_close_begin(r);
			capture_tap_unwatch(c->tap, r);
		}
	for (size_t i = 0; i < c->item_count; i++)
		change_commit_item(c, &c->item[i]);
	for (size_t i = 0; i < c->gone_count; i++)
		capture_tap_tell_gone(c->tap, c->gone[i].ifindex, c->gone[i].reason);
	c->tap->codec = c->codec;
	c->tap->level = c->tap->orders.cheaper && c->level > c->codec->level_quick ? c->codec->level_quick : c->level;
	c->tap->store = c->tap->orders.store;
	capture_sample_set(&c->tap->sample, &c->want->sampling);
	capture_block_set_digest(&c->tap->block, c->want->digest ? c->want->secret : NULL);
}

static void
change_clear(struct change *c, bool failed)
{
	for (size_t i = 0; i < c->item_count; i++) {
		capture_programs_clear(&c->item[i].programs);
		if (failed && c->item[i].fresh)
			capture_ring_free(c->item[i].ring);
	}
	free(c);
}

static int
change_prepare(struct change *c, char error[MSG_TEXT_SIZE])
{
	const char *codec = *c->want->codec != '\0' ? c->want->codec : c->tap->options->compress;

	if (capture_wish_init(&c->wish, c->tap->options, c->want, &c->tap->orders, error) == -1)
		return -1;
	if (c->tap->lapsed)
		c->wish.peer_count = 0;
	return codec_parse(codec, &c->codec, &c->level, error, MSG_TEXT_SIZE);
}

int
capture_change_apply(struct capture_tap *tap, const struct ipc_tap *want, bool programs_only, char error[MSG_TEXT_SIZE])
{
	struct change *c = calloc(1, sizeof(*c));
	int result;

	if (c == NULL) {
		snprintf(error, MSG_TEXT_SIZE, "no memory");
		return -1;
	}
	c->tap = tap;
	c->want = want;
	c->programs_only = programs_only;
	c->codec = tap->codec;
	c->level = tap->level;
	result = want->active ? change_prepare(c, error) : 0;
	if (result == 0 && (result = change_open(c, error)) == 0) {
		change_pause(c);
		result = change_compile(c, error);
	}
	if (result == 0)
		result = change_attach(c, error);
	if (result == 0)
		change_commit(c);
	change_clear(c, result == -1);
	return result;
}

int
capture_change_check(struct capture_tap *tap, const struct agent_options *options, char error[MSG_TEXT_SIZE])
{
	struct capture_programs programs;
	struct ipc_tap want = tap->want;
	struct capture_wish wish;
	struct capture_ring *r;

	if (!want.active)
		return 0;
	want.filter[0] = '\0';
	want.program_len = 0;
	want.direction = DIRECTION_INOUT;
	if (capture_wish_init(&wish, options, &want, NULL, error) == -1)
		return -1;
	TAILQ_FOREACH(r, &tap->rings, entry) {
		if (r->closing)
			continue;
		if (capture_filter_build(r->pcap, r->name, &wish, r->loopback, false, &programs, error) == -1)
			return -1;
		capture_programs_clear(&programs);
	}
	return 0;
}
