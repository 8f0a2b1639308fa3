internal import COpenSSL
import Synchronization

/// The keys of session tickets (RFC 5077, RFC 8446 section 4.6.1), shared by all servers and all threads of a process.
///
/// They are random, never leave the process, and are replaced every `interval`. What was sealed with the keys before
/// is still opened for one interval more, and answered with a new ticket; then these keys are overwritten. What
/// somebody takes from the process's memory opens recorded resumptions of two intervals at most.
public final class TLSTicketKeys: Sendable {
  /// How long new tickets are sealed with the same keys; 0: no tickets at all.
  public let intervalMilliseconds: UInt64
  private let clock: @Sendable () -> UInt64
  private let keys: Mutex<Keys>

  private struct Keys {
    var current: TicketKey
    var previous: TicketKey?
    var madeAt: UInt64
  }

  /// - Parameter clock: milliseconds; time while the machine sleeps should count.
  public init(intervalMilliseconds: Int, clock: @escaping @Sendable () -> UInt64 = bootMilliseconds) {
    self.intervalMilliseconds = UInt64(max(0, intervalMilliseconds))
    self.clock = clock
    keys = Mutex(Keys(current: .random(), previous: nil, madeAt: clock()))
  }

  /// The lifetime that clients are told, in seconds.
  var lifetimeSeconds: Int { max(1, Int(intervalMilliseconds / 1000)) }

  /// What new tickets are sealed with.
  func sealing() -> TicketKey {
    let now = clock()
    return keys.withLock { keys in
      turn(&keys, now)
      return keys.current
    }
  }

  /// The key of that name (16 bytes), and whether it is an old one; nil: unknown or forgotten.
  func opening(_ name: UnsafePointer<UInt8>) -> (key: TicketKey, isOld: Bool)? {
    let now = clock()
    // SAFETY: the caller's name has as many bytes as a key's.
    return keys.withLock { keys in
      turn(&keys, now)
      if unsafe keys.current.isNamed(name) { return (keys.current, false) }
      if let previous = keys.previous, unsafe previous.isNamed(name) { return (previous, true) }
      return nil
    }
  }

  /// Done when somebody asks, so that nothing has to remember to do it.
  private func turn(_ keys: inout Keys, _ now: UInt64) {
    let age = now &- keys.madeAt
    if intervalMilliseconds == 0 || age < intervalMilliseconds { return }
    let isNextInterval = age < intervalMilliseconds * 2
    keys.previous = isNextInterval ? keys.current : nil
    keys.madeAt = isNextInterval ? keys.madeAt + intervalMilliseconds : now
    keys.current = .random()
  }
}

/// Milliseconds since the machine started, its sleep included.
public func bootMilliseconds() -> UInt64 {
  var time = timespec()
  // SAFETY: the call fills in the variable.
  unsafe _ = clock_gettime(CLOCK_BOOTTIME, &time)
  return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
}

/// Name, AES-256 key and HMAC-SHA-256 key of tickets.
struct TicketKey: Sendable {
  private var bytes: InlineArray<80, UInt8>

  static let nameBytes = 16
  static let secretBytes = 32

  static func random() -> TicketKey {
    var key = TicketKey(bytes: InlineArray(repeating: 0))
    let made = unsafe withUnsafeMutableBytes(of: &key) { raw in
      unsafe RAND_bytes(raw.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(raw.count))
    }
    // Without random numbers there is no TLS either.
    precondition(made == 1)
    return key
  }

  func isNamed(_ name: UnsafePointer<UInt8>) -> Bool {
    var own = self
    // SAFETY: a name has 16 bytes on both sides.
    return unsafe withUnsafeMutableBytes(of: &own) { raw in
      unsafe memcmp(raw.baseAddress.unsafelyUnwrapped, name, Self.nameBytes) == 0
    }
  }

  /// Calls with pointers to the name and to both secrets, and overwrites the copy afterwards.
  consuming func withParts<Result>(
    _ body: (
      _ name: UnsafeMutablePointer<UInt8>, _ cipher: UnsafeMutablePointer<UInt8>,
      _ mac: UnsafeMutablePointer<UInt8>
    ) -> Result
  ) -> Result {
    var own = self
    // SAFETY: the parts lie one behind the other in the 80 bytes.
    return unsafe withUnsafeMutableBytes(of: &own) { raw in
      let start = unsafe raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
      defer { unsafe OPENSSL_cleanse(start, raw.count) }
      return unsafe body(start, start + Self.nameBytes, start + Self.nameBytes + Self.secretBytes)
    }
  }
}

// MARK: During a handshake

/// The library's callback around each ticket: 1 go on, 2 go on and give a new ticket, 0 not ours, -1 failure.
func useTicketKey(
  _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ vector: UnsafeMutablePointer<UInt8>?,
  _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ isSealing: Int32
) -> Int32 {
  guard let state = unsafe connectionState(of: ssl), let table = unsafe state.pointee.server, let name = unsafe name,
    let vector = unsafe vector
  else { return -1 }
  let keys = unsafe table.pointee.ticketKeys
  // SAFETY: the library gives 16 bytes for the name and 16 for the vector (AES-CBC's).
  if isSealing == 1 {
    guard unsafe RAND_bytes(vector, 16) == 1 else { return -1 }
    return unsafe keys._withUnsafeGuaranteedRef { $0.sealing() }.withParts { ownName, cipherKey, macKey in
      unsafe memcpy(name, ownName, TicketKey.nameBytes)
      let isSet =
        unsafe EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, cipherKey, vector) == 1
        && sluice_EVP_MAC_CTX_set_hmac_sha256(mac, macKey, TicketKey.secretBytes) == 1
      return isSet ? 1 : -1
    }
  }
  guard let found = unsafe keys._withUnsafeGuaranteedRef({ unsafe $0.opening(name) }) else {
    unsafe state.pointee.hasForeignTicket = true
    return 0
  }
  let isSet = unsafe found.key.withParts { _, cipherKey, macKey in
    unsafe EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, cipherKey, vector) == 1
      && sluice_EVP_MAC_CTX_set_hmac_sha256(mac, macKey, TicketKey.secretBytes) == 1
  }
  if !isSet { return -1 }
  // A ticket of TLS 1.3 is to be used once (RFC 8446 appendix C.4): each is answered with the next.
  let isForOneUse = unsafe SSL_version(ssl) == TLS1_3_VERSION
  return found.isOld || isForOneUse ? 2 : 1
}

/// What a good ticket is worth: one that stands for a client's certificate ends with that certificate.
func judgeTicket(
  _: OpaquePointer?, _ session: OpaquePointer?, _: UnsafePointer<UInt8>?, _: Int, _ status: SSL_TICKET_STATUS,
  _: UnsafeMutableRawPointer?
) -> SSL_TICKET_RETURN {
  switch status {
  case SSL_TICKET_EMPTY, SSL_TICKET_NO_DECRYPT: return SSL_TICKET_RETURN_IGNORE_RENEW
  case SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW: break
  default: return SSL_TICKET_RETURN_IGNORE
  }
  if let session = unsafe session, let client = unsafe SSL_SESSION_get0_peer(session),
    unsafe X509_cmp_current_time(X509_get0_notAfter(client)) < 0
  {
    return SSL_TICKET_RETURN_IGNORE_RENEW
  }
  return status == SSL_TICKET_SUCCESS_RENEW ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE
}
