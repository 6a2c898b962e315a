/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define LINE_SIZE	2048	/* a longer one is cut, and ends in "..." */

static const struct level {
	int		 priority;
	const char	*mark;		/* before the text, where the reader does not see the priority */
} levels[] = {
	[LOG_LEVEL_ERROR] = { LOG_ERR, "error: " },
	[LOG_LEVEL_WARN] = { LOG_WARNING, "warning: " },
	[LOG_LEVEL_INFO] = { LOG_INFO, "" },
	[LOG_LEVEL_DEBUG] = { LOG_DEBUG, "" },
};

static char		identity[64] = "vmtap";
static atomic_int	threshold = LOG_LEVEL_INFO;
static bool		use_syslog, use_journal;

/* systemd names the device and inode of the stream it reads: it is ours only if stderr is that very one. */
static bool
stderr_is_journal(void)
{
	const char	*stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat	 st;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	    st.st_dev == device && st.st_ino == inode;
}

void
log_init(const char *name, enum log_level level)
{
	snprintf(identity, sizeof(identity), "%s", name);
	log_set_level(level);
	use_journal = stderr_is_journal();
}

/* The socket is opened at once: a role in its sandbox could not do so any more. */
void
log_to_syslog(void)
{
	openlog(identity, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	use_syslog = true;
}

void
log_set_level(enum log_level level)
{
	atomic_store(&threshold, (int)level);
}

/* The bytes of the UTF-8 sequence there and the character, or 0: it is none (RFC 3629). A NUL ends it like any byte that does not fit. */
static size_t
utf8_next(const unsigned char *p, uint32_t *character)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t	 len = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	*character = len == 1 ? *p : *p & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (p[i] & 0x3f);
	}
	return len > 0 && *character >= least[len] && *character <= 0x10ffff && (*character < 0xd800 || *character > 0xdfff) ? len : 0;
}

/*
 * C0, DEL and C1 would speak to the reader's terminal; line and paragraph separators end a line; marks and overrides of the direction
 * of writing, and what has no width, make a text look like another one.
 */
static bool
is_control(uint32_t c)
{
	static const struct { uint32_t first, last; } ranges[] = { { 0, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c },
	    { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe0fff } };

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

size_t
log_escape(char *dst, size_t dst_size, const char *text)
{
	const unsigned char	*p = (const unsigned char *)text;
	uint32_t		 character;
	size_t			 at = 0, len;
	bool			 plain;

	for (; *p != '\0'; p += len) {
		len = utf8_next(p, &character);
		plain = len > 0 && !is_control(character);
		len = len > 0 ? len : 1;
		if (at + (plain ? len : 4 * len) > dst_size - 4)
			return at + (size_t)snprintf(dst + at, dst_size - at, "...");
		for (size_t i = 0; i < len; i++)
			if (plain)
				dst[at++] = (char)p[i];
			else
				at += (size_t)snprintf(dst + at, dst_size - at, "\\x%02x", p[i]);
	}
	dst[at] = '\0';
	return at;
}

static void
write_line(const char *line, size_t n)
{
	while (write(STDERR_FILENO, line, n) == -1 && errno == EINTR)
		;
}

static void
emit(enum log_level level, const char *text)
{
	const struct level *l = &levels[level];
	char		 line[LINE_SIZE];
	size_t		 n = 0;

	if (use_syslog) {
		log_escape(line, sizeof(line), text);
		syslog(l->priority, "%s", line);
		return;
	}
	if (use_journal)
		n = (size_t)snprintf(line, sizeof(line), "<%d>", l->priority);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s: %s", identity, use_journal ? "" : l->mark);
	n += log_escape(line + n, sizeof(line) - n - 1, text);
	line[n++] = '\n';
	write_line(line, n);
}

static void __attribute__((format(printf, 3, 0)))
log_va(enum log_level level, uint64_t held_back, const char *format, va_list ap)
{
	char	 text[LINE_SIZE + 64];
	int	 n, saved = errno;

	if ((int)level > atomic_load(&threshold))
		return;
	n = vsnprintf(text, LINE_SIZE, format, ap);
	if (n < 0)
		n = snprintf(text, sizeof(text), "%s", format);
	else if (n >= LINE_SIZE)
		n = LINE_SIZE - 1;
	if (held_back > 0)
		snprintf(text + n, sizeof(text) - (size_t)n, " (%llu more like this held back)", (unsigned long long)held_back);
	emit(level, text);
	errno = saved;
}

void
log_error(const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	log_va(LOG_LEVEL_ERROR, 0, format, ap);
	va_end(ap);
}

void
log_warn(const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	log_va(LOG_LEVEL_WARN, 0, format, ap);
	va_end(ap);
}

void
log_info(const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	log_va(LOG_LEVEL_INFO, 0, format, ap);
	va_end(ap);
}

void
log_debug(const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	log_va(LOG_LEVEL_DEBUG, 0, format, ap);
	va_end(ap);
}

void
fatal(const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	log_va(LOG_LEVEL_ERROR, 0, format, ap);
	va_end(ap);
	exit(EXIT_FAILURE);
}

void
log_limited(struct log_limit *limit, unsigned interval_ms, enum log_level level, const char *format, ...)
{
	uint64_t	 now = clock_mono_ns();
	va_list		 ap;

	if ((int)level > atomic_load(&threshold))
		return;
	if (now < limit->next_ns) {
		limit->held_back++;
		return;
	}
	va_start(ap, format);
	log_va(level, limit->held_back, format, ap);
	va_end(ap);
	limit->next_ns = now + (uint64_t)interval_ms * 1000000;
	limit->held_back = 0;
}
