import HTTPSemantics

// The winner of an explanation: its rule, and what becomes of the request.

extension RoutingImage {
  func match(
    _ answer: RouteAnswer, of host: VirtualHostRecord, _ head: UnsafePointer<RequestHead>
  ) -> Explanation.Match {
    let rule = rule(answer.rule)
    let rewrittenHost = rule.rewriteHost
    return unsafe Explanation.Match(
      position: Int(answer.entry) - Int(host.entries.first), matcher: matcherText(Int(answer.entry)),
      rule: String(decoding: rule.provenance), isGRPC: rule.isGRPC,
      action: action(answer, rule, head),
      rewrittenTarget: rule.rewritesPath && rule.action == .forward
        ? target(answer, rule, head) : nil,
      rewrittenHost: rewrittenHost.isEmpty ? nil : String(decoding: rewrittenHost),
      requestTimeout: rule.requestTimeout, backendTimeout: rule.backendTimeout,
      requestHeaders: texts(rule.requestHeaders), responseHeaders: texts(rule.responseHeaders))
  }

  private func action(
    _ answer: RouteAnswer, _ rule: RuleView, _ head: UnsafePointer<RequestHead>
  ) -> Explanation.Action {
    switch rule.action {
    case .redirect:
      return unsafe .redirect(status: rule.status, location: location(answer, rule, head))
    case .respond:
      return .respond(status: rule.status, reason: String(decoding: rule.reason))
    case .forward:
      return .forward(
        (0..<rule.weightedBackendCount).map { index in
          let weighted = rule.weightedBackend(index)
          return describe(weighted, total: rule.record.totalWeight)
        })
    }
  }

  func describe(_ weighted: WeightedBackendView, total: UInt32) -> Explanation.Backend {
    guard weighted.backend >= 0 else {
      return Explanation.Backend(
        id: nil, weight: weighted.weight, totalWeight: total, proto: nil, endpoints: [])
    }
    let backend = backend(Int(weighted.backend))
    let endpoints = (0..<backend.endpointCount).map { index in
      let endpoint = backend.endpoint(index)
      return Explanation.Endpoint(
        address: String(decoding: endpoint.address), port: endpoint.port, weight: endpoint.weight,
        isReady: endpoint.isReady, isTerminating: endpoint.isTerminating)
    }
    return Explanation.Backend(
      id: String(decoding: backend.id), weight: weighted.weight, totalWeight: total,
      proto: backend.proto, endpoints: endpoints)
  }

  private func target(
    _ answer: RouteAnswer, _ rule: RuleView, _ head: UnsafePointer<RequestHead>
  ) -> String {
    unsafe text { out, room in
      unsafe rewrittenTarget(answer, rule, head, into: out, capacity: room)
    }
  }

  private func location(
    _ answer: RouteAnswer, _ rule: RuleView, _ head: UnsafePointer<RequestHead>
  ) -> String {
    unsafe text { out, room in
      unsafe redirectLocation(answer, rule, head, into: out, capacity: room)
    }
  }

  private func text(_ write: (UnsafeMutablePointer<UInt8>, Int) -> Int) -> String {
    let room = 128 * 1024
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: room) { buffer in
      guard let start = buffer.baseAddress else { return "" }
      let count = unsafe write(start, room)
      if count < 0 { return "(more than \(room) bytes)" }
      return unsafe String(decoding: Bytes(start: start, count: count))
    }
  }

  private func texts(_ operations: HeaderOperations) -> [String] {
    (0..<operations.count).map { index in
      let operation = operations[index]
      let name = String(decoding: operation.name)
      let value = String(decoding: operation.value)
      return operation.kind == .remove ? "remove \(name)" : "\(operation.kind) \(name): \(value)"
    }
  }
}
