/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <string.h>

#include <pcap/bpf.h>

#include "proto/rpcap.h"

/* Where link types' headers have integers of the capturing machine, from their specifications at tcpdump.org/linktypes. */

struct field {
	uint8_t	at, size;
};

#define PFLOG_LENGTH_AT		0	/* how much of the header its writer knew */
#define USB_TRANSFER_TYPE_AT	9
#define USB_ISOCHRONOUS		0
#define USB_DESCRIPTOR_COUNT_AT	60
#define USB_MMAPPED_SIZE	64u
#define USB_DESCRIPTOR_SIZE	16u	/* three integers and padding */
#define NFLOG_VERSION_AT	1
#define NFLOG_HEADER_SIZE	4u
#define NFLOG_TLV_SIZE		4u	/* length with that, type */
#define SLL_PROTOCOL_AT		14
#define SLL_SIZE		16u
#define SLL2_PROTOCOL_AT	0
#define SLL2_SIZE		20u
#define PROTOCOL_CAN		0x000cu
#define PROTOCOL_CANFD		0x000du
#define PROTOCOL_CANXL		0x000eu

static const struct field null_fields[] = { { 0, 4 } };
static const struct field pflog_fields[] = { { 44, 4 }, { 48, 4 }, { 52, 4 }, { 56, 4 } };
static const struct field usb_fields[] = { { 0, 8 }, { 12, 2 }, { 16, 8 }, { 24, 4 }, { 28, 4 }, { 32, 4 }, { 36, 4 } };
static const struct field usb_isochronous_fields[] = { { 40, 4 }, { 44, 4 } };
static const struct field usb_mmapped_fields[] = { { 48, 4 }, { 52, 4 }, { 56, 4 }, { 60, 4 } };
static const struct field usb_descriptor_fields[] = { { 0, 4 }, { 4, 4 }, { 8, 4 } };
static const struct field nflog_tlv_fields[] = { { 0, 2 }, { 2, 2 } };
static const struct field can_fields[] = { { 0, 4 } };
static const struct field canxl_fields[] = { { 0, 4 }, { 6, 2 }, { 8, 4 } };

static void
swap(uint8_t *p, size_t size)
{
	for (size_t i = 0; i < size / 2; i++) {
		uint8_t	byte = p[i];

		p[i] = p[size - 1 - i];
		p[size - 1 - i] = byte;
	}
}

/* Those that are there whole. */
static void
swap_fields(uint8_t *p, size_t len, const struct field *field, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((size_t)field[i].at + field[i].size <= len)
			swap(p + field[i].at, field[i].size);
}
#define SWAP(p, len, fields)	swap_fields(p, len, fields, sizeof(fields) / sizeof((fields)[0]))

static void
swap_null(uint8_t *p, size_t len)
{
	SWAP(p, len, null_fields);
}

static void
swap_pflog(uint8_t *p, size_t len)
{
	if (len > PFLOG_LENGTH_AT)
		SWAP(p, p[PFLOG_LENGTH_AT] < len ? p[PFLOG_LENGTH_AT] : len, pflog_fields);
}

static bool
usb_is_isochronous(const uint8_t *p, size_t len)
{
	return len > USB_TRANSFER_TYPE_AT && p[USB_TRANSFER_TYPE_AT] == USB_ISOCHRONOUS;
}

static void
swap_usb(uint8_t *p, size_t len)
{
	SWAP(p, len, usb_fields);
	if (usb_is_isochronous(p, len))
		SWAP(p, len, usb_isochronous_fields);
}

static void
swap_usb_mmapped(uint8_t *p, size_t len)
{
	uint32_t	count;

	swap_usb(p, len);
	SWAP(p, len, usb_mmapped_fields);
	if (!usb_is_isochronous(p, len) || len < USB_MMAPPED_SIZE)
		return;
	memcpy(&count, p + USB_DESCRIPTOR_COUNT_AT, sizeof(count));
	for (size_t at = USB_MMAPPED_SIZE; at < len && count > 0; at += USB_DESCRIPTOR_SIZE, count--)
		SWAP(p + at, len - at, usb_descriptor_fields);
}

/* Once turned round, a length is ours to read; what it says may still be nonsense. */
static void
swap_nflog(uint8_t *p, size_t len)
{
	uint16_t	tlv_len;
	size_t		at = NFLOG_HEADER_SIZE, padded;

	if (len < NFLOG_HEADER_SIZE || p[NFLOG_VERSION_AT] != 0)
		return;
	while (len - at >= NFLOG_TLV_SIZE) {
		SWAP(p + at, len - at, nflog_tlv_fields);
		memcpy(&tlv_len, p + at, sizeof(tlv_len));
		padded = ((size_t)tlv_len + 3) & ~(size_t)3;
		if (tlv_len < NFLOG_TLV_SIZE || padded > len - at)
			return;
		at += padded;
	}
}

/* Behind a cooked header. */
static void
swap_can(const uint8_t *protocol, uint8_t *p, size_t len)
{
	unsigned	value = (unsigned)protocol[0] << 8 | protocol[1];

	if (value == PROTOCOL_CAN || value == PROTOCOL_CANFD)
		SWAP(p, len, can_fields);
	else if (value == PROTOCOL_CANXL)
		SWAP(p, len, canxl_fields);
}

static void
swap_sll(uint8_t *p, size_t len)
{
	if (len > SLL_SIZE)
		swap_can(p + SLL_PROTOCOL_AT, p + SLL_SIZE, len - SLL_SIZE);
}

static void
swap_sll2(uint8_t *p, size_t len)
{
	if (len > SLL2_SIZE)
		swap_can(p + SLL2_PROTOCOL_AT, p + SLL2_SIZE, len - SLL2_SIZE);
}

static const struct swapper {
	uint32_t	linktype;
	void		(*swap)(uint8_t *, size_t);	/* NULL: it has such integers, nobody says where */
} swappers[] = {
	{ DLT_NULL, swap_null },
	{ DLT_PFLOG, swap_pflog },
	{ DLT_USB_LINUX, swap_usb },
	{ DLT_USB_LINUX_MMAPPED, swap_usb_mmapped },
	{ DLT_NFLOG, swap_nflog },
	{ DLT_LINUX_SLL, swap_sll },
	{ DLT_LINUX_SLL2, swap_sll2 },
	{ DLT_PRISM_HEADER, NULL },
	{ DLT_ENC, NULL },
	{ DLT_PFSYNC, NULL },
	{ DLT_NETLINK, NULL },
};

int
rpcap_swap_packet(uint32_t linktype, uint8_t *packet, size_t captured_len)
{
	for (size_t i = 0; i < sizeof(swappers) / sizeof(swappers[0]); i++)
		if (swappers[i].linktype == linktype) {
			if (swappers[i].swap == NULL)
				return -1;
			swappers[i].swap(packet, captured_len);
			return 0;
		}
	return 0;
}
