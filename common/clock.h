/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_CLOCK_H
#define VMTAP_COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t	clock_wall_ns(void);		/* CLOCK_REALTIME since 1970, as pcapng timestamps */
uint64_t	clock_mono_ns(void);		/* CLOCK_MONOTONIC: for time limits and rates */
uint64_t	clock_boot_ns(void);		/* likewise, and it counts while the machine is suspended: for what others rely on */
uint64_t	clock_cpu_us(void);		/* user+system CPU of this process so far */
uint64_t	clock_ns_of_s(int64_t wall_s);	/* at most INT64_MAX; 0 before 1970 */
/* "2026-11-23T01:06:39Z"; dst of CLOCK_ISO_SIZE bytes; returns dst. */
#define CLOCK_ISO_SIZE	32
char		*clock_iso(uint64_t wall_ns, char *dst, size_t dst_size);
/* Accepts what clock_iso() prints, "2026-11-23 01:06:39" (local), "@seconds[.frac]", "now", "-10m" style; -1 if none fits. */
int		 clock_parse(const char *, uint64_t now_ns, uint64_t *wall_ns);

#endif
