/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"
#include "proto/frame.h"
#include "proto/pcapng.h"
#include "proto/rpcap.h"
#include "agent/agent.h"
#include "agent/capture_filter.h"
#include "agent/capture_ring.h"
#include "agent/link_netif.h"

/* -d: the kernel filter of the first interface, its parts and the whole, as tcpdump -d has it. */

static void
dump_program(const struct bpf_insn *insn, size_t len)
{
	for (size_t i = 0; i < len; i++)
		puts(bpf_image(&insn[i], (int)i));
}

/* What is returned of a packet that passes. */
static enum bpf_error
dump_finish(const struct bpf_chain *chain, const struct filter_parts *parts, const struct capture_wish *wish, struct bpf_insn *whole,
    size_t *len)
{
	struct bpf_insn tail[BPF_TAIL_HEADERS_MAX];
	size_t tail_len = capture_filter_tail(parts, wish, tail);
	char text[MSG_TEXT_SIZE];

	capture_wish_slice_text(wish, text, sizeof(text));
	printf("# end: %s, at most %u bytes\n", *text != '\0' ? text : "all of the packet", wish->snaplen);
	if (tail_len == 0)
		return bpf_chain_finish(chain, wish->snaplen, whole, len);
	dump_program(tail, tail_len);
	return bpf_chain_finish_with(chain, tail, tail_len, whole, len);
}

static int
dump_chain(const char *name, const struct bpf_chain *chain, const struct filter_parts *parts, const struct capture_wish *wish)
{
	struct bpf_insn *whole = calloc(BPF_CHAIN_MAX, sizeof(*whole));
	char text[MSG_TEXT_SIZE];
	enum bpf_error why;
	size_t len = 0, end;

	if (whole == NULL)
		return 1;
	capture_wish_text(wish, text, sizeof(text));
	printf("# %s: %s\n", name, *text != '\0' ? text : "no filter");
	for (size_t i = 0; i < chain->part_count; i++) {
		end = i + 1 < chain->part_count ? chain->part_start[i + 1] : chain->len;
		printf("# part %zu: %s\n", i + 1, chain->part_name[i]);
		dump_program(chain->insn + chain->part_start[i], end - chain->part_start[i]);
	}
	if ((why = dump_finish(chain, parts, wish, whole, &len)) == BPF_OK) {
		printf("# all of it, as attached: %zu instructions\n", len);
		dump_program(whole, len);
	} else {
		fprintf(stderr, "vmtap-agent: %s: %s\n", name, bpf_error_text(why));
	}
	free(whole);
	return why == BPF_OK ? 0 : 1;
}

/* The part of the connections to come that the configuration knows already. */
static void
dump_own(struct ipc_tap *tap, const struct conf_list *listens, uint16_t initial_port)
{
	struct conf_error error;
	char host[MSG_NAME_SIZE];
	uint16_t port;

	for (size_t i = 0; i < listens->count && tap->own_count < IPC_OWN_MAX; i++)
		if (conf_host_port(listens->value[i], initial_port, host, sizeof(host), &port, &error) == 0)
			tap->own[tap->own_count++].port = port;
}

static size_t
dump_interface(const struct agent_options *options, struct ipc_tap_interface *first)
{
	struct ipc_tap_interface picked[MSG_INTERFACES_MAX];
	struct netif_table table;
	size_t count, left_out;

	if (netif_scan(&table) == -1)
		return 0;
	if ((count = netif_pick(&table, &options->interfaces, "", picked, &left_out)) > 0)
		*first = picked[0];
	netif_clear(&table);
	return count;
}

static int
dump_handle(struct pcap *pcap, const char *name, bool loopback, const struct capture_wish *wish)
{
	char error[MSG_TEXT_SIZE];
	struct filter_parts parts;
	struct bpf_chain chain;
	int status = 2;

	bpf_chain_init(&chain);
	if (capture_filter_compile(pcap, name, wish, loopback, &parts, error) == -1 ||
	    capture_filter_chain(name, &parts, PROGRAM_TAP, &chain, error) == -1)
		fprintf(stderr, "vmtap-agent: %s\n", error);
	else
		status = dump_chain(name, &chain, &parts, wish);
	bpf_chain_clear(&chain);
	capture_filter_parts_clear(&parts);
	return status;
}

static int
dump_without_interface(const char *why, const struct capture_wish *wish)
{
	struct pcap *pcap = pcap_open_dead(DLT_EN10MB, (int)PCAPNG_SNAPLEN);
	int status = 1;

	fprintf(stderr, "vmtap-agent: %s; compiled for Ethernet without an interface\n", why);
	if (pcap != NULL) {
		status = dump_handle(pcap, "Ethernet", false, wish);
		pcap_close(pcap);
	}
	return status;
}

static int
dump_wish(const struct agent_options *options, const struct capture_wish *wish)
{
	const struct capture_ring_settings settings = { .flush_ms = 1 };
	struct ipc_tap_interface interface;
	char error[MSG_TEXT_SIZE];
	struct capture_ring *r;
	bool gone;
	int status;

	if (dump_interface(options, &interface) == 0)
		return dump_without_interface("no interface to capture", wish);
	if ((r = capture_ring_open(&settings, &interface, &gone, error)) == NULL)
		return dump_without_interface(error, wish);
	status = dump_handle(r->pcap, r->name, r->loopback, wish);
	capture_ring_free(r);
	return status;
}

int
agent_dump_filter(const struct agent_options *options)
{
	struct ipc_tap *tap;
	struct capture_wish wish;
	struct conf_error unknown;
	char error[MSG_TEXT_SIZE];
	int status = 2;

	if (netif_check_names(&options->interfaces, &unknown) == -1)
		conf_usage("vmtap-agent", &unknown);
	if ((tap = calloc(1, sizeof(*tap))) == NULL)
		return 1;
	dump_own(tap, &options->listens, FRAME_PORT);
	dump_own(tap, &options->rpcap_listens, RPCAP_PORT);
	if (capture_wish_init(&wish, options, tap, NULL, error) == -1)
		fprintf(stderr, "vmtap-agent: %s\n", error);
	else
		status = dump_wish(options, &wish);
	free(tap);
	return status;
}
