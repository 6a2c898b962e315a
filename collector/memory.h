/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_MEMORY_H
#define VMTAP_COLLECTOR_MEMORY_H

/*
 * What is pending for a file grows to some MiB and is freed by the commit, many times a second. This keeps the allocator from
 * giving it back to the kernel each time, for page faults to bring it back. Call it before there are threads.
 * It does nothing but with glibc.
 */
void	memory_init(void);

#endif
