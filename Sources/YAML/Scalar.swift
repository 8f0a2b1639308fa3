/// What a plain (unquoted) scalar means: YAML 1.1 as Kubernetes reads it (sigs.k8s.io/yaml), where `yes`,
/// `on` and `y` are booleans, `010` is octal, and dates stay strings.
func resolvePlainScalar(_ text: String) -> Node.Content {
  switch text {
  case "", "~", "null", "Null", "NULL": return .null
  case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON": return .bool(true)
  case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF": return .bool(false)
  default: break
  }
  // Only what starts like a number can be one; this keeps the usual word cheap.
  guard let first = text.utf8.first,
    (first >= 0x30 && first <= 0x39) || first == 0x2B || first == 0x2D || first == 0x2E
  else { return .string(text) }
  if let value = integerValue(text) { return .int(value) }
  if let value = floatValue(text) { return .float(value) }
  return .string(text)
}

/// An integer as YAML 1.1 writes it: sign, `0x`, `0o`, `0b`, a leading zero for octal, and `_` between
/// digits.
func integerValue(_ text: String) -> Int64? {
  var bytes = text.utf8.filter { $0 != UInt8(ascii: "_") }[...]
  // An underscore may not stand first (a name such as _1) and needs digits around it.
  guard text.utf8.last != UInt8(ascii: "_") else { return nil }
  var isNegative = false
  if let sign = bytes.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
    isNegative = sign == UInt8(ascii: "-")
    bytes = bytes.dropFirst()
  }
  guard let first = bytes.first, first >= 0x30, first <= 0x39 else { return nil }
  var radix = 10
  if first == UInt8(ascii: "0"), bytes.count > 1 {
    switch bytes[bytes.startIndex + 1] {
    case UInt8(ascii: "x"), UInt8(ascii: "X"): (radix, bytes) = (16, bytes.dropFirst(2))
    case UInt8(ascii: "o"), UInt8(ascii: "O"): (radix, bytes) = (8, bytes.dropFirst(2))
    case UInt8(ascii: "b"), UInt8(ascii: "B"): (radix, bytes) = (2, bytes.dropFirst(2))
    default: (radix, bytes) = (8, bytes.dropFirst())
    }
  }
  guard let digit = bytes.first, digit != UInt8(ascii: "-"), digit != UInt8(ascii: "+") else { return nil }
  return Int64((isNegative ? "-" : "") + String(decoding: bytes, as: UTF8.self), radix: radix)
}

/// A decimal fraction: digits, a point, an exponent; nothing else (no `nan`, `inf` or hexadecimal forms).
func floatValue(_ text: String) -> Double? {
  var rest = text.utf8.filter { $0 != UInt8(ascii: "_") }[...]
  let digits = String(decoding: rest, as: UTF8.self)
  if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { rest = rest.dropFirst() }
  let whole = rest.prefix { $0 >= 0x30 && $0 <= 0x39 }
  rest = rest.dropFirst(whole.count)
  var fraction = 0
  if rest.first == UInt8(ascii: ".") {
    rest = rest.dropFirst()
    fraction = rest.prefix { $0 >= 0x30 && $0 <= 0x39 }.count
    rest = rest.dropFirst(fraction)
  }
  guard !whole.isEmpty || fraction > 0 else { return nil }
  if let mark = rest.first {
    guard mark == UInt8(ascii: "e") || mark == UInt8(ascii: "E") else { return nil }
    rest = rest.dropFirst()
    if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
      rest = rest.dropFirst()
    }
    guard !rest.isEmpty, rest.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
  }
  guard let value = Double(digits), value.isFinite else { return nil }
  return value
}
