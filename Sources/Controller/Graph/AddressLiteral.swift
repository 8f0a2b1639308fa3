import Glibc

/// Whether the text is an IPv4 or IPv6 address rather than a name.
func isAddressLiteral(_ text: String) -> Bool {
  var four = in_addr()
  var six = in6_addr()
  return unsafe inet_pton(AF_INET, text, &four) == 1 || inet_pton(AF_INET6, text, &six) == 1
}
