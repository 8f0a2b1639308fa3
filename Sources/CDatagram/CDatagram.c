#include "CDatagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int cdatagram_ask_for_local_address(int fd, int family) {
  int on = 1;
  if (family == AF_INET) return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
}

static void cdatagram_read_local(struct cdatagram *one, struct msghdr *head) {
  one->family = 0;
  one->interface = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(one->local, &info.ipi_addr, 4);
      one->interface = (uint32_t)info.ipi_ifindex;
      one->family = AF_INET;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(one->local, &info.ipi6_addr, 16);
      one->interface = info.ipi6_ifindex;
      one->family = AF_INET6;
    }
  }
}

// recvmmsg(2) into `list`; how many, or -1 with errno.
int cdatagram_receive(int fd, struct cdatagram *list, int count) {
  struct mmsghdr heads[CDATAGRAM_BATCH];
  struct iovec parts[CDATAGRAM_BATCH];
  uint8_t control[CDATAGRAM_BATCH][64];
  if (count > CDATAGRAM_BATCH) count = CDATAGRAM_BATCH;
  memset(heads, 0, sizeof(struct mmsghdr) * (size_t)count);
  for (int i = 0; i < count; i++) {
    memset(list[i].peer, 0, sizeof list[i].peer);
    parts[i].iov_base = list[i].data;
    parts[i].iov_len = list[i].room;
    heads[i].msg_hdr.msg_name = list[i].peer;
    heads[i].msg_hdr.msg_namelen = sizeof list[i].peer;
    heads[i].msg_hdr.msg_iov = &parts[i];
    heads[i].msg_hdr.msg_iovlen = 1;
    heads[i].msg_hdr.msg_control = control[i];
    heads[i].msg_hdr.msg_controllen = sizeof control[i];
  }
  int received = recvmmsg(fd, heads, (unsigned)count, MSG_DONTWAIT, NULL);
  for (int i = 0; i < received; i++) {
    list[i].length = heads[i].msg_len;
    cdatagram_read_local(&list[i], &heads[i].msg_hdr);
  }
  return received;
}

// sendmsg(2) to `peer` from the local address of `from`, or from any when that is NULL.
long cdatagram_send(int fd, const uint8_t *data, size_t length, const void *peer, uint32_t peer_length,
                                  const struct cdatagram *from) {
  struct iovec part = {.iov_base = (void *)data, .iov_len = length};
  struct msghdr head = {
      .msg_name = (void *)peer, .msg_namelen = peer_length, .msg_iov = &part, .msg_iovlen = 1};
  union {
    struct cmsghdr head;
    uint8_t bytes[64];
  } control;
  if (from && from->family == AF_INET) {
    struct in_pktinfo info = {0};
    memcpy(&info.ipi_spec_dst, from->local, 4);
    head.msg_control = control.bytes;
    head.msg_controllen = CMSG_SPACE(sizeof info);
    struct cmsghdr *c = CMSG_FIRSTHDR(&head);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
  } else if (from && from->family == AF_INET6) {
    struct in6_pktinfo info = {0};
    memcpy(&info.ipi6_addr, from->local, 16);
    info.ipi6_ifindex = from->interface;
    head.msg_control = control.bytes;
    head.msg_controllen = CMSG_SPACE(sizeof info);
    struct cmsghdr *c = CMSG_FIRSTHDR(&head);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
  }
  return sendmsg(fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int cdatagram_errno(void) { return errno; }
