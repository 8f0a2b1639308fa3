#pragma once
#include <stdint.h>

// Classes of the 16 bytes at `p` for the HTTP/1 parser: bit i is set where byte i ends a run of ordinary
// bytes.
typedef signed char clinux_s16 __attribute__((vector_size(16)));
typedef unsigned char clinux_b16 __attribute__((vector_size(16)));
typedef unsigned char clinux_b16u __attribute__((vector_size(16), aligned(1)));
#define CLINUX_EACH(c) \
  ((clinux_b16){(c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c), (c)})
static inline uint32_t clinux_bits16(clinux_s16 m) {
  typedef char v16 __attribute__((vector_size(16)));
  return (uint32_t)__builtin_ia32_pmovmskb128((v16)m);
}
// Control bytes but tab: 0x00 to 0x1f without 0x09, and 0x7f.
static inline uint32_t clinux_control_mask16(const void *p) {
  clinux_b16 v = *(const clinux_b16u *)p;
  clinux_s16 m = ((v < CLINUX_EACH(0x20)) & (v != CLINUX_EACH(0x09))) | (v == CLINUX_EACH(0x7f));
  return clinux_bits16(m);
}
// Everything but ASCII letters, digits and "-".
static inline uint32_t clinux_name_stop_mask16(const void *p) {
  clinux_b16 v = *(const clinux_b16u *)p;
  clinux_s16 letter = ((v | CLINUX_EACH(0x20)) - CLINUX_EACH('a')) < CLINUX_EACH(26);
  clinux_s16 digit = (v - CLINUX_EACH('0')) < CLINUX_EACH(10);
  clinux_s16 m = letter | digit | (clinux_s16)(v == CLINUX_EACH('-'));
  return clinux_bits16(m) ^ 0xffff;
}
// Everything but visible ASCII, and of that "#", "?" and "\".
static inline uint32_t clinux_path_stop_mask16(const void *p) {
  clinux_b16 v = *(const clinux_b16u *)p;
  clinux_s16 m = ((v - CLINUX_EACH(0x21)) >= CLINUX_EACH(0x5e)) | (v == CLINUX_EACH('#')) |
                 (v == CLINUX_EACH('?')) | (v == CLINUX_EACH('\\'));
  return clinux_bits16(m);
}
// Control bytes, space, DEL and "#".
static inline uint32_t clinux_query_stop_mask16(const void *p) {
  clinux_b16 v = *(const clinux_b16u *)p;
  clinux_s16 m = (v <= CLINUX_EACH(0x20)) | (v == CLINUX_EACH(0x7f)) | (v == CLINUX_EACH('#'));
  return clinux_bits16(m);
}
