/* What a load generator says at its end: one JSON object of counts and percentiles. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* 64 steps for each power of two: an error below 1.6 % from a nanosecond to hours. */
enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, BUCKETS = 64 * STEPS };

static uint64_t times[BUCKETS], time_count, longest;

static inline int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void add_time(int64_t nanoseconds) {
  uint64_t value = nanoseconds < 0 ? 0 : (uint64_t)nanoseconds;
  unsigned shift = value < STEPS ? 0 : 63u - STEP_BITS - (unsigned)__builtin_clzll(value);
  times[shift * STEPS + (value >> shift)]++;
  time_count++;
  if (value > longest) longest = value;
}

/* Milliseconds that a share of all times does not exceed. */
static inline double percentile(double share) {
  uint64_t wanted = (uint64_t)(share * (double)time_count), seen = 0;
  for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
    seen += times[bucket];
    if (seen <= wanted || !times[bucket]) continue;
    /* A bucket's number is shift * STEPS + value >> shift, and the last part has its highest bit set. */
    unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    return (double)((uint64_t)(bucket - shift * STEPS) << shift) / 1e6;
  }
  return (double)longest / 1e6;
}

/* `start`: when the first unit of work began. Without times there are no percentiles. */
static inline int report(uint64_t count, uint64_t errors, int64_t start) {
  printf("{\"count\": %llu, \"errors\": %llu, \"seconds\": %.6f", (unsigned long long)count,
         (unsigned long long)errors, (double)(now() - start) / 1e9);
  if (time_count)
    printf(", \"p50\": %.6f, \"p99\": %.6f, \"p999\": %.6f, \"max\": %.6f", percentile(0.5),
           percentile(0.99), percentile(0.999), (double)longest / 1e6);
  printf("}\n");
  return 0;
}

#endif
