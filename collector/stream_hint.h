/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STREAM_HINT_H
#define VMTAP_COLLECTOR_STREAM_HINT_H

#include "collector/stream.h"

struct hint_record;

/*
 * What becomes known of a VM and its streams, told to the hints (collector/hint_hub.h), if the archive has them and the VM has a
 * session. Only the stream that is being captured counts: the one of which an interface was told last, or STATS or ADDRESSES.
 */
void	stream_hint_up(struct archive *, struct vm *, unsigned worker);
void	stream_hint_down(struct archive *, struct vm *);
/* vm->dedup is in force; settled: the agent has been told, and has answered. */
void	stream_hint_policy(struct archive *, struct vm *, bool settled);
void	stream_hint_interface(struct archive *, struct stream *);	/* one was told */
void	stream_hint_addresses(struct archive *, struct stream *, const struct msg_addresses *);
void	stream_hint_stats(struct archive *, struct stream *);
void	stream_hint_gap(struct archive *, struct stream *);
/* The block is in archive->scratch, and has passed its check. */
void	stream_hint_block(struct archive *, struct stream *, const struct msg_block *);
void	stream_hint_result(struct archive *, struct vm *, const struct msg_hints_result *);
/* Heard of at mono_ns; do others rely on it? */
bool	stream_hint_heard(struct archive *, struct vm *, uint64_t mono_ns);
/* Addresses of peers that it leaves out now. */
size_t	stream_hint_withholds(struct archive *, const struct vm *);
/* Into the batch, or the log. */
void	stream_hint_record(struct archive *, struct hint_record *);

#endif
