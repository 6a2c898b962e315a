/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PKI_MAKE_H
#define VMTAP_COLLECTOR_PKI_MAKE_H

#include <time.h>

#include <openssl/x509.h>

#include "collector/pki.h"

struct pki_ca;

/* What pki.c (keys made here) and pki_sign.c (keys of others) share. */

int	pki_make_uuid(char uuid[IDENTITY_UUID_SIZE]);	/* random; 0 / -1 */
/* The holder's certificate for the public key, whatever the request says of algorithm and not_after. NULL: OpenSSL's error tells. */
X509	*pki_make_leaf(const struct pki_request *, EVP_PKEY *, const struct pki_ca *, time_t not_after);

#endif
