/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_CAPTURE_LAB_H
#define VMTAP_TESTS_CAPTURE_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <check.h>

#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

/* A tap on near0, one end of a veth pair in a network namespace of its own (so: root only), fed from both ends. */
struct capture_lab {
	struct event_base *base;
	struct spool	*producer, *consumer;
	struct capture_totals totals;
	struct agent_options options;
	struct capture_tap tap;
	struct ipc_tap	*want;			/* near0, all of it */
	struct ipc_tap_result result;
	struct ipc_interface_gone gone;
	size_t		 last_count;		/* streams that have ended, and the sums of their counters */
	uint64_t	 last[COUNTER_MAX];
	bool		 answered, was_gone, active, ended, governed, in_force;
	int		 near_fd, far_fd;	/* what is sent on these goes out of, or comes in at, near0 */
};
extern struct capture_lab lab;

#define CAPTURE_LAB_OWN_PORT	8827
#define CAPTURE_LAB_FRAME_LEN	100

void	capture_lab_setup(void);
void	capture_lab_teardown(void);
void	capture_lab_want(const char *interface);	/* one more */
void	capture_lab_run_until(const bool *flag);	/* of the lab's, set by a callback */
void	capture_lab_change(bool accepted);		/* to what is wanted, and its answer */
void	capture_lab_govern(const struct governor_orders *, bool in_force);	/* and waits until they are, or are refused */
void	capture_lab_end(void);				/* drained, published, ended */
void	capture_lab_shell(const char *command);
int	capture_lab_socket(const char *interface);
void	capture_lab_send(int fd, const void *frame, size_t len);
/* Ethernet, IPv4, the protocol, ports. */
void	capture_lab_frame(uint8_t frame[CAPTURE_LAB_FRAME_LEN], uint8_t protocol, uint16_t port);
void	capture_lab_send_ip(int fd, uint8_t protocol, uint16_t port, uint32_t tag);
void	capture_lab_send_udp(int fd, uint16_t port, uint32_t tag);

/* What was captured so far. */
#define CAPTURE_LAB_PACKETS_MAX	(1u << 18)
struct capture_lab_packet {
	struct pcapng_packet head;	/* data is not kept */
	uint32_t	tag;		/* bytes 50-53 of the frame, as capture_lab_send_udp() sets them */
	uint16_t	ethertype;
	bool		commented;
};
extern struct capture_lab_packet capture_lab_seen[CAPTURE_LAB_PACKETS_MAX];
extern size_t capture_lab_seen_count;
void	capture_lab_see_block(const uint8_t *, size_t);	/* uncompressed */
void	capture_lab_see_all(void);		/* what has been published */
void	capture_lab_see(size_t count);		/* runs the tap until that many packets were seen in all */
void	capture_lab_see_to_the_end(size_t count);	/* ends the tap, so that whatever was captured has been seen */

uint64_t capture_lab_count(enum counter, uint32_t interface);	/* as the link role has it */
int	capture_lab_run(Suite *);			/* main() */

#endif
