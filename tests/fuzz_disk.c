/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk.h"
#include "common/buf.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static bool
known(void *arg, const uint8_t *stream)
{
	(void)arg;
	(void)stream;
	return true;
}

static void
read_all(struct disk *disk)
{
	struct spool_item item;

	do
		disk_next(disk, &item, known, NULL);
	while (item.kind != SPOOL_NOTHING);
}

/* Two segments of arbitrary bytes: loaded, read to the end, acknowledged by half, pushed out by what comes, acknowledged. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int fd[DISK_SEGMENTS], spool_fd = spool_create("fuzz", 64 * 1024);
	struct spool *spool = spool_attach(spool_fd, SPOOL_CONSUMER);
	struct spool_stream streams[MSG_STREAMS_MAX];
	struct spool_item end = { .kind = SPOOL_ENDED, .stream = { 1 }, .entry.number = 1 };
	struct disk *disk;
	size_t half = len / 2, count;

	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		if ((fd[i] = memfd_create("segment", MFD_CLOEXEC)) == -1)
			abort();
	if (spool == NULL || pwrite(fd[1], data, half, 0) == -1 || pwrite(fd[2], data + half, len - half, 0) == -1 ||
	    (disk = disk_new(fd, DISK_SIZE_MIN, 0, spool)) == NULL)
		abort();
	read_all(disk);
	count = disk_streams(disk, streams, MSG_STREAMS_MAX);
	for (size_t i = 0; i < count; i++)
		(void)disk_acknowledge(disk, streams[i].id, streams[i].first + (streams[i].last - streams[i].first) / 2);
	disk_rewind(disk);
	read_all(disk);
	(void)disk_append(disk, spool, &end, 1);
	disk_free(disk);
	if ((disk = disk_new(fd, 1, 0, spool)) == NULL)
		abort();
	read_all(disk);
	count = disk_streams(disk, streams, MSG_STREAMS_MAX);
	for (size_t i = 0; i < count; i++)
		(void)disk_acknowledge(disk, streams[i].id, streams[i].last);
	(void)disk_used(disk);
	disk_free(disk);
	spool_detach(spool);
	close(spool_fd);
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		close(fd[i]);
	return 0;
}
