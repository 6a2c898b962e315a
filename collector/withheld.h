/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_WITHHELD_H
#define VMTAP_COLLECTOR_WITHHELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bpf_part.h"
#include "proto/identity.h"

struct sqlite3;

/*
 * What a VM left out because a peer's agent delivers it, as the catalog's table withheld has it: for reading the VM whole. A span is
 * one peer's address and a time; spans rather say too much, so what the VM captured itself has to be told from what it left out by
 * comparing the packets.
 */
struct withheld_span {
	char		 peer[IDENTITY_UUID_SIZE];
	char		 peer_name[IDENTITY_NAME_SIZE];
	char		 network[IDENTITY_NAME_SIZE];	/* of both */
	bool		 balanced;
	uint64_t	 from_ns, to_ns;		/* by the collector's clock; to_ns UINT64_MAX: still so */
	uint64_t	 latest_ns;			/* of the peer's to this one, the last to_ns */
	struct bpf_peer	 address;			/* the peer's */
	struct bpf_peer	*own;				/* the VM's */
	size_t		 own_count;
};

struct withheld {
	struct withheld_span	*span;			/* by peer, and of a peer by from_ns */
	size_t			 count;
};

/* Has the VM left out anything at all? */
bool	withheld_any(struct sqlite3 *, const char *uuid);
/* Those of the VM within a time. 0, or -1 with a line. */
int	withheld_load(struct withheld *, struct sqlite3 *, const char *uuid, uint64_t from_ns, uint64_t to_ns, char *error,
	    size_t error_size);
void	withheld_clear(struct withheld *);

/* A packet as the peer captured it: is it one that the VM left out? */
struct withheld_packet {
	const char	*network;	/* of the peer's interface */
	uint64_t	 at_ns;		/* by the collector's clock */
	bool		 sent;		/* by the peer; else it received it */
	uint16_t	 linktype;
	const uint8_t	*data;
	size_t		 len;
};
bool	withheld_left_out(const struct withheld_span *, size_t count, const struct withheld_packet *);	/* by one of these, of one peer */
/* Does a time have anything in common with one of these, of one peer? */
bool	withheld_touched(const struct withheld_span *, size_t count, uint64_t first_ns, uint64_t last_ns);

#endif
