/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#include "agents_watch.h"

#define PATH_SIZE	128

static uint64_t
thread_cpu_ns(long pid, const char *thread)
{
	char path[PATH_SIZE];
	uint64_t ns = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/task/%.16s/schedstat", pid, thread);
	if ((file = fopen(path, "re")) == NULL)
		return 0;
	if (fscanf(file, "%" SCNu64, &ns) != 1)
		ns = 0;
	fclose(file);
	return ns;
}

static uint64_t
process_cpu_ns(long pid)
{
	char path[PATH_SIZE];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	if ((dir = opendir(path)) == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			sum += thread_cpu_ns(pid, entry->d_name);
	closedir(dir);
	return sum;
}

void
agents_watch(long pid, struct agents_watch *watch)
{
	char path[PATH_SIZE], line[256];
	FILE *file;

	*watch = (struct agents_watch){ .at_ns = clock_mono_ns(), .cpu_ns = process_cpu_ns(pid) };
	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	if ((file = fopen(path, "re")) == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		sscanf(line, "VmHWM: %" SCNu64, &watch->peak_kib);
		sscanf(line, "VmRSS: %" SCNu64, &watch->rss_kib);
		sscanf(line, "RssAnon: %" SCNu64, &watch->anon_kib);
	}
	fclose(file);
}
