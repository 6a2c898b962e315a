/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <string.h>

#include "common/metrics.h"
#include "proto/counter_metrics.h"

static const char microseconds[] = "_microseconds";

/* The length of the name without that unit; 0: it is in another one. */
static size_t
name_microseconds(const char *name)
{
	size_t len = strlen(name), unit = sizeof(microseconds) - 1;

	return len > unit && strcmp(name + len - unit, microseconds) == 0 ? len - unit : 0;
}

void
counter_metrics_family(struct metrics *metrics, const struct counter_row *row)
{
	size_t len = name_microseconds(row->name);

	metrics_family(metrics, row->level ? METRICS_GAUGE : METRICS_COUNTER, row->help, "vmtap_agent_%.*s%s%s",
	    (int)(len > 0 ? len : strlen(row->name)), row->name, len > 0 ? "_seconds" : "", row->level ? "" : "_total");
}

void
counter_metrics_sample(struct metrics *metrics, const struct counter_row *row, const struct metrics_label *label, uint64_t value)
{
	if (name_microseconds(row->name) > 0)
		metrics_double(metrics, label, (double)value / 1e6);
	else
		metrics_u64(metrics, label, value);
}
