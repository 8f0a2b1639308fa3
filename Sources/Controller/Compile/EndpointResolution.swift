import GatewayAPI
import RoutingTable

/// The endpoints of one backend, from the objects and look-ups of this moment. Ordered and distinct.
struct EndpointResolution {
  var store: ResourceStore
  /// Host name → IP literals, as the resolver said last.
  var hosts: [String: [String]]

  func endpoints(of backend: ModelBackend) -> [EndpointSource] {
    switch backend.origin {
    case .host(let host, let port):
      return addresses(of: host).map { EndpointSource(address: $0, port: port) }
    case .slices(let service, let portName, let port):
      var found: [EndpointSource] = []
      for slice in store.slices(of: service) {
        for number in Self.ports(of: slice, named: portName, servicePort: port) {
          for endpoint in slice.endpoints { found += endpoints(endpoint, port: number) }
        }
      }
      return Self.distinct(found)
    }
  }

  /// Names that the resolver has to be asked for.
  func hostNames(of backend: ModelBackend) -> [String] {
    switch backend.origin {
    case .host(let host, _):
      return isAddressLiteral(host) ? [] : [host]
    case .slices(let service, _, _):
      return store.slices(of: service)
        .flatMap { slice in slice.endpoints.compactMap { $0.addresses.first } }
        .filter { !isAddressLiteral($0) }
    }
  }

  private func addresses(of host: String) -> [String] {
    isAddressLiteral(host) ? [host] : (hosts[host] ?? []).sorted()
  }

  private func endpoints(_ endpoint: EndpointSlice.Endpoint, port: UInt16) -> [EndpointSource] {
    // The addresses of one endpoint are interchangeable; consumers use the first (discovery.k8s.io/v1).
    guard let host = endpoint.addresses.first else { return [] }
    return addresses(of: host).map {
      EndpointSource(
        address: $0, port: port, isReady: endpoint.ready, isTerminating: endpoint.terminating)
    }
  }

  /// The slice's ports that stand for the Service's port: those of the same name. A slice without ports
  /// means every port, so the Service's own number is taken.
  private static func ports(of slice: EndpointSlice, named name: String, servicePort: UInt16) -> [UInt16] {
    if slice.ports.isEmpty { return [servicePort] }
    return slice.ports
      .filter { $0.name == name }
      .compactMap { $0.port.flatMap { UInt16(exactly: $0) } ?? servicePort }
  }

  /// One entry an address and port; when slices disagree, the one that can serve is kept.
  private static func distinct(_ endpoints: [EndpointSource]) -> [EndpointSource] {
    let sorted = endpoints.sorted { left, right in
      if left.address != right.address { return left.address < right.address }
      if left.port != right.port { return left.port < right.port }
      return (left.isReady ? 0 : 1, left.isTerminating ? 1 : 0)
        < (right.isReady ? 0 : 1, right.isTerminating ? 1 : 0)
    }
    var kept: [EndpointSource] = []
    for endpoint in sorted where kept.last?.address != endpoint.address || kept.last?.port != endpoint.port {
      kept.append(endpoint)
    }
    return kept
  }
}
