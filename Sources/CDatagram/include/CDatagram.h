#pragma once
#include <stddef.h>
#include <stdint.h>

// Datagrams with the control messages that tell their local addresses: those are made of macros, which Swift does not
// see.

// One datagram, and the local address that it came to (IP_PKTINFO): 4 or 16 bytes by `family`.
struct cdatagram {
  uint8_t *data;
  uint32_t room;
  uint32_t length;
  // struct sockaddr_in or sockaddr_in6.
  uint8_t peer[28];
  uint32_t interface;
  uint8_t local[16];
  uint16_t family;
};

enum { CDATAGRAM_BATCH = 32 };

int cdatagram_ask_for_local_address(int fd, int family);

// recvmmsg(2) into `list`; how many, or -1 with errno.
int cdatagram_receive(int fd, struct cdatagram *list, int count);

// sendmsg(2) to `peer` from the local address of `from`, or to whom the socket is connected where both are NULL.
long cdatagram_send(int fd, const uint8_t *data, size_t length, const void *peer, uint32_t peer_length,
                    const struct cdatagram *from);

int cdatagram_errno(void);
