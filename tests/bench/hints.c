/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/hint_lab.h"

/* What an event costs the engine of hints, and what it makes to be sent, with many VMs in one network that each talk to a few.
 * usage: hints [VMS] [PEERS] */

static uint64_t
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned vms = 1000, peers = 20;
static uint64_t start_ns, start_bytes;

static void
begin(void)
{
	start_bytes = lab.bytes;
	start_ns = cpu_ns();
}

static void
end(const char *what, uint64_t events)
{
	uint64_t ns = cpu_ns() - start_ns;

	printf("%-60s %8.2f us %9.0f bytes\n", what, (double)ns / 1000 / (double)events, (double)(lab.bytes - start_bytes) / (double)events);
}

/* Each with those that follow it, in both directions. */
static void
talk(unsigned packets)
{
	for (unsigned i = 0; i < packets; i++)
		for (unsigned vm = 0; vm < vms; vm++)
			for (unsigned k = 1; k <= peers / 2; k++) {
				lab_packet(vm, (vm + k) % vms);
				lab_packet((vm + k) % vms, vm);
			}
}

static unsigned
take_unanswered(void)
{
	unsigned count = 0;

	while (lab_take_unanswered() != -1)
		count++;
	return count;
}

static void
measure_lists(void)
{
	begin();
	talk(HINT_PROOFS);
	end("a packet that is seen at both ends, to the proof", (uint64_t)vms * peers * HINT_PROOFS);
	lab_pass(LAB_SECOND);
	begin();
	lab_take_all();
	end("a VM's first list, its result and rows", vms);
	begin();
	talk(1);
	end("a packet that is seen at both ends, of a pair that is known", (uint64_t)vms * peers);
	lab_pass(LAB_LEASE_NS / 3);
	begin();
	end("a renewal", take_unanswered());
}

static void
measure_events(void)
{
	const struct hint_stats stats = { .wall_ns = lab.now.wall_ns }, shed = { .shedding = true, .wall_ns = lab.now.wall_ns };

	begin();
	for (unsigned vm = 0; vm < vms; vm++)
		hint_stats(lab.vm[vm], &stats, &lab.now);
	end("STATS that say nothing new", vms);
	begin();
	for (unsigned vm = 0; vm < 10; vm++)
		hint_stats(lab.vm[vm * (vms / 10)], &shed, &lab.now);
	end("a VM sheds: withdrawn from all that withhold it", 10);
	begin();
	lab_take_all();
	end("... and what they are sent, and their results", 10);
	begin();
	for (unsigned vm = 0; vm < 10; vm++)
		hint_down(lab.vm[vm * (vms / 10) + 12], &lab.now);
	end("a VM leaves", 10);
	begin();
	lab_take_all();
	end("... and what the others are sent, and their results", 10);
}

static void
measure_addresses(void)
{
	struct bpf_peer other = lab_address(vms), victim;
	unsigned at = vms / 2;

	begin();
	hint_addresses(lab.vm[at], 0, &other, 1, &lab.now);
	end("an address changes", 1);
	victim = lab_address(at + 1);
	begin();
	hint_addresses(lab.vm[at], 0, &victim, 1, &lab.now);
	end("an address is another's, too", 1);
	lab_take_all();
	begin();
	for (int i = 0; i < 100; i++)
		lab_pass(LAB_LEASE_NS / 6);
	end("a tick", 100);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		vms = (unsigned)atoi(argv[1]);
	if (argc > 2)
		peers = (unsigned)atoi(argv[2]);
	if (vms < 200 || vms >= LAB_VMS || peers < 2 || peers > vms / 4)
		return 2;
	lab_begin(4);
	begin();
	for (unsigned vm = 0; vm < vms; vm++)
		lab_up(vm);
	end("a VM with one address comes up", vms);
	lab_pass(LAB_SECOND);
	measure_lists();
	printf("%u VMs, %u peers each: %llu addresses withheld\n", vms, peers, (unsigned long long)hints_pairs(lab.hints));
	measure_events();
	measure_addresses();
	lab_end();
	return EXIT_SUCCESS;
}
