import GatewayAPI
import Testing

/// What may be said of TLS with backends.
@Suite struct BackendPolicyTests {
  private static let web = "{group: '', kind: Service, name: web}"
  private static let system = "hostname: a.test, wellKnownCACertificates: System"
  private static let bundle = "{group: '', kind: ConfigMap, name: ca}"

  static let cases: [Case] = [
    Case(Base.backendTLSPolicy(web, system)),
    Case(Base.backendTLSPolicy(web, "hostname: a.test, caCertificateRefs: [\(bundle)]")),
    Case(
      Base.backendTLSPolicy(web, "hostname: a.test"),
      "spec.validation: needs caCertificateRefs or wellKnownCACertificates"),
    Case(
      Base.backendTLSPolicy(web, "\(system), caCertificateRefs: [\(bundle)]"),
      "spec.validation: must not have both caCertificateRefs and wellKnownCACertificates"),
    Case(
      Base.backendTLSPolicy(web, "hostname: '*.test', wellKnownCACertificates: System"),
      "spec.validation.hostname: \"*.test\" must be a host name in lower case without a port or a wildcard, "
        + "as shop.example.com"),
    Case(
      Base.backendTLSPolicy("\(web), \(web)", system),
      "spec.targetRefs[1]: names the same target as an earlier reference"),
    Case(
      Base.backendTLSPolicy("\(web), {group: '', kind: Service, name: web, sectionName: x}", system),
      "spec.targetRefs[1]: names web again; then each reference needs a sectionName"),
    Case(
      Base.backendTLSPolicy(web, "\(system), subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}, {type: URI}]"),
      "spec.validation.subjectAltNames[1].uri: is required when type is URI"),
    Case(
      Base.backendTLSPolicy(web, "\(system), subjectAltNames: [{type: Hostname, uri: 'a://b', hostname: c}]"),
      "spec.validation.subjectAltNames[0].uri: must not be set when type is Hostname"),
    Case(
      Base.backendTLSPolicy(web, "\(system), subjectAltNames: [{type: URI, uri: 'a/b'}]"),
      "spec.validation.subjectAltNames[0].uri: \"a/b\" must be a URI as spiffe://example.com/backend"),
    Case(Base.destinationRule("tls: {mode: SIMPLE, sni: a.test, subjectAltNames: [b.test]}", host: "*.local")),
    Case(Base.destinationRule("connectionPool: {tcp: {maxConnections: 1}}, outlierDetection: {interval: 1s}")),
    Case(
      Base.destinationRule("tls: {mode: SIMPLEST}", host: "a b"),
      "spec.trafficPolicy.tls.mode: \"SIMPLEST\" is not one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL; "
        + "did you mean SIMPLE?",
      "spec.host: \"a b\" must be a Service as name or name.namespace.svc.cluster.local, or a pattern as *.local"),
    Case(
      Base.destinationRule("tls: {mode: MUTUAL}"),
      "spec.trafficPolicy.tls: needs credentialName (or clientCertificate and privateKey) with mode MUTUAL"),
    Case(
      Base.destinationRule("tls: {mode: MUTUAL, credentialName: c, caCertificates: /ca.pem}"),
      "spec.trafficPolicy.tls.caCertificates: must not stand beside credentialName"),
    Case(
      Base.destinationRule("portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]"),
      "spec.trafficPolicy.portLevelSettings[1]: is about port 1 once more"),
    Case(
      Base.destinationRule("portLevelSettings: [{tls: {}}]"),
      "spec.trafficPolicy.portLevelSettings[0].port: is required"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }
}
