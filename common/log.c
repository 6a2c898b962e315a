/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* C0, DEL and C1 (alone or as UTF-8) would speak to the reader's terminal; the rest of UTF-8 is text. */
static bool
is_control(unsigned char c, unsigned char before)
{
	return c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0 && (before < 0x80 || before == 0xc2));
}

size_t
log_escape(char *dst, size_t dst_size, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char	 before = 0;
	size_t		 at = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; before = *p++) {
		if (at + 4 > dst_size - 4)
			return at + (size_t)snprintf(dst + at, dst_size - at, "...");
		if (is_control(*p, before)) {
			dst[at++] = '\\';
			dst[at++] = 'x';
			dst[at++] = hex[*p >> 4];
			dst[at++] = hex[*p & 15];
		} else
			dst[at++] = (char)*p;
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
