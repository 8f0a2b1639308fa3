import CLinux
import ControlProtocol
import Telemetry

/// What the admin socket shows, taken from the main thread's state at one moment.
struct AdminView {
  let state: ServedState
  let counters: [CounterBlock]
  let mainCounters: CounterBlock
  let uptimeMilliseconds: UInt64
  let isDraining: Bool
  let isConnected: Bool
  let controlPath: String?
  let refusals: UInt64
  let limits: Limits

  func answer(_ request: AdminRequest, hasListener: (UInt16) -> Bool) -> AdminAnswer {
    if request.method == "CONNECT" { return tunnel(request.target, hasListener) }
    guard request.method == "GET" || request.method == "HEAD" else {
      return .text(405, "\(request.method) is not for this socket; use GET, HEAD or CONNECT PORT")
    }
    switch request.target.split(separator: "?", maxSplits: 1).first ?? "" {
    case "/live": return .text(200, "live")
    case "/ready": return ready
    case "/metrics":
      return .response(
        status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: metrics)
    case "/config": return .json(config)
    case "/connections": return .json(connections)
    default:
      return .text(404, "not found; there are /metrics /ready /live /config /connections")
    }
  }

  private var ready: AdminAnswer {
    if isDraining { return .text(503, "draining") }
    return state.isAdopted ? .text(200, "ready") : .text(503, "no configuration yet")
  }

  /// `CONNECT 80` or `CONNECT anything:80`.
  private func tunnel(_ target: String, _ hasListener: (UInt16) -> Bool) -> AdminAnswer {
    let digits = target.split(separator: ":", omittingEmptySubsequences: false).last ?? ""
    guard let port = UInt16(digits), port != 0 else {
      return .text(400, "CONNECT \(target): expected a listener's port")
    }
    if isDraining { return .text(503, "draining") }
    guard hasListener(port) else {
      let ports = Set(state.sockets.map(\.port)).sorted().map { "\($0)" }.joined(separator: ", ")
      return .text(
        404,
        "no listener has port \(port); " + (ports.isEmpty ? "there is no listener" : "there are: \(ports)"))
    }
    return .tunnel(port: port)
  }

  // MARK: Metrics

  private var metrics: String {
    var text = MetricsText()
    text.workers(counters, main: mainCounters)
    let gauge = "gauge"
    text.sample(
      "sluice_ready", gauge, help: "1 when requests are served.",
      value: state.isAdopted && !isDraining ? "1" : "0")
    text.sample(
      "sluice_configuration_revision", gauge, help: "Revision of the snapshot in use, 0 for none.",
      value: "\(state.image?.revision ?? 0)")
    text.sample(
      "sluice_endpoint_sequence", gauge, help: "Endpoint update in use on top of the snapshot.",
      value: "\(state.sequence)")
    text.sample(
      "sluice_controller_connected", gauge, help: "1 while the control socket is connected.",
      value: isConnected ? "1" : "0")
    text.sample(
      "sluice_configurations_refused_total", "counter", help: "Snapshots and messages refused.",
      value: "\(refusals)")
    for (name, count) in [
      ("bound", state.sockets.count { $0.code == 0 }), ("failed", state.sockets.count { $0.code != 0 }),
    ] {
      text.sample(
        "sluice_listening_sockets", gauge, help: "Listening sockets of the snapshot.",
        labels: [("state", name)], value: "\(count)")
    }
    text.sample("sluice_workers", gauge, help: "Worker threads.", value: "\(counters.count)")
    text.sample(
      "sluice_uptime_seconds", gauge, help: "Since the start of the process.",
      value: MetricsText.seconds(uptimeMilliseconds * 1000))
    if let bytes = Self.residentBytes() {
      text.sample(
        "process_resident_memory_bytes", gauge, help: "Resident memory of the process.",
        value: "\(bytes)")
    }
    return text.text
  }

  /// The second number of /proc/self/statm counts pages.
  static func residentBytes() -> UInt64? {
    let descriptor = unsafe clinux_open_read("/proc/self/statm")
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    let fields = bytes[..<count].split(separator: 0x20)
    guard fields.count > 1, let pages = UInt64(String(decoding: fields[1], as: UTF8.self)) else { return nil }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }

  // MARK: Dumps

  private var config: String {
    let sockets = state.sockets.map { socket in
      "{\"address\":\(JSONText.quoted(socket.address)),\"port\":\(socket.port),"
        + "\"bindPort\":\(socket.bindPort),\"bound\":\(socket.code == 0)"
        + (socket.code == 0 ? "" : ",\"errno\":\(socket.code),\"reason\":\(JSONText.quoted(socket.reason))")
        + "}"
    }
    let values = Limit.allCases.map { "\"\($0.name)\":\(limits[$0])" }
    let source = state.image == nil ? "none" : state.isFromDisk ? "disk" : "controller"
    return "{\"revision\":\(state.image?.revision ?? 0),\"endpointSequence\":\(state.sequence),"
      + "\"checksum\":\"\(String(state.image?.checksum ?? 0, radix: 16))\","
      + "\"imageBytes\":\(state.image?.byteCount ?? 0),\"source\":\"\(source)\","
      + "\"ready\":\(state.isAdopted && !isDraining),\"draining\":\(isDraining),"
      + "\"controller\":{\"path\":\(JSONText.quoted(controlPath ?? "")),\"connected\":\(isConnected)},"
      + "\"workers\":\(counters.count),\"uptimeMilliseconds\":\(uptimeMilliseconds),"
      + "\"sockets\":[\(sockets.joined(separator: ","))],"
      + "\"changedBackends\":[\(state.changes.map { JSONText.quoted($0.id) }.joined(separator: ","))],"
      + "\"limits\":{\(values.joined(separator: ","))}}"
  }

  /// Totals for each worker: what a worker keeps of a connection is its own.
  private var connections: String {
    let workers = counters.enumerated().map { index, block in
      let shown: [(String, Counter)] = [
        ("downstreamConnections", .downstreamConnectionsActive), ("requests", .requestsActive),
        ("http2Streams", .http2StreamsActive), ("upgrades", .upgradesActive),
        ("upstreamConnections", .upstreamConnectionsActive), ("upstreamRequests", .upstreamRequestsActive),
      ]
      let values = shown.map { "\"\($0.0)\":\(max(0, Int64(bitPattern: block.value($0.1))))" }
      return "{\"worker\":\(index),\(values.joined(separator: ","))}"
    }
    return "{\"workers\":[\(workers.joined(separator: ","))]}"
  }
}

/// Strings of JSON (RFC 8259 section 7).
enum JSONText {
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..<"\u{20}":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
