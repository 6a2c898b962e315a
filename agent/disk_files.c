/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk.h"

#define FILE_FLAGS	(O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define NAME_SIZE	32

static int
file_open(int dir_fd, const char *dir, const char *name, char error[DISK_ERROR_SIZE])
{
	struct stat st;
	int fd;

	if ((fd = openat(dir_fd, name, FILE_FLAGS, 0600)) == -1) {
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: cannot open %s: %s", dir, name, strerror(errno));
		return -1;
	}
	/* In a folder that others can write to it might be a link to another's file, which would be cut to nothing. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1 && fchmod(fd, 0600) == 0)
		return fd;
	snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: %s is not a file of ours", dir, name);
	close(fd);
	return -1;
}

static int
lock_open(int dir_fd, const char *dir, char error[DISK_ERROR_SIZE])
{
	int fd = file_open(dir_fd, dir, "lock", error);

	if (fd == -1 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (errno == EWOULDBLOCK)
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: another vmtap-agent uses it; give each its own", dir);
	else
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: cannot lock it: %s", dir, strerror(errno));
	close(fd);
	return -1;
}

/* Who may write to the folder could put another file in the place of one of ours. */
static int
dir_open(const char *dir, char error[DISK_ERROR_SIZE])
{
	struct stat st;
	int fd;

	(void)mkdir(dir, 0700);
	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 || fstat(fd, &st) == -1)
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: %s", dir, strerror(errno));
	else if (st.st_uid != 0 && st.st_uid != geteuid())
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: belongs to user %lu; it must be root's, or of user %lu as vmtap-agent",
		    dir, (unsigned long)st.st_uid, (unsigned long)geteuid());
	else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		snprintf(error, DISK_ERROR_SIZE, "--spool-dir %s: mode %04o lets others write to it; chmod go-w it", dir,
		    (unsigned)st.st_mode & 07777);
	else
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

int
disk_files_open(const char *dir, int fd[DISK_SEGMENTS], char error[DISK_ERROR_SIZE])
{
	int dir_fd, lock = -1;
	char name[NAME_SIZE];
	size_t count = 0;

	if ((dir_fd = dir_open(dir, error)) == -1)
		return -1;
	if ((lock = lock_open(dir_fd, dir, error)) != -1)
		for (; count < DISK_SEGMENTS; count++) {
			snprintf(name, sizeof(name), "segment-%02zu", count);
			if ((fd[count] = file_open(dir_fd, dir, name, error)) == -1)
				break;
		}
	close(dir_fd);
	if (count == DISK_SEGMENTS)
		return lock;
	while (count-- > 0)
		close(fd[count]);
	if (lock != -1)
		close(lock);
	return -1;
}
