/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "proto/msg.h"

#include "agent/agent.h"
#include "agent/supervisor_identity.h"

#ifdef HAVE_LZ4
#define COMPRESS_INITIAL	"lz4"
#else
#define COMPRESS_INITIAL	"zlib"
#endif
#ifdef HAVE_SECCOMP
#define NO_SANDBOX_INITIAL	NULL
#else
#define NO_SANDBOX_INITIAL	"yes"
#endif
#define CONFIG_TEXT_MAX	(1024u * 1024)

/* clang-format off */
const struct conf_row agent_rows[] = {
#define AT(field)	offsetof(struct agent_options, field)
	{ "interface", 'i', CONF_LIST, 0, 0, NULL, "NAME", NULL, CONF_RELOAD, AT(interfaces),
	    "capture on this interface; a glob as 'eth*' is fine; without one: those with a default route" },
	{ "filter", 0, CONF_STRING, 0, 0, NULL, "EXPRESSION", NULL, CONF_RELOAD, AT(filter),
	    "capture only what this pcap-filter(7) expression accepts; on the command line as trailing arguments" },
	{ "filter-file", 'F', CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(filter_file), "read the filter from a file" },
	{ "never", 0, CONF_LIST, 0, 0, NULL, "EXPRESSION", NULL, CONF_RELOAD, AT(never),
	    "never capture what this pcap-filter(7) expression accepts, whatever a collector asks for" },
	{ "snaplen", 's', CONF_UINT, 1, 262144, "262144", "BYTES", NULL, CONF_RELOAD, AT(snaplen),
	    "capture at most so much of a packet" },
	{ "slice", 0, CONF_STRING, 0, 0, "none", "none|headers[:BYTES]", NULL, CONF_RELOAD, AT(slice),
	    "capture of each packet its headers only, and so many bytes behind them" },
	{ "mask", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_RELOAD, AT(mask),
	    "put zeroes in place of what is behind the headers, so that lengths stay" },
	{ "no-withhold", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_RELOAD, AT(no_withhold),
	    "capture also what other agents deliver, whatever a collector says" },
	{ "buffer-size", 'B', CONF_UINT, 2048, 1048576, "8192", "KIB", NULL, 0, AT(buffer_kib),
	    "kernel buffer of each interface at most, in KiB; all together stay within memory-limit" },
	{ "direction", 'Q', CONF_ENUM, 0, 0, "inout", NULL, "inout|in|out", CONF_RELOAD, AT(direction),
	    "capture only packets that come in or go out" },
	{ "promiscuous", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, 0, AT(promiscuous),
	    "capture packets for others too, as a tap-service VM does" },
	{ "no-promiscuous-mode", 'p', CONF_FLAG, 0, 0, NULL, NULL, NULL, 0, AT(no_promiscuous),
	    "capture this machine's packets only: the default" },
	{ "flush-interval", 0, CONF_TIME, 10, 10000, "250ms", NULL, NULL, CONF_RELOAD, AT(flush_ms),
	    "send a block after this time even if it is not full" },
	{ "compress", 0, CONF_STRING, 0, 0, COMPRESS_INITIAL, "CODEC[:LEVEL]", NULL, CONF_RELOAD, AT(compress),
	    "how blocks are compressed: lz4, zlib, zstd, none" },
	{ "ledger", 0, CONF_ENUM, 0, 0, "kernel", NULL, "kernel|ring|off", 0, AT(ledger),
	    "how much is counted: all that the interfaces see, or what passes the filter" },
	{ "spool-memory", 0, CONF_SIZE, 2u << 20, UINT64_C(4) << 30, "16M", NULL, NULL, 0, AT(spool_memory),
	    "memory for blocks that are not yet acknowledged" },
	{ "spool-disk", 0, CONF_SIZE, 0, UINT64_C(16) << 40, NULL, NULL, NULL, 0, AT(spool_disk),
	    "keep on disk what has no room in memory, up to so much, 16M or more; 0 or without it: nothing" },
	{ "spool-dir", 0, CONF_STRING, 0, 0, LOCALSTATEDIR "/spool/vmtap", "DIR", NULL, 0, AT(spool_dir),
	    "where to, with --spool-disk; each agent needs its own" },
	{ "spool-min-free", 0, CONF_SIZE, 0, UINT64_C(16) << 40, "256M", NULL, NULL, 0, AT(spool_min_free),
	    "with --spool-disk: leave at least so much free on that file system" },
	{ "collector", 0, CONF_LIST, 0, 0, NULL, "HOST[:PORT]", NULL, CONF_RELOAD, AT(collectors),
	    "send to this collector; several are tried in order" },
	{ "listen", 0, CONF_LIST, 0, 0, NULL, "ADDR[:PORT]", NULL, 0, AT(listens),
	    "wait here for collectors and operators that pull" },
	{ "rpcap-listen", 0, CONF_LIST, 0, 0, NULL, "ADDR[:PORT]", NULL, 0, AT(rpcap_listens),
	    "wait here for RPCAP clients, as rpcapd does; port 2002" },
	{ "rpcap-connect", 0, CONF_LIST, 0, 0, NULL, "HOST[:PORT]", NULL, CONF_RELOAD, AT(rpcap_connects),
	    "call this RPCAP client (active mode), again and again; port 2003" },
	{ "rpcap-clients", 0, CONF_UINT, 1, IPC_RPCAP_MAX, "8", "N", NULL, CONF_RELOAD, AT(rpcap_clients),
	    "so many RPCAP clients may capture at a time" },
	{ "rpcap-data-port", 0, CONF_UINT, 0, 65535, NULL, "PORT", NULL, CONF_RELOAD, AT(rpcap_data_port),
	    "wait at this port for RPCAP data connections, for a firewall's sake; 0: at any" },
	{ "rpcap-null-auth", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_RELOAD, AT(rpcap_null_auth),
	    "let RPCAP clients in that give no password" },
	{ "rpcap-passwords", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(rpcap_passwords),
	    "users that RPCAP clients may be, as lines USER:HASH of crypt(5)" },
	{ "rpcap-cert", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(rpcap_cert),
	    "certificate to show to RPCAP clients, which must use TLS then" },
	{ "rpcap-key", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(rpcap_key), "its private key" },
	{ "rpcap-ca", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(rpcap_ca),
	    "RPCAP clients must show a certificate of this CA" },
	{ "rpcap-plain", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_RELOAD, AT(rpcap_plain),
	    "talk to RPCAP clients on other machines without TLS, too: packets and passwords can be read on the way" },
	{ "rpcap-allow", 0, CONF_LIST, 0, 0, NULL, "ADDR[/BITS]", NULL, CONF_RELOAD, AT(rpcap_allow),
	    "let RPCAP clients in from these addresses only" },
	{ "metrics", 0, CONF_LIST, 0, 0, RUNSTATEDIR "/vmtap-agent/metrics.sock", "PATH|ADDR:PORT", NULL, 0, AT(metrics),
	    "serve Prometheus metrics at this Unix socket or address; none: nowhere" },
	{ "exclude-port", 0, CONF_LIST, 0, 0, NULL, "PORT", NULL, CONF_RELOAD, AT(exclude_ports),
	    "never capture this TCP port; 8827 never is" },
	{ "enroll", 0, CONF_STRING, 0, 0, NULL, "HOST[:PORT]", NULL, CONF_RELOAD, AT(enroll),
	    "get a certificate from this collector while there is none, by a token; and renew it in time" },
	{ "token-file", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(token_file),
	    "the token is in this file, or will be; removed once used; default STATE-DIR/token" },
	{ "ca-fingerprint", 0, CONF_STRING, 0, 0, NULL, "SHA256:HEX", NULL, CONF_RELOAD, AT(ca_fingerprint),
	    "of the deployment's CA: all that is trusted while enrolling" },
	{ "state-dir", 0, CONF_STRING, 0, 0, LOCALSTATEDIR "/lib/vmtap-agent", "DIR", NULL, CONF_RELOAD, AT(state_dir),
	    "where to keep what enrolment gives" },
	{ "ca", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(ca),
	    "certificate of the deployment's CA; default " SYSCONFDIR "/vmtap/ca.crt, with enroll STATE-DIR/ca.crt" },
	{ "cert", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(cert),
	    "this agent's certificate; default " SYSCONFDIR "/vmtap/agent.crt, with enroll STATE-DIR/agent.pem" },
	{ "key", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_RELOAD, AT(key),
	    "its private key; default " SYSCONFDIR "/vmtap/agent.key, with enroll STATE-DIR/agent.pem" },
	{ "keepalive", 0, CONF_TIME, 1000, 3600000, "10s", NULL, NULL, CONF_RELOAD, AT(keepalive_ms),
	    "a peer of which nothing is heard for this time is dead; it is asked before" },
	{ "rate-limit", 0, CONF_UINT, 0, UINT64_MAX, NULL, "BITS", NULL, CONF_RELOAD, AT(rate_limit),
	    "send at most so many bits a second; 0 is no limit" },
	{ "rate-burst", 0, CONF_SIZE, 0, UINT32_MAX, NULL, NULL, NULL, CONF_RELOAD, AT(rate_burst),
	    "of the rate limit, so many bytes may go at once; 0: those of a quarter of a second" },
	{ "cpu-limit", 0, CONF_UINT, 0, 100000, "10", "PERCENT", NULL, CONF_RELOAD, AT(cpu_limit),
	    "use at most so much of one core: above it, the governor steps down; 0 is no limit" },
	{ "memory-limit", 0, CONF_SIZE, 24u << 20, UINT64_C(16) << 40, "64M", NULL, NULL, 0, AT(memory_limit),
	    "rings of all interfaces, spool and processes take no more together" },
	{ "ladder", 0, CONF_STRING, 0, 0, "codec,store,slice,sample,pause", "STEP,...", NULL, CONF_RELOAD, AT(ladder),
	    "what the governor may do, in this order; none: nothing" },
	{ "priority", 0, CONF_ENUM, 0, 0, "low", NULL, "idle|low|normal", 0, AT(priority),
	    "to the scheduler: only when the guest has nothing to do, behind its work, or beside it" },
	{ "daemon", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, 0, AT(daemon), "go to the background and log to syslog" },
	{ "pidfile", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, 0, AT(pidfile), "write the process id here" },
	{ "user", 0, CONF_STRING, 0, 0, NULL, "NAME", NULL, 0, AT(user),
	    "the user that captures and sends, once started by root; default vmtap-agent if there is one, else nobody" },
	{ "no-sandbox", 0, CONF_FLAG, 0, 0, NO_SANDBOX_INITIAL, NULL, NULL, 0, AT(no_sandbox),
	    "set up no system call filter, which freezes some VMs for a moment" },
	{ "config", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_NO_FILE, AT(config),
	    "read options from this file instead of " AGENT_CONFIG },
	{ "log-level", 0, CONF_ENUM, 0, 0, "info", NULL, "error|warn|info|debug", CONF_RELOAD, AT(log_level), "what to log" },
	{ "list-interfaces", 'D', CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(list_interfaces),
	    "list the interfaces and exit" },
	{ "dump", 'd', CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(dump_filter),
	    "print the composed kernel filter and exit" },
	{ "help", 'h', CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(help), "print this and exit" },
	{ "version", 'V', CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(version), "print the version and exit" },
	{ NULL, 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, 0, 0, NULL }
#undef AT
};
/* clang-format on */

static char *
join_operands(char **operand)
{
	struct buf buf;
	int errs = 0;

	buf_init(&buf, SIZE_MAX);
	for (; *operand != NULL; operand++)
		errs += buf_printf(&buf, "%s%s", buf.len > 0 ? " " : "", *operand);
	errs += buf_put_u8(&buf, '\0');
	if (errs != 0)
		buf_clear(&buf);
	return (char *)buf.data;
}

/* As tcpdump reads it: '#' starts a comment, lines are joined. */
static void
blank_comments(char *text, size_t length)
{
	bool comment = false;

	for (size_t i = 0; i < length; i++) {
		if (text[i] == '#')
			comment = true;
		else if (text[i] == '\n')
			comment = false;
		if (comment || text[i] == '\n')
			text[i] = ' ';
	}
}

/* Text of at most max bytes, NUL-terminated; NULL with errno, EFBIG: more. */
static char *
read_text(int fd, size_t max)
{
	struct buf buf;
	ssize_t n = -1;

	buf_init(&buf, max + 2);
	while (buf.len <= max && buf_reserve(&buf, max + 1 - buf.len) == 0 &&
	    (n = pread(fd, buf.data + buf.len, max + 1 - buf.len, (off_t)buf.len)) > 0)
		buf.len += (size_t)n;
	if (n > 0)
		errno = EFBIG;
	if (n == 0 && buf_put_u8(&buf, '\0') == 0)
		return (char *)buf.data;
	buf_clear(&buf);
	return NULL;
}

static int
read_filter_file(struct agent_options *options, struct conf_error *error)
{
	int fd;

	free(options->filter);
	options->filter = NULL;
	if ((fd = open(options->filter_file, O_RDONLY | O_CLOEXEC | O_NOCTTY)) != -1) {
		options->filter = read_text(fd, MSG_FILTER_SIZE - 1);
		close(fd);
	}
	if (options->filter == NULL) {
		if (errno == EFBIG)
			conf_error_set(error, "filter-file %s: it is longer than %d bytes, which is the most", options->filter_file,
			    MSG_FILTER_SIZE - 1);
		else
			conf_error_set(error, "filter-file %s: %s", options->filter_file, strerror(errno));
		return -1;
	}
	blank_comments(options->filter, strlen(options->filter));
	snprintf(options->filter_origin, sizeof(options->filter_origin), "%s", options->filter_file);
	return 0;
}

/* The line of the config file that has the filter; the table's parser has found it good. */
static void
find_filter_line(struct agent_options *options)
{
	const char *path = options->config != NULL ? options->config : AGENT_CONFIG;
	size_t size = 0, name = strlen("filter");
	unsigned number = 0;
	char *line = NULL, *p;
	FILE *file;

	snprintf(options->filter_origin, sizeof(options->filter_origin), "%s", path);
	if ((file = fopen(path, "re")) == NULL)
		return;
	while (getline(&line, &size, file) != -1) {
		number++;
		p = line + strspn(line, " \t");
		if (strncmp(p, "filter", name) == 0 && strchr(" \t=", p[name]) != NULL)
			snprintf(options->filter_origin, sizeof(options->filter_origin), "%s:%u", path, number);
	}
	free(line);
	fclose(file);
}

/* One filter: the command line's operands, --filter or -F, else the config file's. given: what the command line alone says. */
static int
settle_filter(struct agent_options *options, const struct agent_options *given, char **operands, struct conf_error *error)
{
	bool typed = given->filter != NULL || *operands != NULL;

	if ((given->filter != NULL) + (given->filter_file != NULL) + (*operands != NULL) > 1) {
		conf_error_set(error, "there are two filters: give it as trailing arguments, by --filter or by --filter-file");
		return -1;
	}
	if (*operands != NULL) {
		free(options->filter);
		if ((options->filter = join_operands(operands)) == NULL) {
			conf_error_set(error, "out of memory");
			return -1;
		}
	}
	if (typed)
		snprintf(options->filter_origin, sizeof(options->filter_origin), "the command line");
	else if (given->filter_file != NULL || (options->filter == NULL && options->filter_file != NULL))
		return read_filter_file(options, error);
	else if (options->filter != NULL && options->filter_file != NULL) {
		conf_error_set(error, "%s: there are both filter and filter-file: only one of them can be",
		    options->config != NULL ? options->config : AGENT_CONFIG);
		return -1;
	} else if (options->filter != NULL)
		find_filter_line(options);
	if (options->filter != NULL && strlen(options->filter) >= MSG_FILTER_SIZE) {
		conf_error_set(error, "filter (from %s): it is longer than %d bytes, which is the most", options->filter_origin, MSG_FILTER_SIZE - 1);
		return -1;
	}
	return 0;
}

static int
settle_user(struct agent_options *options, struct conf_error *error)
{
	if (options->user != NULL)
		return 0;
	if ((options->user = strdup(getpwnam("vmtap-agent") != NULL ? "vmtap-agent" : "nobody")) != NULL)
		return 0;
	conf_error_set(error, "out of memory");
	return -1;
}

static int
settle_path(char **path, const char *folder, const char *name, struct conf_error *error)
{
	char text[PATH_MAX];

	if (*path != NULL)
		return 0;
	if ((size_t)snprintf(text, sizeof(text), "%s/%s", folder, name) < sizeof(text) && (*path = strdup(text)) != NULL)
		return 0;
	conf_error_set(error, "%s/%s: the path is too long", folder, name);
	return -1;
}

/* Whoever gives a certificate takes packets, too, unless another one is named. */
static int
settle_collector(struct agent_options *options, struct conf_error *error)
{
	char text[512];

	if (options->enroll == NULL || options->collectors.count > 0 || options->listens.count > 0)
		return 0;
	if (strpbrk(options->enroll, "\"\\\n") != NULL ||
	    (size_t)snprintf(text, sizeof(text), "collector = \"%s\"\n", options->enroll) >= sizeof(text)) {
		conf_error_set(error, "--enroll: not a host");
		return -1;
	}
	return conf_parse_text(agent_rows, options, "enroll", text, error);
}

static int
settle_credentials(struct agent_options *options, struct conf_error *error)
{
	bool enrolls = options->enroll != NULL;
	const char *folder = enrolls ? options->state_dir : SYSCONFDIR "/vmtap";

	return settle_path(&options->token_file, options->state_dir, "token", error) == 0 &&
	    settle_path(&options->ca, folder, IDENTITY_CA, error) == 0 &&
	    settle_path(&options->cert, folder, enrolls ? IDENTITY_CERTIFICATE : "agent.crt", error) == 0 &&
	    settle_path(&options->key, folder, enrolls ? IDENTITY_CERTIFICATE : "agent.key", error) == 0 ? 0 : -1;
}

int
agent_options_load(struct agent_options *options, int argc, char **argv, struct conf_error *error)
{
	struct agent_options given = { 0 }, fresh = { 0 };
	int rest, result = -1;

	if (conf_parse_args(agent_rows, &given, argc, argv, &rest, error) == 0 &&
	    conf_load(agent_rows, &fresh, argc, argv, AGENT_CONFIG, offsetof(struct agent_options, config), &rest, error) == 0 &&
	    settle_filter(&fresh, &given, argv + rest, error) == 0 && settle_user(&fresh, error) == 0 &&
	    settle_credentials(&fresh, error) == 0 && settle_collector(&fresh, error) == 0) {
		agent_options_free(options);
		*options = fresh;
		fresh = (struct agent_options){ 0 };
		result = 0;
	}
	agent_options_free(&given);
	agent_options_free(&fresh);
	return result;
}

int
agent_options_read(struct agent_options *options, int fd, struct conf_error *error)
{
	struct agent_options fresh = { 0 };
	char *text;
	int result = -1;

	if ((text = read_text(fd, CONFIG_TEXT_MAX)) == NULL) {
		conf_error_set(error, "configuration from the supervisor: %s", strerror(errno));
		return -1;
	}
	if (conf_defaults(agent_rows, &fresh, error) == 0 &&
	    conf_parse_text(agent_rows, &fresh, "supervisor", text, error) == 0) {
		agent_options_free(options);
		*options = fresh;
		fresh = (struct agent_options){ 0 };
		result = 0;
	}
	free(text);
	agent_options_free(&fresh);
	return result;
}

static size_t
value_size(enum conf_type type)
{
	static const size_t size[] = {
		[CONF_FLAG] = sizeof(bool), [CONF_STRING] = sizeof(char *), [CONF_LIST] = sizeof(struct conf_list),
		[CONF_UINT] = sizeof(uint64_t), [CONF_SIZE] = sizeof(uint64_t), [CONF_TIME] = sizeof(uint64_t),
		[CONF_ENUM] = sizeof(int)
	};

	return size[type];
}

static void
swap_value(const struct conf_row *row, struct agent_options *a, struct agent_options *b)
{
	uint8_t value[sizeof(struct conf_list)], *of_a = (uint8_t *)a + row->offset, *of_b = (uint8_t *)b + row->offset;

	memcpy(value, of_a, value_size(row->type));
	memcpy(of_a, of_b, value_size(row->type));
	memcpy(of_b, value, value_size(row->type));
}

void
agent_options_keep(struct agent_options *old, struct agent_options *fresh, char *dst, size_t dst_size)
{
	struct conf_row one[2] = { { 0 } };
	size_t used = 0;

	dst[0] = '\0';
	for (const struct conf_row *row = agent_rows; row->name != NULL; row++) {
		one[0] = *row;
		if (conf_needs_restart(one, old, fresh) == NULL)
			continue;
		swap_value(row, old, fresh);
		if (used < dst_size)
			used += (size_t)snprintf(dst + used, dst_size - used, "%s%s", used > 0 ? ", " : "", row->name);
	}
}

void
agent_options_free(struct agent_options *options)
{
	conf_free(agent_rows, options);
}

bool
agent_options_session(const struct agent_options *options)
{
	return options->collectors.count > 0 || options->listens.count > 0 || options->enroll != NULL;
}

bool
agent_options_rpcap(const struct agent_options *options)
{
	return options->rpcap_listens.count > 0 || options->rpcap_connects.count > 0;
}

uint64_t
agent_rings_memory(const struct agent_options *options)
{
	uint64_t others = options->spool_memory + AGENT_ROLES_MEMORY;

	return options->memory_limit > others ? options->memory_limit - others : 0;
}
