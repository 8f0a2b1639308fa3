/// A request of the admin socket: method, target, nothing else matters.
struct AdminRequest: Equatable {
  let method: String
  let target: String

  /// Longest head that is read.
  static let maxHeadBytes = 8192

  enum Parsed: Equatable {
    case incomplete
    /// With the bytes that came behind the head.
    case request(AdminRequest, surplus: Int)
    case malformed
  }

  /// Reads as far as the empty line; fields are not looked at.
  static func parse(_ bytes: [UInt8]) -> Parsed {
    guard let end = endOfHead(bytes) else {
      return bytes.count > maxHeadBytes ? .malformed : .incomplete
    }
    let line = bytes.prefix { $0 != 0x0D && $0 != 0x0A }
    guard line.allSatisfy({ (0x20...0x7E).contains($0) }) else { return .malformed }
    let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[2].starts(with: "HTTP/1.".utf8), !parts[0].isEmpty, !parts[1].isEmpty
    else { return .malformed }
    let request = AdminRequest(
      method: String(decoding: parts[0], as: UTF8.self), target: String(decoding: parts[1], as: UTF8.self))
    return .request(request, surplus: bytes.count - end)
  }

  private static func endOfHead(_ bytes: [UInt8]) -> Int? {
    var index = 3
    while index < bytes.count {
      if bytes[index] == 0x0A, bytes[index - 1] == 0x0D, bytes[index - 2] == 0x0A, bytes[index - 3] == 0x0D {
        return index + 1
      }
      index += 1
    }
    return nil
  }
}

/// What the process answers.
enum AdminAnswer: Equatable {
  case response(status: Int, contentType: String, body: String)
  /// The connection becomes a client connection of the listener on this port.
  case tunnel(port: UInt16)

  static func text(_ status: Int, _ body: String) -> AdminAnswer {
    .response(status: status, contentType: "text/plain; charset=utf-8", body: body + "\n")
  }

  static func json(_ body: String) -> AdminAnswer {
    .response(status: 200, contentType: "application/json", body: body + "\n")
  }

  /// The bytes to send; `isHead` leaves the body out (RFC 9110 section 9.3.2).
  func bytes(isHead: Bool) -> [UInt8] {
    guard case .response(let status, let contentType, let body) = self else {
      return Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
    }
    let reason =
      switch status {
      case 200: "OK"
      case 400: "Bad Request"
      case 403: "Forbidden"
      case 404: "Not Found"
      case 405: "Method Not Allowed"
      default: "Service Unavailable"
      }
    let head =
      "HTTP/1.1 \(status) \(reason)\r\ncontent-type: \(contentType)\r\ncontent-length: \(body.utf8.count)\r\n"
      + (status == 405 ? "allow: GET, HEAD\r\n" : "") + "connection: close\r\n\r\n"
    return Array(head.utf8) + (isHead ? [] : Array(body.utf8))
  }
}
