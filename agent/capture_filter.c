/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "common/buf.h"
#include "proto/bpf.h"
#include "proto/bpf_check.h"
#include "proto/bpf_part.h"
#include "proto/pcapng.h"
#include "agent/capture_filter.h"
#include "agent/governor.h"

#define OWN_TEXT_MAX		(64u * 1024)
#define SLL_HEADER_LEN		16	/* LINKTYPE_LINUX_SLL */
#define SLL2_HEADER_LEN		20
#define PARTS_MAX		(sizeof(((struct filter_parts *)NULL)->part) / sizeof(((struct filter_parts *)NULL)->part[0]))

const char *
capture_filter_hint(const char *why)
{
	bool lookup = strstr(why, "unknown host") != NULL || strstr(why, "unknown network") != NULL;

	return lookup ? " (addresses must be numeric: names are not looked up)" : "";
}

static void
pcap_error(char error[MSG_TEXT_SIZE], const char *name, const char *part, const char *text, struct pcap *pcap)
{
	const char *why = pcap_geterr(pcap);

	snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": %s%s", name, part, CAPTURE_FILTER_SHOWN, text, why,
	    capture_filter_hint(why));
}

static bool
word_at(const char *text, const char *p, const char *word)
{
	size_t len = strlen(word);

	return strncmp(p, word, len) == 0 && !isalnum((unsigned char)p[len]) && (p == text || !isalnum((unsigned char)p[-1]));
}

size_t
capture_filter_conditions(const char *text)
{
	size_t count = 1;

	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '-')
			count += 2;
		else if (strncmp(p, "||", 2) == 0 || strncmp(p, "&&", 2) == 0 || word_at(text, p, "or") || word_at(text, p, "and"))
			count++;
	}
	return count;
}

/* libpcap makes a loop of "protochain"; jumps of the kernel's programs only go forward. */
static bool
program_loops(const struct bpf_program *program)
{
	for (unsigned i = 0; i < program->bf_len; i++)
		if (program->bf_insns[i].code == (BPF_JMP | BPF_JA) && program->bf_insns[i].k > INT32_MAX)
			return true;
	return false;
}

static size_t
cooked_header_len(int linktype)
{
	return linktype == DLT_LINUX_SLL ? SLL_HEADER_LEN : linktype == DLT_LINUX_SLL2 ? SLL2_HEADER_LEN : 0;
}

static int
parts_add(struct filter_parts *parts, const char *name, enum filter_kind kind, const struct bpf_insn *insn, size_t len)
{
	struct capture_program *program;

	if (parts->count == PARTS_MAX)
		return -1;
	program = &parts->part[parts->count].program;
	if ((program->insn = calloc(len, sizeof(*insn))) == NULL)
		return -1;
	memcpy(program->insn, insn, len * sizeof(*insn));
	program->len = len;
	parts->part[parts->count].name = name;
	parts->part[parts->count++].kind = kind;
	return 0;
}

static int
parts_add_direction(struct filter_parts *parts, const char *name, enum filter_kind kind, bool in)
{
	struct bpf_insn insn[BPF_PART_MAX];

	return parts_add(parts, name, kind, insn, bpf_part_direction(insn, in));
}

static int
parts_add_text(struct filter_parts *parts, struct pcap *pcap, const char *name, const char *part, enum filter_kind kind,
    const char *text, char error[MSG_TEXT_SIZE])
{
	size_t cooked = cooked_header_len(pcap_datalink(pcap));
	struct bpf_program program;
	int result = -1;

	if (!capture_filter_given(text))
		return 0;
	if (capture_filter_conditions(text) > CAPTURE_CONDITIONS_MAX) {
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": it has %zu conditions (a range counts as three), but %d is the most: it "
		    "would take too long to compile", name, part, CAPTURE_FILTER_SHOWN, text, capture_filter_conditions(text),
		    CAPTURE_CONDITIONS_MAX);
		return -1;
	}
	if (pcap_compile(pcap, &program, text, 1, PCAP_NETMASK_UNKNOWN) == -1) {
		pcap_error(error, name, part, text, pcap);
		return -1;
	}
	if (program_loops(&program))
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": asks for a loop over headers (protochain), which the kernel does not run",
		    name, part, CAPTURE_FILTER_SHOWN, text);
	else if (cooked > 0 && bpf_fix_cooked(program.bf_insns, program.bf_len, cooked) == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": asks for link-layer fields that this interface does not have", name,
		    part, CAPTURE_FILTER_SHOWN, text);
	else if ((result = parts_add(parts, part, kind, program.bf_insns, program.bf_len)) == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", name);
	pcap_freecode(&program);
	return result;
}

/* A stranger's program: whoever passed it on may have checked it, or not. */
static int
program_take(struct bpf_insn *insn, const struct capture_wish *w, size_t cooked, char why[BPF_CHECK_ERROR_SIZE])
{
	for (size_t i = 0; i < w->program_len; i++)
		insn[i] = (struct bpf_insn){ .code = w->program[i].code, .jt = w->program[i].jt, .jf = w->program[i].jf,
			.k = w->program[i].k };
	if (bpf_check(insn, w->program_len, why) == -1)
		return -1;
	if (cooked == 0 || bpf_fix_cooked(insn, w->program_len, cooked) == 0)
		return 0;
	snprintf(why, BPF_CHECK_ERROR_SIZE, "asks for link-layer fields that this interface does not have");
	return -1;
}

static int
parts_add_program(struct filter_parts *parts, struct pcap *pcap, const char *name, const struct capture_wish *w,
    char error[MSG_TEXT_SIZE])
{
	char why[BPF_CHECK_ERROR_SIZE] = "no memory";
	struct bpf_insn *insn;
	int result = -1;

	if (w->program_len == 0)
		return 0;
	if ((insn = calloc(w->program_len, sizeof(*insn))) != NULL &&
	    program_take(insn, w, cooked_header_len(pcap_datalink(pcap)), why) == 0)
		result = parts_add(parts, "the client's filter", FILTER_REFUSES, insn, w->program_len);
	if (result == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: the client's filter: %s", name, why);
	free(insn);
	return result;
}

/* Bytes before the IP header, as the kernel's filter sees a packet. */
static unsigned
link_header_len(int linktype)
{
	return linktype == DLT_EN10MB ? 14 : 0;
}

static int
own_endpoint_text(struct buf *text, const struct ipc_endpoint *e)
{
	const char *ip = e->family == AF_INET6 ? "ip6" : "ip", *transport = e->udp ? "udp" : "tcp";
	char address[INET6_ADDRSTRLEN];

	if (e->family == 0)
		return buf_printf(text, "%s port %u", transport, e->port);
	if (inet_ntop(e->family, e->address, address, sizeof(address)) == NULL)
		return -1;
	return buf_printf(text, "(%s src host %s and %s src port %u) or (%s dst host %s and %s dst port %u)", ip, address,
	    transport, e->port, ip, address, transport, e->port);
}

/* "tcp port ..." reads beyond packets that are cut short, and the kernel drops what a filter reads beyond: so only packets are
 * asked that are long enough for their ports, whatever their header says. Datagrams of ours carry more than these lengths. */
static int
own_text(struct buf *text, const struct capture_wish *w, int linktype)
{
	unsigned link = link_header_len(linktype);
	int errs;

	errs = buf_printf(text, "(len >= %u or (len >= %u and ip[0] = 0x45) or (len >= %u and ip6)) and (", link + 64, link + 40,
	    link + 44);
	for (size_t i = 0; i < w->own_count; i++) {
		errs += i > 0 ? buf_printf(text, " or ") : 0;
		errs += own_endpoint_text(text, &w->own[i]);
	}
	return errs + buf_printf(text, ")") + buf_put_u8(text, 0);
}

static int
parts_add_own(struct filter_parts *parts, struct pcap *pcap, const char *name, const struct capture_wish *w,
    char error[MSG_TEXT_SIZE])
{
	struct bpf_insn insn[BPF_PART_MAX];
	struct buf text;
	int result = -1;

	buf_init(&text, OWN_TEXT_MAX);
	if (parts_add(parts, "not the agent's own sockets", FILTER_OWN, insn, bpf_part_own_mark(insn, AGENT_MARK)) == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", name);
	else if (own_text(&text, w, pcap_datalink(pcap)) != 0)
		snprintf(error, MSG_TEXT_SIZE, "%s: too many addresses and ports to exclude", name);
	else
		result = parts_add_text(parts, pcap, name, "not the agent's own connections", FILTER_OWN, (const char *)text.data, error);
	buf_clear(&text);
	return result;
}

/* Loopback shows each packet twice, whatever is wanted of it. */
static int
parts_add_directions(struct filter_parts *parts, const char *name, const struct capture_wish *w, bool loopback,
    char error[MSG_TEXT_SIZE])
{
	bool in = w->direction == DIRECTION_IN;
	int errs = 0;

	if (w->direction != DIRECTION_INOUT)
		errs += parts_add_direction(parts, in ? "inbound" : "outbound", in && loopback ? FILTER_VIEW : FILTER_REFUSES, in);
	if (loopback && !in)
		errs += parts_add_direction(parts, "inbound on loopback", FILTER_VIEW, true);
	if (errs != 0)
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", name);
	return errs != 0 ? -1 : 0;
}

static int
parts_add_never(struct filter_parts *parts, struct pcap *pcap, const char *name, const struct capture_wish *w,
    char error[MSG_TEXT_SIZE])
{
	for (size_t i = 0; i < w->never->count; i++)
		if (parts_add_text(parts, pcap, name, "the guest's veto", FILTER_NEVER, w->never->value[i], error) == -1)
			return -1;
	return 0;
}

static bool
link_of(int linktype, enum bpf_link *link)
{
	*link = linktype == DLT_EN10MB ? BPF_LINK_ETHERNET : BPF_LINK_RAW;
	return linktype == DLT_EN10MB || linktype == DLT_RAW || cooked_header_len(linktype) > 0;
}

/* Instructions left in the longest program, what ends it and joins its parts set aside. */
static size_t
parts_room(const struct filter_parts *parts)
{
	size_t used = BPF_TAIL_HEADERS_MAX + BPF_SAMPLED_OUT_MAX;

	for (size_t i = 0; i < parts->count; i++)
		used += parts->part[i].program.len;
	used += 2 * PARTS_MAX;
	return used < BPF_CHAIN_MAX ? BPF_CHAIN_MAX - used : 0;
}

/* What does not fit is captured. */
static int
parts_add_withheld(struct filter_parts *parts, const struct capture_wish *w)
{
	const struct bpf_withheld withheld = { .peer = w->peer, .peer_count = w->peer_count, .own = w->address,
	    .own_count = w->address_count, .balanced = w->balanced };
	size_t room = parts_room(parts), placed = 0, len;
	struct bpf_insn *insn;
	int result = 0;

	if (w->peer_count == 0)
		return 0;
	if ((insn = calloc(BPF_CHAIN_MAX, sizeof(*insn))) == NULL)
		return -1;
	len = bpf_part_withheld(insn, room, parts->link, &withheld, &placed);
	if (len > 0 && placed > 0)
		result = parts_add(parts, "not what a peer delivers", FILTER_WITHHELD, insn, len);
	parts->peers_left = w->peer_count - placed;
	free(insn);
	return result;
}

static int
parts_add_sampled(struct filter_parts *parts, const struct capture_wish *w)
{
	struct bpf_insn insn[BPF_SAMPLED_OUT_MAX];
	size_t len;

	if (w->keep >= GOVERNOR_KEEP_ALL)
		return 0;
	if ((len = bpf_part_sampled_out(insn, BPF_SAMPLED_OUT_MAX, parts->link, w->keep)) == 0)
		return -1;
	return parts_add(parts, "not what sampling leaves out", FILTER_SAMPLED, insn, len);
}

/* Where the link type is none that we can look into, all is captured. */
static int
parts_add_thinning(struct filter_parts *parts, struct pcap *pcap, const char *name, const struct capture_wish *w,
    char error[MSG_TEXT_SIZE])
{
	parts->link_known = link_of(pcap_datalink(pcap), &parts->link);
	if (!parts->link_known && slice_cuts(&w->agreed)) {
		snprintf(error, MSG_TEXT_SIZE, "%s: packets of this kind of interface (%s) cannot be sliced", name,
		    pcap_datalink_val_to_name(pcap_datalink(pcap)));
		return -1;
	}
	if (!parts->link_known)
		parts->peers_left = w->peer_count;
	else if (parts_add_withheld(parts, w) == -1 || parts_add_sampled(parts, w) == -1) {
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", name);
		return -1;
	}
	return 0;
}

size_t
capture_filter_tail(const struct filter_parts *parts, const struct capture_wish *w, struct bpf_insn *insn)
{
	if (!slice_cuts(&w->slice) || !parts->link_known)
		return 0;
	return bpf_tail_headers(insn, BPF_TAIL_HEADERS_MAX, parts->link, w->slice.payload, w->snaplen);
}

int
capture_filter_compile(struct pcap *pcap, const char *name, const struct capture_wish *w, bool loopback, struct filter_parts *parts,
    char error[MSG_TEXT_SIZE])
{
	const char *remote = w->operator ? "the operator's filter" : "the collector's filter";

	memset(parts, 0, sizeof(*parts));
	if (parts_add_never(parts, pcap, name, w, error) == 0 &&
	    parts_add_text(parts, pcap, name, "the guest's filter", FILTER_REFUSES, w->guest, error) == 0 &&
	    parts_add_text(parts, pcap, name, remote, FILTER_REFUSES, w->remote, error) == 0 &&
	    parts_add_program(parts, pcap, name, w, error) == 0 &&
	    parts_add_directions(parts, name, w, loopback, error) == 0 && parts_add_own(parts, pcap, name, w, error) == 0 &&
	    parts_add_thinning(parts, pcap, name, w, error) == 0)
		return 0;
	capture_filter_parts_clear(parts);
	return -1;
}

void
capture_filter_parts_clear(struct filter_parts *parts)
{
	for (size_t i = 0; i < parts->count; i++)
		capture_program_clear(&parts->part[i].program);
	memset(parts, 0, sizeof(*parts));
}
