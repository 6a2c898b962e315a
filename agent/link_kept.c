/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/link_policy.h"
#include "common/buf.h"
#include "common/log.h"
#include "proto/frame.h"

/*
 * The collector's policy in memory of the supervisor's, as the frame that says it: a link role that is started again goes on with
 * it where it would have to wait for the collector, which may be away.
 */

void
policy_kept_open(struct link_tap *t)
{
	void *map = mmap(NULL, AGENT_POLICY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ROLE_FD_POLICY, 0);
	struct frame frame;

	if (map == MAP_FAILED) {
		log_warn("a policy would not outlive this process: %m");
		return;
	}
	t->kept = map;
	if (frame_parse(t->kept, AGENT_POLICY_SIZE, &frame) != FRAME_OK || msg_get_policy(&frame, &t->policy) == -1)
		return;
	t->has_policy = true;
	log_info("policy %llu stays in force", (unsigned long long)t->policy.version);
}

/* The header comes last: while it is all zero there is no frame. */
void
policy_keep(struct link_tap *t, const struct msg_policy *policy)
{
	struct buf buf;

	if (t->kept == NULL)
		return;
	buf_init(&buf, AGENT_POLICY_SIZE);
	memset(t->kept, 0, FRAME_HEADER_SIZE);
	atomic_signal_fence(memory_order_seq_cst);
	if (msg_put_policy(&buf, policy) == 0) {
		memcpy(t->kept + FRAME_HEADER_SIZE, buf.data + FRAME_HEADER_SIZE, buf.len - FRAME_HEADER_SIZE);
		atomic_signal_fence(memory_order_seq_cst);
		memcpy(t->kept, buf.data, FRAME_HEADER_SIZE);
	}
	buf_clear(&buf);
}

void
policy_forget(struct link_tap *t)
{
	if (t->kept != NULL)
		memset(t->kept, 0, FRAME_HEADER_SIZE);
	t->has_policy = false;
}

void
policy_kept_close(struct link_tap *t)
{
	if (t->kept != NULL)
		munmap(t->kept, AGENT_POLICY_SIZE);
	t->kept = NULL;
}
