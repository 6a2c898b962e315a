/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_READ_H
#define VMTAP_COLLECTOR_STORE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

struct sqlite3;

/* All that a store_cursor without follow gives, one call for each block. */
struct store_reader {
	struct sqlite3	*db;
	const char	*store;
	const char	*uuid;
	uint64_t	 from_ns, to_ns;	/* files and stretches outside are passed over; single packets are the caller's */
	/* An Enhanced Packet or Interface Statistics Block. 1: go on; 0: enough; -1: error. */
	int		(*block)(const uint8_t stream[MSG_ID_SIZE], const uint8_t *, size_t, void *arg);
	void		(*warning)(const char *, void *arg);
	void		*arg;
	char		 error[1024];
};

/* 0: all was read, or block() had enough; -1: error() says why, or block() returned -1 (then error is empty). */
int	store_read(struct store_reader *);
/* Interface id's description of a stream; bytes, or -1. out of MSG_IDB_MAX. */
int	store_read_interface(struct sqlite3 *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out);
/* The label of the network that it was in, into text of STORE_NETWORK_SIZE: "" unless a policy names one. 0 / -1. */
#define STORE_NETWORK_SIZE	256
int	store_read_network(struct sqlite3 *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, char *text);

#endif
