/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>

#include "tests/bpf_frames.h"

#define BYTES(s)	{ (const uint8_t *)(s), sizeof(s) - 1 }
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

const struct bytes frames_both[][2] = {
	{ BYTES(ETH "\x08\0" V4("\6", A4, B4) TCP(P1, P2)), BYTES(ETH "\x08\0" V4("\6", B4, A4) TCP(P2, P1)) },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) P1 P2 REST), BYTES(ETH "\x08\0" V4("\x11", B4, A4) P2 P1 REST) },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) P1 P2 REST), BYTES(ETH "\x08\0" V4("\x11", A4, B4) P1 P1 REST) },
	{ BYTES(ETH "\x08\0" V4("\1", A4, B4) "\x08\0\0\0\0\1\0\1"), BYTES(ETH "\x08\0" V4("\1", B4, A4) "\0\0\0\0\0\1\0\1") },
	{ BYTES(ETH "\x08\0" IP("\x45", "\x20\0", "\6", A4, B4) TCP(P1, P2)),
	    BYTES(ETH "\x08\0" IP("\x45", "\0\x10", "\6", A4, B4) REST) },
	{ BYTES(ETH "\x08\0" V4("\6", A4, B4) TCP(P1, P2)),
	    BYTES(ETH "\x08\0" IP("\x48", "\0\0", "\6", B4, A4) "\x94\4\0\0\1\1\1\1\1\1\1\1" TCP(P2, P1)) },
	{ BYTES(ETH "\x86\xdd" V6("\6", A6, B6) TCP(P1, P2)), BYTES(ETH "\x86\xdd" V6("\6", B6, A6) TCP(P2, P1)) },
	{ BYTES(ETH "\x86\xdd" V6("\6", A6, B6) TCP(P1, P2)), BYTES(ETH "\x86\xdd" V6("\0", B6, A6) "\x2b\0\1\4\0\0\0\0"
	    "\x3c\2\0\0\0\0\0\0" A6 "\x33\0\1\4\0\0\0\0" "\6\4\0\0" "spi_seq_icv_icv_icv_" TCP(P2, P1)) },
	{ BYTES(ETH "\x86\xdd" V6("\x2c", A6, B6) "\6\0\0\1\0\0\0\7" TCP(P1, P2)),
	    BYTES(ETH "\x86\xdd" V6("\0", A6, B6) "\x2c\0\1\4\0\0\0\0\6\0\1\0\0\0\0\7" REST) },
	{ BYTES(ETH "\x86\xdd" V6("\0", A6, B6) "\0\0\1\4\0\0\0\0\0\0\1\4\0\0\0\0\0\0\1\4\0\0\0\0\0\0\1\4\0\0\0\0\6\0\1\4\0\0\0\0"
	    TCP(P1, P2)), BYTES(ETH "\x86\xdd" V6("\x11", B6, A6) P1 P2 REST) },
	{ BYTES(ETH "\x86\xdd" V6("\0", A6, B6) "\0\0\1\4\0\0\0\0\0\0\1\4\0\0\0\0\0\0\1\4\0\0\0\0\x2c\0\1\4\0\0\0\0"
	    "\x3a\0\0\1\0\0\0\7\1"), BYTES(ETH "\x86\xdd" V6("\x2c", B6, A6) "\x3a\0\0\x10\0\0\0\7" REST) },
	{ BYTES(ETH "\x81\0\0\x64\x08\0" V4("\6", A4, B4) TCP(P1, P2)), BYTES(ETH "\x08\0" V4("\6", B4, A4) TCP(P2, P1)) },
	{ BYTES(ETH "\x88\xa8\0\5\x81\0\0\x64\x08\0" V4("\6", A4, B4) TCP(P1, P2)),
	    BYTES(ETH "\x91\0\0\x64\x91\0\0\6\x08\0" V4("\6", B4, A4) TCP(P2, P1)) },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) UDP("\x12\xb5") VXLAN ETH "\x08\0" V4("\6", A4, B4) TCP(P1, P2)),
	    BYTES(ETH "\x08\0" V4("\x11", B4, A4) P2 P1 REST) },
};
const size_t frames_both_count = COUNT(frames_both);

const struct bytes frames_unhashed[] = {
	BYTES(ETH "\x08\x06\0\1\x08\0\6\4\0\1\x02\0\0\0\0\1" A4 "\0\0\0\0\0\0" B4),
	BYTES(ETH "\x08\0" IP("\x44", "\0\0", "\6", A4, B4) TCP(P1, P2)),
	BYTES(ETH "\x08\0" IP("\x55", "\0\0", "\6", A4, B4) TCP(P1, P2)),
	BYTES(ETH "\x08\0" IP("\x75", "\0\0", "\6", A4, B4) TCP(P1, P2)),
	BYTES(ETH "\x08\0" V4("\6", A4, B4) "\x80\1\0"),
	BYTES(ETH "\x08\0" IP("\x4f", "\0\0", "\6", A4, B4) TCP(P1, P2)),
	BYTES(ETH "\x81\0\0\1\x81\0\0\1\x81\0\0\1\x08\0" V4("\6", A4, B4) TCP(P1, P2)),
	BYTES(ETH "\0\x26\x42\x42\3\0\0\0\0\0" REST),
	BYTES(ETH "\x86\xdd" V6("\0", A6, B6) "\6\xff\1\4\0\0\0\0" TCP(P1, P2)),
	BYTES(ETH "\x86\xdd" "\x60\0\0\0\0\x20\6\x40" A6 "incomplete"),
	BYTES(ETH "\x88\x47\0\0\1\x40" V4("\6", A4, B4) TCP(P1, P2)),
	BYTES("short"),
	BYTES(""),
};
const size_t frames_unhashed_count = COUNT(frames_unhashed);

const struct frame_end frames_ends[] = {
	{ BYTES(ETH "\x08\x06\0\1\x08\0\6\4\0\1\x02\0\0\0\0\1" A4 "\0\0\0\0\0\0" B4 REST), 14 + 28 },
	{ BYTES(ETH "\x88\xcc" REST), 14 },
	{ BYTES(ETH "\x08\0" V4_TCP REST), 14 + 20 + 32 },
	{ BYTES(ETH "\x08\0" V4("\6", A4, B4) TCP(P1, P2) REST), 14 + 20 + 20 },
	{ BYTES(ETH "\x08\0" V4("\6", A4, B4) P1 P2 "\0\0\0\1\0\0\0\0\x30\x02\xff\xff\0\0\0\0" REST), 14 + 20 + 20 },
	{ BYTES(ETH "\x08\0" IP("\x46", "\0\0", "\x11", A4, B4) "\x94\4\0\0" UDP(P2) REST), 14 + 24 + 8 },
	{ BYTES(ETH "\x08\0" V4("\1", A4, B4) REST), 14 + 20 + 8 },
	{ BYTES(ETH "\x08\0" V4("\x84", A4, B4) REST), 14 + 20 + 12 },
	{ BYTES(ETH "\x08\0" V4("\x32", A4, B4) REST), 14 + 20 + 8 },
	{ BYTES(ETH "\x08\0" V4("\x59", A4, B4) REST), 14 + 20 },
	{ BYTES(ETH "\x08\0" IP("\x44", "\0\0", "\6", A4, B4) REST), 14 },
	{ BYTES(ETH "\x08\0" IP("\x45", "\x20\0", "\6", A4, B4) TCP(P1, P2) REST), 14 + 20 + 20 },
	{ BYTES(ETH "\x08\0" IP("\x45", "\0\1", "\6", A4, B4) TCP(P1, P2) REST), 14 + 20 },
	{ BYTES(ETH "\x81\0\0\1\x08\0" V4_TCP REST), 18 + 52 },
	{ BYTES(ETH "\x88\xa8\0\1\x91\0\0\1\x08\0" V4_TCP REST), 22 + 52 },
	{ BYTES(ETH "\x88\xa8\0\1\x81\0\0\1\x81\0\0\1\x08\0" V4_TCP REST), 22 },
	{ BYTES(ETH "\x86\xdd" V6("\6", A6, B6) TCP_OPTIONS(P1, P2) REST), 14 + 40 + 32 },
	{ BYTES(ETH "\x86\xdd" V6("\x3a", A6, B6) REST), 14 + 40 + 8 },
	{ BYTES(ETH "\x86\xdd" V6("\0", A6, B6) "\x2b\0\1\4\0\0\0\0" "\x3c\2\0\0\0\0\0\0" A6 "\x33\0\1\4\0\0\0\0"
	    "\6\4\0\0" "spi_seq_icv_icv_icv_" TCP(P1, P2) REST), 14 + 40 + 8 + 24 + 8 + 24 + 20 },
	{ BYTES(ETH "\x86\xdd" V6("\x2c", A6, B6) "\6\0\0\1\0\0\0\7" TCP(P1, P2) REST), 14 + 40 + 8 + 20 },
	{ BYTES(ETH "\x86\xdd" V6("\x2c", A6, B6) "\6\0\0\x10\0\0\0\7" TCP(P1, P2) REST), 14 + 40 + 8 },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) UDP("\x12\xb5") VXLAN ETH "\x08\0" V4_TCP REST), 14 + 28 + 8 + 14 + 52 },
	{ BYTES(ETH "\x86\xdd" V6("\x11", A6, B6) UDP("\x12\xb5") VXLAN ETH "\x81\0\0\1\x86\xdd" V6("\6", A6, B6)
	    TCP_OPTIONS(P1, P2) REST), 14 + 48 + 8 + 18 + 72 },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) UDP("\x17\xc1") "\2\0\x65\x58\0\0\1\0" "options." ETH "\x08\0" V4_TCP REST),
	    14 + 28 + 16 + 14 + 52 },
	{ BYTES(ETH "\x08\0" V4("\x11", A4, B4) UDP("\x17\xc1") "\0\0\x86\xdd\0\0\1\0" V6("\x11", A6, B6) UDP(P2) REST),
	    14 + 28 + 8 + 48 },
	{ BYTES(ETH "\x08\0" V4("\x2f", A4, B4) "\0\0\x08\0" V4_TCP REST), 14 + 20 + 4 + 52 },
	{ BYTES(ETH "\x08\0" V4("\x2f", A4, B4) "\xb0\0\x08\0sum_key_seq_" V4_TCP REST), 14 + 20 + 16 + 52 },
	{ BYTES(ETH "\x08\0" V4("\x2f", A4, B4) "\x20\0\x86\xddkey_" V6("\6", A6, B6) TCP(P1, P2) REST), 14 + 20 + 8 + 60 },
	{ BYTES(ETH "\x08\0" V4("\x2f", A4, B4) "\x10\0\x65\x58seq_" ETH "\x08\0" V4_TCP REST), 14 + 20 + 8 + 14 + 52 },
	{ BYTES(ETH "\x08\0" V4("\x2f", A4, B4) "\x30\1\x88\x0b" V4_TCP REST), 14 + 20 + 4 },
	{ BYTES(ETH "\x08\0" V4("\4", A4, B4) V4_TCP REST), 14 + 20 + 52 },
	{ BYTES(ETH "\x08\0" V4("\x29", A4, B4) V6("\6", A6, B6) TCP(P1, P2) REST), 14 + 20 + 60 },
	{ BYTES(ETH "\x86\xdd" V6("\4", A6, B6) V4_TCP REST), 14 + 40 + 52 },
	{ BYTES(ETH "\x86\xdd" V6("\x3c", A6, B6) "\x29\0\4\1\4\1\1\0" V6("\6", A6, B6) TCP(P1, P2) REST), 14 + 48 + 60 },
	{ BYTES(ETH "\x08\0" V4("\4", A4, B4) V4("\x2f", A4, B4) "\0\0\x08\0" V4_TCP REST), 14 + 20 + 20 + 4 + 52 },
	{ BYTES(ETH "\x08\0" V4("\4", A4, B4) V4("\4", A4, B4) V4("\4", A4, B4) V4_TCP REST), 14 + 60 },
	{ BYTES(ETH "\x08\0" V4("\4", A4, B4) V4("\4", A4, B4) V4("\x11", A4, B4) UDP("\x12\xb5") REST), 14 + 60 + 8 },
	{ BYTES(ETH "\x88\x47\0\0\1\x40" V4_TCP REST), 14 + 4 + 52 },
	{ BYTES(ETH "\x88\x48\0\0\0\x40\0\0\0\x40\0\0\1\x40" V6("\6", A6, B6) TCP(P1, P2) REST), 14 + 12 + 60 },
	{ BYTES(ETH "\x88\x47\0\0\0\x40\0\0\0\x40\0\0\0\x40\0\0\1\x40" V4_TCP REST), 14 + 12 },
	{ BYTES(ETH "\x81\0\0\1\x88\x64\x11\0\0\1\0\x1a\0\x21" V4_TCP REST), 18 + 8 + 52 },
	{ BYTES(ETH "\x88\x64\x11\0\0\1\0\x1a\0\x57" V6("\6", A6, B6) TCP(P1, P2) REST), 14 + 8 + 60 },
	{ BYTES(ETH "\x88\x64\x11\0\0\1\0\x1a\xc0\x21" REST), 14 + 8 },
};
const size_t frames_ends_count = COUNT(frames_ends);
