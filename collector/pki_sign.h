/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PKI_SIGN_H
#define VMTAP_COLLECTOR_PKI_SIGN_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "proto/msg.h"

#include "collector/pki.h"

/* Certificates for keys that others have made: a request comes, a chain goes. All: 0, or -1 (NULL) with a line for people. */

/* "SHA256:" and 64 hex digits: of the first certificate in a file. */
#define PKI_FINGERPRINT_SIZE	72
int	pki_fingerprint(const char *path, char text[PKI_FINGERPRINT_SIZE], char error[PKI_ERROR_SIZE]);

/* A certificate request, for its key alone: P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits, exponent up to 32, which signed it. */
struct pki_csr;
struct pki_csr	*pki_csr_new(const uint8_t *der, size_t len, char error[PKI_ERROR_SIZE]);
void		 pki_csr_free(struct pki_csr *);		/* NULL is fine */
#define PKI_KEY_HASH_SIZE	32
const uint8_t	*pki_csr_key_hash(const struct pki_csr *);	/* SHA-256 of its SubjectPublicKeyInfo */
char		*pki_csr_pem(const struct pki_csr *);		/* heap; NULL: ENOMEM */

/* A holder's certificate and then those between it and the root. */
struct pki_chain {
	uint8_t		*der;		/* one behind the other; heap */
	size_t		 len;
	struct {
		size_t	at, len;
	} certificate[MSG_CHAIN_MAX];
	uint16_t	 count;
	time_t		 not_after;	/* of the first one */
};
/* From what a chain's der was. */
int	pki_chain_parse(struct pki_chain *, const uint8_t *der, size_t len, char error[PKI_ERROR_SIZE]);
void	pki_chain_clear(struct pki_chain *);

/* Who signs, and the root of all that. Threads may share it. */
struct pki_issuer;
/* key NULL: signed elsewhere, cert is not read. cert NULL: the CA's own. Warns if the key's file can be read by others. */
struct pki_issuer *pki_issuer_load(const char *ca, const char *cert, const char *key, char error[PKI_ERROR_SIZE]);
void		 pki_issuer_free(struct pki_issuer *);		/* NULL is fine */
/* identity, not_before and not_after (which is cut to the issuer's) of the request are the certificate's, its key the CSR's. */
int	pki_sign(const struct pki_issuer *, const struct pki_request *, const struct pki_csr *, struct pki_chain *,
	    char error[PKI_ERROR_SIZE]);
/* The same of what was signed elsewhere: certificates in PEM, of which the root is left out. They must be what was asked for. */
int	pki_take_signed(const struct pki_issuer *, const struct pki_request *, const struct pki_csr *, const char *pem, size_t len,
	    struct pki_chain *, char error[PKI_ERROR_SIZE]);

#endif
