import CLinux
import Foundation
import Glibc
import Hummingbird
import NIOCore
import NIOPosix

/// Carries bytes between a client of the API and a listener of the data plane: the request's body goes to the
/// listener, what the listener answers becomes the response's body. Works whether or not the listener's port
/// could be bound, because the data plane's admin socket hands the connection over.
struct PortForwardEndpoint: Sendable {
  /// The data plane's admin socket.
  let adminPath: String

  static let handshakeSeconds = 5
  static let longestHead = 8192

  func respond(port: UInt16, request: Request) async throws(APIError) -> Response {
    let path = adminPath
    let outcome: Result<Descriptor, APIError>
    do {
      outcome = try await NIOThreadPool.singleton.runIfActive { Self.dial(path: path, port: port) }
    } catch {
      throw .unavailable("the controller is ending")
    }
    let descriptor = try outcome.get()
    let body = ResponseBody { writer in
      let channel = try await Self.wrap(descriptor)
      try await channel.executeThenClose { inbound, outbound in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            do {
              for try await bytes in request.body { try await outbound.write(bytes) }
              outbound.finish()
            } catch {
              // The client went without an end: the listener's side must not wait for more.
              try await channel.channel.close()
            }
          }
          for try await bytes in inbound { try await writer.write(bytes) }
          group.cancelAll()
        }
      }
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: [.contentType: "application/octet-stream"], body: body)
  }

  private static func wrap(_ descriptor: Descriptor) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .withConnectedSocket(descriptor.take()) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel(
            wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        }
      }
  }

  /// Connects and asks for the listener; blocking, a few milliseconds.
  private static func dial(path: String, port: UInt16) -> Result<Descriptor, APIError> {
    let descriptor = Descriptor(
      socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    var timeout = timeval(tv_sec: handshakeSeconds, tv_usec: 0)
    let timeoutSize = socklen_t(MemoryLayout<timeval>.size)
    _ = unsafe setsockopt(descriptor.number, SOL_SOCKET, SO_RCVTIMEO, &timeout, timeoutSize)
    let connected = unsafe clinux_unix_connect(descriptor.number, path)
    guard connected == 0 else {
      return .failure(.unavailable("the data plane is not there (\(path): \(systemText(errno)))"))
    }
    let head = Array("CONNECT \(port) HTTP/1.1\r\nHost: sluice\r\n\r\n".utf8)
    let written = unsafe head.withUnsafeBytes { unsafe write(descriptor.number, $0.baseAddress, $0.count) }
    guard written == head.count else {
      return .failure(.unavailable("the data plane closed the tunnel: \(systemText(errno))"))
    }
    guard let answer = readHead(descriptor.number) else {
      return .failure(.unavailable("the data plane did not answer the request for a tunnel"))
    }
    let status = answer.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    if status == 200 { return .success(descriptor) }
    let reason = answer.split(separator: "\r\n").first.map { $0.split(separator: " ").dropFirst(2) } ?? []
    let text = reason.joined(separator: " ")
    if status == 404 {
      return .failure(
        APIError(code: 404, reason: "NotFound", message: "no listener has port \(port) (\(text))"))
    }
    return .failure(.unavailable("the data plane refused the tunnel: \(text)"))
  }

  /// Byte by byte, so that nothing behind the head is taken out of the socket.
  private static func readHead(_ descriptor: Int32) -> String? {
    var head: [UInt8] = []
    var byte: UInt8 = 0
    while head.count < longestHead, unsafe read(descriptor, &byte, 1) == 1 {
      head.append(byte)
      if head.suffix(4) == [13, 10, 13, 10] { return String(decoding: head, as: UTF8.self) }
    }
    return nil
  }
}

/// A descriptor with one owner: closed when it is let go, unless somebody took it.
private final class Descriptor: @unchecked Sendable {
  private let lock = NSLock()
  private var held: Int32

  init(_ number: Int32) { held = number }

  var number: Int32 { lock.withLock { held } }

  func take() -> Int32 {
    lock.withLock {
      defer { held = -1 }
      return held
    }
  }

  deinit { if held >= 0 { close(held) } }
}

func systemText(_ error: Int32) -> String { unsafe String(cString: strerror(error)) }
