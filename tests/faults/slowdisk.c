/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * LD_PRELOAD: a disk that hangs. While the file $SLOWDISK_HANG is there, what would write or sync a file below the directory
 * $SLOWDISK_BELOW waits, as on a dead NFS server. A real one would hang syncfs(2) of the whole file system too; here only one on a
 * descriptor from below hangs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NEXT(function)	((__typeof__(&function))dlsym(RTLD_NEXT, #function))

static bool
slowdisk_is_below(int fd)
{
	const char *below = getenv("SLOWDISK_BELOW");
	char link[64], path[PATH_MAX];
	size_t len;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (below == NULL || (n = readlink(link, path, sizeof(path) - 1)) == -1)
		return false;
	path[n] = '\0';
	len = strlen(below);
	return strncmp(path, below, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void
slowdisk_wait(int fd)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	const char *hang = getenv("SLOWDISK_HANG");

	while (hang != NULL && access(hang, F_OK) == 0 && slowdisk_is_below(fd))
		nanosleep(&pause, NULL);
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	slowdisk_wait(fd);
	return NEXT(pwrite)(fd, data, len, offset);
}

int
fsync(int fd)
{
	slowdisk_wait(fd);
	return NEXT(fsync)(fd);
}

int
fdatasync(int fd)
{
	slowdisk_wait(fd);
	return NEXT(fdatasync)(fd);
}

int
syncfs(int fd)
{
	slowdisk_wait(fd);
	return NEXT(syncfs)(fd);
}

#pragma weak pwrite64 = pwrite
