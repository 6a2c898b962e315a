/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_METRICS_H
#define VMTAP_COMMON_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/*
 * A writer of Prometheus' text exposition format, version 0.0.4: families one after the other, each with all its samples. HELP and
 * TYPE come with the first sample: a family without any leaves no trace.
 * What goes wrong is told once, by metrics_end(), and nothing is put from then on: a name that Prometheus would refuse or a family
 * that was there before (EINVAL), more than METRICS_FAMILIES_MAX (E2BIG), and what the buf says (ENOBUFS, ENOMEM). That no two samples
 * of a family have the same labels is the caller's to see to.
 */
#define METRICS_CONTENT_TYPE	"text/plain; version=0.0.4; charset=utf-8"
#define METRICS_NAME_SIZE	128
#define METRICS_FAMILIES_MAX	256

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_label {		/* an array of them ends with name NULL; no array: no labels */
	const char	*name;
	const char	*value;		/* any bytes: what is not UTF-8 becomes \xNN */
};

struct metrics {
	struct buf	*buf;
	int		 error;		/* the first errno */
	char		 name[METRICS_NAME_SIZE];
	enum metrics_type type;
	const char	*help;		/* until it is put */
	uint64_t	 seen[METRICS_FAMILIES_MAX];	/* hashes of names */
	size_t		 seen_count;
};

/* Appends to buf, which the caller made and owns. */
void	metrics_init(struct metrics *, struct buf *);
/* The family of the samples that follow. help must live until the first of them. */
void	metrics_family(struct metrics *, enum metrics_type, const char *help, const char *name, ...)
	    __attribute__((format(printf, 4, 5)));
void	metrics_u64(struct metrics *, const struct metrics_label *, uint64_t);
void	metrics_i64(struct metrics *, const struct metrics_label *, int64_t);
void	metrics_double(struct metrics *, const struct metrics_label *, double);
/* One histogram: counts of each bucket by itself, bounds rising; counts has one more, of what is above the last bound. */
void	metrics_histogram(struct metrics *, const struct metrics_label *, const double *bounds, const uint64_t *counts, size_t count,
	    double sum);
/* If there was no room, takes back what was put since the buf was len long, where a family began, and goes on from there: true. */
bool	metrics_take_back(struct metrics *, size_t len);
/* 0, or -1 with errno: what is in the buf is not to be used. */
int	metrics_end(struct metrics *);

/* The usual families of any process, process_*: memory, processor time, descriptors, start; what the system does not tell is left
 * out. metrics_process.c */
void	metrics_process(struct metrics *);

#endif
