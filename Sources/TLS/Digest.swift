internal import COpenSSL

/// SHA-256 of the parts, each behind its length, so that no two lists look the same; in hexadecimal digits.
public func digest(of parts: [[UInt8]]) -> String {
  var all: [UInt8] = []
  for part in parts {
    unsafe withUnsafeBytes(of: UInt64(part.count).littleEndian) { unsafe all += $0 }
    all += part
  }
  var result = [UInt8](repeating: 0, count: 32)
  // SAFETY: SHA-256 writes 32 bytes.
  unsafe _ = all.withUnsafeBytes { input in
    unsafe result.withUnsafeMutableBytes { output in
      unsafe EVP_Digest(input.baseAddress, input.count, output.baseAddress, nil, EVP_sha256(), nil)
    }
  }
  let digits = Array("0123456789abcdef".utf8)
  return String(decoding: result.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
