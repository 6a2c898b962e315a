/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CREDENTIALS_H
#define VMTAP_COLLECTOR_CREDENTIALS_H

#include <stddef.h>

struct collector;
struct credentials;
struct tls_context;

/* The collector's certificate, its key and the CA: for the workers at the start, and anew when the files change. */

/* One context for each worker, so that no thread shares any. 0, or -1 with a line for people. */
int	credentials_load(struct collector *, struct tls_context *tls[], char *error, size_t error_size);
/* Watches the files and the certificate's end, in the collector's event loop. -1: out of memory. */
int	credentials_start(struct collector *);
/* Reads them again, maybe from elsewhere than before. What cannot be used is said, as a warning while what is in use is valid, and all
 * stays as it is. */
void	credentials_reload(struct collector *);
void	credentials_free(struct credentials *);		/* NULL is fine */

#endif
