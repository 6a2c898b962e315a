/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_REACH_INTERNAL_H
#define VMTAP_COLLECTOR_REACH_INTERNAL_H

#include <stdbool.h>

#include "common/buf.h"

#include "reach.h"

struct event;
struct event_base;
struct tls_context;
struct tlsio;

#define REACH_ANSWER_S	15
#define REACH_WHY_SIZE	600

/* reach.c (what is said), reach_tls.c (TLS). */
struct reach {
	const char	*verb;
	char		 where[300];
	int		 fd;		/* of the control socket; -1: TLS */
	struct buf	 in;		/* came and is not looked at yet */
	struct event_base *base;
	struct event	*timer;
	struct tls_context *tls;
	struct tlsio	*io;
	bool		 opened, closed, late;
	char		 why[REACH_WHY_SIZE];	/* closed */
};

/* Until the collector has shown who it is. 0, or -1: told. */
int	reach_tls_open(struct reach *, const struct reach_options *);
void	reach_tls_close(struct reach *);
int	reach_tls_send(struct reach *, const void *, size_t);	/* 0, or -1 with why */
/* More of what the collector says, in reach->in; seconds 0: whenever it comes. 0, or -1 with why. */
int	reach_tls_more(struct reach *, unsigned seconds);

#endif
