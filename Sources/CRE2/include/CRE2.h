#pragma once
#include <stddef.h>
#include <stdint.h>
// RE2 behind a C interface: linear-time regular expressions.
#ifdef __cplusplus
extern "C" {
#endif
typedef struct cre2_regex cre2_regex;
/// Compiles `pattern`; NULL on failure, with a NUL-terminated reason in `error` (of `error_size` bytes).
cre2_regex *cre2_compile(const char *pattern, size_t length, int case_sensitive, char *error, size_t error_size);
/// 1 when the whole of `text` matches. Safe to call from several threads.
int cre2_full_match(const cre2_regex *regex, const char *text, size_t length);
/// 1 when any part of `text` matches.
int cre2_partial_match(const cre2_regex *regex, const char *text, size_t length);
/// Writes bytes that every text begins with which matches as a whole; their number, at most `size`.
size_t cre2_required_prefix(const cre2_regex *regex, char *out, size_t size);
void cre2_free(cre2_regex *regex);
#ifdef __cplusplus
}
#endif
