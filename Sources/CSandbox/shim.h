#pragma once
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Swift sees no variadic functions.
static inline int csandbox_prctl(int option, unsigned long argument) { return prctl(option, argument, 0, 0, 0); }
static inline int csandbox_seccomp(unsigned operation, unsigned flags, const void *argument) {
  return (int)syscall(SYS_seccomp, operation, flags, argument);
}
static inline int csandbox_capset(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data) {
  return (int)syscall(SYS_capset, header, data);
}
static inline int csandbox_capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data) {
  return (int)syscall(SYS_capget, header, data);
}
static inline int csandbox_landlock_create(const struct landlock_ruleset_attr *attributes, size_t size,
                                           unsigned flags) {
  return (int)syscall(SYS_landlock_create_ruleset, attributes, size, flags);
}
static inline int csandbox_landlock_add(int ruleset, const struct landlock_path_beneath_attr *attributes) {
  return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, attributes, 0);
}
static inline int csandbox_landlock_restrict(int ruleset) {
  return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}
static inline int csandbox_errno(void) { return errno; }
