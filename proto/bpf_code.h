/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_BPF_CODE_H
#define VMTAP_PROTO_BPF_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_insn;

/*
 * A classic BPF program while it is written into the caller's instructions. Jumps lead forward, to labels that are placed later.
 * Conditional ones reach 255 instructions, and what is further away through a relay. Whatever goes wrong (no room, a jump too far,
 * a label never placed) sticks and makes bpf_code_end() return 0.
 *
 * What a program costs in the kernel (net.core.optmem_max): 8 bytes an instruction, but a load from the packet about nine times
 * that (fourteen with a constant offset), a return twice, a comparison with 2^31 and above twice.
 */
struct bpf_code {
	struct bpf_insn	*insn;
	size_t		 room, len;
	bool		 failed;
};

struct bpf_label {
	size_t	last;		/* the last jump to it, counted from 1; each says how far back the one before is */
};

void	bpf_code_init(struct bpf_code *, struct bpf_insn *, size_t room);
void	bpf_code_stmt(struct bpf_code *, uint16_t code, uint32_t k);
void	bpf_code_return(struct bpf_code *, uint32_t k);
/* test: BPF_JEQ, BPF_JGT, BPF_JGE or BPF_JSET, with BPF_X for a comparison with X. Else it goes on behind. */
void	bpf_code_if(struct bpf_code *, uint16_t test, uint32_t k, struct bpf_label *);
void	bpf_code_unless(struct bpf_code *, uint16_t test, uint32_t k, struct bpf_label *);
void	bpf_code_goto(struct bpf_code *, struct bpf_label *);
void	bpf_code_here(struct bpf_code *, struct bpf_label *);	/* the label may be used again for another place */
/* The jumps to the label so far lead here, and from here on to it. To be put where nothing falls through. */
void	bpf_code_relay(struct bpf_code *, struct bpf_label *);
size_t	bpf_code_end(struct bpf_code *);	/* the length, 0 on failure */

#endif
