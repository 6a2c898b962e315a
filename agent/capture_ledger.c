/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "agent/capture_ledger.h"

#define DRAIN_MAX	64	/* packets; its buffer holds but a few */

void
capture_ledger_init(struct capture_ledger *l)
{
	memset(l, 0, sizeof(*l));
	for (size_t i = 0; i < LEDGER_PLACES; i++)
		l->fd[i] = -1;
}

/* A packet socket sees nothing until it is bound, so nothing is counted before the program is there. */
static int
socket_begin(int fd, uint32_t ifindex, const char *name, const struct capture_program *program, char error[MSG_TEXT_SIZE])
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)ifindex };
	int smallest = 0;

	if (capture_filter_attach(fd, name, program, error) == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)) == 0 &&
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	snprintf(error, MSG_TEXT_SIZE, "%s: cannot count packets: %s", name, strerror(errno));
	return -1;
}

int
capture_ledger_open(struct capture_ledger *l, enum capture_program_use place, uint32_t ifindex, const char *name,
    struct capture_program *attached, char error[MSG_TEXT_SIZE])
{
	struct capture_program nothing = { 0 };
	int fd;

	if ((fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1 || capture_filter_nothing(&nothing) == -1) {
		snprintf(error, MSG_TEXT_SIZE, "%s: cannot count packets: %s", name, strerror(errno));
	} else if (socket_begin(fd, ifindex, name, &nothing, error) == 0) {
		l->fd[place] = fd;
		capture_program_clear(attached);
		*attached = nothing;
		return 0;
	}
	capture_program_clear(&nothing);
	if (fd != -1)
		close(fd);
	return -1;
}

void
capture_ledger_close_place(struct capture_ledger *l, enum capture_program_use place)
{
	if (l->fd[place] != -1)
		close(l->fd[place]);
	l->fd[place] = -1;
	if (place == PROGRAM_TAKEN)
		l->refused = 0;
}

void
capture_ledger_close(struct capture_ledger *l)
{
	for (size_t i = 0; i < LEDGER_PLACES; i++)
		if (l->fd[i] != -1)
			close(l->fd[i]);
	capture_ledger_init(l);
}

bool
capture_ledger_counts(const struct capture_ledger *l)
{
	return l->fd[PROGRAM_OFFERED] != -1;
}

/* Reading resets the kernel's count. */
static uint64_t
place_read(const struct capture_ledger *l, enum capture_program_use place)
{
	struct tpacket_stats stats = { 0 };
	socklen_t len = sizeof(stats);

	if (l->fd[place] == -1 || getsockopt(l->fd[place], SOL_PACKET, PACKET_STATISTICS, &stats, &len) == -1)
		return 0;
	return stats.tp_packets;
}

static uint64_t
offered_read(struct capture_ledger *l)
{
	uint64_t count = place_read(l, PROGRAM_OFFERED);

	l->due.offered += count;
	if (l->fd[PROGRAM_TAKEN] != -1)
		l->refused += (int64_t)count;
	return count;
}

void
capture_ledger_poll(struct capture_ledger *l, bool paused)
{
	offered_read(l);
	l->due.own += place_read(l, PROGRAM_OWN);
	l->refused -= (int64_t)place_read(l, PROGRAM_TAKEN);
	l->due.withheld += place_read(l, PROGRAM_WITHHELD);
	l->due.sampled_out += place_read(l, PROGRAM_SAMPLED);
	if (l->refused <= 0)
		return;
	*(paused ? &l->due.paused : &l->due.filtered) += (uint64_t)l->refused;
	l->refused = 0;
}

void
capture_ledger_poll_switched(struct capture_ledger *l)
{
	l->due.switched += offered_read(l);
}

void
capture_ledger_drain(const struct capture_ledger *l)
{
	char byte;

	for (int i = 0; i < DRAIN_MAX && recv(l->fd[PROGRAM_OFFERED], &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0; i++)
		;
}

static int
interface_open(const char *name, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* From its begin the file is made anew. */
static int
interface_read(int fd, uint64_t *value)
{
	char text[32];
	ssize_t n = fd != -1 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return -1;
	text[n] = '\0';
	*value = strtoull(text, NULL, 10);
	return 0;
}

/* In a network namespace of its own, a process may still see another one's files. */
static bool
interface_is(const char *name, uint32_t ifindex)
{
	int fd = interface_open(name, "ifindex");
	uint64_t index;
	bool is = interface_read(fd, &index) == 0 && index == ifindex;

	if (fd != -1)
		close(fd);
	return is;
}

void
capture_ledger_interface_open(struct capture_ledger_interface *i, const char *name, uint32_t ifindex)
{
	bool is = interface_is(name, ifindex);

	i->in_fd = is ? interface_open(name, "statistics/rx_packets") : -1;
	i->out_fd = is ? interface_open(name, "statistics/tx_packets") : -1;
}

void
capture_ledger_interface_close(struct capture_ledger_interface *i)
{
	if (i->in_fd != -1)
		close(i->in_fd);
	if (i->out_fd != -1)
		close(i->out_fd);
	i->in_fd = i->out_fd = -1;
}

int
capture_ledger_interface_read(const struct capture_ledger_interface *i, uint64_t *packets)
{
	uint64_t in, out;

	if (interface_read(i->in_fd, &in) == -1 || interface_read(i->out_fd, &out) == -1)
		return -1;
	*packets = in + out;
	return 0;
}
