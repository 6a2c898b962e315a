/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <string.h>

#include "proto/rpcap.h"

/* What a FINDALLIF reply is made of. */

#define INTERFACE_SIZE		12u
#define ADDRESS_SIZE		128u
#define WIRE_AF_INET		2
#define WIRE_AF_INET6		23	/* as Windows has it, whatever the server's is */

/* Old servers sent their own system's structure, some of them with its length in the first byte. */
static const uint16_t families_v4[] = { WIRE_AF_INET, 0x1002, 0x1000 };
static const uint16_t families_v6[] = { WIRE_AF_INET6, 10, 22, 24, 26, 0x1c18, 0x1c1c, 0x1c1e, 0x1c00 };

int
rpcap_put_interface(struct buf *b, const struct rpcap_interface *i)
{
	int	errs;

	if (buf_reserve(b, INTERFACE_SIZE + (size_t)i->name_len + i->description_len) == -1)
		return -1;
	errs = buf_put_u16(b, i->name_len);
	errs += buf_put_u16(b, i->description_len);
	errs += buf_put_u32(b, i->flags);
	errs += buf_put_u16(b, i->address_count);
	errs += buf_put_u16(b, 0);
	errs += buf_put(b, i->name, i->name_len);
	errs += buf_put(b, i->description, i->description_len);
	return errs == 0 ? 0 : -1;
}

int
rpcap_get_interface(struct cursor *c, struct rpcap_interface *i)
{
	uint16_t	pad;

	*i = (struct rpcap_interface){ 0 };
	if (cursor_u16(c, &i->name_len) == -1 || cursor_u16(c, &i->description_len) == -1 || cursor_u32(c, &i->flags) == -1 ||
	    cursor_u16(c, &i->address_count) == -1 || cursor_u16(c, &pad) == -1)
		return -1;
	i->name = (const char *)cursor_take(c, i->name_len);
	i->description = i->name == NULL ? NULL : (const char *)cursor_take(c, i->description_len);
	return i->description == NULL ? -1 : 0;
}

/* family, port, address, zeros; of IPv6 with flow information before, and the scope behind the address. */
static int
put_address(struct buf *b, const struct rpcap_address *a)
{
	uint8_t	bytes[ADDRESS_SIZE] = { 0 };

	if (a->family == AF_INET) {
		bytes[1] = WIRE_AF_INET;
		memcpy(bytes + 4, a->address, 4);
	} else if (a->family == AF_INET6) {
		bytes[1] = WIRE_AF_INET6;
		memcpy(bytes + 8, a->address, 16);
		for (unsigned i = 0; i < 4; i++)
			bytes[24 + i] = (uint8_t)(a->scope >> (24 - 8 * i));
	}
	return buf_put(b, bytes, sizeof(bytes));
}

int
rpcap_put_addresses(struct buf *b, const struct rpcap_addresses *a)
{
	int	errs;

	if (buf_reserve(b, 4 * ADDRESS_SIZE) == -1)
		return -1;
	errs = put_address(b, &a->address);
	errs += put_address(b, &a->netmask);
	errs += put_address(b, &a->broadcast);
	errs += put_address(b, &a->destination);
	return errs == 0 ? 0 : -1;
}

static uint8_t
family_of(uint16_t wire)
{
	for (size_t i = 0; i < sizeof(families_v4) / sizeof(families_v4[0]); i++)
		if (families_v4[i] == wire)
			return AF_INET;
	for (size_t i = 0; i < sizeof(families_v6) / sizeof(families_v6[0]); i++)
		if (families_v6[i] == wire)
			return AF_INET6;
	return 0;
}

static int
get_address(struct cursor *c, struct rpcap_address *a)
{
	struct cursor	 at;
	uint16_t	 wire = 0;

	*a = (struct rpcap_address){ 0 };
	if (cursor_sub(c, ADDRESS_SIZE, &at) == -1)
		return -1;
	cursor_u16(&at, &wire);
	cursor_skip(&at, 2);		/* port */
	a->family = family_of(wire);
	if (a->family == AF_INET)
		return cursor_bytes(&at, a->address, 4);
	if (a->family != AF_INET6)
		return 0;
	cursor_skip(&at, 4);		/* flow information */
	return cursor_bytes(&at, a->address, 16) == -1 || cursor_u32(&at, &a->scope) == -1 ? -1 : 0;
}

int
rpcap_get_addresses(struct cursor *c, struct rpcap_addresses *a)
{
	return get_address(c, &a->address) == -1 || get_address(c, &a->netmask) == -1 || get_address(c, &a->broadcast) == -1 ||
	    get_address(c, &a->destination) == -1 ? -1 : 0;
}
