#include "CRE2.h"
#include <re2/re2.h>
#include <cstdio>
#include <cstring>
#include <string>

struct cre2_regex { re2::RE2 re; cre2_regex(re2::StringPiece p, const re2::RE2::Options &o) : re(p, o) {} };

extern "C" cre2_regex *cre2_compile(const char *pattern, size_t length, int case_sensitive, char *error,
                                    size_t error_size) {
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
  return re2::RE2::FullMatchN(re2::StringPiece(length ? text : "", length), r->re, nullptr, 0) ? 1 : 0;
}
extern "C" int cre2_partial_match(const cre2_regex *r, const char *text, size_t length) {
  return re2::RE2::PartialMatchN(re2::StringPiece(length ? text : "", length), r->re, nullptr, 0) ? 1 : 0;
}
extern "C" size_t cre2_required_prefix(const cre2_regex *r, char *out, size_t size) {
  // Every full match lies between the two, so it shares what they have in common.
  std::string low, high;
  if (!r->re.PossibleMatchRange(&low, &high, static_cast<int>(size))) return 0;
  size_t n = 0;
  while (n < low.size() && n < high.size() && n < size && low[n] == high[n]) n++;
  std::memcpy(out, low.data(), n);
  return n;
}
extern "C" void cre2_free(cre2_regex *r) { delete r; }
