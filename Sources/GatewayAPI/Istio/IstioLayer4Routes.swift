public import YAML

/// One entry of `tls` or of `tcp` of a VirtualService: connections below HTTP, and what they are dealt out to.
public struct IstioLayer4Route: Hashable, Sendable {
  /// One of them must hold. Of `tls` at least one; of `tcp` none says every connection.
  public var match: [IstioLayer4Match]
  /// At least one.
  public var route: [IstioWeightedDestination]
  public var position: SourcePosition

  /// - Parameter isTLS: of `tls`; of `tcp` otherwise.
  init(_ reader: inout ObjectReader, isTLS: Bool) {
    position = reader.position
    match =
      isTLS
      ? reader.requiredList("match", count: 1...Int.max) { IstioLayer4Match(&$0, isTLS: true) }
      : reader.list("match") { IstioLayer4Match(&$0, isTLS: false) } ?? []
    route = reader.requiredList("route", count: 1...Int.max) { IstioWeightedDestination(&$0) }
    checkWeights(route.map(\.weight), reader)
  }
}

/// All of its parts must hold.
public struct IstioLayer4Match: Hashable, Sendable {
  /// Server names, wildcards as `*.example.com` among them; at least one in `tls`, none in `tcp`.
  public var sniHosts: [String]
  public var port: Int?
  /// Empty: the gateways of the VirtualService.
  public var gateways: [String]
  public var destinationSubnets: [String]
  public var sourceLabels: [String: String]
  public var sourceNamespace: String?
  /// Of `tcp` only.
  public var sourceSubnet: String?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader, isTLS: Bool) {
    position = reader.position
    sniHosts = isTLS ? reader.requiredStrings("sniHosts", count: 1...Int.max, .istioHost) : []
    port = reader.int("port", in: 0...65535).flatMap { $0 == 0 ? nil : $0 }
    gateways = reader.strings("gateways", .istioGatewayName) ?? []
    destinationSubnets = reader.strings("destinationSubnets") ?? []
    sourceLabels = reader.stringMap("sourceLabels") ?? [:]
    sourceNamespace = reader.string("sourceNamespace")
    sourceSubnet = isTLS ? nil : reader.string("sourceSubnet")
  }
}

/// What a route of `tls` or `tcp` goes to.
public struct IstioWeightedDestination: Hashable, Sendable {
  public var destination: IstioDestination
  /// As written, zero when absent. A single destination takes everything, whatever its weight.
  public var weight: Int

  init(_ reader: inout ObjectReader) {
    destination = reader.requiredObject("destination") { IstioDestination(&$0) }
    weight = reader.int("weight", in: 0...Int(Int32.max)) ?? 0
  }
}
