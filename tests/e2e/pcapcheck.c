/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * pcapcheck same A B [FILTER]   the same packets in the same order: link type, lengths, bytes (not times); status 1 and where if not
 * pcapcheck sequence FILE       the sequence numbers that tests/bench/blast put in: "packets N missing M duplicates D disordered R"
 * pcapcheck packets FILE [FILTER [FROM TO]]   a line for each: time (seconds, nine decimals), captured, original length, a hash of it
 * pcapcheck flows FILE [FILTER [FROM TO]]     a line for what each direction of each flow carried, whatever packets it came in
 * A file "-" is standard input. Packets that blast did not send are passed over by "sequence". FROM and TO are times as "packets"
 * prints them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "tests/e2e/flows.h"

#define SEQUENCE_OFFSET	42
#define SEQUENCE_MAX	(UINT64_C(1) << 28)

static pcap_t *
open_file(const char *path, const char *filter)
{
	struct bpf_program program;
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, error);

	if (pcap == NULL) {
		fprintf(stderr, "pcapcheck: %s: %s\n", path, error);
		exit(2);
	}
	if (filter == NULL)
		return pcap;
	if (pcap_compile(pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN) == -1 || pcap_setfilter(pcap, &program) == -1) {
		fprintf(stderr, "pcapcheck: %s: %s\n", filter, pcap_geterr(pcap));
		exit(2);
	}
	pcap_freecode(&program);
	return pcap;
}

static int
next_packet(pcap_t *pcap, const char *path, struct pcap_pkthdr **header, const u_char **data)
{
	int rc = pcap_next_ex(pcap, header, data);

	if (rc == PCAP_ERROR) {
		fprintf(stderr, "pcapcheck: %s: %s\n", path, pcap_geterr(pcap));
		exit(2);
	}
	return rc == 1;
}

static int
same_packet(const struct pcap_pkthdr *a, const u_char *data_a, const struct pcap_pkthdr *b, const u_char *data_b)
{
	return a->caplen == b->caplen && a->len == b->len && memcmp(data_a, data_b, a->caplen) == 0;
}

static int
same(const char *path_a, const char *path_b, const char *filter)
{
	pcap_t *a = open_file(path_a, filter), *b = open_file(path_b, filter);
	struct pcap_pkthdr *header_a, *header_b;
	const u_char *data_a, *data_b;
	int more_a, more_b, equal = pcap_datalink(a) == pcap_datalink(b);
	uint64_t n = 0;

	do {
		more_a = next_packet(a, path_a, &header_a, &data_a);
		more_b = next_packet(b, path_b, &header_b, &data_b);
		if (more_a && more_b)
			equal = equal && same_packet(header_a, data_a, header_b, data_b);
		n += more_a && more_b && equal;
	} while (more_a && more_b && equal);
	pcap_close(a);
	pcap_close(b);
	if (more_a != more_b)
		printf("%s ends after %" PRIu64 " packets\n", more_a ? path_b : path_a, n);
	else if (!equal)
		printf("packet %" PRIu64 " differs\n", n + 1);
	else
		printf("%" PRIu64 " packets, the same\n", n);
	return more_a != more_b || !equal || n == 0;
}

static int
read_sequence(const struct pcap_pkthdr *header, const u_char *data, uint64_t *sequence)
{
	int i;

	if (header->caplen < SEQUENCE_OFFSET + 8 || memcmp(data + 12, "\x08\x00\x45", 3) != 0 || data[23] != 17 || data[26] != 198)
		return -1;
	for (i = 0, *sequence = 0; i < 8; i++)
		*sequence = *sequence << 8 | data[SEQUENCE_OFFSET + i];
	return *sequence < SEQUENCE_MAX ? 0 : -1;
}

static int
sequence(const char *path)
{
	pcap_t *pcap = open_file(path, NULL);
	uint8_t *seen = calloc(1, SEQUENCE_MAX / 8);
	uint64_t n = 0, number, duplicates = 0, disordered = 0, next = 0, missing = 0, last = 0;
	struct pcap_pkthdr *header;
	const u_char *data;

	if (seen == NULL)
		return 2;
	while (next_packet(pcap, path, &header, &data)) {
		if (read_sequence(header, data, &number) == -1)
			continue;
		n++;
		duplicates += seen[number / 8] >> (number % 8) & 1;
		seen[number / 8] |= (uint8_t)(1 << number % 8);
		disordered += number < next;
		next = number + 1;
		last = number > last ? number : last;
	}
	for (number = 0; n > 0 && number <= last; number++)
		missing += !(seen[number / 8] >> (number % 8) & 1);
	printf("packets %" PRIu64 " missing %" PRIu64 " duplicates %" PRIu64 " disordered %" PRIu64 "\n", n, missing, duplicates,
	    disordered);
	pcap_close(pcap);
	free(seen);
	return 0;
}

/* The next packet of a time between the two, both of which may be NULL. */
static int
next_within(pcap_t *pcap, const char *path, char *const *within, struct pcap_pkthdr **header, const u_char **data, char time[32])
{
	do {
		if (!next_packet(pcap, path, header, data))
			return 0;
		snprintf(time, 32, "%010lld.%09ld", (long long)(*header)->ts.tv_sec, (long)(*header)->ts.tv_usec);
	} while (within != NULL && (strcmp(time, within[0]) < 0 || strcmp(time, within[1]) > 0));
	return 1;
}

static int
packets(const char *path, const char *filter, char *const *within)
{
	pcap_t *pcap = open_file(path, filter);
	struct pcap_pkthdr *header;
	const u_char *data;
	char time[32];

	while (next_within(pcap, path, within, &header, &data, time))
		printf("%s %u %u %016" PRIx64 "\n", time, header->caplen, header->len, flows_hash(FLOWS_HASH_BEGIN, data, header->caplen));
	pcap_close(pcap);
	return 0;
}

static int
flows(const char *path, const char *filter, char *const *within)
{
	pcap_t *pcap = open_file(path, filter);
	struct flows *all = flows_new();
	struct pcap_pkthdr *header;
	const u_char *data;
	char time[32];

	while (all != NULL && next_within(pcap, path, within, &header, &data, time))
		if (flows_add(all, data, header->caplen) == -1) {
			fprintf(stderr, "pcapcheck: %s: too many flows\n", path);
			return 2;
		}
	if (all != NULL)
		flows_print(all);
	pcap_close(pcap);
	flows_free(all);
	return all == NULL ? 2 : 0;
}

int
main(int argc, char **argv)
{
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "same") == 0)
		return same(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
	if (argc == 3 && strcmp(argv[1], "sequence") == 0)
		return sequence(argv[2]);
	if ((argc == 3 || argc == 4 || argc == 6) && strcmp(argv[1], "packets") == 0)
		return packets(argv[2], argv[3], argc == 6 ? argv + 4 : NULL);
	if ((argc == 3 || argc == 4 || argc == 6) && strcmp(argv[1], "flows") == 0)
		return flows(argv[2], argv[3], argc == 6 ? argv + 4 : NULL);
	fprintf(stderr, "usage: pcapcheck same A B [FILTER] | sequence FILE | packets|flows FILE [FILTER [FROM TO]]\n");
	return 2;
}
