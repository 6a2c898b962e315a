/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_CHECK_H
#define VMTAP_PROTO_BPF_CHECK_H

#include <stddef.h>

struct bpf_insn;

/*
 * Is this a program that a chain (proto/bpf.h) can take as a part, from somebody nobody knows? Known instructions only, jumps
 * forwards and inside, scratch memory inside and written before it is read, no division by a constant 0, no shift by more than 31,
 * ancillary loads that only read, each path ends in "ret k". 0; -1 with a line in error: "instruction 12: jumps behind the end". An
 * empty one is good: all packets.
 */
#define BPF_CHECK_ERROR_SIZE	128
int	bpf_check(const struct bpf_insn *, size_t len, char error[BPF_CHECK_ERROR_SIZE]);
/* The same of what stands at a program's end, which may "ret a". */
int	bpf_check_tail(const struct bpf_insn *, size_t len, char error[BPF_CHECK_ERROR_SIZE]);

#endif
