/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_MSG_INTERNAL_H
#define VMTAP_PROTO_MSG_INTERNAL_H

#include <stddef.h>

#include "common/buf.h"
#include "proto/frame.h"

/* What all messages are encoded and decoded with; msg.c. */

int	msg_refuse(void);	/* -1 EBADMSG */
int	msg_too_many(void);	/* -1 EMSGSIZE */
/* The cursor over the payload, if the frame is of that type. */
int	msg_open_frame(const struct frame *, enum frame_type, struct cursor *);
/* Closes the frame begun at mark, or takes it back if anything put since did not fit. */
int	msg_close_frame(struct buf *, size_t mark, int errs);

#endif
