/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_TLS_INTERNAL_H
#define VMTAP_COMMON_TLS_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "common/tls.h"

/*
 * What the files of TLS share: tls_files.c (PEM), tls_context.c, tls_pinned.c, tls_foreign.c, tls_why.c (failures in words);
 * tlsio.c (states, loop), tlsio_output.c (what waits for the socket), and the layers tlsio_records.c and tlsio_plain.c.
 */

#define TLS_URI_SIZE		256
#define TLS_COMMON_NAME_SIZE	128
#define TLS_ADDRESS_SIZE	64
#define TLS_FIRST_SIZE		16	/* bytes of a peer kept to say what it spoke instead of TLS */
#define TLS_KEY_UPDATE_RECORDS	(UINT64_C(1) << 22)	/* 64 GiB in full records; AES-GCM's limit is 2^24.5 (RFC 8446, 5.5) */

/* What a certificate says of its holder. */
struct tls_names {
	char	uri[TLS_URI_SIZE];
	char	common_name[TLS_COMMON_NAME_SIZE];
	time_t	not_before, not_after;
};
void	tls_names_read(const X509 *, struct tls_names *);
#define TLS_RIGHT_SCHEME	"vmtap-right:"	/* beside the one URI that says who it is */
int	tls_uris_read(const X509 *, const char *scheme, void (*each)(const char *, void *), void *arg);

/* What a server may be asked for instead of the context's own name. */
#define TLS_ALPN_MAX		4
struct tls_alpn {
	char			 name[32];
	unsigned		 flags;		/* TLS_ALPN_... */
};

struct tls_context {
	SSL_CTX			*ssl_ctx;
	atomic_uint		 refs;
	struct tls_names	 own;
	uint64_t		 key_update_records;
	uint8_t			 alpn[256];	/* as on the wire: length, then the name */
	unsigned		 alpn_len;
	struct tls_alpn		 more[TLS_ALPN_MAX];
	unsigned		 more_count;
	X509			*root;
	uint8_t			 fingerprint[TLS_FINGERPRINT_SIZE];	/* of our certificate */
	uint8_t			 pin[TLS_FINGERPRINT_SIZE];	/* tls_pinned.c: of the root */
};
struct tls_context *tls_context_ref(struct tls_context *);
/* Without certificates yet, and without rules for peers; NULL with error. */
struct tls_context *tls_context_bare(int oldest_version, char error[TLS_ERROR_SIZE]);
/* As that, with the rules for those of our own protocol. */
struct tls_context *tls_context_begin(const char *alpn, char error[TLS_ERROR_SIZE]);
/* These are our own; all stay the caller's. -1 with OpenSSL's error. */
int	 tls_context_show(struct tls_context *, X509 *cert, STACK_OF(X509) *above, EVP_PKEY *key);
int	 tls_check_own(const struct tls_files *, const X509 *cert, const EVP_PKEY *key, char error[TLS_ERROR_SIZE]);
#define tls_context_alpn(c)	((const char *)(c)->alpn + 1)
#define tls_context_is_foreign(c)	((c)->alpn_len == 0)
/* One of ours, NUL-terminated, as long as the context lives; flags are 0 of the context's own. NULL: none. */
const char	*tls_context_find_alpn(const struct tls_context *, const uint8_t *name, size_t len, unsigned *flags);

/* tls_files.c: NULL or -1 with error; name is for that. */
void	 tls_error_set(char error[TLS_ERROR_SIZE], const char *, ...) __attribute__((format(printf, 2, 3)));
const char *tls_openssl_reason(void);
/* above NULL: the certificate must be alone. Else takes those between it and the root, or all behind it if that is NULL. */
X509	*tls_read_certificate(int fd, const char *name, const X509 *root, STACK_OF(X509) *above, char error[TLS_ERROR_SIZE]);
/* One at least, and each of them good. */
int	 tls_read_certificates(int fd, const char *name, STACK_OF(X509) *all, char error[TLS_ERROR_SIZE]);
EVP_PKEY *tls_read_key(int fd, const char *name, char error[TLS_ERROR_SIZE]);

/* What the handshake's callbacks know of a connection (SSL_get_app_data()), and the first thing that they found wrong. */
struct tls_note {
	const struct tls_context *context;
	const char	*expect_host;
	char		 address[TLS_ADDRESS_SIZE];
	uint8_t		 first[TLS_FIRST_SIZE];
	size_t		 first_len;
	char		 why[TLS_ERROR_SIZE];
};

int	tls_why_verify(int ok, X509_STORE_CTX *);			/* the verify callback */
int	tls_why_client_hello(SSL *, int *alert, void *);
int	tls_why_alpn(SSL *, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *);
int	tls_why_alpn_answer(SSL *, struct tls_note *);			/* client: 0, or -1 if the server chose none or another */
/* The first thing wrong stays: later ones follow from it. */
void	tls_why_set(struct tls_note *, const char *, ...) __attribute__((format(printf, 2, 3)));
/* Turns what a failed SSL call left (eof, errno of the socket, OpenSSL's error) into words. */
void	tls_why_failed(struct tls_note *, int in_handshake, int eof, int sys_errno);
char	*tls_why_date(time_t, char dst[16]);			/* "2026-01-01" */

#define TLS_NOT_AFTER_NEVER	((time_t)253402300799)	/* 9999-12-31: RFC 5280 has no later time */

#define TLSIO_RECORD_MAX	16384			/* plain bytes in a record (RFC 8446, 5.1) */
#define TLSIO_RECORD_OVERHEAD	64			/* header, type and tag, generously */
#define TLSIO_BATCH		(160 * 1024)		/* bytes given to one send(2): more gains nothing, and leaves the cache */
#define TLSIO_WRITE_MAX		(1024 * 1024)
#define TLSIO_OUTPUT_MAX	(TLSIO_WRITE_MAX + 2 * TLSIO_BATCH)	/* beyond what may be queued: key updates, alerts */

enum tlsio_read { TLSIO_READ_MORE, TLSIO_READ_WAIT, TLSIO_READ_END };

/* What the bytes go through between the owner and the socket: tlsio_records.c or tlsio_plain.c. */
struct tlsio_layer {
	int		(*set_up)(struct tlsio *);	/* -1: ENOMEM */
	void		(*handshake)(struct tlsio *);	/* comes to tlsio_opened() or tlsio_failed(), or waits for more */
	int		(*queue)(struct tlsio *, const uint8_t *, size_t);	/* whole, into output; -1: write_errno */
	size_t		(*send)(struct tlsio *, const uint8_t *, size_t);	/* bytes taken; too few: blocked, or write_errno */
	enum tlsio_read	(*read_some)(struct tlsio *);	/* END: note.why says it */
	void		(*goodbye)(struct tlsio *);
};
extern const struct tlsio_layer tlsio_layer_tls, tlsio_layer_plain;

enum tlsio_state { TLSIO_CONNECTING, TLSIO_HANDSHAKE, TLSIO_OPEN, TLSIO_DRAINING, TLSIO_CLOSED };

struct tlsio {
	struct event_base	*base;		/* NULL while detached */
	const struct tlsio_layer *layer;
	struct tls_context	*context;	/* plain: NULL, and so is ssl */
	SSL			*ssl;
	int			 fd;
	enum tlsio_state	 state;
	struct tlsio_options	 options;
	struct tlsio_callbacks	 callbacks;
	void			*arg;
	struct event		 ev_read, ev_write, ev_kick, ev_timer;
	bool			*gone;		/* set while service() runs */

	struct buf		 input;
	bool			 read_stopped;	/* by the owner */
	bool			 retry_read;	/* SSL or the socket may hold more than the last wake-up took */
	bool			 drained;	/* nothing more is read from the socket in this wake-up */
	size_t			 wake_bytes;	/* read from it in this wake-up */
	bool			 eof;
	int			 read_errno;

	struct buf		 output;	/* records; the first output_sent bytes are gone */
	size_t			 output_sent;
	bool			 corked;	/* more is to follow at once: what does not fill a batch can wait */
	bool			 blocked;	/* the socket is full: nothing is sent before EV_WRITE */
	bool			 write_shut;
	int			 write_errno;
	uint64_t		 records;	/* written under the present keys */

	uint64_t		 deadline_ns;	/* of the present state */
	bool			 timer_armed;	/* for that */
	unsigned		 linger_ms;
	uint64_t		 bytes_in, bytes_out;
	struct tls_note		 note;
	struct tls_names	 peer;
	char			*expect_host;
};

/* tlsio_output.c */
int	 tlsio_output_put(struct tlsio *, const uint8_t *, size_t);	/* -1: write_errno */
void	 tlsio_flush(struct tlsio *);		/* until output is empty, the socket full (blocked) or broken (write_errno) */
/* tlsio.c */
bool	 tlsio_may_read(const struct tlsio *);
void	 tlsio_opened(struct tlsio *);		/* with peer filled in; the owner is told, and may free it */
void	 tlsio_failed(struct tlsio *);		/* note.why says it */
/* Has the loop come round soon, after it has looked at other descriptors too (event_active() would not let it). */
void	 tlsio_kick(struct tlsio *);

#endif
