#include "CRE2.h"
#include <re2/re2.h>
#include <cstdio>

struct cre2_regex { re2::RE2 re; cre2_regex(re2::StringPiece p, const re2::RE2::Options &o) : re(p, o) {} };

extern "C" cre2_regex *cre2_compile(const char *pattern, size_t length, int case_sensitive, char *error, size_t error_size) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_case_sensitive(case_sensitive != 0);
  auto *r = new cre2_regex(re2::StringPiece(pattern, length), options);
  if (!r->re.ok()) {
    std::snprintf(error, error_size, "%s", r->re.error().c_str());
    delete r;
    return nullptr;
  }
  return r;
}
extern "C" int cre2_full_match(const cre2_regex *r, const char *text, size_t length) {
  return re2::RE2::FullMatchN(re2::StringPiece(text, length), r->re, nullptr, 0) ? 1 : 0;
}
extern "C" int cre2_partial_match(const cre2_regex *r, const char *text, size_t length) {
  return re2::RE2::PartialMatchN(re2::StringPiece(text, length), r->re, nullptr, 0) ? 1 : 0;
}
extern "C" void cre2_free(cre2_regex *r) { delete r; }
