import Glibc
import SystemIO
import Testing

extension EngineSuite where Engine: ~Copyable {
  /// Datagrams that the owner leaves are told of again, and nothing is once they are taken or the socket is closed.
  func watchesDatagrams() throws {
    let d = try D()
    let descriptor = try DatagramSocket.open(address: "127.0.0.1", port: 0, reusePort: false)
    let address = try ListeningSocket.localAddress(of: descriptor)
    let watched = d.engine.watch(descriptor)
    let socket = try #require(watched)
    let sender = try DatagramSocket.connected(to: address)
    let peer = Socket(index: sender, generation: 0)
    for text in ["one", "two"] {
      var text = text
      let isSent = text.withUTF8 { unsafe peer.send(datagram: $0) }
      #expect(isSent)
    }
    #expect(d.until { log in log.contains { $0.kind == .readable && $0.socket == socket } })
    let told = d.log.count
    #expect(d.until { $0.count > told }, "what was not taken is told of again")
    var batch = DatagramBatch()
    var heard: [String] = []
    while heard.count < 2 {
      let count = batch.receive(socket)
      #expect(count >= 0)
      for number in 0..<count { heard.append(unsafe String(decoding: batch.bytes(number), as: UTF8.self)) }
    }
    #expect(heard == ["one", "two"])
    #expect(try batch.peer(0) == ListeningSocket.localAddress(of: sender))
    // The answer comes from the address that was spoken to.
    var answer = "three"
    let isSent = answer.withUTF8 { unsafe socket.send(datagram: $0, to: batch.peer(0), from: batch.local(0)) }
    #expect(isSent)
    var own = DatagramBatch()
    while own.receive(peer) == 0 { usleep(200) }
    #expect(own.peer(0) == address)
    // An event that was under way may still come.
    d.turn()
    d.turn()
    let quiet = d.log.count
    d.turn(50)
    #expect(d.log.count == quiet)
    d.engine.closeWatched(socket)
    d.turn()
    let again = d.engine.watch(sender)
    #expect(again != nil)
  }
}
