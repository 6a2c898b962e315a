/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/tls.h"
#include "proto/frame.h"
#include "collector/pki.h"

#include "agents_pki.h"

#define MEMORY	"/dev/shm"
#define DAY_S	86400
#define CA_FILE_MAX	16384

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "agents: %s: %s\n", what, why);
	exit(1);
}

/* Links would not be followed. */
static void
copy_ca(const char *dir, const char *folder, const char *name)
{
	char path[PKI_PATH_SIZE], bytes[CA_FILE_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1 || (n = read(fd, bytes, sizeof(bytes))) == -1)
		die(path, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) == -1 || write(fd, bytes, (size_t)n) != n)
		die(path, strerror(errno));
	close(fd);
}

static void
unlink_ca(const char *folder, const char *name)
{
	char path[PKI_PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
}

/* Its files are there for as long as it takes to read them. */
static struct tls_context *
make_one(const char *folder, const char *ca, const char *tenant, unsigned number)
{
	struct pki_request request = { .identity = { .role = ROLE_AGENT, }, .algorithm = PKI_P256 };
	char error[PKI_ERROR_SIZE];
	struct tls_context *context;
	struct pki_made made;

	snprintf(request.identity.tenant, sizeof(request.identity.tenant), "%s", tenant);
	snprintf(request.identity.name, sizeof(request.identity.name), "load%u", number);
	request.not_before = time(NULL) - DAY_S;
	request.not_after = time(NULL) + DAY_S;
	if (pki_issue(folder, &request, &made, error) == -1)
		die("cannot make a certificate", error);
	context = tls_context_load(ca, made.cert_path, made.key_path, FRAME_ALPN, error);
	if (context == NULL)
		die("cannot use a certificate", error);
	unlink(made.cert_path);
	unlink(made.key_path);
	return context;
}

void
agents_pki_make(const char *dir, const char *tenant, unsigned count, struct tls_context *made[])
{
	char folder[] = MEMORY "/vmtap-agents.XXXXXX", ca[PKI_PATH_SIZE];

	if (mkdtemp(folder) == NULL)
		die(MEMORY, strerror(errno));
	copy_ca(dir, folder, "ca.crt");
	copy_ca(dir, folder, "ca.key");
	snprintf(ca, sizeof(ca), "%s/ca.crt", folder);
	for (unsigned i = 0; i < count; i++)
		made[i] = make_one(folder, ca, tenant, i);
	unlink_ca(folder, "ca.crt");
	unlink_ca(folder, "ca.key");
	rmdir(folder);
}
