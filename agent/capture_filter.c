/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/filter.h>
#include <pcap/pcap.h>

#include "common/buf.h"
#include "proto/bpf.h"
#include "proto/frame.h"
#include "proto/pcapng.h"
#include "agent/capture_filter.h"

#define OWN_TEXT_MAX		(64u * 1024)
#define FILTER_SHOWN		200	/* bytes of a filter's text in an error */
#define SLL_HEADER_LEN		16	/* LINKTYPE_LINUX_SLL */
#define SLL2_HEADER_LEN		20

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct sock_filter), "libpcap's instructions are the kernel's");

static bool
filter_given(const char *text)
{
	return text != NULL && text[strspn(text, " \t\r\n")] != '\0';
}

/* What is left out anyway makes the filter no longer. */
static void
wish_add_endpoint(struct capture_wish *w, const struct ipc_endpoint *endpoint)
{
	for (size_t i = 0; i < w->own_count; i++)
		if (w->own[i].family == 0 && w->own[i].port == endpoint->port)
			return;
	w->own[w->own_count++] = *endpoint;
}

static void
wish_add_port(struct capture_wish *w, uint16_t port)
{
	wish_add_endpoint(w, &(struct ipc_endpoint){ .port = port });
}

/* vmtap's own port always, the configuration's, and what the link role knows of its connections. */
static int
wish_add_own(struct capture_wish *w, const struct agent_options *options, const struct ipc_tap *tap, char error[MSG_TEXT_SIZE])
{
	const struct conf_list *ports = &options->exclude_ports;
	unsigned long port;
	char *end;

	if (ports->count + tap->own_count + 1 > CAPTURE_ENDPOINTS_MAX) {
		snprintf(error, MSG_TEXT_SIZE, "more than %d addresses and ports to exclude", CAPTURE_ENDPOINTS_MAX);
		return -1;
	}
	wish_add_port(w, FRAME_PORT);
	for (size_t i = 0; i < ports->count; i++) {
		port = strtoul(ports->value[i], &end, 10);
		if (*end != '\0' || end == ports->value[i] || port == 0 || port > UINT16_MAX) {
			snprintf(error, MSG_TEXT_SIZE, "%s: exclude-port \"%.64s\": not a port number from 1 to 65535", ports->origin[i],
			    ports->value[i]);
			return -1;
		}
		wish_add_port(w, (uint16_t)port);
	}
	for (size_t i = 0; i < tap->own_count; i++)
		wish_add_endpoint(w, &tap->own[i]);
	return 0;
}

static uint32_t
smaller_snaplen(uint64_t guest, uint32_t remote)
{
	uint32_t snaplen = guest > 0 && guest < PCAPNG_SNAPLEN ? (uint32_t)guest : PCAPNG_SNAPLEN;

	return remote > 0 && remote < snaplen ? remote : snaplen;
}

int
capture_wish_init(struct capture_wish *w, const struct agent_options *options, const struct ipc_tap *tap, char error[MSG_TEXT_SIZE])
{
	memset(w, 0, sizeof(*w));
	w->guest = options->filter;
	w->remote = tap->filter;
	w->operator = tap->tap > 0;
	w->snaplen = smaller_snaplen(options->snaplen, tap->snaplen);
	w->direction = options->direction != DIRECTION_INOUT ? (enum msg_direction)options->direction : tap->direction;
	if (tap->direction != DIRECTION_INOUT && w->direction != tap->direction) {
		snprintf(error, MSG_TEXT_SIZE, "direction \"%s\" is asked for, but the guest allows \"%s\" only: nothing would be captured",
		    tap->direction == DIRECTION_IN ? "in" : "out", w->direction == DIRECTION_IN ? "in" : "out");
		return -1;
	}
	return wish_add_own(w, options, tap, error);
}

void
capture_wish_text(const struct capture_wish *w, char *dst, size_t dst_size)
{
	const char *filters[] = { w->guest, w->remote };
	const char *direction = w->direction == DIRECTION_IN ? "inbound" : "outbound";
	struct buf text;
	size_t len;

	buf_init(&text, 2 * MSG_FILTER_SIZE + 64);
	for (size_t i = 0; i < 2; i++)
		if (filter_given(filters[i]))
			buf_printf(&text, "%s(%s)", text.len > 0 ? " and " : "", filters[i]);
	if (w->direction != DIRECTION_INOUT)
		buf_printf(&text, "%s%s", text.len > 0 ? " and " : "", direction);
	len = text.len < dst_size ? text.len : dst_size - 1;
	if (len > 0)
		memcpy(dst, text.data, len);
	dst[len] = '\0';
	if (len < text.len && len > 3)
		memcpy(dst + len - 3, "...", 3);
	buf_clear(&text);
}

/* libpcap's words; and what it does not know: that nobody looks names up here. */
static void
pcap_error(char error[MSG_TEXT_SIZE], const char *name, const char *part, const char *text, struct pcap *pcap)
{
	const char *why = pcap_geterr(pcap);
	bool lookup = strstr(why, "unknown host") != NULL || strstr(why, "unknown network") != NULL;

	snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": %s%s", name, part, FILTER_SHOWN, text, why,
	    lookup ? " (addresses must be numeric: names are not looked up)" : "");
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
chain_add(struct bpf_chain *chain, const char *name, const char *part, const struct bpf_insn *insn, size_t len, bool negate,
    char error[MSG_TEXT_SIZE])
{
	enum bpf_error why = bpf_chain_add(chain, part, insn, len, negate);

	if (why == BPF_OK)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: %s: %s", name, part, bpf_error_text(why));
	return -1;
}

static int
chain_add_text(struct bpf_chain *chain, struct pcap *pcap, const char *name, const char *part, const char *text, bool negate,
    char error[MSG_TEXT_SIZE])
{
	size_t cooked = cooked_header_len(pcap_datalink(pcap));
	struct bpf_program program;
	int result = -1;

	if (!filter_given(text))
		return 0;
	if (capture_filter_conditions(text) > CAPTURE_CONDITIONS_MAX) {
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": it has %zu conditions (a range counts as three), but %d is the most: it "
		    "would take too long to compile", name, part, FILTER_SHOWN, text, capture_filter_conditions(text),
		    CAPTURE_CONDITIONS_MAX);
		return -1;
	}
	if (pcap_compile(pcap, &program, text, 1, PCAP_NETMASK_UNKNOWN) == -1) {
		pcap_error(error, name, part, text, pcap);
		return -1;
	}
	if (program_loops(&program))
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": asks for a loop over headers (protochain), which the kernel does not run",
		    name, part, FILTER_SHOWN, text);
	else if (cooked > 0 && bpf_fix_cooked(program.bf_insns, program.bf_len, cooked) == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: %s \"%.*s\": asks for link-layer fields that this interface does not have", name,
		    part, FILTER_SHOWN, text);
	else
		result = chain_add(chain, name, part, program.bf_insns, program.bf_len, negate, error);
	pcap_freecode(&program);
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
	const char *ip = e->family == AF_INET6 ? "ip6" : "ip";
	char address[INET6_ADDRSTRLEN];

	if (e->family == 0)
		return buf_printf(text, "tcp port %u", e->port);
	if (inet_ntop(e->family, e->address, address, sizeof(address)) == NULL)
		return -1;
	return buf_printf(text, "(%s src host %s and tcp src port %u) or (%s dst host %s and tcp dst port %u)", ip, address, e->port, ip,
	    address, e->port);
}

/* "tcp port ..." reads beyond packets that are cut short, and the kernel drops what a filter reads beyond: so only packets are
 * asked that are long enough for their ports, whatever their header says. */
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
chain_add_own(struct bpf_chain *chain, struct pcap *pcap, const char *name, const struct capture_wish *w, char error[MSG_TEXT_SIZE])
{
	struct bpf_insn insn[BPF_PART_MAX];
	struct buf text;
	int result = -1;

	if (chain_add(chain, name, "not the agent's own sockets", insn, bpf_part_own_mark(insn, AGENT_MARK), true, error) == -1)
		return -1;
	buf_init(&text, OWN_TEXT_MAX);
	if (own_text(&text, w, pcap_datalink(pcap)) != 0)
		snprintf(error, MSG_TEXT_SIZE, "%s: too many addresses and ports to exclude", name);
	else
		result = chain_add_text(chain, pcap, name, "not the agent's own connections", (const char *)text.data, true, error);
	buf_clear(&text);
	return result;
}

int
capture_filter_chain(struct pcap *pcap, const char *name, const struct capture_wish *w, bool loopback, struct bpf_chain *chain,
    char error[MSG_TEXT_SIZE])
{
	const char *remote = w->operator ? "the operator's filter" : "the collector's filter";
	struct bpf_insn insn[BPF_PART_MAX];

	if (chain_add_text(chain, pcap, name, "the guest's filter", w->guest, false, error) == -1 ||
	    chain_add_text(chain, pcap, name, remote, w->remote, false, error) == -1)
		return -1;
	if (w->direction != DIRECTION_INOUT && chain_add(chain, name, w->direction == DIRECTION_IN ? "inbound" : "outbound", insn,
	    bpf_part_direction(insn, w->direction == DIRECTION_IN), false, error) == -1)
		return -1;
	if (loopback && w->direction != DIRECTION_IN &&
	    chain_add(chain, name, "inbound on loopback", insn, bpf_part_direction(insn, true), false, error) == -1)
		return -1;
	return chain_add_own(chain, pcap, name, w, error);
}

static int
program_finish(struct capture_program *program, const struct bpf_chain *chain, uint32_t snaplen)
{
	enum bpf_error why;

	if ((program->insn = calloc(BPF_CHAIN_MAX, sizeof(*program->insn))) == NULL)
		return -1;
	if ((why = bpf_chain_finish(chain, snaplen, program->insn, &program->len)) == BPF_OK)
		return 0;
	capture_program_clear(program);
	return -1;
}

int
capture_filter_build(struct pcap *pcap, const char *name, const struct capture_wish *w, bool loopback, bool paused,
    struct capture_program *program, char error[MSG_TEXT_SIZE])
{
	struct bpf_insn insn[BPF_PART_MAX];
	struct bpf_chain chain;
	int result;

	memset(program, 0, sizeof(*program));
	bpf_chain_init(&chain);
	result = capture_filter_chain(pcap, name, w, loopback, &chain, error);
	if (result == 0 && paused) {
		bpf_chain_clear(&chain);
		result = chain_add(&chain, name, "paused", insn, bpf_part_nothing(insn), false, error);
	}
	if (result == 0 && (result = program_finish(program, &chain, w->snaplen)) == -1)
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", name);
	bpf_chain_clear(&chain);
	return result;
}

int
capture_filter_copy(struct capture_program *program, const struct capture_program *from)
{
	memset(program, 0, sizeof(*program));
	if ((program->insn = calloc(from->len, sizeof(*program->insn))) == NULL)
		return -1;
	memcpy(program->insn, from->insn, from->len * sizeof(*program->insn));
	program->len = from->len;
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
	    "; shorten it, or raise net.core.optmem_max, which has to hold it beside the one it replaces" : "");
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
