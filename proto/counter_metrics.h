/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_COUNTER_METRICS_H
#define VMTAP_PROTO_COUNTER_METRICS_H

#include <stdint.h>

#include "proto/counter.h"

struct metrics;
struct metrics_label;

/* An agent's counters as Prometheus has them, from the agent itself as from the collector: vmtap_agent_NAME_total, a level without
 * "_total", microseconds as seconds. */
void	counter_metrics_family(struct metrics *, const struct counter_row *);
void	counter_metrics_sample(struct metrics *, const struct counter_row *, const struct metrics_label *, uint64_t value);

#endif
