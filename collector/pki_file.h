/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PKI_FILE_H
#define VMTAP_COLLECTOR_PKI_FILE_H

#include <stdbool.h>
#include <time.h>

#include <openssl/x509.h>

#include "collector/pki.h"

/* The directory behind pki.c. */
struct pki_dir {
	const char	*path;
	int		 fd;
	bool		 made;		/* by us, just now */
};

struct pki_ca {
	X509		*cert;
	EVP_PKEY	*key;
	time_t		 not_after;
};

int	pki_dir_open(struct pki_dir *, const char *path, bool make, char error[PKI_ERROR_SIZE]);
void	pki_dir_close(struct pki_dir *, bool keep);	/* keep false: a directory that we made goes again */
int	pki_dir_check_free(const struct pki_dir *, const char *name, char error[PKI_ERROR_SIZE]);
/* NAME.key (0600), then NAME.crt (0644): both or none. Fills the paths in. */
int	pki_dir_store(const struct pki_dir *, const char *name, EVP_PKEY *, X509 *, struct pki_made *, char error[PKI_ERROR_SIZE]);
int	pki_dir_load(const struct pki_dir *, const char *name, X509 **, char error[PKI_ERROR_SIZE]);	/* NAME.crt */
/* NAME.crt by another one, at once. Fills its path in. */
int	pki_dir_replace(const struct pki_dir *, const char *name, X509 *, struct pki_made *, char error[PKI_ERROR_SIZE]);
int	pki_dir_load_ca(const struct pki_dir *, struct pki_ca *, char error[PKI_ERROR_SIZE]);
void	pki_ca_clear(struct pki_ca *);

void	pki_error_set(char error[PKI_ERROR_SIZE], const char *, ...) __attribute__((format(printf, 2, 3)));
void	pki_error_openssl(char error[PKI_ERROR_SIZE], const char *what);

#endif
