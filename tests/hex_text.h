/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_HEX_TEXT_H
#define VMTAP_TESTS_HEX_TEXT_H

struct buf;

/* Bytes as a test writes them: "0a0B 'text' 00x112" are two, those of the text, and 112 times 0. -1: it is not like that, or too long. */
int	hex_text_parse(const char *, struct buf *);

#endif
