/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CMD_LIST_H
#define VMTAP_COLLECTOR_CMD_LIST_H

#include <stdbool.h>

#include "reach.h"

struct catalog_vm;
struct conf_row;
struct sqlite3;

/* What the verbs that list share. */
struct list_options {
	char	*store;
	bool	 json;
	struct reach_options reach;
};
extern const struct conf_row list_rows[];

/* Common begin of the verbs that name one VM: its row and the catalog, and true; or the exit status, and all is done and freed. */
bool	list_open_vm(int argc, char **argv, struct list_options *, struct sqlite3 **, struct catalog_vm *, int *status);

#endif
