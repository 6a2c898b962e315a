/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/rpcap.h"

#include "agent/agent.h"
#include "agent/rpcapd.h"

#define SEPARATORS	" ,;\n\r"	/* of hosts in one argument */
#define LONG_BASE	256		/* getopt_long() returns this + row for a long option */
#define RPCAP_CERT	SYSCONFDIR "/vmtap/rpcap.crt"
#define RPCAP_KEY	SYSCONFDIR "/vmtap/rpcap.key"
#define RPCAP_PASSWORDS	SYSCONFDIR "/vmtap/rpcap.passwd"
#define METRICS		RUNSTATEDIR "/vmtap-rpcapd/metrics.sock"

/* What is known of the command line so far. */
struct parse {
	struct rpcapd	*rpcapd;
	struct conf_error *error;
	bool		 ipv6;		/* -4: not */
	bool		 passive;	/* -v: not */
	bool		 active;	/* -a */
	bool		 tls;		/* -S */
	const char	*key, *cert;	/* -K, -X */
	unsigned	 port;		/* -p; 0: not given */
	struct buf	 places;	/* -b: texts with their NUL */
};

/* One letter: what it takes, and what becomes of it: an option as it is, or what take() makes of it. */
struct letter {
	char		 letter;
	const char	*argument;	/* NULL: none */
	const char	*option;	/* "name" or "name=value" */
	int		(*take)(struct parse *, const char *value);
	const char	*help;
};

/* --- the agent's command line --- */

static int put(struct parse *, const char *, ...) __attribute__((format(printf, 2, 3)));

static int
put(struct parse *p, const char *format, ...)
{
	struct rpcapd *r = p->rpcapd;
	char **more = realloc(r->argv, ((size_t)r->argc + 2) * sizeof(*more));
	va_list ap;
	int length;

	if (more != NULL) {
		r->argv = more;
		va_start(ap, format);
		length = vasprintf(&more[r->argc], format, ap);
		va_end(ap);
		if (length != -1) {
			more[++r->argc] = NULL;
			return 0;
		}
		more[r->argc] = NULL;
	}
	conf_error_set(p->error, "out of memory");
	return -1;
}

static bool
is_put(const struct parse *p, const char *name)
{
	size_t n = strlen(name);
	const char *word;

	for (int i = 1; i < p->rpcapd->argc; i++) {
		word = p->rpcapd->argv[i] + 2;
		if (strncmp(word, name, n) == 0 && (word[n] == '=' || word[n] == '\0'))
			return true;
	}
	return false;
}

/* --- names --- */

/* By number or by a service's name. */
static int
read_port(struct parse *p, char letter, const char *text, unsigned least, unsigned *port)
{
	const struct servent *service;
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) && (service = getservbyname(text, "tcp")) != NULL) {
		*port = ntohs((uint16_t)service->s_port);
		return 0;
	}
	if (isdigit((unsigned char)text[0]) && *end == '\0' && number >= least && number <= UINT16_MAX) {
		*port = (unsigned)number;
		return 0;
	}
	conf_error_set(p->error, "-%c %.80s: neither a port from %u to 65535 nor the name of one", letter, text, least);
	return -1;
}

/* All that a name stands for now. */
static int
each_address(struct parse *p, char letter, const char *host, int family, int (*each)(struct parse *, const char *))
{
	const struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	char text[NI_MAXHOST];
	int result;

	if ((result = getaddrinfo(host, NULL, &hints, &list)) != 0) {
		conf_error_set(p->error, "-%c %.80s: no such host: %s", letter, host, gai_strerror(result));
		return -1;
	}
	for (const struct addrinfo *a = list; result == 0 && a != NULL; a = a->ai_next)
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0) {
			if (strcmp(text, host) != 0)
				log_info("-%c %s: that is %s, as long as this runs", letter, host, text);
			result = each(p, text);
		}
	freeaddrinfo(list);
	return result;
}

/* --- the letters --- */

static int
take_place(struct parse *p, const char *value)
{
	if (buf_put(&p->places, value, strlen(value) + 1) == 0)
		return 0;
	conf_error_set(p->error, "out of memory");
	return -1;
}

static int
take_port(struct parse *p, const char *value)
{
	return read_port(p, 'p', value, 1, &p->port);
}

static int
take_data_port(struct parse *p, const char *value)
{
	unsigned port;

	return read_port(p, 't', value, 0, &port) == 0 ? put(p, "--rpcap-data-port=%u", port) : -1;
}

static int
take_ipv4(struct parse *p, const char *value)
{
	(void)value;
	p->ipv6 = false;
	return 0;
}

static int
allow(struct parse *p, const char *address)
{
	return put(p, "--rpcap-allow=%s", address);
}

/* The next word of a list: its length, 0 at the end. */
static size_t
next_word(const char **at, char *dst, size_t dst_size)
{
	size_t n;

	*at += strspn(*at, SEPARATORS);
	n = strcspn(*at, SEPARATORS);
	snprintf(dst, dst_size, "%.*s", (int)n, *at);
	*at += n;
	return n;
}

/* Prefixes are the agent's own; rpcapd has none. */
static int
take_hosts(struct parse *p, const char *value)
{
	char host[NI_MAXHOST];
	int result = 0;

	while (result == 0 && next_word(&value, host, sizeof(host)) > 0)
		result = strchr(host, '/') != NULL ? allow(p, host) : each_address(p, 'l', host, AF_UNSPEC, allow);
	return result;
}

static int
call(struct parse *p, const char *host, const char *service)
{
	unsigned port = RPCAP_PORT_ACTIVE;

	if (strcmp(service, "DEFAULT") != 0 && strcmp(service, "%DEFAULT") != 0 &&
	    read_port(p, 'a', service, 1, &port) == -1)
		return -1;
	p->active = true;
	return put(p, strchr(host, ':') != NULL ? "--rpcap-connect=[%s]:%u" : "--rpcap-connect=%s:%u", host, port);
}

/* "HOST,PORT,HOST,PORT..."; the last port may be missing. */
static int
take_calls(struct parse *p, const char *value)
{
	char host[NI_MAXHOST], service[NI_MAXSERV];
	int result = 0;

	while (result == 0 && next_word(&value, host, sizeof(host)) > 0)
		result = call(p, host, next_word(&value, service, sizeof(service)) > 0 ? service : "DEFAULT");
	return result;
}

static int
take_active_only(struct parse *p, const char *value)
{
	(void)value;
	p->passive = false;
	return 0;
}

static int
take_tls(struct parse *p, const char *value)
{
	(void)value;
	p->tls = true;
	return 0;
}

static int
take_key(struct parse *p, const char *value)
{
	p->key = value;
	return 0;
}

static int
take_cert(struct parse *p, const char *value)
{
	p->cert = value;
	return 0;
}

static int
take_compression(struct parse *p, const char *value)
{
	(void)p, (void)value;
	log_info("-C: nothing is compressed in TLS, since that gives away what is encrypted");
	return 0;
}

static int
take_save(struct parse *p, const char *value)
{
	p->rpcapd->save = value;
	return 0;
}

static int
take_inetd(struct parse *p, const char *value)
{
	(void)value;
	conf_error_set(p->error, "-i: one process serves all clients here, and cannot be started for each by inetd: let it listen "
	    "by itself (-b, -p), as a service");
	return -1;
}

static int
take_help(struct parse *p, const char *value)
{
	(void)value;
	p->rpcapd->help = true;
	return 0;
}

/* clang-format off */
static const struct letter letters[] = {
	{ 'b', "ADDRESS", NULL, take_place, "wait for clients at this address alone (repeatable)" },
	{ 'p', "PORT", NULL, take_port, "wait for clients at this port instead of 2002" },
	{ 't', "PORT", NULL, take_data_port, "wait at this port for data connections" },
	{ '4', NULL, NULL, take_ipv4, "wait for clients over IPv4 only" },
	{ 'l', "HOST,...", NULL, take_hosts, "let clients in from these hosts only" },
	{ 'n', NULL, "rpcap-null-auth", NULL, "let clients in that give no password" },
	{ 'a', "HOST,PORT,...", NULL, take_calls, "call these clients; without a port at 2003 (repeatable)" },
	{ 'v', NULL, NULL, take_active_only, "do that only, and wait for none" },
	{ 'd', NULL, "daemon", NULL, "go to the background and log to syslog" },
	{ 'D', NULL, "log-level=debug", NULL, "log more" },
	{ 'f', "FILE", "config", NULL, "read options from this file, as vmtap.conf(5) has them" },
	{ 's', "FILE", NULL, take_save, "write the options to this file, for -f, and go on" },
	{ 'S', NULL, NULL, take_tls, "clients must use TLS" },
	{ 'K', "FILE", NULL, take_key, "with -S: the private key instead of " RPCAP_KEY },
	{ 'X', "FILE", NULL, take_cert, "with -S: the certificate instead of " RPCAP_CERT },
	{ 'C', NULL, NULL, take_compression, "nothing: TLS does not compress" },
	{ 'i', NULL, NULL, take_inetd, "refused: there is no inetd mode" },
	{ 'h', NULL, NULL, take_help, "print this and exit" },
};
/* clang-format on */
#define LETTERS	(sizeof(letters) / sizeof(letters[0]))

void
rpcapd_help(FILE *out)
{
	char label[32];

	fprintf(out, "Usage: " RPCAPD_NAME " [OPTION...]\n"
	    "Lets RPCAP clients capture this machine's packets, with the options of rpcapd:\n\n");
	for (size_t i = 0; i < LETTERS; i++) {
		snprintf(label, sizeof(label), "-%c %s", letters[i].letter, letters[i].argument != NULL ? letters[i].argument : "");
		fprintf(out, "  %-18s%s\n", label, letters[i].help);
	}
	fprintf(out, "\nand with all long options of vmtap-agent(8), such as:\n\n"
	    "  --rpcap-passwords FILE\n                    users and their passwords, instead of " RPCAP_PASSWORDS "\n"
	    "  --rpcap-ca FILE   clients must show a certificate of this CA\n"
	    "  --rpcap-plain     talk to clients on other machines without TLS, too\n");
}

/* --- all of it --- */

struct getopt_rows {
	struct option	*options;
	char		 letters[2 + 2 * LETTERS + 1];
};

static int
rows_make(struct getopt_rows *rows)
{
	size_t count = 0, n = 0;

	while (agent_rows[count].name != NULL)
		count++;
	if ((rows->options = calloc(count + 1, sizeof(*rows->options))) == NULL)
		return -1;
	for (size_t i = 0; i < count; i++)
		rows->options[i] = (struct option){ .name = agent_rows[i].name, .val = LONG_BASE + (int)i,
			.has_arg = agent_rows[i].type == CONF_FLAG ? optional_argument : required_argument };
	rows->letters[n++] = '+';
	rows->letters[n++] = ':';
	for (size_t i = 0; i < LETTERS; i++) {
		rows->letters[n++] = letters[i].letter;
		if (letters[i].argument != NULL)
			rows->letters[n++] = ':';
	}
	rows->letters[n] = '\0';
	return 0;
}

static int
take_letter(struct parse *p, int option, const char *value)
{
	const struct letter *l = letters;

	while (l->letter != option)
		l++;
	if (l->take != NULL)
		return l->take(p, value);
	return value != NULL ? put(p, "--%s=%s", l->option, value) : put(p, "--%s", l->option);
}

static int
take_long(struct parse *p, size_t row, const char *value)
{
	if (strcmp(agent_rows[row].name, "help") == 0)
		return take_help(p, value);
	return value != NULL ? put(p, "--%s=%s", agent_rows[row].name, value) : put(p, "--%s", agent_rows[row].name);
}

/* What getopt_long() returned ':' or '?' for. */
static int
take_wrong(struct parse *p, int result, const char *word)
{
	if (result == ':' && optopt < LONG_BASE)
		conf_error_set(p->error, "-%c: missing value", optopt);
	else if (result == ':')
		conf_error_set(p->error, "--%s: missing value", agent_rows[optopt - LONG_BASE].name);
	else if (optopt > 0 && optopt < LONG_BASE)
		conf_error_set(p->error, "unknown option \"-%c\"; -h lists those of rpcapd, and vmtap-agent --help the long ones",
		    optopt);
	else
		conf_error_set(p->error, "unknown option \"%.80s\"; vmtap-agent --help lists the long ones", word);
	return -1;
}

static int
take_words(struct parse *p, const struct getopt_rows *rows, int argc, char **argv)
{
	int option, result = 0;

	optind = 0;	/* starts getopt_long() anew */
	opterr = 0;
	while (result == 0 && !p->rpcapd->help && (option = getopt_long(argc, argv, rows->letters, rows->options, NULL)) != -1) {
		if (option == ':' || option == '?')
			result = take_wrong(p, option, argv[optind - 1]);
		else if (option >= LONG_BASE)
			result = take_long(p, (size_t)(option - LONG_BASE), optarg);
		else
			result = take_letter(p, option, optarg);
	}
	if (result == 0 && !p->rpcapd->help && optind < argc) {
		conf_error_set(p->error, "\"%.80s\": there are only options here; a filter is given by --filter", argv[optind]);
		result = -1;
	}
	return result;
}

static int
listen_at(struct parse *p, const char *address)
{
	return put(p, strchr(address, ':') != NULL ? "--rpcap-listen=[%s]:%u" : "--rpcap-listen=%s:%u", address,
	    p->port != 0 ? p->port : RPCAP_PORT);
}

/* A file's places and those of long options are all, unless there is a letter that says otherwise. */
static int
settle_places(struct parse *p)
{
	const char *place = (const char *)p->places.data, *end = place + p->places.len;
	int result = 0;

	if (!p->passive)
		return 0;
	for (; result == 0 && place < end; place += strlen(place) + 1)
		result = each_address(p, 'b', place, p->ipv6 ? AF_UNSPEC : AF_INET, listen_at);
	if (p->places.len > 0 || ((is_put(p, "config") || is_put(p, "rpcap-listen")) && p->port == 0))
		return result;
	return listen_at(p, "0.0.0.0") == 0 && (!p->ipv6 || listen_at(p, "::") == 0) ? 0 : -1;
}

static int
settle_tls(struct parse *p)
{
	if (!p->tls) {
		if (p->key != NULL || p->cert != NULL)
			log_warn("-K and -X are nothing without -S: there is no TLS");
		return 0;
	}
	if (!is_put(p, "rpcap-cert") && put(p, "--rpcap-cert=%s", p->cert != NULL ? p->cert : RPCAP_CERT) == -1)
		return -1;
	return is_put(p, "rpcap-key") ? 0 : put(p, "--rpcap-key=%s", p->key != NULL ? p->key : RPCAP_KEY);
}

/* Its own file, users, certificate and place for metrics: there may be an agent with a collector beside it. */
static int
settle_files(struct parse *p)
{
	if (is_put(p, "config"))
		return settle_tls(p);
	if (!is_put(p, "rpcap-null-auth") && !is_put(p, "rpcap-passwords") && put(p, "--rpcap-passwords=" RPCAP_PASSWORDS) == -1)
		return -1;
	if (!is_put(p, "metrics") && put(p, "--metrics=" METRICS) == -1)
		return -1;
	return settle_tls(p) == 0 ? put(p, "--config=/dev/null") : -1;
}

static int
settle(struct parse *p)
{
	if (!p->passive && !p->active && !is_put(p, "rpcap-connect") && !is_put(p, "config")) {
		conf_error_set(p->error, "-v: there is nothing to do without -a HOST,PORT");
		return -1;
	}
	return settle_places(p) == 0 ? settle_files(p) : -1;
}

int
rpcapd_arguments(struct rpcapd *rpcapd, int argc, char **argv, bool ipv6, struct conf_error *error)
{
	struct parse p = { .rpcapd = rpcapd, .error = error, .ipv6 = ipv6, .passive = true };
	struct getopt_rows rows;
	int result = -1;

	*rpcapd = (struct rpcapd){ 0 };
	buf_init(&p.places, SIZE_MAX);
	if (rows_make(&rows) == -1)
		conf_error_set(error, "out of memory");
	else if (put(&p, RPCAPD_NAME) == 0 && take_words(&p, &rows, argc, argv) == 0 && (rpcapd->help || settle(&p) == 0))
		result = 0;
	buf_clear(&p.places);
	free(rows.options);
	if (result == -1)
		rpcapd_clear(rpcapd);
	return result;
}

void
rpcapd_clear(struct rpcapd *rpcapd)
{
	for (int i = 0; i < rpcapd->argc; i++)
		free(rpcapd->argv[i]);
	free(rpcapd->argv);
	*rpcapd = (struct rpcapd){ 0 };
}

bool
rpcapd_called(const char *argv0)
{
	const char *slash = argv0 != NULL ? strrchr(argv0, '/') : NULL;

	return argv0 != NULL && strcmp(slash != NULL ? slash + 1 : argv0, RPCAPD_NAME) == 0;
}

bool
rpcapd_has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd != -1)
		close(fd);
	return fd != -1;
}

/* --- -s --- */

static int
write_whole(int fd, const char *text)
{
	ssize_t n;

	for (; *text != '\0'; text += n)
		if ((n = write(fd, text, strlen(text))) == -1)
			return -1;
	return fsync(fd);
}

/* What was read from a filter's file is in the filter, and how it was started is nothing that it does. */
static char *
options_text(const struct agent_options *options)
{
	struct agent_options kept = *options;

	kept.filter_file = NULL;
	kept.daemon = false;
	return conf_to_text(agent_rows, &kept);
}

int
rpcapd_save(const char *path, const struct agent_options *options)
{
	char hidden[PATH_MAX], *text = NULL;
	int fd = -1, saved, result = -1;

	if ((size_t)snprintf(hidden, sizeof(hidden), "%s.XXXXXX", path) >= sizeof(hidden)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if ((text = options_text(options)) != NULL && (fd = mkostemp(hidden, O_CLOEXEC)) != -1) {
		result = write_whole(fd, "# Options of " RPCAPD_NAME ", as they were given: for -f; see vmtap.conf(5).\n") == 0 &&
		    write_whole(fd, text) == 0 && rename(hidden, path) == 0 ? 0 : -1;
		saved = errno;
		close(fd);
		if (result == -1)
			unlink(hidden);
		errno = saved;
	}
	free(text);
	return result;
}
