/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_POWERCUT_H
#define VMTAP_TESTS_POWERCUT_H

#include <stdint.h>

/* What powercut.so logs and powercut-apply plays back: a record, then path (and to, for a rename), then data. */
enum powercut_kind {
	POWERCUT_OPEN = 1,	/* of a file that is there: what its inode is called */
	POWERCUT_CREATE,
	POWERCUT_MKDIR,
	POWERCUT_RENAME,
	POWERCUT_UNLINK,
	POWERCUT_WRITE,
	POWERCUT_TRUNCATE,	/* to offset */
	POWERCUT_SYNC		/* of inode, or of all if 0: operations before number offset are durable */
};

struct powercut_record {
	uint32_t kind;
	uint32_t path_len, to_len, data_len;	/* paths are below the store, without a NUL */
	uint64_t inode, offset;
};

#endif
