/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "proto/identity.h"

#include "cmd.h"
#include "cmd_read.h"
#include "dedup.h"
#include "merge.h"
#include "pcapng_out.h"

/* vmtap read --merged: all VMs of a tenant as one pcapng, each transmission once. */

#define POLL_MS		200
#define PAIRS_MAX	32	/* told at the end, those with the most */

/* --- the end --- */

struct pair {
	const char	*sender, *receiver;
	uint64_t	 removed;
};

static int
by_removed(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->removed == y->removed ? 0 : x->removed < y->removed ? 1 : -1;
}

static size_t
list_pairs(const struct merge *merge, struct pair *pair)
{
	const char *sender, *receiver;
	size_t count = 0;

	for (size_t i = 0; (sender = merge_vm_name(merge, i)) != NULL; i++)
		for (size_t k = 0; (receiver = merge_vm_name(merge, k)) != NULL; k++)
			if (merge_removed(merge, i, k) != 0)
				pair[count++] = (struct pair){ sender, receiver, merge_removed(merge, i, k) };
	return count;
}

static void
print_pairs(const struct merge *merge)
{
	struct pair *pair;
	size_t vms = 0, count;

	while (merge_vm_name(merge, vms) != NULL)
		vms++;
	if ((pair = calloc(vms * vms + 1, sizeof(*pair))) == NULL)
		return;
	if ((count = list_pairs(merge, pair)) > 0)
		fprintf(stderr, "%-24s %-24s %12s\n", "SENT BY", "RECEIVED BY", "DUPLICATES");
	qsort(pair, count, sizeof(*pair), by_removed);
	for (size_t i = 0; i < count && i < PAIRS_MAX; i++)
		fprintf(stderr, "%-24s %-24s %12" PRIu64 "\n", pair[i].sender, pair[i].receiver, pair[i].removed);
	if (count > PAIRS_MAX)
		fprintf(stderr, "and %zu pairs more\n", count - PAIRS_MAX);
	free(pair);
}

static void
print_statistics(const struct merge *merge, const struct pcapng_out *out)
{
	const struct dedup_stats *stats = merge_stats(merge);

	fprintf(stderr, "vmtap read: packets in %" PRIu64 ", duplicates removed %" PRIu64 ", out %" PRIu64 ", written %" PRIu64
	    "; not comparable %" PRIu64 ", direction unknown %" PRIu64 ", out of order %" PRIu64 ", early for want of memory %" PRIu64 "\n",
	    stats->in, stats->removed, stats->out, pcapng_out_packets(out), stats->not_comparable, stats->unknown_direction, stats->late,
	    stats->early);
	fprintf(stderr, "vmtap read: held at most %" PRIu64 " bytes in %" PRIu64 " packets, of that %" PRIu64 " a packet besides its own\n",
	    stats->memory_peak, stats->peak_entries, stats->peak_entries > 0 ? stats->peak_state / stats->peak_entries : 0);
	print_pairs(merge);
}

/* --- following --- */

/* A descriptor that can be read once somebody wants us to end; -1. */
static int
open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Whether to go on: nobody interrupts, and who reads our output is there still. */
static bool
wait_on(int signals, bool standard_output, int timeout_ms)
{
	struct pollfd fds[2] = { { .fd = signals, .events = POLLIN }, { .fd = standard_output ? STDOUT_FILENO : -1 } };

	poll(fds, 2, timeout_ms);
	return fds[0].revents == 0 && (fds[1].revents & (POLLERR | POLLHUP)) == 0;
}

static int
follow(struct merge *merge, struct pcapng_out *out, bool standard_output)
{
	int signals = open_signals(), rc;

	if (signals == -1)
		return cmd_fail("read", "cannot wait for signals");
	do {
		if ((rc = merge_pass(merge, clock_wall_ns())) == 1 && pcapng_out_flush(out) == -1)
			rc = -1;
	} while (rc == 1 && wait_on(signals, standard_output, merge_behind(merge) ? 0 : POLL_MS));
	close(signals);
	return rc;
}

/* --- all --- */

int
read_all(struct merge *merge)
{
	int rc;

	do
		rc = merge_pass(merge, 0);
	while (rc == 1 && merge_behind(merge));
	return rc;
}

void
read_allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int
run(const struct read_options *options, struct merge_settings *settings)
{
	struct merge *merge;
	char error[512];
	int rc;

	if ((merge = merge_new(settings, error, sizeof(error))) == NULL) {
		pcapng_out_close(settings->out);
		return cmd_fail("read", "%s", error);
	}
	read_allow_many_files();
	rc = options->follow ? follow(merge, settings->out, strcmp(options->write, "-") == 0) : read_all(merge);
	if (rc == 1)
		rc = merge_finish(merge);
	print_statistics(merge, settings->out);
	rc = read_finish(settings->out, rc == -1 ? -1 : 0, merge_error(merge));
	merge_free(merge);
	return rc;
}

int
read_merged(const struct read_options *options, const char *filter, uint64_t from_ns, uint64_t to_ns)
{
	char error[512], tenant[IDENTITY_NAME_SIZE];
	struct merge_settings settings = { .store = options->store, .tenant = tenant, .from_ns = from_ns, .to_ns = to_ns,
	    .window_ns = options->dedup_window_ms * 1000000, .memory_max = options->dedup_memory, .follow = options->follow,
	    .warning = read_warning };

	if ((settings.db = cmd_catalog("read", options->store)) == NULL)
		return 1;
	if (merge_find_tenant(settings.db, options->tenant, tenant, error, sizeof(error)) == -1 ||
	    (settings.out = pcapng_out_open(options->write, filter, "vmtap read " PACKAGE_VERSION, error, sizeof(error))) == NULL) {
		sqlite3_close(settings.db);
		return cmd_fail("read", "%s", error);
	}
	if (options->count != 0)
		pcapng_out_limit(settings.out, options->count);
	pcapng_out_window(settings.out, from_ns, to_ns);
	return run(options, &settings) | (sqlite3_close(settings.db) != SQLITE_OK);
}
