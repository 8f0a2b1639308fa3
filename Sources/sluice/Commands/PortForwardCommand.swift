import ArgumentParser
import AsyncHTTPClient
import GatewayAPI
import NIOCore
import NIOPosix
import YAML

struct PortForwardCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "port-forward",
    abstract: "Carry connections from a local port to a Gateway's listener.",
    discussion: """
      Works whether or not the listener's own port could be bound. PORT alone means the same port on both \
      sides; :PORT takes any free local port.

      Examples:
        sluice port-forward gateway/hoopgateway 8080:80
        sluice port-forward gateway/hoopgateway -n web 8080:80 8443:443
      """)

  @Argument(help: "gateway/NAME, then LOCAL:PORT, once or more.") var words: [String]
  @Option(help: "The local address to listen on.") var address = "127.0.0.1"
  @OptionGroup var connection: ConnectionOptions

  struct Ports: Equatable {
    var local: Int
    var listener: Int

    init(_ text: String) throws(CommandError) {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      let local = parts.count == 2 && parts[0].isEmpty ? 0 : Int(parts[0])
      let listener = Int(parts[parts.count - 1])
      guard parts.count <= 2, let local, let listener, (0...65_535).contains(local),
        (1...65_535).contains(listener)
      else { throw .failed("\(text): write ports as LOCAL:PORT, for instance 8080:80") }
      self.local = local
      self.listener = listener
    }
  }

  /// The ports of a Gateway's listeners, or of an Istio Gateway's servers.
  static func listenerPorts(_ gateway: Node) -> Set<Int> {
    let spec = gateway["spec"]
    let ports = (spec?["listeners"]?.sequence ?? []).map { $0["port"]?.int }
    let numbers = (spec?["servers"]?.sequence ?? []).map { $0["port"]?["number"]?.int }
    return Set((ports + numbers).compactMap { $0.flatMap { Int(exactly: $0) } })
  }

  func run() async throws {
    let firstPort = words.firstIndex { word in
      word.contains { $0.isNumber } && word.allSatisfy { $0.isNumber || $0 == ":" }
    }
    guard let firstPort else {
      throw CommandError.failed("which ports? Write LOCAL:PORT, for instance 8080:80")
    }
    let target = try Target(object: Array(words[..<firstPort]))
    guard target.kinds.contains(where: { $0 == .gateway || $0 == .istioGateway }) else {
      throw CommandError.failed("ports are forwarded to gateways only: gateway/NAME")
    }
    var ports: [Ports] = []
    for word in words[firstPort...] { ports.append(try Ports(word)) }
    let kubeconfig = try connection.load()
    let pairs = ports
    try await APIClient.with(kubeconfig) { client in
      let (key, answer) = try await target.find(client)
      let known = Self.listenerPorts(answer.body)
      for pair in pairs where !known.contains(pair.listener) {
        let list = known.sorted().map(String.init).joined(separator: ", ")
        throw CommandError.failed(
          "\(key.shown) has no listener with port \(pair.listener); it has \(list.isEmpty ? "none" : list)")
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for pair in pairs {
          let forward = Forward(client: client, gateway: key, port: pair.listener)
          group.addTask { try await forward.listen(host: address, port: pair.local) }
        }
        try await group.waitForAll()
      }
    }
  }
}

/// One local port and the listener behind it.
struct Forward {
  let client: APIClient
  let gateway: ResourceKey
  let port: Int

  func listen(host: String, port local: Int) async throws {
    let server: NIOAsyncChannel<NIOAsyncChannel<ByteBuffer, ByteBuffer>, Never>
    do {
      server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelOption(.allowRemoteHalfClosure, value: true)
        .bind(host: host, port: local) { channel in
          channel.eventLoop.makeCompletedFuture {
            try NIOAsyncChannel(
              wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
          }
        }
    } catch {
      throw CommandError.failed("cannot listen on \(host):\(local): \(error)")
    }
    let shown = server.channel.localAddress?.port ?? local
    Terminal.print("Forwarding from \(host):\(shown) -> \(gateway.name):\(port)")
    try await server.executeThenClose { connections in
      try await withThrowingDiscardingTaskGroup { group in
        for try await connection in connections {
          group.addTask { await carry(connection) }
        }
      }
    }
  }

  /// An error ends this connection only.
  private func carry(_ connection: NIOAsyncChannel<ByteBuffer, ByteBuffer>) async {
    do {
      try await connection.executeThenClose { inbound, outbound in
        let path = APIPaths.object(gateway) + "/portforward?port=\(port)"
        let bytes = UploadedBytes(inbound: inbound)
        let response = try await client.open("POST", path, body: .stream(bytes, length: .unknown))
        for try await chunk in response.body { try await outbound.write(chunk) }
        outbound.finish()
      }
    } catch let error as CommandError {
      Terminal.error("error: \(error.message)")
    } catch {
      Terminal.error("error: a connection to \(gateway.name):\(port) broke: \(error)")
    }
  }
}

/// The local connection's bytes as a request body.
private struct UploadedBytes: AsyncSequence, Sendable {
  let inbound: NIOAsyncChannelInboundStream<ByteBuffer>

  func makeAsyncIterator() -> NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator {
    inbound.makeAsyncIterator()
  }
}
