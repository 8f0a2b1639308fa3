// The proofs of rules and of what they point at.

extension ImageVerifier {
  mutating func checkRules() throws(ImageError) {
    for index in 0..<count(of: .rules) {
      let record = record(.rules, index, as: RuleRecord.self)
      try require(
        record.action <= ActionCode.respond && record.isGRPC <= 1
          && record.rewritePathKind <= PathRewriteCode.stringPrefix
          && record.redirectPathKind <= PathRewriteCode.stringPrefix
          && record.redirectPortKind <= RedirectPortCode.schemeDefault, .badValue, "rules[\(index)]")
      if record.action != ActionCode.forward {
        try require(
          (200...599).contains(record.status), .badValue, place(.rules, index, "status"))
      }
      try check(text: record.provenance, place(.rules, index, "provenance"))
      try check(text: record.rewriteHost, .visible, place(.rules, index, "rewriteHost"))
      try check(text: record.rewritePath, .visible, place(.rules, index, "rewritePath"))
      try check(text: record.redirectScheme, .visible, place(.rules, index, "redirectScheme"))
      try check(text: record.redirectHost, .visible, place(.rules, index, "redirectHost"))
      try check(text: record.redirectPath, .visible, place(.rules, index, "redirectPath"))
      try check(text: record.reason, .fieldValue, place(.rules, index, "reason"))
      try check(record.requestHeaders, in: .headerOperations, place(.rules, index, "requestHeaders"))
      try check(
        record.responseHeaders, in: .headerOperations, place(.rules, index, "responseHeaders"))
      try check(record.backends, in: .weightedBackends, place(.rules, index, "backends"))
      try checkWeights(of: record, index)
    }
    for index in 0..<count(of: .weightedBackends) {
      let record = record(.weightedBackends, index, as: WeightedRecord.self)
      try check(
        index: record.backend, in: .backends, orNone: true,
        place(.weightedBackends, index, "backend"))
      try check(
        record.requestHeaders, in: .headerOperations,
        place(.weightedBackends, index, "requestHeaders"))
      try check(
        record.responseHeaders, in: .headerOperations,
        place(.weightedBackends, index, "responseHeaders"))
    }
  }

  /// The cumulative weights are the sums, and the last is the total. Runs of rules do not overlap, which
  /// keeps the work linear.
  private mutating func checkWeights(of rule: RuleRecord, _ index: Int) throws(ImageError) {
    try claim(rule.backends, of: .weightedBackends, place(.rules, index, "backends"))
    var sum: UInt64 = 0
    for number in 0..<Int(rule.backends.count) {
      let backend = record(
        .weightedBackends, Int(rule.backends.first) + number, as: WeightedRecord.self)
      sum += UInt64(backend.weight)
      try require(
        UInt64(backend.cumulative) == sum, .badOrder, place(.rules, index, "backends[\(number)]"))
    }
    try require(
      UInt64(rule.totalWeight) == sum, .badValue, place(.rules, index, "totalWeight"))
  }

  mutating func checkBackends() throws(ImageError) {
    for index in 0..<count(of: .backends) {
      let record = record(.backends, index, as: BackendRecord.self)
      try check(text: record.id, place(.backends, index, "id"))
      try require(
        record.proto <= BackendProtocol.automatic.rawValue
          && record.proxyProtocol <= ProxyProtocolVersion.v2.rawValue, .badValue,
        place(.backends, index, "proto"))
      try check(index: record.tls, in: .backendTLS, orNone: true, place(.backends, index, "tls"))
      try check(record.endpoints, in: .endpoints, place(.backends, index, "endpoints"))
    }
    for index in 0..<count(of: .endpoints) {
      let record = record(.endpoints, index, as: EndpointRecord.self)
      try check(text: record.address, .visible, place(.endpoints, index, "address"))
    }
  }

  mutating func checkHeaderOperations() throws(ImageError) {
    for index in 0..<count(of: .headerOperations) {
      let record = record(.headerOperations, index, as: HeaderOperationRecord.self)
      try require(
        record.kind <= HeaderOperationKind.remove.rawValue, .badValue,
        place(.headerOperations, index, "kind"))
      try check(text: record.name, .token, place(.headerOperations, index, "name"))
      try check(text: record.name, .lowercase, place(.headerOperations, index, "name"))
      try require(record.name.length > 0, .badValue, place(.headerOperations, index, "name"))
      try check(text: record.value, .fieldValue, place(.headerOperations, index, "value"))
    }
  }

  mutating func checkCertificates() throws(ImageError) {
    for index in 0..<count(of: .certificates) {
      let record = record(.certificates, index, as: CertificateRecord.self)
      try check(text: record.name, place(.certificates, index, "name"))
      try check(text: record.chainPEM, place(.certificates, index, "chainPEM"))
      try check(text: record.keyPEM, place(.certificates, index, "keyPEM"))
      try check(text: record.ocspStaple, place(.certificates, index, "ocspStaple"))
    }
    for index in 0..<count(of: .tlsBindings) {
      let record = record(.tlsBindings, index, as: TLSBindingRecord.self)
      try check(record.names, in: .names, place(.tlsBindings, index, "names"))
      try check(
        index: record.certificate, in: .certificates, place(.tlsBindings, index, "certificate"))
      try check(
        index: record.clientValidation, in: .clientValidations, orNone: true,
        place(.tlsBindings, index, "clientValidation"))
    }
    for index in 0..<count(of: .names) {
      let name = record(.names, index, as: StringRef.self)
      try check(text: name, .lowercase, "names[\(index)]")
    }
  }

  mutating func checkTrust() throws(ImageError) {
    for index in 0..<count(of: .trustBundles) {
      let record = record(.trustBundles, index, as: TrustBundleRecord.self)
      try check(text: record.name, place(.trustBundles, index, "name"))
      try check(text: record.pem, place(.trustBundles, index, "pem"))
    }
    for index in 0..<count(of: .clientValidations) {
      let record = record(.clientValidations, index, as: ClientValidationRecord.self)
      try check(index: record.trustBundle, in: .trustBundles, place(.clientValidations, index, "trustBundle"))
      try require(
        record.mode <= UInt32(ClientValidationSource.Mode.unchecked.rawValue), .badValue,
        place(.clientValidations, index, "mode"))
    }
    for index in 0..<count(of: .backendTLS) {
      let record = record(.backendTLS, index, as: BackendTLSRecord.self)
      try check(text: record.serverName, .visible, place(.backendTLS, index, "serverName"))
      try check(record.subjectAltNames, in: .subjectAltNames, place(.backendTLS, index, "subjectAltNames"))
      try check(
        index: record.trustBundle, in: .trustBundles, orNone: true, place(.backendTLS, index, "trustBundle"))
      try check(
        index: record.certificate, in: .certificates, orNone: true, place(.backendTLS, index, "certificate"))
      try require(record.verifies <= 1, .badValue, place(.backendTLS, index, "verifies"))
    }
    for index in 0..<count(of: .subjectAltNames) {
      let record = record(.subjectAltNames, index, as: SubjectAltNameRecord.self)
      try require(
        record.kind <= UInt32(SubjectAltName.Kind.uri.rawValue), .badValue, place(.subjectAltNames, index, "kind"))
      try check(text: record.value, .visible, place(.subjectAltNames, index, "value"))
    }
    for index in 0..<count(of: .networks) {
      let record = record(.networks, index, as: NetworkRecord.self)
      try require(record.prefixLength <= 128, .badValue, place(.networks, index, "prefixLength"))
    }
  }
}
