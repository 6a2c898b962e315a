/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_RECOVER_H
#define VMTAP_COLLECTOR_STORE_RECOVER_H

#include <stddef.h>

struct sqlite3;
struct store;

/*
 * What a dead run left is set right, before any session: files still marked live are cut to the length the catalog knows to be
 * durable, ended and closed; those still hidden get their names; hidden files without a row are removed; what else lies there is
 * left alone, and said. A file shorter than the catalog has it (a disk that lied) loses its packets to a loss record. 0, or -1 with
 * a line for people.
 */
int	store_recover(struct store *, struct sqlite3 *, char *error, size_t error_size);

#endif
