import CFuzzer
import Glibc

/// `fuzz <Target> [libFuzzer's arguments]`; `fuzz --list`; `fuzz --seeds <Target> <folder>` writes the seeds that
/// are made rather than kept.
@main
enum Main {
  typealias Body = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32

  static let targets: [(name: String, body: Body)] = [
    ("HTTP1Request", { fuzzRequestHead(Input($0, $1)) }),
    ("HTTP1Response", { fuzzResponseHead(Input($0, $1)) }),
    ("HTTP1Chunked", { fuzzChunkedBody(Input($0, $1)) }),
    ("HTTP2Server", { fuzzServerSession(Input($0, $1)) }),
    ("HTTP2Client", { fuzzClientSession(Input($0, $1)) }),
    ("ClientHello", { fuzzClientHello(Input($0, $1)) }),
    ("ProxyProtocol", { fuzzProxyHeader(Input($0, $1)) }),
    ("GRPCWeb", { fuzzGRPCWeb(Input($0, $1)) }),
    ("HTTPSemantics", { fuzzPathsAndAuthorities(Input($0, $1)) }),
    ("RoutingTable", { fuzzRoutingImage(Input($0, $1)) }),
    ("ControlProtocol", { fuzzControlFrames(Input($0, $1)) }),
    ("Manifest", { fuzzManifest(Input($0, $1)) }),
  ]

  static func main() {
    let arguments = CommandLine.arguments
    if arguments.count == 2, arguments[1] == "--list" {
      for target in targets { print(target.name) }
      return
    }
    if arguments.count == 4, arguments[1] == "--seeds" {
      if arguments[2] == "RoutingTable" { writeImages(to: arguments[3]) }
      return
    }
    guard arguments.count > 1, let target = targets.first(where: { $0.name == arguments[1] }) else {
      print("usage: fuzz <target> [libFuzzer's arguments]; targets: \(targets.map(\.name).joined(separator: " "))")
      exit(2)
    }
    // The target's name is taken out; the rest is libFuzzer's.
    var count = CommandLine.argc - 1
    let vector = CommandLine.unsafeArgv + 1
    vector[0] = CommandLine.unsafeArgv[0].unsafelyUnwrapped
    let raw = UnsafeMutableRawPointer(vector)
    var pointer = Optional(raw.assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self))
    exit(LLVMFuzzerRunDriver(&count, &pointer, target.body))
  }
}
