/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PCAPNG_OUT_H
#define VMTAP_COLLECTOR_PCAPNG_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

/*
 * One pcapng section for people and tools, out of the blocks of any number of streams: their interfaces get numbers of the output's
 * own, described before their first packet; an optional pcap-filter(7) expression picks packets.
 */
struct pcapng_out;
#define PCAPNG_OUT_NO_TERMINAL	"packets do not go to a terminal: use -w FILE, or a pipe such as \"| tcpdump -r -\""

/* path "-" is standard output; filter may be NULL. NULL with a line: output is a terminal or cannot be made, a bad filter. */
struct pcapng_out *pcapng_out_open(const char *path, const char *filter, const char *application, char *error, size_t error_size);
void		 pcapng_out_limit(struct pcapng_out *, uint64_t packets);	/* stop after so many */
void		 pcapng_out_window(struct pcapng_out *, uint64_t from_ns, uint64_t to_ns);

/* Describes a stream's interface, before its first block. 0, or -1: malformed, or the filter does not fit its link type. */
int	pcapng_out_interface(struct pcapng_out *, const uint8_t stream[MSG_ID_SIZE], uint32_t id, const uint8_t *idb, size_t idb_len);
bool	pcapng_out_knows(struct pcapng_out *, const uint8_t stream[MSG_ID_SIZE], uint32_t id);
/* The interface id that a whole EPB or ISB names; UINT32_MAX if it is too short to name one. */
uint32_t pcapng_out_interface_of(const uint8_t *block, size_t len);
/* One EPB or ISB as it stands in a stream's block. 1 written or passed over, 0: the limit is reached, -1: error. */
int	pcapng_out_block(struct pcapng_out *, const uint8_t stream[MSG_ID_SIZE], const uint8_t *block, size_t len);
/* Before pcapng_out_close() too: it alone can say why the rest could not be written. */
int	pcapng_out_flush(struct pcapng_out *);
/* Closes, but not standard output, and frees. 0, or -1 with errno: what was left could not be written. */
int	pcapng_out_close(struct pcapng_out *);

uint64_t	 pcapng_out_packets(const struct pcapng_out *);
bool		 pcapng_out_mixed(const struct pcapng_out *);	/* packets of several link types were written */
bool		 pcapng_out_reader_gone(const struct pcapng_out *);	/* EPIPE: whoever read us has enough */
const char	*pcapng_out_error(const struct pcapng_out *);

#endif
