/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/log.h"

#include "collector/catalog.h"
#include "collector/store.h"
#include "collector/store_recover.h"

void
store_set_group(const struct store *store, int fd)
{
	if (store->gid != (gid_t)-1 && fchown(fd, (uid_t)-1, store->gid) == -1)
		log_debug("%s: group %u cannot be set: %s", store->path, (unsigned)store->gid, strerror(errno));
}

static int
store_error(char *error, size_t error_size, const char *path, const char *what)
{
	snprintf(error, error_size, "store %s: %s: %s", path, what, strerror(errno));
	return -1;
}

/* Makes the directories of path one after another. */
static int
store_make_directory(const char *path)
{
	char *copy = strdup(path);
	int rc = 0;

	if (copy == NULL)
		return -1;
	for (char *p = copy + 1; rc == 0; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (mkdir(copy, 0750) == -1 && errno != EEXIST)
			rc = -1;
		*p = end;
		if (end == '\0')
			break;
	}
	free(copy);
	return rc;
}

static int
store_lock(struct store *store, char *error, size_t error_size)
{
	char pid[32] = "";
	ssize_t n;

	store->lock_fd = openat(store->root_fd, STORE_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (store->lock_fd == -1)
		return store_error(error, error_size, store->path, "not writable");
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK)
			return store_error(error, error_size, store->path, "lock");
		n = pread(store->lock_fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
		snprintf(error, error_size, "store %s: in use by another collector (pid %s)", store->path, pid[0] != '\0' ? pid
		    : "unknown");
		return -1;
	}
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(store->lock_fd, 0) == -1 || pwrite(store->lock_fd, pid, (size_t)n, 0) != n)
		return store_error(error, error_size, store->path, "lock");
	return 0;
}

/* SQLite gives -wal and -shm the catalog's mode, but only root's also its group. */
static void
store_share_catalog(const struct store *store)
{
	static const char *const names[] = { CATALOG_NAME, CATALOG_NAME "-wal", CATALOG_NAME "-shm" };

	if (store->gid == (gid_t)-1)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (fchownat(store->root_fd, names[i], (uid_t)-1, store->gid, AT_SYMLINK_NOFOLLOW) == -1 && errno != ENOENT)
			log_debug("%s/%s: group cannot be set: %s", store->path, names[i], strerror(errno));
}

static int
store_open_catalog(struct store *store, char *error, size_t error_size)
{
	struct sqlite3 *db = catalog_open(store->path, error, error_size);
	int rc;

	if (db == NULL)
		return -1;
	rc = store_recover(store, db, error, error_size);
	store_share_catalog(store);
	sqlite3_close(db);
	return rc;
}

static int
store_know_catalog(struct store *store, char *error, size_t error_size)
{
	struct stat st;

	if (fstatat(store->root_fd, CATALOG_NAME, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		store_error(error, error_size, store->path, "the catalog is gone");
		return -1;
	}
	store->catalog_dev = st.st_dev;
	store->catalog_ino = st.st_ino;
	return 0;
}

int
store_open(struct store *store, const char *path, const char *group, char *error, size_t error_size)
{
	struct group *gr = group != NULL && group[0] != '\0' ? getgrnam(group) : NULL;

	memset(store, 0, sizeof(*store));
	store->root_fd = store->lock_fd = -1;
	store->gid = gr != NULL ? gr->gr_gid : (gid_t)-1;
	atomic_init(&store->next_file_id, 1);
	if ((store->path = strdup(path)) == NULL)
		return store_error(error, error_size, path, "out of memory");
	if (store_make_directory(path) == -1) {
		store_error(error, error_size, path, "cannot be made");
		goto fail;
	}
	if ((store->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		store_error(error, error_size, path, "cannot be opened");
		goto fail;
	}
	store_set_group(store, store->root_fd);
	if (store_lock(store, error, error_size) == -1 || store_open_catalog(store, error, error_size) == -1 ||
	    store_know_catalog(store, error, error_size) == -1)
		goto fail;
	return 0;
fail:
	store_close(store);
	return -1;
}

int
store_check_place(const struct store *store, char *error, size_t error_size)
{
	struct stat ours, there;

	if (fstat(store->root_fd, &ours) == 0 && stat(store->path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino && fstatat(store->root_fd, CATALOG_NAME, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    there.st_dev == store->catalog_dev && there.st_ino == store->catalog_ino)
		return 0;
	snprintf(error, error_size, "the store is not there any more, removed or replaced by another: put it back, or start the"
	    " collector anew, which makes a new one");
	return -1;
}

bool
store_tenant_fits(const char *tenant)
{
	return strcmp(tenant, STORE_LOCK_NAME) != 0 && strcmp(tenant, STORE_CTL_NAME) != 0 &&
	    strncmp(tenant, CATALOG_NAME, strlen(CATALOG_NAME)) != 0;
}

void
store_close(struct store *store)
{
	if (store->root_fd != -1)
		close(store->root_fd);
	if (store->lock_fd != -1)
		close(store->lock_fd);
	free(store->path);
	store->path = NULL;
	store->root_fd = store->lock_fd = -1;
}

void
store_hidden_path(const char *path, char hidden[STORE_PATH_SIZE + 1])
{
	const char *name = strrchr(path, '/');
	size_t dir = name != NULL ? (size_t)(name - path) + 1 : 0;

	snprintf(hidden, STORE_PATH_SIZE + 1, "%.*s.%s", (int)dir, path, path + dir);
}

static int
store_rename(const struct store *store, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(store->root_fd, from, store->root_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* A file system without RENAME_NOREPLACE: the store's lock keeps other writers away. */
	if (fstatat(store->root_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(store->root_fd, from, store->root_fd, to);
}

int
store_reveal(const struct store *store, const char *path)
{
	char hidden[STORE_PATH_SIZE + 1];

	store_hidden_path(path, hidden);
	return store_rename(store, hidden, path);
}

int
store_hide(const struct store *store, const char *path)
{
	char hidden[STORE_PATH_SIZE + 1];

	store_hidden_path(path, hidden);
	return store_rename(store, path, hidden);
}
