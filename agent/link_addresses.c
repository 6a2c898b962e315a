/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "agent/link_session.h"

/* What addresses the captured interfaces have now (PROTOCOL, ADDRESSES), told to each session behind what describes them. */

#define NEVER_TOLD	0
#define TOLD_NONE	UINT64_MAX	/* the interface is not captured any more */

static bool
tap_has(const struct link_tap *t, const char *name)
{
	for (size_t i = 0; t->told_any && t->told.active && i < t->told.interface_count; i++)
		if (strcmp(t->told.interface[i].name, name) == 0)
			return true;
	return false;
}

/* What of the addresses of an id is to be told; NULL: none are. What capture has not said yet that it has, is not claimed anew. */
static const struct netif *
claimed(const struct session *s, uint32_t id)
{
	const struct stats_interface *interface = &s->tap->stats.interface[id];
	bool before = s->addresses_told[id] != NEVER_TOLD && s->addresses_told[id] != TOLD_NONE;

	if (!interface->current || !tap_has(s->tap, interface->name) || !(s->tap->answered || before))
		return NULL;
	return netif_by_name(&s->link->netifs, interface->name);
}

static int
put_addresses(struct session *s, uint32_t id)
{
	const struct netif *netif = claimed(s, id);
	uint64_t number = netif != NULL ? netif->addresses : TOLD_NONE;
	struct msg_addresses msg = { .id = id };

	if (number == s->addresses_told[id] || (netif == NULL && s->addresses_told[id] == NEVER_TOLD))
		return 0;
	s->addresses_told[id] = number;
	sender_stream_id(&s->sender, s->addresses_stream, msg.stream);
	if (netif != NULL) {
		msg.count = netif->address_count;
		memcpy(msg.address, netif->address, netif->address_count * sizeof(netif->address[0]));
	}
	return msg_put_addresses(&s->sender.control, &msg);
}

void
session_addresses(struct session *s)
{
	uint32_t introduced;
	size_t before;
	int errs = 0;

	if (s->state != SESSION_LIVE || !stats_refresh(&s->tap->stats, s->tap->spool))
		return;
	if (memcmp(s->addresses_stream, s->tap->stats.stream, MSG_ID_SIZE) != 0)
		memset(s->addresses_told, 0, sizeof(s->addresses_told));
	memcpy(s->addresses_stream, s->tap->stats.stream, MSG_ID_SIZE);
	introduced = sender_introduced(&s->sender, s->addresses_stream);
	before = s->sender.control.len;
	for (uint32_t id = 0; id < introduced && id < s->tap->stats.count; id++)
		errs += put_addresses(s, id);
	if (errs != 0 || s->sender.control.len != before)
		session_put(s, errs);
}

void
session_addresses_all(struct link *link)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&link->sessions); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		session_addresses(s);
	}
}
