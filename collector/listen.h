/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_LISTEN_H
#define VMTAP_COLLECTOR_LISTEN_H

#include <stddef.h>

struct conf_list;
struct event_base;

/* Listening sockets of "ADDR[:PORT]" each; numeric addresses. */
struct listeners;
/* The list must live until listeners_start(). NULL with a line for people. */
struct listeners *listeners_new(const struct conf_list *, char *error, size_t error_size);
/* From now on each connection goes to accepted(), which takes the (non-blocking) descriptor. 0 / -1. */
int		 listeners_start(struct listeners *, struct event_base *, void (*accepted)(int fd, void *arg), void *arg);
void		 listeners_free(struct listeners *);	/* NULL is fine; closes them */

#endif
