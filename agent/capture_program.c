/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"
#include "agent/capture_filter.h"

/* From the parts of a wish to the programs of an interface, and those into the kernel. */

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct sock_filter), "libpcap's instructions are the kernel's");

/* How a use's program deals with each kind of part; and, by its last return, with what all of them let go on. */
enum chaining { PASS_OVER, REQUIRE, EXCLUDE, ENOUGH };
static const struct {
	enum chaining	by_kind[FILTER_KINDS];	/* VIEW REFUSES NEVER OWN WITHHELD SAMPLED */
	bool		rest_counts;
} uses[] = {
	[PROGRAM_OFFERED] = { { REQUIRE, PASS_OVER, PASS_OVER, PASS_OVER, PASS_OVER, PASS_OVER }, true },
	[PROGRAM_OWN] = { { REQUIRE, PASS_OVER, PASS_OVER, ENOUGH, PASS_OVER, PASS_OVER }, false },
	[PROGRAM_TAKEN] = { { REQUIRE, REQUIRE, EXCLUDE, ENOUGH, PASS_OVER, PASS_OVER }, true },
	[PROGRAM_WITHHELD] = { { REQUIRE, REQUIRE, EXCLUDE, EXCLUDE, ENOUGH, PASS_OVER }, false },
	[PROGRAM_SAMPLED] = { { REQUIRE, REQUIRE, EXCLUDE, EXCLUDE, EXCLUDE, ENOUGH }, false },
	[PROGRAM_TAP] = { { REQUIRE, REQUIRE, EXCLUDE, EXCLUDE, EXCLUDE, EXCLUDE }, true },
};
/* What is own is counted as that, whether the filters would have passed it or not: it comes before them. */
static const enum filter_kind counting_order[] = { FILTER_VIEW, FILTER_OWN, FILTER_REFUSES, FILTER_NEVER, FILTER_WITHHELD,
    FILTER_SAMPLED };

static enum bpf_error
chain_add(struct bpf_chain *chain, const struct filter_parts *parts, size_t i, enum chaining how)
{
	const struct capture_program *program = &parts->part[i].program;

	switch (how) {
	case PASS_OVER:
		break;
	case REQUIRE:
	case EXCLUDE:
		return bpf_chain_add(chain, parts->part[i].name, program->insn, program->len, how == EXCLUDE);
	case ENOUGH:
		return bpf_chain_add_enough(chain, parts->part[i].name, program->insn, program->len);
	}
	return BPF_OK;
}

static enum bpf_error
chain_add_kind(struct bpf_chain *chain, const struct filter_parts *parts, enum filter_kind kind, enum chaining how)
{
	enum bpf_error why = BPF_OK;

	for (size_t i = 0; i < parts->count && why == BPF_OK; i++)
		if (parts->part[i].kind == kind)
			why = chain_add(chain, parts, i, how);
	return why;
}

static enum bpf_error
chain_fill(struct bpf_chain *chain, const struct filter_parts *parts, enum capture_program_use use)
{
	enum bpf_error why = BPF_OK;

	if (use == PROGRAM_TAP)
		for (size_t i = 0; i < parts->count && why == BPF_OK; i++)
			why = chain_add(chain, parts, i, uses[use].by_kind[parts->part[i].kind]);
	else
		for (size_t i = 0; i < sizeof(counting_order) / sizeof(counting_order[0]) && why == BPF_OK; i++)
			why = chain_add_kind(chain, parts, counting_order[i], uses[use].by_kind[counting_order[i]]);
	return why;
}

int
capture_filter_chain(const char *name, const struct filter_parts *parts, enum capture_program_use use, struct bpf_chain *chain,
    char error[MSG_TEXT_SIZE])
{
	enum bpf_error why = chain_fill(chain, parts, use);

	if (why == BPF_OK)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: %s", name, bpf_error_text(why));
	return -1;
}

static enum bpf_error
program_finish(struct capture_program *program, const struct bpf_chain *chain, const struct filter_parts *parts,
    enum capture_program_use use, const struct capture_wish *w)
{
	struct bpf_insn tail[BPF_TAIL_HEADERS_MAX];
	size_t len;

	if (use != PROGRAM_TAP)
		return bpf_chain_finish(chain, uses[use].rest_counts, program->insn, &program->len);
	if ((len = capture_filter_tail(parts, w, tail)) > 0)
		return bpf_chain_finish_with(chain, tail, len, program->insn, &program->len);
	return bpf_chain_finish(chain, w->snaplen, program->insn, &program->len);
}

/* While paused nothing passes, and what would be own still is. */
static enum bpf_error
program_make(struct capture_program *program, const struct filter_parts *parts, enum capture_program_use use, bool paused,
    const struct capture_wish *w)
{
	struct bpf_insn *fitting;
	struct bpf_chain chain;
	enum bpf_error why;

	if ((program->insn = calloc(BPF_CHAIN_MAX, sizeof(*program->insn))) == NULL)
		return BPF_NO_MEMORY;
	if (paused && use == PROGRAM_TAKEN)
		use = PROGRAM_OWN;
	bpf_chain_init(&chain);
	if ((why = chain_fill(&chain, parts, use)) == BPF_OK && paused && use > PROGRAM_TAKEN)
		program->len = bpf_part_nothing(program->insn);
	else if (why == BPF_OK)
		why = program_finish(program, &chain, parts, use, w);
	bpf_chain_clear(&chain);
	if (why == BPF_OK && (fitting = reallocarray(program->insn, program->len, sizeof(*fitting))) != NULL)
		program->insn = fitting;
	return why;
}

static void
state_init(struct capture_programs_state *state, const struct filter_parts *parts, bool paused)
{
	static const enum capture_program_use counts[FILTER_KINDS] = { [FILTER_VIEW] = PROGRAM_OFFERED, [FILTER_OWN] = PROGRAM_OWN,
		[FILTER_REFUSES] = PROGRAM_TAKEN, [FILTER_NEVER] = PROGRAM_TAKEN, [FILTER_WITHHELD] = PROGRAM_WITHHELD,
		[FILTER_SAMPLED] = PROGRAM_SAMPLED };

	*state = (struct capture_programs_state){ .paused = paused, .peers_left = parts->peers_left };
	state->in_use[PROGRAM_OFFERED] = state->in_use[PROGRAM_OWN] = state->in_use[PROGRAM_TAP] = true;
	state->in_use[PROGRAM_TAKEN] = paused;
	for (size_t i = 0; i < parts->count; i++)
		if (!paused)
			state->in_use[counts[parts->part[i].kind]] = true;
}

int
capture_filter_build(struct pcap *pcap, const char *name, const struct capture_wish *w, bool loopback, bool paused,
    struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	struct filter_parts parts;
	enum bpf_error why;

	memset(programs, 0, sizeof(*programs));
	if (capture_filter_compile(pcap, name, w, loopback, &parts, error) == -1)
		return -1;
	why = program_make(&programs->of[PROGRAM_TAP], &parts, PROGRAM_TAP, paused, w);
	for (unsigned use = 0; use < PROGRAM_TAP && why == BPF_OK; use++)
		if (program_make(&programs->of[use], &parts, (enum capture_program_use)use, paused, w) != BPF_OK)
			capture_program_clear(&programs->of[use]);
	state_init(&programs->state, &parts, paused);
	capture_filter_parts_clear(&parts);
	if (why == BPF_OK)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: %s", name, bpf_error_text(why));
	capture_programs_clear(programs);
	return -1;
}

static int
program_copy(struct capture_program *program, const struct capture_program *from)
{
	if (from->len == 0)
		return 0;
	if ((program->insn = calloc(from->len, sizeof(*program->insn))) == NULL)
		return -1;
	memcpy(program->insn, from->insn, from->len * sizeof(*program->insn));
	program->len = from->len;
	return 0;
}

int
capture_programs_copy(struct capture_programs *programs, const struct capture_programs *from)
{
	*programs = (struct capture_programs){ .state = from->state };
	for (size_t i = 0; i < PROGRAM_COUNT; i++)
		if (program_copy(&programs->of[i], &from->of[i]) == -1) {
			capture_programs_clear(programs);
			return -1;
		}
	return 0;
}

int
capture_programs_nothing(struct capture_programs *programs)
{
	memset(programs, 0, sizeof(*programs));
	for (size_t i = 0; i < PROGRAM_COUNT; i++)
		if (capture_filter_nothing(&programs->of[i]) == -1) {
			capture_programs_clear(programs);
			return -1;
		}
	return 0;
}

int
capture_filter_nothing(struct capture_program *program)
{
	memset(program, 0, sizeof(*program));
	if ((program->insn = calloc(BPF_PART_MAX, sizeof(*program->insn))) == NULL)
		return -1;
	program->len = bpf_part_nothing(program->insn);
	return 0;
}

int
capture_filter_attach(int fd, const char *name, const struct capture_program *program, char error[MSG_TEXT_SIZE])
{
	struct sock_fprog fprog = { .len = (unsigned short)program->len, .filter = (struct sock_filter *)(void *)program->insn };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &fprog, sizeof(fprog)) == 0)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: the kernel refuses the filter of %zu instructions: %s%s", name, program->len,
	    strerror(errno), errno == ENOMEM ?
	    "; shorten it, or raise net.core.optmem_max, which has to hold it beside the one it replaces" : errno == EINVAL ?
	    "; shorten it, for it grows in there" : "");
	return -1;
}

bool
capture_program_equal(const struct capture_program *a, const struct capture_program *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->insn, b->insn, a->len * sizeof(*a->insn)) == 0);
}

void
capture_program_clear(struct capture_program *program)
{
	free(program->insn);
	memset(program, 0, sizeof(*program));
}

bool
capture_programs_equal(const struct capture_programs *a, const struct capture_programs *b)
{
	for (size_t i = 0; i < PROGRAM_COUNT; i++)
		if (!capture_program_equal(&a->of[i], &b->of[i]))
			return false;
	return a->state.paused == b->state.paused && a->state.peers_left == b->state.peers_left;
}

void
capture_programs_clear(struct capture_programs *programs)
{
	for (size_t i = 0; i < PROGRAM_COUNT; i++)
		capture_program_clear(&programs->of[i]);
}
