/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BENCH_AGENTS_WATCH_H
#define VMTAP_TESTS_BENCH_AGENTS_WATCH_H

#include <stdint.h>

/* What a process has used up to now, by the scheduler's accounting and /proc/PID/status; of one that is gone all 0. */
struct agents_watch {
	uint64_t	at_ns;		/* monotonic */
	uint64_t	cpu_ns;		/* user and system, of the threads that there are */
	uint64_t	rss_kib, anon_kib, peak_kib;
};

void	agents_watch(long pid, struct agents_watch *);

#endif
