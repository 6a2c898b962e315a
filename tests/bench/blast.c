/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * blast: sends packets of tests/bench/packets.h out of an interface at a rate, numbered from 0, and prints how many went out, and the
 * user and system CPU that sending took by the kernel's account. They pass by whoever taps that interface itself only with -t: the
 * way around the queueing discipline, which costs less, goes around packet sockets too.
 * usage: blast -i IF [-r PACKETS_PER_SECOND, 0 = as fast as it goes] [-n PACKETS] [-s imix|BYTES] [-p random|CORPUS] [-d MAC] [-o FIRST_NUMBER]
 *	[-t]
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "packets.h"

#define BATCH	32
#define POOL	16384

struct blast {
	const char	*interface, *size, *payload;
	uint64_t	 rate, count, first;
	uint8_t		 mac[6];
	bool		 tapped;
};

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
wait_until(uint64_t when)
{
	struct timespec ts = { (time_t)(when / 1000000000u), (long)(when % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int
open_socket(const char *interface, bool tapped)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	int fd, one = 1, size = 4 << 20;

	address.sll_ifindex = (int)if_nametoindex(interface);
	if (address.sll_ifindex == 0 || (fd = socket(AF_PACKET, SOCK_RAW, 0)) == -1 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1) {
		fprintf(stderr, "blast: %s: %s\n", interface, strerror(errno));
		exit(1);
	}
	if (!tapped)
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static void
send_batch(int fd, struct mmsghdr *messages, unsigned count)
{
	unsigned sent = 0;
	int rc;

	while (sent < count) {
		rc = sendmmsg(fd, messages + sent, count - sent, 0);
		if (rc > 0)
			sent += (unsigned)rc;
		else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
			perror("blast: sendmmsg");
			exit(1);
		}
	}
}

static void
blast(const struct blast *options, int fd, struct packets *packets)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint64_t sent = 0, begin = now_ns(), due;
	double cpu = cpu_seconds();
	unsigned i, count;

	while (sent < options->count) {
		count = options->count - sent < BATCH ? (unsigned)(options->count - sent) : BATCH;
		memset(messages, 0, sizeof(messages));
		for (i = 0; i < count; i++) {
			parts[i].iov_base = packets->data[(sent + i) % packets->count];
			parts[i].iov_len = packets->len[(sent + i) % packets->count];
			packets_set_sequence(parts[i].iov_base, options->first + sent + i);
			messages[i].msg_hdr.msg_iov = &parts[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		if (options->rate != 0 && (due = begin + sent * 1000000000u / options->rate) > now_ns())
			wait_until(due);
		send_batch(fd, messages, count);
		sent += count;
	}
	cpu = cpu_seconds() - cpu;
	printf("sent %" PRIu64 " packets in %.3f s, %.6f s of CPU\n", sent, (double)(now_ns() - begin) / 1e9, cpu);
}

static int
parse_mac(const char *text, uint8_t mac[6])
{
	unsigned b[6];
	int i;

	if (sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
		return -1;
	for (i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return 0;
}

int
main(int argc, char **argv)
{
	struct blast options = { .size = "imix", .payload = "random", .count = 1000000, .mac = { 2, 0, 0, 0, 0, 2 } };
	struct packets packets;
	int c;

	while ((c = getopt(argc, argv, "i:r:n:s:p:d:o:t")) != -1) {
		switch (c) {
		case 'i': options.interface = optarg; break;
		case 'r': options.rate = strtoull(optarg, NULL, 10); break;
		case 'n': options.count = strtoull(optarg, NULL, 10); break;
		case 's': options.size = optarg; break;
		case 'p': options.payload = optarg; break;
		case 'o': options.first = strtoull(optarg, NULL, 10); break;
		case 't': options.tapped = true; break;
		case 'd': if (parse_mac(optarg, options.mac) == 0) break;
			/* FALLTHROUGH */
		default: options.interface = NULL; optind = argc; break;
		}
	}
	if (options.interface == NULL) {
		fprintf(stderr, "usage: blast -i IF [-r PPS] [-n PACKETS] [-s imix|BYTES] [-p random|CORPUS] [-d MAC] [-o FIRST_NUMBER] [-t]\n");
		return 2;
	}
	if (packets_make(&packets, POOL, options.size, options.payload, options.mac, 1) == -1) {
		perror("blast: packets");
		return 1;
	}
	blast(&options, open_socket(options.interface, options.tapped), &packets);
	packets_free(&packets);
	return 0;
}
