/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_FRAME_H
#define VMTAP_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

struct buf;

/* Every message travels in one frame (PROTOCOL, "Frames"): type u16, reserved u16 (0), length u32 of what follows, big-endian. */
#define FRAME_HEADER_SIZE	8
#define FRAME_PORT		8827
#define FRAME_ALPN		"vmtap/1"
#define FRAME_ALPN_ENROLL	"vmtap-enroll/1"
#define FRAME_ALPN_CTL		"vmtap-ctl/1"	/* no frames: collector/ctl.h */
#define FRAME_VERSION		1

enum frame_type {
	FRAME_HELLO = 1, FRAME_WELCOME, FRAME_INTERFACE, FRAME_POLICY, FRAME_POLICY_RESULT, FRAME_HINTS, FRAME_BLOCK,
	FRAME_GAP, FRAME_END, FRAME_ACK, FRAME_STATS, FRAME_PING, FRAME_PONG, FRAME_BYE, FRAME_ERROR, FRAME_HINTS_RESULT, FRAME_ADDRESSES,
	FRAME_ENROLL, FRAME_CERTIFICATE, FRAME_RENEW,
	FRAME_TYPE_MAX
};

enum frame_error { FRAME_OK, FRAME_MORE, FRAME_UNKNOWN_TYPE, FRAME_TOO_LARGE, FRAME_RESERVED };

struct frame {
	enum frame_type	 type;
	const uint8_t	*payload;	/* inside the bytes given */
	size_t		 length;
};

/* The first frame in data. FRAME_MORE: not whole yet (type and cap are checked as soon as the header is there). On FRAME_OK
 * the frame takes FRAME_HEADER_SIZE + length bytes. */
enum frame_error frame_parse(const uint8_t *data, size_t len, struct frame *);
const char	*frame_error_text(enum frame_error);
const char	*frame_type_name(enum frame_type);	/* "BLOCK" */
size_t		 frame_length_max(enum frame_type);	/* the type's cap on length */
/* Header with length 0 appended; frame_end() fills in the length of what was put since. Both 0 / -1. */
int		 frame_begin(struct buf *, enum frame_type, size_t *mark);
int		 frame_end(struct buf *, size_t mark);

#endif
