/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_STORE_LAB_H
#define VMTAP_TESTS_STORE_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/codec.h"
#include "proto/msg.h"

#include "collector/archive.h"
#include "collector/store.h"
#include "collector/stream.h"
#include "collector/stream_file.h"

/* A store in a directory of its own, an archive on it, and the messages of an agent. What fails in here fails the test. */

#define STORE_LAB_UUID	"11111111-2222-3333-4444-555555555555"
#define STORE_LAB_START	UINT64_C(1700000000000000000)	/* time of the first packet */

struct store_lab {
	char		 path[64];
	struct store	 store;
	struct archive	 archive;
	struct committer *committer;
	struct vm	*vm;
	struct stream	*stream;	/* with interface 0 */
};

void	 store_lab_open(struct store_lab *);			/* a fresh one */
void	 store_lab_kill(struct store_lab *);			/* the process is gone; the directory stays */
void	 store_lab_start(struct store_lab *);			/* on what is there: recovery, then the same VM and stream */
void	 store_lab_close(struct store_lab *);			/* and remove */
void	 store_lab_commit(struct store_lab *);			/* by the real committer; waits until it is done */
/* The same in parts. */
void	 store_lab_commit_begin(struct store_lab *);
const char *store_lab_commit_fails(void);			/* waits until it is told: the text */
void	 store_lab_commit_end(struct store_lab *);

/* A description of interface id; in static memory. */
struct msg_interface store_lab_interface(const struct store_lab *, uint32_t id);
/* Block number of so many packets of 60 to 90 bytes on interface 0, a packet each microsecond; in static memory. */
struct msg_block store_lab_block(const struct store_lab *, const struct codec *, uint64_t number, uint32_t packets);
/* The same, taken in without fault. */
void	 store_lab_add(struct store_lab *, const struct codec *, uint64_t number, uint32_t packets);

/* Catalog: one number, or text (static). */
int64_t	 store_lab_number(const struct store_lab *, const char *sql);
const char *store_lab_text(const struct store_lab *, const char *sql);
void	 store_lab_sql(const struct store_lab *, const char *sql);
/* Whole packets in a file ("TENANT/VM/name", the hidden one if that is there). */
uint64_t store_lab_packets(const struct store_lab *, const char *path, const struct codec *);
bool	 store_lab_exists(const struct store_lab *, const char *path);

#endif
