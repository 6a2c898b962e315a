/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BPF_REFERENCE_H
#define VMTAP_TESTS_BPF_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/bpf_part.h"

/* What is left of the packet after bpf_tail_headers(), without BPF. Protocol: the kernel's Ethertype, of use where the link shows
 * none. */
size_t	reference_cut(enum bpf_link, uint16_t protocol, unsigned payload, size_t snaplen, const uint8_t *data, size_t len);

#endif
