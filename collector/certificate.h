/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CERTIFICATE_H
#define VMTAP_COLLECTOR_CERTIFICATE_H

struct buf;
struct pki_chain;

/* CERTIFICATE: why there is none, or, reason being "", the chain. 0 / -1. */
int	certificate_put(struct buf *, const char *reason, const struct pki_chain *);

#endif
