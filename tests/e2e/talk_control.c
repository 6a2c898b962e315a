/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <pcap/pcap.h>

#include "common/clock.h"
#include "proto/bpf.h"
#include "tests/e2e/talk.h"
#include "tests/hex_text.h"

#define PAYLOAD_MAX	(1u << 22)
#define TLS_ALERT	"\x15\x03\x01\x00\x02\x02\x28"	/* record of an alert, fatal, handshake_failure; any version */
#define TLS_ALERT_SIZE	7

/* --- what is sent --- */

/* What was put into out. */
static int
send_out(struct talk *t, int errs)
{
	int result = errs != 0 ? talk_fail(t, "cannot be put together") : t->s->control.fd == -1 ? talk_fail(t, "not connected") :
	    stream_write(t, &t->s->control, t->out.data, t->out.len);

	t->out.len = 0;
	return result;
}

int
talk_send_auth_null(struct talk *t, char *args)
{
	(void)args;
	return send_out(t, rpcap_put_auth(&t->out, &(const struct rpcap_auth){ .type = RPCAP_AUTH_NULL }));
}

int
talk_send_auth_password(struct talk *t, char *args)
{
	char *user = strsep(&args, " "), *password = args == NULL ? user + strlen(user) : args;
	const struct rpcap_auth auth = { .type = RPCAP_AUTH_PASSWORD, .user = user, .user_len = (uint16_t)strlen(user),
		.password = password, .password_len = (uint16_t)strlen(password) };

	return send_out(t, rpcap_put_auth(&t->out, &auth));
}

/* "STARTCAP", "STATS-reply" or a number; -1: neither. */
static int
type_of(const char *word)
{
	char *end;
	long number = strtol(word, &end, 0);

	if (*word != '\0' && *end == '\0')
		return (int)(number & 0xff);
	for (int type = 0; type < 256; type++) {
		const char *name = rpcap_type_name((uint8_t)type);
		size_t request = name == NULL ? 0 : strcspn(name, " ");

		if (name != NULL && strncasecmp(word, name, request) == 0 && (name[request] == '\0' ? word[request] == '\0' :
		    word[request] == '-' && strcasecmp(word + request + 1, name + request + 1) == 0))
			return type;
	}
	return -1;
}

/* An error's name, or a number. */
static uint16_t
value_of(const char *word)
{
	for (uint16_t code = 0; code < 256; code++)
		if (rpcap_error_name(code) != NULL && strcmp(rpcap_error_name(code), word) == 0)
			return code;
	return (uint16_t)strtoul(word, NULL, 0);
}

static const char *
word(char **args)
{
	const char *next = strsep(args, " ");

	return next == NULL ? "" : next;
}

int
talk_send_header(struct talk *t, char *args)
{
	struct rpcap_header h;
	const char *type;

	h.version = (uint8_t)strtoul(word(&args), NULL, 0);
	type = word(&args);
	h.value = value_of(word(&args));
	h.length = (uint32_t)strtoul(word(&args), NULL, 0);
	if (type_of(type) == -1)
		return talk_fail(t, "no such type: %s", type);
	h.type = (uint8_t)type_of(type);
	return send_out(t, rpcap_put_header(&t->out, &h));
}

int
talk_send_raw(struct talk *t, char *args)
{
	return send_out(t, hex_text_parse(args, &t->out));
}

/* Always in large pieces. */
int
talk_send_filler(struct talk *t, char *args)
{
	static const uint8_t filler[65536];
	size_t left = strtoul(args, NULL, 10);
	bool byte_by_byte = t->byte_by_byte;
	int result = 0;

	t->byte_by_byte = false;
	while (left > 0 && result == 0) {
		size_t now = left < sizeof(filler) ? left : sizeof(filler);

		result = stream_write(t, &t->s->control, filler, now);
		left -= now;
	}
	t->byte_by_byte = byte_by_byte;
	return result;
}

int
talk_send_open(struct talk *t, char *args)
{
	return send_out(t, rpcap_put_open(&t->out, t->version, args));
}

static int
compile(struct talk *t, const char *expression, struct bpf_program *p)
{
	pcap_t *handle = pcap_open_dead((int)t->s->linktype, 262144);
	int result = handle == NULL ? -1 : pcap_compile(handle, p, expression, 1, PCAP_NETMASK_UNKNOWN);

	if (result == -1)
		talk_fail(t, "filter: %s", handle == NULL ? "no such link type" : pcap_geterr(handle));
	if (handle != NULL)
		pcap_close(handle);
	return result;
}

typedef int put_filter_fn(struct talk *, const void *request, const struct rpcap_filter *);

static int
put_with_filter(struct talk *t, put_filter_fn *put, const void *request, const char *spec)
{
	static const struct bpf_insn all = BPF_STMT(BPF_RET | BPF_K, 262144), nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct bpf_program p;
	int errs;

	if (strcmp(spec, "all") == 0 || strcmp(spec, "nothing") == 0)
		return put(t, request, &(const struct rpcap_filter){ .insn = spec[0] == 'a' ? &all : &nothing, .count = 1 });
	if (strcmp(spec, "empty") == 0)
		return put(t, request, &(const struct rpcap_filter){ .count = 0 });
	if (compile(t, spec, &p) == -1)
		return -1;
	errs = put(t, request, &(const struct rpcap_filter){ .insn = p.bf_insns, .count = p.bf_len });
	pcap_freecode(&p);
	return errs;
}

/* In place of the filter, the bytes; they may lie about their count. */
static int
put_raw_filter(struct talk *t, put_filter_fn *put, const void *request, const char *bytes)
{
	struct rpcap_header h;
	struct buf header;
	int errs = put(t, request, &(const struct rpcap_filter){ .count = 0 });

	if (errs != 0)
		return errs;
	t->out.len -= 8;
	errs = hex_text_parse(bytes, &t->out);
	rpcap_get_header(t->out.data, &h);
	h.length = (uint32_t)t->out.len - RPCAP_HEADER_SIZE;
	buf_init(&header, RPCAP_HEADER_SIZE);
	errs += rpcap_put_header(&header, &h);
	memcpy(t->out.data, header.data, RPCAP_HEADER_SIZE);
	buf_clear(&header);
	return errs;
}

static int
send_with_filter(struct talk *t, put_filter_fn *put, const void *request, const char *spec)
{
	int errs = strncmp(spec, "raw ", 4) == 0 ? put_raw_filter(t, put, request, spec + 4) : put_with_filter(t, put, request, spec);

	return send_out(t, errs);
}

static int
put_startcap(struct talk *t, const void *request, const struct rpcap_filter *f)
{
	return rpcap_put_startcap(&t->out, t->version, request, f);
}

static int
put_updatefilter(struct talk *t, const void *request, const struct rpcap_filter *f)
{
	(void)request;
	return rpcap_put_updatefilter(&t->out, t->version, f);
}

static uint16_t
flags_of(const char *words)
{
	static const struct {
		const char	*name;
		uint16_t	flag;
	} flags[] = { { "promisc", RPCAP_FLAG_PROMISC }, { "dgram", RPCAP_FLAG_DGRAM }, { "serveropen", RPCAP_FLAG_SERVEROPEN },
		{ "inbound", RPCAP_FLAG_INBOUND }, { "outbound", RPCAP_FLAG_OUTBOUND } };
	uint16_t result = (uint16_t)strtoul(words, NULL, 0);

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strstr(words, flags[i].name) != NULL)
			result |= flags[i].flag;
	return result;
}

int
talk_send_startcap(struct talk *t, char *args)
{
	struct rpcap_startcap s;

	s.snaplen = t->s->snaplen = (uint32_t)strtoul(word(&args), NULL, 0);
	s.read_timeout_ms = (uint32_t)strtoul(word(&args), NULL, 0);
	s.flags = flags_of(word(&args));
	s.port = (uint16_t)strtoul(word(&args), NULL, 0);
	t->s->number = 0;
	if (args != NULL && strncmp(args, "filter ", 7) != 0)
		return talk_fail(t, "filter, not %s", args);
	return send_with_filter(t, put_startcap, &s, args == NULL ? "all" : args + 7);
}

int
talk_send_updatefilter(struct talk *t, char *args)
{
	return send_with_filter(t, put_updatefilter, NULL, args);
}

int
talk_send_sampling(struct talk *t, char *args)
{
	struct rpcap_sampling s;

	s.method = (uint8_t)strtoul(word(&args), NULL, 0);
	s.value = (uint32_t)strtoul(word(&args), NULL, 0);
	return send_out(t, rpcap_put_sampling(&t->out, t->version, &s));
}

int
talk_send_error(struct talk *t, char *args)
{
	uint16_t code = value_of(word(&args));

	return send_out(t, rpcap_put_error(&t->out, t->version, code, args == NULL ? "" : args));
}

int
talk_send_empty(struct talk *t, char *args)
{
	int type = type_of(args);

	return type == -1 ? talk_fail(t, "no such request") : send_out(t, rpcap_put_empty(&t->out, t->version, (uint8_t)type));
}

/* --- what is received: each message's fields, as text --- */

typedef int show_fn(struct talk *, struct cursor *, const struct rpcap_header *);

static int
show_error(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	char text[RPCAP_TEXT_SIZE];

	(void)h;
	return rpcap_get_text(c, text, sizeof(text)) == -1 ? -1 : buf_printf(&t->fields, "%s", text);
}

static int
show_auth(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	static const char *const orders[] = { "unknown", "little", "big" };
	struct rpcap_auth_reply r;

	(void)h;
	return rpcap_get_auth_reply(c, &r) == -1 ? -1 :
	    buf_printf(&t->fields, "min=%u max=%u order=%s", r.version_min, r.version_max, orders[r.order]);
}

static void
show_address(struct talk *t, const char *what, const struct rpcap_address *a)
{
	char text[INET6_ADDRSTRLEN];

	if (a->family != 0)
		buf_printf(&t->fields, " %s=%s", what, inet_ntop(a->family, a->address, text, sizeof(text)));
}

static int
show_interface(struct talk *t, struct cursor *c)
{
	struct rpcap_interface i;
	struct rpcap_addresses a;

	if (rpcap_get_interface(c, &i) == -1)
		return -1;
	buf_printf(&t->fields, "%.*s (%.*s) flags=0x%02x", i.name_len, i.name, i.description_len, i.description, i.flags);
	for (unsigned n = 0; n < i.address_count; n++) {
		if (rpcap_get_addresses(c, &a) == -1)
			return -1;
		show_address(t, "address", &a.address);
		show_address(t, "netmask", &a.netmask);
		show_address(t, "broadcast", &a.broadcast);
		show_address(t, "destination", &a.destination);
	}
	return buf_printf(&t->fields, ";");
}

static int
show_interfaces(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	for (unsigned i = 0; i < h->value; i++)
		if (show_interface(t, c) == -1)
			return -1;
	return h->value > 0 ? 0 : -1;
}

static int
show_open(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	struct rpcap_open_reply r;

	(void)h;
	if (rpcap_get_open_reply(c, &r) == -1)
		return -1;
	t->s->linktype = r.linktype;
	return buf_printf(&t->fields, "linktype=%u tzoff=%u", r.linktype, r.tzoff);
}

static int
show_startcap(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	struct rpcap_startcap_reply r;

	(void)h;
	if (rpcap_get_startcap_reply(c, &r) == -1)
		return -1;
	t->s->port = r.port;
	return buf_printf(&t->fields, "buffer=%u port=%u", r.buffer_bytes, r.port);
}

static int
show_stats(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	struct rpcap_stats s;

	(void)h;
	return rpcap_get_stats_reply(c, &s) == -1 ? -1 :
	    buf_printf(&t->fields, "ifrecv=%u ifdrop=%u krnldrop=%u svrcapt=%u", s.ifrecv, s.ifdrop, s.krnldrop, s.svrcapt);
}

static int
show_empty(struct talk *t, struct cursor *c, const struct rpcap_header *h)
{
	(void)t;
	(void)c;
	(void)h;
	return 0;
}

static const struct {
	uint8_t	type;
	bool	has_value;
	show_fn	*show;
} shows[] = {
	{ RPCAP_ERROR, true, show_error },
	{ RPCAP_AUTH | RPCAP_REPLY, false, show_auth },
	{ RPCAP_FINDALLIF | RPCAP_REPLY, true, show_interfaces },
	{ RPCAP_OPEN | RPCAP_REPLY, false, show_open },
	{ RPCAP_STARTCAP | RPCAP_REPLY, false, show_startcap },
	{ RPCAP_UPDATEFILTER | RPCAP_REPLY, false, show_empty },
	{ RPCAP_STATS | RPCAP_REPLY, false, show_stats },
	{ RPCAP_ENDCAP | RPCAP_REPLY, false, show_empty },
	{ RPCAP_SETSAMPLING | RPCAP_REPLY, false, show_empty },
};

/* To the letter: nothing is left behind the fields, what has no meaning is 0. */
static int
show(struct talk *t, const struct rpcap_header *h, const uint8_t *payload)
{
	struct cursor c;

	cursor_init(&c, payload, h->length);
	for (size_t i = 0; i < sizeof(shows) / sizeof(shows[0]); i++) {
		if (shows[i].type != h->type)
			continue;
		if (!shows[i].has_value && h->value != 0)
			return talk_fail(t, "%s with a value of %u", rpcap_type_name(h->type), h->value);
		if (shows[i].show(t, &c, h) == -1)
			return talk_fail(t, "%s: its %u bytes are not such", rpcap_type_name(h->type), h->length);
		return c.left == 0 ? buf_put_u8(&t->fields, '\0') : talk_fail(t, "%s: %zu bytes too many", rpcap_type_name(h->type), c.left);
	}
	return talk_fail(t, "a message of type %u", h->type);
}

static int
receive(struct talk *t, struct rpcap_header *h)
{
	uint8_t bytes[RPCAP_HEADER_SIZE], *payload;
	int result;

	t->fields.len = 0;
	if (stream_read(t, &t->s->control, bytes, sizeof(bytes)) == -1)
		return -1;
	rpcap_get_header(bytes, h);
	if (h->length > PAYLOAD_MAX)
		return talk_fail(t, "a message of %u bytes", h->length);
	if ((payload = malloc(h->length + 1)) == NULL)
		return talk_fail(t, "out of memory");
	result = stream_read(t, &t->s->control, payload, h->length);
	if (result == 0)
		result = show(t, h, payload);
	free(payload);
	return result;
}

static bool
matches(struct talk *t, const char *pattern)
{
	regex_t regex;
	bool result = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0 &&
	    regexec(&regex, (const char *)t->fields.data, 0, NULL, 0) == 0;

	regfree(&regex);
	return result;
}

static int
other(struct talk *t, const struct rpcap_header *h)
{
	const char *code = h->type == RPCAP_ERROR ? rpcap_error_name(h->value) : NULL, *type = rpcap_type_name(h->type);

	return talk_fail(t, "came: version %u, %s, value %u %s: %s", h->version, type != NULL ? type : "?", h->value,
	    code != NULL ? code : "", t->fields.len > 0 ? (const char *)t->fields.data : "");
}

int
talk_expect(struct talk *t, char *args)
{
	const char *type = word(&args), *value = word(&args);
	struct rpcap_header h;

	if (type_of(type) == -1)
		return talk_fail(t, "no such type: %s", type);
	if (receive(t, &h) == -1)
		return -1;
	if (h.version != t->version || h.type != type_of(type) || (*value != '\0' && *value != '*' && h.value != value_of(value)) ||
	    (args != NULL && !matches(t, args)))
		return other(t, &h);
	return 0;
}

int
talk_expect_closed(struct talk *t, char *args)
{
	(void)args;
	return stream_read_end(t, &t->s->control);
}

int
talk_expect_alert(struct talk *t, char *args)
{
	uint8_t bytes[TLS_ALERT_SIZE];

	(void)args;
	if (stream_read(t, &t->s->control, bytes, sizeof(bytes)) == -1)
		return -1;
	bytes[2] = 1;
	return memcmp(bytes, TLS_ALERT, sizeof(bytes)) == 0 ? 0 : talk_fail(t, "something else");
}

int
talk_await(struct talk *t, char *args)
{
	uint64_t end = clock_mono_ns() + t->timeout_ms * 1000000ull;
	int type = type_of(word(&args));
	struct rpcap_header h;

	do {
		if (type == -1 || send_out(t, rpcap_put_empty(&t->out, t->version, (uint8_t)type)) == -1 || receive(t, &h) == -1)
			return -1;
		if (args != NULL && h.type == ((uint8_t)type | RPCAP_REPLY) && matches(t, args))
			return 0;
	} while (clock_mono_ns() < end);
	return other(t, &h);
}

void
talk_session_reset(struct session *s)
{
	stream_close(&s->control);
	stream_close(&s->data);
	if (s->listener != -1)
		close(s->listener);
	*s = (struct session){ .control.fd = -1, .data.fd = -1, .listener = -1 };
}
