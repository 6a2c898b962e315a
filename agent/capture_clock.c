/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "agent/capture_clock.h"

/* Whether timestamps go on as they did: the wall clock against the one that counts all time since boot, and that one against the one
 * that stands still while the guest is suspended. */

#define READ_TRIES	5
#define READ_SPAN_NS	10000000u	/* between the first and the last clock; below a step by far */
#define NS_PER_MS	1000000

int
capture_clock_read(struct capture_clock_now *now)
{
	for (int i = 0; i < READ_TRIES; i++) {
		now->boot_ns = clock_boot_ns();
		now->wall_ns = clock_wall_ns();
		now->mono_ns = clock_mono_ns();
		if (clock_boot_ns() - now->boot_ns < READ_SPAN_NS)
			return 0;
	}
	return -1;
}

void
capture_clock_expect(struct capture_clock *clock, uint64_t due_ns)
{
	clock->due_ns = due_ns;
}

static void
say(char text[CAPTURE_CLOCK_TEXT_SIZE], const char *what, int64_t ns)
{
	size_t len = strlen(text);
	uint64_t ms = (uint64_t)llabs(ns) / NS_PER_MS;

	snprintf(text + len, CAPTURE_CLOCK_TEXT_SIZE - len, "%s%s%s%" PRIu64 ".%03" PRIu64 " s", len > 0 ? "; " : "", what,
	    ns < 0 ? "-" : "", ms / 1000, ms % 1000);
}

bool
capture_clock_look(struct capture_clock *clock, const struct capture_clock_now *now, char text[CAPTURE_CLOCK_TEXT_SIZE])
{
	int64_t wall_ahead_ns = (int64_t)(now->wall_ns - now->boot_ns), boot_ahead_ns = (int64_t)(now->boot_ns - now->mono_ns);
	int64_t stepped_ns = wall_ahead_ns - clock->wall_ahead_ns, slept_ns = boot_ahead_ns - clock->boot_ahead_ns;
	char when[CLOCK_ISO_SIZE];
	size_t len;

	text[0] = '\0';
	if (clock->begun && llabs(stepped_ns) >= CAPTURE_CLOCK_STEP_MS * (int64_t)NS_PER_MS)
		say(text, stepped_ns > 0 ? "the wall clock was stepped by +" : "the wall clock was stepped by ", stepped_ns);
	if (clock->begun && slept_ns >= CAPTURE_CLOCK_SUSPENDED_MS * (int64_t)NS_PER_MS)
		say(text, "the guest was suspended for ", slept_ns);
	if (clock->due_ns != 0 && now->mono_ns >= clock->due_ns + CAPTURE_CLOCK_LATE_MS * (uint64_t)NS_PER_MS) {
		say(text, "capture was not run for ", (int64_t)(now->mono_ns - clock->due_ns));
		clock->due_ns = now->mono_ns;
	}
	clock->begun = true;
	clock->wall_ahead_ns = wall_ahead_ns;
	clock->boot_ahead_ns = boot_ahead_ns;
	if ((len = strlen(text)) == 0)
		return false;
	snprintf(text + len, CAPTURE_CLOCK_TEXT_SIZE - len, "; seen at %s", clock_iso(now->wall_ns, when, sizeof(when)));
	return true;
}
