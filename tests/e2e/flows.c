/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include <sys/socket.h>
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include "tests/e2e/flows.h"

#define FLOWS_MAX	(1u << 14)
#define ETHER_LEN	14u
#define IPV6_LEN	40u

struct flow_key {
	uint16_t	ethertype, src_port, dst_port;
	uint8_t		protocol;
	uint8_t		control;	/* TCP without data */
	uint8_t		src[16], dst[16];	/* not IP: the MAC */
};

struct flow {
	struct flow_key	key;
	bool		used;
	uint64_t	packets, bytes, hash;
	uint32_t	next;	/* TCP: the sequence number behind what came last */
};

struct flows {
	struct flow	flow[FLOWS_MAX];
	size_t		n;
};

struct packet {
	struct flow_key	key;
	const uint8_t	*data;	/* what is behind the headers that are looked at */
	size_t		len;
	bool		fragment;
};

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

uint64_t
flows_hash(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len-- > 0)
		hash = (hash ^ *p++) * UINT64_C(0x100000001b3);
	return hash;
}

struct flows *
flows_new(void)
{
	return calloc(1, sizeof(struct flows));
}

void
flows_free(struct flows *flows)
{
	free(flows);
}

static struct flow *
flow_find(struct flows *flows, const struct flow_key *key)
{
	size_t i = flows_hash(FLOWS_HASH_BEGIN, key, sizeof(*key)) % FLOWS_MAX;
	struct flow *flow;

	for (flow = &flows->flow[i]; flow->used && memcmp(&flow->key, key, sizeof(*key)) != 0; flow = &flows->flow[i])
		i = (i + 1) % FLOWS_MAX;
	if (flow->used)
		return flow;
	if (flows->n == FLOWS_MAX - 1)
		return NULL;
	flows->n++;
	*flow = (struct flow){ .key = *key, .used = true, .hash = FLOWS_HASH_BEGIN };
	return flow;
}

/* The link's padding is behind what the header says; 0 is more than it can say. */
static void
packet_trim(struct packet *packet, size_t header, size_t len)
{
	packet->data += header;
	packet->len -= header;
	if (len >= header && len - header < packet->len)
		packet->len = len - header;
}

static bool
packet_ip4(struct packet *packet)
{
	const uint8_t *ip = packet->data;
	size_t header = packet->len < 20 ? 0 : (ip[0] & 15u) * 4u;

	if (header < 20 || packet->len < header)
		return false;
	packet->key.protocol = ip[9];
	packet->fragment = (get16(ip + 6) & 0x3fff) != 0;
	memcpy(packet->key.src, ip + 12, 4);
	memcpy(packet->key.dst, ip + 16, 4);
	if (packet->fragment)	/* identification and offset are part of it */
		header = 4;
	packet_trim(packet, header, get16(ip + 2));
	return true;
}

static bool
packet_ip6(struct packet *packet)
{
	const uint8_t *ip = packet->data;
	size_t len = IPV6_LEN + get16(ip + 4);

	if (packet->len < IPV6_LEN)
		return false;
	packet->key.protocol = ip[6];
	memcpy(packet->key.src, ip + 8, 16);
	memcpy(packet->key.dst, ip + 24, 16);
	packet_trim(packet, IPV6_LEN, len == IPV6_LEN ? 0 : len);	/* other headers, of fragments too, count as payload */
	return true;
}

static void
packet_parse(struct packet *packet, const uint8_t *data, size_t len)
{
	size_t header = ETHER_LEN;
	bool ip = false;

	*packet = (struct packet){ .data = data, .len = len };
	if (len < ETHER_LEN)
		return;
	if (get16(data + 12) == 0x8100 && len >= ETHER_LEN + 4)
		header += 4;
	packet->key.ethertype = get16(data + header - 2);
	packet->data += header;
	packet->len -= header;
	if (packet->key.ethertype == 0x0800)
		ip = packet_ip4(packet);
	else if (packet->key.ethertype == 0x86dd)
		ip = packet_ip6(packet);
	if (!ip) {
		memcpy(packet->key.dst, data, 6);
		memcpy(packet->key.src, data + 6, 6);
	}
}

static void
flow_add(struct flow *flow, const uint8_t *data, size_t len)
{
	flow->hash = flows_hash(flow->hash, data, len);
	flow->bytes += len;
}

/* One that goes on where the last ended is hashed as if it were a part of that. */
static int
add_tcp(struct flows *flows, struct packet *packet)
{
	const uint8_t *tcp = packet->data;
	size_t header = (tcp[12] >> 4) * 4u;
	struct flow *flow;

	if (header < 20 || header > packet->len)
		return 0;
	packet->key.src_port = get16(tcp);
	packet->key.dst_port = get16(tcp + 2);
	packet->key.control = packet->len == header;
	if ((flow = flow_find(flows, &packet->key)) == NULL)
		return -1;
	if (packet->key.control) {
		flow->packets++;
		flow_add(flow, tcp + 4, 10);	/* sequence, acknowledged, flags */
		return 0;
	}
	if (flow->bytes == 0 || flow->next != get32(tcp + 4))
		flow->hash = flows_hash(flow->hash, tcp + 4, 4);
	flow->next = get32(tcp + 4) + (uint32_t)(packet->len - header);
	flow_add(flow, tcp + header, packet->len - header);
	return 0;
}

static int
add_udp(struct flows *flows, struct packet *packet)
{
	struct flow *flow;

	packet->key.src_port = get16(packet->data);
	packet->key.dst_port = get16(packet->data + 2);
	if ((flow = flow_find(flows, &packet->key)) == NULL)
		return -1;
	flow_add(flow, packet->data + 8, packet->len - 8);
	return 0;
}

int
flows_add(struct flows *flows, const uint8_t *data, size_t len)
{
	struct packet packet;
	struct flow *flow;

	packet_parse(&packet, data, len);
	if (packet.key.protocol == IPPROTO_TCP && !packet.fragment && packet.len >= 20)
		return add_tcp(flows, &packet);
	if (packet.key.protocol == IPPROTO_UDP && !packet.fragment && packet.len >= 8)
		return add_udp(flows, &packet);
	if ((flow = flow_find(flows, &packet.key)) == NULL)
		return -1;
	flow->packets++;
	flow->bytes += packet.len;
	flow->hash += flows_hash(FLOWS_HASH_BEGIN, packet.data, packet.len);
	return 0;
}

static const char *
address_text(const struct flow_key *key, const uint8_t *address, char text[INET6_ADDRSTRLEN])
{
	if (key->ethertype == 0x0800)
		return inet_ntop(AF_INET, address, text, INET6_ADDRSTRLEN);
	if (key->ethertype == 0x86dd)
		return inet_ntop(AF_INET6, address, text, INET6_ADDRSTRLEN);
	snprintf(text, INET6_ADDRSTRLEN, "%02x:%02x:%02x:%02x:%02x:%02x", address[0], address[1], address[2], address[3], address[4],
	    address[5]);
	return text;
}

static void
flow_print(const struct flow *flow)
{
	const struct flow_key *key = &flow->key;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	printf("%04x %s%u %s %u %s %u packets ", key->ethertype, key->control ? "control " : "", key->protocol,
	    address_text(key, key->src, src), key->src_port, address_text(key, key->dst, dst), key->dst_port);
	if (flow->packets > 0)
		printf("%" PRIu64, flow->packets);
	printf(" bytes %" PRIu64 " hash %016" PRIx64 "\n", flow->bytes, flow->hash);
}

void
flows_print(const struct flows *flows)
{
	size_t i;

	for (i = 0; i < FLOWS_MAX; i++)
		if (flows->flow[i].used)
			flow_print(&flows->flow[i]);
}
