/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "common/clock.h"
#include "common/deadline.h"
#include "common/log.h"
#include "agent/capture_tap.h"

/*
 * Peers' packets are left out under a lease. It is kept here too, where the kernel is told, so that all is captured when it ends,
 * whether the link role is dead, hangs or was suspended with the guest.
 */

#define AGAIN_NS	UINT64_C(1000000000)	/* where the kernel has refused to capture all */

bool
capture_lease_passed(const struct capture_tap *tap)
{
	return clock_boot_ns() >= tap->peers_until_ns;
}

void
capture_lease_set(struct capture_tap *tap, uint64_t until_ns)
{
	tap->peers_until_ns = until_ns;
	deadline_set(tap->lease, until_ns > 0 ? until_ns : 1);
}

void
capture_lease_renew(struct capture_tap *tap, uint64_t until_ns)
{
	capture_lease_set(tap, until_ns);
	if (tap->lapsed && !capture_lease_passed(tap))
		capture_tap_refresh(tap);
}

void
capture_lease_end(struct capture_tap *tap)
{
	if (tap->want.peer_count > 0 && !tap->lapsed)
		capture_lease_set(tap, 0);
}

void
capture_lease_again(struct capture_tap *tap)
{
	deadline_set(tap->lease, clock_boot_ns() + AGAIN_NS);
}

void
capture_lease_on_passed(void *arg)
{
	static struct log_limit limit;
	struct capture_tap *tap = arg;

	if (tap->ending || tap->want.peer_count == 0 || tap->lapsed || !capture_lease_passed(tap))
		return;
	log_limited(&limit, 10000, LOG_LEVEL_INFO, "the lease of %u peers has ended: their packets are captured", tap->want.peer_count);
	capture_tap_refresh(tap);
}
