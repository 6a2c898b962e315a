/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_DIAL_H
#define VMTAP_COLLECTOR_DIAL_H

#include <stddef.h>
#include <stdint.h>

/* A connected, non-blocking TCP socket to the first of the host's addresses that answers; -1 with a line for people. Blocks for
 * timeout_ms per address at most. */
int	dial_blocking(const char *host, uint16_t port, unsigned timeout_ms, char *error, size_t error_size);

#endif
