/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/resource.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/metrics.h"

/* The names are those that client libraries agree on, as dashboards know them. */

#define STAT_SIZE	1024
#define STAT_START	20	/* fields of /proc/self/stat behind the name until the one of the start, proc(5) */

static void
put_memory(struct metrics *metrics)
{
	long page = sysconf(_SC_PAGESIZE);
	uint64_t size, resident;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file == NULL)
		return;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &size, &resident) == 2 && page > 0) {
		metrics_family(metrics, METRICS_GAUGE, "Memory that is resident.", "process_resident_memory_bytes");
		metrics_u64(metrics, NULL, resident * (uint64_t)page);
		metrics_family(metrics, METRICS_GAUGE, "Memory that is mapped.", "process_virtual_memory_bytes");
		metrics_u64(metrics, NULL, size * (uint64_t)page);
	}
	fclose(file);
}

static void
put_descriptors(struct metrics *metrics)
{
	struct rlimit limit;
	uint64_t count = 0;
	DIR *dir = opendir("/proc/self/fd");	/* not for one that has become another user */

	if (dir != NULL) {
		for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
			count += entry->d_name[0] != '.';
		closedir(dir);
		metrics_family(metrics, METRICS_GAUGE, "Descriptors that are open.", "process_open_fds");
		metrics_u64(metrics, NULL, count > 0 ? count - 1 : 0);	/* but the one just used */
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		metrics_family(metrics, METRICS_GAUGE, "Descriptors that may be open.", "process_max_fds");
		metrics_u64(metrics, NULL, limit.rlim_cur);
	}
}

/* Seconds between boot and the start of this process, or -1. */
static double
started_after_boot(void)
{
	FILE *file = fopen("/proc/self/stat", "re");
	char text[STAT_SIZE], *p;
	uint64_t ticks;
	size_t len;

	if (file == NULL)
		return -1;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	p = strrchr(text, ')');		/* the name may hold anything */
	for (int i = 0; p != NULL && i < STAT_START; i++)
		if ((p = strchr(p + 1, ' ')) == NULL)
			return -1;
	if (p == NULL || sscanf(p, "%" SCNu64, &ticks) != 1)
		return -1;
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Once: it must not follow steps of the clock. */
static void
put_start(struct metrics *metrics)
{
	static double start;
	struct timespec up;
	double after;

	if (start <= 0 && (after = started_after_boot()) >= 0 && clock_gettime(CLOCK_BOOTTIME, &up) == 0)
		start = (double)(clock_wall_ns() / 1000000) / 1e3 - ((double)up.tv_sec + (double)up.tv_nsec / 1e9) + after;
	if (start <= 0)
		return;
	metrics_family(metrics, METRICS_GAUGE, "When the process was started, since 1970.", "process_start_time_seconds");
	metrics_double(metrics, NULL, start);
}

void
metrics_process(struct metrics *metrics)
{
	metrics_family(metrics, METRICS_COUNTER, "User and system CPU time.", "process_cpu_seconds_total");
	metrics_double(metrics, NULL, (double)clock_cpu_us() / 1e6);
	put_memory(metrics);
	put_descriptors(metrics);
	put_start(metrics);
}
