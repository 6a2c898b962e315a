/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BENCH_AGENTS_PKI_H
#define VMTAP_TESTS_BENCH_AGENTS_PKI_H

struct tls_context;

/* Contexts of count new agents of the CA in dir (ca.key, ca.crt), whose certificates are made in memory and never stored. Each is
 * a VM of its own. Exits with a line on stderr where that fails. */
void	agents_pki_make(const char *dir, const char *tenant, unsigned count, struct tls_context *made[]);

#endif
