/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PKI_H
#define VMTAP_COLLECTOR_PKI_H

#include <stddef.h>
#include <time.h>

#include "proto/identity.h"

/* A deployment's own CA in a directory: ca.key and ca.crt, and NAME.key and NAME.crt of each holder. */

#define PKI_ERROR_SIZE	512
#define PKI_PATH_SIZE	4096

enum pki_algorithm { PKI_P256, PKI_ED25519 };

struct pki_request {
	struct identity	  identity;	/* an agent's uuid: "" has one made */
	char *const	 *hosts;	/* DNS names and addresses that it answers at */
	size_t		  host_count;
	unsigned	  rights;	/* an operator's, at each of these tenants (proto/rights.h) */
	char *const	 *tenants;	/* names, or "*"; the first RIGHTS_TENANTS_MAX of them */
	size_t		  tenant_count;
	enum pki_algorithm algorithm;
	time_t		  not_before, not_after;	/* not_after is cut to the CA's */
};

struct pki_made {
	char	cert_path[PKI_PATH_SIZE], key_path[PKI_PATH_SIZE];
	struct identity identity;
	time_t	not_after;
};

/*
 * 0, or -1 with the error. The first three overwrite nothing, and none leaves half a file or a key without its certificate behind.
 * pki_init() makes the directory, for its owner alone, if there is none.
 */
int	pki_init(const char *dir, enum pki_algorithm, time_t not_before, time_t not_after, struct pki_made *,
	    char error[PKI_ERROR_SIZE]);
/* An issuer below the CA: NAME.crt may sign holders' certificates (--enroll-cert), and nothing that signs. */
int	pki_intermediate(const char *dir, const char *name, enum pki_algorithm, time_t not_before, time_t not_after, struct pki_made *,
	    char error[PKI_ERROR_SIZE]);
int	pki_issue(const char *dir, const struct pki_request *, struct pki_made *, char error[PKI_ERROR_SIZE]);
/* NAME.crt anew: of the same holder, names and key, for another time. The key is not needed; made->key_path stays empty. */
int	pki_renew(const char *dir, const char *name, time_t not_before, time_t not_after, struct pki_made *,
	    char error[PKI_ERROR_SIZE]);
int	pki_host_valid(const char *);	/* 1 if it may stand in a certificate: an address or a DNS name */

#endif
