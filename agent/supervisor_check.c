/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcap/pcap.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/identity.h"
#include "proto/pcapng.h"
#include "proto/slice.h"

#include "agent/capture_filter.h"
#include "agent/governor.h"
#include "agent/link_netif.h"
#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

#define EXIT_USAGE	2

static int
check_collectors(const struct conf_list *list, struct conf_error *error)
{
	char host[MSG_NAME_SIZE * 2];
	uint16_t port;

	for (size_t i = 0; i < list->count; i++)
		if (conf_host_port(list->value[i], FRAME_PORT, host, sizeof(host), &port, error) == -1) {
			conf_error_place(error, list->origin[i], "collector");
			return -1;
		}
	return 0;
}

static int
check_listens(const struct agent_options *options, struct conf_error *error)
{
	const struct supervisor_places places = { .list = &options->listens, .option = "listen", .port = FRAME_PORT };
	struct addrinfo *address;

	for (size_t i = 0; i < options->listens.count; i++) {
		if ((address = supervisor_address(&places, i, error)) == NULL)
			return -1;
		freeaddrinfo(address);
	}
	return 0;
}

static int
check_ports(const struct conf_list *list, struct conf_error *error)
{
	unsigned long port;
	const char *text;
	char *end;

	for (size_t i = 0; i < list->count; i++) {
		text = list->value[i];
		errno = 0;
		port = strtoul(text, &end, 10);
		if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && port > 0 && port <= UINT16_MAX)
			continue;
		conf_error_set(error, "%s: port must be from 1 to 65535", text);
		conf_error_place(error, list->origin[i], "exclude-port");
		return -1;
	}
	return 0;
}

static int
check_compress(const struct agent_options *options, struct conf_error *error)
{
	const struct codec *codec;
	char why[256];
	int level;

	if (codec_parse(options->compress, &codec, &level, why, sizeof(why)) == 0)
		return 0;
	conf_error_set(error, "--compress: %s", why);
	return -1;
}

static int
check_slice(const struct agent_options *options, struct conf_error *error)
{
	struct slice slice = { 0 };
	char why[256];

	if (slice_parse(options->slice, &slice, why, sizeof(why)) == 0)
		return 0;
	conf_error_set(error, "--slice: %s", why);
	return -1;
}

static int
check_governor(const struct agent_options *options, struct conf_error *error)
{
	unsigned ladder;
	char why[256];

	if (governor_parse_ladder(options->ladder, &ladder, why, sizeof(why)) == -1) {
		conf_error_set(error, "--ladder: %s", why);
		return -1;
	}
	if (agent_rings_memory(options) >= AGENT_RINGS_MEMORY_MIN)
		return 0;
	conf_error_set(error, "--memory-limit: %llu MiB leave no room for the rings of the interfaces: the spool takes %llu, the "
	    "processes %u, and %u are the least for rings: raise it", (unsigned long long)(options->memory_limit >> 20),
	    (unsigned long long)(options->spool_memory >> 20), AGENT_ROLES_MEMORY >> 20, AGENT_RINGS_MEMORY_MIN >> 20);
	return -1;
}

static int
check_never(const struct agent_options *options, struct conf_error *error)
{
	for (size_t i = 0; i < options->never.count; i++)
		if (!capture_filter_given(options->never.value[i])) {
			conf_error_set(error, "there is nothing in it: what shall never be captured?");
			conf_error_place(error, options->never.origin[i], "never");
			return -1;
		}
	if (options->never.count <= AGENT_NEVER_MAX)
		return 0;
	conf_error_set(error, "--never is given %zu times, at most %d can be: join them by \"or\"", options->never.count,
	    AGENT_NEVER_MAX);
	return -1;
}

/* Where enrolment keeps what it gets is where it is looked for, and nowhere else. */
static bool
enroll_keeps(const struct agent_options *options, const char *path, const char *name)
{
	const char *kept = identity_name_of(options, path);

	return kept != NULL && strcmp(kept, name) == 0;
}

static int
check_enroll(const struct agent_options *options, struct conf_error *error)
{
	uint8_t fingerprint[TLS_FINGERPRINT_SIZE];
	char host[MSG_NAME_SIZE * 2];
	uint16_t port;

	if (options->enroll == NULL)
		return 0;
	if (conf_host_port(options->enroll, FRAME_PORT, host, sizeof(host), &port, error) == -1)
		conf_error_place(error, CONF_COMMAND_LINE, "enroll");
	else if (options->ca_fingerprint == NULL)
		conf_error_set(error, "--enroll needs --ca-fingerprint SHA256:HEX, as \"vmtap token create\" prints it: it is all that "
		    "is known of the collector");
	else if (tls_fingerprint_parse(options->ca_fingerprint, fingerprint) == -1)
		conf_error_set(error, "--ca-fingerprint %s: not \"SHA256:\" and 64 hexadecimal digits", options->ca_fingerprint);
	else if (!enroll_keeps(options, options->ca, IDENTITY_CA) || !enroll_keeps(options, options->cert, IDENTITY_CERTIFICATE) ||
	    !enroll_keeps(options, options->key, IDENTITY_CERTIFICATE))
		conf_error_set(error, "--enroll gets CA, certificate and key and keeps them in --state-dir: --ca, --cert and --key "
		    "exclude it");
	else
		return 0;
	return -1;
}

int
supervisor_check_options(const struct agent_options *options, struct conf_error *error)
{
	if (!agent_options_session(options) && !agent_options_rpcap(options)) {
		conf_error_set(error, "neither --collector nor --listen nor --enroll is given, nor --rpcap-listen or --rpcap-connect: "
		    "say where to send to, or where to wait for a collector or an RPCAP client");
		return EXIT_USAGE;
	}
	if (options->listens.count > SUPERVISOR_LISTENS_MAX) {
		conf_error_set(error, "--listen is given %zu times, at most %d can be", options->listens.count,
		    SUPERVISOR_LISTENS_MAX);
		return EXIT_USAGE;
	}
	if (options->promiscuous && options->no_promiscuous) {
		conf_error_set(error, "--promiscuous and --no-promiscuous-mode exclude each other");
		return EXIT_USAGE;
	}
	if (options->spool_disk != 0 && options->spool_disk < DISK_SIZE_MIN) {
		conf_error_set(error, "--spool-disk: %llu bytes are too few, 16M is the least",
		    (unsigned long long)options->spool_disk);
		return EXIT_USAGE;
	}
	if (check_enroll(options, error) == -1 || check_collectors(&options->collectors, error) == -1 ||
	    check_listens(options, error) == -1 || supervisor_check_rpcap(options, error) == -1 ||
	    supervisor_check_metrics(&options->metrics, error) == -1 || check_ports(&options->exclude_ports, error) == -1 ||
	    check_compress(options, error) == -1 ||
	    check_slice(options, error) == -1 || check_governor(options, error) == -1 || check_never(options, error) == -1 ||
	    netif_check_names(&options->interfaces, error) == -1)
		return EXIT_USAGE;
	return 0;
}

static int
probe_credentials(const struct agent_options *options, struct conf_error *error)
{
	struct identity identity;
	struct tls_context *tls;
	char why[TLS_ERROR_SIZE];

	if ((tls = tls_context_load(options->ca, options->cert, options->key, FRAME_ALPN, why)) == NULL) {
		conf_error_set(error, "%s", why);
		return -1;
	}
	if (identity_parse(tls_context_uri(tls), tls_context_common_name(tls), &identity) == 0 && identity.role == ROLE_AGENT) {
		tls_context_free(tls);
		return 0;
	}
	conf_error_set(error, "%s: not an agent's certificate (it says \"%s\"); \"vmtap pki agent\" makes one", options->cert,
	    tls_context_uri(tls));
	tls_context_free(tls);
	return -1;
}

static int
probe_capture(struct conf_error *error)
{
	int fd;

	if ((fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) != -1) {
		close(fd);
		return 0;
	}
	if (errno == EPERM || errno == EACCES)
		conf_error_set(error, "capturing needs CAP_NET_RAW: start as root, or give it to the service "
		    "(systemd: AmbientCapabilities=CAP_NET_RAW)");
	else
		conf_error_set(error, "cannot open a packet socket: %s", strerror(errno));
	return -1;
}

/* A handle that is like the first one to come; without such an interface, as for Ethernet. */
static pcap_t *
probe_handle(const struct agent_options *options)
{
	struct ipc_tap_interface interface[MSG_INTERFACES_MAX];
	char why[PCAP_ERRBUF_SIZE];
	struct netif_table table;
	pcap_t *pcap = NULL;
	size_t count = 0, more;

	if (netif_scan(&table) == 0) {
		count = netif_pick(&table, &options->interfaces, "", interface, &more);
		netif_clear(&table);
	}
	if (count > 0 && (pcap = pcap_create(interface[0].name, why)) != NULL) {
		pcap_set_snaplen(pcap, PCAPNG_SNAPLEN);
		pcap_set_buffer_size(pcap, 2 * PCAPNG_SNAPLEN);
		if (pcap_activate(pcap) >= 0)
			return pcap;
		pcap_close(pcap);
	}
	return pcap_open_dead(DLT_EN10MB, PCAPNG_SNAPLEN);
}

static int
probe_filter(pcap_t *pcap, const char *name, const char *filter, const char *origin, struct conf_error *error)
{
	struct bpf_program program;
	const char *why;

	if (capture_filter_conditions(filter) > CAPTURE_CONDITIONS_MAX) {
		conf_error_set(error, "%s (from %s): it has %zu conditions (a range counts as three), but %d is the most", name, origin,
		    capture_filter_conditions(filter), CAPTURE_CONDITIONS_MAX);
		return -1;
	}
	if (pcap_compile(pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN) == 0) {
		pcap_freecode(&program);
		return 0;
	}
	why = pcap_geterr(pcap);
	conf_error_set(error, "%s \"%.*s\" (from %s): %s%s", name, CAPTURE_FILTER_SHOWN, filter, origin, why,
	    capture_filter_hint(why));
	return -1;
}

static int
probe_filters(const struct agent_options *options, struct conf_error *error)
{
	pcap_t *pcap;
	int result = 0;

	if (options->filter == NULL && options->never.count == 0)
		return 0;
	if ((pcap = probe_handle(options)) == NULL) {
		conf_error_set(error, "out of memory");
		return -1;
	}
	if (options->filter != NULL)
		result = probe_filter(pcap, "filter", options->filter, options->filter_origin, error);
	for (size_t i = 0; result == 0 && i < options->never.count; i++)
		result = probe_filter(pcap, "never", options->never.value[i], options->never.origin[i], error);
	pcap_close(pcap);
	return result;
}

/* The filter is compiled with the rights that the capture role will have, so it means the same here as there. */
static int
probe(const struct agent_options *options, struct conf_error *error)
{
	char why[SANDBOX_ERROR_SIZE];

	/* Who enrols may have none yet, or others by the time; the link role says what is wrong with them. */
	if ((agent_options_session(options) && options->enroll == NULL && probe_credentials(options, error) == -1) ||
	    (agent_options_rpcap(options) && supervisor_probe_rpcap(options, error) == -1) || probe_capture(error) == -1)
		return EXIT_FAILURE;
	if (sandbox_drop_user(options->user, true, why, sizeof(why)) == -1 ||
	    (!options->no_sandbox && sandbox_seccomp(SANDBOX_CAPTURE, why, sizeof(why)) == -1)) {
		conf_error_set(error, "%s", why);
		return EXIT_FAILURE;
	}
	return probe_filters(options, error) == -1 ? EXIT_USAGE : 0;
}

static void
probe_child(const struct agent_options *options, bool in_service)
{
	struct conf_error error;
	int status;

	if ((status = probe(options, &error)) == 0)
		_exit(0);
	if (in_service)
		log_error("%s", error.text);
	else if (status == EXIT_USAGE)
		conf_usage("vmtap-agent", &error);
	else
		fatal("%s", error.text);
	_exit(status);
}

int
supervisor_probe(const struct agent_options *options, bool in_service)
{
	int status;
	pid_t pid;

	if ((pid = fork()) == -1) {
		log_error("cannot start a process: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (pid == 0)
		probe_child(options, in_service);
	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			return EXIT_FAILURE;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	log_error("checking the options ended by signal %d", WTERMSIG(status));
	return EXIT_FAILURE;
}
