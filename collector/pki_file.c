/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include "collector/pki_file.h"

#define FILE_SIZE	(IDENTITY_NAME_SIZE + 32)	/* of a file's name, a temporary one's too */

void
pki_error_set(char error[PKI_ERROR_SIZE], const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	vsnprintf(error, PKI_ERROR_SIZE, format, ap);
	va_end(ap);
}

void
pki_error_openssl(char error[PKI_ERROR_SIZE], const char *what)
{
	const char	*reason = ERR_reason_error_string(ERR_peek_last_error());

	pki_error_set(error, "%s: %s", what, reason != NULL ? reason : "unknown error");
	ERR_clear_error();
}

int
pki_dir_open(struct pki_dir *dir, const char *path, bool make, char error[PKI_ERROR_SIZE])
{
	*dir = (struct pki_dir){ .path = path, .fd = -1 };
	if (make && mkdir(path, 0700) == 0)
		dir->made = true;
	else if (make && errno != EEXIST) {
		pki_error_set(error, "%s cannot be made: %s", path, strerror(errno));
		return -1;
	}
	if ((dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		pki_error_set(error, "%s: %s", path, strerror(errno));
		pki_dir_close(dir, false);
		return -1;
	}
	return 0;
}

void
pki_dir_close(struct pki_dir *dir, bool keep)
{
	if (dir->fd != -1)
		close(dir->fd);
	if (dir->made && !keep)
		rmdir(dir->path);
}

static int
check_absent(const struct pki_dir *dir, const char *name, const char *suffix, char error[PKI_ERROR_SIZE])
{
	char		 file[FILE_SIZE];
	struct stat	 st;

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	if (fstatat(dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		pki_error_set(error, "%s/%s exists already, and is never overwritten", dir->path, file);
	else if (errno != ENOENT)
		pki_error_set(error, "%s/%s: %s", dir->path, file, strerror(errno));
	else
		return 0;
	return -1;
}

int
pki_dir_check_free(const struct pki_dir *dir, const char *name, char error[PKI_ERROR_SIZE])
{
	if (check_absent(dir, name, "key", error) == -1)
		return -1;
	return check_absent(dir, name, "crt", error);
}

/* A BIO on a file of the directory; closing it closes the file. */
static BIO *
open_bio(int dir_fd, const char *file, int flags, mode_t mode)
{
	int	 fd = openat(dir_fd, file, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	BIO	*bio;

	if (fd == -1)
		return NULL;
	if ((bio = BIO_new_fd(fd, BIO_CLOSE)) == NULL) {
		close(fd);
		errno = ENOMEM;
	}
	return bio;
}

static int
write_pem(BIO *bio, EVP_PKEY *key, X509 *cert)
{
	if (key != NULL)
		return PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 ? 0 : -1;
	return PEM_write_bio_X509(bio, cert) == 1 ? 0 : -1;
}

/* The whole of it, on the disk, under a temporary name. */
static int
write_temporary(const struct pki_dir *dir, const char *temporary, EVP_PKEY *key, X509 *cert)
{
	mode_t	 mode = key != NULL ? 0600 : 0644;
	BIO	*bio = open_bio(dir->fd, temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
	int	 fd, result = -1;

	if (bio == NULL)
		return -1;
	errno = 0;
	if (write_pem(bio, key, cert) == 0 && BIO_get_fd(bio, &fd) >= 0 && fchmod(fd, mode) == 0)
		result = fsync(fd);
	if (errno == 0)
		errno = EIO;
	BIO_free(bio);
	return result;
}

/* link(2), unlike rename(2), never replaces what has come up meanwhile. */
static int
store(const struct pki_dir *dir, const char *file, EVP_PKEY *key, X509 *cert, bool replace, char error[PKI_ERROR_SIZE])
{
	char	 temporary[FILE_SIZE];
	uint32_t random;
	int	 result = -1;

	if (RAND_bytes((uint8_t *)&random, sizeof(random)) != 1) {
		pki_error_openssl(error, "no random numbers");
		return -1;
	}
	snprintf(temporary, sizeof(temporary), ".%s.%08x", file, random);
	if (write_temporary(dir, temporary, key, cert) == 0)
		result = replace ? renameat(dir->fd, temporary, dir->fd, file) : linkat(dir->fd, temporary, dir->fd, file, 0);
	if (result == -1)
		pki_error_set(error, "%s/%s cannot be written: %s", dir->path, file, strerror(errno));
	unlinkat(dir->fd, temporary, 0);
	return result;
}

int
pki_dir_store(const struct pki_dir *dir, const char *name, EVP_PKEY *key, X509 *cert, struct pki_made *made,
    char error[PKI_ERROR_SIZE])
{
	char	 key_file[FILE_SIZE], cert_file[FILE_SIZE];

	snprintf(key_file, sizeof(key_file), "%s.key", name);
	snprintf(cert_file, sizeof(cert_file), "%s.crt", name);
	if (store(dir, key_file, key, NULL, false, error) == -1)
		return -1;
	if (store(dir, cert_file, NULL, cert, false, error) == -1) {
		unlinkat(dir->fd, key_file, 0);
		return -1;
	}
	(void)fsync(dir->fd);
	snprintf(made->key_path, sizeof(made->key_path), "%s/%s", dir->path, key_file);
	snprintf(made->cert_path, sizeof(made->cert_path), "%s/%s", dir->path, cert_file);
	return 0;
}

int
pki_dir_replace(const struct pki_dir *dir, const char *name, X509 *cert, struct pki_made *made, char error[PKI_ERROR_SIZE])
{
	char	 file[FILE_SIZE];

	snprintf(file, sizeof(file), "%s.crt", name);
	if (store(dir, file, NULL, cert, true, error) == -1)
		return -1;
	(void)fsync(dir->fd);
	snprintf(made->cert_path, sizeof(made->cert_path), "%s/%s", dir->path, file);
	return 0;
}

/* An encrypted key is not asked a passphrase for: OpenSSL's own prompt would be a surprise in a script. */
static int
no_passphrase(char *dst, int size, int writing, void *arg)
{
	(void)dst, (void)size, (void)writing, (void)arg;
	return -1;
}

static int
read_pem(const struct pki_dir *dir, const char *file, EVP_PKEY **key, X509 **cert, char error[PKI_ERROR_SIZE])
{
	BIO	*bio = open_bio(dir->fd, file, O_RDONLY, 0);
	char	 what[PKI_PATH_SIZE];

	if (bio == NULL) {
		if (errno == ENOENT)
			pki_error_set(error, "%s/%s is missing; \"vmtap pki init %s\" makes a CA", dir->path, file, dir->path);
		else
			pki_error_set(error, "%s/%s: %s", dir->path, file, strerror(errno));
		return -1;
	}
	if (key != NULL)
		*key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	else
		*cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if ((key != NULL && *key != NULL) || (cert != NULL && *cert != NULL))
		return 0;
	snprintf(what, sizeof(what), "%s/%s cannot be read", dir->path, file);
	pki_error_openssl(error, what);
	return -1;
}

static int
check_ca(const struct pki_dir *dir, struct pki_ca *ca, char error[PKI_ERROR_SIZE])
{
	struct tm	 tm = { 0 };

	if (X509_check_private_key(ca->cert, ca->key) != 1)
		pki_error_set(error, "%s/ca.key is not the key of %s/ca.crt", dir->path, dir->path);
	else if (ASN1_TIME_to_tm(X509_get0_notAfter(ca->cert), &tm) != 1 || (ca->not_after = timegm(&tm)) <= time(NULL))
		pki_error_set(error, "%s/ca.crt expired on %04d-%02d-%02d", dir->path, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	else
		return 0;
	ERR_clear_error();
	return -1;
}

int
pki_dir_load(const struct pki_dir *dir, const char *name, X509 **cert, char error[PKI_ERROR_SIZE])
{
	char		 file[FILE_SIZE];
	struct stat	 st;

	snprintf(file, sizeof(file), "%s.crt", name);
	if (fstatat(dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) == -1 && errno == ENOENT) {
		pki_error_set(error, "%s/%s is missing: it says what the new one is to be", dir->path, file);
		return -1;
	}
	return read_pem(dir, file, NULL, cert, error);
}

int
pki_dir_load_ca(const struct pki_dir *dir, struct pki_ca *ca, char error[PKI_ERROR_SIZE])
{
	*ca = (struct pki_ca){ 0 };
	if (read_pem(dir, "ca.crt", NULL, &ca->cert, error) == 0 && read_pem(dir, "ca.key", &ca->key, NULL, error) == 0 &&
	    check_ca(dir, ca, error) == 0)
		return 0;
	pki_ca_clear(ca);
	return -1;
}

void
pki_ca_clear(struct pki_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	*ca = (struct pki_ca){ 0 };
}
