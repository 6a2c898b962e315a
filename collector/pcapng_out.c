/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/utsname.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcap/pcap.h>

#include "common/buf.h"
#include "proto/pcapng.h"

#include "pcapng_out.h"

#define INTERFACE_OFFSET	8	/* of the interface id in an EPB and an ISB */
#define FOUND			64
#define BLOCK_MAX		(MSG_BLOCK_RAW_MAX + 4096)

struct out_interface {
	uint8_t			 stream[MSG_ID_SIZE];
	uint32_t		 id;
	uint16_t		 linktype;
	uint32_t		 number;		/* in the output; UINT32_MAX until its first packet */
	struct buf		 idb;
	struct bpf_program	 program;		/* if there is a filter */
};

struct pcapng_out {
	FILE			*file;
	char			*filter;
	struct out_interface	*interface;
	size_t			 interface_count;
	size_t			 found[FOUND];		/* where to look for an interface first: where one like it was */
	uint32_t		 numbers;
	uint16_t		 linktype;
	bool			 mixed;
	uint64_t		 limit, packets, from_ns, to_ns;
	struct buf		 scratch;
	char			 error[256];
	bool			 reader_gone;
};

static int
write_failed(struct pcapng_out *out)
{
	out->reader_gone = out->reader_gone || errno == EPIPE;
	snprintf(out->error, sizeof(out->error), "cannot write: %s", strerror(errno));
	return -1;
}

static int
write_all(struct pcapng_out *out, const void *data, size_t len)
{
	return fwrite(data, 1, len, out->file) == len ? 0 : write_failed(out);
}

static int
write_section_header(struct pcapng_out *out, const char *application)
{
	struct utsname system;
	char os[sizeof(system.sysname) + sizeof(system.release) + 2];

	if (uname(&system) == -1)
		memset(&system, 0, sizeof(system));
	snprintf(os, sizeof(os), "%s %s", system.sysname, system.release);
	if (pcapng_put_shb(&out->scratch, system.machine, os, application) == -1)
		return -1;
	return write_all(out, out->scratch.data, out->scratch.len);
}

/* A LINKTYPE_ of a file as libpcap numbers it here; they differ where systems' own numbers did. */
static int
dlt_of(uint16_t linktype)
{
	switch (linktype) {
	case 100:
		return DLT_ATM_RFC1483;
	case 101:
		return DLT_RAW;
	default:
		return linktype;
	}
}

/* program NULL: only asks whether it can be compiled. */
static int
compile_filter(const char *filter, int dlt, struct bpf_program *program, char *error, size_t error_size)
{
	pcap_t *dead = pcap_open_dead(dlt, (int)PCAPNG_SNAPLEN);
	struct bpf_program unused = { 0 };
	const char *name = pcap_datalink_val_to_name(dlt);
	int rc;

	if (dead == NULL) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	rc = pcap_compile(dead, program != NULL ? program : &unused, filter, 1, PCAP_NETMASK_UNKNOWN);
	if (rc == -1)
		snprintf(error, error_size, "filter \"%.100s\" on link type %s: %s", filter, name != NULL ? name : "unknown", pcap_geterr(dead));
	pcap_freecode(&unused);
	pcap_close(dead);
	return rc;
}

/* Must fit one of the kinds of interface that VMs have; whether it fits those at hand shows later. */
static int
check_filter(const char *filter, char *error, size_t error_size)
{
	static const int kinds[] = { DLT_RAW, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_EN10MB };
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (compile_filter(filter, kinds[i], NULL, error, error_size) == 0)
			return 0;
	return -1;
}

struct pcapng_out *
pcapng_out_open(const char *path, const char *filter, const char *application, char *error, size_t error_size)
{
	struct pcapng_out *out;

	if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO)) {
		snprintf(error, error_size, PCAPNG_OUT_NO_TERMINAL);
		return NULL;
	}
	if (filter != NULL && check_filter(filter, error, error_size) == -1)
		return NULL;
	if ((out = calloc(1, sizeof(*out))) == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	buf_init(&out->scratch, BLOCK_MAX);
	out->limit = out->to_ns = UINT64_MAX;
	if (filter != NULL && (out->filter = strdup(filter)) == NULL)
		snprintf(error, error_size, "out of memory");
	else if ((out->file = strcmp(path, "-") == 0 ? stdout : fopen(path, "wbe")) == NULL)
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
	else if (write_section_header(out, application) == 0)
		return out;
	else
		snprintf(error, error_size, "%s: %s", path, out->error);
	pcapng_out_close(out);
	return NULL;
}

void
pcapng_out_limit(struct pcapng_out *out, uint64_t packets)
{
	out->limit = packets;
}

void
pcapng_out_window(struct pcapng_out *out, uint64_t from_ns, uint64_t to_ns)
{
	out->from_ns = from_ns;
	out->to_ns = to_ns;
}

static struct out_interface *
find_interface(struct pcapng_out *out, const uint8_t stream[MSG_ID_SIZE], uint32_t id)
{
	size_t i, at, *found = &out->found[(stream[0] ^ stream[MSG_ID_SIZE - 1] ^ id) % FOUND];

	for (i = 0; i < out->interface_count; i++) {
		at = (*found + i) % out->interface_count;
		if (out->interface[at].id == id && memcmp(out->interface[at].stream, stream, MSG_ID_SIZE) == 0) {
			*found = at;
			return &out->interface[at];
		}
	}
	return NULL;
}

bool
pcapng_out_knows(struct pcapng_out *out, const uint8_t stream[MSG_ID_SIZE], uint32_t id)
{
	return find_interface(out, stream, id) != NULL;
}

int
pcapng_out_interface(struct pcapng_out *out, const uint8_t stream[MSG_ID_SIZE], uint32_t id, const uint8_t *idb, size_t idb_len)
{
	struct pcapng_interface description;
	struct out_interface *grown, *interface;

	if (pcapng_parse_idb(idb, idb_len, &description) == -1) {
		snprintf(out->error, sizeof(out->error), "malformed description of interface %u", id);
		return -1;
	}
	if ((grown = realloc(out->interface, (out->interface_count + 1) * sizeof(*grown))) == NULL)
		goto memory;
	out->interface = grown;
	interface = &grown[out->interface_count];
	memset(interface, 0, sizeof(*interface));
	memcpy(interface->stream, stream, MSG_ID_SIZE);
	interface->id = id;
	interface->linktype = description.linktype;
	interface->number = UINT32_MAX;
	buf_init(&interface->idb, idb_len);
	if (buf_put(&interface->idb, idb, idb_len) == -1)
		goto memory;
	out->interface_count++;
	if (out->filter == NULL)
		return 0;
	return compile_filter(out->filter, dlt_of(interface->linktype), &interface->program, out->error, sizeof(out->error));
memory:
	snprintf(out->error, sizeof(out->error), "out of memory");
	return -1;
}

/* Describes the interface in the output before its first block there. */
static int
introduce(struct pcapng_out *out, struct out_interface *interface)
{
	if (interface->number != UINT32_MAX)
		return 0;
	if (out->numbers == 0)
		out->linktype = interface->linktype;
	else if (out->linktype != interface->linktype)
		out->mixed = true;
	interface->number = out->numbers++;
	return write_all(out, interface->idb.data, interface->idb.len);
}

static bool
wanted(const struct pcapng_out *out, const struct out_interface *interface, uint32_t type, const struct pcapng_packet *packet)
{
	struct pcap_pkthdr header;

	if (type != PCAPNG_EPB)		/* statistics count what a filter or a window would leave out */
		return out->filter == NULL && out->from_ns == 0 && out->to_ns == UINT64_MAX;
	if (packet->time_ns < out->from_ns || packet->time_ns > out->to_ns)
		return false;
	if (out->filter == NULL)
		return true;
	memset(&header, 0, sizeof(header));
	header.caplen = packet->captured_len;
	header.len = packet->original_len;
	return pcap_offline_filter(&interface->program, &header, packet->data) != 0;
}

static int
write_block(struct pcapng_out *out, const struct out_interface *interface, const uint8_t *block, size_t len)
{
	struct buf *scratch = &out->scratch;

	scratch->len = 0;
	if (buf_put(scratch, block, INTERFACE_OFFSET) == -1 || buf_put_u32le(scratch, interface->number) == -1 ||
	    buf_put(scratch, block + INTERFACE_OFFSET + 4, len - INTERFACE_OFFSET - 4) == -1) {
		snprintf(out->error, sizeof(out->error), "out of memory");
		return -1;
	}
	return write_all(out, scratch->data, scratch->len);
}

uint32_t
pcapng_out_interface_of(const uint8_t *block, size_t len)
{
	struct cursor cursor;
	uint32_t id;

	cursor_init(&cursor, block, len);
	if (cursor_skip(&cursor, INTERFACE_OFFSET) == -1 || cursor_u32le(&cursor, &id) == -1)
		return UINT32_MAX;
	return id;
}

int
pcapng_out_block(struct pcapng_out *out, const uint8_t stream[MSG_ID_SIZE], const uint8_t *block, size_t len)
{
	struct out_interface *interface;
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *whole;
	size_t whole_len;
	uint32_t type, id = pcapng_out_interface_of(block, len);

	if (out->packets >= out->limit)
		return 0;
	pcapng_walk_init(&walk, block, len);
	if (pcapng_walk_next(&walk, &type, &packet, &whole, &whole_len) != 1) {
		snprintf(out->error, sizeof(out->error), "malformed block: %s", walk.error);
		return -1;
	}
	if ((interface = find_interface(out, stream, id)) == NULL) {
		snprintf(out->error, sizeof(out->error), "a packet of interface %u, which was not described", id);
		return -1;
	}
	if (!wanted(out, interface, type, &packet))
		return 1;
	if (introduce(out, interface) == -1 || write_block(out, interface, whole, whole_len) == -1)
		return -1;
	out->packets += type == PCAPNG_EPB;
	return out->packets < out->limit;
}

int
pcapng_out_flush(struct pcapng_out *out)
{
	return fflush(out->file) == 0 ? 0 : write_failed(out);
}

int
pcapng_out_close(struct pcapng_out *out)
{
	int rc = 0;
	size_t i;

	if (out->file == stdout)
		rc = fflush(stdout);
	if (out->file == stdout && out->reader_gone)
		clearerr(stdout);	/* no error to whoever looks at it last */
	else if (out->file != NULL)
		rc = fclose(out->file);
	for (i = 0; i < out->interface_count; i++) {
		buf_clear(&out->interface[i].idb);
		pcap_freecode(&out->interface[i].program);
	}
	free(out->interface);
	free(out->filter);
	buf_clear(&out->scratch);
	free(out);
	return rc == 0 ? 0 : -1;
}

uint64_t
pcapng_out_packets(const struct pcapng_out *out)
{
	return out->packets;
}

bool
pcapng_out_mixed(const struct pcapng_out *out)
{
	return out->mixed;
}

bool
pcapng_out_reader_gone(const struct pcapng_out *out)
{
	return out->reader_gone;
}

const char *
pcapng_out_error(const struct pcapng_out *out)
{
	return out->error;
}
