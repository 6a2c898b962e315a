/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_TLS_KEY_H
#define VMTAP_COMMON_TLS_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/tls.h"

struct buf;

/* A private key of our own making, until there is a certificate for it. */
struct tls_key;

struct tls_key	*tls_key_new(void);				/* ECDSA, P-256; NULL: no memory, no random numbers */
struct tls_key	*tls_key_read(const void *pem, size_t);		/* what tls_key_put() wrote; text before it is passed over. NULL */
void		 tls_key_free(struct tls_key *);		/* wipes it; NULL is fine */
/* Appended, 0 or -1. PEM (PKCS#8, not encrypted): wipe the buffer with buf_wipe(). */
int		 tls_key_put(const struct tls_key *, struct buf *);
int		 tls_key_request(const struct tls_key *, struct buf *);	/* PKCS#10 in DER, for its public key and signature alone */

struct tls_der {
	const uint8_t	*der;
	size_t		 len;
};
/* What a certificate says. */
struct tls_granted {
	char	uri[256], common_name[128];
	time_t	not_before, not_after;
};
/*
 * The certificate that was granted for the key, and then those between it and the root: whether it is of this key, is fit for both
 * sides of a connection, valid now, and signed up to this root (PEM). If so, all of them are appended in PEM. 0, or -1 with error.
 */
int		 tls_key_granted(const struct tls_key *, const struct tls_der *chain, size_t count, const void *root_pem, size_t root_len,
		    struct tls_granted *, struct buf *pem, char error[TLS_ERROR_SIZE]);

#endif
