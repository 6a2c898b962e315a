/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <net/if.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if_packet.h>
#include <event2/event.h>
#include <pcap/pcap.h>

#include "common/log.h"
#include "agent/capture_ring.h"
#include "agent/capture_sample.h"
#include "agent/last_counts.h"

#define RING_BUFFER_MAX_KIB	(2047u * 1024)

/* Where a TPACKET_V3 packet's sockaddr_ll stands before its data: an Ethernet frame, one whose VLAN tag libpcap put back or that came
 * with it, one with two tags, one without a link-layer header. */
static const size_t address_offsets[] = { 38, 34, 30, 52 };

/* Family and ifindex, the protocol between them left out: the first 8 bytes of a sockaddr_ll in one comparison. */
static uint64_t
address_key(uint16_t family, uint16_t protocol, uint32_t ifindex)
{
	struct sockaddr_ll address = { .sll_family = family, .sll_protocol = protocol, .sll_ifindex = (int)ifindex };
	uint64_t key;

	memcpy(&key, &address, sizeof(key));
	return key;
}

static inline bool
address_matches(const struct capture_ring *r, const uint8_t *address)
{
	uint64_t key;

	memcpy(&key, address, sizeof(key));
	return (key & ~address_key(0, UINT16_MAX, 0)) == r->address_key;
}

/* Finds the packet's sockaddr_ll in the ring; NULL if it is not where it should be. */
static const uint8_t *
address_find(struct capture_ring *r, const uint8_t *data)
{
	for (size_t i = 0; i < sizeof(address_offsets) / sizeof(address_offsets[0]); i++)
		if (address_matches(r, data - address_offsets[i])) {
			r->address_offset = address_offsets[i];
			return data - r->address_offset;
		}
	return NULL;
}

/* Without the kernel's word, only a frame with our own source address is known to go out. */
static uint32_t
direction_by_mac(struct capture_ring *r, const uint8_t *data, uint32_t captured_len)
{
	if (r->linktype == DLT_EN10MB && r->has_mac && captured_len >= 12 && memcmp(data + 6, r->mac, 6) == 0)
		return PCAPNG_EPB_OUT;
	r->row->direction_unknown++;
	return 0;
}

static inline uint32_t
packet_direction(struct capture_ring *r, const uint8_t *data, uint32_t captured_len)
{
	const uint8_t *address;
	uint8_t type;

	if (r->linktype == DLT_LINUX_SLL && captured_len >= 2) {
		type = data[1];
	} else if (r->ring_v3) {
		address = data - r->address_offset;
		if (!address_matches(r, address) && (address = address_find(r, data)) == NULL)
			return direction_by_mac(r, data, captured_len);
		type = address[offsetof(struct sockaddr_ll, sll_pkttype)];
	} else {
		return direction_by_mac(r, data, captured_len);
	}
	return type == PACKET_OUTGOING ? PCAPNG_EPB_OUT : PCAPNG_EPB_IN;
}

/* Every packet comes through here. */
static void
ring_packet(u_char *arg, const struct pcap_pkthdr *h, const u_char *data)
{
	struct capture_ring *r = (struct capture_ring *)(void *)arg;
	uint32_t present = h->caplen < r->cut.snaplen ? h->caplen : r->cut.snaplen;
	struct pcapng_packet packet;

	r->delivered++;
	packet.time_ns = (uint64_t)h->ts.tv_sec * 1000000000u + (uint64_t)h->ts.tv_usec * r->time_scale;
	if (!capture_sample_passes(r->sample, packet.time_ns)) {
		r->row->thinned++;
		return;
	}
	packet.captured_len = present;
	if (r->cut.mask && h->len > present)
		packet.captured_len = h->len < r->cut.snaplen ? h->len : r->cut.snaplen;
	packet.zeroes = packet.captured_len - present;
	packet.original_len = h->len;
	packet.data = data;
	packet.flags = packet_direction(r, data, present);
	packet.packetid = capture_block_digest(r->block, r->description.linktype, &packet);
	packet.comment = NULL;
	if (capture_block_put(r->block, r->row, &packet) == -1)
		pcap_breakloop(r->pcap);
}

static void
ring_discard(u_char *arg, const struct pcap_pkthdr *h, const u_char *data)
{
	struct capture_ring *r = (struct capture_ring *)(void *)arg;

	(void)h;
	(void)data;
	r->delivered++;
	r->row->before_filter++;
}

static void
ring_set_gone(struct capture_ring *r, const char *why)
{
	r->gone = true;
	snprintf(r->reason, sizeof(r->reason), "%s: %s", r->name, why);
}

int
capture_ring_drain(struct capture_ring *r, int limit)
{
	uint64_t before = r->delivered;
	int result;

	if (r->unsettled && r->boundary - r->delivered < (uint64_t)limit)
		limit = (int)(r->boundary - r->delivered);
	if (limit == 0)
		return 0;
	result = pcap_dispatch(r->pcap, limit, r->filtered ? ring_packet : ring_discard, (u_char *)r);
	if (result == PCAP_ERROR_BREAK) {
		errno = EAGAIN;
		return -1;
	}
	if (result < 0 && !r->gone)
		ring_set_gone(r, pcap_geterr(r->pcap));
	/* libpcap would have us ask every millisecond whether it is up again; the link role hears it from rtnetlink. */
	if (pcap_get_required_select_timeout(r->pcap) != NULL && !r->gone)
		ring_set_gone(r, "the interface went down");
	return (int)(r->delivered - before);
}

static void
ring_forget(struct capture_ring *r)
{
	r->due_received = r->due_dropped = 0;
	r->ledger.due = (struct ledger_counts){ 0 };
}

static void
ring_credit(struct capture_ring *r)
{
	const struct ledger_counts *due = &r->ledger.due;
	struct capture_row *row = r->row;

	row->received += r->due_received;
	row->dropped += r->due_dropped;
	row->dropped_untold += r->due_dropped;
	row->offered += due->offered;
	row->filtered += due->filtered;
	row->own += due->own;
	row->withheld += due->withheld;
	row->sampled_out += due->sampled_out;
	row->paused_packets += due->paused;
	row->switched += due->switched;
	row->peers_left = r->programs.state.peers_left;
	capture_block_count_kernel(r->block, r->due_received, r->due_dropped, due->sampled_out + (r->governed ? due->paused : 0));
	ring_forget(r);
}

/* Once nothing passes, the count is not that of what is captured. */
static void
ring_keep_last(struct capture_ring *r)
{
	struct last_row now = { .ifindex = r->ifindex, .packets = r->row->interface_packets };
	uint64_t missed;
	int seen;

	if (r->last == NULL || r->closing)
		return;
	memcpy(now.name, r->name, sizeof(now.name));
	memcpy(now.mac, r->mac, sizeof(now.mac));
	seen = last_counts_see(r->last, &now, &missed);
	r->row->unwatched += missed;
	if (missed > 0)
		log_info("%s: up to %llu packets passed while no agent ran", r->name, (unsigned long long)missed);
	else if (seen == -1)
		log_warn("%s: its count began anew while no agent ran: how many packets passed is not known", r->name);
}

/* The interface's own count. */
static void
ring_poll_interface(struct capture_ring *r)
{
	struct capture_row *row = r->row;

	if (capture_ledger_interface_read(&r->interface, &row->interface_packets) == -1)
		return;
	if (!row->interface_known)
		row->interface_start = row->interface_packets;
	row->interface_known = true;
	ring_keep_last(r);
}

/* Reading these resets them in the kernel; pcap_stats() would do the same, so nobody else may. */
void
capture_ring_poll(struct capture_ring *r)
{
	struct tpacket_stats_v3 stats;
	bool credited = r->armed && r->row != NULL && !r->has_next;
	socklen_t len = sizeof(stats);

	if (credited)
		ring_poll_interface(r);
	capture_ledger_poll(&r->ledger, r->programs.state.paused);
	memset(&stats, 0, sizeof(stats));
	if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == -1)
		memset(&stats, 0, sizeof(stats));
	r->received += stats.tp_packets;
	r->dropped += stats.tp_drops;
	r->due_received += stats.tp_packets;
	r->due_dropped += stats.tp_drops;
	if (!r->armed)
		ring_forget(r);
	else if (credited)
		ring_credit(r);
}

uint8_t
capture_ring_paused(const struct capture_ring *r)
{
	return !r->paused ? 0 : r->governed ? 2 : 1;
}

void
capture_ring_set_row(struct capture_ring *r, struct capture_row *row)
{
	row->paused = capture_ring_paused(r);
	if (r->row == row)
		return;
	r->row = row;
	if (!capture_ledger_counts(&r->ledger))
		row->uncounted = true;
	capture_stream_pass_start(r->block->stream, row, r->ifindex);
	ring_poll_interface(r);
	capture_stream_count(r->block->stream);		/* what it begins with is the end of the stream before: that may wait for it */
}

void
capture_ring_leave_row(struct capture_ring *r)
{
	uint64_t inside, between;

	capture_ring_poll(r);
	if (r->row != NULL && !r->has_next && r->armed) {
		capture_ledger_poll_switched(&r->ledger);
		between = r->ledger.due.switched;
		ring_credit(r);
		r->ledger.due.switched = between;
	}
	inside = r->received - r->dropped - r->delivered;
	if (!r->filtered)
		inside -= r->boundary - r->delivered;
	inside -= r->due_received - r->due_dropped;
	if (r->row != NULL && inside <= r->row->received) {
		r->row->received -= inside;
		r->due_received += inside;
		if (capture_ledger_counts(&r->ledger) && inside <= r->row->offered) {
			r->row->offered -= inside;
			r->ledger.due.offered += inside;
		}
	}
	r->row = NULL;
}

void
capture_ring_set_boundary(struct capture_ring *r)
{
	capture_ring_poll(r);
	r->boundary = r->received - r->dropped;
	r->unsettled = r->boundary != r->delivered || !r->filtered;
}

void
capture_ring_settle(struct capture_ring *r)
{
	r->filtered = true;
	r->unsettled = false;
	r->cut = r->next_cut;
}

void
capture_ring_give_up(struct capture_ring *r)
{
	if (r->delivered >= r->boundary)
		return;
	if (r->row != NULL && r->filtered)
		r->row->dropped += r->boundary - r->delivered;
	r->delivered = r->boundary;
}

/* What the kernel says of the device: SIOCGIFFLAGS, SIOCGIFINDEX; all zero when it says nothing. */
static struct ifreq
device_ask(int fd, const char *name, unsigned long what)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, what, &request) == -1)
		memset(&request, 0, sizeof(request));
	return request;
}

static bool
socket_is_v3(int fd)
{
	int version = -1;
	socklen_t len = sizeof(version);

	return getsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, &len) == 0 && version == TPACKET_V3;
}

static int
ring_buffer_bytes(uint64_t kib)
{
	if (kib < CAPTURE_RING_KIB_MIN)
		kib = CAPTURE_RING_KIB_MIN;
	if (kib > RING_BUFFER_MAX_KIB)
		kib = RING_BUFFER_MAX_KIB;
	return (int)(kib * 1024);
}

/* The snaplen of the handle sizes nothing in a V3 ring; what is kept of a packet is the filter's return value. */
static int
ring_set_options(struct capture_ring *r, const struct capture_ring_settings *settings)
{
	uint64_t timeout_ms = settings->flush_ms;

	if (timeout_ms > CAPTURE_RING_TIMEOUT_MAX_MS)
		timeout_ms = CAPTURE_RING_TIMEOUT_MAX_MS;
	pcap_set_snaplen(r->pcap, (int)PCAPNG_SNAPLEN);
	pcap_set_promisc(r->pcap, settings->promiscuous);
	r->timeout_ms = timeout_ms > 0 ? (unsigned)timeout_ms : 1;
	pcap_set_timeout(r->pcap, (int)r->timeout_ms);
	pcap_set_buffer_size(r->pcap, ring_buffer_bytes(settings->buffer_kib));
	if (pcap_set_tstamp_precision(r->pcap, PCAP_TSTAMP_PRECISION_NANO) == 0)
		return 1;
	log_warn("%s: timestamps in microseconds only", r->name);
	return 1000;
}

static int
ring_activate(struct capture_ring *r, const struct capture_ring_settings *settings, bool *gone, char error[MSG_TEXT_SIZE])
{
	char pcap_error[PCAP_ERRBUF_SIZE] = "";
	int status;

	if ((r->pcap = pcap_create(r->name, pcap_error)) == NULL) {
		snprintf(error, MSG_TEXT_SIZE, "%s: %s", r->name, pcap_error);
		return -1;
	}
	r->time_scale = (unsigned)ring_set_options(r, settings);
	if ((status = pcap_activate(r->pcap)) < 0) {
		*gone = status == PCAP_ERROR_NO_SUCH_DEVICE || status == PCAP_ERROR_IFACE_NOT_UP;
		snprintf(error, MSG_TEXT_SIZE, "%s: %s%s%s", r->name, pcap_statustostr(status), *pcap_geterr(r->pcap) != '\0' ? ": " : "",
		    pcap_geterr(r->pcap));
		return -1;
	}
	if (status > 0)
		log_warn("%s: %s", r->name, status == PCAP_WARNING ? pcap_geterr(r->pcap) : pcap_statustostr(status));
	if (pcap_setnonblock(r->pcap, 1, pcap_error) == -1) {
		snprintf(error, MSG_TEXT_SIZE, "%s: %s", r->name, pcap_error);
		return -1;
	}
	return 0;
}

/* What is known of the handle once it is open; -1: the name is another interface's by now. */
static int
ring_learn(struct capture_ring *r)
{
	r->fd = pcap_get_selectable_fd(r->pcap);
	r->linktype = pcap_datalink(r->pcap);
	r->loopback = (device_ask(r->fd, r->name, SIOCGIFFLAGS).ifr_flags & IFF_LOOPBACK) != 0;
	r->ring_v3 = socket_is_v3(r->fd);
	r->address_offset = address_offsets[0];
	r->address_key = address_key(AF_PACKET, 0, r->ifindex);
	if (!r->ring_v3)
		log_warn("%s: no TPACKET_V3 ring: the direction of packets is told by their source address", r->name);
	return (uint32_t)device_ask(r->fd, r->name, SIOCGIFINDEX).ifr_ifindex == r->ifindex ? 0 : -1;
}

/* Nothing passes until the first filter. */
static int
ring_begin(struct capture_ring *r, char error[MSG_TEXT_SIZE])
{
	if (capture_programs_nothing(&r->programs) == -1) {
		snprintf(error, MSG_TEXT_SIZE, "%s: no memory for the filter", r->name);
		return -1;
	}
	if (capture_filter_attach(r->fd, r->name, &r->programs.of[PROGRAM_TAP], error) == -1)
		return -1;
	capture_ring_set_boundary(r);
	return 0;
}

struct capture_ring *
capture_ring_open(const struct capture_ring_settings *settings, const struct ipc_tap_interface *interface, bool *gone,
    char error[MSG_TEXT_SIZE])
{
	struct capture_ring *r;

	*gone = false;
	if ((r = calloc(1, sizeof(*r))) == NULL) {
		snprintf(error, MSG_TEXT_SIZE, "%s: %s", interface->name, strerror(errno));
		return NULL;
	}
	capture_ledger_init(&r->ledger);
	r->interface = (struct capture_ledger_interface){ -1, -1 };
	r->counting = settings->ledger == LEDGER_KERNEL;
	r->counting_sampled = settings->sampled;
	r->ifindex = interface->ifindex;
	snprintf(r->name, sizeof(r->name), "%s", interface->name);
	if (ring_activate(r, settings, gone, error) == -1)
		goto fail;
	if (ring_learn(r) == -1) {
		*gone = true;
		snprintf(error, MSG_TEXT_SIZE, "%s: the interface was renamed or replaced", r->name);
		goto fail;
	}
	capture_ledger_interface_open(&r->interface, r->name, r->ifindex);
	if ((r->held = settings->held) != NULL) {
		r->held->bytes += r->memory = (uint64_t)ring_buffer_bytes(settings->buffer_kib);
		r->held->rings++;
	}
	if (ring_begin(r, error) == 0)
		return r;
fail:
	capture_ring_free(r);
	return NULL;
}

void
capture_ring_free(struct capture_ring *r)
{
	if (r == NULL)
		return;
	if (r->readable != NULL)
		event_free(r->readable);
	if (r->offered != NULL)
		event_free(r->offered);
	if (r->held != NULL) {
		r->held->bytes -= r->memory;
		r->held->rings--;
	}
	capture_ledger_close(&r->ledger);
	capture_ledger_interface_close(&r->interface);
	if (r->pcap != NULL)
		pcap_close(r->pcap);
	if (r->row != NULL)
		r->row->users--;
	capture_programs_clear(&r->programs);
	free(r);
}

int
capture_ring_linktype(const struct ipc_tap_interface *interface, char error[MSG_TEXT_SIZE])
{
	const struct capture_ring_settings settings = { .buffer_kib = CAPTURE_RING_KIB_MIN, .flush_ms = 1, .ledger = LEDGER_OFF };
	struct capture_ring *r;
	int linktype;
	bool gone;

	if ((r = capture_ring_open(&settings, interface, &gone, error)) == NULL)
		return -1;
	linktype = r->linktype;
	capture_ring_free(r);
	return linktype;
}
