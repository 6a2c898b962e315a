/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "tests/e2e/talk.h"

/*
 * Talks RPCAP as a script says, and ends with status 1 at the first answer that is another than expected: what stands for a client in
 * the conformance tests.
 * rpcap-talk [--active] [--byte-by-byte] [--tls] [--ca FILE] [--cert FILE --key FILE] HOST PORT SCRIPT
 * --active: HOST and PORT are ours, and the server calls there. Lines of the script:
 *
 *	send auth null | auth password USER PASSWORD | findallif | open NAME | stats | endcap | close
 *	send sampling METHOD VALUE | error CODE TEXT
 *	send startcap SNAPLEN TIMEOUT FLAGS PORT [filter FILTER]	FLAGS: promisc,dgram,serveropen,inbound,outbound or -
 *	send updatefilter FILTER	FILTER: all, nothing, empty (no instruction), raw BYTES (with its header), or an expression
 *	send header VERSION TYPE VALUE LENGTH | raw BYTES | filler COUNT	BYTES: hexadecimal, 'texts', and 00x9 for nine times 00
 *	expect TYPE [VALUE [REGEX]]	a message, its value (an error's by its name; *: any), its fields as they are printed
 *	expect closed | alert		alert: TLS's handshake_failure, in plain text
 *	await stats|findallif REGEX	asks until the answer is such
 *	data connect [FROM] | listen | accept | udp | closed | close	listen and udp set $PORT
 *	data read COUNT [CAPTURED ORIGINAL]	packets, checks order and lengths; these, if they are said
 *	connect [plain|tls]		another control connection in the place of this one, which is closed
 *	disconnect
 *	use NUMBER|next			another client, with connections of its own
 *	version NUMBER | timeout MS | byte-by-byte on|off
 *	run COMMAND			by sh(1); its status must be 0
 *	repeat COUNT ... end
 *
 * $NAME is of the environment; a line that begins with # says nothing.
 */
#define LINE_MAX_BYTES	4096

struct script {
	const char	*name;
	char		**line;
	size_t		count;
};

int
talk_fail(struct talk *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(t->reason, sizeof(t->reason), format, ap);
	va_end(ap);
	return -1;
}

/* --- lines about the connection, and the script itself --- */

static int
run_connect(struct talk *t, char *args)
{
	bool tls = *args == '\0' ? t->use_tls : strcmp(args, "tls") == 0;

	talk_session_reset(t->s);
	if (t->listener != -1)
		return stream_accept(t, &t->s->control, t->listener, tls);
	return stream_connect(t, &t->s->control, NULL, t->port, tls);
}

static int
run_disconnect(struct talk *t, char *args)
{
	(void)args;
	talk_session_reset(t->s);
	return 0;
}

static int
run_use(struct talk *t, char *args)
{
	size_t next = strcmp(args, "next") == 0 ? (size_t)(t->s - t->session) + 1 : strtoul(args, NULL, 10);

	if (next >= TALK_SESSIONS)
		return talk_fail(t, "there are only %d clients", TALK_SESSIONS);
	t->s = &t->session[next];
	return 0;
}

static int
run_version(struct talk *t, char *args)
{
	t->version = (uint8_t)strtoul(args, NULL, 0);
	return 0;
}

static int
run_timeout(struct talk *t, char *args)
{
	t->timeout_ms = (unsigned)strtoul(args, NULL, 10);
	return 0;
}

static int
run_byte_by_byte(struct talk *t, char *args)
{
	t->byte_by_byte = strcmp(args, "on") == 0;
	return 0;
}

static int
run_command(struct talk *t, char *args)
{
	int status = system(args);

	return status == 0 ? 0 : talk_fail(t, "status %d", status);
}

/* The first that a line begins with. */
static const struct command {
	const char	*words;
	talk_fn		*run;
} commands[] = {
	{ "send auth null", talk_send_auth_null },
	{ "send auth password", talk_send_auth_password },
	{ "send header", talk_send_header },
	{ "send raw", talk_send_raw },
	{ "send filler", talk_send_filler },
	{ "send open", talk_send_open },
	{ "send startcap", talk_send_startcap },
	{ "send updatefilter", talk_send_updatefilter },
	{ "send sampling", talk_send_sampling },
	{ "send error", talk_send_error },
	{ "send", talk_send_empty },
	{ "expect closed", talk_expect_closed },
	{ "expect alert", talk_expect_alert },
	{ "expect", talk_expect },
	{ "await", talk_await },
	{ "data connect", talk_data_connect },
	{ "data listen", talk_data_listen },
	{ "data accept", talk_data_accept },
	{ "data udp", talk_data_udp },
	{ "data read", talk_data_read },
	{ "data closed", talk_data_closed },
	{ "data close", talk_data_close },
	{ "connect", run_connect },
	{ "disconnect", run_disconnect },
	{ "use", run_use },
	{ "version", run_version },
	{ "timeout", run_timeout },
	{ "byte-by-byte", run_byte_by_byte },
	{ "run", run_command },
};

static char *
skip_spaces(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	return s;
}

/* What follows these words on the line; NULL: it has others. */
static char *
behind(char *line, const char *words)
{
	size_t len = strlen(words);

	return strncmp(line, words, len) == 0 && (line[len] == '\0' || isspace((unsigned char)line[len])) ? skip_spaces(line + len) : NULL;
}

static void
put_variable(struct talk *t, const char *name, char *dst, size_t size)
{
	const char *value = getenv(name);

	if (strcmp(name, "PORT") == 0)
		snprintf(dst, size, "%u", t->listen_port);
	else
		snprintf(dst, size, "%s", value != NULL ? value : "");
}

static void
expand(struct talk *t, const char *line, char dst[LINE_MAX_BYTES])
{
	char name[64];
	size_t at = 0, len;

	while (*line != '\0' && at < LINE_MAX_BYTES - 1) {
		for (len = 0; line[0] == '$' && len < sizeof(name) - 1 && (isupper((unsigned char)line[1 + len]) || line[1 + len] == '_'); len++)
			name[len] = line[1 + len];
		name[len] = '\0';
		if (len > 0)
			put_variable(t, name, dst + at, LINE_MAX_BYTES - at);
		else
			snprintf(dst + at, LINE_MAX_BYTES - at, "%c", *line);
		at += strlen(dst + at);
		line += 1 + len;
	}
	dst[at] = '\0';
}

static int
run_line(struct talk *t, const char *line)
{
	char text[LINE_MAX_BYTES], *args;

	expand(t, line, text);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if ((args = behind(text, commands[i].words)) != NULL)
			return commands[i].run(t, args);
	return talk_fail(t, "no such command");
}

/* The "end" of the "repeat" at this line. */
static size_t
end_of(const struct script *script, size_t at)
{
	size_t depth = 1;

	while (++at < script->count && depth > 0) {
		if (behind(script->line[at], "repeat") != NULL)
			depth++;
		else if (behind(script->line[at], "end") != NULL)
			depth--;
	}
	if (depth > 0) {
		fprintf(stderr, "%s: repeat without an end\n", script->name);
		exit(2);
	}
	return at - 1;
}

static int
run_lines(struct talk *t, const struct script *script, size_t from, size_t to)
{
	char *times;

	for (size_t i = from; i < to; i++) {
		if ((times = behind(script->line[i], "repeat")) != NULL) {
			size_t end = end_of(script, i);

			for (unsigned long n = strtoul(times, NULL, 10); n > 0; n--)
				if (run_lines(t, script, i + 1, end) == -1)
					return -1;
			i = end;
		} else if (script->line[i][0] != '\0' && script->line[i][0] != '#' && run_line(t, script->line[i]) == -1) {
			fprintf(stderr, "%s:%zu: %s: %s\n", script->name, i + 1, script->line[i], t->reason);
			return -1;
		}
	}
	return 0;
}

static void
read_script(struct script *script, const char *name)
{
	FILE *f = fopen(name, "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	*script = (struct script){ .name = name };
	if (f == NULL) {
		fprintf(stderr, "rpcap-talk: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	while ((len = getline(&line, &size, f)) != -1) {
		while (len > 0 && isspace((unsigned char)line[len - 1]))
			line[--len] = '\0';
		script->line = reallocarray(script->line, script->count + 1, sizeof(*script->line));
		if (script->line == NULL || (script->line[script->count++] = strdup(skip_spaces(line))) == NULL)
			abort();
	}
	free(line);
	fclose(f);
}

static void
free_all(struct talk *t, struct script *script)
{
	for (size_t i = 0; i < TALK_SESSIONS; i++)
		talk_session_reset(&t->session[i]);
	SSL_CTX_free(t->tls);
	buf_clear(&t->out);
	buf_clear(&t->fields);
	for (size_t i = 0; i < script->count; i++)
		free(script->line[i]);
	free(script->line);
}

static void
usage(void)
{
	fprintf(stderr, "usage: rpcap-talk [--active] [--byte-by-byte] [--tls] [--ca FILE] [--cert FILE --key FILE] HOST PORT SCRIPT\n");
	exit(2);
}

static void
talk_init(struct talk *t, int argc, char **argv)
{
	static const struct option options[] = { { "active", no_argument, NULL, 'A' }, { "byte-by-byte", no_argument, NULL, 'b' },
		{ "tls", no_argument, NULL, 't' }, { "ca", required_argument, NULL, 'a' }, { "cert", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 } };
	const char *ca = NULL, *cert = NULL, *key = NULL;
	bool active = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'A':	active = true;		break;
		case 'b':	t->byte_by_byte = true;	break;
		case 't':	t->use_tls = true;	break;
		case 'a':	ca = optarg;		break;
		case 'c':	cert = optarg;		break;
		case 'k':	key = optarg;		break;
		default:	usage();
		}
	}
	if (argc - optind != 3)
		usage();
	t->tls = stream_tls(ca, cert, key);
	t->host = argv[optind];
	t->port = argv[optind + 1];
	if (active && stream_listen(t) == -1) {
		fprintf(stderr, "rpcap-talk: %s\n", t->reason);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	static struct talk t = { .timeout_ms = 5000, .listener = -1 };
	struct script script;
	int result;

	signal(SIGPIPE, SIG_IGN);
	talk_init(&t, argc, argv);
	buf_init(&t.out, 1u << 24);
	buf_init(&t.fields, 1u << 20);
	for (size_t i = 0; i < TALK_SESSIONS; i++)
		t.session[i] = (struct session){ .control.fd = -1, .data.fd = -1, .listener = -1 };
	t.s = &t.session[0];
	read_script(&script, argv[argc - 1]);
	if ((result = run_connect(&t, (char[]){ "" })) == -1)
		fprintf(stderr, "rpcap-talk: %s\n", t.reason);
	else
		result = run_lines(&t, &script, 0, script.count);
	free_all(&t, &script);
	return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
