/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "common/clock.h"

#include "collector/session.h"
#include "collector/stream.h"
#include "collector/worker.h"

/* How far the agent's clock is from ours, asked by PINGs that have nothing to do with those that ask whether it lives. */

/* Not all at once after a restart, when all come back together. */
static uint64_t
session_clock_spread_ns(const struct session *session)
{
	uint32_t hash = 2166136261u;	/* FNV-1a */

	for (const char *p = session->identity.uuid; *p != '\0'; p++)
		hash = (hash ^ (uint8_t)*p) * 16777619u;
	return SESSION_CLOCK_NS / 2 + (uint64_t)hash * SESSION_CLOCK_NS / UINT32_MAX;
}

static uint64_t
session_clock_wait_ns(const struct session *session)
{
	if (session->clock.asked < SESSION_CLOCK_FIRST)
		return SESSION_CLOCK_FIRST_MS * 1000000u / 2;	/* the timer's steps are whole */
	return session->clock.asked == SESSION_CLOCK_FIRST ? session_clock_spread_ns(session) : SESSION_CLOCK_NS;
}

static struct clock_moment
session_moment(void)
{
	return (struct clock_moment){ .mono_ns = clock_mono_ns(), .wall_ns = clock_wall_ns() };
}

bool
session_ask_clock(struct session *session, uint64_t now_ns)
{
	struct session_clock *clock = &session->clock;
	struct msg_ping ping;

	if (session->state != SESSION_OPEN || session->worker->paused)
		return false;
	if (now_ns >= clock->due_ns) {
		clock->asked++;
		clock->sent = session_moment();
		clock->due_ns = clock->sent.mono_ns + session_clock_wait_ns(session);
		ping = (struct msg_ping){ .token = clock->sent.mono_ns, .wall_ns = clock->sent.wall_ns };
		if (msg_put_ping(&session->worker->out, &ping) == 0)
			session_send(session);
	}
	return session->state == SESSION_OPEN && clock->asked < SESSION_CLOCK_FIRST;
}

/* What does not fit the VM's budget is told when it does. */
static void
session_record_clock(struct session *session)
{
	const struct clock_sample *best = clock_offset_best(&session->clock.offset);
	struct archive *archive = &session->worker->archive;
	struct vm *vm = session->vm;
	struct clock_row *row;

	if (!clock_offset_changed(&session->clock.offset) || !stream_pay_report(vm))
		return;
	clock_offset_told(&session->clock.offset);
	row = batch_add_clock(archive->batch);
	memcpy(row->vm, vm->row.uuid, sizeof(row->vm));
	row->at_ns = session->clock.offset.sample[0].at_ns;
	row->offset_ns = best->offset_ns;
	row->rtt_ns = best->rtt_ns;
	vm->row_dirty = true;
	archive_mark_dirty(archive, vm);	/* nobody waits for it */
}

void
session_told_clock(struct session *session, const struct msg_ping *pong)
{
	struct session_clock *clock = &session->clock;
	struct clock_moment now = session_moment();

	if (clock->sent.mono_ns == 0 || pong->token != clock->sent.mono_ns)
		return;
	if (clock_offset_add(&clock->offset, &clock->sent, &now, pong->wall_ns)) {
		session->vm->row.clock_offset_ns = clock_offset_best(&clock->offset)->offset_ns;
		session_record_clock(session);
	}
	clock->sent.mono_ns = 0;
}
