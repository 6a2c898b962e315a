/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "tests/transit_lab.h"

void
lab_begin(struct lab *lab, const void *payload, size_t len)
{
	lab->at = LAB_ROOM;
	lab_put(lab, payload, len);
}

void
lab_put(struct lab *lab, const void *bytes, size_t len)
{
	lab->at -= len;
	memcpy(lab->room + lab->at, bytes, len);
}

const uint8_t *
lab_data(const struct lab *lab)
{
	return lab->room + lab->at;
}

uint8_t *
lab_byte(struct lab *lab, size_t offset)
{
	return lab->room + lab->at + offset;
}

size_t
lab_len(const struct lab *lab)
{
	return LAB_ROOM - lab->at;
}

static void
set16(struct lab *lab, size_t offset, size_t value)
{
	lab_byte(lab, offset)[0] = (uint8_t)(value >> 8);
	lab_byte(lab, offset)[1] = (uint8_t)value;
}

/* Longer than its field can say is said as 0, as the kernel does. */
static void
set_length(struct lab *lab, size_t offset, size_t len)
{
	set16(lab, offset, len > UINT16_MAX ? 0 : len);
}

void
lab_tcp(struct lab *lab, uint8_t flags)
{
	lab_put(lab, "\x0f\xa0\0\x50" "\1\2\3\4" "\5\6\7\x08" "\x60\0\2\0" "\xaa\xaa\0\0" "\2\4\5\xb4", 24);
	*lab_byte(lab, 13) = flags;
}

void
lab_udp(struct lab *lab, uint16_t dst_port)
{
	lab_put(lab, "\x0f\xa0\0\0\0\0\xaa\xaa", 8);
	set16(lab, 2, dst_port);
	set_length(lab, 4, lab_len(lab));
}

void
lab_ipv4(struct lab *lab, uint8_t protocol)
{
	lab_put(lab, "\x45\0\0\0\x12\x34\0\0\x40\0\xbb\xbb" "\x0a\1\2\3" "\xc0\xa8\1\1", 20);
	*lab_byte(lab, 9) = protocol;
	set_length(lab, 2, lab_len(lab));
}

void
lab_ipv6(struct lab *lab, uint8_t next)
{
	size_t len = lab_len(lab);

	lab_put(lab, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2", 32);
	lab_put(lab, "\x60\0\0\0\0\0\0\x40", 8);
	*lab_byte(lab, 6) = next;
	set_length(lab, 4, len);
}

void
lab_ethernet(struct lab *lab, uint16_t type)
{
	lab_put(lab, "\x02\0\0\0\0\1\x02\0\0\0\0\2\0\0", 14);
	set16(lab, 12, type);
}

void
lab_link(struct lab *lab, uint16_t linktype, uint16_t type)
{
	if (linktype == LAB_ETHERNET)
		lab_ethernet(lab, type);
	if (linktype == LAB_SLL) {
		lab_put(lab, "\0\0\0\1\0\6\x02\0\0\0\0\2\0\0\0\0", 16);
		set16(lab, 14, type);
	}
	if (linktype == LAB_SLL2) {
		lab_put(lab, "\0\0\0\0\0\0\0\2\0\1\0\6\x02\0\0\0\0\2\0\0", 20);
		set16(lab, 0, type);
	}
}

/* --- cases --- */

static void
text(struct lab *lab)
{
	lab_begin(lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
}

static void
tcp_data(struct lab *lab)
{
	text(lab);
	lab_tcp(lab, 0x18);
	lab_ipv4(lab, IPPROTO_TCP);
	lab_ethernet(lab, 0x0800);
}

static void
tcp_ack(struct lab *lab)
{
	lab_begin(lab, "", 0);
	lab_tcp(lab, 0x10);
	lab_ipv4(lab, IPPROTO_TCP);
	lab_ethernet(lab, 0x0800);
}

static void
tcp6_data(struct lab *lab)
{
	text(lab);
	lab_tcp(lab, 0x18);
	lab_ipv6(lab, IPPROTO_TCP);
	lab_ethernet(lab, 0x86dd);
}

static void
udp(struct lab *lab)
{
	text(lab);
	lab_udp(lab, 53);
	lab_ipv4(lab, IPPROTO_UDP);
	lab_ethernet(lab, 0x0800);
}

static void
udp_tagged(struct lab *lab)
{
	text(lab);
	lab_udp(lab, 53);
	lab_ipv4(lab, IPPROTO_UDP);
	lab_put(lab, "\0\7\x08\0", 4);
	lab_put(lab, "\0\5\x81\0", 4);
	lab_ethernet(lab, 0x88a8);
}

static void
fragment(struct lab *lab)
{
	text(lab);
	lab_ipv4(lab, IPPROTO_UDP);
	memcpy(lab_byte(lab, 6), "\x20\xb9", 2);
	lab_ethernet(lab, 0x0800);
}

static void
fragment6(struct lab *lab)
{
	text(lab);
	lab_put(lab, "\x11\0\5\xc9\0\1\2\3", 8);
	lab_put(lab, "\x2c\0\1\4\0\0\0\0", 8);
	lab_ipv6(lab, IPPROTO_DSTOPTS);
	lab_ethernet(lab, 0x86dd);
}

static void
icmp(struct lab *lab)
{
	text(lab);
	lab_put(lab, "\x08\0\xcc\xcc\0\1\0\2", 8);
	lab_ipv4(lab, IPPROTO_ICMP);
	lab_ethernet(lab, 0x0800);
}

static void
sctp(struct lab *lab)
{
	text(lab);
	lab_put(lab, "\x0f\xa0\0\x50\0\0\0\7\xcc\xcc\xcc\xcc", 12);
	lab_ipv4(lab, IPPROTO_SCTP);
	lab_ethernet(lab, 0x0800);
}

static void
arp(struct lab *lab)
{
	lab_begin(lab, "\0\1\x08\0\6\4\0\1\x02\0\0\0\0\1\x0a\1\2\3\0\0\0\0\0\0\x0a\1\2\4" "padding of link...", 46);
	lab_ethernet(lab, 0x0806);
}

static void
frame(struct lab *lab)
{
	text(lab);
	lab_ethernet(lab, 0x88cc);
}

static void
vxlan(struct lab *lab)
{
	text(lab);
	lab_tcp(lab, 0x18);
	lab_ipv4(lab, IPPROTO_TCP);
	lab_ethernet(lab, 0x0800);
	lab_put(lab, "\x08\0\0\0\0\0\1\0", 8);
	lab_udp(lab, 4789);
	lab_ipv4(lab, IPPROTO_UDP);
	lab_ethernet(lab, 0x0800);
}

static void
geneve(struct lab *lab)
{
	text(lab);
	lab_udp(lab, 53);
	lab_ipv6(lab, IPPROTO_UDP);
	lab_put(lab, "\1\0\x86\xdd\0\0\1\0" "\0\1\0\0", 12);
	lab_udp(lab, 6081);
	lab_ipv6(lab, IPPROTO_UDP);
	lab_ethernet(lab, 0x86dd);
}

static void
gre(struct lab *lab)
{
	text(lab);
	lab_tcp(lab, 0x18);
	lab_ipv4(lab, IPPROTO_TCP);
	lab_put(lab, "\xb0\0\x08\0\xcc\xcc\0\0\0\0\0\7\0\0\0\x09", 16);
	lab_ipv4(lab, IPPROTO_GRE);
	lab_ethernet(lab, 0x0800);
}

static void
sixinfour(struct lab *lab)
{
	text(lab);
	lab_udp(lab, 53);
	lab_ipv6(lab, IPPROTO_UDP);
	lab_ipv4(lab, IPPROTO_IPV6);
	lab_ethernet(lab, 0x0800);
}

static void
pppoe(struct lab *lab)
{
	text(lab);
	lab_tcp(lab, 0x18);
	lab_ipv4(lab, IPPROTO_TCP);
	lab_put(lab, "\x11\0\0\7\0\x60\0\x21", 8);
	lab_ethernet(lab, 0x8864);
}

/* Tagged bytes: of the link the MACs and tags; of IPv4 DSCP, ECN, identification, DF, TTL, checksum; of IPv6 class, flow label, hop
 * limit; of TCP with data the acknowledgement, window, checksum, urgent pointer, options. */
const struct lab_case lab_cases[] = {
	{ "TCP with data", tcp_data, TRANSIT_TCP, "0-11,15,18-19,20.c0,22,24-25,42-45,46.0f,47.c0,48-57" },
	{ "TCP without data", tcp_ack, TRANSIT_TCP, "0-11,15,18-19,20.c0,22,24-25,46.0f,47.c0,48-57" },
	{ "TCP of IPv6", tcp6_data, TRANSIT_TCP, "0-11,14.0f,15-17,21,62-65,66.0f,67.c0,68-77" },
	{ "UDP", udp, TRANSIT_UDP, "0-11,15,18-19,20.c0,22,24-25,38-41" },
	{ "UDP behind two tags", udp_tagged, TRANSIT_UDP, "0-11,14-15,16.10,18-19,23,26-27,28.c0,30,32-33,46-49" },
	{ "fragment", fragment, TRANSIT_FRAGMENT, "0-11,15,20.c0,22,24-25" },
	{ "fragment of IPv6", fragment6, TRANSIT_FRAGMENT, "0-11,14.0f,15-17,21,56-61,63,65.06" },
	{ "ICMP", icmp, TRANSIT_IP, "0-11,15,18-19,20.c0,22,24-25" },
	{ "SCTP", sctp, TRANSIT_IP, "0-11,15,18-19,20.c0,22,24-25,42-45" },
	{ "ARP", arp, TRANSIT_ARP, "0-11,42-59" },
	{ "frame", frame, TRANSIT_FRAME, "0-11" },
	{ "VXLAN", vxlan, TRANSIT_TCP, "0-11,15,18-19,20.c0,22,24-25,38-41,42.f7,43-45,49,50-61,65,68-69,70.c0,72,"
	    "74-75,92-95,96.0f,97.c0,98-107" },
	{ "Geneve", geneve, TRANSIT_UDP, "0-11,14.0f,15-17,21,58-61,63,69,70-73,74.0f,75-77,81,118-121" },
	{ "GRE", gre, TRANSIT_TCP, "0-11,15,18-19,20.c0,22,24-25,34.0f,35.f8,38-41,46-49,51,54-55,56.c0,58,60-61,78-81,"
	    "82.0f,83.c0,84-93" },
	{ "IPv6 in IPv4", sixinfour, TRANSIT_UDP, "0-11,15,18-19,20.c0,22,24-25,34.0f,35-37,41,78-81" },
	{ "PPPoE", pppoe, TRANSIT_TCP, "0-11,16-19,23,26-27,28.c0,30,32-33,50-53,54.0f,55.c0,56-65" },
};
const size_t lab_cases_count = sizeof(lab_cases) / sizeof(lab_cases[0]);

bool
lab_free_bit(const struct lab_case *what, size_t offset, unsigned bit)
{
	const char *p = what->free;
	unsigned long from, to, mask;
	char *end;

	for (;; p = end + 1) {
		from = to = strtoul(p, &end, 10);
		mask = 0xff;
		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		if (*end == '.')
			mask = strtoul(end + 1, &end, 16);
		if (offset >= from && offset <= to)
			return (mask & 1u << bit) != 0;
		if (*end != ',')
			return false;
	}
}

bool
lab_same(const struct transit *a, const struct transit *b)
{
	bool tcp = a->kind == TRANSIT_TCP, empty = a->payload_len == 0;

	return a->kind == b->kind && a->family == b->family && a->flow == b->flow && a->protocol == b->protocol &&
	    memcmp(a->src, b->src, 16) == 0 && memcmp(a->dst, b->dst, 16) == 0 &&
	    a->src_port == b->src_port && a->dst_port == b->dst_port && a->fragment == b->fragment &&
	    (a->kind != TRANSIT_FRAGMENT || a->ip_id == b->ip_id) &&
	    (!tcp || (a->seq == b->seq && (a->tcp_flags & LAB_TCP_FLAGS) == (b->tcp_flags & LAB_TCP_FLAGS))) &&
	    (!tcp || !empty || a->ack == b->ack) &&
	    a->payload_len == b->payload_len && (empty || memcmp(a->payload, b->payload, a->payload_len) == 0);
}

/* --- capture files --- */

static size_t
each_of_file(const char *path, unsigned file, lab_packet_fn *each)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *data;
	size_t packets = 0;
	int linktype;

	if (handle == NULL) {
		printf("%s: not read: %s\n", path, error);
		return 0;
	}
	linktype = pcap_datalink(handle);
	for (; pcap_next_ex(handle, &header, &data) == 1; packets++)
		each(file, (uint16_t)(linktype == DLT_RAW ? LAB_RAW : linktype), data, header->caplen, header->len);
	pcap_close(handle);
	return packets;
}

size_t
lab_captures(const char *program, lab_packet_fn *each)
{
	const char *folder = getenv("VMTAP_CAPTURES");
	struct dirent **entries;
	char path[1024];
	size_t packets = 0;
	int count = folder == NULL ? -1 : scandir(folder, &entries, NULL, alphasort);

	if (count == -1) {
		printf("%s: no capture files are tried; VMTAP_CAPTURES names a folder of them\n", program);
		return 0;
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (strstr(entries[i]->d_name, ".pcap") != NULL)
			packets += each_of_file(path, (unsigned)i, each);
		free(entries[i]);
	}
	free(entries);
	return packets;
}
