/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CMD_ASK_H
#define VMTAP_COLLECTOR_CMD_ASK_H

struct json_t;

/* The running collector's answer to the question, which is taken, over its control socket (ctl NULL: that in the store). NULL: there is
 * none, or it says no; why is told on stderr under the verb's name. */
struct json_t	*cmd_ask(const char *verb, const char *store, const char *ctl, struct json_t *question);

#endif
