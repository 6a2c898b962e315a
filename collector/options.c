/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <unistd.h>
#include <stddef.h>
#include <string.h>

#include "common/http.h"
#include "proto/frame.h"
#include "proto/identity.h"

#include "collector/options.h"
#include "collector/rpcap_url.h"
#include "collector/scrape.h"
#include "collector/worker.h"

#define OPTIONS_CONFIG		SYSCONFDIR "/vmtap/collector.conf"
#define OPTIONS_LISTEN		"[::]:8827"
#define OPTIONS_HOST_SIZE	256
#define OFFSET(field)		offsetof(struct collector_options, field)

const struct conf_row collector_rows[] = {
	{ .name = "listen", .type = CONF_LIST, .argument = "ADDR[:PORT]", .offset = OFFSET(listens),
	    .help = "accept agents there; default [::]:8827 unless --pull alone is given" },
	{ .name = "pull", .type = CONF_LIST, .argument = "HOST[:PORT]|[NAME=]URL", .offset = OFFSET(pulls),
	    .help = "dial this listening agent, or rpcap:// or rpcaps:// server, again and again" },
	{ .name = "pull-file", .type = CONF_STRING, .argument = "FILE", .offset = OFFSET(pull_file),
	    .help = "dial the agents that FILE lists, one a line" },
	{ .name = "rpcap-ca", .type = CONF_STRING, .argument = "FILE", .offset = OFFSET(rpcap_ca),
	    .help = "certificates of CAs that rpcaps:// servers are verified by; default: the system's" },
	{ .name = "rpcap-cert", .type = CONF_STRING, .argument = "FILE", .offset = OFFSET(rpcap_cert),
	    .help = "certificate that rpcaps:// servers are shown" },
	{ .name = "rpcap-key", .type = CONF_STRING, .argument = "FILE", .offset = OFFSET(rpcap_key), .help = "its private key" },
	{ .name = "rpcap-plain", .type = CONF_FLAG, .offset = OFFSET(rpcap_plain),
	    .help = "send passwords of rpcap:// URLs in plain text to other hosts too" },
	{ .name = "store", .type = CONF_STRING, .initial = LOCALSTATEDIR "/lib/vmtap", .argument = "DIR", .offset = OFFSET(store),
	    .help = "where catalog and files are kept" },
	{ .name = "ca", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/ca.crt", .argument = "FILE", .flags = CONF_RELOAD,
	    .offset = OFFSET(ca), .help = "certificate of the deployment's CA" },
	{ .name = "cert", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/collector.crt", .argument = "FILE",
	    .flags = CONF_RELOAD, .offset = OFFSET(cert), .help = "this collector's certificate" },
	{ .name = "key", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/collector.key", .argument = "FILE",
	    .flags = CONF_RELOAD, .offset = OFFSET(key), .help = "its private key" },
	{ .name = "enroll-key", .type = CONF_STRING, .argument = "FILE", .flags = CONF_RELOAD, .offset = OFFSET(enroll_key),
	    .help = "private key that signs the certificates of agents with a token" },
	{ .name = "enroll-cert", .type = CONF_STRING, .argument = "FILE", .flags = CONF_RELOAD, .offset = OFFSET(enroll_cert),
	    .help = "the key's certificate, of an issuer below the CA; default: the CA's" },
	{ .name = "enroll-command", .type = CONF_STRING, .argument = "COMMAND", .flags = CONF_RELOAD,
	    .offset = OFFSET(enroll_command), .help = "sign with COMMAND instead: request in, certificates out" },
	{ .name = "enroll-life", .type = CONF_TIME, .min = 5 * 1000, .max = UINT64_C(3660) * 86400 * 1000, .initial = "30d",
	    .argument = "TIME", .flags = CONF_RELOAD, .offset = OFFSET(enroll_life_ms),
	    .help = "how long certificates of enrolment and renewal are valid" },
	{ .name = "workers", .type = CONF_UINT, .min = 0, .max = WORKERS_MAX, .initial = "0", .argument = "N",
	    .offset = OFFSET(workers), .help = "event loops; 0: one for each core, at most 4" },
	{ .name = "rotate-size", .type = CONF_SIZE, .min = 64 * 1024, .max = UINT64_C(1) << 40, .initial = "256M",
	    .argument = "SIZE", .flags = CONF_RELOAD, .offset = OFFSET(rotate_size),
	    .help = "begin a new file when one is this large" },
	{ .name = "rotate-interval", .type = CONF_TIME, .min = 0, .max = UINT64_C(366) * 86400 * 1000, .initial = "1h",
	    .argument = "TIME", .flags = CONF_RELOAD, .offset = OFFSET(rotate_interval_ms),
	    .help = "begin a new file when one is this old; 0: never" },
	{ .name = "retain-size", .type = CONF_SIZE, .min = 0, .max = UINT64_C(1) << 60, .initial = "0", .argument = "SIZE",
	    .flags = CONF_RELOAD, .offset = OFFSET(retain_size), .help = "remove the oldest files beyond SIZE of all; 0: never" },
	{ .name = "retain-size-vm", .type = CONF_SIZE, .min = 0, .max = UINT64_C(1) << 60, .initial = "0", .argument = "SIZE",
	    .flags = CONF_RELOAD, .offset = OFFSET(retain_size_vm),
	    .help = "remove a VM's oldest files beyond SIZE of it; 0: never" },
	{ .name = "retain-age", .type = CONF_TIME, .min = 0, .max = UINT64_C(36600) * 86400 * 1000, .initial = "0",
	    .argument = "TIME", .flags = CONF_RELOAD, .offset = OFFSET(retain_age_ms),
	    .help = "remove files whose last packet is older; 0: never" },
	{ .name = "tenant", .type = CONF_LIST, .argument = "NAME", .offset = OFFSET(tenants),
	    .help = "take only agents of this tenant; default: of all" },
	{ .name = "policy", .type = CONF_STRING, .argument = "FILE", .flags = CONF_RELOAD, .offset = OFFSET(policy),
	    .help = "what agents shall capture, see vmtap.conf(5)" },
	{ .name = "dedup", .type = CONF_ENUM, .initial = "tag", .values = "off|tag|withhold", .argument = "MODE", .flags = CONF_RELOAD,
	    .offset = OFFSET(dedup), .help = "what an unset \"dedup\" of a policy means to VMs of a tenant that has several" },
	{ .name = "keepalive", .type = CONF_TIME, .min = 1000, .max = 3600 * 1000, .initial = "10s", .argument = "TIME",
	    .flags = CONF_RELOAD, .offset = OFFSET(keepalive_ms),
	    .help = "an agent of which nothing is heard for this time is dead; it is asked before" },
	{ .name = "hint-lease", .type = CONF_TIME, .min = 1000, .max = 60 * 1000, .initial = "5s", .argument = "TIME",
	    .flags = CONF_RELOAD, .offset = OFFSET(hint_lease_ms),
	    .help = "agents withhold packets for peers that long unless told again" },
	{ .name = "group", .type = CONF_STRING, .initial = "vmtap", .argument = "GROUP", .offset = OFFSET(group),
	    .help = "who may read the store, if there is such a group" },
	{ .name = "ctl", .type = CONF_STRING, .argument = "PATH", .offset = OFFSET(ctl),
	    .help = "control socket; default: ctl.sock in the store" },
	{ .name = "metrics", .type = CONF_LIST, .argument = "ADDR:PORT|PATH", .offset = OFFSET(metrics),
	    .help = "serve Prometheus metrics there" },
	{ .name = "daemon", .type = CONF_FLAG, .offset = OFFSET(daemon), .help = "go to the background, log to syslog" },
	{ .name = "pidfile", .type = CONF_STRING, .argument = "FILE", .offset = OFFSET(pidfile),
	    .help = "keep the process id there" },
	{ .name = "user", .type = CONF_STRING, .argument = "USER", .offset = OFFSET(user),
	    .help = "run as USER, once sockets are open" },
	{ .name = "log-level", .type = CONF_ENUM, .initial = "info", .values = "error|warn|info|debug", .argument = "LEVEL",
	    .flags = CONF_RELOAD, .offset = OFFSET(log_level), .help = "what is logged" },
	{ .name = "config", .type = CONF_STRING, .argument = "FILE", .flags = CONF_NO_FILE, .offset = OFFSET(config),
	    .help = "read options from FILE; default " OPTIONS_CONFIG ", if there is one" },
	{ .name = "help", .letter = 'h', .type = CONF_FLAG, .flags = CONF_NO_FILE, .offset = OFFSET(help), .help = "this text" },
	{ .name = "version", .letter = 'V', .type = CONF_FLAG, .flags = CONF_NO_FILE, .offset = OFFSET(version),
	    .help = "the version" },
	{ 0 }
};

static int
options_check_places(const struct conf_list *list, const char *name, struct conf_error *error)
{
	char host[OPTIONS_HOST_SIZE];
	uint16_t port;

	for (size_t i = 0; i < list->count; i++)
		if (conf_host_port(list->value[i], FRAME_PORT, host, sizeof(host), &port, error) == -1) {
			conf_error_place(error, list->origin[i], name);
			return -1;
		}
	return 0;
}

/* A URL may have a password in it: it is not repeated. */
static int
options_check_pulls(const struct conf_list *list, struct conf_error *error)
{
	char host[OPTIONS_HOST_SIZE], why[RPCAP_URL_ERROR_SIZE];
	struct rpcap_url url;
	uint16_t port;
	int rc;

	for (size_t i = 0; i < list->count; i++) {
		if (!rpcap_url_is(list->value[i]))
			rc = conf_host_port(list->value[i], FRAME_PORT, host, sizeof(host), &port, error);
		else if ((rc = rpcap_url_parse(list->value[i], &url, why)) == -1)
			conf_error_set(error, "RPCAP URL: %s", why);
		if (rc == -1) {
			conf_error_place(error, list->origin[i], "pull");
			return -1;
		}
	}
	explicit_bzero(&url, sizeof(url));
	return 0;
}

static int
options_check_rpcap(const struct collector_options *options, struct conf_error *error)
{
	if ((options->rpcap_cert != NULL) == (options->rpcap_key != NULL))
		return 0;
	conf_error_set(error, "rpcap-cert and rpcap-key go together");
	return -1;
}

static int
options_check_tenants(const struct conf_list *list, struct conf_error *error)
{
	for (size_t i = 0; i < list->count; i++)
		if (!identity_name_valid(list->value[i])) {
			conf_error_set(error, "%s: cannot be a tenant's name", list->value[i]);
			conf_error_place(error, list->origin[i], "tenant");
			return -1;
		}
	return 0;
}

static int
options_check_enroll(const struct collector_options *options, struct conf_error *error)
{
	if (options->enroll_command != NULL && (options->enroll_key != NULL || options->enroll_cert != NULL)) {
		conf_error_set(error, "enroll-command signs by itself: enroll-key and enroll-cert do not go with it");
		return -1;
	}
	if (options->enroll_cert != NULL && options->enroll_key == NULL) {
		conf_error_set(error, "enroll-cert: its key is missing, enroll-key");
		return -1;
	}
	return 0;
}

/* Only now is it known whether agents are to be pulled only. */
static int
options_default_listen(struct collector_options *options, struct conf_error *error)
{
	if (options->listens.count > 0 || options->pulls.count > 0 || options->pull_file != NULL)
		return 0;
	return conf_parse_text(collector_rows, options, "default", "listen = " OPTIONS_LISTEN "\n", error);
}

static void
options_default_workers(struct collector_options *options)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (options->workers == 0)
		options->workers = cores < 1 ? 1 : cores > 4 ? 4 : (uint64_t)cores;
}

int
collector_options_load(struct collector_options *options, int argc, char **argv, struct conf_error *error)
{
	int rest;

	if (conf_load(collector_rows, options, argc, argv, OPTIONS_CONFIG, OFFSET(config), &rest, error) == -1)
		return -1;
	if (rest < argc) {
		conf_error_set(error, "\"%s\": no operands are expected; options begin with --", argv[rest]);
		goto fail;
	}
	if (options_check_places(&options->listens, "listen", error) == -1 ||
	    options_check_pulls(&options->pulls, error) == -1 || options_check_rpcap(options, error) == -1 ||
	    options_check_tenants(&options->tenants, error) == -1 ||
	    http_check_places(&options->metrics, SCRAPE_PLACES_MAX, "metrics", error) == -1 ||
	    options_check_enroll(options, error) == -1 || options_default_listen(options, error) == -1)
		goto fail;
	options_default_workers(options);
	return 0;
fail:
	conf_free(collector_rows, options);
	return -1;
}

static void
options_swap(void *a, void *b, size_t len)
{
	uint8_t value[sizeof(uint64_t)];

	memcpy(value, a, len);
	memcpy(a, b, len);
	memcpy(b, value, len);
}

/* Reloadable ones are numbers and texts. */
void
collector_options_take(struct collector_options *options, struct collector_options *fresh)
{
	for (const struct conf_row *row = collector_rows; row->name != NULL; row++) {
		size_t len = row->type == CONF_ENUM ? sizeof(int) : row->type == CONF_STRING ? sizeof(char *) : sizeof(uint64_t);

		if (row->flags & CONF_RELOAD)
			options_swap((char *)options + row->offset, (char *)fresh + row->offset, len);
	}
}

void
collector_options_free(struct collector_options *options)
{
	conf_free(collector_rows, options);
}
