/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/tls.h"
#include "proto/frame.h"
#include "proto/rpcap.h"

#include "agent/rpcap_allow.h"
#include "agent/rpcap_server.h"
#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

struct supervisor_places
supervisor_rpcap_places(const struct agent_options *options)
{
	return (struct supervisor_places){ .list = &options->rpcap_listens, .option = "rpcap-listen", .port = RPCAP_PORT, .v6only = true };
}

static int
check_count(const struct conf_list *list, const char *option, size_t max, struct conf_error *error)
{
	if (list->count <= max)
		return 0;
	conf_error_set(error, "--%s is given %zu times, at most %zu can be", option, list->count, max);
	return -1;
}

/* --- who can read what is on the way --- */

static bool
is_loopback4(struct in_addr address)
{
	return ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET;
}

static bool
is_loopback(const struct addrinfo *address)
{
	if (address->ai_family == AF_INET)
		return is_loopback4(((const struct sockaddr_in *)(const void *)address->ai_addr)->sin_addr);
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address->ai_addr)->sin6_addr);
}

/* Not what a name may stand for. */
static bool
is_loopback_host(const char *host)
{
	struct in_addr in;
	struct in6_addr in6;

	return (inet_pton(AF_INET, host, &in) == 1 && is_loopback4(in)) ||
	    (inet_pton(AF_INET6, host, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6));
}

static int
check_private(const struct agent_options *options, bool loopback, const struct conf_list *list, size_t i, const char *option,
    struct conf_error *error)
{
	if (loopback || options->rpcap_plain || options->rpcap_cert != NULL)
		return 0;
	conf_error_set(error, "%s: whoever is on the way could read packets and passwords, for this is not loopback: give --rpcap-cert "
	    "and --rpcap-key for TLS, or allow it by --rpcap-plain", list->value[i]);
	conf_error_place(error, list->origin[i], option);
	return -1;
}

/* --- places --- */

static uint16_t
port_of(const struct addrinfo *address)
{
	if (address->ai_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)address->ai_addr)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)(const void *)address->ai_addr)->sin6_port);
}

static int
check_data_port(const struct agent_options *options, const struct supervisor_places *places, size_t i, uint16_t port,
    struct conf_error *error)
{
	if (options->rpcap_data_port != port)
		return 0;
	conf_error_set(error, "%s: clients call there, so that --rpcap-data-port must be another one", places->list->value[i]);
	conf_error_place(error, places->list->origin[i], places->option);
	return -1;
}

static int
check_listens(const struct agent_options *options, struct conf_error *error)
{
	const struct supervisor_places places = supervisor_rpcap_places(options);
	struct addrinfo *address;
	bool loopback;
	uint16_t port;

	for (size_t i = 0; i < places.list->count; i++) {
		if ((address = supervisor_address(&places, i, error)) == NULL)
			return -1;
		loopback = is_loopback(address);
		port = port_of(address);
		freeaddrinfo(address);
		if (check_data_port(options, &places, i, port, error) == -1 ||
		    check_private(options, loopback, places.list, i, places.option, error) == -1)
			return -1;
	}
	return 0;
}

static int
check_connects(const struct agent_options *options, struct conf_error *error)
{
	const struct conf_list *list = &options->rpcap_connects;
	char host[MSG_NAME_SIZE * 2];
	uint16_t port;

	for (size_t i = 0; i < list->count; i++) {
		if (conf_host_port(list->value[i], RPCAP_PORT_ACTIVE, host, sizeof(host), &port, error) == -1) {
			conf_error_place(error, list->origin[i], "rpcap-connect");
			return -1;
		}
		if (check_private(options, is_loopback_host(host), list, i, "rpcap-connect", error) == -1)
			return -1;
	}
	return 0;
}

/* A collector's place that the data port would take. */
static int
check_other_ports(const struct agent_options *options, struct conf_error *error)
{
	const struct supervisor_places places = { .list = &options->listens, .option = "listen", .port = FRAME_PORT };
	struct addrinfo *address;
	uint16_t port;

	for (size_t i = 0; i < places.list->count; i++) {
		if ((address = supervisor_address(&places, i, error)) == NULL)
			return -1;
		port = port_of(address);
		freeaddrinfo(address);
		if (check_data_port(options, &places, i, port, error) == -1)
			return -1;
	}
	return 0;
}

/* --- all --- */

static int
check_tls(const struct agent_options *options, struct conf_error *error)
{
	if ((options->rpcap_cert != NULL) != (options->rpcap_key != NULL))
		conf_error_set(error, "--%s needs --%s, too", options->rpcap_cert != NULL ? "rpcap-cert" : "rpcap-key",
		    options->rpcap_cert != NULL ? "rpcap-key" : "rpcap-cert");
	else if (options->rpcap_ca != NULL && options->rpcap_cert == NULL)
		conf_error_set(error, "--rpcap-ca needs --rpcap-cert and --rpcap-key, too: clients show their certificates in TLS only");
	else
		return 0;
	return -1;
}

static int
check_auth(const struct agent_options *options, struct conf_error *error)
{
	if (options->rpcap_null_auth || options->rpcap_passwords != NULL)
		return 0;
	conf_error_set(error, "no RPCAP client could get in: give --rpcap-passwords FILE, or --rpcap-null-auth for those without a "
	    "password");
	return -1;
}

int
supervisor_check_rpcap(const struct agent_options *options, struct conf_error *error)
{
	if (check_count(&options->rpcap_listens, "rpcap-listen", AGENT_RPCAP_LISTENS_MAX, error) == -1 ||
	    check_count(&options->rpcap_connects, "rpcap-connect", AGENT_RPCAP_CONNECTS_MAX, error) == -1 ||
	    check_tls(options, error) == -1 || rpcap_allow_check(&options->rpcap_allow, error) == -1)
		return -1;
	if (!agent_options_rpcap(options))
		return 0;
	return check_auth(options, error) == 0 && check_listens(options, error) == 0 && check_connects(options, error) == 0 &&
	    check_other_ports(options, error) == 0 ? 0 : -1;
}

/* --- files --- */

static void
warn_readable(int fd, const char *path, const char *what)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		log_warn("%s: others than its owner can read %s (mode %04o); chmod 600 it", path, what, (unsigned)st.st_mode & 07777);
}

static int
open_files(const struct agent_options *options, int fds[RPCAP_FILES], struct conf_error *error)
{
	const char *path[RPCAP_FILES];

	supervisor_rpcap_paths(options, path);
	for (size_t i = 0; i < RPCAP_FILES; i++)
		if (path[i] != NULL && (fds[i] = identity_open(options, path[i])) == -1) {
			conf_error_set(error, "%s: %s", path[i], strerror(errno));
			return -1;
		}
	return 0;
}

static int
probe_tls(const struct agent_options *options, const int fds[RPCAP_FILES], struct conf_error *error)
{
	const struct tls_files files = {
		.cert_name = options->rpcap_cert, .cert_fd = fds[RPCAP_FILE_CERT],
		.key_name = options->rpcap_key, .key_fd = fds[RPCAP_FILE_KEY],
		.ca_name = options->rpcap_ca, .ca_fd = fds[RPCAP_FILE_CA],
	};
	struct tls_context *tls;
	char why[TLS_ERROR_SIZE];

	if (options->rpcap_cert == NULL)
		return 0;
	if ((tls = tls_context_new_foreign(&files, TLSIO_SERVER, why)) == NULL) {
		conf_error_set(error, "%s", why);
		return -1;
	}
	tls_context_free(tls);
	return 0;
}

/* What is wrong with them is logged by whoever reads them. */
static int
probe_passwords(const struct agent_options *options, int fd, struct conf_error *error)
{
	struct rpcap_passwords *passwords;

	if (fd == -1)
		return 0;
	if ((passwords = rpcap_passwords_read(fd, options->rpcap_passwords)) == NULL) {
		conf_error_set(error, "--rpcap-passwords %s: it cannot be used", options->rpcap_passwords);
		return -1;
	}
	rpcap_passwords_free(passwords);
	return 0;
}

int
supervisor_probe_rpcap(const struct agent_options *options, struct conf_error *error)
{
	int fds[RPCAP_FILES] = { -1, -1, -1, -1 }, result;

	if ((result = open_files(options, fds, error)) == 0) {
		warn_readable(fds[RPCAP_FILE_KEY], options->rpcap_key, "this key");
		warn_readable(fds[RPCAP_FILE_PASSWORDS], options->rpcap_passwords, "these passwords");
		if (probe_tls(options, fds, error) == -1 || probe_passwords(options, fds[RPCAP_FILE_PASSWORDS], error) == -1)
			result = -1;
	}
	for (size_t i = 0; i < RPCAP_FILES; i++)
		if (fds[i] != -1)
			close(fds[i]);
	return result;
}
