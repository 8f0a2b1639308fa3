#pragma once
#include <string.h>
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <openssl/ocsp.h>
#include <openssl/params.h>

// Swift sees no function-like macros: their names with sluice_ in front.
static inline long sluice_SSL_CTX_set_mode(SSL_CTX *c, long mode) { return SSL_CTX_set_mode(c, mode); }
static inline int sluice_SSL_CTX_set_min_proto_version(SSL_CTX *c, int version) {
  return (int)SSL_CTX_set_min_proto_version(c, version);
}
static inline int sluice_SSL_CTX_set_max_proto_version(SSL_CTX *c, int version) {
  return (int)SSL_CTX_set_max_proto_version(c, version);
}
static inline long sluice_SSL_CTX_set_session_cache_mode(SSL_CTX *c, long mode) {
  return SSL_CTX_set_session_cache_mode(c, mode);
}
static inline long sluice_SSL_CTX_add1_chain_cert(SSL_CTX *c, X509 *x) {
  return SSL_CTX_add1_chain_cert(c, x);
}
static inline long sluice_SSL_CTX_set1_groups_list(SSL_CTX *c, const char *list) {
  return SSL_CTX_set1_groups_list(c, list);
}
static inline long sluice_SSL_CTX_set1_sigalgs_list(SSL_CTX *c, const char *list) {
  return SSL_CTX_set1_sigalgs_list(c, list);
}
static inline void sluice_SSL_CTX_set_status(SSL_CTX *c, int (*callback)(SSL *, void *), void *argument) {
  SSL_CTX_set_tlsext_status_cb(c, callback);
  SSL_CTX_set_tlsext_status_arg(c, argument);
}
static inline long sluice_SSL_set_status_response(SSL *s, unsigned char *bytes, long count) {
  return SSL_set_tlsext_status_ocsp_resp(s, bytes, count);
}
static inline int sluice_EVP_MAC_CTX_set_hmac_sha256(EVP_MAC_CTX *c, unsigned char *key, size_t count) {
  OSSL_PARAM parameters[3] = {
      OSSL_PARAM_construct_octet_string("key", key, count),
      OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0), OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(c, parameters);
}
static inline int sluice_X509_NAME_print_rfc2253(BIO *b, const X509_NAME *name) {
  return X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253);
}
static inline void sluice_SSL_CTX_set_servername(
    SSL_CTX *c, int (*callback)(SSL *, int *, void *), void *argument) {
  SSL_CTX_set_tlsext_servername_callback(c, callback);
  SSL_CTX_set_tlsext_servername_arg(c, argument);
}
static inline long sluice_SSL_set_tlsext_host_name(SSL *s, const char *name) {
  return SSL_set_tlsext_host_name(s, name);
}
static inline void sluice_BIO_set_retry_read(BIO *b) { BIO_set_retry_read(b); }
static inline void sluice_BIO_clear_retry_flags(BIO *b) { BIO_clear_retry_flags(b); }
static inline int sluice_SSL_CTX_new_index(CRYPTO_EX_free *release) {
  return SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release);
}
