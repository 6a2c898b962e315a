/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_H
#define VMTAP_COLLECTOR_STORE_H

#include <sys/types.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "proto/identity.h"

struct codec;

/*
 * The store: a directory with the catalog, a lock and TENANT/VM/<start time>-<n>.pcapng<suffix>. Directories 0750, files 0640,
 * of the group that may read. A file is made as ".name", and gets its name once its row in the catalog is durable.
 * One store belongs to one collector process; after store_open() any thread may use it.
 */
#define STORE_LOCK_NAME	"lock"
#define STORE_CTL_NAME	"ctl.sock"
#define STORE_PATH_SIZE	256	/* TENANT/VM/name */
#define STORE_PENDING_MAX	(64u * 1024 * 1024)	/* of one file; a worker stops reading long before */

struct store {
	char		*path;
	int		 root_fd;
	dev_t		 catalog_dev;	/* of the catalog that is open */
	ino_t		 catalog_ino;
	int		 lock_fd;
	gid_t		 gid;		/* (gid_t)-1: leave it */
	_Atomic uint64_t next_file_id;
};

/* Makes the directory, locks it, makes or opens the catalog, recovers what a dead run left (store_recover.c). group: NULL, or one
 * that need not exist. 0, or -1 with a line for people. */
int	store_open(struct store *, const char *path, const char *group, char *error, size_t error_size);
void	store_close(struct store *);
/* Is what is written still found under the store's path? 0, or -1 with a line for people. */
int	store_check_place(const struct store *, char *error, size_t error_size);
/* False: a tenant of this name would be in the way of the store's own files. */
bool	store_tenant_fits(const char *tenant);
/* Owner is left alone, the group becomes the store's; best effort. */
void	store_set_group(const struct store *, int fd);

/*
 * One growing file. Its values are those of the catalog's row. A worker owns it and appends without waiting for the disk: that is
 * kept until the next commit, whose thread writes it. Only to make a file it waits. For that the batch has a copy of the file, with what was pending.
 */
struct store_file {
	struct store		*store;
	const struct codec	*codec;
	int			 fd;
	uint64_t		 id;
	char			 path[STORE_PATH_SIZE];	/* the final one */
	uint64_t		 created_ns, created_mono_ns;
	uint64_t		 length, raw, packets, bytes;	/* with what is pending */
	struct buf		 pending;			/* the last of length, not yet given to a commit */
	uint64_t		 first_block, last_block;	/* 0: none yet */
	uint64_t		 first_ns, last_ns;		/* 0: no packet yet */
	uint64_t		 point_offset, point_ns;	/* of the last index point */
	uint32_t		 interface_count;		/* described in the file so far */
	bool			 in_batch;		/* its row has been on its way to the catalog */
};

/* Below TENANT/UUID, hidden, beginning with what the codec wants there and head (SHB and IDBs, raw). NULL with errno. */
struct store_file *store_file_create(struct store *, const char *tenant, const char *uuid, const struct codec *,
		    const uint8_t *head, size_t head_len);
/* One unit, whole or not at all: after -1 (ENOMEM, ENOBUFS) the file is as it was before. */
int		 store_file_append(struct store_file *, const uint8_t *unit, size_t len);
int		 store_file_append_raw(struct store_file *, const uint8_t *raw, size_t len);	/* makes a stored unit of it */
/* Appends what ends a file of the codec. Without it, for want of memory, a file is readable too. */
void		 store_file_finish(struct store_file *);
/* Moves what is pending into the copy; at the file's end also the descriptor, which else stays the file's. */
void		 store_file_hand_over(struct store_file *, struct store_file *copy, bool end);
/* The disk's part, on the copy: writes what is pending. -1 with errno: to be tried again, going on where it stopped. */
int		 store_file_write(struct store_file *copy);
/* What the file or copy owns: pending bytes and, if it is to be closed, the descriptor. */
void		 store_file_clear(struct store_file *, bool end);
void		 store_file_free(struct store_file *);

/* "TENANT/VM/name" -> "TENANT/VM/.name" */
void		 store_hidden_path(const char *path, char hidden[STORE_PATH_SIZE + 1]);
/* The hidden name becomes the final one, or the other way round; never over an existing file. 0 / -1 with errno. */
int		 store_reveal(const struct store *, const char *path);
int		 store_hide(const struct store *, const char *path);

#endif
