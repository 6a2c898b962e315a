/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "agent/capture_sample.h"

void
capture_sample_set(struct capture_sample *s, const struct ipc_sampling *wish)
{
	if (s->wish.method != wish->method || s->wish.value != wish->value)
		*s = (struct capture_sample){ .wish = *wish };
}

static bool
keeps_one_in(struct capture_sample *s)
{
	bool keeps = s->left_out == 0;

	s->left_out = s->left_out + 1 < s->wish.value ? s->left_out + 1 : 0;
	return keeps;
}

/* A clock that was set back must not leave out what comes until it is there again. */
static bool
keeps_after(struct capture_sample *s, uint64_t time_ns)
{
	uint64_t wait_ns = s->wish.value * UINT64_C(1000000);

	if (s->begun && time_ns >= s->kept_ns && time_ns - s->kept_ns < wait_ns)
		return false;
	s->begun = true;
	s->kept_ns = time_ns;
	return true;
}

bool
capture_sample_keeps(struct capture_sample *s, uint64_t time_ns)
{
	switch (s->wish.method) {
	case RPCAP_SAMPLE_1_EVERY_N:
		return keeps_one_in(s);
	case RPCAP_SAMPLE_AFTER_N_MS:
		return keeps_after(s, time_ns);
	}
	return true;
}
