/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ARCHIVE_H
#define VMTAP_COLLECTOR_ARCHIVE_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/identity.h"
#include "proto/msg.h"

#include "collector/budget.h"
#include "collector/hint_sample.h"
#include "collector/policy.h"
#include "collector/store_batch.h"

struct hint_hub;
struct hint_vm;
struct session;
struct sqlite3;
struct stream;

/* Why a session must end. */
struct fault {
	enum msg_error	code;
	char		text[256];
};
int	fault_set(struct fault *, enum msg_error, const char *, ...) __attribute__((format(printf, 3, 4)));	/* -1 always */

/*
 * The archive: one worker's part of the store. It holds what is known of its VMs and their streams, and the batch that the next
 * group commit will write. One thread.
 */
#define ARCHIVE_VM_STREAMS_MAX	64	/* streams of one VM in memory: HELLO's and those that began since */
#define ARCHIVE_VM_FILES_BURST	64u	/* files that a VM's streams and codecs may begin at once, and then one a second */
/*
 * Rows of the catalog that a VM may cause at once and then in a minute. Of streams and interfaces: beyond, its session ends with an
 * ERROR. Counters are rows too, but so small that ARCHIVE_ROW_COUNTERS of them count for one. Losses and events: beyond, losses are
 * joined with one before, and what happened is in the files alone; both are counted.
 */
#define ARCHIVE_VM_ROWS_BURST		2048u
#define ARCHIVE_VM_ROWS_MINUTE		128u
#define ARCHIVE_ROW_COUNTERS		64u
#define ARCHIVE_VM_REPORTS_BURST	1024u
#define ARCHIVE_VM_REPORTS_MINUTE	256u
#define ARCHIVE_AWAY_NS		(3600u * 1000000000ull)	/* then the files of a VM without a session are closed */

struct vm {
	TAILQ_ENTRY(vm)		 entry;		/* of archive.vms; lives as long as the archive */
	TAILQ_ENTRY(vm)		 dirty_entry;
	bool			 dirty;		/* it or a stream of it has changes for the next batch */
	bool			 row_dirty;
	struct vm_row		 row;
	struct policy_dedup	 dedup;		/* of the policy in force, mode resolved; from its first session on */
	TAILQ_HEAD(, stream)	 streams;
	unsigned		 stream_count;
	struct tenant_use	*use;		/* of its tenant; from its first session on */
	bool			 has_place;	/* of quota.h: from its first session until that and its files are closed */
	bool			 cut_pending;	/* a stream of it may have been cut off, and how much that lost is not yet recorded */
	uint8_t			 instance[MSG_ID_SIZE];	/* the agent process of the last session */
	struct budget		 files, rows, reports, renewals;
	unsigned		 files_closing;	/* their descriptors are the next commits' */
	bool			 events_left_out;	/* the last one was, and an event says so */
	struct hint_vm		*hint;		/* while it has a session */
	bool			 has_hint_stream;
	uint8_t			 hint_stream[MSG_ID_SIZE];	/* the one being captured, the last one */
	struct hint_sampler	 sampler;
	uint64_t		 left_ns;	/* monotonic: when its last session ended; 0: none has */
	unsigned		 pulls;		/* connections of RPCAP that bring its streams, instead of a session */
	struct session		*session;	/* open, and the only one that may bring blocks */
	struct session		*contender;	/* waits for the session's PONG */
};

struct archive_settings {
	uint64_t	rotate_size;
	uint64_t	rotate_interval_ms;
};

struct archive {
	struct store		*store;
	struct hint_hub		*hints;		/* shared by all; NULL: none */
	struct sqlite3		*db;		/* for reading what memory does not hold */
	struct archive_settings	 settings;
	TAILQ_HEAD(, vm)	 vms;
	void			*vm_by_uuid;	/* tsearch(3) */
	TAILQ_HEAD(, vm)	 dirty_vms;
	struct batch		*batch;
	bool			 soon;		/* something waits for the commit: not only counters are dirty */
	bool			 urgent;	/* an agent's spool is half full */
	uint8_t			*scratch;	/* MSG_BLOCK_RAW_MAX bytes: a block decoded */
};

int	archive_init(struct archive *, struct store *, const struct archive_settings *, char *error, size_t error_size);
/* Open files stay as they are: archive_close_files() and a commit come before. */
void	archive_clear(struct archive *);
/* The VM of an agent's certificate, from memory, the catalog, or new; NULL with fault: the UUID is another tenant's, no memory. */
struct vm	*archive_vm(struct archive *, const struct identity *, struct fault *);
/* In memory, or NULL. */
struct vm	*archive_find_vm(struct archive *, const char *uuid);
void	archive_mark_dirty(struct archive *, struct vm *);
/* The VM's own row is to be written. */
void	archive_vm_changed(struct archive *, struct vm *);
bool	archive_is_dirty(const struct archive *);
/* The next batch with all changes in it, NULL: nothing to commit. */
struct batch	*archive_take_batch(struct archive *);
/* What the batch held is durable: streams learn it and are told to the callback (NULL: none), ended ones are then forgotten. The
 * batch stays the caller's. */
void	archive_committed(struct archive *, const struct batch *, void (*durable)(struct stream *, void *), void *arg);
/* Files older than the rotation interval, or of a VM long away; all files. */
void	archive_rotate_old(struct archive *);
/* VMs without a session and open files give up their place; where others want it, the files are closed for that. */
void	archive_give_places(struct archive *);
void	archive_close_files(struct archive *);
/* Makes control and non-ASCII bytes of what a peer said harmless for logs, tables and JSON; returns its argument. */
char	*archive_clean_text(char *);

#endif
