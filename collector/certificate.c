/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>

#include "common/buf.h"
#include "proto/msg.h"

#include "collector/certificate.h"
#include "collector/pki_sign.h"

int
certificate_put(struct buf *buf, const char *reason, const struct pki_chain *chain)
{
	struct msg_certificate msg = { .count = 0 };

	snprintf(msg.reason, sizeof(msg.reason), "%s", reason);
	for (uint16_t i = 0; chain != NULL && i < chain->count; i++) {
		msg.certificate[i].der = chain->der + chain->certificate[i].at;
		msg.certificate[i].len = chain->certificate[i].len;
		msg.count++;
	}
	return msg_put_certificate(buf, &msg);
}
