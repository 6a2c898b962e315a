/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * LD_PRELOAD: logs what a collector does to the files below $POWERCUT_STORE, data included, to $POWERCUT_LOG. SQLite's -shm is
 * memory and left out. An operation is logged when it is done, a sync together with how many operations were done before it began.
 */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/uio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "powercut.h"

#define NEXT(function)	((__typeof__(&function))dlsym(RTLD_NEXT, #function))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t operations;
static char root[PATH_MAX];
static int log_fd = -1;

__attribute__((constructor)) static void
powercut_begin(void)
{
	const char *store = getenv("POWERCUT_STORE"), *path = getenv("POWERCUT_LOG");

	if (store != NULL && path != NULL && realpath(store, root) != NULL)
		log_fd = NEXT(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static uint64_t
powercut_count(void)
{
	uint64_t n;

	pthread_mutex_lock(&mutex);
	n = operations;
	pthread_mutex_unlock(&mutex);
	return n;
}

static void
powercut_log(struct powercut_record record, const char *path, const char *to, const void *data)
{
	int saved = errno;
	struct iovec part[4];

	record.path_len = path != NULL ? (uint32_t)strlen(path) : 0;
	record.to_len = to != NULL ? (uint32_t)strlen(to) : 0;
	part[0] = (struct iovec){ &record, sizeof(record) };
	part[1] = (struct iovec){ (void *)(uintptr_t)path, record.path_len };
	part[2] = (struct iovec){ (void *)(uintptr_t)to, record.to_len };
	part[3] = (struct iovec){ (void *)(uintptr_t)data, record.data_len };
	pthread_mutex_lock(&mutex);
	if (writev(log_fd, part, 4) == -1)
		abort();
	operations++;
	pthread_mutex_unlock(&mutex);
	errno = saved;
}

/* The path below the store; NULL: none of ours. */
static const char *
powercut_path(int dir, const char *path, char out[PATH_MAX])
{
	size_t len = strlen(root);
	char link[64], at[PATH_MAX];
	ssize_t n = 0;

	if (log_fd == -1)
		return NULL;
	if (path[0] != '/') {
		snprintf(link, sizeof(link), dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
		if ((n = readlink(link, at, sizeof(at) - 1)) == -1)
			return NULL;
	}
	at[n] = '\0';
	if (snprintf(out, PATH_MAX, "%s%s%s", at, n > 0 ? "/" : "", path) >= PATH_MAX)
		return NULL;
	if (strncmp(out, root, len) != 0 || out[len] != '/')
		return NULL;
	n = (ssize_t)strlen(out);
	return n > 4 && strcmp(out + n - 4, "-shm") == 0 ? NULL : out + len + 1;
}

/* The inode behind a descriptor that lies below the store; 0: none of ours. */
static uint64_t
powercut_inode(int fd)
{
	char link[64], path[PATH_MAX], out[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (log_fd == -1)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if ((n = readlink(link, path, sizeof(path) - 1)) == -1)
		return 0;
	path[n] = '\0';
	return powercut_path(AT_FDCWD, path, out) != NULL && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int
powercut_open(int dir, const char *path, int flags, mode_t mode)
{
	char out[PATH_MAX];
	const char *below = powercut_path(dir, path, out);
	bool had = below != NULL && faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	int fd = NEXT(openat)(dir, path, flags, mode);
	struct stat st;

	if (fd != -1 && below != NULL && (flags & O_ACCMODE) != O_RDONLY && fstat(fd, &st) == 0)
		powercut_log((struct powercut_record){ .kind = had ? POWERCUT_OPEN : POWERCUT_CREATE, .inode = st.st_ino }, below, NULL,
		    NULL);
	return fd;
}

#define OPEN_MODE(flags, mode)	do {		\
	va_list ap;				\
	va_start(ap, flags);			\
	mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;	\
	va_end(ap);				\
} while (0)

int
open(const char *path, int flags, ...)
{
	mode_t mode;

	OPEN_MODE(flags, mode);
	return powercut_open(AT_FDCWD, path, flags, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
	mode_t mode;

	OPEN_MODE(flags, mode);
	return powercut_open(dir, path, flags, mode);
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	ssize_t n = NEXT(pwrite)(fd, data, len, offset);
	uint64_t inode = n > 0 ? powercut_inode(fd) : 0;

	if (inode != 0)
		powercut_log((struct powercut_record){ .kind = POWERCUT_WRITE, .inode = inode, .offset = (uint64_t)offset,
		    .data_len = (uint32_t)n }, NULL, NULL, data);
	return n;
}

int
ftruncate(int fd, off_t length)
{
	int rc = NEXT(ftruncate)(fd, length);
	uint64_t inode = rc == 0 ? powercut_inode(fd) : 0;

	if (inode != 0)
		powercut_log((struct powercut_record){ .kind = POWERCUT_TRUNCATE, .inode = inode, .offset = (uint64_t)length }, NULL,
		    NULL, NULL);
	return rc;
}

static int
powercut_rename(int rc, int from_dir, const char *from, int to_dir, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];
	const char *below = rc == 0 ? powercut_path(from_dir, from, a) : NULL, *target = rc == 0 ? powercut_path(to_dir, to, b) : NULL;

	if (below != NULL && target != NULL)
		powercut_log((struct powercut_record){ .kind = POWERCUT_RENAME }, below, target, NULL);
	return rc;
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return powercut_rename(NEXT(renameat)(from_dir, from, to_dir, to), from_dir, from, to_dir, to);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return powercut_rename(NEXT(renameat2)(from_dir, from, to_dir, to, flags), from_dir, from, to_dir, to);
}

int
unlinkat(int dir, const char *path, int flags)
{
	char out[PATH_MAX];
	const char *below = powercut_path(dir, path, out);
	int rc = NEXT(unlinkat)(dir, path, flags);

	if (rc == 0 && below != NULL)
		powercut_log((struct powercut_record){ .kind = POWERCUT_UNLINK }, below, NULL, NULL);
	return rc;
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int
mkdirat(int dir, const char *path, mode_t mode)
{
	char out[PATH_MAX];
	const char *below = powercut_path(dir, path, out);
	int rc = NEXT(mkdirat)(dir, path, mode);

	if (rc == 0 && below != NULL)
		powercut_log((struct powercut_record){ .kind = POWERCUT_MKDIR }, below, NULL, NULL);
	return rc;
}

/* The real sync is left out: the machine goes on, only the model's disk counts. */
static int
powercut_sync(int fd, bool all)
{
	uint64_t before = powercut_count(), inode = powercut_inode(fd);

	if (inode != 0 || all)
		powercut_log((struct powercut_record){ .kind = POWERCUT_SYNC, .inode = all ? 0 : inode, .offset = before }, NULL, NULL,
		    NULL);
	return 0;
}

int fsync(int fd) { return powercut_sync(fd, false); }
int fdatasync(int fd) { return powercut_sync(fd, false); }
int syncfs(int fd) { return powercut_sync(fd, true); }

#pragma weak open64 = open
#pragma weak openat64 = openat
#pragma weak pwrite64 = pwrite
#pragma weak ftruncate64 = ftruncate
