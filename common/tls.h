/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_TLS_H
#define VMTAP_COMMON_TLS_H

#include <sys/types.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct buf;
struct event_base;
struct tls_context;
struct tlsio;

#define TLS_ERROR_SIZE	512

enum tlsio_side { TLSIO_CLIENT, TLSIO_SERVER };

/*
 * Who we are and whom we trust: TLS 1.3 only, both sides show a certificate of the one CA, one ALPN name.
 * The certificate's file may hold those of the issuers between it and the CA behind it: they are shown with it.
 * The PEM texts are read from the descriptors, which stay the caller's (read with pread(2), so that they can be used
 * again); names are for error messages. NULL with error set: unreadable, no such thing in it, key does not fit, expired.
 */
struct tls_files {
	const char	*ca_name, *cert_name, *key_name;
	int		 ca_fd, cert_fd, key_fd;
};
struct tls_context *tls_context_new(const struct tls_files *, const char *alpn, char error[TLS_ERROR_SIZE]);
/* Opens the three files and calls tls_context_new(). Warns if the key file can be read by others than its owner. */
struct tls_context *tls_context_load(const char *ca, const char *cert, const char *key, const char *alpn,
	    char error[TLS_ERROR_SIZE]);
/*
 * Server: other names than the context's own that a client may offer instead. ANONYMOUS: it is asked for no certificate. ROOT: the CA's
 * certificate is shown with ours, for a client that has only its fingerprint. Before the first tlsio; -1: too many, too long, ENOMEM.
 */
#define TLS_ALPN_ANONYMOUS	0x1u
#define TLS_ALPN_ROOT		0x2u
int		 tls_context_add_alpn(struct tls_context *, const char *name, unsigned flags);
void		 tls_context_free(struct tls_context *);	/* sessions made from it live on */
/* Our own certificate's: pointers live as long as the context. */
const char	*tls_context_uri(const struct tls_context *);
const char	*tls_context_common_name(const struct tls_context *);
time_t		 tls_context_not_before(const struct tls_context *);
time_t		 tls_context_not_after(const struct tls_context *);
#define TLS_FINGERPRINT_SIZE	32	/* SHA-256 of the certificate */
const uint8_t	*tls_context_fingerprint(const struct tls_context *);

/* When the first certificate in a file ends, whatever else is wrong with it; 0: it has none. */
time_t		 tls_certificate_end(int fd);

/*
 * For a client that has no certificate yet: trusts nothing but the root of this fingerprint, which it finds in the chain that the
 * server shows; that chain, its dates and the host are verified as ever. NULL with error.
 */
struct tls_context *tls_context_new_pinned(const uint8_t fingerprint[TLS_FINGERPRINT_SIZE], const char *alpn,
	    char error[TLS_ERROR_SIZE]);
/* "SHA256:" and 64 hexadecimal digits, either case, with colons between bytes or not. 0 / -1. */
#define TLS_FINGERPRINT_TEXT	(7 + 2 * TLS_FINGERPRINT_SIZE + 1)
int		 tls_fingerprint_parse(const char *, uint8_t fingerprint[TLS_FINGERPRINT_SIZE]);
char		*tls_fingerprint_format(const uint8_t fingerprint[TLS_FINGERPRINT_SIZE], char dst[TLS_FINGERPRINT_TEXT]);

/*
 * For the peers of another protocol: TLS 1.2 or 1.3, no ALPN name. A descriptor that is -1 is of a file that there is not.
 * Server: certificate and key; with a CA, clients must show a certificate of it, without one they are asked for none.
 * Client: the peer is verified by the CA, or those of the system; certificate and key are shown if there are any. The CA's file may
 * hold several. NULL with error.
 */
struct tls_context *tls_context_new_foreign(const struct tls_files *, enum tlsio_side, char error[TLS_ERROR_SIZE]);

/*
 * tlsio: one connected, non-blocking TCP socket under TLS in an event loop. Owns the descriptor.
 * Callbacks run in the loop's thread, from the loop itself, never from inside a function called here. After closed()
 * (which comes once, for whatever reason) nothing else is called; the owner then calls tlsio_free(), at any time, from
 * inside any callback too. Unused callbacks may be NULL.
 * A connection that is not open within handshake_ms, or whose peer certificate's notAfter passes, is closed.
 */
struct tlsio_callbacks {
	void	(*opened)(struct tlsio *, void *arg);	/* handshake done, chain and ALPN good; roles are the owner's to check */
	void	(*readable)(struct tlsio *, void *arg);	/* bytes were added to tlsio_input() */
	void	(*writable)(struct tlsio *, void *arg);	/* the queue is empty again after tlsio_send() or tlsio_write() held some back */
	void	(*closed)(struct tlsio *, const char *why, void *arg);	/* why: one line for people */
};

struct tlsio_options {
	enum tlsio_side	 side;
	const char	*expect_host;	/* client: name or address that the peer's certificate must carry; NULL: any */
	unsigned	 handshake_ms;
	size_t		 input_max;	/* reading pauses while the input holds this much */
	size_t		 read_budget;	/* bytes read in one wake-up before others have their turn */
};

/* A connecting socket is fine too: the handshake starts once it is writable. NULL: ENOMEM; the fd is then the caller's. Without a
 * context the bytes go as they are, in plain text: all else is the same, opened() comes as soon as there is a connection. */
struct tlsio	*tlsio_new(struct event_base *, struct tls_context *, int fd, const struct tlsio_options *,
		    const struct tlsio_callbacks *, void *arg);
void		 tlsio_free(struct tlsio *);
/* To another loop (of another thread): detach in the old thread, attach in the new one, nothing between but a new owner. */
void		 tlsio_detach(struct tlsio *);
int		 tlsio_attach(struct tlsio *, struct event_base *);
/* From now on another's, as from opened(), when it is known what the peer wants. */
void		 tlsio_set_owner(struct tlsio *, const struct tlsio_callbacks *, void *arg);

struct buf	*tlsio_input(struct tlsio *);		/* consume with buf_consume(); then tlsio_input_taken() */
void		 tlsio_input_taken(struct tlsio *);	/* resumes a paused reading; an empty input gives its memory back */
void		 tlsio_read_stop(struct tlsio *);	/* back-pressure: TCP's window closes */
void		 tlsio_read_start(struct tlsio *);

/* Queues whole; -1 ENOBUFS when more than write_max (1 MiB) waits, ENOTCONN unless open. For the small messages. */
int		 tlsio_write(struct tlsio *, const void *, size_t);
/* Straight into TLS records, nothing copied: returns how many bytes were taken, 0..len; short = writable() will come, and the
 * bytes not taken must then be offered first, unchanged (from any address). 0 also while the queue is not empty. */
size_t		 tlsio_send(struct tlsio *, const void *, size_t);
/* Between these two, what is sent gathers into few large writes, instead of one for each call. */
void		 tlsio_cork(struct tlsio *);
void		 tlsio_uncork(struct tlsio *);
size_t		 tlsio_queued(const struct tlsio *);
/* Sends what is queued and close_notify, then closed() with why; gives up after linger_ms. */
void		 tlsio_shutdown(struct tlsio *, const char *why, unsigned linger_ms);

/* The root that the peer's chain was verified up to, in PEM, appended; once open. 0, or -1 with errno. */
int		 tlsio_peer_root(const struct tlsio *, struct buf *);
const char	*tlsio_alpn(const struct tlsio *);		/* the name in use; "" before opened() */
const char	*tlsio_peer_uri(const struct tlsio *);		/* the one vmtap SAN URI; "" if none or several, or anonymous */
#define TLS_URIS_MAX	256
/* Each SAN URI of the peer's certificate that begins with scheme, in upper or lower case; "" for one that is no text. How many there
 * are; -1: more than TLS_URIS_MAX, of which the first were told. */
int		 tlsio_peer_uris(const struct tlsio *, const char *scheme, void (*each)(const char *uri, void *arg), void *arg);
const char	*tlsio_peer_common_name(const struct tlsio *);
time_t		 tlsio_peer_not_after(const struct tlsio *);
const char	*tlsio_peer_address(const struct tlsio *);	/* "192.0.2.1:8827", "[2001:db8::1]:8827" */
uint64_t	 tlsio_bytes_in(const struct tlsio *);		/* on the TCP connection, TLS included */
uint64_t	 tlsio_bytes_out(const struct tlsio *);
int		 tlsio_fd(const struct tlsio *);

#endif
